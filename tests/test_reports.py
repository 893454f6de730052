"""Reports through papermill, the command and a live kernel: equal folders, self-contained pages, clear errors."""
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from instructgen.cli import main
from instructgen.report import report_names, report_path, run_report
from instructgen.store import read_manifest

BIN = Path(sys.executable).parent
TINY = {'sources': 'demo', 'limit': 20}
VARYING = {'run.json', 'manifest.json', '.lock'}  # they hold times and versions


def contents(folder: Path) -> dict[str, bytes]:
    "Every file of a run folder but those that hold times."
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob('*'))
            if path.is_file() and path.name not in VARYING and 'llm.sqlite' not in path.name}


def same(first: Path, second: Path) -> None:
    "Two run folders hold the same, and manifests tell the same counts and files."
    one, two = contents(first), contents(second)
    assert one.keys() == two.keys()
    assert [name for name in one if one[name] != two[name]] == []
    assert read_manifest(first)['counts'] == read_manifest(second)['counts']
    listed = [{file['name']: file['sha256'] for file in read_manifest(folder)['files'] if file['name'] not in VARYING} for folder in (first, second)]
    assert listed[0] == listed[1]


@pytest.fixture(scope='module')
def tiny_run(tmp_path_factory) -> Path:
    "One run of dynosaur_data on the demo sources."
    return run_report('dynosaur_data', out=str(tmp_path_factory.mktemp('command')/'run'), **TINY)


def test_run_leaves_what_the_design_names(tiny_run):
    for name in ('run.json', 'manifest.json', 'tasks.jsonl', 'rejected.jsonl', 'dataset/README.md', 'provenance.csv', 'report.ipynb', 'report.html'):
        assert (tiny_run/name).stat().st_size > 0, name
    assert read_manifest(tiny_run)['status'] == 'complete'
    assert list((tiny_run/'figures').glob('*.svg')) and list((tiny_run/'tables').glob('*.csv'))


def test_every_figure_has_its_table(tiny_run):
    tables = {path.stem for path in (tiny_run/'tables').glob('*.csv')}
    assert {path.stem for path in (tiny_run/'figures').glob('*.svg')} <= tables


def test_funnel_adds_up(tiny_run):
    counts = read_manifest(tiny_run)['counts']
    tasks = [json.loads(line) for line in (tiny_run/'tasks.jsonl').read_text().splitlines()]
    rejected = [json.loads(line) for line in (tiny_run/'rejected.jsonl').read_text().splitlines()]
    assert counts['tasks'] == len(tasks) > 0
    assert counts['proposed'] == len(tasks) + sum(line['count'] for line in rejected if line['kind'] == 'task')


def test_page_asks_no_other_host_and_runs_no_script(tiny_run):
    page = (tiny_run/'report.html').read_text()
    assert '<script' not in page and "default-src 'none'" in page
    assert not re.findall(r'(?:src|srcset)\s*=\s*"(?!data:)', page) and '@import' not in page and 'url(http' not in page


def test_papermill_leaves_the_same_folder(tiny_run, tmp_path):
    parameters = tmp_path/'parameters.yaml'
    parameters.write_text(f'sources: demo\nout: {tmp_path}/run\n')
    subprocess.run([BIN/'papermill', report_path('dynosaur_data'), tmp_path/'executed.ipynb', '-f', parameters, '-p', 'limit', '20'],
                   check=True, capture_output=True, timeout=300)
    same(tiny_run, tmp_path/'run')


def test_run_all_in_a_live_kernel_leaves_the_same_folder(tiny_run, tmp_path):
    from nbclient import NotebookClient
    notebook = nbformat.read(report_path('dynosaur_data'), as_version=4)
    for cell in notebook.cells:
        if 'parameters' in cell.metadata.get('tags', []): cell.source += f'\nlimit = 20\nout = {str(tmp_path/"run")!r}'
    NotebookClient(notebook, timeout=300, kernel_name='python3', resources={'metadata': {'path': report_path('dynosaur_data').parent}}).execute()
    same(tiny_run, tmp_path/'run')


def test_folder_with_a_run_is_refused(tiny_run, capsys):
    before = contents(tiny_run)
    with pytest.raises(SystemExit): main(['run', 'dynosaur_data', '--out', str(tiny_run), '-p', 'limit', '20'])
    assert 'resume' in capsys.readouterr().err
    assert contents(tiny_run) == before


def test_resume_of_a_complete_run_changes_nothing(tiny_run, tmp_path):
    copy = tmp_path/'run'
    shutil.copytree(tiny_run, copy)
    (copy/'manifest.json').unlink()
    with pytest.raises(SystemExit) as stopped: main(['run', 'dynosaur_data', '--out', str(copy), '--resume'])
    assert stopped.value.code in (0, None)
    same(tiny_run, copy)


