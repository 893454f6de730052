"""Versions: which folder is meant, files as they were written, equal rules, chains, and a growth step that is killed."""
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from instructgen.locks import GROWING, LOCKED
from instructgen.records import EXAMPLE_COLUMNS, EXAMPLE_SCHEMA, Example, Rejected, Task
from instructgen.store import RunSummary, bucket_path, link_bucket, list_runs, merge_parts, open_run, read_dataset, read_manifest, run_files, write_bucket, write_part
from instructgen.versions import Change, GrowthPolicy, Version, check_files, compare_making, find_version, read_version, version_chain, write_version

MAKING = {'rules': 'careful:9c1f22ab40d1e6f7', 'prompts': 'en:51aa00bb51aa00bb', 'settings': 'aware,unaware', 'seed': 0, 'limit': 0,
          'sampling': {'max_tokens': 512, 'temperature': 0.0, 'schema': None}, 'llm': 'http://127.0.0.1:8000/v1|m'}
LISTED = ('contexts.jsonl', 'dataset/data/train-07.parquet', 'dataset/data/train-09.parquet', 'generations.jsonl', 'parts/07.jsonl', 'parts/09.jsonl', 'rejected.jsonl', 'sources.jsonl', 'tasks.jsonl', 'version.json')


def example_table(source: str) -> pa.Table:
    examples = [Example(f'{source}-train-{row}', f'Answer for {source}.', f'Question {row} of {source}?', 'yes', task_id=source, source=source, row=row) for row in range(9)]
    return pa.table({name: [getattr(example, name) for example in examples] for name in EXAMPLE_COLUMNS}, schema=EXAMPLE_SCHEMA)


def make_version(folder: Path, previous: Path | None = None, report: str = 'dynosaur_data', status: str = 'complete', **making) -> Path:
    "A finished version with two buckets, linked from the older one where there is one."
    with open_run(report, {}, folder, previous=previous or '') as run:
        for bucket in (7, 9):
            if previous and link_bucket(previous, folder, bucket, 'key'): continue
            write_bucket(folder, bucket, example_table(f's{bucket}'))
            write_part(folder, bucket, 'key', {f's{bucket}': ([Task('Answer.', ('question',), 'answer', f's{bucket}')], [Rejected('task', 'ab', 'overlap')])})
        for name in ('sources', 'contexts', 'generations'): run.write_text(f'{name}.jsonl', f'{{"{name}": 1}}\n')
        for name in ('dataset/README.md', 'report.html', 'tables/growth.csv', 'provenance.csv'): run.write_text(name, 'words\n')
        write_version(run, 'dynosaur', {**MAKING, **making}, read_version(previous) if previous else None, {'came': 2}, {})
        run.finish(merge_parts(folder), status)
    return folder


@pytest.fixture(scope='module')
def made(tmp_path_factory) -> Path: return make_version(tmp_path_factory.mktemp('versions').resolve() / 'v1')


@pytest.fixture
def version(made, tmp_path) -> Path:
    "A copy that a test may damage."
    return Path(shutil.copytree(made, tmp_path.resolve() / 'v1'))


def flip(path: Path, place: int = -1) -> None:
    "Another byte at one place of a file, in place, so that size and inode stay."
    with open(path, 'r+b') as file:
        data = bytearray(file.read())
        data[place] ^= 1
        file.seek(0); file.write(data)


# ---------------------------------------------------------------- files as they were written

