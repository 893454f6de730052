"""Generation: the form, the checks, the plan of requests, two steps, second pass, twins, quality. Models are recorded or made here."""
import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instructgen.bonito.asking import Asking, Slot, plan_slots, read_weights, task_request
from instructgen.bonito.checks import CHECKS, GENERATION_RULES, Candidate, answers_agree, failed_checks, listed_options
from instructgen.bonito.format import (
    PIPE, build_answer_prompt, build_task_prompt, fill_context, find_task_type, format_answer_input, format_input, format_output, load_task_types,
    parse_output, read_answer_prompt, read_input, read_task_prompt, split_output, split_reply)
from instructgen.bonito.generate import generate_examples, generate_tasks, own_instructions
from instructgen.bonito.quality import label_balance, task_quality
from instructgen.llm import Budget, Completion, KeptLLM
from instructgen.ledger import Ledger
from instructgen.records import Context

CAREFUL, PUBLISHED = GENERATION_RULES['careful'], GENERATION_RULES['published']
LEASE = 'The lease ends in May 2024. The tenant pays 900 euros on the first of each month.'
TEXT = st.text(st.characters(codec='utf-8', exclude_categories=['Cs']), min_size=1, max_size=300)


class Scripted:
    "A back end whose answer is a function of prompt and draw, in an order of its own."
    def __init__(self, write, shuffle=0):
        self.write, self.shuffle, self.name, self.fingerprint, self.asked = write, shuffle, 'scripted', 'scripted', []

    def generate(self, requests, sampling, arrived=None):
        waiting, before = [], True
        for request in requests:
            if request is None and before is None: yield from self.answer(waiting, sampling, arrived)  # no room until something arrives
            elif request is None: yield None
            else: waiting.append(request)
            before = request
        yield from self.answer(waiting, sampling, arrived)

    def answer(self, waiting, sampling, arrived):
        random.Random(self.shuffle).shuffle(waiting)
        while waiting:
            request = waiting.pop()
            self.asked.append((request, sampling))
            written = self.write(request, sampling)
            completion = written if isinstance(written, Completion) else Completion(request.id, written, prompt_tokens=10, completion_tokens=5)
            completion = replace(completion, id=request.id)
            if arrived: arrived([completion])
            yield completion

    def close(self): pass


def candidate(kind, instruction, answer, context=LEASE): return Candidate(instruction, answer, context, find_task_type(kind))


# ---- the form

@given(TEXT.filter(str.strip), st.sampled_from([kind.name for kind in load_task_types()]), TEXT)
def test_prompts_are_read_back(context, kind, instruction):
    "Whatever stands in a text, the prompt says the same after the way back."
    assert read_input(format_input(kind, context)) == (kind, context.strip(), '')
    found = read_task_prompt(build_task_prompt(find_task_type(kind), context))
    assert found == (kind, context.strip())
    assert read_answer_prompt(build_answer_prompt(instruction)) == instruction


@given(TEXT.filter(lambda text: text.strip() and PIPE not in text), TEXT.filter(lambda text: text.strip() and PIPE not in text))
def test_targets_are_read_back(instruction, answer):
    assert split_output(format_output(instruction, answer)) == (instruction.strip(), answer.strip())


@given(TEXT)
def test_any_text_is_parsed_or_named(text):
    "Never another error than a ValueError with one of the names."
    for read in (split_output, split_reply):
        try: parts = read(text)
        except ValueError as error: assert str(error).partition(':')[0] in ('no_pipe', 'many_pipes', 'empty_instruction', 'empty_answer')
        else: assert all(part.strip() for part in parts)


def test_placeholder_is_filled_on_both_sides_and_once():
    assert parse_output('{{ context }} Say more.<|pipe|>{{context}}', 'a {{context}} b') == ('a {{context}} b Say more.', 'a {{context}} b')
    assert fill_context(r'{{context}}', r'\1 \g<0>') == r'\1 \g<0>'


def test_chat_reply_with_prose_around_it():
    text = 'Here you are:\n\n<instruction>\n{{context}}\nWhen?\n</instruction>\n\n<answer>\nMay\n</answer>\nHope that helps!'
    assert split_reply(text) == ('{{context}}\nWhen?', 'May')
    assert split_reply('<instruction>{{context}} When?</instruction><answer>May') == ('{{context}} When?', 'May')  # cut at the end tag
    with pytest.raises(ValueError, match='many_pipes'): split_reply('<instruction>a</instruction><instruction>b</instruction><answer>c</answer>')


def test_unknown_types_tell_the_nearest():
    with pytest.raises(ValueError, match='ynqa'): find_task_type('ynqa ?')
    with pytest.raises(ValueError, match='summarization'): find_task_type('sumarization')
    with pytest.raises(ValueError, match='summarization'): read_weights('exqa, summarisation')


