"""Growing a Bonito dataset: documents come, change and go; what stands costs no call, and the next version is what a run over everything makes."""
import csv
import json
import random
import sys
import tarfile
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from hub_server import HubServer, repository
from killing import killed_at
from instructgen.bonito import dataset as dataset_module
from instructgen.bonito.checks import read_generations
from instructgen.bonito.config import BonitoConfig, gather_contexts, text_making
from instructgen.bonito.dataset import build_bonito, find_unanswered
from instructgen.bonito.growth import TextPlan, compare_texts, count_changes, find_refusals, plan_texts, read_texts, settle_texts, standing_examples, standing_tasks
from instructgen.bonito.tables import check_funnel
from instructgen.chunks import text_origin
from instructgen.dataset_card import write_card, write_provenance
from instructgen.drop import drop_sources
from instructgen.hub import wait_for
from instructgen.llm import open_llm
from instructgen.locks import GROWING, LOCKED
from instructgen.push import plan_push, push_folder
from instructgen.records import Context, Example, Rejected
from instructgen.report import run_report
from instructgen.run_llm import open_model
from instructgen.run_tables import read_examples, read_lines
from instructgen.store import open_run, read_manifest, read_part
from instructgen.versions import GrowthPolicy, read_marks, read_version
from test_bonito_end_to_end import Writer
from test_bonito_end_to_end import content as content_of
from test_documents import story


@pytest.fixture(autouse=True)
def own_outputs(tmp_path, monkeypatch):
    "A ledger of each test's own."
    monkeypatch.setenv('INSTRUCTGEN_OUTPUTS', str(tmp_path/'outputs'))


@pytest.fixture
def archive(tmp_path) -> Path:
    "Twelve documents of three texts each."
    (tmp_path/'archive').mkdir()
    for number in range(12): write_document(tmp_path/'archive', number)
    return tmp_path/'archive'


def write_document(folder: Path, number: int, ending: str = '', first: int = 0) -> None:
    (folder/f'd{number:02}.md').write_text('\n\n'.join(f'# Year {part}\n\n{story(10 * number + part, 4)}{ending if not part else ""}' for part in range(first, 3)) + '\n')


class PowerCut(BaseException): "What no code expects."


def content(folder: Path) -> dict[str, bytes]:
    "The files that must not depend on how a version came about: without the lines about what a step did not find any more."
    lines = (folder/'rejected.jsonl').read_bytes().splitlines(keepends=True)
    return content_of(folder) | {'rejected.jsonl': b''.join(line for line in lines if json.loads(line)['rule'] not in ('gone', 'not_drawn'))}


def settings(archive: Path, **more) -> BonitoConfig: return BonitoConfig(**{'contexts': str(archive), 'license': 'own', 'max_chars': 500, **more})


def build(folder: Path, config: BonitoConfig, plan: TextPlan | None = None, status: str = 'complete', resume: bool = False) -> dict:
    "A run without its report: over all texts, or over those of a plan."
    contexts, refused = (plan.contexts, plan.refused) if plan else gather_contexts(config)[:2]
    with open_run('bonito_data', {}, out=folder, resume=resume, previous=plan.previous.folder if plan and plan.previous else '') as run:
        counts = build_bonito(run, config, contexts, refused, plan=plan)
        run.finish({name: counts[name] for name in ('asked', 'examples')}, status)
    check_funnel(folder, counts)
    return counts


def plan_step(before: Path, config: BonitoConfig, gathered: tuple = (), **policy) -> TextPlan:
    version = read_version(before)
    contexts, refused, lengths, *_ = gathered or gather_contexts(config, empty=True, banned=version.dropped)
    return plan_texts(contexts, refused, lengths, config, version, GrowthPolicy(**policy))


def grow(before: Path, folder: Path, config: BonitoConfig, **policy) -> tuple[dict, TextPlan]:
    plan = plan_step(before, config, **policy)
    return build(folder, config, plan), plan


def told(plan: TextPlan) -> dict[str, str]: return {change.name.partition('/')[2] or change.name: change.what for change in plan.changes if change.what != 'unchanged'}


def keys(folder: Path) -> dict[int, str]: return {number: head['key'] for number in range(64) if (head := read_part(folder, number))}


def rows(folder: Path) -> dict[str, Example]: return {row['id']: Example(**row) for row in read_examples(folder).to_pylist()}


# ---- buckets

@pytest.mark.parametrize('step', ['in front', 'edited', 'deleted'])
def test_one_document_touches_one_bucket(archive, tmp_path, step):
    (archive/'table.jsonl').write_text(''.join(json.dumps({'text': story(500 + i)}) + '\n' for i in range(6)))
    build(tmp_path/'v1', settings(archive))
    name = 'd05.md'
    if step == 'in front': (archive/(name := 'a.md')).write_text('\n\n'.join(story(300 + part, 12) for part in range(8)))
    elif step == 'edited': write_document(archive, 5, ' A sentence that the keeper added in the spring of that year.')
    else: (archive/name).unlink()
    build(tmp_path/'v2', settings(archive))
    one, two = keys(tmp_path/'v1'), keys(tmp_path/'v2')
    assert len(one) > 8 and sum(one.get(number) != two.get(number) for number in {*one, *two}) == 1
    for number in {*one, *two}:
        if one.get(number) == two.get(number): assert all((tmp_path/'v1'/path).read_bytes() == (tmp_path/'v2'/path).read_bytes() for path in (f'parts/{number:02}.jsonl', f'dataset/data/train-{number:02}.parquet') if (tmp_path/'v1'/path).exists())


def test_drops_lie_with_the_examples_of_their_document(archive, tmp_path):
    (archive/'d05.md').write_text((archive/'d05.md').read_text() + '\n# Code\n\n' + 'x = ring(bell)\n' * 20 + '\n# Short\n\nToo short.\n')
    build(tmp_path/'v1', settings(archive))
    index = {number: [name for name, *_ in head['sources']] for number in range(64) if (head := read_part(tmp_path/'v1', number))}
    home = next(number for number, names in index.items() if 'd05.md' in names)
    place = {context.id: context.document for context in read_lines(tmp_path/'v1', Context)}
    drops = [done.id for done in read_generations(tmp_path/'v1') if not done.kept and place[done.context_id] == 'd05.md']
    assert {drop.rule for drop in read_lines(tmp_path/'v1', Rejected) if drop.id == 'd05.md'} >= {'little_prose'}
    assert all(id in index[home] for id in drops) and any(row.url.startswith('d05.md') for row in rows(tmp_path/'v1').values())


