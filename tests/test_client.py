"""The client against a server that fails in every way that servers do."""
import asyncio
import itertools
import json
import logging
import os
import shutil
import socket
import subprocess
import threading
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from llm_server import LLMServer

from instructgen.client import (OpenAIClient, RetryRules, adapt_field, build_body, open_openai, read_answer, read_retry_after)
from instructgen.endpoint import Endpoint, explain_status, find_endpoint, redact
from instructgen.llm import Request, Sampling, open_llm

FAST = RetryRules(first=.002, longest=.02)
SECRET = 'sk-very-secret-0123456789'


@pytest.fixture(scope='module')
def server():
    with LLMServer() as server: yield server


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    for name in ('OPENAI_API_KEY', 'OPENAI_BASE_URL', 'INSTRUCTGEN_API_KEY', 'INSTRUCTGEN_HEADERS', 'HTTP_PROXY', 'HTTPS_PROXY', 'http_proxy', 'https_proxy', 'SSL_CERT_FILE', 'REQUESTS_CA_BUNDLE'):
        monkeypatch.delenv(name, raising=False)


def ask(server, prompts, sampling=Sampling(), model='test', **options):
    "Completions by id, and the statistics."
    requests = [prompt if isinstance(prompt, Request) else Request([{'role': 'user', 'content': prompt}], f'{number}') for number, prompt in enumerate(prompts)]
    url = server if isinstance(server, str) else server.url
    with open_llm(f'openai:{model}@{url}', **{'timeout': 2., 'concurrency': 16, 'rules': FAST, **options}) as llm:
        done = list(llm.generate(requests, sampling))
        assert sorted(completion.id for completion in done) == sorted(request.id for request in requests)
        return {completion.id: completion for completion in done}, llm.statistics()


def tries(server, prompt): return server.counts.requests[prompt]


@pytest.mark.parametrize('fault', ['429', '503', '500', '502', 'html', 'garbage', 'list', 'empty', 'truncate', '429 500 garbage empty'])
def test_a_fault_that_passes(server, fault):
    prompt = f'passes [faults: {fault} ok]'
    done, counted = ask(server, [prompt])
    assert done['0'].text == f'You said: {prompt}' and not done['0'].error
    assert tries(server, prompt) == len(fault.split()) + 1 == sum(counted.retries.values()) + 1


@pytest.mark.parametrize('fault, reason, count', [('429', 'rate_limit', 12), ('500', 'server_error', 5), ('html', 'server_error', 5), ('garbage', 'garbage', 5), ('list', 'garbage', 5), ('empty', 'empty', 5),
                                                  ('truncate', 'truncated', 5), ('null', 'empty', 5), ('long', 'bad_request', 1), ('refusal', 'refusal', 1), ('filter', 'content_filter', 1), ('reasoning', 'reasoning_only', 1)])
def test_a_fault_that_stays(server, fault, reason, count):
    prompt = f'stays [faults: {fault}]'
    done, counted = ask(server, [prompt, 'another'])
    assert (done['0'].reason, done['0'].text, tries(server, prompt)) == (reason, '', count)
    assert done['0'].finish == ('filter' if fault in ('refusal', 'filter') else 'error')
    assert done['1'].text == 'You said: another' and counted.errors == {reason: 1}


def test_a_server_with_a_key(monkeypatch):
    with LLMServer(key='right-key-0123') as server:
        monkeypatch.setenv('INSTRUCTGEN_API_KEY', 'right-key-0123')
        assert ask(server, ['x'])[0]['0'].text == 'You said: x' and server.counts.statuses == {200: 1}
        for wrong in ('wrong-key-0123', 'right-key-01234', 'right-key-012'):
            monkeypatch.setenv('INSTRUCTGEN_API_KEY', wrong)
            with pytest.raises(PermissionError, match='INSTRUCTGEN_API_KEY') as trouble: ask(server, ['y'])
            assert wrong not in str(trouble.value) and 'right-key' not in str(trouble.value)
        monkeypatch.delenv('INSTRUCTGEN_API_KEY')
        with pytest.raises(PermissionError, match='no key was sent'): ask(server, ['y'])
    assert server.counts.answers == {'x': 1}


