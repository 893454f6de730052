"""Evaluation files: what becomes an item, what is dropped under which name, and what is refused."""
import gzip
import json
import lzma
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings, strategies as st

from instructgen.answer_sets import load_longform, load_p3, load_squad, load_user_instructions, read_answers
from instructgen.benchmarks import Benchmark, Item, benchmark_rows, draw_items, find_form, load_benchmark, make_benchmark, make_item
from instructgen.evaluation import score
from instructgen.lineage import evaluation_sources, read_lineage
from instructgen.own_sets import fill_gaps, gap_names, load_own
from instructgen.predictions import Prediction
from instructgen.records import Rejected
from instructgen.super_ni import category_metric, choose_tasks, load_super_ni, may_train, read_natural_task, super_ni_split, task_files, task_number
from instructgen.targets import load_target, read_targets
from instructgen.yaml_files import check_size, read_yaml

TEXT = st.text(st.characters(codec='utf-8', exclude_characters='\0'), max_size=12)


def write_lines(path: Path, rows: list[dict]) -> Path:
    path.write_text('\n'.join(json.dumps(row) for row in rows), encoding='utf-8')
    return path


# ---- items and benchmarks

@given(TEXT, TEXT, st.lists(st.none() | TEXT, max_size=3), st.lists(TEXT, max_size=4))
@settings(max_examples=200, deadline=None)
def test_every_row_is_an_item_or_a_named_drop(instruction, given_, answers, options):
    made = make_item('1', instruction, given_, answers, options)
    if isinstance(made, Rejected):
        assert made.rule in ('no_question', 'no_reference', 'few_options', 'same_option_twice', 'gold_not_an_option') and made.text
    else:
        assert made.references and all(text.strip() for text in made.references)
        assert not options or made.references == (made.options[made.gold],)
        Benchmark('one', (made,), ('rouge_l',))
        if options: Benchmark('one', (made,), ('accuracy',), 'rank')


def test_drops_and_items_add_up():
    rows = [make_item(str(place), 'Who?', answers=[answer]) for place, answer in enumerate(['a', '', 'b', None])]
    benchmark = make_benchmark('four', rows, ('rouge_l',))
    assert len(benchmark.items) + sum(drop.count for drop in benchmark.rejected) == 4
    assert benchmark.note == '2 rows are no items: no_reference 2'


@pytest.mark.parametrize('change', [dict(instruction='b'), dict(input='b'), dict(options=('x', 'z')), dict(id='2'), dict(context='a')])
def test_another_question_is_another_benchmark(change):
    first = dict(id='1', instruction='a', input='i', references=('x',), options=('x', 'y'), gold=0)
    assert Benchmark('b', (Item(**first),), ()).id != Benchmark('b', (Item(**{**first, **change}),), ()).id
    assert Benchmark('b', (Item(**first),), ()).id == Benchmark('other', (Item(**{**first, 'references': ('q',)}),), ('rouge_l',)).id


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 3))
@settings(max_examples=50, deadline=None)
def test_draws_are_whole_rows_of_every_task(rows, number, seed):
    items = tuple(Item(f'{task}-{row}/{name}', 'q', references=('a',), task=task, template=name, group=f'{task}-{row}') for task in 'ab' for row in range(rows) for name in 'xyz')
    drawn = draw_items(Benchmark('b', items, ('rouge_l',)), number, seed)
    assert Counter(item.task for item in drawn.items) == {task: 3 * min(rows, number) for task in 'ab'}
    assert [item for item in items if item in drawn.items] == list(drawn.items)
    assert set(Counter(item.group for item in drawn.items).values()) == {3}


@pytest.mark.parametrize('wrong, message', [
    (dict(items=()), 'has no items'), (dict(mode='guess'), "mode is 'guess'"), (dict(max_tokens=0), 'want at least 1'), (dict(metrics=('bleu',)), "no metric 'bleu'"),
    (dict(items=(Item('1', 'a', references=('x',)), Item('1', 'b', references=('x',)))), 'occur twice'), (dict(mode='rank'), 'no two options'), (dict(items=(Item('1', 'a'),)), 'no reference')])
def test_what_a_benchmark_refuses(wrong, message):
    with pytest.raises(ValueError, match=message): Benchmark(**{**dict(name='b', items=(Item('1', 'a', references=('x',)),), metrics=('rouge_l',)), **wrong})


