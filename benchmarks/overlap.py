"""The overlap check at the size of the Dynosaur paper: 800,000 examples against 12,000 test items, and a quarter of the examples beside it.

Run it with `python benchmarks/overlap.py [rows...]` (default 200000 and 800000), or with real data, INSTRUCTGEN_SHARED_DATA set, as
`python benchmarks/overlap.py --real`. Each size is a process of its own, which reads a Parquet dataset that was written before. The words are
drawn from a list of 30,000 with frequencies as in English (Zipf), 100 a row and 110 an item, 5,740 tasks of 140 rows, every task with its
own template. One row in fifty holds a test item, whole, or in halves with other words between. `--real` recombines sentences of P3 rows
into rows, and takes items from the Super-NI files.
"""
import gzip
import json
import lzma
import os
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq

ITEMS, TASK_ROWS = 12_000, 140


def made_texts(seed: int) -> Callable[[int], str]:
    "A function that gives so many words, common ones more often."
    rng = random.Random(seed)
    vocabulary = [f'w{n}' for n in range(30_000)]
    weights = [0.]
    for n in range(30_000): weights.append(weights[-1] + 1 / (n + 2.7))
    return lambda count: ' '.join(rng.choices(vocabulary, cum_weights=weights[1:], k=count))


def real_texts(data: Path, seed: int) -> Callable[[int], str]:
    "A function that gives about so many words, sentences of P3 rows put together."
    rng, sentences = random.Random(seed), []
    for line in lzma.open(data / 'p3' / 't0_train_50k_by_template.jsonl.xz', 'rt'):
        sentences += [text for text in re.split(r'(?<=[.!?])\s+|\n+', json.loads(line)['prompt']) if text.count(' ') >= 4]

    def draw(count: int) -> str:
        parts, words = [], 0
        while words < count:
            parts.append(rng.choice(sentences))
            words += parts[-1].count(' ') + 1
        return ' '.join(parts)
    return draw


def make_items(data: Path | None) -> list[SimpleNamespace]:
    "Test items: 120 tasks of 100."
    if data:
        texts = [(name, row['input'], row['output'] if isinstance(row['output'], str) else row['output'][0]) for folder in sorted((data / 'eval' / 'super_ni').glob('task*'))
                 for name in [folder.name] for file in sorted(folder.glob('*.json.gz')) for row in json.load(gzip.open(file))['Instances']]
    else:
        draw = made_texts(1)
        texts = [(f'task{n // 100:03}_made', draw(100), draw(10)) for n in range(ITEMS)]
    return [SimpleNamespace(id=str(n), instruction='Answer.', input=asked, references=(answer,), options=(), task=task, template='', source='') for n, (task, asked, answer) in enumerate(texts[:ITEMS])]


def write_rows(folder: Path, count: int, data: Path | None) -> None:
    "A dataset of so many examples."
    draw, items, rng = real_texts(data, 2) if data else made_texts(2), make_items(data), random.Random(3)
    for start in range(0, count, 20_000):
        rows = []
        for n in range(start, min(start + 20_000, count)):
            text = draw(90)
            if n % 50 == 0:
                words = rng.choice(items).input.split()
                text = ' '.join(words) if n % 100 else ' '.join([*words[:len(words) // 2], draw(20), *words[len(words) // 2:]])
            task = n // TASK_ROWS
            rows.append((f'{n}', f'Instruction {task}.', f'the text of task {task} is as follows read it: {text}', draw(10) if not data else text[-60:], f'{task}', f'source{task // 3}', 'train'))
        pq.write_table(pa.table(dict(zip(('id', 'instruction', 'input', 'output', 'task_id', 'source', 'split'), map(list, zip(*rows))))), folder / f'train-{start // 20_000:03}.parquet')


def measure(folder: str, real: str) -> None:
    "Check the dataset in a folder and print one line of JSON."
    from instructgen.overlap import check_overlap
    items = make_items(Path(real) if real else None)
    before, start, cpu = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter(), time.process_time()
    report = check_overlap(folder, items)
    print(json.dumps({'rows': len(report.marks), 'items': len(items), 'seconds': time.perf_counter() - start, 'cpu': time.process_time() - cpu, 'before_mb': before / 1024,
                      'peak_mb': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 'flagged': report.flagged(), 'dirty': len(report.dirty), 'notes': report.notes}))


def main(arguments: list[str]) -> None:
    "Print a table."
    real = '--real' in arguments
    data = Path(os.environ.get('INSTRUCTGEN_SHARED_DATA') or Path(__file__).parent.parent.parent / 'shared' / 'data') if real else None
    for count in [int(argument) for argument in arguments if argument != '--real'] or [200_000, 800_000]:
        with tempfile.TemporaryDirectory() as folder:
            write_rows(Path(folder), count, data)
            size = sum(file.stat().st_size for file in Path(folder).iterdir()) / 2**20
            out = subprocess.run([sys.executable, __file__, 'measure', folder, str(data or '')], check=True, stdout=subprocess.PIPE, text=True).stdout
        found = json.loads(out.splitlines()[-1])
        print(f'{found["rows"]:,} rows ({size:.0f} MB of Parquet), {found["items"]:,} items: {found["seconds"]:.0f} s ({found["cpu"]:.0f} s of CPU), peak {found["peak_mb"]:.0f} MB '
              f'(with items and libraries loaded {found["before_mb"]:.0f} MB); rows flagged {found["flagged"]}, {found["dirty"]:,} items dirty; {found["notes"]}', flush=True)


if __name__ == '__main__': measure(*sys.argv[2:]) if sys.argv[1:2] == ['measure'] else main(sys.argv[1:])
