"""Overlap of training data and evaluations: planted cases, an index against plain search, lineage of all 119 tasks, faults, real data."""
import gzip
import json
import lzma
import os
import random
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from instructgen.lineage import LINEAGE_FILE, evaluation_sources, is_held_out, name_words, named_sources, read_lineage, related_evaluations
from instructgen.matches import CHECKS, OVERLAP_RULES, OverlapRules
from instructgen.near_tasks import near_arms, near_notes, near_table, near_tasks, nearest_definitions
from instructgen.ngrams import TaskCounter, count_covered, drop_wording, encode_words, find_grams, gram_hashes, index_grams, word_codes
from instructgen.overlap import check_overlap, clean
from instructgen.own_texts import own_texts, read_batches
from instructgen.records import Example, Rejected
from instructgen.store import write_bucket
from instructgen.text import words

LINEAGE = read_lineage()
STORY = 'On the morning of the fair the old baker found that his oven had gone cold, and nobody in the village could say who had let the fire die.'
ANSWER = 'Somebody let the fire in the oven of the baker go out during the night.'


def item(id: str = 'i', input: str = STORY, answer: str = ANSWER, instruction: str = 'Sum up the text.', task: str = 'own summaries', source: str = '', **more: object) -> SimpleNamespace:
    return SimpleNamespace(**{**dict(id=id, instruction=instruction, input=input, references=(answer,), options=(), task=task, template='', source=source), **more})


def row(input: str, output: str = 'something else', instruction: str = 'Go on with the story.', **more: object) -> Example:
    return Example(more.pop('id', 'r'), instruction, input, output, **more)


def found(rows: list[Example], items: list, rules: OverlapRules = OVERLAP_RULES['careful']) -> set[str]:
    return set(check_overlap(rows, items, rules).dirty)


# the planted cases

def test_verbatim_copy() -> None:
    report = check_overlap([row('Nothing to see.'), row(STORY, id='copy', source='web')], [item(), item('other', 'A wholly different text about ships that sail at night without any light.', 'Dark ships.')])
    assert report.dirty == {'i'} and report.marks.tolist() == [0, 8 + 16]
    pair = next(pair for pair in report.pairs if pair.check == 'ngram8')
    assert (pair.item, pair.row, pair.id, pair.source, pair.share) == ('i', 1, 'copy', 'web', 1.)
    assert pair.text == ' '.join(STORY.lower().replace(',', '').replace('.', '').split())


def test_changed_case_and_punctuation() -> None:
    assert found([row(STORY.upper().replace(' ', ' -- ').replace(',', ';'))], [item()]) == {'i'}


def test_copy_in_another_field() -> None:
    assert found([row('What happened?', STORY)], [item()]) == {'i'}                                      # as an answer
    assert found([row('', 'Yes.', f'Read this: {STORY} Is it sad?')], [item()]) == {'i'}                  # in an instruction without input
    assert found([row('', 'Yes.', 'Is it sad?', context=STORY)], [item()]) == {'i'}                       # as Bonito's context
    assert found([row('Sad?', 'Yes.', f'Read this: {STORY} Is it sad?')], [item()]) == set()              # an instruction beside an input is a task's
    assert found([row('A baker.', ANSWER)], [item(input='Who?')]) == {'i'}                                # a reference of its own


def test_half_a_copy() -> None:
    split = STORY.split()
    assert found([row(' '.join(split[:20]))], [item()]) == {'i'}
    assert found([row(' '.join(split[:10]))], [item()]) == set()
    assert found([row(' '.join(split[:10]))], [item()], OverlapRules(coverage=.3)) == {'i'}
    pieces = [row(' '.join(split[start:start + 9])) for start in range(0, len(split), 9)]
    assert found(pieces, [item()]) == set()                                                               # of ONE row


def test_paraphrase_is_not_caught() -> None:
    report = check_overlap([row('The day the market began, the aged man who bakes the bread saw his stove was without heat; no villager knew why the flames were gone.')], [item()])
    assert not report.dirty and not report.marks.any()


