"""Replay equals the paper's matrices on random and on real vectors; ties, copies and blocks change nothing; encoders are what they say."""
import dataclasses
import json
import math
import os
import random
import subprocess
import sys
import tarfile
import tracemalloc
import types
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import sparse

from instructgen.arms import task_of
from instructgen.bonito.templates import load_templates
from instructgen.dynosaur.config import DatasetConfig, gather_sources
from instructgen.dynosaur.examples import apply_tasks
from instructgen.dynosaur.prompts import load_prompts
from instructgen.dynosaur.select import draw_key
from instructgen.dynosaur.tasks import propose_tasks
from instructgen.records import Example
from instructgen.replay import (PUBLISHED_ENCODER, STRATEGIES, cosine_sums, embed_examples, embed_tasks, embed_texts, greedy_diverse, level_ties, open_encoder, select_replay,
                                unit_blocks, unit_dots, unit_sum)
from instructgen.run_llm import open_model
from instructgen.super_ni import read_natural_task, task_files
from instructgen.task_selection import nearest_definition, shared_words

SUMS = ('instr_diverse', 'instr_similar', 'instr_support', 'data_diverse')
SCORED = (*SUMS, 'greedy_diverse')


# ---- the paper's matrices, as written

def unit(vectors: np.ndarray) -> np.ndarray:
    rows = np.asarray(vectors, np.float64)
    peaks = np.abs(rows).max(axis=1, keepdims=True)
    rows = rows / np.where(peaks, peaks, 1)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths, lengths, 1)


