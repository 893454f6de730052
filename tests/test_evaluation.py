"""Predictions and scores: asked, killed, gone on with, refused; means, F1 and intervals against other libraries; real answers."""
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from llm_server import LLMServer
from sklearn.metrics import accuracy_score, f1_score

from instructgen.answer_sets import read_answers
from instructgen.benchmarks import Benchmark, Item, load_benchmark
from instructgen.evaluation import (FEWEST, chosen_options, compare, constant_predictions, draw_interval, f1_of, match_option, mean_of, measure,
                                    gap_interval, gap_record, gap_text, group_items, metric_names, over_parts, score, score_table)
from instructgen.intervals import bootstrap_interval, bootstrap_tasks, draw_weights, f1_interval, mean_interval, paired_bootstrap
from instructgen.llm import Budget, BudgetReached, Loglik, open_llm
from instructgen.metrics import METRICS
from instructgen.predictions import Prediction, ask_item, choose_form, predict, predictions_path, rank_options, read_predictions, write_prediction
from instructgen.prompts import FORMATS, prompt_ids
from instructgen.report import run_report
from instructgen.scores import read_scores, write_scores
from instructgen.scoring_tables import findings, gap_square, gap_table
from instructgen.starts import Start
from instructgen.tiny import make_tiny_model

ROOT = Path(__file__).parent.parent
OPTIONS = ('yes', 'no', 'maybe')


def choice(rows: int, templates: str = 'ab', seed: int = 0, **more) -> Benchmark:
    "Rows with three options under some templates."
    rng = random.Random(seed)
    golds = [rng.randrange(3) for _ in range(rows)]
    items = tuple(Item(f'{row}/{template}', f'Is claim {row} right? ({template})', options=OPTIONS, gold=golds[row], template=template, group=str(row)) for row in range(rows) for template in templates)
    return Benchmark('choice', items, ('accuracy', 'macro_f1', 'weighted_f1'), 'rank', **more)


def says(benchmark: Benchmark, places: list[int]) -> list[Prediction]:
    "Predictions that choose some places; -1 for none."
    return [Prediction(item.id, nats=tuple(-1. if number == place else -3. for number in range(len(item.options))), tokens=(1,) * len(item.options)) if place >= 0 else
            Prediction(item.id, error='too_long: the prompt') for item, place in zip(benchmark.items, places)]


def free(answers: list[list[str]], tasks: list[str] | None = None, metrics: tuple[str, ...] = ('exact_match',)) -> Benchmark:
    "Questions with free answers."
    return Benchmark('free', tuple(Item(str(number), f'Question {number}?', references=tuple(known), task=tasks[number] if tasks else '') for number, known in enumerate(answers)), metrics)


def found(rows: list, metric: str, level: str = 'all', part: str = '', subset: str = 'all'):
    "The one row."
    row, = [row for row in rows if (row.metric, row.level, row.part, row.subset) == (metric, level, part, subset)]
    return row


# ---------------------------------------------------------------- from what was said to an option

@pytest.mark.parametrize('text, options, place', [
    ('Yes.', ('no', 'yes'), 1), ('yes, because it is', ('no', 'yes'), 1), ('not given', ('no', 'not given'), 1), ('NOT GIVEN!', ('no', 'not given'), 1), ('nothing', ('no', 'yes'), -1),
    ('', ('no', 'yes'), -1), ('The answer is yes', ('no', 'yes'), -1), ('  no\n', ('no', 'yes'), 0), ('+', ('-', '+'), 1), ('-', ('-', '+'), 0), ('*', ('-', '+'), -1),
    ('C++', ('C', 'C++'), 1), ('c', ('C', 'C#'), -1), ('B cells', ('A', 'B', 'B cells'), 2), ('1', ('10', '1'), 1), ('10', ('1', '10'), 1)])
def test_matching(text, options, place): assert match_option(text, options) == place


@settings(deadline=None)
@given(st.lists(st.text(min_size=1, max_size=12).filter(str.strip), min_size=2, max_size=6, unique_by=str.strip), st.data())
def test_an_option_names_itself(options, data):
    options = [option.strip() for option in options]
    place = data.draw(st.integers(0, len(options) - 1))
    assert match_option(f' {options[place]}\n', options) == place


def test_sum_and_mean_over_tokens():
    items = (Item('1', 'Which?', options=('No', 'A long answer'), gold=1),)
    said = [Prediction('1', nats=(-3., -4.), tokens=(2, 5))]
    assert (chosen_options(items, said).tolist(), chosen_options(items, said, '_norm').tolist()) == ([0], [1])
    rows = score(Benchmark('one', items, ('accuracy',), 'rank'), said)
    assert [(row.metric, row.value) for row in rows] == [('accuracy', 0.), ('accuracy_norm', 1.)]
    with pytest.raises(ValueError, match='2 options and a prediction with 3 likelihoods'): chosen_options(items, [Prediction('1', nats=(-1., -2., -3.))])


# ---------------------------------------------------------------- equal to scikit-learn, and to intervals