def test_resume_with_another_parameter_is_refused(tiny_run, tmp_path):
    copy = tmp_path/'run'
    shutil.copytree(tiny_run, copy)
    with pytest.raises(ValueError, match="'limit' is 21 here and 20"): run_report('dynosaur_data', out=str(copy), resume=True, limit=21)
    assert json.loads((copy/'manifest.json').read_text())['status'] == 'complete' and not (copy/'failed.ipynb').exists()


def test_failed_report_says_what_to_do(tmp_path, capsys):
    table = tmp_path/'own.csv'
    table.write_text('question,answer\n' + ''.join(f'What is {n} plus {n}?,{2 * n}\n' for n in range(30)))
    with pytest.raises(SystemExit): main(['run', 'dynosaur_data', '-p', 'sources', str(table), '--out', str(tmp_path/'run')])
    told = capsys.readouterr().err
    assert '-p license' in told and 'Traceback' not in told
    assert read_manifest(tmp_path/'run')['status'] == 'failed' and (tmp_path/'run'/'failed.ipynb').exists()


@pytest.mark.parametrize('name', report_names())
def test_reports_have_offline_defaults(name):
    from instructgen.report import report_parameters
    parameters = report_parameters(name)
    assert {'out', 'resume'} <= parameters.keys()
    assert parameters['llm'].default == ('' if name == 'bonito_model' else 'rules') if 'llm' in parameters else True  # '' trains one, from scratch
    assert all(parameter.meaning for parameter in parameters.values())


def test_csv_of_ones_own_becomes_a_chat_export(tmp_path, capsys):
    from datasets import load_dataset
    table = tmp_path/'tickets.csv'
    queues = ('billing', 'delivery', 'login')
    texts = ('The invoice shows order {} twice and I was charged for both.', 'Parcel {} should have come on Monday and is still not here.',
             'I reset the password {} times and still cannot sign in.')
    table.write_text('text,queue\n' + ''.join(f'"{texts[n % 3].format(n)}",{queues[n % 3]}\n' for n in range(90)))
    for words in (['run', 'dynosaur_data', '-p', 'sources', str(table), '-p', 'license', 'cc-by-4.0', '-p', 'language', 'en', '--out', str(tmp_path/'run')],
                  ['export', str(tmp_path/'run'), '--format', 'openai-chat']):
        with pytest.raises(SystemExit) as stopped: main(words)
        assert stopped.value.code in (0, None), capsys.readouterr().err
    files = sorted((tmp_path/'run').rglob('*.jsonl'))
    chats = [json.loads(line) for path in files if 'export' in path.as_posix() for line in path.read_text().splitlines()]
    assert chats and all([turn['role'] for turn in chat['messages']][-2:] == ['user', 'assistant'] for chat in chats)
    assert {chat['messages'][-1]['content'] for chat in chats} >= set(queues)
    assert load_dataset(str(tmp_path/'run'/'dataset'), split='train', cache_dir=str(tmp_path/'cache')).num_rows >= 80


def test_real_sources_run_to_the_end(shared_data, tmp_path):
    from real_cards import cards_with_info
    hub = run_report('dynosaur_data', out=str(tmp_path/'hub'), sources=str(shared_data/'hub'), limit=20)
    counts = read_manifest(hub)['counts']
    assert counts['sources'] == 19 and counts['tasks'] >= 30 and counts['examples'] >= 600
    cards = run_report('dynosaur_data', out=str(tmp_path/'cards'), sources=str(cards_with_info(shared_data, tmp_path/'copy')))
    counts = read_manifest(cards)['counts']
    rules = {json.loads(line)['rule'] for line in (cards/'rejected.jsonl').read_text().split('\n') if line}
    assert counts['sources_found'] == 385 and counts['tasks'] > 20
    assert {'denied_license', 'no_license', 'language', 'no_rows', 'no_tasks', 'image_audio'} <= rules


def test_two_datasets_are_not_one_in_the_cache_of_load_dataset(tmp_path):
    from datasets import load_dataset
    sizes = {}
    for name, limit in (('one', 5), ('two', 8)):
        folder = run_report('dynosaur_data', out=str(tmp_path/name/'run'), limit=limit)
        loaded = load_dataset(str(folder/'dataset'), split='train', cache_dir=str(tmp_path/'cache'))
        assert loaded.num_rows == read_manifest(folder)['counts']['examples']
        sizes[name] = loaded.num_rows
    assert sizes['one'] != sizes['two']


def test_refused_second_run_leaves_the_first_one_alone(tiny_run):
    before = (tiny_run/'manifest.json').read_bytes()
    with pytest.raises(RuntimeError, match='holds a run already'): run_report('dynosaur_data', out=str(tiny_run), **TINY)
    assert (tiny_run/'manifest.json').read_bytes() == before and not (tiny_run/'failed.ipynb').exists()


def test_runs_are_listed(tiny_run, capsys):
    with pytest.raises(SystemExit): main(['runs', str(tiny_run.parent)])
    assert capsys.readouterr().out.split()[:3] == ['complete', 'run', 'dynosaur_data']
