"""The report `evaluation`: one command from a table to a score, kept answers, baselines, contamination, budget and resume."""
import csv
import json
import re
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st
from llm_server import LLMServer

from instructgen.benchmarks import Benchmark, Item
from instructgen.cli import main
from instructgen.evaluation import score
from instructgen.own_sets import load_own
from instructgen.predictions import Prediction, predictions_path, read_predictions
from instructgen.report import run_report
from instructgen.run_scores import read_comparisons, read_run_scores
from instructgen.scores import read_scores
from instructgen.scoring import EvaluationConfig, System, all_differences, answer_systems, as_asked, baseline_predictions, demo_benchmarks, estimate_evaluation, keep_answers, open_benchmarks, read_said
from instructgen.scoring_tables import silent_systems, trouble_table
from instructgen.store import read_manifest, read_run
from instructgen.tiny import make_tiny_model

WORDS = st.text(st.characters(codec='utf-8', exclude_characters='\0'), min_size=1, max_size=30).filter(str.strip)
OWN = '''name: my questions
files: my.csv
prompt: "Answer in few words: {question}"
columns:
  question: Question
answer: Answer
separator: "|"
metrics: [squad_f1, exact_match]
max_tokens: 6
form: alpaca
'''


def write_own(folder: Path, rows: int = 40) -> Path:
    "A table of questions and the ten lines beside it."
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder/'my.csv', 'w', newline='', encoding='utf-8') as file:
        writer = csv.writer(file)
        writer.writerow(['Question', 'Answer'])
        writer.writerows((f'Which town lies {number} miles north of the old stone bridge on the river Arn?', f'Town {number}|the town {number}') for number in range(rows))
    (folder/'my.yaml').write_text(OWN, encoding='utf-8')
    return folder/'my.yaml'


def run(*words: str) -> None:
    "The command, which has to succeed."
    with pytest.raises(SystemExit) as ended: main(['run', 'evaluation', *words])
    assert ended.value.code in (0, None)


# ---- one command

@pytest.fixture(scope='module')
def own_run(tmp_path_factory) -> Path:
    "Forty questions of one's own, a tiny model, kept answers of a colleague, and training data that holds ten of the questions."
    folder = tmp_path_factory.mktemp('own')
    items = load_own(write_own(folder)).items
    make_tiny_model([item.instruction for item in items], folder/'tiny', hidden=32, layers=1, context=512)
    (folder/'colleague.jsonl').write_text('\n'.join(json.dumps({'id': item.id, 'answer': item.references[0] if place % 2 else 'no idea'}) for place, item in enumerate(items)))
    (folder/'trained.jsonl').write_text('\n'.join(json.dumps({'instruction': item.instruction, 'input': '', 'output': item.references[0]}) for item in items[:10]))
    run('-p', 'benchmarks', f'own:{folder/"my.yaml"}', '-p', 'model', f'local:{folder/"tiny"}', '-p', 'answers', f'colleague={folder/"colleague.jsonl"}',
        '-p', 'train_data', str(folder/'trained.jsonl'), '--out', str(folder/'run'))
    return folder/'run'


def test_ten_lines_of_yaml_give_a_score(own_run):
    assert len(OWN.strip().splitlines()) == 10
    rows = {(row.arm, row.metric): row for row in read_scores(own_run) if row.level == row.subset == 'all'}
    colleague = rows['colleague', 'exact_match']
    assert (colleague.value, colleague.n, colleague.benchmark) == (.5, 40, 'my questions') and colleague.low < .5 < colleague.high
    assert rows['tiny', 'squad_f1'].n == 40 and 'trained from random weights' in rows['tiny', 'squad_f1'].model
    assert read_manifest(own_run)['status'] == 'complete'


def test_page_says_how_it_was_asked(own_run):
    page = (own_run/'report.html').read_text()
    assert '<script' not in page and not re.findall(r'(?:src|srcset)\s*=\s*"(?!data:)', page)
    for words in ('answers of at most 6 tokens', 'alpaca', 'trained from random weights', '40 items', 'Right: Town', 'What this does not show', 'answer cut at its longest'): assert words in page, words


