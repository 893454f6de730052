"""A grown dataset equals one run over everything, costs its new prompts only, and leaves the older version whole."""
import csv
import json
import os
import random
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import instructgen
from instructgen.dataset_card import write_card, write_provenance
from instructgen.dynosaur import dataset as dataset_module
from instructgen.dynosaur.config import DatasetConfig, gather_sources
from instructgen.dynosaur.dataset import build_dataset, estimate_dataset
from instructgen.dynosaur.growth import plan_growth, read_entries, settle_changes
from instructgen.dynosaur.prompts import load_prompts
from instructgen.dynosaur.tables import check_funnel
from instructgen.hub import STEPS_TRIED, tell_unreached, wait_for
from instructgen.locks import GROWING, LOCKED
from instructgen.push import plan_push, push_folder, stage_dataset
from instructgen.records import Rejected, SourceCard, read_records
from instructgen.report import run_report
from instructgen.run_llm import open_model
from instructgen.sources import demo_folder
from instructgen.store import bucket_of, bucket_path, open_run, read_dataset, read_manifest
from instructgen.versions import GrowthPolicy, chain_start, read_marks, read_version
from hub_server import HubServer, repository
from killing import killed_at
from llm_server import LLMServer

LISTS = ('tasks.jsonl', 'rejected.jsonl', 'sources.jsonl')


@pytest.fixture(autouse=True)
def own_outputs(tmp_path, monkeypatch):
    "A ledger of each test's own."
    monkeypatch.setenv('INSTRUCTGEN_OUTPUTS', str(tmp_path/'outputs'))


def content(folder: Path) -> dict[str, bytes]:
    "The files that must not depend on how a version came about, indexes of the buckets included; without the lines about what a step did not find any more."
    def read(path: Path) -> bytes: return path.read_bytes() if path.name != 'rejected.jsonl' else b''.join(line for line in path.read_bytes().splitlines(keepends=True) if json.loads(line)['rule'] != 'gone')
    return {path.relative_to(folder).as_posix(): read(path) for path in (*(folder/name for name in LISTS), *sorted(folder.glob('dataset/data/*')), *sorted(folder.glob('parts/*')))}


def state(folder: Path) -> dict[str, tuple]:
    "Bytes and times of every file but the locks."
    return {path.relative_to(folder).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns) for path in sorted(folder.rglob('*')) if path.is_file() and path.name not in (GROWING, LOCKED)}


def make(folder: Path, sources: Path | str, previous: Path | str = '', resume: bool = False, listing: str = 'all', gone: str = 'drop', most_gone: float = .5, **parameters) -> dict:
    "Make a version, grown from another or not, and give its counts with the changes."
    config, prompts = DatasetConfig(**{'sources': str(sources), 'limit': 5, **parameters}), load_prompts('en')
    with open_run('dynosaur_data', {}, out=folder, previous=previous, resume=resume) as run, open_model(config, chain_start(folder)) as llm:
        before = read_version(run.settings['parent']) if run.settings.get('previous_manifest') else None
        cards, refused = gather_sources(config, run.folder, empty=bool(before), waiting=wait_for(before.unreached, before.folder) if before else ())
        plan = plan_growth(cards, refused, config, prompts, llm, before, GrowthPolicy(listing, gone, most_gone), '2026-11-28')
        counts = build_dataset(run, config, cards, refused, llm, plan)
        run.finish({name: value for name, value in counts.items() if isinstance(value, int)}, 'stopped' if counts['stopped'] else 'partial' if counts['llm']['errors'] else 'complete', growth=counts['growth'])
    check_funnel(Path(folder), counts)
    return {**counts, 'changes': {change.name: change for change in settle_changes(plan, folder)}}


def whats(counts: dict) -> dict[str, str]: return {name: change.what for name, change in counts['changes'].items() if change.what != 'unchanged'}


def sources_of(folder: Path) -> set[str]: return set(read_dataset(folder)['source'].unique().to_pylist())


def write_source(place: Path, name: str, rows: int = 12, license: str = 'mit', words: str = 'reviews') -> Path:
    "A small source with two splits, of which the first row of the first split has gaps."
    folder = place/name
    (folder/'data').mkdir(parents=True, exist_ok=True)
    (folder/'README.md').write_text(f'---\nlicense: {license}\nlanguage: en\n---\n# {name}\n### Dataset Summary\nFilm {words} about {name} with their sentiment.\n')
    def row(number: int, split: str) -> str: return json.dumps({'review': f'This one of the {words} is number {number} of {name} ({split}) and tells of {number} long evenings.' if number else None, 'sentiment': ('good', 'bad')[number % 2]}) + '\n'
    for split, count in (('train', rows), ('test', 3)): (folder/'data'/f'{split}.jsonl').write_text(''.join(row(number, split) for number in range(count)))
    return folder


def write_sources(place: Path, count: int = 6) -> Path:
    for number in range(count): write_source(place, f'set_{number}')
    return place


def edit_card(folder: Path, old: str, new: str) -> None:
    text = (folder/'README.md').read_text()
    assert old in text
    (folder/'README.md').write_text(text.replace(old, new))


# ---------------------------------------------------------------- grown is the same as made at once

def grow_three(tmp_path: Path, groups: list[list[Path]], **parameters) -> list[dict]:
    "Three versions through a server, each checked for its calls; the third is compared with one run over everything."
    place, done = tmp_path/'sources', []
    place.mkdir()
    with LLMServer(answer='rules') as server:
        llm = f'openai:test@{server.url}'
        for number, group in enumerate(groups, 1):
            for folder in group: (place/folder.name).symlink_to(folder)
            asked = dict(server.counts.requests)
            counts = make(tmp_path/f'v{number}', place, tmp_path/f'v{number - 1}' if number > 1 else '', llm=llm, **parameters)
            new = {prompt for prompt in server.counts.requests if prompt not in asked}
            assert sum(server.counts.requests.values()) - sum(asked.values()) == len(new) == counts['growth']['new_prompts'] == counts['llm']['calls']
            assert all(asked[prompt] == server.counts.requests[prompt] for prompt in asked)  # nothing is asked twice
            done.append(counts)
        whole = make(tmp_path/'whole', place, llm=llm, **parameters)                         # with the answers of the ledger, as a server need not answer the same
        assert whole['llm']['calls'] == 0
    grown, made = content(tmp_path/'v3'), content(tmp_path/'whole')
    assert grown == made, sorted(name for name in {*grown, *made} if grown.get(name) != made.get(name))
    for name in ('tasks', 'examples', 'proposed', 'sources', 'sources_found', 'sources_pending', 'inputs_cut', 'rejected_lines'): assert done[-1][name] == whole[name]
    return done


