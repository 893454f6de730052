"""A source taken out of a finished version: nothing of it is left in the next one nor in the ledger, all else is as it was, and it does not come back."""
import json
import shutil
from dataclasses import asdict
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instructgen import drop as drop_module
from instructgen.bonito.checks import read_generations
from instructgen.bonito.config import BonitoConfig, gather_contexts
from instructgen.bonito.dataset import build_bonito
from instructgen.bonito.tables import check_funnel as check_texts
from instructgen.chunks import text_origin
from instructgen.cli import main
from instructgen.drop import drop_sources, find_leaving, match_sources
from instructgen.dynosaur.config import DatasetConfig, gather_sources
from instructgen.dynosaur.dataset import build_dataset
from instructgen.dynosaur.growth import plan_growth
from instructgen.dynosaur.prompts import load_prompts
from instructgen.dynosaur.selection import write_selection
from instructgen.dynosaur.tables import check_funnel, source_table
from instructgen.ledger import Ledger
from instructgen.locks import GROWING, LOCKED
from instructgen.records import CONSTANT_COLUMNS, Context, Rejected, SourceCard, Task, to_json
from instructgen.report import run_report
from instructgen.run_llm import open_model
from instructgen.run_tables import read_examples, read_lines
from instructgen.sources import demo_folder, forget_remote
from instructgen.store import bucket_of, bucket_path, open_run, read_manifest, read_part
from instructgen.versions import read_version, write_version
from llm_server import LLMServer

NAMES = ('course_feedback', 'support_tickets', 'town_guide', 'trail_statements', 'unit_problems')


@pytest.fixture(autouse=True)
def own_outputs(tmp_path, monkeypatch):
    "A ledger of each test's own."
    monkeypatch.setenv('INSTRUCTGEN_OUTPUTS', str(tmp_path/'outputs'))


def sources(folder: Path) -> Path:
    for name in NAMES: shutil.copytree(demo_folder()/name, folder/name)
    return folder


def make(folder: Path, config: DatasetConfig, previous: Path | str = '') -> dict:
    "A version of a Dynosaur dataset, grown from another or not."
    with open_run('dynosaur_data', asdict(config), out=folder, previous=previous) as run, open_model(config, folder) as llm:
        before = read_version(previous) if previous else None
        cards, refused = gather_sources(config, run.folder)
        plan = plan_growth(cards, refused, config, load_prompts(config.prompts), llm, before)
        counts = build_dataset(run, config, cards, refused, llm, plan)
        run.finish({name: value for name, value in counts.items() if isinstance(value, int)}, 'stopped' if counts['stopped'] else 'complete', llm=counts['llm'])
    return counts


@pytest.fixture
def v1(tmp_path) -> Path:
    "A first version of five sources by the embedded writer."
    make(tmp_path/'v1', DatasetConfig(sources=str(sources(tmp_path/'sources')), limit=5))
    return tmp_path/'v1'


@pytest.fixture(scope='module')
def kept_run(tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp('module')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('INSTRUCTGEN_OUTPUTS', str(home/'outputs'))
        make(home/'v1', DatasetConfig(sources=str(sources(home/'sources')), limit=5))
    return home/'v1'


def state(folder: Path) -> dict[str, tuple]:
    "Bytes and times of every file but the locks."
    return {path.relative_to(folder).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns) for path in sorted(folder.rglob('*')) if path.is_file() and path.name not in (GROWING, LOCKED)}


def everything(folder: Path) -> str:
    "All text of a run folder, with what stands in the Parquet files, unused entries of dictionaries included."
    found = [path.read_text('utf-8', 'replace') for path in folder.rglob('*') if path.is_file() and path.suffix != '.parquet']
    for path in folder.rglob('*.parquet'):
        table = pq.read_table(path, read_dictionary=list(CONSTANT_COLUMNS), partitioning=None)
        for name, column in zip(table.column_names, table.columns): found.append(json.dumps([chunk.dictionary.to_pylist() if name in CONSTANT_COLUMNS else chunk.to_pylist() for chunk in column.chunks], ensure_ascii=False))
    return '\n'.join(found)