def test_rows_of_a_dataset_are_spread(tmp_path):
    (tmp_path/'texts.jsonl').write_text(''.join(json.dumps({'text': story(i)}) + '\n' for i in range(60)))
    build(tmp_path/'v1', settings(tmp_path/'texts.jsonl'))
    assert len(keys(tmp_path/'v1')) > 30


# ---- what came, changed and went

def test_every_kind_of_change(archive, tmp_path):
    config = settings(archive)
    build(tmp_path/'v1', config)
    write_document(archive, 1, ' Another ending of the first year.')
    (archive/'d02.md').unlink()
    (archive/'d03.md').rename(archive/'x03.md')
    write_document(archive, 20)
    write_document(archive, 4, first=1)  # its first part is deleted
    (archive/'d05.md').write_bytes(b'\x89PNG\xff\0' * 300)
    counts, plan = grow(tmp_path/'v1', tmp_path/'v2', config)
    assert told(plan) == {'d01.md': 'changed', 'd02.md': 'went', 'd03.md': 'went', 'x03.md': 'came', 'd20.md': 'came', 'd04.md': 'changed', 'd05.md': 'kept'}
    found = {change.name.partition('/')[2]: change for change in plan.changes}
    assert (found['d02.md'].why, found['d05.md'].why, found['d02.md'].standing, found['d02.md'].examples_before > 0) == ('no longer there', 'broken_file', 0, True)
    assert found['d01.md'].why.startswith('revision ') and ' -> ' in found['d01.md'].why
    assert [(found[name].texts_before, found[name].texts, found[name].known) for name in ('d01.md', 'd03.md', 'x03.md', 'd20.md', 'd04.md', 'd05.md')] == [(3, 3, 2), (3, 0, 0), (0, 3, 3), (0, 3, 0), (3, 2, 2), (3, 3, 3)]
    numbers = count_changes(plan.changes)
    assert numbers['texts'] == counts['contexts'] and numbers['texts_new'] == counts['asked'] - len(plan.standing) == 4
    assert numbers['examples_before'] == read_manifest(tmp_path/'v1')['counts']['examples'] and numbers['examples_standing'] == len(standing_examples(read_texts(tmp_path/'v1'), plan.contexts))
    assert {change.what for change in compare_texts(read_texts(tmp_path/'v1'), read_lines(tmp_path/'v1', Context))} == {'unchanged'}


def test_another_licence_is_a_change(archive, tmp_path):
    build(tmp_path/'v1', settings(archive))
    plan = plan_step(tmp_path/'v1', settings(archive), gather_contexts(settings(archive, license='cc-by-4.0')))
    assert {change.what for change in plan.changes} == {'changed'} and {change.why for change in plan.changes} == {'licence own -> cc-by-4.0'}
    assert {row.license for row in standing_examples(read_texts(tmp_path/'v1'), plan.contexts)} == {'cc-by-4.0'}


@pytest.mark.parametrize('seed, more', [(0, {}), (1, {}), (2, {'limit': 20}), (3, {'limit': 9}), (4, {'draws': 2, 'limit': 12}), (5, {'label_share': .6, 'task_types': 'ynqa,exqa'}), (6, {'rules': 'published'})], ids=lambda value: ' '.join(value) if isinstance(value, dict) else '')
def test_a_grown_version_is_what_a_run_over_everything_makes(archive, tmp_path, seed, more):
    chance, config = random.Random(seed), settings(archive, **more)
    build(tmp_path/'v1', config)
    for version in range(2, 5):
        for step in range(chance.randint(1, 3)):
            number = chance.randrange(20)
            path = archive/f'd{number:02}.md'
            if path.exists() and chance.random() < .4: path.unlink()
            else: write_document(archive, number, f' The keeper wrote {chance.randrange(9)} on the wall of the house by the river.' if path.exists() else '', chance.randrange(2))
        before = read_texts(tmp_path/f'v{version - 1}')
        counts, plan = grow(tmp_path/f'v{version - 1}', tmp_path/f'v{version}', config, most_gone=1.)
        build(tmp_path/f'full{version}', config)
        assert content(tmp_path/f'v{version}') == content(tmp_path/f'full{version}') and keys(tmp_path/f'v{version}') == keys(tmp_path/f'full{version}')
        made = rows(tmp_path/f'v{version}')
        standing = {row.id: row for row in standing_examples(before, plan.contexts)}
        if 'label_share' in more: assert all(made[id] == row for id, row in standing.items() if id in made)  # the share is counted anew
        else: assert standing == {id: row for id, row in made.items() if id in rows(tmp_path/f'v{version - 1}')}
        assert set(plan.standing) == {done.id for done in before.generations} & {done.id for done in read_generations(tmp_path/f'v{version}')}


# ---- calls

def test_calls_of_a_step_are_the_new_prompts(archive, tmp_path):
    with Writer() as server:
        config, calls = settings(archive, llm=f'openai:bonito@{server.url}', retries=1), []
        counts = build(tmp_path/'v1', config)
        for version, change in ((2, lambda: write_document(archive, 30)), (3, lambda: write_document(archive, 1, ' Nothing more was heard of it.')), (4, (archive/'d02.md').unlink), (5, lambda: None)):
            change()
            sent = sum(server.counts.requests.values())
            counts, plan = grow(tmp_path/f'v{version - 1}', tmp_path/f'v{version}', config)
            assert sum(server.counts.requests.values()) - sent == counts['llm']['calls']
            new = [done for done in read_generations(tmp_path/f'v{version}') if done.id not in plan.standing]
            assert len(new) == counts['asked'] - len(plan.standing) <= counts['llm']['calls'] <= 2 * len(new)  # one more for each that was dropped at first
            calls.append(len(new))
    assert calls == [3, 1, 0, 0]


@pytest.mark.parametrize('more', [{}, {'retries': 1}, {'two_step': True}, {'confirm': 'self'}], ids=lambda more: next(iter(more), 'plain'))
def test_a_budget_takes_nothing_from_what_stands(archive, tmp_path, more):
    with Writer() as server:
        config = settings(archive, llm=f'openai:bonito@{server.url}', **more)
        before = build(tmp_path/'v1', config)
        for number in range(20, 30): write_document(archive, number)
        counts, plan = grow(tmp_path/'v1', tmp_path/'v2', replace(config, budget_calls=4))
        assert counts['llm']['calls'] == 4 and counts['pending'] > 0 and counts['stopped'] and before['examples'] > 4
        assert rows(tmp_path/'v1').items() <= rows(tmp_path/'v2').items()
        build(tmp_path/'v3', config, plan_step(tmp_path/'v2', config))
        build(tmp_path/'full', config)
    assert content(tmp_path/'v3') == content(tmp_path/'full')


