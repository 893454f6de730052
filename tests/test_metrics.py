"""Metrics, intervals and scores: published vectors, agreement with the libraries that made the published numbers, faults."""
import gzip
import json
import math
import os
import random
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from instructgen.intervals import bootstrap_interval, bootstrap_tasks, f1_interval, mean_interval, paired_bootstrap, sign_test, sign_test_of
from instructgen.meteor import align_words, meteor, meteor_exact, treebank_words
from instructgen.metrics import METRICS, accuracy, exact_match, find_metric, macro_f1, rouge_l, squad, squad_answer, squad_exact, weighted_f1
from instructgen.rouge import rouge_tokens
from instructgen.scores import Score, ScoreRow, best_of, check_pairs, read_scores, write_scores
from instructgen.wordnet import PARTS, WordNet, open_wordnet

FILES = [name for part in PARTS for name in (f'data.{part}', f'index.{part}', f'{part}.exc')]
WITHOUT_WORDNET = [name for name in METRICS if name != 'meteor']


@pytest.fixture(scope='session')
def systems(shared_data: Path) -> dict[str, list[tuple[str, str]]]:
    "Of each of eight systems its answers to 252 instructions, with their references."
    found = {}
    for path in sorted((shared_data / 'eval/user_oriented/human_eval_predictions').glob('*.jsonl.gz')):
        with gzip.open(path, 'rt', encoding='utf-8') as file: rows = [json.loads(line) for line in file]
        found[path.name.removesuffix('_predictions.jsonl.gz')] = [(row['response'], row['target']) for row in rows]
    assert len(found) == 8 and {len(rows) for rows in found.values()} == {252}
    return found


@pytest.fixture(scope='session')
def real_pairs(systems: dict[str, list[tuple[str, str]]]) -> list[tuple[str, str]]:
    return [pair for rows in systems.values() for pair in rows]


@pytest.fixture(scope='session')
def wordnet_folder() -> Path:
    try: return open_wordnet().folder
    except FileNotFoundError as error: pytest.skip(str(error))


def values(metric: Callable, pairs: list[tuple[str, str]], **options) -> tuple[float, ...]:
    return metric([prediction for prediction, _ in pairs], [[reference] for _, reference in pairs], **options).per_item


# ---- ROUGE-L

VECTORS = [  # prediction, references, ROUGE-L by rouge_score 0.1.2, exact match
    ('Yes.', ['yes'], 1., 1), ('The cats were running', ['the cat runs', 'dogs sleep'], .8571, 0), ('', ['x'], 0., 0), ('not_equivalent', ['not equivalent'], 1., 0),
    ('A', ['The answer is A'], .4, 0), ('3.5', ['3,5'], 1., 1), ("It's raining", ['its raining'], .4, 1), ('café', ['cafe'], 0., 0)]


@pytest.mark.parametrize('prediction, references, overlap, same', VECTORS)
def test_the_published_vectors_hold(prediction: str, references: list[str], overlap: float, same: int):
    assert rouge_l([prediction], [references]).value == pytest.approx(overlap, abs=5e-5)
    assert exact_match([prediction], [references]).value == same


def test_rouge_l_equals_rouge_score_on_real_pairs(real_pairs: list):
    scorer = pytest.importorskip('rouge_score.rouge_scorer').RougeScorer(['rougeL'], use_stemmer=True)
    pairs = real_pairs + [(one, other) for (one, _), (_, other) in zip(real_pairs[:400], real_pairs[1:401])] + [(one, one) for one, _ in real_pairs[:100]]
    wanted = [scorer.score(reference, prediction)['rougeL'].fmeasure for prediction, reference in pairs]
    assert max(abs(a - b) for a, b in zip(values(rouge_l, pairs), wanted, strict=True)) < 1e-9


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from('running runs ran the The 3.5 cats\' naïve über ÄÖ ﬁne I\'m \n _ studies 𝔘'.split(' ')), max_size=9), st.text(max_size=30))
def test_rouge_l_equals_rouge_score_on_odd_texts(words: list[str], text: str):
    scorer = pytest.importorskip('rouge_score.rouge_scorer').RougeScorer(['rougeL'], use_stemmer=True)
    for prediction, reference in ((' '.join(words), text + ' runs the'), (text, ' '.join(words)), (text, text)):
        assert rouge_l([prediction], [[reference]]).value == pytest.approx(scorer.score(reference, prediction)['rougeL'].fmeasure, abs=1e-9)