def test_a_request_that_hangs(server, caplog):
    began = time.monotonic()
    done, _ = ask(server, ['hangs [faults: hang]', 'hangs once [faults: hang ok]', *map(str, range(30))], timeout=.2)
    assert done['0'].error == 'timeout: no answer within 0.2 s' and not done['1'].error
    assert time.monotonic() - began < 2 and tries(server, 'hangs [faults: hang]') == 2
    assert [record.getMessage() for record in caplog.records if record.name == 'instructgen.llm'] == ['request 0: timeout: no answer within 0.2 s']


def test_an_answer_that_was_cut(server):
    done, _ = ask(server, ['cut [faults: cut]', 'short'], Sampling(max_tokens=4))
    assert [done[name].finish for name in '01'] == ['length', 'length'] and done['0'].text


NUMBERS = itertools.count()  # the server counts tries by prompt, so no prompt may come twice
WORDS = ['429', '500', '503', 'garbage', 'empty', 'truncate', 'html', 'cut', 'refusal', 'filter', 'null', 'reasoning', 'long', 'ok']


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(faults=st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=4), min_size=1, max_size=12), concurrency=st.integers(1, 9))
def test_exactly_one_completion_whatever_happens(server, faults, concurrency):
    faults = [words + ['ok'] * (words[-1] in ('429', '503')) for words in faults]  # a server that only refuses has a test of its own
    prompts = [f'{next(NUMBERS)} [faults: {" ".join(words)}]' for number, words in enumerate(faults)]
    done, counted = ask(server, prompts, concurrency=concurrency, timeout=20.)
    passing = {'429', '500', '503', 'garbage', 'empty', 'truncate', 'html', 'null'}
    for number, words in enumerate(faults):
        last = next((word for word in words if word not in passing), words[-1])
        assert bool(done[f'{number}'].error) == (last not in ('ok', 'cut')), (words, done[f'{number}'])
    assert counted.calls + counted.hits == len(faults)
    assert all(server.counts.requests[prompt] <= 12 for prompt in prompts)


