"""The seam: keys, the ledger around a back end, budgets and counts, and what survives the death of a process."""
import json
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llm_server import LLMServer

from instructgen.ledger import Answer, Ledger
from instructgen.llm import (BACKENDS, Budget, BudgetReached, Completion, KeptLLM, RecordedLLM, Request, RulesLLM, Sampling, estimate, open_llm, recorded_key,
                             request_key)

ROOT = Path(__file__).parent.parent


class Backend:
    "Answers from a list of functions, `width` requests at once, as a client does; counts what it was sent."
    def __init__(self, answer=lambda request: {'text': f'{request.messages}!'}, width=4):
        self.name = self.fingerprint = 'backend'
        self.answer, self.width, self.sent, self.closed = answer, width, [], False

    def generate(self, requests, sampling, arrived):
        under_way = []
        try:
            for request in requests:
                if request is not None: self.sent.append(request)
                if request is not None: under_way.append(request)
                while len(under_way) >= self.width or request is None and under_way: yield self.one(under_way.pop(), arrived)
                if request is None: yield None
            while under_way: yield self.one(under_way.pop(), arrived)
        finally: self.closed = True

    def one(self, request, arrived):
        completion = Completion(request.id, **{'prompt_tokens': 3, 'completion_tokens': 2, **self.answer(request)})
        arrived([completion])
        return completion

    def close(self): pass


def prompts(count, start=0): return [Request(f'prompt {number}', f'{number}') for number in range(start, start + count)]


def test_everything_of_a_request_is_in_its_key():
    request, sampling = Request([{'role': 'user', 'content': 'x'}], 'id', purpose='p'), Sampling()
    changed = [replace(sampling, max_tokens=1), replace(sampling, temperature=.1), replace(sampling, top_p=.9), replace(sampling, stop=('.',)), replace(sampling, seed=0), replace(sampling, schema={})]
    requests = [replace(request, draw=1), Request('x'), Request([{'role': 'system', 'content': 'x'}]), Request([{'role': 'user', 'content': 'x', 'name': 'ada'}]), Request([{'role': 'user', 'content': 'x'}] * 2)]
    keys = [request_key(request, sampling, 'a'), request_key(request, sampling, 'b'), *(request_key(request, other, 'a') for other in changed), *(request_key(other, sampling, 'a') for other in requests)]
    assert len(set(keys)) == len(keys) and all(len(key) == 32 for key in keys)
    assert request_key(replace(request, id='other', purpose='q', about='films'), sampling, 'a') == keys[0]


@pytest.mark.parametrize('wrong', [{'max_tokens': 0}, {'max_tokens': 1.5}, {'temperature': -1}, {'top_p': 0}, {'top_p': 1.1}, {'stop': ['x']}, {'schema': 'x'}, {'temperature': float('nan')}])
def test_wrong_samplings(wrong):
    with pytest.raises((ValueError, TypeError), match=f'{next(iter(wrong))} is'): Sampling(**wrong)


@pytest.mark.parametrize('messages', [[{'role': 'user'}], ['text'], [{'role': 'user', 'content': None}], []])
def test_wrong_requests(messages):
    with pytest.raises((ValueError, TypeError)): Request(messages)


@settings(max_examples=50, deadline=None)
@given(kinds=st.lists(st.tuples(st.integers(0, 12), st.booleans()), max_size=60), width=st.integers(1, 9), budget=st.none() | st.integers(1, 40))
def test_one_completion_each_and_nothing_asked_twice(tmp_path_factory, kinds, width, budget):
    failing = {f'prompt {number}' for number, fails in kinds if fails}
    backend = Backend(lambda request: {'error': 'timeout', 'finish': 'error'} if request.messages in failing else {'text': request.messages}, width)
    requests = [Request(f'prompt {number}', f'{index}') for index, (number, _) in enumerate(kinds)]
    with KeptLLM(backend, Ledger(tmp_path_factory.mktemp('one') / 'llm.sqlite'), Budget(calls=budget) if budget else None) as llm:
        done = []
        try:
            for completion in llm.generate(requests): done.append(completion)
        except BudgetReached: pass
        counted = llm.statistics()
        if budget is None or budget >= len(requests): assert sorted(completion.id for completion in done) == sorted(request.id for request in requests)
        assert len({completion.id for completion in done}) == len(done)
        assert all(bool(completion.error) == (requests[int(completion.id)].messages in failing) for completion in done)
        good = [request.messages for request in backend.sent if request.messages not in failing]
        assert len(good) == len(set(good)) and len(backend.sent) <= (budget or 1000)
        assert counted.calls == len(backend.sent) and counted.calls + counted.hits == len(done)
        assert llm.ledger.count() == len(set(good))
        again = Backend(width=width)
        llm.backend = again
        assert {completion.text for completion in llm.generate([Request(text) for text in set(good)])} == set(good) and again.sent == []