def answers(place: Path) -> list[tuple]:
    "Keys of a ledger and what they are about."
    with Ledger(place/'llm.sqlite') as ledger: return ledger.database.execute('SELECT lower(hex(key)), about FROM answers ORDER BY 1').fetchall()


# ---- the new version

def test_the_rest_is_as_it_was(v1, tmp_path):
    before = state(v1)
    place, went = drop_sources(v1, ['town_guide'], tmp_path/'v2')
    assert state(v1) == before and place == tmp_path/'v2'
    version = read_version(place)  # its files are as the manifest has them
    assert (version.number, version.method, list(version.dropped), version.making) == (2, 'dynosaur', ['town_guide'], read_version(v1).making)
    old, new = read_examples(v1).to_pylist(), read_examples(place).to_pylist()
    assert new == [row for row in old if row['source'] != 'town_guide'] and len(new) == len(old) - went['examples'] < len(old)
    assert read_lines(place, Task) == [task for task in read_lines(v1, Task) if task.source != 'town_guide']
    assert read_lines(place, SourceCard) == [card for card in read_lines(v1, SourceCard) if card.name != 'town_guide']
    assert [drop for drop in read_lines(place, Rejected) if drop.rule != 'dropped'] == [drop for drop in read_lines(v1, Rejected) if drop.where != 'town_guide' and drop.id != 'town_guide' and not drop.id.startswith('town_guide:')]
    assert [(drop.kind, drop.id) for drop in read_lines(place, Rejected) if drop.rule == 'dropped'] == [('source', 'town_guide')]
    counts = read_manifest(place)['counts']
    assert counts['tasks'] == read_manifest(v1)['counts']['tasks'] - went['tasks'] and counts['examples'] == len(new)
    check_funnel(place, counts)
    assert set(source_table(place).source) == set(NAMES) - {'town_guide'}
    assert 'town_guide' not in (place/'dataset'/'README.md').read_text().partition('## How it was made')[0] and (place/'provenance.csv').read_text().count('town_guide') == 0


def test_nothing_of_the_source_is_left(v1, tmp_path):
    card = next(card for card in read_lines(v1, SourceCard) if card.name == 'town_guide')
    cells = {value for row in read_examples(v1).to_pylist() if row['source'] == 'town_guide' for value in (row['output'], row['instruction'], *row['input'].split('\n')) if len(value) > 30}
    others = everything(demo_folder().parent/'demo'/'unit_problems')
    texts = {text for text in {*cells, card.summary[:60], *(task.instruction for task in read_lines(v1, Task) if task.source == 'town_guide')} if text not in others}
    assert len(texts) > 10 and all(text in everything(v1) or json.dumps(text, ensure_ascii=False)[1:-1] in everything(v1) for text in sorted(texts)[:5])
    place, _ = drop_sources(v1, ['town_guide'], tmp_path/'v2')
    left = everything(place)
    assert [text for text in texts if json.dumps(text, ensure_ascii=False)[1:-1] in left] == []


def test_untouched_buckets_are_links(v1, tmp_path):
    place, _ = drop_sources(v1, ['town_guide'], tmp_path/'v2')
    growth, touched = read_manifest(place)['growth'], bucket_of('town_guide')
    heads = {number: head for number in range(64) if (head := read_part(v1, number))}
    assert growth['went'] == 1 and growth['unchanged'] == 4 and growth['new_prompts'] == 0
    assert (growth['buckets_linked'], growth['buckets_written']) == (len(heads) - 1, 1)
    for number in heads:
        part = Path('parts')/f'{number:02d}.jsonl'
        assert (place/part).samefile(v1/part) == (number != touched)
        if bucket_path(v1, number).exists() and number != touched: assert bucket_path(place, number).samefile(bucket_path(v1, number))
    assert read_part(place, touched)['key'] != heads[touched]['key']


def test_a_second_source_of_the_bucket_stays(tmp_path):
    folder = sources(tmp_path/'sources')
    other = next(f'guide{number}' for number in range(1000) if bucket_of(f'guide{number}') == bucket_of('town_guide'))
    shutil.copytree(demo_folder()/'unit_problems', folder/other)
    make(tmp_path/'v1', DatasetConfig(sources=str(folder), limit=5))
    place, _ = drop_sources(tmp_path/'v1', ['town_guide'], tmp_path/'v2')
    rows = [row for row in read_examples(tmp_path/'v1').to_pylist() if row['source'] == other]
    assert rows and [row for row in read_examples(place).to_pylist() if row['source'] == other] == rows
    entry = read_part(tmp_path/'v1', bucket_of(other))['counts']['by_source'][other]
    assert read_part(place, bucket_of(other))['counts']['by_source'] == {other: entry}
    check_funnel(place, read_manifest(place)['counts'])