def test_dirty_items_are_told_apart_and_add_up(own_run):
    found = json.loads((own_run/'overlap.json').read_text())
    rows = {(row.arm, row.metric, row.subset): row for row in read_scores(own_run) if row.level == 'all'}
    assert len(found['benchmarks']['my questions']['dirty_items']) == rows['colleague', 'squad_f1', 'dirty'].n > 0
    for arm, metric, _ in rows:
        whole, clean, dirty = (rows[arm, metric, subset] for subset in ('all', 'clean', 'dirty'))
        assert whole.n == clean.n + dirty.n and whole.value * whole.n == pytest.approx(clean.value * clean.n + dirty.value * dirty.n)


def test_systems_are_compared_in_pairs(own_run):
    gaps = {(gap['arm'], gap['other']): gap for gap in read_comparisons(own_run)}
    assert {('tiny', 'colleague'), ('colleague', 'last words'), ('tiny', 'nearest sentence')} <= gaps.keys() and ('last words', 'nearest sentence') not in gaps
    values = {row.arm: row.value for row in read_scores(own_run) if (row.metric, row.level, row.subset) == ('squad_f1', 'all', 'all')}
    assert all(gap['difference'] == pytest.approx(values[arm] - values[other]) for (arm, other), gap in gaps.items())
    assert gaps['tiny', 'colleague']['verdict'] == 'worse' and not read_run_scores(own_run).error


def test_scores_come_again_from_the_kept_predictions(own_run):
    benchmark = load_own(own_run.parent/'my.yaml')
    kept = read_predictions(predictions_path(own_run/'systems'/'colleague', benchmark.name), benchmark)
    assert {row.metric: row.value for row in score(benchmark, kept) if row.level == 'all'} == {row.metric: row.value for row in read_scores(own_run) if (row.arm, row.level, row.subset) == ('colleague', 'all', 'all')}


@pytest.fixture(scope='module')
def ranked_run(tmp_path_factory) -> Path:
    "The demo's two sets, one written and one ranked, by a model that is not there any more."
    folder = tmp_path_factory.mktemp('ranked')
    make_tiny_model([item.instruction for one in open_benchmarks(EvaluationConfig()) for item in one.items], folder/'tiny', hidden=32, layers=1, context=512)
    run('-p', 'model', f'local:{folder/"tiny"}', '-p', 'instances', '4', '-p', 'seed', '3', '-p', 'max_tokens', '5', '--out', str(folder/'run'))
    shutil.rmtree(folder/'tiny')
    return folder/'run'


def test_a_run_is_scored_again_by_one_command(ranked_run):
    run('-p', 'answers', str(ranked_run), '--out', str(ranked_run.parent/'same'))
    def numbers(place): return {(row.arm, row.benchmark, row.metric, row.level, row.part): (row.value, row.low, row.high, row.n, row.model) for row in read_scores(place)}
    before = numbers(ranked_run)
    assert numbers(ranked_run.parent/'same') == before and {'accuracy', 'accuracy_norm', 'squad_f1'} <= {metric for _, _, metric, _, _ in before} and {arm for arm, *_ in before} > {'tiny'}
    run('-p', 'answers', str(ranked_run), '-p', 'metrics', 'rouge_l,weighted_f1', '--out', str(ranked_run.parent/'other'))
    other = read_scores(ranked_run.parent/'other')
    assert {row.metric for row in other} == {'rouge_l', 'weighted_f1', 'weighted_f1_norm'} and {row.arm for row in other} == {arm for arm, *_ in before}
    page = (ranked_run.parent/'other'/'report.html').read_text()
    assert 'no model is needed for that' in page and 'trained from random weights' in page and not list((ranked_run.parent/'other').glob('*.sqlite'))
    kept = [predictions_path(place/'systems'/'tiny', 'twenty statements') for place in (ranked_run, ranked_run.parent/'other')]
    assert kept[0].read_bytes() == kept[1].read_bytes() and kept[0].with_suffix('.json').read_text() == kept[1].with_suffix('.json').read_text()


