"""Tasks applied to rows: the fixtures of the paper's code, and by column equals row by row."""
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings, strategies as st

from instructgen.dynosaur.examples import REASONS, apply_tasks, count_cut, draw_rows, judge_output, label_suffix, label_tasks, make_examples, sample_rows, used_splits
from instructgen.dynosaur.fields import RULES, as_text, get_value
from instructgen.dynosaur.prompts import load_prompts
from instructgen.dynosaur.values import field_texts, share_room, text_column
from instructgen.records import EXAMPLE_SCHEMA, Field, SourceCard, Split, Task
from instructgen.sources import find_sources, read_rows

CAREFUL, PUBLISHED = RULES['careful'], RULES['published']
ENGLISH, GERMAN = load_prompts('en'), load_prompts('de')


def make_rows(**columns) -> pa.Table:
    table = pa.table(columns)
    return table.append_column('__split', pa.array(['train'] * len(table)).dictionary_encode()).append_column('__row', pa.array(range(len(table)), pa.int64()))


def make_task(inputs, output, **more): return Task('Do it well.', tuple(inputs), output, 'demo', **more)


def card_of(*fields: Field, splits=('train', 'validation', 'test')) -> SourceCard: return SourceCard('demo', fields=fields, splits=tuple(map(Split, splits)))


def apply(rows, inputs, output, rules=CAREFUL, card=None, prompts=None, **more):
    "Labels, examples, and what was dropped as {rule: count}, of one task."
    card = card or card_of()
    tasks, first = label_tasks([make_task(inputs, output)], rows, card, rules, prompts)
    table, second = make_examples(tasks, rows, card, rules, prompts=prompts, **more)
    return tasks[0] if tasks else None, table, {drop.rule: drop.count for drop in first + second}


# the fixtures of papers/dynosaur.md

def test_an_unlabelled_row_is_skipped_and_the_code_gave_it_the_last_name():
    card = card_of(Field('label', 'ClassLabel', ('bad', 'good')))
    rows = make_rows(text=['a', 'b', 'c', 'd'], label=pa.array([0, -1, 1, 0]))
    _, table, dropped = apply(rows, ['text'], 'label', card=card)
    assert table['output'].to_pylist() == ['bad', 'good', 'bad'] and dropped == {'missing_label': 1}
    named = rows.set_column(1, 'label', pa.array(['bad', None, 'good', 'bad']))          # as the reader of sources gives it
    assert apply(named, ['text'], 'label', card=card)[1]['output'].to_pylist() == ['bad', 'good', 'bad']
    assert apply(named, ['text'], 'label', PUBLISHED, card)[1]['output'].to_pylist() == ['bad', 'good', 'good', 'bad']


def test_the_order_of_labels_does_not_depend_on_the_hash_seed():
    code = """
import pyarrow as pa
from instructgen.dynosaur.examples import judge_output
from instructgen.dynosaur.fields import RULES
from instructgen.records import Field
values = pa.array(['pear', 'apple', 'fig', 'kiwi', '10', '9'] * 5)
print([judge_output(values, Field('fruit'), rules)[0] for rules in RULES.values()], judge_output(values, Field('fruit', labels=('pear', '9', 'kiwi', '10', 'fig', 'apple')), RULES['careful'])[0])
"""
    seen = {subprocess.run([sys.executable, '-c', code], env={**os.environ, 'PYTHONHASHSEED': seed}, capture_output=True, text=True).stdout for seed in '123'}
    by_value, by_schema = ('9', '10', 'apple', 'fig', 'kiwi', 'pear'), ('pear', '9', 'kiwi', '10', 'fig', 'apple')
    assert seen == {f'{[by_value, by_value]} {by_schema}\n'}


def test_a_source_sorted_by_label_is_not_dropped():
    card = card_of(Field('text'), Field('label', 'ClassLabel', ('bad', 'good')), splits=('train',))
    def read(card, split, limit=None): return pa.table({'text': [f'text {row}' for row in range(1000)], 'label': ['bad'] * 500 + ['good'] * 500})[:limit]
    task = make_task(['text'], 'label')
    kept, table, dropped = apply_tasks([task], card, read=read)
    assert kept[0].labels == ('bad', 'good') and len(table) == 100 and not dropped
    kept, table, dropped = apply_tasks([task], card, PUBLISHED, read=read)
    assert not kept and not len(table) and [drop.rule for drop in dropped] == ['single_label']


def test_a_long_output_is_skipped_and_the_code_cut_it():
    rows = make_rows(text=['a', 'b', 'c'], answer=['x' * 2000, 'x' * 2001, 'é' * 1999])     # characters, not bytes
    _, table, dropped = apply(rows, ['text'], 'answer')
    assert [len(text) for text in table['output'].to_pylist()] == [2000, 1999] and dropped == {'long_output': 1}
    assert [len(text) for text in apply(rows, ['text'], 'answer', PUBLISHED)[1]['output'].to_pylist()] == [2000, 2000, 1999]


def test_a_list_among_other_inputs_keeps_its_name():
    rows = make_rows(question=['Which?', 'What?'], choices=[['red', 'blue'], ['one', 'two']], answer=['red', 'two'])
    assert apply(rows, ['question', 'choices'], 'answer')[1]['input'][0].as_py() == "The question is Which? The choices is A. 'red', B. 'blue'."
    assert apply(rows, ['question', 'choices'], 'answer', PUBLISHED)[1]['input'][0].as_py() == "question is 'Which?'.  A. 'red', B. 'blue'."
    assert apply(rows, ['choices'], 'answer')[1]['input'][1].as_py() == "A. 'one', B. 'two'"