def test_the_ledger_knows_what_an_answer_is_about(tmp_path):
    requests = [Request('a', about='films'), Request('b', about='songs'), Request('a', about='songs'), Request('c')]  # the third asks what the first asked
    with KeptLLM(Backend(), Ledger(tmp_path / 'l')) as llm:
        list(llm.generate(requests))
        assert [llm.ledger.get(request_key(request, Sampling(), 'backend')).about for request in requests] == ['films', 'songs', 'films', '']
        assert llm.ledger.forget(['songs']) == 1
        again = llm.backend = Backend()
        assert sorted(done.cached for done in llm.generate(requests)) == [False, True, True, True] and [request.messages for request in again.sent] == ['b']


def test_errors_are_not_kept(tmp_path):
    with KeptLLM(Backend(lambda request: {'error': 'timeout: slow', 'finish': 'error'}), Ledger(tmp_path / 'l')) as llm:
        assert [done.reason for done in llm.generate(prompts(3))] == ['timeout'] * 3
        assert llm.ledger.count() == 0 and llm.statistics().errors == {'timeout': 3}
        llm.backend = Backend()
        assert all(not done.error and not done.cached for done in llm.generate(prompts(3)))


def test_without_an_id_the_key_is_the_id():
    llm = KeptLLM(Backend())
    request = Request('x')
    assert next(llm.generate([request])).id == request_key(request, Sampling(), 'backend')


@pytest.mark.parametrize('limits, fits', [({'calls': 7}, 7), ({'tokens': 100}, None), ({'money': 1e-3}, None)])
def test_a_budget_is_never_overrun(limits, fits):
    backend = Backend(width=5)
    llm = KeptLLM(backend, budget=Budget(**limits), price_in=1., price_out=10.)
    done = []
    with pytest.raises(BudgetReached, match='--resume goes on'):
        for completion in llm.generate(prompts(1000), Sampling(max_tokens=20)): done.append(completion)
    used = {'calls': len(done), 'tokens': 5 * len(done), 'money': len(done) * 23e-6}
    assert len(done) == len(backend.sent) and done  # what was sent has arrived
    for name, limit in limits.items(): assert .5 * limit < used[name] <= limit  # never over, and well used: what a call did not need is free again
    assert fits is None or len(done) == fits


def test_a_budget_counts_the_worst_where_nothing_is_told():
    llm = KeptLLM(Backend(lambda request: {'text': 'x', 'prompt_tokens': 0, 'completion_tokens': 0}, width=1), budget=Budget(tokens=1000))
    done = []
    with pytest.raises(BudgetReached):
        for completion in llm.generate(prompts(100), Sampling(max_tokens=96)): done.append(completion)
    assert len(done) == 10 and llm.statistics().no_usage == 10


def test_refused_requests_cost_no_tokens():
    llm = KeptLLM(Backend(lambda request: {'error': 'rate_limit', 'finish': 'error', 'prompt_tokens': 0, 'completion_tokens': 0}), budget=Budget(tokens=500))
    assert len(list(llm.generate(prompts(50), Sampling(max_tokens=96)))) == 50


def test_hits_are_free_and_two_llms_share_a_budget(tmp_path):
    with Ledger(tmp_path / 'l') as ledger:
        list(KeptLLM(Backend(), ledger).generate(prompts(50)))
        budget = Budget(calls=3)
        first, second = KeptLLM(Backend(), ledger, budget), KeptLLM(Backend(), ledger, budget)
        assert len(list(first.generate(prompts(52)))) == 52
        assert len(list(second.generate(prompts(53)))) == 53
        with pytest.raises(BudgetReached, match='3 calls'): list(second.generate(prompts(54)))


def test_money_needs_a_price():
    with pytest.raises(ValueError, match='give price_in and price_out'): open_llm('openai:x@http://127.0.0.1:9/v1', budget=Budget(money=1.))
    open_llm('rules', budget=Budget(money=1.))  # costs nothing, and says so


def test_cost_is_usage_times_price(tmp_path):
    with Ledger(tmp_path / 'l') as ledger:
        llm = KeptLLM(Backend(), ledger, price_in=2., price_out=4.)
        assert [done.cost for done in llm.generate(prompts(2))] == [14e-6] * 2
        assert (llm.statistics().cost, llm.statistics().cost_before) == (28e-6, 0)
        again = KeptLLM(Backend(), ledger, price_in=2., price_out=4.)
        assert [done.cost for done in again.generate(prompts(2))] == [14e-6] * 2
        assert (again.statistics().cost, again.statistics().cost_before) == (0, 28e-6)
        assert next(KeptLLM(Backend(), ledger).generate(prompts(1))).cost is None