@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=40))
def test_labels_are_scikit_learns(pairs):
    gold, said = map(list, zip(*pairs))
    benchmark = Benchmark('b', tuple(Item(str(n), 'Is it?', options=OPTIONS, gold=place) for n, place in enumerate(gold)), ('accuracy', 'macro_f1', 'weighted_f1'), 'rank')
    rows = score(benchmark, says(benchmark, said), draws=20)
    assert found(rows, 'accuracy').value == pytest.approx(accuracy_score(gold, said))
    for way in ('macro', 'weighted'): assert found(rows, f'{way}_f1').value == pytest.approx(f1_score(gold, said, average=way, zero_division=0))
    words = [Prediction(item.id, f'{OPTIONS[place]}.'.upper()) for item, place in zip(benchmark.items, said)]
    assert found(score(benchmark, words, draws=20), 'macro_f1_match').value == found(rows, 'macro_f1').value


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.sampled_from('abc'), st.sampled_from('abcxyz')), min_size=1, max_size=40))
def test_free_labels_are_scikit_learns_over_the_right_ones(pairs):
    gold, said = map(list, zip(*pairs))
    benchmark = free([[label] for label in gold], metrics=('accuracy', 'macro_f1', 'weighted_f1'))
    rows = score(benchmark, [Prediction(str(n), f' {label.upper()}!') for n, label in enumerate(said)], draws=20)
    assert found(rows, 'accuracy').value == pytest.approx(accuracy_score(gold, said))
    for way in ('macro', 'weighted'): assert found(rows, f'{way}_f1').value == pytest.approx(f1_score(gold, said, average=way, labels=sorted(set(gold)), zero_division=0))


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30), st.integers(0, 2**32))
def test_f1_of_a_draw_is_f1_of_the_drawn_items(pairs, seed):
    gold, said = map(np.array, zip(*pairs))
    weights = np.random.default_rng(seed).multinomial(len(gold), np.full(len(gold), 1 / len(gold)), size=3)
    for weighted in (False, True):
        values = f1_of(gold, said, np.arange(len(gold)), len(gold), weighted)(weights)
        for row, value in zip(weights, values):
            assert value == pytest.approx(f1_score(np.repeat(gold, row), np.repeat(said, row), average='weighted' if weighted else 'macro', zero_division=0))


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(-1, 2)), min_size=1, max_size=30))
def test_no_answer_only_takes_from_the_class_that_was_right(pairs):
    gold, said = map(np.array, zip(*pairs))
    value = f1_of(gold, said, np.zeros(len(gold), int), 1)(np.ones((1, 1)))[0]
    assert value == pytest.approx(f1_score(gold, np.where(said < 0, 9, said), labels=sorted({*gold, *said} - {-1}), average='macro', zero_division=0))


def test_intervals_agree_with_those_of_plain_lists():
    rng = np.random.default_rng(0)
    values, tasks = rng.random(600), [f'task{number}' for number in rng.integers(0, 30, 600)]
    by_task = {task: [value for value, one in zip(values, tasks) if one == task] for task in tasks}
    owner = np.unique(tasks, return_inverse=True)[1]
    over_tasks, over_items = draw_interval(mean_of(values, owner, 30), 30)[:2], draw_interval(mean_of(values, np.arange(600), 600), 600)[:2]
    assert over_tasks == pytest.approx(bootstrap_tasks(by_task, 'micro')) and over_items == pytest.approx(mean_interval(values))  # the same draws
    plain = bootstrap_interval(list(by_task.values()), lambda drawn: fmean(value for task in drawn for value in task))              # others
    assert over_tasks == pytest.approx(plain, abs=.006) and over_items == pytest.approx(bootstrap_interval(values.tolist()), abs=.006)
    gold, said = rng.integers(0, 3, 600), rng.integers(0, 3, 600)
    assert draw_interval(f1_of(gold, said, np.arange(600), 600), 600)[:2] == pytest.approx(f1_interval(list(map(str, said)), list(map(str, gold))), abs=.006)
    benchmark = choice(300, 'a')
    golds = [item.gold for item in benchmark.items]
    one, other = ([place if rng.random() < share else (place + 1) % 3 for place in golds] for share in (.7, .6))
    paired = paired_bootstrap(*(measure(benchmark, says(benchmark, places), 'accuracy').values for places in (one, other)))
    gap = compare(benchmark, says(benchmark, one), says(benchmark, other), 'accuracy')
    assert (gap.value, gap.low, gap.high) == pytest.approx((paired.value, paired.low, paired.high), abs=.012) and gap.n == paired.n == 300
    assert (gap.low, gap.high) == pytest.approx(bootstrap_interval([float(a == gold) - float(b == gold) for a, b, gold in zip(one, other, golds)]), abs=.02)


def test_blocks_of_draws_are_one_stream():
    whole = np.concatenate(list(draw_weights(3000, 1500, 7)))
    assert len(list(draw_weights(3000, 1500, 7))) == 3 and whole.shape == (1500, 3000) and (whole.sum(1) == 3000).all()
    direct = np.random.default_rng([7, 3000]).multinomial(3000, np.full(3000, 1 / 3000), size=1500)
    assert (whole == direct).all()
    assert (next(draw_weights(50, 100, 1)) != next(draw_weights(50, 100, 2))).any()


# ---------------------------------------------------------------- rows

def test_a_row_brings_its_templates():
    "Five wordings of a question don't make five questions: the interval is as wide as with one."
    one, five = choice(200, 'a', 3), choice(200, 'abcde', 3)
    rng = random.Random(1)
    right = [rng.random() < .6 for _ in range(200)]
    said = {size: says(benchmark, [item.gold if right[int(item.group)] else (item.gold + 1) % 3 for item in benchmark.items]) for size, benchmark in ((1, one), (5, five))}
    alone, all_five = found(score(one, said[1]), 'accuracy'), found(score(five, said[5]), 'accuracy')
    assert (alone.value, alone.low, alone.high) == pytest.approx((all_five.value, all_five.low, all_five.high)) and (alone.n, all_five.n, all_five.sd) == (200, 1000, 0.)
    assert alone.high - alone.low == pytest.approx(2 * 1.96 * math.sqrt(alone.value * (1 - alone.value) / 200), rel=.12)


