"""Choosing among 100,000 previous tasks for 10,000 current ones, d = 384: `select_replay` against the paper's matrix in full.

Run it with `python benchmarks/replay.py [previous current]`, two cores, at least 14 GB of memory free. Vectors are float32 of length about 1,
in 500 directions with noise, as a sentence encoder gives them. Every way is a process of its own, which makes the vectors first (the same
ones by the seed) and writes its scores, so that the ways can be compared. `ours` is the whole of `select_replay` with its checks; `matrix` brings
the rows to length 1, multiplies, adds up the columns in float64 and sorts, in float32 or float64. The K x K matrix of `instr_support` would be
40 GB in float32 and isn't made.
"""
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

WIDTH, CHOSEN = 384, 50
OURS = ('instr_diverse', 'instr_similar', 'instr_support', 'random', 'greedy_diverse')


def make_vectors(rows: int, seed: int) -> np.ndarray:
    "So many float32 vectors, made some at a time so that making them takes no memory."
    centres, rng = np.random.default_rng(0).standard_normal((500, WIDTH), np.float32), np.random.default_rng(seed)
    vectors = np.empty((rows, WIDTH), np.float32)
    for start in range(0, rows, 500):
        part = vectors[start:start + 500]
        part[:] = centres[rng.integers(0, 500, len(part))]
        part += rng.standard_normal(part.shape, np.float32)
        part /= np.sqrt((part * part).sum(axis=1, keepdims=True))
    return vectors


def matrix(previous: np.ndarray, current: np.ndarray, kind: type) -> tuple[np.ndarray, np.ndarray]:
    "Diverse by S_cp, as written."
    previous, current = (vectors.astype(kind) / np.linalg.norm(vectors.astype(kind), axis=1, keepdims=True) for vectors in (previous, current))
    scores = (current @ previous.T).sum(axis=0, dtype=np.float64)  # (L, K) -> (K,)
    order = np.argsort(scores, kind='stable')[:CHOSEN]
    return order, scores[order]


def measure(way: str, rows: int, others: int, out: str) -> None:
    "Choose in one way, write what was chosen, and print one line of JSON."
    from instructgen.replay import select_replay
    previous, current = make_vectors(rows, 1), make_vectors(others, 2)
    select_replay(previous[:10], current[:10], 5)  # whatever is loaded late is loaded
    before, start, cpu = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter(), time.process_time()
    if way.startswith('matrix'): order, scores = matrix(previous, current, np.float32 if way.endswith('32') else np.float64)
    else: order, scores = select_replay(previous, current, CHOSEN, way)
    seconds, used = time.perf_counter() - start, time.process_time() - cpu
    np.savez(out, order=order, scores=scores)
    print(json.dumps({'seconds': seconds, 'cpu': used, 'before_mb': before / 1024, 'peak_mb': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


def main(rows: int, others: int) -> None:
    "Print a table."
    print(f'{rows:,} previous tasks, {others:,} current ones, {WIDTH} numbers; {CHOSEN} chosen')
    with tempfile.TemporaryDirectory() as folder:
        for way in (*OURS, 'matrix float32', 'matrix float64'):
            out = Path(folder, f'{way}.npz')
            found = json.loads(subprocess.run([sys.executable, __file__, 'measure', way, str(rows), str(others), str(out)], check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])
            line = f'{way}: {found["seconds"]:.2f} s ({found["cpu"]:.2f} s of CPU), peak {found["peak_mb"]:,.0f} MB, of which {found["before_mb"]:,.0f} MB before'
            if way.startswith('matrix'):
                ours, theirs = np.load(Path(folder, 'instr_diverse.npz')), np.load(out)
                line += f'; the same {int((ours["order"] == theirs["order"]).sum())} of {len(theirs["order"])} at the same places, largest difference of a score {np.abs(ours["scores"] - theirs["scores"]).max():.1e}'
            print(line, flush=True)


if __name__ == '__main__': measure(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]) if sys.argv[1:2] == ['measure'] else main(*map(int, sys.argv[1:3] or (100_000, 10_000)))
