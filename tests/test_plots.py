"""Figures show the numbers they were given, in bytes that depend on nothing else, for many rows, one and none."""
import math
import os
import random
import re
import subprocess
import sys

import matplotlib
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from instructgen.plots import (GREY, label_counts, new_axes, plot_bars, plot_label_shares, plot_lengths, plot_positions, plot_ratios, plot_shares, plot_tokens,
                               plot_verb_nouns, save_figure, shorten, verb_noun_counts, wilson_interval)
from instructgen.records import Task


def texts(ax) -> str:
    "All that a figure says, in one line."
    parts = [text.get_text() for text in [*ax.texts, *ax.get_xticklabels(), *ax.get_yticklabels(), ax.xaxis.label, ax.yaxis.label, *(ax.legend_.get_texts() if ax.legend_ else ())]]
    return ' '.join(' '.join([ax.figure.get_suptitle(), *parts]).split())


LONG = 'flax-sentence-embeddings/stackexchange_titlebody_best_voted_answer_jsonl-'
SHARES = [{'measure': 'kept', 'group': 'this run', 'part': 12, 'whole': 31}, {'measure': 'kept', 'group': 'paper', 'part': 5740, 'whole': 13610}]
TOKENS = [{'purpose': 'generate', 'calls': 12, 'prompt_tokens': 9000, 'completion_tokens': 800, 'cost': .02}, {'purpose': '', 'calls': 1, 'prompt_tokens': 90, 'completion_tokens': 8, 'cost': None}]
PAIRS = [('write', 'title')] * 9 + [('write', 'summary')] * 6 + [('name', 'bird')] * 5 + [('decide', '')] * 3 + [('rate', 'film')]


def labels(count: int, seed: int = 0) -> list[dict]:
    "Tasks with 2 to 10 labels."
    rng = random.Random(seed)
    return [{'task': f't{task:04}', 'instruction': f'Choose the {LONG} of text {task}.', 'label': f'label {place} of many', 'position': place, 'labels': size, 'count': rng.randint(1, 99), 'listed': task % 3 > 0}
            for task in range(count) for size in (rng.randint(2, 10),) for place in range(1, size + 1)]


FIGURES = {
    'bars': lambda size: plot_bars([{'source': f'{LONG}{n}', 'tasks': n % 7 + 1} for n in range(size)], 'source', 'tasks', 'Tasks by source', 'tasks', rest='other sources'),
    'shares': lambda size: plot_shares(SHARES[:size], 'Kept', 'n'),
    'ratios': lambda size: plot_ratios(SHARES[:size], 'Ratio', 'n'),
    'verbs': lambda size: plot_verb_nouns(verb_noun_counts(PAIRS * (size > 0) + [(f'verb{n % 30}', f'noun{n % 7}') for n in range(size)]), 'rules'),
    'lengths': lambda size: plot_lengths([{'words': n % 23 + 4} for n in range(size)]),
    'labels': lambda size: plot_label_shares(labels(size)),
    'positions': lambda size: plot_positions(labels(size * 3)),
    'tokens': lambda size: plot_tokens(TOKENS[:size])}


@pytest.mark.parametrize('size', [0, 1, 2, 25, 2000])
@pytest.mark.parametrize('name', FIGURES)
def test_any_size_is_drawn_inside_the_figure(name, size):
    ax = FIGURES[name](size)
    canvas = FigureCanvasAgg(ax.figure)
    canvas.draw()
    said = texts(ax)
    assert ('nothing to show' in said or 'no tokens were counted' in said) == (size == 0)
    assert ax.figure.get_suptitle()
    renderer = canvas.get_renderer()
    (low, high), (bottom, top) = sorted(ax.get_xlim()), sorted(ax.get_ylim())  # ticks outside are not drawn
    ticks = [*(text for text in ax.get_xticklabels() if low <= text.get_position()[0] <= high), *(text for text in ax.get_yticklabels() if bottom <= text.get_position()[1] <= top)]
    ticks = ticks if ax.axison else []
    for text in [*ax.texts, *ticks]:
        if not text.get_text() or not text.get_visible(): continue
        box = text.get_window_extent(renderer)
        assert box.x0 >= -1 and box.x1 <= ax.figure.bbox.width + 1 and box.y0 >= -1 and box.y1 <= ax.figure.bbox.height + 1, f'{text.get_text()!r} is cut'
    names = [text.get_window_extent(renderer) for text in ticks if text.get_text() and text in ax.get_yticklabels()]
    assert not any(first.overlaps(second) for place, first in enumerate(names) for second in names[place + 1:])


