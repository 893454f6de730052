"""Training: what must hold on real weights, over many inputs, and when something goes wrong."""
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from instructgen import losses
from instructgen.checkpoints import add_adapter, find_base, last_checkpoint, load_base, load_tokenizer, weights_mark
from instructgen.losses import mean_loss, summed_loss
from instructgen.presets import PRESETS, TrainConfig, count_steps, preset, read_config
from instructgen.prompts import Encoded, read_format, read_note
from instructgen.records import Context, Example
from instructgen.steps import cut_batches, gather_rows, learnt_tokens, make_arrays, step_rows
from instructgen.tiny import make_tiny_model
from instructgen.train import train
from instructgen.trainer import StepRunner, read_log
from instructgen.trainset import make_trainset

TEXT = 'The keeper of the lighthouse writes down the weather every evening. Who writes it down? The keeper. 0 1 2 3 4 5 6 7 8 9'
EXAMPLES = [Example(f'{number}', 'Say the number again.', f'{number % 7} ' * (1 + number % 9), f'{number % 7}', source='numbers') for number in range(48)]


@pytest.fixture(scope='module', autouse=True)
def one_thread():
    "Models of a few thousand weights are slower on several threads, and much slower on a busy machine."
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope='module')
def bases(tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp('bases')
    return {kind: str(make_tiny_model([TEXT], folder / kind, kind, vocab=300, hidden=32, layers=2)) for kind in ('llama', 't5')}


@pytest.fixture
def config(bases) -> TrainConfig:
    return TrainConfig(bases['llama'], format='plain', steps=12, lr=5e-3, save_every=4, device='cpu', precision='fp32')


def weights(folder: str | Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file
    return load_file(next(Path(folder).glob('*model.safetensors')))


def same(first: str | Path, second: str | Path) -> bool:
    one, two = weights(first), weights(second)
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


# ---- steps and batches

@given(st.integers(1, 200), st.integers(1, 20), st.integers(0, 5))
def test_an_epoch_sees_every_row_once(rows, batch, seed):
    steps = -(-rows // batch)
    for epoch in (0, 2):
        seen = np.concatenate([step_rows(rows, batch, seed, epoch * steps + step) for step in range(steps)])
        assert sorted(seen) == list(range(rows))


@given(st.lists(st.integers(1, 300), min_size=1, max_size=40), st.integers(1, 2000), st.integers(0, 100))
def test_batches_hold_every_row_and_the_budget(lengths, budget, overhead):
    batches = cut_batches(lengths, budget, overhead)
    assert sorted(sum(batches, [])) == list(range(len(lengths)))
    for batch in batches: assert len(batch) == 1 or len(batch) * max(lengths[place] for place in batch) <= budget


@given(st.lists(st.integers(1, 60), min_size=1, max_size=7), st.integers(0, 40))
def test_batches_cost_least(lengths, overhead):
    def cost(batches): return sum(len(batch) * max(lengths[place] for place in batch) + overhead for batch in batches)
    order = sorted(range(len(lengths)), key=lambda place: -lengths[place])
    cuts = ([order[begin:end] for begin, end in zip([0, *marks], [*marks, len(order)])]
            for bits in range(1 << (len(order) - 1)) for marks in [[place + 1 for place in range(len(order) - 1) if bits >> place & 1]])
    assert cost(cut_batches(lengths, 10**9, overhead)) == min(map(cost, cuts))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(1, 9)), min_size=1, max_size=6), st.booleans())
def test_counted_tokens_are_those_of_the_arrays(lengths, learn_all):
    rows = gather_rows(Encoded([3] * source, [4] * target) for source, target in lengths)
    chosen = list(range(len(rows)))
    assert learnt_tokens(rows, chosen, learn_all) == len(make_arrays(rows, chosen, 0, learn_all)['labels'])
    assert learnt_tokens(rows, chosen, encoder_decoder=True) == len(make_arrays(rows, chosen, 0, start=0)['labels'])


