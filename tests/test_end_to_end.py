"""The same dataset through a server as from the embedded writer, and after kill -9 with resume as without."""
import json
import os
import signal
import subprocess
import sys
import time
from importlib.resources import files
from pathlib import Path

import pytest

from instructgen.dynosaur.dataset import DatasetConfig, build_dataset, gather_sources
from instructgen.dynosaur.tables import check_funnel
from instructgen.run_tables import drops_table
from instructgen.report import run_report
from instructgen.store import open_run, read_dataset, read_manifest
from hub_server import HubServer, repository
from llm_server import LLMServer

COMMAND = [sys.executable, '-c', 'from instructgen.cli import main; main()']
CONTENT = ('tasks.jsonl', 'rejected.jsonl', 'sources.jsonl')


def content(folder: Path) -> dict[str, bytes]:
    "The files that must not depend on how a run went."
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted((*(folder/name for name in CONTENT), *(folder/'dataset'/'data').glob('*.parquet')))}


def make(folder: Path, **parameters) -> dict:
    "Build a dataset in a folder, and give its counts."
    config = DatasetConfig(**{'limit': 20, **parameters})
    with open_run('end_to_end', {}, out=folder) as run:
        counts = build_dataset(run, config, *gather_sources(config))
        run.finish({'tasks': counts['tasks']})
    check_funnel(folder, counts)
    return counts


@pytest.fixture(autouse=True)
def own_outputs(tmp_path, monkeypatch):
    "A ledger of each test's own."
    monkeypatch.setenv('INSTRUCTGEN_OUTPUTS', str(tmp_path/'outputs'))


def test_server_gives_the_same_tasks(tmp_path):
    make(tmp_path/'rules')
    with LLMServer(answer='rules', delay=.01, delay_to=.1) as server:
        counts = make(tmp_path/'server', llm=f'openai:test@{server.url}')
    assert (tmp_path/'rules'/'tasks.jsonl').read_bytes() == (tmp_path/'server'/'tasks.jsonl').read_bytes()
    assert (tmp_path/'rules'/'rejected.jsonl').read_bytes() == (tmp_path/'server'/'rejected.jsonl').read_bytes()
    one, other = (read_dataset(tmp_path/name) for name in ('rules', 'server'))
    assert one.drop_columns('generator').equals(other.drop_columns('generator'))
    assert counts['llm']['prompt_tokens'] > 0


@pytest.mark.parametrize('trouble', [{'refuse': .3}, {'fail': .3}, {'garbage': .3}], ids=lambda trouble: next(iter(trouble)))
def test_trouble_that_passes_changes_nothing(tmp_path, trouble):
    with LLMServer(answer='rules') as server: make(tmp_path/'calm', llm=f'openai:test@{server.url}')
    os.environ['INSTRUCTGEN_OUTPUTS'] = str(tmp_path/'other')  # another ledger, so that everything is asked again
    with LLMServer(answer='rules', **trouble) as server: counts = make(tmp_path/'storm', llm=f'openai:test@{server.url}')
    if counts['llm']['errors']: pytest.skip('a request failed at every try, which chance allows')
    for name in CONTENT: assert (tmp_path/'calm'/name).read_bytes() == (tmp_path/'storm'/name).read_bytes()


def test_cut_answers_lose_no_complete_task(tmp_path):
    with LLMServer(answer='rules', cut=1.) as server: counts = make(tmp_path/'run', llm=f'openai:test@{server.url}')
    rules = set(drops_table(tmp_path/'run').rule)
    assert counts['tasks'] > 0 and rules & {'salvaged', 'truncated'}


def test_prose_is_a_named_drop(tmp_path):
    with LLMServer(answer='text:I am sorry, I cannot do that.') as server: counts = make(tmp_path/'run', llm=f'openai:test@{server.url}')
    drops = drops_table(tmp_path/'run')
    assert counts['tasks'] == 0 and drops[drops.kind == 'answer'].rule.tolist() == ['prose']


def test_budget_stops_and_resume_finishes(tmp_path):
    with LLMServer(answer='rules') as server:
        llm = f'openai:test@{server.url}'
        whole = make(tmp_path/'whole', llm=llm)
        os.environ['INSTRUCTGEN_OUTPUTS'] = str(tmp_path/'other')
        config = DatasetConfig(limit=20, llm=llm, budget_calls=5)
        with open_run('end_to_end', {}, out=tmp_path/'run') as run: stopped = build_dataset(run, config, *gather_sources(config))
        assert 'budget of 5 calls' in stopped['stopped'] and 0 < stopped['sources_pending'] < whole['sources'] and stopped['llm']['calls'] == 5
        config = DatasetConfig(limit=20, llm=llm)
        with open_run('end_to_end', {}, out=tmp_path/'run', resume=True) as run: rest = build_dataset(run, config, *gather_sources(config))
    assert rest['llm']['hits'] == 5 and content(tmp_path/'whole') == content(tmp_path/'run')