@pytest.mark.parametrize('name', LISTED)
def test_one_edited_byte_of_equal_length_is_found_in_every_file(version, name):
    path, before = version / name, (version / name).stat()
    check_files(version)
    flip(path, before.st_size // 2)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    for reader in (check_files, read_version):
        with pytest.raises(ValueError, match=re.escape(f'{path} is not the file that the run wrote (another hash)')): reader(version)


@pytest.mark.parametrize('name', LISTED)
def test_a_missing_and_a_longer_file_are_found(version, name):
    with open(version / name, 'ab') as file: file.write(b'\n')
    with pytest.raises(ValueError, match=re.escape(f'{version / name} is not the file that the run wrote (another size)')): check_files(version)
    (version / name).unlink()
    for reader in (check_files, read_version):
        with pytest.raises(ValueError, match=re.escape(f'{version / name} is missing')): reader(version)


@pytest.mark.parametrize('name', ['dataset/data/train-08.parquet', 'dataset/data/.hidden.parquet', 'dataset/data/extra.parquet', 'dataset/more.parquet', 'parts/08.jsonl'])
def test_an_added_file_is_found(version, name):
    shutil.copy(version / ('parts/07.jsonl' if name.startswith('parts') else 'dataset/data/train-07.parquet'), version / name)
    with pytest.raises(ValueError, match=re.escape(f'{version / name} was not written by the run')): check_files(version)
    if '/data/' in name: assert read_dataset(version).num_rows == 27    # a reader would have taken it


def test_an_added_list_is_found(tmp_path):
    with open_run('dynosaur_data', {}, tmp_path) as run: run.finish({})
    check_files(tmp_path)
    (tmp_path / 'contexts.jsonl').touch()
    with pytest.raises(ValueError, match='contexts.jsonl was not written by the run'): check_files(tmp_path)


def test_what_nothing_is_taken_from_may_be_edited(version):
    before = read_version(version)
    for name in ('dataset/README.md', 'report.html', 'tables/growth.csv', 'provenance.csv'): (version / name).write_text('corrected')
    (version / 'report.html').unlink(); (version / 'notes.txt').write_text('mine'); (version / 'dataset' / 'data' / 'notes.txt').touch()
    os.utime(version / 'tasks.jsonl'); os.chmod(bucket_path(version, 7), 0o444)
    assert read_version(version) == before


def test_the_message_names_three_and_counts_the_others(version):
    for name in LISTED[:5]: (version / name).unlink()
    with pytest.raises(ValueError, match='missing') as caught: check_files(version)
    assert all(f'{version / name} is missing' in str(caught.value) for name in LISTED[:3]) and '; and 2 more. A version grows only' in str(caught.value)


def test_data_that_was_moved_to_another_disk_and_linked_is_whole(version, tmp_path):
    shutil.move(version / 'dataset', tmp_path / 'elsewhere')
    (version / 'dataset').symlink_to(tmp_path / 'elsewhere')
    check_files(version)
    shutil.copy(bucket_path(version, 7), bucket_path(version, 8))
    with pytest.raises(ValueError, match='train-08.parquet was not written'): check_files(version)


def test_a_shared_file_is_wrong_in_every_version_that_has_it(version):
    for number in (2, 3): make_version(version.parent / f'v{number}', version.parent / f'v{number - 1}')
    path, old = bucket_path(version.parent / 'v3', 7), bucket_path(version, 7)
    assert path.samefile(old)
    check_files(version.parent / 'v3')
    flip(path)
    with pytest.raises(ValueError, match=re.escape(f'{path} is not the file that the run wrote (another hash), nor is it in {version.parent / "v2"}, {version}')): check_files(version.parent / 'v3')
    with pytest.raises(ValueError, match=re.escape(f'{old} is not the file that the run wrote (another hash). A version')): check_files(version)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(LISTED), st.integers(0, 10**6), st.data())
def test_any_byte_of_any_file_counts(made, name, place, data):
    path = made / name
    place %= path.stat().st_size
    try:
        flip(path, place)
        with pytest.raises(ValueError, match=re.escape(name)): check_files(made)
    finally: flip(path, place)
    check_files(made)


@pytest.mark.parametrize('text, message', [('{', 'manifest.json cannot be read'), ('{"status": "complete"}', 'holds no finished run'), (None, 'holds no finished run')])
def test_a_manifest_that_is_none(version, text, message):
    (version / 'manifest.json').write_text(text) if text else (version / 'manifest.json').unlink()
    with pytest.raises(ValueError, match=message): check_files(version)


