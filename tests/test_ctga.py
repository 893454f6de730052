"""CTGA: overrides, faults of sources and templates, the same bytes however it is made, and real data."""
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from instructgen.bonito.ctga import build_ctga, ctga_texts, plan_datasets
from instructgen.bonito.examples import CTGA_RULES, read_overrides
from instructgen.bonito.meta import read_registry, turn_templates
from instructgen.bonito.templates import Template, load_templates
from instructgen.records import Example
from instructgen.store import open_run, read_dataset

ROOT = Path(__file__).parent.parent
REGISTRY = [{'dataset': 'quiz', 'context': '{{ text }}', 'templates': {'ask': 'qa', 'mood': 'sentiment'}}]
TEMPLATES = [Template('quiz', 'ask', '{{text}} {{question}} ||| {{answers.text[0]}}'),
             Template('quiz', 'mood', 'Good or bad? {{ text }} ||| {{ answer_choices[label] }}', '', 'Bad ||| Good')]


def quiz(count: int) -> list[dict]:
    return [{'body': {'text': f'Passage {i} says that the lamp is number {i * 7}.'}, 'asked': 'Which number?', 'answer': {'text': [str(i * 7)]}, 'mark': ('down', 'up')[i % 2]} for i in range(count)]


def source(folder: Path, records: list[dict], license: str = 'cc0-1.0', split: str = 'train') -> Path:
    (folder / 'data').mkdir(parents=True)
    (folder / 'README.md').write_text(f'---\nlicense: {license}\nlanguage: en\n---\nA quiz.\n')
    (folder / 'data' / f'{split}.jsonl').write_text(''.join(json.dumps(record) + '\n' for record in records))
    return folder


def plans_of(folder: Path, overrides: dict, registry: list = REGISTRY, templates: list = TEMPLATES, careful: bool = True, **more):
    (folder / 'registry.yaml').write_text(yaml.safe_dump(registry)); (folder / 'overrides.yaml').write_text(yaml.safe_dump(overrides))
    entries = read_registry(folder / 'registry.yaml')
    metas, left = turn_templates(entries, templates, careful=careful)
    plans, refused = plan_datasets(entries, metas, read_overrides(folder / 'overrides.yaml'), only=True, **more)
    return plans, [*left, *refused]


def build(out: Path, planned, **more) -> tuple[list[dict], Counter, dict]:
    plans, refused = planned
    with open_run('ctga', {}, out=str(out)) as run: counts = build_ctga(run, plans, refused, **more)
    drops: Counter = Counter()
    for line in (out / 'rejected.jsonl').read_text().splitlines():
        drop = json.loads(line)
        drops[drop['rule']] += drop.get('count', 1)
    return read_dataset(out).to_pylist() if counts['examples'] else [], drops, counts


def files(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in [*sorted((out / 'dataset' / 'data').rglob('*.parquet')), out / 'rejected.jsonl']}


OVERRIDE = {'path': 'here/quiz', 'fields': {'text': 'body.text', 'question': 'asked', 'answers': 'answer', 'label': 'mark'}, 'values': {'label': {'up': 1, 'down': 0}}}


def test_overrides(tmp_path):
    source(tmp_path / 'here' / 'quiz', quiz(60))
    made, drops, counts = build(tmp_path / 'out', plans_of(tmp_path, {'quiz': OVERRIDE}))
    assert drops == Counter() and len(made) == counts['examples'] == 60
    for example in made:
        number = example['row'] * 7
        assert example['context'] == f'Passage {example["row"]} says that the lamp is number {number}.'
        if example['task_type'] == 'sentiment': assert (example['instruction'], example['output']) == ('Good or bad? {{context}}', ('Bad', 'Good')[example['row'] % 2])
        else: assert (example['instruction'], example['output']) == ('{{context}} Which number?', str(number))
    assert {example['task_type'] for example in made} == {'sentiment', 'question answering without choices'}
    assert (made[0]['license'], made[0]['split'], made[0]['input'], made[0]['source']) == ('cc0-1.0', 'train', '', 'quiz')
    asked, answered = ctga_texts(Example(**{name: value for name, value in made[0].items()}))
    assert made[0]['context'] in asked and answered.endswith(f'<|pipe|>\n{made[0]["output"]}')