@pytest.mark.parametrize('behaviour, error, words', [({'key': 'right'}, PermissionError, 'does not accept'), ({'model': 'other'}, LookupError, "has no model 'test'"), ({'quota': 3}, PermissionError, 'no money or quota left')])
def test_what_concerns_all_requests_ends_the_run(behaviour, error, words, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv('INSTRUCTGEN_API_KEY', SECRET)
    caplog.set_level(logging.DEBUG)
    with LLMServer(**behaviour) as server, open_llm(f'openai:test@{server.url}', ledger=tmp_path / 'l', concurrency=4, rules=FAST) as llm:
        done = []
        with pytest.raises(error, match=words) as trouble:
            for completion in llm.generate(Request(f'prompt {number}') for number in range(500)): done.append(completion)
        assert len(done) == llm.ledger.count() == behaviour.get('quota', 0)  # nothing that was paid for is lost
        assert sum(server.counts.requests.values()) < 60
    assert SECRET not in str(trouble.value) + repr(trouble.value.__cause__) + repr(trouble.value.__context__) + caplog.text


@pytest.mark.parametrize('fault, error', [('403', PermissionError), ('301', LookupError)])
def test_other_statuses_that_concern_all(server, fault, error):
    with pytest.raises(error): ask(server, [f'[faults: {fault}]'])


def test_a_path_that_is_not_there(server):
    with pytest.raises(LookupError, match='ends in /v1'): ask(server.url + '/models', ['x'])


def test_nobody_listens():
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    began = time.monotonic()
    with pytest.raises(ConnectionError, match='Is the server running'): ask(f'http://127.0.0.1:{port}/v1', map(str, range(100)))
    with pytest.raises(ConnectionError, match='Is the server running'): ask('http://no-such-host.invalid/v1', ['x'], rules=RetryRules())
    assert time.monotonic() - began < 5


def test_a_server_that_dies(tmp_path):
    server = LLMServer(delay=.005).__enter__()
    with open_llm(f'openai:test@{server.url}', ledger=tmp_path / 'l', concurrency=4, timeout=.1, rules=RetryRules(first=.002, longest=.02, unanswered=8)) as llm:
        done = []
        with pytest.raises(ConnectionError, match='without an answer.*--resume goes on'):
            for completion in llm.generate(Request(f'prompt {number}') for number in range(5000)):
                done.append(completion)
                if len(done) == 50: server.stop()
        assert llm.ledger.count() == sum(not completion.error for completion in done) >= 50


def test_a_field_that_is_not_taken_is_adapted_once():
    with LLMServer(old_max_tokens=False, fixed='temperature,seed') as server:
        done, counted = ask(server, map(str, range(200)), Sampling(seed=1, stop=('END',)))
        assert not any(completion.error for completion in done.values())
        assert counted.adapted == {'max_tokens': 'max_completion_tokens', 'seed': 'left out', 'temperature': 'left out'}
        assert server.counts.statuses['400'] <= 3 * 16 and sum(server.counts.answers.values()) == 200
        assert set(server.counts.bodies[-1]) == {'model', 'messages', 'max_completion_tokens', 'stop'}


def test_a_schema_is_sent_only_when_it_is_given_and_never_dropped(server):
    ask(server, ['plain'])
    assert set(server.counts.bodies[-1]) == {'model', 'messages', 'max_tokens', 'temperature'}
    ask(server, ['form'], Sampling(schema={'type': 'object'}))
    assert server.counts.bodies[-1]['response_format']['json_schema']['schema'] == {'type': 'object'}
    with LLMServer(fixed='response_format') as other, pytest.raises(ValueError, match='does not take a schema'): ask(other, ['x'], Sampling(schema={'type': 'object'}))


def test_a_text_is_continued(server):
    done, _ = ask(server, [Request('Once upon', '0')])
    assert done['0'].text == 'You said: Once upon' and 'prompt' in server.counts.bodies[-1]


def test_draws_have_seeds_of_their_own():
    assert [build_body(Request('x', draw=draw), Sampling(seed=7), 'm', {})[1].get('seed') for draw in range(3)] == [7, 8, 9]
    assert 'seed' not in build_body(Request('x', draw=3), Sampling(), 'm', {})[1]


def test_retry_after_is_heeded():
    with LLMServer(retry_after=.4) as server:
        began = time.monotonic()
        done, _ = ask(server, ['waits [faults: 429 ok]', 'does not'])
        assert not done['0'].error and .4 <= time.monotonic() - began < 2
        server.behaviour.retry_after = 4000
        done, _ = ask(server, ['too long [faults: 429 ok]'])
        assert done['0'].reason == 'rate_limit' and tries(server, 'too long [faults: 429 ok]') == 1


def test_usage_that_is_not_told(server):
    with LLMServer(usage=False) as other:
        done, counted = ask(other, ['x'], price_in=1., price_out=1.)
        assert (done['0'].cost, counted.no_usage) == (None, 1)
    done, counted = ask(server, ['x' * 400], price_in=1., price_out=2.)
    assert done['0'].prompt_tokens == 100 and done['0'].cost == pytest.approx((100 + 2 * done['0'].completion_tokens) / 1e6)


def test_a_query_goes_with_every_request(server):
    for count in (1, 2): assert ask(f'{server.url}?api-version=7', [f'query {count}'])[0]['0'].text == f'You said: query {count}'
    assert server.counts.headers[-1].startswith(b'POST /v1/chat/completions?api-version=7 HTTP')


def test_keys_go_where_they_belong(server, monkeypatch):
    def sent():
        ask(server, ['who'])
        return server.counts.headers[-1].decode().lower()
    for name in ('OPENAI_API_KEY', 'OPENAI_ADMIN_KEY', 'OPENAI_ORG_ID', 'OPENAI_PROJECT_ID'): monkeypatch.setenv(name, SECRET)
    monkeypatch.setenv('OPENAI_CUSTOM_HEADERS', f'X-Secret: {SECRET}')
    assert SECRET not in sent() and 'authorization' not in sent()          # another endpoint gets none of them
    monkeypatch.setenv('INSTRUCTGEN_API_KEY', 'own-key\n')
    assert 'authorization: bearer own-key\r\n' in sent() and SECRET not in sent()
    monkeypatch.setenv('OPENAI_BASE_URL', server.url + '/')
    assert f'authorization: bearer {SECRET}' in sent()                     # the address that the user gave for this key
    monkeypatch.setenv('INSTRUCTGEN_HEADERS', '{"X-Team": "birds"}')
    assert 'x-team: birds' in sent()


def test_only_openai_over_tls_gets_openais_key():
    keys = {'OPENAI_API_KEY': SECRET, 'INSTRUCTGEN_API_KEY': 'own'}
    used = {url: find_endpoint(f'm@{url}', variables=keys).key for url in ('https://api.openai.com/v1', 'https://eu.api.openai.com/v1', 'http://api.openai.com/v1', 'https://api.openai.com.evil.org/v1', 'https://evilapi.openai.com/v1',
                                                                           'https://evil.org/api.openai.com', 'https://evil.org/#@api.openai.com')}
    assert [url for url, key in used.items() if key == SECRET] == ['https://api.openai.com/v1', 'https://eu.api.openai.com/v1']
    assert find_endpoint('m', variables={'INSTRUCTGEN_API_KEY': 'own'}).key == ''
    with pytest.raises(PermissionError, match='OPENAI_API_KEY is not set'): next(OpenAIClient(Endpoint('https://api.openai.com/v1', 'm')).generate([Request('x')], Sampling()))


@pytest.mark.parametrize('target, words', [('m@http://ada:pw@host/v1', 'INSTRUCTGEN_API_KEY'), ('m@localhost:8000', 'without http'), ('@http://host/v1', 'want MODEL@'), ('m@http://', 'want MODEL@')])
def test_addresses_that_are_refused(target, words):
    with pytest.raises(ValueError, match=words) as trouble: find_endpoint(target, variables={})
    assert 'pw' not in str(trouble.value)


@pytest.mark.parametrize('name', 'key k%65y api_key apikey api-key x-api-key subscription-key token access_token accessToken sig signature X-Amz-Signature secret client_secret password code'.split())
@pytest.mark.parametrize('target, variables', [('m@http://h/v1?api-version=7&{}', {}), ('m@http://h/v1#{}', {}), ('m', {'OPENAI_BASE_URL': 'http://h/v1?{}'}), ('m@localhost:8000/v1?{}', {}), ('m?{}', {})])
def test_a_key_in_the_query_is_refused(name, target, variables):
    part = f'{name}=squirrel'
    with pytest.raises(ValueError, match='INSTRUCTGEN_API_KEY.*INSTRUCTGEN_HEADERS') as trouble: find_endpoint(target.format(part), variables={key: value.format(part) for key, value in variables.items()})
    assert 'squirrel' not in str(trouble.value)


def test_the_rest_of_a_query_is_taken():
    assert find_endpoint('m@http://h/v1?api-version=2024-10-21&deployment=a&tokens=5', variables={}).query == {'api-version': '2024-10-21', 'deployment': 'a', 'tokens': '5'}
    with pytest.raises(ValueError, match='looks like a key') as trouble: find_endpoint(f'm@http://h/v1?x={SECRET}', variables={})
    assert SECRET not in str(trouble.value)


def test_keys_that_no_key_is():
    with pytest.raises(ValueError, match='OPENAI_API_KEY holds a character'): find_endpoint('m', variables={'OPENAI_API_KEY': 'sk-…abc'})
    with pytest.raises(ValueError, match='not a JSON object'): find_endpoint('m', variables={'INSTRUCTGEN_HEADERS': 'X: y'})


@given(key=st.text('abcdefXYZ0123-_', min_size=8, max_size=50), before=st.text(max_size=30), after=st.text(max_size=30))
def test_redaction(key, before, after):
    endpoint = Endpoint('http://h/v1', 'm', key, headers={'api-key': key + 'x'})
    assert key not in redact(f'{before}{key}{after} {key}x', endpoint).replace('***', '')
    assert key not in str(explain_status(401, {'message': f'Incorrect key {key}'}, endpoint))


def test_the_fingerprint_has_no_secret(monkeypatch):
    monkeypatch.setenv('INSTRUCTGEN_API_KEY', SECRET)
    client = open_openai('m@http://h/v1?api-version=1', headers={'api-key': SECRET})
    assert client.fingerprint == 'http://h/v1|m|api-version=1' and SECRET not in json.dumps(client.describe()) + repr(client.endpoint)
    assert client.describe()['headers'] == ['api-key'] and client.describe()['leaves_machine'] is True


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60) | st.recursive(st.none() | st.booleans() | st.text(max_size=5) | st.integers(), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
    st.sampled_from(['choices', 'message', 'content', 'text', 'usage', 'error', 'finish_reason', 'prompt_tokens', 'refusal']), inner, max_size=4), max_leaves=12).map(lambda value: json.dumps(value).encode()))
