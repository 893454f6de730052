"""Weights on this machine: checkpoints and their faults, chance, batches, likelihoods, and runs that are killed."""
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hub_server import HubServer
from hypothesis import given, settings, strategies as st
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

from instructgen.batches import Prompt, encode_request, plan_batches
from instructgen import decode
from instructgen.decode import chance_table, decode_batch, pick_tokens
from instructgen.llm import Budget, BudgetReached, Choices, KeptLLM, RecordedLLM, Request, Sampling, open_llm
from instructgen.local import Halving, LocalLLM, open_local
from instructgen.loglik import Question, encode_choices, plan_questions, score_batch
from instructgen.prompts import build_prompt, encode, prompt_ids, write_format
from instructgen.records import Example
from instructgen.vllm import VLLM, open_vllm
from instructgen.weights import Checkpoint, Weights, find_checkpoint, hash_checkpoint, load_weights

ROOT = Path(__file__).parent.parent
DRAWN = Sampling(max_tokens=12, temperature=.9, top_p=.9, seed=3)


def make(folder: Path, kind: str = 'llama', seed: int = 0, **more) -> Path:
    "A checkpoint of random weights over bytes."
    marks = ['<pad>', '<s>', '</s>']
    core = Tokenizer(models.BPE({token: n for n, token in enumerate(marks + sorted(pre_tokenizers.ByteLevel.alphabet()))}, []))
    core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=core, pad_token='<pad>', bos_token='<s>', eos_token='</s>').save_pretrained(folder)
    torch.manual_seed(seed)
    marks = dict(vocab_size=259, pad_token_id=0, bos_token_id=1, eos_token_id=2)
    if kind == 'llama':
        sizes = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256, initializer_range=.4)
        model = LlamaForCausalLM(LlamaConfig(**{**sizes, **marks, **more}))
    elif kind == 'gpt2': model = GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=128, initializer_range=.4, **marks))
    else: model = T5ForConditionalGeneration(T5Config(d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, decoder_start_token_id=0, **marks, **more))
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope='module')
def folders(tmp_path_factory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp('models')
    return {kind: make(place / kind, kind) for kind in ('llama', 't5', 'gpt2')}


@pytest.fixture(scope='module')
def loaded(folders) -> dict: return {kind: load_weights(folder, device='cpu') for kind, folder in folders.items()}


def texts(count: int) -> list[str]: return [f'{"word " * (n * 7 % 23)}number {n}' for n in range(count)]


def requests(count: int, draws: int = 1) -> list[Request]: return [Request(text, f'{n}-{draw}', draw) for n, text in enumerate(texts(count)) for draw in range(draws)]


# ---------------------------------------------------------------- checkpoints

def broken(folder: Path, what: str) -> Path:
    "A copy of a checkpoint with something wrong."
    copy = folder.parent / f'{folder.name}-{what}'
    if copy.exists(): shutil.rmtree(copy)
    shutil.copytree(folder, copy)
    config, weights = json.loads((copy / 'config.json').read_text()), copy / 'model.safetensors'
    if what == 'no config': (copy / 'config.json').unlink()
    elif what == 'no weights': weights.unlink()
    elif what == 'no tokenizer': [path.unlink() for path in copy.glob('tokenizer*')]
    elif what == 'half a tokenizer': (copy / 'tokenizer.json').write_text((copy / 'tokenizer.json').read_text()[:99])
    elif what == 'cut weights': weights.write_bytes(weights.read_bytes()[:-100])
    elif what == 'no weights in the weights': weights.write_bytes(b'\0' * 4000)
    elif what == 'broken config': (copy / 'config.json').write_text('{"model_type":')
    elif what == 'unknown type': config.update(model_type='unheard-of')
    elif what == 'own code': config.update(model_type='unheard-of', auto_map={'AutoModel': 'model.Model'})
    elif what == 'an encoder': config.update(model_type='bert', architectures=['BertModel'])
    elif what == 'another depth': config.update(num_hidden_layers=4)
    elif what == 'another width': config.update(intermediate_size=48)
    elif what == 'a small vocabulary': config.update(vocab_size=100)
    if what not in ('no config', 'broken config'): (copy / 'config.json').write_text(json.dumps(config))
    return copy


@pytest.mark.parametrize('what, error, words', [
    ('no config', FileNotFoundError, 'is no checkpoint: want config.json'), ('no weights', FileNotFoundError, 'holds no weights: want model.safetensors'),
    ('no tokenizer', FileNotFoundError, 'has no tokenizer: want one of tokenizer.json'), ('half a tokenizer', ValueError, 'the tokenizer in'), ('cut weights', ValueError, 'cannot be read'),
    ('no weights in the weights', ValueError, 'cannot be read'), ('broken config', ValueError, 'config.json is no JSON'), ('unknown type', ValueError, "does not know: a newer release"),
    ('own code', ValueError, 'code from strangers is not run'), ('an encoder', ValueError, 'writes no text'), ('another depth', ValueError, 'are not in the weights, among them model.layers.2'),
    ('another width', ValueError, '(model.safetensors) cannot be read|another shape'), ('a small vocabulary', ValueError, '(model.safetensors) cannot be read|another shape')])
def test_a_broken_checkpoint_is_named(folders, what, error, words):
    with pytest.raises(error) as caught: open_local(str(broken(folders['llama'], what)), device='cpu')
    assert any(part in str(caught.value) for part in words.split('|')), caught.value


@pytest.mark.parametrize('spec, error, words', [
    ('local:./nowhere', FileNotFoundError, 'there is no folder ./nowhere'), ('local:', ValueError, 'says nothing after'), ('local:x?device=tpu', ValueError, "device is 'tpu'"),
    ('local:x?dtype=int8&device=cpu', ValueError, "dtype is 'int8'"), ('local:x?rows=many', ValueError, 'want whole numbers'), ('local:x?trust_remote_code=1', ValueError, 'is no option of a local model')])
def test_a_string_that_names_no_weights(spec, error, words):
    with pytest.raises(error, match=words.replace('?', '.')): open_llm(spec)


def test_four_bits_are_named_where_they_are_not(folders):
    with pytest.raises((ImportError, ValueError), match='4-bit weights need|4bit'): open_local(str(folders['llama']), device='cpu', quantize='4bit')
    with pytest.raises(ValueError, match="want '4bit'"): open_local(str(folders['llama']), device='cpu', quantize='8bit')


def test_shards_and_a_missing_one(tmp_path, folders):
    LlamaForCausalLM.from_pretrained(folders['llama']).save_pretrained(tmp_path, max_shard_size='40KB')
    for name in ('tokenizer.json', 'tokenizer_config.json'): shutil.copy(folders['llama'] / name, tmp_path)
    weights = load_weights(tmp_path, device='cpu')
    assert torch.equal(weights.model.lm_head.weight, load_weights(folders['llama'], device='cpu').model.lm_head.weight)
    next(tmp_path.glob('model-00002*')).unlink()
    with pytest.raises(FileNotFoundError, match='model-00002-of-.* is not there'): load_weights(tmp_path)


def test_an_adapter(tmp_path, folders):
    base = load_weights(folders['llama'], device='cpu')
    torch.manual_seed(1)
    lora = get_peft_model(LlamaForCausalLM.from_pretrained(folders['llama']), LoraConfig(r=4, target_modules='all-linear', init_lora_weights=False))
    lora.save_pretrained(tmp_path / 'adapter')
    ids = torch.tensor([[1, 70, 80, 90]])
    weights = load_weights(tmp_path / 'adapter', device='cpu')  # its config says where the base is
    with torch.inference_mode(): assert torch.allclose(weights.model(ids).logits, lora.eval()(ids).logits, atol=1e-4)
    assert not torch.allclose(weights.model(ids).logits, base.model(ids).logits, atol=1e-2)
    assert weights.fingerprint.count('+') == 1 and base.fingerprint.split('|')[1] in weights.fingerprint
    make(tmp_path / 'wide', hidden_size=64)
    make(tmp_path / 'deep', num_hidden_layers=1)
    for other in (tmp_path / 'wide', tmp_path / 'deep', folders['t5']):
        with pytest.raises(ValueError, match='the adapter adapter was made for another base than'): load_weights(tmp_path / 'adapter', device='cpu', base=other)
    with pytest.raises(ValueError, match='takes no base'): load_weights(folders['llama'], base=folders['t5'])
    (tmp_path / 'adapter' / 'adapter_model.safetensors').write_bytes(b'\0' * 100)
    with pytest.raises(ValueError, match='adapter_model.safetensors cannot be read'): load_weights(tmp_path / 'adapter', device='cpu')


def test_the_fingerprint_is_of_the_content(tmp_path, folders):
    one, two = (Path(shutil.copytree(folders['llama'], tmp_path / name)) for name in 'ab')
    first = hash_checkpoint(find_checkpoint(one))
    assert hash_checkpoint(find_checkpoint(two)) == first
    (two / 'optimizer.pt').write_bytes(b'1')
    assert hash_checkpoint(find_checkpoint(two)) == first
    write_format(two, 'alpaca', seconds=12)
    formatted = hash_checkpoint(find_checkpoint(two))
    write_format(two, 'alpaca', seconds=13)
    assert formatted != first and hash_checkpoint(find_checkpoint(two)) == formatted
    for name in ('generation_config.json', 'tokenizer.json', 'model.safetensors'):
        before = (one / name).read_bytes()
        (one / name).write_bytes(before + b' ')
        assert hash_checkpoint(find_checkpoint(one)) != first, name
        (one / name).write_bytes(before)
    assert load_weights(folders['llama'], device='cpu', dtype='bfloat16').fingerprint != load_weights(folders['llama'], device='cpu').fingerprint


class ModelHub(HubServer):
    "The hub's stand-in with models in the place of datasets."
    def _handler(self):
        class Handler(super()._handler()):
            def do_GET(self, sent: bytes = b''):
                self.path = self.path.replace('/api/models/', '/api/datasets/')
                if not self.path.startswith(('/api/', '/datasets/')): self.path = '/datasets' + self.path
                super().do_GET(sent)

            def send_header(self, key: str, value: str): super().send_header(key, f'"{self.path.replace("/", "-")}"' if key == 'ETag' else value)  # another commit, another file
        return Handler


def test_a_model_of_the_hub_is_its_commit(tmp_path, folders, monkeypatch):
    files = {path.name: path.read_bytes() for path in folders['llama'].iterdir()} | {'pytorch_model.bin': b'not wanted'}
    other = {path.name: path.read_bytes() for path in make(tmp_path / 'other', seed=5).iterdir()}
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_OFFLINE', False)
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_CACHE', str(tmp_path / 'cache'))
    monkeypatch.setattr('time.sleep', lambda seconds: None)
    with ModelHub({'me/model': {'sha': 'a' * 40, 'files': files, 'branches': {'new': {'sha': 'b' * 40, 'files': other}}}, 'me/gated': {'sha': 'c' * 40, 'files': {}, 'status': 403}}) as server:
        monkeypatch.setenv('HF_ENDPOINT', server.address)
        first = load_weights('me/model', device='cpu')
        assert first.fingerprint == f'local|me/model@{"a" * 40}|float32' and not [path for path in server.calls if 'pytorch_model' in path]
        second = load_weights('me/model@new', device='cpu')
        assert second.fingerprint == f'local|me/model@{"b" * 40}|float32' and not torch.equal(first.model.lm_head.weight, second.model.lm_head.weight)
        with pytest.raises(FileNotFoundError, match="no folder 'me/nothing' here, and no model of that name"): load_weights('me/nothing')
        with pytest.raises(FileNotFoundError, match="has no revision 'old'"): load_weights('me/model@old')
        with pytest.raises(PermissionError, match='me/gated is gated'): load_weights('me/gated')
    monkeypatch.setenv('HF_ENDPOINT', 'http://127.0.0.1:9')
    assert load_weights('me/model', device='cpu').fingerprint == first.fingerprint  # the hub is gone, what was fetched is there
    with pytest.raises(ConnectionError, match='cannot be reached'): load_weights('you/model')


# ---------------------------------------------------------------- what a model sees

def test_a_prompt_is_tokenised_as_in_training(loaded):
    for kind in ('llama', 't5'):
        weights = loaded[kind]
        example = Example('1', 'Say what it is.', 'A wren', 'a bird')
        trained = encode(example, weights.tokenizer, 'alpaca', encoder_decoder=weights.encoder_decoder)
        asked = encode_request(Request(build_prompt('alpaca', 'Say what it is.', 'A wren')), Sampling(), weights) if kind == 't5' else prompt_ids(build_prompt('alpaca', 'Say what it is.', 'A wren'), weights.tokenizer)
        assert list(trained.source) == list(getattr(asked, 'ids', asked))


def test_a_chat_takes_the_form_of_the_checkpoint(tmp_path, folders):
    folder = Path(shutil.copytree(folders['llama'], tmp_path / 'tuned'))
    write_format(folder, 'bonito-target')
    chat = [{'role': 'user', 'content': 'Name a bird.'}]
    with open_llm(f'local:{folder}?device=cpu') as llm:
        sampling = Sampling(max_tokens=6)
        answers = [done.text for done in llm.generate([Request(chat, 'chat'), Request('<|input|>\nName a bird.\n<|output|>\n', 'text')], sampling)]
    assert answers[0] == answers[1]
    write_format(folder, 'bonito')
    with open_llm(f'local:{folder}?device=cpu') as llm, pytest.raises(ValueError, match="trained in the form 'bonito' and takes no chat"): list(llm.generate([Request(chat)]))


def test_what_is_too_long_is_named_and_what_fits_is_answered(loaded, tmp_path):
    llm = KeptLLM(LocalLLM(loaded['llama']), budget=Budget(tokens=100_000))
    done = {answer.id: answer for answer in llm.generate([Request('x' * 400, 'long'), Request('x' * 250, 'near'), Request('x', 'short')], Sampling(max_tokens=20))}
    assert done['long'].error.startswith('too_long: the prompt has 401 tokens') and llm.statistics().errors == {'too_long': 1}
    assert done['near'].finish == 'length' and done['near'].completion_tokens == 256 - 251 and done['near'].prompt_tokens == 251
    assert llm.budget.used['tokens'] == sum(answer.prompt_tokens + answer.completion_tokens for answer in done.values())
    assert next(LocalLLM(loaded['t5']).generate([Request('x' * 400)], Sampling(max_tokens=3))).error == ''  # relative positions


# ---------------------------------------------------------------- generation

@pytest.mark.parametrize('kind', ['llama', 't5', 'gpt2'])
def test_greedy_is_the_models_own_greedy(loaded, kind):
    weights = loaded[kind]
    rows = [encode_request(request, Sampling(max_tokens=20), weights) for request in requests(8) if len(request.messages) < 90]
    assert len(rows) > 4
    for row, answer in zip(rows, decode_batch(weights, rows, Sampling(max_tokens=20))):
        whole = weights.model.generate(torch.tensor([list(row.ids)]), max_new_tokens=20, do_sample=False)[0].tolist()
        wanted = whole[1 if weights.encoder_decoder else len(row.ids):]
        assert answer.tokens == len(wanted) and answer.finish == ('stop' if wanted[-1] == 2 else 'length')
        before = [] if weights.encoder_decoder else list(row.ids)
        assert weights.tokenizer.decode(before, skip_special_tokens=True) + answer.text == weights.tokenizer.decode([*before, *wanted], skip_special_tokens=True)


@pytest.mark.parametrize('kind', ['llama', 't5', 'gpt2'])
def test_a_row_does_not_depend_on_its_neighbours(loaded, kind):
    weights = loaded[kind]
    asked = requests(12, draws=2)
    llm = LocalLLM(weights, rows=24)
    together = {done.id: done.text for done in llm.generate(asked, DRAWN)}
    alone = {done.id: done.text for done in LocalLLM(weights, rows=1).generate(asked[::-1], DRAWN)}
    assert together == alone and len(set(together.values())) > 12
    assert together != {done.id: done.text for done in llm.generate(asked, Sampling(max_tokens=12, temperature=.9, top_p=.9, seed=4))}


def test_five_draws_are_five_answers_in_any_ledger(loaded, tmp_path):
    with KeptLLM(LocalLLM(loaded['llama'])) as llm:
        done = list(llm.generate([Request('A wren', draw=draw) for draw in range(5)], DRAWN))
    assert len({answer.text for answer in done}) == 5


def test_a_stop_text_ends_and_is_cut(loaded):
    llm = LocalLLM(loaded['llama'])
    whole = {done.id: done for done in llm.generate(requests(6), Sampling(max_tokens=30))}
    stop = whole['3-0'].text[7:10]
    cut = {done.id: done for done in llm.generate(requests(6), Sampling(max_tokens=30, stop=(stop, 'never there')))}
    assert all(cut[id].text == done.text.partition(stop)[0] for id, done in whole.items())
    assert cut['3-0'].finish == 'stop' and cut['3-0'].completion_tokens < 30


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 60), st.integers(1, 20)), max_size=40), st.integers(1, 9), st.integers(1, 400), st.integers(0, 10))
def test_the_plan(sizes, rows, tokens, ran):
    prompts = [Prompt(f'{n}', f'{n * 7919 % 101:03}', [1] * length, room, n) for n, (length, room) in enumerate(sizes)]
    plan = plan_batches(prompts, tokens, rows)
    assert sorted(prompt.id for batch in plan for prompt in batch) == sorted(prompt.id for prompt in prompts)
    assert all(len(batch) <= rows and (len(batch) == 1 or len(batch) * max(len(prompt.ids) + prompt.room for prompt in batch) <= tokens) for batch in plan)
    lengths = [len(prompt.ids) for batch in plan for prompt in batch]
    assert lengths == sorted(lengths, reverse=True)
    assert plan_batches([prompt for batch in plan[ran:] for prompt in reversed(batch)], tokens, rows) == plan[ran:]


