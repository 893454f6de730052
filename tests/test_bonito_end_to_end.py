"""Bonito's reports: the same dataset by every way in, through a server, after kill -9 with resume, and from sixty documents."""
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from instructgen.bonito.config import BonitoConfig, gather_contexts
from instructgen.bonito.checks import read_generations
from instructgen.bonito.dataset import build_bonito
from instructgen.bonito.tables import check_funnel
from instructgen.records import Context, Rejected
from instructgen.report import report_path, run_report
from instructgen.run_tables import drops_table, read_lines
from instructgen.store import open_run, read_dataset, read_manifest
from llm_server import LLMServer
from test_reports import BIN, same

TESTS = Path(__file__).parent
COMMAND = [sys.executable, '-c', 'from instructgen.cli import main; main()']
FILES = ('contexts.jsonl', 'generations.jsonl', 'rejected.jsonl')
SMALL = {'limit': 12}


class Writer(LLMServer):
    "A server that answers as the embedded writer does, also where that has nothing to say."
    def text(self, asked: dict, prompt: str) -> str:
        from instructgen.llm import RulesLLM
        self.rules = self.rules or RulesLLM()
        return self.rules.answer(asked.get('messages', asked.get('prompt'))) or ''


def content(folder: Path) -> dict[str, bytes]:
    "The files that must not depend on how a run went."
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted((*(folder/name for name in FILES), *(folder/'dataset'/'data').glob('*.parquet')))}


def make(folder: Path, **parameters) -> dict:
    "The examples of some texts, without the report."
    config = BonitoConfig(**{**SMALL, **parameters})
    texts, refused, *_ = gather_contexts(config)
    with open_run('bonito', {}, out=folder, resume=(folder/'run.json').exists()) as run:
        counts = build_bonito(run, config, texts, refused)
        run.finish({'examples': counts['examples']})
    check_funnel(folder, counts)
    return counts


def kill(process: subprocess.Popen) -> None:
    "End a process and all that it has started, its kernel among them, as a power cut would."
    family = [process.pid, *(child.pid for child in psutil.Process(process.pid).children(recursive=True))]
    for pid in family:
        try: os.kill(pid, signal.SIGKILL)
        except ProcessLookupError: pass
    process.wait()
    psutil.wait_procs([psutil.Process(pid) for pid in family if psutil.pid_exists(pid)], timeout=5)


@pytest.fixture(autouse=True)
def own_outputs(tmp_path, monkeypatch):
    "A ledger of each test's own."
    monkeypatch.setenv('INSTRUCTGEN_OUTPUTS', str(tmp_path/'outputs'))


@pytest.fixture(scope='module', autouse=True)
def one_thread():
    "In every kernel and process: two threads wait for each other on a busy machine."
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('OMP_NUM_THREADS', '1')
        yield


@pytest.fixture(scope='module')
def small_run(tmp_path_factory) -> Path:
    "One run of bonito_data on the demonstration texts."
    return run_report('bonito_data', out=str(tmp_path_factory.mktemp('command')/'run'), **SMALL)


# ---- one dataset, by every way in

def test_run_leaves_what_the_design_names(small_run):
    for name in ('run.json', 'manifest.json', 'contexts.jsonl', 'generations.jsonl', 'rejected.jsonl', 'dataset/README.md', 'provenance.csv', 'report.ipynb', 'report.html'):
        assert (small_run/name).stat().st_size > 0, name
    assert read_manifest(small_run)['status'] == 'complete'
    assert {path.stem for path in (small_run/'figures').glob('*.svg')} <= {path.stem for path in (small_run/'tables').glob('*.csv')}
    page = (small_run/'report.html').read_text()
    assert '<script' not in page and "default-src 'none'" in page


def test_funnel_adds_up(small_run):
    counts, generations, drops = read_manifest(small_run)['counts'], read_generations(small_run), drops_table(small_run)
    assert check_funnel(small_run, counts) == counts['asked'] == SMALL['limit'] == len(generations)
    assert counts['examples'] == sum(done.kept for done in generations) == len(read_dataset(small_run)) > 0
    assert drops[drops.kind == 'answer']['count'].sum() == len(generations) - counts['examples'] > 0
    assert {done.id for done in generations if done.kept} == set(read_dataset(small_run)['id'].to_pylist())