def test_three_versions_of_the_demo_equal_one_run(tmp_path):
    folders = sorted(path for path in demo_folder().iterdir() if path.is_dir() and not path.name.startswith(('.', '_')))
    first, second, third = grow_three(tmp_path, [folders[:6], folders[6:8], folders[8:]])
    assert first['growth']['came'] == first['sources'] >= 4 and second['growth']['unchanged'] == first['growth']['came'] and second['growth']['came'] >= 1
    assert second['growth']['buckets_linked'] >= 4 and second['growth']['bytes_linked'] > 0 and third['growth']['buckets_written'] <= len(folders) - 8
    assert [read_version(tmp_path/f'v{number}').number for number in (1, 2, 3)] == [1, 2, 3]
    shared = bucket_path(tmp_path/'v1', bucket_of(folders[0].name)), bucket_path(tmp_path/'v3', bucket_of(folders[0].name))
    assert shared[0].samefile(shared[1]) and not shared[0].stat().st_mode & 0o222  # linked, and not to be written to


def read_refused(folder: Path) -> set[str]:
    return {drop.id for drop in read_records(folder/'rejected.jsonl', Rejected) if drop.kind == 'source'} - set(read_entries(folder))


def test_three_versions_of_real_sources_equal_one_run(tmp_path, shared_data):
    hub, cards = (sorted(path for path in (shared_data/name).iterdir() if path.is_dir()) for name in ('hub', 'cards'))
    cards = [path for path in cards if (path/'data').is_dir()][:60]
    first, second, third = grow_three(tmp_path, [hub[:12] + cards[:30], hub[12:16] + cards[30:45], hub[16:] + cards[45:]], languages='', limit=20)
    assert first['examples'] < second['examples'] < third['examples'] and second['growth']['buckets_linked'] > 5 and third['growth']['buckets_linked'] > 5
    assert third['growth']['unchanged'] == sum(second['growth'][what] for what in ('came', 'unchanged'))


@pytest.mark.parametrize('seed', range(4))
def test_any_sequence_of_changes_ends_where_one_run_does(tmp_path, seed):
    chance, place = random.Random(seed), tmp_path/'sources'
    write_sources(place, 8)
    make(tmp_path/'v0', place)
    for step in range(1, 4):
        for _ in range(chance.randint(1, 3)):
            name = f'set_{chance.randrange(11)}'
            if (place/name).exists() and chance.random() < .3 and len(list(place.iterdir())) > 5: shutil.rmtree(place/name)
            else: write_source(place, name, chance.choice((2, 12, 15)), chance.choice(('mit', 'cc-by-4.0', 'cc-by-nd-4.0')), chance.choice(('reviews', 'letters')))
        make(tmp_path/f'v{step}', place, tmp_path/f'v{step - 1}', most_gone=1.)
    make(tmp_path/'whole', place)
    assert content(tmp_path/'v3') == content(tmp_path/'whole')


def test_processes_give_the_same_version(tmp_path):
    place = write_sources(tmp_path/'sources', 4)
    make(tmp_path/'v1', place)
    write_source(place, 'set_9')
    edit_card(place/'set_2', 'license: mit', 'license: cc-by-4.0')
    make(tmp_path/'one', place, tmp_path/'v1')
    make(tmp_path/'two', place, tmp_path/'v1', processes=2)
    assert content(tmp_path/'one') == content(tmp_path/'two')


def test_a_moved_folder_costs_nothing(tmp_path):
    make(tmp_path/'v1', write_sources(tmp_path/'sources'))
    shutil.move(tmp_path/'sources', tmp_path/'elsewhere')
    counts = make(tmp_path/'v2', tmp_path/'elsewhere', tmp_path/'v1')
    assert (counts['growth']['unchanged'], counts['growth']['buckets_written'], counts['llm']['calls']) == (6, 0, 0)
    assert str(tmp_path/'elsewhere') in (tmp_path/'v2'/'sources.jsonl').read_text()


# ---------------------------------------------------------------- what came, changed and went

def test_an_edited_card_and_edited_rows(tmp_path):
    place = write_sources(tmp_path/'sources')
    with LLMServer(answer='rules') as server:
        llm = f'openai:test@{server.url}'
        make(tmp_path/'v1', place, llm=llm)
        edit_card(place/'set_1', 'license: mit', 'license: cc-by-4.0')                # no word of the prompts
        edit_card(place/'set_2', 'about set_2', 'about films')                        # a word of one of them
        with open(place/'set_3'/'data'/'train.jsonl', 'a') as file: file.write('{"review": "A last review of a very long film.", "sentiment": "good"}\n')
        counts = make(tmp_path/'v2', place, tmp_path/'v1', llm=llm)
        make(tmp_path/'whole', place, llm=llm)
    assert whats(counts) == {'set_1': 'changed', 'set_2': 'changed', 'set_3': 'changed'} and counts['growth']['new_prompts'] == counts['llm']['calls'] == 1
    assert 'licence mit -> cc-by-4.0' in counts['changes']['set_1'].why and counts['changes']['set_3'].why.startswith('revision ')
    rows = read_dataset(tmp_path/'v2').to_pylist()
    assert {row['license'] for row in rows if row['source'] == 'set_1'} == {'cc-by-4.0'} and {row['license'] for row in rows if row['source'] != 'set_1'} == {'mit'}
    assert content(tmp_path/'v2') == content(tmp_path/'whole')