@settings(deadline=None)
@given(st.text(max_size=40), st.text(max_size=40))
def test_rouge_l_is_symmetric_and_1_for_itself(one: str, other: str):
    for tokens in ('stems', 'words', 'whitespace'):
        assert rouge_l([one], [[other]], tokens).value == rouge_l([other], [[one]], tokens).value
    assert rouge_l([one], [[one]]).value == (1. if rouge_tokens(one) else 0.)


def test_more_different_words_than_there_are_characters():
    text = ' '.join(f'w{n}' for n in range(1_200_000))  # as letters they would not fit into Unicode
    assert rouge_l([text], [['w0 w1199999']], 'whitespace').value == pytest.approx(4 / 1_200_002)


def test_another_tokenizer_has_another_name():
    names = [rouge_l(['a'], [['a']]).name, *(rouge_l(['a'], [['a']], tokens).name for tokens in ('words', 'whitespace'))]
    assert names == ['rouge_l', 'rouge_l_words', 'rouge_l_whitespace']
    assert rouge_l(['东京 is'], [['东京']], 'words').value == pytest.approx(.8)  # each sign a word


# ---- METEOR

class Fake:
    "What nltk wants of WordNet: for a word senses, of a sense words, of a word its name."
    def __init__(self, known: dict[str, set[str]]): self.known = known
    def synsets(self, word: str) -> list: return [Fake({'': self.known.get(word, set())})]
    def lemmas(self) -> list: return [Name(word) for word in self.known['']]


class Name:
    def __init__(self, word: str): self.word = word
    def name(self) -> str: return self.word


METEOR_VECTORS = [
    ('It is a guide to action which ensures that the military always obeys the commands of the party', 'It is a guide to action that ensures that the military will forever heed Party commands', .6944),
    ('the cat sat on the mat', 'the cat sat on the mat', .9977), ('on the mat sat the cat', 'the cat sat on the mat', .5), ('yes', 'yes', .5), ('non matching words', 'this is a cat', 0.),
    ('', 'x', 0.), ('x', '', 0.)]


@pytest.mark.parametrize('prediction, reference, wanted', METEOR_VECTORS)
def test_the_vectors_of_meteor_hold(prediction: str, reference: str, wanted: float):
    assert meteor_exact([prediction], [[reference]], 'whitespace').value == pytest.approx(wanted, abs=5e-5)


VOCABULARY = 'car auto happy glad glads runs running run the a of automobile dogs dog hound'.split()


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(VOCABULARY), max_size=12), st.lists(st.sampled_from(VOCABULARY), max_size=12),
       st.dictionaries(st.sampled_from(VOCABULARY + ['happi']), st.sets(st.sampled_from(VOCABULARY + ['happi']))))
def test_words_are_paired_as_nltk_pairs_them(ours: list[str], theirs: list[str], known: dict[str, set[str]]):
    wanted = pytest.importorskip('nltk.translate.meteor_score').align_words(ours, theirs, wordnet=Fake(known))[0]
    assert align_words(ours, theirs, lambda word: known.get(word, set()) | {word}) == wanted


def test_meteor_exact_equals_nltk_on_real_pairs(real_pairs: list):
    from nltk.translate.meteor_score import single_meteor_score
    pairs = real_pairs[::2]
    wanted = [single_meteor_score(treebank_words(reference), treebank_words(prediction), wordnet=Fake({})) for prediction, reference in pairs]
    assert max(abs(a - b) for a, b in zip(values(meteor_exact, pairs), wanted, strict=True)) < 1e-12


@pytest.fixture(scope='session')
def nltk_wordnet(wordnet_folder: Path, tmp_path_factory: pytest.TempPathFactory):
    "nltk's reader of the same database; it wants a list of file names that not every package has."
    from nltk import data
    from nltk.corpus.reader.wordnet import WordNetCorpusReader
    folder = tmp_path_factory.mktemp('wordnet')
    for name in FILES: (folder / name).write_bytes((wordnet_folder / name).read_bytes())
    (folder / 'lexnames').write_text(''.join(f'{n:02}\tfile{n}\t1\n' for n in range(45)))
    data.path.append(str(folder))  # nltk reads in folders that it was told of, and nowhere else
    class Reader(WordNetCorpusReader):
        def map_wn(self, version: str = 'wordnet') -> None: "For other languages only, and it needs one more file."
    yield Reader(str(folder), None)
    data.path.remove(str(folder))


