"""Grids and sweeps: names, two hundred runs with one killed, one budget and one limit for all, interruptions, real reports."""
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from instructgen.cli import main
from instructgen.grids import expand_grid, grid_names, grid_path, make_grid, read_grid, run_name, value_text
from instructgen.plots import save_figure
from instructgen.report import Parameter, cast_value, report_names
from instructgen.score_plots import plot_scores, plot_sweep
from instructgen.scores import ScoreRow, write_scores
from instructgen.shared_budget import SharedBudget, budget_state, make_budget
from instructgen.store import open_run, read_manifest, read_run, take_lock
from instructgen.sweeps import THREADS, read_sweep, read_sweep_scores, run_state, run_sweep, sweep_commands

sys.path.insert(0, str(Path(__file__).parent))
from llm_server import LLMServer

ROOT = Path(__file__).parent.parent
PARAMETERS = """number = 0  # a number
word = ''  # a word
share = 0.5  # a share
llm = 'rules'  # an LLM
concurrency = 64  # requests in flight
budget_calls = None  # calls
budget_tokens = None  # tokens
budget_money = None  # $
out = ''  # run folder
resume = False  # go on"""


def tiny_report(folder: Path, work: str = '') -> str:
    "A report of our own that writes what it was given, after `work`."
    path = folder/'tiny.ipynb'
    cells = [nbformat.v4.new_markdown_cell('# Tiny\n> Nothing'), nbformat.v4.new_code_cell(PARAMETERS, metadata={'tags': ['parameters']}),
             nbformat.v4.new_code_cell(f'import os\nfrom instructgen.report import open_report\nreport = open_report({str(path)!r}, globals())'),
             nbformat.v4.new_code_cell(work or 'pass'),
             nbformat.v4.new_code_cell("report.run.write_text('given.txt', f'{number} {word} {share}')\nreport.finish({'number': number})")]
    book = nbformat.v4.new_notebook(cells=cells, metadata={'kernelspec': {'name': 'python3', 'language': 'python', 'display_name': 'python3'}})
    path.write_text(nbformat.writes(book))
    return str(path)


# a command that does at once what a report does in seconds: $out is the run's folder, $number the swept number
SHELL = '''for word in "$@"; do
  case "$before" in -p) name="$word";; --out) out="$word";; esac
  [ "$named" ] && eval "$name=\\"\\$word\\""; named=; [ "$before" = -p ] && named=yes
  before="$word"
done
mkdir -p "$out"; echo '{"report": "tiny", "parameters": {"number": '$number'}, "config_hash": "", "parent": "", "started": ""}' > "$out/run.json"
%s
echo '{"report": "tiny", "status": "complete", "seconds": 0.1, "counts": {}}' > "$out/manifest.json"
'''


def shell(work: str = '') -> tuple[str, ...]: return ('sh', '-c', SHELL % work, 'sh')


# ---- grids

NAMES = st.sampled_from(['number', 'word', 'share', 'llm'])
VALUES = st.lists(st.one_of(st.integers(-10**9, 10**9), st.text(max_size=120), st.floats(allow_nan=False, allow_infinity=False)), min_size=1, max_size=4, unique_by=str)


@given(st.dictionaries(NAMES, VALUES, max_size=4))
def test_every_combination_once(parameters):
    fixed, own = expand_grid({'parameters': parameters})
    count = 1
    for values in parameters.values(): count *= len(values)
    assert fixed == {} and len(own) == count == len({json.dumps(run, sort_keys=True) for run in own})
    assert all(set(run) == set(parameters) for run in own)


@given(st.dictionaries(NAMES, VALUES, min_size=1, max_size=3))
def test_names_are_distinct_and_fit_for_a_folder(parameters):
    own = expand_grid({'parameters': parameters})[1]
    texts = {json.dumps({name: value_text(value) for name, value in run.items()}) for run in own}
    names = {run_name(run) for run in own}
    assert len(names) == len(texts)
    assert all(0 < len(name) <= 100 and not set(name) & set('/\\\0\n ,:*?"<>|\'') and not name.startswith(('.', '-')) for name in names)


