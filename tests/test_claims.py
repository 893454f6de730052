"""Claims, their rules and verdicts, and the report `summary` over run folders that the tests write themselves."""
import html
import json
import math
import random
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from instructgen.claims import (Claim, Rule, comparisons_of, difference, evidence_table, evidence_words, fits, judge_claim, matched_sides, read_claims, rule_words)
from instructgen.parameter_files import parameter_file, parameter_files, read_parameter_file
from instructgen.report import check_parameters, report_names, reports_folder, run_report
from instructgen.run_scores import RunScores, gather_runs, read_comparisons, scores_table, unfinished_table
from instructgen.scores import ScoreRow, write_scores
from instructgen.store import open_run, read_manifest

COMING = {'review'}  # reports of the open issues
CLAIMS = {claim.id: claim for claim in read_claims()}


def row(arm: str, value: float, benchmark: str = 'super_ni', metric: str = 'rouge_l', half: float | None = .02, **more) -> ScoreRow:
    "A score with a symmetric interval."
    low, high = (None, None) if half is None else (max(0., value - half), min(1., value + half))
    return ScoreRow(benchmark, metric, value, more.pop('n', 600), low, high, arm=arm, scale=more.pop('scale', 'tiny'), **more)


def make_run(folder: Path, report: str, rows=(), parameters=None, status: str = 'complete', comparisons=None, counts=None, **more) -> Path:
    "A run folder as a report leaves it, without its page."
    with open_run(report, parameters or {}, out=folder) as run:
        if rows: write_scores(folder, rows, **({'comparisons': comparisons} if comparisons else {}))
        run.finish(counts or {}, status=status, **more)
    return folder


def training(folder: Path, seed: int = 0, move: float = 0., scale: str = 'tiny') -> Path:
    "Three arms: dynosaur above alpaca, level with self_instruct."
    rows = [row(arm, value + move, seed=seed, scale=scale) for arm, value in (('dynosaur', .40), ('alpaca', .30), ('self_instruct', .395))]
    rows += [row('dynosaur', .33, subset='clean', seed=seed, scale=scale), row('alpaca', .29, subset='clean', seed=seed, scale=scale)]
    return make_run(folder, 'training', rows, {'seed': seed, 'sets': 'x', 'examples': 100, 'overlap': 'keep'})


@pytest.fixture(scope='module')
def outputs(tmp_path_factory) -> Path:
    "Runs of several reports: whole, failed, empty, damaged, one of a sweep that never began."
    place = tmp_path_factory.mktemp('outputs')
    for seed in range(3): training(place/f'training-seed{seed}', seed, move=.003 * seed)
    pubmed = [row(arm, value, 'pubmed_qa', 'macro_f1', start=start, n=500) for start, shift in (('pretrained', 0.), ('instruction_tuned', .1))
              for arm, value in (('zero_shot', .25 + shift), ('tapt', .24 + shift / 2), ('rules', .27 + shift), ('bonito', .36 + shift))]
    pubmed += [row('majority', .24, 'pubmed_qa', 'macro_f1', start='none', n=500)]
    pubmed += [row(arm, value, 'pubmed_qa', 'macro_f1', start='instruction_tuned', level='template', part=f'template {name}', n=500)
               for name in 'abcde' for arm, value in (('zero_shot', .35), ('bonito', .46 if name != 'c' else .36))]
    pubmed += [row(arm, value, 'six held-out Super-NI tasks', 'rouge_l', start='instruction_tuned', n=590) for arm, value in (('zero_shot', .21), ('tapt', .12), ('bonito', .20))]
    pair = {'benchmark': 'pubmed_qa', 'metric': 'macro_f1', 'arm': 'bonito', 'other': 'zero_shot', 'difference': .11, 'low': .10, 'high': .12, 'n': 500, 'start': 'instruction_tuned'}
    make_run(place/'adaptation-pubmed', 'adaptation', pubmed, {'target': 'pubmed_qa', 'contexts': 800}, comparisons=[pair])
    for contexts, value in ((100, .30), (400, .40)):
        make_run(place/'sweep'/f'contexts={contexts}', 'adaptation', [row('bonito', value, 'vitaminc', 'macro_f1')], {'target': 'vitaminc', 'contexts': contexts})
    (place/'sweep'/'sweep.json').write_text(json.dumps({'runs': [{'name': f'contexts={n}', 'parameters': {'contexts': n}} for n in (100, 400, 1600)]}))
    make_run(place/'training-broken', 'training', parameters={'seed': 9}, status='failed', error='no room on the disk <b>')
    make_run(place/'training-empty', 'training', parameters={'seed': 8})
    make_run(place/'data', 'dynosaur_data', parameters={'llm': 'openai:small', 'seed': 0, 'rules': 'published'}, counts={'tasks': 40, 'proposed': 100}, llm={'cost': .05})
    make_run(place/'training-damaged', 'training', [row('dynosaur', .4)], {'seed': 7})
    (place/'training-damaged'/'scores.json').write_text('{"rows": [{"benchmark"')
    return place