# ---- Super-NI

TASK = {'Definition': ['Do it.'], 'Categories': ['Title Generation'], 'Source': ['news'], 'Instances': [{'id': 'i1', 'input': 'x', 'output': ['y', 'z']}]}


def write_tasks(folder: Path, names: list[str], ending: str = '.json') -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        data = json.dumps(TASK).encode()
        (folder / f'{name}{ending}').write_bytes(gzip.compress(data) if ending.endswith('gz') else data)
    return folder


@pytest.fixture
def official(shared_data) -> list[str]: return (shared_data / 'eval' / 'super_ni' / 'test_tasks.txt').read_text().split()


@pytest.mark.parametrize('ending', ['.json', '.json.gz'])
def test_a_folder_of_the_official_tasks_works_unchanged(tmp_path, official, ending):
    folder = write_tasks(tmp_path / 'eval', official, ending)
    (folder / 'test_tasks.txt').write_text('\n'.join(official))
    benchmark = load_benchmark(f'super_ni:{folder}')
    assert (benchmark.name, len(benchmark.items), len({item.task for item in benchmark.items})) == ('Super-NI', 119, 119)
    assert load_super_ni(folder, 'official') == benchmark
    assert find_form(folder) == 'super_ni'


def test_a_renamed_task_joins_by_number(tmp_path, official):
    names = ['task121_atomic_question_rewriting' if task_number(name) == 121 else name for name in official]
    assert 'task121_zest_text_modification' in official and names != official
    folder = write_tasks(tmp_path / 'eval', names)
    assert load_super_ni(folder, 'official', _list(tmp_path, official)).name == 'Super-NI'


def _list(folder: Path, names: list[str]) -> Path:
    (folder / 'list.txt').write_text('\n'.join(names))
    return folder / 'list.txt'


def test_missing_and_extra_official_tasks_are_named(tmp_path, official):
    listed = _list(tmp_path, official)
    with pytest.raises(ValueError, match=f'2 of 119 tasks are missing: .*{official[0]}'): load_super_ni(write_tasks(tmp_path / 'less', official[1:-1]), split_file=listed)
    with pytest.raises(ValueError, match='1 tasks are not in .*: task 2'): load_super_ni(write_tasks(tmp_path / 'more', [*official, 'task002_quoref']), split_file=listed)


def test_the_whole_repository_gives_the_listed_tasks(tmp_path, official):
    tasks = write_tasks(tmp_path / 'natural-instructions' / 'tasks', [*official, 'task002_quoref', 'task363_sst2'])
    (tasks.parent / 'splits' / 'default').mkdir(parents=True)
    (tasks.parent / 'splits' / 'default' / 'test_tasks.txt').write_text('\n'.join(official))
    assert len(load_super_ni(tasks).items) == 119


def test_six_tasks_of_the_real_folder(shared_data):
    folder = shared_data / 'eval' / 'super_ni'
    benchmark = load_benchmark(str(folder))
    assert benchmark.name == 'six held-out Super-NI tasks' and not benchmark.rejected
    assert Counter(task_number(item.task) for item in benchmark.items) == {181: 43, 363: 100, 875: 100, 1290: 100, 1510: 100, 1687: 100}
    assert 'task181_outcome_extraction 43' in benchmark.note
    first = json.loads(gzip.decompress((folder / 'task363_sst2_polarity_classification' / 'dev.json.gz').read_bytes()))
    items = [item for item in benchmark.items if item.task.startswith('task363_')]
    assert [(item.instruction, item.input, item.references) for item in items] == [(first['Definition'][0], one['input'], (one['output'],)) for one in first['Instances'][:100]]
    assert all(item.id.startswith('task1687-task195-') for item in benchmark.items if item.task.startswith('task1687_'))


def test_the_fixed_split_follows_the_rule(shared_data):
    tasks = [read_natural_task(file) for file in task_files(shared_data / 'eval' / 'super_ni').values()]
    split = super_ni_split()
    assert {task.number: task.category for task in tasks} == {**split['test'], **split['train'], **split['left_out']}
    kept, rejected = may_train(tasks, [task for task in tasks if task.number in split['test']])
    assert {task.number for task in kept} == set(split['train'])
    assert {task_number(drop.id) for drop in rejected if drop.rule != 'test_task'} == set(split['left_out'])
    assert not set(split['test']) & {task_number(name) for name in (shared_data / 'eval' / 'super_ni' / 'test_tasks.txt').read_text().split()}