@settings(max_examples=40, deadline=None)
@given(st.floats(.05, 1, exclude_max=True), st.floats(.1, 3), st.integers(0, 2**32))
def test_only_the_nucleus_is_drawn(top_p, temperature, seed):
    logits = torch.from_numpy(np.random.default_rng(seed).normal(0, 2, 400)).float()
    chance = (logits / temperature).softmax(-1, dtype=torch.float64)
    order = chance.argsort(descending=True)
    allowed = set(order[:int((chance[order].cumsum(-1) - chance[order] < top_p).sum())].tolist())
    draws = torch.from_numpy(chance_table([seed], 300))[0]
    assert set(pick_tokens(logits.expand(300, -1), Sampling(temperature=temperature, top_p=top_p), draws).tolist()) <= allowed


def test_chance_follows_the_distribution():
    logits = torch.tensor([[0., 1., 2., 3., -9.]]).expand(100_000, -1)
    drawn = pick_tokens(logits, Sampling(temperature=1.), torch.from_numpy(chance_table([11], 100_000))[0])
    expected = logits[0].softmax(-1) * 100_000
    observed = torch.bincount(drawn, minlength=5)
    assert float(((observed - expected) ** 2 / expected).sum()) < 18.5  # chi-square, 4 degrees of freedom, p = 0.001; the seed is fixed