@pytest.mark.parametrize('change, rule', [({'fields': {**OVERRIDE['fields'], 'text': 'nothing.text'}}, 'no_field'), ({'fields': {}}, 'no_field'), ({'split': 'test'}, 'no_split'),
                                          ({'path': 'nowhere'}, 'unreachable'), ({'values': {'label': {'up': 1}}}, 'unmapped_value')])
def test_source_faults(tmp_path, change, rule):
    source(tmp_path / 'here' / 'quiz', quiz(10))
    made, drops, _ = build(tmp_path / 'out', plans_of(tmp_path, {'quiz': {**OVERRIDE, **change}}))
    assert drops[rule] >= 1 and set(drops) == {rule}
    assert len(made) == (5 if rule == 'unmapped_value' else 0)


def test_license_is_refused(tmp_path):
    source(tmp_path / 'here' / 'quiz', quiz(10), 'cc-by-nc-nd-4.0')
    made, drops, _ = build(tmp_path / 'out', plans_of(tmp_path, {'quiz': OVERRIDE}))
    assert made == [] and drops == {'denied_license': 1}


def test_slow_template_is_dropped(tmp_path):
    source(tmp_path / 'here' / 'quiz', quiz(40))
    slow = Template('quiz', 'ask', '{% if label %}{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}{% endif %}{{text}} ||| {{label}}')
    made, drops, _ = build(tmp_path / 'out', plans_of(tmp_path, {'quiz': OVERRIDE}, templates=[slow, TEMPLATES[1]]))
    assert {example['task_type'] for example in made} == {'sentiment'} and len(made) > 10
    lines = [json.loads(line) for line in (tmp_path / 'out' / 'rejected.jsonl').read_text().splitlines()]
    assert [(line['kind'], line['id']) for line in lines if line['kind'] == 'template'] == [('template', 'quiz/ask')]
    assert len(made) + sum(line.get('count', 1) for line in lines if line['kind'] == 'row') == 40    # every row is accounted for


def test_draws_do_not_depend_on_order(tmp_path):
    source(tmp_path / 'here' / 'quiz', quiz(200))
    whole, _, _ = build(tmp_path / 'out', plans_of(tmp_path, {'quiz': OVERRIDE}))
    few, _, _ = build(tmp_path / 'few', plans_of(tmp_path, {'quiz': OVERRIDE}), rules=replace(CTGA_RULES['careful'], rows=50))
    by_row = {example['row']: example for example in whole}
    assert len(few) == 50 and all(by_row[example['row']] == example for example in few)   # what a row becomes depends on that row alone
    assert len({example['row'] for example in few}) == 50
    other, _, _ = build(tmp_path / 'other', plans_of(tmp_path, {'quiz': OVERRIDE}), seed=1)
    assert [example['task_type'] for example in other] != [example['task_type'] for example in whole]
    both, _, _ = build(tmp_path / 'both', plans_of(tmp_path, {'quiz': OVERRIDE}), rules=replace(CTGA_RULES['careful'], templates_a_row=2))
    assert len(both) == 400 and len({(example['row'], example['task_id']) for example in both}) == 400


def test_published_and_careful(tmp_path):
    records = [*quiz(4), {**quiz(1)[0]}, {**quiz(6)[5], 'body': {'text': ''}}, {**quiz(7)[6], 'answer': {'text': [None]}}]
    source(tmp_path / 'here' / 'quiz', records)
    ask, only = [TEMPLATES[0]], [{**REGISTRY[0], 'templates': {'ask': 'qa'}}]
    careful, drops, _ = build(tmp_path / 'careful', plans_of(tmp_path, {'quiz': OVERRIDE}, only, ask))
    assert len(careful) == 4 and set(drops) == {'duplicate', 'no_context', 'null_field'}
    published, drops, _ = build(tmp_path / 'published', plans_of(tmp_path, {'quiz': OVERRIDE}, only, ask, careful=False), rules=CTGA_RULES['published'])
    assert len(published) == 7 and drops == Counter() and published[-1]['output'] == 'None'