def matrices(previous: np.ndarray, current: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    "S_cp (L, K) and S_pp (K, K), in full."
    return unit(current) @ unit(previous).T, unit(previous) @ unit(previous).T


def ranked(scores: np.ndarray, largest: bool, same: float) -> list[int]:
    "Places by score, then by index; scores that are a chain of near ones are equal."
    groups = []
    for place in sorted(range(len(scores)), key=lambda place: scores[place]):
        if not groups or scores[place] - scores[groups[-1][-1]] > same: groups.append([])
        groups[-1].append(place)
    return [place for group in (reversed(groups) if largest else groups) for place in sorted(group)]


def brute_force(near: np.ndarray, inner: np.ndarray, k: int, strategy: str) -> tuple[list[int], list[float]]:
    "Indices and scores by the full matrices S_cp and S_pp."
    if strategy == 'greedy_diverse':
        chosen, scores = [], []
        while len(chosen) < min(k, len(inner)):
            values = near.mean(axis=0) + np.vstack([np.zeros(len(inner)), inner[chosen]]).max(axis=0)
            values[chosen] = math.inf
            chosen.append(int(np.argmax(values <= values.min() + 1e-12)))
            scores.append(values[chosen[-1]])
        return chosen, scores
    sums = inner.sum(axis=1) if strategy == 'instr_support' else near.sum(axis=0)
    order = ranked(sums, strategy in ('instr_similar', 'instr_support'), 1e-12 * len(near))[:k]
    return order, [sums[place] for place in order]


def agrees(stages: tuple, full: tuple[np.ndarray, np.ndarray], k: int, strategy: str) -> None:
    "`select_replay` gives for the vectors of two stages what the full matrices give."
    indices, scores = select_replay(*stages, k, strategy)
    wanted, values = brute_force(*full, k, strategy)
    assert (indices.dtype, scores.dtype) == (np.int64, np.float64)
    assert indices.tolist() == wanted
    np.testing.assert_allclose(scores, values, rtol=0, atol=1e-9)


def drawn(seed: int, previous: int, current: int, width: int, kind: type = np.float64) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return tuple((rng.standard_normal((rows, width)) * rng.uniform(.1, 10, (rows, 1)) + .3).astype(kind) for rows in (previous, current))


@pytest.mark.parametrize('strategy', SCORED)
@pytest.mark.parametrize('kind', (np.float16, np.float32, np.float64))
@pytest.mark.parametrize('previous, current, width', ((1, 1, 1), (7, 3, 2), (60, 200, 16), (300, 41, 384), (40, 5, 5000)))
def test_random_vectors_give_what_the_matrices_give(strategy: str, kind: type, previous: int, current: int, width: int):
    stages = drawn(previous + width, previous, current, width, kind)
    for k in (1, previous // 2, previous + 3): agrees(stages, matrices(*stages), k, strategy)


NUMBERS = st.one_of(st.integers(-3, 3), st.integers(-30, 30)).map(float)  # so small that angles differ by far more than rounding, or not at all
STAGES = st.integers(1, 4).flatmap(lambda width: st.tuples(*(st.integers(1, 9).flatmap(lambda rows: arrays(np.float64, (rows, width), elements=NUMBERS)) for _ in range(2))))


@settings(max_examples=300, deadline=None)
@given(STAGES, st.integers(0, 10), st.sampled_from(SCORED))
def test_any_small_vectors_give_what_the_matrices_give(stages: tuple, k: int, strategy: str):
    "Small whole numbers make many ties, rows of zeros, and copies at another length."
    full = matrices(*stages)
    for given in (stages, tuple(sparse.csr_matrix(stage) for stage in stages)): agrees(given, full, k, strategy)


# ---- real instructions

@pytest.fixture(scope='module')
def real_stages(shared_data, tmp_path_factory) -> tuple:
    "TF-IDF vectors of 400 templates of P3 and, as current tasks, of others with the Super-NaturalInstructions definitions; and the full matrices."
    folder = tmp_path_factory.mktemp('templates')
    with tarfile.open(shared_data / 'promptsource' / 'templates.tar.xz') as archive:
        archive.extractall(folder, [member for number, member in enumerate(archive) if number % 4 == 0], filter='data')  # reading all of them takes ten seconds
    templates = [template.jinja for template in load_templates(folder, [])]
    random.Random(0).shuffle(templates)
    definitions = [read_natural_task(file).definition for file in task_files(shared_data / 'eval' / 'super_ni').values()]
    assert len(templates) > 450 and len(definitions) >= 14 and len(set(templates[:400])) < 400  # P3 has copies
    vectors = embed_texts(templates + definitions)
    assert sparse.issparse(vectors)
    return (vectors[:400], vectors[400:]), matrices(vectors[:400].toarray(), vectors[400:].toarray())


@pytest.mark.parametrize('strategy', SCORED)
def test_real_instructions_give_what_the_matrices_give(real_stages: tuple, strategy: str):
    stages, full = real_stages
    for k in (50, 400) if strategy != 'greedy_diverse' else (50,): agrees(stages, full, k, strategy)
    if strategy in ('instr_diverse', 'instr_support'): agrees(tuple(stage.toarray() for stage in stages), full, 400, strategy)


# ---- examples of real sources

@pytest.fixture(scope='module')
def real_examples(shared_data) -> list[Example]:
    "Examples of the tasks that the embedded writer proposes for real datasets, at most twelve a task."
    config, found = DatasetConfig(sources=str(shared_data / 'hub'), languages='', limit=12), []
    cards, _ = gather_sources(config)
    with open_model(config) as llm:
        for done in propose_tasks(cards, llm, config.rule_set, config.setting_names, load_prompts('en')):
            _, table, _ = apply_tasks(done.tasks, done.card, config.rule_set, 12, 0, 'rules')
            found += [Example(**row) for row in table.to_pylist()]
    assert len({row.source for row in found}) >= 12 and len({task_of(row) for row in found}) >= 35
    return found


def mean_vectors(examples: list[Example], instances: int) -> tuple[list[str], np.ndarray]:
    "The mean of the TF-IDF vectors of each task's examples, one at a time, as float64."
    drawn = {}
    for example in examples: drawn.setdefault(example.task_id, {})[draw_key(0, example.id)] = f'{(example.input or example.context or example.instruction)[:1000]}\n{example.output[:1000]}'
    texts = {task: [text for _, text in sorted(drawn[task].items())][:instances] for task in sorted(drawn)}
    dense = embed_texts([text for task in texts for text in texts[task]]).toarray()
    places, found = iter(dense), []
    for task in texts: found.append(np.mean([next(places) for _ in texts[task]], axis=0))
    return list(texts), np.array(found)


@pytest.mark.parametrize('strategy', ('data_diverse', 'instr_support', 'instr_similar'))
@pytest.mark.parametrize('instances', (1, 10))
def test_real_examples_give_what_the_matrices_give(real_examples: list[Example], strategy: str, instances: int):
    "The stages are split by source, so that current tasks are of datasets that the previous ones are not of."
    ids, vectors = embed_examples(real_examples, instances=instances)
    names, means = mean_vectors(real_examples, instances)
    assert list(ids) == names
    np.testing.assert_allclose(vectors.toarray(), unit(means), rtol=0, atol=1e-9)
    source = {task_of(row): row.source for row in real_examples}
    sources = sorted(set(source.values()))
    new = np.array([sources.index(source[task]) % 3 == 2 for task in ids])
    assert new.sum() >= 8 and (~new).sum() >= 20
    full = matrices(means[~new], means[new])
    for k in (10, len(ids)): agrees((vectors[np.flatnonzero(~new)], vectors[np.flatnonzero(new)]), full, k, strategy)


# ---- nothing, and chance

@pytest.mark.parametrize('previous, current', ((1, 1), (60, 200), (300, 0)))
def test_none_gives_nothing(previous: int, current: int):
    for k in (0, 1, previous, previous + 3):
        indices, scores = select_replay(*drawn(previous, previous, current, 8), k, 'none', 5)
        assert (indices.tolist(), scores.tolist(), indices.dtype, scores.dtype) == ([], [], np.int64, np.float64)


def draw_by_hand(count: int, k: int, seed: int) -> tuple[list[int], list[float]]:
    "A number for each task from PCG64 by the seed, 53 of its 64 bits as a share of one; the smallest k, ties by index. Nothing of numpy's Generator."
    bits = np.random.PCG64(seed)
    scores = [(int(bits.random_raw()) >> 11) / 2 ** 53 for _ in range(count)]
    order = sorted(range(count), key=lambda place: (scores[place], place))[:k]
    return order, [scores[place] for place in order]


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 400), st.integers(0, 405), st.integers(0, 2**64))
def test_random_is_the_draw_that_is_documented(count: int, k: int, seed: int):
    indices, scores = select_replay(np.ones((count, 3)), None, k, 'random', seed)
    wanted, values = draw_by_hand(count, k, seed)
    assert indices.tolist() == wanted and scores.tolist() == values