def test_sixty_rows_of_which_fifty_are_equal_are_dropped():
    rows = make_rows(text=[f't{row}' for row in range(60)], label=['yes'] * 50 + ['no'] * 10)
    task, table, dropped = apply(rows, ['text'], 'label')
    assert task is None and not len(table) and dropped == {'imbalanced': 1}
    assert len(apply(rows, ['text'], 'label', PUBLISHED)[1]) == 60


@pytest.mark.parametrize('counts, dropped', [((70, 30), False), ((71, 29), True), ((50, 30, 20), False), ((51, 29, 20), True), ((14, 6), False), ((15, 5), True), ((18, 1), False), ((9, 9, 1), False)])
def test_balance_is_a_share_from_twenty_rows_on(counts, dropped):
    labels = [f'label {place}' for place, count in enumerate(counts) for _ in range(count)]
    assert (judge_output(pa.array(labels), Field('x'), CAREFUL)[1] == 'imbalanced') == dropped


def test_a_label_with_a_comma_cannot_be_misread():
    rows = make_rows(text=list('abcdef'), label=['yes', 'no, never'] * 3)
    assert apply(rows, ['text'], 'label')[0].text == 'Do it well. Answers must be one of "no, never", yes.'


def test_sentence_only_where_labels_can_be_listed_and_in_their_language():
    assert label_suffix(('a' * 15, 'b'), PUBLISHED).endswith('b.') and label_suffix(('a' * 16, 'b'), PUBLISHED) == ''
    frame = len('Answers must be one of , b.')
    assert len(label_suffix(('a' * (500 - frame), 'b'), CAREFUL)) == 500 and label_suffix(('a' * (501 - frame), 'b'), CAREFUL) == ''
    assert [label_suffix([str(number) for number in range(count)], CAREFUL) != '' for count in (20, 21)] == [True, False] and label_suffix(('a\nb', 'c'), CAREFUL) == ''
    assert label_suffix(('ja', 'nein, nie'), CAREFUL, GERMAN) == 'Die Antwort muss eine von diesen sein: ja, "nein, nie".'
    assert label_suffix(('{x}', '%s'), CAREFUL) == 'Answers must be one of {x}, %s.'       # labels are data, never a format
    rows = make_rows(text=list('abcdef'), label=['a' * 500, 'b'] * 3)
    for rules in RULES.values():                                                          # a label space by the paper's count, though nobody can list it
        task = apply(rows, ['text'], 'label', rules)[0]
        assert task.labels == ('a' * 500, 'b') and task.suffix == '' and task.task_type == 'classification'


def test_the_label_space_is_the_schema_and_not_what_was_sampled():
    "A released list of A to E lacks a letter where the first rows did."
    card = card_of(Field('answer', 'ClassLabel', tuple('ABCDE')))
    rows = make_rows(text=[f't{row}' for row in range(40)], answer=list('ADBA') * 10)
    assert apply(rows, ['text'], 'answer', card=card)[0].labels == tuple('ABCDE')
    assert apply(rows, ['text'], 'answer', PUBLISHED, card)[0].labels == ('A', 'B', 'D')
    many = card_of(Field('answer', 'ClassLabel', tuple('ABCDEFGHIJKLMNOP')))
    assert apply(rows, ['text'], 'answer', card=many)[0].labels == tuple('ABCDEFGHIJKLMNOP')
    assert apply(rows, ['text'], 'answer', PUBLISHED, many)[0].labels == ('A', 'B', 'D')


@pytest.mark.parametrize('names, shown', [(20, 20), (21, 21), (150, 150), (150, 5)])
def test_a_declared_label_that_nothing_names_is_dropped(names, shown):
    card = card_of(Field('intent', 'ClassLabel', tuple(f'intent {number}' for number in range(names))))
    rows = make_rows(text=[f't{row}' for row in range(300)], intent=[f'intent {row % shown}' for row in range(300)])
    task, table, dropped = apply(rows, ['text'], 'intent', card=card)
    if names <= 20: assert len(task.labels) == names and len(table) == 300 and task.suffix.startswith('Answers must be one of intent 0, intent 1,')
    else: assert dropped == {'unlisted_labels': 1} and not len(table)
    assert len(apply(rows, ['text'], 'intent', PUBLISHED, card)[1]) == 300
    assert len(apply(rows, ['text'], 'intent', replace(CAREFUL, unlisted_labels='keep'), card)[1]) == 300


def test_long_names_are_dropped_unless_the_instruction_has_them():
    names = tuple(f'{word} is what the person who wrote this long letter wanted to say most of all' for word in ('praise', 'blame', 'a question', 'a wish', 'a threat', 'an offer'))
    card = card_of(Field('kind', 'ClassLabel', names))
    rows = make_rows(text=[f't{row}' for row in range(60)], kind=[names[row % 6] for row in range(60)])
    kept, dropped = label_tasks([make_task(['text'], 'kind'), replace(make_task(['text'], 'kind'), instruction=f'Choose: {"; ".join(names).upper()}.')], rows, card)
    assert [task.labels for task in kept] == [names] and [(drop.rule, drop.text.count('6 labels: praise')) for drop in dropped] == [('unlisted_labels', 1)]