@pytest.mark.parametrize('value', [0, -3, 10**12, 1e-5, 1e300, .1, True, False, None, '', 'a=b', "it's", '1e5', ' blank '])
def test_a_typed_value_comes_back(value):
    assert cast_value(Parameter('x', value, ''), value_text(value)) == value


def test_a_run_keeps_its_name_when_the_grid_grows(tmp_path):
    report = tiny_report(tmp_path)
    names = [[run.name for run in make_grid(report, spec).runs] for spec in (
        {'parameters': {'number': [1], 'share': [.5]}}, {'parameters': {'share': [.5, .7], 'number': [0, 1, 2]}}, {'runs': [{'share': '0.5', 'number': '1'}]}, {'zip': {'share': [.5], 'number': [1]}, 'base': {'word': 'x'}})]
    assert names[0] == ['number=1+share=0.5'] and all(names[0][0] in others for others in names[1:])


def test_what_is_listed_is_multiplied(tmp_path):
    grid = make_grid(tiny_report(tmp_path), {'base': {'llm': 'rules'}, 'parameters': {'number': [1, 2]}, 'zip': [{'share': [.1, .2, .3]}], 'runs': [{'word': 'a'}, {}]})
    assert len(grid.runs) == 12 and len({run.name for run in grid.runs}) == 12
    assert {run.parameters.get('word') for run in grid.runs} == {'a', None} and grid.runs[0].parameters['llm'] == 'rules'


@pytest.mark.parametrize('spec, told', [
    ({'paramters': {}}, "did you mean 'parameters'"), ({'parameters': [1]}, 'want a mapping'), ({'parameters': {'numbr': [1]}}, "did you mean 'number'"), ({'runs': {'number': 1}}, 'want a list of mappings'),
    ({'zip': {'number': 3}}, 'mapping of parameters to lists'), ({'zip': {'number': [1, 2], 'share': [1]}}, 'number 2, share 1'), ({'zip': [{'number': [1]}], 'base': {'number': 2}}, 'two places'),
    ({'parameters': {'number': [1, 'x']}}, "number is 'x', want int"), ({'parameters': {'number': [1, '1']}}, 'are the same: number=1'), ({'runs': [{'number': 1}, {'number': 1}]}, 'are the same'),
    ({'base': {'resume': True}}, 'resume cannot be in a grid'), ({'parameters': {'concurrency': [1, 2]}}, 'concurrency cannot be swept'), ({'concurrency': 0}, 'want 1 or more'), ({'budget_calls': -1}, 'want more than 0'),
    ({'budget_calls': 'many'}, "budget_calls is 'many'"), ({'budget_calls': 9, 'base': {'budget_calls': 3}}, 'given twice'), ({'report': 'quickstart'}, "for report 'quickstart'"), ({'parameters': {'number': list(range(101)), 'share': list(range(100))}}, '10,100 runs')])
def test_a_wrong_grid_is_refused_before_anything_runs(spec, told, tmp_path):
    with pytest.raises(ValueError, match=told.replace('(', r'\(')): make_grid(tiny_report(tmp_path), spec)


@pytest.mark.parametrize('text, told', [('a: [1', 'no YAML'), ('', 'holds a NoneType'), ('- 1', 'holds a list'), ('!!python/object/apply:os.system [exit]', 'no YAML')])
def test_a_file_that_is_no_grid(text, told, tmp_path):
    (tmp_path/'grid.yaml').write_text(text)
    with pytest.raises(ValueError, match=told): read_grid('bonito_data', str(tmp_path/'grid.yaml'))


@pytest.mark.parametrize('name', grid_names())
def test_the_package_s_grids_fit_their_reports(name):
    spec = yaml.safe_load(grid_path(name).read_text())
    assert spec['report'] in report_names() and len(read_grid(spec['report'], name, {'llm': 'local:model'} if name == 'temperature_top_p' else {}).runs) > 1


def test_the_package_s_grids_say_what_they_ask():
    for name in grid_names():
        spec = yaml.safe_load(grid_path(name).read_text())
        assert spec['about'].endswith('.') and expand_grid(spec)[1], name


# ---- runs