def test_an_estimate_sends_nothing(tmp_path):
    with Ledger(tmp_path / 'l') as ledger:
        list(KeptLLM(Backend(), ledger).generate(prompts(3), Sampling(max_tokens=10)))
        backend = Backend()
        told = estimate(KeptLLM(backend, ledger, price_in=1., price_out=1.), prompts(5), Sampling(max_tokens=10))
        assert (told.calls, told.hits, told.completion_tokens, backend.sent) == (2, 3, 20, [])
        assert told.money == pytest.approx((told.prompt_tokens + 20) / 1e6)
        assert estimate(KeptLLM(backend, ledger), prompts(5)).money is None


def test_hits_are_not_all_read_ahead(tmp_path):
    "With one call under way, ten thousand answers from the ledger reach the caller without being piled up."
    with Ledger(tmp_path / 'l') as ledger:
        ledger.keep([Answer(request_key(request, Sampling(), 'backend'), 'kept') for request in prompts(10_000)])
        read = 0

        def requests():
            nonlocal read
            for request in [Request('new'), *prompts(10_000)]:
                read += 1
                yield request
        ahead = max(read - number for number, _ in enumerate(KeptLLM(Backend(width=1000), ledger).generate(requests())))
    assert ahead < 600


def test_closing_the_iterator_closes_the_back_end():
    backend = Backend()
    answers = KeptLLM(backend, budget=Budget(calls=100)).generate(prompts(1000))
    next(answers)
    answers.close()
    assert backend.closed and len(backend.sent) <= 8


def test_trouble_with_the_requests_reaches_the_caller():
    def requests():
        yield Request('x')
        raise KeyError('a broken source')
    llm = KeptLLM(Backend(width=1))
    with pytest.raises(KeyError, match='a broken source'): list(llm.generate(requests()))
    assert llm.budget.reserved['calls'] == 0


def test_the_ledger_is_full(tmp_path):
    with KeptLLM(Backend(lambda request: {'text': 'x' * 100_000}), Ledger(tmp_path / 'l')) as llm:
        llm.ledger.database.execute('PRAGMA max_page_count=20')
        with pytest.raises(OSError, match='Free some space'): list(llm.generate(prompts(5)))


def test_rules_ask_the_modules_in_turn(tmp_path, monkeypatch):
    (tmp_path / 'first_writer.py').write_text('def answer(messages): return "first" if messages == "a" else None')
    (tmp_path / 'second_writer.py').write_text('def answer(messages): return "second" if messages in "ab" else None')
    monkeypatch.syspath_prepend(tmp_path)
    rules = RulesLLM(('first_writer', 'no_such_writer', 'no_such.package', 'second_writer'))
    assert [rules.answer(text) for text in ('a', 'b', 'c')] == ['first', 'second', None]
    assert [done.error.split(':')[0] for done in KeptLLM(rules).generate(map(Request, 'abc'))] == ['', '', 'unknown_prompt']


def test_recorded(tmp_path):
    path = tmp_path / 'answers.jsonl'
    path.write_text('\n'.join(json.dumps(line) for line in [{'messages': 'a', 'text': 'A'}, {'messages': 'a', 'draw': 1, 'text': 'B', 'finish': 'length'}, {'key': recorded_key('c'), 'text': 'C'}]) + '\n\n')
    with open_llm(f'recorded:{path}') as llm:
        done = list(llm.generate([Request('a'), Request('a', draw=1), Request('c'), Request('d')]))
        assert [(answer.text, answer.finish, answer.reason) for answer in done] == [('A', 'stop', ''), ('B', 'length', ''), ('C', 'stop', ''), ('', 'error', 'not_recorded')]
        assert llm.statistics().cost == 0
    first = RecordedLLM(path).fingerprint
    path.write_text(path.read_text() + json.dumps({'messages': 'd', 'text': 'D'}))
    assert RecordedLLM(path).fingerprint != first


@pytest.mark.parametrize('spec, error, words', [('gpt-4', ValueError, 'want one of rules, openai:…'), ('openai', ValueError, 'want openai:MODEL'), ('recorded:', ValueError, 'want recorded:FILE'),
                                                ('recorded:/no/such/file', FileNotFoundError, 'no file of recorded answers')])
def test_strings_that_name_no_llm(spec, error, words):
    with pytest.raises(error, match=words): open_llm(spec)


def test_a_back_end_that_is_not_here(monkeypatch):
    monkeypatch.setitem(BACKENDS, 'vllm', 'instructgen.no_such_module')
    with pytest.raises(NotImplementedError, match='vllm: is not in this version'): open_llm('vllm:model')


