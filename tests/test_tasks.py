"""Prompts, answers and the rules for tasks."""
import json
import re
import tarfile
from dataclasses import fields, replace

import pytest
import yaml
from hypothesis import given, settings, strategies as st

from instructgen.dynosaur.checks import TASK_CHECKS, Proposal, first_fault, plain_words, source_facts
from instructgen.dynosaur.fields import CHECKS, RULES, Metadata, metadata
from instructgen.dynosaur.prompts import SYSTEM_LINE, PromptText, build_prompt, choose_demonstrations, fill, label_sentence, load_prompts, read_prompt
from instructgen.dynosaur.tasks import (KEYS, balanced_objects, check_demonstrations, check_tasks, collect_tasks, drop_duplicates, judge_answers, parse_answer, parse_tasks,
                                        propose_tasks, read_value, source_requests)
from instructgen.llm import BudgetReached, Completion, Sampling
from instructgen.records import Field, Rejected, SourceCard, Task
from instructgen.sources import Policy, find_sources
from real_cards import cards_with_info

SETTINGS = settings(max_examples=300, deadline=None)
ENGLISH, GERMAN = load_prompts(), load_prompts('de')
TASKS = [{'instruction': f'Answer {word} question, don\'t say "{{no}}".', 'input_fields': ['question', 'passage'], 'output_field': ['answer']} for word in ('one', 'a second', 'the third')]
GOOD = json.dumps({'tasks': TASKS})
CARD = SourceCard('museum', 'visits', 'Questions of visitors to a museum, with answers.', (Field('question'), Field('passage'), Field('answer'), Field('mood', 'ClassLabel', ('cross', 'glad')), Field('id', 'int64')), rows=(
    {'question': 'When does the museum open?', 'passage': 'The house opens at nine, on Sundays at ten.', 'answer': 'at nine', 'mood': 'glad', 'id': 17},
    {'question': 'Where do I leave my coat?', 'passage': 'Coats and bags stay in the hall behind the till.', 'answer': 'in the hall', 'mood': 'cross', 'id': 4}))

words = ENGLISH.frame.split('\n') + ['{dataset}', '{fields}', '"tasks": []', "{'task_name': 'x', 'selected_data': []}", '["a"]', '\\', '"', "'''", '\r\n', '\u2028', '\x85', '```', '\ud800', '\0']
texts = st.text(max_size=40) | st.lists(st.sampled_from(words) | st.text(max_size=5), max_size=5).map('\n'.join)


@st.composite
def any_metadata(draw, typed=True):
    names = tuple(draw(st.lists(texts, min_size=2, max_size=4, unique=True)))
    rows = tuple(draw(st.lists(st.dictionaries(st.sampled_from(names), texts | st.lists(texts, max_size=3), max_size=4), max_size=2)))
    some = st.dictionaries(st.sampled_from(names), st.lists(texts, max_size=3), max_size=3)
    types, labels = (draw(st.dictionaries(st.sampled_from(names), texts, max_size=4)), draw(some)) if typed else ({}, {})
    counts = draw(st.dictionaries(st.sampled_from(names), st.integers(0, 10**6), max_size=2)) if typed else {}
    return Metadata(draw(texts), draw(texts), rows, names, types, labels, counts)


@SETTINGS
@given(any_metadata(), st.sampled_from((ENGLISH, GERMAN)), st.integers())
def test_read_prompt_is_the_inverse_of_build_prompt(meta, prompts, seed):
    assert read_prompt(build_prompt(meta, prompts, seed=seed)) == meta


@SETTINGS
@given(any_metadata(typed=False), st.sampled_from((ENGLISH, GERMAN)))
def test_published_prompts_are_read_back_too(meta, prompts):
    assert read_prompt(build_prompt(meta, prompts, RULES['published'])) == meta


@SETTINGS
@given(st.none() | texts | st.lists(st.dictionaries(st.sampled_from(('role', 'content')), texts | st.just(f' {SYSTEM_LINE}') | st.none()), max_size=3))
def test_read_prompt_knows_only_its_own(messages):
    assert read_prompt(messages) is None
    assert read_prompt([{'role': 'system', 'content': SYSTEM_LINE}, {'role': 'user', 'content': 'Dataset:\n{"tasks": []}\n[1]'}]) is None


