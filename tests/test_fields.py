"""Fields and metadata: which fields a prompt shows, and what of them."""
from dataclasses import fields, replace

import pytest
from hypothesis import given, settings, strategies as st

from instructgen.dynosaur.fields import (ANSWER_LISTS, CHECKS, RULES, Metadata, Rules, as_text, choose_rows, cut_text, field_type, fit_limit, get_value, holds_alternatives,
                                         index_reason, metadata, name_words, open_fields, usable_fields)
from instructgen.records import Field, Rejected, SourceCard
from instructgen.sources import Policy, find_sources

SETTINGS = settings(max_examples=200, deadline=None)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30) | st.binary(max_size=5)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3), max_leaves=8)
names = st.text(min_size=1, max_size=12) | st.sampled_from(('id', 'text', 'label', 'answers', 'answers.text', 'Idx', 'evidence'))
cards = st.builds(lambda rows, declared: SourceCard('any', summary='A summary.', fields=tuple(declared), rows=tuple(rows)),
                  st.lists(st.dictionaries(names, values, max_size=5), max_size=6),
                  st.lists(st.builds(Field, names, st.sampled_from(('string', 'int64', 'ClassLabel', 'list<string>', 'struct<a: string>', 'image', '')), st.sampled_from(((), ('no', 'yes')))), max_size=4))


def usable_names(card, rules=RULES['careful']): return [item.name for item in usable_fields(card, rules)[0]]


def test_published_rules_are_those_of_the_authors_code():
    rules = RULES['published']
    assert (rules.max_labels, rules.label_window, rules.label_chars, rules.max_listed, rules.unlisted_labels) == (10, 100, 15, 0, 'keep')
    assert (rules.balance, rules.max_share_binary, rules.max_share_many) == ('count', .7, .5)
    assert (rules.max_input_chars, rules.max_output_chars, rules.long_output, rules.missing_label, rules.empty_output) == (2000, 2000, 'cut', 'last', 'keep')
    assert (rules.max_tokens, rules.rows_per_split, rules.shuffle, rules.name_lists, rules.input_format) == (256, 100, False, False, 'code')
    assert 'multi_output' not in rules.checks and 'multi_output' in CHECKS  # the paper lists the rule, the code lacks it


def test_rules_check_their_types():
    for item in fields(Rules):
        with pytest.raises(TypeError, match=item.name): Rules(**{item.name: None})


@pytest.mark.parametrize('name', ['evidence', 'candidates', 'individual', 'width', 'video', 'valid', 'holiday', 'keywords', 'key_points', 'monkey', 'notes', 'number_words', 'president', 'liquid'])
def test_names_that_contain_id_or_key_survive(name):
    card = SourceCard('s', rows=({name: 'a wet street', 'text': 'It rained.'}, {name: 'a dry street', 'text': 'It shone.'}))
    assert name in usable_names(card)


@pytest.mark.parametrize('name', ['id', 'Idx', 'idx', 'Dialogue_ID', 'conversationId', 'document_id', 'video-id', 'tweetID', 'user2_id', 'UUID', 'id_str', 'worker_ids'])
def test_names_that_end_in_an_index_word_go(name):
    assert index_reason(name, 'text', ['a 1', 'b 2']) == 'index_name'


@pytest.mark.parametrize('values, gone', [
    (['21645374', '16418930'], True), (['5ee393b7c9e77c0008ccc7ec_2', '5ed50882c9e77c000848f56d_4'], True), (['HumanEval/0', 'HumanEval/1', 'HumanEval/2'], True),
    ([0, 1, 2], True), ([5, 6, 7, 8, 9], True), (['f81d4fae-7dec-11d0-a765-00a0c91e6bf6', 'f81d4fae-7dec-11d0-a765-00a0c91e6bf7'], True),
    ([0, 1], False), ([0, 1, 0, 1], False), ([1990, 1991, 1992, 1993, 1994], False), ([3, 7, 12], False), (['good', 'bad'], False), ([0.5, 0.7, 0.9], False),
    (['Chapter 1', 'Chapter 2', 'Chapter 3'], False), ([], False), ([1], False), (['deadbeef', 'cafebabe'], False)])
def test_index_by_value(values, gone):
    assert bool(index_reason('page', field_type(Field('page', ''), values), values)) == gone


def test_labels_and_booleans_are_never_an_index_by_value():
    assert index_reason('grade', 'label', ['1', '2', '3', '4', '5']) == ''
    assert index_reason('no_answer', 'boolean', [True, False]) == ''
    assert index_reason('answerKey', 'category', ['A', 'B', 'C', 'D'] * 3) == ''


def test_one_way_to_a_value():
    row = {'answers': {'text': ['Ada', 'Ada Byron'], 'answer_start': [1, 1]}, 'entities': {'text': ['Ada', 'Bob']}, 'one': ['x'], 'none': [None, ''], 'turns': [{'a': 1}, {'a': 2}, 'odd']}
    assert get_value(row, 'answers.text') == 'Ada'           # several right answers: the first
    assert get_value(row, 'entities.text') == ['Ada', 'Bob']  # two entities are not one answer
    assert (get_value(row, 'one'), get_value(row, 'none'), get_value(row, 'turns.a'), get_value(row, 'gone'), get_value(row, 'one.x')) == ('x', None, [1, 2], None, None)