@pytest.mark.parametrize('kind', ['llama', 't5'])
@pytest.mark.parametrize('learn_all', [False, True])
def test_loss_is_that_of_padded_batches_with_a_mask(bases, kind, learn_all):
    model, chance = load_base(TrainConfig(bases[kind]), bases[kind]).eval(), np.random.default_rng(0)
    rows = [Encoded(chance.integers(3, 250, size).tolist(), chance.integers(3, 250, 1 + size % 5).tolist()) for size in (1, 4, 20, 3, 9)]
    flat, start = gather_rows(rows), 0 if kind == 't5' else None
    ours = sum(summed_loss(model, make_arrays(flat, batch, 0, learn_all, start)).item() for batch in cut_batches(flat.source_lengths + flat.target_lengths, 30))
    count = learnt_tokens(flat, range(5), learn_all, kind == 't5')
    def padded(lists, fill): return torch.tensor([list(ids) + [fill] * (max(map(len, lists)) - len(ids)) for ids in lists])
    if kind == 't5': given = {'input_ids': [row.source for row in rows], 'labels': [row.target for row in rows]}
    else: given = {'input_ids': [row.ids for row in rows], 'labels': [row.ids if learn_all else row.labels for row in rows]}
    theirs = model(input_ids=padded(given['input_ids'], 0), attention_mask=padded([[1] * len(ids) for ids in given['input_ids']], 0), labels=padded(given['labels'], -100)).loss
    assert ours / count == pytest.approx(theirs.item(), abs=1e-5)


def test_one_conversion_a_step_changes_nothing(bases, config):
    "Under bf16 the weights are converted once for all batches of a step; the gradient is that of single batches."
    trainset = make_trainset(EXAMPLES, config, load_tokenizer(bases['llama']))
    gradients = []
    for budget in (60, 10**6):
        model = load_base(config, bases['llama'])
        runner = StepRunner(trainset.rows, replace(config, batch_tokens=budget), 0, precision='bf16')
        runner.run(model, 0, lambda loss: loss.backward())
        gradients.append(torch.cat([weight.grad.flatten() for weight in model.parameters()]))
    assert torch.nn.functional.cosine_similarity(*gradients, dim=0) > .999
    assert torch.isfinite(gradients[0]).all()


# ---- the whole way

def test_the_same_twice_and_nothing_of_the_callers_chance(config, tmp_path):
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    first, second = (train(EXAMPLES, config, tmp_path / name, progress=False) for name in 'ab')
    assert same(first, second) and torch.equal(before[0], torch.get_rng_state()) and (before[1] == np.random.get_state()[1]).all()
    assert not same(first, train(EXAMPLES, replace(config, seed=1), tmp_path / 'c', progress=False))


@pytest.mark.parametrize('kind', ['llama', 't5'])
def test_sorted_and_plain_batches_train_alike(bases, config, tmp_path, kind):
    logs = [read_log(train(EXAMPLES, replace(config, model=bases[kind], batches=batches), tmp_path / batches, progress=False) / 'train_log.csv') for batches in ('sorted', 'plain')]
    assert [line.tokens for line in logs[0]] == [line.tokens for line in logs[1]]
    assert [line.loss for line in logs[0]] == pytest.approx([line.loss for line in logs[1]], abs=1e-3)
    assert logs[0][-1].loss < .8 * logs[0][0].loss