@pytest.mark.parametrize('content, message', [(b'{', 'is no JSON'), (b'[]', 'is no task file'), (b'{"Instances": []}', 'has no definition'), (gzip.compress(b'{}' * 99, mtime=0)[:20], 'is no JSON')])
def test_damaged_task_files_are_named(tmp_path, content, message):
    path = tmp_path / ('task001_x.json.gz' if content[:2] == b'\x1f\x8b' else 'task001_x.json')
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught: read_natural_task(path)
    assert str(path) in str(caught.value)


def test_odd_tasks_are_counted_or_noted(tmp_path):
    folder = write_tasks(tmp_path, ['task001_fine'])
    (folder / 'task002_two.json').write_text(json.dumps({**TASK, 'Definition': ['First.', 'Second.'], 'Instances': [{'input': 'a', 'output': 'bare'}, {'input': 'b', 'output': ['']}, {'input': 'c', 'output': ['d']}]}))
    (folder / 'task003_empty.json').write_text(json.dumps({**TASK, 'Instances': []}))
    benchmark = load_super_ni(folder, instances=2)
    assert [item.references for item in benchmark.items] == [('y', 'z'), ('bare',)]       # 'c' does not move up for the dropped one
    assert [(drop.kind, drop.rule) for drop in benchmark.rejected] == [('row', 'no_reference'), ('task', 'no_instances')]
    assert benchmark.items[1].instruction == 'First.' and '1 tasks have several definitions' in benchmark.note


def test_odd_examples_and_older_names(tmp_path):
    folder = write_tasks(tmp_path, ['task001_fine'])
    path = folder / 'task002_odd.json'
    for positive, message in [([{'input': 'x'}, 3, {'input': 'a', 'output': []}], 'has 0 positive examples'), ('abc', 'has 0 positive examples'), (7, 'has 0 positive examples')]:
        path.write_text(json.dumps({**TASK, 'Positive Examples': positive}))
        with pytest.raises(ValueError, match=message): load_super_ni(folder, 'task002_odd', examples=1)
    path.write_text(json.dumps({**TASK, 'Definition': 'Do it', 'Positive Examples': [{'input': None, 'output': '\u3042\u3002'}, {'input': 'a!', 'output': 'b'}]}))
    assert load_super_ni(folder, 'task002_odd', examples=2).items[0].instruction == 'Do it.\n\nPositive Example 1 -\nInput: .\nOutput: \u3042\u3002.\n\nPositive Example 2 -\nInput: a!\nOutput: b.'
    path.write_text(json.dumps({**TASK, 'Categories': ['Basic Sentiment Analysis']}))
    test, train = read_natural_task(path), replace(read_natural_task(path), name='task003_other', category='Sentiment Analysis', sources=())
    assert [drop.rule for drop in may_train([train], [test])[1]] == ['test_category']
    path.write_text('[' * 100_000)
    with pytest.raises(ValueError, match='is no JSON'): read_natural_task(path)


def test_choices_of_tasks():
    assert choose_tasks('.', [1, 2, 3], 'task003_x, 1') == ('2 other Super-NI tasks', [1, 3])
    with pytest.raises(ValueError, match='task009_x'): choose_tasks('.', [1], ['task009_x'])
    with pytest.raises(FileNotFoundError, match='official test tasks'): choose_tasks('/nowhere', [1], 'official')


def test_half_of_the_categories_have_exact_match():
    names = ['Textual Entailment', 'Cause Effect Classification', 'Coreference Resolution', 'Dialogue Act Recognition', 'Answerability Classification', 'Word Analogy',
             'Overlap Extraction', 'Keyword Tagging', 'Question Rewriting', 'Title Generation', 'Data to Text', 'Grammar Error Correction']
    assert [category_metric(name) for name in names] == ['exact_match'] * 6 + ['rouge_l'] * 6


# ---- free answers