def test_nan_is_an_error(loaded, folders):
    weights = load_weights(folders['llama'], device='cpu')
    with torch.no_grad(): weights.model.model.layers[0].mlp.down_proj.weight[0, 0] = float('nan')
    with pytest.raises(FloatingPointError, match='answers NaN in torch.float32'): list(LocalLLM(weights).generate([Request('x')], Sampling()))


def test_memory_runs_out_and_the_batch_is_halved(loaded, monkeypatch, caplog):
    from instructgen import local
    real, refused, tried = decode_batch, [], []
    def small(weights, prompts, sampling):
        size = len(prompts) * len(prompts[0].ids)
        assert size < min(refused, default=size + 1)  # what was too much is not tried again
        tried.append(len(prompts))
        if size <= 400: return real(weights, prompts, sampling)
        refused.append(size)
        raise torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 20 MiB')
    want = {done.id: done.text for done in LocalLLM(loaded['llama'], rows=12).generate(requests(20), DRAWN)}
    monkeypatch.setattr(local, 'decode_batch', small)
    kept = []
    llm = KeptLLM(LocalLLM(loaded['llama'], rows=12))
    got = {done.id: done.text for done in llm.backend.generate(requests(20), DRAWN, kept.append)}
    assert got == want and [len(batch) for batch in kept] == [12, 8]  # kept whole all the same
    assert llm.statistics().retries == {'out_of_memory': len(refused)} and refused and 'memory ran out at 12 rows' in caplog.text and sum(tried) > 20
    def none(weights, prompts, sampling): raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 byte")
    monkeypatch.setattr(local, 'decode_batch', none)
    lost = list(LocalLLM(loaded['llama']).generate(requests(4), DRAWN))  # each alone, so that one that is too long costs no other
    assert len(lost) == 4 and {done.reason for done in lost} == {'out_of_memory'} and 'a single prompt of' in lost[0].error
    def other(weights, prompts, sampling): raise RuntimeError('something else')
    monkeypatch.setattr(local, 'decode_batch', other)
    with pytest.raises(RuntimeError, match='something else'): list(LocalLLM(loaded['llama']).generate(requests(4), DRAWN))
    assert Halving().times == 0


