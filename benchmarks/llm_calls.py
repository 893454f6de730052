"""How fast, how economical and how safe calls to a model are: the rows on LLM calls of the table in README.md.

    python benchmarks/llm_calls.py                 all scenarios, about three minutes
    python benchmarks/llm_calls.py limit hanging   some of them

A server on loopback (tests/llm_server.py) runs in a process of its own, and each measurement in another, so that its peak memory is its
own. Both share the machine's cores. A bare aiohttp loop without ledger, retries or limits runs beside it for comparison.
"""
import argparse
import asyncio
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
SYSTEM = 'You write tasks for language models. ' * 4


def messages(number: int, system: str = SYSTEM) -> list[dict]:
    return [{'role': 'system', 'content': system}, {'role': 'user', 'content': f'prompt {number}: ' + 'Here is what is known of a dataset. ' * 12}]


def measure(url: str, prompts: int, ledger: str = '', system: str = SYSTEM, start: int = 0, **options) -> dict:
    "One run through `open_llm`: what came back, and what it took."
    from instructgen.llm import Request, Sampling, open_llm
    sampling = Sampling(max_tokens=options.pop('max_tokens', 256))
    cpu, wall, reasons, done = _cpu(), time.perf_counter(), {}, 0
    with open_llm(f'openai:test@{url}', ledger=ledger, concurrency=100, **{'timeout': 60., **options}) as llm:
        for completion in llm.generate((Request(messages(number, system), f'{number}') for number in range(start, prompts)), sampling):
            done += 1
            if completion.error: reasons.setdefault(completion.reason, []).append(completion.id)
        counted = llm.statistics()
    seconds = time.perf_counter() - wall
    return {'prompts': prompts - start, 'completions': done, 'seconds': round(seconds, 2), 'rows_per_second': round((prompts - start) / seconds), 'cpu_ms_per_row': round(1000 * (_cpu() - cpu) / (prompts - start), 2),
            'peak_mb': _peak(), 'calls': counted.calls, 'hits': counted.hits, 'errors': {name: len(ids) for name, ids in reasons.items()}, 'retries': counted.retries}


def bare(url: str, prompts: int) -> dict:
    "The least that a client can do: an aiohttp session and as many workers as requests in flight."
    import aiohttp

    async def run():
        numbers, done = iter(range(prompts)), []
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=100)) as session:
            async def work():
                for number in numbers:
                    async with session.post(f'{url}/chat/completions', json={'model': 'test', 'messages': messages(number), 'max_tokens': 256, 'temperature': 0}) as response:
                        done.append(json.loads(await response.read())['choices'][0]['message']['content'])
            await asyncio.gather(*(work() for _ in range(100)))
    cpu, wall = _cpu(), time.perf_counter()
    asyncio.run(run())
    seconds = time.perf_counter() - wall
    return {'prompts': prompts, 'seconds': round(seconds, 2), 'rows_per_second': round(prompts / seconds), 'cpu_ms_per_row': round(1000 * (_cpu() - cpu) / prompts, 2), 'peak_mb': _peak()}


def _cpu() -> float: return sum(resource.getrusage(resource.RUSAGE_SELF)[:2])


def _peak() -> int:  # MB; ru_maxrss would include the parent's before exec
    for line in Path('/proc/self/status').read_text().splitlines() if Path('/proc/self/status').exists() else []:
        if line.startswith('VmHWM'): return int(line.split()[1]) // 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


class Server:
    "The loopback server in its own process."
    def __init__(self, **behaviour):
        options = [part for name, value in behaviour.items() for part in (f'--{name.replace("_", "-")}', str(value))]
        self.process = subprocess.Popen([sys.executable, str(ROOT / 'tests' / 'llm_server.py'), *options], stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().strip()

    def stats(self) -> dict: return json.loads(urllib.request.urlopen(f'{self.url}/stats').read())

    def set(self, **behaviour) -> None: urllib.request.urlopen(f'{self.url}/set', json.dumps(behaviour).encode()).read()

    def __enter__(self): return self

    def __exit__(self, *trouble):
        self.process.kill()
        self.process.wait()


def child(kind: str, **options) -> dict:
    "A measurement in a process of its own."
    return json.loads(start(kind, **options).communicate()[0].splitlines()[-1])


def start(kind: str, **options) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, __file__, '--child', json.dumps({'kind': kind, **options})], stdout=subprocess.PIPE, text=True)


def speed(folder: Path):
    "20,000 prompts, 50 ms, 100 in flight, with the ledger"
    with Server(delay=.05) as server:
        yield 'bare aiohttp loop', child('bare', url=server.url, prompts=20_000)
        yield 'instructgen with ledger', child('measure', url=server.url, prompts=20_000, ledger=str(folder / 'speed.sqlite'))
        server.set()
        yield 'the same again, all from the ledger', child('measure', url=server.url, prompts=20_000, ledger=str(folder / 'speed.sqlite'))