def test_a_prompt_shows_what_its_setting_may_show():
    aware, unaware = (build_prompt(metadata(CARD, setting), ENGLISH)[1]['content'] for setting in ('aware', 'unaware'))
    assert CARD.summary in aware and CARD.summary not in unaware
    demonstrations = [item.metadata.summary for item in ENGLISH.demonstrations]
    assert sum(text in aware for text in demonstrations) == 2 and not any(text in unaware for text in demonstrations)
    assert '"labels": ["cross", "glad"]' in unaware and '"id"' not in aware and 'up to 3 different' in aware
    assert '{' not in fill(ENGLISH.goal_aware, max_tasks=3)


def test_demonstrations_are_seeded_by_source():
    metas = [Metadata(f'source {i}', 'x') for i in range(60)]
    chosen = [tuple(item.metadata.name for item in choose_demonstrations(meta, ENGLISH)) for meta in metas]
    assert {name for pair in chosen for name in pair} == {item.metadata.name for item in ENGLISH.demonstrations} and all(first != second for first, second in chosen)
    assert chosen != [tuple(item.metadata.name for item in choose_demonstrations(meta, ENGLISH, seed=1)) for meta in metas]
    assert {tuple(item.metadata.name for item in choose_demonstrations(replace(meta, summary=summary), ENGLISH, RULES['published'])) for meta in metas for summary in ('x', '')} == {
        ('riverside_walks', 'shop_letters'), ('village_kitchen', 'notice_board-claims')}


def text_of(language):
    from importlib.resources import files
    return yaml.safe_load((files('instructgen.dynosaur') / f'{language}.yaml').read_text(encoding='utf-8'))


@pytest.mark.parametrize('language', ['en', 'de'])
def test_text_files_are_complete_and_their_demonstrations_sound(language):
    data = text_of(language)
    assert set(data) == {item.name for item in fields(PromptText)} and data['language'] == language
    check_demonstrations(load_prompts(language))
    assert len(data['demonstrations']) == 4
    instructions = [task['instruction'] for item in data['demonstrations'] for task in item['tasks']]
    assert len(set(map(plain_words, instructions))) == len(instructions) >= 8


@pytest.mark.parametrize('name', [item.name for item in fields(PromptText)])
def test_a_text_file_without_a_key_or_with_a_wrong_one_says_so(name, tmp_path):
    data = text_of('en')
    path = tmp_path / 'mine.yaml'
    path.write_text(yaml.safe_dump({key: value for key, value in data.items() if key != name}))
    with pytest.raises(ValueError, match=f'mine.yaml lacks {name}'): load_prompts(path)
    path.write_text(yaml.safe_dump(data | {name: 7}))
    with pytest.raises(ValueError, match=f'mine.yaml: {name} is 7'): load_prompts(path)
    path.write_text(yaml.safe_dump(data | {f'{name}_x': 'x'}))
    with pytest.raises(ValueError, match=f'unknown {name}_x'): load_prompts(path)


@pytest.mark.parametrize('change, message', [
    (lambda data: data['demonstrations'][1].pop('rows'), 'demonstration 2.*rows'), (lambda data: data['demonstrations'][0]['rows'][0].update(passage=3), 'demonstration 1.*3 is not text'),
    (lambda data: data.update(demonstrations=data['demonstrations'][:1]), '1 demonstrations, want 2'), (lambda data: data.update(frame=data['frame'].replace('{goal}', '')), 'frame lacks {goal}'),
    (lambda data: data['field_formats'].update(paper='The {field}.'), 'field_formats lacks {value}'), (lambda data: data['choice_formats'].pop('code'), 'choice_formats lacks code'),
    (lambda data: data['answer_form'].pop('python'), 'answer_form lacks python'), (lambda data: data.update(of_words=['of', True]), 'of_words holds something that is not text'), (lambda data: data['demonstrations'][0]['tasks'][0].pop('output_field'), 'demonstration 1')])
def test_faults_in_a_text_file_are_named(change, message, tmp_path):
    data = text_of('en')
    change(data)
    path = tmp_path / 'mine.yaml'
    path.write_text(yaml.safe_dump(data))
    with pytest.raises(ValueError, match=message): load_prompts(path)


