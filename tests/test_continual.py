"""Learning stage after stage: choices, plan, shared trainings, a kill in the middle, forgetting and transfer, differences over seeds, the report."""
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instructgen.benchmarks import Benchmark, Item
from instructgen.bonito.config import BonitoConfig, gather_contexts
from instructgen.bonito.dataset import build_bonito
from instructgen.bonito.growth import plan_texts
from instructgen.bonito.model import demo_file
from instructgen.claims import judge_claim, read_claims
from instructgen.continual import (FULL, SMALL_MODEL, Training, asked_after, choose_replay, estimate_continual, kept_models, most_kept, open_stage_base, plan_cost, plan_trainings,
                                   replay_table, run_plan, spare_weights, stage_training, training_rows)
from instructgen.continual_data import ContinualConfig, ContinualData, choose_holdout, gather_stages
from instructgen.continual_results import (PUBLISHED_SIX, SIX_COLUMNS, backward_transfer, compare_stages, forgetting_frame, forgetting_matrix, over_seeds, published_six, read_asked, replay_findings,
                                           score_stages, seed_interval, seeds_difference, six_table, stage_frame, stage_name)
from instructgen.evaluation import compare
from instructgen.parameter_files import read_parameter_file
from instructgen.predictions import Prediction, predictions_path, write_prediction
from instructgen.records import EXAMPLE_SCHEMA, Example, from_parameters
from instructgen.replay import STRATEGIES, embed_tasks, select_replay
from instructgen.report import report_parameters, run_report
from instructgen.run_scores import gather_runs
from instructgen.scores import read_scores, write_scores
from instructgen.run_tables import read_examples
from instructgen.stages import draw_tasks, holdout_benchmark, make_stages, question_of, split_tasks
from instructgen.starts import Start, named_start
from instructgen.store import open_run, read_manifest
from instructgen.training_runs import RunConfig, open_base
from instructgen.versions import GrowthPolicy, read_version

WORDS = 'amber birch cedar delta ember fjord grove heath inlet jetty knoll lagoon marsh nook orchard prairie quarry ridge shoal thicket upland valley weir yard zenith'.split()
VERBS = ('Name', 'Count', 'Sort', 'Turn', 'Judge')


def rows(tasks: int, each: int, **more) -> list[Example]:
    return [Example(f't{task:02}-{n}', f'{VERBS[task % 5]} the {WORDS[task % 25]} {WORDS[(task * 7 + 3) % 25]}.', f'{WORDS[n % 25]} number {n} of {WORDS[(task + n) % 25]}', f'{WORDS[task % 25]} {n % 4}', task_id=f't{task:02}', source='notes', **more)
            for task in range(tasks) for n in range(each)]


TEST = Benchmark('six held-out Super-NI tasks', tuple(Item(f'test-{n}', 'Tell what it is.', f'it is {WORDS[n % 25]}', (WORDS[n % 25],), task=f'test {n % 6}') for n in range(6)), ('rouge_l', 'exact_match'), max_tokens=3)
CONFIG = ContinualConfig(tasks=3, examples=4, holdout=2, replay=1, strategies='none,random', seeds=1, max_tokens=3)
QUICK = RunConfig(kind='llama', hidden=32, layers=1, vocab=400, text_steps=0, steps=2)


def made(stages: int = 3, tasks: int = 3, holdout: int = 2) -> ContinualData:
    drawn, _ = draw_tasks(rows(stages * tasks, 8), 4, holdout)
    parts = make_stages({f'stage {number}': part for number, part in enumerate(split_tasks(drawn, stages), 1)}, drawn)
    return ContinualData(parts, (TEST,), tuple(holdout_benchmark(one, 'all', 3) for one in parts) if holdout else (), 'all' if holdout else 'none', ())


# ---- data

@pytest.fixture(scope='module')
def place(tmp_path_factory) -> Path: return tmp_path_factory.mktemp('made')  # the demo's tests are made here once


def write_rows(path: Path, examples: list[Example]) -> Path:
    path.write_text(''.join(json.dumps(asdict(one)) + '\n' for one in examples))
    return path


def test_stages_do_not_depend_on_the_order_of_rows(place, tmp_path):
    found = rows(10, 9)
    first, second = (gather_stages(replace(CONFIG, data=str(write_rows(tmp_path/f'{name}.jsonl', part))), place) for name, part in (('set', found), ('turned', found[::-1])))
    assert [{task: [row.id for row in part] for task, part in one.training.items()} for one in first.stages] == [{task: [row.id for row in part] for task, part in one.training.items()} for one in second.stages]
    assert [len(one.training) for one in first.stages] == [3, 3, 3] and {row['rule']: row['tasks'] for row in first.account} == {'not_needed': 1}
    assert first.kind == 'clean' and any('rule-clean' in note for note in first.notes) and [one.name for one in first.own] == [f'rule-clean holdout of stage {number}' for number in (1, 2, 3)]
    learnt = {(row.instruction, row.input) for one in first.stages for row in one.rows}
    assert not learnt & {(item.instruction, item.input) for one in first.own for item in one.items}


def test_generated_data_without_a_holdout_has_test_alone(place, tmp_path):
    data = gather_stages(replace(CONFIG, data=str(write_rows(tmp_path/'set.jsonl', rows(9, 8))), holdout_kind='none'), place)
    assert data.own == () and any('as in the paper for generated data' in note for note in data.notes) and asked_after(3, data) == [(0, data.tests[0])]


def test_verdicts_choose_the_holdout(place, tmp_path):
    (tmp_path/'said.csv').write_text('id,verdict\n' + ''.join(f't{task:02}-{n},{"correct" if n < 3 else "wrong output"}\n' for task in range(7) for n in range(5)))
    config = replace(CONFIG, data=str(write_rows(tmp_path/'set.jsonl', rows(9, 8))), holdout_kind='reviewed', reviewed=str(tmp_path/'said.csv'), tasks=0)
    data = gather_stages(config, place)
    assert {item.id.split(':')[1].split('-')[1] for one in data.own for item in one.items} <= {'0', '1', '2'} and data.own[0].name == 'reviewed holdout of stage 1'
    assert {row['rule']: row['tasks'] for row in data.account} == {'few_usable': 2}


def test_versions_of_a_dataset_are_stages(place, tmp_path):
    for number, tasks in ((1, 3), (2, 5), (3, 9)):
        (tmp_path/f'v{number}'/'dataset'/'data').mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist([asdict(row) for row in rows(tasks, 8, generator='templates')], EXAMPLE_SCHEMA), tmp_path/f'v{number}'/'dataset'/'data'/'train-00.parquet')
        with open_run('dynosaur_data', {'seed': 0}, out=tmp_path/'other'/f'v{number}') as run: run.finish({})
        for path in (tmp_path/'other'/f'v{number}').iterdir(): path.rename(tmp_path/f'v{number}'/path.name)
    config = replace(CONFIG, data=','.join(str(tmp_path/f'v{number}') for number in (1, 2, 3)), by='versions', tasks=0)
    data = gather_stages(config, place)
    assert [(one.name, sorted(one.training)) for one in data.stages] == [('v1', ['t00', 't01', 't02']), ('v2', ['t03', 't04']), ('v3', ['t05', 't06', 't07', 't08'])] and data.kind == 'all'
    with pytest.raises(ValueError, match=r'version v3 \(2\) is empty|named twice'): gather_stages(replace(config, data=f'{config.data},{tmp_path}/v3'), place)
    (tmp_path/'again').mkdir()
    (tmp_path/'v2').rename(tmp_path/'again'/'v2')
    with pytest.raises(ValueError, match='there is one stage, v3'): gather_stages(replace(config, data=f'{tmp_path}/v3,{tmp_path}/again/v2'), place)
    both = gather_stages(replace(config, data=f'{tmp_path}/v1,{tmp_path}/again/v2,{tmp_path}/v3'), place)  # the last has nothing that is new beside another of its kind
    assert [one.name for one in both.stages] == ['v1', 'v2', 'v3'] and any('edited or taken out later' in note for note in both.notes)