def test_real_user_instructions_and_the_answers_of_eight_systems(shared_data):
    folder = shared_data / 'eval' / 'user_oriented'
    benchmark = load_benchmark(str(folder / 'user_oriented_instructions.jsonl'))
    assert (benchmark.name, len(benchmark.items), sum(bool(item.input) for item in benchmark.items), len({item.category for item in benchmark.items})) == ('User-Instruction-252', 252, 208, 71)
    files = sorted((folder / 'human_eval_predictions').iterdir())
    assert len(files) == 8
    empty = 0
    for path in files:
        answers = read_answers(path, benchmark)
        raw = [json.loads(line) for line in gzip.decompress(path.read_bytes()).decode().splitlines()]
        assert list(answers.values()) == [row['response'] for row in raw]
        empty += sum(not text.strip() for text in answers.values())
    assert empty == 51                                                                    # an empty answer is an answer


def test_answers_that_do_not_fit_are_named(tmp_path):
    benchmark = Benchmark('b', (Item('1', 'a', references=('x',)), Item('2', 'b', references=('x',))), ('rouge_l',))
    rows = [{'id': '1', 'prediction': 'x'}, {'id': '2', 'prediction': 'y'}]
    assert read_answers(write_lines(tmp_path / 'a.jsonl', rows[::-1]), benchmark) == {'1': 'x', '2': 'y'}
    for lines, message in [(rows[:1], "of 2 items have no answer, such as '2'"), (rows + rows[1:], "answered twice, such as '2'"), (rows + [{'id': '3', 'prediction': ''}], "to nothing in b, such as '3'"),
                           ([{'id': '1', 'said': 'x'}], 'no column of answers')]:
        with pytest.raises(ValueError, match=message): read_answers(write_lines(tmp_path / 'a.jsonl', lines), benchmark)
    twins = Benchmark('b', (Item('1', 'a', references=('x',)), Item('2', 'a', references=('x',))), ('rouge_l',))
    with pytest.raises(ValueError, match='asks 1 things twice'): read_answers(write_lines(tmp_path / 'b.jsonl', [{'instruction': 'a', 'response': 'x'}]), twins)
    (tmp_path / 'c.jsonl').write_text('{"id": "1", "prediction": "x"}\n{"id": \n')
    with pytest.raises(ValueError, match='1 lines cannot be read'): read_answers(tmp_path / 'c.jsonl', benchmark)


@pytest.mark.parametrize('ending', ['.json', '.jsonl', '.jsonl.gz', '.parquet'])
def test_longform_in_every_form_of_file(tmp_path, ending):
    import pyarrow as pa
    import pyarrow.parquet as pq
    rows = [{'input': 'Write\n  two lines ', 'output': ' a\nb ', 'source': 'C4', 'subset': 'c4'}, {'input': '', 'output': 'x', 'source': 'C4', 'subset': 'c4'}]
    path = tmp_path / f'longform{ending}'
    if ending == '.parquet': pq.write_table(pa.Table.from_pylist(rows), path)
    elif ending == '.json': path.write_text(json.dumps(rows))
    else: path.write_bytes(gzip.compress('\n'.join(map(json.dumps, rows)).encode()) if ending.endswith('gz') else '\n'.join(map(json.dumps, rows)).encode())
    benchmark = load_benchmark(str(path))
    assert (benchmark.name, benchmark.items[0].instruction, benchmark.items[0].references, benchmark.metrics, benchmark.max_tokens) == ('2 rows in the form of LongForm', 'Write\n  two lines ', (' a\nb ',), ('meteor',), 512)
    assert [drop.rule for drop in benchmark.rejected] == ['no_question'] and '512 tokens' in benchmark.note


def test_damaged_squad(tmp_path):
    path = tmp_path / 'dev.json'
    path.write_text(json.dumps({'data': [{'title': 't', 'paragraphs': [{'qas': []}, {'qas': [{'id': 1}]}]}]}))
    with pytest.raises(ValueError, match='damaged SQuAD'): load_squad(path)
    path.write_text('{"data": [')
    with pytest.raises(ValueError, match='is no JSON'): load_squad(path)
    rows = [{'id': 'a', 'context': 'c', 'question': '', 'answers': {'text': ['x']}}, {'id': 'b', 'context': 'c', 'question': 'q', 'answers': {'text': []}}, {'id': 'c', 'context': 'c', 'question': 'q', 'answers': {'text': ['x']}}]
    benchmark = load_benchmark(str(write_lines(tmp_path / 'dev.jsonl', rows)))
    assert [(drop.id, drop.rule) for drop in benchmark.rejected] == [('a', 'no_question'), ('b', 'no_reference')] and [item.id for item in benchmark.items] == ['c']