def test_label_sentences_keep_labels_apart():
    assert label_sentence(('no', 'yes'), ENGLISH) == 'Answers must be one of no, yes.'
    assert label_sentence(('Paris, Texas', 'Rome'), ENGLISH) == 'Answers must be one of "Paris, Texas", Rome.'
    assert label_sentence(('ja',), GERMAN) == 'Die Antwort muss eine von diesen sein: ja.'
    assert label_sentence(('{labels}', '{label}'), ENGLISH) == 'Answers must be one of {labels}, {label}.'


# --- answers

hostile = st.one_of(
    st.text(max_size=300), st.binary(max_size=200).map(lambda data: data.decode('utf-8', 'surrogateescape')), st.binary(max_size=200).map(lambda data: data.decode('latin-1')),
    st.lists(st.sampled_from([*'{}[]()":,\'\\`#-*0e', '"instruction"', 'instruction', '```json\n', '```', '\n', ' ', '\0', '\ud800', 'None', 'true', '<think>', '</think>', GOOD[:60], GOOD[60:]]), max_size=60).map(''.join),
    st.tuples(st.sampled_from(['{', '[', '(', '{"a":', '{"instruction": ', '-', '1+', '"', "'", '```', '\\', '{instruction "', ' ']), st.integers(1, 60_000)).map(lambda pair: pair[0] * pair[1]))
json_values = st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | texts, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
    st.sampled_from([alias for names in KEYS.values() for alias in names] + ['tasks', 'Task 1', 'why']) | texts, inner, max_size=4), max_leaves=25)


def check_form(tasks):
    for task in tasks:
        assert list(task) == ['instruction', 'input_fields', 'output_field'] and isinstance(task['instruction'], str)
        assert all(isinstance(name, str) for key in ('input_fields', 'output_field') for name in task[key])


@settings(max_examples=1500, deadline=None)
@given(hostile, st.sampled_from(('ladder', 'literal')))
def test_no_answer_raises(answer, parser):
    tasks, rung = parse_answer(answer, parser)
    check_form(tasks)
    assert bool(tasks) == (rung in ('json', 'fenced', 'literal', 'repaired', 'salvaged'))


@settings(max_examples=500, deadline=None)
@given(json_values, st.sampled_from((json.dumps, repr, lambda value: f'```\n{json.dumps(value)}\n```')))
def test_no_value_raises_and_kept_tasks_keep_the_rules(value, form):
    tasks = parse_tasks(form(value))
    check_form(tasks)
    check_kept(tasks)


@settings(max_examples=500, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(GOOD)), st.integers(0, 4), st.sampled_from(['', '"', "'", '{', '}', '[', ']', ',', '\\', '\n', 'instruction', '```'])), max_size=8))
def test_damaged_answers_do_not_raise(damages):
    answer = GOOD
    for place, length, put in damages: answer = answer[:place] + put + answer[place + length:]
    check_form(parse_tasks(answer))


def check_kept(tasks, card=CARD):
    kept, rejected = check_tasks(tasks, card)
    assert len(kept) + len(rejected) == len(tasks) and len(kept) <= RULES['careful'].max_tasks
    facts = source_facts(card)
    for task in kept:
        assert first_fault(Proposal(task.instruction, task.inputs, (task.output,)), facts) == ('', '')
        assert task.output not in task.inputs and set(task.inputs) | {task.output} <= set(facts.fields)
        json.dumps(task.instruction).encode()
        task.instruction.encode('utf-8')
    for item in rejected: item.text.encode('utf-8'); assert item.rule in CHECKS


names = st.sampled_from(('question', 'passage', 'answer', 'mood', 'id', 'Question', 'nothing', '')) | texts
proposals = st.lists(st.fixed_dictionaries({'instruction': texts | st.sampled_from([task['instruction'] for task in TASKS] + ['Decide how the visitor feels, cross or glad.', 'Given the answer, answer.', 'Coats and bags stay in the hall.']),
                                            'input_fields': st.lists(names, max_size=3), 'output_field': st.lists(names, max_size=2)}), max_size=6)


@SETTINGS
@given(proposals)
def test_every_kept_task_satisfies_all_rules(tasks): check_kept(tasks)


