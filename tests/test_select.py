"""Selections invent nothing, add up, and do not depend on order; prompts are read back exactly; merged requests lose nothing."""
import gzip
import json
import os
import random
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instructgen.dynosaur.categories import (CATEGORIES, KEYWORDS, TEST_CATEGORIES, TEST_KEYWORDS, TEXT_KEYWORDS, TaskView, ask_all, build_classify_prompt, classify_tasks,
                                             guess_category, read_categories, read_category, read_classify_prompt, view_task)
from instructgen.dynosaur.fusion import FUSE_EXAMPLES, build_fuse_prompt, check_request, fuse_examples, fuse_text, read_fuse_prompt, read_request
from instructgen.dynosaur.select import PROFILES, Profile, answer, draw_key, is_programming, mean_words, select, source_family
from instructgen.llm import BudgetReached, Completion, Request, Sampling, open_llm
from instructgen.records import EXAMPLE_SCHEMA, Task


class Writer:
    "An LLM that gives what a function says, None being an error, and that may run out of budget."
    name = fingerprint = 'writer'

    def __init__(self, write=answer, budget=10**9): self.write, self.budget, self.asked = write, budget, []

    def generate(self, requests, sampling):
        for request in requests:
            if len(self.asked) == self.budget: raise BudgetReached(f'the budget of {self.budget} calls is reached')
            self.asked.append(request)
            text = self.write(request.messages)
            yield Completion(request.id, text or '', **({} if text is not None else {'finish': 'error', 'error': 'timeout: no answer'}))

    def close(self): pass


INSTRUCTIONS = ['Answer the question.', 'Write a title for the text.', 'Summarise the article.', 'Decide whether the hypothesis follows from the premise.', 'Classify the sentiment of the review.', 'Write Python code for the task.', 'Translate the sentence into French.']


def make_task(number: int, source: str = '', labels: bool | None = None) -> Task:
    labelled = number % 7 in (3, 4) if labels is None else labels
    return Task(f'{INSTRUCTIONS[number % 7]} ({number})', ('text',), 'out', source or f'owner{number % 5}/data{number}', labels=('yes', 'no') if labelled else (), suffix='Answers must be one of yes, no.' if labelled else '')


def make_table(tasks, sizes, long: bool = False) -> pa.Table:
    "Examples in parts with dictionaries of their own, as a dataset of several files has them."
    parts = []
    for task, size in zip(tasks, sizes):
        rows = [{'id': f'{task.id}-train-{row}', 'instruction': task.text, 'input': f'text {row}' if row % 2 else 'a long text ' * 9, 'output': 'word ' * (80 if long and hash_free(task.id) else 3), 'context': '', 'task_id': task.id,
                 'task_type': '', 'source': task.source, 'config': 'default', 'split': 'train', 'row': row, 'revision': '', 'license': 'mit', 'url': '', 'generator': 'gpt'} for row in range(size)]
        if rows: parts.append(pa.Table.from_pylist(rows, EXAMPLE_SCHEMA))
    return pa.concat_tables(parts) if parts else EXAMPLE_SCHEMA.empty_table()


def hash_free(text: str) -> bool: return int(text, 16) % 2 == 0


TASKS = [make_task(number) for number in range(210)]
TABLE = make_table(TASKS, [number % 13 * 12 for number in range(210)], long=True)
SMALL = Profile('small', tasks=30, classification=12, examples=20, family_cap=15, exclude=TEST_CATEGORIES, no_programming=True)
OWN = {**PROFILES, 'small': SMALL}


