"""The card says what is in the data, load_dataset and the hub's own classes read it, and strangers' text can't break out of it."""
import csv
import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from instructgen.dataset_card import (CITATIONS, HUB_LICENSES, Provenance, card_header, count_rejected, count_sources, escape_cell, escape_url, license_header,
                                      making_section, markdown_table, public_parameters, sources_section, write_card, write_provenance)
from instructgen.records import EXAMPLE_COLUMNS, EXAMPLE_SCHEMA, Example, Rejected, SourceCard, to_json
from instructgen.store import open_run, write_bucket


def make_run(folder: Path, examples: list[Example], parameters=None, report='dynosaur_data', files=1) -> Path:
    (folder / 'dataset/data').mkdir(parents=True)
    for file in range(files):
        table = pa.Table.from_pylist([asdict(example) for example in examples[file::files]], schema=EXAMPLE_SCHEMA)
        pq.write_table(table, folder / f'dataset/data/train-{file:02}.parquet')
    (folder / 'run.json').write_text(json.dumps({'report': report, 'versions': {'instructgen': '0.1.0', 'commit': 'abc'}, 'parameters': parameters or {'seed': 0}}))
    return folder


def examples_of(source: str, license: str = 'mit', tasks: int = 2, rows: int = 3, splits=('train', 'validation'), url='', generator='rules') -> list[Example]:
    return [Example(f'{source}{task}-{split}-{row}', 'Do it.', 'x', 'y', task_id=f'{source}{task}', source=source, config='default', split=split, row=row, revision='0f3a' * 10,
                    license=license, url=url, generator=generator) for task in range(tasks) for split in splits for row in range(rows)]


def header_of(path: Path) -> dict: return yaml.safe_load(path.read_text('utf-8').split('---\n')[1])


HOSTILE = ['---\nlicense: mit\n---', 'a | b | c', '<script>alert(1)</script>', '[x](javascript:alert(1))', '![x](http://evil/x.png)', '`code`', '| --- |\n# head', '\\|', '&lt;b&gt;',
           'x: [y', '{{ 7 * 7 }}', '\u2028line', 'name\r\nother: 1', '<!-- ', '```', '~~~', '$x$', "'quoted'", '- item', '!!python/object/apply:os.system ["id"]']


# ---- read by those for whom it is written

def test_load_dataset_reads_the_folder(tmp_path):
    from datasets import load_dataset
    run = make_run(tmp_path / 'run', examples_of('films') + examples_of('essays', 'cc-by-4.0'), files=2)
    write_card(run)
    loaded = load_dataset(str(run / 'dataset'), cache_dir=str(tmp_path / 'cache'))
    assert list(loaded) == ['train'] and len(loaded['train']) == 24 and tuple(loaded['train'].column_names) == EXAMPLE_COLUMNS
    assert loaded['train'].features['source'].dtype == 'string' and loaded['train'].features['row'].dtype == 'int64'


def test_load_dataset_reads_buckets_of_the_store_and_several_splits(tmp_path):
    from datasets import load_dataset
    rows = [pa.Table.from_pylist([asdict(item) for item in examples_of(source)], schema=EXAMPLE_SCHEMA) for source in ('films', 'essays', 'maps')]
    for bucket, table, split in zip((3, 41, 5), rows, ('train', 'train', 'validation')): write_bucket(tmp_path / 'run', bucket, table, split)
    write_card(tmp_path / 'run')
    loaded = load_dataset(str(tmp_path / 'run/dataset'), cache_dir=str(tmp_path / 'cache'))
    assert {split: len(rows) for split, rows in loaded.items()} == {'train': 24, 'validation': 12}