# ---------------------------------------------------------------- under the ledger

def test_trained_again_into_one_folder(tmp_path):
    def ask():
        with open_llm(f'local:{tmp_path}/model?device=cpu', ledger=tmp_path / 'llm.sqlite') as llm: return {done.id: done for done in llm.generate(requests(5), DRAWN)}
    make(tmp_path / 'model')
    first, again = ask(), ask()
    make(tmp_path / 'model', seed=1)
    other = ask()
    assert not any(done.cached for done in first.values()) and all(done.cached for done in again.values()) and not any(done.cached for done in other.values())
    assert all(other[id].text != first[id].text for id in first)


def test_a_full_budget_does_not_hang(loaded, tmp_path):
    for limit in ({'tokens': 600}, {'calls': 7}):
        with KeptLLM(LocalLLM(loaded['llama']), budget=Budget(**limit)) as llm:
            done = []
            with pytest.raises(BudgetReached):
                for answer in llm.generate(requests(40), Sampling(max_tokens=20)): done.append(answer)
        assert 3 < len(done) < 40 and llm.statistics().calls == len(done)
    assert len(done) == 7


def test_hits_between_requests_do_not_split_the_plan(loaded, tmp_path):
    from instructgen.ledger import Ledger
    asked = [Request(f'{"y" * (n % 50)} {n}', f'{n}') for n in range(400)]
    with KeptLLM(LocalLLM(loaded['llama']), Ledger(tmp_path / 'llm.sqlite')) as llm: list(llm.generate(asked, Sampling(max_tokens=1)))
    batches = []
    with KeptLLM(LocalLLM(loaded['llama'], tokens=1 << 20), Ledger(tmp_path / 'llm.sqlite')) as llm:
        keep = llm.ledger.keep
        llm.ledger.keep = lambda answers: (batches.append(len(answers)), keep(answers))
        new = [Request(f'new {n}', f'new {n}') for n in range(9)]
        done = list(llm.generate([*new[:3], *asked[:390], *new[3:6], *asked, *new[6:]], Sampling(max_tokens=1)))
    assert batches == [9] and len(done) == 799 and sum(not answer.cached for answer in done) == 9