def test_documents_whose_calls_failed_wait(archive, tmp_path):
    with Writer() as server:
        config = settings(archive, llm=f'openai:bonito@{server.url}')
        build(tmp_path/'v1', config)
        write_document(archive, 30)
        server.behaviour.fail = 1.
        counts, plan = grow(tmp_path/'v1', tmp_path/'v2', config)
        assert counts['calls_failed'] == 3 and counts['growth']['waiting'] == 1 and counts['growth']['new_prompts'] == 0
        server.behaviour.fail = 0.
        counts, plan = grow(tmp_path/'v2', tmp_path/'v3', config)
        assert counts['growth']['waiting'] == 0 and counts['growth']['new_prompts'] == 3


def test_without_the_ledger_what_is_sent_counts_as_new(archive, tmp_path, monkeypatch):
    with Writer() as server:
        config = settings(archive, llm=f'openai:bonito@{server.url}')
        before = build(tmp_path/'v1', config)
        monkeypatch.setenv('INSTRUCTGEN_OUTPUTS', str(tmp_path/'elsewhere'))
        counts, plan = grow(tmp_path/'v1', tmp_path/'v2', config)
        assert counts['growth']['new_prompts'] == counts['llm']['calls'] == before['asked'] == len(plan.standing)


def test_what_failed_or_waits_does_not_stand(archive, tmp_path):
    with Writer() as server:
        config = settings(archive, llm=f'openai:bonito@{server.url}')
        build(tmp_path/'stopped', replace(config, budget_calls=5), status='stopped')
        before = read_texts(tmp_path/'stopped')
        assert len(standing_tasks(before, before.contexts)) == 5 and len(before.contexts) == 36
    with Writer(fail=1.) as server: build(tmp_path/'failed', settings(archive, llm=f'openai:bonito@{server.url}', limit=3), status='partial')
    before = read_texts(tmp_path/'failed')
    assert len(before.generations) == 3 and standing_tasks(before, before.contexts) == []


# ---- documents that are gone

def test_keeping_puts_texts_back_as_they_were(archive, tmp_path):
    config = settings(archive)
    build(tmp_path/'v1', config)
    (archive/'d02.md').unlink()
    (archive/'d03.md').rename(archive/'x03.md')
    counts, plan = grow(tmp_path/'v1', tmp_path/'v2', config, gone='keep')
    assert told(plan) == {'d02.md': 'kept', 'd03.md': 'went', 'x03.md': 'came'} and counts['asked'] == len(plan.standing)
    assert next(change.why for change in plan.changes if change.name.endswith('d03.md')) == 'its texts stand elsewhere or were not drawn'
    one, two = rows(tmp_path/'v1'), rows(tmp_path/'v2')
    assert set(one) == set(two) and all(one[id] == two[id] for id in one if not one[id].url.startswith('d03.md'))
    again, plan = grow(tmp_path/'v2', tmp_path/'v3', config, gone='keep')  # and once more, from the version that kept it
    assert told(plan) == {'d02.md': 'kept'} and content(tmp_path/'v3') == content(tmp_path/'v2')
    counts, plan = grow(tmp_path/'v3', tmp_path/'v4', config)
    assert told(plan) == {'d02.md': 'went'} and {row.url.partition('#')[0] for row in rows(tmp_path/'v4').values()} <= {path.name for path in archive.iterdir()}


def test_what_went_is_named_and_what_is_kept_is_marked(archive, tmp_path):
    config = settings(archive)
    build(tmp_path/'v1', config)
    (archive/'d02.md').unlink()
    (archive/'d03.md').rename(archive/'x03.md')
    counts, _ = grow(tmp_path/'v1', tmp_path/'v2', config)
    lines = {drop.id: drop for drop in read_lines(tmp_path/'v2', Rejected) if drop.rule in ('gone', 'not_drawn')}
    assert {name: drop.rule for name, drop in lines.items()} == {'archive/d02.md': 'gone', 'archive/d03.md': 'gone'} and 'no longer there; it had' in lines['archive/d02.md'].text
    assert [(item['name'], item['what']) for item in counts['growth']['named']] == [('archive/d02.md', 'went'), ('archive/d03.md', 'went'), ('archive/x03.md', 'came')] and counts['growth']['not_named'] == 0
    assert {json.loads(line)['name'] for line in (tmp_path/'v2'/'changes.jsonl').read_text().splitlines()} == {item['name'] for item in counts['growth']['named']} and not read_marks(tmp_path/'v2')
    grow(tmp_path/'v2', tmp_path/'v3', config)
    assert not any(drop.rule in ('gone', 'not_drawn') for drop in read_lines(tmp_path/'v3', Rejected))                       # a line of its step alone
    kept, _ = grow(tmp_path/'v1', tmp_path/'keep', config, gone='keep')
    marks, table = read_marks(tmp_path/'keep'), list(csv.DictReader(write_provenance(tmp_path/'keep').open(newline='')))
    assert [(mark.name, mark.rule, bool(mark.since)) for mark in marks] == [('archive/d02.md', 'gone', True)] and {drop.id: drop.rule for drop in read_lines(tmp_path/'keep', Rejected) if drop.kind == 'source'} == {'archive/d03.md': 'not_drawn'}
    assert {row['url'].partition('#')[0] for row in table if row['mark']} == {'d02.md'} and all(row['mark'].startswith('kept, no longer there (since ') for row in table if row['mark'])
    assert '| archive/d02.md | own | as it was, or not known | no longer there |' in write_card(tmp_path/'keep').read_text()
    drop_sources(tmp_path/'keep', ['archive/d02.md'], tmp_path/'dropped', keep_answers=True)
    assert read_marks(tmp_path/'dropped') == [] and [item['name'] for item in read_manifest(tmp_path/'dropped')['growth']['named']] == ['archive/d02.md']
    for path in archive.iterdir(): path.unlink()
    grow(tmp_path/'keep', tmp_path/'quiet', config, listing='new')
    assert read_marks(tmp_path/'quiet') == marks                                                                            # nobody looked at it


def test_rows_of_a_dataset_that_may_not_be_passed_on_today_are_held_back(tmp_path):
    (tmp_path/'news').mkdir()
    (tmp_path/'news'/'README.md').write_text('---\nlicense: mit\nlanguage: en\n---\n# News\n')
    (tmp_path/'news'/'train.jsonl').write_text(''.join(json.dumps({'text': story(i)}) + '\n' for i in range(6)))
    config = settings(tmp_path/'news')
    build(tmp_path/'v1', config)
    assert not plan_push(tmp_path/'v1', 'ann/news').held
    (tmp_path/'news'/'README.md').write_text('---\nlicense: cc-by-nd-4.0\nlanguage: en\n---\n# News\n')
    counts, _ = grow(tmp_path/'v1', tmp_path/'v2', config, gone='keep')
    mark = read_marks(tmp_path/'v2')[0]
    assert counts['growth']['kept'] == 1 and (mark.license, mark.license_now, mark.rule) == ('mit', 'cc-by-nd-4.0', 'denied_license')
    assert {row.license for row in rows(tmp_path/'v2').values()} == {'mit'}
    plan = plan_push(tmp_path/'v2', 'ann/news')
    assert sum(item['examples'] for item in plan.held) == len(rows(tmp_path/'v2')) > 0 and 'forbids derived work (cc-by-nd-4.0) today' in plan.held[0]['why']
    with pytest.raises(PermissionError, match='nothing was sent'): push_folder(tmp_path/'v2', 'ann/news', dry_run=True)


