"""The comparison of training sets: equal and clean arms, chosen checkpoints, scores, what is said of them, and the report."""
import json
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instructgen.arms import task_of
from instructgen.benchmarks import Benchmark, Item
from instructgen.claims import judge_claim, read_claims
from instructgen.parameter_files import parameter_files, read_parameter_file
from instructgen.predictions import Prediction, predictions_path, write_prediction
from instructgen.prompts import read_note
from instructgen.records import Example, from_parameters
from instructgen.report import run_report
from instructgen.run_scores import gather_runs
from instructgen.scales import SCALES, describe_scale, scale_start, scale_training
from instructgen.scores import ScoreRow, read_scores, write_scores
from instructgen.starts import Start, StartConfig, task_training, text_training
from instructgen.store import open_run, read_manifest
from instructgen.training_arms import TrainingConfig, choose_rows, clean_note, excluded_categories, make_arms, open_benchmarks, parse_sets, read_candidates, touched_items, without_overlap
from instructgen.training_results import PUBLISHED, findings, published_table, results_table
from instructgen.training_runs import RunConfig, arm_folder, arm_training, compare_arms, open_base, run_arms, score_arms, train_arm, write_answers

WORDS = 'amber birch cedar delta ember fjord grove heath inlet jetty knoll lagoon marsh nook orchard prairie quarry ridge shoal thicket upland valley weir yard zenith'.split()


