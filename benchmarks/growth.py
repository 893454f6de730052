"""One new source added to 300, and one new document added to 300: calls, seconds and bytes written of a step, over those of a full run.

Run it with `python benchmarks/growth.py`, two cores, about four minutes. Sources are folders of 500 drawn rows (text, question, answer, label) with a card each,
documents have twenty paragraphs. A server on loopback (tests/llm_server.py) answers at once with the embedded writer, so the calls cost next to
nothing and a real endpoint makes the difference larger. Each run is a process of its own, without the report's page. `first` is 300 from nothing, `step` adds one
with `previous`, `full` is the 301 from nothing with an empty ledger; that step and full have the same examples is checked.

`python benchmarks/growth.py whole [SOURCES]` does the same with whole runs: processes of `instructgen run dynosaur_data`, with page, card, tables and figures.
"""
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / 'tests')]
COUNT, ROWS, PARAGRAPHS = 300, 500, 20
WORDS = [f'{start}{middle}{end}' for start in ('mar', 'tel', 'gon', 'sil', 'ber', 'hol', 'dun', 'kar') for middle in ('a', 'e', 'i', 'o') for end in ('n', 'rd', 'st', 'ck', 'm', 'll')]


def sentence(chance: random.Random) -> str: return f'{chance.choice(WORDS).capitalize()} {chance.choice(WORDS)} repaired the {chance.choice(WORDS)} of {chance.choice(WORDS)} in {chance.randint(1500, 1999)} and was paid {chance.randint(2, 90)} shillings for it.'


