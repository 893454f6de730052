"""Cards, files and sources: golden values, faults, properties, the real cards, and the hub on loopback."""
import csv
import gzip
import io
import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
from hub_server import HubServer, repository
from real_cards import cards_with_info, yaml_feature

import instructgen.hub
from instructgen.cards import feature_tree, plain_text, read_configs, read_features, read_languages, read_licenses, read_summary, read_url, split_card
from instructgen.hub import Pinned, list_repositories, pin_sources, read_list
from instructgen.layout import assign_files, match_names, split_of, splits_of
from instructgen.records import Field, Rejected, SourceCard, Split
from instructgen.rows import FILE_ERRORS, column_of, csv_tables, file_tables, join_tables, json_tables, name_labels, number_columns
from instructgen.sources import DENIED_LICENSES, Policy, demo_folder, find_sources, judge_license, license_hint, read_cards, read_rows, read_table

settings.register_profile('any machine', deadline=None)
settings.load_profile('any machine')

ANY = Policy(languages=(), license='own')
OWN = Policy(license='own', language='en')


def put(folder: Path, **files) -> Path:
    "A folder with files; the keys are names with __ for a slash and ___ for a dot."
    for name, data in files.items():
        path = folder / name.replace('___', '.').replace('__', '/')
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return folder


def one(spec, policy=ANY, **more):
    found = list(find_sources(str(spec), policy, **more))
    assert len(found) == 1, found
    return found[0]


# ---------------------------------------------------------------- cards

@pytest.mark.parametrize('header, licenses', [
    ('license: mit', ('mit',)), ('licenses:\n- mit', ('mit',)), ('license:\n- MIT\n- CC BY-SA 4.0', ('mit', 'cc-by-sa-4.0')), ('license: null', ()), ('license: ~', ()), ('license:', ()), ('license: []', ()),
    ('license: "mit, apache-2.0"', ('mit', 'apache-2.0')), ('licenses:\n  default: [gpl-3.0]\n  b: mit', ('gpl-3.0',)), ('license: {x: mit, y: [other]}', ('mit', 'other')), ('license: 0bsd', ('0bsd',)), ('license: 1.0', ('1.0',))])
def test_licenses_of_any_form(header, licenses):
    assert read_licenses(split_card(f'---\n{header}\n---\n')[0], 'default') == licenses


@pytest.mark.parametrize('header, languages', [
    ('language: no', ('no',)), ('languages:\n- en\n- en-GB', ('en',)), ('language: [unknown]', ()), ('language:\n- English\n- zh_TW', ('en', 'zh')), ('language: {de: [de], fr: [fr]}', ('de', 'fr')), ('language: und', ()), ('{}', ())])
def test_languages_of_any_form(header, languages):
    assert read_languages(split_card(f'---\n{header}\n---\n')[0]) == languages


@pytest.mark.parametrize('tag', ['', 'none', 'Other', 'UNKNOWN', 'unknown-license-provided', 'cc-by-nd-4.0', 'CC BY-NC-ND 3.0', 'cc-by-nc-nd-3.0-igo', 'Attribution-NoDerivatives 4.0 International', 'ofl', 'OFL-1.1', 'N/A', 'all rights reserved', 'no-license', 'no license specified', 'No licence', 'not-known', 'Not provided', 'copyright', 'Copyrighted by us', 'private', '?', '???', 'proprietary', 'non-open, proprietary',
                                 'cc-by-nc-nd4.0', 'CC-BY-ND4', 'cc-by-ncnd-4.0', 'https://creativecommons.org/licenses/by-nc-nd/4.0/', 'http://creativecommons.org/licenses/by-nd/4.0', 'https://creativecommons.org/licenses/by-nd', '© 2020 Us. All rights reserved.'])
def test_denied_licenses(tag):
    assert judge_license(read_licenses({'license': ['mit', tag] if tag else []}), Policy()) is not None
    if tag:
        with pytest.raises(ValueError, match='denies'): Policy(license=tag)


@pytest.mark.parametrize('tag', ['mit', 'cc-by-4.0', 'cc-by-nc-sa-4.0', 'c-uda', 'unlicense', 'odc-by', 'gfdl', 'apache-2.0', 'own', 'cc0-1.0', 'llama2', 'mit-and-more', 'cc-by-nc-4.0', 'cc-by-sa-4.0', 'cc-by-nc3.0', 'https://creativecommons.org/licenses/by-nc/4.0/', 'https://creativecommons.org/licenses/by-sa/4.0/', 'notre-dame-1.0', 'node-nda', 'open-and-free', 'pddl', 'nlod-2.0', 'etalab-2.0'])
def test_licenses_that_pass(tag):
    assert judge_license(read_licenses({'license': tag}), Policy()) is None


def test_header_with_bom_crlf_and_broken_line():
    header, body, notes = split_card('\ufeff---\r\nlicense: mit\r\nbad: "a "b" c"\r\nlanguage:\r\n- en\r\n---\r\n# Title\r\n')
    assert (header, body.strip(), notes) == ({'license': 'mit', 'language': ['en']}, '# Title', ('broken YAML in the card: bad',))


def test_header_that_refers_to_itself_is_harmless():
    bomb = 'a: &a [x, x, x, x, x, x, x, x, x]\n' + ''.join(f'{chr(98 + i)}: &{chr(98 + i)} [{", ".join(["*" + chr(97 + i)] * 9)}]\n' for i in range(12))
    header, _, notes = split_card(f'---\n{bomb}license: *k\nlanguage: *c\n---\n')
    assert read_licenses(header) == () and read_languages(header) == ('x',)
    assert len(notes) == 1 and notes[0].endswith('left out: f, g, h, i, j, k, l, m, license')
    for text in ('a: &a [*a]', 'a: &a {b: *a}', 'a: ' + '[' * 3000 + ']' * 3000): assert 'a' not in split_card(f'---\n{text}\nlicense: mit\n---\n')[0]


@pytest.mark.parametrize('kind', ['struct', 'list', 'dtype', 'names', 'config_name', 'data_dir', 'path'])
def test_a_small_card_cannot_become_a_large_one(kind):
    parts = ['a0: &a0 {x: {dtype: string}}'] + [f'a{i}: &a{i} {{' + ', '.join(f'k{j}: *a{i - 1}' for j in range(9)) + '}' for i in range(1, 8)]
    use = {'struct': 'features: *a7', 'list': 'features: {f: {list: *a7}}', 'dtype': 'features: {f: {_type: Value, dtype: *a7}}', 'names': 'features: {f: {class_label: {names: [*a7, *a7]}}}',
           'config_name': 'config_name: *a7', 'data_dir': 'data_dir: *a7', 'path': 'data_files: *a7'}[kind]
    header, _, notes = split_card('---\n' + '\n'.join(parts) + f'\ndataset_info:\n  {use}\nconfigs:\n- {use}\n---\n')
    assert len(repr(read_configs(header))) < 10_000 and 'dataset_info' in notes[0]


def test_values_in_many_places_are_read():
    shared = 'x: &x\n' + ''.join(f'- name: f{i}\n  dtype: string\n' for i in range(50))
    header, _, notes = split_card(f'---\n{shared}dataset_info:\n' + ''.join(f'- config_name: c{i}\n  features: *x\n' for i in range(50)) + '---\n')
    assert notes == () and [len(config.fields) for config in read_configs(header)] == [50] * 50
    names = ''.join(f"        '{i}': name {i}\n" for i in range(30_000))
    header, _, notes = split_card(f'---\ndataset_info:\n  features:\n  - name: x\n    dtype:\n      class_label:\n        names:\n{names.replace("        ", "          ")}---\n')
    assert notes == () and len(read_configs(header)[0].fields[0].labels) == 30_000