@pytest.mark.parametrize('name', OWN)
def test_nothing_is_invented_and_counts_add_up(name):
    profile = OWN[name]
    chosen = select(TABLE, TASKS, profile, Writer())
    before, after = ({row['id']: row for row in table.to_pylist()} for table in (TABLE, chosen.table))
    assert len(after) == len(chosen.table) and set(after) <= set(before)
    for key, row in after.items():
        if row['input'] or not before[key]['input']: assert row == before[key]
        else: assert profile.fuse_below and before[key]['input'] in row['instruction'] and {**row, 'instruction': '', 'input': '', 'generator': ''} == {**before[key], 'instruction': '', 'input': '', 'generator': ''}
    assert chosen.table.schema == EXAMPLE_SCHEMA and set(chosen.tasks) <= set(TASKS)
    assert [row['id'] for row in chosen.table.to_pylist()] == [key for key in before if key in after]  # in the order of the original
    assert {row['task_id'] for row in chosen.table.to_pylist()} == {task.id for task in chosen.tasks}
    dropped, at = Counter(drop.rule for drop in chosen.rejected if drop.kind == 'task'), (len(TASKS), len(TABLE))
    for record in chosen.counts:
        assert (record['tasks_before'], record['examples_before']) == at
        at = record['tasks_after'], record['examples_after']
        assert record['tasks_before'] - record['tasks_after'] == dropped[record['rule']]
    assert at == (len(chosen.tasks), len(chosen.table))
    assert sum(drop.count for drop in chosen.rejected if drop.rule == 'example_limit') == chosen.counts[-1]['examples_before'] - len(chosen.table)


def test_small_profile_keeps_to_its_numbers():
    chosen = select(TABLE, TASKS, SMALL, Writer())
    assert len(chosen.tasks) == 30 and sum(bool(task.labels) for task in chosen.tasks) == 12
    assert max(Counter(source_family(task.source) for task in chosen.tasks).values()) <= 15
    assert max(Counter(chosen.table['task_id'].to_pylist()).values()) == 20
    assert not {chosen.categories[task.id] for task in chosen.tasks} & set(TEST_CATEGORIES)
    assert not any('Python' in task.instruction for task in chosen.tasks) and chosen.notes == ()
    assert {drop.rule for drop in chosen.rejected} == {'no_examples', 'programming', 'test_category', 'family_cap', 'task_limit', 'example_limit'}


@pytest.mark.parametrize('name', OWN)
def test_order_does_not_matter_and_seed_does(name):
    rng, order = random.Random(1), list(range(len(TABLE)))
    rng.shuffle(order)
    first, second = select(TABLE, TASKS, OWN[name], Writer()), select(TABLE.take(order), rng.sample(TASKS, len(TASKS)), OWN[name], Writer())
    assert sorted(map(str, first.table.to_pylist())) == sorted(map(str, second.table.to_pylist()))
    assert first.rejected == second.rejected and first.counts == second.counts and set(first.tasks) == set(second.tasks)
    other = select(TABLE, TASKS, OWN[name], Writer(), seed=1)
    assert (set(other.table['id'].to_pylist()) == set(first.table['id'].to_pylist())) == (max(Counter(first.table['task_id'].to_pylist()).values()) < (OWN[name].examples or 10**9))


def test_hash_seed_does_not_matter():
    program = ('from tests.test_select import *\ns = select(TABLE, TASKS, SMALL, Writer())\nprint(s.table["id"].to_pylist(), s.rejected)')
    outputs = [subprocess.run([sys.executable, '-c', program], check=True, capture_output=True, cwd=os.path.dirname(os.path.dirname(__file__)), env={**os.environ, 'PYTHONHASHSEED': seed}).stdout for seed in '12']
    assert outputs[0] == outputs[1] and len(outputs[0]) > 1000


def test_a_grown_dataset_keeps_most_of_the_selection():
    more = [make_task(number, f'new/{number}') for number in range(1000, 1021)]
    profile = replace(SMALL, family_cap=0)
    first = select(TABLE, TASKS, profile, Writer())
    second = select(pa.concat_tables([TABLE, make_table(more, [30] * 21)]), TASKS + more, profile, Writer())
    assert len(set(first.tasks) & set(second.tasks)) > 22  # a tenth more tasks replace about a tenth


def test_too_few_of_one_kind_are_not_filled_up_from_the_other():
    tasks = [make_task(number, labels=False) for number in (0, 2, 6, 7, 9, 13)] + [make_task(4)]
    chosen = select(make_table(tasks, [3] * 7), tasks, Profile('mine', tasks=6, classification=3), Writer())
    assert (len(chosen.tasks), sum(bool(task.labels) for task in chosen.tasks)) == (4, 1)
    assert chosen.notes == ('6 tasks were asked for, 4 are there', '3 of them should choose among labels, 1 does')