def test_killed_training_goes_on_to_the_same_weights(config, tmp_path):
    "kill -9 after the first checkpoint; what resumes it ends where an undisturbed run ends, bit by bit."
    config = replace(config, steps=60, save_every=10)
    rows = tmp_path / 'rows.jsonl'
    rows.write_text('\n'.join(json.dumps(asdict(example)) for example in EXAMPLES))
    asked = tmp_path / 'config.json'
    asked.write_text(json.dumps({**asdict(config), 'examples': str(rows), 'out': str(tmp_path / 'killed'), 'progress': False}))
    child = subprocess.Popen([sys.executable, '-m', 'instructgen.train', str(asked)], env={**os.environ, 'OMP_NUM_THREADS': '1'}, stderr=subprocess.PIPE)
    try:
        while last_checkpoint(tmp_path / 'killed' / 'checkpoints') is None:
            assert child.poll() is None, child.stderr.read().decode()
            time.sleep(.002)
    finally: child.send_signal(signal.SIGKILL); child.wait()
    reached = last_checkpoint(tmp_path / 'killed' / 'checkpoints')
    assert reached and not (tmp_path / 'killed' / 'instructgen.json').exists()
    with pytest.raises(FileExistsError, match='holds an unfinished training'): train(rows, config, tmp_path / 'killed')
    killed = train(rows, config, tmp_path / 'killed', resume=True, progress=False)
    whole = train(rows, config, tmp_path / 'whole', progress=False)
    assert same(killed, whole)
    assert [line.step for line in read_log(killed / 'train_log.csv')] == list(range(1, 61))
    assert [line.loss for line in read_log(killed / 'train_log.csv')] == [line.loss for line in read_log(whole / 'train_log.csv')]
    assert not (killed / 'checkpoints').exists() and read_note(killed)['steps'] == 60


def test_an_interrupted_checkpoint_is_passed_over(config, tmp_path):
    out = tmp_path / 'run'
    config = replace(config, steps=8)
    stopped = losses.summed_loss
    calls = []
    def stop(*given):
        calls.append(1)
        if len(calls) > 40: raise KeyboardInterrupt
        return stopped(*given)
    losses.summed_loss = stop
    try:
        with pytest.raises(KeyboardInterrupt): train(EXAMPLES * 4, replace(config, batch_tokens=200, steps=30), out, progress=False)
    finally: losses.summed_loss = stopped
    good = last_checkpoint(out / 'checkpoints')
    assert good is not None
    broken = out / 'checkpoints' / 'checkpoint-99'
    broken.mkdir()
    (broken / 'trainer_state.json').write_text('{"global_st')
    assert last_checkpoint(out / 'checkpoints') == good
    done = train(EXAMPLES * 4, replace(config, batch_tokens=200, steps=30), out, resume=True, progress=False)
    assert read_note(done)['steps'] == 30


def test_finished_training_is_refused_returned_or_done_again(config, tmp_path):
    out = train(EXAMPLES, config, tmp_path / 'run', progress=False)
    mark = weights_mark(out)
    with pytest.raises(FileExistsError, match='holds a finished training'): train(EXAMPLES, config, out)
    assert train(EXAMPLES, config, out, resume=True) == out and weights_mark(out) == mark
    with pytest.raises(ValueError, match='the examples are not the same'): train(EXAMPLES[1:], config, out, resume=True)
    with pytest.raises(ValueError, match='lr is 0.1 here'): train(EXAMPLES, replace(config, lr=.1), out, resume=True)
    train(EXAMPLES, replace(config, lr=1e-4), out, overwrite=True, progress=False)
    assert weights_mark(out) != mark
    torch.save({}, tmp_path / 'x.bin')
    with pytest.raises(FileExistsError, match='no training of ours'): train(EXAMPLES, config, tmp_path, overwrite=True)


def test_a_base_that_changed_is_no_resume(config, tmp_path):
    base = make_tiny_model([TEXT], tmp_path / 'base', vocab=300, hidden=32, layers=1)
    config = replace(config, model=str(base), steps=2)
    out = train(EXAMPLES, config, tmp_path / 'run', progress=False)
    for path in base.iterdir(): path.unlink()
    make_tiny_model([TEXT], base, vocab=300, hidden=32, layers=1, seed=5)
    with pytest.raises(ValueError, match='base or adapter are not the same'): train(EXAMPLES, config, out, resume=True)


