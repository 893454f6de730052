"""Stages of a training set: draws that depend on nothing but texts and seed, disjoint questions, versions, holdouts of generated data, and bad input."""
import json
import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instructgen.records import Example
from instructgen.stages import (CLEAN_RULES, Stage, draw_examples, draw_tasks, example_faults, holdout_benchmark, make_stages, new_tasks, question_of, reviewed_ids, split_tasks, stages_table,
                                version_folders)
from instructgen.store import open_run
from instructgen.versions import write_version


def rows(task: str, number: int, **more) -> list[Example]:
    return [Example(f'{task}-{n}', f'Do {task}.', f'thing {n} of {task}', f'{task} answer {n % 3}', task_id=task, **more) for n in range(number)]


# ---- draws

@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 8), max_size=30), st.integers(1, 6), st.integers(0, 6), st.integers(0, 3), st.randoms(use_true_random=False))
def test_a_draw_depends_on_texts_and_seed_alone(inputs, training, holdout, seed, chance):
    "Questions may stand several times, with other answers, in any order."
    given_rows = [Example(f'r{place}', 'Ask.', f'thing {number}', str(place % 3), task_id='t') for place, number in enumerate(inputs)]
    trained, held = draw_examples(given_rows, training, holdout, seed)
    shuffled = chance.sample(given_rows, len(given_rows))
    assert draw_examples(shuffled, training, holdout, seed) == (trained, held)
    questions = [question_of(row) for row in (*trained, *held)]
    assert len(set(questions)) == len(questions) and len(questions) == min(len(set(inputs)), training + len(held)) and len(held) == min(len(set(inputs)), holdout)
    drawn, dropped = draw_tasks(shuffled, training, holdout, seed)
    assert ('t' in drawn) == (len(set(inputs)) >= training + holdout) and sum(row['examples'] for row in dropped) == (0 if drawn else len(inputs))


def test_another_seed_draws_others_and_other_tasks_change_nothing():
    one = draw_tasks([*rows('a', 20), *rows('b', 20)], 5, 5, seed=0)[0]
    assert draw_tasks(rows('a', 20), 5, 5, seed=0)[0]['a'] == one['a'] != draw_tasks(rows('a', 20), 5, 5, seed=1)[0]['a']


def test_only_usable_examples_are_held_out_and_the_rest_is_trained_on():
    usable = {f'a-{n}' for n in range(0, 20, 4)}
    trained, held = draw_examples(rows('a', 20), 15, 5, usable=usable)
    assert {row.id for row in held} == usable and len(trained) == 15 and not {row.id for row in trained} & usable
    drawn, dropped = draw_tasks([*rows('a', 20), *rows('b', 20), *rows('c', 3)], 10, 5, usable=usable)
    assert list(drawn) == ['a'] and dropped == [{'rule': 'few_usable', 'task': 'b', 'examples': 20}, {'rule': 'few_examples', 'task': 'c', 'examples': 3}]


def test_tasks_without_an_id_are_told_by_their_instruction():
    given_rows = [Example(f'{text}{n}', text, str(n), 'x') for text in ('Add.', 'Count.') for n in range(4)]
    assert len(draw_tasks(given_rows, 2, 2)[0]) == 2


# ---- stages

@given(st.sets(st.text(min_size=1, max_size=3), min_size=3, max_size=25), st.integers(1, 3), st.integers(0, 4), st.integers(0, 5), st.randoms(use_true_random=False))
def test_a_split_deals_every_task_once(tasks, stages, most, seed, chance):
    parts = split_tasks(tasks, stages, seed, most)
    dealt = [task for part in parts for task in part]
    assert len(parts) == stages and len(set(dealt)) == len(dealt) and set(dealt) <= tasks
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert len(dealt) == (min(len(tasks), most * stages) if most else len(tasks))
    assert split_tasks(chance.sample(sorted(tasks), len(tasks)), stages, seed, most) == parts