def test_each_set_may_be_a_stage_with_a_target_of_its_own(place, tmp_path):
    for name in ('law', 'news'):
        write_rows(tmp_path/f'{name}.jsonl', [replace(row, task_id='', task_type=f'kind {int(row.task_id[1:]) % 2}', instruction=f'{name}: {row.instruction} {row.input}', input='') for row in rows(4, 6)])
        (tmp_path/f'{name}_test.jsonl').write_text(''.join(json.dumps({'template': 'ask', 'prompt': f'Which {name} is {word}?', 'completion': word}) + '\n' for word in WORDS[:4]))
    config = replace(CONFIG, data=f'{tmp_path}/law.jsonl,{tmp_path}/news.jsonl', by='sets', tasks=0, targets=f'p3:{tmp_path}/law_test.jsonl,p3:{tmp_path}/news_test.jsonl', replay_from='general', general=str(write_rows(tmp_path/'general.jsonl', rows(5, 8))), replay=2)
    data = gather_stages(config, place)
    assert [(one.name, sorted(one.training)) for one in data.stages] == [('law', ['law: kind 0', 'law: kind 1']), ('news', ['news: kind 0', 'news: kind 1'])]
    assert data.kind == 'targets' and [len(one.items) for one in data.own] == [4, 4] and not any(part for one in data.stages for part in one.holdout.values())
    choices = choose_replay(data, config)
    assert {one.stage for one in choices} == {1, 2} and all(set(one.tasks) <= set(data.general.training) for one in choices)  # general tasks are replayed from the first stage on
    plan = plan_trainings(data, choices, config)
    assert [one.name for one in plan] == ['seed0/stage1', 'seed0/none/stage2', 'seed0/random/stage1', 'seed0/random/stage2', 'seed0/full']
    assert [len(training_rows(one, data)) for one in plan] == [8, 8, 16, 16, 16]
    with pytest.raises(ValueError, match='1 targets and 2 sets'): gather_stages(replace(config, targets=f'p3:{tmp_path}/law_test.jsonl'), place)


def test_people_or_not(tmp_path):
    row = Example('1', 'Do.', 'it', 'done')
    def kind(forms=(), **more): return choose_holdout(ContinualConfig(**{name: more.pop(name) for name in ('holdout_kind', 'targets', 'holdout') if name in more}), [replace(row, **more)], forms)
    assert [kind(['super_ni']), kind(['p3', 'alpaca']), kind(['dynosaur']), kind(generator='templates'), kind(generator='gpt'), kind(holdout_kind='all'), kind(holdout_kind='all', generator='templates'), kind(targets='x'), kind(holdout=0)] == ['all', 'clean', 'clean', 'all', 'clean', 'unreviewed', 'all', 'none', 'none']


@pytest.mark.parametrize(('changes', 'told'), [({'by': 'date'}, "by is 'date'"), ({'replay': 0}, 'replay is 0, want 1 or more'), ({'seeds': 0}, 'want 1 or more'), ({'strategies': 'none,best'}, "no strategy 'best'"), ({'holdout_kind': 'reviewed'}, 'names a table of verdicts'),
                                               ({'general': 'x'}, "replay_from is 'general'"), ({'examples': -1}, 'want 1 or more')])
def test_bad_settings_are_named(changes, told):
    with pytest.raises(ValueError, match=told): ContinualConfig(**changes)


# ---- sets of texts, twins, rules that see whole tasks

@pytest.fixture(scope='module')
def grown(tmp_path_factory) -> Path:
    "Three versions that the embedded writer made of more and more of the demo's documents, by the way of the report bonito_data."
    folder, documents = tmp_path_factory.mktemp('grown'), demo_file('contexts')
    paths = sorted(path for path in documents.rglob('*') if path.is_file())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('INSTRUCTGEN_OUTPUTS', str(folder/'outputs'))
        for number in (1, 2, 3):
            for path in paths[number - 1::3]:
                new = folder/'town'/path.relative_to(documents)
                new.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, new)
            config = BonitoConfig(contexts=str(folder/'town'), license='own', draws=4, llm='rules')
            before = read_version(folder/f'v{number - 1}') if number > 1 else None
            contexts, refused, lengths, *_ = gather_contexts(config, empty=True)
            plan = plan_texts(contexts, refused, lengths, config, before, GrowthPolicy()) if before else None
            with open_run('bonito_data', {}, out=folder/f'v{number}', previous=str(before.folder) if before else '') as run:
                run.finish({'examples': build_bonito(run, config, plan.contexts if plan else contexts, plan.refused if plan else refused, plan=plan)['examples']})
    return folder


@pytest.mark.parametrize('by', ['versions', 'split'])
def test_a_grown_set_of_texts_has_tasks(grown, place, tmp_path, by):
    config = replace(CONFIG, data=f'{grown}/v1,{grown}/v2,{grown}/v3' if by == 'versions' else f'{grown}/v3', by=by, tasks=0, benchmarks=f'p3:{write_questions(tmp_path)}', instances=2)
    data = gather_stages(config, place)
    assert len(data.stages) == 3 and all(len(one.training) > 1 and all(map(len, one.holdout.values())) for one in data.stages) and data.kind == 'clean'
    kinds = {row.task_type for one in data.stages for row in one.rows}
    assert len(kinds) > 1 and all(len({row.task_type for row in rows}) == 1 for one in data.stages for rows in one.training.values())
    assert all(len(rows) == 4 for one in data.stages for rows in one.training.values()) and any('on a document' in note for note in data.notes)
    assert len({task for one in data.stages for task in one.training}) > len(kinds)  # of a split as well: documents part a type
    if by == 'versions':
        assert [one.name for one in data.stages] == ['v1', 'v2', 'v3'] and all(task.startswith(f'{one.name}: ') for one in data.stages for task in one.training)
        older = {row['id'] for row in read_examples(grown/'v2').to_pylist()}
        assert not older & {row.id for row in data.stages[2].rows} and {row.id for row in data.stages[1].rows} <= older
        assert gather_stages(replace(config, data=f'{grown}/v3'), place).stages == data.stages  # the newest knows what it grew from
        first = gather_stages(replace(config, data=f'{grown}/v1,{grown}/v2'), place)
        assert first.stages == data.stages[:2]  # what was learnt and held out stays so when another version comes
    plan = plan_trainings(data, choose_replay(data, config), replace(config, full=False))
    base, kind = open_base(QUICK, place/'starts')
    facts = run_plan(plan, data, base, kind, QUICK, tmp_path/'run')
    assert facts['seed0/stage1']['steps'] == 2 and [one.stage for one in plan if one.replayed] == [2, 3] and len(read_asked(plan, data, tmp_path/'run')) > len(plan)


def write_questions(folder: Path) -> Path:
    "A test of two questions that takes no time."
    (folder/'questions.jsonl').write_text(''.join(json.dumps({'template': 'ask', 'prompt': f'Which word is {word}?', 'completion': word}) + '\n' for word in WORDS[:2]))
    return folder/'questions.jsonl'


def held_and_learnt(data: ContinualData) -> set[str]:
    learnt = {question_of(row) for one in (*data.stages, *filter(None, [data.general])) for row in one.rows}
    return learnt & {' '.join(f'{item.instruction} {item.input}'.split()) for one in data.own for item in one.items}