@pytest.mark.filterwarnings('ignore:The multilingual functions')
def test_synonyms_equal_nltks(nltk_wordnet, wordnet_folder: Path):
    ours, known = WordNet(wordnet_folder), sorted(nltk_wordnet.all_lemma_names())
    words = [*known[::9], *(word + ending for word in known[::80] for ending in ('s', 'es', 'ed', 'ing', 'er', 'est', 'ves', 'men')), 'Children', 'mice', 'went', "n't", '.', '']
    assert len(words) > 20_000
    for word in words:
        assert ours.synonyms(word) == {name for sense in nltk_wordnet.synsets(word) for name in sense.lemma_names() if '_' not in name} | {word}, word


@pytest.mark.filterwarnings('ignore:The multilingual functions')
def test_meteor_equals_nltk_on_real_pairs(nltk_wordnet, real_pairs: list):
    from nltk.translate.meteor_score import single_meteor_score
    pairs = real_pairs[::2]
    wanted = [single_meteor_score(treebank_words(reference), treebank_words(prediction), wordnet=nltk_wordnet) for prediction, reference in pairs]
    found = values(meteor, pairs)
    assert max(abs(a - b) for a, b in zip(found, wanted, strict=True)) < 1e-12
    assert math.fsum(found) > math.fsum(values(meteor_exact, pairs))


def write_tiny(folder: Path) -> Path:
    "A database of two senses: car and auto; glad and happy."
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES: (folder / name).write_text('')
    one = '00000000 06 n 03 car 0 motor_car 0 auto 0 000 | a motor vehicle\n'
    (folder / 'data.noun').write_text(one)
    (folder / 'index.noun').write_text('  1 a licence\ncar n 1 0 1 1 00000000\nauto n 1 0 1 0 00000000\n')
    (folder / 'data.adj').write_text('00000000 00 a 02 glad(p) 0 happy 0 000 | pleased\n')
    (folder / 'index.adj').write_text('glad a 1 0 1 1 00000000\nhappy a 1 0 1 0 00000000\n')
    (folder / 'adj.exc').write_text('gladder glad\n')
    return folder


def test_synonyms_make_a_pair_and_stems_hide_some(tmp_path: Path):
    folder = str(write_tiny(tmp_path))
    assert meteor(['cars'], [['auto']], wordnet=folder) == Score('meteor', .5, (.5,), 1)
    assert meteor(['glad'], [['happy']], wordnet=folder).value == 0  # 'happi' is what is left of it
    assert open_wordnet(folder).synonyms('gladder') == {'gladder', 'glad', 'happy'}
    assert meteor_exact(['cars'], [['auto']]).value == 0


def test_wordnet_is_found_in_nltks_folders_and_zip_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_tiny(tmp_path / 'one' / 'corpora' / 'wordnet')
    packed = tmp_path / 'two' / 'corpora' / 'wordnet.zip'
    packed.parent.mkdir(parents=True)
    with zipfile.ZipFile(packed, 'w') as file:
        for name in FILES: file.write(tmp_path / 'one/corpora/wordnet' / name, f'wordnet/{name}')
    for place in (tmp_path / 'one', tmp_path / 'two', packed): assert open_wordnet(str(place)).synonyms('car') == {'car', 'auto'}
    monkeypatch.setenv('INSTRUCTGEN_WORDNET', str(tmp_path / 'two'))
    open_wordnet.cache_clear()
    assert open_wordnet().synonyms('auto') == {'car', 'auto'}
    open_wordnet.cache_clear()


def test_no_wordnet_is_an_error_that_helps(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match='apt-get install wordnet-base.*meteor_exact'): meteor(['a'], [['a']], wordnet=str(tmp_path))