RUN = '''
import sys, time, json
from instructgen.llm import Request, Sampling, open_llm
from instructgen import local
real = local.decode_batch
def slow(*arguments):
    time.sleep(float(sys.argv[3]))
    return real(*arguments)
local.decode_batch = slow
asked = [Request('word ' * (n * 7 % 23) + str(n), f'{n}-{draw}', draw) for n in range(30) for draw in range(2)]
for ledger in sys.argv[2].split(','):
    with open_llm(f'local:{sys.argv[1]}?device=cpu&rows=5', ledger=ledger) as llm:
        for done in llm.generate(asked, Sampling(max_tokens=12, temperature=.9, top_p=.9, seed=3)): print(json.dumps([done.id, done.text, done.cached]), flush=True)
'''


def test_killed_and_resumed(tmp_path, folders):
    def start(wait, *ledgers): return subprocess.Popen([sys.executable, '-c', RUN, str(folders['llama']), ','.join(str(tmp_path / ledger) for ledger in ledgers), str(wait)], stdout=subprocess.PIPE, text=True,
                                                       env={**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT)})
    killed = start(.05, 'killed.sqlite')
    for _ in range(22): killed.stdout.readline()
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    lines = [json.loads(line) for line in start(0, 'killed.sqlite', 'whole.sqlite').communicate()[0].splitlines()]
    resumed, undisturbed = lines[:60], lines[60:]
    hits = sum(cached for _, _, cached in resumed)
    assert sorted(line[:2] for line in resumed) == sorted(line[:2] for line in undisturbed) and len(undisturbed) == 60
    assert 20 <= hits < 60 and hits % 5 == 0 and not any(cached for _, _, cached in undisturbed)  # whole batches of five


# ---------------------------------------------------------------- likelihoods

def one_by_one(weights, question) -> list[float]:
    nats = []
    with torch.inference_mode():
        for option in question.options:
            if weights.encoder_decoder: logits = weights.model(torch.tensor([list(question.ids)]), decoder_input_ids=torch.tensor([[0, *option[:-1]]])).logits[0]
            else: logits = weights.model(torch.tensor([[*question.ids, *option]])).logits[0, len(question.ids) - 1:-1]
            nats.append(logits.log_softmax(-1)[range(len(option)), option].sum().item())
    return nats


