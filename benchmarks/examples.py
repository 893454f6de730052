"""Tasks x rows -> examples in Parquet, with checks: ours by column, a list of dicts, and bare pyarrow, in one run.

    python benchmarks/examples.py                      # 5,740 tasks x 140 rows, the size of the paper
    python benchmarks/examples.py --sizes 0.1 1 4      # is it flat in the number of tasks?
    python benchmarks/examples.py --sizes 0.2 --rows 1400   # the same examples from fewer, larger sources

Each way runs in a process of its own over the same sources, which lie in one Arrow file and are read once each. Peak memory is the
process's, imports included. `dicts` does the same checks and must give the same examples; `arrow` does none and shows what the columns cost.
"""
import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from instructgen.dynosaur.examples import label_tasks, make_examples
from instructgen.dynosaur.fields import RULES
from instructgen.records import EXAMPLE_SCHEMA, Field, SourceCard, Split, Task
from instructgen.store import BUCKETS, bucket_of, bucket_path, read_dataset, write_bucket

TASKS, SOURCES, ROWS = 5740, 2061, 140   # of the paper: tasks, datasets with tasks, rows a task
LABELS = ('entailment', 'neutral', 'contradiction')


def make_card(number: int) -> SourceCard:
    fields = (Field('context'), Field('question'), Field('answer'), Field('label', 'ClassLabel', LABELS))
    return SourceCard(f'owner/source-{number:05d}', fields=fields, license='cc-by-4.0', revision='0123456789abcdef', url='https://example.org/data', splits=(Split('train'),))


def make_tasks(card: SourceCard, count: int) -> list[Task]:
    chosen = [('Answer the question about the context.', ('context', 'question'), 'answer'),
              ('Say how the context bears on the question: it follows, it contradicts, or neither.', ('question', 'answer'), 'label'),
              ('Ask a question that the context answers.', ('context',), 'question')]
    return [Task(text, inputs, output, card.source) for text, inputs, output in chosen[:count]]


def tasks_of(number: int, sources: int, tasks: int) -> int:   # 2 or 3, so that they add up
    return (number + 1) * tasks // sources - number * tasks // sources


def write_sources(path: Path, sources: int, size: int) -> None:
    "One record batch a source: a paragraph of 45 words, a question, an answer, a label; in one source of four, two rows repeat others."
    chance = random.Random(0)
    words = [''.join(chance.choices('etaoinshrdlucmfwypvbgk', k=chance.randint(2, 9))) for _ in range(20_000)]
    paragraphs = [' '.join(chance.choices(words, k=45)) + '.' for _ in range(4000)]
    shorts = [' '.join(chance.choices(words, k=chance.randint(4, 10))) for _ in range(4000)]
    schema = pa.schema([('context', pa.string()), ('question', pa.string()), ('answer', pa.string()), ('label', pa.string()), ('__split', pa.dictionary(pa.int32(), pa.string())), ('__row', pa.int64())])
    with pa.OSFile(str(path), 'wb') as sink, pa.ipc.new_file(sink, schema) as writer:
        for number in range(sources):
            rows = [(f'{chance.choice(paragraphs)} {number}-{row}', chance.choice(shorts) + '?', chance.choice(shorts), LABELS[row % 3]) for row in range(size)]
            if number % 4 == 0: rows[50], rows[100] = rows[0], rows[30]
            columns = [pa.array(column) for column in zip(*rows)]
            writer.write_batch(pa.record_batch([*columns, pa.DictionaryArray.from_arrays(pa.array(np.zeros(size, np.int32)), ['train']), pa.array(range(size))], schema=schema))


def sources_by_bucket(path: Path, plan: list):
    with pa.OSFile(str(path)) as file:
        reader = pa.ipc.open_file(file)
        for bucket, found in enumerate(plan):
            yield bucket, ((card, proposed, pa.Table.from_batches([reader.get_batch(number)])) for number, card, proposed in found)