def test_every_task_of_versions_has_one_stage():
    found = new_tasks({'v1': ['a', 'b'], 'v2': ['b', 'c'], 'v3': ['d', 'a', 'e']})
    assert found == {'v1': ('a', 'b'), 'v2': ('c',), 'v3': ('d', 'e')}
    assert new_tasks({'v1': ['a', 'b'], 'v2': ['a'], 'v3': ['a', 'c']}) == {'v1': ('a', 'b'), 'v2': (), 'v3': ('c',)}
    with pytest.raises(ValueError, match='stage of version v1 is empty: it has no task$'): new_tasks({'v1': [], 'v2': ['a']})


def test_an_empty_stage_is_named():
    drawn, _ = draw_tasks(rows('a', 10), 4, 4)
    with pytest.raises(ValueError, match='v2 is empty: none of its 2 tasks has enough examples'): make_stages({'v1': ['a'], 'v2': ['b', 'c']}, drawn)
    with pytest.raises(ValueError, match='stage 4 of 5 is empty: there are only 3 tasks'): split_tasks('abc', 5)
    for stages, most in ((0, 0), (2, -1)):
        with pytest.raises(ValueError, match='want at least 1 and 0 for all'): split_tasks('abc', stages, most=most)


def test_a_stage_checks_itself():
    one = tuple(rows('a', 2))
    for training, holdout, told in (({}, {}, 'it has no tasks'), ({'a': one}, {'b': one}, 'other tasks'), ({'a': one}, {'a': one[:1]}, 'trained on and held out')):
        with pytest.raises(ValueError, match=told): Stage(1, 'stage 1', training, holdout)
    with pytest.raises(ValueError, match='number 0'): Stage(0, 'stage', {'a': one}, {'a': ()})


def test_the_table_counts_what_is_there():
    drawn, _ = draw_tasks([row for task in 'abcd' for row in rows(task, 9, source=f'source {task}')], 5, 3)
    table = stages_table(make_stages({'stage 1': 'ab', 'stage 2': 'cd'}, drawn))
    assert table[['tasks', 'examples to train on', 'held out']].values.tolist() == [[2, 10, 6]] * 2 and list(table['sources']) == ['source a, source b', 'source c, source d']


# ---- versions

def version(folder: Path, making: dict) -> Path:
    with open_run('dynosaur_data', {'seed': 0}, out=folder) as run:
        run.write_text('tasks.jsonl', '')
        write_version(run, 'dynosaur', making, None, {}, {})
        run.finish({})
    return folder


def test_versions_of_other_rules_or_edited_by_hand_are_refused(tmp_path):
    one, two, other = (version(tmp_path/name, {'rules': rules}) for name, rules in (('v1', 'careful'), ('v2', 'careful'), ('v3', 'published')))
    assert list(version_folders([one, two])) == ['v1', 'v2']
    with pytest.raises(ValueError, match='made with rules careful, this run asks for rules published'): version_folders([one, other])
    (two/'tasks.jsonl').write_text('{}\n')
    with pytest.raises(ValueError, match='tasks.jsonl'): version_folders([one, two])


def test_the_newest_version_knows_what_it_grew_from(tmp_path):
    for number in (1, 2, 3):
        with open_run('dynosaur_data', {'seed': 0}, out=tmp_path/f'v{number}', previous=tmp_path/f'v{number - 1}' if number > 1 else '') as run: run.finish({})
    assert list(version_folders([tmp_path/'v3'])) == ['v1', 'v2', 'v3'] and list(version_folders([tmp_path/'v2', tmp_path/'v3'])) == ['v2', 'v3']
    about = json.loads((tmp_path/'v1'/'run.json').read_text())
    (tmp_path/'v1'/'run.json').write_text(json.dumps({**about, 'parent': str(tmp_path/'v3'), 'previous_manifest': 'x'}))
    with pytest.raises(ValueError, match='grown from itself'): version_folders([tmp_path/'v3'])
    (tmp_path/'v1'/'run.json').write_text(json.dumps({**about, 'parent': str(tmp_path/'v0'), 'previous_manifest': 'x'}))
    with pytest.raises(FileNotFoundError, match='v0, which is not there'): version_folders([tmp_path/'v3'])


