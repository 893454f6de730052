"""rouge_l on 20,160 real pairs beside rouge_score, and a table of the eight systems whose answers they are.

Run it with `python benchmarks/rouge.py`. It reads eval/user_oriented in the folder of real data (INSTRUCTGEN_SHARED_DATA): the answers of eight
systems to 252 instructions. Each answer is paired with its own reference, with those of eight other instructions, and with itself. Each side
is measured in a process of its own from a cold start, once with its imports and once without; values must be equal to 1e-9.
"""
import gzip
import json
import multiprocessing
import os
import time
from pathlib import Path

Pairs = list[tuple[str, str]]
FOLDER = Path(os.environ.get('INSTRUCTGEN_SHARED_DATA') or Path(__file__).parents[2] / 'shared' / 'data') / 'eval' / 'user_oriented'


def read_systems() -> dict[str, Pairs]:
    "Of each system its answers, with their references."
    systems = {}
    for path in sorted((FOLDER / 'human_eval_predictions').glob('*.jsonl.gz')):
        with gzip.open(path, 'rt', encoding='utf-8') as file: rows = [json.loads(line) for line in file]
        systems[path.name.removesuffix('_predictions.jsonl.gz')] = [(row['response'], row['target']) for row in rows]
    return systems


def all_pairs(systems: dict[str, Pairs]) -> Pairs:
    "Ten pairs of each answer: with its own reference, eight others, itself."
    return [(answer, other) for rows in systems.values() for place, (answer, _) in enumerate(rows)
            for other in (*(rows[(place + 28 * step) % len(rows)][1] for step in range(9)), answer)]


def ours(pairs: Pairs) -> tuple[float, float, list[float]]:
    "Seconds with imports, seconds without, values."
    start = time.perf_counter()
    from nltk.stem.porter import PorterStemmer  # noqa: F401  (what rouge_l imports when it first stems)

    from instructgen.metrics import rouge_l
    ready = time.perf_counter()
    values = list(rouge_l([answer for answer, _ in pairs], [[reference] for _, reference in pairs]).per_item)
    return time.perf_counter() - start, time.perf_counter() - ready, values


def theirs(pairs: Pairs) -> tuple[float, float, list[float]]:
    "The same by rouge_score."
    start = time.perf_counter()
    from rouge_score.rouge_scorer import RougeScorer
    ready = time.perf_counter()
    scorer = RougeScorer(['rougeL'], use_stemmer=True)
    values = [scorer.score(reference, answer)['rougeL'].fmeasure for answer, reference in pairs]
    return time.perf_counter() - start, time.perf_counter() - ready, values


def measure(pairs: Pairs) -> str:
    "A row of the table."
    with multiprocessing.get_context('spawn').Pool(1, maxtasksperchild=1) as pool:  # a new process each
        (mine, mine_bare, values), (yours, yours_bare, wanted) = pool.apply(ours, (pairs,)), pool.apply(theirs, (pairs,))
    gap = max(abs(a - b) for a, b in zip(values, wanted, strict=True))
    assert gap < 1e-9, gap
    return (f'| {len(pairs):,} | {mine:.2f} s ({mine_bare:.2f} s) | {yours:.2f} s ({yours_bare:.2f} s) | {yours / mine:.0f}x ({yours_bare / mine_bare:.0f}x) | {gap:.0e} |')


def score_table(systems: dict[str, Pairs]) -> str:
    "Means over the 252 answers of each system, times 100, with 95 % intervals."
    from instructgen.intervals import mean_interval
    from instructgen.metrics import find_metric
    from instructgen.wordnet import open_wordnet
    names = ['rouge_l', 'meteor_exact', 'exact_match']
    try: names.insert(1, 'meteor' if open_wordnet() else '')
    except FileNotFoundError as error: print(f'without meteor: {error}\n')
    lines = [f'| system | {" | ".join(names)} | empty answers |', '|---' * (len(names) + 2) + '|']
    for system, rows in systems.items():
        scores = [find_metric(name)([answer for answer, _ in rows], [[reference] for _, reference in rows]) for name in names]
        cells = [f'{100 * score.value:.1f} [{100 * low:.1f}, {100 * high:.1f}]' for score in scores for low, high in [mean_interval(score.per_item)]]
        lines.append(f'| {system} | {" | ".join(cells)} | {sum(not answer.strip() for answer, _ in rows)} |')
    return '\n'.join(lines)


if __name__ == '__main__':
    found = read_systems()
    print('| pairs | rouge_l, with imports (without) | rouge_score | times as fast | largest gap |\n|---|---|---|---|---|')
    print(measure(all_pairs(found)))
    print(measure([pair for rows in found.values() for pair in rows]))
    print('\n' + score_table(found))