def test_a_listing_of_what_is_new(archive, tmp_path):
    build(tmp_path/'v1', settings(archive))
    for path in archive.iterdir(): path.rename(tmp_path/path.name)
    write_document(archive, 1, ' Another ending of the first year.')
    write_document(archive, 40)
    counts, plan = grow(tmp_path/'v1', tmp_path/'v2', settings(archive), listing='new')
    assert told(plan) == {'d01.md': 'changed', 'd40.md': 'came'} and len(plan.changes) == 13
    for path in tmp_path.glob('d*.md'):
        if path.name != 'd01.md': path.rename(archive/path.name)
    build(tmp_path/'full', settings(archive))
    assert rows(tmp_path/'v2') == rows(tmp_path/'full')
    for path in archive.iterdir(): path.unlink()
    counts, plan = grow(tmp_path/'v2', tmp_path/'v3', settings(archive), listing='new')  # a quiet day
    assert told(plan) == {} and rows(tmp_path/'v3') == rows(tmp_path/'v2')


def test_a_step_that_would_lose_most_documents_stops(archive, tmp_path):
    config = settings(archive)
    build(tmp_path/'v1', config)
    for number in range(7): (archive/f'd{number:02}.md').unlink()
    with pytest.raises(ValueError, match=r'7 of 12 documents are gone from .*archive: .* set listing to new'): grow(tmp_path/'v1', tmp_path/'v2', config)
    assert len(told(grow(tmp_path/'v1', tmp_path/'v2', config, most_gone=.6)[1])) == 7


def test_what_was_read_and_not_taken_is_not_gone(archive, tmp_path):
    write_document(archive, 11, ' This one has an ending.')
    build(tmp_path/'v1', settings(archive))
    (archive/'d03.md').write_text((archive/'d02.md').read_text())  # now it says what another says
    (archive/'d04.md').write_text('x = ring(bell)\n' * 40)
    counts, plan = grow(tmp_path/'v1', tmp_path/'v2', settings(archive), gone='keep')
    assert told(plan) == {'d03.md': 'went', 'd04.md': 'went'} and not any(context.document in ('d03.md', 'd04.md') for context in plan.contexts)
    assert {change.name: change.why for change in plan.changes if change.what == 'went'} == {'archive/d03.md': 'duplicate_context', 'archive/d04.md': 'little_prose'}
    few = settings(archive, limit=6)
    build(tmp_path/'few', few)
    write_document(archive, 50)
    contexts, refused, lengths, _ = gather_contexts(few)
    plan = plan_step(tmp_path/'few', few, (contexts, refused, lengths), gone='keep')
    assert len(plan.contexts) == 6 and set(told(plan).values()) <= {'came', 'went', 'changed'} and set(contexts) == set(plan.contexts)
    gone = [change.why for change in plan.changes if change.what == 'went']
    assert all(gone) and (gone or set(plan.contexts) == set(read_texts(tmp_path/'few').contexts))


@pytest.mark.parametrize('rule, gone, what', [('parser_missing', 'drop', 'kept'), ('broken_file', 'drop', 'kept'), ('scanned_pdf', 'drop', 'went'), ('scanned_pdf', 'keep', 'kept'), ('empty', 'drop', 'went')])
def test_trouble_is_no_reason_to_drop_a_document(archive, tmp_path, rule, gone, what):
    config = settings(archive)
    build(tmp_path/'v1', config)
    (archive/'d02.md').unlink()
    contexts, refused, lengths, _ = gather_contexts(config)
    plan = plan_step(tmp_path/'v1', config, (contexts, [*refused, Rejected('source', 'd02.md', rule, 'why', str(archive/'d02.md'))], lengths), gone=gone)
    assert told(plan) == {'d02.md': what} and rule in next(change.why for change in plan.changes if change.what == what)


def test_a_folder_that_cannot_be_entered_and_a_name_that_two_places_have():
    pieces = [Context(f'{place} {name}', place, split='documents', document=name) for place in ('home', 'office') for name in ('in/a/1.md', 'in/2.md', 'out/1.md')]
    assert set(find_refusals(pieces[:3], [Rejected('source', 'in', 'unreadable', '', '/data/home/in')])) == {'home/in/a/1.md', 'home/in/2.md'}
    assert set(find_refusals(pieces, [Rejected('source', 'out/1.md', 'empty', '', '/data/office/out/1.md')])) == {'office/out/1.md'}
    assert set(find_refusals(pieces, [Rejected('source', 'in', 'unreadable', '', '/data/office/in')])) == {'office/in/a/1.md', 'office/in/2.md'}
    assert set(find_refusals(pieces, [Rejected('source', '.', 'unreadable', '', '/data/office')])) == {'office/in/a/1.md', 'office/in/2.md', 'office/out/1.md'}
    assert find_refusals(pieces, [Rejected('source', 'in/2.md', 'empty', '', '/data/backoffice/in/2.md')]) == {}
    parts = [Rejected('context', 'out/1.md', 'too_short', '', '/x/home/out/1.md'), Rejected('source', 'out/1.md', 'broken_file', '', '/x/home/out/1.md')]
    assert [drop.rule for drop in find_refusals(pieces[:3], parts)['home/out/1.md']] == ['broken_file', 'too_short']


def test_a_folder_whose_files_were_all_overwritten(archive, tmp_path):
    build(tmp_path/'v1', settings(archive))
    for path in archive.iterdir(): path.write_text('Please log in.')
    with pytest.raises(ValueError, match='12 of 12 documents are gone'): grow(tmp_path/'v1', tmp_path/'v2', settings(archive))


def test_a_damaged_table_keeps_its_rows(tmp_path):
    table = tmp_path/'poems.jsonl'
    table.write_text(''.join(json.dumps({'text': story(i)}) + '\n' for i in range(8)))
    config = settings(table)
    build(tmp_path/'v1', config)
    table.write_bytes(b'\x1f\x8b broken')
    counts, plan = grow(tmp_path/'v1', tmp_path/'v2', config)
    assert [(change.what, change.why) for change in plan.changes] == [('kept', 'broken_file')] and rows(tmp_path/'v2') == rows(tmp_path/'v1')