def test_two_hundred_runs_one_killed(tmp_path):
    report, out = tiny_report(tmp_path), tmp_path/'sweep'
    grid = make_grid(report, {'parameters': {'number': list(range(200))}})
    marks = tmp_path/'marks'
    work = f'echo + >> {marks}; [ $number = 117 ] && [ ! -e {tmp_path}/killed ] && echo $$ > {tmp_path}/victim && exec sleep 600; echo - >> {marks}'
    def kill(line):
        if (tmp_path/'victim').exists() and not (tmp_path/'killed').exists():
            (tmp_path/'killed').touch()
            os.kill(int((tmp_path/'victim').read_text()), signal.SIGKILL)
    table = run_sweep(grid, out, jobs=8, tell=kill, command=shell(work))
    assert table.status.value_counts().to_dict() == {'complete': 199, 'failed': 1}
    assert table[table.status == 'failed'].name.tolist() == ['number=117'] and 'SIGKILL' in table[table.status == 'failed'].error.item()
    assert read_manifest(out/'number=117')['status'] == 'failed'
    flying = pd.Series(marks.read_text().split()).map({'+': 1, '-': -1}).cumsum()
    assert 2 <= flying.max() <= 8
    times = {name: (out/name/'manifest.json').stat().st_mtime_ns for name in table.name if name != 'number=117'}
    told = []
    again = run_sweep(grid, out, jobs=8, tell=told.append, command=shell(work))
    assert (again.status == 'complete').all() and len(told) == 1 and 'number=117' in told[0]
    assert times == {name: (out/name/'manifest.json').stat().st_mtime_ns for name in times}
    read = pd.read_csv(out/'sweep.csv')
    assert read.number.tolist() == list(range(200)) and (read_sweep(out).status == 'complete').all()


def test_threads_are_shared(tmp_path, monkeypatch):
    for name in THREADS: monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr('instructgen.sweeps.cores', lambda: 12)
    grid = make_grid(tiny_report(tmp_path), {'parameters': {'number': [1, 2, 3]}, 'concurrency': 50})
    run_sweep(grid, tmp_path/'sweep', jobs=9, command=shell('echo $OMP_NUM_THREADS $concurrency > "$out/threads"'))  # nine are three here
    assert {(tmp_path/'sweep'/run.name/'threads').read_text() for run in grid.runs} == {'4 16\n'}
    assert json.loads((tmp_path/'sweep'/'sweep.json').read_text())['threads'] == 4


def test_failures_are_listed_and_the_rest_goes_on(tmp_path):
    grid = make_grid(tiny_report(tmp_path), {'parameters': {'number': [1, 2, 3]}})
    work = '[ $number = 2 ] && rm -r "$out" && echo "error: no such model" >&2 && exit 1'
    table = run_sweep(grid, tmp_path/'sweep', command=shell(work))
    assert table.status.tolist() == ['complete', 'failed', 'complete'] and table.error[1] == 'no such model'
    read = read_sweep(tmp_path/'sweep')  # it left no folder, and still counts as failed
    assert read.status.tolist() == ['complete', 'failed', 'complete'] and read.error[1] == 'no such model'


def test_an_old_manifest_is_not_taken_for_a_new_one(tmp_path):
    grid = make_grid(tiny_report(tmp_path), {'parameters': {'number': [1]}})
    with open_run('tiny', {'number': 1}, out=tmp_path/'sweep'/'number=1') as run: run.write_text('data.txt', 'kept'), run.finish({}, 'partial')
    os.utime(tmp_path/'sweep'/'number=1'/'manifest.json', (time.time() - 100,) * 2)
    table = run_sweep(grid, tmp_path/'sweep', command=('sh', '-c', 'echo "error: refused" >&2; exit 1'))
    assert (table.status[0], table.error[0]) == ('failed', 'refused')
    assert (tmp_path/'sweep'/'number=1'/'data.txt').read_text() == 'kept'


