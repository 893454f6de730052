"The embedded writer for contexts: golden cases, any text at all, and real texts."
import os
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given, settings, strategies as st

from instructgen.bonito.answers import find_answer, judge_statement
from instructgen.bonito.checks import Candidate, answers_agree, failed_checks
from instructgen.bonito.clauses import fit_sentences, read_clause, stands_alone
from instructgen.bonito.format import (build_answer_prompt, build_task_prompt, fill_context, find_task_type, format_answer_input, format_input, split_output,
                                       split_reply)
from instructgen.bonito.generate import generate_examples
from instructgen.bonito.questions import ask_questions, contradict, leave_ending, leave_gaps, nearby_numbers
from instructgen.bonito.rules import answer, write_task
from instructgen.contexts import read_contexts
from instructgen.llm import Request, RulesLLM, Sampling, open_llm
from instructgen.records import Context

TYPES = ('exqa', 'ynqa', 'mcqa', 'sent_comp')
FARM = ('The barn of the farm has 300 cows in 2 herds. The old barn was sold by its owners in 2019. The mean milk yield was 27.5 kg in the second herd. '
        'The tenant shall notify the landlord within 30 days. A total of 48 cows were treated with the new drug. 35% of the calves were sold to a trader.')


@pytest.mark.parametrize('sentence, question, found', [
    ('The old barn was sold by its owners in 2019.', 'When was the old barn sold by its owners?', '2019'),
    ('The mean age was 45 years in the control group.', 'What was the mean age in the control group?', '45 years'),
    ('A total of 48 cows were treated with the new drug.', 'How many cows were treated with the new drug?', '48'),
    ('35% of the calves were sold to a trader.', 'What percentage of the calves were sold to a trader?', '35%'),
    ('The tenant shall notify the landlord within 30 days.', 'Within what period shall the tenant notify the landlord?', '30 days'),
    ('The tenant shall notify the landlord about the old barn.', 'Who shall notify the landlord about the old barn?', 'The tenant'),
    ('The aim of this study was to compare two drugs.', 'What was the aim of this study?', 'to compare two drugs'),
    ('The policy covers the loss of the barn by fire.', 'What does the policy cover?', 'the loss of the barn by fire'),
    ('The new barn has 12 doors.', 'How many doors does the new barn have?', '12'),
    ('The tenant agrees to pay for the repair of the barn.', 'Who agrees to pay for the repair of the barn?', 'The tenant'),
    ('The register was rejected because it slowed the parser down.', 'Why was the register rejected?', 'because it slowed the parser down')])
def test_questions(sentence, question, found):
    assert (question, found) in [(asked.text, asked.answer) for asked in ask_questions(sentence)]


@pytest.mark.parametrize('sentence', ['It was sold by its owners in 2019.', 'However, the barn was sold in May.', 'The results are shown in Table 2.', 'RESULTS OF THE FIRST STUDY WERE GOOD.',
                                      'Cows eat.', 'A string containing the name from which it was read.', 'Children Privacy Policy Rules We care about the privacy of children.', 'The barn was sold?'])
def test_sentences_in_doubt_are_left_alone(sentence):
    assert not stands_alone(sentence)


@pytest.mark.parametrize('sentence', ['Patients who were treated had no fever at all.', 'The shares of the company need work.', 'Treated cows were sold in May.'])
def test_clauses_in_doubt_are_left_alone(sentence):
    assert read_clause(sentence) is None


@pytest.mark.parametrize('sentence, verb, turned', [('The tenant pays 450 euros a month.', None, ''), ('The lease covers the barn and its doors.', 'covers', 'does'), ('We share your data with the bank.', 'share', 'do'),
                                                    ('The board adopted the third proposal.', 'adopted', 'did'), ('The cows adopted by the farm are old.', None, ''), ('The idioms used to do so are old.', None, ''),
                                                    ('The use of barns requires a permit.', None, ''), ('The shares of the bank hold their value.', None, ''), ('The farm has shown good results.', 'has', '')])
def test_full_verbs(sentence, verb, turned):
    clause = read_clause(sentence)
    assert (clause.verb, clause.turned) == (verb, turned) if verb else clause is None


@pytest.mark.parametrize('sentence, denied', [
    ('The lease covers the barn.', 'The lease does not cover the barn.'), ('We share your data with the bank.', 'We do not share your data with the bank.'),
    ('The tenant shall not sell the barn without a permit.', 'The tenant shall sell the barn without a permit.'), ('The farm does not include the barn.', 'The farm includes the barn.'),
    ('Cows and calves shall be counted in May.', 'Cows and calves shall not be counted in May.'), ('The tenant cannot sell the old barn.', 'The tenant can sell the old barn.')])
def test_denials(sentence, denied): assert denied in contradict(sentence, '')


@pytest.mark.parametrize('sentence', ['The tenant shall not only pay but also repair.', 'Neither tenant shall sell the barn.', 'The tenant shall pay only in cash.', 'See the rule that tenants shall obey in Section 4.',
                                      'The rule of Section 4 may apply to barns.', 'Groups 2 (cows) and 3 (calves) might be healthy.'])
def test_what_cannot_be_denied(sentence): assert contradict(sentence, '') == []


@pytest.mark.parametrize('sentence, texts', [
    ('The tenant may leave by Section 4 alone.', []), ('The barn opens in 2.x.(y+1) days of summer.', []), ('Sections 1, 2, 3 and 5 survive the lease.', []), ('The system ran on Windows 98 alone.', []),
    ('The barn of Leeds has 300 cows.', ['The barn of ____ has 300 cows.', 'The barn of Leeds has ____ cows.'])])