def test_long_types_and_names_are_cut():
    wide = {f'f{i}': {f'g{j}': {f'h{k}': 'string' for k in range(20)} for j in range(20)} for i in range(20)}
    assert read_features({'x': wide, 'y': 'string', 'n' * 2000: 'string'}) == (Field('x', 'other'), Field('y', 'string'))


HANGS = {'comments': ('<!--', 250_000), 'comments with an end': ('-->' + '<!--' * 250_000, 1), 'pictures': ('![](', 50_000), 'a heading': ('# summary' + ' ' * 500_000 + 'x', 1), 'fences': ('```\n~~~\n', 100_000), 'brackets': ('[', 100_000), 'tags': ('<a ', 100_000)}


@pytest.mark.parametrize('kind', HANGS)
def test_no_card_hangs(kind):
    part, times = HANGS[kind]  # hours, or at least minutes, for a pattern whose steps grow with the square
    code = f"from instructgen.cards import plain_text, read_summary, read_url; import sys; text = sys.stdin.read(); read_summary('## Summary\\n' + text); read_summary(text); plain_text(text); read_url(text)"
    subprocess.run([sys.executable, '-c', code], check=True, timeout=100, input=part * times, text=True)


def test_comments_are_taken_away():
    assert plain_text('a <!-- b <!-- c --> d -> <!--> e --> f <!-- g') == 'a d -> f <!-- g'


@pytest.mark.parametrize('body, summary', [
    ('### Dataset Summary\n\nGood.\n', 'Good.'), ('## Dataset Summary\nTwo\nlines.\n### Languages\nEnglish', 'Two lines.'), ('### Dataset Summary\n<p align="center"><img src="x.png"></p>\nText &gt; pictures.', 'Text > pictures.'),
    ('### Dataset Summary\n[More Information Needed]\n### Next\nx', ''), ('### Dataset Summary\n\n[Needs More Information]', ''), ('### Dataset Summary\nMore information needed\n', ''), ('### Dataset Summary\nn/a\n## Next', ''), ('### Dataset Summary\n\n### Next\nx', ''),
    ('### Dataset Summary\nA [![b](https://x/y.svg)](https://x) paper: [name](https://x "title").\n', 'A paper: name.'), ('### Dataset Summary\n```\n# no heading\n```\nAfter.\n', 'After.'), ('### Dataset Summary\n| a | b |\n|---|---|\n| 1 | 2 |\nTable.', 'Table.'),
    ('#### DATASET SUMMARY ####\nLoud.\n', 'Loud.'), ('### 1.1 Dataset Summary\nNumbered.\n', 'Numbered.'), ('<!-- ### Dataset Summary\nhidden -->\nx', ''), ('- [Dataset Summary](#dataset-summary)\n', ''), ('### Dataset Summary\nSee [this] and 2 < 3.\n', 'See [this] and 2 < 3.'),
    ('### Dataset Summary\r\nWindows.\r\n### Next\r\n', 'Windows.')])
def test_summary(body, summary):
    assert read_summary(body) == summary


def test_url_prefers_the_home_page():
    assert read_url('- **Repository:** https://github.com/a/b\n- **Homepage:** <https://a.org/x>.\n') == 'https://a.org/x'
    assert read_url('- **Repository:** a/b\n- **Homepage:** [Needs More Information]') == ''


LEAVES = st.one_of(st.sampled_from(['string', 'int64', 'bool', 'float32']).map(lambda kind: {'dtype': kind, '_type': 'Value'}),
                   st.lists(st.text('abc', min_size=1), min_size=1, unique=True).map(lambda names: {'names': names, '_type': 'ClassLabel'}), st.just({'_type': 'Image'}))
FEATURES = st.recursive(LEAVES, lambda part: st.one_of(part.map(lambda inner: {'feature': inner, '_type': 'Sequence'}), part.map(lambda inner: [inner]),
                                                       st.dictionaries(st.text('xyz', min_size=1, max_size=3), part, min_size=1, max_size=3)), max_leaves=5)


@given(st.dictionaries(st.text('fgh', min_size=1, max_size=4), FEATURES, min_size=1, max_size=4))
def test_both_encodings_of_features_give_the_same_fields(features):
    listed = [yaml_feature(spec, name) for name, spec in features.items()]
    assert read_features(listed) == read_features(features)


@given(st.recursive(st.none() | st.text(max_size=5) | st.integers(), lambda part: st.lists(part, max_size=4) | st.dictionaries(st.sampled_from(['name', 'dtype', 'list', 'sequence', 'struct', 'class_label', 'names', '_type', 'feature', 'x', 'translation', 'languages']), part, max_size=4), max_leaves=12))
def test_any_features_are_read_or_ignored(features):
    for field in read_features(features): assert isinstance(field, Field)
    feature_tree(features)
    read_configs({'dataset_info': features, 'configs': features}, features if isinstance(features, dict) else None)


@given(st.text(st.sampled_from('-\n:#[]{}"\'&*!|> ab0\t\r'), max_size=200))
def test_any_card_is_read(text):
    for card in (text, f'---\n{text}\n---\n{text}'):
        header, body, _ = split_card(card)
        read_licenses(header), read_languages(header), read_configs(header), read_url(body)
        assert '\n' not in read_summary(body) and '\n' not in plain_text(card)


# ---------------------------------------------------------------- layout

@pytest.mark.parametrize('name, split', [('train.jsonl', 'train'), ('data/train-00000-of-00002.parquet', 'train'), ('my_training_set.csv', 'train'), ('dev.tsv', 'validation'), ('valid/0.json', 'validation'), ('val_1.csv', 'validation'),
    ('evaluation.csv', 'test'), ('x/testing/part.csv', 'test'), ('contest.csv', ''), ('latest.csv', ''), ('validated.csv', ''), ('data/unlabelled-00000-of-00001.parquet', 'unlabelled'), ('test/train_a.csv', 'train'), ('data.csv', '')])
def test_split_of_a_name(name, split):
    assert split_of(name) == split


NAMES = st.lists(st.builds(lambda folder, stem, end: f'{folder}{stem}{end}', st.sampled_from(['', 'data/', 'sst2/', 'data/sst2/', 'test/']), st.sampled_from(['train', 'dev', 'test', 'x', 'train-00000-of-00001', 'part10', 'part9']),
                           st.sampled_from(['.csv', '.jsonl', '.parquet', '.txt', '.png', '.json.gz'])), unique=True, max_size=8)


@given(NAMES, st.lists(st.builds(instructgen.cards.Config, st.sampled_from(['sst2', 'data', 'x']), patterns=st.sampled_from([(), (('train', ('**',)),), (('', ('data/*',)),)])), max_size=2, unique_by=lambda config: config.name))
def test_every_file_with_rows_is_in_a_split_or_left_over(names, configs):
    found, left = assign_files(names, configs)
    used = [name for splits in found.values() for _, files in splits for name in files]
    assert set(used) | set(left) == {name for name in names if not name.endswith(('.txt', '.png'))}
    assert not set(used) & set(left)
    assert not configs or set(found) - {''} == {config.name for config in configs}


@given(st.text('ab/*?[].-', max_size=12), st.lists(st.text('ab/.-', max_size=6), max_size=5))
def test_any_pattern_is_harmless(pattern, names):
    assert set(match_names(names, pattern)) <= set(names)