@pytest.mark.parametrize('gone', ['drop', 'keep'])
def test_a_licence_that_is_denied_now(tmp_path, gone):
    place = write_sources(tmp_path/'sources')
    first = make(tmp_path/'v1', place)
    edit_card(place/'set_4', 'license: mit', 'license: cc-by-nd-4.0')
    counts = make(tmp_path/'v2', place, tmp_path/'v1', gone=gone)
    change, cards = counts['changes']['set_4'], {card.name: card for card in read_records(tmp_path/'v2'/'sources.jsonl', SourceCard)}
    assert change.what == ('went' if gone == 'drop' else 'kept') and change.why.startswith('denied_license: ') and change.examples_before > 0
    assert ('set_4' in sources_of(tmp_path/'v2')) == (gone == 'keep') and change.examples == (change.examples_before if gone == 'keep' else 0)
    assert ('set_4' in cards) == (gone == 'keep') and counts['llm']['calls'] == 0 and counts['examples'] == first['examples'] - change.examples_before + change.examples
    if gone == 'keep':
        assert cards['set_4'].license == 'mit' and cards['set_4'].notes[-1].startswith('kept: denied_license') and 'since 2026-11-28' in cards['set_4'].notes[-1]
        assert {row['license'] for row in read_dataset(tmp_path/'v2').to_pylist()} == {'mit'}
    edit_card(place/'set_4', 'license: cc-by-nd-4.0', 'license: mit')                        # and back
    again = make(tmp_path/'v3', place, tmp_path/'v2')
    assert whats(again) == ({'set_4': 'came'} if gone == 'drop' else {}) and content(tmp_path/'v3') == content(tmp_path/'v1')


def marked(folder: Path) -> dict[str, str]:  # source -> mark in provenance.csv
    return {row['source']: row['mark'] for row in csv.DictReader(write_provenance(folder).open(newline='')) if row['mark']}


def test_what_went_has_a_line_and_a_name(tmp_path):
    place = write_sources(tmp_path/'sources')
    make(tmp_path/'v1', place)
    shutil.rmtree(place/'set_0')
    edit_card(place/'set_4', 'license: mit', 'license: cc-by-nd-4.0')
    write_source(place, 'set_7')
    counts = make(tmp_path/'v2', place, tmp_path/'v1')
    drops = {drop.id: drop for drop in read_records(tmp_path/'v2'/'rejected.jsonl', Rejected) if drop.kind == 'source'}
    assert {name: drop.rule for name, drop in drops.items()} == {'set_0': 'gone', 'set_4': 'denied_license'} and f"had {counts['changes']['set_0'].examples_before} examples" in drops['set_0'].text
    told = json.loads((tmp_path/'v2'/'version.json').read_text())['growth']
    assert told == read_manifest(tmp_path/'v2')['growth'] and [(item['name'], item['what']) for item in told['named']] == [('set_0', 'went'), ('set_4', 'went'), ('set_7', 'came')]
    assert told['named'][0]['why'] == 'no longer there' and told['named'][1]['why'].startswith('denied_license: ') and told['not_named'] == 0
    assert [json.loads(line)['name'] for line in (tmp_path/'v2'/'changes.jsonl').read_text().splitlines()] == ['set_0', 'set_4', 'set_7']
    assert 'changes.jsonl' in {entry['name'] for entry in read_manifest(tmp_path/'v2')['files']} and counts['rejected_lines'] == len((tmp_path/'v2'/'rejected.jsonl').read_text().splitlines())
    make(tmp_path/'v3', place, tmp_path/'v2')
    assert {drop.id for drop in read_records(tmp_path/'v3'/'rejected.jsonl', Rejected) if drop.kind == 'source'} == {'set_4'}
    quiet = make(tmp_path/'v4', write_sources(tmp_path/'new', 1), tmp_path/'v2', listing='new')     # nor does a listing of what is new take it over
    assert {drop.id for drop in read_records(tmp_path/'v4'/'rejected.jsonl', Rejected) if drop.kind == 'source'} == {'set_4'} and whats(quiet) == {'set_0': 'came'}


def test_a_long_list_of_names_is_cut(tmp_path):
    place = write_sources(tmp_path/'sources', 2)
    make(tmp_path/'v1', place)
    for number in range(2, 110): write_source(place, f'set_{number}', rows=2)
    growth = make(tmp_path/'v2', place, tmp_path/'v1')['growth']
    assert (growth['came'], len(growth['named']), growth['not_named']) == (108, 100, 8) and len((tmp_path/'v2'/'changes.jsonl').read_text().splitlines()) == 108


def test_what_is_kept_is_marked_and_not_passed_on_against_the_licence_of_today(tmp_path):
    place = write_sources(tmp_path/'sources')
    first = make(tmp_path/'v1', place)
    shutil.rmtree(place/'set_0')
    edit_card(place/'set_4', 'license: mit', 'license: cc-by-nd-4.0')
    edit_card(place/'set_5', 'license: mit', 'license: cc-by-4.0')
    kept = make(tmp_path/'v2', place, tmp_path/'v1', gone='keep')
    assert kept['examples'] == first['examples'] and whats(kept) == {'set_0': 'kept', 'set_4': 'kept', 'set_5': 'changed'}
    assert {mark.name: (mark.rule, mark.license, mark.license_now, mark.relicensed) for mark in read_marks(tmp_path/'v2')} == {'set_0': ('gone', 'mit', '', False), 'set_4': ('denied_license', 'mit', 'cc-by-nd-4.0', True)}
    marks = marked(tmp_path/'v2')
    assert set(marks) == {'set_0', 'set_4'} and marks['set_4'].startswith('kept, denied_license, licence mit -> cc-by-nd-4.0 (since ')
    card = write_card(tmp_path/'v2').read_text()
    assert '| set\\_4 | mit | cc-by-nd-4.0 | denied\\_license |' in card and '| set\\_0 | mit | as it was, or not known | no longer there |' in card
    plan = plan_push(tmp_path/'v2', 'ann/films')
    assert {item['source'] for item in plan.held} == {'set_4'} and all('forbids derived work (cc-by-nd-4.0) today; the rows were taken under' in item['why'] for item in plan.held)
    with pytest.raises(PermissionError, match='set_4/default/train: .* today'): push_folder(tmp_path/'v2', 'ann/films', dry_run=True)
    stage = stage_dataset(tmp_path/'v2', tmp_path/'out', plan_push(tmp_path/'v2', 'ann/films', drop=True))
    assert sources_of(stage) == {f'set_{number}' for number in (0, 1, 2, 3, 5)} and 'set\\_4' not in (stage/'README.md').read_text() and 'no longer there' in (stage/'provenance.csv').read_text()
    quiet = make(tmp_path/'v3', write_sources(tmp_path/'new', 1), tmp_path/'v2', listing='new')                 # nobody looked at set_4, so what is known holds
    assert {mark.name for mark in read_marks(tmp_path/'v3')} == {'set_4'} and whats(quiet) == {}                # set_0 is there again
    assert {item['source'] for item in plan_push(tmp_path/'v3', 'ann/films').held} == {'set_4'}
    edit_card(place/'set_4', 'license: cc-by-nd-4.0', 'license: mit')
    make(tmp_path/'v4', place, tmp_path/'v3', gone='keep')
    assert {mark.name for mark in read_marks(tmp_path/'v4')} == {'set_0'} and not plan_push(tmp_path/'v4', 'ann/films').held


