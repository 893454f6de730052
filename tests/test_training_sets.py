"""Training sets of every form are read as they are, damage is named, and arms are equal whatever the order of the rows."""
import bz2
import gzip
import io
import json
import lzma
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instructgen.arms import SOURCE_CATEGORIES, Arms, equal_arms, make_pool, source_categories, task_categories, task_of
from instructgen.dynosaur.categories import CATEGORIES, TEST_CATEGORIES
from instructgen.export import FORMATS as EXPORTS
from instructgen.records import EXAMPLE_SCHEMA, Example, Rejected
from instructgen.store import write_bucket
from instructgen.task_selection import nearest_definition, scale_profile, select_tasks, shared_words
from instructgen.training_files import list_items
from instructgen.training_forms import P3_SOURCES, Place, p3_source
from instructgen.training_sets import FORMS, find_form, gather, read_training_set, recognise

TASK = {'Contributors': ['Ada'], 'Source': ['letters'], 'URL': ['https://example.org/letters'], 'Categories': ['Text Categorization'], 'Definition': ['Sort the letter.'], 'Positive Examples': [],
        'Instance License': ['CC BY 4.0'], 'Instances': [{'id': 'task7-1', 'input': 'Dear Sir', 'output': ['formal', 'polite']}, {'id': 'task7-2', 'input': 'Hi', 'output': ['casual']}]}
ROWS = {  # form -> rows written for these tests in the published form, (instruction, input, output) of each example, tasks
    'dynosaur': ([{'instruction': 'Given a note, name its topic.', 'input': 'Moss grows.', 'output': 'plants', 'license': 'cc-by-4.0', 'website': 'https://huggingface.co/datasets/ada/notes', 'taskname': 'ada/notes-short'},
                  {'instruction': 'Given a note, name its topic.', 'input': 'It rains.', 'output': 'weather', 'license': '', 'website': 'https://huggingface.co/datasets/ada/notes', 'taskname': 'ada/notes-short'}],
                 [('Given a note, name its topic.', 'Moss grows.', 'plants'), ('Given a note, name its topic.', 'It rains.', 'weather')], 1),
    'alpaca': ([{'instruction': 'Name a fruit.', 'input': '', 'output': 'Pear'}, {'instruction': 'Double it.', 'input': '4', 'output': 8}], [('Name a fruit.', '', 'Pear'), ('Double it.', '4', '8')], 2),
    'dolly': ([{'instruction': 'Who sings?', 'context': 'The thrush sings.', 'response': 'The thrush', 'category': 'closed_qa'}], [('Who sings?', 'The thrush sings.', 'The thrush')], 1),
    'self_instruct': ([{'prompt': 'Task: Sort the words.\n\nplum, fig\n\n', 'completion': 'fig, plum<|endoftext|>'}, {'prompt': 'Say hello. Output:', 'completion': ' Hello<|endoftext|>'}],
                      [('Sort the words.', 'plum, fig', 'fig, plum'), ('Say hello.', '', 'Hello')], 2),
    'unnatural': ([{'instruction': 'Guess the tree.', 'instances': [{'instruction_with_input': 'Guess the tree.\nIt has acorns.', 'input': 'It has acorns.', 'constraints': 'None.', 'output': 'Oak'}],
                    'reformulations': [{'instruction': 'Which tree? {INPUT}', 'instruction_with_input': 'Which tree? It has acorns.', 'input': 'It has acorns.', 'output': 'An oak'}]}],
                  [('Guess the tree.', 'It has acorns.', 'Oak'), ('Which tree? It has acorns.', '', 'An oak')], 1),
    'flan': ([{'inputs': 'Is it warm? Yes or no.', 'targets': 'yes', 'task_name': 'weather_notes:1.0.0', 'task_source': 'Flan2021', 'template_type': 'zs_noopt'}], [('Is it warm? Yes or no.', '', 'yes')], 1),
    'p3': ([{'template': 'imdb_Writer_Expressed_Sentiment', 'prompt': 'Fine film. Is it good? ', 'completion': ' yes<|endoftext|>'}], [('Fine film. Is it good?', '', 'yes')], 1),
    'chat': ([{'messages': [{'role': 'system', 'content': 'Be brief.'}, {'role': 'user', 'content': [{'type': 'text', 'text': 'Name a bird.'}]}, {'role': 'assistant', 'content': 'Wren'}]}], [('Be brief.\n\nName a bird.', '', 'Wren')], 1),
    'longform': ([{'input': 'Write about fens.', 'output': 'A fen is wet.', 'source': 'Wikipedia', 'subset': 'wiki'}], [('Write about fens.', '', 'A fen is wet.')], 1),
    'super_ni': ([TASK], [('Sort the letter.', 'Dear Sir', None), ('Sort the letter.', 'Hi', 'casual')], 1),
    'prompts': ([{'prompt': 'Add.\n\n1 1\n\n', 'completion': '2'}], [('Add.\n\n1 1', '', '2')], 1)}