def test_patterns_of_a_card(tmp_path):
    text = '---\nlicense: mit\nconfigs:\n- config_name: first\n  data_files:\n  - split: train\n    path: ["one/*.csv"]\n  - split: extra\n    path: two/a.csv\n- config_name: second\n  data_files: "two/**"\n- config_name: third\n  data_dir: three\n---\n'
    put(tmp_path, README___md=text, one__b2___csv='a,b\n3,4\n', one__b10___csv='a,b\n5,6\n', two__a___csv='a,b\n1,2\n', three__dev___csv='c,d\n1,2\n')
    cards = {card.config: card for card in find_sources(str(tmp_path), ANY)}
    assert {config: [split.name for split in card.splits] for config, card in cards.items()} == {'first': ['train', 'extra'], 'second': ['train'], 'third': ['validation']}
    assert read_table(cards['first'], 'train').column('a').to_pylist() == [3, 5]  # part 2 before part 10
    assert cards['first'].name == f'{tmp_path.name}-first'


# ---------------------------------------------------------------- rows

CELLS = st.none() | st.booleans() | st.integers(-2**70, 2**70) | st.floats(allow_nan=False) | st.text(max_size=6)
VALUES = st.recursive(CELLS, lambda part: st.lists(part, max_size=3) | st.dictionaries(st.text('kl', max_size=2), part, max_size=2), max_leaves=5)


def json_rows(data: bytes, name: str = 'a.jsonl'):
    counts = Counter()
    return join_tables(list(json_tables(io.BytesIO(data), name, counts))), counts


@settings(max_examples=150)
@given(st.lists(st.dictionaries(st.text('abc', min_size=1, max_size=2), VALUES, min_size=1, max_size=3), max_size=6))
def test_any_rows_keep_their_number_and_keys(rows):
    table, counts = json_rows(''.join(json.dumps(row) + '\n' for row in rows).encode())
    assert table.num_rows == len(rows) and not +counts
    assert set(table.column_names) == {key for row in rows for key in row}
    table.to_pylist()


@given(st.lists(st.fixed_dictionaries({'text': st.text(st.characters(codec='utf-8'), max_size=30), 'n': st.integers(-2**63, 2**63 - 1), 'tags': st.lists(st.text(st.characters(codec='utf-8'), max_size=5), max_size=3)}), min_size=1, max_size=20))
def test_rows_of_one_type_come_back_unchanged(rows):
    for ascii in (True, False):
        assert json_rows(''.join(json.dumps(row, ensure_ascii=ascii) + '\n' for row in rows).encode())[0].to_pylist() == rows
    assert json_rows(json.dumps(rows, indent=1).encode(), 'a.json')[0].to_pylist() == rows


@settings(max_examples=200)
@given(st.binary(max_size=80) | st.text(st.sampled_from('{}[]":,\n\\0a \ufeff\ud83d'), max_size=60).map(lambda text: text.encode('utf-8', 'surrogatepass')), st.sampled_from(['a.jsonl', 'a.json', 'a.csv', 'a.tsv', 'a.parquet', 'a.arrow', 'a.csv.gz', 'a.jsonl.gz']))
def test_any_bytes_are_rows_or_a_file_error(tmp_path_factory, data, name):
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(data)
    try: table = join_tables(list(file_tables(str(path), Counter())))
    except FILE_ERRORS: return
    table.to_pylist()


@pytest.mark.parametrize('rows', [[{'a': [None, '0']}], [{'a': [None, None]}, {'a': ['x']}, {'a': []}], [{'a': [[None, 'x']]}], [{'a': {'b': [None]}}], [{'a': [None, {'k': 1}]}], [{'a': [None, None]}], [{'a': [None, '2020-01-01']}]])
def test_lists_that_begin_with_nothing(rows):
    assert json_rows(''.join(json.dumps(row) + '\n' for row in rows).encode())[0].to_pylist() == rows  # pyarrow alone reads beyond the end of a buffer


def csv_rows(data: bytes, name: str = 'a.csv'):
    counts = Counter()
    return join_tables(list(csv_tables(lambda: io.BytesIO(data), name, counts))), counts


TEXTS = st.text(st.characters(codec='utf-8', exclude_characters='\0\r', exclude_categories=['Cs']), max_size=12)


@settings(max_examples=150)
@given(st.lists(st.tuples(TEXTS, TEXTS, TEXTS), max_size=8))
def test_csv_cells_come_back_unchanged(rows):
    text = io.StringIO(newline='')
    csv.writer(text, lineterminator='\n', quoting=csv.QUOTE_ALL).writerows([('a', 'b', 'c'), *rows])
    want = [dict(zip('abc', (cell or None for cell in row))) for row in rows]
    table, counts = csv_rows(text.getvalue().encode())
    assert table.to_pylist() == want and not +counts
    damaged, counts = csv_rows(text.getvalue().encode() + b'"\xff","",""\n')  # one bad byte, and the patient reader takes over
    assert damaged.to_pylist()[:len(want)] == want and damaged.num_rows == len(want) + 1 and counts['not_utf8'] == 1


def test_csv_dialects():
    assert csv_rows(b'a;b\n1,5;2\n')[0].to_pylist() == [{'a': '1,5', 'b': '2'}]
    assert csv_rows(b'a|b\nx|y\n')[0].to_pylist() == [{'a': 'x', 'b': 'y'}]
    assert csv_rows(b'a,a,\n1,2,3\n')[0].column_names == ['a', 'a_2', 'column_2']
    assert csv_rows('a,b\nä,2\n'.encode('utf-16'))[0].to_pylist() == [{'a': 'ä', 'b': '2'}]
    assert csv_rows(b'a,b\r\n1,2\r\n')[0].to_pylist() == [{'a': '1', 'b': '2'}]
    assert csv_rows(b'a,b\n')[0].num_rows == 0


def test_ragged_rows_are_counted_once_by_either_reader():
    table, counts = csv_rows(b'a,b\n1,2\n3\n4,5,6\n7,8\n')
    assert table.column('a').to_pylist() == ['1', '7'] and counts == {'ragged_row': 2}
    table, counts = csv_rows(b'a,b\n1,2\n3\n4,5,6\n7,\xe4\n')
    assert table.column('b').to_pylist() == ['2', 'ä'] and counts == {'ragged_row': 2, 'not_utf8': 1}


def test_a_column_that_changes_type_in_a_later_block():
    rows = [{'x': i, 'pad': 'p' * 100} for i in range(5000)] + [{'x': 'last', 'pad': ''}]
    table, counts = json_rows(''.join(json.dumps(row) + '\n' for row in rows).encode())
    assert table.column('x').type == pa.string() and table.column('x').to_pylist() == [*map(str, range(5000)), 'last'] and not +counts


def test_text_that_looks_like_a_time_stays_text():
    rows = [{'day': '2020-01-01', 'when': ['2020-01-01T10:00:00Z'], 'in': {'at': '2020-01-01 10:00:00'}}]
    assert json_rows(json.dumps(rows[0]).encode())[0].to_pylist() == rows
    assert number_columns(csv_rows(b'day,at,flag,part\n2020-01-01,10:30,true,NA\n')[0]).to_pylist() == [{'day': '2020-01-01', 'at': '10:30', 'flag': 'true', 'part': 'NA'}]


def test_numbers_of_a_csv_only_where_nothing_is_lost():
    table = number_columns(csv_rows(b'a,b,c,d,e,f,g\n1,007,1.5,1.50,1e5,9223372036854775808,1.0\n-2,8,2,2.00,2,1,-0.25\n')[0])
    assert [str(kind) for kind in table.schema.types] == ['int64', 'string', 'string', 'string', 'string', 'string', 'double']


def test_a_number_column_stays_text_where_a_later_row_would_change(tmp_path):
    put(tmp_path, train___csv='zip,x\n' + ''.join(f'{i},a\n' for i in range(1, 400)) + '0123,b\n')
    card = one(tmp_path)
    assert card.fields[0].dtype == 'int64' and read_table(card, 'train', 10).column('zip').to_pylist()[0] == 1
    assert read_table(card, 'train').column('zip').to_pylist()[-1] == '0123'


