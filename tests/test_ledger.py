"""The ledger: nothing kept is lost, and every trouble is one error that says what to do."""
import os
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
@given(text=texts, tokens=st.integers(0, 2**40), purpose=st.text(st.characters(exclude_categories=('Cs',)), max_size=10), about=texts)
def test_what_is_kept_comes_back(tmp_path_factory, text, tokens, purpose, about):
    answer = Answer(KEY, text, 'length', tokens, 1, .25, 'somebody', purpose, about)
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


OLD_TABLE = ('CREATE TABLE answers (key BLOB PRIMARY KEY, text, finish TEXT, prompt_tokens INTEGER, completion_tokens INTEGER, '
             'seconds REAL, fingerprint TEXT, purpose TEXT, kept_at TEXT DEFAULT CURRENT_TIMESTAMP)')  # as version 0.1.0 made it
OLD_COLUMNS = 'key, text, finish, prompt_tokens, completion_tokens, seconds, fingerprint, purpose'


def old_ledger(path: Path) -> sqlite3.Connection:
    "A ledger as the first version made and used it, with one answer."
    database = sqlite3.connect(path, isolation_level=None)
    for statement in ('PRAGMA journal_mode=WAL', 'PRAGMA synchronous=NORMAL', OLD_TABLE): database.execute(statement)
    old_keep(database, key(1), 'old')
    return database


def old_keep(database: sqlite3.Connection, name: str, text: str) -> None:
    database.execute('BEGIN IMMEDIATE')
    database.executemany(f'INSERT OR IGNORE INTO answers ({OLD_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)', [(bytes.fromhex(name), text, 'stop', 5, 2, .5, 'm', 'generate')])
    database.execute('COMMIT')


def old_get(database: sqlite3.Connection, name: str) -> tuple: return database.execute(f'SELECT {OLD_COLUMNS} FROM answers WHERE key = ?', (bytes.fromhex(name),)).fetchone()


def test_an_older_ledger_gains_the_column_while_an_older_program_uses_it(tmp_path):
    older = old_ledger(tmp_path / 'llm.sqlite')
    assert old_get(older, key(1))[1] == 'old'  # its statements are prepared
    with Ledger(tmp_path / 'llm.sqlite') as ledger:
        assert ledger.get(key(1)) == Answer(key(1), 'old', 'stop', 5, 2, .5, 'm', 'generate', '')
        ledger.keep([Answer(key(2), 'new', about='films')])
        assert old_get(older, key(2))[1] == 'new' and old_get(older, key(1))[1] == 'old'
        old_keep(older, key(3), 'added by the older program')
        assert ledger.get(key(3)).about == '' and ledger.get(key(2)).about == 'films'
        assert ledger.forget(['films']) == 1 and old_get(older, key(2)) is None  # the file was written anew under the older program
        old_keep(older, key(4), 'and once more')
        assert [ledger.get(key(number)).text for number in (1, 3, 4)] == ['old', 'added by the older program', 'and once more']
    older.close()
    with Ledger(tmp_path / 'llm.sqlite') as ledger: assert ledger.count() == 3