def write(path: Path, rows: list, shape: str) -> Path:
    if shape == 'parquet': pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        text = json.dumps(rows, indent=1) if shape == 'json' else '\n'.join(map(json.dumps, rows)) + '\n'
        opener = {'gz': gzip.open, 'xz': lzma.open, 'bz2': bz2.open}.get(shape, open)
        with opener(path, 'wt', encoding='utf-8') as file: file.write(text)
    return path


def texts(spec, **options) -> list[tuple[str, str, str]]:
    return [(item.instruction, item.input, item.output) for item in read_training_set(spec, **options) if isinstance(item, Example)]


@pytest.mark.parametrize('shape', ['jsonl', 'json', 'gz', 'xz', 'bz2', 'parquet'])
@pytest.mark.parametrize('form', ROWS)
def test_form(form, shape, tmp_path):
    rows, wanted, tasks = ROWS[form]
    if (form, shape) == ('chat', 'parquet'): rows = [{'messages': [{**turn, 'content': turn['content'] if isinstance(turn['content'], str) else turn['content'][0]['text']} for turn in rows[0]['messages']]}]
    if (form, shape) == ('alpaca', 'parquet'): rows = [{**row, 'output': str(row['output'])} for row in rows]
    path = write(tmp_path / f'set.{shape}', rows, shape)
    assert recognise(path) == form
    items = list(read_training_set(path))
    assert not [item for item in items if isinstance(item, Rejected)]
    assert [(item.instruction, item.input) for item in items] == [pair[:2] for pair in wanted]
    assert all(item.output == pair[2] for item, pair in zip(items, wanted) if pair[2])
    assert len({item.task_id for item in items}) == tasks and len({item.id for item in items}) == len(items)
    assert all(item.source and item.split == 'train' for item in items)
    assert list(read_training_set(f'{form}:{path}')) == items


def test_sources_and_licences(tmp_path):
    found = {form: next(read_training_set(write(tmp_path / f'{form}.jsonl', rows, 'jsonl'))) for form, (rows, _, _) in ROWS.items()}
    assert (found['dynosaur'].source, found['dynosaur'].config, found['dynosaur'].license) == ('ada/notes', 'short', 'cc-by-4.0')
    assert (found['super_ni'].source, found['super_ni'].task_type, found['super_ni'].license) == ('letters', 'Text Categorization', 'cc-by-4.0')
    assert (found['longform'].source, found['longform'].config) == ('LongForm', 'Wikipedia')
    assert (found['p3'].source, found['flan'].source, found['alpaca'].source) == ('imdb', 'weather_notes', 'alpaca')


def test_every_example_of_our_exports_comes_back(tmp_path):
    for name, (ending, record) in EXPORTS.items():
        path = write(tmp_path / f'{name}.{ending}', [record('Add the numbers.', '1 and 2', '3')], ending)
        (asked, given, answer), = texts(path)
        assert f'{asked}\n\n{given}'.strip() == 'Add the numbers.\n\n1 and 2' and answer == '3', name