@pytest.mark.parametrize('name', [*ANSWER_LISTS, 'Answer', 'goldAnswers', 'Reference-Answers'])
def test_the_first_of_several_right_answers_is_text_in_the_prompt(name):
    answers = (['w nj', 'west new jersey'], ['Ada', 'Ada Byron', 'the countess'])
    card = SourceCard('tweets', fields=(Field('Question'), Field(name, 'list<string>'), Field('qid')), rows=tuple({'Question': f'Which one, {i}?', name: given, 'qid': f'{i:032x}'} for i, given in enumerate(answers)))
    meta = metadata(card, 'unaware')
    assert meta.types == {'Question': 'text', name: 'text'} and {row[name] for row in meta.rows} == {'w nj', 'Ada'}
    assert metadata(replace(card, rows=()), 'unaware').types[name] == 'text'            # declared only
    assert metadata(replace(card, fields=()), 'unaware').types[name] == 'text'          # undeclared


@pytest.mark.parametrize('name', ['choices', 'keywords', 'options', 'tags', 'candidate_answers', 'answer_choices', 'my answers', 'answers2', 'summary', 'target', 'labels', 'data.answers'])
def test_other_lists_stay_lists(name):
    card = SourceCard('s', fields=(Field('text'), Field(name, 'list<string>')), rows=({'text': 'a b', name: ['x', 'y']}, {'text': 'c d', name: ['z', 'x', 'y']}))
    assert metadata(card, 'unaware').types == metadata(replace(card, rows=()), 'unaware').types == {'text': 'text', name: 'list'}


@pytest.mark.parametrize('name, other', [('answers', 'questions'), ('answers', 'correct_answer_id'), ('answers', 'label'), ('answer', 'options'), ('answers', 'answerKey'), ('answers', 'gold_idx'),
                                         ('references', 'authors'), ('references', 'abstract'), ('answers.text', 'questions')])
def test_another_field_says_that_a_list_holds_something_else(name, other):
    "Candidates with a key (QuAIL, ReClor), answers to several questions (CoQA), what a paper cites."
    outer, _, part = name.partition('.')
    row = {'text': 'a b', outer: {part: ['x', 'y']} if part else ['x', 'y']}
    assert get_value(row, name) == 'x' and get_value({**row, other: 1}, name) == ['x', 'y']
    assert not holds_alternatives(name, {**row, other: 1})
    if part: return
    assert usable_fields(SourceCard('s', fields=(Field('text'), Field(name, 'list<string>'), Field(other, 'int64'))))[0][1].dtype == 'list'


def test_only_texts_are_answers():
    assert get_value({'answers': [1, 2]}, 'answers') == [1, 2] and get_value({'answers': ['a', 2]}, 'answers') == ['a', 2]
    assert get_value({'answers': [None, '', 'a', 'b']}, 'answers') == 'a' and get_value({'answers': ['', None]}, 'answers') is None
    coqa = SourceCard('coqa', fields=(Field('story'), Field('questions', 'list<string>'), Field('answers', 'struct<input_text: list<string>>')))
    assert {item.name: item.dtype for item in usable_fields(coqa)[0]} == {'story': 'text', 'questions': 'list', 'answers.input_text': 'list'}


@pytest.mark.parametrize('value, text', [(1., '1'), (-0., '-0'), (2.5, '2.5'), (1e15, '1e+15'), (1e-5, '0.00001'), (float('inf'), 'inf'), (float('nan'), None)])
def test_floats_read_as_arrow_writes_them(value, text): assert as_text(value) == text


def test_nested_fields_open_one_level():
    card = SourceCard('s', rows=tuple({'q': 'Why?', 'answers': {'text': ['So.'], 'answer_start': [3]}, 'meta': {'deep': {'er': 1}, 'genre': 'law'}, 'vector': [.1, .2]} for _ in range(3)))
    usable, dropped = usable_fields(card)
    assert [item.name for item in usable] == ['q', 'answers.text', 'meta.genre']
    assert dict(dropped) == {'answers.answer_start': 'position', 'meta.deep': 'nested', 'vector': 'numbers'}
    bare = SourceCard('s', fields=(Field('q', 'string'), Field('answers', 'struct<text: list<string>, answer_start: list<int32>>'), Field('turns', 'list<struct<who: string, vector: list<float>>>')))
    assert [(item.name, item.dtype) for item in usable_fields(bare)[0]] == [('q', 'text'), ('answers.text', 'text'), ('turns.who', 'list')]


def test_published_fields_follow_the_code():
    card = SourceCard('s', rows=({'evidence': 'x', 'Idx': 3, 'gap': None, 'flat': {'a': 'b'}, 'deep': {'a': {'b': 1}}, 'tags': ['a', 'b'], 'numbers': [1]},))
    assert usable_names(card, RULES['published']) == ['Idx', 'flat', 'tags']