def test_a_folder_of_something_else_is_refused(tmp_path):
    report = tiny_report(tmp_path)
    run_sweep(make_grid(report, {'parameters': {'number': [1, 2]}}), tmp_path/'sweep', command=shell())
    with pytest.raises(ValueError, match="'word' is 'x' here and 'absent' in the run that .*number=1"):
        run_sweep(make_grid(report, {'base': {'word': 'x'}, 'parameters': {'number': [1, 3]}}), tmp_path/'sweep', command=shell())
    assert not (tmp_path/'sweep'/'number=3').exists()
    with pytest.raises(FileExistsError, match='holds a run'): run_sweep(make_grid(report, {}), tmp_path/'sweep'/'number=1', command=shell())


def test_a_secret_is_refused(tmp_path):
    with pytest.raises(ValueError, match='looks like a secret'): run_sweep(make_grid(tiny_report(tmp_path), {'parameters': {'word': ['sk-' + 'a' * 30]}}), tmp_path/'sweep', command=shell())
    assert not (tmp_path/'sweep'/'sweep.json').exists()


def test_one_sweep_at_a_time_and_no_run_that_another_is_making(tmp_path):
    grid = make_grid(tiny_report(tmp_path), {'parameters': {'number': [1, 2]}})
    (tmp_path/'sweep').mkdir()
    lock = take_lock(tmp_path/'sweep')
    with pytest.raises(BlockingIOError): run_sweep(grid, tmp_path/'sweep', command=shell())
    os.close(lock)
    with open_run('tiny', {'number': 1}, out=tmp_path/'sweep'/'number=1'):
        table = run_sweep(grid, tmp_path/'sweep', command=shell())
    assert table.status.tolist() == ['running', 'complete']


# ---- what all runs share

ASK = '''
import sys, time
from types import SimpleNamespace
from instructgen.llm import BudgetReached, Request, Sampling
from instructgen.run_llm import open_model
from instructgen.store import open_run
words = sys.argv[1:]
given = {words[place + 1]: words[place + 2] for place, word in enumerate(words) if word == '-p'}
config = SimpleNamespace(llm=given['llm'], concurrency=int(given['concurrency']), timeout=20., budget_calls=None, budget_tokens=None, budget_money=None, price_in=None, price_out=None)
with open_run('tiny', {'number': int(given['number']), 'llm': given['llm']}, out=words[words.index('--out') + 1], resume='--resume' in words) as run, open_model(config, run.folder) as model:
    run.write_text('begun', 'yes')
    stopped = ''
    try:
        for done in model.generate([Request(f"question {given['number']}-{place}") for place in range(20)], Sampling(max_tokens=50)): pass
    except BudgetReached as error: stopped = str(error)
    run.finish({}, 'stopped' if stopped else 'complete', stopped=stopped)
'''


@pytest.fixture
def asking(tmp_path, monkeypatch):
    "A grid of six runs with twenty questions each, to a server that counts."
    monkeypatch.setenv('INSTRUCTGEN_OUTPUTS', str(tmp_path/'outputs'))
    report = tiny_report(tmp_path)
    with LLMServer(delay=.03) as server:
        def grid(**shared): return make_grid(report, {'base': {'llm': f'openai:test@{server.url}'}, 'parameters': {'number': list(range(6))}, **shared})
        yield server, grid, (sys.executable, '-c', ASK)


def test_one_budget_one_limit_one_ledger(asking, tmp_path):
    server, grid, command = asking
    table = run_sweep(grid(budget_calls=50, concurrency=9), tmp_path/'sweep', jobs=3, command=command)
    assert sum(server.counts.answers.values()) == 50 and server.counts.most <= 9      # used up, and not overrun
    assert 'stopped' in set(table.status) and set(table.status) <= {'complete', 'stopped', 'waiting'}
    assert budget_state(tmp_path/'sweep'/'budget.sqlite')['used']['calls'] == 50
    table = run_sweep(grid(budget_calls=500, concurrency=9), tmp_path/'sweep', jobs=3, command=command)
    assert (table.status == 'complete').all()
    assert sum(server.counts.answers.values()) == len(server.counts.answers) == 120    # the ledger had the first fifty
    assert (tmp_path/'outputs'/'llm.sqlite').exists() and not list((tmp_path/'sweep').rglob('llm.sqlite'))


