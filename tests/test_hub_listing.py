"""What a query with dates finds on a hub on loopback, in what order, and how many pages it asks for."""
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

sys.path.insert(0, str(Path(__file__).parent))
from hub_server import HubServer, repository

import instructgen.hub
from instructgen.hub import list_repositories, pin_sources, read_list, read_moment, read_query

DAYS, LISTING = 60, '/api/datasets'


def day(number: int, time: str = '12:00:00.000Z') -> str: return f'{datetime(2026, 1, 1) + timedelta(days=number):%Y-%m-%d}T{time}'


@pytest.fixture
def hub(monkeypatch):
    "A repository a day, in an order that is not that of their dates; those of even days are English."
    repositories = {f'me/day{number:02d}': repository('', {}, sha=f'{number:040x}', created=day(number), downloads=number * 7 % DAYS, tags=['language:en'] if number % 2 == 0 else [])
                    for number in sorted(range(DAYS), key=lambda number: number * 17 % DAYS)}
    monkeypatch.setattr(instructgen.hub, 'FIRST_WAIT', 0.)
    monkeypatch.setattr('time.sleep', lambda seconds: None)  # huggingface_hub waits a second itself
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_OFFLINE', False)
    with HubServer(repositories, page=5) as server:
        monkeypatch.setenv('HF_ENDPOINT', server.address)
        yield server


def days(spec: str) -> list[int]: return [int(entry.id.removeprefix('me/day')) for entry in list_repositories(spec)]


def test_what_is_new_comes_first_and_costs_no_page_more(hub):
    assert days(f'hub:?created_after={day(DAYS - 4)[:10]}') == [59, 58, 57, 56]
    assert hub.calls[LISTING] == 1                            # of 12 pages
    assert days(f'hub:?language=en&created_after={day(40)[:10]}') == [58, 56, 54, 52, 50, 48, 46, 44, 42, 40] and hub.calls[LISTING] == 1 + 3
    assert days(f'hub:?created_after={day(DAYS)[:10]}') == [] and hub.calls[LISTING] == 1 + 3 + 1   # a quiet day


def test_a_span_of_dates_ends_at_its_older_end(hub):
    assert days(f'hub:?created_after={day(48)[:10]}&created_before={day(51)[:10]}') == [50, 49, 48]
    assert hub.calls[LISTING] == 3
    assert days(f'hub:?created_before={day(2)[:10]}&created_after=2020-01-01') == [1, 0] and hub.calls[LISTING] == 3 + 12


def test_another_order_is_kept_and_reads_every_page(hub):
    wanted = sorted(range(50, DAYS), key=lambda number: -(number * 7 % DAYS))
    assert days(f'hub:?sort=downloads&created_after={day(50)[:10]}') == wanted and hub.calls[LISTING] == 12
    assert days(f'hub:?sort=downloads&created_after={day(50)[:10]}&limit=2') == wanted[:2]


@pytest.mark.parametrize('sort', ['created_at', 'createdAt'])
def test_the_order_of_dates_that_is_asked_for_ends_there_too(hub, sort):
    assert days(f'hub:?sort={sort}&created_after={day(57)[:10]}') == [59, 58, 57] and hub.calls[LISTING] == 1


def test_without_a_date_the_order_is_the_hub_s(hub):
    assert days('hub:?limit=7') == [number for number in sorted(range(DAYS), key=lambda number: number * 17 % DAYS)][:7]
    assert days(f'hub:?created_before={day(3)[:10]}') == [number for number in sorted(range(DAYS), key=lambda number: number * 17 % DAYS) if number < 3]
    assert days('hub:?sort=created_at&limit=3') == [59, 58, 57]


def test_the_limit_counts_the_newest(hub):
    assert days(f'hub:?created_after={day(10)[:10]}&limit=6') == [59, 58, 57, 56, 55, 54] and hub.calls[LISTING] == 2


def test_what_is_disabled_or_has_no_date_does_not_end_the_list(hub):
    hub.repositories['me/day59']['disabled'] = True
    hub.repositories['me/day58']['created'] = None
    hub.created = lambda repository: repository['created'] or '9999'                 # stands first
    info = hub.info
    hub.info = lambda name, state: {**info(name, state), 'createdAt': hub.repositories[name]['created']}
    assert days(f'hub:?created_after={day(56)[:10]}') == [57, 56]