def test_shared_template_only() -> None:
    frame = 'Read the following passage with great care and then answer the question below in one short sentence of your own.'
    items = [item(f'i{n}', f'{frame} w{n} x{n} y{n} z{n}', f'a{n}', task='reading') for n in range(12)]
    assert found([row(f'{frame} other words of this one row {n}') for n in range(5)], items) == set()      # the evaluation's own wording
    alone = [item('alone', f'{frame} Why is it?', 'no')]
    tasks = [row(f'{frame} words of row {n}', instruction=f'Task {n}.') for n in range(11)]
    assert found(tasks, alone) == set()                                                                    # wording of more than ten tasks
    assert found(tasks[:10], alone) == {'alone'}
    assert found([replace(tasks[0], id=f'{n}') for n in range(30)], alone) == {'alone'}                    # one task, thirty rows


def test_instruction_and_labels_never_count() -> None:
    long = 'Say whether the second sentence follows from the first one, does not follow from it, or cannot be told from it at all.'
    label = 'it cannot be told from the first sentence whether the second one holds'
    items = [item(f'i{n}', f'Sentence number {n}.', label, long, 'nli') for n in range(3)]
    rows = [row('Another sentence.', label, long), row('Yes.', 'yes', 'Answers must be one of yes, no.')]
    assert found(rows, items) == set()
    options = [item('rank', 'Sentence.', label, long, 'one', options=(label, 'yes'))]
    assert found(rows, options) == set()


@pytest.mark.parametrize('text', ['yes', 'Yes.', 'no', 'not entailed', '5', 'B', '', 'I agree entirely'])
def test_short_labels(text: str) -> None:
    rows = [row('yes', 'yes'), row(text, text), row('Is it?', text)]
    assert found(rows, [item(input=text, answer=text, task='labels'), item('j', 'yes', 'yes', task='labels')]) == set()


def test_short_inputs_as_a_whole() -> None:
    short = item(input='dog park run ball', answer='A dog runs.')
    assert found([row('Dog, park; run, ball')], [short]) == {'i'}
    assert found([row('dog park run ball throw')], [short]) == set()
    assert found([row('Make a sentence.', 'dog park run ball')], [short]) == set()                         # only inputs count
    assert found([row('', 'x', 'Dog park, run ball')], [short]) == {'i'}
    many = [row('dog park run ball', instruction=f'Task {n}.') for n in range(11)]
    assert found(many, [short]) == set() and found(many[1:], [short]) == {'i'}
    assert check_overlap(many, [short]).notes['items_dirty_only_by_what_was_ignored'] == 1


def test_long_copy_in_many_tasks() -> None:
    long = ' '.join(f'{word}{n}' for n in range(3) for word in STORY.split())
    rows = [row(f'Version {n}: {long}', instruction=f'Task {n}.') for n in range(20)]
    assert found(rows, [item(input=long)]) == {'i'}
    assert found(rows, [item(input=long)], OverlapRules(long_words=1000)) == set()


def test_items_without_input() -> None:
    users = [item('poem', '', 'It falls and falls.', 'Write a short poem about the rain that falls on an empty street at night.', 'users')]
    copied = row('', 'Drip, drop.', 'Write a short poem about the rain that falls on an empty street at night.')
    assert found([copied], users) == {'poem'}
    shared = [item(f'j{n}', '', f'joke number {n}', 'Tell me a joke that a child of five years would understand at once.', 'jokes') for n in range(11)]
    report = check_overlap([row('', 'A joke.', 'Tell me a joke that a child of five years would understand at once.')], shared)
    assert not report.dirty and report.notes['items_too_short_to_check'] == 11


def test_thirteen_grams() -> None:
    quotation = row('He said: ' + ' '.join(STORY.split()[:13]) + ' which nobody believed.')
    assert check_overlap([quotation], [item(input=f'{STORY} {ANSWER} {STORY[::-1]}')]).marks.tolist() == [16]
    strict = OverlapRules(drop=('ngram13',), dirty=('ngram13',))
    assert found([quotation], [item(input=f'{STORY} {ANSWER} {STORY[::-1]}')], strict) == {'i'}