@pytest.mark.parametrize('kind', ['llama', 't5', 'gpt2'])
@pytest.mark.parametrize('end', [True, False])
def test_likelihoods_are_those_of_one_pass_an_option(loaded, kind, end):
    weights = loaded[kind]
    items = [Choices(f'{n}', text[:100], ('yes', 'no', 'maybe so')[:1 + n % 3] + (('x',) if n % 2 else ())) for n, text in enumerate(texts(20))]
    found = {score.id: score for score in LocalLLM(weights, tokens=700).loglik(items, end=end)}
    for item in items:
        question = encode_choices(item, weights, end)
        assert found[item.id].nats == pytest.approx(one_by_one(weights, question), abs=2e-4) and found[item.id].tokens == tuple(map(len, question.options))


def test_likelihoods_of_a_15m_llama():
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=32_000, hidden_size=288, intermediate_size=768, num_hidden_layers=6, num_attention_heads=6, max_position_embeddings=512)
    weights = Weights(Checkpoint('15M', Path('.')), '', LlamaForCausalLM(config).eval(), None, False, 512, (2,))
    asked = [Question(f'{n}', torch.randint(3, 32_000, (100 + 31 * n,)).tolist(), ((5, 2), (9, 4, 7, 2), (100,))) for n in range(4)]
    for question, score in zip(asked, score_batch(weights, asked)): assert score.nats == pytest.approx(one_by_one(weights, question), abs=2e-5)


SMALL = {'vocab_size': 100, 'hidden_size': 32, 'num_hidden_layers': 4, 'num_attention_heads': 4, 'pad_token_id': 0, 'bos_token_id': 1, 'eos_token_id': 2}
GQA, GPT2 = {'intermediate_size': 64, 'num_key_value_heads': 2}, {'n_embd': 32, 'n_layer': 4, 'n_head': 4}
PADDED_BEFORE = {'mistral with a window': {**GQA, 'sliding_window': 12},  # its keys go when they leave the window
                 'gemma3_text': {**GQA, 'head_dim': 8, 'sliding_window': 12},  # layers of both kinds
                 'falcon': {'alibi': True},
                 'bloom': {'n_layer': 4, 'n_head': 4},  # distances instead of positions
                 'lfm2': {'intermediate_size': 64, 'num_key_value_heads': 2, 'layer_types': ['conv', 'full_attention'] * 2},  # a state instead of keys
                 'gpt_neo': {'num_layers': 4, 'num_heads': 4, 'attention_types': [[['global', 'local'], 2]], 'window_size': 12, 'max_position_embeddings': 128},  # a window that the cache knows nothing of
                 'opt': {'ffn_dim': 64, 'word_embed_proj_dim': 32, 'max_position_embeddings': 128}}
PADDED_AFTER = {'mistral': {**GQA, 'sliding_window': None}, 'gpt_neox': {'intermediate_size': 64, 'max_position_embeddings': 128}, 'qwen2': GQA, 'qwen3': {**GQA, 'head_dim': 8}, 'llama': GQA,
                'gpt2': {**GPT2, 'n_positions': 128}}
FAMILIES = PADDED_BEFORE | PADDED_AFTER


class Numbers:
    "A tokenizer that only writes."
    def decode(self, ids: list[int], **options) -> str: return ''.join(f'{id} ' for id in ids)


def small(family: str, window: int = 128, **sizes) -> Weights:
    "A model of random weights."
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family.split()[0], **{**SMALL, **FAMILIES[family], **sizes})).eval()
    with torch.no_grad(): [part.mul_(8) for part in model.parameters() if part.dim() > 1]  # so that what is far away counts
    return Weights(Checkpoint(family, Path('.')), '', model, Numbers(), False, window, (2,))


def drawn(id: str, length: int, *options: tuple[int, ...]) -> Question: return Question(id, torch.randint(3, 100, (length,)).tolist(), options)


def check_likelihoods(weights: Weights, asked: list[Question], off: float = 2e-3) -> None:
    for question, score in zip(asked, score_batch(weights, asked)): assert score.nats == pytest.approx(one_by_one(weights, question), abs=off)


def test_every_kind_of_model_is_tried():
    assert {family.split()[0] for family in PADDED_AFTER} == decode.PADDED_AFTER
    for family in FAMILIES:
        weights = small(family)
        assert decode.pads_after(weights.model, decode.make_cache(weights)) == (family in PADDED_AFTER), family


@pytest.mark.parametrize('piece', [1 << 15, 40])  # 40: five prompts are read eight tokens at a time
@pytest.mark.parametrize('family', FAMILIES)
def test_likelihoods_of_other_families(monkeypatch, family, piece):
    monkeypatch.setattr('instructgen.decode.PIECE', piece)
    weights = small(family)
    asked = [drawn(f'{n}', 9 + 7 * n, *((5, 2), (9, 4, 7, 2), (10,), (11, 12, 2))[:2 + n % 3]) for n in range(5)]
    for group in (asked, asked[:1], [asked[3], Question('as long', asked[3].ids[::-1], asked[3].options)]): check_likelihoods(weights, group)