def test_a_damaged_wordnet_is_named(tmp_path: Path):
    folder = write_tiny(tmp_path)
    (folder / 'index.noun').write_text('car n 1 0 1 1 00000017\n')
    with pytest.raises(ValueError, match='data.noun has no sense at byte 00000017'): WordNet(folder).synonyms('car')


def test_a_missing_model_for_sentences_is_an_error_that_helps(monkeypatch: pytest.MonkeyPatch):
    import nltk
    monkeypatch.setattr(nltk.data, 'path', [])
    with pytest.raises(FileNotFoundError, match='punkt_tab'): meteor_exact(['a'], [['a']], 'punkt')


# ---- answers

def test_squad_equals_transformers_on_real_pairs(real_pairs: list):
    from transformers.data.metrics.squad_metrics import compute_exact, compute_f1
    pairs = [pair for pair in real_pairs if squad_answer(pair[0]) and squad_answer(pair[1])]  # without words SQuAD v2 and v1.1 differ
    assert len(pairs) > 1900
    assert values(squad, pairs) == pytest.approx([compute_f1(reference, prediction) for prediction, reference in pairs])
    assert list(values(squad_exact, pairs)) == [compute_exact(reference, prediction) for prediction, reference in pairs]


def test_squad_takes_the_best_answer_or_the_first():
    predictions, references = ['in 1886'], [['year 1886', '1886', 'in 1886']]
    assert squad(predictions, references) == Score('squad_f1', 1., (1.,), 1)
    assert squad(predictions, references, first=True) == Score('squad_f1_first', .5, (.5,), 1)
    assert squad_exact(predictions, references, first=True) == Score('squad_exact_first', 0., (0.,), 1)
    assert squad(['the'], [['a']]).value == 0 and squad_exact(['the'], [['a']]).value == 1  # as in v1.1


# ---- labels

def by_sklearn(predictions: list[str], gold: list[str], average: str, **options) -> float:
    return pytest.importorskip('sklearn.metrics').f1_score(gold, predictions, average=average, zero_division=0, **options)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(['yes', 'no', 'maybe', '', 'other']), st.sampled_from(['yes', 'no', 'maybe'])), min_size=1, max_size=30))
def test_labels_equal_scikit_learn(pairs: list[tuple[str, str]]):
    predictions, gold = map(list, zip(*pairs))
    references, labels = [[label] for label in gold], ['yes', 'no', 'maybe']
    assert accuracy(predictions, references).value == pytest.approx(sum(a == b for a, b in pairs) / len(pairs))
    assert macro_f1(predictions, references).value == pytest.approx(by_sklearn(predictions, gold, 'macro'))
    assert weighted_f1(predictions, references).value == pytest.approx(by_sklearn(predictions, gold, 'weighted'))
    assert macro_f1(predictions, references, labels).value == pytest.approx(by_sklearn(predictions, gold, 'macro', labels=labels))


def test_labels_equal_scikit_learn_on_real_answers(real_pairs: list):
    predictions, gold = [squad_answer(answer)[:2] for answer, _ in real_pairs], [squad_answer(reference)[:2] for _, reference in real_pairs]  # hundreds of labels
    references = [[label] for label in gold]
    assert len(set(gold)) > 50
    assert macro_f1(predictions, references).value == pytest.approx(by_sklearn(predictions, gold, 'macro'))
    assert weighted_f1(predictions, references).value == pytest.approx(by_sklearn(predictions, gold, 'weighted'))


def test_an_answer_that_is_no_label_is_wrong_and_counts():
    predictions, references = ['yes', 'I think so', '', 'no'], [['yes'], ['yes'], ['no'], ['no']]
    assert accuracy(predictions, references) == Score('accuracy', .5, (1., 0., 0., 1.), 4)
    assert macro_f1(predictions, references).value == pytest.approx(2 / 3 / 2)
    over_labels = macro_f1(predictions, references, ['yes', 'no'])
    assert over_labels.value == pytest.approx(2 / 3) and (over_labels.name, over_labels.per_item) == ('macro_f1_of_labels', (1., 0., 0., 1.))


# ---- all metrics

@pytest.mark.parametrize('name', WITHOUT_WORDNET)
def test_the_name_in_the_table_is_the_name_on_the_score(name: str):
    score = find_metric(name)(['yes', 'no way', ''], [['yes'], ['no'], ['']])
    assert score.name == name and score.n == 3 == len(score.per_item) and 0 <= min(score.per_item) and 0 <= score.value <= 1


