"""Rank classification of 500 real questions: `predict` as a whole beside one forward pass an option.

Run it with `python benchmarks/rank_classification.py [size] [items] [turns] [template]`; size is a name of `SIZES` (1M, 4M, 15M), template one of the target's prompts. It needs
INSTRUCTGEN_SHARED_DATA with pubmed_qa. The weights are random and the tokenizer is learnt from the questions; float32, one thread. `predict` is timed with all it does, from building the
prompts to the file of predictions; the other side gets the token ids for nothing and writes no file.
"""
import os
import sys
import tempfile
import time
from pathlib import Path

import torch
from loglik import one_pass_an_option

from instructgen.benchmarks import draw_items
from instructgen.evaluation import score
from instructgen.llm import Choices, open_llm
from instructgen.loglik import encode_choices
from instructgen.predictions import ask_item, choose_form, predict, read_predictions
from instructgen.targets import load_target
from instructgen.tiny import SIZES, make_tiny_model


def main(size: str = '1M', items: int = 500, turns: int = 2, template: str = '') -> None:
    "Print how fast both are, and how far apart."
    torch.set_num_threads(1)
    place = Path(os.environ['INSTRUCTGEN_SHARED_DATA'], 'hub', 'pubmed_qa')
    benchmark = load_target(f'pubmed_qa={place}', templates=template)
    template = template or benchmark.items[0].template
    benchmark = draw_items(load_target(f'pubmed_qa={place}', templates=template), items)
    with tempfile.TemporaryDirectory() as folder:
        model = make_tiny_model([item.instruction for item in benchmark.items], Path(folder, 'model'), context=1024, **SIZES[size])
        with open_llm(f'local:{model}?device=cpu') as llm:
            weights = llm.backend.weights
            asked = [encode_choices(Choices(item.id, ask_item(item, choose_form(llm), weights, 8)[0], item.options), weights) for item in benchmark.items]
            print(f'{size}: {weights.model.num_parameters() / 1e6:.1f}M weights, {len(asked)} items under {template!r}, {sum(len(one.ids) for one in asked) / len(asked):.0f} tokens a prompt, longest {max(len(one.ids) for one in asked)}, {len(asked[0].options)} options')
            one_pass_an_option(weights, asked[:2]), predict(llm, draw_items(benchmark, 2), Path(folder, 'warm'))
            best = {}
            for turn in range(turns):
                started = time.perf_counter(); path = predict(llm, benchmark, Path(folder, f'run{turn}')); ours = time.perf_counter() - started
                started = time.perf_counter(); plain = one_pass_an_option(weights, asked); theirs = time.perf_counter() - started
                best = {'ours': min(ours, best.get('ours', ours)), 'theirs': min(theirs, best.get('theirs', theirs))}
            said = read_predictions(path, benchmark)
            started = time.perf_counter(); rows = score(benchmark, said); scored = time.perf_counter() - started
    errors, off = sum(bool(one.error) for one in said), max(abs(one - other) for said_ in said for one, other in zip(said_.nats, plain[said_.id]))
    print(f'predict {best["ours"]:.1f} s, one pass an option {best["theirs"]:.1f} s: {best["theirs"] / best["ours"]:.2f}x; largest difference {off:.1e} nats, {errors} errors; scored in {scored:.2f} s ({len(rows)} rows)')


if __name__ == '__main__': main(*sys.argv[1:2], *map(int, sys.argv[2:4]), *sys.argv[4:5])
