"""What goes to the hub, what does not, and what a refusal says: against a stand-in of its HTTP API on loopback."""
import json
import logging
import re
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from instructgen.dataset_card import write_card, write_provenance
from instructgen.push import PushPlan, explain_refusal, plan_push, push_folder, sharing_barrier
from instructgen.records import EXAMPLE_SCHEMA, Example, SourceCard, to_json
from push_server import Hub

SOURCES = {'films': ('mit', 4), 'essays': ('cc-by-nd-4.0', 2), 'songs': ('', 3), 'notes': ('own', 1), 'maps': ('odbl', 5)}


def make_run(folder: Path, names=tuple(SOURCES), parameters=None, status='complete') -> Path:
    "A run with two Parquet files and a card, of the sources named."
    for file, part in (('train-03', names[::2]), ('train-41', names[1::2])):
        rows = [asdict(Example(f'{name}-{row}', 'Answer the question.', f'text {row} | x', 'yes', task_id=name, source=name, config='default', split='train',
                               row=row, revision='0f', license=SOURCES[name][0], url=f'https://example.org/{name}', generator='rules'))
                for name in part for row in range(SOURCES[name][1])]
        (folder / 'dataset/data').mkdir(parents=True, exist_ok=True)
        if rows: pq.write_table(pa.Table.from_pylist(rows, schema=EXAMPLE_SCHEMA), folder / f'dataset/data/{file}.parquet', compression='zstd')
    (folder / 'run.json').write_text(json.dumps({'report': 'dynosaur_data', 'parameters': {'seed': 0, **(parameters or {})}}))
    (folder / 'manifest.json').write_text(json.dumps({'status': status, 'counts': {'sources': len(names), 'examples': 15}}))
    (folder / 'sources.jsonl').write_text(to_json(SourceCard('films', summary='Film reviews.', languages=('en',))) + '\n')
    write_card(folder)
    write_provenance(folder)
    return folder


@pytest.fixture
def hub(monkeypatch):
    from huggingface_hub import constants, utils
    from huggingface_hub.utils import _http
    monkeypatch.setattr(constants, 'HF_HUB_DISABLE_XET', True)                  # the stand-in speaks LFS, and Xet is a protocol of its own
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', False)
    monkeypatch.setattr(_http.time, 'sleep', lambda seconds: None)              # retries of the library wait up to half a minute
    monkeypatch.setenv('HF_TOKEN', 'hf_right')
    utils.disable_progress_bars()
    with Hub() as server: yield server


def test_upload_is_the_dataset_byte_for_byte(tmp_path, hub):
    run, told = make_run(tmp_path / 'run', ('films', 'maps')), []
    address = push_folder(run, 'ann/films', hub.endpoint, tell=told.append)
    files = hub.repositories['ann/films']['files']
    assert address == f'{hub.endpoint}/datasets/ann/films'
    assert set(files) == {'README.md', 'provenance.csv', 'data/train-03.parquet', 'data/train-41.parquet'}
    for name in ('README.md', 'data/train-03.parquet', 'data/train-41.parquet'): assert files[name] == (run / 'dataset' / name).read_bytes(), name
    assert files['provenance.csv'] == (run / 'provenance.csv').read_bytes()
    assert hub.repositories['ann/films']['commits'] == ['9 examples from 2 sources']
    assert told == [f'9 examples from 2 sources to {hub.endpoint}/datasets/ann/films (public)']


def test_plan_is_told_before_the_first_request(tmp_path, hub):
    run, order = make_run(tmp_path / 'run', ('films',)), []
    push_folder(run, 'ann/films', hub.endpoint, tell=lambda text: order.append(len(hub.requests)))
    assert order == [0] and len(hub.requests) > 3


def test_uploaded_dataset_loads(tmp_path, hub):
    from datasets import load_dataset
    push_folder(make_run(tmp_path / 'run'), 'ann/films', hub.endpoint, drop=True)
    for name, content in hub.repositories['ann/films']['files'].items():
        (tmp_path / 'clone' / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / 'clone' / name).write_bytes(content)
    loaded = load_dataset(str(tmp_path / 'clone'), cache_dir=str(tmp_path / 'cache'))
    assert sorted(set(loaded['train']['source'])) == ['films', 'maps'] and len(loaded['train']) == 9


@pytest.mark.parametrize('name, why', [('essays', 'forbids derived work (cc-by-nd-4.0)'), ('songs', 'names no licence'), ('notes', "has the licence 'own'")])
def test_what_may_not_be_passed_on_is_refused_and_nothing_sent(tmp_path, hub, name, why):
    run = make_run(tmp_path / 'run', ('films', name))
    with pytest.raises(PermissionError) as caught: push_folder(run, 'ann/films', hub.endpoint)
    assert 'nothing was sent' in str(caught.value) and f'{name}/default/train: {SOURCES[name][1]} rows; the source {why}' in str(caught.value)
    assert '--drop' in str(caught.value) and 'films/' not in str(caught.value)
    assert hub.requests == []