# ---- the list itself

def test_claims_of_both_papers_are_complete_sentences():
    assert len(CLAIMS) >= 50
    for claim in CLAIMS.values():
        assert claim.sentence.endswith('.') and claim.where and claim.report in COMING | set(report_names()), claim.id
        assert claim.file in ('', *parameter_files()), claim.id
        assert not claim.file or read_parameter_file(claim.file).report in (claim.report, 'training'), claim.id
    assert {claim.kind for claim in CLAIMS.values() if claim.paper == 'bonito'} == {'claim', 'question', 'check'}


def test_a_claim_names_a_report_that_can_be_run():
    known = set(report_names())
    for claim in CLAIMS.values():
        if claim.report in known: assert claim.test.startswith(claim.report)
        else: assert claim.report in COMING and claim.test == f'a report {claim.report}, which this version does not have'


def test_published_numbers_are_those_that_were_read():
    "Only figures of the tables that were read in a source; remembered ones never appear."
    known = {'40.4', '41.2', '37.1', '39.6', '36.6', '39.0', '22.7', '35.7', '17.6', '33.5', '38.9', '38.2', '34.6', '43.4', '42.5', '44.1', '43.2', '9.5', '19.0', '6.7', '11.5', '4.8', '8.6', '3.8', '6.2',
             '0.22', '11.48', '1.36', '96.5', '93.0', '98.3', '50.9', '58.2', '49.3', '54.2', '59.5', '53.3', '44.8', '44.6', '43.3', '42.8', '41.0', '39.9', '22.1', '0.8', '27.6', '66.4', '25.6', '44.5', '73.3', '3.1', '38.9'}
    told = set(re.findall(r'\d+\.\d+', ' '.join(claim.published for claim in CLAIMS.values())))
    assert told <= known, told - known


def test_each_file_of_the_package_is_used_and_named_in_the_notebook():
    book = json.loads((reports_folder().parent/'45_parameter_files.ipynb').read_text('utf-8')) if (reports_folder().parent/'45_parameter_files.ipynb').is_file() else None
    if book is None: pytest.skip('an installed package has no library notebooks')
    prose = ''.join(''.join(cell['source']) for cell in book['cells'] if cell['cell_type'] == 'markdown')
    for name in parameter_files():
        found = read_parameter_file(name)
        assert found.about.endswith(('.', '?')) and found.report, name
        assert f'| `{name}` | {found.report} |' in prose, name


@pytest.mark.parametrize('name', parameter_files())
def test_parameter_files_fit_their_reports(name):
    found = read_parameter_file(name)
    if found.report not in report_names(): pytest.skip(f'the report {found.report} is not there yet')
    assert check_parameters(found.report, found.parameters).keys() == found.parameters.keys()


@pytest.mark.parametrize('claim', [claim for claim in CLAIMS.values() if claim.rule], ids=lambda claim: claim.id)
def test_parameters_in_rules_are_those_of_their_reports(claim):
    if claim.report not in report_names(): pytest.skip(f'the report {claim.report} is not there yet')
    from instructgen.report import report_parameters
    rule = claim.rule
    names = {name for selector in (rule.this or {}, *rule.that, rule.where or {}, {rule.over: ''} if rule.over else {}) for name in selector}
    assert names <= set(report_parameters(claim.report)) | set(ScoreRow.__dataclass_fields__)