def plan_buckets(sources: int, tasks: int) -> list[list[tuple[int, SourceCard, list[Task]]]]:   # what the earlier steps of a pipeline hand over
    plan = [[] for _ in range(BUCKETS)]
    for number in range(sources):
        card = make_card(number)
        plan[bucket_of(card.name)].append((number, card, make_tasks(card, tasks_of(number, sources, tasks))))
    return plan


def run_ours(data: Path, out: Path, plan: list) -> None:
    rules = RULES['careful']
    for bucket, sources in sources_by_bucket(data, plan):
        def tables():
            for card, proposed, rows in sources:
                texts = {}
                kept, _ = label_tasks(proposed, rows, card, rules, texts=texts)
                yield make_examples(kept, rows, card, rules, generator='rules', texts=texts)[0]
        write_bucket(out, bucket, tables())


def run_dicts(data: Path, out: Path, plan: list) -> None:
    rules = RULES['careful']
    for bucket, sources in sources_by_bucket(data, plan):
        examples = []
        for card, proposed, table in sources:
            rows, labels = table.to_pylist(), {field.name: field.labels for field in card.fields}
            for task in sorted(proposed, key=lambda task: task.id):
                examples += dict_examples(task, rows, card, labels[task.output], rules)
        path = bucket_path(out, bucket)
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(examples, schema=EXAMPLE_SCHEMA), path, compression='zstd', store_schema=False)


def dict_examples(task, rows, card, labels, rules) -> list[dict]:
    counts = Counter(row[task.output] for row in rows)
    if labels and max(counts.values()) > rules.max_share_many * len(rows): return []
    suffix = f" Answers must be one of {', '.join(labels)}." if labels else ''
    pairs, answers = [], {}
    for row in rows:
        output, values = row[task.output], [row[name] for name in task.inputs]
        if output is None or None in values: continue
        output, values = str(output).strip(), [str(value).strip() for value in values]
        if not output or len(output) > rules.max_output_chars or '' in values: continue
        text = values[0] if len(values) == 1 else ' '.join(f"The {name} is {value}{'' if value[-1] in '.!?。' else '.'}" for name, value in zip(task.inputs, values))
        if len(text) > rules.max_input_chars: text = text[:rules.max_input_chars - len(rules.cut_mark)].rstrip() + rules.cut_mark
        pairs.append((row, text, output))
        answers.setdefault(text, set()).add(output)
    seen, examples = set(), []
    for row, text, output in pairs:
        if (text, output) in seen or labels and len(answers[text]) > 1: continue
        seen.add((text, output))
        examples.append({'id': f"{task.id}-{row['__split']}-{row['__row']}", 'instruction': task.instruction + suffix, 'input': text, 'output': output, 'context': '',
                         'task_id': task.id, 'task_type': 'classification' if labels else 'generation', 'source': card.source, 'config': card.config, 'split': row['__split'],
                         'row': row['__row'], 'revision': card.revision, 'license': card.license, 'url': card.url, 'generator': 'rules'})
    return examples


def run_arrow(data: Path, out: Path, plan: list) -> None:
    for bucket, sources in sources_by_bucket(data, plan):
        path = bucket_path(out, bucket)
        path.parent.mkdir(parents=True, exist_ok=True)
        tables = []
        for card, proposed, rows in sources:
            for task in proposed:
                parts = [pc.binary_join_element_wise(f'The {name} is ', rows[name], '.', '') for name in task.inputs] if len(task.inputs) > 1 else [rows[task.inputs[0]]]
                texts = pc.binary_join_element_wise(*parts, ' ')
                zeros = pa.array(np.zeros(len(rows), np.int32))
                constant = lambda value: pa.DictionaryArray.from_arrays(zeros, [value])
                columns = {'id': pc.binary_join_element_wise(task.id, 'train', rows['__row'].cast(pa.string()), '-'), 'instruction': constant(task.instruction), 'input': texts,
                           'output': rows[task.output], 'context': pa.repeat('', len(rows)), 'task_id': constant(task.id), 'task_type': constant(''), 'source': constant(card.source),
                           'config': constant(card.config), 'split': constant('train'), 'row': rows['__row'], 'revision': constant(card.revision), 'license': constant(card.license),
                           'url': constant(card.url), 'generator': constant('rules')}
                tables.append(pa.table(columns, schema=EXAMPLE_SCHEMA))
        pq.write_table(pa.concat_tables(tables).unify_dictionaries(), path, compression='zstd', store_schema=False)