def test_a_killed_run_does_not_overrun_the_budget(asking, tmp_path):
    server, grid, command = asking
    server.behaviour.delay = .3
    def kill_one():  # while its first requests are under way
        import threading
        def work():
            while not list((tmp_path/'sweep').glob('*/begun')): time.sleep(.01)
            while not server.counts.flying: time.sleep(.01)
            victims = subprocess.run(['pgrep', '-f', f'{tmp_path}/sweep/number='], capture_output=True, text=True).stdout.split()
            os.kill(int(victims[0]), signal.SIGKILL)
        (thread := threading.Thread(target=work)).start()
        return thread
    thread = kill_one()
    table = run_sweep(grid(budget_calls=40, concurrency=10), tmp_path/'sweep', jobs=2, command=command)
    thread.join()
    assert table.status.tolist().count('failed') == 1
    assert 0 < sum(server.counts.requests.values()) <= 40
    assert budget_state(tmp_path/'sweep'/'budget.sqlite')['used']['calls'] <= 40


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 40), st.integers(0, 40)), max_size=40), st.integers(1, 200))
def test_shares_never_use_more_than_there_is(tmp_path_factory, requests, limit):
    path = make_budget(tmp_path_factory.mktemp('budget')/'budget.sqlite', tokens=limit)
    shares, flying = [SharedBudget(path, patience=0.) for _ in range(3)], []
    for who, worst, took in requests:
        asked = {'calls': 1, 'tokens': worst, 'money': 0.}
        if shares[who].reserve(asked): flying.append((who, asked, min(took, worst)))
        elif flying:
            who, asked, took = flying.pop(0)
            shares[who].settle(asked, {'calls': 1, 'tokens': took, 'money': 0.})
        state = budget_state(path)
        assert state['used']['tokens'] + state['reserved']['tokens'] <= limit
    for who, asked, took in flying: shares[who].settle(asked, {'calls': 1, 'tokens': took, 'money': 0.})
    assert budget_state(path)['reserved']['tokens'] == 0
    for share in shares: share.close()


def test_a_model_closes_its_own_budget_and_the_next_may_share_it(tmp_path, monkeypatch):
    from types import SimpleNamespace
    from instructgen.run_llm import open_model
    monkeypatch.setenv('INSTRUCTGEN_BUDGET', str(make_budget(tmp_path/'budget.sqlite', calls=9)))
    config = SimpleNamespace(llm='rules', concurrency=4, timeout=9., budget_calls=None, budget_tokens=None, budget_money=None, price_in=None, price_out=None)
    with open_model(config, tmp_path) as first: assert first.budget.database is not None
    assert first.budget.database is None
    with open_model(config, tmp_path, first.budget) as second: assert second.budget.reserve({'calls': 1, 'tokens': 0, 'money': 0.})
    assert second.budget.database is not None and budget_state(tmp_path/'budget.sqlite')['reserved']['calls'] == 1  # not its own, so it stays open
    second.budget.close()


def test_a_budget_of_money_without_prices_is_refused_before_anything_runs(tmp_path):
    prices = {'price_in': 1., 'price_out': 2.}
    for report in ('adaptation', 'dynosaur_data'):
        with pytest.raises(ValueError, match='budget_money needs prices'): make_grid(report, {'budget_money': 5., 'parameters': {'seed': [0, 1]}, **({'base': {'llm': 'openai:m', 'price_in': 1.}} if report == 'dynosaur_data' else {})})
        assert make_grid(report, {'budget_money': 5., 'parameters': {'seed': [0, 1]}, 'base': prices}).budget == {'money': 5.}
    assert make_grid('dynosaur_data', {'budget_money': 5., 'parameters': {'seed': [0, 1]}}).budget == {'money': 5.}  # the embedded writer is free


def test_a_damaged_budget_is_named(tmp_path):
    (tmp_path/'budget.sqlite').write_text('no database at all, and long enough to be looked at' * 40)
    with pytest.raises(ValueError, match='budget.sqlite is no budget'): make_budget(tmp_path/'budget.sqlite', calls=3)


# ---- real reports