def test_templates_have_a_mean_and_a_standard_deviation():
    benchmark = choice(30, 'abc')
    rng = random.Random(2)
    places = [rng.randrange(3) for _ in benchmark.items]
    rows = score(benchmark, says(benchmark, places))
    each = [f1_score([item.gold for item in benchmark.items if item.template == template], [place for item, place in zip(benchmark.items, places) if item.template == template], average='macro') for template in 'abc']
    row = found(rows, 'macro_f1')
    assert (row.value, row.sd) == pytest.approx((np.mean(each), np.std(each, ddof=1))) and [found(rows, 'macro_f1', 'template', template).value for template in 'abc'] == pytest.approx(each)


def test_whole_tasks_are_drawn():
    tasks = [f'task{number}' for number in range(40) for _ in range(25)]
    benchmark = free([['yes']] * 1000, tasks)
    good = random.Random(0).sample(range(40), 20)
    said = [Prediction(str(number), 'yes' if int(task[4:]) in good else 'no') for number, task in enumerate(tasks)]
    rows = score(benchmark, said)
    row = found(rows, 'exact_match')
    assert row.value == .5 and row.high - row.low == pytest.approx(2 * 1.96 * .5 / math.sqrt(40), rel=.12)       # as sure as 40 tasks, not as 1,000 items
    assert found(rows, 'exact_match', 'task', 'task0').n == 25


def test_tasks_with_templates_of_their_own():
    "As P3's: a task that was not drawn has no part in the mean."
    tasks = [f'task{number % 12}' for number in range(240)]
    plain = Benchmark('p3', tuple(Item(str(number), 'Is it?', options=OPTIONS, gold=number % 3, task=task) for number, task in enumerate(tasks)), ('accuracy', 'macro_f1'), 'rank')
    worded = replace(plain, items=tuple(replace(item, template=item.task, options=tuple(f'{option} {item.task}' for option in OPTIONS)) for item in plain.items))
    rng = random.Random(5)
    places = [item.gold if rng.random() < .7 else rng.randrange(3) for item in plain.items]
    one, other = (score(benchmark, says(benchmark, places)) for benchmark in (plain, worded))
    for level in ('all', 'macro'):
        first, second = (found(rows, 'accuracy', level) for rows in (one, other))
        assert (first.value, first.low, first.high) == pytest.approx((second.value, second.low, second.high)) and first.low < first.value < first.high
    each = [f1_score([item.gold for item in plain.items if item.task == task], [place for item, place in zip(plain.items, places) if item.task == task], average='macro') for task in set(tasks)]
    row = found(other, 'macro_f1')
    assert row.value == pytest.approx(np.mean(each)) and row.low < row.value < row.high and row.high - row.low < .3


def test_micro_and_macro():
    tasks = ['large'] * 8 + ['small'] * 2
    rows = score(free([['x']] * 10, tasks), [Prediction(str(number), 'x' if number < 8 else 'y') for number in range(10)])
    assert (found(rows, 'exact_match').value, found(rows, 'exact_match', 'macro').value) == (.8, .5) and found(rows, 'exact_match', 'macro').sd == pytest.approx(math.sqrt(.5))
    assert {(row.part, row.n, row.value) for row in rows if row.level == 'task'} == {('large', 8, 1.), ('small', 2, 0.)}


def test_too_few_groups_have_no_interval():
    for rows in (1, FEWEST - 1): assert found(score(choice(rows), says(choice(rows), [0] * 2 * rows)), 'accuracy').low is None
    assert found(score(choice(FEWEST), says(choice(FEWEST), [0] * 2 * FEWEST)), 'accuracy').low is not None


def test_clean_and_dirty():
    benchmark = choice(40, 'a')
    dirty = {item.id for item in benchmark.items[:10]}
    said = says(benchmark, [item.gold if item.id in dirty else (item.gold + 1) % 3 for item in benchmark.items])
    rows = score(benchmark, said, dirty)
    assert [(found(rows, 'accuracy', subset=subset).value, found(rows, 'accuracy', subset=subset).n) for subset in ('all', 'clean', 'dirty')] == [(.25, 40), (0., 30), (1., 10)]
    assert {row.subset for row in score(benchmark, said, set())} == {'all', 'clean'} and {row.subset for row in score(benchmark, said)} == {'all'}
    whole, clean = found(score(benchmark, said), 'macro_f1'), found(score(benchmark, said, set()), 'macro_f1', subset='clean')
    assert (whole.value, whole.low, whole.high) == (clean.value, clean.low, clean.high)


@settings(deadline=None, max_examples=30)
@given(st.integers(5, 40), st.randoms(use_true_random=False))
def test_rows_are_sound(rows, rng):
    benchmark = choice(rows, 'ab', rng.randrange(99))
    places = [rng.randrange(-1, 3) for _ in benchmark.items]
    given_ = score(benchmark, says(benchmark, places), {item.id for item in benchmark.items if rng.random() < .3}, draws=50, arm='x')
    for row in given_: assert row.arm == 'x' and (row.low is None or row.low <= row.high) and 0 <= row.value <= 1
    for name in ('accuracy', 'accuracy_norm'):
        parts = {subset: [row for row in given_ if (row.metric, row.level, row.subset) == (name, 'all', subset)] for subset in ('all', 'clean', 'dirty')}
        assert sum(row.n for subset in ('clean', 'dirty') for row in parts[subset]) == parts['all'][0].n == 2 * rows
    assert found(given_, 'accuracy').value == pytest.approx(np.mean([item.gold == place for item, place in zip(benchmark.items, places)]))


# ---------------------------------------------------------------- what is missing