@pytest.mark.parametrize('text', HOSTILE)
def test_the_hubs_own_classes_read_the_header_whatever_strangers_wrote(tmp_path, text):
    from datasets import load_dataset
    from huggingface_hub import DatasetCard
    run = make_run(tmp_path / 'run', examples_of(text, license=text, url=text, generator=text), {'sources': text, 'prompts': text, 'llm': text})
    (run / 'rejected.jsonl').write_text(to_json(Rejected('task', 'x', text or 'rule')) + '\n')
    path = write_card(run, [SourceCard(text, summary=text, languages=(text, 'en'))], {text: 3}, name=text)
    card = DatasetCard.load(path)
    assert card.data.license == 'other' and card.data.language == ['en'] and card.data.task_categories == ['text-generation'] and card.data.pretty_name == text
    assert len(load_dataset(str(run / 'dataset'), cache_dir=str(tmp_path / 'cache'))['train']) == 12
    page = MarkdownIt('gfm-like', {'linkify': False}).render(card.text)
    assert '<script' not in page and 'href="javascript' not in page and '<img' not in page and '<!--' not in page.replace('&lt;!--', '')
    assert page.count('<h1>') == 1 and [part.split('</h2>')[0] for part in page.split('<h2>')[1:]] == [
        'Sources and licences', 'How it was made', 'Columns', 'Loading', 'Known limits', 'Citation']


@given(st.lists(st.lists(st.text(), min_size=3, max_size=3), min_size=1, max_size=4))
def test_a_table_keeps_its_shape(rows):
    rows = [[text.encode('utf-8', 'ignore').decode() for text in row] for row in rows]
    page = MarkdownIt('gfm-like', {'linkify': False}).render(markdown_table(['a', 'b', 'c'], [map(escape_cell, row) for row in rows]))
    assert page.count('<tr>') == len(rows) + 1 and page.count('<td') == 3 * len(rows) and page.count('<table>') == 1
    assert not set(page.split('<')[1:]) - {part for part in page.split('<')[1:] if part.startswith(('table>', 'thead>', 'tbody>', 'tr>', 'th>', 'td>', '/'))}


@given(st.text(max_size=80))
def test_an_address_is_a_link_of_the_web_or_text(url):
    url = url.encode('utf-8', 'ignore').decode()
    for text in (url, f'https://example.org/{url}'):
        page = MarkdownIt('gfm-like', {'linkify': False}).render(markdown_table(['a', 'b'], [[escape_url(text), 'x']]))
        assert page.count('<td') == 2 and 'href="javascript' not in page.lower()
    assert page.count('<a href="https://example.org/') == 1


@given(st.text(max_size=400), st.integers(2, 300))
def test_cells_are_short_and_one_line(text, limit):
    cell = escape_cell(text, limit)
    assert '\n' not in cell and len(cell) <= 5 * limit


# ---- what it says is so

def test_counts_are_those_of_the_rows(tmp_path):
    examples = examples_of('films') + examples_of('essays', 'cc-by-4.0', tasks=3) + examples_of('songs', '', splits=('train',), generator='openai:small')
    run = make_run(tmp_path / 'run', examples, files=3)
    lines = count_sources(run)
    assert {(line.source, line.split): line.examples for line in lines} == Counter((item.source, item.split) for item in examples)
    assert {(line.source, line.split): line.tasks for line in lines} == {('films', 'train'): 2, ('films', 'validation'): 2, ('essays', 'train'): 3, ('essays', 'validation'): 3,
                                                                        ('songs', 'train'): 2}
    text = write_card(run).read_text()
    assert '36 examples for instruction tuning of 7 tasks from 3 sources' in text           # a task in two splits is one task
    assert 'Written by: openai:small, rules.' in text and '| cc-by-4.0 | 1 | 18 |' in text and '| (none named) | 1 | 6 |' in text


def test_provenance_table(tmp_path):
    run = make_run(tmp_path / 'run', examples_of('films, old', url='https://example.org/"x"') + examples_of('essays', 'cc-by-4.0'))
    rows = list(csv.DictReader(write_provenance(run).open(encoding='utf-8', newline='')))
    assert list(rows[0]) == ['source', 'config', 'split', 'revision', 'license', 'url', 'tasks', 'examples', 'mark']
    assert [(row['source'], row['split'], row['examples']) for row in rows] == [('essays', 'train', '6'), ('essays', 'validation', '6'), ('films, old', 'train', '6'), ('films, old', 'validation', '6')]
    assert rows[-1]['url'] == 'https://example.org/"x"' and write_provenance(run).read_bytes() == (run / 'provenance.csv').read_bytes()