def chance(folder: Path):
    "20,000 prompts, 5 % of them refused with 429 at random"
    with Server(delay=.05, refuse=.05) as server:
        yield 'instructgen with ledger', child('measure', url=server.url, prompts=20_000, ledger=str(folder / 'chance.sqlite'))


def retry_after(folder: Path):
    "2,000 prompts, 5 % refused with Retry-After: 1, against none refused"
    with Server(delay=.05) as server:
        yield 'none refused', child('measure', url=server.url, prompts=2000, ledger=str(folder / 'none.sqlite'))
        server.set(refuse=.05, retry_after=1.)
        yield '5 % refused, Retry-After 1 s', child('measure', url=server.url, prompts=2000, ledger=str(folder / 'after.sqlite'))


def limit(folder: Path):
    "2,000 prompts to a server that takes 200 requests a second and does not say so; 10 s is ideal"
    for name, behaviour in {'token bucket, 20 at once': {}, 'token bucket, 200 at once': {'burst': 200}, 'windows of one second': {'window': 1.}, 'the same, with Retry-After': {'window': 1., 'retry_after': 1.}}.items():
        with Server(delay=.05, rate=200., **behaviour) as server:
            result = child('measure', url=server.url, prompts=2000, ledger=str(folder / f'{name}.sqlite'))
            yield name, {**result, 'wasted': server.stats()['requests'] - 2000, 'wasted_share': round(server.stats()['requests'] / 2000 - 1, 3)}


def latency(folder: Path):
    "2,000 prompts, 50 to 550 ms at random"
    with Server(delay=.05, delay_to=.55) as server:
        yield 'bare aiohttp loop', child('bare', url=server.url, prompts=2000)
        yield 'instructgen with ledger', child('measure', url=server.url, prompts=2000, ledger=str(folder / 'latency.sqlite'))


def hanging(folder: Path):
    "2,000 prompts, 1 % of which are never answered, time-out 2 s"
    with Server(delay=.05, hang=.01) as server:
        yield 'instructgen with ledger', child('measure', url=server.url, prompts=2000, ledger=str(folder / 'hang.sqlite'), timeout=2.)
        server.set(hang=0.)
        yield 'resumed', child('measure', url=server.url, prompts=2000, ledger=str(folder / 'hang.sqlite'), timeout=2.)


def killed(folder: Path):
    "2,000 prompts, kill -9 when a quarter, half, three quarters were answered, then again"
    for share in (.25, .5, .75):
        with Server(delay=.05) as server:
            ledger = str(folder / f'killed{share}.sqlite')
            process = start('measure', url=server.url, prompts=2000, ledger=ledger)
            while server.stats()['answers'] < share * 2000: time.sleep(.005)
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            time.sleep(.2)
            before = server.stats()
            server.set()
            began = time.time()
            result = child('measure', url=server.url, prompts=2000, ledger=ledger)
            after = server.stats()
            yield f'killed at {share:.0%}', {'completions': result['completions'], 'hits': result['hits'], 'answered_before': before['answers'], 'asked_after': after['requests'],
                                             'paid_twice': before['answers'] + after['answers'] - 2000, 'seconds_to_first_new_request': round(after['first'] - began, 2)}


def grown(folder: Path):
    "One prompt more, and anything of the request changed: requests that reach the server"
    ledger = str(folder / 'grown.sqlite')
    with Server(delay=.01) as server, Server(delay=.01) as other:
        for name, options in {'first run': {}, 'again': {}, 'one prompt more': {'prompts': 2001}, 'another system prompt': {'system': 'Be brief.'}, 'other max_tokens': {'max_tokens': 128}, 'another endpoint': {'url': other.url}}.items():
            for each in (server, other): each.set()
            result = child('measure', **{'url': server.url, 'prompts': 2000, 'ledger': ledger, **options})
            yield name, {**result, 'requests': server.stats()['requests'] + other.stats()['requests']}


SCENARIOS = {'speed': speed, 'chance': chance, 'retry_after': retry_after, 'limit': limit, 'latency': latency, 'hanging': hanging, 'killed': killed, 'grown': grown}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('scenarios', nargs='*', help=', '.join(SCENARIOS))
    parser.add_argument('--child', help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        given = json.loads(options.child)
        return print(json.dumps({'measure': measure, 'bare': bare}[given.pop('kind')](**given)))
    for name in options.scenarios or SCENARIOS:
        print(f'\n{name}: {SCENARIOS[name].__doc__}', flush=True)
        with tempfile.TemporaryDirectory() as folder:
            for label, result in SCENARIOS[name](Path(folder)):
                print(f'  {label:38}', ', '.join(f'{key} {value}' for key, value in result.items() if value not in ({}, None)), flush=True)


if __name__ == '__main__': main()