# lineage and split

def test_all_official_tasks(shared_data) -> None:
    official = set((shared_data / 'eval' / 'super_ni' / 'test_tasks.txt').read_text().split())
    tables = yaml.safe_load(LINEAGE_FILE.read_text(encoding='utf-8'))
    assert set(tables['super_ni']) == official and len(official) == 119
    assert all(tables['super_ni'].values())


def test_lineage_is_consistent() -> None:
    tables, lineage = yaml.safe_load(LINEAGE_FILE.read_text(encoding='utf-8')), read_lineage()
    known = set(tables['sources'])
    assert len(tables['super_ni']) == 119
    assert not {source for sources in [*tables['super_ni'].values(), *tables['evaluations'].values()] for source in sources} - known
    assert not {other for entry in tables['sources'].values() if isinstance(entry, dict) for other in entry.get('of', [])} - known
    for task, sources in tables['super_ni'].items():  # a source that goes under the task's own name is found by it
        assert set(sources) <= set(evaluation_sources(lineage, task))
    spelled = [name for source, entry in tables['sources'].items() for name in (entry if isinstance(entry, list) else entry.get('names', []))]
    assert len(spelled) == len(set(spelled))


@pytest.mark.parametrize('source, config, tasks', [
    ('glue', 'mnli', ['task199_mnli_classification']), ('evaluate/glue', 'mnli_matched', ['task202_mnli_contradiction_classification']), ('bigscience/P3', 'super_glue_rte_GPT_3_style', ['task1344_glue_entailment_classification']),
    ('bigscience/P3-anli_can_we_infer_r1', '', ['task1385_anli_r1_entailment', 'task1387_anli_r3_entailment']), ('GEM/common_gen', 'default', ['task102_commongen_sentence_generation']),
    ('e_snli', '', ['task641_esnli_classification', 'task190_snli_classification']), ('SQuAD', 'plain_text', ['task349_squad2.0_answerable_unanswerable_question_classification']), ('squad_v2', '', ['task1622_disfl_qa_text_modication']),
    ('task1529_scitail1.1_classification', '', ['task1554_scitail_classification']), ('super_glue', 'wsc.fixed', ['task1390_wscfixed_coreference']), ('winogrande', 'winogrande_xl', ['task033_winogrande_answer_generation']),
    ('rotten_tomatoes', '', []), ('ag_news', '', []), ('bigscience/P3', 'paws_labeled_final_PAWS_ANLI_GPT3', []), ('mind_the_gap_news', '', []), ('qiaojin/PubMedQA', 'pqa_labeled', ['pubmed_qa']),
    ('super_glue', 'boolq', []), ('super_glue', 'record', ['task281_points_of_correspondence']), ('glue', 'cola', []), ('glue', 'wnli', ['task648_answer_generation']), ('glue', 'qnli', ['task349_squad2.0_answerable_unanswerable_question_classification']),
    ('super_glue', '', ['task1388_cb_entailment', 'task827_copa_commonsense_reasoning']), ('ag_news, owner/snli', '', ['task190_snli_classification']), ('letters+zest', '', ['task121_zest_text_modification']),
    ('P3-kilt_tasks_hotpotqa_combining_facts', '', []), ('bigscience/P3', 'cos_e_v1.11_question_option_id', []), ('broken_records', 'wic-ket', []), ('codeparrot/github-code', 'Dart-all', []), ('GEM/dart', '', ['task1407_dart_question_generation']), ('blood_glucose_log', '', []), ('sick_leave', '', []), ('bigscience/P3-sick_entails', '', ['task1612_sick_label_classification']),
    ('squadshifts', 'nyt', ['squad_shifts']), ('tasksource/contract-nli', '', ['contract_nli']), ('tals/vitaminc', '', ['vitaminc']), ('HuggingFaceH4/helpful-self-instruct-raw', '', ['user_instruction_252'])])