def test_an_error_is_a_wrong_answer():
    benchmark = choice(20, 'a')
    rows = score(benchmark, says(benchmark, [item.gold if number < 10 else -1 for number, item in enumerate(benchmark.items)]))
    assert found(rows, 'accuracy').value == .5 and found(rows, 'accuracy').n == 20 and found(rows, 'accuracy').note == '10 of 20 items without an answer count as wrong: 10 too_long'
    assert found(rows, 'macro_f1').value < 1


@pytest.mark.parametrize('metric', [name for name in METRICS if not name.startswith('meteor')])
def test_nothing_is_worth_nothing(metric):
    "Even where the right answer normalises to nothing, so that an empty text would be equal to it."
    benchmark = free([['...'], ['the'], ['!'], ['yes'], ['no']], metrics=(metric,))
    said = [Prediction('0', ''), Prediction('1', ' \n'), Prediction('2', 'yes', error='timeout: 5 s'), Prediction('3', ''), Prediction('4', '', finish='length')]
    row = score(benchmark, said)[0]
    assert row.value == 0 and row.n == 5 and row.note == '5 of 5 items without an answer count as wrong: 4 empty_answer, 1 timeout'


def test_a_model_that_says_nothing_at_all():
    benchmark = choice(6, 'a')
    rows = score(benchmark, [Prediction(item.id) for item in benchmark.items])
    assert (rows[0].metric, rows[0].value) == ('accuracy_match', 0.) and '6 empty_answer' in rows[0].note


def test_an_answer_that_is_no_option():
    benchmark = choice(6, 'a')
    rows = score(benchmark, [Prediction(item.id, 'I do not know', lost=3) for item in benchmark.items])
    assert rows[0].value == 0 and rows[0].note == '6 prompts were shortened; 6 answers name none of the options'


def test_metrics_that_do_not_fit():
    benchmark = choice(6, 'a')
    with pytest.raises(ValueError, match='want accuracy'): metric_names(replace(benchmark, metrics=('exact_match',)))
    with pytest.raises(ValueError, match='rouge_l does not fit'): measure(benchmark, says(benchmark, [0] * 6), 'rouge_l')
    differ = replace(benchmark, items=(*benchmark.items[:5], replace(benchmark.items[5], options=('red', 'blue'), gold=0)))
    with pytest.raises(ValueError, match='differ from item to item'): measure(differ, says(differ, [0] * 6), 'macro_f1')
    assert score(differ, says(differ, [0] * 6))[0].note == 'macro_f1, weighted_f1 left out: the options are no classes'
    with pytest.raises(ValueError, match='1,001 different answers'): measure(free([[f'answer {n}'] for n in range(1001)]), [Prediction(str(n), 'x') for n in range(1001)], 'macro_f1')
    with pytest.raises(ValueError, match='not those of choice'): measure(benchmark, says(benchmark, [0] * 6)[::-1], 'accuracy')
    assert score(replace(free([['x']]), metrics=()), [Prediction('0', 'y')]) == []


def test_constant_answers():
    benchmark = choice(30)
    assert found(score(benchmark, constant_predictions(benchmark, 1)), 'accuracy').value == pytest.approx(np.mean([item.gold == 1 for item in benchmark.items]))
    for place in (3, -1):
        with pytest.raises(ValueError, match=f'have no option {place}'): constant_predictions(benchmark, place)


# ---------------------------------------------------------------- differences

def test_differences():
    benchmark = choice(120)
    golds = [item.gold for item in benchmark.items]
    good, bad = ([gold if int(item.group) % 10 < share else (gold + 1) % 3 for item, gold in zip(benchmark.items, golds)] for share in (8, 5))
    gap, back, same = (compare(benchmark, says(benchmark, one), says(benchmark, other), 'macro_f1') for one, other in ((good, bad), (bad, good), (good, good)))
    assert gap.verdict == 'better' and back.verdict == 'worse' and (same.verdict, same.value, same.below) == ('no difference shown', 0., .5) and gap.over == 'group' and gap.metric == 'macro_f1'
    assert (gap.value, gap.low, gap.high) == pytest.approx((-back.value, -back.high, -back.low))
    few = compare(choice(3), says(choice(3), [0] * 6), says(choice(3), [1] * 6), 'accuracy')
    assert math.isnan(few.low) and few.verdict == 'no difference shown'


@pytest.mark.parametrize('rows', [1, FEWEST - 1, FEWEST])
def test_few_rows_are_compared_without_an_interval(tmp_path, rows):
    from instructgen.adaptation import arm_differences, gains_table
    from instructgen.training_results import results_table
    from instructgen.training_runs import UNTRAINED, arm_folder, compare_arms
    benchmark, start = free([['x']] * rows), Start('pretrained', 'x', 'a model', False)
    for place, arms in ((lambda arm: arm_folder(tmp_path, arm), (UNTRAINED, 'a')), (lambda arm: tmp_path/f'pretrained-{arm}', ('zero_shot', 'gold'))):
        for arm, text in zip(arms, 'yx'):
            path = predictions_path(place(arm), benchmark.name)
            path.parent.mkdir(parents=True)
            path.write_text(''.join(write_prediction(Prediction(item.id, text)) for item in benchmark.items))
    shown = '+100.0 to +100.0' if rows >= FEWEST else 'no interval: fewer than 5 rows'
    gaps = [*compare_arms(tmp_path, (UNTRAINED, 'a'), [benchmark], start), *arm_differences(tmp_path, {'pretrained': start}, ('zero_shot', 'gold'), [benchmark])]
    for gap, table in zip(gaps, (results_table, gains_table), strict=True):
        assert (gap['difference'], gap['low'], gap['high'], gap['verdict']) == ((1., 1., 1., 'better') if rows >= FEWEST else (1., None, None, 'no difference shown'))
        write_scores(tmp_path, [], comparisons=[gap])
        assert json.loads((tmp_path/'scores.json').read_text())['comparisons'] == [gap]
        row = score(benchmark, [Prediction(item.id, 'x') for item in benchmark.items], arm=gap['arm'], start='pretrained')
        assert gap_text(gap) == f'+100.0 ({shown})' and table(row, [gap], [benchmark]).iloc[0, -1] == f'+100.0 ({shown})'
    gap = gap_record(benchmark, 'a', 'b', compare(benchmark, *([Prediction(item.id, text) for item in benchmark.items] for text in 'xy'), 'exact_match'), over='group')
    assert gap_table([gap])['95 % interval'].tolist() == [shown] and gap_interval({**gap, 'over': 'task'}) == shown.replace('rows', 'tasks')
    assert (gap_square([gap], 'free').iloc[0, 1], findings([gap])) == (('+100.0 ▲', ['free, exact_match: a is better than b (+100.0).']) if rows >= FEWEST else
                                                                       ('+100.0 ·', [f'free, exact_match: a is not shown to differ from b (+100.0, {shown}).']))