def test_real_reports_one_whose_command_is_killed(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv('INSTRUCTGEN_OUTPUTS', str(tmp_path/'outputs'))
    work = f"import pathlib, signal, time\nmark = pathlib.Path({str(tmp_path/'mark')!r})\nif number == 2 and not mark.exists(): mark.touch(); report.run.write_text('half.txt', ''); os.kill(os.getppid(), 9); time.sleep(600)\nif word == 'bad': raise ValueError('the word is bad')"
    (tmp_path/'grid.yaml').write_text(yaml.safe_dump({'base': {'share': .25}, 'runs': [{'number': 1, 'word': 'good'}, {'number': 2, 'word': 'good'}, {'number': 1, 'word': 'bad'}]}))
    words = ['sweep', tiny_report(tmp_path, work), '-f', str(tmp_path/'grid.yaml'), '--jobs', '2']
    with pytest.raises(SystemExit) as ended: main(words)
    shown = capsys.readouterr()
    folder = tmp_path/'outputs'/'tiny-grid'
    table = read_sweep(folder).set_index('name')
    assert ended.value.code == 1 and '1 of 3 runs complete' in shown.out
    assert table.loc['number=1+word=good', 'status'] == 'complete' and table.loc['number=1+word=bad', 'error'] == 'the word is bad'
    assert 'SIGKILL' in table.error['number=2+word=good'] and 'number=2+word=good' in shown.err and read_run(folder/'number=2+word=good')['parameters']['share'] == .25
    with pytest.raises(SystemExit): main(words)
    shown = capsys.readouterr()
    assert '2 of 3 runs complete' in shown.out and run_state(folder/'number=2+word=good')['status'] == 'complete'
    assert (folder/'number=2+word=good'/'given.txt').read_text() == '2 good 0.25'


def test_interrupt_ends_the_runs_and_the_same_command_goes_on(tmp_path):
    environment = {**os.environ, 'INSTRUCTGEN_OUTPUTS': str(tmp_path/'outputs')}
    report = tiny_report(tmp_path, f"import time\nif not os.path.exists({str(tmp_path/'go')!r}): time.sleep(600)")
    (tmp_path/'grid.yaml').write_text('parameters: {number: [1]}')
    command = [sys.executable, '-c', 'from instructgen.cli import main; main()', 'sweep', report, '-f', str(tmp_path/'grid.yaml')]
    heeded = lambda: signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in the background ignores interrupts
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, preexec_fn=heeded)
    folder, until = tmp_path/'outputs'/'tiny-grid', time.monotonic() + 60
    while not list(folder.glob('*/run.json')) and time.monotonic() < until: time.sleep(.05)
    process.send_signal(signal.SIGTERM)
    told = process.communicate(timeout=60)[1]
    assert process.returncode == 130 and 'the same command goes on' in told and 'Traceback' not in told
    assert read_sweep(folder).status.tolist() == ['interrupted']
    assert not subprocess.run(['pgrep', '-f', str(folder)], capture_output=True).stdout
    (tmp_path/'go').touch()
    assert subprocess.run(command, env=environment, capture_output=True, timeout=120).returncode == 0
    assert read_sweep(folder).status.tolist() == ['complete']