def test_longform_is_about_the_average():
    tasks = [make_task(0), make_task(2)]
    table = pa.table({'task_id': [tasks[0].id] * 2 + [tasks[1].id] * 2, 'output': ['w ' * 99, 'w ', 'w ' * 99, 'w ' * 2]})
    assert mean_words(table) == {tasks[0].id: 50., tasks[1].id: 50.5}
    assert mean_words(pa.table({'task_id': ['a', 'a'], 'output': ['', '  ']})) == {'a': 0}


def test_profiles_without_a_model_ask_nothing():
    class Silent:
        def generate(self, requests, sampling): raise AssertionError('nothing should be asked')
    select(TABLE, TASKS, PROFILES['longform'], Silent())


def test_given_categories_are_not_asked_for():
    writer = Writer()
    chosen = select(TABLE, TASKS, SMALL, writer, categories={task.id: 'Title Generation' for task in TASKS})
    assert writer.asked == [] and chosen.tasks == () and len(chosen.table) == 0


def test_no_answer_is_no_category():
    chosen = select(TABLE, TASKS, SMALL, Writer(lambda messages: None if '(2)' in messages[-1]['content'] else 'no idea' if '(6)' in messages[-1]['content'] else answer(messages)))
    assert {drop.text.split('(')[1] for drop in chosen.rejected if drop.rule == 'no_category'} == {'2)', '6)'}


def test_a_budget_ends_the_selection_with_a_note():
    writer = Writer(budget=10)
    chosen = select(TABLE, TASKS, SMALL, writer)
    assert len(writer.asked) == 10 and sum(bool(category) for category in chosen.categories.values()) == 10
    assert chosen.notes[-1] == 'stopped early: the budget of 10 calls is reached' and len(chosen.tasks) <= 10
    merged = select(TABLE, TASKS, PROFILES['user'], Writer(budget=10))
    assert merged.merged == sum(row['input'] == '' for row in merged.table.to_pylist()) > 0
    assert {drop.rule for drop in merged.rejected if drop.kind == 'row'} >= {'budget'} and 'stopped early' in merged.notes[-1]


def test_rows_of_unknown_tasks_are_counted():
    chosen = select(TABLE, TASKS[100:], PROFILES['longform'], Writer())
    drop = next(drop for drop in chosen.rejected if drop.rule == 'unknown_task')
    assert drop.count == chosen.counts[0]['examples_before'] - chosen.counts[0]['examples_after'] > 0


@pytest.mark.parametrize('name', OWN)
def test_an_empty_dataset(name):
    chosen = select(EXAMPLE_SCHEMA.empty_table(), [], OWN[name], Writer())
    assert len(chosen.table) == 0 and chosen.tasks == () and chosen.rejected == ()


def test_profiles_are_checked():
    with pytest.raises(ValueError, match='none of the 76'): Profile('x', exclude=('Entailment',))
    with pytest.raises(ValueError, match='are to choose among labels'): Profile('x', tasks=3, classification=4)
    with pytest.raises(TypeError, match='want tuple'): Profile('x', exclude=['Translation'])
    assert (PROFILES['super_ni'].tasks, PROFILES['super_ni'].examples, PROFILES['super_ni'].family_cap, PROFILES['user'].family_cap) == (681, 100, 70, 70)


def test_draw_key_spreads():
    assert abs(sum(int(draw_key(0, str(number)), 16) < 2**63 for number in range(2000)) - 1000) < 100


# programming

@pytest.mark.parametrize('instruction, source', [('Write a Python function that solves the problem.', 'x'), ('Turn the prompt into working code.', 'mbpp'), ('Describe what it does.', 'owner/github-code'), ('Write the SQL query for the question.', 'spider'),
                                                 ('Explain the given code.', 'x'), ('Generate a docstring.', 'x')])
def test_programming_by_words(instruction, source): assert is_programming(Task(instruction, ('text',), 'out', source))