def test_related(source: str, config: str, tasks: list[str]) -> None:
    lineage = read_lineage()
    related = related_evaluations(named_sources(lineage, source, config), {task: evaluation_sources(lineage, task) for task in lineage.evaluations})
    assert set(tasks) <= set(related) and bool(tasks) == bool(related)


PARTS = [('glue', part) for part in 'cola mnli mrpc qnli qqp rte sst2 stsb wnli'.split()] + [('super_glue', part) for part in 'boolq cb copa multirc record rte wic'.split()]


@pytest.mark.parametrize('whole, part', PARTS)
def test_a_part_of_glue_is_itself_and_of_the_whole(whole: str, part: str) -> None:
    known = set(named_sources(LINEAGE, whole, part))
    assert known & set(named_sources(LINEAGE, whole)) == known
    assert [other for other in PARTS if known & set(named_sources(LINEAGE, *other)) - {'squad'}] == [(owner, name) for owner, name in PARTS if name == part]
    assert known & set(named_sources(LINEAGE, f'P3-{whole}_{part}_some_wording')) and known & set(named_sources(LINEAGE, 'bigscience/P3', f'{whole}_{part}_some_wording'))


@pytest.mark.parametrize('template, source, config', [
    ('ag_news_recommend', 'ag_news', 'default'), ('duorc_SelfRC_question_answering', 'duorc', 'ParaphraseRC'), ('glue_mrpc_same_thing', 'glue', 'mrpc'), ('super_glue_wic_GPT_3_prompt', 'super_glue', 'wic'),
    ('wiki_qa_found_on_google', 'wiki_qa', 'default'), ('paws_labeled_final_PAWS_ANLI_GPT3', 'paws', 'labeled_swap')])
def test_templates_of_one_dataset_are_related(template: str, source: str, config: str) -> None:
    items = [item(task=template, source=f'P3-{template}')]
    rows = [row('a', source=source, config=config), row('b', source='bigscience/P3', config=f'{template}_in_other_words'), row('c', source='imdb'), row('d', source='glue', config='stsb')]
    assert (check_overlap(rows, items).marks & 1).tolist() == [1, 1, 0, 0]


@given(st.text(max_size=40), st.text(max_size=20))
def test_any_name(source: str, config: str) -> None:
    lineage = LINEAGE
    assert named_sources(lineage, source, config) == named_sources(lineage, source, config)
    plain = source.translate(str.maketrans('', '', '/,+')).strip()
    if plain: assert named_sources(lineage, f'owner/{plain}') == named_sources(lineage, plain)
    assert named_sources(lineage, f'{plain}/') == named_sources(lineage, plain)
    assert all(word == word.lower() for word in name_words(source))
    assert isinstance(is_held_out(config), bool)


def test_lineage_and_split_of_rows() -> None:
    rows = [row('a', source='snli', split='train'), row('b', source='snli', split='validation'), row('c', source='quora', config='qqp', split='test'), row('d', source='ag_news', split='test')]
    report = check_overlap(rows, [item(task='task190_snli_classification')])
    assert report.marks.tolist() == [1, 3, 2, 0] and not report.dirty
    assert {name: report.tasks[0][name] for name in ('rows_lineage', 'rows_eval_split')} == {'rows_lineage': 2, 'rows_eval_split': 1}
    assert [len(clean(rows, check_overlap(rows, [item(task='task190_snli_classification')], OVERLAP_RULES[name]))[0]) for name in ('careful', 'target', 'published')] == [1, 2, 4]