@given(st.lists(VALUES, max_size=8))
def test_a_column_of_any_values(values):
    column = column_of(values)
    assert len(column) == len(values)
    assert [value is None for value in column.to_pylist()] == [value is None for value in values]


def test_long_lines_and_long_cells(tmp_path):
    row = {'text': 'x' * 10_000_000, 'label': 'long'}
    put(tmp_path, json__train___jsonl=json.dumps(row) + '\n{"text": "short", "label": "s"}\n', csv__train___csv=f'text,label\n{row["text"]},long\nshort,s\n')
    for folder in ('json', 'csv'):
        card = one(tmp_path / folder)
        table = read_table(card, 'train')
        assert [len(text) for text in table.column('text').to_pylist()] == [10_000_000, 5]
        assert len(card.rows[0]['text']) == Policy().max_cell and card.rows[1]['text'] == 'short'


@given(st.lists(st.integers(-3, 6) | st.none(), max_size=6), st.lists(st.lists(st.integers(-2, 4), max_size=3) | st.none(), max_size=6), st.integers(0, 3))
def test_labels_at_any_depth_and_offset(numbers, lists, start):
    names = ('a', 'b', 'c')
    def name(value): return names[value] if value is not None and 0 <= value < 3 else None
    length = max(len(numbers), len(lists))
    numbers, lists = numbers + [None] * (length - len(numbers)), lists + [None] * (length - len(lists))
    table = pa.table({'x': pa.array(numbers, pa.int64()), 'y': pa.array(lists, pa.list_(pa.int8())), 'z': pa.array([{'k': number} if number is None or number % 2 else None for number in numbers], pa.struct([('k', pa.int16())])),
                      'w': pa.array([None if item is None else [{'k': value} for value in item] for item in lists], pa.list_(pa.struct([('k', pa.int32())])))})
    found = name_labels(table.slice(start), {'x': names, 'y': names, 'z.k': names, 'w.k': names, 'gone': names}).to_pylist()
    want = [{'x': name(number), 'y': None if item is None else [name(value) for value in item], 'z': {'k': name(number)} if number is None or number % 2 else None, 'w': None if item is None else [{'k': name(value)} for value in item]}
            for number, item in zip(numbers, lists)]
    assert found == want[start:]


def test_parquet_written_by_datasets_knows_its_labels(tmp_path):
    info = {'info': {'features': {'text': {'dtype': 'string', '_type': 'Value'}, 'label': {'names': ['neg', 'pos'], '_type': 'ClassLabel'}}}}
    table = pa.table({'text': ['a', 'b', 'c'], 'label': [1, 0, -1]}).replace_schema_metadata({'huggingface': json.dumps(info)})
    pq.write_table(table, tmp_path / 'train.parquet')
    with pa.OSFile(str(tmp_path / 'train.arrow'), 'wb') as file, pa.ipc.new_stream(file, table.schema) as writer: writer.write_table(table)
    for name in ('train.parquet', 'train.arrow'):
        card = one(tmp_path / name)
        assert card.fields[1] == Field('label', 'ClassLabel', ('neg', 'pos'))
        assert read_table(card, 'train').column('label').to_pylist() == ['pos', 'neg', None] == [row['label'] for row in card.rows]


def test_types_of_parquet_that_no_prompt_knows(tmp_path):
    from datetime import date, datetime
    from decimal import Decimal
    table = pa.table({'at': [datetime(2020, 1, 2, 3, 4)], 'days': pa.array([[date(2020, 1, 2)]]), 'price': [Decimal('1.50')], 'text': pa.array(['x'], pa.large_string()), 'kind': pa.array(['a']).dictionary_encode(),
                      'part': [{'on': date(2020, 1, 2)}], 'raw': [b'1']})
    pq.write_table(table, tmp_path / 'train.parquet')
    card = one(tmp_path / 'train.parquet')
    assert card.rows == ({'at': '2020-01-02 03:04:00.000000', 'days': ['2020-01-02'], 'price': '1.50', 'text': 'x', 'kind': 'a', 'part': {'on': '2020-01-02'}, 'raw': b'1'},)
    assert [field.dtype for field in card.fields] == ['string', 'list<string>', 'string', 'string', 'string', 'struct<on: string>', 'binary']


# ---------------------------------------------------------------- sources

CARD = '---\nlicense: mit\nlanguage: en\n{}---\n### Dataset Summary\nRows.\n'


def test_one_csv_of_ones_own(tmp_path):
    put(tmp_path, tickets___csv='question,answer,stars\nLate?,Sorry,4\nBroken?,"We, too",5\n')
    found = list(find_sources(str(tmp_path / 'tickets.csv')))
    assert [item.rule for item in found] == ['no_license'] and '-p license own' in license_hint(found)
    card = one(tmp_path / 'tickets.csv', replace(OWN, description='Questions to a shop.'))
    assert (card.name, card.summary, card.license, card.languages) == ('tickets', 'Questions to a shop.', 'own', ('en',))
    assert list(read_rows(card, 'train')) == [(0, {'question': 'Late?', 'answer': 'Sorry', 'stars': 4}), (1, {'question': 'Broken?', 'answer': 'We, too', 'stars': 5})]
    assert license_hint([card, *found]) == '' == license_hint([])


def test_a_policy_never_overrides_what_a_card_says(tmp_path):
    put(tmp_path, a__README___md='---\nlicense: cc-by-nd-4.0\n---\n', a__train___csv='x,y\n1,2\n', b__README___md=CARD.format(''), b__train___csv='x,y\n1,2\n')
    first, second = find_sources(str(tmp_path), Policy(license='own', description='Mine.', language='de'))
    assert first.rule == 'denied_license' and (second.license, second.summary, second.languages) == ('mit', 'Rows.', ('en',))
    hint = license_hint([first])
    assert 'choose other sources' in hint and '-p license' not in hint


def test_a_source_with_a_broken_header_keeps_its_rows(tmp_path):
    put(tmp_path / 'bad', README___md='---\n"license: [mit\n---\n### Dataset Summary\nReviews of films.\n', train___csv='text,stars\nFine,4\n')
    card = one(tmp_path / 'bad', OWN)
    assert (card.summary, card.license, card.languages, card.rows) == ('Reviews of films.', 'own', ('en',), ({'text': 'Fine', 'stars': 4},))
    assert len(card.notes) == 1 and 'header of the card cannot be read' in card.notes[0] and '"license: [mit' in card.notes[0]
    rejected = one(tmp_path / 'bad', Policy())
    assert rejected.rule == 'no_license' and 'header of the card cannot be read' in rejected.text and '-p license own' in license_hint([rejected])
    assert one(tmp_path / 'bad', Policy(license='own'), detect=lambda text: 'de').rule == 'language'
    put(tmp_path / 'bad', dataset_infos___json='{"default": {"features": {"text": {"dtype": "string", "_type": "Value"}}}}')
    (tmp_path / 'bad' / 'train.csv').unlink()
    assert [field.name for field in one(tmp_path / 'bad', OWN).fields] == ['text']
    (tmp_path / 'bad' / 'dataset_infos.json').unlink()
    assert one(tmp_path / 'bad', OWN).rule == 'broken_card'


def test_a_broken_line_with_the_licence_is_named(tmp_path):
    put(tmp_path / 'bad', README___md='---\nlicense: "m"it"\nlanguage: en\n---\n', train___csv='a,b\n1,2\n')
    assert 'broken YAML in the card: license' in one(tmp_path / 'bad', Policy()).text