def test_what_a_part_that_cannot_be_read_had_is_put_back(tmp_path):
    (tmp_path/'news').mkdir()
    (tmp_path/'news'/'README.md').write_text('---\nlicense: mit\nlanguage: en\n---\n# News\n')
    for part in range(2): (tmp_path/'news'/f'train-{part}.jsonl').write_text(''.join(json.dumps({'text': story(10 * part + i)}) + '\n' for i in range(4)))
    config = settings(tmp_path/'news')
    build(tmp_path/'v1', config)
    contexts, refused, lengths, _ = gather_contexts(config)
    half = [context for context in contexts if context.row < 4]
    plan = plan_step(tmp_path/'v1', config, (half, [*refused, Rejected('source', 'news', 'unreadable', 'OSError', 'train-1.jsonl')], lengths))
    assert len(half) < len(contexts) == len(plan.contexts) and [(change.what, change.why) for change in plan.changes] == [('kept', 'in part: unreadable')]


def test_a_new_document_does_not_take_the_text_of_one_that_was_not_listed(archive, tmp_path):
    build(tmp_path/'v1', settings(archive))
    for path in archive.iterdir(): path.rename(tmp_path/path.name)
    (archive/'z.md').write_text((tmp_path/'d00.md').read_text() + f'\n# More\n\n{story(700, 4)}\n')
    counts, plan = grow(tmp_path/'v1', tmp_path/'v2', settings(archive), listing='new')
    assert told(plan) == {'z.md': 'came'} and rows(tmp_path/'v1').items() <= rows(tmp_path/'v2').items()


def test_lines_of_what_was_not_listed_stay(archive, tmp_path):
    (archive/'d03.md').write_text((archive/'d03.md').read_text() + '\n# Code\n\n' + 'x = ring(bell)\n' * 20)
    (archive/'poems.jsonl').write_text(json.dumps({'text': story(900)}) + '\nno json\n')
    (archive/'broken.docx').write_bytes(b'none')
    build(tmp_path/'v1', settings(archive))
    def lines(folder: Path) -> set: return {(drop.kind, drop.id, drop.rule) for drop in read_lines(folder, Rejected) if drop.kind not in ('answer', 'call')}
    assert {('context', 'd03.md', 'little_prose'), ('source', 'broken.docx', 'broken_file')} < lines(tmp_path/'v1') and any(kind == 'row' for kind, *_ in lines(tmp_path/'v1'))
    for path in archive.iterdir(): path.unlink()
    write_document(archive, 40)
    grow(tmp_path/'v1', tmp_path/'v2', settings(archive), listing='new')
    assert lines(tmp_path/'v2') == lines(tmp_path/'v1')
    (archive/'d03.md').write_text(f'# Mended\n\n{story(33, 6)}\n')
    grow(tmp_path/'v2', tmp_path/'v3', settings(archive), listing='new')
    assert lines(tmp_path/'v3') == {line for line in lines(tmp_path/'v1') if line[1] != 'd03.md'}


# ---- the step as a whole

def test_a_document_that_waits(archive, tmp_path):
    with Writer() as server:
        config = settings(archive, llm=f'openai:bonito@{server.url}')
        build(tmp_path/'v1', config)
        write_document(archive, 1, ' Nothing more was heard of it.')
        write_document(archive, 30)
        counts, plan = grow(tmp_path/'v1', tmp_path/'v2', replace(config, budget_calls=2))
        changes = {change.name.partition('/')[2]: change for change in settle_texts(plan, tmp_path/'v2')}
        waiting = {name: change.why for name, change in changes.items() if change.what == 'waiting'}
        assert counts['pending'] == 2 and counts['growth']['waiting'] == len(waiting) > 0 and counts['growth']['new_prompts'] == 2
        assert all('wait for their answers' in why for why in waiting.values()) and sum(int(why.split(' tasks')[0].split()[-1]) for why in waiting.values()) == 2
        sent = sum(server.counts.requests.values())
        plan = plan_step(tmp_path/'v2', config)
        with open_model(config, tmp_path/'v3') as llm: unanswered = set(find_unanswered(plan.contexts, config, llm).values())
        assert {context.document for context in plan.contexts if context.id in unanswered} == set(waiting)
        counts = build(tmp_path/'v3', config, plan)
        assert (counts['growth']['new_prompts'], counts['growth']['waiting'], sum(server.counts.requests.values()) - sent) == (2, 0, 2)
        build(tmp_path/'full', config)
    assert content(tmp_path/'v3') == content(tmp_path/'full')


@pytest.mark.parametrize('moment, after', [('generate_examples', 0), ('make_text_bucket', 4), ('merge_parts', 0), ('write_version', 0)])
def test_a_step_that_was_cut_off_goes_on(archive, tmp_path, monkeypatch, moment, after):
    with Writer() as server:
        config = settings(archive, llm=f'openai:bonito@{server.url}')
        build(tmp_path/'v1', config)
        before = {path: path.read_bytes() for path in (tmp_path/'v1').rglob('*') if path.is_file() and not path.name.startswith('.')}
        write_document(archive, 1, ' Nothing more was heard of it.')
        write_document(archive, 30)
        done, calls, sent = getattr(dataset_module, moment), [], sum(server.counts.requests.values())
        def cut(*given, **named):
            calls.append(1)
            if len(calls) > after: raise PowerCut
            return done(*given, **named)
        with monkeypatch.context() as patch, pytest.raises(PowerCut):
            patch.setattr(dataset_module, moment, cut)
            build(tmp_path/'v2', config, plan_step(tmp_path/'v1', config))
        assert not (tmp_path/'v2'/'manifest.json').exists() and len(calls) == after + 1
        counts = build(tmp_path/'v2', config, plan_step(tmp_path/'v1', config), resume=True)
        assert counts['growth']['new_prompts'] == sum(server.counts.requests.values()) - sent == 4 and counts['growth']['came'] == counts['growth']['changed'] == 1
        assert {path: path.read_bytes() for path in (tmp_path/'v1').rglob('*') if path.is_file() and not path.name.startswith('.')} == before
        build(tmp_path/'full', config)
    assert content(tmp_path/'v2') == content(tmp_path/'full') and keys(tmp_path/'v2') == keys(tmp_path/'full')