@pytest.mark.parametrize('row, rule', [
    ({'instruction': 'a', 'input': '', 'output': ''}, 'empty_output'), ({'instruction': 'a', 'input': '', 'output': None}, 'empty_output'), ({'instruction': ' ', 'input': 'x', 'output': 'b'}, 'empty_instruction'),
    ({'instruction': ['a'], 'input': '', 'output': 'b'}, 'not_text'), ({'instruction': 'a', 'input': '', 'output': {'text': 'b'}}, 'not_text'), ({'instruction': 'a\ud800', 'input': '', 'output': 'b'}, 'bad_text'),
    ({'instruction': 'a', 'instances': []}, 'no_instances'), ({'instruction': 'a', 'instances': ['b']}, 'no_object'), ({'inputs_pretokenized': 'a', 'targets_pretokenized': 'b', 'is_correct': False}, 'wrong_candidate'),
    ({'messages': []}, 'no_user_turn'), ({'messages': [{'role': 'user', 'content': 'a'}]}, 'no_answer'), ({'messages': [{'role': 'user', 'content': 'a'}, {'role': 'assistant', 'content': None}]}, 'no_answer'),
    ({'messages': [{'role': 'user', 'content': [{'type': 'image_url'}]}, {'role': 'assistant', 'content': 'b'}]}, 'not_text'), ({'messages': ['hello']}, 'no_user_turn'),
    ({**TASK, 'Instances': []}, 'no_instances'), ({**TASK, 'Instances': [{'input': 'a', 'output': []}]}, 'empty_references'), ({**TASK, 'Instances': ['a']}, 'no_object'), ({**TASK, 'Definition': [], 'Instances': TASK['Instances'][1:]}, 'empty_instruction')])
def test_a_damaged_row_is_named(row, rule, tmp_path):
    item, = read_training_set(write(tmp_path / 'a.jsonl', [row], 'jsonl'))
    assert isinstance(item, Rejected) and item.rule == rule and item.where.startswith('a.jsonl')


def test_damage_costs_its_own_row_only(tmp_path):
    good = json.dumps({'instruction': 'Name a fruit.', 'input': '', 'output': 'Pear'}).encode()
    (tmp_path / 'a.jsonl').write_bytes(b'\xef\xbb\xbf' + b'\n'.join([good, b'{"instruction": "cut', b'', b'{"output": "\xff"}', b'7', b'[' * 100_000, good]))
    items = list(read_training_set(tmp_path / 'a.jsonl'))
    assert [getattr(item, 'rule', 'kept') for item in items] == ['kept', 'bad_json', 'not_utf8', 'bad_json', 'bad_json', 'kept']
    assert items[-1].row == 5 and items[1].where == 'a.jsonl, row 1'
    assert gather(items).counts == {'examples': 2, 'tasks': 1, 'bad_json': 3, 'not_utf8': 1}


def test_first_line_damaged(tmp_path):
    (tmp_path / 'a.jsonl').write_text('{"instruction": "cut\n' + json.dumps({'instruction': 'a', 'input': '', 'output': 'b'}) + '\n')
    assert [getattr(item, 'rule', 'kept') for item in read_training_set(tmp_path / 'a.jsonl')] == ['bad_json', 'kept']


@pytest.mark.parametrize('text, message', [('[{"instruction": "a", "input": "", "output": "b"}, {"instr', 'damaged after 1 rows'), ('', 'it has no rows'), ('hello', 'its first row is damaged'),
                                           ('[1, 2]', 'its first row is damaged'), ('{"a": 1}\n{"a": 2}\n', 'its first row has a')])
def test_a_damaged_file_is_an_error(text, message, tmp_path):
    (tmp_path / 'a.json').write_text(text)
    with pytest.raises(ValueError, match=message): list(read_training_set(tmp_path / 'a.json'))


def test_what_cannot_be_told_lists_the_forms(tmp_path):
    (tmp_path / 'a.jsonl').write_text('{"question": "?"}\n')
    with pytest.raises(ValueError, match='question') as error: read_training_set(tmp_path / 'a.jsonl')
    assert all(f'{form.name}: ' in str(error.value) for form in FORMS.values())
    (tmp_path / 'b.jsonl').write_text('{"instruction": "a", "output": "b"}\n{"messages": []}\n')
    with pytest.raises(ValueError, match='alpaca and chat'): read_training_set(tmp_path / 'b.jsonl')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(FileNotFoundError, match='no file with rows'): read_training_set(tmp_path / 'empty')