def test_observed_labels_are_listed_where_they_are_a_set():
    def space(values, first=(), rules=CAREFUL): return judge_output(pa.array(values), Field('x'), rules, [{'x': value} for value in first])
    classes = [f'class {row % 14}' for row in range(100)]
    assert len(space(classes)[0]) == 14 and space(classes, rules=PUBLISHED)[0] == ()                  # the paper's code takes DBpedia's classes for free text
    assert space(classes[:50])[0] == () and len(space(classes[:50], ['class 1'] * 20)[0]) == 14        # few rows: a category only
    assert space([str(row % 14) for row in range(100)])[0] == () and len(space([str(row % 10) for row in range(100)])[0]) == 10   # numbers are a scale or a count
    assert space([f'a sentence that stands in many contracts, namely number {row % 17}' for row in range(100)]) == ((), '', '')   # ContractNLI: too long to list, no category
    assert space([f'class {row % 14}' if row % 3 else 'class 0' for row in range(100)])[1] == '' and space([f'class {row % 14}' if row % 5 == 0 else 'class 0' for row in range(100)])[1] == 'imbalanced'


def test_a_category_that_nothing_names_is_dropped_and_a_title_is_not():
    intents = pa.array([f'intent_{number}' for number in np.random.default_rng(0).integers(0, 150, 200)])
    titles = pa.array([f'Title {number}' for number in np.random.default_rng(0).integers(0, 442, 200)])       # SQuAD has 442, each for many neighbouring rows
    for values, rule in ((intents, 'unlisted_labels'), (titles, '')):
        sampled = [{'x': values[0].as_py()}] * 20
        assert judge_output(values, Field('x'), CAREFUL, sampled)[:2] == ((), rule)
        assert judge_output(values, Field('x'), PUBLISHED, sampled)[:2] == judge_output(values, Field('x'), CAREFUL)[:2] == ((), '')   # no category: an answer may repeat
    long = [f'{word} and nothing else whatever' for word in 'abcdef']
    assert judge_output(pa.array([label.replace(' ', '_') * 4 for label in long] * 10), Field('x'), CAREFUL, [{'x': 'a'}] * 20)[1] == 'unlisted_labels'


def test_clinc_is_dropped_and_dbpedia_is_listed(shared_data):
    found = {card.name: card for card in find_sources(str(shared_data / 'hub')) if isinstance(card, SourceCard)}
    for name, inputs, output in (('clinc150', 'text', 'intent'), ('dbpedia_14', 'content', 'label')):
        for rules in RULES.values():
            kept, table, dropped = apply_tasks([Task('Do it.', (inputs,), output, name)], found[name], rules)
            if rules is PUBLISHED: assert not kept or kept[0].labels == ()
            elif name == 'clinc150': assert not kept and [drop.rule for drop in dropped] == ['unlisted_labels']
            else: assert len(kept[0].labels) == 14 and kept[0].suffix and len(table) == 100


def test_few_values_of_few_rows_are_no_label_space():
    rows = make_rows(text=list('abcdefgh'), answer=['one', 'two', 'three', 'four', 'five', 'six', 'one', 'two'])
    assert apply(rows, ['text'], 'answer')[0].labels == ()
    assert len(apply(rows, ['text'], 'answer', PUBLISHED)[0].labels) == 6
    assert judge_output(pa.array(['only one']), Field('x'), CAREFUL) == ((), '', '')            # one row is not one label
    card = card_of(Field('label', 'ClassLabel', ('bad', 'good')))
    assert apply(make_rows(text=['a', 'b', 'c'], label=['bad'] * 3), ['text'], 'label', card=card)[0].labels == ('bad', 'good')
    assert apply(make_rows(text=['a', 'b', 'c'], label=['bad'] * 3), ['text'], 'label')[2] == {'single_label': 1}


@pytest.mark.parametrize('counts, dropped', [((70, 30), False), ((71, 29), True), ((50, 49, 1), False), ((51, 48, 1), True), ((70, 1), False), ((50, 1, 1), False), ((51, 1, 1), True)])
def test_balance_is_a_count_in_the_code(counts, dropped):
    labels = [f'label {place}' for place, count in enumerate(counts) for _ in range(count)]
    assert (judge_output(pa.array(labels), Field('x'), PUBLISHED)[1] == 'imbalanced') == dropped


@pytest.mark.parametrize('count, most, labels', [(9, 9, 9), (10, 9, 0), (10, 10, 10), (11, 10, 0)])
def test_ten_labels_are_a_label_space_in_the_code_and_not_in_the_paper(count, most, labels):
    values = pa.array([f'{number:02}' for number in range(count)] * 4)
    assert len(judge_output(values, Field('x'), replace(CAREFUL, max_labels=most, max_listed=0))[0]) == labels


def test_an_input_that_does_not_decide_the_label_is_dropped():
    "The label of an entailment pair from the premise alone."
    rows = make_rows(premise=['p', 'p', 'p', 'q', 'r', 'r'], hypothesis=list('abcdef'), label=['yes', 'no', 'yes', 'no', 'yes', 'yes'])
    _, table, dropped = apply(rows, ['premise'], 'label')
    assert list(zip(table['input'].to_pylist(), table['output'].to_pylist())) == [('q', 'no'), ('r', 'yes')]
    assert dropped == {'conflicting_label': 2, 'repeated_row': 2}
    assert len(apply(rows, ['premise', 'hypothesis'], 'label')[1]) == 6
    assert len(apply(rows, ['premise'], 'hypothesis')[1]) == 6         # free text: six right answers
    assert len(apply(rows, ['premise'], 'label', PUBLISHED)[1]) == 6


def test_the_code_stops_at_the_first_null():
    rows = make_rows(text=[f't{row}' for row in range(120)], answer=[f'a{row}' if row != 110 else None for row in range(120)])
    assert len(apply(rows, ['text'], 'answer')[1]) == 119
    _, table, dropped = apply(rows, ['text'], 'answer', PUBLISHED)
    assert len(table) == 110 and dropped == {'missing_output': 1, 'stopped': 9}
    early = make_rows(text=['a', 'b'], answer=['x', None])
    assert apply(early, ['text'], 'answer', PUBLISHED)[2] == {'nonscalar_output': 1}


