"""The demonstration's templates, the CTGA that they make, and its texts: sound by rule, balanced, and like no row of the demo"""
import csv
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from instructgen.bonito.checks import Candidate, failed_checks, listed_options
from instructgen.bonito.ctga import build_ctga, plan_datasets
from instructgen.bonito.examples import read_overrides
from instructgen.bonito.format import PLACEHOLDER, find_task_type
from instructgen.bonito.meta import read_registry, turn_templates
from instructgen.bonito.templates import load_templates
from instructgen.contexts import CONTEXT_RULES, read_contexts
from instructgen.records import Context
from instructgen.sources import demo_folder
from instructgen.store import open_run, read_dataset
from instructgen.text import near_duplicates

FOLDER = demo_folder().with_name('demo_bonito')


def _rows(name: str, split: str = 'train') -> list[dict]:
    path = next((demo_folder() / name / 'data').glob(f'{split}.*'))
    with path.open(encoding='utf-8', newline='') as file: return list(csv.DictReader(file)) if path.suffix == '.csv' else [json.loads(line) for line in file]


@pytest.fixture(scope='module')
def metas() -> list:
    rejected: list = []
    made, dropped = turn_templates(read_registry(FOLDER / 'ctga.yaml'), load_templates(FOLDER / 'templates', rejected))
    assert not rejected and not dropped
    return made


@pytest.fixture(scope='module')
def examples(metas, tmp_path_factory) -> list[dict]:
    "A CTGA of all rows."
    plans, refused = plan_datasets(read_registry(FOLDER / 'ctga.yaml'), metas, read_overrides(FOLDER / 'overrides.yaml'), only=True)
    assert not refused
    folder = tmp_path_factory.mktemp('ctga') / 'run'
    with open_run('demo_ctga', {}, out=folder) as run: build_ctga(run, plans)
    names = {meta.id: meta.template.name for meta in metas}
    return [{**row, 'name': names[row['task_id']]} for row in read_dataset(folder).to_pylist()]


def test_thirty_templates_of_at_least_eight_types(metas):
    kinds = Counter(meta.task_type.short for meta in metas)
    assert len(metas) == 30 and len(kinds) == 13 and len({meta.template.id for meta in metas}) == 30
    assert sum(bool(meta.template.answer_choices) for meta in metas) >= 8 and sum('| choice' in meta.template.jinja for meta in metas) >= 3
    assert all(meta.template.languages == ('en',) for meta in metas)


def test_every_template_makes_examples_and_the_types_are_balanced(examples, metas):
    assert {row['name'] for row in examples} == {meta.template.name for meta in metas}
    kinds = Counter(row['task_type'] for row in examples)
    assert 1_800 <= len(examples) <= 2_100 and max(kinds.values()) < .2 * len(examples) and min(kinds.values()) >= 30


def test_examples_pass_the_checks_of_generation(examples):
    "All but a few statements whose words the text does not share: a generator learns from them, so they must be what the checks want."
    failed = Counter()
    for row in examples: failed.update(failed_checks(Candidate(row['instruction'], row['output'], row['context'], find_task_type(row['task_type']))))
    assert set(failed) <= {'context_not_used'} and failed['context_not_used'] <= .02 * len(examples)


def test_context_stands_once_and_in_the_answer_only_for_text_generation(examples):
    for row in examples:
        assert f'{row["instruction"]} {row["output"]}'.count(PLACEHOLDER) == 1 and (PLACEHOLDER in row['output']) == (row['task_type'] == 'text generation')
        assert row['context'] == row['context'].strip() and row['context'] not in row['instruction']


def test_context_stands_first_last_and_between(examples):
    places = {row['name']: 'first' if row['instruction'].startswith(PLACEHOLDER) else 'last' if row['instruction'].endswith(PLACEHOLDER) else 'between' for row in examples if PLACEHOLDER in row['instruction']}
    counts = Counter(places.values())
    assert len(counts) == 3 and min(counts.values()) >= 4


def test_extracted_answers_are_spans(examples):
    spans = [row for row in examples if row['task_type'] == 'extractive question answering']
    assert len(spans) >= 100 and all(row['output'] in row['context'] for row in spans)