def test_own_lineage_file(tmp_path) -> None:
    (tmp_path / 'own.yaml').write_text('sources: {helpdesk_2019: {names: [faq], of: [quora]}}\nevaluations: {tickets: [helpdesk_2019]}\n')
    lineage = read_lineage(tmp_path / 'own.yaml')
    assert check_overlap([row('a', source='qqp'), row('b', source='our FAQ'), row('c', source='mail')], [item(task='tickets')], lineage=lineage).marks.tolist() == [0, 1, 0]
    for text, wrong in (('- a', 'got list'), ('sources: {a: 3}', "a is 3"), ('sources: [', 'no YAML'), ('sources: ' + '[' * 5000, 'nested over'), ('a: 1\n---\nb: 2\n', 'has 2 documents'), ('source: {}', 'got source'), ('evaluations: {t: [{a: b}]}', 't is')):
        (tmp_path / 'own.yaml').write_text(text)
        with pytest.raises(ValueError, match='own.yaml') as raised: read_lineage(tmp_path / 'own.yaml')
        assert wrong in str(raised.value)


# the index against plain search

WORDS = st.lists(st.sampled_from('abcde'), max_size=14)


@settings(max_examples=150, deadline=None)
@given(st.lists(WORDS, min_size=1, max_size=5), st.lists(WORDS, max_size=5), st.integers(2, 4))
def test_grams_against_plain_search(texts: list[list[str]], rows: list[list[str]], n: int) -> None:
    codes = word_codes(texts)
    values, starts = encode_words(texts, codes)
    index = index_grams(values, starts, n)
    stream, begins = encode_words(rows, codes, end=True)
    places, numbers = find_grams(index, stream)
    runs = lambda text: [(place, tuple(text[place:place + n])) for place in range(len(text) - n + 1)]
    joined = [word for text in texts for word in text]
    got = {(int(place), tuple(joined[index.places[index.starts[number]]:][:n])) for place, number in zip(places, numbers)}
    known = {run for text in texts for _, run in runs(text)}
    assert got == {(int(begins[number]) + place, run) for number, words in enumerate(rows) for place, run in runs(words) if run in known}
    assert len(index) == len(known)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 20)), max_size=20), st.integers(1, 5), st.lists(st.booleans(), min_size=26, max_size=26))
def test_coverage_against_sets(runs: list[tuple[int, int]], n: int, counted: list[bool]) -> None:
    counts = np.append(0, np.cumsum(counted))
    keys, words = count_covered(np.array([key for key, _ in runs], np.int64), np.array([place for _, place in runs], np.int64), n, counts)
    want = {key: sum(counted[word] for word in {place + shift for other, place in runs if other == key for shift in range(n)}) for key, _ in runs}
    assert dict(zip(keys.tolist(), words.tolist())) == want


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 6)), max_size=40), st.integers(1, 4), st.integers(1, 7))
def test_common_runs_in_any_order(met: list[tuple[int, int]], limit: int, step: int) -> None:
    def common(pairs: list[tuple[int, int]]) -> list[bool]:
        counter = TaskCounter(3, limit)
        for start in range(0, len(pairs), step):
            part = pairs[start:start + step]
            counter.add(np.array([run for run, _ in part]), np.array([task for _, task in part], np.uint32))
        return counter.common.tolist()
    want = [len({task for run, task in met if run == number}) > limit for number in range(3)]
    assert common(met) == common(met[::-1]) == want


def test_wording_of_one_group_stays_content_of_another() -> None:
    texts = [f'what is it that the man wants from us {n}'.split() for n in range(10)] + ['what is it that the man wants from us then'.split()]
    values, starts = encode_words(texts, word_codes(texts))
    index, wording = drop_wording(index_grams(values, starts, 8), starts, np.array([0] * 10 + [1]))
    assert wording[:9].all() and not wording[9] and not wording[-10:].any()
    assert sorted(index.places.tolist()) == [place for place in range(starts[-1]) if place % 10 in (2,) and place < 100 or 100 <= place <= 102]


def test_hashes_differ() -> None:
    rng = random.Random(0)
    texts = [[f'w{rng.randrange(300)}' for _ in range(20_000)]]
    values, _ = encode_words(texts, word_codes(texts))
    assert len(set(gram_hashes(values, 3).tolist())) == len({tuple(texts[0][place:place + 3]) for place in range(20_000 - 2)})


# the front