def test_several_answers_give_the_first_and_other_lists_none():
    rows = make_rows(question=['q1', 'q2', 'q3'], answers=[{'text': ['Ada', 'Ada Byron']}, {'text': []}, {'text': ['Bo']}], tags=[['x', 'y'], ['z'], []])
    assert apply(rows, ['question'], 'answers.text')[1]['output'].to_pylist() == ['Ada', 'Bo']
    _, table, dropped = apply(rows, ['question'], 'tags')
    assert table['output'].to_pylist() == ['z'] and dropped == {'list_output': 1, 'missing_output': 1}
    assert apply(rows, ['question'], 'answers')[2] == {'nonscalar_output': 1}


def test_a_plain_list_of_answers_gives_the_first():
    "TweetQA and NQ-open."
    rows = make_rows(Question=['q1', 'q2', 'q3', 'q4'], Answer=[['Ada', 'Ada Byron'], ['Bo'], [], [None, 'Cy', 'C.']])
    task, table, dropped = apply(rows, ['Question'], 'Answer')
    assert table['output'].to_pylist() == ['Ada', 'Bo', 'Cy'] and dropped == {'missing_output': 1}
    assert apply(rows, ['Answer'], 'Question')[1]['input'].to_pylist() == ['Ada', 'Bo', 'Cy']
    assert apply(rows, ['Question'], 'Answer', PUBLISHED)[2] == {'nonscalar_output': 1}
    for other in ('options', 'label', 'questions', 'answer_key'):
        assert apply(rows.append_column(other, pa.array(['A'] * 4)), ['Question'], 'Answer')[2]['list_output'] == 2, other
    for name in ('choices', 'keywords', 'options'): assert apply(rows.rename_columns(['q', name, '__split', '__row']), ['q'], name)[2]['list_output'] == 2, name
    numbers = make_rows(q=['a', 'b'], answer=[[1, 2], [3, 4]])
    assert apply(numbers, ['q'], 'answer')[2] == {'nonscalar_output': 1}


def test_a_long_input_is_cut_with_a_mark_and_counted():
    rows = make_rows(text=['word ' * 500, 'short', 'ß' * 2000], answer=['a', 'b', 'c'])
    _, table, _ = apply(rows, ['text'], 'answer')
    texts = table['input'].to_pylist()
    assert len(texts[0]) <= 2000 and texts[0].endswith('word w […]') and texts[1:] == ['short', 'ß' * 2000] and count_cut(table, CAREFUL) == 1
    assert apply(rows, ['text'], 'answer', PUBLISHED)[1]['input'][0].as_py() == ('word ' * 500).strip()[:2000]


def test_a_long_first_field_does_not_push_out_the_others():
    "Of ContractNLI, one example of a hundred was left."
    rows = make_rows(contract=['All of it is secret. ' * 300] * 4, claim=['Nothing may be told.', 'Some may be told.', 'It ends soon.', 'x ' * 2000], label=['yes', 'no', 'yes', 'no'])
    _, table, dropped = apply(rows, ['contract', 'claim'], 'label')
    texts = table['input'].to_pylist()
    assert len(texts) == 4 and not dropped and all(len(text) <= 2000 for text in texts) and count_cut(table, CAREFUL) == 4
    assert texts[1].startswith('The contract is All of it') and texts[1].endswith(' […]. The claim is Some may be told.')
    assert 900 < texts[3].index('The claim is') < 1100                      # two long fields share the room
    assert len(set(apply(rows, ['contract', 'claim'], 'label', PUBLISHED)[1]['input'].to_pylist())) == 1


def test_an_answer_that_was_cut_away_is_not_learnt():
    rows = make_rows(passage=['The start. ' * 400 + 'Rome is at the end.', 'Rome is at the start. ' * 400, 'Rome.'], question=['Which city?'] * 3, city=['Rome'] * 3, label=['Rome', 'Oslo', 'Rome'])
    _, table, dropped = apply(rows, ['passage', 'question'], 'city', replace(CAREFUL, drop_single_label=False, max_distinct_share=.1))
    assert table['row'].to_pylist() == [1, 2] and dropped == {'answer_cut': 1}
    assert len(apply(rows, ['passage', 'question'], 'city', replace(PUBLISHED, drop_single_label=False))[1]) == 3


def test_texts_that_no_file_can_hold_and_formats_that_are_data():
    rows = make_rows(**{'{value}': ['a {name} b', 'c'], 'x': ['1', '2']})
    task = replace(make_task(['{value}', 'x'], 'x'), instruction='Say \ud800 {labels}', inputs=('{value}',))
    table, _ = make_examples([task], rows, card_of())
    assert table['instruction'][0].as_py() == 'Say ? {labels}' and table['input'].to_pylist() == ['a {name} b', 'c']
    two = apply(make_rows(a=['{value}', '{name}'], b=['1', '2'], c=['x', 'y']), ['a', 'b'], 'c')[1]
    assert two['input'].to_pylist() == ['The a is {value}. The b is 1.', 'The a is {name}. The b is 2.']
    braces = replace(ENGLISH, field_formats={'paper': '{field} ({name}): {value} {x}'}, item_formats={'paper': '{x}{item}'})
    assert apply(make_rows(a=['{field}'], b=[['y', '{item}']], c=['z']), ['a', 'b'], 'c', prompts=braces)[1]['input'].to_pylist() == ['a ({name}): {field} {x} b ({name}): {x}y, {x}{item} {x}']