def test_a_ranked_file_is_an_answer_like_any_other(ranked_run):
    file, config = predictions_path(ranked_run/'systems'/'tiny', 'twenty statements'), EvaluationConfig(instances=4, seed=3, max_tokens=5)
    named = replace(config, answers=f'mine={file}')
    systems = answer_systems(named, open_benchmarks(named), ranked_run.parent/'file')
    assert [system.name for system in systems] == ['mine', 'last words', 'nearest sentence', 'commonest answer']
    said = read_said(systems, open_benchmarks(named))
    assert all(one.nats for one in said['mine', 'twenty statements']) and all(one.nats for one in said['commonest answer', 'twenty statements'])  # so they can be compared
    with pytest.raises(ValueError, match='other prompts, options or lengths'): answer_systems(replace(named, form='alpaca'), open_benchmarks(replace(named, form='alpaca')), ranked_run.parent/'form')
    with pytest.raises(ValueError, match='are missing'): answer_systems(named, open_benchmarks(EvaluationConfig()), ranked_run.parent/'more')


def test_questions_come_from_the_run_unless_they_are_named(ranked_run):
    again = as_asked(EvaluationConfig(answers=f'old={ranked_run}', metrics='rouge_l'))
    assert (again.benchmarks, again.instances, again.seed, again.max_tokens, again.metrics) == ('demo', 4, 3, 5, 'rouge_l')
    only = EvaluationConfig(answers=f'old={ranked_run}', benchmarks=demo_benchmarks()[1], instances=4, seed=3, max_tokens=5, baselines=False)
    assert as_asked(only) == only
    assert [(one.name, one.kind) for one in answer_systems(only, open_benchmarks(only), ranked_run.parent/'only')] == [('old tiny', 'answers')]
    assert estimate_evaluation({'answers': str(ranked_run)})['twenty statements'] == f'{len(open_benchmarks(only)[0].items)} items'


def test_every_figure_has_its_table(own_run):
    assert {path.stem for path in (own_run/'figures').glob('*.svg')} == {'scores'} <= {path.stem for path in (own_run/'tables').glob('*.csv')}


def test_a_category_is_shown_by_its_own_metric(tmp_path):
    for number, category in ((901, 'Word Analogy'), (902, 'Title Generation')):
        task = {'Definition': ['Say yes or no.'], 'Categories': [category], 'Source': ['notes'], 'Instances': [{'id': f'task{number}-{n}', 'input': f'Is stone {n} heavy?', 'output': ['yes' if n % 2 else 'no']} for n in range(6)]}
        (tmp_path/f'task{number}_stones.json').write_text(json.dumps(task))
    folder = run_report('evaluation', out=str(tmp_path/'run'), benchmarks=f'super_ni:{tmp_path}')
    with open(folder/'tables'/'by_category_1.csv', newline='') as file: shown = {row['category']: row for row in csv.DictReader(file)}
    assert {name: row['metric'] for name, row in shown.items()} == {'Word Analogy': 'exact_match', 'Title Generation': 'rouge_l'}
    values = {(row.arm, row.part): row.value for row in read_scores(folder) if row.level == 'category' and row.metric == shown[row.part]['metric']}
    assert all(shown[part][arm] == f'{100 * value:.1f}' for (arm, part), value in values.items()) and len(values) >= 4


# ---- budget, resume, a server

def test_budget_stops_and_resume_asks_only_the_rest(tmp_path):
    own = write_own(tmp_path)
    with LLMServer(answer='text:Town 7') as server:
        given = {'model': f'openai:m@{server.url}', 'benchmarks': str(own), 'form': 'chat', 'max_tokens': 20, 'baselines': False}
        assert estimate_evaluation(given)['openai:m@' + server.url + ': calls'] == '40, and 0 answers in the ledger'
        folder = run_report('evaluation', out=str(tmp_path/'run'), budget_calls=15, **given)
        stopped, page = read_manifest(folder), (folder/'report.html').read_text()
        assert (stopped['status'], stopped['counts']['pending'], read_scores(folder)) == ('stopped', 1, [])
        assert 'budget' in page and 'no score is made of the items that happened to be answered' in page
        assert sum(server.counts.requests.values()) == 15
        run_report('evaluation', out=str(folder), resume=True, budget_calls=100)
        assert sum(server.counts.requests.values()) == 40 and max(server.counts.answers.values()) == 1
    rows = {row.metric: row for row in read_scores(folder) if row.level == 'all'}
    assert read_manifest(folder)['status'] == 'complete' and rows['exact_match'].value == 1 / 40 and rows['exact_match'].n == 40
    assert read_run(folder)['parameters']['benchmarks'] == str(own)