# ---------------------------------------------------------------- writing and reading

def test_a_chain_of_versions(tmp_path):
    first = make_version(tmp_path.resolve() / 'v1')
    with open_run('dynosaur_data', {}, tmp_path / 'v2', previous=first) as run:
        before = read_version(first)
        path = write_version(run, 'dynosaur', MAKING, before, {'came': 1}, {'b/leaked': '2026-11-28T10:00:00+00:00'})
        told = json.loads(path.read_text())
        assert told == {'method': 'dynosaur', 'number': 2, 'previous': 'v1', 'previous_manifest': before.manifest_hash, 'making': MAKING, 'software': before.software,
                        'dropped': {'b/leaked': '2026-11-28T10:00:00+00:00'}, 'growth': {'came': 1}}
        run.finish({}, growth=told['growth'])
    second = read_version(tmp_path / 'v2')
    assert (second.number, second.making, second.folder) == (2, MAKING, str(tmp_path.resolve() / 'v2'))
    with open_run('dynosaur_data', {}, tmp_path / 'v3', previous=tmp_path / 'v2') as run:
        told = json.loads(write_version(run, 'dynosaur', MAKING, second, {}, {'a/other': '2026-11-29T10:00:00+00:00'}).read_text())
        assert list(told['dropped']) == ['a/other', 'b/leaked'] and told['number'] == 3    # what was taken out stays out
        run.finish({})
    assert [run.growth for run in list_runs(tmp_path)] == [{}, {'came': 1}, {}]


def test_a_run_grows_from_the_version_that_it_was_opened_with(version, tmp_path):
    other = read_version(make_version(tmp_path / 'other'))
    with open_run('dynosaur_data', {}, tmp_path / 'v2', previous=version) as run:
        for wrong in (other, None):
            with pytest.raises(ValueError, match=re.escape(f'was opened to grow from {version} and is written as grown from {wrong.folder if wrong else "nothing"}')):
                write_version(run, 'dynosaur', MAKING, wrong, {}, {})
    with open_run('dynosaur_data', {}, tmp_path / 'v3') as run, pytest.raises(ValueError, match='was opened to grow from nothing'): write_version(run, 'dynosaur', MAKING, other, {}, {})
    assert not (tmp_path / 'v2' / 'version.json').exists() and not (tmp_path / 'v3' / 'version.json').exists()


def test_a_run_from_before_there_were_versions(tmp_path):
    with open_run('dynosaur_data', {}, tmp_path / 'old') as run: run.finish({})
    with pytest.raises(ValueError, match='old was made before versions could be grown: run it once more in a new folder, where the answers in the ledger are used again'): read_version(tmp_path / 'old')
    with pytest.raises(ValueError, match='holds no finished run'): read_version(tmp_path / 'nowhere')


def test_a_run_that_failed_after_it_said_how_it_was_made(tmp_path):
    with open_run('dynosaur_data', {}, tmp_path) as run:
        write_version(run, 'dynosaur', MAKING, None, {}, {})
        run.finish({}, 'failed', error='no room')
    with pytest.raises(ValueError, match='is failed: no room; go on with it by resume first'): read_version(tmp_path)



@pytest.mark.parametrize('field, value, error', [('number', 0, ValueError), ('number', '1', TypeError), ('making', [], TypeError), ('manifest_hash', None, TypeError)])
def test_bad_versions(made, field, value, error):
    with pytest.raises(error): replace(read_version(made), **{field: value})


def test_secrets_of_the_environment_are_not_written(tmp_path, monkeypatch):
    monkeypatch.setenv('OPENAI_API_KEY', 'sk-test-0123456789abcdef')
    with open_run('dynosaur_data', {}, tmp_path) as run: assert 'sk-test' not in write_version(run, 'dynosaur', {'llm': 'x?key=sk-test-0123456789abcdef'}, None, {}, {}).read_text()