KILLED = r'''
import os, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
import instructgen.bonito.dataset as dataset, instructgen.llm as llm, instructgen.versions as versions
from killing import at_each_moment, kill_at, kill_in_a_merge
from test_bonito_growth import build, plan_step, settings

def arm(moment):
    if moment == 'asking': kill_at(llm.Lane, 'arrived', 2, after=True)
    if moment == 'answered': kill_at(dataset, 'sort_texts', 1)              # texts and answers are written, no bucket is
    if moment == 'linking': kill_at(os, 'link', 4)                          # the Parquet file of a bucket is there, its part is not
    if moment == 'buckets': kill_at(dataset, 'write_part', 1, after=True)
    if moment == 'half a merge': kill_in_a_merge()
    if moment == 'names': kill_at(versions, 'absent_lines', 1)              # merged, and the lines about what went are not there yet
    if moment == 'manifest': kill_at(dataset, 'write_version', 1, after=True)

def run(folder):
    config = settings(Path(sys.argv[2]), llm=sys.argv[4], concurrency=1)
    build(Path(folder), config, plan_step(Path(sys.argv[3]), config))

at_each_moment(arm, run)
'''


def state(folder: Path) -> dict[str, tuple]:
    "Bytes and times of every file but the locks."
    return {path.relative_to(folder).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns) for path in sorted(folder.rglob('*')) if path.is_file() and path.name not in (GROWING, LOCKED)}


def test_kill_in_a_step_leaves_the_older_version_whole_and_the_step_resumable(archive, tmp_path, monkeypatch):
    with Writer() as server:
        config = settings(archive, llm=f'openai:bonito@{server.url}', concurrency=1)
        build(tmp_path/'v1', config)
        write_document(archive, 1, ' Nothing more was heard of it.')
        write_document(archive, 30)
        (archive/'d02.md').unlink()
        before, moments = state(tmp_path/'v1'), ('asking', 'answered', 'linking', 'buckets', 'half a merge', 'names', 'manifest')
        words = [sys.executable, '-c', KILLED, str(Path(__file__).parent), str(archive), str(tmp_path/'v1'), config.llm]
        for moment, folder, outputs, sent in killed_at(words, moments, tmp_path, lambda: sum(server.counts.requests.values())):
            assert (folder/'run.json').exists() and not (folder/'manifest.json').exists() and state(tmp_path/'v1') == before, moment
            monkeypatch.setenv('INSTRUCTGEN_OUTPUTS', str(outputs))
            counts = build(folder, config, plan_step(tmp_path/'v1', config), resume=True)
            new = sum(server.counts.requests.values()) - sent
            assert counts['growth']['new_prompts'] == 4 and new in ((4, 5) if moment == 'asking' else (4,)), (moment, new)
            assert [(item['name'], item['what']) for item in counts['growth']['named']] == [('archive/d02.md', 'went'), ('archive/d01.md', 'changed'), ('archive/d30.md', 'came')]
            assert state(tmp_path/'v1') == before and [drop.id for drop in read_lines(folder, Rejected) if drop.rule == 'gone'] == ['archive/d02.md'], moment
        monkeypatch.setenv('INSTRUCTGEN_OUTPUTS', str(tmp_path/'outputs'))
        grow(tmp_path/'v1', tmp_path/'undisturbed', config)
        build(tmp_path/'whole', config)
    for moment in (*moments, 'undisturbed'):
        folder = tmp_path/moment.replace(' ', '_')
        assert content(folder) == content(tmp_path/'whole') and keys(folder) == keys(tmp_path/'whole'), moment
        assert all((folder/name).read_bytes() == (tmp_path/'undisturbed'/name).read_bytes() for name in ('rejected.jsonl', 'changes.jsonl')), moment


def test_what_is_as_it_was_is_linked(archive, tmp_path):
    build(tmp_path/'v1', settings(archive))
    write_document(archive, 5, ' A sentence that the keeper added in the spring of that year.')
    counts, plan = grow(tmp_path/'v1', tmp_path/'v2', settings(archive))
    assert counts['growth']['buckets_written'] == counts['buckets_written'] == 1 and counts['growth']['buckets_linked'] == len(keys(tmp_path/'v2')) - 1
    same = [path for path in (tmp_path/'v2'/'parts').iterdir() if path.samefile(tmp_path/'v1'/'parts'/path.name)]
    assert len(same) == counts['growth']['buckets_linked'] and counts['growth']['bytes_linked'] > counts['growth']['bytes_written'] > 0


def test_a_document_that_was_taken_out_stays_out(archive, tmp_path):
    config = settings(archive)
    (archive/'letters').mkdir()
    for number in (50, 51): write_document(archive/'letters', number)
    build(tmp_path/'v1', config)
    drop_sources(tmp_path/'v1', ['archive/letters', 'archive/d03.md'], tmp_path/'v2', keep_answers=True)
    write_document(archive/'letters', 52)  # another one in a folder that was taken out
    write_document(archive, 40)
    counts, plan = grow(tmp_path/'v2', tmp_path/'v3', config)
    assert told(plan) == {'d40.md': 'came'} and {drop.id for drop in read_lines(tmp_path/'v3', Rejected) if drop.rule == 'dropped'} == {'archive/d03.md', *(f'archive/letters/d{number}.md' for number in (50, 51, 52))}
    assert not {'d03.md', 'letters/d50.md'} & {row.url.partition('#')[0] for row in rows(tmp_path/'v3').values()}
    assert read_version(tmp_path/'v3').dropped == read_version(tmp_path/'v2').dropped


def test_nothing_of_a_document_that_was_taken_out_is_read(archive, tmp_path):
    (archive/'d03.md').write_text((archive/'d03.md').read_text() + '\n# Secret\n\n' + 'secret = ring(bell)\n' * 20)
    shared = story(777, 4)
    for number in (3, 7): (archive/f'd{number:02}.md').write_text((archive/f'd{number:02}.md').read_text() + f'\n# Shared\n\n{shared}\n')
    config = settings(archive)
    build(tmp_path/'v1', config)
    drop_sources(tmp_path/'v1', ['archive/d03.md'], tmp_path/'v2', keep_answers=True)
    counts, plan = grow(tmp_path/'v2', tmp_path/'v3', config)
    assert 'secret' not in (tmp_path/'v3'/'rejected.jsonl').read_text() and 'secret' in (tmp_path/'v1'/'rejected.jsonl').read_text()
    (archive/'d03.md').unlink()
    build(tmp_path/'full', config)
    assert rows(tmp_path/'v3') == rows(tmp_path/'full') and {drop.id for drop in read_lines(tmp_path/'v3', Rejected) if drop.rule == 'dropped'} == {'archive/d03.md'}
    assert any(shared.split('.')[0] in row.context and row.url.startswith('d07.md') for row in rows(tmp_path/'v3').values())


