"""Fine-tuning on rows of mixed lengths: steps cut by length, plain padded batches, and TRL's SFTTrainer with padding and packing.

    python benchmarks/finetuning.py                        ours and transformers' Trainer with padded batches: loss step by step, tokens/s
    python benchmarks/finetuning.py --trl /path/to/python  also TRL, run by an interpreter whose environment has it (pip install torch trl)

The data are real: INSTRUCTGEN_SHARED_DATA/hub gsm8k and clinc150, as many rows of each, shuffled. The model is a Llama of 15 million weights from its
configuration (stories15M's shape, vocabulary of 32,000), bf16 autocast, batch 16, rows of at most 512 tokens, loss on the target only, or on
everything with --learn all. All read the same rows in the same order at every step but for packing, which puts several rows into one. Each way
runs in a process of its own, one after the other; tokens/s are without padding, over all steps but the first two; those by
processor time tell the same on a busy machine (with --threads 1, where no thread waits for another).
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHAPE = dict(hidden_size=288, intermediate_size=768, num_hidden_layers=6, num_attention_heads=6, num_key_value_heads=6, max_position_embeddings=512, tie_word_embeddings=True)
LR, SEED, LIMIT = 5e-4, 42, 512


def prepare(folder: Path, rows: int, batch: int, steps: int, vocab: int) -> None:
    "Model, tokenizer, and the rows of each step as token ids, in one folder that every way reads."
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from instructgen.checkpoints import load_tokenizer
    from instructgen.presets import TrainConfig
    from instructgen.records import Example
    from instructgen.steps import step_rows
    from instructgen.tiny import learn_tokenizer
    from instructgen.trainset import make_trainset
    data = Path(os.environ.get('INSTRUCTGEN_SHARED_DATA') or ROOT.parent / 'shared' / 'data', 'hub')
    def read(name, limit): return [json.loads(line) for line in open(data / name / 'data' / 'train.jsonl', encoding='utf-8')][:limit]
    every = len(read('clinc150', None)) // rows
    examples = [Example(f'gsm8k-{number}', row['question'], '', row['answer']) for number, row in enumerate(read('gsm8k', rows))]
    examples += [Example(f'clinc150-{number}', 'Name the intent.', row['text'], row['intent']) for number, row in enumerate(read('clinc150', None)[::max(every, 1)][:rows])]
    tokenizer = learn_tokenizer((f'{example.instruction} {example.input} {example.output}' for example in examples), vocab, context=LIMIT)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(**SHAPE, vocab_size=vocab, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)).save_pretrained(folder)
    trainset = make_trainset(examples, TrainConfig(str(folder), format='plain'), load_tokenizer(folder), LIMIT)
    order = [step_rows(len(trainset.rows), batch, SEED, step).tolist() for step in range(steps)]
    kept = [[{'source': trainset.rows.source(row).tolist(), 'target': trainset.rows.target(row).tolist()} for row in step] for step in order]
    (folder / 'steps.json').write_text(json.dumps(kept))
    (folder / 'examples.json').write_text(json.dumps([[example.id, example.instruction, example.input, example.output] for example in examples]))


def result(losses: list[float], tokens: list[int], ends: list[tuple[float, float]]) -> dict:
    "From the clock and the processor time at the end of each step; the first two steps are not counted."
    wall, cpu = (ends[-1][which] - ends[1][which] for which in (0, 1))
    return {'losses': [round(loss, 5) for loss in losses], 'tokens_per_second': round(sum(tokens[2:]) / wall), 'tokens_per_cpu_second': round(sum(tokens[2:]) / cpu)}


def now() -> tuple[float, float]: return time.perf_counter(), time.process_time()


def ours(folder: Path, batch: int, steps: int, learn: str) -> dict:
    from instructgen.presets import TrainConfig
    from instructgen.records import Example
    from instructgen import trainer
    from instructgen.train import train
    ends = []

    class Timed(trainer.LogLine):  # made at the end of every step
        def __init__(self, *given):
            super().__init__(*given)
            ends.append(now())
    trainer.LogLine = Timed
    examples = [Example(*row) for row in json.loads((folder / 'examples.json').read_text())]
    config = TrainConfig(str(folder), format='plain', steps=steps, batch=batch, lr=LR, schedule='constant', precision='bf16', save_every=0, seed=SEED, learn=learn, device='cpu')
    with tempfile.TemporaryDirectory() as out: done, taken = train(examples, config, Path(out, 'x'), progress=False) / 'train_log.csv', ends[:steps]; lines = trainer.read_log(done)
    return result([line.loss for line in lines], [line.tokens for line in lines], taken)


def stopwatch():
    "A callback that keeps the time at the end of each step, and the logged losses."
    from transformers import TrainerCallback

    class Stopwatch(TrainerCallback):
        def __init__(self): self.ends, self.losses = [], []
        def on_step_end(self, *args, **more): self.ends.append(now())
        def on_log(self, args, state, control, logs=None, **more): self.losses += [logs['loss']] if 'loss' in logs else []
    return Stopwatch()


def arguments(folder: str, batch: int, steps: int) -> dict:
    return dict(output_dir=folder, max_steps=steps, per_device_train_batch_size=batch, learning_rate=LR, lr_scheduler_type='constant', bf16=True, use_cpu=True, seed=SEED, logging_steps=1, save_strategy='no',
                report_to='none', disable_tqdm=True, optim='adamw_torch', max_grad_norm=1.)


def plain(folder: Path, batch: int, steps: int, learn: str) -> dict:
    "transformers' Trainer as it comes: every step is one batch, padded to its longest row."
    import torch
    from transformers import AutoModelForCausalLM, Trainer, TrainingArguments
    kept = json.loads((folder / 'steps.json').read_text())
    rows = [{'input_ids': row['source'] + row['target'], 'labels': (row['source'] if learn == 'all' else [-100] * len(row['source'])) + row['target']} for step in kept for row in step]
    def collate(part):
        width = max(len(row['input_ids']) for row in part)
        def pad(name, fill): return torch.tensor([row[name] + [fill] * (width - len(row[name])) for row in part])
        mask = torch.tensor([[1] * len(row['input_ids']) + [0] * (width - len(row['input_ids'])) for row in part])
        return {'input_ids': pad('input_ids', 0), 'labels': pad('labels', -100), 'attention_mask': mask}

    class InOrder(Trainer):
        def _get_train_sampler(self, *args): return torch.utils.data.SequentialSampler(self.train_dataset)
    watch = stopwatch()
    with tempfile.TemporaryDirectory() as out:
        InOrder(model=AutoModelForCausalLM.from_pretrained(folder), args=TrainingArguments(**arguments(out, batch, steps)), train_dataset=rows, data_collator=collate, callbacks=[watch]).train()
    return result(watch.losses, [sum(len(row['source']) + len(row['target']) for row in step) for step in kept], watch.ends)


def trl(folder: Path, batch: int, steps: int, learn: str, packing: bool) -> dict:
    "TRL's SFTTrainer on the same token ids; tokens of a packed step are counted as they come."
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer
    kept = json.loads((folder / 'steps.json').read_text())
    rows = [{'input_ids': row['source'] + row['target'], 'completion_mask': [0] * len(row['source']) + [1] * len(row['target'])} for step in kept for row in step]
    counts = []

    class Counting(SFTTrainer):
        def _get_train_sampler(self, *args): return torch.utils.data.SequentialSampler(self.train_dataset)
        def training_step(self, model, inputs, *args, **more):
            counts.append(int(inputs['attention_mask'].sum()) if inputs.get('attention_mask') is not None else int(inputs['input_ids'].numel()))
            return super().training_step(model, inputs, *args, **more)
    watch = stopwatch()
    if packing:  # rows of 512 tokens from several examples: a step of `size` of them holds about as many tokens as a plain one
        total = sum(len(row['input_ids']) for row in rows)
        size, some = max(1, round(total / steps / LIMIT)), 12
        steps = max(4, min(some, total // LIMIT // size))
    else: size = batch
    with tempfile.TemporaryDirectory() as out:
        options = SFTConfig(**arguments(out, size, steps), max_length=LIMIT, packing=packing, completion_only_loss=learn != 'all', gradient_checkpointing=False, dataset_num_proc=None)
        Counting(model=AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32), args=options, train_dataset=Dataset.from_list(rows), processing_class=AutoTokenizer.from_pretrained(folder), callbacks=[watch]).train()
    return result(watch.losses, counts, watch.ends)


WAYS = {'ours': ours, 'plain': plain, 'trl-padding': lambda *given: trl(*given, packing=False), 'trl-packing': lambda *given: trl(*given, packing=True)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--trl', default='', help='an interpreter that has trl')
    parser.add_argument('--rows', type=int, default=2000, help='of each of the two data sets')
    parser.add_argument('--batch', type=int, default=16)
    parser.add_argument('--steps', type=int, default=30)
    parser.add_argument('--vocab', type=int, default=32_000)
    parser.add_argument('--learn', default='target', choices=('target', 'all'))
    parser.add_argument('--ways', default='ours,plain', help='of ' + ', '.join(WAYS))
    parser.add_argument('--threads', type=int, default=os.cpu_count())
    parser.add_argument('--one', default='', help=argparse.SUPPRESS)
    parser.add_argument('--folder', default='', help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        import torch
        torch.set_num_threads(given.threads)
        print('RESULT ' + json.dumps(WAYS[given.one](Path(given.folder), given.batch, given.steps, given.learn)))
        return
    ways = given.ways.split(',') + (['trl-padding', 'trl-packing'] if given.trl else [])
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder), given.rows, given.batch, given.steps, given.vocab)
        steps = json.loads(Path(folder, 'steps.json').read_text())
        lengths = [[len(row['source']) + len(row['target']) for row in step] for step in steps]
        padded = sum(len(step) * max(step) for step in lengths)
        print(f'{given.steps} steps of {given.batch} rows, {sum(map(sum, lengths)):,} tokens; padded {padded:,}: {1 - sum(map(sum, lengths)) / padded:.0%} padding; loss on {given.learn}; CPU, {given.threads} threads, bf16')
        found = {}
        for way in ways:
            done = subprocess.run([given.trl if way.startswith('trl') else sys.executable, __file__, '--one', way, '--folder', folder, *[text for name in ('batch', 'steps', 'learn', 'threads') for text in (f'--{name}', str(getattr(given, name)))]],
                                  capture_output=True, text=True, env={**os.environ, 'PYTHONPATH': str(ROOT) if not way.startswith('trl') else ''})
            line = next((line for line in done.stdout.splitlines() if line.startswith('RESULT ')), None)
            if line is None: print(f'{way:12} failed: {done.stderr.strip().splitlines()[-1:]}'); continue
            found[way] = json.loads(line.removeprefix('RESULT '))
            ratio = [f'{found["ours"][name] / found[way][name]:.2f}' for name in ('tokens_per_second', 'tokens_per_cpu_second')] if 'ours' in found else ['', '']
            print(f'{way:12} {found[way]["tokens_per_second"]:>7,} tokens/s (ours is {ratio[0]} times that)  {found[way]["tokens_per_cpu_second"]:>7,} tokens a processor second ({ratio[1]})  '
                  f'last loss {found[way]["losses"][-1]:.4f}', flush=True)
        if {'ours', 'plain'} <= set(found):
            print(f'largest difference of the loss between ours and plain in {given.steps} steps: {max(abs(a - b) for a, b in zip(found["ours"]["losses"], found["plain"]["losses"])):.5f}')


if __name__ == '__main__': main()