@pytest.mark.parametrize('path, known', [('squad/dev.jsonl', True), ('data/dev-v1.1.jsonl', True), ('dev-v2.0.jsonl', True), ('our_manuals/questions.jsonl', False), ('our_manuals/test.jsonl', False), ('squad_v2.jsonl', True)])
def test_a_file_in_the_form_of_squad_need_not_be_squad(tmp_path, path, known):
    (tmp_path / path).parent.mkdir(exist_ok=True)
    item = load_squad(write_lines(tmp_path / path, [{'context': 'c', 'question': 'q', 'answers': {'text': ['c']}}])).items[0]
    assert ('squad' in evaluation_sources(read_lineage(), item.task, item.source)) is known


def test_user_rows_without_instances_are_counted(tmp_path):
    rows = [{'id': 'u', 'motivation_app': 'A', 'instruction': 'i', 'instances': [{'input': '', 'output': 'o'}, {'input': 'j', 'output': ''}]}, {'id': 'v', 'motivation_app': 'A', 'instruction': 'i', 'instances': []}]
    benchmark = load_user_instructions(write_lines(tmp_path / 'u.jsonl', rows))
    assert [item.id for item in benchmark.items] == ['u-0'] and [(drop.id, drop.rule) for drop in benchmark.rejected] == [('u-1', 'no_reference'), ('v', 'no_instances')]


def test_real_p3_rows(shared_data):
    path = shared_data / 'p3' / 't0_train_50k_by_template.jsonl.xz'
    benchmark = load_p3(path, 'ag_news_*, amazon_polarity_Is_this_review', rows=5)
    assert {item.source for item in benchmark.items} == {f'P3-{item.template}' for item in benchmark.items} and len(benchmark.items) == 5 * 8
    assert not any('<|endoftext|>' in text for item in benchmark.items for text in item.references)
    ranked = load_p3(path, 'amazon_polarity_Is_this_review, ag_news_recommend', rows=50, mode='rank')
    assert {item.task: item.options for item in ranked.items} == {'ag_news_recommend': ('Business executive', 'Scientist'), 'amazon_polarity_Is_this_review': ('Negative', 'Positive')}


# ---- targets

def test_real_targets(shared_data):
    pubmed = load_benchmark(f'target:pubmed_qa={shared_data}/hub/pubmed_qa')
    assert len(pubmed.items) == 2500 and Counter(item.options[item.gold] for item in pubmed.items) == {'Yes': 5 * 276, 'No': 5 * 169, 'Maybe': 5 * 55}
    vitamin = load_benchmark(f'target:vitaminc={shared_data}/hub/vitaminc')
    assert len(vitamin.items) == 500 and Counter(item.gold for item in vitamin.items) == {1: 5 * 54, 0: 5 * 34, 2: 5 * 12}
    contracts = load_target(f'contract_nli={shared_data}/hub/contract_nli', rows=20)
    assert len(contracts.items) == 100 and 'cut at 2048 characters' in contracts.note
    for benchmark in (pubmed, vitamin, contracts):
        assert not benchmark.rejected and set(Counter(item.group for item in benchmark.items).values()) == {5}
        assert all(item.context and item.context in item.instruction for item in benchmark.items)


@pytest.mark.parametrize('name, row', [
    ('privacy_qa', {'text': 'We sell data.', 'question': 'Do you sell data?', 'answer': 'Relevant'}), ('contract_nli', {'premise': 'All is secret.', 'hypothesis': 'Something is secret.', 'label': 1}),
    ('squadshifts_nyt', {'context': 'It rained on Monday.', 'question': 'When?', 'answers': {'text': ['Monday', 'on Monday'], 'answer_start': [13, 10]}}),
    ('squadshifts_reddit', {'context': 'It rained.', 'question': 'What happened?', 'answers': [{'text': 'It rained'}]}), ('vitaminc', {'claim': 'a', 'evidence': 'b', 'label': 'SUPPORTS'})])