def test_the_report_takes_three_questions(tmp_path):
    (tmp_path/'my.csv').write_text('Question,Answer\n' + ''.join(f'Which town lies {number} miles north of the bridge?,Town {number}\n' for number in range(3)))
    (tmp_path/'my.yaml').write_text('name: three\nfiles: my.csv\nprompt: "Answer: {question}"\ncolumns:\n  question: Question\nanswer: Answer\nmetrics: [exact_match]\n')
    benchmark = load_benchmark(f'own:{tmp_path/"my.yaml"}')
    for name in ('good', 'bad'): (tmp_path/f'{name}.jsonl').write_text('\n'.join(json.dumps({'id': item.id, 'answer': item.references[0] if name == 'good' else 'no idea'}) for item in benchmark.items))
    folder = run_report('evaluation', out=str(tmp_path/'run'), benchmarks=str(tmp_path/'my.yaml'), answers=f'good={tmp_path}/good.jsonl,bad={tmp_path}/bad.jsonl')
    gaps = {(gap['arm'], gap['other']): gap for gap in json.loads((folder/'scores.json').read_text())['comparisons']}
    assert (gaps['good', 'bad']['difference'], gaps['good', 'bad']['low'], gaps['good', 'bad']['n']) == (1., None, 3) and {row.low for row in read_scores(folder) if row.level == 'all'} == {None}
    page = (folder/'report.html').read_text()
    for words in ('no interval: fewer than 5 rows', 'no interval: fewer than 5 items', 'not shown to differ'): assert words in page, words


def test_groups_are_found_once_for_all_answers():
    benchmark, rng, all_items = choice(40), random.Random(2), np.arange(80)
    build, groups = group_items(benchmark, all_items, 'all', classes=True)
    for _ in range(3):
        measured = measure(benchmark, says(benchmark, [rng.randrange(-1, 3) for _ in benchmark.items]), 'macro_f1')
        assert draw_interval(build(measured), groups) == draw_interval(*over_parts(measured, all_items, 'all'))


def test_what_a_difference_is_drawn_over():
    for tasks, over in ((FEWEST, 'task'), (FEWEST - 1, 'group')):
        benchmark = free([['x']] * 60, [f'task{number % tasks}' for number in range(60)])
        gap = compare(benchmark, [Prediction(str(n), 'x') for n in range(60)], [Prediction(str(n), 'x' if n % 2 else 'y') for n in range(60)], 'exact_match')
        assert (gap.over, gap.value, gap.n) == (over, .5, 60) and not math.isnan(gap.low)


def test_draws_depend_on_the_seed_alone():
    program = '''
from tests.test_evaluation import choice, says, score
benchmark = choice(30)
print(score(benchmark, says(benchmark, [n % 3 for n in range(60)]), set(item.id for item in benchmark.items[:9])))'''
    outputs = {subprocess.run([sys.executable, '-c', program], env={**os.environ, 'PYTHONHASHSEED': seed, 'PYTHONPATH': f'{ROOT}:{ROOT/"tests"}'}, capture_output=True, text=True, check=True, cwd=ROOT).stdout for seed in '12'}
    assert len(outputs) == 1 and 'macro_f1' in outputs.pop()


def test_a_table():
    rows = score(choice(3), says(choice(3), [0] * 6), arm='x')
    table = score_table(rows, ('arm', 'metric', 'level', 'part'))
    assert list(table.columns) == ['arm', 'metric', 'level', 'part', 'score', '95 % interval', 'sd', 'n'] and len(table) == len(rows) and set(table['95 % interval']) == {'–'}
    assert list(score_table([]).columns) == ['benchmark', 'metric', 'score', '95 % interval', 'n']


# ---------------------------------------------------------------- asking

@pytest.fixture(scope='module')
def models(tmp_path_factory) -> dict[str, Path]:
    "Two tiny models of one kind and one of the other."
    folder, texts = tmp_path_factory.mktemp('models'), ['Is claim 17 right? yes no maybe', 'The harbour was built in 1904.'] * 20
    return {'llama': make_tiny_model(texts, folder/'llama', hidden=32, layers=1), 'other': make_tiny_model(texts, folder/'other', hidden=32, layers=1, seed=1),
            't5': make_tiny_model(texts, folder/'t5', kind='t5', hidden=32, layers=1)}