def test_what_was_taken_out_stays_out_beside_a_place_of_the_same_name(archive, tmp_path):
    build(tmp_path/'v1', settings(archive))
    drop_sources(tmp_path/'v1', ['archive/d03.md'], tmp_path/'v2')
    (tmp_path/'other'/'archive').mkdir(parents=True)
    for number in (60, 61): write_document(tmp_path/'other'/'archive', number)
    config = settings(archive, contexts=f'{archive},{tmp_path/"other"/"archive"}')
    counts, plan = grow(tmp_path/'v2', tmp_path/'v3', config, listing='new')
    assert {'d60.md', 'd04.md'} <= {context.document for context in plan.contexts} and 'd03.md' not in {context.document for context in plan.contexts}


def test_answers_about_a_text_that_another_document_has_now_stay(archive, tmp_path):
    with Writer() as server:
        config = settings(archive, llm=f'openai:bonito@{server.url}')
        with open_run('bonito_data', asdict(config), out=tmp_path/'v1') as run: run.finish({name: value for name, value in build_bonito(run, config, *gather_contexts(config)[:2]).items() if isinstance(value, int)})
        text = (archive/'d03.md').read_text()
        (archive/'d03.md').write_text('\n\n'.join(text.split('\n\n')[2:]))  # its first part moves
        (archive/'x.md').write_text('\n\n'.join(text.split('\n\n')[:2]) + '\n')
        plan = plan_step(tmp_path/'v1', config)
        with open_run('bonito_data', asdict(config), out=tmp_path/'v2', previous=tmp_path/'v1') as run: run.finish({name: value for name, value in build_bonito(run, config, plan.contexts, plan.refused, plan=plan).items() if isinstance(value, int)})
        place, went = drop_sources(tmp_path/'v2', ['archive/d03.md'], tmp_path/'v3')
        assert went['answers'] == 2
        sent = sum(server.counts.requests.values())
        counts, plan = grow(tmp_path/'v3', tmp_path/'v4', config)
        assert sum(server.counts.requests.values()) == sent and counts['growth']['new_prompts'] == 0 and 'x.md' in {context.document for context in plan.contexts}


def test_a_drop_goes_through_where_moved_texts_cannot_be_looked_up(archive, tmp_path, monkeypatch, caplog):
    def gone(*given): raise FileNotFoundError('no training data')
    with Writer() as server:
        config = settings(archive, llm=f'openai:bonito@{server.url}')
        with open_run('bonito_data', asdict(config), out=tmp_path/'v1') as run: run.finish({name: value for name, value in build_bonito(run, config, *gather_contexts(config)[:2]).items() if isinstance(value, int)})
        monkeypatch.setattr('instructgen.drop.find_shared', gone)
        place, went = drop_sources(tmp_path/'v1', ['archive/d03.md'], tmp_path/'v2')
    assert went['answers'] == 3 and 'd03.md' not in {context.document for context in read_lines(place, Context)} and 'are not spared: no training data' in caplog.text


def test_other_rules_are_refused_before_anything_is_asked(archive, tmp_path):
    with Writer() as server:
        config = settings(archive, llm=f'openai:bonito@{server.url}')
        build(tmp_path/'v1', config)
        sent = sum(server.counts.requests.values())
        write_document(archive, 30)
        for more, message in (({'temperature': .2}, 'temperature 0.5.*temperature 0.2'), ({'task_types': 'nli'}, 'task_types'), ({'confirm': 'rules'}, 'confirm')):
            with pytest.raises(ValueError, match=message): grow(tmp_path/'v1', tmp_path/f'other {next(iter(more))}', replace(config, **more))
        assert sum(server.counts.requests.values()) == sent


def test_the_report_of_a_step(archive, tmp_path):
    more = {'contexts': str(archive), 'license': 'own', 'max_chars': 500}
    first, folder = tmp_path/'runs'/'one', tmp_path/'runs'/'two'
    run_report('bonito_data', out=str(first), **more)
    before = {path: path.read_bytes() for path in first.rglob('*') if path.is_file()}
    write_document(archive, 1, ' Another ending of the first year.')
    (archive/'d02.md').unlink()
    write_document(archive, 20)
    run_report('bonito_data', out=str(folder), previous=str(tmp_path/'runs'), gone='keep', **more)
    manifest, page = read_manifest(folder), (folder/'report.html').read_text()
    assert manifest['parent'] == str(first) and manifest['growth'] == json.loads((folder/'version.json').read_text())['growth']
    assert {what: manifest['growth'][what] for what in ('came', 'changed', 'unchanged', 'kept', 'new_prompts')} == {'came': 1, 'changed': 1, 'unchanged': 10, 'kept': 1, 'new_prompts': 4}
    assert 'no longer there' in page and '1 documents are kept' in page
    table = [line.split(',')[:2] for line in (folder/'tables'/'growth.csv').read_text().splitlines()]
    assert table[1:4] == [['archive/d20.md', 'came'], ['archive/d01.md', 'changed'], ['archive/d02.md', 'kept']] and {what for _, what in table[4:]} == {'unchanged'}
    assert {path: path.read_bytes() for path in first.rglob('*') if path.is_file() and not path.name.startswith('.')} == {path: data for path, data in before.items() if not path.name.startswith('.')}
    (folder/'manifest.json').unlink()  # as if it had been killed at the end
    made = content(folder)
    run_report('bonito_data', out=str(folder), resume=True)
    assert content(folder) == made and read_manifest(folder)['growth'] == manifest['growth'] and read_manifest(folder)['buckets_written'] == 0


# ---- the hub

def test_texts_of_the_hub_are_pinned_and_a_dataset_counts_as_one(tmp_path, monkeypatch):
    def dataset(first: int, license: str = 'mit', sha: str = 'a' * 40) -> dict:
        return repository(f'---\nlicense: {license}\nlanguage: en\n---\n# News\n', {'train.jsonl': ''.join(json.dumps({'text': story(i)}) + '\n' for i in range(first, first + 8))}, sha=sha, tags=['language:en', f'license:{license}'])
    repositories = {'me/news': dataset(0), 'me/tales': dataset(20)}
    with HubServer(repositories) as server:
        monkeypatch.setenv('HF_ENDPOINT', server.address)
        config = BonitoConfig(contexts='hub:?language=en')
        with open_run('bonito_data', {}, out=tmp_path/'v1') as run:
            texts, refused, *_ = gather_contexts(config, run.folder)
            first = build_bonito(run, config, texts, refused)
            run.close()
        repositories['me/more'] = dataset(40, sha='b' * 40)
        repositories['me/news'] = dataset(100, sha='c' * 40) | {'branches': {'old': {name: repositories['me/news'][name] for name in ('sha', 'files')}}}
        with open_run('bonito_data', {}, out=tmp_path/'v1', resume=True) as run:
            calls = server.calls.copy()
            assert gather_contexts(config, run.folder)[:2] == (texts, refused)  # it goes on with what it began with
            assert not any(path.startswith('/api/datasets') and path.endswith('datasets') for path in server.calls - calls)
            counts = build_bonito(run, config, texts, refused)
            run.finish({'examples': counts['examples']})
        assert counts['buckets_written'] == 0 and counts['examples'] == first['examples'] > 0
        assert {entry['revision'] for entry in json.loads((tmp_path/'v1'/'hub_sources.json').read_text())['sources']} == {'a' * 40}
        del repositories['me/tales']
        now, refused, lengths, _ = gather_contexts(config, tmp_path)
        plan = plan_step(tmp_path/'v1', config, (now, refused, lengths))
        assert told(plan) == {'news:default:train': 'changed', 'more:default:train': 'came', 'tales:default:train': 'went'}
        assert next(change.why for change in plan.changes if change.what == 'changed') == f'revision {"a" * 40} -> {"c" * 40}' and text_origin(now[0]) == 'me/more:default:train'
        with pytest.raises(ValueError, match='give another path'): gather_contexts(replace(config, contexts='hub:me/news'), tmp_path)