def test_a_source_that_is_gone_leaves_nothing_behind(tmp_path):
    config = DatasetConfig(limit=20)
    cards, refused = gather_sources(config)
    with open_run('end_to_end', {}, out=tmp_path/'run') as run: build_dataset(run, config, cards, refused)
    with open_run('end_to_end', {}, out=tmp_path/'run', resume=True) as run: counts = build_dataset(run, config, cards[1:], refused)
    with open_run('end_to_end', {}, out=tmp_path/'fresh') as run: build_dataset(run, config, cards[1:], refused)
    assert content(tmp_path/'run') == content(tmp_path/'fresh') and counts['examples'] == len(read_dataset(tmp_path/'run'))


def test_a_prompt_file_of_ones_own_reaches_the_examples(tmp_path):
    own = (files('instructgen.dynosaur')/'en.yaml').read_text(encoding='utf-8').replace('"The {field} is {value}."', '"{field} = {value}"').replace('"Answers must be one of {labels}."', '"Say {labels}!"')
    (tmp_path/'own.yaml').write_text(own, encoding='utf-8')
    make(tmp_path/'run', prompts=str(tmp_path/'own.yaml'))
    rows = read_dataset(tmp_path/'run').to_pylist()
    assert any(row['instruction'].endswith('!') and ' Say ' in row['instruction'] for row in rows) and not any('must be one of' in row['instruction'] for row in rows)
    assert any(' = ' in row['input'] for row in rows) and not any(row['input'].startswith('The premise is') for row in rows)
    (tmp_path/'own.yaml').write_text(own.replace('{field} = {value}', '{field}: {value}'), encoding='utf-8')   # the prompts stay, the sentences change
    config = DatasetConfig(limit=20, prompts=str(tmp_path/'own.yaml'))
    with open_run('end_to_end', {}, out=tmp_path/'run', resume=True) as run: build_dataset(run, config, *gather_sources(config))
    make(tmp_path/'fresh', prompts=str(tmp_path/'own.yaml'))
    assert content(tmp_path/'run') == content(tmp_path/'fresh') and read_dataset(tmp_path/'run').num_rows == len(rows)


def test_processes_do_not_change_the_result(tmp_path):
    make(tmp_path/'one')
    make(tmp_path/'two', processes=2)
    assert content(tmp_path/'one') == content(tmp_path/'two')


def test_hash_seed_does_not_change_the_result(tmp_path):
    program = 'import sys; from pathlib import Path; sys.path.insert(0, sys.argv[2]); from test_end_to_end import make; make(Path(sys.argv[1]))'
    for seed in ('1', '2'):
        subprocess.run([sys.executable, '-c', program, str(tmp_path/seed), str(Path(__file__).parent)], check=True, env={**os.environ, 'PYTHONHASHSEED': seed})
    assert content(tmp_path/'1') == content(tmp_path/'2')