def test_two_at_once_in_one_folder(config, tmp_path):
    from instructgen.store import take_lock
    lock = take_lock(tmp_path)
    try:
        with pytest.raises(BlockingIOError, match='another run is writing'): train(EXAMPLES, config, tmp_path, progress=False)
    finally: os.close(lock)


# ---- when something goes wrong

def test_no_number_stops_with_step_and_checkpoint(config, tmp_path, monkeypatch):
    real, steps = losses.summed_loss, []
    def poisoned(model, arrays, whole_head=False):
        steps.append(1)
        return real(model, arrays, whole_head) * (float('nan') if len(steps) > 6 else 1)
    monkeypatch.setattr(losses, 'summed_loss', poisoned)
    monkeypatch.setattr('instructgen.trainer.cut_batches', lambda lengths, budget, overhead: [list(range(len(lengths)))])
    with pytest.raises(FloatingPointError, match=r'the loss is nan at step 7; the last good checkpoint is .*checkpoint-4'): train(EXAMPLES, config, tmp_path / 'run', progress=False)
    monkeypatch.undo()
    assert read_note(train(EXAMPLES, config, tmp_path / 'run', resume=True, progress=False))['steps'] == 12
    assert all(np.isfinite(weight).all() for weight in map(np.asarray, weights(tmp_path / 'run').values()))


def test_a_gradient_that_is_no_number_never_reaches_the_weights(config, tmp_path, monkeypatch):
    real = losses.summed_loss
    class Poison(torch.autograd.Function):
        @staticmethod
        def forward(context, value): return value.clone()
        @staticmethod
        def backward(context, gradient): return gradient * float('inf')
    monkeypatch.setattr(losses, 'summed_loss', lambda *given: Poison.apply(real(*given)))
    with pytest.raises(FloatingPointError, match='the norm of the gradient is (nan|inf) at step 1; there is no checkpoint before it'): train(EXAMPLES, config, tmp_path / 'run', progress=False)


def test_out_of_memory_halves_and_says_so(config, tmp_path, monkeypatch, caplog):
    whole = train(EXAMPLES, config, tmp_path / 'whole', progress=False)
    real = losses.summed_loss
    def small(model, arrays, whole_head=False):
        if arrays['input_ids'].size > 150: raise torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 20.00 GiB')
        return real(model, arrays, whole_head)
    monkeypatch.setattr(losses, 'summed_loss', small)
    narrow = train(EXAMPLES, config, tmp_path / 'narrow', progress=False)
    assert read_note(narrow)['out_of_memory'] and read_note(whole)['out_of_memory'] == [] and 'batches of at most' in caplog.text
    one, two = (read_log(folder / 'train_log.csv') for folder in (whole, narrow))
    assert [line.tokens for line in one] == [line.tokens for line in two]
    assert [line.loss for line in one] == pytest.approx([line.loss for line in two], abs=1e-4)
    monkeypatch.setattr(losses, 'summed_loss', lambda *given: (_ for _ in ()).throw(RuntimeError("DefaultCPUAllocator: can't allocate memory")))
    with pytest.raises(MemoryError, match='at step 1 with a single row of'): train(EXAMPLES, config, tmp_path / 'none', progress=False)


FULL = '''
import resource, signal, sys
from instructgen.presets import TrainConfig
from instructgen.train import train
from instructgen.records import Example
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
rows = [Example(str(number), 'Say.', str(number), str(number)) for number in range(40)]
config = TrainConfig(sys.argv[1], format='plain', steps=8, save_every=4, device='cpu')
import instructgen.trainer as trainer
kept = trainer.saving
def later(folder, keep=None):                     # the disk is full after the first checkpoint
    if keep: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    return kept(folder, keep)
trainer.saving = later
train(rows, config, sys.argv[2], progress=False)
'''