def test_gaps(sentence, texts): assert [gap.text for gap in leave_gaps(sentence)] == texts


@pytest.mark.parametrize('sentence, beginning', [
    ('The tenant shall pay the rent to the bank of Leeds.', 'The tenant shall pay the rent'), ('The average age of the cows was ten years in spring.', 'The average age of the cows was'), ('The tenant shall go to the bank.', None)])
def test_endings_name_their_sentence(sentence, beginning): assert [ending.text for ending in leave_ending(sentence)] == [beginning] * bool(beginning)


def test_statements_that_contradict():
    assert contradict('The old barn may burn down in summer.', '') == []  # may and may not: both can be so
    assert contradict('The tenant may sublet only the old barn.', '') == []
    assert contradict('The barn must hold at least 12 cows.', '') == ['The barn must not hold at least 12 cows.']
    assert 'We shall not sell the old barn.' in contradict('We shall sell the old barn.', '') and 'We shall sell the old barn.' in contradict('We shall not sell the old barn.', '')
    assert 'The study shows a decreased yield of milk.' in contradict('The study shows an increased yield of milk.', '')
    assert all('8' not in other.split() for other in nearby_numbers('12 visits', 'after 8 days and 12 visits'))


def test_vague_questions_get_no_answer():
    text = 'The barn was sold in 2019. The barn was sold in 2021.'
    assert find_answer(text, 'When was the barn sold?') == '' and judge_statement(text, 'Cats like milk.') == ''


@pytest.mark.parametrize('name', TYPES)
def test_tasks_are_sound_and_confirmed(name):
    kind, draws = find_task_type(name), {write_task(name, FARM, draw) for draw in range(3)}
    assert len(draws) == 3
    for instruction, first in draws:
        candidate = Candidate(instruction, first, FARM, kind)
        assert failed_checks(candidate) == () and instruction.count('{{context}}') == 1
        assert answers_agree(candidate, answer(build_answer_prompt(fill_context(instruction, FARM))))
        assert answers_agree(candidate, answer(format_answer_input(name, FARM, instruction)))


def test_both_forms_say_the_same():
    for name in TYPES: assert split_output(answer(format_input(name, FARM))) == split_reply(answer(build_task_prompt(find_task_type(name), FARM)))


def test_what_it_does_not_know():
    assert answer('Hello') is None and answer([{'role': 'user', 'content': 'Hello'}]) is None
    assert answer(format_input('summarization', FARM)) == '' and answer(format_input('a type of mine', FARM)) == ''
    assert answer(build_answer_prompt('Write a poem.')) == ''
    assert answer(format_input('exqa', 'Shall I compare thee to a summer day')) == ''


def test_draws_differ_through_the_seam():
    requests = [Request(format_input('exqa', FARM), str(draw), draw) for draw in range(3)]
    assert len({done.text for done in RulesLLM().generate(requests, Sampling())}) == 3


@settings(max_examples=150, deadline=None)
@given(st.text(min_size=1) | st.lists(st.sampled_from(FARM.replace('.', ' .').split() + ['\n', '(', '"', 'not', '____', '{{context}}', '<|pipe|>', 'may']), min_size=1, max_size=40).map(' '.join), st.sampled_from(TYPES), st.integers(0, 2000))
def test_any_text(text, name, draw):
    if not text.strip(): return
    task = write_task(name, text, draw)
    if task: assert failed_checks(Candidate(*task, text.strip(), find_task_type(name))) == ()
    answer(build_answer_prompt(text))
    assert write_task(name, text, draw) == task


def test_same_tasks_under_any_hash_seed():
    code = f'from instructgen.bonito.rules import write_task\nfor t in {TYPES}: print(write_task(t, {FARM!r}, 1))'
    runs = {subprocess.run([sys.executable, '-c', code], env={**os.environ, 'PYTHONHASHSEED': seed}, capture_output=True, text=True, check=True).stdout for seed in ('0', '7')}
    assert len(runs) == 1


def test_the_whole_way():
    with open_llm('rules') as llm: done = generate_examples([Context(FARM), Context('Roses are red')], llm, ','.join(TYPES), draws=4, confirm=(llm, 'chat'))
    assert len(done.examples) >= 3 and {generation.reason for generation in done.generations if not generation.kept} <= {'no_pipe', 'no_answer', 'duplicate', 'near_duplicate'}


@pytest.mark.parametrize('name, column, least', [('pubmed_qa', '', .8), ('contract_nli', 'premise', .4), ('policyqa', 'context', .2)])
def test_yield_on_real_data(shared_data, name, column, least):
    contexts = [context for context in read_contexts(str(shared_data / 'hub' / name), column=column) if isinstance(context, Context)][:40]
    tasks = [write_task('exqa', context.text) for context in contexts]
    assert sum(task is not None for task in tasks) >= least * len(contexts)
    assert all(fit_sentences(context.text) for context, task in zip(contexts, tasks) if task)


def test_labels_are_balanced_and_not_told_by_the_form(shared_data):
    contexts = [context for context in read_contexts(str(shared_data / 'hub' / 'pubmed_qa')) if isinstance(context, Context)][:150]
    counts = Counter(label for context in contexts if (task := write_task('ynqa', context.text)) for label in [task[1]])
    assert .35 < (counts['yes'] + counts['true']) / counts.total() < .65
    for one, other in (('yes', 'no'), ('true', 'false')): assert min(counts[one], counts[other]) > .25 * (counts[one] + counts[other])