def test_an_answer_cut_at_any_place_gives_its_complete_tasks_only():
    for answer in (GOOD, json.dumps({'tasks': TASKS}, indent=2), json.dumps(TASKS), '```json\n' + GOOD, repr({f'task{i}': task for i, task in enumerate(TASKS)})):
        ends = [end for end, sign in enumerate(answer, 1) if sign == '}' and "{no" not in answer[max(0, end - 5):end]]
        for cut in range(len(answer) + 1):
            tasks, rung = parse_answer(answer[:cut])
            complete = min(sum(end <= cut for end in ends), 3)
            assert tasks == TASKS[:complete], (answer[:cut], rung)
            if 0 < complete and cut < ends[2]: assert rung == 'salvaged'


@pytest.mark.parametrize('answer, rung, count', [
    (GOOD, 'json', 3), ('\ufeff' + GOOD, 'repaired', 3), (json.dumps(TASKS), 'json', 3), (json.dumps(TASKS[0]), 'json', 1), (repr({'task1': TASKS[0], 'task2': TASKS[1]}), 'literal', 2),
    (f'Here:\n```json\n{GOOD}\n```\nEnjoy.', 'fenced', 3), (f"```python\n{TASKS[:2]!r}\n```", 'literal', 2), (f'<think>Let me see {{}}</think>\n{GOOD}', 'json', 3), (GOOD + ' Enjoy!', 'repaired', 3),
    (GOOD.replace('}, {', '} {'), 'repaired', 3), ('\n'.join(map(json.dumps, TASKS)), 'repaired', 3), (GOOD.replace('"input_fields"', 'input_fields'), 'repaired', 3), (GOOD.replace('}]}', '},]}'), 'literal', 3),
    (GOOD[:-2], 'salvaged', 3), (GOOD[:-10], 'salvaged', 2), (GOOD[:50], 'truncated', 0), ('I am sorry, but no.', 'prose', 0), ('', 'empty', 0), ('<think>Hm.</think>', 'empty', 0), ('{"tasks": []}', 'no_tasks', 0),
    ('[]', 'no_tasks', 0), ('{"a": 1}', 'parse_fail', 0), ('{"question": "?"} {x}', 'parse_fail', 0), ('null', 'prose', 0)])
def test_rungs(answer, rung, count):
    tasks, found = parse_answer(answer)
    assert (found, len(tasks)) == (rung, count)
    if count: assert tasks == TASKS[:count]


def test_the_authors_reader_takes_all_or_nothing():
    assert parse_answer(repr({'task1': TASKS[0]}), 'literal') == (TASKS[:1], 'literal')
    assert [parse_answer(answer, 'literal')[1] for answer in (GOOD[:-1], f'```\n{GOOD}\n```', '')] == ['parse_fail', 'parse_fail', 'empty']


def test_keys_go_by_many_names():
    odd = {'Instruction': 'Say it.', 'Input Fields': 'question', 'output-fields': ['answer', 3, {'name': 'mood'}], 'difficulty': 'low', 'tasks': []}
    assert collect_tasks(odd) == [{'instruction': 'Say it.', 'input_fields': ['question'], 'output_field': ['answer', 'mood']}]
    assert len(collect_tasks([odd] * 1000)) == 100
    assert balanced_objects('{"instruction": "a"}' * 200)[0] == ['{"instruction": "a"}'] * 50


def test_nothing_is_evaluated(tmp_path):
    mark = tmp_path / 'mark'
    for answer in (f'open({str(mark)!r}, "w")', f'{{"instruction": open({str(mark)!r}, "w"), "input_fields": [], "output_field": []}}'):
        parse_tasks(answer), parse_answer(answer, 'literal')
    assert not mark.exists() and read_value('1+1', ('literal',)) == (None, '')


# --- rules

def faults(instruction, inputs='question passage', output='answer', card=CARD, rules=RULES['careful'], prompts=None):
    proposed = [{'instruction': instruction, 'input_fields': inputs.split(), 'output_field': output.split()}]
    return [item.rule for item in check_tasks(proposed, card, rules, prompts=prompts)[1]]