def test_rules_name_arms_starts_and_benchmarks_that_adaptation_has():
    from instructgen.adaptation_data import ARMS
    from instructgen.bonito.model import demo_file
    from instructgen.starts import START_NAMES
    from instructgen.targets import read_targets
    def listed(value) -> list: return value if isinstance(value, list) else [value]
    targets = {*read_targets(demo_file('targets.yaml'))}  # with the demo's own
    for claim in CLAIMS.values():
        if claim.report != 'adaptation': continue
        rule = claim.rule
        for selector in (rule.this or {}, *rule.that, rule.where or {}):
            assert set(map(str, listed(selector.get('arm', 'bonito')))) <= set(ARMS), claim.id
            assert all(any(fits(name, pattern) for name in (*START_NAMES, 'none')) for pattern in listed(selector.get('start', 'none'))), claim.id
            for pattern in listed(selector.get('benchmark', 'vitaminc')): assert any(fits(name, pattern) for name in (*targets, 'six held-out Super-NI tasks', 'held-out instructions of demo', 'known instructions, other rows, of demo')), (claim.id, pattern)
        if (where := rule.where or {}).get('benchmark') and 'off-target' not in claim.id and 'forgetting' not in claim.id:
            assert all(fits(name, where['benchmark']) for name in targets if not name.startswith('squad')) or claim.id.startswith('bonito-check-first-'), claim.id


@pytest.mark.parametrize('name', [name for name in parameter_files() if read_parameter_file(name).report in ('adaptation', 'training')])
def test_parameter_files_are_accepted_by_what_reads_them(name):
    "Not only known names: values that the report's configurations take."
    from instructgen.adaptation_data import AdaptationConfig
    from instructgen.records import from_parameters
    from instructgen.report import report_parameters
    from instructgen.starts import StartConfig
    from instructgen.training_arms import TrainingConfig
    from instructgen.training_runs import RunConfig
    found = read_parameter_file(name)
    given = {**{one.name: one.default for one in report_parameters(found.report).values()}, **check_parameters(found.report, found.parameters)}
    for kind in (AdaptationConfig, StartConfig) if found.report == 'adaptation' else (TrainingConfig, RunConfig): assert from_parameters(kind, given)


# ---- bad input

@pytest.mark.parametrize(('text', 'told'), [
    ('- {id: dynosaur-x, paper: dynosaur}', 'the claim dynosaur-x'), ('- just words', 'no claim with an id'), ('[', 'is no YAML'),
    ('- {id: bonito-x, paper: dynosaur, kind: claim, where: w, sentence: s, report: r, reading: a}', 'does not begin with its paper'),
    ('- {id: bonito-x, paper: bonito, kind: claim, where: w, sentence: s, report: r, rule: {over: a, colour: red}}', 'the rule of bonito-x'),
    ('- {id: bonito-x, paper: bonito, kind: claim, where: w, sentence: s, report: r, rule: {over: a, change: sideways}}', 'want up or down'),
    ('- &a {id: bonito-x, paper: bonito, kind: claim, where: w, sentence: s, report: r, reading: a}\n- *a', 'want each id once')])
def test_a_damaged_list_names_what_is_wrong(tmp_path, text, told):
    (tmp_path/'own.yaml').write_text(text)
    with pytest.raises(ValueError, match=re.escape(told)): read_claims(tmp_path/'own.yaml')


def test_parameter_files_of_ones_own(tmp_path):
    own = tmp_path/'own.yaml'
    own.write_bytes(b'\xff\xfe')
    with pytest.raises(ValueError, match='is no YAML'): read_parameter_file(str(own))
    own.write_text('1: 2')
    with pytest.raises(ValueError, match='no name of a parameter'): read_parameter_file(str(own))
    own.write_text('')
    assert read_parameter_file(str(own)).parameters == {}
    own.write_text('!!python/object/apply:os.system ["true"]')
    with pytest.raises(ValueError, match='is no YAML'): read_parameter_file(str(own))
    with pytest.raises(FileNotFoundError, match="did you mean 'check1'"): parameter_file('chekc1')


def test_damaged_comparisons_are_named(tmp_path):
    write_scores(tmp_path, [row('a', .1)], comparisons=['a above b'])
    with pytest.raises(ValueError, match='has no benchmark'): read_comparisons(tmp_path)
    pair = {'benchmark': 'x', 'metric': 'y', 'arm': 'a', 'other': 'b', 'difference': .1, 'low': None, 'high': .2, 'n': 3}
    for wrong in (pair, {**pair, 'low': .1, 'high': None}, {name: value for name, value in pair.items() if name not in ('low', 'high')}, {**pair, 'low': True}):
        write_scores(tmp_path, [row('a', .1)], comparisons=[wrong])
        with pytest.raises(ValueError, match='has no (low|high)'): read_comparisons(tmp_path)