def test_the_hint_is_for_licences_only(tmp_path):
    put(tmp_path, a__README___md='---\nlicense: mit\nlanguage: de\n---\n', a__train___csv='x,y\n1,2\n', b__README___md='---\nlicense: other\n---\n', b__train___csv='x,y\n1,2\n', c___csv='x,y\n1,2\n')
    found = list(find_sources(str(tmp_path)))
    assert [item.rule for item in found] == ['language', 'denied_license', 'no_license']
    assert license_hint(found) == license_hint(found[:2]) == license_hint(found[:1]) == '' and '1 of 2 name no licence' in license_hint(found[1:])


def test_a_link_to_nothing_is_one_line(tmp_path):
    put(tmp_path / 'all', good__README___md=CARD.format(''), good__train___csv='a,b\n1,2\n')
    for name in ('films', 'rows.csv'): (tmp_path / 'all' / name).symlink_to(tmp_path / 'gone')
    found = list(find_sources(str(tmp_path / 'all')))
    assert [(item.id, item.rule) if isinstance(item, Rejected) else item.name for item in found] == [('films', 'unreadable'), 'good', ('rows.csv', 'unreadable')]
    assert 'does not exist' in found[0].text


FAULTS = {
    'no folder content': ({}, 'no_data'), 'only a card': ({'README___md': CARD.format('')}, 'no_data'), 'a settings file': ({'README___md': CARD.format(''), 'config___json': '{"a": 1}'}, 'no_data'),
    'an object without rows': ({'README___md': CARD.format(''), 'schema___json': '{"a": {"b": 1}}'}, 'no_rows'), 'empty file': ({'README___md': CARD.format(''), 'train___jsonl': ''}, 'no_rows'), 'header only': ({'README___md': CARD.format(''), 'train___csv': 'a,b\n'}, 'no_rows'),
    'only bad lines': ({'README___md': CARD.format(''), 'train___jsonl': 'a\nb\n'}, 'no_rows'), 'cut parquet': ({'README___md': CARD.format(''), 'train___parquet': b'PAR1xxxx'}, 'unreadable'), 'no gzip': ({'README___md': CARD.format(''), 'train___csv___gz': b'plain'}, 'unreadable'),
    'cut gzip': ({'README___md': CARD.format(''), 'train___jsonl___gz': gzip.compress(os.urandom(100_000))[:5000]}, 'unreadable'), 'broken YAML': ({'README___md': '---\n"a: [\n---\n', 'train___csv': 'a,b\n1,2\n'}, 'no_license'), 'broken YAML and no rows': ({'README___md': '---\n"a: [\n---\n'}, 'broken_card'),
    'pictures': ({'README___md': CARD.format(''), 'img__1___png': b'x', 'img__2___jpg': b'x'}, 'image_audio'), 'picture type': ({'README___md': CARD.format('dataset_info:\n  features:\n  - name: p\n    dtype: image\n')}, 'image_audio'),
    'nested sound': ({'README___md': CARD.format('dataset_info:\n  features:\n  - name: p\n    sequence:\n      audio:\n        sampling_rate: 8000\n')}, 'image_audio'), 'names of pictures': ({'README___md': CARD.format(''), 'train___csv': 'image_path,caption\na/1.jpg,cat\nb/2.JPG,dog\n'}, 'image_audio'),
    'only text files': ({'README___md': CARD.format(''), 'notes___txt': 'a'}, 'no_data'), 'a script': ({'README___md': CARD.format(''), 'films___py': 'raise SystemExit'}, 'no_data'),
    'features that are none': ({'README___md': CARD.format('dataset_info: [1, 2]\nconfigs: 3\n')}, 'no_data'), 'infos that are none': ({'README___md': CARD.format(''), 'dataset_infos___json': '[1]'}, 'no_data'), 'infos that are broken': ({'README___md': CARD.format(''), 'dataset_infos___json': '{'}, 'unreadable'),
    'foreign': ({'README___md': '---\nlicense: mit\nlanguage: [en, de]\n---\n', 'train___csv': 'a,b\n1,2\n'}, 'language'), 'no licence': ({'README___md': '# No header\n', 'train___csv': 'a,b\n1,2\n'}, 'no_license'),
}


@pytest.mark.parametrize('fault', FAULTS)
def test_a_bad_source_is_one_line(tmp_path, fault):
    files, rule = FAULTS[fault]
    put(tmp_path / 'all' / 'bad', **files).mkdir(parents=True, exist_ok=True)
    put(tmp_path / 'all' / 'good', README___md=CARD.format(''), train___csv='a,b\n1,2\n')
    bad, good = find_sources(str(tmp_path / 'all'), Policy())
    assert isinstance(bad, Rejected) and (bad.kind, bad.id, bad.rule) == ('source', 'bad', rule), bad
    assert bad.text and bad.where.endswith('bad') and isinstance(good, SourceCard)


def test_notes_and_counts_of_bad_rows(tmp_path):
    put(tmp_path, a__train___jsonl=b'{"x": "1"}\noops\n{"x": "\xe4"}\n', b__train___csv='x,y\n1,2\n3\n')
    for card in find_sources(str(tmp_path), ANY):
        rejected = []
        read_table(card, 'train', rejected=rejected)
        assert {(item.kind, item.id) for item in rejected} == {('row', card.name)}
        assert {item.rule: item.count for item in rejected} == ({'bad_line': 1, 'not_utf8': 1} if card.name == 'a' else {'ragged_row': 1})
        assert any('1 ' in note for note in card.notes), card.notes


def test_a_file_that_breaks_later_costs_only_its_own_rows(tmp_path):
    put(tmp_path, README___md=CARD.format(''), train___jsonl='{"a": 1}\n')
    (tmp_path / 'test.parquet').write_bytes(b'')
    put(tmp_path, data__train_a___csv='a,b\n1,2\n', data__train_b___csv='a,b\n3,4\n')
    card = one(tmp_path)
    assert [Path(file).name for file in card.splits[0].files] == ['train_a.csv', 'train_b.csv'] and any('test.parquet' in note for note in card.notes)
    (tmp_path / 'data' / 'train_b.csv').unlink()
    with pytest.raises(OSError, match='train_b.csv'): read_table(card, 'train')
    rejected = []
    assert read_table(card, 'train', rejected=rejected).to_pylist() == [{'a': 1, 'b': 2}] and [item.rule for item in rejected] == ['unreadable']


def test_splits_look_the_same_whichever_rows_are_read(tmp_path):
    put(tmp_path, train___csv='n,s\n' + ''.join(f'{i},{i}x\n' for i in range(300)), test___csv='n,s\nnone,1\n5,2\n', dev___csv='n,s\n1,1\n2,2\n')
    card = one(tmp_path)
    assert [str(kind) for kind in read_table(card, 'train', 3).schema.types] == ['int64', 'string'] == [str(kind) for kind in read_table(card, 'validation').schema.types]
    assert read_table(card, 'test').to_pylist() == [{'n': 'none', 's': '1'}, {'n': '5', 's': '2'}]
    table = read_table(card, 'train')
    for limit in (0, 1, 299, 300, 1000): assert read_table(card, 'train', limit).to_pylist() == table.slice(0, limit).to_pylist()
    assert [row for _, row in read_rows(card, 'train')] == table.to_pylist()


def test_class_labels_from_a_card(tmp_path):
    info = "dataset_info:\n  features:\n  - name: text\n    dtype: string\n  - name: label\n    dtype:\n      class_label:\n        names:\n          '0': 'no'\n          '1': 'yes'\n  - name: tags\n    sequence:\n      class_label:\n        names: [O, B]\n"
    put(tmp_path, j__README___md=CARD.format(info), j__train___jsonl='{"text": "a", "label": 1, "tags": [1, 0]}\n{"text": "b", "label": -1, "tags": []}\n', c__README___md=CARD.format(info), c__train___csv='text,label\na,1\nb,-1\nc,yes\n')
    c, j = find_sources(str(tmp_path))
    assert [row['label'] for row in c.rows] == ['yes', None, 'yes'] == read_table(c, 'train').column('label').to_pylist()
    assert j.rows == ({'text': 'a', 'label': 'yes', 'tags': ['B', 'O']}, {'text': 'b', 'label': None, 'tags': []})
    assert j.fields[1].labels == ('no', 'yes') and any('tags' in note for note in c.notes)