def test_german_examples_read_as_the_german_file_says():
    rows = make_rows(frage=['Was ist warm?', 'Was ist kalt?'], auswahl_choices=[['rot', 'blau'], ['Eis', 'Tee']], stichworte=[['Farbe', 'Licht'], ['Wetter']], antwort=['rot', 'Eis'])
    texts = {name: apply(rows, ['frage', 'auswahl_choices', 'stichworte'], 'antwort', rules, prompts=GERMAN)[1]['input'][0].as_py() for name, rules in RULES.items()}
    assert texts == {'careful': 'frage: Was ist warm?\nauswahl_choices: A. rot, B. blau\nstichworte: Farbe, Licht',
                     'published': "frage ist 'Was ist warm?'.  A. 'rot', B. 'blau'. 'Farbe', 'Licht'."}
    task = apply(make_rows(text=list('abcdef'), label=['ja', 'nein'] * 3), ['text'], 'label', prompts=GERMAN)[0]
    assert task.text == 'Do it well. Die Antwort muss eine von diesen sein: ja, nein.'
    long = apply(make_rows(a=['Wort ' * 900], b=['kurz'], c=['x']), ['a', 'b'], 'c', prompts=GERMAN)[1]['input'][0].as_py()
    assert long.startswith('a: Wort Wort') and long.endswith(' […]\nb: kurz') and len(long) <= 2000
    gap = replace(CAREFUL, missing_input='keep')
    assert apply(make_rows(a=['x', None], b=['y', 'z'], c=['1', '2']), ['a', 'b'], 'c', gap, prompts=GERMAN)[1]['input'].to_pylist() == ['a: x\nb: y', 'b: z']


@pytest.mark.parametrize('change, wanted', [
    ({'field_formats': {'paper': '[{field}] {value}'}}, "[colours] 'red', 'blue' [choices] A. 'one', B. 'two' [hint] No."), ({'field_separators': {'paper': ' / '}}, "The colours is 'red', 'blue'. / The choices is A. 'one', B. 'two'. / The hint is No."),
    ({'item_formats': {'paper': '<{item}>'}}, "The colours is <red>, <blue>. The choices is A. 'one', B. 'two'. The hint is No."), ({'list_separator': '; '}, "The colours is 'red'; 'blue'. The choices is A. 'one'; B. 'two'. The hint is No."),
    ({'choice_formats': {'paper': '{item} ({letter})'}}, "The colours is 'red', 'blue'. The choices is one (A), two (B). The hint is No.")])
def test_a_file_of_ones_own_changes_what_an_example_says(change, wanted):
    rows = make_rows(colours=[['red', 'blue']], choices=[['one', 'two']], hint=['No.'], answer=['x'])
    assert apply(rows, ['colours', 'choices', 'hint'], 'answer', prompts=replace(ENGLISH, **change))[1]['input'].to_pylist() == [wanted]


def test_a_file_of_ones_own_changes_labels_and_unnamed_lists():
    rows = make_rows(colours=[['red', 'blue']] * 2, hint=['No.', 'Yes?'], answer=['x', 'y'])
    own = {'label_sentence': 'Say {labels}!', 'label_separator': ' or ', 'label_quotes': '<{label}>'}
    assert label_suffix(('yes or no', 'a, b'), CAREFUL, replace(ENGLISH, **own)) == 'Say <yes or no> or a, b!'
    unnamed = replace(ENGLISH, list_formats={'code': ' ({items})'})
    assert apply(rows, ['colours', 'hint'], 'answer', PUBLISHED, prompts=unnamed)[1]['input'].to_pylist() == [" ('red', 'blue')hint is 'No.'. ", " ('red', 'blue')hint is 'Yes?'. "]


def test_every_lost_task_has_its_rule():
    card = card_of(splits=('test',))
    assert apply(make_rows(a=['x'])[:0], ['a'], 'b')[2] == {'no_rows': 1}
    assert apply(make_rows(a=['x'], b=['y']), ['a'], 'c')[2] == {'unknown_field': 1}
    assert apply(make_rows(a=['', None, ' '], b=['x', 'y', 'z']), ['a'], 'b')[2] == {'empty_input': 2, 'missing_input': 1, 'no_instances': 1}
    kept, table, dropped = apply_tasks([make_task(['a'], 'b')], card, read=None)
    assert not kept and table.schema == EXAMPLE_SCHEMA and 'no split with train or valid or dev among test' in dropped[0].text
    assert apply_tasks([], card, read=None) == ([], EXAMPLE_SCHEMA.empty_table(), [])
    without_input = make_task([], 'b')
    assert [drop.rule for drop in make_examples([without_input], make_rows(a=['x'], b=['y']), card)[1]] == ['empty_input', 'no_instances']
    assert make_examples([without_input], make_rows(a=['x'], b=['y']), card, replace(CAREFUL, missing_input='keep'))[0]['input'].to_pylist() == ['']


def test_lost_rows_are_shown_three_at_a_time():
    rows = make_rows(text=[f't{row}' for row in range(9)], answer=['a' if row < 2 else None for row in range(9)])
    drop = make_examples([make_task(['text'], 'answer')], rows, card_of())[1][0]
    assert (drop.kind, drop.rule, drop.count, drop.where) == ('row', 'missing_output', 7, 'demo') and drop.text.count(' | ') == 2 and "train-2: 't2'" in drop.text


# which rows

HELD = ['test', 'Test', 'test_matched', 'devtest', 'dev_test', 'mini-test', 'trainTest', 'train.eval', 'eval', 'evaluation', 'validation_heldout', 'train-held-out', 'dev.holdout', 'testing_train', 'unseen_test']
USED = ['train', 'Train', 'validation', 'valid', 'dev', 'train_r1', 'latest_train', 'auxiliary_train', 'validation_mismatched', 'train_contest', 'retrieval_train', 'training', 'dev-clean']

