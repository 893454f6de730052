"""Adaptation: starts, arms, equality, contamination, resumption, the report."""
import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from instructgen.adaptation import arm_differences, arm_scores, check_arms, check_start, findings, gains_table, main_metric, off_target, row_type, run_arm
from instructgen.adaptation_data import ARMS, AdaptationConfig, ArmData, TargetData, arms_table, count_steps, dynosaur_arm, equalise, gather_arms, read_target
from instructgen.benchmarks import Benchmark, Item
from instructgen.predictions import Prediction, predictions_path, write_prediction
from instructgen.parameter_files import read_parameter_file
from instructgen.records import Context, Example, from_parameters
from instructgen.report import run_report
from instructgen.scores import ScoreRow, read_scores
from instructgen.sources import demo_folder
from instructgen.starts import Start, StartConfig, make_starts, raw_texts, target_sources, tuning_rows
from instructgen.store import read_manifest

TINY = StartConfig(hidden=32, layers=1, vocab=600, text_steps=2, tuning_steps=2, tuning_rows=60, target='demo')


@pytest.fixture(scope='module')
def target():
    return read_target(AdaptationConfig())


def test_demo_target_is_made_by_its_script(tmp_path: Path):
    folder = demo_folder().with_name('demo_bonito')
    subprocess.run([sys.executable, folder/'make_target.py', tmp_path], check=True)
    for split in ('train', 'test'): assert (tmp_path/f'{split}.jsonl').read_bytes() == (folder/'target'/'data'/f'{split}.jsonl').read_bytes()


def test_demo_target(target):
    assert (len(target.benchmark.items), len(target.contexts), len(target.gold)) == (240, 160, 480)
    assert set(Counter(item.gold for item in target.benchmark.items).values()) <= {78, 81}     # no label can be guessed
    assert {example.output for example in target.gold} == {'Yes', 'No', 'Maybe'}
    rows = [json.loads(line) for line in (demo_folder().with_name('demo_bonito')/'target'/'data'/'test.jsonl').read_text().splitlines()]
    assert all(row['text'].split(',')[0] in row['question'] for row in rows) and len({row['text'].split(',')[0] for row in rows}) == len(rows) == 80


def test_starts_know_nothing_of_the_target(tmp_path: Path):
    for spec, source in (('trail_statements=somewhere', 'trail_statements'), ('town_guide=somewhere', 'town_guide')):
        kept, beside, never = tuning_rows(replace(TINY, target=spec, tuning_rows=5000), tmp_path)
        assert source not in {row.source for row in (*kept, *beside, *never)}
        assert not {row.id for row in kept} & {row.id for row in beside} and {row.source for row in beside} <= {row.source for row in kept} and not {row.source for row in kept} & {row.source for row in never}
        assert .1 <= len(never) / (len(kept) + len(beside) + len(never)) <= 1 / 3 and len(beside) == (len(kept) + len(beside)) // 10
    everything = tuning_rows(replace(TINY, target='', tuning_rows=5000), tmp_path)
    assert {'trail_statements', 'town_guide'} <= {row.source for rows in everything for row in rows}
    assert target_sources('PubMedQA=x') & target_sources('pubmed_qa=x')


def test_rows_of_one_source_are_held_out_by_row(tmp_path: Path):
    rows = [{'instruction': f'Say {number}.', 'input': '', 'output': str(number)} for number in range(50)]
    (tmp_path/'alpaca.json').write_text(json.dumps(rows))
    kept, beside, never = tuning_rows(StartConfig(tuning=f'alpaca:{tmp_path}/alpaca.json'), tmp_path)
    assert (len(kept), len(beside), never) == (45, 5, []) and not {row.instruction for row in kept} & {row.instruction for row in beside}