@pytest.mark.parametrize('name', WITHOUT_WORDNET)
@pytest.mark.parametrize('predictions, references, error, message', [
    (['a'], [[]], ValueError, 'item 0 has no reference'), (['a', 'b'], [['a']], ValueError, '2 predictions and 1 lists of references'), ([], [], ValueError, 'no predictions'),
    (['a', None], [['a'], ['b']], TypeError, 'prediction of item 1 is None'), (['a'], [[3]], TypeError, 'reference of item 0 is 3'), (['a'], ['a'], TypeError, "references of item 0 are 'a'"),
    (['a'], [None], TypeError, 'references of item 0 are None'), ('a', [['a']], TypeError, 'the predictions are one text')])
def test_bad_input_is_named(name: str, predictions: list, references: list, error: type, message: str):
    with pytest.raises(error, match=message): find_metric(name)(predictions, references)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.text(max_size=12), st.text(max_size=12)), min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_values_do_not_depend_on_the_order_or_the_company_of_items(pairs: list[tuple[str, str]], chance: random.Random):
    shuffled = list(range(len(pairs)))
    chance.shuffle(shuffled)
    for name in WITHOUT_WORDNET:
        together = values(find_metric(name), pairs)
        assert values(find_metric(name), [pairs[place] for place in shuffled]) == tuple(together[place] for place in shuffled), name
        assert values(find_metric(name), pairs[:1]) == together[:1], name


def test_more_references_never_lower_a_score():
    for name in ('rouge_l', 'meteor_exact', 'exact_match', 'squad_f1', 'squad_exact'):
        few, many = (find_metric(name)(['the red car'], [known]).value for known in (['a blue car'], ['a blue car', 'red car', 'x']))
        assert few <= many and best_of('x', lambda a, b: 0., ['a'], [['b', 'c']]).value == 0


WANTED = {  # rouge_l (as rouge_score has it), meteor and meteor_exact (as nltk has them), exact_match; means over 252 answers, times 100
    'davinci-self-instruct-and-superni-ft': (27.4138, 20.8559, 20.3561, 8.7302),
    'davinci-self-instruct': (28.1317, 23.4770, 22.8941, 9.1270),
    'davinci-superni-ft': (25.7647, 20.5943, 20.1441, 9.1270),
    'davinci-t0-ft': (17.1726, 13.1690, 12.8716, 5.1587),
    'davinci': (2.8252, 6.0839, 5.8355, 0.0000),
    'text-davinci-001': (29.0001, 26.4332, 25.8398, 8.3333),
    'text-davinci-002': (33.7882, 29.5653, 29.1048, 8.3333),
    'text-davinci-003': (33.6378, 32.2337, 31.6308, 8.7302)}


@pytest.mark.parametrize('name', ('rouge_l', 'meteor', 'meteor_exact', 'exact_match'))
def test_the_eight_systems_have_their_scores(systems: dict[str, list[tuple[str, str]]], name: str, request: pytest.FixtureRequest):
    if name == 'meteor': request.getfixturevalue('wordnet_folder')
    column, some = ('rouge_l', 'meteor', 'meteor_exact', 'exact_match').index(name), sorted(WANTED)[::3 if name.startswith('meteor') else 1]  # METEOR takes its time
    assert {system: 100 * find_metric(name)(*zip(*((answer, [reference]) for answer, reference in systems[system]))).value for system in some} == pytest.approx({system: WANTED[system][column] for system in some}, abs=1e-3)


# ---- evaluate