def test_right_option_has_no_place_of_its_own(examples):
    found = [row for row in examples if row['task_type'] == 'multiple-choice question answering']
    places, sizes = Counter(), Counter()
    for row in found:
        options = listed_options(row['instruction'])
        assert len(options) == len(set(options)) == 3 and options.count(row['output']) == 1
        places[options.index(row['output'])] += 1
        if row['name'] == 'pick the result': sizes[sorted(map(int, options)).index(int(row['output']))] += 1
    for counts in (places, sizes): assert len(counts) == 3 and max(counts.values()) < .45 * sum(counts.values())


def test_labels_say_what_the_rows_say(examples):
    tickets, feedback, pairs, trail = (_rows(name) for name in ('support_tickets', 'course_feedback', 'notice_pairs', 'trail_statements'))
    for row in examples:
        answer, name, place = row['output'].lower(), row['name'], row['row']
        if name == 'in a hurry': assert (answer == 'yes') == (tickets[place]['priority'] == 'high')
        if name == 'no hurry': assert answer == {'low': 'true', 'normal': 'inconclusive', 'high': 'false'}[tickets[place]['priority']]
        if row['task_type'] == 'topic classification': assert answer == tickets[place]['category']
        if row['source'] == 'course_feedback': assert ['negative', 'neutral', 'positive', 'no', 'not clear', 'yes'].index(answer) % 3 == feedback[place]['label']
        if row['task_type'] == 'paraphrase identification': assert (answer in ('yes', 'equivalent')) == (pairs[place]['label'] == 'equivalent')
        if row['task_type'] == 'paraphrase generation': assert pairs[place]['label'] == 'equivalent'
        if row['source'] == 'trail_statements':
            group = {'yes': 0, 'true': 0, 'guaranteed': 0, 'maybe': 1, 'inconclusive': 1, 'possible': 1}.get(answer, 2)
            assert ('entailment', 'neutral', 'contradiction')[group] == trail[place]['label']


def test_forms_without_a_judgement_make_no_example(metas):
    "Their label is -1, which Jinja would read as the last choice."
    found = [meta for meta in metas if meta.template.dataset == 'course_feedback']
    assert found and all(meta.render({'text': 'see my other form', 'label': -1}) is None for meta in found)
    assert all(meta.render({'text': 'A lovely evening.', 'label': 2}) is not None for meta in found)


def test_speakers_and_last_lines(examples):
    talks = _rows('shift_dialogues')
    for row in examples:
        if row['source'] != 'shift_dialogues': continue
        lines = talks[row['row']]['dialogue'].split('\n')
        if row['name'] == 'who begins': assert lines[0].startswith(f'{row["output"]}: ')
        if row['name'] == 'first answer': assert lines[1].endswith(f': {row["output"]}') and lines[1].split(':')[0] in row['instruction']
        if row['name'] == 'last line': assert [*row['context'].split('\n'), row['output']] == lines
        if row['name'] == 'whose turn': assert lines[-1].startswith(f'{row["output"]}: ') and lines[-3].startswith(f'{row["output"]}: ')


def test_sixty_texts_that_no_row_is_like():
    found = list(read_contexts(str(FOLDER / 'contexts'), license='cc0-1.0', rules=replace(CONTEXT_RULES['careful'], target=0)))
    assert all(isinstance(context, Context) for context in found) and len(found) == 60
    assert all(35 <= len(context.text.split()) <= 150 for context in found)
    assert {Path(context.document).suffix for context in found} == {'.txt', '.md', '.html', '.csv', '.jsonl'}
    rows = [value for path in demo_folder().glob('*/data') for split in ('train', 'validation', 'test') if list(path.glob(f'{split}.*')) for row in _rows(path.parent.name, split)
            for value in row.values() if isinstance(value, str) and len(value) > 60]
    texts, rows = [context.text for context in found], list(dict.fromkeys(rows))
    assert len(rows) > 1_000 and near_duplicates([*rows, *texts], .5)[len(rows):] == [-1] * 60


def test_demonstration_is_small_and_text():
    files = [path for path in FOLDER.rglob('*') if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 100_000
    for path in files: path.read_text('utf-8')
