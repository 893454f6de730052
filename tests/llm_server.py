"""An OpenAI-compatible server on loopback that answers with the embedded writers, and fails on demand.

    with LLMServer(delay=.05, refuse=.05) as server:      # in a thread of this process
        open_llm(f'openai:test@{server.url}')
    python tests/llm_server.py --port 0 --delay 0.05      # in a process of its own: prints its address

What goes wrong is chosen by shares (each request draws anew), or by the prompt itself: a prompt that holds `[faults: 429 500 ok]` is
answered in that order, try by try, and the last word stays. It speaks just enough HTTP/1.1 for clients that send a Content-Length, with
no framework, because in a benchmark on two cores the server must not be what is measured.
"""
import argparse
import asyncio
import json
import random
import re
import ssl
import sys
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, fields
from pathlib import Path

FAULTS = re.compile(r'\[faults: ([^\]]*)\]')
REASONS = {200: 'OK', 301: 'Moved Permanently', 400: 'Bad Request', 401: 'Unauthorized', 403: 'Forbidden', 404: 'Not Found',
           429: 'Too Many Requests', 500: 'Internal Server Error', 503: 'Service Unavailable'}


@dataclass
class Behaviour:
    "What the server does; every share is of the requests that arrive."
    answer: str = 'echo'         # 'echo', 'rules', or a fixed text after 'text:'
    delay: float = 0.            # seconds until an answer
    delay_to: float = 0.         # with this, a random delay from `delay` to `delay_to`
    refuse: float = 0.           # share of 429, at random
    retry_after: float = 0.      # seconds in the Retry-After header of a 429, 0 for no header
    rate: float = 0.             # at most so many answers a second, 429 for the rest; 0 for no limit
    burst: int = 20              # so many may come at once under `rate`
    window: float = 0.           # with this, `rate` is counted in windows of so many seconds that begin anew, as some gateways do
    parallel: int = 0            # more than so many in flight get a 503; 0 for no limit
    fail: float = 0.             # share of 500
    garbage: float = 0.          # share of answers that are no JSON
    empty: float = 0.            # share of empty bodies
    hang: float = 0.             # share of prompts that are never answered, however often they are sent
    cut: float = 0.              # share that ends at its length
    truncate: float = 0.         # share whose connection closes in the middle of the body
    refusal: float = 0.          # share that is refused by the model
    key: str = ''                # the only key that is taken, '' for any
    model: str = ''              # the only model there is, '' for any
    old_max_tokens: bool = True  # False: 400 on max_tokens, wants max_completion_tokens
    fixed: str = ''              # fields that get a 400, as in 'temperature,top_p'
    quota: int = 0               # after so many answers the account is empty
    usage: bool = True           # whether tokens are reported
    seed: int = 0                # of all chance


class Counts:
    "What the server has seen."
    def __init__(self):
        self.requests = Counter()  # prompt -> tries
        self.answers = Counter()   # prompt -> answers given
        self.statuses = Counter()  # HTTP status, or the name of a fault -> times
        self.headers = deque(maxlen=100)
        self.bodies = deque(maxlen=100)
        self.first = self.last = 0.   # time of the first and last arrival
        self.flying = self.most = 0

    def summary(self) -> dict:
        return {'requests': sum(self.requests.values()), 'prompts': len(self.requests), 'answers': sum(self.answers.values()),
                'answered_twice': sum(count > 1 for count in self.answers.values()), 'statuses': {str(k): v for k, v in sorted(self.statuses.items(), key=str)},
                'first': self.first, 'last': self.last, 'most_in_flight': self.most}