@pytest.mark.parametrize('kind', ['llama', 't5'])
def test_a_local_model_in_every_mode(models, kind, tmp_path):
    benchmark, asked = choice(12), free([['yes'], ['no']], metrics=('rouge_l', 'exact_match'))
    with open_llm(f'local:{models[kind]}') as llm:
        ranked = read_predictions(predict(llm, benchmark, tmp_path/'rank'), benchmark)
        matched = read_predictions(predict(llm, replace(benchmark, max_tokens=4), tmp_path/'match', match=True), benchmark)
        written = read_predictions(predict(llm, replace(asked, max_tokens=4), tmp_path/'rank'), asked)
    assert all(len(one.nats) == 3 and min(one.tokens) >= 2 and not one.text for one in ranked) and not any(one.nats for one in [*matched, *written])
    assert {row.metric for row in score(benchmark, ranked)} == {'accuracy', 'macro_f1', 'weighted_f1', 'accuracy_norm', 'macro_f1_norm', 'weighted_f1_norm'}
    assert {row.metric for row in score(benchmark, matched)} == {'accuracy_match', 'macro_f1_match', 'weighted_f1_match'}
    assert {row.metric for row in score(asked, written)} == {'rouge_l', 'exact_match'}
    notes = {path.parent.parent.name + '/' + path.stem: json.loads(path.read_text())['mode'] for path in tmp_path.rglob('*.json')}
    assert notes == {'rank/choice': 'rank', 'match/choice': 'match', 'rank/free': 'generate'} and not list(tmp_path.rglob('*.part'))


def test_ranking_is_one_pass_an_option(models):
    "Against the plain way: prompt and option together, one at a time."
    import torch
    with open_llm(f'local:{models["llama"]}') as llm:
        weights, form, benchmark = llm.backend.weights, FORMATS['base'], choice(20)
        for said, item in zip(sorted(rank_options(llm, benchmark.items, form), key=lambda one: one.id), sorted(benchmark.items, key=lambda one: one.id)):
            ids = prompt_ids(ask_item(item, form, weights)[0], weights.tokenizer)
            for nats, option in zip(said.nats, item.options):
                own = [*weights.tokenizer(option, add_special_tokens=False)['input_ids'], weights.tokenizer.eos_token_id]
                with torch.inference_mode(): chances = weights.model(torch.tensor([[*ids, *own]])).logits[0].log_softmax(-1)
                assert nats == pytest.approx(sum(chances[len(ids) - 1 + place, token].item() for place, token in enumerate(own)), abs=2e-5)


def test_options_and_prompts_that_cannot_be_asked(models, tmp_path):
    items = (Item('fine', 'Is it?', options=('yes', 'no'), gold=0), Item('nothing', 'Is it?', options=('yes', ''), gold=0), Item('prefix', 'Is it?', options=('no', 'not'), gold=1),
             Item('long', 'Is it?', options=('yes', 'so ' * 600), gold=0), Item('cut', 'The harbour was built. ' * 300 + 'Is it?', options=('yes', 'no'), gold=0, context='The harbour was built. ' * 300))
    benchmark = Benchmark('hard', items, ('accuracy',), 'rank')
    with open_llm(f'local:{models["llama"]}') as llm: said = {one.id: one for one in read_predictions(predict(llm, benchmark, tmp_path), benchmark)}
    assert {name: one.error.partition(':')[0] for name, one in said.items()} == {'fine': '', 'nothing': 'empty_option', 'prefix': '', 'long': 'too_long', 'cut': ''}
    assert said['cut'].lost > 0 and said['prefix'].nats[0] != said['prefix'].nats[1] and said['fine'].lost == 0
    row = score(benchmark, list(said.values()))[0]
    assert row.n == 5 and '2 of 5 items without an answer count as wrong: 1 empty_option, 1 too_long' in row.note and '1 prompts were shortened' in row.note


def test_a_prompt_keeps_half_of_the_window(models):
    with open_llm(f'local:{models["llama"]}') as llm:
        weights, item = llm.backend.weights, Item('1', 'Is it?', 'The harbour was built in 1904. ' * 200)
        sizes = [len(prompt_ids(ask_item(item, FORMATS['base'], weights, room, most)[0], weights.tokenizer)) for room, most in ((16, 0), (500, 0), (5000, 0), (16, 100))]
    assert 480 < sizes[0] <= 496 and 240 < sizes[1] == sizes[2] <= 256 and sizes[3] <= 100


def test_likelihoods_that_are_no_numbers(models, monkeypatch):
    with open_llm(f'local:{models["llama"]}') as llm:
        monkeypatch.setattr(llm.backend, 'loglik', lambda items: (Loglik(item.id, (-1., math.nan, -2.), (1, 1, 1)) for item in items))
        said = list(rank_options(llm, choice(2, 'a').items, FORMATS['base']))
    assert [one.error.partition(':')[0] for one in said] == ['not_finite'] * 2 and chosen_options(choice(2, 'a').items, said).tolist() == [-1, -1]


def test_a_server_in_generate_and_match_mode(tmp_path):
    benchmark = replace(choice(10), max_tokens=20)
    with LLMServer(answer='text:Yes, it is.') as server, open_llm(f'openai:test@{server.url}') as llm:
        with pytest.raises(TypeError, match='match=True'): predict(llm, benchmark, tmp_path)
        said = read_predictions(predict(llm, benchmark, tmp_path, match=True), benchmark)   # in the same folder, since nothing was kept
        rows = score(benchmark, said)
        assert rows[0].metric == 'accuracy_match' and rows[0].value == np.mean([item.gold == 0 for item in benchmark.items])
        asked = free([['yes it is']] * 3)
        assert score(asked, read_predictions(predict(llm, asked, tmp_path, form='chat'), asked))[0].value == 1
        before = server.counts.requests.total()
        predict(llm, benchmark, tmp_path, match=True)
        assert server.counts.requests.total() == before == 23


