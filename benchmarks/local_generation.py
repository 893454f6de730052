"""500 prompts of mixed lengths answered by a model on this machine: planned batches, one at a time, and batches in the given order.

Run it with `python benchmarks/local_generation.py [prompts] [max_tokens]`. The model is a Llama of 15 million random weights in float32 on one thread; times are of its CPU. Its answers have no
natural end, so each row is given one: lengths are drawn from 8 to `max_tokens`, the same for all ways. `generate` is transformers' own, fed with the prompts in the given order, padded
to the longest of each batch, and carried on until the batch's longest answer is done.
"""
import random
import sys
import time
from dataclasses import replace

import torch
from loglik import llama_15m

from instructgen.batches import Prompt, batch_tokens, plan_batches
from instructgen.decode import decode_batch
from instructgen.llm import Sampling
from instructgen.weights import Weights

ROWS = 16  # of a batch in the given order


class NoWords:
    "A tokenizer that is not what is measured."
    def decode(self, ids: list[int], **options: bool) -> str: return ' '.join(map(str, ids))


def mixed_prompts(count: int, max_tokens: int, seed: int = 0) -> list[Prompt]:
    "Half short, half long prompts, as questions and documents are; answers of 8 to `max_tokens` tokens."
    rng = random.Random(seed)
    lengths = [rng.randint(16, 96) if rng.random() < .5 else rng.randint(96, 768) for _ in range(count)]
    return [Prompt(f'{n}', f'{n:032x}', [rng.randrange(3, 32_000) for _ in range(length)], rng.randint(8, max_tokens), n) for n, length in enumerate(lengths)]


def planned(weights: Weights, prompts: list[Prompt], sampling: Sampling) -> int:
    "instructgen's way; returns the tokens that were written."
    return sum(done.tokens for batch in plan_batches(prompts, batch_tokens(weights), 256) for done in decode_batch(weights, batch, sampling))


def one_at_a_time(weights: Weights, prompts: list[Prompt], sampling: Sampling) -> int:
    "No batches at all, in the same loop."
    return sum(decode_batch(weights, [prompt], sampling)[0].tokens for prompt in prompts)


def given_order(weights: Weights, prompts: list[Prompt], sampling: Sampling) -> int:
    "Batches of `ROWS` in the given order, in the same loop."
    return sum(done.tokens for start in range(0, len(prompts), ROWS) for done in decode_batch(weights, prompts[start:start + ROWS], sampling))


def library(weights: Weights, prompts: list[Prompt], sampling: Sampling) -> int:
    "Batches of `ROWS` in the given order through transformers' generate; tokens beyond a row's end are thrown away."
    for start in range(0, len(prompts), ROWS):
        batch = prompts[start:start + ROWS]
        width = max(len(prompt.ids) for prompt in batch)
        ids = torch.tensor([[0] * (width - len(prompt.ids)) + list(prompt.ids) for prompt in batch])
        mask = torch.tensor([[0] * (width - len(prompt.ids)) + [1] * len(prompt.ids) for prompt in batch])
        weights.model.generate(ids, attention_mask=mask, max_new_tokens=max(prompt.room for prompt in batch), do_sample=sampling.temperature > 0, temperature=sampling.temperature or None, top_p=sampling.top_p, eos_token_id=None, pad_token_id=0)
    return sum(prompt.room for prompt in prompts)


def main(count: int = 500, max_tokens: int = 64) -> None:
    "Print a table."
    weights, prompts, first = replace(llama_15m(), tokenizer=NoWords(), ends=()), mixed_prompts(count, max_tokens), 0.
    torch.set_num_threads(1)
    print(f'{count} prompts, {sum(len(prompt.ids) for prompt in prompts)} tokens')
    for name, sampling in (('greedy', Sampling(max_tokens=max_tokens)), ('drawn', Sampling(max_tokens=max_tokens, temperature=.5, top_p=.95, seed=0))):
        for way in (planned, one_at_a_time, given_order, library):
            way(weights, prompts[:2], sampling)
            start = time.process_time()
            tokens = way(weights, prompts, sampling)
            seconds = time.process_time() - start
            first = seconds if way is planned else first
            print(f'{name:7} {way.__name__:14} {seconds:7.1f} s {count / seconds:6.1f} prompts/s {tokens / seconds:7.0f} tokens/s  planned is {seconds / first:4.2f}x as fast', flush=True)


if __name__ == '__main__': main(*map(int, sys.argv[1:]))