@pytest.mark.parametrize('row, message', [({'id': 'user_oriented_task_3', 'motivation_app': 'Gmail', 'instruction': 'a', 'instances': [{'input': '', 'output': 'b'}]}, 'authors ask'),
                                          ({'prompt': 'a', 'instruction': 'a', 'input': '', 'response': 'b', 'target': 'c'}, 'authors ask'),
                                          ({'instruction': 'a', 'input_fields': ['x'], 'output_field': ['y'], 'task_name': 'z'}, 'tasks without rows'),
                                          ({'instruction': 'a', 'raw_instances': 'Output: b'}, 'raw answers')])
def test_refused(row, message, tmp_path):
    path = write(tmp_path / 'a.jsonl', [row], 'jsonl')
    for spec in (path, f'self_instruct:{path}'):
        with pytest.raises(ValueError, match=message): list(read_training_set(spec))


def test_a_user_task_hidden_among_others_is_refused(tmp_path):
    rows = [{'id': f's{i}', 'instruction': 'a', 'instances': [{'input': '', 'output': 'b'}]} for i in range(40)]
    path = write(tmp_path / 'a.jsonl', [*rows, {**rows[0], 'motivation_app': 'Gmail'}], 'jsonl')
    with pytest.raises(ValueError, match='row 40'): list(read_training_set(path))
    assert len(list(read_training_set(path, allow_evaluation=True))) == 41


def test_folders_splits_and_names(tmp_path):
    row = {'instruction': 'a', 'input': '', 'output': 'b'}
    (tmp_path / 'ours').mkdir()
    for name in ('train-00000-of-00002.jsonl', 'train-00001-of-00002.jsonl', 'test.jsonl'): write(tmp_path / 'ours' / name, [row, row], 'jsonl')
    (tmp_path / 'ours' / 'README.md').write_text('card')
    (tmp_path / 'ours' / 'counts.json').write_text('{"a": 3}')
    items = list(read_training_set(tmp_path / 'ours'))
    assert [item.row for item in items if isinstance(item, Example)] == [0, 1, 2, 3] and {item.source for item in items if isinstance(item, Example)} == {'ours'}
    assert [(item.rule, item.count) for item in items if isinstance(item, Rejected)] == [('unknown_form', 1), ('other_split', 2)]
    assert {item.split for item in read_training_set(tmp_path / 'ours', splits=('train', 'test')) if isinstance(item, Example)} == {'train', 'test'}
    p3 = write(tmp_path / 'quoref_Answer_Test.jsonl', [{'prompt': 'a', 'completion': 'b'}], 'jsonl')  # the name of a template, not of a split
    assert next(read_training_set(f'p3:{p3}')).task_id == 'quoref_Answer_Test'


def test_files_in_natural_order_through_links(tmp_path):
    for name in ('blobs', 'set'): (tmp_path / name).mkdir()
    for number in (10, 9):
        file = write(tmp_path / 'blobs' / f'x{number}', [{'instruction': f'Say {number}.', 'output': 'b'}], 'jsonl')
        (tmp_path / 'set' / f'part{number}.jsonl').symlink_to(file)
    assert [item.instruction for item in read_training_set(tmp_path / 'set')] == ['Say 9.', 'Say 10.']


def test_run_folders(tmp_path):
    made = [{**dict.fromkeys(EXAMPLE_SCHEMA.names, ''), 'id': f'x-{i}', 'instruction': 'a', 'output': 'b', 'split': 'validation', 'row': i} for i in range(3)]
    write_bucket(tmp_path, 0, [pa.Table.from_pylist(made, EXAMPLE_SCHEMA)])
    assert recognise(tmp_path) == 'dataset'
    assert [item.id for item in read_training_set(tmp_path)] == ['x-0', 'x-1', 'x-2'] == [item.id for item in read_training_set(f'dataset:{tmp_path}/dataset')]


values = st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=8)


@given(st.lists(st.dictionaries(st.text(max_size=5), values, max_size=4), max_size=6), st.integers(1, 40), st.sampled_from([None, 1]))
@settings(max_examples=60, deadline=None)
def test_a_list_is_read_the_same_in_any_pieces(rows, piece, indent):
    assert list(list_items(io.StringIO(' ' * piece + json.dumps(rows, indent=indent, ensure_ascii=False)), 'x', piece)) == rows


