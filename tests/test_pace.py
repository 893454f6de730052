"""The pace in simulation: limits of several kinds are found and kept, and refusals by chance cost no speed."""
import heapq
import random
from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instructgen.pace import Pace


def simulate(takes, requests=2000, concurrency=100, latency=.05, refusal=.002, seed=0):
    "Seconds and refusals until all requests are answered. `takes(now)` says whether a request is accepted, or how long to wait."
    pace, chance, now, flying, refusals, done, number = Pace(concurrency), random.Random(seed), 0., 0, 0, 0, 0
    waiting, later, events, tries = deque(range(requests)), [], [], [0] * requests
    while done < requests:
        while later and later[0][0] <= now: waiting.appendleft(heapq.heappop(later)[1])
        wake = None
        while waiting:
            wake = pace.wait(now, flying)
            if wake != 0: break
            item, number, flying, answer = waiting.popleft(), number + 1, flying + 1, takes(now)
            heapq.heappush(events, (now + (latency if answer is True else refusal), number, item, answer, pace.leave(now)))
            wake = None
        now = max(now, min(([events[0][0]] if events else []) + ([later[0][0]] if later else []) + ([now + wake] if wake else [])))
        while events and events[0][0] <= now:
            _, _, item, answer, ticket = heapq.heappop(events)
            flying -= 1
            pace.arrive(now, ticket, answer is not True, 0. if isinstance(answer, bool) else answer)
            if answer is True: done += 1
            else:
                refusals, tries[item] = refusals + 1, tries[item] + 1
                heapq.heappush(later, (now + (answer or min(5., .1 * 2 ** (tries[item] - 1)) * chance.uniform(.5, 1)), item))
        assert now < 1000, f'stuck at {pace.limit.rate} a second'
    return now, refusals, max(tries)


def bucket(rate, burst):
    state = [burst, 0.]

    def takes(now):
        state[:] = min(burst, state[0] + (now - state[1]) * rate), now
        if state[0] < 1: return False
        state[0] -= 1
        return True
    return takes


def windows(rate, seconds=1., told=False):
    state = [-1, 0]

    def takes(now):
        if now // seconds != state[0]: state[:] = now // seconds, 0
        if state[1] >= rate * seconds: return (state[0] + 1) * seconds - now if told else False
        state[1] += 1
        return True
    return takes


def sliding(rate):
    taken = deque()

    def takes(now):
        while taken and taken[0] < now - 1: taken.popleft()
        if len(taken) >= rate: return False
        taken.append(now)
        return True
    return takes


def by_chance(share, seed=0):
    dice = random.Random(seed)
    return lambda now: dice.random() >= share


@pytest.mark.parametrize('takes', [bucket(200, 20), bucket(200, 200), windows(200), windows(200, told=True), sliding(200)])
def test_a_limit_that_is_not_told(takes):
    seconds, refusals, tries = simulate(takes)
    assert seconds < 13 and refusals < 200 and tries < 8  # 10 s is ideal; at most a tenth wasted


@pytest.mark.parametrize('refusal', [.002, .05, .5])
def test_refusals_that_take_their_time(refusal):
    seconds, refusals, _ = simulate(bucket(200, 20), refusal=refusal)
    assert seconds < 20 and refusals < 2000 * (.15 if refusal < .1 else .5)


def test_without_refusals_nothing_is_held_back():
    assert simulate(lambda now: True)[0] < 1.25  # 1.0 s, and a start of 0.15 s


@pytest.mark.parametrize('share, factor', [(.02, 1.1), (.05, 1.15), (.1, 1.3), (.2, 1.9)])
def test_refusals_by_chance_cost_no_speed(share, factor):
    ideal = 10_000 * .05 / 100
    for seed in range(3): assert simulate(by_chance(share, seed), 10_000, seed=seed)[0] < ideal * factor + 3.


def test_a_limit_and_chance_together():
    for seed in range(3):
        limited, dice = bucket(200, 20), by_chance(.1, seed)
        seconds, refusals, _ = simulate(lambda now: dice(now) and limited(now), seed=seed)
        assert seconds < 17 and refusals < 600


def test_a_limit_that_is_lifted_is_found():
    limited = bucket(50, 10)
    seconds, _, _ = simulate(lambda now: now > 10 or limited(now), 8000)
    assert seconds < 24  # 500 in the first ten seconds, then 7,500 at up to 2,000 a second


def test_a_limit_that_comes_later():
    limited = bucket(200, 20)
    seconds, refusals, _ = simulate(lambda now: now < 1 or limited(now), 3600)
    assert seconds < 14 and refusals < 300


@settings(max_examples=25, deadline=None)
@given(rate=st.integers(2, 1500), burst=st.integers(1, 300), concurrency=st.integers(1, 300), seed=st.integers(0, 99))
def test_never_stuck(rate, burst, concurrency, seed):
    seconds, _, _ = simulate(bucket(rate, burst), 400, concurrency, seed=seed)
    assert seconds < 400 / min(rate, concurrency / .05) * 3 + 15


def test_concurrency_is_never_exceeded():
    pace, flying = Pace(5), 0
    for step in range(1000):
        while pace.wait(step * .01, flying) == 0:
            pace.leave(step * .01)
            flying += 1
        assert flying <= 5
    assert flying == 5 and pace.wait(10., 5) is None


def test_no_burst_at_the_start():
    pace, flying = Pace(1000), 0
    while pace.wait(0., flying) == 0:
        pace.leave(0.)
        flying += 1
    assert flying == 8