@settings(max_examples=8, deadline=None)
@given(chosen=st.sets(st.sampled_from(NAMES), min_size=1))
def test_any_sources_together(kept_run, tmp_path_factory, chosen):
    place, went = drop_sources(kept_run, sorted(chosen), tmp_path_factory.mktemp('any')/'v2', keep_answers=True)
    assert [row for row in read_examples(kept_run).to_pylist() if row['source'] not in chosen] == read_examples(place).to_pylist()
    counts = read_manifest(place)['counts']
    check_funnel(place, counts)
    assert went['sources'] == len(chosen) == read_manifest(kept_run)['counts']['sources'] - counts['sources']
    assert (place/'dataset'/'README.md').exists() == (chosen != set(NAMES)) == bool(counts['examples'])  # without examples there is no card
    assert read_version(place).number == 2


def test_one_after_the_other(v1, tmp_path):
    drop_sources(v1, ['town_guide'], tmp_path/'v2')
    place, went = drop_sources(tmp_path/'v2', ['unit_problems', 'course_feedback'], tmp_path/'v3')
    assert sorted(read_version(place).dropped) == ['course_feedback', 'town_guide', 'unit_problems'] and read_version(place).number == 3
    assert {drop.id for drop in read_lines(place, Rejected) if drop.rule == 'dropped'} == {'course_feedback', 'town_guide', 'unit_problems'}
    check_funnel(place, read_manifest(place)['counts'])
    assert went['held_by'] == [str(v1), str(tmp_path/'v2')]
    both, _ = drop_sources(v1, ['town_guide', 'unit_problems', 'course_feedback'], tmp_path/'at_once')
    assert read_examples(both).to_pylist() == read_examples(place).to_pylist()


def test_a_source_stands_for_its_configurations(tmp_path):
    folder = sources(tmp_path/'sources')
    (folder/'letters').mkdir()
    def write(*names: str) -> None:
        for name in names: shutil.copy(demo_folder()/'unit_problems'/'data'/'train.jsonl', folder/'letters'/f'{name}.jsonl')
        text = '---' + (demo_folder()/'unit_problems'/'README.md').read_text().split('---')[1]
        listed = ''.join(f'- config_name: {name}\n  data_files: {name}.jsonl\n' for name in names)
        (folder/'letters'/'README.md').write_text(f'{text}configs:\n{listed}---\n# Letters\n\n## Dataset Summary\n\nSums in words about lengths and weights, with their solutions.\n')
    write('english', 'welsh')
    config = DatasetConfig(sources=str(folder), limit=5)
    make(tmp_path/'v1', config)
    version = read_version(tmp_path/'v1')
    assert match_sources(version, ['letters']) == ['letters-english', 'letters-welsh'] and match_sources(version, ['letters-welsh']) == ['letters-welsh']
    place, _ = drop_sources(tmp_path/'v1', ['letters'], tmp_path/'v2')
    assert set(read_version(place).dropped) == {'letters', 'letters-english', 'letters-welsh'} and 'letters' not in set(read_examples(place)['source'].to_pylist())
    one, _ = drop_sources(tmp_path/'v1', ['letters-welsh'], tmp_path/'one')
    assert {row['config'] for row in read_examples(one).to_pylist() if row['source'] == 'letters'} == {'english'}
    write('english', 'irish', 'welsh')  # a configuration more, of a source that was dropped whole
    make(tmp_path/'v3', config, place)
    assert 'letters' not in set(read_examples(tmp_path/'v3')['source'].to_pylist())