@pytest.mark.parametrize('task', [Task('Give the zip code of the city.', ('city',), 'zip_code', 'post'), Task('Name the TV program.', ('plot',), 'name', 'tv'), Task('Name the country.', ('country_code',), 'country', 'geo'),
                                  Task('Answer the question about the dress code.', ('question',), 'answer', 'etiquette'), Task('Read the passage.', ('passage',), 'out', 'snake-stories')])
def test_what_only_sounds_like_programming(task): assert not is_programming(task, ['A python; it slept.\nIt was long.', 'The class (of 1999) will return soon.'])


def test_programming_by_the_data():
    code = ['def add(a, b):\n    return a + b', 'import os\nfor name in os.listdir():\n    print(name)', '#include <stdio.h>\nint main() {\n  return 0;\n}', 'A sentence, for once; with a colon: and more.']
    task = Task('Complete the text.', ('start',), 'end', 'files')
    assert is_programming(task, code) and not is_programming(task, code[3:]) and not is_programming(task)


# categories

texts = st.text(max_size=60)
views = st.builds(TaskView, texts, st.tuples(texts, texts), texts, st.lists(texts, max_size=4).map(tuple), texts, texts)


@given(views)
def test_classify_prompt_is_read_back(view):
    messages = build_classify_prompt(view)
    assert read_classify_prompt(messages) == view and read_fuse_prompt(messages) is None
    assert all(name in messages[1]['content'].split('\n') for name in CATEGORIES)
    assert answer(messages) in CATEGORIES


@given(texts, texts)
def test_fuse_prompt_is_read_back(instruction, input):
    messages = build_fuse_prompt(instruction, input)
    assert read_fuse_prompt(messages) == (instruction, input) and read_classify_prompt(messages) is None


@given(st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(['role', 'content', 'x']), inner)))
def test_other_prompts_are_not_answered(messages): assert answer(messages) is None


def test_damaged_prompts_are_not_answered():
    for build in (build_classify_prompt(TaskView('x')), build_fuse_prompt('x', 'y')):
        for content in ('', '[]', '{}', '{"instruction": 3, "input": 4}', '{"instruction": {"a": 1}}', '{"instruction":'): assert answer([build[0], {'role': 'user', 'content': content}]) is None


@given(st.text())
def test_any_answer_is_a_category_or_none(text):
    assert read_category(text) in ('', *CATEGORIES)


def test_categories_are_found_in_talk():
    for name in CATEGORIES: assert read_category(f'Category: **{name.lower()}**.') == name
    assert read_category('Text to Code (not Code to Text)') == 'Text to Code' and read_category('subtext matching') == ''


GOLDEN = {
    ('Given two sentences, decide whether the second follows from the first. They are premise and hypothesis.', ('yes', 'no')): 'Textual Entailment',
    ('Choose the more plausible cause of the premise.', ('1', '2')): 'Cause Effect Classification',
    ('Write a sentence that could be the effect of the event.', ()): 'Cause Effect Classification',
    ('Find the antecedent of the pronoun.', ()): 'Coreference Resolution',
    ('Identify the dialogue act of the last utterance.', ('inform', 'question')): 'Dialogue Act Recognition',
    ('Decide whether the question can be answered from the passage.', ('yes', 'no')): 'Answerability Classification',
    ('Complete the analogy.', ()): 'Word Analogy',
    ('Find the words that appear in both sentences.', ()): 'Overlap Extraction',
    ('List the keywords of the abstract.', ()): 'Keyword Tagging',
    ('Suggest hashtags for the post.', ()): 'Keyword Tagging',
    ('Rewrite the question so that it can be understood without the conversation.', ()): 'Question Rewriting',
    ('Paraphrase the given question.', ()): 'Question Rewriting',
    ('Given the article, generate a headline.', ()): 'Title Generation',
    ('Write a subject line for the email.', ()): 'Title Generation',
    ('Given a table of a match, write a paragraph about it.', ()): 'Data to Text',
    ('Given a set of concepts, write a sentence that uses all of them.', ()): 'Data to Text',
    ('Correct the grammatical errors in the sentence.', ()): 'Grammar Error Correction',
    ('Write a hypothesis that contradicts the premise.', ()): 'Sentence Composition',
    ('Given a question, provide the corresponding top-rated answer.', ()): 'Question Answering',
    ('Generate a question about the passage.', ()): 'Question Generation',
    ('Translate the sentence into Hindi.', ()): 'Translation',
    ('Summarize the conversation.', ()): 'Summarization',
    ('Write an SQL query that answers the question.', ()): 'Text to Code',
    ('Write a wrong answer to the question.', ()): 'Wrong Candidate Generation',
    ('Classify the review.', ('positive', 'negative')): 'Sentiment Analysis',
    ('Classify the article by topic.', ('sports', 'world')): 'Text Categorization',
    ('Write the reply of the second speaker.', ()): 'Dialogue Generation',
    ('Xyzzy.', ()): 'Misc.'}