def test_only_what_is_used_is_imported():
    code = "import sys; from instructgen.llm import open_llm; open_llm('rules').close(); print(sorted({'openai', 'aiohttp', 'torch', 'transformers', 'instructgen.client'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT).stdout == '[]\n'


RUN = '''
import sys
from instructgen.llm import Request, Sampling, open_llm
url, ledger, count = sys.argv[1:]
with open_llm(f'openai:test@{url}', ledger=ledger, concurrency=20, timeout=5) as llm:
    for done in llm.generate(Request(f'prompt {number}', f'{number}') for number in range(int(count))):
        assert done.text == f'You said: prompt {done.id}', done
        print(done.id, int(done.cached), flush=True)
'''


def run(server, ledger, count=300):
    heeded = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # a test run in the background ignores interrupts, and its children would too
    return subprocess.Popen([sys.executable, '-c', RUN, server.url, str(ledger), str(count)], stdout=subprocess.PIPE, text=True, cwd=ROOT, preexec_fn=heeded)


def test_kill_and_resume(tmp_path):
    with LLMServer(delay=.02) as server:
        process = run(server, tmp_path / 'llm.sqlite')
        seen = [process.stdout.readline() for _ in range(120)]
        process.kill()
        seen += process.stdout.readlines()
        process.wait()
        time.sleep(.1)
        paid = set(server.counts.answers)
        output = run(server, tmp_path / 'llm.sqlite').communicate()[0].splitlines()
    cached = {line.split()[0] for line in output if line.endswith(' 1')}
    assert len(output) == 300 and len({line.split()[0] for line in output}) == 300
    assert {line.split()[0] for line in seen if line.endswith('\n')} <= cached     # what was handed over was kept
    assert 120 <= len(cached) < 300
    twice = sum(count > 1 for count in server.counts.answers.values())
    assert twice <= 20 and len(paid) - twice <= len(cached)                     # only what was in flight is asked again


def test_two_processes_with_one_ledger(tmp_path):
    with LLMServer(delay=.01) as server:
        outputs = [process.communicate()[0].splitlines() for process in [run(server, tmp_path / 'llm.sqlite') for _ in range(2)]]
        assert [len(output) for output in outputs] == [300, 300]
        third = run(server, tmp_path / 'llm.sqlite').communicate()[0].splitlines()
    assert all(line.endswith(' 1') for line in third)


def test_interrupt_ends_at_once(tmp_path):
    with LLMServer(delay=.02, hang=.2) as server:
        process = run(server, tmp_path / 'llm.sqlite')
        process.stdout.readline()
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=4)
    assert process.returncode != 0 and time.monotonic() - began < 4


def test_exactly_the_new_requests_are_sent(tmp_path):
    with LLMServer() as server, LLMServer() as other:
        def ask(count=20, url=server.url, prefix='', **sampling):
            before = sum(server.counts.requests.values()) + sum(other.counts.requests.values())
            with open_llm(f'openai:test@{url}', ledger=tmp_path / 'l') as llm: assert len(list(llm.generate([Request(f'{prefix}{number}') for number in range(count)], Sampling(**sampling)))) == count
            return sum(server.counts.requests.values()) + sum(other.counts.requests.values()) - before
        assert [ask(), ask(), ask(21), ask(21, prefix='x'), ask(21, max_tokens=9), ask(21, url=other.url), ask(21)] == [20, 0, 1, 21, 21, 21, 0]


def test_kept_while_the_caller_is_busy(tmp_path):
    with LLMServer(delay=.05) as server, Ledger(tmp_path / 'l') as reader, open_llm(f'openai:test@{server.url}', ledger=tmp_path / 'l', concurrency=10) as llm:
        answers = llm.generate(prompts(100))
        next(answers)
        until = time.monotonic() + 3
        while reader.count() < 19 and time.monotonic() < until: time.sleep(.01)
        assert 19 <= reader.count() <= 41  # the caller took one; twice the concurrency was read ahead, answered and kept
        answers.close()


def test_answers_from_several_threads(tmp_path):
    with LLMServer(delay=.01) as server, open_llm(f'openai:test@{server.url}', ledger=tmp_path / 'l', concurrency=10) as llm:
        results = {}
        threads = [threading.Thread(target=lambda start=start: results.update({done.id: done.text for done in llm.generate(prompts(60, start))})) for start in (0, 30, 60)]
        for thread in threads: thread.start()
        for thread in threads: thread.join(10)
    assert results == {f'{number}': f'You said: prompt {number}' for number in range(120)}
    assert server.counts.most <= 10