def test_every_prompt_shows_every_field_and_not_the_answer(tmp_path, name, row):
    benchmark = load_target(f'{name}={write_lines(tmp_path / "test.jsonl", [row])}')
    target = read_targets()[name]
    assert len(benchmark.items) == 5 and len({item.instruction for item in benchmark.items}) == 5
    for item in benchmark.items:
        assert all(str(row[column]) in item.instruction for field, columns in target.fields.items() if field not in ('answer', 'answers') for column in columns if column in row)
        if target.labels: assert item.gold == 1 and len(item.options) == len(target.labels)
        else: assert item.references[0] in ('Monday', 'It rained') and item.options == ()


@pytest.mark.parametrize('name', ['squadshifts_nyt', 'squadshifts_amazon', 'squadshifts_reddit', 'plain'])
def test_the_first_gold_answer_alone_is_scored_beside_all(tmp_path, name):
    "Both numbers that the paper's code prints, and both over all gold answers."
    place = write_lines(tmp_path / 'test.jsonl', [{'context': 'It rained on Monday.', 'question': 'When?', 'answers': {'text': ['Monday', 'on Monday'], 'answer_start': [13, 10]}}])
    benchmark = load_squad(place) if name == 'plain' else load_target(f'{name}={place}')
    rows = score(benchmark, [Prediction(item.id, 'on Monday') for item in benchmark.items], draws=10)
    assert {row.metric: round(row.value, 3) for row in rows if row.level == row.subset == 'all'} == {'squad_f1': 1., 'squad_exact': 1., 'squad_f1_first': .667, 'squad_exact_first': 0.}


def test_bad_target_rows_are_counted_once(tmp_path):
    rows = [{'claim': 'a', 'evidence': 'b', 'label': 'supports'}, {'claim': 'a', 'evidence': 'b', 'label': 'who knows'}, {'claim': 'a', 'evidence': '', 'label': 'refutes'}, {'claim': 'a', 'evidence': 'b', 'label': None}]
    benchmark = load_target(f'vitaminc={write_lines(tmp_path / "test.jsonl", rows)}')
    assert len(benchmark.items) == 5 and [(drop.id, drop.rule) for drop in benchmark.rejected] == [('row-1', 'gold_not_an_option'), ('row-2', 'field_missing'), ('row-3', 'field_missing')]


OWN_TARGET = """dataset: mine
mode: rank
metrics: [accuracy]
context: text
fields: {text: [text], answer: [label]}
labels: [['No'], ['yes', 'YES-INDEED']]
templates:
  a: {name: a, answer_choices: "No ||| Yes", jinja: "{{text}} ||| {{answer_choices[label]}}"}
"""


def load_own_target(folder: Path, text: str) -> Benchmark:
    (folder / 'own.yaml').write_text(text)
    return load_target(f'mine={write_lines(folder / "test.jsonl", [{"text": "a b", "label": "no"}, {"text": "c", "label": "yes_indeed"}])}', path=folder / 'own.yaml')


def test_a_target_of_ones_own_as_it_is_now(tmp_path):
    assert [item.gold for item in load_own_target(tmp_path, OWN_TARGET).items] == [0, 1]          # labels in any case, '_' and '-' as blanks
    assert load_own_target(tmp_path, OWN_TARGET.replace('"{{text}}', '"Read: {{text}}')).items[0].instruction == 'Read: a b'  # the file was edited since


@pytest.mark.parametrize('old, new, message', [
    ("[['No'], ['yes', 'YES-INDEED']]", '[[no], [yes]]', 'quotation marks'), ("[['No'], ['yes', 'YES-INDEED']]", "['no', 'yes']", 'a list of spellings for each label'), ('{text: [text]', '{text: text', 'field text is'),
    ('[accuracy]', 'accuracy', 'want a list of names'), ('[accuracy]', '[acuracy]', "no metric 'acuracy'"), ('context: text', 'context: txt', 'context needs the field txt'), ('answer: [label]', 'said: [label]', 'labels needs the field answer'),
    ('mode: rank', 'mode: rank\nmax_token: 3', "has the key 'max_token'"), ('mode: rank\n', '', "has no 'mode'"), ('dataset: mine', 'dataset: [mine]', 'want a name'), ('templates:', 'templates_of: nothing\nvalues:', "no target 'nothing'"),
    ('"No ||| Yes"', '"No"', 'few_options'), ('{{answer_choices[label]}}', '{{label}}', 'gold_not_an_option'), ('answer_choices: "No ||| Yes", ', '', "'answer_choices' is undefined"), ('dataset: mine', 'about: ' + '[' * 99, 'nested over 50 deep')])