@pytest.mark.parametrize('turned', [False, True])
def test_a_comparison_of_few_rows_has_no_interval_and_leaves_a_claim_open(tmp_path, turned):
    arms = ('zero_shot', 'bonito') if turned else ('bonito', 'zero_shot')
    rows = [row('bonito', .4, 'pubmed_qa', 'macro_f1', half=None, start='pretrained', n=3), row('zero_shot', .2, 'pubmed_qa', 'macro_f1', half=None, start='pretrained', n=3)]
    pair = {'benchmark': 'pubmed_qa', 'metric': 'macro_f1', 'arm': arms[0], 'other': arms[1], 'difference': -.2 if turned else .2, 'low': None, 'high': None, 'n': 3, 'start': 'pretrained'}
    make_run(tmp_path/'few', 'adaptation', rows, {'seed': 0}, comparisons=[pair])
    (run,), _ = gather_runs(str(tmp_path))
    (evidence,) = judge_claim(CLAIMS['bonito-pretrained'], [run]).evidence
    assert (evidence.value, evidence.low, evidence.basis, evidence.outcome) == (pytest.approx(.2), None, 'no interval', 'open')


@pytest.mark.parametrize('text', ['', '[]', 'null', '{}', '{"report": 3, "parameters": {}}', '{"report": "training"}', '{"report": "training", "parameters": []}'])
@pytest.mark.parametrize('name', ['run.json', 'manifest.json'])
def test_a_damaged_folder_is_a_run_that_cannot_be_read(tmp_path, name, text):
    make_run(tmp_path/'run', 'training', [row('a', .1)])
    (tmp_path/'run'/name).write_text(text)
    (one,), missing = gather_runs(str(tmp_path))
    assert missing == [] and (one.status == 'unreadable' and 'is damaged' in one.error if name == 'run.json' or text[:1] != '{' else one.status == 'interrupted')


# ---- rules

@given(st.floats(.05, .95), st.floats(.05, .95), st.floats(.001, .05), st.floats(.001, .05))
def test_difference_holds_the_gap_and_turns_with_its_sides(first, second, half, other):
    run = RunScores('/r', 'training', 'complete', rows=(row('a', first, half=half), row('b', second, half=other)))
    (one, two), = matched_sides(Rule({'arm': 'a'}, ({'arm': 'b'},)), [run])
    gap, low, high, _ = difference(one, two)
    assert low <= gap <= high and math.isclose(gap, one.row.value - two.row.value)
    back = difference(two, one)
    assert math.isclose(back[0], -gap) and math.isclose(back[1], -high) and math.isclose(back[2], -low)


@settings(max_examples=50)
@given(st.lists(st.sampled_from(('a', 'b', 'c')), min_size=1, max_size=12), st.integers(0, 5))
def test_order_of_runs_and_rows_does_not_matter(arms, seed):
    chance = random.Random(seed)
    runs = [RunScores(f'/r{place}', 'training', 'complete', rows=(row('dynosaur', .4), row('alpaca', .3 + .01 * place), row(arm, .5))) for place, arm in enumerate(arms)]
    shuffled = [replace(run, rows=tuple(chance.sample(run.rows, len(run.rows)))) for run in chance.sample(runs, len(runs))]
    claim = CLAIMS['dynosaur-super-ni']
    assert judge_claim(claim, runs).text == judge_claim(claim, shuffled).text
    assert sorted(map(str, judge_claim(claim, runs).evidence)) == sorted(map(str, judge_claim(claim, shuffled).evidence))


def test_newcombe_vector():
    "Half widths 0.03 and 0.04 give 0.05, as sides of a right triangle."
    run = RunScores('/r', 'training', 'complete', rows=(row('a', .5, half=.03), row('b', .3, half=.04)))
    (one, two), = matched_sides(Rule({'arm': 'a'}, ({'arm': 'b'},)), [run])
    assert difference(one, two) == (pytest.approx(.2), pytest.approx(.15), pytest.approx(.25), False)