def test_a_full_disk_keeps_the_last_checkpoint(bases, tmp_path):
    done = subprocess.run([sys.executable, '-c', FULL, bases['llama'], str(tmp_path / 'run')], capture_output=True, text=True)
    assert 'no room to write' in done.stderr and 'checkpoint-4 is whole' in done.stderr, done.stderr[-2000:]
    assert last_checkpoint(tmp_path / 'run' / 'checkpoints').name == 'checkpoint-4'
    rows = [Example(str(number), 'Say.', str(number), str(number)) for number in range(40)]
    out = train(rows, TrainConfig(bases['llama'], format='plain', steps=8, save_every=4, device='cpu'), tmp_path / 'run', resume=True, progress=False)
    assert read_note(out)['steps'] == 8


def test_what_is_missing_is_named(bases, config, tmp_path):
    with pytest.raises(FileNotFoundError, match='no folder /nowhere/model'): train(EXAMPLES, replace(config, model='/nowhere/model'), tmp_path / 'a')
    bare = tmp_path / 'bare'
    bare.mkdir()
    for name in ('config.json', 'model.safetensors'): (bare / name).write_bytes(Path(bases['llama'], name).read_bytes())
    with pytest.raises(FileNotFoundError, match='has no tokenizer: want tokenizer.json'): train(EXAMPLES, replace(config, model=str(bare)), tmp_path / 'b')
    with pytest.raises(ValueError, match="no row is left of 1: {'empty_target': 1}"): train([Example('1', 'Say.', '', ' ')], config, tmp_path / 'c')
    with pytest.raises((ImportError, RuntimeError), match='four_bit needs'): train(EXAMPLES, replace(config, four_bit=True, lora_rank=2), tmp_path / 'd')
    assert not (tmp_path / 'a').exists() and not (tmp_path / 'b').exists()


def test_held_out_rows_are_measured_and_not_trained_on(config, tmp_path):
    out = train(EXAMPLES, replace(config, eval_share=.25, eval_every=4), tmp_path / 'run', progress=False)
    note, lines = read_note(out), read_log(tmp_path / 'run' / 'train_log.csv')
    assert note['held_out_rows'] == 12 and note['counts']['kept'] == 48
    assert [line.step for line in lines if line.eval_loss == line.eval_loss] == [4, 8]
    trainset = make_trainset(EXAMPLES, replace(config, eval_share=.25), load_tokenizer(config.model))
    assert mean_loss(load_base(config, str(out)), trainset.held_out) == pytest.approx(note['losses']['held_out'], abs=1e-5)


def test_rows_longer_than_the_model_are_cut_and_counted(config, tmp_path):
    long = [Example(f'{number}', 'Say it.', 'word ' * 2000, 'yes') for number in range(4)]
    out = train(long, replace(config, steps=1, max_source=0, max_target=0), tmp_path / 'run', progress=False)
    assert read_note(out)['counts']['cut_sources'] == 4


# ---- several processes

def test_two_processes_train_like_one(config, tmp_path):
    config = replace(config, steps=7, batch=13)  # 48 rows: the last step of an epoch has 9, so the shares differ
    rows = tmp_path / 'rows.jsonl'
    rows.write_text('\n'.join(json.dumps(asdict(example)) for example in EXAMPLES[:27]))  # and here the last has a single row
    asked = tmp_path / 'config.json'
    asked.write_text(json.dumps({**asdict(config), 'examples': str(rows), 'out': str(tmp_path / 'two'), 'progress': False}))
    launch = [sys.executable, '-m', 'accelerate.commands.launch', '--multi_gpu', '--num_processes', '2', '--num_machines', '1', '--mixed_precision', 'no', '--dynamo_backend', 'no',
              '--main_process_port', '0', '-m', 'instructgen.train', str(asked)]  # "multi" is what starts processes; the configuration says device cpu
    done = subprocess.run(launch, capture_output=True, text=True, timeout=120, env={**os.environ, 'OMP_NUM_THREADS': '1'})
    assert done.returncode == 0, done.stderr[-3000:]
    one = train(rows, config, tmp_path / 'one', progress=False)
    logs = [read_log(tmp_path / name / 'train_log.csv') for name in ('one', 'two')]
    assert read_note(tmp_path / 'two')['processes'] == 2
    assert [line.tokens for line in logs[0]] == [line.tokens for line in logs[1]]
    assert [line.loss for line in logs[0]] == pytest.approx([line.loss for line in logs[1]], abs=1e-3)