def test_rows_that_wait_under_an_older_licence_are_marked(tmp_path):
    place = write_sources(tmp_path/'sources', 3)
    with LLMServer(answer='rules') as server:
        llm = f'openai:test@{server.url}'
        make(tmp_path/'v1', place, llm=llm)
        for number, license, words in (('2', 'openrail', 'letters'), ('3', 'gemma', 'poems')):
            write_source(place, 'set_1', license=license, words=words)                                  # both of its prompts are new, and one may be sent
            waiting = make(tmp_path/f'v{number}', place, tmp_path/f'v{int(number) - 1}', llm=llm, budget_calls=1)
            assert whats(waiting) == {'set_1': 'waiting'}
            mark, = read_marks(tmp_path/f'v{number}')
            assert (mark.rule, mark.license, mark.license_now) == ('waiting', 'mit', license) and {item['source'] for item in plan_push(tmp_path/f'v{number}', 'ann/films').held} == {'set_1'}
        make(tmp_path/'v4', place, tmp_path/'v3', llm=llm)
    assert read_marks(tmp_path/'v4') == [] and {row['license'] for row in read_dataset(tmp_path/'v4').to_pylist() if row['source'] == 'set_1'} == {'gemma'}


@pytest.mark.parametrize('listing, gone, what', [('all', 'drop', 'went'), ('all', 'keep', 'kept'), ('new', 'drop', 'unchanged')])
def test_a_removed_folder(tmp_path, listing, gone, what):
    place = write_sources(tmp_path/'sources')
    make(tmp_path/'v1', place)
    shutil.rmtree(place/'set_0')
    counts = make(tmp_path/'v2', place, tmp_path/'v1', listing=listing, gone=gone)
    assert counts['changes']['set_0'].what == what and ('set_0' in sources_of(tmp_path/'v2')) == (what != 'went')
    shutil.rmtree(place/'set_1')
    write_source(place, 'set_7')
    last = make(tmp_path/'v3', place, tmp_path/'v2', listing=listing, gone=gone)
    assert ('set_0' in sources_of(tmp_path/'v3')) == (what != 'went') and last['changes']['set_7'].what == 'came' and last['llm']['calls'] == 2


def test_a_place_that_lists_only_what_is_new(tmp_path):
    old, new = write_sources(tmp_path/'old'), tmp_path/'new'
    write_source(old, 'denied', license='cc-by-nd-4.0')
    make(tmp_path/'v1', old)
    for name in ('day_1', 'set_3'): write_source(new, name, words='letters')
    counts = make(tmp_path/'v2', new, tmp_path/'v1', listing='new')
    assert whats(counts) == {'day_1': 'came', 'set_3': 'changed'} and (counts['sources_found'], counts['sources']) == (8, 7)
    assert read_refused(tmp_path/'v2') == {'denied'}                                          # as it was
    quiet = tmp_path/'quiet'
    write_source(quiet, 'denied_too', license='cc-by-nd-4.0')
    counts = make(tmp_path/'v3', quiet, tmp_path/'v2', listing='new')                         # every new source is denied
    assert whats(counts) == {} and counts['growth']['buckets_linked'] >= 6 and read_refused(tmp_path/'v3') == {'denied', 'denied_too'}
    assert {name: data for name, data in content(tmp_path/'v3').items() if name.startswith('dataset')} == {name: data for name, data in content(tmp_path/'v2').items() if name.startswith('dataset')}


def test_an_empty_place_does_not_empty_the_dataset(tmp_path):
    place = write_sources(tmp_path/'sources')
    make(tmp_path/'v1', place)
    for number in range(4): shutil.rmtree(place/f'set_{number}')
    with pytest.raises(ValueError, match='4 of 6 sources are gone from .*set most_gone to 0.67 or more'): make(tmp_path/'v2', place, tmp_path/'v1')
    assert make(tmp_path/'v3', place, tmp_path/'v1', most_gone=.7)['growth']['went'] == 4