def test_german_template(tmp_path):
    source(tmp_path / 'here' / 'quiz', quiz(5))
    registry = [{'dataset': 'quiz', 'context': '{{text}}', 'templates': {'frage': 'qa'}}]
    made, drops, _ = build(tmp_path / 'out', plans_of(tmp_path, {'quiz': OVERRIDE}, registry, [Template('quiz', 'frage', 'Beantworte die Frage anhand des Texts „{{text}}“: {{question}} ||| Nummer {{answers.text[0]}}', languages=('de',))]))
    assert drops == Counter() and made[1]['instruction'] == 'Beantworte die Frage anhand des Texts „{{context}}“: Which number?' and made[1]['output'] == 'Nummer 7'


def test_processes_and_parts(tmp_path):
    "More than two parts of rows; the bytes are those of one process."
    source(tmp_path / 'here' / 'quiz', quiz(9_500))
    built = [build(tmp_path / f'out{processes}', plans_of(tmp_path, {'quiz': OVERRIDE}), processes=processes) for processes in (1, 4)]
    assert len(built[0][0]) == 9_500
    assert files(tmp_path / 'out1') == files(tmp_path / 'out4')


def test_a_total_is_drawn_from_all_datasets(tmp_path):
    "Smaller totals are parts of larger ones, in whatever order and on however many processes the datasets are made; what was dropped stays told."
    names = list(MANY)[:3]
    for place, name in enumerate(names): source(tmp_path / 'here' / name, [*quiz(40 * (place + 1)), {**quiz(1)[0], 'body': {'text': ''}}])
    def planned(order): return plans_of(tmp_path, {name: MANY[name] for name in order}, [entry for entry in MANY_REGISTRY if entry['dataset'] in order], MANY_TEMPLATES)
    whole, drops, all_counts = build(tmp_path / 'whole', planned(names))
    assert all_counts['examples'] == all_counts['available'] == len(whole) == 240 and drops == Counter(no_context=3)
    before: set[str] = set()
    for total in (1, 10, 60, 200, 240, 1000):
        made, dropped, counts = build(tmp_path / f'some{total}', planned(names), examples=total)
        drawn = {json.dumps(example, sort_keys=True) for example in made}
        assert len(made) == counts['examples'] == sum(counts['by_dataset'].values()) == sum(counts['by_type'].values()) == min(total, 240) and counts['available'] == 240 and dropped == drops
        assert before <= drawn <= {json.dumps(example, sort_keys=True) for example in whole} and not (tmp_path / f'some{total}' / 'whole').exists()
        assert counts['by_dataset'] == {name: sum(example['source'] == name for example in made) for name in names}
        assert all(abs(number - len(made) * all_counts['by_dataset'][name] / 240) < 1 for name, number in counts['by_dataset'].items())  # each dataset keeps its share
        before = drawn
    plans, refused = planned(names)
    build(tmp_path / 'turned', (plans[::-1], refused), examples=60, processes=2)
    assert files(tmp_path / 'turned') == files(tmp_path / 'some60')
    other, _, _ = build(tmp_path / 'other', planned(names), examples=60, seed=1)
    assert {example['row'] for example in other} != {example['row'] for example in read_dataset(tmp_path / 'some60').to_pylist()}
    with open_run('ctga', {}, out=tmp_path / 'some60', resume=True) as run: assert build_ctga(run, plans, refused, examples=60)['buckets_written'] == 0


