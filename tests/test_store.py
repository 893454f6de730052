"""The run folder: whole files, locks, resume and growth after kill -9, buckets whose bytes depend on nothing but their content."""
import errno
import fcntl
import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings, strategies as st

from instructgen import locks, store
from instructgen.locks import hold_version, read_holder
from instructgen.records import EXAMPLE_COLUMNS, EXAMPLE_SCHEMA, Example, Rejected, Task, from_json
from instructgen.store import (BUCKETS, atomic_path, bucket_done, bucket_of, bucket_path, is_locked, link_bucket, list_runs, merge_parts, open_run, read_dataset,
                               read_manifest, read_part, read_run, refuse_secrets, run_files, take_lock, write_bucket, write_part)


def example_table(source: str, rows: int, text: str = 'yes') -> pa.Table:
    examples = [Example(f'{source}-train-{row}', f'Answer for {source}.', f'Question {row} of {source}?', text, task_id=source, source=source, row=row) for row in range(rows)]
    return pa.table({name: [getattr(example, name) for example in examples] for name in EXAMPLE_COLUMNS}, schema=EXAMPLE_SCHEMA)


def run_python(code: str, *arguments: str, wait: bool = True) -> subprocess.Popen:
    process = subprocess.Popen([sys.executable, '-c', code, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if wait: process.wait(60)
    return process


def leftovers(folder: Path) -> list[str]: return [path.name for path in folder.rglob('*.tmp')]


# whole or not at all

@pytest.mark.parametrize('number', [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_keeps_the_old_file_and_says_what_to_do(tmp_path, monkeypatch, number):
    path = write_bucket(tmp_path, 3, example_table('a', 5))
    before = path.read_bytes()
    def full(*_): raise OSError(number, os.strerror(number))
    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(OSError, match='train-03.parquet: free some space') as caught: write_bucket(tmp_path, 3, example_table('a', 9))
    assert caught.value.errno == number
    assert path.read_bytes() == before and not leftovers(tmp_path)


def test_a_real_limit_of_the_system_is_explained(tmp_path):
    "The kernel refuses in the middle of Arrow's own writing, not in a patched function."
    process = run_python("""
import resource, signal, sys
import pyarrow as pa
from instructgen.records import EXAMPLE_SCHEMA
from instructgen.store import write_bucket
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
import random
texts = [random.Random(i).randbytes(200).hex() for i in range(4000)]
columns = [pa.array(range(4000)) if f.name == 'row' else pa.array(texts if f.name in ('id', 'input') else [''] * 4000) for f in EXAMPLE_SCHEMA]
try: write_bucket(sys.argv[1], 0, pa.table(columns, names=EXAMPLE_SCHEMA.names))
except OSError as error: print(error)
""", str(tmp_path))
    out, err = process.communicate()
    assert 'free some space' in out and 'train-00.parquet' in out, err
    assert not [path for path in tmp_path.rglob('*') if path.is_file()]


def test_killed_while_writing_leaves_the_old_file_and_resume_clears_up(tmp_path):
    with open_run('demo', {}, tmp_path) as run: run.write_text('tasks.jsonl', 'old\n')
    process = run_python("""
import sys, time
from instructgen.store import atomic_path
with atomic_path(sys.argv[1] + '/tasks.jsonl') as temporary:
    temporary.write_text('half of the n')
    print('writing', flush=True)
    time.sleep(60)
""", str(tmp_path), wait=False)
    assert process.stdout.readline() == 'writing\n'
    process.kill(); process.wait()
    assert (tmp_path / 'tasks.jsonl').read_text() == 'old\n' and leftovers(tmp_path)
    open_run('demo', {}, tmp_path, resume=True).close()
    assert not leftovers(tmp_path)


def test_an_interrupt_removes_the_half_written_file(tmp_path):
    with pytest.raises(KeyboardInterrupt), atomic_path(tmp_path / 'a') as temporary:
        temporary.write_text('half')
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_files_are_made_with_the_usual_permissions(tmp_path):
    "mkstemp's 0600 would lock colleagues out of a shared folder."
    (tmp_path / 'plain').touch()
    with atomic_path(tmp_path / 'ours') as temporary: temporary.touch()
    assert (tmp_path / 'ours').stat().st_mode == (tmp_path / 'plain').stat().st_mode


# the lock

HOLD = """
import os, sys, time
from instructgen.store import open_run
run = open_run('demo', {}, sys.argv[1])
child = os.fork() if len(sys.argv) > 2 else -1
if child == 0:
    time.sleep(60)
    os._exit(0)
print(child, flush=True)
time.sleep(60)
"""

def test_a_second_process_is_told_who_holds_the_folder(tmp_path):
    process = run_python(HOLD, str(tmp_path), wait=False)
    try:
        process.stdout.readline()
        assert is_locked(tmp_path)
        with pytest.raises(BlockingIOError, match=f'process {process.pid} on'): open_run('demo', {}, tmp_path, resume=True)
    finally: process.kill(); process.wait()
    assert not is_locked(tmp_path)
    open_run('demo', {}, tmp_path, resume=True).close()   # a kill frees the folder at once


def test_a_worker_that_outlives_a_killed_parent_does_not_keep_the_lock(tmp_path):
    process = run_python(HOLD, str(tmp_path), 'fork', wait=False)
    child = int(process.stdout.readline())
    process.kill(); process.wait()
    try:
        for _ in range(50):
            if not is_locked(tmp_path): break
            time.sleep(.05)
        assert not is_locked(tmp_path)
    finally: os.kill(child, signal.SIGKILL)


def test_the_parent_keeps_the_lock_when_a_forked_worker_ends(tmp_path):
    with open_run('demo', {}, tmp_path):
        child = os.fork()
        if child == 0: os._exit(0)
        os.waitpid(child, 0)
        assert is_locked(tmp_path)
    assert not is_locked(tmp_path)


def test_two_runs_of_one_second_get_two_folders(tmp_path, monkeypatch):
    monkeypatch.setenv('INSTRUCTGEN_OUTPUTS', str(tmp_path))
    runs = [open_run('demo', {'seed': 1}) for _ in range(5)]
    assert len({run.folder for run in runs}) == 5 and all(run.folder.parent == tmp_path for run in runs)
    for run in runs: run.close()


# growing: two locks on the version that is grown from

GROW = """
import os, sys, time
from instructgen.store import open_run
sys.stdin.readline()                                  # all of them start in the same moment
try: run = open_run('demo', {'previous': 'v1'}, sys.argv[2], resume=os.path.exists(sys.argv[2] + '/run.json'), previous=sys.argv[1])
except BlockingIOError as error: print(f'refused: {error}', flush=True); sys.exit()
child = os.fork() if len(sys.argv) > 3 else -1        # a worker, which may outlive its parent
if child == 0:
    time.sleep(60)
    os._exit(0)
print(f'grows: {child}', flush=True)
time.sleep(60)
"""

def finished_run(folder: Path) -> Path:
    "A version with a bucket, a part and merged files."
    with open_run('demo', {}, folder) as run:
        write_bucket(folder, 7, example_table('a', 3))
        write_part(folder, 7, 'key', {'a': ([Task('Answer.', ('question',), 'answer', 'a')], [])})
        run.finish(merge_parts(folder))
    return folder


def start_growing(previous: Path, folder: Path, *more: str) -> subprocess.Popen:
    process = subprocess.Popen([sys.executable, '-c', GROW, str(previous), str(folder), *more], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return process


def begin(process: subprocess.Popen) -> None: process.stdin.write('go\n'), process.stdin.flush()


def state(folder: Path) -> dict[str, tuple[bytes, int]]:
    "Bytes and time of every file, but those of the locks."
    return {name: (path.read_bytes(), path.stat().st_mtime_ns) for name, path in run_files(folder, hidden=True) if name not in (locks.LOCKED, locks.GROWING)}


def test_of_many_that_grow_one_version_one_goes_on_and_the_others_are_told(tmp_path):
    old = finished_run(tmp_path / 'v1')
    before = state(old)
    growing = {tmp_path / f'v2-{number}': start_growing(old, tmp_path / f'v2-{number}') for number in range(4)}
    try:
        for process in growing.values(): begin(process)
        said = {folder: process.stdout.readline() for folder, process in growing.items()}
        winner, = [folder for folder, line in said.items() if line.startswith('grows')]
        for folder, line in said.items():
            if folder == winner: continue
            assert f'process {growing[winner].pid} on' in line and f'into {winner}' in line and str(old) in line, line
            assert not (folder / 'run.json').exists()
        assert read_run(winner)['parent'] == str(old.resolve()) and state(old) == before
    finally:
        for process in growing.values(): process.kill(); process.wait()


def test_a_killed_step_frees_the_older_version_at_once_and_leaves_it_whole(tmp_path):
    old = finished_run(tmp_path / 'v1')
    before = state(old)
    process = start_growing(old, tmp_path / 'v2', 'worker')
    begin(process)
    child = int(process.stdout.readline().split()[1])
    try:
        for resume, folder in ((True, old), (False, tmp_path / 'v3')):
            with pytest.raises(BlockingIOError, match=f'a version is being grown from .*process {process.pid} on .*into {re.escape(str(tmp_path / "v2"))}'):
                open_run('demo', {}, folder, resume=resume, previous='' if resume else old)
        assert not is_locked(old) and is_locked(tmp_path / 'v2')             # it may be read, trained on and published meanwhile
        assert [run.status for run in list_runs(tmp_path)] == ['complete', 'running']
        process.kill(); process.wait()                                       # the worker lives on
        open_run('demo', {}, tmp_path / 'v4', previous=old).close()
        assert state(old) == before
        with open_run('demo', {'previous': 'v1'}, tmp_path / 'v2', resume=True) as run:
            assert run.settings['parent'] == str(old.resolve())
            with pytest.raises(BlockingIOError, match=f'process {os.getpid()} on'): open_run('demo', {}, tmp_path / 'v5', previous=old)
            run.finish({})
        assert state(old) == before and read_manifest(tmp_path / 'v2')['parent'] == str(old.resolve())
    finally: process.kill(); process.wait(); os.kill(child, signal.SIGKILL)


def test_a_version_that_is_resumed_is_not_grown_from(tmp_path):
    old = finished_run(tmp_path / 'v1')
    process = run_python("import sys, time; from instructgen.store import open_run; run = open_run('demo', {}, sys.argv[1], resume=True); print('open', flush=True); time.sleep(60)", str(old), wait=False)
    try:
        process.stdout.readline()
        with pytest.raises(BlockingIOError, match=f'v1 is being written .process {process.pid} on .*: wait until it is finished'): open_run('demo', {}, tmp_path / 'v2', previous=old)
    finally: process.kill(); process.wait()
    with pytest.raises(ValueError, match='v1 is not finished: go on with it by resume'): open_run('demo', {}, tmp_path / 'v2', previous=old)
    assert not (tmp_path / 'v2' / 'run.json').exists()
    for descriptor in hold_version(old, 'v2'): os.close(descriptor)          # the refusals hold nothing


def test_growing_from_nothing_is_an_error(tmp_path):
    (tmp_path / 'empty').mkdir()
    for place in ('empty', 'typo'):
        with pytest.raises(FileNotFoundError, match=f'{place} holds no run to grow from'): open_run('demo', {}, tmp_path / 'v2', previous=tmp_path / place)
    assert not (tmp_path / 'typo').exists() and not list((tmp_path / 'empty').iterdir())
    old = finished_run(tmp_path / 'v1')
    with pytest.raises(FileExistsError, match='holds a run already'): open_run('demo', {}, old, previous=old)


def test_a_step_goes_on_from_the_version_that_it_began_with(tmp_path, monkeypatch):
    old, other = finished_run(tmp_path / 'v1'), finished_run(tmp_path / 'other')
    monkeypatch.chdir(tmp_path)
    first = open_run('demo', {'previous': 'v1'}, 'v2', previous='v1'); first.close()
    assert first.config_hash == read_run(old)['config_hash'] and first.settings['previous_manifest'] == hashlib.sha256((old / 'manifest.json').read_bytes()).hexdigest()
    monkeypatch.chdir('/')                                                   # the place is absolute, and the argument is not looked at
    with open_run('demo', {'previous': 'v1'}, tmp_path / 'v2', resume=True, previous=other) as run: assert run.settings == {**first.settings, 'parameters': {'previous': 'v1'}}
    with pytest.raises(ValueError, match="'previous' is 'other' here and 'v1' in the run"): open_run('demo', {'previous': 'other'}, tmp_path / 'v2', resume=True)
    with pytest.raises(ValueError, match='does not grow from another'): open_run('demo', {}, other, resume=True, previous=old)
    assert read_manifest(other)                                              # the refused resume left it finished
    open_run('demo', {}, old, resume=True).finish({'tasks': 9})
    with pytest.raises(ValueError, match=f'{re.escape(str(old))} was resumed after {re.escape(str(tmp_path / "v2"))} began'): open_run('demo', {}, tmp_path / 'v2', resume=True)
    for path in sorted(old.rglob('*'), reverse=True): path.unlink() if path.is_file() else path.rmdir()
    with pytest.raises(FileNotFoundError, match='v1, which is gone: put it back'): open_run('demo', {}, tmp_path / 'v2', resume=True)
    assert not is_locked(tmp_path / 'v2')


def test_a_run_of_its_own_process_may_be_a_parent(tmp_path):
    "A selection is drawn from the run that the same report holds."
    with open_run('demo', {}, tmp_path / 'v1'), open_run('selection', {}, tmp_path / 'v1' / 'selection', parent=tmp_path / 'v1') as run:
        assert run.settings['parent'] == str(tmp_path / 'v1') and 'previous_manifest' not in run.settings


def test_a_parameter_newer_than_the_run_passes_with_its_default_only(tmp_path):
    open_run('demo', {'seed': 1}, tmp_path).close()
    defaults = {'seed': 0, 'listing': 'all', 'splits': ('train',)}
    with open_run('demo', {'seed': 1, 'listing': 'all', 'splits': ['train']}, tmp_path, resume=True, defaults=defaults) as run:
        assert run.parameters == {'seed': 1, 'listing': 'all', 'splits': ['train']}
    for given, message in (({'listing': 'new'}, "'listing' is 'new' here and 'absent'"), ({'gone': 'drop'}, "'gone' is 'drop' here and 'absent'"), ({'seed': 0}, "'seed' is 0 here and 1")):
        with pytest.raises(ValueError, match=message): open_run('demo', given, tmp_path, resume=True, defaults=defaults)
    with pytest.raises(ValueError, match="'listing' is 'all' here and 'absent'"): open_run('demo', {'listing': 'all'}, tmp_path, resume=True)


def refusing(monkeypatch, code: int) -> None:
    "Let the file system be one that may only be read."
    opened = os.open
    def read_only(path, flags, *mode):
        if flags & (os.O_RDWR | os.O_CREAT): raise OSError(code, os.strerror(code), str(path))
        return opened(path, flags, *mode)
    monkeypatch.setattr(os, 'open', read_only)


@pytest.mark.parametrize('code', [errno.EROFS, errno.EACCES])
def test_a_version_that_may_only_be_read_is_held_by_the_files_that_are_there(tmp_path, monkeypatch, caplog, code):
    for descriptor in hold_version(tmp_path, 'v2'): os.close(descriptor)     # leaves both files
    text = read_holder(tmp_path, locks.GROWING)
    refusing(monkeypatch, code)
    held = hold_version(tmp_path, 'v3')
    assert len(held) == 2 and not caplog.text and read_holder(tmp_path, locks.GROWING) == text
    with pytest.raises(BlockingIOError, match='being grown from'): hold_version(tmp_path, 'v4')
    for descriptor in held: os.close(descriptor)
    (tmp_path / locks.GROWING).unlink()
    held = hold_version(tmp_path, 'v3')
    assert len(held) == 1 and 'its lock cannot be opened' in caplog.text and str(tmp_path) in caplog.text
    for descriptor in held: os.close(descriptor)
    with pytest.raises(OSError, match=os.strerror(code)): take_lock(tmp_path)  # a run that could not write would be none


def test_without_locks_a_step_goes_on_with_a_warning(tmp_path, monkeypatch, caplog):
    def unsupported(*_): raise OSError(errno.ENOLCK, 'No locks available')
    monkeypatch.setattr(fcntl, 'flock', unsupported)
    for descriptor in hold_version(tmp_path, 'v2'): os.close(descriptor)
    assert caplog.text.count('cannot be locked here') == 2


def test_a_failed_step_that_was_grown_from_leaves_its_folder_free(tmp_path):
    with open_run('demo', {'seed': 'wrong'}, tmp_path) as run: run.finish({}, 'failed')
    for descriptor in hold_version(tmp_path, 'v2'): os.close(descriptor)
    with open_run('demo', {'seed': 1}, tmp_path) as run: assert run.parameters == {'seed': 1}


# going on

def test_resume_takes_the_parameters_and_refuses_others(tmp_path):
    asked = {'seed': 1, 'llm': 'rules', 'splits': ['train'], 'budget_calls': 5}
    first = open_run('demo', asked, tmp_path); first.close()
    with open_run('demo', {'budget_calls': 50, 'resume': True}, tmp_path, resume=True) as run:
        assert run.parameters == {**asked, 'budget_calls': 50, 'resume': True} and run.config_hash == first.config_hash
    assert read_run(tmp_path)['parameters'] == asked          # run.json is as it was
    open_run('demo', {**asked, 'splits': ('train',)}, tmp_path, resume=True).close()   # a tuple is a list in JSON
    for changed, message in (({'llm': 'openai:x'}, "'llm' is 'openai:x' here and 'rules' in the run"), ({'limit': 3}, "'limit' is 3 here and 'absent'")):
        with pytest.raises(ValueError, match=message): open_run('demo', changed, tmp_path, resume=True)
    with pytest.raises(ValueError, match="holds a run of 'demo', not of 'training'"): open_run('training', {}, tmp_path, resume=True)
    assert not is_locked(tmp_path)                             # a refusal does not keep the lock


def test_resume_of_nothing_is_an_error_and_of_an_empty_folder_a_start(tmp_path):
    with pytest.raises(FileNotFoundError, match='nothing to resume'): open_run('demo', {}, tmp_path / 'typo', resume=True)
    with pytest.raises(FileNotFoundError, match='want the folder of a run'): open_run('demo', {}, resume=True)
    assert not (tmp_path / 'typo').exists()
    (tmp_path / 'killed_at_once').mkdir()
    with open_run('demo', {'seed': 1}, tmp_path / 'killed_at_once', resume=True) as run: assert run.parameters == {'seed': 1}


def test_a_resumed_run_is_not_complete_until_it_finishes_again(tmp_path):
    open_run('demo', {}, tmp_path).finish({'examples': 1})
    assert list_runs(tmp_path)[0].status == 'complete'
    run = open_run('demo', {}, tmp_path, resume=True)
    assert list_runs(tmp_path)[0].status == 'running'
    run.close()
    assert list_runs(tmp_path)[0].status == 'interrupted'


@pytest.mark.parametrize('error, status', [(ValueError('no key sk-test-0123456789abcdef'), 'failed'), (KeyboardInterrupt(), 'interrupted')])
def test_how_a_run_ended_is_in_its_folder(tmp_path, monkeypatch, error, status):
    monkeypatch.setenv('OPENAI_API_KEY', 'sk-test-0123456789abcdef')
    with pytest.raises(type(error)), open_run('demo', {}, tmp_path): raise error
    assert list_runs(tmp_path)[0].status == status
    assert 'sk-test' not in ''.join(path.read_text() for _, path in run_files(tmp_path))
    if status == 'failed': assert read_manifest(tmp_path)['error'] == 'ValueError: no key [hidden]'


def test_the_manifest_has_every_file_with_its_hash_but_those_of_inner_runs(tmp_path):
    with open_run('demo', {}, tmp_path) as run:
        open_run('inner', {}, tmp_path / 'inner').finish({})
        run.write_text('tables/a.csv', 'é\n'); run.write_text('report.ipynb', '{}'); write_bucket(tmp_path, 1, example_table('a', 2))
        run.finish({'examples': 2}, status='stopped', cost=.5)
    manifest = read_manifest(tmp_path)
    assert [file['name'] for file in manifest['files']] == ['dataset/data/train-01.parquet', 'run.json', 'tables/a.csv']
    assert all(hashlib.sha256((tmp_path / file['name']).read_bytes()).hexdigest() == file['sha256'] for file in manifest['files'])
    assert (manifest['status'], manifest['cost'], manifest['counts']) == ('stopped', .5, {'examples': 2})


@pytest.mark.parametrize('parameters', [{'api_key': 'x'}, {'hub_token': 'x'}, {'apiKey': 'x'}, {'headers': {'X-Secret': 'x'}}, {'llm': 'openai:m@https://me:word@h/v1'},
                                        {'note': 'hf_abcdefghijklmnopqrstuv'}, {'models': ['rules', 'sk-proj-0123456789abcdef']}, {'llm': 'openai:m@http://h/v1?api_key=word'},
                                        {'llm': 'openai:m@http://h/v1?api-version=7&access%5Ftoken=word'}, {'models': ['rules', 'openai:m@http://h/v1?sig=word']}])
def test_secrets_are_refused_without_being_repeated(tmp_path, parameters):
    with pytest.raises(ValueError, match='looks like a secret') as caught: open_run('demo', parameters, tmp_path / 'run')
    assert not (tmp_path / 'run').exists() and 'word' not in str(caught.value).replace('password', '') and '0123' not in str(caught.value)


@pytest.mark.parametrize('name', ['max_tokens', 'tokenizer', 'budget_tokens', 'keyword', 'monkey'])
def test_ordinary_names_are_no_secrets(name): refuse_secrets({name: 'x'})


@pytest.mark.parametrize('value', ['openai:m@http://h/v1?api-version=7', 'openai:m@http://h/v1?api_key=', 'hub:?search=key&author=me&license=mit&sort=downloads', 'a key=b', 'x?page=1'])
def test_ordinary_addresses_are_no_secrets(value): refuse_secrets({'llm': value, 'sources': [value]})


def test_a_broken_run_does_not_hide_the_others(tmp_path, caplog):
    open_run('demo', {}, tmp_path / 'good', parent='v0').finish({})
    (tmp_path / 'bad').mkdir(); (tmp_path / 'bad' / 'run.json').write_text('{')
    assert [(Path(run.folder).name, run.parent) for run in list_runs(tmp_path)] == [('good', 'v0')]
    assert 'bad/run.json is left out' in caplog.text


# buckets

def test_buckets_are_the_same_for_ever():
    assert [bucket_of(name) for name in ('glue-sst2', 'squad', 'owner/name-config', '')] == [19, 35, 19, 62]   # golden
    code = "from instructgen.store import bucket_of; print([bucket_of(str(i)) for i in range(50)])"
    seen = {subprocess.run([sys.executable, '-c', code], env={**os.environ, 'PYTHONHASHSEED': seed}, capture_output=True, text=True).stdout for seed in '12'}
    assert seen == {f'{[bucket_of(str(i)) for i in range(50)]}\n'}


def test_bytes_depend_on_the_rows_and_not_on_how_they_arrive(tmp_path, monkeypatch):
    monkeypatch.setattr(store, 'GROUP_ROWS', 100)   # several row groups
    tables = [example_table(f's{number}', 30 + number) for number in range(10)]
    first = write_bucket(tmp_path, 0, tables).read_bytes()
    sliced = [pa.concat_tables([table[:7], table[7:]]) for table in tables]
    again = [pa.table({name: table[name].to_pylist() for name in EXAMPLE_COLUMNS}, schema=EXAMPLE_SCHEMA) for table in tables]
    assert write_bucket(tmp_path, 1, iter(sliced)).read_bytes() == first
    assert write_bucket(tmp_path, 2, (table for table in again)).read_bytes() == first
    assert pq.read_metadata(bucket_path(tmp_path, 0)).num_row_groups == 3
    assert read_dataset(tmp_path).slice(0, 345).to_pylist() == pa.concat_tables(tables).to_pylist()


def test_load_dataset_reads_a_dataset(tmp_path):
    datasets = pytest.importorskip('datasets')
    write_bucket(tmp_path, 5, example_table('a', 3)); write_bucket(tmp_path, 9, example_table('b', 2))
    loaded = datasets.load_dataset(str(tmp_path / 'dataset'), cache_dir=str(tmp_path / 'cache'))
    assert list(loaded) == ['train'] and loaded['train'].column_names == list(EXAMPLE_COLUMNS)
    assert loaded['train'].to_list() == read_dataset(tmp_path).to_pylist()


def test_text_of_any_kind_comes_back(tmp_path):
    texts = ['', 'é', '\x00', '"', '🙂\n', 'x' * 100_000]
    write_bucket(tmp_path, 0, [example_table(f'{place}', 1, text) for place, text in enumerate(texts)])
    assert read_dataset(tmp_path)['output'].to_pylist() == texts


def test_links_are_copies_where_there_are_no_links(tmp_path, monkeypatch):
    old, new = tmp_path / 'v1', tmp_path / 'v2'
    write_bucket(old, 7, example_table('a', 3)); write_part(old, 7, 'key', {'a': ([], [])})
    def refuse(*_): raise OSError(errno.EXDEV, 'Invalid cross-device link')
    monkeypatch.setattr(os, 'link', refuse)
    assert link_bucket(old, new, 7, 'key') and bucket_done(new, 7, 'key')
    assert bucket_path(old, 7).read_bytes() == bucket_path(new, 7).read_bytes() and not bucket_path(old, 7).samefile(bucket_path(new, 7))


def test_a_shared_file_may_only_be_read_and_a_copy_is_one_s_own(tmp_path, monkeypatch):
    old = tmp_path / 'v1'
    for bucket in (7, 8, 9): write_bucket(old, bucket, example_table('a', 3)); write_part(old, bucket, 'key', {'a': ([], [])})
    mode = lambda folder, bucket: [oct(path.stat().st_mode)[-3:] for path in (bucket_path(folder, bucket), folder / 'parts' / f'{bucket:02d}.jsonl')]
    times = {path: path.stat().st_mtime_ns for path in old.rglob('*') if path.is_file()}
    assert link_bucket(old, tmp_path / 'v2', 7, 'key') and mode(old, 7) == mode(tmp_path / 'v2', 7) == ['444', '444']
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert link_bucket(old, tmp_path / 'v2', 7, 'key') and not leftovers(tmp_path)   # again, after a kill
    write_bucket(tmp_path / 'v2', 7, example_table('b', 2))                           # is replaced all the same
    assert read_dataset(tmp_path / 'v2').num_rows == 2 and pq.read_table(bucket_path(old, 7)).num_rows == 3
    with monkeypatch.context() as patch:
        def refuse(*_, **__): raise PermissionError(errno.EPERM, 'Operation not permitted')
        patch.setattr(os, 'chmod', refuse)                                            # the file of another owner
        assert link_bucket(old, tmp_path / 'v2', 8, 'key') and bucket_path(old, 8).samefile(bucket_path(tmp_path / 'v2', 8)) and mode(old, 8) != ['444', '444']
        patch.setattr(os, 'link', refuse)
        assert link_bucket(old, tmp_path / 'v2', 9, 'key') and mode(tmp_path / 'v2', 9) == mode(old, 9) != ['444', '444']


def test_a_bucket_without_examples_is_done_too(tmp_path):
    old, new = tmp_path / 'v1', tmp_path / 'v2'
    write_bucket(old, 7, []); write_part(old, 7, 'key', {'a': ([], [Rejected('source', 'a', 'no_rows')])})
    write_bucket(new, 7, example_table('a', 3))          # left from an earlier attempt
    assert bucket_done(old, 7, 'key') and link_bucket(old, new, 7, 'key') and not bucket_path(new, 7).exists()


# parts

names = st.text(st.characters(codec='utf-8'), max_size=6)
rejects = st.builds(Rejected, kind=st.sampled_from(['source', 'call', 'answer', 'task', 'row']), id=names, rule=names, text=st.text(max_size=5), where=names, count=st.integers(1, 9))
tasks = st.builds(Task, instruction=st.text(max_size=8), inputs=st.just(('a',)), output=names, source=names)

ALIKE = ([Task('', ('a',), '', '', labels=labels) for labels in (('x', 'y'), ('z',))], [Rejected('source', '', '', count=count) for count in (1, 2)])  # but for what is compared last

@settings(max_examples=60, deadline=None)
@example({'': ALIKE}, random.Random(0))
@example({'': ALIKE}, random.Random(1))
@example({'': ALIKE}, random.Random(2))
@given(st.dictionaries(names, st.tuples(st.lists(tasks, max_size=4), st.lists(rejects, max_size=4)), max_size=8), st.randoms(use_true_random=False))
def test_merged_files_do_not_depend_on_any_order(tmp_path_factory, sources, chance):
    "Order of sources, of buckets and of records within a source; lone surrogates included."
    found = []
    for _ in range(2):
        folder, buckets = tmp_path_factory.mktemp('run'), {}
        items = list(sources.items()); chance.shuffle(items)
        for name, (kept, dropped) in items:
            kept, dropped = list(kept), list(dropped)
            chance.shuffle(kept); chance.shuffle(dropped)
            buckets.setdefault(bucket_of(name), {})[name] = kept, dropped
        for bucket, part in chance.sample(list(buckets.items()), len(buckets)): write_part(folder, bucket, 'key', part)
        counts = merge_parts(folder)
        found.append([(folder / name).read_bytes() for name in ('tasks.jsonl', 'rejected.jsonl')])
    assert found[0] == found[1]
    assert counts == {'sources': len(sources), 'tasks': sum(len(kept) for kept, _ in sources.values()), 'rejected': sum(len(dropped) for _, dropped in sources.values())}
    for kind, text in zip((Task, Rejected), found[0]):
        for line in text.decode('utf-8').split('\n')[:-1]: from_json(kind, line)


def test_lines_are_split_at_line_feeds_only(tmp_path):
    "A next-line character inside a text must not end the record."
    task = Task('a\x85b\u2028c', ('x',), 'y', 'demo')
    write_part(tmp_path, 0, 'key', {'demo': ([task], [])}); merge_parts(tmp_path)
    assert [from_json(Task, line) for line in open(tmp_path / 'tasks.jsonl', encoding='utf-8')] == [task]


# kill -9 at any moment

PIPELINE = """
import os, random, sys, time
sys.path.insert(0, {tests!r})
from test_store import make_bucket
from instructgen.store import BUCKETS, bucket_done, merge_parts, open_run
folder, seed, processes = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
run = open_run('demo', {{'seed': 1, 'processes': processes}}, folder, resume=os.path.isdir(folder))
buckets = random.Random(seed).sample(range(BUCKETS), BUCKETS)
children = []
for worker in range(processes):
    if (child := os.fork()) == 0:
        for bucket in buckets[worker::processes]:
            if not bucket_done(folder, bucket, 'key'): make_bucket(folder, bucket); print(bucket, flush=True)
        os._exit(0)
    children.append(child)
for child in children: assert os.waitpid(child, 0)[1] == 0
run.finish(merge_parts(folder))
print('done', flush=True)
"""

def make_bucket(folder: str, bucket: int) -> None:
    mine = [f'source-{number}' for number in range(150) if bucket_of(f'source-{number}') == bucket]
    write_bucket(folder, bucket, (example_table(name, 20) for name in sorted(mine)))
    write_part(folder, bucket, 'key', {name: ([Task(f'Answer for {name}.', ('question',), 'answer', name)], [Rejected('task', name, 'overlap', where=name)]) for name in mine})


def results(folder: Path) -> dict[str, bytes]:
    return {name: path.read_bytes() for name, path in run_files(folder) if name in ('tasks.jsonl', 'rejected.jsonl') or name.startswith('dataset/')}


def test_killed_at_any_moment_and_resumed_gives_the_same_bytes(tmp_path):
    code, made = PIPELINE.format(tests=str(Path(__file__).parent)), []
    for name, seed, processes in (('undisturbed', 0, 1), ('other order, two processes', 1, 2)):
        process = run_python(code, str(tmp_path / name), str(seed), str(processes))
        assert process.returncode == 0, process.stderr.read()
    wanted = results(tmp_path / 'undisturbed')
    assert len(wanted) > 40 and results(tmp_path / 'other order, two processes') == wanted
    for kill_after in (0, 7, 30):                       # buckets seen before each kill
        process = subprocess.Popen([sys.executable, '-c', code, str(tmp_path / 'killed'), str(kill_after), '2'], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
        lines = [process.stdout.readline() for _ in range(kill_after)] if kill_after else [time.sleep(.05)]
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        made += lines
    if (tmp_path / 'killed').exists(): assert not read_manifest(tmp_path / 'killed')
    process = run_python(code, str(tmp_path / 'killed'), '5', '2')
    assert process.returncode == 0, process.stderr.read()
    assert results(tmp_path / 'killed') == wanted
    assert len(process.stdout.read().split()) - 1 <= BUCKETS - 30   # finished buckets were not made again
    assert read_manifest(tmp_path / 'killed')['status'] == 'complete' and not leftovers(tmp_path)


def test_a_grown_version_makes_only_what_changed(tmp_path):
    for bucket in range(BUCKETS): make_bucket(str(tmp_path / 'v1'), bucket)
    made = 0
    for bucket in range(BUCKETS):
        if link_bucket(tmp_path / 'v1', tmp_path / 'v2', bucket, 'key' if bucket != 5 else 'grown'): continue
        made += 1
        make_bucket(str(tmp_path / 'v2'), bucket)
    assert made == 1
    merge_parts(tmp_path / 'v1'); merge_parts(tmp_path / 'v2')
    assert results(tmp_path / 'v1') == results(tmp_path / 'v2')
    assert read_part(tmp_path / 'v2', 5)['key'] == 'key' and not leftovers(tmp_path)