def example_rows() -> tuple[list[Example], list[SimpleNamespace]]:
    rng = random.Random(5)
    vocabulary = [f'w{n}' for n in range(400)]
    text = lambda count: ' '.join(rng.choices(vocabulary, k=count))
    items = [item(f'i{n}', text(rng.choice([2, 5, 12, 40])), text(rng.choice([1, 12])), task=f't{n % 7}') for n in range(60)]
    rows = [row(text(30) if n % 3 else items[n % 60].input, id=f'r{n}', task_id=f'{n % 20}', source=rng.choice(['snli', 'web', 'news'])) for n in range(300)]
    return rows, items


def test_forms_agree(tmp_path) -> None:
    rows, items = example_rows()
    table = pa.Table.from_pylist([{name: getattr(each, name) for name in ('id', 'instruction', 'input', 'output', 'task_id', 'source', 'split')} for each in rows])
    want = check_overlap(rows, items)
    assert want.dirty and (want.marks > 0).sum() > 50
    kept, rejected = clean(rows, want)
    again = check_overlap(table, items)
    assert again.to_json() == want.to_json()
    assert clean(table, again)[0].column('id').to_pylist() == [each.id for each in kept]
    assert clean(table, again)[1] == rejected and all(isinstance(drop, Rejected) for drop in rejected)
    assert sum(drop.count for drop in rejected) + len(kept) == 300
    (tmp_path / 'rows.jsonl').write_text(''.join(json.dumps({name: getattr(each, name) for name in ('id', 'instruction', 'input', 'output', 'source')}) + '\n' for each in rows))
    assert len(check_overlap(tmp_path / 'rows.jsonl', items).marks) == 300
    assert check_overlap(iter(rows), items).to_json() == want.to_json()
    assert not check_overlap(kept, items).dirty
    assert json.loads(json.dumps(want.to_json())) == want.to_json()


def test_run_folder(tmp_path) -> None:
    from instructgen.records import EXAMPLE_SCHEMA
    rows, items = example_rows()
    whole = pa.Table.from_pylist([{name: getattr(each, name) for name in EXAMPLE_SCHEMA.names} for each in rows], schema=pa.schema([pa.field(field.name, pa.int64() if field.name == 'row' else pa.string()) for field in EXAMPLE_SCHEMA])).cast(EXAMPLE_SCHEMA)
    for bucket, start in enumerate(range(0, 300, 100)): write_bucket(tmp_path, bucket, [whole.slice(start, 100)])
    report = check_overlap(tmp_path, items)
    assert report.to_json() == check_overlap(rows, items).to_json()
    kept, rejected = clean(tmp_path, report)
    assert kept.schema.names == EXAMPLE_SCHEMA.names and len(kept) == len(clean(rows, report)[0])


def test_same_whatever_the_batches_and_the_hash_seed() -> None:
    rows, items = example_rows()
    want = check_overlap(rows, items).to_json()
    script = 'import json, sys; sys.path.insert(0, "tests"); from test_overlap import *; rows, items = example_rows(); print(json.dumps(check_overlap(rows, items).to_json()))'
    told = subprocess.run([sys.executable, '-c', script], check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, 'PYTHONHASHSEED': '7'}).stdout
    assert json.loads(told) == want
    assert [len(batch['id']) for batch in read_batches(rows, 128)] == [128, 128, 44]


def test_several_batches() -> None:
    rows = [row(f'Nothing of row {n} is anywhere else.', id=f'{n}', instruction=f'T{n % 30}') for n in range(9000)]
    rows[5000], rows[8999] = row(STORY, id='five'), row(STORY, id='nine')
    report = check_overlap(rows, [item()], shown=1)
    assert np.flatnonzero(report.marks).tolist() == [5000, 8999]
    assert [(pair.row, pair.id) for pair in report.pairs] == [(5000, 'five')] * 2