def test_no_question_is_on_both_sides_of_any_tasks(place, tmp_path):
    found = rows(9, 9, generator='templates')
    twins = [replace(row, id=f'{row.id}-again', task_id=f'{row.task_id}-again') for row in found if row.id[-1] in '012345']
    config = replace(CONFIG, data=str(write_rows(tmp_path/'set.jsonl', [*found, *twins])), tasks=0)
    data = gather_stages(config, place)
    account = {row['rule']: (row['tasks'], row['examples']) for row in data.account}
    assert not held_and_learnt(data) and sum(len(one.training) for one in data.stages) == 9 and account['other_task'] == (0, 54) and any('54 examples were left out' in note for note in data.notes)
    general = gather_stages(replace(config, replay_from='general', general=config.data), place)
    held = sum(len(one.items) for one in general.own)
    assert not held_and_learnt(general) and {row['rule']: row['examples'] for row in general.account}['general_held_out'] > held and any('of the general tasks were left out' in note for note in general.notes)
    plain = gather_stages(replace(config, data=str(write_rows(tmp_path/'plain.jsonl', found))), place)
    assert 'other_task' not in {row['rule'] for row in plain.account} and not any('left out' in note for note in plain.notes)
    with pytest.raises(ValueError, match='stands in the general tasks'): replace(plain, general=replace(plain.stages[0], training=plain.stages[0].holdout, holdout=plain.stages[0].training))


def test_rules_see_all_examples_of_a_task(place, tmp_path):
    "Every question of two tasks has two answers, far more rows than are drawn."
    many = [Example(f'{task}-{n}-{turn}', f'Say {task}.', f'{WORDS[n % 25]} number {n}', f'{task} {turn} {n % 3}', task_id=task) for task in ('north', 'south') for n in range(300) for turn in (1, 2)]
    data = gather_stages(replace(CONFIG, data=str(write_rows(tmp_path/'set.jsonl', [*many, *rows(9, 8)])), tasks=0), place)
    assert not {'north', 'south'} & {task for one in data.stages for task in one.training} and {row['rule']: row['tasks'] for row in data.account}['few_usable'] == 2


def test_generated_holdout_that_nobody_reviewed_is_called_so(place, tmp_path):
    data = gather_stages(replace(CONFIG, data=str(write_rows(tmp_path/'set.jsonl', rows(9, 8))), holdout_kind='all'), place)
    assert data.kind == 'unreviewed' and [one.name for one in data.own] == [f'unreviewed generated holdout of stage {number}' for number in (1, 2, 3)]
    assert any('nobody has reviewed' in note for note in data.notes) and all('checked by nobody' in one.note for one in data.own)
    assert gather_stages(replace(CONFIG, data=str(write_rows(tmp_path/'set.jsonl', rows(9, 8, generator='templates'))), holdout_kind='all'), place).own[0].name == 'holdout of stage 1'


# ---- choices and plan

def test_choices_are_those_of_the_strategy_on_tasks_that_are_there():
    data, config = made(), replace(CONFIG, strategies='all', replay=2)
    choices = {(one.strategy, one.stage): one for one in choose_replay(data, config)}
    assert {name for name, _ in choices} == set(STRATEGIES)
    for stage in data.stages[1:]:
        before = data.stages[stage.number - 2]
        ids, vectors = embed_tasks([*before.rows, *stage.rows])
        places = [[place for place, task in enumerate(ids) if task in one.training] for one in (before, stage)]
        for name in ('instr_diverse', 'instr_similar', 'instr_support', 'greedy_diverse'):
            chosen, scores = select_replay(vectors[places[0]], vectors[places[1]], 2, name)
            assert choices[name, stage.number].tasks == tuple(ids[places[0][place]] for place in chosen) and np.allclose(choices[name, stage.number].scores, scores), name
        assert set(choices['data_diverse', stage.number].tasks) < set(before.training)
    other = replace(data, stages=(*data.stages[:2], made(stages=4).stages[3]), own=())  # later stages and held-out examples change nothing
    assert [one for one in choose_replay(other, config) if one.stage == 2] == [one for one in choices.values() if one.stage == 2]


def test_random_choices_differ_by_seed_and_others_do_not():
    data = made(2, 12)
    found = choose_replay(data, replace(CONFIG, strategies='random,instr_diverse', replay=4, seeds=3))
    assert len({one.tasks for one in found if one.strategy == 'random'}) == 3 and len({one.tasks for one in found if one.strategy == 'instr_diverse'}) == 1
    table = replay_table(found, data)
    assert len(table) == 3 * 4 + 4 and set(table['seed']) == {0, 1, 2, 'all'} and all(len(text) for text in table['instruction'])


def test_more_than_there_is_is_all_of_it():
    data = made()
    choices = choose_replay(data, replace(CONFIG, strategies='all', replay=50))
    assert {len(one.tasks) for one in choices if one.strategy != 'none'} == {3}
    assert {len(one.tasks) for one in choose_replay(data, replace(CONFIG, strategies='random', replay=50, replay_from='all')) if one.stage == 3} == {6}
    plan = plan_trainings(data, choices, replace(CONFIG, strategies='all', replay=50))
    assert len(plan) == 1 + 2 + 2 + 1 and plan[3].strategies == tuple(name for name in STRATEGIES if name != 'none')  # one training for all that replay the same


def test_the_plan_of_the_goal_has_48_trainings_at_most():
    data = made(3, 12)
    config = replace(CONFIG, strategies='all', replay=5, seeds=3, tasks=12)
    plan = plan_trainings(data, choose_replay(data, config), config)
    by_name = {one.name: one for one in plan}
    assert len(plan) <= 48 and len([one for one in plan if one.stage == 1]) == 3 and len([one for one in plan if one.strategies == (FULL,)]) == 3
    for one in plan:
        assert not one.base or plan.index(by_name[one.base]) < plan.index(one) and by_name[one.base].stage == one.stage - 1 and by_name[one.base].seed == one.seed and set(one.strategies) <= set(by_name[one.base].strategies)
        assert set(one.replayed) <= set(data.stages[one.stage - 2].training) and len(one.replayed) in (0, 5)
    for name in config.names:
        for seed in range(3): assert [one.stage for one in plan if one.seed == seed and name in one.strategies] == [1, 2, 3]
    assert len([one for one in plan if 'none' in one.strategies and one.replayed]) == 0 and most_kept(plan) == 3


def test_every_training_makes_as_many_passes():
    data = made()
    config = replace(CONFIG, strategies='none,instr_diverse', replay=2)
    for one in plan_trainings(data, choose_replay(data, config), config):
        learnt = training_rows(one, data)
        assert stage_training(replace(QUICK, steps=9), 'llama', 'm', len(learnt), 12).steps == {12: 9, 20: 15, 36: 27}[len(learnt)]
        assert len({row.id for row in learnt}) == len(learnt) and {row.task_id for row in learnt} == {*one.tasks, *one.replayed}
        for row in learnt: assert any(row in stage.training.get(row.task_id, ()) for stage in data.stages)  # replay brings the same examples
    assert stage_training(replace(QUICK, scale='paper', steps=0), 't5', 'm', 1000, 12).steps == 126  # two epochs of 63 steps


# ---- running, and being killed

def small(folder: str | Path, slow: int = 1) -> dict:
    "A whole experiment in a folder; the second stage of `none` takes `slow` times as long, for whoever wants to stop it there."
    data = made(2)
    plan = plan_trainings(data, choose_replay(data, CONFIG), replace(CONFIG, full=False))
    base, kind = open_base(QUICK, Path(folder, 'starts'))
    return run_plan(plan, data, base, kind, replace(QUICK, steps=QUICK.steps * slow), Path(folder, 'run'))


def contents(folder: Path) -> dict[str, bytes]: return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob('predictions/*.jsonl'))}