@pytest.mark.parametrize('text, labels', GOLDEN)
def test_keywords(text, labels): assert guess_category(TaskView(text, labels=labels)) == GOLDEN[text, labels]


def test_keyword_lines_are_well_formed():
    for line in TEST_KEYWORDS + KEYWORDS + TEXT_KEYWORDS:
        category, pattern = line.split(' : ')
        assert category in CATEGORIES and re.compile(pattern.lstrip('=+>'))


def test_keywords_on_real_definitions(shared_data):
    right = 0
    for path in sorted((shared_data/'eval'/'super_ni').glob('task*/dev.json.gz')):
        data = json.load(gzip.open(path))
        definition, category = (value if isinstance(value, str) else value[0] for value in (data['Definition'], data['Categories']))
        right += guess_category(TaskView(definition)) == category.replace('Basic ', '')
    assert right >= 12  # of 14


def test_classify_asks_once_a_task():
    writer = Writer()
    found, stopped = classify_tasks(TASKS[:9], writer, {TASKS[0].id: ('in', 'out')}, {TASKS[1].id: 'Misc.', 'other': 'Misc.'})
    assert stopped == '' and set(found) == {task.id for task in TASKS[:9]} and len(writer.asked) == 8 and found[TASKS[1].id] == 'Misc.'
    assert {request.purpose for request in writer.asked} == {'classify'} and read_classify_prompt(writer.asked[0].messages).example_output == 'out'
    assert read_classify_prompt(writer.asked[0].messages) == view_task(TASKS[0], 'in', 'out')


def test_ask_all_leaves_errors_out():
    assert ask_all(Writer(lambda messages: None if messages == 'a' else 'yes'), [Request('a', 'a'), Request('b', 'b')], Sampling()) == ({'b': 'yes'}, '')


def test_categories_by_hand(tmp_path):
    path = tmp_path/'categories.csv'
    path.write_text('\ufefftask_id,note,category\nabc,"x, y", textual entailment \n', encoding='utf-8')
    assert read_categories(path) == {'abc': 'Textual Entailment'}
    path.write_text('id,category\nabc,Translation\n')
    with pytest.raises(ValueError, match="no column 'task_id'"): read_categories(path)
    path.write_text('task_id,category\nabc,Translation\nabd\n')
    with pytest.raises(ValueError, match='categories.csv:3: None is none of the 76'): read_categories(path)


# merging

def test_demonstrations_pass_the_check():
    for instruction, input, request in FUSE_EXAMPLES:
        labels = ('yes', 'no') if 'yes, no' in instruction else ()
        assert check_request(request, instruction, input, '', labels, ('animal', 'habitat')) == ''
        assert request in build_fuse_prompt('x', 'y')[1]['content']


@settings(deadline=None)
@given(st.sampled_from(INSTRUCTIONS) | st.text(max_size=80), st.text(min_size=1, max_size=49).filter(str.strip))
def test_merging_by_rule_never_loses_the_input(instruction, input):
    request = fuse_text(instruction, input)
    assert input.strip() in request and check_request(request, instruction, input) in ('', 'fuse_empty')


@pytest.mark.parametrize('instruction, input, want', [
    ('Given a question, provide the answer.', 'Who?', 'Provide the answer for this question: Who?'),
    ('Classify the following tweet. Answers must be one of sad, glad.', 'hm', 'Classify this tweet: hm. Answers must be one of sad, glad.'),
    ('Given the name and the year, write a title.', 'Emma', 'Write a title for this name and the year: Emma'),
    ('Answer.', ' x ', 'Answer: x'),
    ('Is it true? Answer yes or no.', 'Snow is red!', 'Is it true: Snow is red! Answer yes or no.')])