@pytest.mark.parametrize('name', FIGURES)
def test_svg_bytes_depend_on_the_table_only(name, tmp_path):
    first, second = (save_figure(FIGURES[name](25), tmp_path/f'{n}.svg').read_bytes() for n in range(2))
    assert first == second
    svg = first.decode()
    assert '<text' not in svg and '<image' not in svg                                       # outlines only
    assert not re.search(r'20\d\d-\d\d-\d\d|matplotlib v', svg, re.I)                       # no date, no version
    assert set(re.findall(r'(?:href|src)="([^#"][^"]*)"', svg)) <= {'http://www.w3.org/1999/xlink'} and 'url(http' not in svg
    assert FIGURES[name](24) and save_figure(FIGURES[name](1), tmp_path/'other.svg').read_bytes() != first


def test_svg_bytes_are_the_same_in_another_process(tmp_path):
    program = ("import sys; from instructgen.plots import *\n"
               "save_figure(plot_verb_nouns(verb_noun_counts([('write', 'title')] * 9 + [('name', 'bird'), ('rate', 'film')] * 6)), sys.argv[1])")
    for seed in '1', '2':
        subprocess.run([sys.executable, '-c', program, str(tmp_path/f'{seed}.svg')], check=True, env={**os.environ, 'PYTHONHASHSEED': seed})
    assert (tmp_path/'1.svg').read_bytes() == (tmp_path/'2.svg').read_bytes()


def test_no_setting_and_no_figure_is_left_behind():
    before = dict(matplotlib.rcParams)
    for draw in FIGURES.values(): draw(2)
    from matplotlib import pyplot
    assert dict(matplotlib.rcParams) == before and pyplot.get_fignums() == []


@pytest.mark.parametrize('name', FIGURES)
def test_given_axes_are_drawn_into(name):
    figure = Figure((12, 10))
    axes = figure.subplots(2, 2)
    draw = {'bars': lambda ax: plot_bars([{'a': 'x', 'b': 1}], 'a', 'b', 'T', ax=ax), 'shares': lambda ax: plot_shares(SHARES, 'T', ax=ax), 'ratios': lambda ax: plot_ratios(SHARES, 'T', ax=ax),
            'verbs': lambda ax: plot_verb_nouns(verb_noun_counts(PAIRS), title='T', ax=ax), 'lengths': lambda ax: plot_lengths([{'words': 3}], 'T', ax=ax), 'labels': lambda ax: plot_label_shares(labels(3), 'T', ax=ax),
            'positions': lambda ax: plot_positions(labels(3), 'T', ax=ax), 'tokens': lambda ax: plot_tokens(TOKENS, 'T', ax=ax)}[name]
    assert draw(axes[0, 1]) is axes[0, 1]
    assert axes[0, 1].get_title(loc='left') == 'T' and not axes[1, 1].has_data()


def test_bars_add_up_and_name_the_rest():
    table = pd.DataFrame({'source': [f'{LONG}{n}' for n in range(40)] + ['twice', 'twice'], 'tasks': [*range(40), 100, 50]})
    ax = plot_bars(table, 'source', 'tasks', 'Tasks by source', 'tasks', top=10, rest='other sources')
    assert [bar.get_width() for bar in ax.patches] == [150, *range(39, 30, -1), sum(range(31))]
    assert matplotlib.colors.to_hex(ax.patches[-1].get_facecolor()) == GREY
    assert '31 other sources' in texts(ax) and '150 (16%)' in texts(ax) and '930 in all' in texts(ax)