def test_no_body_whatever_raises(data):
    completion = read_answer(data, 'x')
    assert isinstance(completion.text, str) and (completion.error or completion.finish in ('stop', 'length'))
    completion.text.encode()


def test_half_a_surrogate_pair_is_replaced():
    body = lambda text: json.dumps({'choices': [{'message': {'content': text}}]}).encode()
    assert read_answer(body('a\ud83d')).text == 'a\ufffd' and read_answer(body('é\ud83d\ude00')).text == 'é😀'
    assert read_answer(body([{'type': 'text', 'text': 'a'}, {'type': 'text', 'text': 'b'}])).text == 'ab'


@pytest.mark.parametrize('message, param, expected', [
    ("Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.", 'max_tokens', ('max_tokens', 'max_completion_tokens')),
    ("Unsupported value: 'temperature' does not support 0.0 with this model.", 'temperature', ('temperature', '')),
    ('Unrecognized request argument supplied: seed', None, ('seed', '')), ('1 validation error: top_p Extra inputs are not permitted', None, ('top_p', '')), ("Unknown parameter: 'stop'.", 'stop', ('stop', '')),
    ("Invalid 'temperature': must be at most 1", 'temperature', None), ('max_tokens is too large: 9999', 'max_tokens', None), ("Unsupported parameter: 'messages'", 'messages', None), ('', None, None)])