def sentence(*seed: int, length: int = 14) -> str:
    "Words that no other seed puts in the same order."
    place = sum(part * 7919 ** power for power, part in enumerate(seed, 1))
    return ' '.join(WORDS[(place // 25 ** n + n * n * place) % 25] for n in range(length))


def rows(name: str, tasks: int, each: int, source: str = '', category: str = '') -> list[Example]:
    mark = sum(map(ord, name))
    return [Example(f'{name}-{task}-{row}', f'{"Tell what stands in" if task % 2 else "Do number"} {task} of {name}: {WORDS[task % 25]}.', sentence(mark, task, row), f'answer {row % 3} of {WORDS[task % 25]}',
                    task_id=f'{name}{task}', task_type=category, source=source or name) for task in range(tasks) for row in range(each)]


def write_rows(path: Path, examples: list[Example]) -> Path:
    path.write_text(''.join(json.dumps({'id': one.id, 'instruction': one.instruction, 'input': one.input, 'output': one.output, 'task_id': one.task_id, 'task_type': one.task_type, 'source': one.source}) + '\n' for one in examples))
    return path


ITEMS = tuple(Item(f'item-{n}', 'Tell what stands in the note.', sentence(11, n), (f'the {WORDS[n]} note',), task=f'note {n % 3}', category='Word Analogy', source='field_notes') for n in range(12))
ASKED = Benchmark('field notes', ITEMS, ('rouge_l', 'exact_match'), max_tokens=6)


@pytest.fixture(scope='module')
def files(tmp_path_factory) -> Path:
    "Two sets of our own: one has a test category, a copied item and rows of the test's source; the other is as it should be."
    place = tmp_path_factory.mktemp('sets')
    copied = [Example(f'copy-{n}', 'Read aloud.', ITEMS[n].input, ITEMS[n].references[0], task_id='dirty0', source='dirty') for n in range(3)]
    write_rows(place/'dirty.jsonl', [*rows('dirty', 12, 20), *copied, *rows('same', 2, 20, 'field_notes'), *rows('analogy', 3, 20, 'other', 'Word Analogy')])
    write_rows(place/'plain.jsonl', rows('plain', 20, 20))
    return place


def sets_of(files: Path) -> str: return f'dirty={files}/dirty.jsonl,plain={files}/plain.jsonl,dirty+plain'


# ---- arms

def test_arms_are_equal_clean_and_without_the_test(files, tmp_path):
    made = make_arms(TrainingConfig(sets=sets_of(files), tasks=10, examples=15), [ASKED], tmp_path)
    assert made.exclude == ('Word Analogy',) and not made.dirty
    for part, number in ((made.arms.training, 9 * 15), (made.arms.validation, 15)):
        assert {name: len(found) for name, found in part.items()} == dict.fromkeys(('dirty', 'plain', 'dirty+plain'), number)
    texts = {item.input for item in ITEMS}
    for name, found in made.arms.training.items():
        assert not {row.input for row in found} & texts and not {row.source for row in found} & {'field_notes', 'other'}, name
        assert not {task_of(row) for row in found} & {task_of(row) for row in made.arms.validation[name]}, name
        assert len({task_of(row) for row in found}) == 9, name
    both = [row.source for part in (made.arms.training, made.arms.validation) for row in part['dirty+plain']]
    assert both.count('dirty') == both.count('plain') == 75
    account = made.candidates['dirty'].account
    assert (account['left_out_tasks'], account['left_out_examples'], account['overlapping']) == (3, 60, 3 + 40)
    assert made.candidates['plain'].account['overlapping'] == 0
    assert touched_items(made) == {'field notes': 3}
    assert clean_note(made) == 'Clean equals all: 3 items had been touched by rows of the sets (3 of field notes), and the 43 rows that overlap were dropped before training, so no arm holds an item.'


def test_what_overlaps_may_be_kept_or_become_arms_of_its_own(files, tmp_path):
    kept = make_arms(TrainingConfig(sets=sets_of(files), examples=23, overlap='keep'), [ASKED], tmp_path)
    assert kept.dirty == {'item-0', 'item-1', 'item-2'}
    both = make_arms(TrainingConfig(sets=sets_of(files), tasks=10, examples=23, overlap='both'), [ASKED], tmp_path)
    assert list(both.arms.training) == ['dirty', 'dirty_kept', 'plain', 'plain_kept', 'dirty+plain'] and both.dirty == kept.dirty
    assert {'same0', 'same1'} & {task_of(row) for row in both.candidates['dirty_kept'].rows} and not {'same0', 'same1'} & {task_of(row) for row in both.candidates['dirty'].rows}


def test_a_cut_names_the_set_that_makes_it(files, tmp_path):
    write_rows(tmp_path/'small.jsonl', [*rows('large', 2, 20), *rows('tiny', 10, 3)])
    write_rows(tmp_path/'few.jsonl', rows('few', 6, 40))
    sets = f'plain={files}/plain.jsonl,small={tmp_path}/small.jsonl'
    made = make_arms(TrainingConfig(sets=sets, tasks=12, examples=20), [ASKED], tmp_path)
    assert made.cuts == ('LESS THAN HALF of what was asked for: 20 examples a task were asked for, and every arm is cut to 3 (36 examples of 12 tasks, validation included), because of small (70 examples of 12 tasks), of which at most 20 a task count; without it it would be 20 a task',)
    assert {len(found) for found in made.arms.training.values()} == {11 * 3} and not any('were asked for' in note for note in made.notes)
    fewer = make_arms(TrainingConfig(sets=f'few={tmp_path}/few.jsonl,{sets}', tasks=12, examples=5), [ASKED], tmp_path)
    assert fewer.cuts == ('12 tasks an arm were asked for, and every arm is cut to 6, because few has no more',)
    assert make_arms(TrainingConfig(sets=sets, tasks=10, examples=3), [ASKED], tmp_path).cuts == ()


def test_arms_do_not_depend_on_the_order_of_rows(files, tmp_path):
    lines = (files/'dirty.jsonl').read_text().splitlines(keepends=True)
    (tmp_path/'dirty.jsonl').write_text(''.join(reversed(lines)))
    first, second = (make_arms(TrainingConfig(sets=f'dirty={place}/dirty.jsonl,plain={files}/plain.jsonl,dirty+plain', tasks=8, seed=3), [ASKED], tmp_path) for place in (files, tmp_path))
    for arm in first.arms.training: assert [row.id for row in first.arms.training[arm]] == [row.id for row in second.arms.training[arm]]
    third = make_arms(TrainingConfig(sets=sets_of(files), tasks=8, seed=4), [ASKED], tmp_path)
    assert {row.id for row in first.arms.training['plain']} != {row.id for row in third.arms.training['plain']}


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.integers(3, 9), st.integers(2, 9)), min_size=2, max_size=4), st.integers(0, 3))
def test_any_sets_become_equal(tmp_path_factory, sizes, seed):
    place = tmp_path_factory.mktemp('any')
    sets = ','.join(f's{n}={write_rows(place/f"s{n}.jsonl", rows(f"s{n}", tasks, each))}' for n, (tasks, each) in enumerate(sizes))
    made = make_arms(TrainingConfig(sets=f'{sets},s0+s1', seed=seed), [ASKED], place)
    assert len({len(found) for found in made.arms.training.values()}) == 1 == len({len(found) for found in made.arms.validation.values()})