def test_load_dataset_reads_the_folder(small_run, tmp_path):
    from datasets import load_dataset
    loaded = load_dataset(str(small_run/'dataset'), split='train', cache_dir=str(tmp_path/'cache'))
    assert loaded.num_rows == read_manifest(small_run)['counts']['examples']
    assert all(row['instruction'] and row['output'] and row['context'] and '{{context}}' not in row['instruction'] for row in loaded)


def test_papermill_leaves_the_same_folder(small_run, tmp_path):
    subprocess.run([BIN/'papermill', report_path('bonito_data'), tmp_path/'executed.ipynb', '-p', 'limit', str(SMALL['limit']), '-p', 'out', str(tmp_path/'run')],
                   check=True, capture_output=True, timeout=300)
    same(small_run, tmp_path/'run')


# ---- through a server

def test_server_gives_the_same_examples(small_run, tmp_path):
    with Writer(delay=.01, delay_to=.05) as server:
        counts = make(tmp_path/'run', llm=f'openai:bonito@{server.url}')
        asked = list(server.counts.bodies)
    assert len(asked) == SMALL['limit'] and all(isinstance(body['prompt'], str) and 'messages' not in body for body in asked)
    assert all(body['prompt'].startswith('<|tasktype|>\n') and body['prompt'].endswith('<|task|>\n') for body in asked)
    assert {(body['temperature'], body['top_p'], body['max_tokens']) for body in asked} == {(.5, .95, 256)}
    for name in FILES: assert (small_run/name).read_bytes() == (tmp_path/'run'/name).read_bytes(), name
    one, other = read_dataset(small_run), read_dataset(tmp_path/'run')
    assert one.drop_columns('generator').equals(other.drop_columns('generator')) and set(other['generator'].unique().to_pylist()) == {'openai:bonito'}
    assert counts['llm']['prompt_tokens'] > 0


def test_a_chat_model_is_asked_in_chat(tmp_path):
    with Writer() as server:
        counts = make(tmp_path/'run', llm=f'openai:some-chat@{server.url}')
        asked = list(server.counts.bodies)
    assert len(asked) == SMALL['limit'] and all('prompt' not in body and '<|tasktype|>' not in json.dumps(body['messages']) for body in asked)
    texts = {context.text for context in read_lines(tmp_path/'run', Context)}
    assert sum(any(text in message['content'] for body in asked for message in body['messages']) for text in texts) == len(texts)
    assert counts['examples'] > 0 and set(read_dataset(tmp_path/'run')['generator'].unique().to_pylist()) == {'openai:some-chat'}


@pytest.mark.parametrize('asked', [{'two_step': True}, {'confirm': 'self'}, {'confirm': 'rules'}, {'retries': 2, 'two_step': True}, {'retries': 1, 'confirm': 'self'}], ids=lambda asked: ' '.join(asked))
def test_second_steps_go_through_a_server_too(tmp_path, asked):
    make(tmp_path/'rules', limit=8, **asked)
    with Writer() as server: counts = make(tmp_path/'server', limit=8, llm=f'openai:bonito@{server.url}', **asked)
    if 'retries' not in asked: assert (tmp_path/'rules'/'generations.jsonl').read_bytes() == (tmp_path/'server'/'generations.jsonl').read_bytes()  # this server knows of no draw
    assert counts['llm']['purposes']['generate']['calls'] >= 8 and sum(used['calls'] for used in counts['llm']['purposes'].values()) == sum(server.counts.requests.values())
    if asked == {'confirm': 'self'}: assert counts['llm']['purposes']['confirm']['calls'] == sum(done.confirmed >= 0 for done in read_generations(tmp_path/'server')) > 0