def test_a_server_cannot_rank_and_is_told_what_to_do(tmp_path):
    with pytest.raises(TypeError, match='20 items have options: give match True'): estimate_evaluation({'model': 'openai:m@http://127.0.0.1:9/v1', 'benchmarks': demo_benchmarks()[1]})


def test_estimate_of_the_command(capsys):
    with pytest.raises(SystemExit) as ended: main(['run', 'evaluation', '--estimate', '-p', 'model', 'openai:m@http://127.0.0.1:9/v1', '-p', 'match', 'true', '-p', 'price_in', '1', '-p', 'price_out', '2'])
    told = capsys.readouterr().out
    assert ended.value.code in (0, None) and 'calls 60, and 0' in told and re.search(r'money +\$0\.0\d+ at most', told)


def test_parameter_files_of_the_package_come_by_name(capsys):
    with pytest.raises(SystemExit): main(['run', 'evaluation', '-f', 'table1'])
    assert 'instructgen run training -f table1' in capsys.readouterr().err


# ---- baselines

@given(st.lists(st.tuples(WORDS, WORDS, st.sampled_from(['one', 'two'])), min_size=1, max_size=12))
@settings(max_examples=100, deadline=None)
def test_baselines_answer_every_item(rows):
    benchmark = Benchmark('b', tuple(Item(str(place), question, references=(answer,), task=task) for place, (question, answer, task) in enumerate(rows)), ('exact_match', 'rouge_l'))
    found = baseline_predictions(benchmark)
    assert all([said.id for said in predictions] == [item.id for item in benchmark.items] and all(said.text.strip() for said in predictions) for predictions in found.values())
    repeated = Counter((task, answer) for _, answer, task in rows).most_common(1)[0][1] > 1
    assert ('commonest answer' in found) == repeated
    assert all(0 <= row.value <= 1 for predictions in found.values() for row in score(benchmark, predictions, draws=10))


@given(st.lists(st.integers(0, 2), min_size=1, max_size=30))
@settings(max_examples=100, deadline=None)
def test_commonest_option_has_the_share_of_the_commonest(gold):
    benchmark = Benchmark('b', tuple(Item(str(place), 'q', references=('abc'[right],), options=('a', 'b', 'c'), gold=right) for place, right in enumerate(gold)), ('accuracy',), 'rank')
    for written in (False, True):
        found = baseline_predictions(benchmark, written)
        most = Counter(gold).most_common(1)[0][1]
        assert (score(benchmark, found['commonest answer'], draws=10)[0].value == pytest.approx(most / len(gold))) if most > 1 else not found


# ---- kept answers, faults

def test_answers_of_a_folder_are_called_by_what_differs(tmp_path):
    own = write_own(tmp_path)
    items, folder = load_own(own).items, tmp_path/'answers'
    folder.mkdir()
    for name in ('big_model_answers', 'small_model_answers'): (folder/f'{name}.jsonl').write_text('\n'.join(json.dumps({'id': item.id, 'response': name}) for item in items))
    config = EvaluationConfig(answers=str(folder), benchmarks=str(own), baselines=False)
    assert [system.name for system in answer_systems(config, open_benchmarks(config), tmp_path)] == ['big', 'small']


@pytest.mark.parametrize('change, message', [
    (lambda lines: lines[1:], 'of 40 items have no answer'), (lambda lines: [*lines, lines[0]], 'answered twice'),
    (lambda lines: [*lines, '{"id": "other", "answer": "x"}'], 'are to nothing in my questions'), (lambda lines: [*lines, '{"id": '], 'cannot be read')])