def test_trouble_is_not_taken_for_absence(tmp_path, monkeypatch):
    place = write_sources(tmp_path/'sources')
    make(tmp_path/'v1', place)
    shutil.move(place/'set_0', tmp_path/'set_0')
    (place/'set_0').symlink_to(tmp_path/'not_mounted')
    edit_card(place/'set_1', 'license: mit', 'license: cc-by-4.0')
    right = dataset_module.read_table
    def broken(card, split, *rest):
        if card.name == 'set_1': raise OSError('the network is down')
        return right(card, split, *rest)
    monkeypatch.setattr(dataset_module, 'read_table', broken)
    counts = make(tmp_path/'v2', place, tmp_path/'v1')
    assert whats(counts) == {'set_0': 'kept', 'set_1': 'kept'} and 'the network is down' in counts['changes']['set_1'].why
    assert read_dataset(tmp_path/'v2').equals(read_dataset(tmp_path/'v1'))
    notes = {card.name: card.notes for card in read_records(tmp_path/'v2'/'sources.jsonl', SourceCard)}
    assert notes['set_0'][-1].startswith('kept: unreadable: a link to') and notes['set_1'][-1].startswith('kept: ')
    monkeypatch.undo()
    monkeypatch.setenv('INSTRUCTGEN_OUTPUTS', str(tmp_path/'outputs'))
    (place/'set_0').unlink()
    shutil.move(tmp_path/'set_0', place/'set_0')
    assert whats(make(tmp_path/'v3', place, tmp_path/'v2')) == {'set_1': 'changed'}
    make(tmp_path/'whole', place)
    assert content(tmp_path/'v3') == content(tmp_path/'whole')


def test_what_was_taken_out_for_good_does_not_come_back(tmp_path):
    place = write_sources(tmp_path/'sources')
    config = DatasetConfig(sources=str(place), limit=5)
    make(tmp_path/'v1', place)
    before, (cards, refused) = read_version(tmp_path/'v1'), gather_sources(config)
    with open_model(config) as llm: plan = plan_growth(cards, refused, config, load_prompts('en'), llm, replace(before, dropped={'set_5': '2026-11-28'}))
    assert [(drop.id, drop.rule) for drop in plan.refused] == [('set_5', 'dropped')] and {change.name: change.what for change in plan.changes}['set_5'] == 'went'
    assert 'set_5' not in plan.carried and plan.ask == ()


# ---------------------------------------------------------------- budgets, failures, rules

def test_a_day_that_ran_out_of_budget(tmp_path):
    place = write_sources(tmp_path/'sources', 3)
    with LLMServer(answer='rules') as server:
        llm = f'openai:test@{server.url}'
        make(tmp_path/'v1', place, llm=llm)
        for number in range(3, 6): write_source(place, f'set_{number}')
        edit_card(place/'set_1', 'about set_1', 'about films')
        short = make(tmp_path/'v2', place, tmp_path/'v1', llm=llm, budget_calls=3)
        assert short['stopped'] and short['sources_pending'] == short['growth']['waiting'] >= 2 and short['llm']['calls'] == short['growth']['new_prompts'] == 3
        waiting = {name for name, what in whats(short).items() if what == 'waiting'}
        if 'set_1' in waiting: assert short['changes']['set_1'].examples == short['changes']['set_1'].examples_before > 0
        (new := tmp_path/'new').mkdir()
        (new/'set_0').symlink_to(place/'set_0')                                               # the others are not listed any more
        rest = make(tmp_path/'v3', new, tmp_path/'v2', listing='new', llm=llm, budget_calls=1)
        assert rest['llm']['calls'] == 1
        last = make(tmp_path/'v4', new, tmp_path/'v3', listing='new', llm=llm)
        assert not last['stopped'] and set(whats(last)) <= waiting and short['llm']['calls'] + rest['llm']['calls'] + last['llm']['calls'] == 7
        make(tmp_path/'whole', place, llm=llm)
    assert content(tmp_path/'v4') == content(tmp_path/'whole')


def test_failed_calls_are_asked_again_by_the_next_version(tmp_path):
    place = write_sources(tmp_path/'sources', 3)
    with LLMServer(answer='rules') as server:
        llm = f'openai:test@{server.url}'
        make(tmp_path/'v1', place, llm=llm)
        write_source(place, 'set_8', words='[faults: long ok] letters')
        write_source(place, 'set_9')
        partial = make(tmp_path/'v2', place, tmp_path/'v1', llm=llm)
        entry = read_entries(tmp_path/'v2')['set_8']
        assert partial['llm']['errors'] and entry['missing'] > 0 and whats(partial) == {'set_8': 'came', 'set_9': 'came'}
        again = make(tmp_path/'v3', place, tmp_path/'v2', llm=llm)
        make(tmp_path/'whole', place, llm=llm)
    assert whats(again) == {'set_8': 'changed'} and 'failed' in again['changes']['set_8'].why and read_entries(tmp_path/'v3')['set_8']['missing'] == 0
    assert content(tmp_path/'v3') == content(tmp_path/'whole')


def test_other_rules_are_refused_before_anything_is_asked(tmp_path):
    place = write_sources(tmp_path/'sources', 3)
    with LLMServer(answer='rules') as server:
        llm = f'openai:test@{server.url}'
        make(tmp_path/'v1', place, llm=llm)
        asked, before = sum(server.counts.requests.values()), state(tmp_path/'v1')
        write_source(place, 'set_9')
        for other, named in (({'rules': 'published'}, 'rules published'), ({'seed': 1, 'limit': 7}, 'limit 7, seed 1'), ({'languages': 'de'}, 'policy.languages'), ({'temperature': .5}, 'sampling.temperature 0.5'),
                             ({'llm': f'openai:other@{server.url}'}, 'generator openai:other')):
            with pytest.raises(ValueError, match=f'v1 was made with .*this run asks for .*{named}.*a version keeps the rules'): make(tmp_path/'v2', place, tmp_path/'v1', **{'llm': llm, **other})
            shutil.rmtree(tmp_path/'v2')
        make(tmp_path/'v3', place, tmp_path/'v1', llm=llm, settings='unaware,aware', concurrency=2, timeout=60)  # these may differ
        assert sum(server.counts.requests.values()) == asked + 2
    assert state(tmp_path/'v1') == before


@pytest.mark.parametrize('name', ['dataset/data/*.parquet', 'parts/*.jsonl', 'sources.jsonl'])
def test_a_version_that_was_edited_by_hand_is_refused(tmp_path, name):
    place = write_sources(tmp_path/'sources', 3)
    make(tmp_path/'v1', place)
    path = sorted((tmp_path/'v1').glob(name))[0]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(ValueError, match=f'{path.name} is not the file that the run wrote .another hash'): make(tmp_path/'v2', place, tmp_path/'v1')
    assert not (tmp_path/'v2'/'tasks.jsonl').exists()


