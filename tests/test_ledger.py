"""The ledger: nothing kept is lost, and every trouble is one error that says what to do."""
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instructgen.ledger import Answer, Ledger, explain_trouble, file_system

KEY = '0123456789abcdef' * 2
texts = st.text(st.characters(exclude_categories=()), max_size=40)  # surrogates, NUL and all


def key(number: int) -> str: return f'{number:032x}'


@settings(max_examples=60, deadline=None)
@given(text=texts, tokens=st.integers(0, 2**40), purpose=st.text(st.characters(exclude_categories=('Cs',)), max_size=10))
def test_what_is_kept_comes_back(tmp_path_factory, text, tokens, purpose):
    answer = Answer(KEY, text, 'length', tokens, 1, .25, 'somebody', purpose)
    path = tmp_path_factory.mktemp('ledger') / 'llm.sqlite'
    with Ledger(path) as ledger: ledger.keep([answer])
    with Ledger(path) as ledger: assert ledger.get(KEY) == answer


def test_the_first_answer_stays(tmp_path):
    with Ledger(tmp_path / 'llm.sqlite') as ledger:
        ledger.keep([Answer(KEY, 'first')])
        ledger.keep([Answer(KEY, 'second'), Answer(key(1), 'other')])
        assert (ledger.get(KEY).text, ledger.get(key(1)).text, ledger.count()) == ('first', 'other', 2)


def test_write_ahead_log_on_a_local_disk(tmp_path):
    with Ledger(tmp_path / 'llm.sqlite') as ledger:
        assert ledger.database.execute('PRAGMA journal_mode').fetchone()[0] == 'wal'
        assert ledger.database.execute('PRAGMA synchronous').fetchone()[0] == 1


def test_another_journal_on_a_network_file_system(tmp_path, monkeypatch):
    monkeypatch.setattr('instructgen.ledger.file_system', lambda path: 'nfs4')
    with Ledger(tmp_path / 'llm.sqlite') as ledger:
        ledger.keep([Answer(KEY, 'text')])
        assert ledger.database.execute('PRAGMA journal_mode').fetchone()[0] == 'truncate'
        assert ledger.get(KEY).text == 'text'


def test_longest_mount_counts(tmp_path):
    table = tmp_path / 'mounts'
    table.write_text('a / ext4 rw\nb /data nfs rw\nc /data/fast xfs rw\nd /my\\040disk cifs rw\nbroken\n')
    assert [file_system(path, table) for path in ('/x', '/data/x', '/data/fast/x', '/my disk/x')] == ['ext4', 'nfs', 'xfs', 'cifs']
    assert file_system('/x', tmp_path / 'none') == ''


def test_full_disk(tmp_path):
    with Ledger(tmp_path / 'llm.sqlite') as ledger:
        ledger.keep([Answer(KEY, 'kept before')])
        ledger.database.execute(f'PRAGMA max_page_count={ledger.database.execute("PRAGMA page_count").fetchone()[0]}')
        with pytest.raises(OSError, match='No space left for the ledger.*Free some space') as trouble: ledger.keep([Answer(key(1), 'x' * 100_000)])
        assert trouble.value.filename == str(tmp_path / 'llm.sqlite')
        assert ledger.get(KEY).text == 'kept before' and ledger.get(key(1)) is None
        ledger.database.execute('PRAGMA max_page_count=1000000')
        ledger.keep([Answer(key(1), 'x' * 100_000)])  # there is space again
        assert len(ledger.get(key(1)).text) == 100_000


def test_read_only(tmp_path):
    with Ledger(tmp_path / 'llm.sqlite') as ledger:
        ledger.database.execute('PRAGMA query_only=ON')
        with pytest.raises(PermissionError, match='cannot be written'): ledger.keep([Answer(KEY, 'text')])


def test_no_ledger(tmp_path):
    (tmp_path / 'llm.sqlite').write_bytes(b'\x89PNG' * 1000)
    with pytest.raises(ValueError, match='Move it away'): Ledger(tmp_path / 'llm.sqlite')
    with pytest.raises(PermissionError, match='cannot be written'): Ledger(tmp_path)  # a folder


def test_damaged(tmp_path):
    path = tmp_path / 'llm.sqlite'
    with Ledger(path) as ledger: ledger.keep([Answer(key(number), 'text' * 500) for number in range(200)])
    data = bytearray(path.read_bytes())
    data[4096:len(data) - 4096] = b'\xff' * (len(data) - 8192)
    path.write_bytes(data)
    with pytest.raises(ValueError, match='damaged'), Ledger(path) as ledger:
        for number in range(200): ledger.get(key(number))


def test_locked_by_another(tmp_path):
    path = tmp_path / 'llm.sqlite'
    with Ledger(path), Ledger(path, patience=.05) as ledger:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute('BEGIN IMMEDIATE')
        with pytest.raises(TimeoutError, match='Another process'): ledger.keep([Answer(KEY, 'text')])
        other.execute('COMMIT')
        other.close()
        ledger.keep([Answer(KEY, 'text')])
        assert ledger.get(KEY).text == 'text'


def test_other_trouble_names_the_file():
    error = explain_trouble(sqlite3.OperationalError('disk I/O error'), '/data/llm.sqlite')
    assert isinstance(error, OSError) and error.filename == '/data/llm.sqlite' and 'Check the disk' in str(error)


WRITER = '''
import sys
from instructgen.ledger import Answer, Ledger
path, first, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
ledger = Ledger(path)
print('ready', flush=True)
sys.stdin.readline()
for number in range(first, first + count):
    ledger.keep([Answer(f'{number:032x}', f'from {first}')])
    print(number, flush=True)
'''


def writer(path: Path, first: int, count: int) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, '-c', WRITER, str(path), str(first), str(count)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_three_processes_in_one_file(tmp_path):
    path = tmp_path / 'llm.sqlite'
    writers = [writer(path, first, 150) for first in (0, 100, 200)]  # they overlap
    for process in writers: assert process.stdout.readline() == 'ready\n'
    outputs = [process.communicate('go\n')[0] for process in writers]
    assert [process.returncode for process in writers] == [0, 0, 0]
    assert [len(output.split()) for output in outputs] == [150] * 3
    with Ledger(path) as ledger: assert ledger.count() == 350 and all(ledger.get(key(number)) for number in range(350))


def test_kill_loses_nothing_that_was_kept(tmp_path):
    path = tmp_path / 'llm.sqlite'
    process = writer(path, 0, 100_000)
    process.stdin.write('go\n')
    process.stdin.flush()
    lines = [process.stdout.readline() for _ in range(200)]
    process.kill()
    last = int((lines + process.stdout.read().split())[-1])
    process.wait()
    assert last >= 198
    with Ledger(path) as ledger: assert all(ledger.get(key(number)) for number in range(last + 1))