def test_many_open_an_older_ledger_at_once(tmp_path):
    path = tmp_path / 'llm.sqlite'
    old_ledger(path).close()
    opener = 'import sys; from instructgen.ledger import Answer, Ledger; sys.stdin.readline(); ledger = Ledger(sys.argv[1]); ledger.keep([Answer(sys.argv[2], "x", about="a")]); print(ledger.columns[-1])'
    processes = [subprocess.Popen([sys.executable, '-c', opener, str(path), key(number)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for number in range(10, 15)]
    outputs = [process.communicate('go\n') for process in processes]
    assert [output for output, _ in outputs] == ['about\n'] * 5, outputs
    with Ledger(path) as ledger: assert ledger.count() == 6 and ledger.get(key(12)).about == 'a'


def test_the_loser_of_the_race_finds_the_column(tmp_path, monkeypatch):
    from instructgen import ledger as module
    old_ledger(tmp_path / 'llm.sqlite').close()

    class Late:  # sees the table as it was before somebody else added the column
        def __init__(self, database): self.database = database
        def execute(self, statement):
            if 'table_info' not in statement: return self.database.execute(statement)
            found = self.database.execute(statement).fetchall()
            self.database.execute("ALTER TABLE answers ADD COLUMN about TEXT DEFAULT ''")
            return found

    database = sqlite3.connect(tmp_path / 'llm.sqlite', isolation_level=None)
    assert module._read_columns(Late(database))[-1] == 'about'
    assert [row[1] for row in database.execute('PRAGMA table_info(answers)')].count('about') == 1
    database.close()


def test_an_older_ledger_that_cannot_be_written_is_read(tmp_path):
    from instructgen import ledger as module
    old_ledger(tmp_path / 'llm.sqlite').close()
    database = sqlite3.connect(f'file:{tmp_path / "llm.sqlite"}?mode=ro', uri=True, isolation_level=None)
    assert module._read_columns(database)[-1] == 'purpose'
    with Ledger(tmp_path / 'other.sqlite') as ledger:
        ledger.database.close()
        ledger.database, ledger.columns = database, module._read_columns(database)
        assert ledger.get(key(1)) == Answer(key(1), 'old', 'stop', 5, 2, .5, 'm', 'generate')
        with pytest.raises(PermissionError, match='cannot be written'): ledger.forget(['films'])


def on_disk(path: Path, text: bytes) -> int:
    "How often some bytes stand in the ledger and its log."
    return sum(file.read_bytes().count(text) for file in path.parent.glob(f'{path.name}*'))


@pytest.mark.parametrize('count, size', [(20, 40), (300, 60), (150, 3000), (40, 30_000)])
def test_nothing_of_a_forgotten_source_is_left_on_disk(tmp_path, count, size):
    path = tmp_path / 'llm.sqlite'
    with Ledger(path) as ledger:
        ledger.database.execute('PRAGMA secure_delete=OFF')  # as most builds of SQLite have it: what is moved leaves a copy behind
        for start in range(0, count, 10):
            ledger.keep([Answer(os.urandom(16).hex(), f'{"SECRET" if number % 3 else "public"} {number} {"x" * size}', about='films' if number % 3 else 'songs') for number in range(start, start + 10)])
        before, all_public = ledger.count(), (count + 2) // 3
        assert on_disk(path, b'SECRET') >= count - all_public
        assert ledger.forget(['films']) == before - all_public
        assert on_disk(path, b'SECRET') == 0 and ledger.count() == all_public  # also while the ledger is open
        assert ledger.forget(['films']) == 0
    assert on_disk(path, b'SECRET') == 0 and on_disk(path, b'public') >= all_public


@settings(max_examples=25, deadline=None)
@given(abouts=st.lists(st.sampled_from(['', 'a', 'b', 'a/b', "o'hara", '%', 'caf\u00e9', 'half \ud83d', 'A']), max_size=30), names=st.lists(st.sampled_from(['a', 'b', "o'hara", '%', 'half \ud83d', 'c']), max_size=4),
       numbers=st.lists(st.integers(0, 35), max_size=5))
def test_exactly_the_named_ones_go(tmp_path_factory, abouts, names, numbers):
    with Ledger(tmp_path_factory.mktemp('forget') / 'llm.sqlite') as ledger:
        ledger.keep([Answer(key(number), f'{number}', about=about) for number, about in enumerate(abouts)])
        gone = {number for number, about in enumerate(abouts) if about in names or number in numbers}
        assert ledger.forget(names, map(key, numbers)) == len(gone)
        assert {number for number in range(len(abouts)) if ledger.get(key(number)) is None} == gone


def test_many_names_at_once(tmp_path):
    with Ledger(tmp_path / 'llm.sqlite') as ledger:
        ledger.keep([Answer(key(number), 'x', about=f'source {number}') for number in range(2000)])
        assert ledger.forget(f'source {number}' for number in range(1, 2000)) == 1999 and ledger.count() == 1


def test_a_name_that_stands_for_all_is_refused(tmp_path):
    with Ledger(tmp_path / 'llm.sqlite') as ledger:
        ledger.keep([Answer(KEY, 'x')])
        with pytest.raises(ValueError, match='is no name'): ledger.forget(['films', ''])
        assert ledger.count() == 1


def test_a_reader_keeps_the_log_and_is_told_of(tmp_path, caplog):
    path = tmp_path / 'llm.sqlite'
    with Ledger(path, patience=.1) as ledger:
        ledger.keep([Answer(KEY, 'SECRET', about='films'), Answer(key(1), 'x')])
        reader = sqlite3.connect(path, isolation_level=None)
        reader.execute('BEGIN')
        reader.execute('SELECT count(*) FROM answers').fetchone()
        assert ledger.forget(['films']) == 1 and ledger.get(KEY) is None
        assert 'another program reads' in caplog.text and on_disk(path, b'SECRET')  # the reader still sees it
        assert reader.execute('SELECT count(*) FROM answers').fetchone()[0] == 2
        reader.execute('COMMIT')
        caplog.clear()
        assert ledger.forget(['films']) == 0 and not caplog.text and on_disk(path, b'SECRET') == 0
        reader.close()


def test_nothing_is_forgotten_while_another_writes(tmp_path):
    path = tmp_path / 'llm.sqlite'
    with Ledger(path, patience=.05) as ledger:
        ledger.keep([Answer(KEY, 'x', about='films')])
        other = sqlite3.connect(path, isolation_level=None)
        other.execute('BEGIN IMMEDIATE')
        with pytest.raises(TimeoutError, match='Another process'): ledger.forget(['films'])
        other.execute('ROLLBACK')
        other.close()
        assert ledger.get(KEY).text == 'x' and ledger.forget(['films']) == 1


def test_others_keep_on_writing_while_a_source_is_forgotten(tmp_path):
    path = tmp_path / 'llm.sqlite'
    with Ledger(path) as ledger: ledger.keep([Answer(key(number), 'SECRET' * 50, about='films') for number in range(1000, 1500)])
    process = writer(path, 0, 300)
    process.stdout.readline()
    process.stdin.write('go\n')
    process.stdin.flush()
    with Ledger(path) as ledger:
        assert ledger.forget(['films']) == 500
        process.communicate()
        assert process.returncode == 0 and ledger.count() == 300 and ledger.forget(['films']) == 0
    assert on_disk(path, b'SECRET') == 0


def test_a_network_file_system_is_cleared_too(tmp_path, monkeypatch):
    monkeypatch.setattr('instructgen.ledger.file_system', lambda path: 'nfs4')
    with Ledger(tmp_path / 'llm.sqlite') as ledger:
        ledger.keep([Answer(key(number), 'SECRET' * 20, about='films') for number in range(200)])
        assert ledger.forget(['films']) == 200 and on_disk(tmp_path / 'llm.sqlite', b'SECRET') == 0