@pytest.mark.parametrize('behaviour, kind, rule', [({'answer': 'text:I am sorry, I cannot do that.'}, 'answer', 'no_pipe'), ({'fail': 1.}, 'call', 'server_error'), ({'garbage': 1.}, 'call', 'garbage'),
                                                   ({'answer': 'rules', 'cut': 1.}, 'answer', 'cut_off'), ({'answer': 'rules', 'refusal': 1.}, 'call', 'empty')], ids=('prose', 'fail', 'garbage', 'cut', 'null'))
def test_whatever_a_server_does_has_a_name(tmp_path, behaviour, kind, rule):
    with LLMServer(**behaviour) as server: counts = make(tmp_path/'run', limit=3, llm=f'openai:bonito@{server.url}')
    drops = [drop for drop in read_lines(tmp_path/'run', Rejected) if drop.kind in ('answer', 'call')]
    assert counts['examples'] == 0 and {(drop.kind, drop.rule) for drop in drops} == {(kind, rule)} and sum(drop.count for drop in drops) == counts['asked'] == 3


def test_trouble_that_passes_changes_nothing(tmp_path):
    with Writer() as server: make(tmp_path/'calm', llm=f'openai:bonito@{server.url}')
    with Writer(fail=.3, refuse=.2, garbage=.1, seed=1) as server:
        counts = make(tmp_path/'storm', llm=f'openai:bonito@{server.url}')
        assert {'429', '500', 'garbage'} <= set(map(str, server.counts.statuses))
    assert not counts['llm']['errors'] and content(tmp_path/'calm') == content(tmp_path/'storm')


def test_budget_stops_and_resume_finishes(tmp_path, monkeypatch):
    with Writer() as server:
        llm = f'openai:bonito@{server.url}'
        make(tmp_path/'whole', llm=llm)
        monkeypatch.setenv('INSTRUCTGEN_OUTPUTS', str(tmp_path/'other'))
        stopped = make(tmp_path/'run', llm=llm, budget_calls=5)
        assert 'budget of 5 calls' in stopped['stopped'] and (stopped['llm']['calls'], stopped['pending']) == (5, SMALL['limit'] - 5)
        rest = make(tmp_path/'run', llm=llm)
    assert (rest['llm']['hits'], rest['pending'], rest['stopped']) == (5, 0, '') and content(tmp_path/'whole') == content(tmp_path/'run')