@given(st.dictionaries(st.sampled_from(sorted({name for rows, _, _ in ROWS.values() for row in rows for name in row} | {'response', 'context', 'conversations', 'prompt', 'id', 'task_id', 'reformulations'})), values, max_size=6))
@settings(max_examples=150, deadline=None)
def test_no_row_breaks_a_reader(row):
    try: form = find_form(row)
    except ValueError: return
    for reader in {form, *FORMS.values()} - {None}:
        for item in reader.read(row, Place('set', 'a.json')): assert isinstance(item, (Example, Rejected))


def test_one_reference_by_the_seed(tmp_path):
    path = write(tmp_path / 'task7_letters.json', [{**TASK, 'Instances': [{'input': str(i), 'output': ['a', 'b', 'c']} for i in range(300)]}], 'jsonl')
    drawn = [item.output for item in read_training_set(path, seed=1)]
    assert drawn == [item.output for item in read_training_set(path, seed=1)] != [item.output for item in read_training_set(path, seed=2)]
    assert min(Counter(drawn).values()) > 60


def test_categories_are_the_official_ones():
    assert set(SOURCE_CATEGORIES.values()) <= set(CATEGORIES)
    for source, config, template, wanted in (('anli', 'default', 'anli_MNLI_crowdsource', 'Textual Entailment'), ('super_glue', 'copa', 'x', 'Cause Effect Classification'), ('super_glue', 'wsc.fixed', 'x', 'Coreference Resolution'),
                                             ('winogrande', 'winogrande_xl', 'x', 'Coreference Resolution'), ('common_gen', '', 'x', 'Data to Text'), ('glue', 'mnli', 'x', 'Textual Entailment'), ('gigaword', '', 'gigaword_make_a_title', 'Title Generation')):
        assert wanted in source_categories(source, config, template), (source, config)
    assert source_categories('anli:0.1.0') == source_categories('facebook/anli') == ('Textual Entailment',)
    assert not set(source_categories('quoref', '', 'quoref_Guess_Answer')) & set(TEST_CATEGORIES)


# Arms

def make_set(name: str, sizes: list[int], category: str = '', rendered: bool = False) -> list[Example]:
    return [Example(f'{name}-{task}-{row}', f'Do {task} of {name}' + (f' with {row}' if rendered else ''), f'text {row}', f'answer {row}', task_id=f'{name}{task}', task_type=category, source=name) for task, size in enumerate(sizes) for row in range(size)]


def account(arms: Arms) -> dict[str, tuple]:
    return {name: (len(found), len({task_of(example) for example in found}), max(Counter(map(task_of, found)).values())) for name, found in arms.training.items()}


sets = st.dictionaries(st.sampled_from('abc'), st.lists(st.integers(1, 12), min_size=1, max_size=30), min_size=1, max_size=3)


@given(sets, st.integers(0, 12), st.integers(1, 10), st.sampled_from([0., .1, .3]), st.integers(0, 3), st.booleans())
@settings(max_examples=120, deadline=None)
def test_arms_are_equal_or_an_error_says_why(sizes, tasks, each, share, seed, strict):
    made = {name: make_set(name, found) for name, found in sizes.items()}
    try: arms = equal_arms(made, tasks, each, seed, share, guess=False, strict=strict)
    except ValueError as error:
        assert 'none to train on' in str(error) or 'no number of examples' in str(error)
        return
    found = account(arms)
    assert len({numbers[0] for numbers in found.values()}) == 1 and all(numbers[2] <= each for numbers in found.values())
    assert len({len(held) for held in arms.validation.values()}) == 1 and (not share or all(arms.validation.values()))
    exact = [row['arm'] for row in arms.counts if row['equal_in'] == 'tasks and examples']
    assert not strict or len(exact) == len(made)
    assert len({found[name][1] for name in exact}) <= 1 and len({found[name][2] for name in exact}) <= 1
    for row in arms.counts:
        trained, held = arms.training[row['arm']], arms.validation[row['arm']]
        assert (row['examples'], row['tasks'], row['validation_examples']) == (len(trained), len({task_of(example) for example in trained}), len(held))
        assert not {task_of(example) for example in trained} & {task_of(example) for example in held}
        assert {example.id for example in (*trained, *held)} <= {example.id for example in made[row['arm']]}
        assert row['arm'] in exact or any(row['arm'] in note for note in arms.notes)