def test_random_is_even():
    "Over 6,000 seeds every order of three of five tasks comes as often as any other (chi square of 60 orders, whose 0.9999 quantile is 103), and the scores are even in [0, 1)."
    counts, scores = Counter(), []
    for seed in range(6000):
        indices, values = select_replay(np.ones((5, 1)), None, 5, 'random', seed)
        counts[tuple(indices[:3].tolist())] += 1
        scores += values.tolist()
    assert len(counts) == 60 and sum((number - 100) ** 2 / 100 for number in counts.values()) < 103
    ranked, even = np.sort(scores), (np.arange(30_000) + .5) / 30_000
    assert 0 <= ranked[0] and ranked[-1] < 1 and np.abs(ranked - even).max() < 2.23 / math.sqrt(30_000)  # Kolmogorov and Smirnov at 1 in 10,000


# ---- order, ties, copies

def test_diverse_is_similar_read_backwards():
    previous, current = drawn(1, 500, 50, 24)
    least, most = (select_replay(previous, current, 500, strategy) for strategy in ('instr_diverse', 'instr_similar'))
    assert least[0].tolist() == most[0].tolist()[::-1] and least[1].tolist() == most[1].tolist()[::-1]
    assert (np.diff(least[1]) > 0).all()


def test_copies_have_one_score_and_come_by_index():
    "At every place in a block and for every length of the row."
    for width in (2, 3, 7, 8, 129, 384, 1001, 9000):
        previous, current = drawn(width, 6, 30, width)
        places = np.random.default_rng(width).integers(0, 6, 240)
        copies = previous[places]
        for strategy in SUMS:
            indices, scores = select_replay(copies, current, 240, strategy)
            assert len(set(scores.tolist())) <= 6
            for one in range(6): assert (found := [index for index in indices.tolist() if places[index] == one]) == sorted(found)
            assert [places[index] for index in indices] == sorted(places.tolist(), key=[places[index] for index in indices].index)  # copies stand together


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(SUMS))
def test_length_and_sparsity_are_no_reason_to_come_first(seed: int, strategy: str):
    "Copies at other lengths, and numbers in another order where all numbers count the same, tie but for rounding."
    rng = np.random.default_rng(seed)
    row = rng.standard_normal(12)
    previous = np.array([*(row * scale for scale in rng.uniform(1e-3, 1e3, 10)), *(rng.permutation(row) for _ in range(10))])
    current = np.ones((7, 12)) * rng.uniform(.1, 9, (7, 1))
    if strategy == 'instr_support': previous = previous[:10]
    indices, scores = select_replay(previous, current, 20, strategy)
    assert indices.tolist() == list(range(len(previous))) and len(set(scores.tolist())) == 1
    assert select_replay(sparse.csr_matrix(previous), current, 20, strategy)[0].tolist() == indices.tolist()
    assert greedy_diverse(previous[:10], current, 10)[0].tolist() == list(range(10))