def test_own_types_are_asked_by_their_name(tmp_path):
    (tmp_path/'types.yaml').write_text('- {name: rhymes, short: rhyme}')
    types = load_task_types(str(tmp_path/'types.yaml'))
    kind = find_task_type('rhyme', types)
    assert format_input(kind.name, 'x').startswith('<|tasktype|>\nrhymes\n')
    assert [kind.name for kind in read_weights('rhyme', types)] == ['rhymes']
    with pytest.raises(ValueError): read_weights('rhyme')


# ---- checks: for each one a task that fails it and a near one that does not

CASES = {
    'no_placeholder': (candidate('exqa', 'When does it end?', 'May 2024'), candidate('text_gen', 'Write about a lease.', '{{context}}')),
    'marks_left': (candidate('exqa', '{{context}} {{ question }}', 'May 2024'), candidate('exqa', '{{ context }} When {roughly}?', 'May 2024')),
    'repeated_context': (candidate('qa', '{{context}} {{context}}', 'May'), candidate('qa', '{{context}} When?', 'May')),
    'loop': (candidate('qa', '{{context}} When does the the the the the end?', 'May'), candidate('qa', '{{context}} When when does it end?', 'May')),
    'wrong_type': (candidate('mcqa', '{{context}} When does it end?', 'May 2024'), candidate('mcqa', '{{context}} When does it end?\n- May 2024\n- June 2024', 'May 2024')),
    'not_a_span': (candidate('exqa', '{{context}} How much does the tenant pay?', '90 euro'), candidate('exqa', '{{context}} How much does the tenant pay?', '900 Euros.')),
    'not_an_option': (candidate('mcqa', '{{context}} When?\nA. May\nB. June', 'July'), candidate('mcqa', '{{context}} When?\nA. May\nB. June', 'B')),
    'unknown_label': (candidate('ynqa', '{{context}} Does the lease end?', 'in May'), candidate('nli', '{{context}} Is "It ends" guaranteed, possible, or impossible?', 'Guaranteed')),
    'context_not_used': (candidate('qa', '{{context}} Who won the race?', 'Hungary'), candidate('sentiment', '{{context}} Good or bad mood?', 'bad')),
    'answer_in_instruction': (candidate('qa', '{{context}} Does the lease end in May 2024?', 'May 2024'), candidate('qa', '{{context}} Does the lease end?', 'May 2024')),
    'foreign_names': (candidate('text_gen', 'Review the app com.tools.reader', '{{context}}'), candidate('text_gen', 'Review a lease.', '{{context}}'))}


@pytest.mark.parametrize('name', CHECKS)
def test_each_check_can_fail_and_pass(name):
    bad, good = CASES[name]
    assert name in failed_checks(bad)
    assert name not in failed_checks(good)


@pytest.mark.parametrize(('text', 'options'), [
    ('Pick one:\n- May\n- June\n', ['May', 'June']),
    ('What is it?\n(a) a lease\n(b) a loan\n(c) a gift', ['a lease', 'a loan', 'a gift']),
    ('What is it? A) a lease B) a loan', ['a lease', 'a loan']),
    ('Options: yes, no, maybe.', ['yes', 'no', 'maybe']),
    ('Is it true? True, false or neither?', ['True', 'false', 'neither']),
    ('When does it end?', []), ('', [])])
def test_options_are_found(text, options): assert listed_options(text) == options


@given(TEXT, TEXT, TEXT, st.sampled_from(load_task_types()))
@settings(max_examples=300)
def test_checks_never_raise(instruction, answer, context, kind):
    assert set(failed_checks(Candidate(instruction, answer, context, kind))) <= set(CHECKS)


def test_checks_are_quick_on_long_texts():
    "No check may take quadratic time on what a model writes when it loops."
    for text in ('- a ' * 20_000, 'A) ' * 20_000, 'ab ' * 20_000, 'a,' * 20_000, '{{' * 20_000, '@' * 20_000):
        failed_checks(candidate('mcqa', text, text[:200]))


@pytest.mark.parametrize(('kind', 'instruction', 'first', 'second', 'agrees'), [
    ('exqa', '{{context}} When?', 'in May 2024', 'May 2024', True), ('exqa', '{{context}} When?', 'May 2024', 'June 2023', False),
    ('ynqa', '{{context}} Is it? Yes or no?', 'Yes', 'yes, it does', True), ('ynqa', '{{context}} Is it? Yes or no?', 'Yes', 'No', False),
    ('mcqa', '{{context}} When?\nA. May\nB. June', 'B', 'June', True), ('mcqa', '{{context}} When?\nA. May\nB. June', 'B', 'May', False),
    ('exqa', '{{context}} When?', 'May', '', False), ('ynqa', '{{context}} Is it?', 'no', 'nothing', False)])