def test_printed_commands_do_the_same(tmp_path, monkeypatch):
    monkeypatch.setenv('PATH', f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    grid = make_grid(tiny_report(tmp_path), {'parameters': {'word': ["it's $HOME; a & b"], 'number': [3]}, 'budget_calls': 10})
    line, = sweep_commands(grid, tmp_path/'my sweep')
    assert not list((tmp_path/'my sweep').glob('*/run.json'))
    subprocess.run(line, shell=True, check=True, capture_output=True)
    table = read_sweep(tmp_path/'my sweep')
    assert table.status.tolist() == ['complete'] and table.word[0] == "it's $HOME; a & b"
    assert (Path(table.folder[0])/'given.txt').read_text() == "3 it's $HOME; a & b 0.5" and read_run(table.folder[0])['parameters']['budget_calls'] == 10
    assert sweep_commands(grid, tmp_path/'my sweep') == []


def test_printed_commands_divide_what_is_left(tmp_path):
    report = tiny_report(tmp_path)
    spec = {'parameters': {'number': [1, 2, 3]}, 'budget_calls': 100, 'budget_money': 1.5, 'concurrency': 30}
    make_budget(tmp_path/'sweep'/'budget.sqlite', calls=100)
    share = SharedBudget(tmp_path/'sweep'/'budget.sqlite')
    assert share.reserve(worst := {'calls': 40, 'tokens': 0, 'money': 0.})
    share.settle(worst, worst)
    with open_run('tiny', {'number': 2}, out=tmp_path/'sweep'/'number=2') as run: run.write_text('half.txt', '')
    words = [shlex.split(line) for line in sweep_commands(make_grid(report, spec), tmp_path/'sweep', jobs=3)]
    assert [[line[line.index(name) + 1] for name in ('budget_calls', 'budget_money', 'concurrency')] for line in words] == [['20', '0.5', '10']] * 3
    assert [line[-1] == '--resume' for line in words] == [False, True, False]
    with pytest.raises(ValueError, match='too little for 3 runs'): sweep_commands(make_grid(report, {**spec, 'budget_calls': 41}), tmp_path/'sweep')


def test_scores_come_with_the_parameters(tmp_path):
    grid = make_grid(tiny_report(tmp_path), {'base': {'share': .1}, 'parameters': {'number': [1, 2, 3]}})
    run_sweep(grid, tmp_path/'sweep', command=shell())
    for number in (1, 3): write_scores(tmp_path/'sweep'/f'number={number}', [ScoreRow('A', 'rouge_l', number / 10, 7, arm=arm) for arm in ('x', 'y')])
    scores = read_sweep_scores(tmp_path/'sweep')
    assert list(zip(scores.number, scores.value, scores.arm)) == [(1, .1, 'x'), (1, .1, 'y'), (3, .3, 'x'), (3, .3, 'y')] and (scores.share == .1).all()


# ---- figures

def rows(**more):
    return [ScoreRow('A', 'rouge_l', value, 50, value - .02, value + .02, arm=arm, **more) for arm, value in (('x', .2), ('y', .31), ('z', .4))]


def test_every_arm_is_drawn_once_with_its_interval():
    ax = plot_scores([*rows(start='one'), *rows(start='two')], 'Arms', color='start', baseline='x')
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ['A, rouge_l (n = 50)', 'x', 'y', 'z']
    drawn = [tuple(np.round(line.get_xdata(), 6)) for line in ax.lines if line.get_linestyle() == '-' and len(line.get_xdata()) == 2]
    assert sorted(drawn) == sorted([(.18, .22), (.29, .33), (.38, .42)] * 2)
    assert sum(line.get_linestyle() == ':' for line in ax.lines) == 2 and [text.get_text() for text in ax.get_legend().get_texts()] == ['one', 'two']


def test_runs_that_differ_in_their_seed_become_one_point():
    frame = pd.DataFrame([{'benchmark': 'A', 'metric': 'm', 'value': value, 'n': 5, 'arm': 'x', 'size': size, 'seed': seed} for size, seed, value in ((1, 0, .1), (1, 1, .3), (10, 0, .5), (100, 0, .6))])
    ax = plot_sweep(frame, 'size', 'Sizes')
    line = next(line for line in ax.lines if len(line.get_xdata()) == 3)
    assert list(line.get_xdata()) == [1, 10, 100] and np.allclose(line.get_ydata(), [.2, .5, .6]) and ax.get_xscale() == 'log'
    assert any(list(other.get_ydata()) == [.1, .3] for other in ax.lines)
    assert 'mean of up to 2 runs' in ' '.join(text.get_text() for text in ax.texts)


@pytest.mark.parametrize('name, other', [('level', 'task'), ('subset', 'clean')])
def test_what_cannot_be_compared_is_not_drawn(name, other):
    mixed = [*rows(), *rows(**{name: other})]
    for draw in (lambda: plot_scores(mixed, 't'), lambda: plot_sweep([{**asdict(row), 'size': 1} for row in mixed], 'size', 't')):
        with pytest.raises(ValueError, match=f'mixes {name}s'): draw()


def test_the_same_table_gives_the_same_file(tmp_path):
    files = [save_figure(plot_scores(rows(), 'Arms'), tmp_path/f'{number}.svg').read_bytes() for number in range(2)]
    assert files[0] == files[1]