def test_blocks_change_no_bit():
    for width in (1, 2, 3, 17, 384, 9001):
        previous, current = drawn(width, 90, 40, width, np.float32)
        for make in (np.asarray, np.asfortranarray, lambda rows: sparse.csr_matrix(np.where(np.abs(rows) > 1, rows, 0))):
            first, second = make(previous), make(current)
            wanted = cosine_sums(first, second)
            total = unit_sum(second)
            for block in (1, width, 3 * width + 1, 10**9):
                assert cosine_sums(first, second, block).tobytes() == wanted.tobytes()
                assert unit_sum(second, block).tobytes() == total.tobytes()
                assert unit_dots(first, total, block).tobytes() == unit_dots(first, total).tobytes()


def test_the_same_with_other_threads():
    code = ("import numpy as np; from instructgen.replay import select_replay; rng = np.random.default_rng(0); a, b = rng.random((3000, 64)), rng.random((500, 64));"
            "print([[part.tobytes().hex()[:4000] for part in select_replay(a, b, 80, name)] for name in ('instr_diverse', 'instr_support', 'greedy_diverse', 'random')])")
    found = {subprocess.run([sys.executable, '-c', code], env={**os.environ, 'OMP_NUM_THREADS': threads, 'OPENBLAS_NUM_THREADS': threads, 'PYTHONHASHSEED': threads}, check=True,
                            capture_output=True, text=True).stdout for threads in ('1', '2')}
    assert len(found) == 1 and len(next(iter(found))) > 5000


def test_less_memory_than_a_copy():
    "Beside the inputs there is no copy of them, and no matrix."
    previous, current = drawn(3, 20_000, 2000, 128, np.float32)  # 10 MB and 1 MB; the matrix would be 160 to 320 MB
    for strategy in SUMS:
        tracemalloc.start()
        select_replay(previous, current, 50, strategy)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 6 * 2**20, (strategy, peak)


def test_a_smaller_choice_begins_the_larger_one():
    previous, current = drawn(2, 80, 20, 9)
    for strategy in STRATEGIES:
        few, many = select_replay(previous, current, 11, strategy, 5), select_replay(previous, current, 60, strategy, 5)
        assert few[0].tolist() == many[0].tolist()[:11] and few[1].tolist() == many[1].tolist()[:11]
        assert len(set(many[0].tolist())) == len(many[0]) == (0 if strategy == 'none' else 60)


def test_random_is_drawn_by_the_seed_alone():
    previous, current = drawn(4, 400, 20, 9)
    one = select_replay(previous, current, 20, 'random', 1)
    assert one[0].tolist() == select_replay(previous * 3, None, 20, 'random', 1)[0].tolist()
    assert one[0].tolist() != select_replay(previous, current, 20, 'random', 2)[0].tolist()
    counts = np.bincount(np.concatenate([select_replay(previous[:10], None, 3, 'random', seed)[0] for seed in range(2000)]), minlength=10)
    assert (abs(counts - 600) < 5 * math.sqrt(600 * .7)).all()  # each of ten is drawn three times in ten