@pytest.fixture(scope='module')
def whole(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('whole')
    facts = small(folder, 4)
    assert list(facts) == ['seed0/stage1', 'seed0/none/stage2', 'seed0/random/stage2'] and facts['seed0/random/stage2']['steps'] == 11
    return folder


def test_a_kill_in_the_middle_of_a_stage_costs_that_stage_alone(whole, tmp_path):
    code = f'import sys; sys.path[:0] = [{str(Path(__file__).parent)!r}]; import test_continual; test_continual.small({str(tmp_path)!r}, 4)'
    process = subprocess.Popen([sys.executable, '-c', code], env={**os.environ, 'OMP_NUM_THREADS': '1'}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    begun, until = tmp_path/'run'/'seed0'/'none'/'stage2'/'model'/'train.json', time.monotonic() + 300
    while not begun.is_file() and process.poll() is None and time.monotonic() < until: time.sleep(.002)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, 'it ended before it was stopped'
    first = tmp_path/'run'/'seed0'/'stage1'
    assert not (begun.parent.parent/'training.json').is_file() and (first/'training.json').is_file() and (first/'model'/'config.json').is_file()
    kept = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in first.rglob('*') if path.is_file() and path.parent.name != 'model'}
    facts = small(tmp_path, 4)
    assert {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in first.rglob('*') if path.is_file()} == kept  # not trained again, not asked again; its weights are gone
    assert contents(tmp_path/'run') == contents(whole/'run') and len(facts) == 3
    assert not list((tmp_path/'run').rglob('*.safetensors'))


def test_what_is_there_is_not_mixed_with_another_experiment(whole):
    data = made(2)
    plan = plan_trainings(data, choose_replay(data, CONFIG), replace(CONFIG, full=False))
    base, kind = open_base(QUICK, whole/'starts')
    config = replace(QUICK, steps=8)
    before = {path: path.stat().st_mtime_ns for path in (whole/'run').rglob('*') if path.is_file()}
    assert list(run_plan(plan, data, base, kind, config, whole/'run')) == [one.name for one in plan]
    assert {path: path.stat().st_mtime_ns for path in (whole/'run').rglob('*') if path.is_file()} == before
    with pytest.raises(ValueError, match=r'another experiment \(config differ\)'): run_plan(plan, data, base, kind, QUICK, whole/'run')
    with pytest.raises(ValueError, match=r'another experiment \(trainings differ\)'): run_plan(plan[:2], data, base, kind, config, whole/'run')
    assert set(spare_weights(plan, data, whole/'run')) == {one.name for one in plan}


def test_stages_go_on_from_the_checkpoint_before_and_no_more_is_kept(monkeypatch, tmp_path):
    "With trainings and questions that take no time."
    data, config = made(3, 6), replace(CONFIG, strategies='none,random,instr_diverse', replay=2, seeds=2)
    plan, went_on, most = plan_trainings(data, choose_replay(data, config), config), {}, 0
    def train_nothing(rows, validation, how, folder, checkpoints):
        nonlocal most
        if (folder/'training.json').is_file(): return json.loads((folder/'training.json').read_text())
        assert validation == () and checkpoints == 'last' and Path(how.model, 'weights').is_file()  # what it goes on from is still there
        (folder/'model').mkdir(parents=True)
        (folder/'model'/'weights').touch()
        went_on[str(folder.relative_to(tmp_path/'run'))], most = (how.model, how.steps, how.seed, len(rows)), max(most, len(list((tmp_path/'run').rglob('weights'))))
        (folder/'training.json').write_text(json.dumps({'steps': how.steps}))
        return {'steps': how.steps}
    def ask_nothing(model, benchmarks, folder, form):
        for one in benchmarks:
            predictions_path(folder, one.name).parent.mkdir(parents=True, exist_ok=True)
            predictions_path(folder, one.name).touch()
    monkeypatch.setattr('instructgen.continual.train_arm', train_nothing)
    monkeypatch.setattr('instructgen.continual.predict_all', ask_nothing)
    (tmp_path/'base').mkdir()
    (tmp_path/'base'/'weights').touch()
    facts = run_plan(plan, data, Start('random', str(tmp_path/'base'), 'small', True), 'llama', QUICK, tmp_path/'run')
    assert list(facts) == list(went_on) == [one.name for one in plan] and most == most_kept(plan) == 3 and not list((tmp_path/'run').rglob('weights'))
    for one in plan:
        model, steps, seed, learnt = went_on[one.name]
        assert model == (str(tmp_path/'run'/one.base/'model') if one.base else str(tmp_path/'base')) and seed == one.seed and learnt == len(training_rows(one, data)) and steps == round(2 * learnt / 24)


def test_answers_are_read_for_every_strategy(whole):
    data = made(2)
    plan = plan_trainings(data, choose_replay(data, CONFIG), replace(CONFIG, full=False))
    asked = read_asked(plan, data, whole/'run')
    assert [(one.arm, one.after, one.stage, one.shared) for one in asked] == [
        *(('untrained', 0, stage, False) for stage in (0, 1, 2)), *((arm, 1, stage, arm == 'random') for stage in (0, 1) for arm in ('none', 'random')), *((arm, 2, stage, False) for arm in ('none', 'random') for stage in (0, 1, 2))]
    frame = stage_frame(asked)
    assert len(frame) == len(asked) and frame['value'].between(0, 1).all()
    rows_ = score_stages(asked, 2, Start('random', '', 'small', True))
    values = {(row.arm, row.benchmark, row.metric): row.value for row in rows_ if row.level == 'all'}
    for one in frame.itertuples():
        if (name := (one.arm, stage_name(one.benchmark, one.stage, one.after, 2), 'rouge_l')) in values: assert math.isclose(values[name], one.value, abs_tol=1e-8)


# ---- forgetting and transfer

@settings(max_examples=15, deadline=None)
@given(st.integers(2, 5), st.integers(1, 3), st.integers(0, 100))
def test_forgetting_and_transfer_are_what_their_formulas_say(stages, seeds, chance):
    scores = np.random.default_rng(chance).random((2, seeds, stages + 1, stages + 1)).round(3)
    frame = pd.DataFrame([(arm, seed, after, stage, 'x', f'holdout of stage {stage}', 'rouge_l', scores[place, seed, after, stage], 9, False) for place, arm in enumerate(('none', 'random')) for seed in range(seeds) for after in range(1, stages + 1) for stage in range(1, after + 1)],
                         columns=['arm', 'seed', 'after', 'stage', 'kind', 'benchmark', 'metric', 'value', 'n', 'shared'])
    lost = {(one.arm, one.seed, one.after, one.stage): one.forgetting for one in forgetting_frame(frame).itertuples()}
    assert len(lost) == 2 * seeds * stages * (stages - 1) // 2
    for place, arm in enumerate(('none', 'random')):
        for seed in range(seeds):
            matrix = scores[place, seed]
            for after in range(2, stages + 1):
                for stage in range(1, after): assert math.isclose(lost[arm, seed, after, stage], max(matrix[earlier, stage] for earlier in range(stage, after)) - matrix[after, stage], abs_tol=1e-12)
            moved = backward_transfer(frame).set_index(['arm', 'seed'])['value'][arm, seed]
            assert math.isclose(moved, sum(matrix[stages, stage] - matrix[stage, stage] for stage in range(1, stages)) / (stages - 1), abs_tol=1e-12)
    table = forgetting_matrix(frame)
    assert len(table) == 2 * stages * (stages + 1) // 2 and (table['forgetting'].isna() == (table['after'] == table['stage'])).all()


def test_an_interval_over_seeds_is_students():
    assert seed_interval([.3, .4, .5])[1:] == (pytest.approx(.4 - 4.302653 * .1 / 3**.5), pytest.approx(.4 + 4.302653 * .1 / 3**.5))
    assert all(map(math.isnan, seed_interval([.3])[1:]))
    frame = pd.DataFrame({'arm': list('aab'), 'value': [1., 3., 5.], 'seed': [0, 1, 0]})
    assert over_seeds(frame, ['arm'])[['arm', 'value', 'seeds']].values.tolist() == [['a', 2., 2], ['b', 5., 1]]


# ---- differences, and what is said

ARMS = ('none', 'random', 'instr_diverse', 'instr_similar', 'instr_support', 'data_diverse')


def answered(folder: Path, knows, seeds: int = 3, arms: tuple = ARMS) -> tuple[list[Training], ContinualData]:
    "An experiment of two stages of eight tasks whose answers are made up: knows(arm, seed, after, stage, place) tells which are right."
    drawn, _ = draw_tasks(rows(16, 8), 4, 3)
    parts = make_stages({f'stage {number}': part for number, part in enumerate(split_tasks(drawn, 2), 1)}, drawn)
    data = ContinualData(parts, (replace(TEST, items=tuple(replace(item, id=f'{item.id}.{n}') for n in range(4) for item in TEST.items)),), tuple(holdout_benchmark(one) for one in parts), 'all', ())
    plan = [one for seed in range(seeds) for one in (Training(f'seed{seed}/stage1', seed, 1, arms, '', (), ()), *(Training(f'seed{seed}/{arm}/stage2', seed, 2, (arm,), f'seed{seed}/stage1', (), ()) for arm in arms), Training(f'seed{seed}/full', seed, 2, (FULL,), '', (), ()))]
    for name, arm, seed, after in [('untrained', 'untrained', 0, 0), *((one.name, one.strategies[-1] if after_first(one) else 'none', one.seed, one.stage) for one in plan)]:
        for stage, one in asked_after(after, data):
            path = predictions_path(folder/name, one.name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(''.join(write_prediction(Prediction(item.id, item.references[0] if knows(arm, seed, after, stage, place) else 'no idea')) for place, item in enumerate(one.items)))
    return plan, data


def after_first(one: Training) -> bool: return one.stage > 1


def replay_keeps(arm: str, seed: int, after: int, stage: int, place: int) -> bool:
    "Without replay the first stage is forgotten but for one of three; diverse replay helps the test, similar replay hurts it."
    if not after: return False
    if not stage: return place % 24 < {'none': 10, 'instr_diverse': 20, 'instr_similar': 4, 'full': 10}.get(arm, 10) + seed % 2
    return stage == after or arm not in ('none', 'random') or place % 3 == 0


def test_differences_over_one_seed_are_those_of_compare(tmp_path):
    plan, data = answered(tmp_path, replay_keeps, 1, ('none', 'instr_diverse'))
    asked = read_asked(plan, data, tmp_path)
    for stage, one in asked_after(2, data):
        first, second = ([found for found in asked if (found.arm, found.after, found.stage) == (arm, 2, stage)] for arm in ('instr_diverse', 'none'))
        known = compare(one, first[0].said, second[0].said, 'rouge_l')
        gap, turned = seeds_difference(first, second), seeds_difference(second, first)
        assert (gap.value, gap.low, gap.high, gap.n, gap.over) == (pytest.approx(known.value), pytest.approx(known.low), pytest.approx(known.high), known.n, known.over)
        assert (turned.value, turned.low, turned.high) == (pytest.approx(-gap.value), pytest.approx(-gap.high), pytest.approx(-gap.low))


def test_seeds_that_disagree_widen_the_interval(tmp_path):
    def moves(arm, seed, after, stage, place): return after > 0 and (stage > 0 or place % 24 < (12 + {'none': 0, 'random': (-3, 4, 5)[seed], 'instr_diverse': 2}[arm] if arm in ('none', 'random', 'instr_diverse') else 12))
    plan, data = answered(tmp_path, moves, 3, ('none', 'random', 'instr_diverse'))
    asked = read_asked(plan, data, tmp_path)
    def those(arm): return [one for one in asked if (one.arm, one.after, one.stage) == (arm, 2, 0)]
    agreed, split = seeds_difference(those('instr_diverse'), those('none')), seeds_difference(those('random'), those('none'))
    assert agreed.value == pytest.approx(split.value) == pytest.approx(2 / 24)
    each = [seeds_difference([one], [two]).value for one, two in zip(those('random'), those('none'))]
    assert split.high - split.value >= seed_interval(each)[2] - seed_interval(each)[0] > agreed.high - agreed.value  # both spreads are in it
    with pytest.raises(ValueError, match='other seeds'): seeds_difference(those('random')[:2], those('none'))


def test_what_is_said_follows_from_the_intervals(tmp_path):
    plan, data = answered(tmp_path, replay_keeps)
    asked = read_asked(plan, data, tmp_path)
    each, joined = compare_stages(asked, 2, Start('pretrained', '', 'small', True))
    assert len(joined) == 3 * 21 and len(each) == 3 * len(joined)
    found = {(gap['arm'], gap['other'], gap['kind']): gap['verdict'] for gap in joined}
    assert [found[arm, 'none', 'previous'] for arm in ARMS[1:]] == ['no difference shown', *['better'] * 4]
    told = replay_findings(joined, stage_frame(asked))
    helps = next(text for text in told if text.startswith('After the last stage replay helps'))
    assert 'instr_diverse on previous: holdout of stage 1' in helps.partition('It hurts')[0] and 'random on previous' not in helps and 'In ' in helps and 'by chance alone' in helps
    assert any(text.startswith('previous: holdout of stage 1, after all stages, against no replay: better: instr_diverse (+') and 'not shown: random (+0.0' in text for text in told)
    assert any('against tasks drawn at random: better: ' in text for text in told) and any(text.startswith('Forgetting after the last stage (no replay): stage 1 +6') for text in told)


def test_nothing_is_said_where_all_are_alike(tmp_path):
    plan, data = answered(tmp_path, lambda arm, seed, after, stage, place: place % 2 == 0 and after > 0, 2, ('none', 'random', 'instr_diverse'))
    asked = read_asked(plan, data, tmp_path)
    told = replay_findings(compare_stages(asked, 2, Start('pretrained', '', 'small', True))[1], stage_frame(asked))
    assert any('helps: nowhere that was shown. It hurts: nowhere that was shown.' in text for text in told) and any('No way to choose was shown' in text for text in told)
    assert not any('Every score is below' in text or 'One seed' in text for text in told)


def test_scores_at_the_floor_say_nothing(tmp_path):
    def silent_on_test(arm, seed, after, stage, place): return replay_keeps(arm, seed, after, stage, place) if stage else arm == 'instr_diverse' and place == 0
    plan, data = answered(tmp_path, silent_on_test, 1, ('none', 'instr_diverse'))
    asked = read_asked(plan, data, tmp_path)
    told = replay_findings(compare_stages(asked, 2, Start('pretrained', '', 'small', True))[1], stage_frame(asked))
    assert told[0].startswith('One seed was run') and told[1].startswith('Every score is below 5 of 100 on: six held-out Super-NI tasks, after all stages.')
    assert not any('six held-out' in text for text in told[2:]) and any('helps: instr_diverse on previous' in text for text in told)


def test_trainings_that_are_one_are_called_the_same(tmp_path):
    plan, data = answered(tmp_path, replay_keeps, 1, ('none', 'random', 'instr_diverse'))
    joined_plan = [replace(one, strategies=('random', 'instr_diverse')) if one.name.endswith('random/stage2') else one for one in plan if 'instr_diverse/stage2' not in one.name]
    asked = read_asked(joined_plan, data, tmp_path)
    gaps = [gap for gap in compare_stages(asked, 2, Start('pretrained', '', 'small', True))[1] if gap['same']]
    assert {(gap['arm'], gap['other'], gap['difference']) for gap in gaps} == {('random', 'instr_diverse', 0.)}
    assert {row.arm for row in score_stages(asked, 2, Start('pretrained', '', 'small', True)) if row.benchmark.startswith('previous')} == {'none', 'random', 'instr_diverse', 'full'}  # each has its rows
    assert any('The same trainings' in text for text in replay_findings(compare_stages(asked, 2, Start('pretrained', '', 'small', True))[1], stage_frame(asked)))


def test_the_table_has_the_form_of_the_papers(tmp_path):
    plan, data = answered(tmp_path, replay_keeps)
    table = six_table(stage_frame(read_asked(plan, data, tmp_path)))
    assert list(table['strategy']) == [*ARMS, 'full', 'untrained'] and list(table.columns[1:6]) == ['Test st.1', 'Test st.2', 'Holdout st.1', 'Holdout st.2', 'Previous st.2 (stage 1)']
    assert set(table['Test st.1'][1:]) == {'–'} and table['Test st.1'][0] != '–' and table['Previous st.2 (stage 1)'][0].startswith('33.3 (')
    ours = [name for name in table.columns if name in SIX_COLUMNS]
    assert len(ours) == 4


def test_published_numbers_are_those_of_the_paper():
    found = PUBLISHED_SIX['Super-NI']
    assert [found[arm][2] for arm in ('none', 'data_diverse', 'instr_diverse', 'instr_similar', 'instr_support', 'full')] == [43.3, 42.8, 44.8, 41.0, 44.6, 43.4]
    assert found['none'][:2] == (40.6, 40.5) and [found[arm][3:5] for arm in ('none', 'instr_diverse')] == [(56.3, 60.1), (59.8, 63.5)] and [found[arm][5:] for arm in ('none', 'instr_support')] == [(50.9, 58.2, 49.3), (54.6, 59.3, 53.0)]
    assert PUBLISHED_SIX['Dynosaur'] == {'none': (36.5, 37.5, 38.2, *[None] * 5), 'instr_diverse': (None, 37.9, 39.9, *[None] * 5), 'full': (None, None, 40.4, *[None] * 5)}
    assert all(len(values) == len(SIX_COLUMNS) for arms in PUBLISHED_SIX.values() for values in arms.values()) and len(published_six()) == 9


def test_claims_are_judged_from_such_a_run(tmp_path):
    plan, data = answered(tmp_path/'trainings', replay_keeps)
    asked, base = read_asked(plan, data, tmp_path/'trainings'), Start('pretrained', '', 'small', True)
    with open_run('continual', {'seed': 0, 'seeds': 3}, out=tmp_path/'run') as run:
        write_scores(run.folder, score_stages(asked, 2, base), comparisons=compare_stages(asked, 2, base)[0])
        run.finish({})
    runs, missing = gather_runs(str(tmp_path/'run'))
    said = {claim.id: judge_claim(claim, runs) for claim in read_claims() if claim.report == 'continual' and claim.id != 'bonito-three-targets'}
    assert {name: verdict.word for name, verdict in said.items()} == {'dynosaur-forgetting': 'supported', 'dynosaur-diverse-replay': 'supported', 'dynosaur-replay-full': 'supported'}, said
    assert {one.basis for one in said['dynosaur-forgetting'].evidence} == {'3 seeds'} and not missing
    with open_run('continual', {'seed': 0, 'seeds': 1}, out=tmp_path/'one') as run:
        write_scores(run.folder, [row for row in score_stages(asked, 2, base) if row.seed == 0])
        run.finish({})
    assert {judge_claim(claim, gather_runs(str(tmp_path/'one'))[0]).word for claim in read_claims() if claim.report == 'continual'} == {'not run'}  # one seed says nothing of seeds


def test_three_domains_in_turn_are_judged(tmp_path):
    plan, data = answered(tmp_path/'trainings', replay_keeps)
    asked, base = [replace(one, benchmark=replace(one.benchmark, name=f'pubmed_qa (target of stage {one.stage})', metrics=('squad_f1',)) if one.stage else one.benchmark) for one in read_asked(plan, data, tmp_path/'trainings')], Start('pretrained', '', 'small', True)
    claim = next(claim for claim in read_claims() if claim.id == 'bonito-three-targets')
    for source, word in (('general', 'mixed'), ('previous', 'not run')):
        with open_run('continual', {'seed': 0, 'seeds': 3, 'replay_from': source}, out=tmp_path/source) as run:
            write_scores(run.folder, score_stages(asked, 2, base), comparisons=compare_stages(asked, 2, base)[0])
            run.finish({})
        assert judge_claim(claim, gather_runs(str(tmp_path/source))[0]).word == word  # a random choice keeps nothing here


# ---- costs, parameter file, report

def test_an_estimate_counts_what_would_be_done(place, tmp_path):
    config = replace(CONFIG, data=str(write_rows(tmp_path/'set.jsonl', rows(9, 8))), instances=1)
    data = gather_stages(config, place)
    plan = plan_trainings(data, choose_replay(data, config), config)
    told = estimate_continual({**asdict(config), **{name: getattr(QUICK, name) for name in ('kind', 'hidden', 'layers', 'vocab', 'steps')}})
    assert (told['trainings'], told['steps']) == (str(len(plan)), str(sum(stage_training(QUICK, 'llama', 'm', len(training_rows(one, data)), 12).steps for one in plan)))
    assert 'of training' in told['time'] and 'from 20 steps' in told['time'] and 'MB' in told['memory'] and 'at most' in told['disk']
    assert told['answers'] == str(sum(len(one.items) for stage in (0, *(one.stage for one in plan)) for _, one in asked_after(stage, data)))


def test_the_report_and_the_configurations_have_the_same_defaults():
    "Or the estimate would be of something else."
    known, config, how = {name: one.default for name, one in report_parameters('continual').items()}, asdict(ContinualConfig()), asdict(from_parameters(RunConfig, SMALL_MODEL))
    assert set(config) <= set(known) and {name for name in known if name not in config} - {'out', 'resume'} <= set(how)
    assert {name: value for name, value in known.items() if name in config} == config and {name: value for name, value in known.items() if name in how} == {name: how[name] for name in known if name in how}


def test_the_parameter_file_of_table_6(place, tmp_path):
    given_parameters = read_parameter_file('table6', 'continual').parameters
    config, how = from_parameters(ContinualConfig, given_parameters), from_parameters(RunConfig, given_parameters)
    assert (config.replay, config.examples, config.holdout, config.stages, config.encoder, how.scale) == (50, 100, 100, 3, 'published', 'paper') and set(given_parameters) <= {*ContinualConfig.__slots__, *RunConfig.__slots__}
    import torch
    if torch.cuda.is_available(): pytest.skip('there is a GPU')
    told = estimate_continual({**given_parameters, 'data': str(write_rows(tmp_path/'set.jsonl', rows(9, 8))), 'benchmarks': 'demo', 'encoder': 'tfidf', 'examples': 4, 'holdout': 2, 'instances': 1})
    assert 'needs a GPU' in told['time'] and 'GB' in told['memory'] and told['trainings'].isdigit()  # T5-3B is neither fetched nor trained for it
    data = made()
    plan = plan_trainings(data, choose_replay(data, CONFIG), CONFIG)
    assert plan_cost(plan, data, 'google/t5-xl-lm-adapt', 't5', how).disk > 3 * 4 * 2.7e9


def test_the_estimate_counts_reading(place, tmp_path):
    "The small model reads before the first stage: its steps, and the hours of them."
    given_parameters = {**asdict(replace(CONFIG, data=str(write_rows(tmp_path/'set.jsonl', rows(9, 8))), benchmarks=f'p3:{write_questions(tmp_path)}', strategies='none')), **{name: getattr(QUICK, name) for name in ('kind', 'hidden', 'layers', 'vocab', 'steps')}}
    told = estimate_continual({**given_parameters, 'text_steps': 3000})
    assert told['reading'].startswith('3,000 steps') and ' of reading, ' in told['time'] and not told['time'].split(': ')[1].startswith('0.0 ')
    assert 'reading' not in estimate_continual({**given_parameters, 'text_steps': 0})
    data = gather_stages(from_parameters(ContinualConfig, given_parameters), place)
    plan, (base, kind) = plan_trainings(data, choose_replay(data, CONFIG), CONFIG), open_base(QUICK, place/'starts')
    costs = [plan_cost(plan, data, base.path, kind, replace(QUICK, text_steps=steps), timed) for steps, timed in ((1000, 3), (1000, 0), (0, 0))]
    assert [one.reading for one in costs] == [1000, 1000, 0] and costs[0].read_seconds > 0 and costs[0].hours > (costs[0].reading * costs[0].read_seconds + costs[0].steps * costs[0].step_seconds) / 3600 and costs[1].hours == 0


# ---- going on

def test_kept_checkpoints_are_those_of_the_last_stage(tmp_path):
    data, config = made(2), replace(QUICK, keep_models=True)
    plan = plan_trainings(data, choose_replay(data, CONFIG), CONFIG)
    base, kind = open_base(QUICK, tmp_path/'starts')
    run_plan(plan, data, base, kind, config, tmp_path/'run')
    kept = kept_models(plan, tmp_path/'run')
    assert list(zip(kept['strategy'], kept['learnt'])) == [('none', 2), ('random', 2), (FULL, 2)] and all((Path(folder)/'model.safetensors').is_file() for folder in kept['folder'])
    assert all(named_start(folder).small for folder in kept['folder'])   # and still small ones, however they are named
    assert len(list((tmp_path/'run').rglob('model.safetensors'))) == 3
    assert (most_kept(plan), most_kept(plan, keep=True)) == (2, 3)
    assert plan_cost(plan, data, base.path, kind, config).disk / plan_cost(plan, data, base.path, kind, QUICK).disk == pytest.approx(3 / 2)


def test_a_model_goes_on_with_a_new_stage(tmp_path):
    "What is old is replayed and asked about; nothing of it is learnt again."
    data = replace(made(3), learnt=2)
    plan = plan_trainings(data, choose_replay(data, CONFIG), CONFIG)
    assert [(one.name, one.stage, one.base, len(one.replayed)) for one in plan] == [('seed0/stage3', 3, '', 0), ('seed0/random/stage3', 3, '', 1)]  # and nothing on everything at once
    assert set(plan[1].replayed) <= set(data.stages[1].training) and set(plan[0].tasks) == set(data.stages[2].training)
    base, kind = open_base(QUICK, tmp_path/'starts')
    with pytest.raises(ValueError, match='no model is named'): run_plan(plan, data, base, kind, QUICK, tmp_path/'run')
    with pytest.raises(ValueError, match='no model is named'): plan_cost(plan, data, base.path, kind, QUICK)
    with pytest.raises(ValueError, match='nothing is left to learn'): replace(data, learnt=3)
    config = replace(QUICK, model=base.path)
    run_plan(plan, data, *open_base(config), config, tmp_path/'run')
    asked = read_asked(plan, data, tmp_path/'run')
    assert [(one.arm, one.after, one.stage) for one in asked if one.after == 2] == [(arm, 2, stage) for stage in (0, 1, 2) for arm in ('none', 'random')]  # the model before, where both begin
    frame = stage_frame(asked)
    table = six_table(frame)
    assert [name for name in table.columns if 'st.' in name] == ['Test st.2', 'Test st.3', 'Holdout st.2', 'Holdout st.3', 'Previous st.2 (stage 1)', 'Previous st.3 (stage 2)', 'Previous st.3 (stage 1)'] and '–' not in table.loc[0, 'Holdout st.2']
    assert {(one.after, one.stage) for one in forgetting_frame(frame).itertuples()} == {(3, 1), (3, 2)} and len(backward_transfer(frame)) == 2
    names = {row.benchmark for row in score_stages(asked, 3, base)}
    assert any(name.endswith(', before stage 3') for name in names) and not any('before any stage' in name for name in names)
    assert {gap['after'] for gap in compare_stages(asked, 3, base)[1]} == {3} and replay_findings(compare_stages(asked, 3, base)[1], frame)


def test_reports_go_on_from_what_an_earlier_one_kept(tmp_path):
    "Version three arrives when two are learnt."
    for number, tasks in ((1, 3), (2, 6), (3, 9)):
        (tmp_path/f'v{number}'/'dataset'/'data').mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist([asdict(row) for row in rows(tasks, 8, generator='templates')], EXAMPLE_SCHEMA), tmp_path/f'v{number}'/'dataset'/'data'/'train-00.parquet')
        with open_run('dynosaur_data', {'seed': 0}, out=tmp_path/'other'/f'v{number}') as run: run.finish({})
        for path in (tmp_path/'other'/f'v{number}').iterdir(): path.rename(tmp_path/f'v{number}'/path.name)
    given_parameters = dict(by='versions', tasks=0, examples=4, holdout=2, replay=1, max_tokens=3, strategies='none,random', benchmarks=f'p3:{write_questions(tmp_path)}', steps=2, full=False)
    first = run_report('continual', out=str(tmp_path/'first'), data=f'{tmp_path}/v1,{tmp_path}/v2', hidden=32, layers=1, vocab=400, text_steps=0, keep_models=True, **given_parameters)
    kept = pd.read_csv(first/'tables'/'models.csv')
    assert list(kept['strategy']) == ['none', 'random'] and 'learnt=2' in (first/'report.html').read_text()
    second = run_report('continual', out=str(tmp_path/'second'), data=f'{tmp_path}/v1,{tmp_path}/v2,{tmp_path}/v3', model=kept['folder'][1], learnt=2, **given_parameters)
    assert list(pd.read_csv(second/'tables'/'plan.csv')['training']) == ['seed0/stage3', 'seed0/random/stage3'] and 'has learnt the first 2 stages already' in (second/'report.html').read_text()
    assert set(pd.read_csv(second/'tables'/'replayed.csv')['task']) <= {'t03', 't04', 't05'} and (first/'scores.json').is_file() and read_scores(second)
    def said(folder: Path, training: str, stage: int) -> bytes: return predictions_path(folder/'trainings'/training, f'holdout of stage {stage}').read_bytes()
    for stage in (1, 2): assert said(first, 'seed0/random/stage2', stage) == said(second, 'untrained', stage)  # the same model, asked the same


# ---- domains in turn

def domains(folder: Path, contexts: dict[str, Path], column: dict[str, str]) -> str:
    "Yes-no questions about texts of each domain, by the embedded writer and the way of the report bonito_data."
    for name, texts in contexts.items():
        config = BonitoConfig(contexts=str(texts), column=column[name], license='own', draws=3, task_types='ynqa', llm='rules', limit=30)
        found, refused, *_ = gather_contexts(config)
        with open_run('bonito_data', {}, out=folder/name) as run: run.finish({'examples': build_bonito(run, config, found, refused)['examples']})
    return ','.join(str(folder/name) for name in contexts)


def learn_domains(config: ContinualConfig, how: RunConfig, folder: Path) -> tuple[ContinualData, list[Training], dict]:
    data = gather_stages(config, folder/'made')
    plan = plan_trainings(data, choose_replay(data, config), config)
    base, kind = open_stage_base(how, data.form, folder/'starts')
    assert data.form == 'adapt' and kind == 'adapt' and plan_cost(plan, data, base.path, kind, how).trainings == len(plan)
    facts = run_plan(plan, data, base, kind, how, folder/'run')
    for one in plan: assert json.loads((folder/'run'/one.name/'predictions'/f'{predictions_path("", data.own[0].name).stem}.json').read_text())['form'] == 'bonito-target', one.name
    rows_ = score_stages(read_asked(plan, data, folder/'run'), 3, base)
    assert {row.metric for row in rows_ if 'target of stage 1' in row.benchmark} >= {'macro_f1'}
    return data, plan, facts


def test_three_domains_are_learnt_in_the_form_of_adaptation(tmp_path, monkeypatch):
    monkeypatch.setenv('INSTRUCTGEN_OUTPUTS', str(tmp_path/'outputs'))
    texts, columns = {}, dict.fromkeys(('law', 'news', 'sea'), 'text')
    for name in columns:
        (tmp_path/name/'data').mkdir(parents=True)
        texts[name] = tmp_path/f'{name}.jsonl'
        texts[name].write_text(''.join(json.dumps({'text': f'In the year 19{number} the {name} of {WORDS[number]} was told to {VERBS[number % 5]} every {WORDS[-number - 1]} that it had, and this was {"" if number % 2 else "not "}done before the winter of the year 19{number + 3}.'}) + '\n' for number in range(10, 24)))
        (tmp_path/name/'data'/'test.jsonl').write_text(''.join(json.dumps({'text': f'{word} had {number} of them.', 'question': f'Has {word} {number}?', 'label': ('no', 'yes')[number % 2]}) + '\n' for number, word in enumerate(WORDS[:6])))
    (tmp_path/'targets.yaml').write_text('---\n'.join(TOY_TARGET.replace('NAME', name) for name in columns))
    config = ContinualConfig(data=domains(tmp_path/'sets', texts, columns), by='sets', tasks=0, examples=6, targets=','.join(f'{name}={tmp_path}/{name}' for name in columns), targets_file=str(tmp_path/'targets.yaml'), benchmarks=f'p3:{write_questions(tmp_path)}',
                             general=str(write_rows(tmp_path/'general.jsonl', rows(4, 8))), replay_from='general', strategies='none,random', replay=2, full=False, max_tokens=3, exclude='none')
    data, plan, facts = learn_domains(config, QUICK, tmp_path)
    assert [one.name for one in data.stages] == ['law', 'news', 'sea'] and [one.name for one in plan] == [f'seed0/{"" if name == "none" and stage == 1 else name + "/"}stage{stage}' for name in ('none', 'random') for stage in (1, 2, 3)]
    assert [facts[one.name]['steps'] for one in plan] == [2, 2, 2, 6, 6, 6] and gather_stages(replace(config, form='instruct'), tmp_path/'made').form == 'instruct'
    assert stage_training(replace(QUICK, scale='paper', steps=0), 'adapt', 'm', 100, 100).lora_rank == 64 and open_stage_base(replace(QUICK, scale='tiny', model=''), 'adapt', tmp_path/'starts')[1] == 'adapt'
    assert gather_stages(replace(config, targets='', holdout=1, replay=1), tmp_path/'made').form == 'instruct'


TOY_TARGET = """dataset: NAME
about: a toy
task_type: ynqa
mode: rank
metrics: [accuracy, macro_f1]
context: text
fields: {text: [text], question: [question], answer: [label]}
labels: [['yes'], ['no']]
templates:
  p1:
    name: ask
    answer_choices: "Yes ||| No"
    jinja: "{{ text }} {{ question }} ||| {{ answer_choices[label] }}"
"""


def test_three_real_domains_in_turn(shared_data, tmp_path, monkeypatch):
    "The parameter file of the package, on drawn texts and with a pretrained model of 260,000 weights."
    monkeypatch.setenv('INSTRUCTGEN_OUTPUTS', str(tmp_path/'outputs'))
    given_parameters, columns = read_parameter_file('domains', 'continual').parameters, {'pubmed_qa': 'contexts', 'contract_nli': 'premise', 'vitaminc': 'evidence'}
    assert given_parameters['targets'] == 'pubmed_qa=data/pubmed_qa,contract_nli=data/contract_nli,vitaminc=data/vitaminc' and from_parameters(RunConfig, given_parameters).scale == 'one_gpu'
    sentences = list(dict.fromkeys(json.loads(line)['evidence'] for line in (shared_data/'hub'/'vitaminc'/'data'/'train.jsonl').read_text('utf-8').splitlines()))[:160]
    (tmp_path/'vitaminc.jsonl').write_text(''.join(json.dumps({'evidence': ' '.join(sentences[start:start + 4])}) + '\n' for start in range(0, len(sentences), 4)))  # the embedded writer makes nothing of one sentence
    texts = {name: tmp_path/'vitaminc.jsonl' if name == 'vitaminc' else shared_data/'hub'/name for name in columns}
    places = {'data': domains(tmp_path/'sets', texts, columns), 'targets': ','.join(f'{name}={shared_data}/hub/{name}' for name in columns), 'benchmarks': f'p3:{write_questions(tmp_path)}', 'general': str(write_rows(tmp_path/'general.jsonl', rows(4, 8)))}
    config = from_parameters(ContinualConfig, {**given_parameters, **places, 'examples': 6, 'instances': 2, 'replay': 2, 'seeds': 1, 'strategies': 'none,random', 'full': False})
    data, plan, facts = learn_domains(config, replace(QUICK, model=str(shared_data/'models'/'stories260K')), tmp_path)
    assert [one.name for one in data.stages] == list(columns) and [facts[one.name]['steps'] for one in plan][:3] == [2, 2, 2] and len(plan) == 6


@pytest.fixture(scope='module')
def run(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp('continual')
    return run_report('continual', out=str(place/'run'), data=str(write_rows(place/'set.jsonl', rows(6, 8, generator='templates'))), stages=2, tasks=3, examples=4, holdout=2, replay=1, instances=1, max_tokens=3, strategies='none,random',
                      seeds=1, hidden=32, layers=1, vocab=400, text_steps=0, steps=2)


def test_the_report_leaves_scores_tables_and_figures(run):
    found, saved = read_scores(run), json.loads((run/'scores.json').read_text())
    assert {row.arm for row in found} == {'untrained', 'none', 'random', 'full'} and {row.scale for row in found} == {'tiny'} and all('random start' in row.model for row in found)
    assert {gap['arm'] for gap in saved['comparisons']} <= {'none', 'random', 'full'} and {'seed', 'low', 'start'} <= set(saved['comparisons'][0])
    assert {path.stem for path in (run/'tables').glob('*.csv')} >= {'stages', 'benchmarks', 'strategies', 'replayed', 'plan', 'trainings', 'result', 'differences', 'transfer', 'answers', 'published', 'test_1', 'forgetting'}
    assert {path.stem for path in (run/'figures').glob('*.svg')} == {'test_1', 'forgetting'}
    assert read_manifest(run)['status'] == 'complete' and read_manifest(run)['counts']['trainings'] == 4 and not list(run.rglob('model.safetensors'))


def test_the_page_says_what_it_does_not_show(run):
    page = (run/'report.html').read_text()
    for words in ('small one from random weights', 'What this does not show', 'not to be compared', 'Dynosaur, Table 6, as printed', 'new optimizer', 'Where replay helps, and where it hurts', 'Memory: ', 'One seed was run'): assert words in page, words
    assert 'After the last stage replay helps' in page or 'Every score is below 5 of 100' in page
    replayed = pd.read_csv(run/'tables'/'replayed.csv')
    assert list(replayed['strategy']) == ['random'] and replayed['score'].between(0, 1).all()


def test_a_finished_report_is_resumed_without_a_training(run):
    before = {path: path.stat().st_mtime_ns for path in (run/'trainings').rglob('*') if path.is_file()}
    run_report('continual', out=str(run), resume=True)
    assert {path: path.stat().st_mtime_ns for path in (run/'trainings').rglob('*') if path.is_file()} == before and read_manifest(run)['status'] == 'complete'


# ---- real data

def test_real_tasks_in_stages(shared_data, place):
    config = ContinualConfig(data=f'p3:{shared_data}/p3', benchmarks=f'super_ni:{shared_data}/eval/super_ni', tasks=12, examples=40, holdout=10, instances=30, max_tokens=32, strategies='all', replay=5, seeds=3)
    data = gather_stages(config, place)
    assert data.kind == 'all' and [(len(one.training), len(one.rows)) for one in data.stages] == [(12, 480)] * 3 and [len(one.items) for one in data.own] == [120] * 3 and len(data.tests[0].items) == 180
    plan = plan_trainings(data, choose_replay(data, config), config)
    assert 30 < len(plan) <= 48