@pytest.mark.parametrize('instruction, inputs, output, rule', [
    ('Answer the question about the passage.', 'question passage', 'answer', ''),
    ('Decide whether the visitor is cross or glad.', 'question', 'mood', ''),
    ('Given a passage and an answer, write the question.', 'passage answer', 'question', ''),
    ('…?!', 'question', 'answer', 'empty_instruction'), ('Answer it shortly.', '', 'answer', 'empty_inputs'), ('Answer it shortly.', 'question', '', 'empty_output'),
    ('Answer and say the mood.', 'question', 'answer mood', 'multi_output'), ('Answer the question.', 'question', 'reply', 'unknown_field'), ('Guess the number.', 'question', 'id', 'unknown_field'),
    ('Repeat the question.', 'question passage', 'question', 'overlap'), ('Answer it.', 'question', 'answer', 'too_short'), ('Answer ' * 101, 'question', 'answer', 'too_long'),
    ('Answer this: {question}', 'question', 'answer', 'placeholder'), ('Answer <question> shortly please.', 'question', 'answer', 'placeholder'),
    (ENGLISH.demonstrations[1].tasks[0]['instruction'].upper() + ' ', 'question', 'mood', 'demo_copy'),
    ('Produce the output field from the input fields.', 'question', 'answer', 'speaks_of_data'),
    ('Say where visitors leave coats and bags behind the till: coats and bags stay in the hall.', 'question', 'answer', 'leaks_value'),
    ('Tell the visitor when does the museum open.', 'question passage', 'answer', 'leaks_value'),
    ('Given the question and the passage, answer.', 'question', 'answer', 'names_unused'), ('Fill the correct_answer for the question.', 'question', 'answer', 'names_unused'),
    ('Answer `question` with the help of the `passage`.', 'question', 'answer', 'names_unused'),
    ('Given the answer and the passage, write it down.', 'question passage', 'answer', 'output_given'),
    ('Identify the question.', 'question passage', 'answer', 'asks_for_input'),
    ('Say the answer that stands in the text.', 'passage', 'answer', 'misses_input'),
    ('Write a question that fits the mood.', 'mood', 'question', 'one_to_many')])
def test_rules_one_by_one(instruction, inputs, output, rule):
    assert faults(instruction, inputs, output) == ([rule] if rule else [])


@pytest.mark.parametrize('name, kind, rule', [('url', 'string', 'metadata_target'), ('file_name', 'string', 'metadata_target'), ('size', 'int64', 'metadata_target'), ('timestamp', 'string', 'metadata_target'),
                                              ('fold', 'int64', 'metadata_target'), ('repo_name', 'string', 'metadata_target'), ('license', 'string', 'metadata_target'), ('published', 'timestamp[s]', 'metadata_target'),
                                              ('page', 'int64', 'metadata_target'), ('page_title', 'string', ''), ('line', 'string', ''), ('stars', 'int64', ''), ('similarity_score', 'float64', ''), ('tags', 'list<string>', 'nonscalar_output'),
                                              ('downvoted_answer', 'string', 'unwanted_target'), ('rejected', 'string', 'unwanted_target')])
def test_targets(name, kind, rule):
    card = SourceCard('web', fields=(Field('text'), Field(name, kind)))
    assert faults('Work it out from the text.', 'text', name, card) == ([rule] if rule else [])


def test_sides_of_a_comparison_belong_together():
    pairs = SourceCard('pairs', fields=(Field('sentence1'), Field('sentence2'), Field('label', 'ClassLabel', ('no', 'yes'))))
    assert faults('Say if both mean the same.', 'sentence1 sentence2', 'label', pairs) == []
    assert faults('Say if it means the same.', 'sentence1', 'label', pairs) == ['misses_input']
    assert faults('Say it in other words.', 'sentence1', 'sentence2', pairs) == ['one_to_many']
    assert faults('Say it in other words if the label is yes, else say something else.', 'sentence1 label', 'sentence2', pairs) == []
    copa = SourceCard('copa', fields=(Field('premise'), Field('choice1'), Field('choice2'), Field('label', 'int64')))
    assert faults('Choose the first or the second.', 'premise choice1', 'label', copa) == ['misses_input']
    judged = SourceCard('judged', fields=(Field('context'), Field('candidate'), Field('is_correct', 'bool')))
    assert faults('Say if it is right.', 'context', 'is_correct', judged) == ['misses_input'] and faults('Say if it is right.', 'context candidate', 'is_correct', judged) == []