def test_greedy_takes_no_copy_where_there_is_something_else():
    previous, current = drawn(6, 5, 30, 40)
    indices, scores = greedy_diverse(np.repeat(previous, 4, axis=0), current, 20)
    assert len({index // 4 for index in indices[:5]}) == 5
    assert (np.diff(scores) >= -1e-12).all() and (scores[5:] > .9).all()


def test_level_ties_on_chains():
    scores = np.array([1., 5., 1 + 2e-10, 1 + 1e-10, 5 - 1e-10, 1 + 1e-6])
    assert level_ties(scores, 1.5e-10).tolist() == [1, 5 - 1e-10, 1, 1, 5 - 1e-10, 1 + 1e-6]
    assert level_ties(np.zeros(0), 1).tolist() == []
    assert level_ties(np.zeros(3), 0).tolist() == [0, 0, 0]


# ---- odd input

@pytest.mark.parametrize('strategy', STRATEGIES)
@pytest.mark.parametrize('value', (np.nan, np.inf, -np.inf))
def test_numbers_that_are_none_are_named(strategy: str, value: float):
    previous, current = drawn(1, 700, 20, 384)
    previous[613, 5] = value
    with pytest.raises(ValueError, match='row 613 of previous has a number that is nan or infinite'): select_replay(previous, current, 5, strategy)
    with pytest.raises(ValueError, match='row 13 of current'): select_replay(current, previous[600:], 5, strategy)
    for matrix in (sparse.csr_matrix(np.where(np.arange(384) % 9 == 5, previous, 0)), sparse.coo_matrix(previous)):
        with pytest.raises(ValueError, match='row 613 of previous'): select_replay(matrix, current, 5, strategy)


@pytest.mark.parametrize('strategy', STRATEGIES)
def test_nothing_previous_gives_nothing(strategy: str):
    for empty in ([], np.zeros((0, 4)), np.zeros((0, 0)), sparse.csr_matrix((0, 4))):
        for current in ([[1., 2.]], [], None): assert [part.tolist() for part in select_replay(empty, current, 5, strategy)] == [[], []]


@pytest.mark.parametrize('strategy', STRATEGIES)
def test_nothing_current(strategy: str):
    for empty in ([], None, np.zeros((0, 2)), np.zeros((0, 9))):
        if STRATEGIES[strategy].needs_current:
            with pytest.raises(ValueError, match=f'{strategy} compares with current tasks, and there are none'): select_replay(np.eye(2), empty, 1, strategy)
        else: assert len(select_replay(np.eye(2), empty, 1, strategy)[0]) == (strategy != 'none')


@pytest.mark.parametrize('strategy', STRATEGIES)
def test_arguments_that_make_no_sense(strategy: str):
    good = np.eye(3)
    for k in (2., '2', None, True, np.True_, [1], np.array([1, 2])):
        with pytest.raises(TypeError, match='k is .*, want a whole number'): select_replay(good, good, k, strategy)
    with pytest.raises(ValueError, match='k is -1, want 0 or more'): select_replay(good, good, -1, strategy)
    with pytest.raises(ValueError, match='seed is -1'): select_replay(good, good, 1, strategy, -1)
    with pytest.raises(TypeError, match='seed is 0.5'): select_replay(good, good, 1, strategy, .5)
    with pytest.raises(ValueError, match='previous tasks have 3 numbers and those of current tasks 2'): select_replay(good, np.eye(2), 1, strategy)
    with pytest.raises(ValueError, match=r'previous has the shape \(3,\)'): select_replay(good[0], good, 1, strategy)
    with pytest.raises(ValueError, match=r'current has the shape \(1, 3, 3\)'): select_replay(good, good[None], 1, strategy)
    with pytest.raises(ValueError, match='previous has rows of different lengths'): select_replay([[1., 2.], [1.]], good, 1, strategy)
    with pytest.raises(TypeError, match='current holds complex128, want numbers'): select_replay(good, good * 1j, 1, strategy)
    with pytest.raises(TypeError, match='previous holds object'): select_replay(None, good, 1, strategy)
    assert select_replay(good, good, 0, strategy)[0].tolist() == []
    assert len(select_replay(good, good, np.int32(99), strategy)[0]) == (0 if strategy == 'none' else 3)


def test_unknown_strategies_name_the_known():
    with pytest.raises(ValueError, match='no strategy .best., there are none, random, instr_diverse, instr_similar, instr_support, data_diverse, greedy_diverse'):
        select_replay(np.eye(2), np.eye(2), 1, 'best')


def test_vectors_without_direction_score_nothing():
    previous, current = np.array([[0., 0.], [1., 1.], [-1., 0.]]), np.array([[1., 0.], [0., 0.]])
    assert select_replay(previous, current, 3, 'instr_diverse')[0].tolist() == [2, 0, 1]
    assert dict(zip(*select_replay(previous, current, 3, 'instr_diverse')))[0] == 0
    assert dict(zip(*select_replay(previous, current, 3, 'instr_support')))[0] == 0
    assert select_replay(np.zeros((3, 2)), np.zeros((1, 2)), 2)[0].tolist() == [0, 1]
    assert select_replay(np.zeros((3, 0)), np.zeros((1, 0)), 2)[1].tolist() == [0, 0]


def test_very_large_and_very_small_numbers():
    previous, current = np.array([[3e300, 4e300], [5e-324, 0.], [-1e-200, 1e-200]]), np.array([[1e308, 1e308], [1e-310, 0.]])
    indices, scores = select_replay(previous, current, 3, 'instr_similar')
    assert indices.tolist() == [1, 0, 2]
    np.testing.assert_allclose(scores, [1 + math.sqrt(.5), 1.4 / math.sqrt(2) + .6, -math.sqrt(.5)], rtol=1e-12)


def test_inputs_stay_as_they_are():
    previous, current = drawn(8, 30, 10, 6)
    stages = (previous, current), (sparse.csr_matrix(previous), sparse.csr_matrix(current))
    for strategy in STRATEGIES:
        for first, second in stages:
            before = [np.array(stage.toarray() if sparse.issparse(stage) else stage) for stage in (first, second)]
            select_replay(first, second, 5, strategy)
            for stage, kept in zip((first, second), before): np.testing.assert_array_equal(stage.toarray() if sparse.issparse(stage) else stage, kept)


def test_sparse_matrices_in_disorder():
    "Entries that are given twice add up; their order, and zeros that are stored, change nothing."
    twice = sparse.csr_matrix((np.array([1., 2., 3., 0., 1.]), np.array([1, 0, 1, 0, 1]), np.array([0, 3, 5])), shape=(2, 2))
    indices, scores = select_replay(twice, np.array([[1., 0.]]), 2, 'instr_similar')
    np.testing.assert_allclose(scores, [2 / math.sqrt(20), 0], atol=1e-15)
    assert (indices.tolist(), twice.nnz) == ([0, 1], 5)


# ---- strategies as data

def test_strategies_are_listed_and_frozen():
    assert all(name == strategy.name for name, strategy in STRATEGIES.items())
    assert {name for name, strategy in STRATEGIES.items() if not strategy.ours} == {'none', *SUMS}
    assert {name for name, strategy in STRATEGIES.items() if strategy.needs_examples} == {'data_diverse'}
    with pytest.raises(TypeError): STRATEGIES['mine'] = STRATEGIES['none']
    with pytest.raises(dataclasses.FrozenInstanceError): STRATEGIES['none'].pick = 'largest'
    assert json.dumps([dataclasses.asdict(strategy) for strategy in STRATEGIES.values()])


# ---- encoders

def test_tfidf_is_that_of_the_selection_of_tasks():
    instructions, definitions = ['Tell the mood of the text.', 'Sort the long list.', 'of the'], ['What mood has the text?', 'Sort it by length.']
    vectors = embed_texts([*definitions, *instructions])
    cosines = (vectors[2:] @ vectors[:2].T).toarray()
    places, nearest = nearest_definition(instructions, definitions)
    np.testing.assert_allclose(cosines.max(axis=1), nearest, atol=1e-12)
    assert cosines.argmax(axis=1).tolist() == places.tolist()


def test_texts_are_encoded_once_in_their_order():
    asked = []
    def encode(texts: list[str]) -> np.ndarray:
        asked.append(texts)
        return np.array([[len(text), number] for number, text in enumerate(texts)], np.float32)
    vectors = embed_texts(['b', 'aa', 'b', 'b', 'c'], encode)
    assert asked == [['b', 'aa', 'c']]
    assert vectors.tolist() == [[1, 0], [2, 1], [1, 0], [1, 0], [1, 2]]
    assert embed_texts([], encode).shape == (0, 0) and len(asked) == 1


def test_encoders_that_give_too_little_are_refused():
    for result, kind, message in (([[1.]], ValueError, 'gave 1 vectors for 2 texts'), ([1., 2.], ValueError, 'the result of the encoder has the shape'),
                                  ([[1.], [math.nan]], ValueError, 'row 1 of the result of the encoder'), (None, TypeError, 'the result of the encoder holds object')):
        with pytest.raises(kind, match=message): embed_texts(['a', 'b'], lambda texts: result)
    for texts in ('abc', ['a', 1], [None]):
        with pytest.raises(TypeError, match='want a list of texts'): embed_texts(texts)
    for encoder in ('', 'TFIDF', 'roberta', 'sentence-transformers:', 'published:x', 3):
        with pytest.raises(ValueError, match='no encoder'): embed_texts(['a'], encoder)


@pytest.mark.parametrize('encoder', ('published', 'sentence-transformers:all-MiniLM-L6-v2'))
def test_a_missing_library_is_named_and_not_replaced(encoder: str, monkeypatch):
    monkeypatch.setitem(sys.modules, 'sentence_transformers', None)  # as if it were not installed
    for call in (lambda: open_encoder(encoder), lambda: embed_texts(['a'], encoder), lambda: embed_texts([], encoder)):
        with pytest.raises(ImportError, match=rf"encoder '{encoder}' needs sentence-transformers .*pip install 'instructgen\[embeddings\]'; no other encoder takes its place"): call()


def fake_library(monkeypatch, load) -> None:
    library = types.ModuleType('sentence_transformers')
    library.SentenceTransformer = load
    monkeypatch.setitem(sys.modules, 'sentence_transformers', library)


def test_published_asks_for_its_own_weights_and_no_others(monkeypatch):
    asked = []
    def load(name: str):
        asked.append(name)
        if name != 'here': raise OSError('no connection')
        return types.SimpleNamespace(encode=lambda texts, **_: np.array([[len(text), 1] for text in texts], np.float32))
    fake_library(monkeypatch, load)
    with pytest.raises(OSError, match=rf"encoder 'published': the weights of {PUBLISHED_ENCODER} could not be loaded \(no connection\); no other encoder"): embed_texts(['a'], 'published')
    encode = open_encoder('sentence-transformers:here')
    assert embed_texts(['a', 'bb'], encode).tolist() == embed_texts(['a', 'bb'], 'sentence-transformers:here').tolist() == [[1, 1], [2, 1]]
    assert asked == [PUBLISHED_ENCODER, 'here', 'here']


@pytest.fixture(scope='module')
def sentence_encoder(shared_data, tmp_path_factory) -> str:
    "A sentence transformer in a folder: real weights, mean of the tokens, length 1."
    library = pytest.importorskip('sentence_transformers')
    from sentence_transformers import models
    words = models.Transformer(str(shared_data / 'models' / 'stories260K'))
    if words.tokenizer.pad_token is None: words.tokenizer.pad_token = words.tokenizer.eos_token
    folder = tmp_path_factory.mktemp('encoder')
    library.SentenceTransformer(modules=[words, models.Pooling(words.get_word_embedding_dimension()), models.Normalize()], device='cpu').save(str(folder))
    return f'sentence-transformers:{folder}'


def test_a_real_sentence_transformer(sentence_encoder: str):
    texts = ['Name the colour of the car.', 'Sort these numbers.', 'Name the colour of the car.', 'Name the colour of the house.']
    vectors = embed_texts(texts, sentence_encoder)
    assert vectors.shape[0] == 4 and (vectors[0] == vectors[2]).all()
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    indices, _ = select_replay(vectors[1:], vectors[:1], 3, 'instr_similar')
    assert indices.tolist() == [1, 2, 0]
    with pytest.raises(OSError, match='could not be loaded'): open_encoder('sentence-transformers:/no/such/folder')


# ---- vectors of tasks

def example(task: str, number: int, instruction: str = '', **more) -> Example:
    return Example(f'{task}-{number}', instruction or f'Do {task}.', more.pop('input', f'text {number} of {task}'), more.pop('output', f'answer {number}'), task_id=task, **more)


def test_tasks_come_sorted_whatever_the_order():
    rows = [example(task, number) for task in 'delta alpha gamma'.split() for number in range(15)]
    for embed in (embed_tasks, embed_examples):
        ids, vectors = embed(rows)
        shuffled = random.Random(1).sample(rows, len(rows))
        other, same = embed(iter(shuffled))
        assert ids == other == ('alpha', 'delta', 'gamma')
        np.testing.assert_array_equal(vectors.toarray(), same.toarray())
        assert embed([])[0] == () and embed([])[1].shape == (0, 0)


def test_rendered_templates_are_compared_by_their_own_words():
    asked = []
    def encode(texts: list[str]) -> list[list[float]]:
        asked.extend(texts)
        return [[1.]] * len(texts)
    embed_tasks([Example(f'{number}', f'Question: {word} of what?\nAnswer the question.', '', 'x', task_id='qa') for number, word in enumerate(('cats', 'dogs', 'rain'))]
                + [example('plain', 0, 'Sort it.'), Example('7', 'No task id.', 'a', 'b')], encode)
    assert sorted(asked) == ['No task id.', 'Sort it.', 'question of what answer the']


def test_eight_prompts_are_compared_whichever_come_first():
    asked = []
    def encode(texts: list[str]) -> list[list[float]]:
        asked.append(texts)
        return [[1.]]
    prompts = [f'Question {number}: ' + ' '.join(word for place, word in enumerate('of which city is this river part today'.split()) if place != number % 9) for number in range(9, 0, -1)]
    for found in (prompts, prompts[::-1], prompts[4:] + prompts[:4]): embed_tasks([Example(str(number), text, '', 'x', task_id='t') for number, text in enumerate(found)], encode)
    assert asked[0] == asked[1] == asked[2] == [shared_words(sorted(prompts)[:8])] and asked[0] != [shared_words(prompts)]


def test_examples_become_the_mean_of_their_vectors():
    texts = {}
    def encode(found: list[str]) -> np.ndarray:
        return np.array([texts.setdefault(text, np.random.default_rng(len(texts)).standard_normal(5)) for text in found])
    rows = [example(task, number) for task in ('one', 'two') for number in range(3)]
    ids, vectors = embed_examples(rows, encode)
    assert ids == ('one', 'two') and set(texts) == {f'{row.input}\n{row.output}' for row in rows}
    for task, vector in zip(ids, vectors):
        mean = np.mean([texts[f'{row.input}\n{row.output}'] for row in rows if row.task_id == task], axis=0)
        np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), atol=1e-12)