def test_a_page_that_fails_and_repositories_that_arrive_lose_and_double_nothing(hub):
    turns = list_repositories(f'hub:?created_after={day(50)[:10]}')
    found = [next(turns).id for _ in range(5)]
    hub.repositories['me/day60'] = repository('', {}, sha='6' * 40, created=day(60))  # pushes the last one of the first page to the second
    hub.failures = [(f'^{LISTING}$', 500, {})] * 2
    found += [entry.id for entry in turns]
    assert sorted(found) == [f'me/day{number}' for number in range(50, DAYS + (f'me/day{DAYS}' in found))] and len(set(found)) == len(found) and not hub.failures


def test_a_daily_list_is_pinned_once(hub, tmp_path):
    spec = f'hub:?language=en&created_after={day(57)[:10]}'
    assert pin_sources(spec, tmp_path / 'list.json') == str(tmp_path / 'list.json') and [entry.id for entry in read_list(tmp_path / 'list.json')] == ['me/day58']
    hub.repositories['me/day60'] = repository('', {}, sha='6' * 40, created=day(60), tags=['language:en'])
    calls = hub.calls[LISTING]
    pin_sources(spec, tmp_path / 'list.json')                                         # a step that goes on works on the list with which it began
    assert [entry.id for entry in read_list(tmp_path / 'list.json')] == ['me/day58'] and hub.calls[LISTING] == calls
    pin_sources(spec, tmp_path / 'next.json')
    assert [entry.id for entry in read_list(tmp_path / 'next.json')] == ['me/day60', 'me/day58']


def test_a_date_with_an_offset_is_that_moment(hub):
    "Repositories are made at noon, UTC."
    assert days(f'hub:?created_after={day(58)[:10]}T12:00') == [59, 58] and days(f'hub:?created_after={day(58)[:10]}T12:01') == [59]
    assert days(f'hub:?created_after={day(58)[:10]}T14:00%2B02:00') == days(f'hub:?created_after={day(58)[:10]}T14:00+02:00') == days(f'hub:?created_after={day(58)[:10]}T12:00Z') == [59, 58]
    assert days(f'hub:?created_after={day(58)[:10]}T14:00') == days(f'hub:?created_after={day(58)[:10]}T12:00-02:00') == [59]
    assert days(f'hub:?created_after={day(57)[:10]}&created_before={day(58)[:10]}T14:00+02:00') == [57]


@pytest.mark.parametrize('text, moment', [
    ('2023-02-23', (23, 0, 0)), (' 2023-02-23 ', (23, 0, 0)), ('2023-02-23T10:20', (23, 10, 20)), ('2023-02-23 10:20', (23, 10, 20)), ('2023-02-23T10:20Z', (23, 10, 20)), ('20230223', (23, 0, 0)),
    ('2023-02-23T10:20+05:30', (23, 4, 50)), ('2023-02-23T10:20 05:30', (23, 4, 50)), ('2023-02-23 10:20:00 0530', (23, 4, 50)), ('2023-02-23T10:20:00.000-02:00', (23, 12, 20)), ('2023-02-23T00:30+02:00', (22, 22, 30))])
def test_moments(text, moment): assert read_moment(text) == datetime(2023, 2, *moment, tzinfo=timezone.utc) and read_moment(text).tzinfo == timezone.utc


@pytest.mark.parametrize('text', ['', 'yesterday', '2023-02-30', '2023-02-23T25:00', '10:20', '2023-02-23T10:20+99:00', '0001-01-01T00:00+05:00'])
def test_what_is_no_moment(text):
    with pytest.raises(ValueError): read_moment(text)
    for key in ('created_before', 'created_after'):
        with pytest.raises(ValueError, match=f'^{key}: '): read_query(f'hub:?{key}={text}')


@given(st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)), st.integers(-23 * 60, 23 * 60))
def test_any_moment_comes_back(moment, offset):
    moment = moment.replace(tzinfo=timezone(timedelta(minutes=offset)))
    assert read_moment(moment.isoformat()) == moment == read_moment(moment.isoformat().replace('+', ' '))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(-2, DAYS + 2), st.integers(-2, DAYS + 2), st.one_of(st.none(), st.integers(0, 8)))
def test_the_short_way_finds_what_all_pages_have(hub, after, before, limit):
    more = '' if limit is None else f'&limit={limit}'
    wanted = [number for number in reversed(range(DAYS)) if after <= number < before][:limit]
    assert days(f'hub:?created_after={day(after)[:10]}&created_before={day(before)[:10]}{more}') == wanted