@pytest.mark.parametrize(('text', 'told'), [('', 'no training set'), ('a=', 'names no set'), ('=b', 'names no set'), ('a=x,b+c', 'no set before it'), ('a=x,a=y', 'two sets'), ('a+b,a=x,b=y', 'no set before it')])
def test_sets_that_cannot_be_read_are_named(text, told):
    with pytest.raises(ValueError, match=told): parse_sets(text)


@pytest.mark.parametrize(('wrong', 'told'), [({'overlap': 'remove'}, "'clean', 'keep', 'both'"), ({'setting': 'aware'}, "'arms'"), ({'setting': 'arms', 'selection': 'random'}, 'choose one'), ({'examples': 0}, 'at least 1'),
                                             ({'selected': 'nobody'}, 'nobody'), ({'benchmarks': 'nowhere'}, 'there is no'), ({'exclude': 'Riddles'}, '76 categories')])
def test_bad_parameters_are_named(files, tmp_path, wrong, told):
    with pytest.raises((ValueError, FileNotFoundError), match=re.escape(told)):
        config = TrainingConfig(**{'sets': sets_of(files), **wrong})
        make_arms(config, [ASKED] if config.benchmarks == 'demo' else open_benchmarks(config, tmp_path)[0], tmp_path)


def test_meteor_without_wordnet_has_another_name(tmp_path, monkeypatch):
    (place := tmp_path/'long.jsonl').write_text(json.dumps({'input': 'Write about mills.', 'output': 'Mills grind.', 'source': 'wiki', 'subset': 'a'}) + '\n')
    def nowhere(*_): raise FileNotFoundError('no WordNet in the usual places')
    monkeypatch.setattr('instructgen.training_arms.open_wordnet', nowhere)
    asked, _ = open_benchmarks(TrainingConfig(benchmarks=f'longform:{place}', max_tokens=99), tmp_path)
    assert asked[0].metrics == ('meteor_exact',) and 'without synonyms' in asked[0].note and asked[0].max_tokens == 99


def test_a_set_of_nothing_but_the_test_is_named(tmp_path):
    (place := tmp_path/'all.jsonl').write_text(write_rows(tmp_path/'x.jsonl', rows('same', 3, 5, 'field_notes')).read_text())
    with pytest.raises(ValueError, match='nothing is left of all: all 15 examples overlap with field notes'): make_arms(TrainingConfig(sets=str(place)), [ASKED], tmp_path)


# ---- choices

def test_one_choice_keeps_the_name_and_several_are_arms(files, tmp_path):
    sets = f'dynosaur={files}/dirty.jsonl,plain={files}/plain.jsonl'
    one = make_arms(TrainingConfig(sets=sets, tasks=6, selection='random'), [ASKED], tmp_path)
    assert list(one.arms.training) == ['dynosaur', 'plain'] and any('random' in note for note in one.notes)
    two = make_arms(TrainingConfig(sets=sets, tasks=6, selection='nearest,farthest'), [ASKED], tmp_path)
    assert list(two.arms.training) == ['dynosaur_nearest', 'dynosaur_farthest', 'plain']
    assert {task_of(row) for row in two.arms.training['dynosaur_nearest']} != {task_of(row) for row in two.arms.training['dynosaur_farthest']}
    other = make_arms(TrainingConfig(sets=sets, tasks=6, selection='nearest', selected='plain'), [ASKED], tmp_path)
    assert other.candidates['plain'].tasks == 6 and other.candidates['dynosaur'].tasks == 12