def test_modules_load_offline_and_combine(tmp_path: Path):
    program = '''
import sys, evaluate
from instructgen.evaluate_modules import metric_module, write_metric_script
names = sys.argv[2:]
loaded = [evaluate.load(str(write_metric_script(name, sys.argv[1])), keep_in_memory=True) for name in names]
assert [module.name for module in loaded] == names, [module.name for module in loaded]
given, wanted = ['yes', 'the cats', ''], [['yes'], ['the cat'], ['x']]
together = evaluate.combine(loaded).compute(predictions=given, references=wanted)
alone = {key: value for name in names for key, value in metric_module(name).compute(predictions=given, references=wanted).items()}
assert together == alone and list(together) == names, (together, alone)
single = evaluate.combine([metric_module('accuracy'), metric_module('rouge_l')])
single.add_batch(predictions=['yes'], references=['yes'])
single.add(prediction='no', reference='yes')
assert single.compute() == {'accuracy': .5, 'rouge_l': .5}
'''
    environment = {**os.environ, 'HF_HUB_OFFLINE': '1', 'HF_DATASETS_OFFLINE': '1', 'HF_HOME': str(tmp_path / 'home'), 'PYTHONPATH': str(Path(__file__).parent.parent)}
    done = subprocess.run([sys.executable, '-W', 'error::SyntaxWarning', '-c', program, str(tmp_path / 'scripts'), *WITHOUT_WORDNET], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]


# ---- scores

def test_scores_come_back_as_they_were_written(tmp_path: Path):
    rows = [ScoreRow('six held-out tasks', 'rouge_l', 1 / 3, 600, .3, .35, 'task', 'task363 ü', 'clean', 'bonito', 'pretrained', 'local:x', 3, 'tiny', '"quoted"'), ScoreRow('b', 'accuracy', 1, 0)]
    path = write_scores(tmp_path, iter(rows), model='x', minutes=2)
    assert read_scores(tmp_path) == rows and json.loads(path.read_text())['minutes'] == 2 and [file.name for file in tmp_path.iterdir()] == ['scores.json']
    with pytest.raises(TypeError, match='is no ScoreRow'): write_scores(tmp_path, [{'benchmark': 'x'}])
    with pytest.raises(ValueError, match='not JSON compliant'): write_scores(tmp_path, rows, loss=math.nan)
    assert read_scores(tmp_path) == rows and read_scores(tmp_path / 'nowhere') == []


@pytest.mark.parametrize('text', ['', '[]', '{"rows": 1}', '{"rows": [{"benchmark": "b"}]}', '{"rows": [{"benchmark": "b", "metric": "m", "value": 2, "n": 1}]}', '{"rows": [{"colour": 1}]}', '{"tables": []}'])
def test_a_damaged_file_of_scores_is_named(tmp_path: Path, text: str):
    (tmp_path / 'scores.json').write_text(text)
    with pytest.raises(ValueError, match='scores.json does not hold rows of scores'): read_scores(tmp_path)


@pytest.mark.parametrize('wrong, error', [({'value': math.nan}, ValueError), ({'value': None}, TypeError), ({'value': 1.2}, ValueError), ({'value': '1'}, TypeError), ({'n': 1.5}, TypeError), ({'n': True}, TypeError),
                                          ({'n': -1}, ValueError), ({'low': .1}, ValueError), ({'low': -.1, 'high': .2}, ValueError), ({'part': None}, TypeError), ({'subset': 'some'}, ValueError), ({'level': ''}, ValueError)])
def test_a_row_refuses_what_it_cannot_be(wrong: dict, error: type):
    with pytest.raises(error): ScoreRow(**{'benchmark': 'b', 'metric': 'm', 'value': .5, 'n': 1, **wrong})


def test_pairs_are_counted():
    assert check_pairs(('a', 'b'), (('a',), ['b', 'c'])) == 2
    with pytest.raises(ValueError, match='want a value'): Score('x', math.nan, (1.,), 1)


# ---- intervals

def test_intervals_of_means_agree_with_each_other():
    chance = random.Random(1)
    items = [chance.random() for _ in range(300)]
    for other in (bootstrap_interval(items), bootstrap_tasks({str(n): [value] for n, value in enumerate(items)}), bootstrap_tasks({str(n): [value] * 5 for n, value in enumerate(items)}, 'micro')):
        assert mean_interval(items) == pytest.approx(other, abs=.01)


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    chance, inside, groups = np.random.default_rng(0), 0, 0
    for trial in range(200):
        low, high = mean_interval(chance.random(60), draws=400, seed=trial)
        inside += low <= .5 <= high
        tasks = {str(n): np.clip(level + chance.normal(0, .1, 30), 0, 1) for n, level in enumerate(chance.random(30) * .6 + .2)}  # tasks differ far more than their items
        low, high = bootstrap_tasks(tasks, draws=400, seed=trial)
        groups += low <= .5 <= high
    assert 176 <= inside <= 198 and 176 <= groups <= 198