def test_what_waited_and_what_was_never_asked_adds_up(tmp_path):
    folder = sources(tmp_path/'sources')
    (folder/'lonely').mkdir()
    (folder/'lonely'/'data.jsonl').write_text('{"text": "only one field"}\n' * 5)
    (folder/'lonely'/'README.md').write_text('---\nlicense: mit\nlanguage: en\n---\n# Lonely\n')
    make(tmp_path/'v1', DatasetConfig(sources=str(folder), limit=5, budget_calls=5))
    counts = read_manifest(tmp_path/'v1')['counts']
    assert counts['sources_pending'] >= 2
    for number, name in enumerate(('lonely', *NAMES)):
        place, _ = drop_sources(tmp_path/'v1', [name], tmp_path/f'without{number}')
        left = read_manifest(place)['counts']
        check_funnel(place, left)
        assert read_manifest(place)['status'] == 'stopped' and 0 <= left['sources_pending'] <= counts['sources_pending'] and len(read_lines(place, SourceCard)) == 5


# ---- the answers

def test_its_answers_go_and_no_other(tmp_path):
    with LLMServer(answer='rules') as server:
        config = DatasetConfig(sources=str(sources(tmp_path/'sources')), limit=5, llm=f'openai:test@{server.url}')
        make(tmp_path/'v1', config)
        kept = answers(tmp_path/'outputs')
        assert {about for _, about in kept} == set(NAMES) and len(kept) == 9  # one has no description
        text = read_lines(tmp_path/'v1', Task)[[task.source for task in read_lines(tmp_path/'v1', Task)].index('town_guide')].instruction.encode()
        assert any(text in path.read_bytes() for path in (tmp_path/'outputs').glob('llm.sqlite*'))
        place, went = drop_sources(tmp_path/'v1', ['town_guide'], tmp_path/'v2')
        assert went['answers'] == 2 and answers(tmp_path/'outputs') == [pair for pair in kept if pair[1] != 'town_guide']
        assert not any(text in path.read_bytes() for path in (tmp_path/'outputs').glob('llm.sqlite*'))
        assert read_manifest(place)['dropped']['answers'] == 2
        before = server.counts.summary()['requests']
        counts = make(tmp_path/'v3', config, place)  # the folder still lists it
        assert server.counts.summary()['requests'] == before and counts['growth']['new_prompts'] == 0
    assert 'town_guide' not in set(read_examples(tmp_path/'v3')['source'].to_pylist())
    assert read_examples(tmp_path/'v3').to_pylist() == read_examples(place).to_pylist() and (tmp_path/'v3'/'rejected.jsonl').read_bytes() == (place/'rejected.jsonl').read_bytes()
    assert list(read_version(tmp_path/'v3').dropped) == ['town_guide'] and answers(tmp_path/'outputs') == [pair for pair in kept if pair[1] != 'town_guide']


def test_answers_from_before_the_column_are_found_by_their_questions(tmp_path):
    with LLMServer(answer='rules') as server:
        config = DatasetConfig(sources=str(sources(tmp_path/'sources')), limit=5, settings='aware', seed=3, max_tokens=300, llm=f'openai:test@{server.url}')
        make(tmp_path/'v1', config)
        kept = answers(tmp_path/'outputs')
        with Ledger(tmp_path/'outputs'/'llm.sqlite') as ledger: ledger.database.execute("UPDATE answers SET about = ''")
        guide = tmp_path/'sources'/'town_guide'/'README.md'
        guide.write_text(guide.read_text().replace('## Dataset Summary', '## Dataset Summary\n\nNew words.'))
        make(tmp_path/'v2', config, tmp_path/'v1')  # the same source with another card, and one answer more
        assert len(answers(tmp_path/'outputs')) == len(kept) + 1
    _, went = drop_sources(tmp_path/'v2', ['town_guide'], tmp_path/'v3')
    assert went['answers'] == 2  # also that of the first version
    assert [key for key, _ in answers(tmp_path/'outputs')] == [key for key, about in kept if about != 'town_guide']


def test_answers_can_be_kept(tmp_path):
    with LLMServer(answer='rules') as server: make(tmp_path/'v1', DatasetConfig(sources=str(sources(tmp_path/'sources')), limit=5, llm=f'openai:test@{server.url}'))
    kept = answers(tmp_path/'outputs')
    assert drop_sources(tmp_path/'v1', ['town_guide'], tmp_path/'v2', keep_answers=True)[1]['answers'] == 0 and answers(tmp_path/'outputs') == kept