def test_configurations_of_a_card_and_their_rows(tmp_path):
    info = 'dataset_info:\n- config_name: qa\n  features:\n  - {name: question, dtype: string}\n  - {name: answer, dtype: string}\n- config_name: docs\n  features:\n  - {name: body, dtype: string}\n'
    put(tmp_path, README___md=CARD.format(info), data__train___jsonl='{"body": "x"}\n')
    docs, qa = find_sources(str(tmp_path))
    assert (docs.config, len(docs.rows), qa.config, qa.splits, [field.name for field in qa.fields]) == ('docs', 1, 'qa', (), ['question', 'answer'])
    put(tmp_path / 'old', README___md=CARD.format('configs:\n- a\n- b\n'), train___csv='x,y\n1,2\n')
    card = one(tmp_path / 'old')
    assert card.name == 'old' and card.rows and 'load_dataset refuses' in card.notes[0]


def test_language_of_a_configuration_and_of_the_text(tmp_path):
    put(tmp_path, README___md='---\nlicense: mit\nlanguage: [de, en]\nconfigs: [de, en]\n---\n', de__train___csv='a,b\n1,2\n', en__train___csv='a,b\n1,2\n')
    assert [getattr(item, 'rule', 'card') for item in find_sources(str(tmp_path))] == ['language', 'card']
    put(tmp_path / 'x', README___md='---\nlicense: mit\n---\n', train___csv='a,b\nguten tag,3\n')
    assert one(tmp_path / 'x', Policy(), detect=lambda text: 'de' if 'guten' in text else '').rule == 'language'
    assert one(tmp_path / 'x', Policy(), detect=lambda text: '').languages == ()
    assert one(tmp_path / 'x', Policy(), detect=lambda text: 'en').languages == ('en',)


def test_places(tmp_path, monkeypatch):
    put(tmp_path, own__a___csv='x,y\n1,2\n', sets__one__README___md=CARD.format(''), sets__one__data__train___csv='x,y\n1,2\n', sets__two__train___csv='x,y\n1,2\n', sets__README___md='# A collection\n', sets____pycache____x___csv='x\n',
        run__run___json='{}', run__dataset__README___md=CARD.format(''), run__dataset__data__train___csv='x,y\n1,2\n')
    assert [card.name for card in find_sources(f'{tmp_path}/sets', ANY)] == ['one', 'two']
    assert [card.name for card in find_sources(f'{tmp_path}/own/a.csv, {tmp_path}/run', ANY)] == ['a', 'run']
    duplicates = list(find_sources(f'{tmp_path}/own/a.csv,{tmp_path}/own/a.csv', ANY))
    assert [getattr(item, 'rule', 'card') for item in duplicates] == ['card', 'duplicate_source']
    monkeypatch.chdir(tmp_path)
    assert [card.name for card in find_sources('sets', ANY)] == ['one', 'two']
    for spec, error in (('', ValueError), ('nowhere', FileNotFoundError), ('hub:?x=1', ValueError), ('hub:a b', ValueError), (f'{tmp_path}/sets/README.md', ValueError)):
        with pytest.raises(error): find_sources(spec)


def test_unrelated_files_of_a_folder_are_sources_of_their_own(tmp_path):
    put(tmp_path, reviews___csv='text,stars\nFine,4\n', qa___jsonl='{"question": "Who?", "answer": "I."}\n', sales___tsv='day\tsum\n1\t2\n', qa___csv='question,answer,score\nWhy?,So.,1\n', empty___csv='', broken___parquet='no', old__train_notes___txt='x')
    found = list(find_sources(str(tmp_path), ANY))
    assert [(card.name, card.config, [(split.name, len(split.files)) for split in card.splits]) for card in found if isinstance(card, SourceCard)] == [(name, 'default', [('train', 1)]) for name in ('qa', 'reviews', 'sales')]
    assert {(drop.id, drop.rule) for drop in found if isinstance(drop, Rejected)} == {('qa', 'duplicate_source'), ('broken', 'unreadable'), ('empty', 'no_rows')}
    cards = {card.name: card for card in found if isinstance(card, SourceCard)}
    assert cards['reviews'].rows == ({'text': 'Fine', 'stars': 4},) and not cards['reviews'].notes
    assert list(find_sources(str(tmp_path / 'reviews.csv'), ANY)) == [cards['reviews']]  # the same card, however it was reached
    put(tmp_path, below__deep___csv='x,y\n1,2\n')
    assert [card.name for card in find_sources(str(tmp_path), ANY) if isinstance(card, SourceCard)] == sorted([*cards, tmp_path.name])
    put(tmp_path.parent / f'{tmp_path.name}-all', tables__a___csv='x\n1\n', tables__b___csv='y\n1\n', films__README___md='---\nlicense: mit\n---\n', films__train___csv='z\n1\n')
    assert [card.name for card in find_sources(f'{tmp_path}-all', ANY)] == ['a', 'b', 'films']


@pytest.mark.parametrize('files, splits, note', [
    ({'a.csv': 'x,y\n1,2\n', 'b.csv': 'y,x\n2,1\n'}, {'train': 2}, ''),                          # the same columns
    ({'train.csv': 'x,y\n1,2\n', 'test.csv': 'x\n1\n'}, {'train': 1, 'test': 1}, ''),           # names of splits
    ({'my_train.csv': 'x,y\n1,2\n', 'dev.csv': 'x\n1\n', 'odd.csv': 'z\n1\n'}, {'train': 1, 'validation': 1}, 'belong to no split: odd.csv'),
    ({'part-0000.jsonl': '{"x": 1}\n', 'part-0001.jsonl': '{"y": 1}\n'}, {'train': 2}, 'part-0001.jsonl has other columns than part-0000.jsonl'),
    ({'0.jsonl': '{"x": 1}\n', '1.jsonl': '{"y": 1}\n'}, {'train': 2}, '1.jsonl has other columns than 0.jsonl'),
    ({'data-00001-of-00002.csv': 'x\n1\n', 'data-00002-of-00002.csv': 'y\n1\n'}, {'data': 2}, 'data-00002-of-00002.csv has other columns'),
    ({'README.md': '# Shop\n', 'a.csv': 'x,y\n1,2\n', 'b.csv': 'z\n1\n', 'c.csv': 'w\n1\n'}, {'train': 3}, 'b.csv, c.csv have other columns than a.csv'),
    ({'README.md': '# Shop\n', 'a.csv': 'x,y\n1,2\n', 'b.csv': 'y,x\n1,2\n'}, {'train': 2}, ''),
    ({'a.csv': 'x,y\n1,2\n', 'b.csv': ''}, {'train': 2}, '')])                                   # an empty file says nothing
def test_files_of_one_dataset_stay_together(tmp_path, files, splits, note):
    for name, text in files.items(): (tmp_path / name).write_text(text)
    card = one(tmp_path)
    assert card.name == tmp_path.name and {split.name: len(split.files) for split in card.splits} == splits
    assert ('columns' in note) == any('columns' in said for said in card.notes) and any(note in said for said in (*card.notes, ''))