def test_label_names_are_shown_and_cut_when_they_are_many():
    card = SourceCard('s', summary='x', fields=(Field('text'), Field('intent', 'ClassLabel', tuple(f'intent number {i}' for i in range(500)))), rows=({'text': 'a', 'intent': 'intent number 3'},))
    meta = metadata(card)
    assert meta.label_counts == {'intent': 500} and 10 < len(meta.labels['intent']) < 500
    assert metadata(replace(card, fields=(Field('text'), Field('intent', 'ClassLabel', ('a', 'b'))))).label_counts == {}
    assert metadata(card, 'aware', RULES['published']).labels == {}


def test_settings():
    card = SourceCard('s', fields=(Field('a'), Field('b')))
    assert metadata(card, 'unaware').fields == ('a', 'b')  # no rows, no summary
    assert metadata(card).rule == 'no_summary'
    assert metadata(SourceCard('s', fields=(Field('a'), Field('a_id')))).rule == 'one_field'
    with pytest.raises(ValueError, match="'aware' or 'unaware'"): metadata(card, 'both')


def test_wide_and_long_sources_stay_within_the_budget():
    wide = SourceCard('wide', rows=tuple({f'column {i}': f'{row} ' * 400 for i in range(30)} for row in 'ab'))
    meta = metadata(wide, 'unaware')
    assert len(meta.fields) == 30 and sum(len(value) for row in meta.rows for value in row.values()) <= RULES['careful'].max_metadata_chars
    huge = SourceCard('huge', rows=({f'column {i}': 'x y ' * 100 for i in range(5000)},))
    meta = metadata(huge, 'unaware')
    assert 2 < len(meta.fields) < 1000 and dict(meta.dropped)['column 4999'] == 'over_budget'
    assert len(metadata(SourceCard('cell', rows=({'a': 'x' * 10_000_000, 'b': 'y'},)), 'unaware').rows[0]['a']) == 1000


def test_full_rows_and_different_rows_come_first():
    rows = [{'a': '1', 'b': 'x'}, {'a': '2', 'b': 'x'}, {'a': '3'}, {'a': '4', 'b': 'y'}]
    assert choose_rows(rows, 3) == [rows[0], rows[3], rows[1]]


@SETTINGS
@given(cards, st.sampled_from(('careful', 'published')), st.sampled_from(('aware', 'unaware')))
def test_any_source_gives_metadata_or_a_reason(card, preset, setting):
    meta = metadata(card, setting, RULES[preset])
    assert meta == metadata(card, setting, RULES[preset])
    if isinstance(meta, Rejected): assert meta.rule in ('one_field', 'no_summary')
    else:
        assert isinstance(meta, Metadata) and len(meta.fields) >= 2
        assert all(name in meta.fields for row in meta.rows for name in row)
        assert not {name for name, _ in meta.dropped} & set(meta.fields)
        if preset == 'careful': assert all(value and isinstance(value, (str, list)) for row in meta.rows for value in row.values())


@SETTINGS
@given(cards)
def test_every_field_is_used_or_dropped_with_a_reason(card):
    usable, dropped = usable_fields(card)
    assert sorted([item.name for item in usable] + [name for name, _ in dropped]) == sorted(item.name for item in open_fields(card))
    assert all(reason for _, reason in dropped)


@SETTINGS
@given(st.text(max_size=200) | st.lists(st.text(min_size=1, max_size=60), min_size=1, max_size=9), st.integers(8, 100))
def test_cut_values_are_short_and_never_empty(value, limit):
    shown = cut_text(value, limit)
    if isinstance(value, str): assert len(shown) <= limit and (shown == value or shown.endswith('[…]'))
    else: assert shown and (shown == value or sum(map(len, shown)) <= limit + 40)


@SETTINGS
@given(st.lists(st.integers(0, 10_000), max_size=50), st.integers(2000, 20_000))
def test_the_limit_makes_values_fit(lengths, budget):
    assert sum(min(length, fit_limit(lengths, budget, 1000)) for length in lengths) <= max(budget, 40 * len(lengths))


@SETTINGS
@given(st.text(max_size=30))
def test_words_of_any_name(name):
    assert all(word == word.lower() and word for word in name_words(name))


@SETTINGS
@given(values)
def test_text_of_any_value_can_be_sent(value):
    text = as_text(value)
    assert text is None or (text and all(part.strip() == part and part.encode('utf-8') for part in (text if isinstance(text, list) else [text])))


def test_real_sources(shared_data):
    expected = {'boolq': {}, 'vitaminc': {'id': 'index_name'}, 'humaneval': {'task_id': 'index_name'}, 'pubmed_qa': {'pubid': 'index_value'}, 'qnli': {'id': 'index_name'},
                'contract_nli': {'document_id': 'index_name'}, 'policyqa': {'id': 'index_name', 'answers.answer_start': 'position'}, 'snli_sample': {}}
    found = {card.name: card for card in find_sources(str(shared_data / 'hub'), Policy()) if isinstance(card, SourceCard)}
    assert {name: dict(usable_fields(found[name])[1]) for name in expected} == expected
    assert 'evidence' in usable_names(found['vitaminc'])