def test_a_profile_reads_labels_from_published_instructions():
    from instructgen.llm import open_llm
    labelled = [Example(f'l{task}-{row}', f'Tell the sort of leaf {WORDS[task]}. Answers must be one of oak, elm.', sentence(5, task, row), ('oak', 'elm')[row % 2], task_id=f'l{task}', source=f'leaves{task}') for task in range(8) for row in range(6)]
    candidates = read_candidates('set', [*labelled, *(row for n in range(8) for row in rows(f'free{n}', 1, 6))], TrainingConfig(examples=6))
    with open_llm('rules') as llm: chosen = choose_rows(candidates, 'super_ni', 9, ['x'], 0, llm)
    kinds = [len({row.task_id for row in chosen.rows if ('oak' in row.instruction) == kind}) for kind in (True, False)]
    assert kinds[0] == round(300 * 9 / 681) and kinds[1] > 0
    assert any('profile super_ni' in note for note in chosen.notes)


def test_settings_are_arms_of_the_demo(tmp_path):
    config = TrainingConfig(sets='dynosaur=demo:dynosaur', setting='arms', examples=10, instances=2)
    asked, _ = open_benchmarks(config, tmp_path)
    made = make_arms(config, asked, tmp_path)
    assert list(made.arms.training) == ['aware', 'unaware', 'both'] and len({len(found) for found in made.arms.training.values()}) == 1
    with pytest.raises(ValueError, match='folder of a dynosaur_data run'): make_arms(TrainingConfig(sets='p3=demo:p3', setting='arms'), asked, tmp_path)


# ---- training

QUICK = RunConfig(hidden=32, layers=1, vocab=600, text_steps=2, steps=8, measures=4)
LESSON = [Example(f'{n}', 'Add.', f'{n} and {n}', str(2 * n), task_id='sums') for n in range(40)]


@pytest.fixture(scope='module')
def base(tmp_path_factory) -> Start: return open_base(QUICK, tmp_path_factory.mktemp('starts'))[0]


def test_the_chosen_checkpoint_is_the_one_of_the_lowest_loss(base, tmp_path):
    how = arm_training(RunConfig(hidden=32, steps=12, measures=6), base, 't5', len(LESSON))
    steep = replace(how, lr=.2, warmup_steps=0)
    facts = train_arm(LESSON[:30], LESSON[30:], steep, tmp_path/'best')
    measured = {point['step']: point['validation'] for point in facts['curve'] if point['validation'] is not None}
    assert len(measured) == 6 and facts['chosen'] == min(measured, key=measured.get) and facts['chosen'] < 12
    assert facts['chosen_loss'] == pytest.approx(measured[facts['chosen']], abs=1e-4)
    assert read_note(tmp_path/'best'/facts['model'])['steps'] == facts['chosen']
    (tmp_path/'best'/'training.json').unlink()  # stopped before the note was written: goes on with what is there
    assert train_arm(LESSON[:30], LESSON[30:], steep, tmp_path/'best') == facts
    linear = train_arm(LESSON[:30], LESSON[30:], replace(steep, schedule='linear'), tmp_path/'linear')
    assert linear['chosen'] == 12 and 'linear' in linear['reason']
    assert train_arm(LESSON, (), steep, tmp_path/'none')['reason'] == 'last: there are no validation tasks'
    assert train_arm(LESSON[:30], LESSON[30:], steep, tmp_path/'last', 'last')['chosen'] == 12