def test_one_row_too_many_is_shown_rather_than_summed_up():
    ax = plot_bars([{'a': str(n), 'b': 1} for n in range(6)], 'a', 'b', 'T', top=5)
    assert len(ax.patches) == 6 and 'others' not in texts(ax)
    assert '1 (<1%)' in texts(plot_bars([{'a': 'x', 'b': 999}, {'a': 'y', 'b': 1}], 'a', 'b', 'T'))


def test_shares_have_wilson_intervals_and_counts():
    ax = plot_shares([*SHARES, {'measure': 'distinct', 'group': 'this run', 'part': 9, 'whole': 12, 'interval': False}, {'measure': 'none', 'group': 'this run', 'part': 0, 'whole': 0}], 'T')
    lines = [line.get_xdata().tolist() if hasattr(line.get_xdata(), 'tolist') else list(line.get_xdata()) for line in ax.lines]
    assert [list(wilson_interval(12, 31)), [12 / 31], list(wilson_interval(5740, 13610)), [5740 / 13610], [.75]] == lines
    assert '42% (5,740 of 13,610)' in texts(ax) and 'none' not in texts(ax) and 'paper' in texts(ax)


@given(st.integers(0, 500), st.integers(0, 500))
def test_wilson_interval_holds_the_share(part, more):
    low, high = wilson_interval(part, part + more)
    assert 0 <= low <= (part / (part + more) if part + more else .5) <= high <= 1
    assert (part + more) == 0 or high - low < 1
    other = wilson_interval(more, part + more)
    assert math.isclose(low, 1 - other[1], abs_tol=1e-12)


def test_wilson_interval_golden():
    assert wilson_interval(81, 263) == pytest.approx((.2553, .3662), abs=2e-4)  # Newcombe 1998, table I
    assert wilson_interval(0, 20) == pytest.approx((0, .1611), abs=2e-4)
    assert wilson_interval(1, 29) == pytest.approx((.0061, .1718), abs=2e-4)


def test_verb_nouns_are_ranked_as_in_the_paper():
    counts = verb_noun_counts(PAIRS)
    assert [tuple(row) for row in counts[['verb', 'noun', 'count']].itertuples(index=False)] == [('write', 'title', 9), ('write', 'summary', 6), ('name', 'bird', 5)]
    assert counts['instructions'].iloc[0] == 24 and counts['with_pair'].iloc[0] == 21 and counts['minimum'].iloc[0] == 5
    many = verb_noun_counts([(f'verb{n % 25}', f'noun{n % 5}') for n in range(5000)])
    assert many['verb'].nunique() == 20 and many.groupby('verb').size().max() <= 4
    assert set(verb_noun_counts([('a', 'b')] * 3 + [('c', 'd')] * 3 + [('e', 'f')])['minimum']) == {3}  # the largest that shows half of all
    assert verb_noun_counts([]).empty and list(verb_noun_counts([])) == list(counts)
    assert verb_noun_counts(PAIRS[::-1]).equals(counts)


def test_sunburst_wedges_are_the_shares():
    ax = plot_verb_nouns(verb_noun_counts(PAIRS), 'rules')
    outer, inner = ([wedge.theta2 - wedge.theta1 for wedge in ax.patches if abs(wedge.r - radius) < 1e-9] for radius in (1, .64))
    assert outer == pytest.approx([360 * 9 / 20, 360 * 6 / 20, 360 * 5 / 20]) and inner == pytest.approx([270, 90])
    assert '20 of the 21 instructions with a verb and an object, which are 88% of all 24 (rules)' in texts(ax)
    assert '1 or more instructions each (not 5: too few are so common)' in texts(plot_verb_nouns(verb_noun_counts(PAIRS[-4:])))
    crowded = plot_verb_nouns(verb_noun_counts([('write', 'title')] * 2000 + [('name', 'bird')] * 5))
    assert '2 wedges too narrow' in texts(crowded) and 'bird' not in [text.get_text() for text in crowded.texts]