@given(st.permutations(range(40)), st.integers(0, 2))
@settings(max_examples=25, deadline=None)
def test_order_and_copies_do_not_matter(order, seed):
    rows = make_set('a', [8] * 5)
    first = equal_arms({'a': rows}, 4, 3, seed, guess=False)
    again = equal_arms({'a': [rows[i] for i in order] + rows[:7]}, 4, 3, seed, guess=False)
    assert first.training == again.training and first.validation == again.validation


def test_another_seed_another_choice():
    rows = make_set('a', [20] * 20)
    assert len({tuple(example.id for example in equal_arms({'a': rows}, 5, 5, seed, guess=False).training['a']) for seed in range(5)}) == 5


def test_test_categories_leave_every_arm():
    made = {'ni': [*make_set('n', [5] * 4, 'Sentiment Analysis'), *make_set('m', [5] * 3, 'Textual Entailment')], 'p3': [*make_set('imdb', [5] * 4, rendered=True), *make_set('anli', [5] * 2, rendered=True)],
            'known': [*make_set('k', [5] * 5)]}
    arms = equal_arms(made, 3, 5, categories={'k0': 'Word Analogy', 'k1': 'Summarization'}, held_out=['n3'], guess=False)
    assert {(row['arm'], row['rule'], row['category'], row['tasks'], row['examples']) for row in arms.left_out} == {
        ('ni', 'test_category', 'Textual Entailment', 3, 15), ('ni', 'held_out_task', 'Sentiment Analysis', 1, 5), ('p3', 'test_category', 'Textual Entailment', 2, 10), ('known', 'test_category', 'Word Analogy', 1, 5)}
    used = {task_of(example) for part in (arms.training, arms.validation) for found in part.values() for example in found}
    assert not used & {'m0', 'm1', 'm2', 'anli0', 'anli1', 'k0', 'n3'}
    assert {row['arm']: row['unknown_category'] for row in arms.counts} == {'ni': 0, 'p3': 0, 'known': 3}
    assert next(row for row in arms.counts if row['arm'] == 'ni')['set_examples'] == 35


def test_nothing_left_is_an_error():
    with pytest.raises(ValueError, match='nothing is left of ni.*test_category'): equal_arms({'ni': make_set('n', [5] * 4, 'Word Analogy')})
    with pytest.raises(ValueError, match='it has no examples'): equal_arms({'none': []})
    with pytest.raises(TypeError, match='want Example'): equal_arms({'texts': ['a']})
    with pytest.raises(ValueError, match='share'): equal_arms({'a': make_set('a', [3] * 3)}, validation=1.)


def test_rejects_of_the_reader_are_counted():
    pool = make_pool([*make_set('a', [2, 2]), Rejected('row', '', 'empty_output', count=3), Rejected('row', '', 'bad_json')], guess=False)
    assert [(row['rule'], row['examples']) for row in pool.left_out] == [('bad_json', 1), ('empty_output', 3)]


def test_a_rendered_prompt_is_not_guessed():
    rows = [Example(str(i), f'Text {i} on the entailment of the hypothesis.\nWhat is the title?', '', 'a', task_id='ours') for i in range(3)]
    assert task_categories(rows) == ()
    assert task_categories([Example('1', 'Does the premise entail the hypothesis? Answer yes or no.', 'a', 'yes')]) == ('Textual Entailment',)


def test_the_papers_numbers():
    arms = equal_arms({'ni': make_set('n', [3] * 757)}, 757, 2, guess=False)
    assert (arms.counts[0]['tasks'], arms.counts[0]['validation_tasks']) == (681, 76)
    assert [getattr(scale_profile('super_ni', 0), name) for name in ('tasks', 'classification', 'family_cap')] == [681, 300, 70]


# Selection