def test_what_a_selection_was_drawn_from_is_no_version_of_it(tmp_path):
    with open_run('dynosaur_data', {'seed': 0}, out=tmp_path/'v1') as run: run.finish({})
    with open_run('dynosaur_data', {'seed': 1}, out=tmp_path/'drawn', parent=tmp_path/'v1') as run: run.finish({})
    assert list(version_folders([tmp_path/'drawn'])) == ['drawn']


def test_folders_of_one_name_are_told_apart(tmp_path):
    for place in ('a', 'b'):
        with open_run('dynosaur_data', {'seed': 0}, out=tmp_path/place/'run') as run: run.finish({})
    assert list(version_folders([tmp_path/'a'/'run', tmp_path/'b'/'run'])) == ['run (1)', 'run (2)']


# ---- what may be held out

def test_each_clean_rule_finds_its_fault():
    listed = 'Say the colour. Answers must be one of red, dark blue.'
    found = example_faults([Example('fine', listed, 'sea', 'dark blue', task_id='c'), Example('outside_labels', listed, 'grass', 'green', task_id='c'), Example('empty_answer', listed, 'air', ' - ', task_id='c'),
                            Example('echo', 'Say it.', 'The sea', 'the sea!', task_id='e'), Example('other', 'Say it.', 'a hill', 'hill', task_id='e'), Example('cut', 'Say it.', 'word ' * 400, 'hill', task_id='e'),
                            *(Example(f'several_answers{n}', 'Say it.', 'a lake', text, task_id='e') for n, text in enumerate(('lake', 'pond'))),
                            *(Example(f'same_answer{n}', 'Judge it.', str(n), 'yes', task_id='s') for n in range(3))])
    assert set(found) == {'outside_labels', 'empty_answer', 'echo', 'cut', 'several_answers0', 'several_answers1', 'same_answer0', 'same_answer1', 'same_answer2'}
    assert all(name.startswith(rule) for name, rule in found.items()) and set(found.values()) == set(CLEAN_RULES)


def test_faults_do_not_depend_on_the_order():
    given_rows = [Example(f'{n}', 'Say it.', f'thing {n % 4}', f'answer {n % 5}', task_id='t') for n in range(12)]
    assert example_faults(random.Random(0).sample(given_rows, 12)) == example_faults(given_rows)


@pytest.mark.parametrize(('name', 'text', 'told'), [('said.csv', 'id,verdict\na,wrong\n', 'none of 1'), ('said.csv', 'name,what\na,b\n', 'no columns id and verdict'), ('said.jsonl', '{"id": ', 'neither CSV'), ('said.jsonl', '[1]\n', 'no columns')])
def test_damaged_verdicts_are_named(tmp_path, name, text, told):
    (tmp_path/name).write_text(text)
    with pytest.raises(ValueError, match=told): reviewed_ids(tmp_path/name)


def test_verdicts_count_if_everybody_agrees(tmp_path):
    (tmp_path/'said.jsonl').write_text(''.join(json.dumps({'id': name, 'verdict': said}) + '\n' for name, said in (('a', 'Correct'), ('a', 'correct '), ('b', 'correct'), ('b', 'wrong input'), ('c', 'wrong output'))))
    assert reviewed_ids(tmp_path/'said.jsonl') == {'a'}


def test_a_holdout_asks_what_was_not_trained_on():
    drawn, _ = draw_tasks([row for task in 'abc' for row in rows(task, 12)], 6, 4)
    stage, = make_stages({'stage 1': 'abc'}, drawn)
    asked = holdout_benchmark(stage, 'reviewed', 7)
    assert asked.name == 'reviewed holdout of stage 1' and asked.max_tokens == 7 and Counter(item.task for item in asked.items) == {'a': 4, 'b': 4, 'c': 4}
    assert not {f'{item.instruction} {item.input}' for item in asked.items} & {question_of(row) for row in stage.rows}
    assert all(item.references[0] in {row.output for row in stage.holdout[item.task]} for item in asked.items)
    with pytest.raises(ValueError, match='nothing is held out'): holdout_benchmark(make_stages({'stage 1': 'abc'}, draw_tasks([row for task in 'abc' for row in rows(task, 12)], 6, 0)[0])[0])