# ---------------------------------------------------------------- the same rules

def of(making: dict) -> Version: return Version('/outputs/v1', 'dynosaur', 1, making, '0.1.0', {}, '')


@pytest.mark.parametrize('change, message', [
    ({'seed': 1}, '/outputs/v1 was made with seed 0, this run asks for seed 1: a version keeps the rules of the one that it grows from; leave previous out to begin a new dataset'),
    ({'seed': 1, 'limit': 50}, 'was made with limit 0, seed 0, this run asks for limit 50, seed 1: '),
    ({'rules': 'paper:9c1f22ab40d1e6f7'}, 'was made with rules careful:9c1f22ab40d1e6f7, this run asks for rules paper:9c1f22ab40d1e6f7'),
    ({'rules': 'careful:0c1f22ab40d1e6f7'}, 'was made with rules careful, this run asks for rules careful with another text'),
    ({'settings': ''}, 'was made with settings aware,unaware, this run asks for settings ""'),
    ({'sampling': {**MAKING['sampling'], 'temperature': .7}}, 'was made with sampling.temperature 0.0, this run asks for sampling.temperature 0.7'),
    ({'sampling': {**MAKING['sampling'], 'schema': {'type': 'object'}}}, 'was made with sampling.schema null, this run asks for sampling.schema {"type":"object"}'),
    ({'confirm': True}, 'was made with no confirm, this run asks for confirm true'),
    ({'llm': 'http://127.0.0.1:8001/v1|m'}, 'this run asks for llm http://127.0.0.1:8001/v1|m; an LLM is told by address, model and query, so one on another port is another one: ')])
def test_other_rules_are_named(change, message):
    with pytest.raises(ValueError, match=re.escape(message)) as caught: compare_making(of(MAKING), {**MAKING, **change})
    assert ('another port' in str(caught.value)) == ('llm' in change)


def test_long_values_are_cut_and_still_said_to_differ():
    with pytest.raises(ValueError, match='this run asks for text x+ with another text') as caught: compare_making(of({'text': 'x' * 500 + 'a'}), {'text': 'x' * 500 + 'b'})
    assert len(str(caught.value)) < 500


values = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=8), lambda inner: st.lists(inner, max_size=3), max_leaves=4)
makings = st.dictionaries(st.text('abc', min_size=1, max_size=3), values | st.dictionaries(st.text('xyz', min_size=1, max_size=2), values, min_size=1, max_size=3), max_size=5)

@settings(deadline=None)
@given(makings, makings)
def test_only_equal_rules_pass_and_all_that_differs_is_named(one, other):
    compare_making(of(one), json.loads(json.dumps(one)))
    flat = [{f'{name}.{part}' if part else name: inner for name, value in making.items() for part, inner in (value.items() if isinstance(value, dict) else [('', value)])} for making in (one, other)]
    different = {name for name in {*flat[0], *flat[1]} if name not in flat[0] or name not in flat[1] or flat[0][name] != flat[1][name]}
    if not different: return compare_making(of(one), other)
    with pytest.raises(ValueError) as caught: compare_making(of(one), other)
    assert all(re.search(rf'\b{re.escape(name)}\b', str(caught.value)) for name in different)


# ---------------------------------------------------------------- what is gone

@pytest.mark.parametrize('values, message', [({'listing': 'some'}, 'want one of all, new'), ({'gone': ''}, 'want one of drop, keep'), ({'most_gone': 1.5}, 'a share from 0 to 1'), ({'most_gone': float('nan')}, 'a share from 0 to 1')])
def test_bad_policies(values, message):
    with pytest.raises(ValueError, match=message): GrowthPolicy(**values)
    with pytest.raises(TypeError): GrowthPolicy(most_gone='half')