def test_drop_leaves_those_sources_out_everywhere(tmp_path, hub):
    run = make_run(tmp_path / 'run')
    before = {path: path.read_bytes() for path in run.rglob('*') if path.is_file()}
    push_folder(run, 'ann/films', hub.endpoint, drop=True)
    files = hub.repositories['ann/films']['files']
    rows = [row for name, content in files.items() if name.endswith('.parquet') for row in pq.read_table(pa.BufferReader(content)).to_pylist()]
    assert {row['source'] for row in rows} == {'films', 'maps'} and len(rows) == 9
    assert pq.read_table(pa.BufferReader(files['data/train-03.parquet'])).schema.names == EXAMPLE_SCHEMA.names
    card = files['README.md'].decode()
    assert 'essays' not in card and 'songs' not in card and '9 examples' in card and '| not published, for their licence | 6 |' in card
    assert '- en\n' in card.split('---\n')[1] and 'Film reviews.' in card        # from the run's sources.jsonl
    assert 'essays' not in files['provenance.csv'].decode()
    assert {path: path.read_bytes() for path in run.rglob('*') if path.is_file()} == before  # the run itself is untouched


def test_drop_of_everything_sends_nothing(tmp_path, hub):
    with pytest.raises(PermissionError, match='no row of the dataset may be passed on'):
        push_folder(make_run(tmp_path / 'run', ('essays',)), 'ann/films', hub.endpoint, drop=True)
    assert hub.requests == []


def test_own_data_goes_on_its_owners_word(tmp_path, hub):
    run = make_run(tmp_path / 'run', ('films', 'notes'), {'license': 'own'})
    push_folder(run, 'ann/films', hub.endpoint)
    assert len(hub.repositories['ann/films']['commits']) == 1


def test_a_new_version_removes_files_that_are_gone(tmp_path, hub):
    run = make_run(tmp_path / 'run', ('films', 'maps'))
    push_folder(run, 'ann/films', hub.endpoint)
    (run / 'dataset/data/train-41.parquet').unlink()
    push_folder(run, 'ann/films', hub.endpoint)
    assert set(hub.repositories['ann/films']['files']) == {'README.md', 'provenance.csv', 'data/train-03.parquet'}
    assert len(hub.repositories['ann/films']['commits']) == 2


def test_private_makes_a_private_repository_and_refuses_a_public_one(tmp_path, hub):
    run = make_run(tmp_path / 'run', ('films',))
    push_folder(run, 'ann/secret', hub.endpoint, private=True)
    assert hub.repositories['ann/secret']['private'] is True
    push_folder(run, 'ann/open', hub.endpoint)
    with pytest.raises(FileExistsError, match='exists and is public, and private was asked for'): push_folder(run, 'ann/open', hub.endpoint, private=True)
    assert len(hub.repositories['ann/open']['commits']) == 1


def test_dry_run_sends_nothing_and_needs_no_token(tmp_path, hub, monkeypatch):
    monkeypatch.delenv('HF_TOKEN')
    assert push_folder(make_run(tmp_path / 'run', ('films',)), 'ann/films', hub.endpoint, dry_run=True).endswith('/datasets/ann/films')
    assert hub.requests == []


def test_no_token_is_said_before_any_request(tmp_path, hub, monkeypatch):
    import huggingface_hub
    monkeypatch.setattr(huggingface_hub, 'get_token', lambda: None)
    with pytest.raises(PermissionError, match='set HF_TOKEN'): push_folder(make_run(tmp_path / 'run', ('films',)), 'ann/films', hub.endpoint)
    assert hub.requests == []


REFUSALS = [('/api/repos/create', 401, PermissionError, 'refused the token (401)'), ('/api/repos/create', 403, PermissionError, "write access to 'ann'"),
            ('/api/repos/create', 500, ConnectionError, 'failed (500)'), ('/commit/', 401, PermissionError, 'refused the token (401)'),
            ('/commit/', 403, PermissionError, 'may not write to ann/films (403)'), ('/commit/', 409, RuntimeError, 'push again'),
            ('/commit/', 412, RuntimeError, 'push again'), ('/commit/', 500, ConnectionError, 'push again later'), ('/preupload/', 429, ConnectionError, '(429)'),
            ('/lfs/', 500, ConnectionError, 'failed (500)'), ('/objects/batch', 403, PermissionError, '(403)'), ('/commit/', 400, ValueError, 'refused the dataset (400)')]


@pytest.mark.parametrize('part, status, kind, message', REFUSALS)
def test_refusals_are_one_clear_line_without_the_token(tmp_path, hub, caplog, part, status, kind, message):
    caplog.set_level(logging.INFO)                                               # at DEBUG the HTTP library shows what the server says
    hub.fail(part, status, message='quoting hf_right back')
    with pytest.raises(kind) as caught: push_folder(make_run(tmp_path / 'run', ('films',)), 'ann/films', hub.endpoint)
    assert type(caught.value) is kind and message in str(caught.value) and '\n' not in str(caught.value)
    assert 'hf_right' not in str(caught.value) and 'hf_right' not in caplog.text
    assert caught.value.__cause__ is None and caught.value.__suppress_context__                # the library's page of text is not shown
    assert all(not repository['commits'] for repository in hub.repositories.values())