def test_another_version_of_the_package_works_everything_through_again(tmp_path, monkeypatch):
    place = write_sources(tmp_path/'sources', 3)
    with LLMServer(answer='rules') as server:
        llm = f'openai:test@{server.url}'
        make(tmp_path/'v1', place, llm=llm)
        monkeypatch.setattr(instructgen, '__version__', '99.0')
        counts = make(tmp_path/'v2', place, tmp_path/'v1', llm=llm)
        assert sum(server.counts.requests.values()) == 6
    assert set(whats(counts).values()) == {'changed'} and counts['growth']['buckets_linked'] == counts['growth']['new_prompts'] == 0
    assert 'of the package' in counts['changes']['set_0'].why and read_dataset(tmp_path/'v1').equals(read_dataset(tmp_path/'v2'))


def test_the_ledger_is_that_of_the_first_version(tmp_path, monkeypatch):
    monkeypatch.delenv('INSTRUCTGEN_OUTPUTS')
    place = write_sources(tmp_path/'sources', 3)
    with LLMServer(answer='rules') as server:
        llm = f'openai:test@{server.url}'
        make(tmp_path/'a'/'v1', place, llm=llm)
        edit_card(place/'set_0', 'license: mit', 'license: cc-by-4.0')
        make(tmp_path/'b'/'v2', place, tmp_path/'a'/'v1', llm=llm)
        edit_card(place/'set_0', 'license: cc-by-4.0', 'license: cc0-1.0')
        make(tmp_path/'c'/'v3', place, tmp_path/'b'/'v2', llm=llm)
        assert sum(server.counts.requests.values()) == 6
    assert not (tmp_path/'b'/'llm.sqlite').exists() and not (tmp_path/'c'/'llm.sqlite').exists()


def test_the_estimate_counts_only_what_is_new(tmp_path):
    place = write_sources(tmp_path/'sources', 3)
    with LLMServer(answer='rules') as server:
        given = {'sources': str(place), 'limit': 5, 'llm': f'openai:test@{server.url}'}
        make(tmp_path/'v1', place, llm=given['llm'])
        write_source(place, 'set_9')
        before = state(tmp_path/'v1')
        shown = estimate_dataset({**given, 'previous': str(tmp_path/'v1')})
        assert (shown['sources'], shown['calls to send'], shown['answers in the ledger']) == (4, 2, 0) and '3 unchanged' in shown['since then']
        assert sum(server.counts.requests.values()) == 6
    assert state(tmp_path/'v1') == before


# ---------------------------------------------------------------- two at once, and kill -9

def test_two_growers_and_a_grower_against_a_resume(tmp_path):
    place = write_sources(tmp_path/'sources', 3)
    make(tmp_path/'v1', place)
    with open_run('dynosaur_data', {}, tmp_path/'v2', previous=tmp_path/'v1'):
        with pytest.raises(BlockingIOError, match=f'grown from {tmp_path}/v1 already .*into {tmp_path}/v2'): make(tmp_path/'v3', place, tmp_path/'v1')
        assert not (tmp_path/'v3'/'run.json').exists()
        with pytest.raises(BlockingIOError, match='is being grown from'): make(tmp_path/'v1', place, resume=True)
    assert make(tmp_path/'v3', place, tmp_path/'v1')['growth']['unchanged'] == 3


KILLED = r'''
import os, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
import instructgen.client, instructgen.dynosaur.dataset as dataset, instructgen.llm as llm
from killing import at_each_moment, kill_at, kill_in_a_merge
from test_growth import make

def arm(moment):
    if moment == 'asking': kill_at(llm.Lane, 'arrived', 2, after=True)
    if moment == 'linking': kill_at(os, 'link', 4)                          # the Parquet file of a bucket is there, its part is not
    if moment == 'buckets': kill_at(dataset, 'write_part', 1, after=True)
    if moment == 'half a merge': kill_in_a_merge()
    if moment == 'manifest': kill_at(dataset, 'write_version', 1, after=True)

at_each_moment(arm, lambda folder: make(Path(folder), sys.argv[2], sys.argv[3], llm=sys.argv[4], concurrency=1))
'''


def test_kill_in_a_step_leaves_the_older_version_whole_and_the_step_resumable(tmp_path):
    place = write_sources(tmp_path/'sources', 5)
    with LLMServer(answer='rules') as server:
        llm = f'openai:test@{server.url}'
        assert make(tmp_path/'v1', place, llm=llm)['growth']['new_prompts'] == sum(server.counts.answers.values()) == 10
        for number in (6, 7): write_source(place, f'set_{number}')
        edit_card(place/'set_1', 'about set_1', 'about films')
        shutil.rmtree(place/'set_2')
        before, moments = state(tmp_path/'v1'), ('asking', 'linking', 'buckets', 'half a merge', 'manifest')
        words = [sys.executable, '-c', KILLED, str(Path(__file__).parent), str(place), str(tmp_path/'v1'), llm]
        for moment, folder, outputs, asked in killed_at(words, moments, tmp_path, lambda: sum(server.counts.requests.values())):
            assert (folder/'run.json').exists() and not (folder/'manifest.json').exists() and state(tmp_path/'v1') == before, moment
            os.environ['INSTRUCTGEN_OUTPUTS'] = str(outputs)
            counts = make(folder, place, resume=True, llm=llm, concurrency=1)
            new = sum(server.counts.requests.values()) - asked
            assert counts['growth']['new_prompts'] == 5 and new in ((5, 6) if moment == 'asking' else (5,)), (moment, new, counts['growth'], json.loads((folder/'new_prompts.json').read_text()))
            assert whats(counts) == {'set_1': 'changed', 'set_2': 'went', 'set_6': 'came', 'set_7': 'came'} and state(tmp_path/'v1') == before
        os.environ['INSTRUCTGEN_OUTPUTS'] = str(tmp_path/'outputs')
        make(tmp_path/'undisturbed', place, tmp_path/'v1', llm=llm)
        make(tmp_path/'whole', place, llm=llm)
    for moment in (*moments, 'undisturbed'): assert content(tmp_path/moment.replace(' ', '_')) == content(tmp_path/'whole'), moment