@given(st.integers(1, 5000), st.data(), st.integers(0, 100))
def test_the_advice_about_most_gone_suffices(before, data, share):
    went = data.draw(st.integers(0, before))
    try: GrowthPolicy(most_gone=share / 100).check_gone(went, before, 'data/')
    except ValueError as error:
        assert went * 100 > share * before and f'{went} of {before} sources are gone from data/' in str(error)
        GrowthPolicy(most_gone=float(re.search(r'set most_gone to ([\d.]+) or more', str(error))[1])).check_gone(went, before, 'data/')
    else: assert went * 100 <= share * before


def test_the_first_of_no_sources_is_no_loss(): GrowthPolicy().check_gone(0, 0, 'data/')


@pytest.mark.parametrize('values, error', [({'what': 'gone'}, ValueError), ({'examples': '3'}, TypeError), ({'why': None}, TypeError)])
def test_bad_changes(values, error):
    with pytest.raises(error): Change(**{'name': 'films', 'what': 'came', **values})


# ---------------------------------------------------------------- which folder is meant

def test_a_folder_here_comes_before_one_among_the_outputs(tmp_path, monkeypatch):
    monkeypatch.setenv('INSTRUCTGEN_OUTPUTS', str(tmp_path / 'outputs'))
    (tmp_path / 'here').mkdir(); monkeypatch.chdir(tmp_path / 'here')
    there = make_version(tmp_path.resolve() / 'outputs' / 'v1')
    assert find_version('v1', 'dynosaur_data') == find_version(str(there), 'dynosaur_data') == find_version(str(tmp_path / 'outputs'), 'dynosaur_data') == there
    here = make_version(tmp_path.resolve() / 'here' / 'v1')
    assert find_version('v1', 'dynosaur_data') == here and find_version('.', 'dynosaur_data') == here
    (tmp_path / 'link').symlink_to(there)
    assert find_version(str(tmp_path / 'link'), 'dynosaur_data') == there


@pytest.mark.parametrize('text', ['', ' ', 'typo', 'file'])
def test_a_text_that_names_nothing(tmp_path, monkeypatch, text):
    monkeypatch.setenv('INSTRUCTGEN_OUTPUTS', str(tmp_path / 'outputs')); monkeypatch.chdir(tmp_path)
    (tmp_path / 'file').touch()
    with pytest.raises(FileNotFoundError, match=f'^{text!r} is no folder here or in {re.escape(str(tmp_path / "outputs"))}: want the run folder of a finished dynosaur_data'): find_version(text, 'dynosaur_data')
    with pytest.raises(FileNotFoundError, match='holds no run'): find_version(str(tmp_path), 'dynosaur_data')


def test_the_newest_finished_version_of_a_folder(tmp_path):
    root, report = tmp_path.resolve(), 'dynosaur_data'
    for day, status in enumerate(('complete', 'partial', 'stopped', 'complete')): make_version(root / f'day-{day}', root / f'day-{day - 1}' if day else None, status=status)
    make_version(root / 'other', report='bonito_data')
    make_version(root / 'day-3' / 'inner')                                        # not directly in it
    (root / 'notes').mkdir(); (root / 'file').touch()
    assert find_version(str(root), report).name == 'day-3'                        # begun in one second, perhaps: the number tells
    def begun(name: str, moment: str) -> None:
        path = root / name / 'run.json'
        path.write_text(json.dumps({**json.loads(path.read_text()), 'started': moment}))
    begun('day-0', '2999-01-01T00:00:00+00:00')
    assert find_version(str(root), report).name == 'day-0'                        # a dataset that was begun anew
    begun('day-0', '2001-01-01T00:00:00+00:00')
    (root / 'day-3' / 'manifest.json').unlink()                                   # interrupted
    assert find_version(str(root), report).name == 'day-2'
    (root / 'day-2' / 'version.json').unlink()                                    # of an older package
    assert find_version(str(root), report).name == 'day-1'
    (root / 'day-1' / 'run.json').write_text('{')
    assert find_version(str(root), report).name == 'day-0'
    with open_run(report, {}, root / 'day-0', resume=True): pass
    with pytest.raises(ValueError, match='^no finished version of dynosaur_data in .*; day-3 was interrupted: go on with it by resume first; other holds a run of'): find_version(str(root), report)