def test_kill_and_resume_leave_the_same_folder(tmp_path):
    with Writer(delay=.3) as server:
        llm = f'openai:bonito@{server.url}'
        make(tmp_path/'undisturbed', llm=llm, concurrency=2)
        asked = sum(server.counts.requests.values())
        environment = {**os.environ, 'INSTRUCTGEN_OUTPUTS': str(tmp_path/'second')}
        words = [*COMMAND, 'run', 'bonito_data', '-p', 'limit', str(SMALL['limit']), '-p', 'llm', llm, '-p', 'concurrency', '2', '--out', str(tmp_path/'killed')]
        process = subprocess.Popen(words, env=environment, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while sum(server.counts.requests.values()) < asked + asked // 2 and process.poll() is None: time.sleep(.02)
        kill(process)
        assert not (tmp_path/'killed'/'manifest.json').exists()
        time.sleep(.5)  # what was in flight is answered to nobody
        before = sum(server.counts.requests.values())
        done = subprocess.run([*COMMAND, 'run', 'bonito_data', '--out', str(tmp_path/'killed'), '--resume'], env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        assert before - asked < asked and sum(server.counts.requests.values()) - asked <= asked + 2  # again is asked at most what was in flight
    assert content(tmp_path/'undisturbed') == content(tmp_path/'killed')
    manifest = read_manifest(tmp_path/'killed')
    assert manifest['status'] == 'complete' and manifest['llm']['hits'] >= before - asked - 2 > 0


# ---- through weights on this machine

SENTENCES = [f'The keeper of lock {n} opens the gate at {n} in the morning. Who opens it? The keeper. Yes or no?' for n in range(40)]


@pytest.fixture(scope='module')
def base(tmp_path_factory) -> Iterator[Path]:
    "A small model with random weights that sees 1,024 tokens; on one thread, because two wait for each other on a busy machine."
    import torch
    from instructgen.tiny import make_tiny_model
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield make_tiny_model(SENTENCES, tmp_path_factory.mktemp('base')/'tiny', vocab=400, hidden=32, layers=1, context=1024)
    torch.set_num_threads(threads)


def answers_kept(ledger: Path) -> int:
    "How many answers are safe by now."
    try:
        with closing(sqlite3.connect(f'file:{ledger}?mode=ro', uri=True, timeout=5)) as database: return database.execute('SELECT count(*) FROM answers').fetchone()[0]
    except sqlite3.OperationalError: return 0  # there is none yet


def test_kill_and_resume_with_weights_of_ones_own(base, tmp_path, monkeypatch):
    asked = dict(llm=f'local:{base}?rows=2', form='bonito', max_chars=500, max_tokens=96, limit=16)
    make(tmp_path/'undisturbed', **asked)
    monkeypatch.setenv('INSTRUCTGEN_OUTPUTS', str(tmp_path/'second'))
    program = 'import json, sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]); from test_bonito_end_to_end import make; make(Path(sys.argv[2]), **json.loads(sys.argv[3]))'
    process = subprocess.Popen([sys.executable, '-c', program, str(TESTS), str(tmp_path/'killed'), json.dumps(asked)], start_new_session=True)
    while (kept := answers_kept(tmp_path/'second'/'llm.sqlite')) < 4 and process.poll() is None: time.sleep(.01)
    kill(process)
    kept = answers_kept(tmp_path/'second'/'llm.sqlite')
    assert not (tmp_path/'killed'/'manifest.json').exists() and 4 <= kept < asked['limit']
    counts = make(tmp_path/'killed', **asked)
    assert (counts['llm']['hits'], counts['llm']['calls']) == (kept, asked['limit'] - kept)
    assert content(tmp_path/'undisturbed') == content(tmp_path/'killed')
    assert len({done.text for done in read_generations(tmp_path/'killed')}) == asked['limit']


def test_weights_that_were_trained_again_give_no_old_answers(base, tmp_path):
    from instructgen.presets import TrainConfig
    from instructgen.records import Example
    from instructgen.train import train
    rows = [Example(f'{n}', SENTENCES[n], '', 'Yes.', source='lock') for n in range(40)]
    asked = dict(llm=f'local:{tmp_path}/model', form='bonito', limit=3, max_chars=300, max_tokens=24)
    made = {}
    for name, seed in (('first', 0), ('second', 1), ('again', None)):
        config = TrainConfig(str(base), format='plain', steps=3, lr=5e-2, seed=seed or 0, device='cpu', precision='fp32')
        if seed is not None: train(rows, config, tmp_path/'model', overwrite=True, progress=False)
        counts = make(tmp_path/name, **asked)
        made[name] = [done.text for done in read_generations(tmp_path/name)]
        assert (counts['llm']['calls'], counts['llm']['hits']) == ((0, 3) if seed is None else (3, 0))
    assert made['first'] != made['second'] == made['again']


# ---- what is asked for

def test_five_draws_are_five_rows_with_ids_of_their_own(tmp_path):
    counts = make(tmp_path/'run', draws=5, task_types='exqa', rules='published', limit=6)
    generations, rows = read_generations(tmp_path/'run'), read_dataset(tmp_path/'run').to_pylist()
    assert len(generations) == counts['asked'] == 30 == len({done.id for done in generations})
    assert set(Counter(done.context_id for done in generations).values()) == {5}
    assert all({done.draw for done in generations if done.context_id == name} == set(range(5)) for name in {done.context_id for done in generations})
    assert len({row['id'] for row in rows}) == len(rows) == counts['examples'] and max(Counter(row['context'] for row in rows).values()) == 5
    assert any(len({done.text for done in generations if done.context_id == name}) > 1 for name in {done.context_id for done in generations})


def test_draws_through_a_server_are_calls_of_their_own(tmp_path):
    with Writer() as server:
        counts = make(tmp_path/'run', draws=5, task_types='exqa', limit=3, llm=f'openai:bonito@{server.url}')
        seeds = {body['prompt']: set() for body in server.counts.bodies}
        for body in server.counts.bodies: seeds[body['prompt']].add(body['seed'])
    assert counts['llm']['calls'] == 15 and [len(found) for found in seeds.values()] == [5, 5, 5]


def test_more_draws_leave_the_first_ones_as_they_were(tmp_path):
    make(tmp_path/'one', draws=1)
    make(tmp_path/'three', draws=3)
    assert {done.id: done.text for done in read_generations(tmp_path/'one')}.items() <= {done.id: done.text for done in read_generations(tmp_path/'three')}.items()


def test_label_share_caps_the_most_frequent_label(tmp_path):
    make(tmp_path/'free', task_types='ynqa', limit=60)
    make(tmp_path/'capped', task_types='ynqa', limit=60, label_share=.3)
    shares = {name: Counter(read_dataset(tmp_path/name)['output'].cast('string').to_pylist()) for name in ('free', 'capped')}
    assert max(shares['free'].values()) > .3 * sum(shares['free'].values()) and max(shares['capped'].values()) <= .3 * sum(shares['capped'].values())
    dropped = {done.id for done in read_generations(tmp_path/'capped') if done.reason == 'label_cap'}
    assert 0 < len(dropped) == sum(shares['free'].values()) - sum(shares['capped'].values())


@pytest.mark.parametrize('wrong, told', [
    ({'two_step': True, 'confirm': 'self'}, 'the same model for the same answer twice'), ({'task_types': 'exqa,exqa:2'}, 'named twice'), ({'task_types': 'nli'}, 'the writer rules knows exqa'),
    ({'label_share': .1, 'task_types': 'ynqa'}, 'no share can be below'),
    ({'task_types': 'exqaa'}, "no task type 'exqaa'; did you mean 'exqa'"), ({'task_types': 'exqa:0'}, 'want a number above 0'), ({'label_share': 1.5}, r'want a value in \[0, 1\]'),
    ({'label_share': -.5}, r'want a value in \[0, 1\]'), ({'top_p': 0.}, r'want a value in \(0, 1\]'), ({'draws': 0}, 'want 1 or more'), ({'rules': 'lax'}, 'want one of careful, published'),
    ({'form': 'poem'}, 'want auto, bonito or chat'), ({'min_chars': 900, 'max_chars': 300}, 'no text can have both')], ids=lambda value: next(iter(value)) if isinstance(value, dict) else '')
def test_wrong_values_are_told_before_a_text_is_read(wrong, told):
    with pytest.raises(ValueError, match=told): BonitoConfig(contexts='/nowhere', **wrong)


def test_texts_that_are_not_there(tmp_path):
    (tmp_path/'empty').mkdir()
    (tmp_path/'table.csv').write_text('body,label\n' + ''.join(f'"The keeper opened the gate at {n} and wrote it down in the book that lies on the table of the lock house.",{n}\n' for n in range(3)))
    for contexts, column, told in ((tmp_path/'empty', '', 'the place is empty'), (tmp_path/'table.csv', 'text', "no column 'text', it has body, label"), (tmp_path/'gone', '', 'nothing at')):
        with pytest.raises((ValueError, FileNotFoundError), match=told): gather_contexts(BonitoConfig(contexts=str(contexts), column=column))


# ---- sixty documents

@pytest.fixture(scope='module')
def archive(tmp_path_factory) -> Path:
    "Sixty documents in five formats and folders, and three files that no text can come from."
    from test_documents import THINGS, fpdf, make_docx, make_pdf, pypdf, story
    home = tmp_path_factory.mktemp('archive')/'archive'
    for folder in ('books', 'letters', 'pages', 'notes', 'plain', 'broken'): (home/folder).mkdir(parents=True)
    for i in range(12):
        make_pdf(home/'books'/f'book{i:02}.pdf', 4, 'Water Company of Milltown - internal', first=4 * i)
        make_docx(home/'letters'/f'letter{i:02}.docx', i)
        (home/'pages'/f'page{i:02}.html').write_text(f'<html><body><nav>Home</nav><h1>Town {i}</h1><h2 id="sec-{i}">The {THINGS[i % 10]}</h2><p>{story(700 + i)}</p></body></html>')
        (home/'notes'/f'note{i:02}.md').write_text(f'# Diary {i}\n\n## Day {i}\n\n{story(800 + i)}\n')
        (home/'plain'/f'plain{i:02}.txt').write_text(f'CHAPTER {i}\n\n{story(900 + i)}\n')
    pages = {name: fpdf.FPDF() for name in ('scan', 'locked')}
    for pdf in pages.values(): pdf.add_page()
    pages['scan'].rect(20, 20, 100, 100, style='F')  # a picture of a page has no words
    pages['locked'].set_font('Times', '', 11)
    pages['locked'].multi_cell(0, 5, story(1))
    for name, pdf in pages.items(): pdf.output(str(home/'broken'/f'{name}.pdf'))
    writer = pypdf.PdfWriter(clone_from=home/'broken'/'locked.pdf')
    writer.encrypt('secret', algorithm='RC4-128')
    writer.write(home/'broken'/'locked.pdf')
    (home/'broken'/'empty.pdf').write_bytes(b'')
    return home


@pytest.fixture(scope='module')
def archive_run(archive, tmp_path_factory) -> Path:
    return run_report('bonito_data', out=str(tmp_path_factory.mktemp('archive')/'run'), contexts=str(archive), license='cc0-1.0', draws=2)


def test_sixty_documents_have_a_row_each(archive, archive_run):
    import pandas as pd
    counts, table = read_manifest(archive_run)['counts'], pd.read_csv(archive_run/'tables'/'documents.csv')
    names = {f'archive/{path.relative_to(archive).as_posix()}' for path in archive.rglob('*') if path.is_file() and path.parent.name != 'broken'}
    assert len(names) == 60 and set(table.document) == names and len(table) == 60
    assert (table.texts >= 1).all() and (table.covered > .5).all() and (table.used <= table.covered + 1e-9).all()
    assert table.examples.sum() == counts['examples'] > 60
    assert check_funnel(archive_run, counts) == 2 * counts['contexts']


def test_broken_documents_are_named(archive_run):
    broken = {Path(drop.where or drop.id).name: drop for drop in read_lines(archive_run, Rejected) if 'broken' in f'{drop.id} {drop.where}'}
    assert {name: (drop.kind, drop.rule) for name, drop in broken.items()} == {name: ('source', rule) for name, rule in (('scan.pdf', 'scanned_pdf'), ('locked.pdf', 'encrypted_pdf'), ('empty.pdf', 'empty'))}
    page = (archive_run/'report.html').read_text()
    assert all(rule in page for rule in ('scanned_pdf', 'encrypted_pdf'))


def test_examples_lead_back_to_page_and_heading(archive, archive_run):
    from test_documents import pypdf
    contexts = {context.text: context for context in read_lines(archive_run, Context)}
    rows, kinds, pages = read_dataset(archive_run).to_pylist(), Counter(), {}
    for row in rows:
        context = contexts[row['context']]
        kinds[Path(context.document).suffix] += 1
        assert row['url'] == context.url and row['license'] == 'cc0-1.0' and context.heading
        if not context.document.endswith('.pdf'): continue
        assert row['url'] == f'{context.document}#page={context.page}' and context.heading.startswith('The ')
        if row['url'] not in pages: pages[row['url']] = ' '.join(pypdf.PdfReader(archive/context.document).pages[context.page - 1].extract_text().split())
        assert ' '.join(context.text.split())[:80] in pages[row['url']] and context.heading in pages[row['url']]
    assert set(kinds) == {'.pdf', '.docx', '.html', '.md', '.txt'} and min(kinds.values()) >= 6 and len({row['url'] for row in rows if '#page=2' in row['url']}) >= 6
    ways = {Path(context.document).name: (context.heading, context.url) for context in contexts.values()}
    assert ways['page03.html'] == ('Town 3 > The bell tower', 'pages/page03.html#sec-3') and ways['note05.md'] == ('Diary 5 > Day 5', 'notes/note05.md#day-5')
    assert ways['plain04.txt'][0] == 'CHAPTER 4' and ways['letter02.docx'][0].startswith('Letters of Cyril > Letter 2-')


# ---- a generator made on the way

TINY = {'hidden': 32, 'layers': 1, 'steps': 20, 'limit': 4, 'draws': 1, 'rows': 20}


@pytest.fixture(scope='module')
def model_run(tmp_path_factory) -> Path:
    return run_report('bonito_model', out=str(tmp_path_factory.mktemp('model')/'run'), **TINY)


def test_a_generator_from_templates_to_examples(model_run):
    counts, page = read_manifest(model_run)['counts'], (model_run/'report.html').read_text()
    assert read_manifest(model_run)['status'] == 'complete' and counts['asked'] == TINY['limit']
    for name in ('ctga/manifest.json', 'ctga/dataset/data', 'model/config.json', 'model/instructgen.json', 'generations.jsonl', 'report.ipynb'): assert (model_run/name).exists(), name
    assert 'A demonstration: a model of' in page and 'Nothing below says what the method can do' in page
    assert counts['ctga'] == len(read_dataset(model_run/'ctga')) > 100
    assert len((model_run/'model'/'train_log.csv').read_text().splitlines()) == 1 + TINY['steps']


def test_kill_in_training_and_resume_give_the_same_generator(model_run, tmp_path):
    words = [*COMMAND, 'run', 'bonito_model', *(word for name, value in TINY.items() for word in ('-p', name, str(value))), '--out', str(tmp_path/'run')]
    process = subprocess.Popen(words, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (tmp_path/'run'/'model').exists() and process.poll() is None: time.sleep(.005)
    kill(process)
    assert not (tmp_path/'run'/'model'/'config.json').exists() and not (tmp_path/'run'/'generations.jsonl').exists()
    run_report('bonito_model', out=str(tmp_path/'run'), resume=True)
    assert read_manifest(tmp_path/'run')['status'] == 'complete'
    one, other = ({path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted((folder/'ctga'/'dataset'/'data').glob('*.parquet'))} for folder in (model_run, tmp_path/'run'))
    assert one == other and (model_run/'model'/'model.safetensors').read_bytes() == (tmp_path/'run'/'model'/'model.safetensors').read_bytes()
    assert content(model_run) == content(tmp_path/'run')


def test_a_checkpoint_without_a_tokenizer_is_told(base, tmp_path):
    shutil.copytree(base, tmp_path/'model', ignore=shutil.ignore_patterns('tokenizer*'))
    with pytest.raises(RuntimeError, match='has no tokenizer: want one of'): run_report('bonito_data', out=str(tmp_path/'run'), llm=f'local:{tmp_path}/model', **SMALL)
    assert read_manifest(tmp_path/'run')['status'] == 'failed'


@pytest.mark.parametrize('behaviour, status', [({'answer': 'text:I am sorry, I cannot do that.'}, 'complete'), ({'fail': 1.}, 'partial')], ids=('prose', 'fail'))
def test_report_without_an_example_is_made(tmp_path, behaviour, status):
    with LLMServer(**behaviour) as server: folder = run_report('bonito_data', out=str(tmp_path/'run'), limit=3, llm=f'openai:bonito@{server.url}')
    manifest = read_manifest(folder)
    assert manifest['status'] == status and manifest['counts']['examples'] == 0 and manifest['counts']['asked'] == 3
    assert 'made no example' in (folder/'report.html').read_text() and len((folder/'rejected.jsonl').read_text().splitlines()) == 3


@pytest.mark.parametrize('wrong, told', [({'task_types': 'exqaa'}, "no task type 'exqaa'"), ({'top_p': 0.}, r'want a value in \(0, 1\]'), ({'draws': 0}, 'want 1 or more')], ids=lambda value: next(iter(value)) if isinstance(value, dict) else '')
def test_wrong_values_are_told_before_anything_is_trained(wrong, told):
    from instructgen.bonito.model import ModelConfig
    with pytest.raises(ValueError, match=told): ModelConfig(**wrong)
