"""CTGA from 200,000 rows, beside a loop that compiles the template at every row.

Run it with `python benchmarks/ctga.py [rows] [rows of the loop]`. It needs real data (INSTRUCTGEN_SHARED_DATA): the rows are those of boolq and dbpedia_14, each again and again
with a number before it, so that no two are equal, and the templates are P3's. `ours` is the whole way: rows read, drawn, rendered in the sandbox, judged,
compared, written as Parquet. `loop` is what P3's own library does for a row: it edits the template, compiles it in a plain environment, renders it, and keeps the result in a list; it is
measured on a part of the rows, every tenth or so, and scaled. Each way runs in a process of its own.
"""
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

SOURCES = {'super_glue/boolq': ('boolq', 'validation', 'passage'), 'dbpedia_14': ('dbpedia_14', 'train', 'content')}


def shared_data() -> Path: return Path(os.environ.get('INSTRUCTGEN_SHARED_DATA') or Path(__file__).resolve().parents[2] / 'shared' / 'data')


def make_rows(folder: Path, count: int) -> None:
    "Two sources of count / 2 rows each in the form that P3's templates expect."
    overrides = {}
    for name, (source, split, text) in SOURCES.items():
        rows = [json.loads(line) for line in (shared_data() / 'hub' / source / 'data' / f'{split}.jsonl').read_text('utf-8').splitlines()]
        labels = sorted({row['label'] for row in rows}) if source == 'dbpedia_14' else []
        place = folder / source / 'data'
        place.mkdir(parents=True)
        (folder / source / 'README.md').write_text('---\nlicense: cc-by-sa-3.0\n---\nRows of a benchmark.\n')
        with (place / 'train.jsonl').open('w', encoding='utf-8') as file:
            for number in range(count // 2):
                row = dict(rows[number % len(rows)])
                row[text] = f'{number}. {row[text].strip()}'
                row['label'] = labels.index(row['label']) if labels else int(row['answer'])
                file.write(json.dumps(row) + '\n')
        overrides[name] = {'path': str(folder / source), 'split': 'train'}
    (folder / 'overrides.yaml').write_text(yaml.safe_dump(overrides))


def plans(folder: Path) -> list:
    from instructgen.bonito.ctga import plan_datasets
    from instructgen.bonito.examples import read_overrides
    from instructgen.bonito.meta import read_registry, turn_templates
    from instructgen.bonito.templates import load_templates
    registry = read_registry()
    metas, _ = turn_templates(registry, load_templates(shared_data() / 'promptsource' / 'templates.tar.xz'))
    return plan_datasets(registry, metas, read_overrides(folder / 'overrides.yaml'), only=True)[0]


def ours(folder: Path, processes: int) -> dict:
    from instructgen.bonito.ctga import build_ctga
    from instructgen.store import open_run
    planned = plans(folder)
    begun = time.perf_counter()
    with open_run('ctga', {}, out=str(folder / f'out{processes}')) as run: counts = build_ctga(run, planned, processes=processes)
    return {'rows': counts['examples'], 'seconds': time.perf_counter() - begun}


def loop(folder: Path, part: int) -> dict:
    "Context and task of a row in one text, compiled each time, as in P3's library and Bonito's code."
    from random import Random

    from jinja2 import Environment

    def truncated(text: str, length: int) -> str: return text if len(text) <= length + 5 else text[:length - 3].rsplit(' ', 1)[0] + '...'
    environment, made, rng, seconds = Environment(), [], Random(0), 0.
    environment.filters |= {'choice': rng.choice, 'truncate': truncated}
    def compiled(text: str): return environment.from_string(text.replace('}}', f' | string | truncate(2048) }}}}'))
    for plan in plans(folder):
        lines = (folder / plan.card.source / 'data' / 'train.jsonl').read_text('utf-8').splitlines()[:part // 2]
        begun = time.perf_counter()
        for line in lines:
            row, meta = json.loads(line), rng.choice(plan.metas)
            row = {name: value.replace('|||', '3ed2dface8203c4c') if isinstance(value, str) else value for name, value in row.items()}
            if meta.template.answer_choices: row['answer_choices'] = [choice.strip() for choice in compiled(meta.template.answer_choices).render(**row).split('|||')]
            context, *task = compiled(f'{meta.context} ||| {meta.text.replace("{{context}}", "{{copy}}")}').render(**row, copy='{{context}}').split('|||')
            made.append((context.strip(), *(piece.strip().replace('3ed2dface8203c4c', '|||') for piece in task)))
        seconds += time.perf_counter() - begun
    return {'rows': len(made), 'seconds': seconds}


def measure(folder: Path, way: str, number: int) -> dict:
    call = f'import json, resource, sys; sys.path.insert(0, {str(Path(__file__).resolve().parent)!r}); import ctga; from pathlib import Path\n' \
           f'if __name__ == "__main__": print(json.dumps({{**ctga.{way}(Path({str(folder)!r}), {number}), "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}}))'
    script = folder / f'{way}{number}.py'
    script.write_text(call)
    return json.loads(subprocess.run([sys.executable, str(script)], check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])


if __name__ == '__main__':
    count, part = int((sys.argv[1:2] or [200_000])[0]), int((sys.argv[2:3] or [10_000])[0])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_rows(folder, count)
        slow = measure(folder, 'loop', part)
        whole = slow['seconds'] / slow['rows'] * count
        print(f'loop, {part:,} rows: {slow["seconds"]:.1f} s, {slow["rows"] / slow["seconds"]:,.0f} rows/s; scaled to {count:,}: {whole:,.0f} s')
        for processes in (1, 2):
            found = measure(folder, 'ours', processes)
            print(f'ours, {processes} process{"es" * (processes > 1)}: {found["seconds"]:.1f} s, {count / found["seconds"]:,.0f} rows/s, {found["rows"]:,} examples, {found["peak"] / 1024:.0f} MB: {whole / found["seconds"]:.1f}x')
        same = [sorted(path.read_bytes() for path in (folder / f'out{processes}' / 'dataset' / 'data').glob('*.parquet')) for processes in (1, 2)]
        print('same bytes for 1 and 2 processes:', same[0] == same[1])