def test_what_a_400_says(message, param, expected):
    assert adapt_field({'message': message, 'param': param}, {'max_tokens': 1, 'temperature': 0, 'seed': 1, 'top_p': .5, 'stop': ['x'], 'messages': []}) == expected


@pytest.mark.parametrize('headers, seconds', [({'retry-after': '2'}, 2), ({'retry-after-ms': '250', 'retry-after': '9'}, .25), ({'retry-after': 'soon'}, 0), ({'retry-after': 'Thu, 01 Jan 1970 00:00:30 GMT'}, 20), ({}, 0), ({'retry-after': '-3'}, 0)])
def test_retry_after_headers(headers, seconds): assert read_retry_after(headers, now=10.) == seconds


def test_requests_are_read_at_most_twice_the_concurrency_ahead(server):
    read = 0

    def requests():
        nonlocal read
        for number in range(300):
            read += 1
            yield Request(f'ahead {number}')
    with open_llm(f'openai:test@{server.url}', concurrency=5) as llm:
        ahead = [read - number for number, _ in enumerate(llm.generate(requests()))]
    assert max(ahead) <= 10 and len(ahead) == 300


def test_closing_the_iterator_cancels_the_rest():
    with LLMServer(delay=.05) as server, open_llm(f'openai:test@{server.url}', concurrency=8) as llm:
        answers = llm.generate(Request(f'{number}') for number in range(1000))
        next(answers)
        answers.close()
        time.sleep(.15)
        sent = sum(server.counts.requests.values())
        time.sleep(.2)
        assert sent <= 17 and sum(server.counts.requests.values()) == sent
        assert next(llm.generate([Request('after')])).text == 'You said: after'


def test_inside_a_running_loop(server):
    async def cell(): return ask(server, ['in a notebook'])[0]['0'].text
    assert asyncio.run(cell()) == 'You said: in a notebook'


def test_requests_made_from_answers_of_the_same_model(server):
    with open_llm(f'openai:test@{server.url}', concurrency=4) as llm:
        first = (Request(f'again {completion.text}') for completion in llm.generate(Request(f'{number}') for number in range(40)))
        assert sorted(completion.text for completion in llm.generate(first)) == sorted(f'You said: again You said: {number}' for number in range(40))


def test_a_slow_source_of_requests_holds_nothing_up():
    drawn, handed, answered = 0, [], [threading.Event() for _ in range(4)]
    def requests():  # slower than the server: each waits for the answer of the one before
        nonlocal drawn
        for number in range(4):
            if number:
                assert answered[number - 1].wait(10), f'request {number - 1} was not sent, or not answered, while the source gave nothing'
                client.loop.call((turned := threading.Event()).set)
                assert turned.wait(10)  # what has arrived lies ready for the caller
                time.sleep(.01)
            drawn += 1
            yield Request(f'slow {number}', f'{number}')
    def arrived(completions):
        for completion in completions: answered[int(completion.id)].set()
    with LLMServer() as server:
        client = open_openai(f'test@{server.url}')
        try:
            for completion in client.generate(requests(), Sampling(), arrived): handed.append((completion.id, drawn))
        finally: client.close()
    assert [name for name, _ in handed] == ['0', '1', '2', '3']
    assert all(many <= int(name) + 2 for name, many in handed), handed  # each is handed over before the source is asked for the next but one