def test_merging_by_rule(instruction, input, want): assert fuse_text(instruction, input) == want


@pytest.mark.parametrize('request_text, rule', [
    ('Who wrote the novel Emma?', ''), ('WHO WROTE EMMA?', ''), ('Who wrote it?', 'fuse_lost_input'), ('Who wrote Emmanuel?', 'fuse_lost_input'), ('', 'fuse_empty'), ('…', 'fuse_empty'),
    ('Did Jane Austen write Emma?', 'fuse_answers'), ('Emma ' * 99, 'fuse_too_long')])
def test_checks_of_requests(request_text, rule): assert check_request(request_text, 'Name the author of the novel.', 'Emma', 'Jane Austen') == rule


def test_numbers_labels_and_field_names():
    assert check_request('Add 3 and 4.', 'Add the numbers.', '3, 4, 4') == 'fuse_lost_input'
    assert check_request('Is it good: fine', 'Judge. Answers must be one of good, bad.', 'fine', 'good', ('good', 'bad')) == 'fuse_lost_labels'
    assert check_request('Is fine good or bad?', 'Judge. Answers must be one of good, bad.', 'fine', 'good', ('good', 'bad')) == ''
    assert check_request('Does a camel live in the rainforest?', 'Decide.', "The animal is 'camel'. The habitat is 'rainforest'.", '', (), ('animal', 'habitat')) == ''
    assert check_request('Is it the one?', 'Decide.', 'the', '') == ''              # the input itself is there
    assert check_request('Decide now.', 'Decide.', 'the') == 'fuse_lost_input'      # nothing but small words, and not there


@pytest.mark.parametrize('text', ['Who wrote Emma?', '"Who wrote Emma?"', 'Request: Who wrote Emma?', '```\nWho wrote Emma?\n```', '{"request": "Who wrote Emma?"}', ' New instruction: “Who wrote Emma?” '])
def test_requests_are_unwrapped(text): assert read_request(text) == 'Who wrote Emma?'


def test_quotes_inside_stay():
    assert read_request('"Emma" or "Persuasion"') == '"Emma" or "Persuasion"' and read_request('{not json') == '{not json'


def test_refused_requests_leave_the_example_and_are_counted():
    tasks = [make_task(0), make_task(4)]
    table = make_table(tasks, [10, 10])

    def write(messages):
        instruction, input = read_fuse_prompt(messages)
        return {'1': None, '3': 'Something else.', '5': ''}.get(input[-1], fuse_text(instruction, input))
    writer = Writer(write)
    merged, dropped, count, stopped = fuse_examples(table, tasks, writer)
    assert len(writer.asked) == 10 and count == 4 and stopped == ''                             # inputs 1, 3, 5, 7, 9 of two tasks
    assert Counter({drop.rule: drop.count for drop in dropped if drop.id == tasks[0].id}) == {'fuse_error': 1, 'fuse_lost_input': 1, 'fuse_empty': 1}
    assert [row['input'] == '' for row in merged.to_pylist()] == [row in (7, 9) for row in range(10)] * 2
    assert merged['generator'].to_pylist()[7:9] == ['writer', 'gpt'] and merged['id'].equals(table['id']) and merged['output'].equals(table['output'])


def test_equal_inputs_are_asked_about_once():
    task = make_task(0)
    table = make_table([task], [2]).take([1, 1, 1])
    writer = Writer()
    assert fuse_examples(table, [task], writer)[2] == 3 and len(writer.asked) == 1


def test_the_seam_knows_both_prompts():
    with open_llm('rules') as llm:
        requests = [Request(build_classify_prompt(TaskView('Translate it.')), 'a'), Request(build_fuse_prompt('Name the author.', 'Emma'), 'b')]
        assert {completion.id: completion.text for completion in llm.generate(requests, Sampling())} == {'a': 'Translation', 'b': 'Name the author: Emma'}