def test_a_run_that_cannot_be_grown_says_why(version, tmp_path):
    find = lambda: find_version(str(version), 'dynosaur_data')
    assert find() == version
    with pytest.raises(ValueError, match="v1 holds a run of 'dynosaur_data', not of 'bonito_data'"): find_version(str(version), 'bonito_data')
    process = subprocess.Popen([sys.executable, '-c', "import sys, time; from instructgen.store import open_run; run = open_run('dynosaur_data', {}, sys.argv[1], resume=True); print(flush=True); time.sleep(60)", str(version)], stdout=subprocess.PIPE)
    try:
        process.stdout.readline()
        with pytest.raises(ValueError, match=f'v1 is being written .process {process.pid} on .*: wait until it is finished'): find()
    finally: process.kill(); process.wait()
    with pytest.raises(ValueError, match='v1 was interrupted: go on with it by resume first'): find()
    with pytest.raises(ValueError, match='no'), open_run('dynosaur_data', {}, version, resume=True): raise ValueError('no room')
    with pytest.raises(ValueError, match='v1 is failed: ValueError: no room; go on with it by resume first'): find()
    (version / 'manifest.json').write_text('{')
    with pytest.raises(ValueError, match='v1 cannot be read'): find()


# ---------------------------------------------------------------- chains

def summary(name: str, parent: str = '', started: str = '', report: str = 'dynosaur_data') -> RunSummary: return RunSummary(f'/outputs/{name}', report, 'complete', started, parent=parent and f'/outputs/{parent}')


def shown(runs: list[RunSummary]) -> list[tuple[int, str]]: return [(depth, run.folder.removeprefix('/outputs/')) for depth, run in version_chain(runs)]


def test_chains_of_any_shape():
    assert shown([summary('c', 'b', '3'), summary('b', 'a', '2'), summary('a', '', '1'), summary('d', 'a', '4')]) == [(0, 'a'), (1, 'b'), (2, 'c'), (1, 'd')]
    assert shown([summary('b', 'gone', '1'), summary('c', 'b', '2')]) == [(0, 'b'), (1, 'c')]
    assert shown([summary('a', '', '1'), summary('selection', 'a', '2', 'selection')]) == [(0, 'a'), (0, 'selection')]
    assert shown([summary('a', 'b', '2'), summary('b', 'a', '1'), summary('c', 'b', '3'), summary('d', '', '9')]) == [(0, 'd'), (0, 'b'), (1, 'a'), (1, 'c')]   # a folder that was used again
    assert shown([summary('a', 'a')]) == [(0, 'a')] and shown([]) == []
    assert [depth for depth, _ in shown([summary(str(number), str(number - 1) if number else '', f'{number:05d}') for number in range(3000)])] == list(range(3000))


@given(st.lists(st.tuples(st.integers(-1, 9), st.integers(0, 3), st.sampled_from(['dynosaur_data', 'bonito_data'])), max_size=10), st.randoms(use_true_random=False))
def test_every_run_once_and_parents_before_children(drawn, chance):
    runs = [summary(str(number), str(older) if older >= 0 else '', str(started), report) for number, (older, started, report) in enumerate(drawn)]
    chain = shown(runs)
    assert sorted(name for _, name in chain) == sorted(str(number) for number in range(len(runs)))
    places, above = {name: place for place, (_, name) in enumerate(chain)}, []
    for depth, name in chain:
        above = above[:depth]
        assert depth == len(above)
        if depth: assert above[-1] == runs[int(name)].parent.removeprefix('/outputs/') and runs[int(above[-1])].report == runs[int(name)].report
        above.append(name)
    chance.shuffle(runs)
    assert shown(runs) == chain