def test_agreement(kind, instruction, first, second, agrees): assert answers_agree(candidate(kind, instruction, first), second) is agrees


# ---- the plan

def test_weights_decide_and_neighbours_do_not():
    weights = read_weights('exqa:3,ynqa:1')
    contexts = [Context(f'text {number}') for number in range(3000)]
    slots = plan_slots(contexts, weights, 1, seed=4)
    share = sum(slot.task_type.short == 'exqa' for slot in slots) / len(slots)
    assert .72 < share < .78
    some = plan_slots(contexts[1000:], weights, 1, seed=4)
    assert {slot.id for slot in some} <= {slot.id for slot in slots}


def test_draws_give_that_many_rows_and_all_types():
    slots = plan_slots([Context(LEASE)], read_weights('exqa,ynqa,mcqa'), 5)
    assert len({slot.id for slot in slots}) == 5
    assert Counter(slot.task_type.short for slot in slots).most_common()[0][1] == 2 and len({slot.task_type for slot in slots}) == 3


def test_five_draws_give_five_rows():
    "The library's bug: one dict appended n times (issue 18)."
    back = Scripted(lambda request, sampling: f'{{{{context}}}} Question number {"one two three four five".split()[request.draw]}, what does the tenant pay?{PIPE}900 euros')
    made = generate_examples([Context(LEASE)], KeptLLM(back), 'exqa', draws=5, rules=replace(CAREFUL, near=0.))
    assert len({example.instruction for example in made.examples}) == 5 and len({example.id for example in made.examples}) == 5


# ---- generation

def answer_all(request, sampling):
    "A model that writes a sound task, and for every third text none."
    kind, text, instruction = read_input(request.messages)
    number = int(''.join(filter(str.isdigit, text)) or 0)
    if instruction: return f'number {number}'
    return 'I do not know' if number % 3 == 0 else f'{{{{context}}}}\nWhich number is named?\n{PIPE}\nnumber {number}'


def test_order_of_answers_does_not_matter():
    contexts = [Context(f'This is number {number}.', row=number) for number in range(40)]
    rules = replace(CAREFUL, duplicates=False)  # the model writes the same for both types
    results = [generate_examples(contexts[::step], KeptLLM(Scripted(answer_all, shuffle)), 'exqa,qa', draws=2, rules=rules) for shuffle in (0, 7) for step in (1, -1)]
    assert len({repr(result) for result in results}) == 1
    assert {drop.rule for drop in results[0].rejected} == {'no_pipe'}
    assert len(results[0].examples) == 2 * 26


def test_two_steps_decode_the_answer_greedily():
    back = Scripted(answer_all)
    made = generate_examples([Context('This is number 7.')], KeptLLM(back), 'exqa', asking=Asking(two_step=True))
    assert [sampling.temperature for _, sampling in back.asked] == [.5, 0.]
    assert back.asked[0][1].stop == (PIPE,) and back.asked[1][0].messages.endswith(f'Which number is named?\n{PIPE}\n')
    assert made.examples[0].output == 'number 7'


def test_two_steps_with_a_chat_model():
    def write(request, sampling):
        return '<instruction>\n{{context}}\nWhat does the tenant pay?\n' if read_task_prompt(request.messages) else '900 euros'
    back = Scripted(write)
    made = generate_examples([Context(LEASE)], KeptLLM(back), 'exqa', asking=Asking('chat', two_step=True))
    assert back.asked[1][0].messages[1]['content'] == f'{LEASE}\nWhat does the tenant pay?'
    assert made.examples[0].output == '900 euros'


def test_retries_ask_with_another_draw_and_only_what_failed():
    def write(request, sampling): return answer_all(request, sampling) if request.draw < 1000 else f'{{{{context}}}} Which number is named?{PIPE}number {"".join(filter(str.isdigit, read_input(request.messages)[1]))}'
    back = Scripted(write)
    contexts = [Context(f'This is number {number}.') for number in range(6)]
    made = generate_examples(contexts, KeptLLM(back), 'exqa', asking=Asking(retries=2))
    assert len(back.asked) == 8 and len(made.examples) == 6


def test_second_pass_drops_and_keeps_both_answers():
    second = Scripted(lambda request, sampling: 'number 1')
    made = generate_examples([Context(f'This is number {number}.') for number in (1, 2)], KeptLLM(Scripted(answer_all)), 'exqa', confirm=(KeptLLM(second), 'chat'))
    assert [example.output for example in made.examples] == ['number 1']
    assert [(drop.rule, '[second answer: number 1]' in drop.text) for drop in made.rejected] == [('answer_disagrees', True)]


