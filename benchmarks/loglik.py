"""How likely three options after a long prompt are: the prompt computed once, beside one pass an option.

Run it with `python benchmarks/loglik.py [items] [tokens]`. The model is a Llama of 15 million random weights, in float32, on one thread; all ways get the same token
ids. With INSTRUCTGEN_SHARED_DATA the numbers are also compared on a real model of 260 thousand parameters.
"""
import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from instructgen.batches import batch_tokens
from instructgen.loglik import Question, plan_questions, score_batch
from instructgen.weights import Checkpoint, Weights, load_weights


def llama_15m(window: int = 2048) -> Weights:
    "The shape of the 15M model of TinyStories: 6 layers of 288, vocabulary 32,000."
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=32_000, hidden_size=288, intermediate_size=768, num_hidden_layers=6, num_attention_heads=6, max_position_embeddings=window, tie_word_embeddings=True)
    return Weights(Checkpoint('15M', Path('.')), '', LlamaForCausalLM(config).eval(), None, False, window, (2,))


def questions(count: int, tokens: int, vocabulary: int, seed: int = 0) -> list[Question]:
    "Prompts of nearly `tokens` random tokens, each with three options of one to four tokens and an end token."
    rng = random.Random(seed)
    draw = lambda n: [rng.randrange(3, vocabulary) for _ in range(n)]
    return [Question(f'{n}', draw(tokens - rng.randint(0, tokens // 20)), tuple([*draw(rng.randint(1, 4)), 2] for _ in range(3))) for n in range(count)]


def one_pass_an_option(weights: Weights, asked: list[Question]) -> dict[str, tuple[float, ...]]:
    "Prompt and option together through the model, one option at a time, only the logits that are needed."
    found = {}
    with torch.inference_mode():
        for question in asked:
            nats = []
            for option in question.options:
                ids = torch.tensor([[*question.ids, *option]])
                logits = weights.model(ids, logits_to_keep=len(option) + 1).logits[0, :-1].log_softmax(-1)
                nats.append(logits[range(len(option)), option].sum().item())
            found[question.id] = tuple(nats)
    return found


def padded_options(weights: Weights, asked: list[Question]) -> dict[str, tuple[float, ...]]:
    "The options of a question as a padded batch of whole rows, all logits computed: the usual way."
    found = {}
    with torch.inference_mode():
        for question in asked:
            rows = [[*question.ids, *option] for option in question.options]
            width = max(map(len, rows))
            ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
            mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
            chances, start = weights.model(ids, attention_mask=mask).logits.log_softmax(-1), len(question.ids)
            found[question.id] = tuple(chances[place, range(start - 1, start - 1 + len(option)), option].sum().item() for place, option in enumerate(question.options))
    return found


def prompt_once(weights: Weights, asked: list[Question]) -> dict[str, tuple[float, ...]]:
    "instructgen's way."
    return {score.id: score.nats for batch in plan_questions(asked, batch_tokens(weights)) for score in score_batch(weights, batch)}


def timed(way: Callable, weights: Weights, asked: list[Question]) -> tuple[float, dict]:
    "Seconds and numbers."
    start = time.perf_counter()
    found = way(weights, asked)
    return time.perf_counter() - start, found


def compare(name: str, weights: Weights, asked: list[Question], repeats: int = 3) -> None:
    "Print a line for each way: fastest of some repeats, interleaved."
    ways, best = (one_pass_an_option, padded_options, prompt_once), {}
    for way in ways: way(weights, asked[:1])
    for _ in range(repeats):
        for way in ways:
            seconds, found = timed(way, weights, asked)
            if way not in best or seconds < best[way][0]: best[way] = (seconds, found)
    base, numbers = best[one_pass_an_option]
    for way in ways:
        seconds, found = best[way]
        off = max(abs(one - other) for id in numbers for one, other in zip(numbers[id], found[id]))
        print(f'{name:12} {way.__name__:20} {len(asked) / seconds:7.2f} items/s {base / seconds:5.2f}x  largest difference {off:.1e}')


def main(items: int = 24, tokens: int = 1024) -> None:
    "Print a table."
    torch.set_num_threads(1)
    compare('15M', llama_15m(), questions(items, tokens, 32_000))
    folder = Path(os.environ.get('INSTRUCTGEN_SHARED_DATA', ''), 'models', 'stories260K')
    if os.environ.get('INSTRUCTGEN_SHARED_DATA') and folder.is_dir(): compare('stories260K', load_weights(folder, device='cpu'), questions(items, 480, 512))


if __name__ == '__main__': main(*map(int, sys.argv[1:]))