def test_label_names_and_general_words_are_no_leak():
    news = SourceCard('news', summary='Headlines about the weather in the north.', rows=tuple({'headline': f'{word} falls on the town', 'topic': topic, 'language': 'a dialect of English'}
                      for word, topic in zip(('Rain', 'Snow', 'Night', 'Silence'), ('local weather', 'distant weather', 'local weather', 'daily life and leisure'))))
    assert faults('Sort the headline about the weather in the north into local weather or distant weather.', 'headline', 'topic', news) == []
    assert faults('Name the topic of this headline in a dialect of English.', 'headline', 'topic', news) == []  # all rows say so
    assert faults('Name the topic when snow falls on the town.', 'headline', 'topic', news) == ['leaks_value']


def test_instructions_of_other_languages():
    assert faults('Beantworte die Frage anhand des Textes.', prompts=GERMAN) == []
    assert faults('Gegeben sind eine Frage und ein Text. Bestimme das Ausgabefeld.', prompts=GERMAN) == ['speaks_of_data']
    chinese = replace(ENGLISH, language='zh')
    assert faults('根据文章回答问题。', prompts=chinese) == [] and faults('回答', prompts=chinese) == ['too_short']
    assert faults('根据文章回答问题。') == ['other_language'] == faults('Beantworte die Frage des Besuchers mit einem Satz aus dem Text.')
    assert faults('Translate the German answer into English.') == []


def test_other_tasks_of_the_answer():
    same = {'instruction': 'Answer the question about it.', 'input_fields': ['question', 'passage'], 'output_field': ['answer']}
    others = [same | {'instruction': text} for text in ('Reply to the visitor.', 'Say what the visitor wants to know.', 'Help the visitor out.', 'Tell the visitor.')]
    assert [item.rule for item in check_tasks([same, same | {'instruction': 'ANSWER the question about it!'}, *others], CARD)[1]] == ['repeated', 'too_many', 'too_many']


def test_names_are_repaired_where_that_is_clear():
    task = {'instruction': 'Answer the question about it.', 'input_fields': ['Question, PASSAGE'], 'output_field': ['answer ']}
    kept, rejected = check_tasks([task], CARD)
    assert [(item.inputs, item.output, item.source, item.config) for item in kept] == [(('question', 'passage'), 'answer', 'museum', 'visits')]
    assert [item.rule for item in check_tasks([task], CARD, RULES['published'])[1]] == ['unknown_field']


def test_the_published_rules_keep_what_the_authors_code_keeps():
    published = RULES['published']
    kept, rejected = check_tasks([{'instruction': 'x', 'input_fields': ['question'], 'output_field': ['answer', 'id']}], CARD, published)
    assert kept == [Task('x', ('question',), 'answer', 'museum', 'visits')] and not rejected  # two outputs, the first is used; any field of the row
    assert faults('x', 'question', 'nothing', rules=published) == ['unknown_field'] and faults('x', 'question', '', rules=published) == ['empty_output']
    with pytest.raises(ValueError, match="no rule 'nice'"): faults('Answer it, please.', rules=replace(RULES['careful'], checks=('nice',)))


def test_every_rule_is_known(): assert list(TASK_CHECKS) == list(CHECKS)


# --- duplicates and asking

def test_duplicates_are_dropped_within_inputs_and_output():
    first = Task('Answer the question of the visitor with the help of the passage below.', ('question', 'passage'), 'answer', 'museum', setting='aware')
    near = replace(first, instruction=first.instruction.replace('below', 'given'), inputs=('passage', 'question'))
    other, far = replace(first, output='mood'), replace(first, instruction='Look it up in the passage and reply.')
    kept, rejected = drop_duplicates([first, replace(first, setting='unaware'), near, other, far, near])
    assert kept == [first, other, far] and [item.rule for item in rejected] == ['duplicate_exact', 'duplicate_near', 'duplicate_exact']
    assert len(drop_duplicates([first, replace(first, setting='unaware'), near], RULES['published'])[0]) == 2