def test_starts_know_nothing_of_what_is_asked_later(shared_data: Path, tmp_path: Path):
    config = StartConfig(target='pubmed_qa=x', tuning=f'p3:{shared_data}/p3/t0_train_50k_by_template.jsonl.xz', super_ni=f'{shared_data}/eval/super_ni')
    kept, beside, never = tuning_rows(config, tmp_path)
    without = tuning_rows(replace(config, super_ni=''), tmp_path)
    gone = {row.source for rows in without for row in rows} - {row.source for row in (*kept, *beside, *never)}
    assert {'xsum', 'rotten_tomatoes'} <= gone, gone                     # tasks of the six are made of these
    asked = off_target(config, TargetData('pubmed_qa', None, (), (), 'ynqa', 0), 150, tmp_path)
    assert [one.name for one in asked] == ['six held-out Super-NI tasks', 'held-out instructions of t0_train_50k_by_template', 'known instructions, other rows, of t0_train_50k_by_template'] and [len(one.items) for one in asked] == [150, 150, 150]
    known = check_start(config, asked, tmp_path)
    assert known['rows'] == 8000 and known['dirty_items'] == [] and not any(known['benchmarks'][one.name]['flagged_rows'][check] for one in asked for check in ('exact', 'ngram8'))
    assert [known['benchmarks'][one.name]['flagged_rows']['lineage'] > 0 for one in asked] == [False, False, True]       # known instructions are of its sources


def test_what_a_start_has_of_an_evaluation_is_told(tmp_path: Path):
    row = max(tuning_rows(TINY, tmp_path/'off_target')[0], key=lambda row: len(row.instruction))
    asked = Benchmark('asked', (Item('known', row.instruction, references=(row.output,)), Item('new', 'What is sold at the old quay on the last evening before the long holidays begin?', references=('ropes',))), ('rouge_l',))
    assert check_start(TINY, [asked], tmp_path)['dirty_items'] == ['known']
    assert check_start(replace(TINY, model='a', tuned_model='b', kind='llama'), [asked], tmp_path) == {}