class Connection(asyncio.Protocol):
    "One client's connection: requests one after the other."
    def __init__(self, server: 'LLMServer'): self.server, self.data, self.transport = server, b'', None

    def connection_made(self, transport): self.transport = transport

    def data_received(self, data: bytes):
        self.data += data
        while (end := self.data.find(b'\r\n\r\n')) >= 0:
            head = self.data[:end]
            at = head.lower().find(b'content-length:')
            size = int(head[at + 15:].split(b'\r\n', 1)[0]) if at >= 0 else 0
            if len(self.data) < end + 4 + size: return
            body, self.data = self.data[end + 4:end + 4 + size], self.data[end + 4 + size:]
            self.server.handle(self, head, body)

    def send(self, status: int, body: bytes, headers: str = '', cut: bool = False):
        self.server.counts.flying -= 1
        if self.transport.is_closing(): return
        self.transport.write(f'HTTP/1.1 {status} {REASONS.get(status, "Error")}\r\nContent-Type: application/json\r\n{headers}'
                             f'Content-Length: {len(body)}\r\n\r\n'.encode() + (body[:len(body) // 2] if cut else body))
        if cut: self.transport.close()


class LLMServer:
    "The server; `with LLMServer(...) as server` runs it in a thread."
    def __init__(self, port: int = 0, tls: tuple[str, str] | None = None, **behaviour):
        self.behaviour, self.counts, self.port, self.tls = Behaviour(**behaviour), Counts(), port, tls
        self.random, self.tokens, self.filled, self.rules = random.Random(self.behaviour.seed), float(self.behaviour.burst), 0., None
        self.loop = self.thread = self.listener = None

    @property
    def url(self) -> str: return f'http{"s" if self.tls else ""}://127.0.0.1:{self.port}/v1'

    def handle(self, connection: Connection, head: bytes, body: bytes):
        self.counts.flying += 1
        self.counts.most = max(self.counts.most, self.counts.flying)
        path = head.split(b' ', 2)[1].split(b'?')[0]
        if path.startswith(b'http://'): path = b'/' + path.split(b'/', 3)[3]  # through a proxy
        if path.endswith(b'/stats'): return connection.send(200, json.dumps(self.counts.summary()).encode())
        if path.endswith(b'/set'):  # change the behaviour, forget the counts
            for name, value in json.loads(body).items(): setattr(self.behaviour, name, value)
            self.counts, self.tokens, self.filled, self.random = Counts(), float(self.behaviour.burst), 0., random.Random(self.behaviour.seed)
            self.counts.flying = 1
            return connection.send(200, b'{}')
        asked, now = json.loads(body), time.time()
        prompt = asked['prompt'] if 'prompt' in asked else asked['messages'][-1]['content']
        counts, like = self.counts, self.behaviour
        counts.first, counts.last = counts.first or now, now
        counts.headers.append(head)
        counts.bodies.append(asked)
        tries = counts.requests[prompt]
        counts.requests[prompt] += 1
        fault = self.fault(head, asked, prompt, tries, path)
        counts.statuses[fault or 200] += 1
        delay = self.random.uniform(like.delay, like.delay_to) if like.delay_to else like.delay
        if fault == 'hang': return
        if fault in ('429', '401', '400', '503'): delay = min(delay, .002)  # refusals come at once
        if delay: self.loop.call_later(delay, self.reply, connection, fault, asked, prompt)
        else: self.reply(connection, fault, asked, prompt)

    def fault(self, head: bytes, asked: dict, prompt: str, tries: int, path: bytes) -> str:
        like, draw = self.behaviour, self.random.random
        if like.key and not re.search(rf'\r\nauthorization:[ \t]*bearer (?-i:{re.escape(like.key)})[ \t]*(\r|\Z)', head.decode('latin-1'), re.I): return '401'
        if like.model and asked['model'] != like.model: return '404'
        if path not in (b'/v1/chat/completions', b'/v1/completions'): return '404'
        if not like.old_max_tokens and 'max_tokens' in asked or any(name in asked for name in like.fixed.split(',') if name): return '400'
        if like.quota and sum(self.counts.answers.values()) >= like.quota: return 'quota'
        if words := FAULTS.search(prompt):
            words = words[1].split()
            fault = words[min(tries, len(words) - 1)]
            return '' if fault == 'ok' else fault
        if like.hang and random.Random(prompt).random() < like.hang: return 'hang'
        if like.parallel and self.counts.flying > like.parallel: return '503'
        if like.rate and not self.take(): return '429'
        for name, share in (('429', like.refuse), ('500', like.fail), ('garbage', like.garbage), ('empty', like.empty),
                            ('cut', like.cut), ('truncate', like.truncate), ('refusal', like.refusal)):
            if share and draw() < share: return name
        return ''

    def take(self) -> bool:
        now, like = time.monotonic(), self.behaviour
        if like.window:
            if now - self.filled >= like.window: self.filled, self.tokens = now, like.rate * like.window
        else: self.tokens, self.filled = min(like.burst, self.tokens + (now - (self.filled or now)) * like.rate), now
        if self.tokens < 1: return False
        self.tokens -= 1
        return True

    def reply(self, connection: Connection, fault: str, asked: dict, prompt: str):
        like, chat = self.behaviour, 'messages' in asked
        if fault in ('429', '503'):
            return connection.send(int(fault), b'{"error": {"message": "Rate limit reached", "type": "requests", "code": "rate_limit_exceeded"}}',
                                   f'Retry-After: {like.retry_after:g}\r\n' if like.retry_after else '')
        if fault == 'quota': return connection.send(429, b'{"error": {"message": "You exceeded your current quota", "type": "insufficient_quota", "code": "insufficient_quota"}}')
        if fault in ('500', '502', '504'): return connection.send(int(fault), b'{"error": {"message": "The server had an error"}}')
        if fault == 'html': return connection.send(502, b'<html><body>Bad gateway</body></html>')
        if fault == '401':
            key = re.search(rb'(?i)authorization: bearer ([^\r]*)', connection_head(self))
            return connection.send(401, json.dumps({'error': {'message': f'Incorrect API key provided: {key[1].decode() if key else ""}', 'code': 'invalid_api_key'}}).encode())
        if fault == '403': return connection.send(403, b'{"error": {"message": "Your project has no access to this model"}}')
        if fault == '404': return connection.send(404, json.dumps({'error': {'message': f'The model {asked["model"]} does not exist', 'code': 'model_not_found'}}).encode())
        if fault == '301': return connection.send(301, b'', 'Location: https://elsewhere.invalid/v1/chat/completions\r\n')
        if fault == 'long': return connection.send(400, b'{"error": {"message": "This model\'s maximum context length is 4096 tokens", "code": "context_length_exceeded", "param": "messages"}}')
        if fault == '400': return connection.send(400, json.dumps({'error': self.unsupported(asked)}).encode())
        if fault == 'garbage': return connection.send(200, b'not { json')
        if fault == 'list': return connection.send(200, b'[1, 2]')
        if fault == 'empty': return connection.send(200, b'')
        self.counts.answers[prompt] += 1
        text, finish, message = self.text(asked, prompt), 'stop', {}
        if fault == 'cut' or asked.get('max_tokens', asked.get('max_completion_tokens', 1 << 30)) < 8: text, finish = text[:len(text) // 2], 'length'
        if fault == 'refusal': text, message = None, {'refusal': 'I cannot help with that.'}
        if fault == 'filter': text, finish = '', 'content_filter'
        if fault == 'null': text = None
        if fault == 'reasoning': text, finish, message = '', 'length', {'reasoning_content': 'Let me think about this for a long time'}
        answer = {'index': 0, 'finish_reason': finish, **({'message': {'role': 'assistant', 'content': text, **message}} if chat else {'text': text})}
        reply = {'id': 'chatcmpl-0', 'object': 'chat.completion' if chat else 'text_completion', 'created': 0, 'model': asked['model'], 'choices': [answer]}
        if like.usage: reply['usage'] = {'prompt_tokens': len(prompt) // 4, 'completion_tokens': len(text or '') // 4 + 1, 'total_tokens': len(prompt) // 4 + len(text or '') // 4 + 1}
        connection.send(200, json.dumps(reply).encode(), cut=fault == 'truncate')

    def text(self, asked: dict, prompt: str) -> str:
        kind = self.behaviour.answer
        if kind == 'echo': return f'You said: {prompt}'
        if kind.startswith('text:'): return kind[5:]
        if self.rules is None:
            from instructgen.llm import RulesLLM
            self.rules = RulesLLM()
        return self.rules.answer(asked.get('messages', prompt)) or 'I do not know.'

    def unsupported(self, asked: dict) -> dict:
        if not self.behaviour.old_max_tokens and 'max_tokens' in asked:
            return {'message': "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
                    'type': 'invalid_request_error', 'param': 'max_tokens', 'code': 'unsupported_parameter'}
        name = next((name for name in self.behaviour.fixed.split(',') if name in asked), '')
        return {'message': f"Unsupported value: '{name}' does not support {asked.get(name)} with this model. Only the default (1) value is supported.",
                'type': 'invalid_request_error', 'param': name, 'code': 'unsupported_value'}

    async def start(self):
        self.loop, context = asyncio.get_running_loop(), None
        if self.tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self.tls)
        self.listener = await self.loop.create_server(lambda: Connection(self), '127.0.0.1', self.port, ssl=context, backlog=1024)
        self.port = self.listener.sockets[0].getsockname()[1]

    def __enter__(self) -> 'LLMServer':
        ready = threading.Event()

        def run():
            loop = asyncio.new_event_loop()
            loop.run_until_complete(self.start())
            ready.set()
            loop.run_forever()
            self.listener.close()
            loop.close()
        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()
        ready.wait(10)
        return self

    def __exit__(self, *trouble): self.stop()

    def stop(self):
        if self.loop and self.loop.is_running(): self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(5)


def connection_head(server: LLMServer) -> bytes: return server.counts.headers[-1]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--port', type=int, default=0)
    for item in fields(Behaviour):
        if isinstance(item.default, bool): parser.add_argument(f'--{item.name.replace("_", "-")}', type=lambda text: text.lower() in ('1', 'true', 'yes'), default=item.default)
        else: parser.add_argument(f'--{item.name.replace("_", "-")}', type=type(item.default), default=item.default)
    options = vars(parser.parse_args())
    sys.path.insert(0, str(Path(__file__).parent.parent))

    async def serve():
        server = LLMServer(**options)
        await server.start()
        print(server.url, flush=True)
        await asyncio.Event().wait()
    try: asyncio.run(serve())
    except KeyboardInterrupt: pass


if __name__ == '__main__': main()