def test_rows_without_task_and_plain_string_columns(tmp_path):
    "Bonito's rows have no task id, and a dataset that somebody rewrote has plain columns."
    rows = [asdict(Example(str(row), f'Text {row}. What?', '', 'y', context=f'Text {row}.', task_type='qa', source='peps', config='default', split='train', row=row)) for row in range(4)]
    (tmp_path / 'data').mkdir()
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / 'data/train-00.parquet')
    assert count_sources(tmp_path) == [Provenance('peps', 'default', 'train', '', '', '', 0, 4, ('',))]
    text = write_card(tmp_path).read_text()
    assert '4 examples for instruction tuning from 1 source,' in text and 'Written by: not recorded.' in text


@pytest.mark.parametrize('licenses, wanted', [
    (['mit'], {'license': 'mit'}), (['MIT', 'mit'], {'license': 'mit'}), ([''], {'license': 'unknown'}), (['own'], {'license': 'other', 'license_name': 'own'}),
    (['mit', 'cc-by-4.0'], {'license': 'other', 'license_name': 'by-row'}), (['mit apache-2.0'], {'license': 'other', 'license_name': 'apache-2.0-mit'}),
    (['mit', ''], {'license': 'other', 'license_name': 'by-row'}), (['---\nx'], {'license': 'other', 'license_name': 'x'})])
def test_licence_of_the_header(licenses, wanted): assert license_header(licenses).items() >= wanted.items()


@given(st.lists(st.sampled_from(['mit', 'cc-by-4.0', 'gpl-3.0', '', 'own']), min_size=2, max_size=6).filter(lambda found: len(set(found)) > 1))
def test_mixed_sources_never_get_one_licence(licenses):
    header = license_header(licenses)
    assert header['license'] == 'other' and all(text in header['license_details'] for text in set(licenses) - {''})
    assert header['license'] not in HUB_LICENSES


@pytest.mark.parametrize('count, size', [(999, 'n<1K'), (1000, '1K<n<10K'), (99_999, '10K<n<100K'), (801_900, '100K<n<1M'), (10**6, '1M<n<10M'), (2 * 10**9, '1B<n<10B'), (10**12, 'n>1T')])
def test_sizes_are_the_hubs(tmp_path, count, size):
    run = make_run(tmp_path, examples_of('films'))
    assert card_header(run, [Provenance('films', 'default', 'train', '', 'mit', '', 1, count)], 'x')['size_categories'] == [size]


def test_settings_keep_paths_and_hosts_back():
    shown = public_parameters({'sources': '/home/ann/private/hub, C:\\Users\\ann\\data,../x/y,hub:glue:sst2', 'llm': 'openai:small@https://llm.corp:8000/v1', 'out': '/tmp/z',
                               'license': 'own', 'description': 'and/or', 'concurrency': 64, 'limit': 0, 'prompts': 'en', 'budget_money': 3., 'templates': '~/t.yaml'})
    assert shown == {'sources': 'hub, data,y,hub:glue:sst2', 'llm': 'openai:small', 'license': 'own', 'description': 'and/or', 'limit': '0', 'prompts': 'en', 'templates': 't.yaml'}


@given(st.lists(st.text('abcxyz', min_size=1), min_size=1, max_size=4))
def test_no_folder_of_a_path_is_shown(parts):
    path = '/secretfolder/' + '/'.join(parts)
    assert 'secretfolder' not in str(public_parameters({'sources': f'{path},demo', 'llm': f'local:{path}', 'more': [path, path]}))


def test_funnel_and_reasons(tmp_path):
    run = make_run(tmp_path / 'run', examples_of('films'))
    (run / 'rejected.jsonl').write_text(''.join(to_json(item) + '\n' for item in (
        Rejected('row', 't1', 'long_output', count=7), Rejected('task', 't2', 'overlap'), Rejected('task', 't3', 'overlap'), Rejected('source', 's', 'no_license'), Rejected('task', 't4', 'leak'))))
    assert list(count_rejected(run).items()) == [(('source', 'no_license'), 1), (('task', 'overlap'), 2), (('task', 'leak'), 1), (('row', 'long_output'), 7)]
    text = write_card(run, counts={'sources': 5, 'share': .25, 'ok': True, 'by': {'x': 1}}).read_text()
    assert '| sources | 5 |' in text and '| row | long\\_output | 7 |' in text and '| ok |' not in text
    assert '| share | 0.25 |' in text and '| commit | abc |' in text