# ---- real weights

@pytest.fixture(scope='module')
def stories(shared_data) -> str: return str(shared_data / 'models' / 'stories260K')


STORY = [Example(f'{number}', 'Tell what the girl saw.', f'Lily went to the {place} with her mom.', f'She saw a big red {thing} in the {place}.')
         for number, (place, thing) in enumerate((place, thing) for place in ('park', 'zoo', 'shop', 'sea') for thing in ('ball', 'dog', 'car', 'hat', 'bird', 'boat'))]


def test_lora_on_real_weights_lowers_the_loss_and_is_continued(stories, tmp_path):
    config = TrainConfig(stories, format='plain', epochs=6., batch=8, lr=1e-2, lora_rank=8, eval_share=.25, device='cpu')
    first = train(STORY, config, tmp_path / 'first', progress=False)
    note = read_note(first)
    assert note['start'] == 'pretrained' and note['losses']['last'] < .7 * note['losses']['first']
    assert sorted(weights(first)) and all('lora_' in name for name in weights(first))
    second = train(STORY, replace(config, adapter=str(first), lora_rank=0), tmp_path / 'second', progress=False)
    assert weights(first).keys() == weights(second).keys() and not same(first, second)
    assert read_note(second)['losses']['first'] < note['losses']['first'] - .5   # it began where the first ended
    assert len(read_note(second)['history']) == 2
    loaded = add_adapter(load_base(config, stories), config, str(second))
    held = make_trainset(STORY, config, load_tokenizer(stories)).held_out
    assert mean_loss(loaded, held) == pytest.approx(read_note(second)['losses']['held_out'], abs=.02)
    assert find_base(TrainConfig(str(second))) == (stories, str(second))


def test_an_adapter_for_another_base_is_refused(stories, bases, config, tmp_path):
    adapter = train(STORY, TrainConfig(stories, format='plain', steps=1, lora_rank=2, device='cpu'), tmp_path / 'adapter', progress=False)
    with pytest.raises(ValueError, match=f'was trained on {stories}, not on'): train(STORY, replace(config, adapter=str(adapter)), tmp_path / 'x')
    note = read_note(adapter) | {'base_mark': ''}
    (adapter / 'instructgen.json').write_text(json.dumps(note))
    (adapter / 'adapter_config.json').write_text(json.dumps({**json.loads((adapter / 'adapter_config.json').read_text()), 'base_model_name_or_path': bases['llama']}))
    with pytest.raises(ValueError, match='does not fit this base'): train(STORY, replace(config, adapter=str(adapter)), tmp_path / 'y', progress=False)


def test_plain_text_on_real_weights(stories, tmp_path):
    text = [Context('Once upon a time, there was a little lighthouse keeper. He wrote down the weather.', 'lamp', row=number) for number in range(8)]
    config = TrainConfig(stories, format='raw', learn='all', steps=12, batch=4, lr=2e-3, device='cpu', precision='fp32')
    out = train(text, config, tmp_path / 'tapt', progress=False)
    lines = read_log(out / 'train_log.csv')
    assert lines[-1].loss < .7 * lines[0].loss and read_format(out).kind == 'raw'
    tokenizer = load_tokenizer(stories)
    ids = [tokenizer.bos_token_id, *tokenizer(text[0].text, add_special_tokens=False)['input_ids'], tokenizer.eos_token_id]
    model = load_base(config, stories)
    plain = model(input_ids=torch.tensor([ids]), labels=torch.tensor([ids])).loss.item()
    assert lines[0].loss == pytest.approx(plain, abs=1e-4)
    assert lines[0].tokens == 4 * len(ids)