def test_arms_are_trained_alike_and_asked_in_one_form(base, tmp_path):
    facts = run_arms({'a': LESSON, 'b': list(reversed(LESSON))}, {}, [ASKED], base, 't5', QUICK, tmp_path)
    assert list(facts) == ['untrained', 'a', 'b'] and not list(tmp_path.glob('*/model'))  # weights are given back
    forms = {json.loads(path.read_text())['form'] for path in tmp_path.glob('*/predictions/*.json')}
    assert forms == {'tk-instruct'}
    before = {path: path.read_bytes() for path in tmp_path.rglob('*') if path.is_file()}
    assert run_arms({'a': LESSON, 'b': list(reversed(LESSON))}, {}, [ASKED], base, 't5', QUICK, tmp_path) == facts
    assert before == {path: path.read_bytes() for path in tmp_path.rglob('*') if path.is_file()}


def test_a_small_llama_is_possible(tmp_path):
    start, kind = open_base(RunConfig(kind='llama', hidden=32, layers=1, vocab=600, text_steps=2), tmp_path)
    assert kind == 'llama' and arm_training(RunConfig(kind='llama'), start, kind, 100).format == 'alpaca-lora'
    random, _ = open_base(RunConfig(hidden=32, layers=1, vocab=600, text_steps=0), tmp_path)
    assert random.name == 'random' and 'history' not in read_note(random.path)


# ---- scores

def fake(folder: Path, **answers: str) -> list[str]:
    "Arms that always say the same; `right` says what is right."
    for arm, text in answers.items():
        path = predictions_path(arm_folder(folder, arm), ASKED.name)
        path.parent.mkdir(parents=True)
        path.write_text(''.join(write_prediction(Prediction(item.id, item.references[0] if text == 'right' or text == 'half' and n % 2 else text)) for n, item in enumerate(ITEMS)))
    return list(answers)


BASE = Start('pretrained', '', '0.2M t5, random start', True)


def test_scores_differences_and_what_is_said(tmp_path):
    arms = fake(tmp_path, untrained='x', dynosaur='right', p3='half', alpaca='half')
    found = score_arms(tmp_path, arms, [ASKED], BASE, frozenset({'item-0', 'item-1'}))
    values = {(row.arm, row.subset): row.value for row in found if row.level == 'all' and row.metric == 'exact_match'}
    assert values['dynosaur', 'clean'] == 1 and values['p3', 'all'] == .5 and values['p3', 'dirty'] == .5 and {row.n for row in found if row.subset == 'clean' and row.level == 'all'} == {10}
    gaps = compare_arms(tmp_path, arms, [ASKED], BASE, seed=1)
    pairs = {(gap['arm'], gap['other']): gap for gap in gaps}
    assert list(pairs) == [('dynosaur', 'untrained'), ('p3', 'untrained'), ('alpaca', 'untrained'), ('dynosaur', 'p3'), ('dynosaur', 'alpaca'), ('p3', 'alpaca')]
    assert pairs['dynosaur', 'p3']['verdict'] == 'better' and pairs['p3', 'alpaca']['verdict'] == 'no difference shown' and pairs['p3', 'alpaca']['difference'] == 0
    told = findings(gaps, found, [ASKED])
    assert 'dynosaur is better than p3' in told[1] and 'In 1 of 3 pairs no difference was shown' in told[1] and told[2].endswith('dynosaur has the highest score, above every other arm.')
    table = results_table(found, gaps, [ASKED])
    assert list(table.arm) == arms and table['clean items'][1].startswith('100.0')


def test_nothing_is_said_where_nothing_was_shown(tmp_path):
    arms = fake(tmp_path, untrained='x', a='half', b='half')
    told = findings(compare_arms(tmp_path, arms, [ASKED], BASE), score_arms(tmp_path, arms, [ASKED], BASE), [ASKED])
    assert told[1] == 'field notes: no arm was shown to be better than another (1 pairs).' and not any('highest' in sentence for sentence in told)


def test_many_tasks_are_drawn_as_tasks(tmp_path):
    many = Benchmark('many', tuple(Item(f'{n}', 'Say it.', str(n), (f'word {n}',), task=f't{n % 25}') for n in range(50)), ('rouge_l',))
    for arm in ('untrained', 'a'):
        path = predictions_path(tmp_path/arm, 'many')
        path.parent.mkdir(parents=True)
        path.write_text(''.join(write_prediction(Prediction(item.id, 'word')) for item in many.items))
    assert {gap['over'] for gap in compare_arms(tmp_path, ['untrained', 'a'], [many], BASE)} == {'tasks'}