def test_runs_that_want_the_same_start_at_once_wait_for_one(tmp_path: Path):
    script = ("import sys\nfrom instructgen.starts import StartConfig, make_starts\n"
              "config = StartConfig(hidden=32, layers=1, vocab=600, text_steps=30, tuning_steps=2, tuning_rows=60, target='demo')\n"
              "print(*(start.path for start in make_starts(config, place=sys.argv[1]).values()))\n")
    runs = [subprocess.Popen([sys.executable, '-c', script, tmp_path/'starts'], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    told = [(run.communicate(timeout=300), run.returncode) for run in runs]
    assert all(code == 0 for _, code in told), told
    assert len({out.strip() for (out, _), _ in told}) == 1
    assert sum(path.name == 'done' for path in (tmp_path/'starts').glob('*/*')) == 2


def test_starts_are_made_once_and_by_what_made_them(tmp_path: Path):
    first = make_starts(TINY, place=tmp_path)
    before = {name: Path(start.path, 'model.safetensors').stat().st_mtime_ns for name, start in first.items()}
    again = make_starts(TINY, place=tmp_path)
    assert {name: Path(start.path, 'model.safetensors').stat().st_mtime_ns for name, start in again.items()} == before
    other = make_starts(replace(TINY, tuning_steps=3), place=tmp_path)
    assert other['pretrained'].path == first['pretrained'].path and other['instruction_tuned'].path != first['instruction_tuned'].path
    assert '2 steps of next token' in first['pretrained'].title and 'random start' in first['instruction_tuned'].title


def test_an_interrupted_start_goes_on(tmp_path: Path):
    start = make_starts(TINY, ('pretrained',), tmp_path)['pretrained']
    folder = Path(start.path).parent
    weights = (folder/'model'/'model.safetensors').read_bytes()
    (folder/'done').unlink()                                        # killed after training
    assert (Path(make_starts(TINY, ('pretrained',), tmp_path)['pretrained'].path)/'model.safetensors').read_bytes() == weights


def test_raw_texts_refuse_an_empty_place(tmp_path: Path):
    with pytest.raises(ValueError, match='no text in'): raw_texts(str(tmp_path))


@pytest.mark.parametrize('changes, words', [({'arms': 'tpat'}, "no arm 'tpat'"), ({'least': 0}, 'least is 0'), ({'examples': 10}, 'examples 10'), ({'steps': 1}, 'steps is 1'), ({'task_type': 'yesno'}, "no task type 'yesno'"), ({'target': 'pubmed_qa'}, 'want NAME=PLACE'),
                                            ({'target': 'pubmedqa=x'}, 'did you mean pubmed_qa')])
def test_wrong_wishes(changes: dict, words: str):
    with pytest.raises(ValueError, match=words): read_target(AdaptationConfig(**changes))


def test_a_target_without_a_training_split(tmp_path: Path):
    folder = tmp_path/'t'
    (folder/'data').mkdir(parents=True)
    (folder/'data'/'test.jsonl').write_text((demo_folder().with_name('demo_bonito')/'target'/'data'/'test.jsonl').read_text())
    with pytest.raises((ValueError, FileNotFoundError), match='train'): read_target(AdaptationConfig(target=f'pubmed_qa={folder}'))


def test_all_arms_of_the_demo(target, tmp_path: Path):
    config = AdaptationConfig(least=50, draws=4, generator_rows=5, generator_steps=2, generator_hidden=32)
    arms = gather_arms(config, TINY, target, tmp_path/'data', tmp_path/'starts')
    assert arms['rules'].available > 50 and arms['dynosaur'].available > 1000 and arms['prompted_llm'].reason
    assert {example.context for example in arms['rules'].examples} <= {context.text for context in target.contexts}
    checked, found = check_arms(arms, [target.benchmark])
    assert 400 <= checked['gold'].available <= 480 and checked['rules'].available <= arms['rules'].available      # a few notices of both splits are alike by chance
    assert found['gold']['dropped'] == 480 - checked['gold'].available
    equal = equalise(checked, config)
    sizes = {name: len(arm.examples) for name, arm in equal.items() if not arm.reason and not arm.texts}
    assert len(set(sizes.values())) == 1 and set(sizes) >= {'rules', 'dynosaur', 'gold'}, sizes   # what a generator of two steps writes can be read by chance only
    for name in ('bonito', 'mixed'): assert (name in sizes) != bool(equal['bonito'].reason)
    table = arms_table(equal, 10, 16).set_index('arm')
    assert table.steps['prompted_llm'] == 0 and table.steps['gold'] == 10 and table.note['prompted_llm'].startswith('not run')
    assert list(equal) == [name for name in ARMS if name in equal]


def test_halves():
    rows = {name: tuple(Example(f'{name}{number}', 'ask', '', 'answer', context=f'text {number}') for number in range(30)) for name in ('bonito', 'dynosaur')}
    arms = {name: ArmData(name, examples, available=30) for name, examples in rows.items()}
    arms['tapt'] = ArmData('tapt', (), tuple(Context(f'text {number}') for number in range(25)), 25, 25)   # five were dropped
    equal = equalise(arms, AdaptationConfig(arms='mixed,bonito,tapt_then_bonito', examples=21, least=5))
    assert {text.text for text in equal['tapt_then_bonito'].texts} == {example.context for example in equal['bonito'].examples} < {text.text for text in arms['tapt'].texts}
    assert 'no text' in equalise({**arms, 'tapt': ArmData('tapt')}, AdaptationConfig(arms='tapt_then_bonito', examples=21, least=5))['tapt_then_bonito'].reason
    assert {name: len(arm.examples) for name, arm in equal.items()} == {'bonito': 21, 'tapt_then_bonito': 21, 'mixed': 21}
    assert Counter(example.id.rstrip('0123456789') for example in equal['mixed'].examples) == {'bonito': 10, 'dynosaur': 11}
    assert equal['tapt_then_bonito'].examples != () and set(equal['tapt_then_bonito'].examples) == set(equal['bonito'].examples)


def _asks(name: str, texts: range, each: int) -> ArmData:
    return ArmData(name, tuple(Example(f'{name}{text}-{turn}', f'ask {turn}', '', 'answer', context=f'text {text}') for turn in range(each) for text in texts), available=len(texts) * each, contexts=len(texts))


def test_arms_know_the_same_texts():
    arms = {'tapt': ArmData('tapt', (), tuple(Context(f'text {number}') for number in range(60)), 60, 60), 'rules': _asks('rules', range(40), 2), 'bonito': _asks('bonito', range(10, 60), 4), 'gold': _asks('gold', range(60), 1),
            'dynosaur': ArmData('dynosaur', tuple(Example(f'd{number}', 'ask', '', 'answer', source='other') for number in range(90)), available=90)}
    equal = equalise(arms, AdaptationConfig(examples=50, least=20))
    same = {f'text {number}' for number in range(10, 40)}                 # what all of them made something of
    assert {text.text for text in equal['tapt'].texts} == same
    for name in ('rules', 'bonito', 'gold'): assert {example.context for example in equal[name].examples} == same and len(equal[name].examples) == 30 and equal[name].contexts == 30
    assert len(equal['dynosaur'].examples) == 30 and equal['mixed'].contexts == 15
    assert {text.text for text in equal['tapt_then_bonito'].texts} == same


def test_an_arm_that_leaves_nothing_to_the_others_is_not_run():
    arms = {'rules': _asks('rules', range(6), 10), 'bonito': _asks('bonito', range(80), 1), 'gold': _asks('gold', range(80), 1)}
    equal = equalise(arms, AdaptationConfig(arms='rules,bonito,gold', examples=100, least=20))
    assert equal['rules'].reason.startswith('6 texts, of which 6 examples would be left') and len(equal['bonito'].examples) == len(equal['gold'].examples) == 80


def test_fewer_examples_than_texts():
    equal = equalise({'bonito': _asks('bonito', range(80), 2), 'gold': _asks('gold', range(80), 3)}, AdaptationConfig(arms='bonito,gold', examples=25, least=20))
    assert {example.context for example in equal['bonito'].examples} == {example.context for example in equal['gold'].examples} and len(equal['gold'].examples) == 25


def test_steps_by_the_published_rule():
    arms = {'bonito': _asks('bonito', range(100), 1)}
    assert [count_steps(arms, steps) for steps in (0, 30)] == [7, 30] and count_steps({'bonito': _asks('bonito', range(1000), 170)}, 0) == 10_000
    given = read_parameter_file('bonito').parameters
    assert from_parameters(AdaptationConfig, given).steps == 0


@pytest.mark.parametrize('start, templates, told', [(StartConfig(model='a/model'), 'demo', 'local:BatsResearch/bonito-v1'), (StartConfig(model='a/model'), 'somewhere', 'made'), (TINY, 'demo', 'made')])
def test_which_generator(target, monkeypatch, tmp_path: Path, start: StartConfig, templates: str, told: str):
    import instructgen.adaptation_data as data
    monkeypatch.setattr(data, 'make_generator', lambda *_: ('made', 'ctga'))
    monkeypatch.setattr(data, 'generate_arm', lambda name, llm, *_, **__: ArmData(name, note=llm))
    assert gather_arms(AdaptationConfig(arms='bonito', templates=templates), start, target, tmp_path)['bonito'].note == told


def test_dynosaur_leaves_the_target_out(target, tmp_path: Path):
    made = dynosaur_arm(AdaptationConfig(target='support_tickets=x', examples=300), target, tmp_path)
    assert 'support_tickets' not in {example.source for example in made.examples} and 'left out: support_tickets' in made.note
    assert len(Counter(example.task_id for example in made.examples)) > 10


@pytest.mark.parametrize('name, kept', [('dynosaur', 1), ('rules', 2)])
def test_sources_count_for_dynosaur_only(name: str, kept: int):
    asked = Benchmark('asked', tuple(Item(f'{number}', f'{word} of the seven bridges over the river is the oldest one that still stands today?', references=('none',), source='boolq') for number, word in enumerate(('Which', 'How many'))), ('rouge_l',))
    rows = (Example('a', 'Is this so?', 'some text of another kind', 'yes', source='super_glue', config='boolq', split='train'), Example('b', 'And this?', 'more text', 'no', source='own', split='train'))
    clean, found = check_arms({name: ArmData(name, rows, available=2)}, [asked])
    assert len(clean[name].examples) == kept == clean[name].available
    assert found[name]['benchmarks']['asked']['flagged_rows']['lineage'] == 1


def test_row_types_of_p3(shared_data: Path):
    from instructgen.training_sets import read_training_set
    found = Counter(row_type(row) for row in read_training_set(f'p3:{shared_data}/p3/t0_train_50k_by_template.jsonl.xz') if isinstance(row, Example))
    assert found['exqa'] > 8000 and found['topic_class'] == 2000 and found['qg'] > 1500


def test_off_target_tasks_are_even_and_of_other_types(target, tmp_path: Path):
    first, known = off_target(TINY, target, items=60, place=tmp_path)
    again, _ = off_target(TINY, target, items=60, place=tmp_path)
    assert first.id == again.id and len(first.items) == 60
    counts = Counter(item.task for item in first.items)
    assert len(known.items) > 10 and {item.source for item in known.items}.isdisjoint(item.source for item in first.items) and check_start(TINY, [known], tmp_path)['dirty_items'] == []
    assert target.task_type not in {item.category for item in first.items} and max(counts.values()) - min(counts.values()) <= 3


@pytest.mark.parametrize('tasks, verdict', [(20, 'no difference shown'), (4, 'better')])
def test_differences_over_many_tasks_are_drawn_over_tasks(tmp_path: Path, tasks: int, verdict: str):
    asked = Benchmark('asked', tuple(Item(f'{task}/{number}', 'Name it.', references=('a cat',), task=f'task{task}') for task in range(tasks) for number in range(30)), ('exact_match',))
    starts = {'pretrained': Start('pretrained', 'x', 'a model', True)}
    for arm in ('zero_shot', 'gold'):                                       # one task alone is learnt, and whole
        path = predictions_path(tmp_path/f'pretrained-{arm}', 'asked')
        path.parent.mkdir(parents=True)
        path.write_text(''.join(write_prediction(Prediction(item.id, 'a cat' if arm == 'gold' and item.task == 'task0' else 'a dog')) for item in asked.items))
    gap, = arm_differences(tmp_path, starts, ('zero_shot', 'gold'), [asked])
    assert gap['verdict'] == verdict and gap['difference'] == pytest.approx(1 / tasks)


def test_findings_say_when_nothing_was_shown():
    gap = {'benchmark': 'b', 'metric': 'macro_f1', 'start': 'pretrained', 'arm': 'bonito', 'other': 'zero_shot', 'difference': .01, 'low': -.02, 'high': .04, 'n': 9, 'verdict': 'no difference shown'}
    told = findings([gap], [Benchmark('b', (Item('1', 'x', references=('y',)),), ('rouge_l',))])
    assert told == ['pretrained start, on the target, against the model as it was: no difference shown: bonito (+1.0).']


def test_findings_say_where_nothing_could_be_lost():
    asked = [Benchmark(name, (Item('1', 'x', references=('y',)),), ('rouge_l',)) for name in ('target', 'elsewhere')]
    gaps = [{'benchmark': name, 'metric': 'rouge_l', 'start': 'pretrained', 'arm': 'bonito', 'other': 'zero_shot', 'difference': 0., 'low': 0., 'high': 0., 'n': 9, 'verdict': 'no difference shown'} for name in ('target', 'elsewhere')]
    for value, words in ((.004, 'has 0.4 there. What it cannot do it cannot forget'), (.4, 'no arm was shown to be worse')):
        assert words in findings(gaps, asked, [ScoreRow('elsewhere', 'rouge_l', value, 9, arm='zero_shot', start='pretrained')])[-1]


def test_a_killed_arm_goes_on(target, tmp_path: Path):
    """kill -9 in the middle of an arm, then again: the same predictions as without."""
    start = make_starts(TINY, ('pretrained',), tmp_path/'starts')['pretrained']
    few = replace(target.benchmark, items=target.benchmark.items[:60])
    script = ("import sys, os\nfrom pathlib import Path\nfrom dataclasses import replace\nfrom instructgen.adaptation_data import AdaptationConfig, ArmData, read_target\nfrom instructgen.adaptation import run_arm\n"
              "import instructgen.predictions as p\nfrom instructgen.starts import Start, StartConfig\n"
              f"start = Start('pretrained', {start.path!r}, 'x', True)\ntarget = read_target(AdaptationConfig())\nfew = replace(target.benchmark, items=target.benchmark.items[:60])\n"
              "count = 0\nwrite = p.write_prediction\n"
              "def die(one):\n    global count\n    count += 1\n    if count == 21: os.kill(os.getpid(), 9)\n    return write(one)\n"
              "p.write_prediction = die\n"
              f"run_arm(start, ArmData('gold', target.gold[:40]), [few], {TINY!r}, 3, sys.argv[1])\n")
    done = subprocess.run([sys.executable, '-c', script, str(tmp_path/'killed')], capture_output=True, text=True)
    assert done.returncode == -9, done.stderr[-2000:]
    run_arm(start, ArmData('gold', target.gold[:40]), [few], TINY, 3, tmp_path/'killed')
    run_arm(start, ArmData('gold', target.gold[:40]), [few], TINY, 3, tmp_path/'whole')
    first, second = (predictions_path(tmp_path/name, few.name).read_bytes() for name in ('killed', 'whole'))
    ours, theirs = (list(map(json.loads, text.splitlines())) for text in (first, second))
    assert [one['id'] for one in ours] == [one['id'] for one in theirs] and len(ours) == 60
    for one, other in zip(ours, theirs): assert one['nats'] == pytest.approx(other['nats'], abs=1e-4)   # other batches, other roundings
    assert not (tmp_path/'killed'/'model').exists()                # the weights are given back


def test_scores_and_gains(target, tmp_path: Path):
    def write(arm: str, right: float) -> None:
        path = predictions_path(tmp_path/f'pretrained-{arm}', target.benchmark.name)
        path.parent.mkdir(parents=True)
        path.write_text(''.join(write_prediction(Prediction(item.id, nats=tuple(-1. if (place == item.gold) == (number % 100 < right * 100) else -2. for place in range(3)), tokens=(2, 2, 2))) for number, item in enumerate(target.benchmark.items)))
    write('zero_shot', .4)
    write('gold', .8)
    from instructgen.starts import Start
    starts = {'pretrained': Start('pretrained', 'x', 'a model', False)}
    rows = arm_scores(tmp_path, starts, ('zero_shot', 'gold'), [target.benchmark], target.commonest)
    assert {row.arm for row in rows} == {'majority', 'guessing', 'zero_shot', 'gold'} and {row.scale for row in rows} == {'tiny'}
    few = [item.id for item in target.benchmark.items[:9]]
    parted = arm_scores(tmp_path, starts, ('zero_shot', 'gold'), [target.benchmark], target.commonest, few)
    assert {(row.arm, row.n) for row in parted if row.subset == 'clean' and row.level == 'all'} == {(arm, len(target.benchmark.items) - 9) for arm in ('majority', 'zero_shot', 'gold')}
    gaps = arm_differences(tmp_path, starts, ('zero_shot', 'gold'), [target.benchmark])
    assert [gap['verdict'] for gap in gaps] == ['better'] and .2 < gaps[0]['low'] < gaps[0]['difference'] < gaps[0]['high']
    table = gains_table(rows, gaps, [target.benchmark])
    assert list(table.arm) == ['majority', 'guessing', 'zero_shot', 'gold'] and table.gain[3].startswith('+')
    assert main_metric(target.benchmark) == 'macro_f1'


def test_report(tmp_path: Path, monkeypatch):
    monkeypatch.setenv('INSTRUCTGEN_OUTPUTS', str(tmp_path/'outputs'))
    settings = dict(arms='zero_shot,tapt,rules,gold,majority,tapt_then_bonito', hidden=32, layers=1, text_steps=2, tuning_steps=2, steps=4, least=50, draws=4, off_items=8, tuning_rows=60, generator_rows=5, generator_steps=2, generator_hidden=32)
    folder = run_report('adaptation', out=str(tmp_path/'run'), **settings)
    manifest, rows = read_manifest(folder), read_scores(folder)
    assert manifest['status'] == 'complete' and {row.start for row in rows} == {'none', 'pretrained', 'instruction_tuned'}
    assert {row.arm for row in rows} - {'tapt_then_bonito'} == {'majority', 'guessing', 'zero_shot', 'tapt', 'rules', 'gold'} and set(manifest['not_run']) <= {'tapt_then_bonito'}
    page = (folder/'report.html').read_text()
    for words in ('What this does not show', 'random weights', 'Gain and change', 'no difference shown', 'How often each option was chosen', 'know the same', 'No near tasks were looked for', 'All, clean and dirty items', *(['Not run: '] if manifest['not_run'] else [])): assert words in page
    comparisons = json.loads((folder/'scores.json').read_text())['comparisons']
    assert {'benchmark', 'metric', 'arm', 'other', 'difference', 'low', 'high', 'n', 'start'} <= set(comparisons[0])
    before = {path: path.stat().st_mtime_ns for path in folder.glob('arms/*/predictions/*.jsonl')}
    run_report('adaptation', out=str(folder), resume=True)
    assert {path: path.stat().st_mtime_ns for path in folder.glob('arms/*/predictions/*.jsonl')} == before