@pytest.mark.parametrize('name', HELD)
def test_held_out_rows_are_never_used(name):
    for rules in RULES.values(): assert not used_splits(card_of(splits=(name,)), rules)

@pytest.mark.parametrize('name', USED)
def test_training_rows_are_used(name): assert used_splits(card_of(splits=(name,)), CAREFUL)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 40), max_size=8), st.integers(1, 30), st.integers(0, 5))
def test_a_draw_does_not_depend_on_batches(sizes, count, seed):
    total = sum(sizes)
    ends = np.cumsum(sizes)
    batches = [pa.table({'row': pa.array(range(end - size, end), pa.int64())}) for size, end in zip(sizes, ends)]
    table, rows = draw_rows(batches, count, seed)
    if table is None: return
    whole = draw_rows([pa.table({'row': pa.array(range(total), pa.int64())})], count, seed)[1]
    assert rows.tolist() == whole.tolist() == table['row'].to_pylist() == sorted(set(rows.tolist())) and len(rows) == min(count, total)


def test_every_row_has_the_same_chance_and_growth_keeps_most():
    table = pa.table({'row': range(1000)})
    counts = np.bincount(np.concatenate([draw_rows(table.to_batches(max_chunksize=100), 100, seed)[1] for seed in range(300)]), minlength=1000)
    assert abs(counts[:500].sum() - counts[500:].sum()) < 600 and 8 < counts.min() and counts.max() < 60    # 30 on average, sd 5.2
    before, after = draw_rows([table], 100, 0)[1], draw_rows([pa.table({'row': range(1100)})], 100, 0)[1]
    assert len(set(before) & set(after)) >= 80


def test_splits_that_disagree_are_united():
    parts = {'train': pa.table({'a': ['x', 'y'], 'n': [1, 2], 'only': ['o', 'p']}), 'validation': pa.table({'n': ['three', None], 'a': [1.5, 2.]})}
    rows = sample_rows(card_of(), CAREFUL, read=lambda card, split, limit=None: parts[split])
    assert rows.to_pylist() == [{'a': 'x', 'n': '1', 'only': 'o', '__split': 'train', '__row': 0}, {'a': 'y', 'n': '2', 'only': 'p', '__split': 'train', '__row': 1},
                                {'a': '1.5', 'n': 'three', 'only': None, '__split': 'validation', '__row': 0}, {'a': '2', 'n': None, 'only': None, '__split': 'validation', '__row': 1}]
    assert {drop for _, table, _ in [apply(rows, ['a'], 'n')] for drop in table['split'].to_pylist()} == {'train', 'validation'}


def test_the_limit_and_the_seed():
    card = card_of(splits=('train', 'validation'))
    def read(card, split, limit=None): return pa.table({'a': [f'{split} {row}' for row in range(300)], 'b': [f'b{row}' for row in range(300)]})[:limit]
    first, again, other = (apply_tasks([make_task(['a'], 'b')], card, limit=10, seed=seed, read=read)[1] for seed in (0, 0, 1))
    assert len(first) == 10 and first == again and first['id'] != other['id'] and set(first['split'].to_pylist()) == {'train', 'validation'}
    assert len(apply_tasks([make_task(['a'], 'b')], card, read=read)[1]) == 200
    published = apply_tasks([make_task(['a'], 'b')], card, PUBLISHED, read=read)[1]
    assert published['row'].to_pylist() == [*range(100), *range(100)]


# by column equals row by row

def reference_text(value):
    "A scalar as text, '' if blank, None if there is nothing to read."
    if value is None or value != value or isinstance(value, (dict, list, bytes)): return None
    if isinstance(value, float): return pa.scalar(value).cast(pa.string()).as_py()
    return str(value).strip()


def reference_value(row, name, rules):
    "A text, a list of texts, or None, as the rules see a field's value."
    if rules.nested != 'flatten':
        parent, _, part = ('', '', '') if name in row else name.partition('.')
        value = row[parent] if parent else row[name]
        if parent: value = [(item or {}).get(part) for item in value] if isinstance(value, list) else (value or {}).get(part)
        if not isinstance(value, list): return reference_text(value)
        return [item.strip() for item in value] if value and all(isinstance(item, str) for item in value) else None
    value = get_value(row, name)
    if not isinstance(value, list): return reference_text(value)
    items = [reference_text(item) for item in value]
    return items if all(items) else None


def reference_input(row, names, rules):
    "The input whole, and as it is written."
    code, found = rules.input_format == 'code', []
    for name in names:
        value = reference_value(row, name, rules)
        listed = isinstance(value, list)
        if listed:
            choices = 'choice' in name.lower()
            value = ', '.join(f"{chr(65 + place)}. '{item}'" if choices else f"'{item}'" for place, item in enumerate(value))
        if value is None or value == '' and len(names) > 1 and not code: return None, None
        found.append((name, value, listed))
    whole = reference_join(found, rules)
    if len(whole) <= rules.max_input_chars: return whole, whole
    room, text = sum(len(value) for _, value, _ in found) + rules.max_input_chars - len(whole) - len(found), whole
    if len(found) > 1 and not code and room >= 20 * len(found):
        level = max(level for level in range(room + 1) if sum(min(len(value), level) for _, value, _ in found) <= room)   # every value up to one level
        spare = room - sum(min(len(value), level) for _, value, _ in found)
        shares = {}
        for _, name, value in sorted(((len(value), place), name, value) for place, (name, value, _) in enumerate(found))[::-1]:   # what is left goes to the longest
            shares[name] = min(len(value), level) + (1 if len(value) > level and spare > 0 else 0)
            spare -= shares[name] > level
        text = reference_join([(name, value if len(value) <= shares[name] else value[:max(shares[name] - 4, 1)].rstrip() + ' […]', listed) for name, value, listed in found], rules)
    return whole, text if len(text) <= rules.max_input_chars else text[:rules.max_input_chars - len(rules.cut_mark)].rstrip() + rules.cut_mark if rules.cut_mark else text[:rules.max_input_chars]