class Scripted:
    "Answers by request id, in a given order; fails where it is told to."
    name = fingerprint = 'scripted'

    def __init__(self, answers, order=lambda items: items, stop=None): self.answers, self.order, self.stop = answers, order, stop

    def generate(self, requests, sampling):
        for number, request in enumerate(self.order(list(requests))):
            if number == self.stop: raise BudgetReached('no more')
            text = self.answers(request)
            yield text if isinstance(text, Completion) else Completion(request.id, text)

    def close(self): pass


def sources(count): return [replace(CARD, source=f'museum {i}', summary=CARD.summary if i % 2 else '') for i in range(count)]


def test_results_do_not_depend_on_the_order_of_completions():
    def answer(request): return GOOD if request.id.endswith(':aware') else json.dumps({'tasks': [*TASKS[1:], {'instruction': 'Say how the visitor feels.', 'input_fields': ['question'], 'output_field': 'mood'}]})
    runs = [list(propose_tasks(sources(7), Scripted(answer, order))) for order in (lambda items: items, lambda items: items[::-1], lambda items: items[::2] + items[1::2])]
    assert all(sorted(run, key=lambda item: item.card.name) == runs[0] for run in runs)
    assert [len(item.tasks) for item in runs[0]] == [3, 4] * 3 + [3]
    assert [item.rule for item in runs[0][0].rejected] == ['no_summary'] and runs[0][1].counts['unaware']['duplicate_exact'] == 2


@SETTINGS
@given(st.lists(hostile | st.sampled_from((GOOD, GOOD[:-30], '{"tasks": []}')), min_size=4, max_size=4), st.sampled_from(('stop', 'length')))
def test_the_funnel_adds_up(answers, finish):
    replies = iter(answers)
    for item in propose_tasks(sources(3), Scripted(lambda request: Completion(request.id, next(replies), finish))):
        assert kept_count(item.counts, item.rejected) == len(item.tasks)


def kept_count(counts, rejected):
    for setting, count in counts.items():
        assert count.get('proposed', 0) == count.get('valid', 0) + sum(count.get(rule, 0) for rule in CHECKS)
        assert count.get('valid', 0) == sum(count.get(code, 0) for code in ('kept', 'duplicate_exact', 'duplicate_near'))
    dropped = [item for item in rejected if item.kind == 'task']
    assert len(dropped) == sum(count.get(code, 0) for count in counts.values() for code in (*CHECKS, 'duplicate_exact', 'duplicate_near'))
    return sum(count.get('kept', 0) for count in counts.values())


def test_failed_calls_and_cut_answers_are_named():
    def answer(request): return Completion(request.id, '', 'error', 'timeout: no answer within 5 s') if request.id.endswith(':aware') else Completion(request.id, GOOD[:-10], 'length')
    found, = propose_tasks(sources(2)[1:], Scripted(answer))
    assert [(item.kind, item.id, item.rule) for item in found.rejected] == [('call', 'museum 1-visits:aware', 'timeout'), ('answer', 'museum 1-visits:unaware', 'salvaged')]
    assert len(found.tasks) == 2 and found.counts['aware'] == {'calls': 1, 'timeout': 1}
    wordy, = propose_tasks(sources(1), Scripted(lambda request: Completion(request.id, 'Let me think about', 'length')))
    assert wordy.rejected[-1].rule == 'truncated'


def test_the_budget_lets_finished_sources_through():
    found = []
    with pytest.raises(BudgetReached):
        for item in propose_tasks(sources(6), Scripted(lambda request: GOOD, stop=4)): found.append(item.card.name)
    assert found == ['museum 0-visits', 'museum 1-visits', 'museum 2-visits']


def test_sources_without_a_request_and_twice_the_same_name():
    found = list(propose_tasks([SourceCard('one', fields=(Field('text'),)), CARD, CARD], Scripted(lambda request: GOOD)))
    assert sorted((item.card.name, [dropped.rule for dropped in item.rejected], len(item.tasks)) for item in found) == [
        ('museum-visits', [], 3), ('museum-visits', ['duplicate_source'], 0), ('one', ['one_field'], 0)] or [item.rejected for item in found]