def test_revision_follows_names_and_bytes(tmp_path):
    put(tmp_path, README___md=CARD.format(''), data__train___csv='x,y\n1,2\n')
    first = one(tmp_path).revision
    assert one(tmp_path).revision == first and len(first) == 16
    put(tmp_path, notes___txt='not used')
    assert one(tmp_path).revision == first
    put(tmp_path, data__train___csv='x,y\n1,3\n')
    second = one(tmp_path).revision
    (tmp_path / 'data' / 'train.csv').rename(tmp_path / 'data' / 'train2.csv')
    assert len({first, second, one(tmp_path).revision}) == 2 + (one(tmp_path).revision not in (first, second))


# ---------------------------------------------------------------- demonstration sources

def test_the_script_writes_the_same_bytes(tmp_path):
    folder = demo_folder()
    subprocess.run([sys.executable, folder / 'make_demo.py', tmp_path], check=True, env={**os.environ, 'PYTHONHASHSEED': '7'})
    written = [path.relative_to(tmp_path) for path in tmp_path.rglob('*') if path.is_file()]
    assert len(written) == 16
    for path in written: assert (tmp_path / path).read_bytes() == (folder / path).read_bytes(), path


def test_demonstration_sources():
    found = {getattr(item, 'name', None) or item.id: item for item in find_sources('demo')}
    assert len(found) == 10 and {name: item.rule for name, item in found.items() if isinstance(item, Rejected)} == {'garden_notes': 'denied_license', 'haushalt_tipps': 'language'}
    assert found['trail_statements'].summary == '' and all(card.summary for name, card in found.items() if isinstance(card, SourceCard) and name != 'trail_statements')
    assert [card.name for card in find_sources('demo', Policy(languages=('de',)))if isinstance(card, SourceCard)] == ['haushalt_tipps']
    assert sum(path.stat().st_size for path in demo_folder().rglob('*') if path.is_file()) < 1_000_000
    sizes = {}
    for name, card in found.items():
        if isinstance(card, Rejected): continue
        rows = [json.dumps(row, sort_keys=True) for split in card.splits for _, row in read_rows(card, split.name)]
        assert len(set(rows)) == len(rows) and not card.notes
        sizes[name] = len(rows)
    assert sorted(sizes.values()) == [42, 45, 48, 54, 500, 500, 500, 500]
    labels = Counter(row['label'] for _, row in read_rows(found['course_feedback'], 'test'))
    assert labels[None] == 4 and set(labels) == {None, 'negative', 'neutral', 'positive'}
    for _, row in read_rows(found['town_guide'], 'train'):
        assert row['context'][row['answers']['answer_start'][0]:].startswith(row['answers']['text'][0])
    for _, row in read_rows(found['python_helpers'], 'train'):
        space = {}
        exec(row['code'], space)
        for test in row['tests']: exec(test, space)


def test_the_hubs_own_library_reads_the_same_rows(tmp_path):
    code = """
import json, sys
import datasets
datasets.disable_progress_bars()
for folder in sys.argv[2:]:
    for split, rows in datasets.load_dataset(folder, cache_dir=sys.argv[1]).items():
        label = rows.features['label'].int2str if isinstance(rows.features.get('label'), datasets.ClassLabel) else None
        print(json.dumps([folder, split, [{key: (label(value) if value >= 0 else None) if label and key == 'label' else value for key, value in row.items()} for row in rows]]))
"""
    folders = [str(demo_folder() / name) for name in ('course_feedback', 'town_guide', 'python_helpers', 'support_tickets', 'notice_pairs')]
    done = subprocess.run([sys.executable, '-c', code, tmp_path, *folders], capture_output=True, text=True, env={**os.environ, 'HF_HUB_OFFLINE': '1', 'HF_HOME': str(tmp_path)})
    assert done.returncode == 0, done.stderr
    theirs = [json.loads(line) for line in done.stdout.split('\n') if line]
    assert len(theirs) == 12
    for folder, split, rows in theirs: assert read_table(one(folder), split).to_pylist() == rows


# ---------------------------------------------------------------- real data

def test_real_folders(shared_data):
    cards = {card.name: card for card in find_sources(str(shared_data / 'hub'))}
    assert len(cards) == 19 and all(isinstance(card, SourceCard) and card.rows for card in cards.values())
    for card in cards.values():
        for split in card.splits:
            rejected = []
            table = read_table(card, split.name, rejected=rejected)
            lines = [line for line in Path(split.files[0]).read_bytes().split(b'\n') if line]
            assert table.num_rows == len(lines) and not rejected
            assert table.slice(0, 50).to_pylist() == [{key: row.get(key) for key in table.column_names} for row in map(json.loads, lines[:50])]
    assert {name for name, card in cards.items() if card.notes} == {'cola', 'qnli', 'pubmed_qa'}
    assert {name for name, card in cards.items() if not card.summary} == {'clinc150', 'pubmed_qa'}
    assert cards['humaneval'].languages == ('code',) and cards['snli_sample'].url == 'https://nlp.stanford.edu/projects/snli/'


def test_real_cards(shared_data, tmp_path):
    folder = cards_with_info(shared_data, tmp_path)
    found = list(find_sources(str(folder)))
    assert sorted(item.source if isinstance(item, SourceCard) else item.where.split('/')[-1] for item in found) == sorted(path.name for path in (shared_data / 'cards').iterdir())
    assert Counter(item.rule if isinstance(item, Rejected) else 'rows' if item.rows else 'fields' for item in found) == COUNTS
    assert not any(item.rule in ('broken_card', 'unreadable') for item in found if isinstance(item, Rejected))
    names = [item.name if isinstance(item, SourceCard) else item.id for item in found]
    assert names == sorted(names) and len(set(names)) == 385
    cards = {card.name: card for card in find_sources(str(folder), Policy(denied_licenses=(), languages=(), license='any')) if isinstance(card, SourceCard)}
    assert cards['ag_news'].fields == (Field('text'), Field('label', 'ClassLabel', ('World', 'Sports', 'Business', 'Sci/Tech')))
    assert sum(not card.summary for card in cards.values()) < 45 and all('[More Information' not in card.summary and '](' not in card.summary for card in cards.values())


COUNTS = {'denied_license': 132, 'language': 89, 'fields': 55, 'no_license': 47, 'rows': 47, 'image_audio': 8, 'no_data': 7}


# ---------------------------------------------------------------- the hub

@pytest.fixture
def hub(monkeypatch):
    buffer = io.BytesIO()
    pq.write_table(pa.table({'text': ['a', 'b'], 'label': [0, 1]}), buffer)
    text = CARD.format('')
    info = 'configs:\n- config_name: one\n  data_files: one/*.jsonl\n- config_name: two\n  data_files:\n  - split: train\n    path: two/t.jsonl\n'
    repositories = {
        'me/plain': repository(text, {'data/train.jsonl': '{"a": "x", "b": 1}\n' * 3, 'data/test.csv': 'a,b\n'}, downloads=5, tags=['language:en', 'license:mit']),
        'me/script': repository(text, {'script.py': 'raise SystemExit'}, sha='b' * 40, downloads=9, tags=['language:en'], created='2023-01-01T00:00:00.000Z',
                                branches={'refs/convert/parquet': {'sha': 'c' * 40, 'files': {'one/train/0000.parquet': buffer.getvalue(), 'one/train/0001.parquet': buffer.getvalue(), 'two/partial-tele/0000.parquet': buffer.getvalue()}}}),
        'me/late': repository(text, {'train.csv': 'a,b\n1,x\n'}, sha='d' * 40, created='2024-01-01T00:00:00.000Z', downloads=7, tags=['language:en']),
        'me/configs': repository(CARD.format(info), {'one/a.jsonl': '{"x": "1", "y": "2"}\n', 'two/t.jsonl': '{"z": "1", "w": "3"}\n'}, sha='1' * 40, downloads=3, tags=['language:en'], created='2021-05-05T00:00:00.000Z'),
        'me/gated': {'sha': 'e' * 40, 'files': {}, 'status': 403}, 'me/gone': repository(text, {}, sha='9' * 40, disabled=True, downloads=99, tags=['language:en']),
        'me/other': repository('---\nlicense: other\n---\n', {'train.csv': 'a,b\n1,x\n'}, sha='f' * 40, downloads=1, tags=['language:de'])}
    monkeypatch.setattr(instructgen.hub, 'FIRST_WAIT', 0.)
    monkeypatch.setattr('time.sleep', lambda seconds: None)  # huggingface_hub waits a second itself
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_OFFLINE', False)
    with HubServer(repositories) as server:
        monkeypatch.setenv('HF_ENDPOINT', server.address)
        yield server