def reference_join(found, rules):
    code, parts = rules.input_format == 'code', []
    if len(found) == 1: return found[0][1]
    for name, value, listed in found:
        if listed and not rules.name_lists: parts.append(f' {value}.')
        elif code: parts.append(f"{name} is '{value}'. ")
        else: parts.append(f"The {name.replace('.', ' ')} is {value}{'' if value[-1] in '.!?。！？।…' else '.'}")
    return ('' if code else ' ').join(parts)


def reference_examples(tasks, rows, card, rules):
    "What `make_examples` must give, one row at a time: [(id, input, output)], {(task id, rule): count}."
    examples, dropped = [], Counter()
    for task in sorted(tasks, key=lambda task: task.id):
        found, seen, stopped = [], set(), False
        for row in rows.to_pylist():
            output, (whole, text) = reference_value(row, task.output, rules), reference_input(row, task.inputs, rules)
            nothing = output is None or isinstance(output, list)
            rule = ('list_output' if isinstance(output, list) else 'missing_output' if nothing else 'stopped' if stopped else
                    'empty_output' if output == '' and rules.empty_output == 'skip' else
                    'long_output' if len(output) > rules.max_output_chars and rules.long_output == 'skip' else
                    'missing_input' if text is None else 'empty_input' if text == '' else '')
            stopped = stopped or nothing and rules.list_output == 'stop'
            if not rule:
                output = output[:rules.max_output_chars]
                if rules.long_output == 'skip' and not task.labels and len(output) > 3 and output in whole and output not in text: rule = 'answer_cut'
                elif (text, output) in seen and rules.repeated_row == 'skip': rule = 'repeated_row'
            if rule: dropped[task.id, rule] += 1; continue
            seen.add((text, output))
            found.append((f"{task.id}-{row['__split']}-{row['__row']}", text, output))
        if task.labels and rules.repeated_row == 'skip':
            answers = {}
            for text, output in seen: answers.setdefault(text, set()).add(output)
            lost = [one for one in found if len(answers[one[1]]) > 1]
            if lost: dropped[task.id, 'conflicting_label'] = len(lost)
            found = [one for one in found if len(answers[one[1]]) == 1]
        if not found: dropped[task.id, 'no_instances'] += 1
        examples += found
    return examples, dropped


words = st.one_of(st.sampled_from(['yes', 'no', 'a b', ' x ', '', '  ', '\n\u2003', 'é.', '好。', 'q?', "it's", 'word ' * 9, '🙂' * 30, 'first second. ' * 6 + 'last', 'last']), st.text(st.characters(codec='utf-8'), max_size=5))
COLUMNS = {'text': (pa.string(), words), 'other': (pa.large_string(), words), 'label': (pa.string(), st.sampled_from(['yes', 'no', 'maybe'])),
           'number': (pa.int64(), st.integers(-3, 3)), 'score': (pa.float64(), st.one_of(st.sampled_from([1., 2.5, float('nan'), 1e20, -0.]), st.floats(width=32))), 'flag': (pa.bool_(), st.booleans()),
           'choices': (pa.list_(pa.string()), st.lists(st.one_of(words, st.none()), max_size=3)), 'counts': (pa.list_(pa.int64()), st.lists(st.one_of(st.integers(0, 2), st.none()), max_size=3)),
           'answers': (pa.struct([('text', pa.list_(pa.string())), ('start', pa.int64())]), st.fixed_dictionaries({'text': st.one_of(st.none(), st.lists(st.one_of(words, st.none()), max_size=3)), 'start': st.integers(0, 9)})),
           'turns': (pa.list_(pa.struct([('who', pa.string())])), st.lists(st.one_of(st.none(), st.fixed_dictionaries({'who': st.one_of(words, st.none())})), max_size=3)),
           'answer': (pa.list_(pa.string()), st.lists(st.one_of(words, st.none()), max_size=3)), 'a.b': (pa.string(), words), 'nothing': (pa.null(), st.none())}
NAMES = [*COLUMNS, 'answers.text', 'answers.start', 'turns.who', 'answers.absent']

@st.composite
def tables(draw):
    size = draw(st.integers(1, 14))
    return make_rows(**{name: pa.array(draw(st.lists(st.one_of(st.none(), values, values), min_size=size, max_size=size)), kind) for name, (kind, values) in COLUMNS.items()})

TINY = {name: replace(rules, max_input_chars=100, max_output_chars=20) for name, rules in RULES.items()}
some_tasks = st.lists(st.builds(lambda names, output, labels: make_task(names, output, labels=labels), st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True),
                                st.sampled_from(NAMES), st.sampled_from([(), ('yes', 'no')])), min_size=1, max_size=5, unique_by=lambda task: task.id)