def test_no_ledger_is_made_where_there_is_none(v1, tmp_path):
    _, went = drop_sources(v1, ['town_guide'], tmp_path/'v2')
    assert went['answers'] == 0 and not list(tmp_path.rglob('llm.sqlite'))


def test_a_prompt_file_that_is_gone_is_told_and_does_not_stop_it(tmp_path, caplog):
    own = tmp_path/'own.yaml'
    shutil.copy(Path(drop_module.__file__).parent/'dynosaur'/'en.yaml', own)
    with LLMServer(answer='rules') as server: make(tmp_path/'v1', DatasetConfig(sources=str(sources(tmp_path/'sources')), limit=5, prompts=str(own), llm=f'openai:test@{server.url}'))
    own.unlink()
    _, went = drop_sources(tmp_path/'v1', ['town_guide'], tmp_path/'v2')
    assert went['answers'] == 2 and 'are not looked for' in caplog.text  # those with a name went


def test_sample_rows_of_the_hub_go_too(v1, tmp_path):
    cache = tmp_path/'outputs'/'hub.jsonl'
    cache.parent.mkdir(exist_ok=True)
    cards = [SourceCard('town_guide', rows=({'text': 'SECRET'},)), SourceCard('others', rows=({'text': 'open'},))]
    cache.write_text(''.join(json.dumps({'key': card.name, 'results': [json.loads(to_json(card))]}) + '\n' for card in cards))
    assert drop_sources(v1, ['town_guide'], tmp_path/'v2')[1]['fetched'] == 1
    assert 'SECRET' not in cache.read_text() and 'open' in cache.read_text()


def test_only_the_lines_of_a_repository_go(tmp_path):
    cache = tmp_path/'hub.jsonl'
    lines = {'films': [SourceCard('me/films', 'de'), SourceCard('me/films', 'en')], 'songs': [SourceCard('me/songs')], 'gated': [Rejected('source', 'me/gated', 'no_license')], 'more': [SourceCard('me/films2')]}
    cache.write_text(''.join(json.dumps({'key': key, 'results': [json.loads(to_json(result)) for result in results]}) + '\n' for key, results in lines.items()))
    whole = cache.read_bytes()
    assert forget_remote(cache, ['me/film', 'films', '']) == 0 and cache.read_bytes() == whole
    assert forget_remote(cache, ['me/films-en', 'me/gated']) == 2
    assert [json.loads(line)['key'] for line in cache.read_text().splitlines()] == ['songs', 'more']
    with open(cache, 'a') as file: file.write('{"key": "cut off", "results": [{"source": "me/so')
    assert forget_remote(cache, ['me/nothing']) == 0 and 'cut off' not in cache.read_text() and cache.read_text().count('\n') == 2
    assert forget_remote(tmp_path/'none.jsonl', ['me/films']) == 0 and not (tmp_path/'none.jsonl').exists()


@pytest.mark.parametrize('profile', ['super_ni', 'user'])
def test_answers_of_a_selection_are_about_their_source(tmp_path, profile):
    with LLMServer(answer='rules') as server:
        config = DatasetConfig(sources=str(sources(tmp_path/'sources')), limit=5, llm=f'openai:test@{server.url}')
        make(tmp_path/'v1', config)
        with open_model(config, tmp_path/'v1') as llm: write_selection(tmp_path/'v1', profile, llm)
    with Ledger(tmp_path/'outputs'/'llm.sqlite') as ledger: kept = ledger.database.execute('SELECT purpose, about FROM answers').fetchall()
    assert {purpose for purpose, _ in kept} > {'generate'} and {about for _, about in kept} <= set(NAMES)
    place, went = drop_sources(tmp_path/'v1', ['unit_problems'], tmp_path/'v2')
    assert went['answers'] == sum(about == 'unit_problems' for _, about in kept) and 'unit_problems' not in {about for _, about in answers(tmp_path/'outputs')}
    held = [str(tmp_path/'v1'), str(tmp_path/'v1'/f'selection_{profile}')]
    assert set(went['held_by']) <= set(held) and held[0] in went['held_by']


# ---- trouble