def test_a_repository_pinned_and_read(hub):
    card = one('hub:me/plain', Policy())
    assert (card.name, card.revision, card.url, card.license) == ('me/plain', 'a' * 40, f'{hub.address}/datasets/me/plain', 'mit')
    assert card.splits[0].files == (f'hf://datasets/me/plain@{"a" * 40}/data/train.jsonl',)
    assert read_table(card, 'train').to_pylist() == [{'a': 'x', 'b': 1}] * 3 == list(card.rows)
    assert one(f'hub:me/plain@{"a" * 40}').revision == 'a' * 40
    assert one('hub:me/configs:two').name == 'me/configs-two'
    assert [card.name for card in find_sources('hub:me/configs', ANY)] == ['me/configs-one', 'me/configs-two']


def test_a_script_is_never_run_and_its_conversion_is_read(hub):
    one_, two = find_sources('hub:me/script', ANY)
    assert (one_.revision, one_.config, [split.name for split in two.splits]) == ('b' * 40, 'one', ['tele'])
    assert one_.splits[0].files[1] == f'hf://datasets/me/script@{"c" * 40}/one/train/0001.parquet'
    assert read_table(one_, 'train').num_rows == 4 and 'Parquet conversion' in one_.notes[0]


def test_what_the_hub_refuses_is_a_line(hub):
    rules = {item.id: item.rule for item in find_sources(f'hub:me/gated,hub:me/nothing,hub:me/plain@{"7" * 40},hub:me/plain:x,hub:me/other', Policy())}
    assert rules == {'me/gated': 'gated', 'me/nothing': 'not_found', 'me/plain': 'not_found', 'me/plain-x': 'no_data', 'me/other': 'denied_license'}
    assert not [path for path in hub.calls if path.endswith(('other/resolve/' + 'f' * 40 + '/train.csv'))]  # nothing is read of a source that may not be used


def test_a_query_page_by_page(hub):
    names = lambda spec: [entry.id for entry in list_repositories(spec)]
    assert names('hub:?language=en&sort=downloads') == ['me/script', 'me/late', 'me/plain', 'me/configs']
    assert names('hub:?language=en&created_before=2023-02-23&sort=downloads&limit=2') == ['me/script', 'me/plain']
    assert names('hub:?created_after=2023-06-01') == ['me/late'] and names('hub:?license=mit') == ['me/plain'] and names('hub:?author=you') == [] and names('hub:?limit=0') == []
    assert list(list_repositories('hub:?search=plain')) == [Pinned('me/plain', 'a' * 40)]


def test_back_off_at_429_and_5xx(hub):
    hub.failures = [('^/api/datasets$', 429, {'Retry-After': '0'}), ('^/api/datasets$', 503, {}), ('plain/resolve.*README', 500, {}), ('^/api/datasets/me/plain', 502, {}), ('data/train.jsonl', 429, {})]
    card = one('hub:?search=plain', ANY)
    assert card.rows and not hub.failures
    hub.failures = [('^/api/datasets/me/plain', 500, {})] * 20
    assert one('hub:me/plain').rule == 'unreachable' and 20 - len(hub.failures) == instructgen.hub.TRIES


def test_a_page_that_fails_in_the_middle_loses_and_doubles_nothing(hub):
    turns = list_repositories('hub:?language=en&sort=downloads')
    found = [next(turns).id]
    hub.failures = [('^/api/datasets$', 500, {})] * 2
    assert found + [entry.id for entry in turns] == ['me/script', 'me/late', 'me/plain', 'me/configs']


def test_a_missing_repository_is_a_named_reject_of_a_pinned_list_too(hub, tmp_path):
    spec = pin_sources('hub:me/plain,hub:me/nothing', tmp_path/'sources.json')
    assert read_list(tmp_path/'sources.json') == [Pinned('me/plain', 'a' * 40), Pinned('me/nothing')]
    found = {getattr(card, 'rule', ''): getattr(card, 'id', '') for card in find_sources(spec, ANY)}
    assert found == {'': '', 'not_found': 'me/nothing'}
    hub.failures = [('^/api/datasets/me/plain', 500, {})] * 20
    with pytest.raises(OSError): pin_sources('hub:me/plain', tmp_path/'other.json')  # a hub in trouble says nothing about what is there
    hub.failures = []
    assert not (tmp_path/'other.json').exists()


def test_a_saved_list_is_used_again_without_asking(hub, tmp_path):
    path = tmp_path / 'sources.json'
    spec = pin_sources('demo,hub:?language=en&sort=downloads&limit=3,hub:me/configs:two', path)
    assert spec == f'demo,{path}' and read_list(path) == [Pinned('me/script', 'b' * 40), Pinned('me/late', 'd' * 40), Pinned('me/plain', 'a' * 40), Pinned('me/configs', '1' * 40, 'two')]
    before, text = sum(hub.calls.values()), path.read_bytes()
    assert pin_sources('demo,hub:?language=en&sort=downloads&limit=3,hub:me/configs:two', path) == spec and sum(hub.calls.values()) == before and path.read_bytes() == text
    with pytest.raises(ValueError, match='give another path'): pin_sources('hub:me/late', path)
    assert [card.name for card in find_sources(str(path), ANY)] == ['me/configs-two', 'me/late', 'me/plain', 'me/script-one', 'me/script-two']


def test_resume_asks_only_for_the_rest(hub, tmp_path):
    path, cache = tmp_path / 'sources.json', tmp_path / 'cards.jsonl'
    spec = pin_sources('hub:?language=en', path)
    hub.failures = [('^/api/datasets/me/late', 404, {})]
    first = list(find_sources(spec, ANY, cache=cache))
    assert [item.id for item in first if isinstance(item, Rejected)] == ['me/late']
    with open(cache, 'a') as file: file.write('{"key": "cut')
    hub.calls.clear()
    second = list(find_sources(spec, ANY, cache=cache))
    assert {path.split('/')[-1] if 'api' not in path else path.split('/')[4] for path in hub.calls if 'agent' not in path} <= {'late', 'README.md', 'train.csv'} and any('late' in path for path in hub.calls)
    assert [card for card in second if card.source != 'me/late'] == [item for item in first if isinstance(item, SourceCard)]
    hub.calls.clear()
    assert list(find_sources(spec, ANY, cache=cache))[0].name == 'me/configs-one'
    find = list(find_sources(spec, replace(ANY, sample_rows=1), cache=cache))  # another policy is another question
    assert hub.calls and find


def test_no_hub_is_one_line_and_a_list_is_an_error(monkeypatch, tmp_path):
    monkeypatch.setenv('HF_ENDPOINT', 'http://127.0.0.1:9')
    monkeypatch.setattr(instructgen.hub, 'FIRST_WAIT', 0.)
    assert one('hub:me/plain').rule == 'unreachable' and one('hub:?limit=3').rule == 'unreachable'
    with pytest.raises(OSError, match='127.0.0.1:9'): pin_sources('hub:?limit=3', tmp_path / 'list.json')
    assert not list(tmp_path.iterdir())