def test_the_form_of_a_server(tmp_path):
    asked = Benchmark('one', (Item('1', 'Translate', 'a word', references=('x',)),), ('rouge_l',))
    with LLMServer(answer='echo') as server, open_llm(f'openai:test@{server.url}') as llm:
        texts = [read_predictions(predict(llm, asked, tmp_path/form, form=form), asked)[0].text for form in ('', 'chat', 'tk-instruct')]
        assert choose_form(llm) is None
    assert texts[0] == texts[1] == 'You said: Translate\n\na word' and 'Definition: Translate.' in texts[2]


# ---------------------------------------------------------------- going on

def test_passing_errors_are_asked_again_and_lasting_ones_are_not(tmp_path):
    benchmark = Benchmark('two', (Item('1', 'A [faults: 400 ok]', references=('x',)), Item('2', 'B', references=('x',)), Item('3', 'C [faults: long]', references=('x',))), ('rouge_l',))
    with LLMServer(answer='text:x') as server, open_llm(f'openai:test@{server.url}') as llm:
        first = read_predictions(predict(llm, benchmark, tmp_path), benchmark)
        counted = dict(server.counts.requests)
        second = read_predictions(predict(llm, benchmark, tmp_path), benchmark)
        assert [bool(one.error) for one in first] == [True, False, True] and [bool(one.error) for one in second] == [False, False, True]
        assert server.counts.requests['B'] == counted['B'] == 1 and first[1:] == second[1:] and score(benchmark, first)[0].n == 3


@pytest.mark.parametrize('concurrency', [1, 8])
def test_a_budget_keeps_what_arrived(tmp_path, concurrency):
    benchmark = free([['x']] * 20)
    with LLMServer(answer='text:x') as server:
        with open_llm(f'openai:test@{server.url}', concurrency=concurrency, budget=Budget(calls=7)) as llm:
            with pytest.raises(BudgetReached): predict(llm, benchmark, tmp_path)
        assert predictions_path(tmp_path, 'free').with_suffix('.part').read_text().count('\n') == 7 and not predictions_path(tmp_path, 'free').exists()
        with open_llm(f'openai:test@{server.url}') as llm: said = read_predictions(predict(llm, benchmark, tmp_path), benchmark)
        assert server.counts.requests.total() == 20 and all(one.text == 'x' for one in said)


def test_stale_predictions_are_refused(models, tmp_path):
    benchmark = free([['yes'], ['no']])
    benchmark = replace(benchmark, max_tokens=3)
    with open_llm(f'local:{models["llama"]}') as llm, open_llm(f'local:{models["other"]}') as other:
        path = predict(llm, benchmark, tmp_path)
        kept = path.read_bytes()
        for what, ask in (('model|fingerprint', lambda: predict(other, benchmark, tmp_path)), ('form', lambda: predict(llm, benchmark, tmp_path, form='alpaca')), ('hash', lambda: predict(llm, replace(benchmark, items=benchmark.items[:1]), tmp_path)),
                          ('max_source', lambda: predict(llm, benchmark, tmp_path, max_source=9)), ('sampling|hash', lambda: predict(llm, replace(benchmark, max_tokens=4), tmp_path))):
            with pytest.raises(ValueError, match=rf'is of other predictions: ({what}) is .* there and .* here'): ask()
        assert path.read_bytes() == kept
        path.with_suffix('.json').write_text('{"bench')
        with pytest.raises(ValueError, match='is damaged'): predict(llm, benchmark, tmp_path)
        path.with_suffix('.json').unlink()
        with pytest.raises(ValueError, match='no free.json that says whose'): predict(llm, benchmark, tmp_path)
        assert path.read_bytes() == kept


@pytest.mark.parametrize('end', [b'{"id": "1", "te', '{"id": "1", "text": "caf\u00e9'.encode()[:-1], b'\0\0\0\0', b'{"id": "1"'])
def test_a_line_that_was_cut_off(models, tmp_path, end):
    benchmark = replace(free([['x']] * 4), max_tokens=3)
    with open_llm(f'local:{models["llama"]}') as llm:
        path = predict(llm, benchmark, tmp_path)
        whole = path.read_bytes()
        path.with_suffix('.part').write_bytes(whole.split(b'\n')[0] + b'\n' + end)
        path.unlink()
        assert predict(llm, benchmark, tmp_path).read_bytes() == whole and not path.with_suffix('.part').exists()
        path.with_suffix('.part').write_bytes(end + b'\n' + whole)   # in the middle it is a damage
        path.unlink()
        with pytest.raises(ValueError, match='line 1: '): predict(llm, benchmark, tmp_path)


KILLED = '''
import sys
from tests.test_evaluation import killed_benchmark, open_llm, predict
with open_llm(f'local:{sys.argv[1]}?rows=1&tokens=64') as llm: predict(llm, killed_benchmark(sys.argv[3]), sys.argv[2])
'''


def killed_benchmark(mode: str) -> Benchmark:
    rng = random.Random(0)
    items = tuple(Item(str(n), f'Is claim {n} right?', 'The harbour was built in 1904. ' * rng.randrange(9), references=('yes',), options=OPTIONS, gold=0) for n in range(60))
    return Benchmark(f'killed {mode}', items, ('rouge_l',) if mode == 'generate' else ('accuracy',), mode, max_tokens=24)