def test_texts_that_were_not_reached_are_asked_for_again(tmp_path, monkeypatch):
    def add(name: str, day: int) -> None:
        texts = ''.join(json.dumps({'text': story(100 * day + i)}) + '\n' for i in range(6))
        repositories[name] = repository('---\nlicense: mit\nlanguage: en\n---\n# News\n', {'train.jsonl': texts}, tags=['language:en']) | {'created': f'2026-11-{day:02d}T12:00:00.000Z'}
    def day(number: int) -> dict:
        config, before, folder = BonitoConfig(contexts=f'hub:?language=en&created_after=2026-11-{number:02d}'), tmp_path/f'day-{number - 1}', tmp_path/f'day-{number}'
        version = read_version(before) if number > 1 else None
        with open_run('bonito_data', {}, out=folder, previous=before if version else '') as run:
            gathered = gather_contexts(config, run.folder, empty=bool(version), waiting=wait_for(version.unreached, version.folder) if version else ())
            plan = plan_texts(*gathered[:3], config, version, GrowthPolicy('new'))
            counts = build_bonito(run, config, plan.contexts, plan.refused, plan=plan)
            run.finish({'examples': counts['examples']}, growth=counts['growth'])
        return counts['growth']
    monkeypatch.setattr('instructgen.hub.TRIES', 1)
    repositories: dict = {}
    with HubServer(repositories) as server:
        monkeypatch.setenv('HF_ENDPOINT', server.address)
        add('me/one', 1)
        assert 'unreached' not in day(1)
        add('me/late', 2)
        server.failures = [('me/late', 503, {})] * 99
        second = day(2)
        assert second['unreached'] == {'me/late': 1} and [drop.rule for drop in read_lines(tmp_path/'day-2', Rejected) if drop.id == 'me/late'] == ['unreachable']
        server.failures = []
        third = day(3)
        assert 'unreached' not in third and [(item['name'], item['what']) for item in third['named']] == [('me/late:default:train', 'came')]
        assert not any(drop.id == 'me/late' for drop in read_lines(tmp_path/'day-3', Rejected)) and {row.source for row in rows(tmp_path/'day-3').values()} == {'me/one', 'me/late'}
        assert day(4)['unchanged'] == 2


# ---- the earlier run

def test_runs_from_which_nothing_can_grow(archive, tmp_path):
    with pytest.raises(FileNotFoundError, match='holds no run'): read_texts(archive)
    with pytest.raises(ZeroDivisionError), open_run('bonito_data', {}, out=tmp_path/'failed'): 1 / 0
    with open_run('dynosaur_data', {}, out=tmp_path/'other') as run: run.finish({})
    (tmp_path/'killed').mkdir()
    (tmp_path/'killed'/'run.json').write_text('{}')
    for name, why in (('failed', 'is failed'), ('killed', 'is interrupted'), ('other', 'has no contexts.jsonl')):
        with pytest.raises(ValueError, match=why): read_texts(tmp_path/name)


def test_making_tells_what_shapes_an_example():
    config = BonitoConfig()
    with open_llm('rules') as llm:
        first = text_making(config, llm)
        assert json.loads(json.dumps(first)) == first
        for name, value in (('contexts', 'x'), ('concurrency', 3), ('timeout', 1.), ('budget_calls', 2), ('price_in', 1.)): assert text_making(replace(config, **{name: value}), llm) == first, name
        for name, value in (('seed', 1), ('limit', 5), ('draws', 2), ('retries', 1), ('max_chars', 900), ('temperature', .1), ('rules', 'published'), ('label_share', .8), ('two_step', True), ('confirm', 'self'), ('form', 'chat'),
                            ('task_types', 'exqa,ynqa'), ('license', 'own'), ('languages', 'de'), ('column', 'text'), ('llm', 'recorded:x')): assert text_making(replace(config, **{name: value}), llm) != first, name
        assert text_making(config, llm, memorised=frozenset({'a'})) != first
        assert text_making(replace(config, confirm='openai:m'), llm, open_llm('openai:m'))['confirm'] != 'openai:m'  # by its fingerprint, which has the address


# ---- real documents

def test_an_edited_pep_keeps_most_of_its_texts(shared_data, tmp_path):
    with tarfile.open(shared_data/'text'/'peps.tar.xz') as file: file.extractall(tmp_path/'peps', members=[member for member in file.getmembers() if member.isfile()][10:18], filter='data')
    files = sorted(path for path in (tmp_path/'peps').rglob('*') if path.is_file())
    config = BonitoConfig(contexts=str(tmp_path/'peps'))
    build(tmp_path/'v1', config)
    for path in files[:4]:
        text = path.read_text(errors='replace')
        place = text.find('\n\n', len(text) // 10)
        path.write_text(text[:place] + f'\n\nThis paragraph was added to {path.name} by an editor, and it says nothing that is new to anybody at all.' + text[place:])
    before = read_texts(tmp_path/'v1')
    counts, plan = grow(tmp_path/'v1', tmp_path/'v2', config)
    numbers = count_changes(plan.changes)
    assert (numbers['changed'], numbers['unchanged'], numbers['came'], numbers['went']) == (4, 4, 0, 0)
    assert 4 <= numbers['texts_new'] < .2 * numbers['texts'] and len(plan.standing) > .8 * len(before.generations)
    build(tmp_path/'full', config)
    assert content(tmp_path/'v2') == content(tmp_path/'full')
    assert sum(keys(tmp_path/'v1').get(number) != key for number, key in keys(tmp_path/'v2').items()) <= 4