def test_arms_of_two_runs_are_never_compared():
    "They may have had other data, steps or seeds."
    runs = [RunScores('/one', 'training', 'complete', rows=(row('dynosaur', .4),)), RunScores('/two', 'training', 'complete', rows=(row('alpaca', .3),))]
    assert judge_claim(CLAIMS['dynosaur-super-ni'], runs).word == 'not run'


def test_runs_that_differ_in_more_than_the_setting_are_not_compared():
    def run(folder, **parameters): return RunScores(folder, 'adaptation', 'complete', parameters=parameters, rows=(row('bonito', .3 + parameters['contexts'] / 1e4, 'vitaminc', 'macro_f1'),))
    few, many, longer = run('/a', contexts=100, steps=5, out='/a'), run('/b', contexts=900, steps=5, out='/b'), run('/c', contexts=5000, steps=50, out='/c')
    verdict = judge_claim(CLAIMS['bonito-contexts'], [few, many, longer])
    assert [one.runs for one in verdict.evidence] == [('b', 'a')] and verdict.word == 'supported'


def test_nothing_is_judged_by_failed_runs_or_other_reports_or_scores_without_interval():
    claim, good = CLAIMS['dynosaur-super-ni'], RunScores('/r', 'training', 'complete', rows=(row('dynosaur', .4), row('alpaca', .3)))
    assert judge_claim(claim, [good]).word == 'supported in part' and judge_claim(claim, [good]).note.startswith('not compared with arm dolly; arm gpt4')
    for changed in (replace(good, status='failed'), replace(good, status='running'), replace(good, report='evaluation')): assert judge_claim(claim, [changed]).word == 'not run'
    bare = replace(good, rows=(row('dynosaur', .4, half=None), row('alpaca', .3)))
    assert judge_claim(claim, [bare]).word == 'not supported' and judge_claim(claim, [bare]).evidence[0].outcome == 'open'


def test_direction_of_a_loss():
    "Next-word prediction is said to lower the score: a lower score speaks for it, a higher one against it."
    for value, outcome in ((.10, 'for'), (.40, 'against'), (.251, 'open')):
        run = RunScores('/r', 'adaptation', 'complete', rows=(row('zero_shot', .25, 'pubmed_qa', 'macro_f1', start='instruction_tuned'), row('tapt', value, 'pubmed_qa', 'macro_f1', start='instruction_tuned')))
        assert [one.outcome for one in judge_claim(CLAIMS['bonito-next-word'], [run]).evidence] == [outcome]


def test_starts_are_told_apart():
    rows = tuple(row(arm, value, 'pubmed_qa', 'macro_f1', start=start) for start, arm, value in (('pretrained', 'zero_shot', .2), ('pretrained', 'bonito', .4), ('instruction_tuned', 'zero_shot', .4), ('instruction_tuned', 'bonito', .3)))
    run = RunScores('/r', 'adaptation', 'complete', rows=rows)
    assert [judge_claim(CLAIMS[name], [run]).word for name in ('bonito-pretrained', 'bonito-zero-shot')] == ['supported', 'not supported']


@pytest.mark.parametrize('claim, metric', [('bonito-check-first-answer', 'squad_f1'), ('bonito-check-first-exact', 'squad_exact')])
@pytest.mark.parametrize('arm', ['zero_shot', 'bonito'])
def test_the_first_answer_alone_is_compared_within_an_arm(arm, claim, metric):
    rows = tuple(row(name, value, 'squadshifts_nyt', metric, start='pretrained') for metric, values in ((metric, (.3, .5)), (f'{metric}_first', (.2, .4))) for name, value in zip(('zero_shot', 'bonito'), values) if name == arm)
    verdict = judge_claim(CLAIMS[claim], [RunScores('/r', 'adaptation', 'complete', rows=rows)])
    assert verdict.word == 'supported' and len(verdict.evidence) == 1