def test_a_client_that_nobody_closes_ends_with_the_process(server):
    code = f"from instructgen.llm import *; llm = open_llm('openai:test@{server.url}'); print(next(llm.generate(Request(str(n)) for n in range(50))).text)"
    done = subprocess.run([os.sys.executable, '-c', code], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0 and done.stdout.startswith('You said') and 'Unclosed' not in done.stderr and 'Traceback' not in done.stderr, done.stderr


def test_nothing_is_written_to_the_log_of_a_quiet_run(server, caplog):
    ask(server, ['quiet'])
    assert [record.getMessage() for record in caplog.records if record.name.startswith('instructgen')] == []


@pytest.fixture(scope='module')
def certificate(tmp_path_factory):
    "A self-signed certificate for 127.0.0.1."
    if not shutil.which('openssl'): pytest.skip('no openssl command to make a certificate with')
    folder = tmp_path_factory.mktemp('tls')
    subprocess.run(['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=127.0.0.1', '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', folder / 'key.pem', '-out', folder / 'cert.pem'], check=True, capture_output=True)
    return str(folder / 'cert.pem'), str(folder / 'key.pem')


@pytest.mark.parametrize('variable', ['SSL_CERT_FILE', 'REQUESTS_CA_BUNDLE'])
def test_a_certificate_of_ones_own(certificate, variable, monkeypatch):
    with LLMServer(tls=certificate) as server:
        with pytest.raises(ConnectionError, match='is not trusted.*SSL_CERT_FILE'): ask(server, ['x'])
        monkeypatch.setenv(variable, certificate[0])
        assert ask(server, ['trusted'])[0]['0'].text == 'You said: trusted'
        monkeypatch.setenv(variable, '/no/such/file')
        with pytest.raises(FileNotFoundError, match=variable): ask(server, ['x'])


class Proxy:
    "A proxy on loopback: notes what it is asked for, and tunnels CONNECT or forwards."
    def __init__(self): self.asked, self.listener = [], socket.create_server(('127.0.0.1', 0))

    @property
    def url(self): return f'http://127.0.0.1:{self.listener.getsockname()[1]}'

    def __enter__(self):
        threading.Thread(target=self.serve, daemon=True).start()
        return self

    def __exit__(self, *trouble): self.listener.close()

    def serve(self):
        while True:
            try: client, _ = self.listener.accept()
            except OSError: return
            threading.Thread(target=self.handle, args=(client,), daemon=True).start()

    def handle(self, client):
        head = client.recv(65536)
        method, target = head.split(b' ')[:2]
        self.asked.append((method, target))
        host, port = target.removeprefix(b'http://').split(b'/')[0].decode().split(':')
        upstream = socket.create_connection((host, int(port)))
        if method == b'CONNECT': client.sendall(b'HTTP/1.1 200 Connection established\r\n\r\n')
        else: upstream.sendall(head)
        threading.Thread(target=self.copy, args=(client, upstream), daemon=True).start()
        self.copy(upstream, client)

    @staticmethod
    def copy(source, target):
        try:
            while data := source.recv(65536): target.sendall(data)
        except OSError: pass
        finally: target.close()


def test_through_a_proxy(server, certificate, monkeypatch):
    with Proxy() as proxy, LLMServer(tls=certificate) as secure:
        for name in ('HTTP_PROXY', 'HTTPS_PROXY', 'http_proxy', 'https_proxy'): monkeypatch.setenv(name, proxy.url)
        monkeypatch.setenv('NO_PROXY', 'elsewhere.invalid')
        monkeypatch.setenv('no_proxy', 'elsewhere.invalid')
        monkeypatch.setenv('SSL_CERT_FILE', certificate[0])
        assert ask(secure, ['tunnel'])[0]['0'].text == 'You said: tunnel' and proxy.asked[-1][0] == b'CONNECT'
        assert ask(server, ['forward'])[0]['0'].text == 'You said: forward' and proxy.asked[-1][0] == b'POST'
        count = len(proxy.asked)
        for name in ('NO_PROXY', 'no_proxy'): monkeypatch.setenv(name, '127.0.0.1')
        assert ask(server, ['direct'])[0]['0'].text == 'You said: direct' and len(proxy.asked) == count


def test_a_server_with_a_limit_is_not_hammered():
    with LLMServer(rate=100., burst=10, delay=.01) as server:
        done, _ = ask(server, map(str, range(150)), concurrency=50, rules=RetryRules())
        assert not any(completion.error for completion in done.values())
        assert sum(server.counts.requests.values()) < 150 * 1.6