@pytest.mark.parametrize('there', [1, 2])
def test_a_total_that_was_cut_off_goes_on(tmp_path, monkeypatch, there):
    import instructgen.bonito.ctga as module
    for name in list(MANY)[:3]: source(tmp_path / 'here' / name, quiz(30))
    planned = plans_of(tmp_path, {name: MANY[name] for name in list(MANY)[:3]}, MANY_REGISTRY[:3], MANY_TEMPLATES)
    build(tmp_path / 'whole', planned, examples=40)
    write, calls = module._write_drawn, []
    def die(*given):
        calls.append(given)
        if len(calls) > there: raise KeyboardInterrupt
        write(*given)
    monkeypatch.setattr(module, '_write_drawn', die)
    with pytest.raises(KeyboardInterrupt): build(tmp_path / 'cut', planned, examples=40)
    monkeypatch.setattr(module, '_write_drawn', write)
    with open_run('ctga', {}, out=tmp_path / 'cut', resume=True) as run: build_ctga(run, *planned, examples=40)
    assert files(tmp_path / 'cut') == files(tmp_path / 'whole') and not (tmp_path / 'cut' / 'whole').exists()


KILLED = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
import test_ctga as tests
from instructgen.bonito.ctga import build_ctga
from instructgen.store import open_run
if __name__ == '__main__':
    folder, out, resume = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == 'resume'
    plans, refused = tests.plans_of(folder, tests.MANY, tests.MANY_REGISTRY, tests.MANY_TEMPLATES)
    with open_run('ctga', {{}}, out=out, resume=resume) as run: print(build_ctga(run, plans, refused)['buckets_written'])