def test_answers_for_people_and_their_pairs(tmp_path):
    arms = fake(tmp_path/'arms', untrained='x', dynosaur='right', **{'alpaca': 'half', 'dynosaur+alpaca': 'right'})
    assert write_answers(tmp_path/'arms', tmp_path/'answers', arms, ASKED) == [{'baseline': 'alpaca', 'candidate': 'dynosaur+alpaca'}]
    lines = [json.loads(line) for line in (tmp_path/'answers'/'dynosaur+alpaca.jsonl').read_text().splitlines()]
    assert [line['id'] for line in lines] == [item.id for item in ITEMS] and lines[0]['response'] == ITEMS[0].references[0]


def test_published_numbers_are_those_of_the_paper():
    one = {arm: [(table, *numbers) for table, _, _, *numbers in found] for arm, found in PUBLISHED.items()}
    assert one['dynosaur'] == [(1, 40.4, 41.2), (3, 9.5, 19.0)] and one['super_ni'] == [(1, 43.4, 42.5), (3, 3.8, 6.2)] and one['dynosaur+super_ni'] == [(5, 44.1, 43.2)]
    assert one['p3'] == [(1, 38.9, 38.2), (3, 4.8, 8.6)] and one['flan'] == [(1, 34.6, 40.4), (3, 6.7, 11.5)] and one['aware'] == [(4, None, None)]
    assert [one[arm][0][1:] for arm in ('dolly', 'gpt4', 'self_instruct', 'alpaca')] == [(17.6, 33.5), (22.7, 35.7), (37.1, 39.6), (36.6, 39.0)]
    long = published_table([ScoreRow('LongForm', 'meteor_exact', .05, 9, arm='flan')], 'ours')
    assert long.to_dict('records') == [{'in the paper': 'Table 3', 'arm': 'flan', 'asked there': 'LongForm, meteor', 'T5-3B': '6.7', 'LLaMA-7B': '11.5', 'this run': '5.0', 'asked here': 'LongForm, meteor_exact', 'model here': 'ours'}]


# ---- scales and parameter files

def test_scales_say_what_they_need():
    for scale in SCALES: assert scale_training(scale, 't5', 'a/model').model == 'a/model'
    with pytest.raises(ValueError, match='needs a model'): scale_training('one_gpu', 't5')
    with pytest.raises(ValueError, match='needs a model'): open_base(RunConfig(scale='one_gpu'))
    assert scale_start('paper', StartConfig(), ['pretrained']).model == 'mistralai/Mistral-7B-v0.1'
    with pytest.raises(ValueError, match='needs tuned_model'): scale_start('paper', StartConfig())
    with pytest.raises(ValueError, match='needs tuned_model'): scale_start('one_gpu', StartConfig(model='a/model'))
    one, published = (task_training(scale_start(name, StartConfig(model='a/model', tuned_model='b/model')), 'a/model', 7) for name in ('one_gpu', 'paper'))
    assert (one.lora_rank, one.lr, one.schedule, one.steps, one.format) == (16, 2e-4, 'constant', 7, 'bonito-target') and (published.lora_rank, published.lr) == (64, 1e-4)
    assert text_training(scale_start('one_gpu', StartConfig(model='a/model', tuned_model='b/model')), 'a/model', 7).lora_rank == 16
    plan, told = describe_scale('paper', scale_training('paper', 'llama'), 66_695)
    assert plan.steps == 1566 and 'adapter of rank 8' in told and plan.memory['optimizer'] == plan.trained * 8


def test_the_papers_settings_do_not_start_where_they_do_not_fit():
    import torch
    if torch.cuda.is_available(): pytest.skip('there is a GPU')
    with pytest.raises(MemoryError, match='needs a GPU and there is none.*weights'): describe_scale('paper', scale_training('paper', 't5'), LESSON, timed=20)