def test_counts_of_the_manifest_serve_when_none_are_given(tmp_path):
    run = make_run(tmp_path / 'run', examples_of('films'))
    (run / 'manifest.json').write_text(json.dumps({'counts': {'valid tasks': 1234}}))
    assert '| valid tasks | 1,234 |' in write_card(run).read_text()


def test_limits_and_citation_follow_method_and_writer(tmp_path):
    rules = write_card(make_run(tmp_path / 'a', examples_of('films'))).read_text()
    model = write_card(make_run(tmp_path / 'b', examples_of('films', generator='openai:small'), report='bonito_data')).read_text()
    assert 'not a language model' in rules and 'provider' not in rules and CITATIONS['dynosaur'] in rules and 'bonito' not in rules
    assert 'not a language model' not in model and 'provider' in model and CITATIONS['bonito'] in model and 'yin2023' not in model


def test_languages_are_those_of_the_sources_used(tmp_path):
    run = make_run(tmp_path / 'run', examples_of('films'), {'languages': 'en,de'})
    cards = [SourceCard('films', languages=('fr', 'en-GB', 'English', 'no code')), SourceCard('unused', languages=('it',))]
    assert header_of(write_card(run, cards))['language'] == ['en', 'fr']
    assert header_of(write_card(run))['language'] == ['de', 'en']
    (run / 'sources.jsonl').write_text(to_json(SourceCard('films', summary='Film reviews.', languages=('nl',))) + '\n')
    assert header_of(write_card(run))['language'] == ['nl'] and 'Film reviews.' in (run / 'dataset/README.md').read_text()
    assert 'language' not in header_of(write_card(make_run(tmp_path / 'other', examples_of('films'))))


def test_hundreds_of_sources_stay_readable(tmp_path):
    run = make_run(tmp_path / 'run', [item for number in range(130) for item in examples_of(f's{number}', tasks=1, rows=1 + (number == 7), splits=('train',))])
    section = sources_section(count_sources(run))
    assert '30 more splits of sources are in `provenance.csv`.' in section and '| s7 |' in section and section.count(' | default | ') == 100


def test_a_run_of_the_store_is_described(tmp_path):
    with open_run('dynosaur_data', {'seed': 3, 'llm': 'rules', 'rules': 'careful'}, tmp_path / 'run') as run:
        write_bucket(run.folder, 7, pa.Table.from_pylist([asdict(item) for item in examples_of('films')], schema=EXAMPLE_SCHEMA))
        text = write_card(run.folder, counts={'tasks': 2}).read_text()
        write_provenance(run.folder)
        run.finish({'tasks': 2})
    assert '| seed | 3 |' in text and '| rules | careful |' in text and '| report | dynosaur\\_data |' in text
    assert {'dataset/README.md', 'provenance.csv'} <= {file['name'] for file in json.loads((tmp_path / 'run/manifest.json').read_text())['files']}


def test_writing_again_gives_the_same_bytes(tmp_path):
    run = make_run(tmp_path / 'run', examples_of('films') + examples_of('essays', 'cc-by-4.0'))
    first = write_card(run).read_bytes()
    assert write_card(run).read_bytes() == first and b'/tmp' not in first


def test_cards_of_real_sources(tmp_path, shared_data):
    "Summaries of real cards in one README: the header holds and the tables keep their shape."
    from huggingface_hub import DatasetCard
    texts = {path.parent.name: path.read_text('utf-8', 'replace') for path in sorted((shared_data / 'cards').glob('*/README.md'))[:120]}
    run = make_run(tmp_path / 'run', [item for name in texts for item in examples_of(name, tasks=1, rows=1, splits=('train',))])
    path = write_card(run, [SourceCard(name, summary=text) for name, text in texts.items()])
    page = MarkdownIt('gfm-like', {'linkify': False}).render(DatasetCard.load(path).text)
    assert page.count('<h1>') == 1 and page.count('<h2>') == 6 and page.count('<table>') == 4 and page.count('<li>') >= 100