def test_errors_are_counted_and_not_kept(tmp_path):
    trouble = Scripted(lambda request, sampling: Completion('', '', 'error', 'timeout: 3 s'))
    with Ledger(tmp_path/'llm.sqlite') as ledger:
        made = generate_examples([Context(LEASE)], KeptLLM(trouble, ledger), 'exqa')
        assert [(drop.kind, drop.rule) for drop in made.rejected] == [('call', 'timeout')]
        made = generate_examples([Context(LEASE)], KeptLLM(Scripted(lambda request, sampling: f'{{{{context}}}} What does the tenant pay?{PIPE}900 euros'), ledger), 'exqa')
    assert len(made.examples) == 1


@pytest.mark.parametrize('two_step', [False, True])
def test_budget_leaves_the_rest_for_later(tmp_path, two_step):
    contexts = [Context(f'This is number {number}.') for number in range(1, 12)]
    asking = Asking(two_step=two_step)
    every = Scripted(answer_all)
    with Ledger(tmp_path/'whole.sqlite') as ledger: whole = generate_examples(contexts, KeptLLM(every, ledger), 'exqa', asking=asking)
    with Ledger(tmp_path/'llm.sqlite') as ledger:
        part = generate_examples(contexts, KeptLLM(Scripted(answer_all), ledger, Budget(calls=4)), 'exqa', asking=asking)
        assert part.stopped and part.pending == 11 - len(part.generations) > 0
        rest = Scripted(answer_all)
        done = generate_examples(contexts, KeptLLM(rest, ledger), 'exqa', asking=asking)
    assert repr(done) == repr(whole) and len(rest.asked) == len(every.asked) - 4


def test_published_rules_keep_what_the_library_keeps():
    written = {0: f'{PIPE}x', 1: f'no text{PIPE}y', 2: 'no pipe', 3: f'a{PIPE}b{PIPE}c'}
    contexts = [Context(f'This is number {number}.') for number in written]
    back = Scripted(lambda request, sampling: written[int(read_input(request.messages)[1][-2])])
    made = generate_examples(contexts, KeptLLM(back), 'exqa', rules=PUBLISHED)
    assert sorted(example.output for example in made.examples) == ['x', 'y']
    assert sorted(drop.rule for drop in made.rejected) == ['many_pipes', 'no_pipe']
    strict = generate_examples(contexts, KeptLLM(back), 'exqa')
    assert sorted(drop.rule for drop in strict.rejected) == ['empty_instruction', 'many_pipes', 'no_pipe', 'no_placeholder']


def test_memorised_instructions_are_dropped():
    known = own_instructions(['{{context}}\nWhich number is named?'])
    generations, _ = generate_tasks([Slot(Context('This is number 7.'), find_task_type('exqa'))], KeptLLM(Scripted(answer_all)), memorised=known)
    assert generations[0].reason == 'memorised'


def test_contexts_are_refused_by_name():
    made = generate_examples([Context('This is number 7.'), Context('This is number 7.', row=9), Context('  '), Context('x' * 3000)], KeptLLM(Scripted(answer_all)), 'exqa')
    assert Counter(drop.rule for drop in made.rejected) == {'duplicate_context': 1, 'empty_context': 1, 'long_context': 1}
    assert len(made.examples) == 1


def test_same_prompt_same_key():
    slot = Slot(Context(LEASE), find_task_type('exqa'))
    assert task_request(slot).messages == format_input('exqa', LEASE) and task_request(slot, draw=3).draw == 3
    assert format_answer_input('exqa', LEASE, 'x').startswith(format_input('exqa', LEASE))


# ---- quality

def test_quality_counts_what_was_dropped():
    contexts = [Context(f'This is number {number}.', source='a' if number < 6 else 'b') for number in range(12)]
    made = generate_examples(contexts, KeptLLM(Scripted(answer_all)), 'exqa')
    table = task_quality(made.examples, made.generations).set_index('measure')
    assert table.value['parsed'] == 8 / 12 and table.n['parsed'] == 12
    assert table.value['passes not_a_span'] == 1 and table.low['passes not_a_span'] < 1
    assert table.value['distinct instructions'] == 1 / 8
    split = task_quality(made.examples, made.generations, 'source')
    assert set(split.group) >= {'a', 'b'}


@given(st.lists(st.sampled_from('abc'), min_size=2, max_size=50))
def test_balance_is_a_share(labels):
    assert 0 <= label_balance(labels) <= 1 + 1e-9
    assert (len(set(labels)) > 1) == (label_balance(labels) > 0)