def test_what_is_refused(v1, tmp_path):
    before = state(v1)
    for ids, message in ((['town_gide'], "no source 'town_gide', but town_guide"), (['GUIDE'], 'but town_guide'), (['zzz'], 'it has 5 others'), ([], 'no source is named'), ([''], 'no source')):
        with pytest.raises(ValueError, match=message): drop_sources(v1, ids, tmp_path/'v2')
    with pytest.raises(FileNotFoundError): drop_sources(tmp_path/'nothing', ['town_guide'], tmp_path/'v2')
    assert not (tmp_path/'v2').exists() and state(v1) == before
    with pytest.raises(FileExistsError, match='holds a run'): drop_sources(v1, ['town_guide'], make_other(tmp_path))
    drop_sources(v1, ['town_guide'], tmp_path/'v2')
    with pytest.raises(ValueError, match='was taken out of .* before, on 20'): drop_sources(tmp_path/'v2', ['town_guide'], tmp_path/'v3')
    path = next(iter((v1/'parts').glob('*.jsonl')))
    path.write_bytes(path.read_bytes() + b' ')
    with pytest.raises(ValueError, match='is not the file that the run wrote'): drop_sources(v1, ['unit_problems'], tmp_path/'v3')
    assert not (tmp_path/'v3').exists()


def make_other(tmp_path: Path) -> Path:
    with open_run('other', {}, out=tmp_path/'other') as run: run.finish({})
    return run.folder


def test_not_while_it_is_written_or_grown(v1, tmp_path):
    with open_run('dynosaur_data', {}, out=tmp_path/'grows', previous=v1):
        with pytest.raises(BlockingIOError, match='is being grown from .* already'): drop_sources(v1, ['town_guide'], tmp_path/'v2')
    assert not (tmp_path/'v2'/'run.json').exists()
    drop_sources(v1, ['town_guide'], tmp_path/'v2')