def test_a_passing_failure_is_tried_again(tmp_path, hub):
    hub.fail('/preupload/', 503, times=2)
    push_folder(make_run(tmp_path / 'run', ('films',)), 'ann/films', hub.endpoint)
    assert len(hub.repositories['ann/films']['commits']) == 1


def test_wrong_token_and_foreign_owner(tmp_path, hub):
    run = make_run(tmp_path / 'run', ('films',))
    with pytest.raises(PermissionError, match=r'refused the token \(401\)') as caught: push_folder(run, 'ann/films', hub.endpoint, token='hf_wrong_token')
    assert 'hf_wrong_token' not in str(caught.value)
    with pytest.raises(PermissionError, match="write access to 'bob'"): push_folder(run, 'bob/films', hub.endpoint)


def test_no_hub_there(tmp_path, hub):
    hub.server.server_close()
    with pytest.raises(ConnectionError, match='was not reached, push again later'):
        push_folder(make_run(tmp_path / 'run', ('films',)), 'ann/films', 'http://127.0.0.1:9')


def test_header_that_the_hub_refuses_is_named(tmp_path, hub):
    run = make_run(tmp_path / 'run', ('films',))
    (run / 'dataset/README.md').write_text('---\nlicense: [mit, mit]\n---\n')
    with pytest.raises(ValueError, match='"license" is not allowed'): push_folder(run, 'ann/films', hub.endpoint)


@pytest.mark.parametrize('status', ['failed', 'interrupted'])
def test_a_run_that_is_not_complete_stays(tmp_path, hub, status):
    run = make_run(tmp_path / 'run', ('films',), status=status)
    if status == 'interrupted': (run / 'manifest.json').unlink()
    with pytest.raises(ValueError, match=f'is {status}'): push_folder(run, 'ann/films', hub.endpoint)
    assert hub.requests == []


def test_a_run_that_stopped_at_its_budget_may_go(tmp_path, hub):
    push_folder(make_run(tmp_path / 'run', ('films',), status='stopped'), 'ann/films', hub.endpoint)
    assert len(hub.repositories['ann/films']['commits']) == 1


def test_a_run_that_is_being_written_stays(tmp_path):
    from instructgen.store import open_run
    with open_run('dynosaur_data', {'seed': 0}, tmp_path / 'run'):
        with pytest.raises(BlockingIOError, match='is being written'): plan_push(tmp_path / 'run', 'ann/films')


@pytest.mark.parametrize('repo', ['films', 'ann/films/more', '/films', 'ann/', 'ann/fi lms', 'ann/../x', ''])
def test_repository_names(tmp_path, repo):
    with pytest.raises(ValueError, match='want OWNER/NAME'): plan_push(tmp_path, repo)


@pytest.mark.parametrize('endpoint', ['ftp://hub', 'hub.example', 'https://ann:hf_secret@hub.example', 'https://'])
def test_endpoints(tmp_path, endpoint):
    with pytest.raises(ValueError, match='endpoint is no address') as caught: plan_push(tmp_path, 'ann/films', endpoint)
    assert 'hf_secret' not in str(caught.value)


@given(st.lists(st.sampled_from(['mit', 'cc-by-4.0', 'cc-by-nc-sa-4.0', 'cc-by-nd-4.0', 'unknown', 'other', 'cc', 'own', 'gpl-3.0', 'whatever-1.0']), max_size=4))
def test_one_bad_licence_is_enough(ids):
    good = {'mit', 'cc-by-4.0', 'cc-by-nc-sa-4.0', 'gpl-3.0'}
    assert (sharing_barrier(' '.join(ids)) == '') == bool(ids and set(ids) <= good)
    assert sharing_barrier(' '.join(ids).upper()) == sharing_barrier(' '.join(ids))


@given(st.from_regex(r'hf_[A-Za-z0-9]{8,40}', fullmatch=True))
def test_token_is_taken_out_of_any_error(token):
    plan = PushPlan('ann/x', 'https://hub.example', False, 1, 1)
    said = str(explain_refusal(OSError(f'failed with {token} here'), plan, token))
    assert said == 'hub.example was not reached, push again later: failed with [hidden] here'


def test_real_licences(shared_data):
    "Of the licences that real cards name, the open ones pass and `unknown`, `other` and ND do not."
    text = '\n'.join(path.read_text('utf-8', 'replace') for path in sorted((shared_data / 'cards').glob('*/README.md')))
    found = {item for block in re.findall(r'(?m)^licenses?:\n((?:- .*\n)+)', text) for item in re.findall(r'(?m)^- ([\w.-]+)$', block)}
    held = {license for license in found if sharing_barrier(license)}
    assert len(found) > 15 and held == {license for license in found if license in ('unknown', 'other') or '-nd' in license}