def test_micro_and_macro_differ_where_tasks_differ_in_size():
    tasks = {'large': [1.] * 98, 'small': [0.] * 2, 'other': [0.] * 2}
    assert bootstrap_tasks(tasks, 'micro')[1] == bootstrap_tasks(tasks)[1] == 1.  # the large one alone
    halves = {str(n): [float(n % 2)] * (9 if n % 2 else 1) for n in range(40)}
    (macro_low, macro_high), (micro_low, micro_high) = bootstrap_tasks(halves), bootstrap_tasks(halves, 'micro')
    assert macro_low < .5 < macro_high < .8 < micro_low < .9 < micro_high
    with pytest.raises(ValueError, match='want macro or micro'): bootstrap_tasks(tasks, 'all')
    assert math.isnan(bootstrap_tasks({'a': [1., 0.]})[0])


@pytest.mark.parametrize('options', [{}, {'labels': ('a', 'b', 'c')}, {'weighted': True}])
def test_the_interval_of_f1_equals_that_of_samples_of_items(options: dict):
    chance = random.Random(0)
    gold = chance.choices('abc', (5, 3, 1), k=120)
    predictions = [label if chance.random() < .6 else chance.choice('abcd') for label in gold]
    def statistic(sample: list[tuple[str, str]]) -> float:
        said, wanted = [one for one, _ in sample], [[one] for _, one in sample]
        return weighted_f1(said, wanted).value if options.get('weighted') else macro_f1(said, wanted, options.get('labels', ())).value
    assert f1_interval(predictions, gold, **options) == pytest.approx(bootstrap_interval(list(zip(predictions, gold)), statistic), abs=.02)


def test_paired_comparison():
    chance = random.Random(2)
    hard = [chance.random() for _ in range(200)]                          # what both share
    first, second = [value + chance.gauss(.02, .05) for value in hard], [value + chance.gauss(0, .05) for value in hard]
    found = paired_bootstrap(first, second)
    assert 0 < found.low < found.value < found.high and found.below < .01 and found.n == 200
    back = paired_bootstrap(second, first)
    assert (back.value, back.low, back.high) == pytest.approx((-found.value, -found.high, -found.low), abs=1e-3) and back.below > .99
    with pytest.raises(ValueError, match='no items'): paired_bootstrap([], [])
    assert math.isnan(paired_bootstrap([1.], [0.]).low)


@settings(deadline=None)
@example(6100, 5900)
@given(st.integers(0, 300), st.integers(0, 300))
def test_the_sign_test_equals_scipys(wins: int, losses: int):
    from scipy.stats import binomtest
    wanted = binomtest(wins, wins + losses, .5).pvalue if wins + losses else 1.
    assert sign_test(wins, losses) == pytest.approx(wanted, rel=1e-9) and sign_test(wins, losses) == sign_test(losses, wins)


def test_the_sign_test_of_the_papers_shares():
    assert sign_test(47, 56) == pytest.approx(.43, abs=.005)              # Dynosaur, figure 4, helpfulness
    assert sign_test_of([1, 0, .5], [0, 0, .7]) == (1, 1, 1.)


def test_draws_depend_on_the_seed_alone():
    program = '''
from instructgen.intervals import bootstrap_tasks, f1_interval, mean_interval, paired_bootstrap
gold, said = ['yes', 'no', 'maybe'] * 20, ['yes', 'maybe', 'no', 'no'] * 15
tasks = {name: [n / 9] * (n + 1) for n, name in enumerate('abcdef')}
print(bootstrap_tasks({name: tasks[name] for name in set('abcdef')}, 'micro'), f1_interval(said, gold), mean_interval([.1, .5, .9] * 9, seed=1), paired_bootstrap([.1, .5, .9] * 9, [.2, .4, .7] * 9))'''
    outputs = {subprocess.run([sys.executable, '-c', program], env={**os.environ, 'PYTHONHASHSEED': seed, 'PYTHONPATH': str(Path(__file__).parent.parent)}, capture_output=True, text=True, check=True).stdout for seed in '12'}
    assert len(outputs) == 1 and outputs != {''}