def test_faults() -> None:
    with pytest.raises(ValueError, match='no test items'): check_overlap([row('a')], [])
    with pytest.raises(ValueError, match="come twice, such as 'i'"): check_overlap([row('a')], [item(), item()])
    with pytest.raises(TypeError, match='want Example'): check_overlap([3], [item()])
    with pytest.raises(FileNotFoundError, match='no Parquet files'): check_overlap('nowhere/at/all', [item()])
    with pytest.raises(ValueError, match="no column 'input'"): check_overlap(pa.table({'instruction': ['a'], 'output': ['b']}), [item()])
    with pytest.raises(ValueError, match='coverage is 0'): OverlapRules(coverage=0)
    with pytest.raises(ValueError, match='about 1 rows, here are 2'): clean([row('a'), row('b')], check_overlap([row('a')], [item()]))
    empty = check_overlap([], [item()])
    assert len(empty.marks) == 0 and clean([], empty) == ([], [])
    assert check_overlap([row('\ud83d odd'), row('', '', '')], [item(input='half a \ud83d pair in four'), item('e', '', '', 'x')]).marks.tolist() == [0, 0]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.text(max_size=30), st.text(max_size=30), st.text(max_size=30)), max_size=4), st.lists(st.tuples(st.text(min_size=1, max_size=30), st.text(max_size=60), st.text(max_size=30)), min_size=1, max_size=4))
def test_any_text(rows: list[tuple], texts: list[tuple]) -> None:
    report = check_overlap([row(input, output, instruction) for instruction, input, output in rows], [item(f'{n}', input, answer, instruction) for n, (instruction, input, answer) in enumerate(texts)])
    assert len(report.marks) == len(rows) and set(report.dirty) <= set(report.ids)


def test_every_item_finds_itself() -> None:
    _, items = example_rows()
    report = check_overlap([row(each.input, each.references[0]) for each in items], items)
    own = own_texts(items)
    want = {each.id for each, text in zip(items, own) if len(text.input) >= 4 or len(text.input + text.output) >= 8}
    assert report.dirty == want and report.notes['items_too_short_to_check'] == len(items) - len(want)


# near tasks

def test_nearest_definitions() -> None:
    definitions = {'title': 'Write a short title for the given abstract.', 'nli': 'Decide whether the hypothesis is entailed by the premise.'}
    table = nearest_definitions(['Generate a title for this abstract of a paper.', 'Is the hypothesis entailed by the premise?', 'Sort numbers.'], definitions)
    assert table.column('task').to_pylist()[:2] == ['title', 'nli'] and table.column('similarity')[2].as_py() == 0
    with pytest.raises(ValueError, match='no definitions'): nearest_definitions(['a'], {})


def test_near_tasks_of_examples() -> None:
    items = [item(f'{n}', f'text {n}', instruction='Write a short title for the given abstract.', task='title') for n in range(3)]
    rows = [row('a', instruction='Write a short title for the abstract.'), row('b', instruction='Write a short title for the abstract.'), row('c', instruction='Count the birds.'), row('', instruction='Free text.')]
    table = near_tasks(rows, items, least=.3)
    assert table.to_pylist()[0]['rows'] == 2 and len(table) == 1


def test_near_arms() -> None:
    items = [item(f'{n}', f'text {n}', instruction=f'Write a short {what} for the given abstract.', task=what) for n, what in enumerate(('title', 'summary'))]
    arms = {'titles': [row('a', instruction='Write a short title for the abstract.'), row('b', instruction='Write a short title for the abstract.'), row('c', instruction='Count the birds.')],
            'birds': [row(f'{n}', instruction=f'Count the birds of kind {n}.') for n in range(9)], 'rendered': [row('', instruction='Write a title for this abstract: birds')]}
    found = near_arms(arms, items, least=.3, most=5)
    assert {name: (one['instructions'], one['compared'], one['near']) for name, one in found.items()} == {'titles': (2, 2, 1), 'birds': (9, 5, 0), 'rendered': (0, 0, 0)}
    first = found['titles']['nearest'][0]
    assert (first['task'], first['rows']) == ('title', 2) and len(found['birds']['nearest']) == 3  # named, though not near
    assert near_table(found).groupby('arm').size().to_dict() == {'titles': 2, 'birds': 3}
    assert near_notes(found) == ['Distinct instructions that are near to one of 2 definitions of the evaluations (TF-IDF cosine of 0.3 or more): titles 1 of 2, birds 0 of 5 (those with most rows of 9). They ask for something alike, on other texts; none was dropped for that.',
                                 'Not compared: rendered, whose rows have no instruction apart from their text.']
    assert near_arms(dict(reversed(arms.items())), items[::-1], least=.3, most=5) == found
    alone = near_tasks(arms['titles'], items, least=.3).to_pylist()
    assert [one['instruction'] for one in alone] == [first['instruction']]