def test_kill_and_resume_leave_the_same_dataset(tmp_path):
    with LLMServer(answer='rules', delay=.4) as server:
        words = [*COMMAND, 'run', 'dynosaur_data', '-p', 'limit', '20', '-p', 'llm', f'openai:test@{server.url}', '-p', 'concurrency', '2']
        environment = {**os.environ, 'INSTRUCTGEN_OUTPUTS': str(tmp_path/'first')}
        done = subprocess.run([*words, '--out', tmp_path/'undisturbed'], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        asked = sum(server.counts.requests.values())
        environment = {**os.environ, 'INSTRUCTGEN_OUTPUTS': str(tmp_path/'second')}
        process = subprocess.Popen([*words, '--out', tmp_path/'killed'], env=environment, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while sum(server.counts.requests.values()) < asked + asked // 2: time.sleep(.02)
        os.killpg(process.pid, signal.SIGKILL)
        subprocess.run(['pkill', '-KILL', '-f', str(tmp_path/'killed')], check=False)
        process.wait()
        assert not (tmp_path/'killed'/'manifest.json').exists()
        time.sleep(2)  # the kernel notices that its parent is gone
        before = sum(server.counts.requests.values())
        done = subprocess.run([*COMMAND, 'run', 'dynosaur_data', '--out', tmp_path/'killed', '--resume'], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert sum(server.counts.requests.values()) - before <= asked - asked // 2 + 2 + 2  # what was left, and at most what was in flight twice
    assert content(tmp_path/'undisturbed') == content(tmp_path/'killed')
    assert read_manifest(tmp_path/'killed')['status'] == 'complete'


def test_hub_query_is_pinned_and_resumed(tmp_path, monkeypatch):
    rows = ''.join(json.dumps({'review': f'Review {number} tells of {number} long evenings.', 'sentiment': ('good', 'bad')[number % 2]}) + '\n' for number in range(60))
    card = '---\nlicense: mit\nlanguage: en\n---\n### Dataset Summary\nFilm reviews with their sentiment.\n'
    repositories = {name: repository(card, {'data/train.jsonl': rows}, tags=['language:en'], downloads=3) for name in ('me/one', 'me/two')}
    with HubServer(repositories) as server:
        monkeypatch.setenv('HF_ENDPOINT', server.address)
        config = DatasetConfig(sources='hub:?language=en&limit=10')
        with open_run('end_to_end', {}, out=tmp_path/'run') as run:
            counts = build_dataset(run, config, *gather_sources(config, run.folder))
            run.finish({'examples': counts['examples']})
        assert counts['sources'] == 2 and counts['examples'] > 0
        repositories['me/three'] = repository(card, {'data/train.jsonl': rows}, tags=['language:en'], downloads=3)  # the hub goes on growing; the run keeps its list
        first = content(tmp_path/'run')
        with open_run('end_to_end', {}, out=tmp_path/'run', resume=True) as run: again = build_dataset(run, config, *gather_sources(config, run.folder))
        assert again['sources'] == 2 and again['buckets_written'] == 0 and content(tmp_path/'run') == first
    assert set(read_dataset(tmp_path/'run')['revision'].unique().to_pylist()) == {'a' * 40}


@pytest.mark.parametrize('behaviour, parameters, status', [
    ({'answer': 'text:I am sorry, I cannot do that.'}, {}, 'complete'), ({'fail': 1.}, {'timeout': 5}, 'partial'), ({'garbage': 1.}, {'timeout': 5}, 'partial'),
    ({'answer': 'rules'}, {'budget_calls': 1}, 'stopped'), ({'answer': 'rules'}, {'budget_tokens': 100}, 'stopped')], ids=('prose', 'fail', 'garbage', 'one call', 'few tokens'))
def test_report_is_made_whatever_the_server_does(tmp_path, behaviour, parameters, status):
    with LLMServer(**behaviour) as server: folder = run_report('dynosaur_data', out=str(tmp_path/'run'), limit=5, llm=f'openai:test@{server.url}', **parameters)
    manifest = read_manifest(folder)
    assert manifest['status'] == status and manifest['counts']['examples'] == 0
    assert 'made no example' in (folder/'report.html').read_text() and (folder/'rejected.jsonl').stat().st_size > 0


def test_one_budget_for_tasks_and_selection(tmp_path):
    with LLMServer(answer='rules') as server:
        folder = run_report('dynosaur_data', out=str(tmp_path/'run'), limit=5, llm=f'openai:test@{server.url}', budget_calls=17, select='super_ni')
        assert sum(server.counts.requests.values()) <= 17
    manifest = read_manifest(folder)
    assert manifest['status'] == 'stopped' and manifest['llm']['calls'] == 17
    assert {json.loads(line)['rule'] for line in (folder/'selection_super_ni'/'rejected.jsonl').read_text().split('\n') if line} >= {'budget'}


def test_resume_from_another_directory_finds_the_ledger(tmp_path, monkeypatch):
    monkeypatch.delenv('INSTRUCTGEN_OUTPUTS')
    for name in ('here', 'there'): (tmp_path/name).mkdir()
    with LLMServer(answer='rules') as server:
        monkeypatch.chdir(tmp_path/'here')
        first = run_report('dynosaur_data', out=str(tmp_path/'place'/'run'), limit=5, llm=f'openai:test@{server.url}', budget_calls=5)
        asked = sum(server.counts.requests.values())
        monkeypatch.chdir(tmp_path/'there')
        run_report('dynosaur_data', out=str(first), resume=True, budget_calls='')
    assert asked == 5 and max(server.counts.requests.values()) == 1 and (tmp_path/'place'/'llm.sqlite').exists()