@pytest.mark.parametrize('moment', ['a bucket', 'the merge', 'the answers', 'the manifest'])
def test_an_interrupted_drop_goes_on(v1, tmp_path, monkeypatch, moment):
    before = state(v1)
    place, _ = drop_sources(v1, ['town_guide'], tmp_path/'whole')
    name = {'a bucket': 'leave_bucket', 'the merge': 'merge_parts', 'the answers': 'forget_answers', 'the manifest': 'write_version'}[moment]
    real, calls = getattr(drop_module, name), []

    def fails(*given, **named):
        calls.append(1)
        if moment != 'a bucket' or len(calls) == 40: raise KeyboardInterrupt
        return real(*given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(drop_module, name, fails)
        with pytest.raises(KeyboardInterrupt): drop_sources(v1, ['town_guide'], tmp_path/'v2')
    assert state(v1) == before and not (tmp_path/'v2'/'manifest.json').exists()
    with pytest.raises(ValueError, match="parameter 'dropped'"): drop_sources(v1, ['unit_problems'], tmp_path/'v2', resume=True)
    again, went = drop_sources(v1, ['town_guide'], tmp_path/'v2', resume=True)
    assert went['examples'] > 0 and read_version(again).number == 2
    assert read_examples(again).to_pylist() == read_examples(place).to_pylist() and read_manifest(again)['counts'] == read_manifest(place)['counts']


# ---- documents

STORY = ('{who} opened the {what} office of the town in 1931. It was the first of its kind, and her daughter led it until 1978, when the river took the house. Today {who} has a street of her own near the station.')


def documents(folder: Path, count: int = 6) -> Path:
    (folder/'inner').mkdir(parents=True)
    people = ('Nora Lind', 'Ada Holm', 'Ruth Berg', 'Ines Falk', 'Olga Strand', 'Vera Dahl')
    for number in range(count):
        what = ('tax', 'post', 'land', 'water', 'harbour', 'school')[number]
        (folder/('inner' if number % 2 else '.')/f'd{number}.txt').write_text('\n\n'.join([STORY.format(who=people[number], what=what), f'too short {what}']))
    (folder/'rows.csv').write_text('text,kind\n' + ''.join(f'"{STORY.format(who=f"Lena Nord{number}", what="lamp")}",a\n' for number in range(3)))
    return folder


def make_texts(folder: Path, config: BonitoConfig) -> dict:
    with open_run('bonito_data', asdict(config), out=folder) as run, open_model(config, folder) as llm:
        contexts, refused = gather_contexts(config)[:2]
        counts = build_bonito(run, config, contexts, refused, llm)
        run.finish({name: value for name, value in counts.items() if isinstance(value, int)}, 'stopped' if counts['stopped'] else 'complete')
    return counts


def test_a_document_goes_with_all_that_was_made_of_it(tmp_path):
    make_texts(tmp_path/'v1', BonitoConfig(contexts=str(documents(tmp_path/'files')), draws=4, min_chars=40, license='own'))
    before = state(tmp_path/'v1')
    assert 'Ada Holm' in everything(tmp_path/'v1') and len(read_examples(tmp_path/'v1')) > 20
    place, went = drop_sources(tmp_path/'v1', ['files/inner/d1.txt'], tmp_path/'v2')
    assert state(tmp_path/'v1') == before and went['examples'] > 0
    assert 'Ada Holm' not in everything(place) and 'post office' not in everything(place)
    leaving = find_leaving(tmp_path/'v1', ['files/inner/d1.txt'], 'bonito')
    assert read_examples(place).to_pylist() == [row for row in read_examples(tmp_path/'v1').to_pylist() if row['url'].partition('#')[0] != 'inner/d1.txt']
    assert read_lines(place, Context) == [context for context in read_lines(tmp_path/'v1', Context) if context.document != 'inner/d1.txt']
    assert read_generations(place) == [done for done in read_generations(tmp_path/'v1') if done.context_id not in leaving.texts]
    assert sorted(map(to_json, (drop for drop in read_lines(place, Rejected) if drop.rule != 'dropped'))) == sorted(to_json(drop) for drop in read_lines(tmp_path/'v1', Rejected) if drop not in leaving.drops)
    check_texts(place, read_manifest(place)['counts'])
    assert read_version(place).method == 'bonito' and not (place/'tasks.jsonl').exists()
    assert read_manifest(place)['growth']['buckets_linked'] > 0


def test_a_folder_and_a_table_of_documents(tmp_path):
    make_texts(tmp_path/'v1', BonitoConfig(contexts=str(documents(tmp_path/'files')), min_chars=40))
    version = read_version(tmp_path/'v1')
    assert match_sources(version, ['files/inner/']) == ['files/inner/d1.txt', 'files/inner/d3.txt', 'files/inner/d5.txt']
    assert match_sources(version, ['files/rows.csv']) == ['files/rows.csv'] and len(match_sources(version, ['files'])) == 7
    with pytest.raises(ValueError, match='but files/inner/d1.txt'): match_sources(version, ['d1.txt'])
    place, _ = drop_sources(tmp_path/'v1', ['files/inner', 'files/rows.csv'], tmp_path/'v2')
    assert {text_origin(context) for context in read_lines(place, Context)} == {'files/d0.txt', 'files/d2.txt', 'files/d4.txt'}
    assert 'Lena Nord' not in everything(place)
    check_texts(place, read_manifest(place)['counts'])


def test_two_folders_with_documents_of_one_path(tmp_path):
    for name, who in (('one', 'Nora Lind'), ('two', 'Ada Holm')):
        (tmp_path/name).mkdir()
        (tmp_path/name/'a.txt').write_text(f'{STORY.format(who=who, what=name)}\n\n# A heading\n\nshort {who}')
    make_texts(tmp_path/'v1', BonitoConfig(contexts=f'{tmp_path/"one"},{tmp_path/"two"}', min_chars=60, draws=2))
    place, _ = drop_sources(tmp_path/'v1', ['two/a.txt'], tmp_path/'v2')
    text = everything(place)
    assert 'Ada Holm' not in text and 'Nora Lind' in text
    assert [row['source'] for row in read_examples(place).to_pylist()] == [row['source'] for row in read_examples(tmp_path/'v1').to_pylist() if row['source'] == 'one']


def test_rows_of_a_dataset_go_as_a_whole(tmp_path):
    (tmp_path/'poems.jsonl').write_text(''.join(json.dumps({'text': STORY.format(who=f'Maja Sund{number}', what='poem')}) + '\n' for number in range(5)))
    make_texts(tmp_path/'v1', BonitoConfig(contexts=f'{tmp_path/"poems.jsonl"},{documents(tmp_path/"files", 2)}', license='own'))
    name = next(text_origin(context) for context in read_lines(tmp_path/'v1', Context) if context.source == 'poems')
    place, _ = drop_sources(tmp_path/'v1', ['poems'], tmp_path/'v2')
    assert list(read_version(place).dropped) == sorted({'poems', name}) and 'poems' not in set(read_examples(place)['source'].to_pylist())
    assert {text_origin(context) for context in read_lines(place, Context)} == {'files/d0.txt', 'files/inner/d1.txt', 'files/rows.csv'}
    check_texts(place, read_manifest(place)['counts'])


def test_what_waited_of_a_document_adds_up(tmp_path):
    with LLMServer(answer='rules') as server:
        make_texts(tmp_path/'v1', BonitoConfig(contexts=str(documents(tmp_path/'files')), draws=2, min_chars=40, license='own', budget_calls=9, llm=f'openai:bonito@{server.url}'))
    assert read_manifest(tmp_path/'v1')['counts']['pending'] == 9
    pending = 0
    for number, name in enumerate(('files/d0.txt', 'files/inner/d1.txt', 'files/rows.csv')):
        place, _ = drop_sources(tmp_path/'v1', [name], tmp_path/f'without{number}')
        counts = read_manifest(place)['counts']
        check_texts(place, counts)
        pending += 9 - counts['pending']
        assert counts['asked'] == 2 * (counts['contexts'])
    assert 0 < pending <= 9


@pytest.mark.parametrize('named', [True, False])
@pytest.mark.parametrize('more', [{}, {'retries': 2, 'temperature': .5}, {'two_step': True}, {'confirm': 'self'}, {'confirm': 'other'}])
def test_every_question_about_a_document_is_found(tmp_path, named, more):
    with LLMServer(answer='rules') as server:
        if more.get('confirm') == 'other': more = {'confirm': f'openai:second@{server.url}'}
        make_texts(tmp_path/'v1', BonitoConfig(contexts=str(documents(tmp_path/'files', 3)), draws=6, min_chars=40, license='own', llm=f'openai:bonito@{server.url}', **more))
    kept = answers(tmp_path/'outputs')
    own = [key for key, about in kept if about == 'files/inner/d1.txt']
    assert len({about for _, about in kept}) == 4 and len(own) >= (6 if not more else 7)  # every answer says what it is about
    if not named:
        with Ledger(tmp_path/'outputs'/'llm.sqlite') as ledger: ledger.database.execute("UPDATE answers SET about = ''")
    _, went = drop_sources(tmp_path/'v1', ['files/inner/d1.txt'], tmp_path/'v2')
    assert went['answers'] == len(own) and [key for key, _ in answers(tmp_path/'outputs')] == [key for key, about in kept if about != 'files/inner/d1.txt']


# ---- the command, and reports in such a folder

def test_the_command(v1, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended: main(['drop', str(v1), '--source', 'museum_notes_that_are_not_there', '--out', str(tmp_path/'none')])
    assert ended.value.code == 1 and 'has no source' in capsys.readouterr().err
    name = read_lines(v1, SourceCard)[0].name
    with pytest.raises(SystemExit) as ended: main(['drop', str(v1), '-s', name, '--out', str(tmp_path/'v2')])
    told = capsys.readouterr()
    assert ended.value.code == 0 and 'taken out:  1 sources, ' in told.out and f'run folder: {tmp_path/"v2"}' in told.out and str(v1) in told.err
    with pytest.raises(SystemExit): main(['runs', str(tmp_path)])
    assert f'  after {v1.name}: 1 went' in capsys.readouterr().out


def test_a_report_does_not_go_on_in_a_folder_without_a_source(v1, tmp_path):
    name = read_lines(v1, SourceCard)[0].name
    drop_sources(v1, [name], tmp_path/'v2')
    before = state(tmp_path/'v2')
    with pytest.raises(ValueError, match=f'from which {name} was taken out'): run_report('dynosaur_data', out=str(tmp_path/'v2'), resume=True)
    assert state(tmp_path/'v2') == before
