"""Kill -9 at a moment of a run: what the processes share that tests start for it."""
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import instructgen.store as store


def kill_at(owner: Any, name: str, count: int, after: bool = False) -> None:
    "Kill this process at the n-th call of a function, before it does anything or right after."
    calls, right = [0], getattr(owner, name)
    def counted(*given: Any, **named: Any) -> Any:
        calls[0] += 1
        if calls[0] < count: return right(*given, **named)
        if after: right(*given, **named)
        os.kill(os.getpid(), signal.SIGKILL)
    setattr(owner, name, counted)


def kill_in_a_merge() -> None:
    "Kill this process when the first line of a merge is out."
    def first_only(*streams: Any, merge: Callable = store.heapq.merge) -> Any:
        yield next(merge(*streams))
        os.kill(os.getpid(), signal.SIGKILL)
    store.heapq.merge = first_only


def at_each_moment(arm: Callable[[str], None], run: Callable[[str], None]) -> None:
    "For each line MOMENT|FOLDER|OUTPUTS of standard input: arm and run in a copy of this process, and print how it ended."
    for line in sys.stdin:
        moment, folder, outputs = line.strip().split('|')
        if (child := os.fork()): print(os.waitpid(child, 0)[1], flush=True); continue
        os.environ['INSTRUCTGEN_OUTPUTS'] = outputs
        arm(moment)
        run(folder)
        os._exit(0)


def killed_at(words: list[str], moments: Iterable[str], place: Path, count: Callable[[], int]) -> Iterator[tuple[str, Path, Path, int]]:
    "A script that runs `at_each_moment`, killed at each: the moment, its run folder, outputs with a ledger of before, and what `count` gave before."
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        for moment in moments:
            folder, outputs, before = place/moment.replace(' ', '_'), place/f'outputs {moment}', count()
            shutil.copytree(place/'outputs', outputs)
            print(moment, folder, outputs, sep='|', file=process.stdin, flush=True)
            assert int(process.stdout.readline()) == signal.SIGKILL, moment
            yield moment, folder, outputs, before