# ---------------------------------------------------------------- the hub, day by day

def test_days_of_the_hub(tmp_path, monkeypatch):
    rows = ''.join(json.dumps({'review': f'Review {number} tells of {number} long evenings.', 'sentiment': ('good', 'bad')[number % 2]}) + '\n' for number in range(20))
    def add(name: str, day: int, license: str = 'mit') -> None:
        card = f'---\nlicense: {license}\nlanguage: en\n---\n### Dataset Summary\nFilm reviews of {name} with their sentiment.\n'
        repositories[name] = {**repository(card, {'data/train.jsonl': rows}, tags=['language:en'], downloads=3), 'created': f'2026-11-{day:02d}T12:00:00.000Z'}
    repositories: dict = {}
    add('me/one', 1), add('me/two', 1)
    with HubServer(repositories) as hub, LLMServer(answer='rules') as server:
        monkeypatch.setenv('HF_ENDPOINT', hub.address)
        llm = f'openai:test@{server.url}'
        def day(number: int, **more) -> dict:
            return make(tmp_path/f'day-{number}', f'hub:?language=en&created_after=2026-11-{number:02d}', tmp_path/f'day-{number - 1}' if number > 1 else '', listing='new' if number > 1 else 'all', llm=llm, **more)
        assert day(1)['sources'] == 2
        add('me/three', 2), add('me/four', 2)
        short = day(2, budget_calls=3)
        assert short['growth']['waiting'] == 1 and short['growth']['unchanged'] == 2
        third = day(3)                                                                     # nothing new, one that waited
        assert third['growth']['new_prompts'] == 1 and third['growth']['unchanged'] == 3 and not third['stopped']
        add('me/five', 4, 'cc-by-nd-4.0')
        assert day(4)['growth']['buckets_linked'] >= 1 and read_refused(tmp_path/'day-4') == {'me/five'}
        assert day(5)['growth']['unchanged'] == 4
    assert sources_of(tmp_path/'day-5') == {'me/one', 'me/two', 'me/three', 'me/four'}


class Hub:
    "Days of a hub on loopback, and a daily step that asks for what is new on its day."

    def __init__(self, place: Path, monkeypatch):
        self.place, self.repositories, self.server = place, {}, HubServer({})
        self.server.repositories = self.repositories
        monkeypatch.setenv('HF_ENDPOINT', self.server.address)
        monkeypatch.setattr('instructgen.hub.TRIES', 1)                                        # a call is not tried again within a step

    def add(self, name: str, day: int, sha: str = 'a' * 40) -> None:
        rows = ''.join(json.dumps({'review': f'Review {number} tells of {number} long evenings.', 'sentiment': ('good', 'bad')[number % 2]}) + '\n' for number in range(20))
        card = f'---\nlicense: mit\nlanguage: en\n---\n### Dataset Summary\nFilm reviews of {name} with their sentiment.\n'
        self.repositories[name] = {**repository(card, {'data/train.jsonl': rows}, sha=sha, tags=['language:en']), 'created': f'2026-11-{day:02d}T12:00:00.000Z'}

    def break_down(self, name: str, calls: int = 999) -> None: self.server.failures = [(f'{name}', 503, {})] * calls

    def day(self, number: int, **more) -> dict:
        self.server.calls.clear()
        return make(self.place/f'day-{number}', f'hub:?language=en&created_after=2026-11-{number:02d}', self.place/f'day-{number - 1}' if number > 1 else '', listing='new' if number > 1 else 'all', **more)

    def miss(self, name: str) -> None:
        "Two days: a source that is read, and one that cannot be read on its day and could from then on."
        self.add('me/one', 1)
        self.day(1)
        self.add(name, 2)
        self.break_down(name)
        self.day(2)
        self.server.failures = []

    def asked(self) -> set[str]: return {name for name in self.repositories if any(name in path for path in self.server.calls)}


def source_drops(folder: Path) -> dict[str, str]: return {drop.id: drop.rule for drop in read_records(folder/'rejected.jsonl', Rejected) if drop.kind == 'source'}


def test_a_new_source_that_was_not_reached_is_asked_for_again_when_its_day_has_passed(tmp_path, monkeypatch):
    hub = Hub(tmp_path, monkeypatch)
    with hub.server:
        hub.add('me/one', 1)
        assert hub.day(1)['growth'].get('unreached') is None
        hub.add('me/late', 2)
        hub.add('me/two', 2)
        hub.break_down('me/late')
        second = hub.day(2)
        assert second['growth']['unreached'] == {'me/late': 1} == read_version(tmp_path/'day-2').unreached and source_drops(tmp_path/'day-2') == {'me/late': 'unreachable'}
        assert read_manifest(tmp_path/'day-2')['growth']['unreached'] == {'me/late': 1} and sources_of(tmp_path/'day-2') == {'me/one', 'me/two'}
        third = hub.day(3)                                                                     # still not there, and nothing new today
        assert third['growth']['unreached'] == {'me/late': 2} and hub.asked() == {'me/late'}
        hub.server.failures = []
        fourth = hub.day(4)
        assert whats(fourth) == {'me/late': 'came'} and 'unreached' not in fourth['growth'] and source_drops(tmp_path/'day-4') == {} and hub.asked() == {'me/late'}
        fifth = hub.day(5)
        assert fifth['growth']['unchanged'] == 3 and hub.asked() == set()
        make(tmp_path/'whole', 'hub:?language=en')
    assert sources_of(tmp_path/'day-5') == {'me/one', 'me/two', 'me/late'} and content(tmp_path/'day-5') == content(tmp_path/'whole')