WAYS = {'ours': run_ours, 'dicts': run_dicts, 'arrow': run_arrow}


def measure(way: str, data: Path, out: Path, sources: int, tasks: int) -> dict:
    "Run one way in a process of its own."
    asked = subprocess.run([sys.executable, __file__, '--way', way, '--data', data, '--out', out, '--sources', str(sources), '--tasks', str(tasks)], capture_output=True, text=True)
    if asked.returncode: raise RuntimeError(asked.stderr)
    return json.loads(asked.stdout)


def peak_megabytes() -> float:   # of this process; Linux counts the parent's into ru_maxrss, so /proc is asked first
    status = Path('/proc/self/status')
    if status.exists(): return next(int(line.split()[1]) / 1024 for line in status.read_text().splitlines() if line.startswith('VmHWM'))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)


def digest(folder: Path) -> tuple[int, int]:   # rows, and a number that equal examples share
    table = read_dataset(folder, ('id', 'instruction', 'input', 'output', 'task_type'))
    names = sorted(table.column_names)
    return table.num_rows, hash(tuple(hash(tuple(sorted(row.items()))) for batch in table.select(names).to_batches(max_chunksize=10_000) for row in batch.to_pylist()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--sizes', type=float, nargs='+', default=[1.], help='parts of the paper, 1 = 5,740 tasks')
    parser.add_argument('--rows', type=int, default=ROWS, help='rows a source, at least 101')
    parser.add_argument('--ways', nargs='+', default=list(WAYS), choices=WAYS)
    parser.add_argument('--repeats', type=int, default=5, help='runs of each, the fastest is shown: other work on the machine only ever makes one slower')
    for name in ('--way', '--data', '--out'): parser.add_argument(name, help=argparse.SUPPRESS)
    for name in ('--sources', '--tasks'): parser.add_argument(name, type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.way:
        plan = plan_buckets(asked.sources, asked.tasks)
        start, cpu = time.perf_counter(), time.process_time()
        WAYS[asked.way](Path(asked.data), Path(asked.out), plan)
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        peak = peak_megabytes()
        print(json.dumps({'seconds': seconds, 'cpu': cpu, 'peak': peak}))
        return
    print('| way | tasks | rows a source | examples | rows/s | rows a CPU second | peak MB | Parquet MB |\n|---|---|---|---|---|---|---|---|')
    for size in asked.sizes:
        tasks, sources = round(TASKS * size), round(SOURCES * size)
        with tempfile.TemporaryDirectory() as folder:
            data, seen = Path(folder, 'sources.arrow'), {}
            write_sources(data, sources, asked.rows)
            for way in asked.ways:
                runs = [measure(way, data, Path(folder, way), sources, tasks) for _ in range(asked.repeats)]
                rows = sum(pq.read_metadata(path).num_rows for path in Path(folder, way).rglob('*.parquet'))
                megabytes = sum(path.stat().st_size for path in Path(folder, way).rglob('*.parquet')) / 1e6
                print(f"| {way} | {tasks:,} | {asked.rows:,} | {rows:,} | {rows / min(run['seconds'] for run in runs):,.0f} | {rows / min(run['cpu'] for run in runs):,.0f} | {max(run['peak'] for run in runs):.0f} | {megabytes:.0f} |", flush=True)
                if size <= 1 and way != 'arrow': seen[way] = digest(Path(folder, way))
            if len(set(seen.values())) > 1: sys.exit(f'ours and dicts differ: {seen}')


if __name__ == '__main__': main()