# ---------------------------------------------------------------- kill -9 in a step

STEP = """
import os, sys
sys.path.insert(0, {tests!r})
from test_versions import MAKING, take_step
moments = iter(range(1, 100))
def moment():
    if next(moments) == int(sys.argv[3]): print('here', flush=True); sys.stdin.readline()
linked, merged = os.link, None
def link(*names): moment(); linked(*names)             # before a Parquet file, before its part, and so for each bucket
os.link = link
take_step(sys.argv[1], sys.argv[2], moment)
print('done', flush=True)
"""

def take_step(previous: str, folder: str, moment=lambda: None) -> None:
    "Grow by one source: two buckets are linked, one is made."
    with open_run('dynosaur_data', {'previous': previous}, folder, resume=os.path.exists(f'{folder}/run.json'), previous=previous) as run:
        before = read_version(run.settings['parent'])
        compare_making(before, MAKING)
        run.write_text('sources.jsonl', '{"sources": 2}\n')
        for bucket in (7, 9): assert link_bucket(before.folder, folder, bucket, 'key')
        write_bucket(folder, 11, example_table('s11'))
        moment()
        write_part(folder, 11, 'key', {'s11': ([Task('Answer.', ('question',), 'answer', 's11')], [])})
        merge_parts(folder)
        moment()
        write_version(run, 'dynosaur', MAKING, before, {'came': 1, 'unchanged': 2}, {})
        moment()
        run.finish({}, growth={'came': 1, 'unchanged': 2})


def state(folder: Path, times: bool = True) -> dict: return {name: (path.read_bytes(), path.stat().st_mtime_ns if times else 0) for name, path in run_files(folder, hidden=True) if path.name not in (LOCKED, GROWING)}


@pytest.mark.parametrize('moment', range(1, 8))
def test_a_step_killed_at_any_moment_leaves_the_older_version_whole_and_goes_on(version, tmp_path, moment):
    before = state(version)
    take_step(str(version), str(tmp_path / 'undisturbed'))
    wanted = {name: content for name, content in state(tmp_path / 'undisturbed', times=False).items() if name not in ('run.json', 'manifest.json')}
    process = subprocess.Popen([sys.executable, '-c', STEP.format(tests=str(Path(__file__).parent)), str(version), str(tmp_path / 'v2'), str(moment)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == 'here\n', process.communicate()[1]
    process.kill(); process.wait()
    assert state(version) == before and not read_manifest(tmp_path / 'v2')
    check_files(version)
    with pytest.raises(ValueError, match='v2 was interrupted'): find_version(str(tmp_path / 'v2'), 'dynosaur_data')
    take_step(str(version), str(tmp_path / 'v2'))
    assert {name: content for name, content in state(tmp_path / 'v2', times=False).items() if name not in ('run.json', 'manifest.json')} == wanted
    assert state(version) == before and read_version(tmp_path / 'v2').number == 2 and bucket_path(version, 7).samefile(bucket_path(tmp_path / 'v2', 7))
    assert [(depth, Path(run.folder).name) for depth, run in version_chain(list_runs(tmp_path))][:2] == [(0, 'v1'), (1, 'undisturbed')]


def test_a_step_from_edited_files_begins_nothing(version, tmp_path):
    flip(bucket_path(version, 9))
    with pytest.raises(ValueError, match='train-09.parquet is not the file'): take_step(str(version), str(tmp_path / 'v2'))
    assert not (tmp_path / 'v2' / 'dataset').exists() and read_manifest(tmp_path / 'v2')['status'] == 'failed'
    flip(bucket_path(version, 9))
    take_step(str(version), str(tmp_path / 'v3'))                                  # nothing is held by the step that failed