def test_a_source_that_is_never_reached_is_given_up_by_name(tmp_path, monkeypatch):
    hub = Hub(tmp_path, monkeypatch)
    with hub.server:
        hub.add('me/one', 1)
        hub.add('me/never', 1)
        hub.break_down('me/never')
        steps = [hub.day(number) for number in range(1, STEPS_TRIED + 1)]
        assert [counts['growth']['unreached'] for counts in steps] == [{'me/never': number} for number in range(1, STEPS_TRIED + 1)]
        assert source_drops(tmp_path/f'day-{STEPS_TRIED}') == {'me/never': 'given_up'}
        hub.server.failures = []
        last = hub.day(STEPS_TRIED + 1)
        assert hub.asked() == set() and last['growth']['unreached'] == {'me/never': STEPS_TRIED} and source_drops(tmp_path/f'day-{STEPS_TRIED + 1}') == {'me/never': 'given_up'}
        assert 'Given up after 7 steps that could not read them: me/never.' in tell_unreached(last['growth']['unreached'])[0]
        named = make(tmp_path/'named', 'hub:me/never', tmp_path/f'day-{STEPS_TRIED + 1}', listing='new')  # somebody names it
        assert whats(named) == {'me/never': 'came'} and 'unreached' not in named['growth']


def test_a_source_that_vanishes_while_it_is_waited_for_is_not_asked_for_for_ever(tmp_path, monkeypatch):
    hub = Hub(tmp_path, monkeypatch)
    with hub.server:
        hub.miss('me/late')
        del hub.repositories['me/late']
        third = hub.day(3)
        assert 'unreached' not in third['growth'] and source_drops(tmp_path/'day-3') == {'me/late': 'not_found'}
        hub.day(4)
        assert not any('me/late' in path for path in hub.server.calls)


def test_a_changed_source_that_was_not_reached_is_kept_and_asked_for_again(tmp_path, monkeypatch):
    hub = Hub(tmp_path, monkeypatch)
    with hub.server:
        hub.add('me/one', 2)
        hub.day(1)
        hub.add('me/one', 2, sha='b' * 40)
        hub.break_down('me/one')
        second = hub.day(2)
        assert whats(second) == {'me/one': 'kept'} and second['growth']['unreached'] == {'me/one': 1} and [mark.rule for mark in read_marks(tmp_path/'day-2')] == ['unreachable']
        hub.server.failures = []
        third = hub.day(3)
        assert whats(third) == {'me/one': 'changed'} and read_marks(tmp_path/'day-3') == [] and set(read_dataset(tmp_path/'day-3')['revision'].to_pylist()) == {'b' * 40}


def test_the_page_tells_what_was_not_reached_and_what_is_marked(tmp_path, monkeypatch):
    hub = Hub(tmp_path, monkeypatch)
    with hub.server:
        hub.add('me/one', 1)
        hub.day(1)
        hub.add('me/late', 2)
        hub.repositories['me/one'] = {**repository('---\nlicense: cc-by-nd-4.0\nlanguage: en\n---\n', {'data/train.jsonl': '{"a": 1}\n'}, sha='b' * 40, tags=['language:en']), 'created': '2026-11-02T12:00:00.000Z'}
        hub.break_down('me/late')
        run_report('dynosaur_data', out=str(tmp_path/'day-2'), sources='hub:?language=en&created_after=2026-11-02', limit=5, previous=str(tmp_path/'day-1'), listing='new', gone='keep')
        page, manifest = (tmp_path/'day-2'/'report.html').read_text(), read_manifest(tmp_path/'day-2')
        assert 'Not reached on the hub: me/late.' in page and 'push judges them by the licence of today' in page
        assert manifest['growth']['unreached'] == {'me/late': 1} and [(item['name'], item['what']) for item in manifest['growth']['named']] == [('me/one', 'kept')]
        assert 'licence mit -> cc-by-nd-4.0 (since ' in (tmp_path/'day-2'/'provenance.csv').read_text() and '| me/one | mit | cc-by-nd-4.0 |' in (tmp_path/'day-2'/'dataset'/'README.md').read_text()
        hub.server.failures = []
        assert whats(hub.day(3)) == {'me/late': 'came'}


def test_a_step_that_goes_on_asks_for_the_same(tmp_path, monkeypatch):
    hub = Hub(tmp_path, monkeypatch)
    with hub.server:
        hub.miss('me/late')
        done = hub.day(3)
        (tmp_path/'day-3'/'manifest.json').unlink()
        made = content(tmp_path/'day-3')
        again = hub.day(3, resume=True)
        assert content(tmp_path/'day-3') == made and again['growth'] == done['growth'] and whats(again) == {'me/late': 'came'}


# ---------------------------------------------------------------- the report

def test_the_report_of_a_step(tmp_path):
    place = write_sources(tmp_path/'sources', 3)
    make(tmp_path/'runs'/'one', place)
    first, folder = tmp_path/'runs'/'one', tmp_path/'runs'/'two'
    before = state(first)
    write_source(place, 'set_9')
    edit_card(place/'set_1', 'license: mit', 'license: cc-by-4.0')
    shutil.rmtree(place/'set_0')
    run_report('dynosaur_data', out=str(folder), sources=str(place), limit=5, previous=str(tmp_path/'runs'), gone='keep')
    manifest, page = read_manifest(folder), (folder/'report.html').read_text()
    assert manifest['status'] == 'complete' and manifest['parent'] == str(first) and manifest['growth'] == json.loads((folder/'version.json').read_text())['growth']
    assert {what: manifest['growth'][what] for what in ('came', 'changed', 'unchanged', 'kept', 'new_prompts')} == {'came': 1, 'changed': 1, 'unchanged': 1, 'kept': 1, 'new_prompts': 4}
    assert 'licence mit -&gt; cc-by-4.0' in page and '1 sources are kept though they are gone' in page and 'no longer there' in page
    table = [line.split(',')[:2] for line in (folder/'tables'/'growth.csv').read_text().splitlines()]
    assert table[1:] == [['set_9', 'came'], ['set_1', 'changed'], ['set_0', 'kept'], ['set_2', 'unchanged']]
    assert state(first) == before
    (folder/'manifest.json').unlink()                                                         # as if it had been killed at the end
    made = content(folder)
    run_report('dynosaur_data', out=str(folder), resume=True)
    assert content(folder) == made and read_manifest(folder)['growth'] == manifest['growth'] and read_manifest(folder)['buckets_written'] == 0