def test_what_is_read_of_an_example():
    asked = []
    def encode(texts: list[str]) -> list[list[float]]:
        asked.append(texts)
        return [[1.]] * len(texts)
    row = example('a', 0, 'Instruction.', input='x' * 30, output='y' * 30)
    for rows, options in (([row], {'limit': 4}), ([row], {'limit': 4, 'input_only': True}), ([example('a', 0, 'Prompt.', input='', context='context')], {}),
                          ([example('a', 0, 'Prompt.', input='')], {}), ([row, row, row], {'limit': 2})): embed_examples(rows, encode, **options)
    assert asked == [['xxxx\nyyyy'], ['xxxx'], ['context\nanswer 0'], ['Prompt.\nanswer 0'], ['xx\nyy']]
    for name in ('instances', 'limit'):
        with pytest.raises(ValueError, match=f'{name} is 0, want 1 or more'): embed_examples([row], encode, **{name: 0})


def test_so_many_examples_are_drawn_by_the_seed():
    asked = []
    def encode(texts: list[str]) -> list[list[float]]:
        asked.append(sorted(texts))
        return [[1.]] * len(texts)
    rows = [example('a', number) for number in range(200)]
    for found, seed in ((rows, 0), (rows[::-1], 0), (rows, 1)): embed_examples(found, encode, seed=seed)
    assert asked[0] == asked[1] != asked[2] and [len(texts) for texts in asked] == [10, 10, 10]
    assert len({int(text.split()[1]) for text in asked[0]} - set(range(10))) > 5  # not the first ten


def test_data_diverse_end_to_end():
    "Previous tasks about numbers, current ones about animals: those about animals are replayed last."
    about = {'adder': '12 plus 7', 'sorter': '9 before 12', 'zookeeper': 'the lion eats meat', 'farmer': 'the horse eats hay'}
    rows = [example(task, number, 'Answer.', input=f'{text} case{number}', output='done') for task, text in about.items() for number in range(4)]
    ids, vectors = embed_examples(rows)
    old, new = [ids.index(task) for task in ('adder', 'sorter', 'zookeeper')], [ids.index('farmer')]
    indices, scores = select_replay(vectors[old], vectors[new], 3, 'data_diverse')
    assert indices.tolist()[-1] == 2 and scores[2] > scores[1]
    np.testing.assert_allclose(scores, (vectors[old] @ vectors[new].T).toarray().ravel()[indices], atol=1e-12)