@pytest.mark.parametrize('mode, lines', [('generate', 20), ('rank', 10)])
def test_killed_in_the_middle(models, tmp_path, mode, lines):
    environment = {**os.environ, 'PYTHONPATH': f'{ROOT}:{ROOT/"tests"}', 'OMP_NUM_THREADS': '1'}
    process = subprocess.Popen([sys.executable, '-c', KILLED, str(models['llama']), str(tmp_path/'killed'), mode], env=environment, cwd=ROOT)
    benchmark = killed_benchmark(mode)
    partial = predictions_path(tmp_path/'killed', benchmark.name).with_suffix('.part')
    try:
        while not (partial.is_file() and partial.read_bytes().count(b'\n') >= lines): assert process.poll() is None; time.sleep(.001)
    finally: process.send_signal(signal.SIGKILL); process.wait()
    arrived = partial.read_bytes() if partial.is_file() else b''
    with open_llm(f'local:{models["llama"]}?rows=1&tokens=64') as llm:
        again, alone = (predict(llm, benchmark, tmp_path/name) for name in ('killed', 'undisturbed'))
    assert lines <= arrived.count(b'\n') < 60 and set(arrived.splitlines()[:lines]) <= set(again.read_bytes().splitlines())   # what had arrived was not asked again
    if mode == 'generate': assert again.read_bytes() == alone.read_bytes()
    one, other = (read_predictions(path, benchmark) for path in (again, alone))
    for first, second in zip(one, other): assert first.nats == pytest.approx(second.nats, abs=2e-5) and replace(first, nats=(), tokens=()) == replace(second, nats=(), tokens=()) and first.tokens == second.tokens


def test_a_model_that_forgets_an_item(models, tmp_path, monkeypatch):
    with open_llm(f'local:{models["llama"]}') as llm:
        real = llm.backend.loglik
        monkeypatch.setattr(llm.backend, 'loglik', lambda items: (one for one in real(items) if one.id != '1/a'))
        with pytest.raises(RuntimeError, match='gave nothing for 1 of 6 items, such as 1/a'): predict(llm, choice(3), tmp_path)
        monkeypatch.setattr(llm.backend, 'loglik', real)
        assert len(read_predictions(predict(llm, choice(3), tmp_path), choice(3))) == 6


# ---------------------------------------------------------------- files

@settings(deadline=None)
@given(st.builds(Prediction, st.text(min_size=1), st.text(), lost=st.integers(0, 9), finish=st.sampled_from(['stop', 'length', 'error']), error=st.text(max_size=9)))
def test_a_prediction_is_read_as_it_was_written(tmp_path_factory, prediction):
    path = tmp_path_factory.getbasetemp()/'one.jsonl'
    try: path.write_text(write_prediction(prediction), 'utf-8')
    except UnicodeEncodeError: return   # half of a surrogate pair, which no JSON of a server or tokenizer holds
    assert read_predictions(path, Benchmark('one', (Item(prediction.id, 'x'),), ())) == [prediction]


def test_damaged_prediction_files(tmp_path):
    benchmark, path = choice(1), tmp_path/'p.jsonl'
    with pytest.raises(FileNotFoundError, match='no predictions at'): read_predictions(path, benchmark)
    for text, told in (('[1]', 'line 1: want an object'), ('{"id": 3, "text": "x"}', 'want an object with an id'), ('\n{"id": "0/a", "nats": [1, "x"]}', "line 2: nats of '0/a' hold 'x'"), ('{"id": "0/a", "nats": [NaN]}', 'want finite numbers'),
                       ('{"id": "0/a", "text": 5}', 'Prediction.text is 5'), ('{"id": "0/a", "answer": "yes"}', 'there are id, answer'), ('{"id": "0/a"', 'line 1: '), ('{"id": "0/a", "text": "yes"}', '1 are missing (first: 0/b)'),
                       ('{"id": "0/a", "text": ""}\n' * 2 + '{"id": "9/z", "text": ""}', '1 are missing (first: 0/b), 1 stand twice (first: 0/a), 1 are no items of choice (first: 9/z)')):
        path.write_text(text)
        with pytest.raises(ValueError) as error: read_predictions(path, benchmark)
        assert told in str(error.value)


def test_names_of_files():
    names = ['PubMedQA: 5 templates', '???', '', 'ä' * 300, 'ä' * 301, '../up', 'six held-out Super-NI tasks']
    paths = [predictions_path('run', name) for name in names]
    assert len(set(paths)) == 7 and all(path.parent == Path('run/predictions') and len(path.name.encode()) < 200 and not path.name.startswith('.') for path in paths)


# ---------------------------------------------------------------- real answers

def test_the_eight_systems(shared_data):
    folder = shared_data/'eval'/'user_oriented'
    benchmark, values = load_benchmark(str(folder/'user_oriented_instructions.jsonl')), {}
    for path in sorted((folder/'human_eval_predictions').iterdir()):
        answers = read_answers(path, benchmark)
        said = [Prediction(id, text) for id, text in answers.items()]
        row = found(score(benchmark, said, draws=200), 'rouge_l')
        direct = METRICS['rouge_l'](list(answers.values()), [list(item.references) for item in benchmark.items])
        empty = sum(not text.strip() for text in answers.values())
        assert row.value == pytest.approx(direct.value) and row.n == 252 and row.low < row.value < row.high and (f'{empty} empty_answer' in row.note) == bool(empty)
        values[path.name] = said
    assert len(values) == 8
    best, worst = (pick(values, key=lambda name: score(benchmark, values[name], draws=1)[0].value) for pick in (max, min))
    gap = compare(benchmark, values[best], values[worst], 'rouge_l', over='group')
    assert gap.verdict == 'better' and gap.n == 252


def test_likelihoods_are_shown_where_a_model_was_asked():
    from instructgen.scoring_tables import shown_answers
    benchmark = choice(6)
    said = constant_predictions(benchmark, 0)
    for likelihoods in (True, False):
        records = shown_answers(benchmark, said, 'x', likelihoods=likelihoods)
        assert records and {'log-likelihood' in record['output'] for record in records} == {likelihoods}