def test_distance_from_the_test():
    definitions = ['Write a title for the article.', 'Decide whether the review is positive.']
    places, cosines = nearest_definition([*definitions, 'Multiply matrices.', ''], definitions)
    assert places[:2].tolist() == [0, 1] and cosines.round(6).tolist() == [1, 1, 0, 0]
    rows = [Example(f'{i}-{j}', text, str(j), 'x', task_id=f't{i}') for i, text in enumerate(['Multiply matrices.', 'Write a title for the poem.', 'Is the review positive?', 'Count the letters.']) for j in range(2)]
    near, far = select_tasks(rows, definitions, 'nearest'), select_tasks(rows, definitions, 'farthest')
    assert set(list(near)[:2]) == {'t1', 't2'} and set(list(far)[:2]) == {'t0', 't3'} and near == far
    assert select_tasks(rows[::-1], definitions, 'nearest') == near and list(select_tasks(rows[::-1], definitions, 'random', 3, 5)) == list(select_tasks(rows, definitions, 'random', 3, 5))
    assert len({tuple(select_tasks(rows, definitions, 'random', 3, seed)) for seed in range(12)}) > 3


def test_a_template_is_compared_by_its_own_words():
    assert shared_words([f'{word} wrote it.\nWhat is the title?' for word in ('Ada', 'Bo', 'Cy')]) == 'wrote it what is the title'


# Real data

def test_real_p3(shared_data):
    path = shared_data / 'p3' / 't0_train_50k_by_template.jsonl.xz'
    found = gather(read_training_set(path))
    assert recognise(path) == 'p3' and found.counts == {'examples': 53785, 'tasks': 276, 'empty_output': 1400}
    templates = list(json.loads((shared_data / 'p3' / 'rows.json').read_text()))
    known = {name.partition('/')[0] for name in P3_SOURCES}
    assert all(p3_source(name)[0] in known for name in templates)
    assert not any('<|endoftext|>' in example.output for example in found.examples) and len({example.id for example in found.examples}) == 53785
    arms = equal_arms({'p3': found.examples}, tasks=40, examples_per_task=50, exclude=('Summarization', *TEST_CATEGORIES))
    assert not {example.source for example in arms.training['p3']} & {'xsum', 'cnn_dailymail', 'samsum', 'common_gen'} and len(arms.training['p3']) == 36 * 50


def test_real_super_ni(shared_data):
    found = gather(read_training_set(shared_data / 'eval' / 'super_ni'))
    assert found.counts == {'examples': 10741, 'tasks': 14, 'other_split': 1097}
    kinds = {example.task_id: example.task_type for example in found.examples}
    assert set(kinds.values()) <= set(CATEGORIES) and kinds['task363_sst2_polarity_classification'] == 'Sentiment Analysis'
    assert {example.source for example in found.examples} >= {'quoref', 'xsum', 'sentiment140_classification'}
    dev = gather(read_training_set(shared_data / 'eval' / 'super_ni', splits=('validation',)))
    assert dev.counts['examples'] == 1097 and not {example.id for example in dev.examples} & {example.id for example in found.examples}


def test_real_user_oriented(shared_data):
    folder = shared_data / 'eval' / 'user_oriented'
    assert gather(read_training_set(folder / 'seed_tasks.jsonl')).counts == {'examples': 175, 'tasks': 175}
    for path in (folder, folder / 'user_oriented_instructions.jsonl', *sorted((folder / 'human_eval_predictions').glob('*'))[:2]):
        with pytest.raises(ValueError, match='authors ask'): read_training_set(path)
    assert len(list(read_training_set(folder / 'user_oriented_instructions.jsonl', allow_evaluation=True))) == 252


def test_same_choice_for_any_hash_seed(tmp_path):
    path = write(tmp_path / 'a.jsonl', [{'instruction': f'Say {i % 30}.', 'input': str(i), 'output': 'b'} for i in range(300)], 'jsonl')
    code = f'''from instructgen.arms import equal_arms; from instructgen.training_sets import read_training_set; from instructgen.task_selection import select_tasks
rows = list(read_training_set({str(path)!r})); arms = equal_arms({{'a': rows}}, 10, 5, 3); print([e.id for e in arms.training['a']], list(select_tasks(rows, ['Say.'], 'nearest', 5)))'''
    said = {subprocess.run([sys.executable, '-c', code], env={**os.environ, 'PYTHONHASHSEED': seed}, capture_output=True, text=True, check=True).stdout for seed in ('1', '2')}
    assert len(said) == 1 and len(next(iter(said))) > 500