"""
MANY = {f'quiz{i}': {**OVERRIDE, 'path': f'here/quiz{i}'} for i in range(8)}
MANY_REGISTRY = [{**REGISTRY[0], 'dataset': name} for name in MANY]
MANY_TEMPLATES = [replace(made, dataset=name) for name in MANY for made in TEMPLATES]


def test_killed_and_resumed(tmp_path):
    for name in MANY: source(tmp_path / 'here' / name, quiz(2_000))
    whole = tmp_path / 'whole'
    build(whole, plans_of(tmp_path, MANY, MANY_REGISTRY, MANY_TEMPLATES))
    script = tmp_path / 'make.py'
    script.write_text(KILLED.format(tests=str(Path(__file__).parent)))
    command, killed = [sys.executable, str(script), str(tmp_path), str(tmp_path / 'killed')], tmp_path / 'killed'
    process = subprocess.Popen([*command, 'new'], cwd=ROOT, stdout=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while not list(killed.glob('dataset/data/*.parquet')) and process.poll() is None and time.monotonic() < end: time.sleep(.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, 'it had ended before it was killed'
    there = len(list(killed.glob('dataset/data/*.parquet')))
    assert 1 <= there < 8
    written = int(subprocess.run([*command, 'resume'], cwd=ROOT, check=True, capture_output=True, text=True).stdout)
    assert 1 <= written <= 8 - there + 1
    assert files(killed) == files(whole)


def test_demo(tmp_path):
    demo = ROOT / 'nbs' / 'demo_bonito'
    registry = read_registry(demo / 'ctga.yaml')
    metas, left = turn_templates(registry, load_templates(demo / 'templates'))
    plans, refused = plan_datasets(registry, metas, read_overrides(demo / 'overrides.yaml'), only=True)
    made, drops, counts = build(tmp_path / 'out', (plans, [*left, *refused]))
    assert len(metas) >= 30 and refused == [] and len({meta.task_type.name for meta in metas}) >= 8
    assert counts['examples'] > 300 and set(drops) <= {'no_task'} and drops['no_task'] < .1 * counts['examples'], drops    # a paraphrase of two notices that are none
    assert {example['task_type'] for example in made} == {meta.task_type.name for meta in metas}


# ---- real data

NAMES = ['company', 'educational institution', 'artist', 'athlete', 'office holder', 'mean of transportation', 'building', 'natural place', 'village', 'animal', 'plant', 'album', 'film', 'written work']


@pytest.fixture(scope='module')
def real(shared_data: Path, tmp_path_factory):
    folder, hub = tmp_path_factory.mktemp('real'), shared_data / 'hub'
    labels = sorted({json.loads(line)['label'] for line in (hub / 'dbpedia_14/data/train.jsonl').open()})
    number = {name.replace(' ', ''): i for i, name in enumerate(NAMES)}
    overrides = {'super_glue/boolq': {'path': str(hub / 'boolq'), 'split': 'validation', 'fields': {'label': 'answer'}, 'values': {'label': {True: 1, False: 0}}},
                 'dbpedia_14': {'path': str(hub / 'dbpedia_14'), 'values': {'label': {label: number[label.lower().replace(' ', '').replace('_', '')] for label in labels}}},
                 'squad': {'path': str(hub / 'policyqa'), 'split': 'validation'},
                 'anli': {'path': str(hub / 'snli_sample'), 'split': 'train', 'fields': {'premise': 'sentence1', 'hypothesis': 'sentence2', 'label': 'gold_label'}, 'values': {'label': {'entailment': 0, 'neutral': 1, 'contradiction': 2}}}}
    (folder / 'overrides.yaml').write_text(yaml.safe_dump(overrides))
    registry = read_registry()
    metas, left = turn_templates(registry, load_templates(shared_data / 'promptsource' / 'templates.tar.xz'))
    plans, refused = plan_datasets(registry, metas, read_overrides(folder / 'overrides.yaml'), only=True)
    assert sorted(plan.entry.name for plan in plans) == sorted(overrides) and {drop.rule for drop in refused} == {'no_override'}
    return build(folder / 'out', (plans, [])), shared_data


def test_real_data(real):
    (made, drops, counts), shared = real
    assert set(counts['by_dataset']) == {'super_glue/boolq', 'dbpedia_14', 'squad', 'anli'}
    assert len(made) + sum(drops.values()) == 1_500 + 1_400 + 3_809 + 1_666
    assert len(made) > .85 * 8_375, drops
    lines = {name: (shared / 'hub' / name / 'data' / f'{split}.jsonl').read_text().splitlines() for name, split in (('boolq', 'validation'), ('dbpedia_14', 'train'), ('policyqa', 'validation'), ('snli_sample', 'train'))}
    wanted = {'entailment': {'True', 'Correct', 'Always', 'Yes', 'Guaranteed'}, 'neutral': {'Neither', 'Inconclusive', 'Sometimes', 'Maybe', 'Possible'}, 'contradiction': {'False', 'Incorrect', 'Never', 'No', 'Impossible'}}
    for example in made:
        row, kind = json.loads(lines[example['source']][example['row']]), example['task_type']
        if kind == 'yes-no question answering': assert example['output'] in (('No', 'False'), ('Yes', 'True'))[row['answer']] and row['question'] in example['instruction']
        elif kind == 'topic classification': assert example['output'].lower().replace(' ', '') == row['label'].lower().replace(' ', '').replace('_', '')
        elif kind == 'natural language inference': assert example['output'] in wanted[row['gold_label']] and row['sentence2'].strip() in example['instruction']
        elif kind == 'extractive question answering': assert example['output'] == row['answers']['text'][0].strip() and example['output'] in example['context']
        else: assert (kind, example['output']) == ('question generation', row['question'].strip())
        assert example['instruction'].count('{{context}}') == 1 and '{{' not in example['instruction'].replace('{{context}}', '')


def test_real_counts(real):
    (made, _, counts), _ = real
    assert counts['by_type'].keys() == {'yes-no question answering', 'topic classification', 'natural language inference', 'extractive question answering', 'question generation'}
    drawn = Counter(example['task_id'] for example in made if example['source'] == 'snli_sample')
    assert len(drawn) == 15 and max(drawn.values()) < 2 * min(drawn.values())