def test_what_a_target_of_ones_own_gets_wrong(tmp_path, old, new, message):
    assert old in OWN_TARGET
    with pytest.raises(ValueError, match=message): load_own_target(tmp_path, OWN_TARGET.replace(old, new))


# ---- a user's own set

def own(folder: Path, table: str, text: str) -> Benchmark:
    (folder / 'table.csv').write_text(table, encoding='utf-8')
    (folder / 'own.yaml').write_text(text, encoding='utf-8')
    return load_benchmark(str(folder / 'own.yaml'))


def test_forty_rows_and_ten_lines(tmp_path):
    table = 'id;question;answer\n' + '\n'.join(f'q{number};"What is {number}, doubled?";{2 * number}' for number in range(40))
    benchmark = own(tmp_path, table, 'name: Doubles\nfiles: table.csv\nprompt: "{question}"\nanswer: answer\nmetric: exact_match\nid: id\n')
    assert (benchmark.name, len(benchmark.items), benchmark.items[7]) == ('Doubles', 40, Item('q7', 'What is 7, doubled?', references=('14',)))


@pytest.mark.parametrize('text, message', [
    ('files: table.csv\nprompt: "{qestion}"\n', "no column 'qestion' .did you mean 'question'"), ('files: table.csv\nprompt: "{question}"\nanswer: Answers\n', "no column 'Answers' .did you mean 'answer'"),
    ('files: table.csv\nprompt: "{question}"\nmetric: rogue\n', "no metric 'rogue'"), ('files: table.csv\nprompt: [1\n', 'is no YAML'), ('- a\n', 'want keys such as'), ('prompt: "{question}"\n', 'files is missing'),
    ('files: table.csv\nprompt: "{question}"\nmetric: rouge_l\nmetrics: exact_match\n', 'has both metric and metrics'), ('files: table.csv\n---\nprompt: "{question}"\n', 'has 2 documents'), ('files: ' + '[' * 60, 'nested over 50 deep'),
    ('files: table.csv\nprompt: "{question}"\noptions: {colums: answer}\n', 'want a list of answers, the name of a column'), ('files: table.csv\nprompt: "What?"\n', 'has no gap such as'), ('files: table.csv\nprompt: "{question"\n', 'has no gap such as'),
    ('files: table.csv\nprompt: "{question}"\noptions: [blue, red]\nmetric: rouge_l\n', 'rouge_l does not fit mode rank'), ('files: table.csv\nprompt: "{question}"\nform: alpacca\n', 'no prompt format'),
    ('files: none.csv\nprompt: "{question}"\n', "names 'none.csv'"), ('files: table.csv\nprompt: "{question}"\nid: answer\n', "id 'blue' is there twice"), ('files: table.csv\nprompt: "{question}"\nmax_tokens: many\n', "max_tokens is 'many'"),
    ('files: table.csv\nprompt: "{question.__class__}"\n', "no column 'question.__class__'"), ('files: table.csv\nprompt: "{question}"\noptions: [true, false]\n', 'quotation marks'),
    ('files: table.csv\nprompt: "{question}"\ncolumns: {questoin: question}\n', "columns names 'questoin'"), ('files: table.csv\nprompt: !!python/object/apply:os.getcwd []\n', 'is no YAML')])
def test_what_a_description_gets_wrong(tmp_path, text, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message): own(tmp_path, 'question,answer\nSky?,blue\nSea?,blue\n', text)


def test_options_of_every_kind(tmp_path):
    table = 'q,choices,answer,letter,number\nSky?,blue|red,Blue,A,0\nGrass?,blue|green,green,B,1\nRose?,blue|red,yellow,C,2\nSnow?,white,white,A,0\n'
    for answer, kind in [('answer', 'text'), ('letter', 'letter'), ('number', 'number')]:
        benchmark = own(tmp_path, table, f'files: table.csv\nprompt: "{{q}}"\noptions: choices\nseparator: "|"\nanswer: {answer}\nanswer_is: {kind}\n')
        assert [item.options[item.gold] for item in benchmark.items] == ['blue', 'green'] and benchmark.mode == 'rank'
        assert [(drop.id, drop.rule) for drop in benchmark.rejected] == [('row-2', 'gold_not_an_option'), ('row-3', 'few_options')]