def test_answers_that_do_not_fit_are_named(tmp_path, change, message):
    own = write_own(tmp_path)
    lines = [json.dumps({'id': item.id, 'answer': 'x'}) for item in load_own(own).items]
    (tmp_path/'answers.jsonl').write_text('\n'.join(change(lines)))
    config = EvaluationConfig(answers=f'team={tmp_path/"answers.jsonl"}', benchmarks=str(own))
    with pytest.raises(ValueError, match=message): answer_systems(config, open_benchmarks(config), tmp_path)


@pytest.mark.parametrize('given_, error, message', [
    (dict(benchmarks='own:missing.yaml'), FileNotFoundError, 'missing.yaml'), (dict(benchmarks=','), ValueError, 'benchmarks is empty'), (dict(metrics='bleu'), ValueError, "no metric 'bleu'"),
    (dict(answers='x'), ValueError, 'want NAME=FILE'), (dict(instances=-1), ValueError, 'instances is -1'), (dict(benchmarks='demo,demo'), ValueError, 'is there twice')])
def test_what_cannot_be_evaluated_is_refused(given_, error, message):
    with pytest.raises(error, match=message): open_benchmarks(EvaluationConfig(**given_))


def test_fewer_rows_are_drawn_by_seed():
    few = open_benchmarks(EvaluationConfig(instances=3))
    assert [len(one.items) for one in few] == [12, 3] and 'drawn with seed 0' in few[0].note  # three of each of four topics
    assert open_benchmarks(EvaluationConfig(instances=3)) == few != open_benchmarks(EvaluationConfig(instances=3, seed=1))


def test_silence_is_told():
    said = {('m', 'b'): [Prediction(str(place), '' if place < 5 else 'yes', error='timeout: 120 s' if place == 0 else '') for place in range(40)]}
    assert silent_systems(said) == ['m has no answer to 5 of 40 items of b, such as 0: timeout: 120 s. They count as wrong; the score is one of silence as much as of answers.']
    assert silent_systems({('m', 'b'): said['m', 'b'][2:]}) == [] and trouble_table(said)['items'].tolist() == [1, 4]


def test_those_who_rank_and_those_who_write_are_not_compared(tmp_path):
    statements = open_benchmarks(EvaluationConfig())[1]
    both = [System(name, 'model', name, str(tmp_path/name)) for name in ('ranks', 'writes')]
    keep_answers(both[0], statements, [Prediction(item.id, nats=(-1., -2.), tokens=(1, 1)) for item in statements.items])
    keep_answers(both[1], statements, [Prediction(item.id, 'yes') for item in statements.items])
    assert all_differences(both, [statements], read_said(both, [statements])) == []


# ---- real data

def test_eight_systems_on_the_user_instructions(shared_data, tmp_path):
    rouge = pytest.importorskip('rouge_score.rouge_scorer').RougeScorer(['rougeL'], use_stemmer=True)
    place = shared_data/'eval'/'user_oriented'
    config = EvaluationConfig(answers=str(place/'human_eval_predictions'), benchmarks=f'user:{place/"user_oriented_instructions.jsonl"}')
    benchmarks = open_benchmarks(config)
    systems = answer_systems(config, benchmarks, tmp_path)
    said = read_said(systems, benchmarks)
    values = {name: score(benchmarks[0], predictions, draws=50)[0].value for (name, _), predictions in said.items()}
    assert [system.kind for system in systems] == ['answers'] * 8 + ['baseline'] * 2
    assert values['davinci'] < values['davinci-superni-ft'] < values['davinci-self-instruct'] < values['text-davinci-003']
    pairs = [(item.references, one.text) for item, one in zip(benchmarks[0].items, said['davinci-self-instruct', benchmarks[0].name])]
    assert values['davinci-self-instruct'] == pytest.approx(sum(max(rouge.score(known, text)['rougeL'].fmeasure for known in references) for references, text in pairs) / 252, abs=1e-9)