@pytest.mark.parametrize('family', ['mistral with a window', 'llama'])
def test_likelihoods_of_long_options_and_of_an_adapter(family):
    weights = small(family, 512, max_position_embeddings=512)
    check_likelihoods(weights, [drawn(f'{n}', 9 + 7 * n, tuple(range(3, 99)) * 2, (5, 2), tuple(range(9, 98))) for n in range(3)])  # beyond what a cache has in store at first
    torch.manual_seed(1)
    model = get_peft_model(weights.model, LoraConfig(r=4, target_modules=['q_proj', 'v_proj'], init_lora_weights=False)).eval()
    check_likelihoods(replace(weights, model=model), [drawn(f'{n}', 9 + 7 * n, (5, 2), (9, 4, 7, 2)) for n in range(4)])


@pytest.mark.parametrize('family', ['gpt2', 'opt', 'gpt_neo', 'llama'])
def test_prompts_that_fill_the_window_run_beside_others(family):
    weights = small(family)
    asked = [drawn('full', 126, (5, 2), (2,)), drawn('more', 125, (7, 2), (2,)), drawn('nearly', 124, (5, 6, 2), (7,)), drawn('much to say', 100, tuple(range(3, 15)), (7, 2)), drawn('short', 6, tuple(range(3, 80)), (2,))]
    plan = plan_questions(asked, 10_000, weights.window)
    assert [[question.id for question in batch] for batch in plan] == [['full', 'more'], ['nearly'], ['much to say'], ['short']]
    for batch in plan: check_likelihoods(weights, batch)
    prompts = [Prompt(f'{n}', f'{n}', torch.randint(3, 100, (length,)).tolist(), min(40, 128 - length), n) for n, length in enumerate((126, 120, 88, 80, 30, 9))]
    greedy = Sampling(max_tokens=40, temperature=0)
    plan = plan_batches(prompts, 10_000, 64, weights.window)
    assert [[prompt.id for prompt in batch] for batch in plan] == [['0'], ['1'], ['2', '3', '4', '5']]
    assert [done.text for batch in plan for done in decode_batch(weights, batch, greedy)] == [decode_batch(weights, [prompt], greedy)[0].text for prompt in prompts]


def test_what_cannot_be_scored(loaded):
    llm = KeptLLM(LocalLLM(loaded['llama']))
    found = {score.id: score for score in llm.loglik([Choices('long', 'x' * 300, ('y',)), Choices('none', 'x', ()), Choices('empty', 'x', ('',))], end=False)}
    assert found['long'].error.startswith('too_long: the prompt has 301 tokens') and found['none'].nats == () and found['empty'].nats == (0.,)
    with pytest.raises(TypeError, match='generate an answer and match it'): open_llm('rules').loglik([])
    assert not hasattr(RecordedLLM, 'loglik')


@pytest.mark.parametrize('kind', ['llama', 't5', 'gpt2'])
def test_options_without_tokens(loaded, kind):
    llm = LocalLLM(loaded[kind])
    items = [Choices('first', 'x', ('', 'y')), Choices('last', 'a wren', ('yes', '')), Choices('alone', 'no', ('',))]
    found = {score.id: score for score in llm.loglik(items, end=False)}
    assert found['first'].nats[0] == found['last'].nats[1] == found['alone'].nats[0] == 0. and found['first'].tokens == (0, 1)
    for item in items[:2]:
        question, place = encode_choices(item, loaded[kind], False), item.options.index('')
        assert 0 > found[item.id].nats[1 - place] == pytest.approx(one_by_one(loaded[kind], Question('', question.ids, (question.options[1 - place],)))[0], abs=2e-4)


def test_weights_that_are_no_numbers_make_nothing_certain():
    weights = small('llama')
    with torch.no_grad(): weights.model.lm_head.weight[7] = float('nan')
    assert all(np.isnan(score.nats).all() for score in score_batch(weights, [drawn(f'{n}', 5 + n, (5, 2), (9,)) for n in range(2)]))


def test_questions_with_as_many_options_run_together():
    asked = [drawn(f'{n}', 5 + n, *((3 + k,) for k in range(2 + 9 * (n % 2)))) for n in range(6)]
    assert [[question.id for question in batch] for batch in plan_questions(asked, 10_000)] == [['4', '2', '0'], ['5', '3', '1']]


def test_likelihoods_add_up(loaded):
    weights = loaded['llama']
    letters = tuple(weights.tokenizer.decode([n]) for n in range(3, 259))
    score = score_batch(weights, [Question('all', prompt_ids('A wren', weights.tokenizer), tuple((n,) for n in range(259)))])[0]
    assert sum(np.exp(score.nats)) == pytest.approx(1, abs=1e-4) and len(letters) == 256


# ---------------------------------------------------------------- real weights

def test_a_real_model(shared_data):
    folder = shared_data / 'models' / 'stories260K'
    with open_llm(f'local:{folder}?device=cpu') as llm:
        weights = llm.backend.weights
        done = {answer.id: answer for answer in llm.generate([Request(text, text) for text in ('Once upon a time', 'Lily and Tom', 'One day, a')], Sampling(max_tokens=60))}
        for text, answer in done.items():
            ids = weights.tokenizer(text, return_tensors='pt')['input_ids']
            wanted = weights.tokenizer.decode(weights.model.generate(ids, max_new_tokens=60, do_sample=False)[0], skip_special_tokens=True)
            assert text + answer.text == wanted and answer.text.startswith((',', ' '))
        items = [Choices(f'{n}', 'Once upon a time, there was a little' + ' very' * n, ('girl named Lily', 'table', 'boy')) for n in range(5)]
        for score, item in zip(sorted(llm.loglik(items), key=lambda score: score.id), items):
            assert score.nats == pytest.approx(one_by_one(weights, encode_choices(item, weights)), abs=2e-5) and score.nats[0] / score.tokens[0] > score.nats[1] / score.tokens[1]