@given(st.dictionaries(st.from_regex('[a-z]{1,5}', fullmatch=True), TEXT, min_size=1, max_size=4), st.lists(TEXT.map(lambda text: text.replace('{', '').replace('}', '')), min_size=5, max_size=5))
@settings(max_examples=100, deadline=None)
def test_gaps_place_text_and_do_nothing_else(values, parts):
    text = ''.join(part + f'{{{name}}}' for part, name in zip(parts, values))
    assert fill_gaps(text, values) == ''.join(part + value for part, value in zip(parts, values.values()))
    assert gap_names(text) == tuple(values)


# ---- YAML

SHARED = st.lists(st.text('abc', min_size=1, max_size=4), min_size=1, max_size=3)


@given(SHARED, st.integers(1, 4), st.dictionaries(st.text('xyz', min_size=1, max_size=3), st.recursive(st.text('abc', max_size=3), lambda part: st.lists(part, max_size=3), max_leaves=6), max_size=3))
def test_the_size_of_a_yaml_text_counts_what_aliases_stand_for(shared, levels, more):
    def size(part) -> int: return 1 + (len(part) if isinstance(part, str) else sum(map(size, part)) if isinstance(part, list) else sum(size(key) + size(value) for key, value in part.items()))
    for _ in range(levels): shared = [shared, shared]
    data = {**more, 'shared': shared}
    text = yaml.safe_dump(data)
    assert '*id001' in text and check_size(text) == size(data)


@pytest.mark.parametrize('text', ['a: [1', 'a: ' + '[' * 100_000, 'a: &a [*a]', 'a: *b', 'day: 2026-99-99', 'a: !!python/name:os.system', 'a: &a [x,x]\n' + ''.join(f'{n}: &n{n} [{",".join(["*n" + str(n - 1) if n else "*a"] * 9)}]\n' for n in range(12)),
                                  'a: ' + '1' * 5000, b'caf\xe9', b'\x00'])
def test_no_yaml_ends_in_anything_but_a_value_error(tmp_path, text):
    (tmp_path / 'x.yaml').write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match='x.yaml is no YAML'): read_yaml(tmp_path / 'x.yaml')


# ---- the front

def test_a_path_that_shows_no_form(tmp_path):
    with pytest.raises(ValueError, match='shows none of the forms'): load_benchmark(str(write_lines(tmp_path / 'x.jsonl', [{'a': 1}])))
    with pytest.raises(FileNotFoundError, match='want super_ni:PLACE'): load_benchmark('super:x')
    with pytest.raises(ValueError, match='want NAME=PLACE'): load_benchmark('target:vitaminc')


@pytest.mark.parametrize('spec', ['', ' ', 'squad:', 'own:', 'p3: '])
def test_a_benchmark_without_a_place(spec):
    with pytest.raises(ValueError, match='names no place|named by an empty text'): load_benchmark(spec)


@pytest.mark.parametrize('content', [b'junk', lzma.compress(b'{"a": 1}\n')[:-6]])
def test_damaged_xz_files_are_named(tmp_path, content):
    (tmp_path / 'rows.jsonl.xz').write_bytes(content)
    with pytest.raises(ValueError, match='rows.jsonl.xz is damaged'): benchmark_rows(tmp_path / 'rows.jsonl.xz')


def test_the_same_for_every_hash_seed(tmp_path):
    rows = [{'template': f't{number % 5}', 'prompt': f'p{number}', 'completion': 'ab'[number % 2]} for number in range(60)]
    shifts = [{'context': f'c{number}', 'question': 'q', 'answers': {'text': ['c']}} for number in range(20)]
    code = f'''from instructgen.benchmarks import load_benchmark
print(*(load_benchmark(spec, **more).content for spec, more in [({str(write_lines(tmp_path / "p3.jsonl", rows))!r}, dict(rows=3)), ({"p3:" + str(tmp_path / "p3.jsonl")!r}, dict(mode="rank")),
    ({"target:squadshifts_nyt=" + str(write_lines(tmp_path / "test.jsonl", shifts))!r}, dict(rows=7))]))'''
    told = {subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True, env={**os.environ, 'PYTHONHASHSEED': seed}).stdout for seed in '12'}
    assert len(told) == 1 and len(told.pop().split()) == 3