@pytest.mark.parametrize('name', [name for name in parameter_files() if read_parameter_file(name).report == 'training'])
def test_parameter_files_make_configurations(name):
    given = read_parameter_file(name).parameters
    config, run = from_parameters(TrainingConfig, given), from_parameters(RunConfig, given)
    assert set(config.__slots__) | set(run.__slots__) >= set(given)
    if 'sets' in given: assert set(parse_sets(config.sets)[0]) | set(parse_sets(config.sets)[1]) <= {*PUBLISHED, 'alpaca', 'dynosaur+alpaca', 'dynosaur+gpt4', 'dynosaur+p3'}


# ---- the report

@pytest.fixture(scope='module')
def run(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp('training')
    (place/'user.jsonl').write_text(''.join(json.dumps({'id': f'user_oriented_task_{n}', 'motivation_app': 'Mail', 'instruction': f'Write line {n}.', 'instances': [{'input': '', 'output': 'Dear all'}]}) + '\n' for n in range(3)))
    return run_report('training', out=str(place/'run'), hidden=32, layers=1, text_steps=2, steps=4, measures=2, instances=2, max_tokens=6, user_instructions=str(place/'user.jsonl'))


def test_the_report_leaves_scores_comparisons_and_answers(run):
    found, saved = read_scores(run), json.loads((run/'scores.json').read_text())
    assert {row.arm for row in found} == {'untrained', 'dynosaur', 'p3', 'dynosaur+p3'} and {row.scale for row in found} == {'tiny'} and all('random start' in row.model for row in found)
    assert len(saved['comparisons']) == 6 and {'benchmark', 'metric', 'arm', 'other', 'difference', 'low', 'high', 'n', 'start', 'seed'} <= set(saved['comparisons'][0])
    assert {path.name for path in (run/'answers').iterdir()} == {'untrained.jsonl', 'dynosaur.jsonl', 'p3.jsonl', 'dynosaur+p3.jsonl', 'pairs.json'}
    assert {path.stem for path in (run/'tables').glob('*.csv')} >= {'arms', 'overlap', 'training', 'result', 'differences', 'published', 'validation', 'scores'}
    assert read_manifest(run)['status'] == 'complete' and not list(run.glob('arms/*/model'))


def test_the_page_says_what_it_does_not_show(run):
    page = (run/'report.html').read_text()
    for words in ('small one from random weights', 'What this does not show', 'cannot be compared', 'that overlap', 'Optimizer: adamw_torch'): assert words in page, words
    assert 'no arm was shown to be better than another' in page or 'is better than' in page
    assert re.search(r'Clean equals all: \d+ items had been touched', page)


def test_near_tasks_are_looked_for_unasked(run):
    found = json.loads((run/'overlap.json').read_text())['near_tasks']
    assert set(found) == {'dynosaur', 'p3', 'dynosaur+p3'} and found['dynosaur']['compared'] > 0 < found['dynosaur']['definitions']
    page, shown, whole = (run/'report.html').read_text(), pd.read_csv(run/'tables'/'nearest_instructions.csv'), pd.read_csv(run/'tables'/'near_tasks.csv')
    assert 'Distinct instructions that are near to one of' in page and 'The nearest instructions of each arm' in page
    assert 0 < len(shown) <= 3 * len(found) and len(whole) == sum(len(one['nearest']) for one in found.values()) >= len(shown)


def test_dirty_items_categories_and_cuts_have_their_place(tmp_path):
    for number, category in ((901, 'Word Analogy'), (902, 'Title Generation')):
        task = {'Definition': [f'Tell what stands in the note of kind {number}.'], 'Categories': [category], 'Source': [f'notes {number}'], 'Instances': [{'id': f'task{number}-{n}', 'input': sentence(11, number, n), 'output': [f'the {WORDS[n]} note']} for n in range(6)]}
        (tmp_path/f'task{number}_notes.json').write_text(json.dumps(task))
    copied = [Example(f'copy-{n}', 'Read aloud.', sentence(11, 901, n), 'a note', task_id='dirty0', source='dirty') for n in range(3)]
    write_rows(tmp_path/'dirty.jsonl', [*rows('dirty', 6, 8), *copied])
    write_rows(tmp_path/'plain.jsonl', rows('plain', 6, 3))
    folder = run_report('training', out=str(tmp_path/'run'), sets=f'dirty={tmp_path}/dirty.jsonl,plain={tmp_path}/plain.jsonl', overlap='keep', benchmarks=f'super_ni:{tmp_path}', examples=8, hidden=32, layers=1, text_steps=2, steps=2, measures=1, max_tokens=4)
    subsets, parts, page = pd.read_csv(folder/'tables'/'subsets.csv'), pd.read_csv(folder/'tables'/'parts.csv'), (folder/'report.html').read_text()
    assert set(subsets['arm']) == {'untrained', 'dirty', 'plain'} and subsets['dirty'].str.endswith('n = 3').all() and subsets['clean'].str.endswith('n = 9').all() and subsets['all'].str.endswith('n = 12').all()
    assert '3 items are dirty: some arm was trained on rows that hold their words.' in page
    assert dict(parts.loc[parts['level'] == 'category', ['part', 'metric']].values) == {'Word Analogy': 'exact_match', 'Title Generation': 'rouge_l'}
    assert '<p class="warning">LESS THAN HALF of what was asked for: 8 examples a task' in page and 'because of plain (18 examples of 6 tasks)' in page
    assert 'fewer than were asked for: the warning above' in page and len(read_manifest(folder)['notes']) == 1


def test_claims_are_judged_from_such_a_run(tmp_path):
    six = replace(ASKED, name='six held-out Super-NI tasks')
    arms = fake(tmp_path/'run'/'arms', untrained='x', dynosaur='right', p3='half', super_ni='half', **{'dynosaur+super_ni': 'right'})
    for path in (tmp_path/'run'/'arms').glob('*/predictions/*.jsonl'): path.rename(predictions_path(path.parent.parent, six.name))
    with open_run('training', {'seed': 0, 'selection': ''}, out=tmp_path/'run') as run:
        write_scores(run.folder, score_arms(run.folder/'arms', arms, [six], BASE, frozenset({'item-0'})), comparisons=compare_arms(run.folder/'arms', arms, [six], BASE))
        run.finish({})
    runs, _ = gather_runs(str(tmp_path/'run'))
    said = {claim.id: judge_claim(claim, runs).word for claim in read_claims() if claim.report == 'training' and claim.rule}
    assert said['dynosaur-longform'] == said['dynosaur-descriptions'] == 'not run'
    assert said['dynosaur-collections'] == 'supported in part', said      # FLAN is a rival too, and was not run
    assert said['dynosaur-with-super-ni'] == 'supported', said
    assert said['dynosaur-ceiling'] == 'not supported', said


# ---- real data

def test_real_sets_without_the_six_tasks(shared_data, tmp_path):
    config = TrainingConfig(sets=f'p3={shared_data}/p3,super_ni={shared_data}/eval/super_ni,p3+super_ni', benchmarks=f'super_ni:{shared_data}/eval/super_ni', instances=20)
    asked, _ = open_benchmarks(config, tmp_path)
    assert excluded_categories(config, asked) == ('Information Extraction', 'Sentiment Analysis', 'Summarization')
    made = make_arms(config, asked, tmp_path)
    tested = {item.task for item in asked[0].items}
    assert {name: len(found) for name, found in made.arms.training.items()} == {'p3': 500, 'super_ni': 500, 'p3+super_ni': 500}
    for found in (*made.arms.training.values(), *made.arms.validation.values()): assert not {task_of(row).rpartition(':')[2] for row in found} & tested
    assert {task_of(row) for row in made.candidates['super_ni'].rows} == {f'task{number}' for number in ('002_quoref_answer_generation', '073_commonsenseqa_answer_generation', '591_sciq_answer_generation', '639_multi_woz_user_utterance_generation', '1590_diplomacy_text_generation', '1729_personachat_generate_next')}