def test_requests_are_made_as_they_are_wanted():
    read = []
    def cards():
        for card in sources(100): read.append(card.name); yield card
    class Lazy(Scripted):
        def generate(self, requests, sampling):
            assert sampling == Sampling(max_tokens=512)
            for request in requests: yield Completion(request.id, GOOD)
    next(propose_tasks(cards(), Lazy(None)))
    assert len(read) < 4


# --- real sources

@pytest.fixture(scope='session')
def real_cards(shared_data, tmp_path_factory):
    "Sources with rows, and the real cards of any licence and language, which mostly have none."
    folder = cards_with_info(shared_data, tmp_path_factory.mktemp('cards') / 'cards')
    policy = Policy(denied_licenses=(), languages=(), license='own')
    return [card for spec in (folder, shared_data / 'hub') for card in find_sources(str(spec), policy) if isinstance(card, SourceCard)]


@pytest.mark.parametrize('preset', ['careful', 'published'])
def test_prompts_of_real_sources_are_built_and_read_back(real_cards, preset):
    lengths = []
    for card in real_cards:
        requests, rejected = source_requests(card, RULES[preset])
        assert requests or [item.rule for item in rejected if item.kind == 'source'] == ['one_field']
        for request in requests:
            assert read_prompt(request.messages) == metadata(card, request.id.rpartition(':')[2], RULES[preset])
            lengths.append(len(request.messages[1]['content'].encode('utf-8')))
    assert len(lengths) > (500 if preset == 'careful' else 150) and (preset == 'published' or max(lengths) < 40_000)


def test_tasks_that_people_wrote_pass(real_cards, shared_data):
    """P3's templates are tasks written by hand: what is rendered before ||| are the inputs, what comes after it is the output.
    Rules about fields should drop none of those with one output that is no list."""
    class Loader(yaml.SafeLoader): pass
    Loader.add_multi_constructor('!', lambda loader, suffix, node: loader.construct_mapping(node, deep=True) if isinstance(node, yaml.MappingNode) else None)
    known, count, wrong = {card.source: source_facts(card) for card in real_cards}, 0, []
    with tarfile.open(shared_data / 'promptsource' / 'templates.tar.xz') as archive:
        for member in archive:
            facts = known.get(member.name.split('/')[-2]) if member.name.endswith('templates.yaml') else None
            for template in yaml.load(archive.extractfile(member).read(), Loader)['templates'].values() if facts else ():
                parts = [' '.join(re.findall(r'{[{%].*?[%}]}', part, re.DOTALL)) for part in template['jinja'].split('|||')]
                used = [[name for name in facts.fields if re.search(rf"(?<![\w.]){re.escape(name.split('.')[0])}(?!\w)", part)] for part in parts]
                outputs = [name for name in used[-1] if name not in used[0] and facts.types[name] != 'list']
                if len(parts) != 2 or not used[0] or len(outputs) != 1: continue
                text = re.sub(r'{{.*?}}|{%.*?%}', ' ', template['jinja'].split('|||')[0], flags=re.DOTALL)
                count += 1
                fault = first_fault(Proposal(text, tuple(used[0]), (outputs[0],)), replace(facts, rules=replace(RULES['careful'], checks=FIELD_RULES)))
                if fault[0]: wrong.append((member.name, *fault, used[0], outputs, text.strip()[:80]))
    assert count > 250 and len(wrong) < .01 * count, wrong


FIELD_RULES = ('output_given', 'asks_for_input', 'metadata_target', 'unwanted_target', 'misses_input', 'one_to_many', 'overlap')


def test_fields_that_the_prompt_left_out_may_not_be_used():
    from instructgen.dynosaur.fields import metadata
    names = [f'column {number} of the survey' for number in range(200)]
    row = {name: 'some words that people wrote here ' * 4 for name in names}
    card = SourceCard('wide', fields=tuple(Field(name) for name in names), rows=(row, row))
    shown = metadata(card, 'unaware', RULES['careful']).fields
    assert 2 <= len(shown) < 200
    proposed = [{'instruction': 'Summarise what the person answered in the first column.', 'input_fields': [shown[0]], 'output_field': [names[-1]]}]
    assert [drop.rule for drop in check_tasks(proposed, card)[1]] == ['unknown_field']