# ---------------------------------------------------------------- vLLM, by a stand-in of its documented interface

FAKE = '''
class SamplingParams:
    def __init__(self, **fields): self.__dict__.update(fields); self.fields = fields

class Output:
    def __init__(self, prompt, params):
        ids = prompt['prompt_token_ids']
        part = type('Part', (), {'text': f' answer of {len(ids)} with {params.seed % 1000}', 'token_ids': [5] * 4, 'finish_reason': 'stop' if len(ids) % 2 else 'length'})()
        self.outputs, self.prompt_token_ids = [part], ids

class LLM:
    made = []
    def __init__(self, model, **options): self.model, self.options, self.calls = model, options, []; LLM.made.append(self)
    def generate(self, prompts, sampling_params=None, use_tqdm=True, lora_request=None):
        self.calls.append((prompts, sampling_params, lora_request))
        return [Output(prompt, params) for prompt, params in zip(prompts, sampling_params)]
'''


@pytest.fixture
def fake_vllm(tmp_path, monkeypatch):
    (tmp_path / 'fake' / 'vllm' / 'lora').mkdir(parents=True)
    (tmp_path / 'fake' / 'vllm' / '__init__.py').write_text(FAKE)
    (tmp_path / 'fake' / 'vllm' / 'lora' / '__init__.py').touch()
    (tmp_path / 'fake' / 'vllm' / 'lora' / 'request.py').write_text('class LoRARequest:\n    def __init__(self, *arguments): self.arguments = arguments\n')
    monkeypatch.syspath_prepend(str(tmp_path / 'fake'))
    yield
    for name in [name for name in sys.modules if name.split('.')[0] == 'vllm']: del sys.modules[name]


def test_vllm_is_asked_as_documented(fake_vllm, folders, loaded, tmp_path):
    sampling = Sampling(max_tokens=7, temperature=.5, top_p=.95, stop=('\n',), seed=1)
    with open_llm(f'vllm:{folders["llama"]}', ledger=tmp_path / 'llm.sqlite') as llm:
        done = {answer.id: answer for answer in llm.generate([*requests(3, draws=2), Request('x' * 400, 'long')], sampling)}
        again = list(llm.generate(requests(3, draws=2), sampling))
        engine = llm.backend.engine
    assert done['long'].reason == 'too_long' and len(done) == 7 and len(set(done[id].text for id in done)) == 7 and all(answer.cached for answer in again)
    (prompts, params, lora), = engine.calls
    assert lora is None and engine.model == str(folders['llama']) and engine.options['trust_remote_code'] is False
    asked = encode_request(requests(3)[0], sampling, loaded['llama'])
    place = [prompt['prompt_token_ids'] for prompt in prompts].index(list(asked.ids))
    assert {'max_tokens': 7, 'temperature': .5, 'top_p': .95, 'stop': ['\n']}.items() <= params[place].fields.items() and params[place].seed in (asked.seed >> 33, encode_request(Request(requests(1)[0].messages, draw=1), sampling, loaded['llama']).seed >> 33)
    assert {answer.finish for id, answer in done.items() if id != 'long'} <= {'stop', 'length'} and done['0-0'].prompt_tokens == len(asked.ids) and done['0-0'].completion_tokens == 4


def test_vllm_and_adapters_and_encoders(fake_vllm, folders, tmp_path):
    get_peft_model(LlamaForCausalLM.from_pretrained(folders['llama']), LoraConfig(r=4, target_modules=['q_proj'])).save_pretrained(tmp_path / 'adapter')
    with open_llm(f'vllm:{tmp_path}/adapter') as llm:
        assert next(llm.generate([Request('x')])).text
        assert llm.backend.engine.options['enable_lora'] and llm.backend.engine.calls[0][2].arguments[2] == str(tmp_path / 'adapter')
    with pytest.raises(ValueError, match='has an encoder, which vllm does not generate with here: want local:'): open_llm(f'vllm:{folders["t5"]}')
    with open_llm(f'vllm:{folders["llama"]}') as llm, pytest.raises(ValueError, match='does not take a schema'): list(llm.generate([Request('x')], Sampling(schema={'type': 'object'})))


def test_vllm_is_not_here(folders, monkeypatch):
    monkeypatch.setitem(sys.modules, 'vllm', None)
    with pytest.raises(ImportError, match=r"pip install 'instructgen\[gpu\]'"): open_vllm(str(folders['llama']))
    assert VLLM.__doc__


# ---------------------------------------------------------------- what it imports

def test_it_runs_with_torch_transformers_peft_and_pyarrow_alone():
    code = ('import sys\nfor name in ("datasets", "openai", "papermill", "nbdev", "fastcore", "matplotlib"): sys.modules[name] = None\n'
            'import instructgen.local, instructgen.vllm\nprint(sorted({"torch", "transformers", "peft"} & set(sys.modules)))')
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True, cwd=ROOT).stdout == '[]\n'