def write_source(place: Path, number: int) -> None:
    "A folder as a hub would give it."
    chance, folder, labels = random.Random(number), place / f'set_{number:03d}', random.Random(number).sample(WORDS, 3)
    (folder / 'data').mkdir(parents=True)
    (folder / 'README.md').write_text(f'---\nlicense: mit\nlanguage: en\n---\n# Set {number}\n### Dataset Summary\nNotes on {WORDS[number % len(WORDS)]} {number} with questions, answers and a topic.\n')
    def row() -> str:
        note, label = sentence(chance), chance.choice(labels)
        return json.dumps({'note': f'{note} {sentence(chance)}', 'question': f'What did {note.split()[0]} repair?', 'answer': ' '.join(note.split()[3:5]), 'topic': label}) + '\n'
    for split, rows in (('train', ROWS * 4 // 5), ('test', ROWS // 5)): (folder / 'data' / f'{split}.jsonl').write_text(''.join(row() for _ in range(rows)))


def write_document(place: Path, number: int) -> None:
    "A document of some sections."
    chance = random.Random(number)
    (place / f'd{number:03d}.md').write_text('\n\n'.join(f'# Part {part}\n\n' + ' '.join(sentence(chance) for _ in range(8)) for part in range(PARAGRAPHS)) + '\n')


def measure(method: str, place: str, out: str, previous: str, llm: str) -> None:
    "One run, and one line of JSON about it."
    from instructgen.store import open_run
    started, cpu = time.perf_counter(), time.process_time()
    with open_run(f'{method}_data', {}, out=out, previous=previous) as run:
        from instructgen.run_llm import open_model
        from instructgen.versions import chain_start, read_version
        before = read_version(previous) if previous else None
        if method == 'dynosaur':
            from instructgen.dynosaur.config import DatasetConfig, gather_sources
            from instructgen.dynosaur.dataset import build_dataset
            from instructgen.dynosaur.growth import plan_growth
            from instructgen.dynosaur.prompts import load_prompts
            config = DatasetConfig(sources=place, llm=llm)
            with open_model(config, chain_start(run.folder)) as model:
                plan = plan_growth(*gather_sources(config, run.folder), config, load_prompts('en'), model, before)
                counts = build_dataset(run, config, list(plan.cards), list(plan.refused), model, plan)
        else:
            from instructgen.bonito.config import BonitoConfig, gather_contexts
            from instructgen.bonito.dataset import build_bonito
            from instructgen.bonito.growth import plan_texts
            config = BonitoConfig(contexts=place, llm=llm, license='own')
            with open_model(config, chain_start(run.folder)) as model:
                plan = plan_texts(*gather_contexts(config, run.folder)[:3], config, before)
                counts = build_bonito(run, config, plan.contexts, plan.refused, model, plan=plan)
        run.finish({name: value for name, value in counts.items() if isinstance(value, int)}, growth=counts['growth'])
    written = sum(path.stat().st_size for path in Path(out).rglob('*') if path.is_file() and path.stat().st_nlink == 1)
    print(json.dumps({'calls': counts['llm']['calls'], 'hits': counts['llm']['hits'], 'seconds': time.perf_counter() - started, 'cpu': time.process_time() - cpu, 'written_mb': written / 1e6,
                      'examples': counts['examples'], 'dataset_mb': sum(path.stat().st_size for path in Path(out, 'dataset').rglob('*.parquet')) / 1e6, 'buckets': counts['growth']['buckets_written'],
                      'peak_mb': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


def compare(method: str) -> None:
    "The three runs of one method, as a table."
    from instructgen.store import read_dataset
    from test_bonito_end_to_end import Writer
    with tempfile.TemporaryDirectory() as folder, Writer(answer='rules') as server:
        home = Path(folder)
        place = home / 'places'
        place.mkdir()
        write = write_source if method == 'dynosaur' else write_document
        for number in range(COUNT): write(place, number)
        llm, told = f'openai:bonito@{server.url}', {}
        for name, previous in (('first', ''), ('step', 'first'), ('full', '')):
            if name == 'step': write(place, COUNT)
            environment = {**os.environ, 'INSTRUCTGEN_OUTPUTS': str(home / ('other' if name == 'full' else 'outputs'))}
            words = [sys.executable, __file__, method, str(place), str(home / name), str(home / previous) if previous else '', llm]
            told[name] = json.loads(subprocess.run(words, env=environment, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
        same = {name: {row['id']: row for row in read_dataset(home / name).to_pylist()} for name in ('step', 'full')}
        assert same['step'] == same['full'], 'the step and the full run differ'
    print(f'{method}: {COUNT} and one more; {told["full"]["examples"]:,} examples, {told["full"]["dataset_mb"]:.1f} MB')
    for name, run in told.items(): print(f"  {name:<6} {run['calls']:>6,} calls {run['hits']:>6,} hits {run['seconds']:7.1f} s ({run['cpu']:.1f} s of processor) {run['written_mb']:8.2f} MB written, {run['buckets']} buckets, peak {run['peak_mb']:.0f} MB")
    print('  step over full: ' + ', '.join(f'{name} {told["step"][name] / told["full"][name]:.4f}' for name in ('calls', 'seconds', 'written_mb')))


def run_whole(words: list[str], environment: dict[str, str], out: Path) -> dict:
    "One process of `instructgen run`, and what it took."
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, '-c', 'from instructgen.cli import main; main()', 'run', 'dynosaur_data', *words, '--out', str(out)], env=environment, check=True, capture_output=True, text=True)
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    manifest, files = json.loads((out / 'manifest.json').read_text()), [path for path in out.rglob('*') if path.is_file() and path.stat().st_nlink == 1]
    def megabytes(*names: str) -> float: return sum(path.stat().st_size for path in files if path.relative_to(out).parts[0].startswith(names)) / 1e6
    return {'calls': manifest['llm']['calls'], 'hits': manifest['llm']['hits'], 'seconds': seconds, 'cpu': after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
            'written_mb': megabytes(''), 'page_mb': megabytes('report.', 'tables', 'figures'), 'buckets': manifest['growth']['buckets_written'], 'examples': manifest['counts']['examples']}


def compare_whole(count: int) -> None:
    "Three whole runs, as a table."
    from instructgen.store import read_dataset
    from test_bonito_end_to_end import Writer
    with tempfile.TemporaryDirectory() as folder, Writer(answer='rules') as server:
        home, told = Path(folder), {}
        place = home / 'places'
        place.mkdir()
        for number in range(count): write_source(place, number)
        for name, previous in (('first', ''), ('step', 'first'), ('full', '')):
            if name == 'step': write_source(place, count)
            environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'INSTRUCTGEN_OUTPUTS': str(home / ('other' if name == 'full' else 'outputs'))}
            words = [word for pair in (('sources', place), ('llm', f'openai:bonito@{server.url}'), *([('previous', home / previous)] if previous else [])) for word in ('-p', *map(str, pair))]
            told[name] = run_whole(words, environment, home / name)
        same = {name: {row['id']: row for row in read_dataset(home / name).to_pylist()} for name in ('step', 'full')}
        assert same['step'] == same['full'], 'the step and the full run differ'
    print(f'instructgen run dynosaur_data: {count} and one more; {told["full"]["examples"]:,} examples')
    for name, run in told.items():
        print(f"  {name:<6} {run['calls']:>6,} calls {run['hits']:>6,} hits {run['seconds']:7.1f} s ({run['cpu']:.1f} s of processor) {run['written_mb']:8.2f} MB written, {run['page_mb']:.2f} of page, tables and figures, {run['buckets']} buckets")
    print('  step over full: ' + ', '.join(f'{name} {told["step"][name] / told["full"][name]:.4f}' for name in ('calls', 'seconds', 'cpu', 'written_mb')))


if __name__ == '__main__':
    if sys.argv[1:2] == ['whole']: compare_whole(int(sys.argv[2]) if len(sys.argv) > 2 else COUNT)
    elif len(sys.argv) > 2: measure(*sys.argv[1:])
    else:
        for chosen in sys.argv[1:] or ('dynosaur', 'bonito'): compare(chosen)