@settings(max_examples=300, deadline=None)
@given(tables(), some_tasks, st.sampled_from(list(TINY)), st.randoms(use_true_random=False))
def test_by_column_equals_row_by_row(rows, tasks, preset, chance):
    card, rules = card_of(), TINY[preset]
    wanted, lost = reference_examples(tasks, rows, card, rules)
    table, rejected = make_examples(tasks, rows, card, rules)
    assert list(zip(table['id'].to_pylist(), table['input'].to_pylist(), table['output'].to_pylist())) == wanted
    assert {(drop.id, drop.rule): drop.count for drop in rejected} == lost
    assert table.schema == EXAMPLE_SCHEMA and len(set(table['id'].to_pylist())) == len(table)
    for task in tasks: assert sum(count for (name, rule), count in lost.items() if name == task.id and rule in REASONS) + table['task_id'].to_pylist().count(task.id) == len(rows)
    shuffled = list(tasks); chance.shuffle(shuffled)
    assert make_examples(shuffled, rows, card, rules) == (table, rejected)


@settings(max_examples=150, deadline=None)
@given(tables(), st.sampled_from(NAMES), st.sampled_from(list(RULES)))
def test_values_by_column_equal_values_by_row(rows, name, preset):
    scalars, lists = field_texts(rows, Field(name), RULES[preset])
    found = [one if one is not None else many for one, many in zip(scalars.to_pylist(), [None] * len(rows) if lists is None else lists.to_pylist())]
    assert found == [reference_value(row, name, RULES[preset]) for row in rows.to_pylist()]


SIBLINGS = [name for name in COLUMNS if name not in ('label', 'choices')]   # with these beside it, `answer` is a list of candidates

@settings(max_examples=300, deadline=None)
@given(tables(), st.sampled_from(NAMES), st.sampled_from((list(COLUMNS), SIBLINGS)))
def test_a_prompt_shows_what_an_example_holds(rows, name, kept):
    rows = rows.select(kept)
    scalars, lists = field_texts(rows, Field(name), CAREFUL)
    found = [one or many or None for one, many in zip(scalars.to_pylist(), [None] * len(rows) if lists is None else lists.to_pylist())]
    assert found == [as_text(get_value(row, name)) for row in rows.to_pylist()]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(st.none(), st.floats(), st.integers(-10**17, 10**17).map(float)), min_size=1))
def test_a_prompt_shows_a_float_as_an_example_does(values):
    wanted = [as_text(value) for value in values]
    assert text_column(pa.array(values, pa.float64())).to_pylist() == wanted and not any(text.endswith('.0') for text in wanted if text)
    whole = [None if value is None else [value] for value in values]
    assert field_texts(pa.table({'x': pa.array(whole, pa.list_(pa.float64()))}), Field('x'), CAREFUL)[0].to_pylist() == wanted


@settings(max_examples=100, deadline=None)
@given(tables(), st.sampled_from(NAMES), st.sampled_from(list(RULES)))
def test_a_judgement_holds_what_it_says(rows, name, preset):
    rules, texts = RULES[preset], field_texts(rows, Field(name), RULES[preset])[0]
    labels, rule, _ = judge_output(texts, Field(name), rules, rows.to_pylist())
    seen = {text for text in texts.to_pylist() if text is not None and (text or preset == 'published')}
    assert set(labels) <= seen and (not labels or set(labels) == seen and len(labels) <= 20)
    assert rule in ('', 'nonscalar_output', 'empty_output', 'single_label', 'imbalanced', 'unlisted_labels') and (rule != 'single_label' or len(seen) == 1)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=6), st.integers(0, 200))
def test_room_is_shared_fairly(lengths, room):
    shares = share_room(lengths, room)
    assert all(0 <= share <= length for share, length in zip(shares, lengths)) and sum(shares) == min(room, sum(lengths))
    cut = [share for share, length in zip(shares, lengths) if share < length]
    assert not cut or max(cut) - min(cut) <= 1 and all(share <= max(cut) + 1 for share in shares)     # nobody keeps more than those who are cut, but for the rounding


@pytest.mark.parametrize('values, wanted', [(pa.array([1, None], pa.int8()), ['1', None]), (pa.array([b'x']), [None]), (pa.array([[1]]), [None]), (pa.array(['a', 'a ']).dictionary_encode(), ['a', 'a']),
                                            (pa.array([0], pa.timestamp('s')), ['1970-01-01 00:00:00']), (pa.array([True]), ['True']), (pa.array([.1], pa.float32()), ['0.1'])])
def test_cells_of_every_type_are_text_or_nothing(values, wanted): assert text_column(values).to_pylist() == wanted


# real data

def test_real_sources_give_the_same_by_column_and_by_row(shared_data):
    "Every pair of fields of every source that has training rows is a task."
    found, made = 0, 0
    for card in find_sources(str(shared_data / 'hub')):
        if not isinstance(card, SourceCard) or not used_splits(card, CAREFUL): continue
        names = [field.name for field in card.fields][:6]
        tasks = [Task('Do it.', inputs, output, card.source, card.config) for output in names for inputs in {(name,) for name in names if name != output} | {tuple(name for name in names if name != output)} if inputs]
        for rules in RULES.values():
            rows = sample_rows(card, rules, limit=40)
            kept, _ = label_tasks(tasks, rows, card, rules)
            table, rejected = make_examples(kept, rows, card, rules)
            wanted, lost = reference_examples(kept, rows, card, rules)
            assert list(zip(table['id'].to_pylist(), table['input'].to_pylist(), table['output'].to_pylist())) == wanted, card.name
            assert Counter({(drop.id, drop.rule.replace('missing_label', 'missing_output')): drop.count for drop in rejected}) == lost, card.name
            found, made = found + 1, made + len(table)
        numbers = {(split.name, number): row for split in used_splits(card, PUBLISHED) for number, row in zip(range(40), (row for _, row in read_rows(card, split.name)))}
        for row in rows.to_pylist(): assert {name: value for name, value in row.items() if not name.startswith('__')} == numbers[row['__split'], row['__row']], card.name
    assert found >= 20 and made > 10_000