# real data

def test_p3_against_super_ni(shared_data) -> None:
    rows = []
    with lzma.open(shared_data / 'p3' / 't0_train_50k_by_template.jsonl.xz', 'rt', encoding='utf-8') as lines:
        for number, line in enumerate(lines):
            data = json.loads(line)
            if data['template'].startswith(('sciq', 'quoref', 'rotten', 'samsum', 'xsum', 'ag_news')):
                rows.append(Example(f'{number}', data['prompt'], '', data['completion'].replace('<|endoftext|>', ''), task_id=data['template'], source='P3', config=data['template'], split='train'))
    items = []
    for folder in sorted((shared_data / 'eval' / 'super_ni').glob('task*')):
        for part in ('dev', 'train'):
            with gzip.open(folder / f'{part}.json.gz') as file: data = json.load(file)
            items += [item(f'{folder.name}-{part}-{n}', each['input'], each['output'] if isinstance(each['output'], str) else each['output'][0], data['Definition'][0], folder.name)
                      for n, each in enumerate(data['Instances'])]
    report = check_overlap(rows, items)
    dirty = {task['task']: task['dirty'] for task in report.tasks if task['dirty']}
    assert dirty == {'task002_quoref_answer_generation': 34, 'task1290_xsum_summarization': 2, 'task1572_samsum_summary': 1, 'task363_sst2_polarity_classification': 6, 'task591_sciq_answer_generation': 16}
    assert report.notes['items_dirty_only_by_what_was_ignored'] == 0
    for pair in report.pairs:  # what is shown is in both
        assert pair.text[:60] in ' '.join(words(f'{rows[pair.row].instruction} {rows[pair.row].output}'))
    lineage = [task['task'] for task in report.tasks if task['rows_lineage']]
    assert lineage == ['task002_quoref_answer_generation', 'task1290_xsum_summarization', 'task1572_samsum_summary', 'task363_sst2_polarity_classification', 'task591_sciq_answer_generation']
    assert not check_overlap(clean(rows, report)[0], items).dirty


def test_target_rules_on_real_splits(shared_data) -> None:
    def rows(split: str) -> list[Example]:
        with open(shared_data / 'hub' / 'pubmed_qa' / 'data' / f'{split}.jsonl', encoding='utf-8') as lines:
            return [row(f'{data["question"]} {data["contexts"]}', source='pubmed_qa', split=split, id=f'{n}') for n, data in enumerate(map(json.loads, lines))]
    with open(shared_data / 'hub' / 'pubmed_qa' / 'data' / 'test.jsonl', encoding='utf-8') as lines:  # a template round each question: instruction only, as in rank classification
        items = [item(f'{n}', '', data['final_decision'], f'Here is the abstract of a study: {data["contexts"]} Going by the abstract, answer with yes, no or maybe: {data["question"]}', 'pubmed_qa',
                      options=('yes', 'no', 'maybe')) for n, data in enumerate(map(json.loads, lines))]
    own, other = check_overlap(rows('train'), items, OVERLAP_RULES['target']), check_overlap(rows('test'), items, OVERLAP_RULES['target'])
    assert own.notes['template_words'] == len(items) * 10 and not own.dirty and len(clean(rows('train'), own)[0]) == len(own.marks)
    assert other.dirty == {each.id for each in items} and not clean(rows('test'), other)[0]