def test_each_of_several_rivals_is_compared_and_a_run_never_with_its_twin():
    def run(folder, kind, value): return RunScores(folder, 'adaptation', 'complete', parameters={'task_type': kind, 'seed': 0}, rows=(row('bonito', value, 'pubmed_qa', 'macro_f1'),))
    runs = [run('/own', '', .4), run('/exqa', 'exqa', .3), run('/qg', 'qg', .5), run('/nli', 'nli', .1), run('/again', '', .4)]
    found = judge_claim(CLAIMS['bonito-type'], runs).evidence
    assert [one.runs for one in found] == [('own', 'exqa'), ('own', 'qg'), ('again', 'exqa'), ('again', 'qg')]
    def other(folder, place): return RunScores(folder, 'adaptation', 'complete', parameters={'contexts_from': place}, rows=(row('bonito', .4, 'pubmed_qa', 'macro_f1'),))
    assert judge_claim(CLAIMS['bonito-domain'], [other('/a', ''), other('/b', '')]).word == 'not run'
    assert [one.runs for one in judge_claim(CLAIMS['bonito-domain'], [other('/a', ''), other('/b', 'x')]).evidence] == [('a', 'b')]


def test_seeds_of_unequal_runs_are_not_put_together():
    def run(seed, examples): return RunScores(f'/r{seed}', 'training', 'complete', parameters={'seed': seed, 'examples': examples}, rows=(row('dynosaur', .4 + seed / 100, seed=seed), row('alpaca', .3, seed=seed)))
    claim = CLAIMS['dynosaur-check-seeds']
    assert judge_claim(claim, [run(0, 50), run(1, 50), run(2, 100)]).note == '3 seeds, and 3 of equal runs are wanted'
    assert judge_claim(claim, [run(0, 50), run(1, 50), run(2, 50)]).word == 'supported in part'  # without self_instruct


def test_a_call_costs_though_the_ledger_knew_its_answer():
    again = RunScores('/r', 'dynosaur_data', 'complete', parameters={'llm': 'openai:m'}, manifest={'llm': {'cost': 0., 'cost_before': .9}, 'counts': {'tasks': 100}})
    assert judge_claim(CLAIMS['dynosaur-cost'], [again]).word == 'not supported'


def test_shares_need_a_price_and_a_model():
    claim = CLAIMS['dynosaur-cost']
    def run(llm, cost): return RunScores('/r', 'dynosaur_data', 'complete', parameters={'llm': llm}, manifest={'llm': {'cost': cost}, 'counts': {'tasks': 100}})
    assert [judge_claim(claim, [one]).word for one in (run('openai:m', .1), run('openai:m', .9), run('openai:m', None), run('rules', 0.))] == ['supported', 'not supported', 'not run', 'not run']


@pytest.mark.parametrize(('value', 'pattern', 'meant'), [('Super-NI', 'super_ni', True), ('dynosaur + super_ni', 'dynosaur', False), ('dynosaur + super_ni', 'dynosaur*superni', True), ('', '*', True), ('p3', ['flan', 'P3'], True),
                                                        ('a.b', 'a?b', True), ('[x]', '[xyz]', False), (.95, .95, True), (True, 'true', True),
                                                        (10, 1.0, False), (1, 1.0, True), ('0.5', .5, True), ('dynosaur_super_ni', 'dynosaur+super_ni', False)])
def test_patterns(value, pattern, meant): assert fits(value, pattern) is meant


def test_every_rule_has_words_that_name_its_sides():
    for claim in CLAIMS.values():
        if claim.rule: assert all(str(name) in rule_words(claim.rule) for selector in (claim.rule.this or {}, *claim.rule.that) for name in selector), claim.id


# ---- the summary

def test_runs_are_gathered_with_what_is_missing(outputs):
    runs, missing = gather_runs(f'{outputs},{outputs}/nowhere')
    assert len(runs) == 10 and missing == [f'{outputs}/nowhere is not there']
    listed = unfinished_table(runs, missing)
    assert dict(zip(listed['run'], listed['status'])) == {'': 'missing', 'training-broken': 'failed', 'training-empty': 'no scores', 'training-damaged': 'unreadable'}
    tidy = scores_table(runs)
    assert len(tidy) == sum(len(run.rows) for run in runs) == 15 + 22 + 2 and {'p_seed', 'p_contexts', 'p_target'} <= set(tidy)