def test_labels_of_neighbours_differ_in_colour():
    ax = plot_verb_nouns(verb_noun_counts([(f'verb{n}', 'noun') for n in range(10)] * 6))
    colors = [wedge.get_facecolor() for wedge in ax.patches if abs(wedge.r - .64) < 1e-9]
    assert all(first != second for first, second in zip(colors, colors[1:] + colors[:1]))


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(1, 400), min_size=1, max_size=60))
def test_every_length_is_in_a_bar(lengths):
    ax = plot_lengths([{'words': length} for length in lengths])
    assert sum(bar.get_height() for bar in ax.patches) == len(lengths)


def test_lengths_with_counts():
    one, many = plot_lengths([{'words': 5}] * 3 + [{'words': 9}]), plot_lengths([{'words': 5, 'count': 3}, {'words': 9, 'count': 1}])
    assert [bar.get_height() for bar in one.patches] == [bar.get_height() for bar in many.patches]
    assert 'n = 4, mean 6.0, longest 9' in texts(many)
    over = plot_lengths([{'words': n % 10 + 1} for n in range(999)] + [{'words': 500}])
    assert 'the last bar holds 1 longer' in texts(over)


TASK = Task('Decide.', ('text',), 'label', 'imdb', labels=('no', 'yes', 'perhaps'), suffix='Answers must be one of no, yes, perhaps.')


def test_label_counts_take_missing_labels_and_foreign_outputs():
    unlisted = Task('Choose.', ('text',), 'label', 'imdb', labels=('a', 'b'))
    table = pa.table({'task_id': pa.array([TASK.id] * 5 + [unlisted.id] * 2).dictionary_encode(), 'output': ['yes', 'yes', 'no', 'other', 'yes', 'a', 'b']})
    counts = label_counts(table, [TASK, unlisted])
    assert counts[['label', 'position', 'count', 'listed']].values.tolist() == [['no', 1, 1, True], ['yes', 2, 3, True], ['perhaps', 3, 0, True], ['a', 1, 1, False], ['b', 2, 1, False]]
    ax = plot_positions(counts)
    assert [bar.get_height() for bar in ax.patches] == [.25, .75, 0]
    assert [segment[0][1] for segment in ax.collections[1].get_segments()] == pytest.approx([1 / 3] * 3)
    assert '4 examples of 1 task' in texts(ax)
    balance = plot_label_shares(counts)
    assert [bar.get_width() for bar in balance.patches] == [.75, .25, 0, .5, .5]  # the least balanced task on top


def test_equal_chances_fall_where_few_tasks_have_many_labels():
    rows = [{'task': 'a', 'position': 1, 'labels': 2, 'count': 10, 'listed': True}, {'task': 'b', 'position': 4, 'labels': 4, 'count': 30, 'listed': True}]
    ax = plot_positions(rows)
    assert [segment[0][1] for segment in ax.collections[1].get_segments()] == pytest.approx([(10 / 2 + 30 / 4) / 40] * 2 + [30 / 4 / 40] * 2)


def test_tokens_show_money_only_with_a_price():
    ax = plot_tokens(TOKENS)
    assert [bar.get_width() for bar in ax.patches] == [9000, 90, 800, 8]
    assert '9,800 (12 calls, $0.02)' in texts(ax) and '98 (1 call)' in texts(ax)
    assert '$' not in texts(plot_tokens([{key: value for key, value in row.items() if key != 'cost'} for row in TOKENS]))
    assert '(12 calls)' in texts(plot_tokens(pd.DataFrame(TOKENS).assign(cost=float('nan'))))


def test_mathematics_in_names_is_text(tmp_path):
    save_figure(plot_bars([{'a': r'$x_1$ and \frac{', 'b': 1}, {'a': '<script>', 'b': 2}], 'a', 'b', 'Cost in $ and more $'), tmp_path/'figure.svg')  # would raise if parsed


def test_shorten():
    assert shorten('short') == 'short' and len(shorten(LONG)) == 34 and shorten(LONG).startswith('flax') and shorten('a\nb') == 'a b'


def test_errors_say_what_is_missing(tmp_path):
    with pytest.raises(ValueError, match="no column 'whole'"): plot_shares([{'measure': 'a', 'group': 'b', 'part': 1}], 'T')
    with pytest.raises(ValueError, match='want .svg or .png'): save_figure(new_axes(1), tmp_path/'x.jpg')