@pytest.mark.parametrize('kind', ['llama', 't5'])
def test_adapters_with_recomputed_activations_train_alike(bases, config, tmp_path, kind):
    config = replace(config, model=bases[kind], lora_rank=4, steps=4)
    logs = [read_log(train(EXAMPLES, replace(config, checkpointing=checkpointing), tmp_path / f'{checkpointing}', progress=False) / 'train_log.csv') for checkpointing in (False, True)]
    assert [line.loss for line in logs[0]] == pytest.approx([line.loss for line in logs[1]], abs=1e-5)
    assert logs[0][-1].gradient > 0 and set(weights(tmp_path / 'True')) == set(weights(tmp_path / 'False'))
    assert read_note(tmp_path / 'True')['start'] == 'random'   # inherited from the base


def test_other_models_than_llamas(tmp_path):
    "A head with a bias, one without shared embeddings, logits with a soft cap: the loss at chosen places is the model's own."
    import transformers
    common = dict(vocab_size=60, bos_token_id=1, eos_token_id=2, pad_token_id=0)
    models = [transformers.GPT2LMHeadModel(transformers.GPT2Config(**common, n_embd=16, n_layer=1, n_head=2, n_positions=64)),
              transformers.GPTNeoXForCausalLM(transformers.GPTNeoXConfig(**common, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)),
              transformers.PhiForCausalLM(transformers.PhiConfig(**common, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)),
              transformers.OPTForCausalLM(transformers.OPTConfig(**common, hidden_size=16, word_embed_proj_dim=16, num_hidden_layers=1, num_attention_heads=2, ffn_dim=32, max_position_embeddings=64)),
              transformers.Gemma2ForCausalLM(transformers.Gemma2Config(**common, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1, head_dim=8, intermediate_size=32, final_logit_softcapping=.5))]
    rows = gather_rows([Encoded([1, 5, 6, 9, 11], [7, 8, 2]), Encoded([1, 4], [8, 2])])
    for model in models:
        arrays = make_arrays(rows, [0, 1])
        ids, mask = torch.tensor(arrays['input_ids']), torch.tensor([[1] * 8, [1] * 4 + [0] * 4])
        labels = torch.tensor([[-100] * 5 + [7, 8, 2], [-100] * 2 + [8, 2] + [-100] * 4])
        theirs = model.eval()(input_ids=ids, attention_mask=mask, labels=labels).loss.item()
        assert summed_loss(model, arrays).item() / 5 == pytest.approx(theirs, abs=1e-5), type(model).__name__


# ---- presets

def test_published_settings():
    assert (PRESETS['bonito'].steps, PRESETS['bonito'].lora_rank, PRESETS['bonito'].clip, PRESETS['bonito'].four_bit) == (100_000, 64, .3, True)
    assert count_steps(PRESETS['bonito-target'], 3000) == 188
    assert (PRESETS['dynosaur-t5-3b'].lr, PRESETS['dynosaur-t5-3b'].warmup_steps, PRESETS['dynosaur-t5-3b'].epochs) == (1e-5, 600, 2.)
    for name in PRESETS: assert read_config(json.loads(json.dumps(asdict(preset(name))))) == preset(name)


@given(st.integers(1, 10**6), st.integers(1, 256), st.floats(.01, 5), st.integers(0, 20_000))
def test_steps_are_enough_for_the_epochs(rows, batch, epochs, ceiling):
    steps = count_steps(TrainConfig('base', batch=batch, epochs=epochs, max_steps=ceiling), rows)
    per_epoch = -(-rows // batch)
    assert steps == ceiling or abs(steps - epochs * per_epoch) <= 1
    assert not ceiling or steps <= ceiling