def test_verdicts_of_the_runs(outputs):
    runs, _ = gather_runs(str(outputs))
    found = {name: judge_claim(claim, runs) for name, claim in CLAIMS.items()}
    told = {name: verdict.text for name, verdict in found.items() if verdict.word != 'not run'}
    assert told == {
        'dynosaur-super-ni': 'mixed at scale tiny', 'dynosaur-cost': 'supported', 'dynosaur-yield': 'supported', 'dynosaur-contamination': 'supported at scale tiny',
        'dynosaur-labels': 'to be read', 'dynosaur-check-overlap': 'supported in part at scale tiny', 'dynosaur-check-seeds': 'supported at scale tiny',
        'bonito-zero-shot': 'supported at scale tiny', 'bonito-pretrained': 'supported at scale tiny', 'bonito-next-word': 'supported at scale tiny', 'bonito-above-next-word': 'supported at scale tiny',
        'bonito-above-next-word-instructed': 'supported at scale tiny', 'bonito-contexts': 'supported at scale tiny', 'bonito-forgetting': 'supported at scale tiny',
        'bonito-off-target': 'not supported at scale tiny', 'bonito-rules': 'supported at scale tiny', 'bonito-check-majority': 'supported at scale tiny', 'bonito-check-templates': 'mixed at scale tiny'}
    assert [one.basis for one in found['bonito-zero-shot'].evidence] == ['paired items']  # the run wrote it, and it is narrower
    assert {one.basis for one in found['dynosaur-check-seeds'].evidence} == {'3 seeds'}
    assert 'open (adaptation-pubmed)' in evidence_words(found['bonito-check-templates']) and 'template c' in evidence_words(found['bonito-check-templates'])


def test_larger_scales_count_alone(outputs, tmp_path):
    training(tmp_path/'large', scale='one_gpu')
    runs = gather_runs(f'{outputs},{tmp_path}')[0]
    verdict = judge_claim(CLAIMS['dynosaur-super-ni'], runs)
    assert verdict.text == 'mixed at scale one_gpu' and {one.runs for one in verdict.evidence} == {('large',)} and 'scale tiny' in verdict.note


def test_summary_report(outputs, tmp_path):
    folder = run_report('summary', out=str(tmp_path/'summary'), runs=f'{outputs},{outputs}/nowhere')
    page, counts = html.unescape((folder/'report.html').read_text('utf-8')), read_manifest(folder)['counts']
    assert counts['claims'] == len(CLAIMS) == sum(counts[name] for name in ('supported', 'supported_in_part', 'mixed', 'not_supported', 'to_be_read', 'not_run'))
    assert counts['runs'] == 10 and counts['unfinished'] == 5
    for text in ('supported at scale tiny', 'they say nothing about the models of the papers', 'nowhere is not there', 'contexts=1600', 'adaptation -f first2'): assert text in page, text
    assert 'no room on the disk &lt;b&gt;' in (folder/'report.html').read_text('utf-8')  # a stranger's text stays text
    assert '<script' not in page and page.index('not supported') < page.index('rest on models of about') < page.index('What the paper says') < page.index('All runs')
    for claim in CLAIMS.values(): assert claim.sentence in page, claim.id
    assert {path.stem for path in (folder/'tables').glob('*.csv')} >= {'dynosaur_claims', 'bonito_questions', 'evidence', 'unfinished', 'runs', 'scores', 'rules'}


def test_summary_of_nothing_is_a_whole_page(tmp_path):
    (tmp_path/'none').mkdir()
    parameters = tmp_path/'parameters.yaml'
    parameters.write_text(yaml.safe_dump({'runs': str(tmp_path/'none'), 'out': str(tmp_path/'run')}))
    subprocess.run([Path(sys.executable).parent/'papermill', reports_folder()/'summary.ipynb', tmp_path/'executed.ipynb', '-f', parameters], check=True, capture_output=True, timeout=300)
    counts = read_manifest(tmp_path/'run')['counts']
    assert counts['not_run'] == counts['claims'] and counts['runs'] == 0
    assert 'holds no run' in (tmp_path/'run'/'report.html').read_text('utf-8')


def test_evidence_table_names_every_run(outputs):
    runs = gather_runs(str(outputs))[0]
    table = evidence_table([judge_claim(claim, runs) for claim in CLAIMS.values()])
    assert table['run'].str.len().gt(0).all() and set(table['outcome']) == {'for', 'open'} and len(table) == len(comparisons_of(CLAIMS['dynosaur-super-ni'], runs)) + sum(
        len(judge_claim(claim, runs).evidence) for name, claim in CLAIMS.items() if name != 'dynosaur-super-ni')
