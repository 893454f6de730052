"""The sandbox: real rows beside P3's own semantics, more harm than one thinks of, time in every thread"""
import random
import threading
import time
from collections import Counter

import jinja2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instructgen.bonito.sandbox import LARGEST, RenderError, compile_text, limit_time, render_text, shorten, written_size
from instructgen.bonito.templates import PIPES, Template, load_templates, parse_templates
from instructgen.rows import file_tables


@pytest.fixture(scope='module')
def collection(shared_data) -> list[Template]: return load_templates(shared_data/'promptsource'/'templates.tar.xz')


def as_p3(template: Template, row: dict, seed: str) -> list[str]:
    "What P3's own semantics give, written anew for this test: filters added to the template's text, pipes of top-level fields hidden."
    environment = jinja2.Environment()
    chance = random.Random()
    environment.filters |= {'choice': lambda items: chance.choice(list(items)), 'most_frequent': lambda items: [one for one, count in Counter(items).items() if count == max(Counter(items).values())]}
    environment.globals['zip'] = zip
    hidden = {name: value.replace(PIPES, '<pipes>') if isinstance(value, str) else value for name, value in row.items()}
    def write(text: str, **more) -> list[str]:
        chance.seed(seed + ('' if more else '-choices'))
        done = environment.from_string(text.replace('}}', ' | string | truncate(2048) }}')).render(**hidden, **more)
        return [part.strip().replace('<pipes>', PIPES) for part in done.split(PIPES)]
    return write(template.jinja, answer_choices=write(template.answer_choices) if template.answer_choices else None)


@pytest.mark.parametrize('name, place, rename', [
    (('super_glue', 'boolq'), 'boolq/data/validation.jsonl', lambda row: {**row, 'label': int(row['answer']), 'passage': row['passage'] * (1 + len(row['passage']) % 5)}),
    (('squad', ''), 'policyqa/data/validation.jsonl', dict),
    (('adversarial_qa', 'dbert'), 'policyqa/data/validation.jsonl', lambda row: {**row, 'metadata': {'split': 'train'}}),
    (('anli', ''), 'snli_sample/data/train.jsonl', lambda row: {'premise': row['sentence1'], 'hypothesis': row['sentence2'] + ' ||| ', 'label': 1}),
])
def test_real_rows_render_as_in_p3(collection, shared_data, name, place, rename):
    rows = [rename(row) for row in next(file_tables(str(shared_data/'hub'/place), Counter())).slice(0, 60).to_pylist()]
    templates = [one for one in collection if (one.dataset, one.subset) == name]
    assert len(templates) >= 5
    for template in templates:
        for number, row in enumerate(rows):
            want = as_p3(template, row, f'{number}')
            got = template.render(row, f'{number}')
            assert list(got or ['']) == want, template.label


def test_templates_that_build_lists_work(collection):
    building = [one for one in collection if '.append(' in one.jinja]
    assert len({one.label for one in building}) > 50
    for one in building: assert compile_text(one.jinja.replace(PIPES, '')).changes, one.label


# ---- semantics

def ask(jinja: str, choices: str = '') -> Template: return Template('quiz', 'ask', jinja, answer_choices=choices)


def test_null_and_missing():
    assert ask('{{ a }}{{ b }} ||| x').render({'a': None}) == ('None', 'x')
    for row, rule in (({'a': None, 'b': ''}, 'null_field'), ({'a': 1}, 'no_field'), ({'a': float('nan'), 'b': ''}, 'null_field')):
        with pytest.raises(RenderError) as caught: ask('{{ a }}{{ b }} ||| x').render(row, strict=True)
        assert caught.value.rule == rule


@given(st.text(alphabet='ab \n', max_size=80), st.integers(5, 40))
def test_the_cut_is_jinjas_own(text, length):
    assert shorten(text, length) == jinja2.Environment().from_string('{{ text | truncate(length) }}').render(text=text, length=length)


def test_a_cut_reaches_values_inside_literals():
    assert len(render_text('{{ {"a": text}["a"] }}', {'text': 'word ' * 1000}, cut=100)) <= 105
    assert len(render_text('{{ "x" ~ text ~ "y" }}', {'text': 'word ' * 1000}, cut=0)) == 5002


# ---- harm

BOMBS = ('{{ "x" * 10**9 }}', '{{ 10**9 * "x" }}', '{{ [0] * 10**9 }}', '{{ 10**10**10 }}', '{{ "%999999999d" % 1 }}', '{{ "%*d" % (999999999, 1) }}', '{{ "%.999999999f" | format(1.5) }}',
         '{{ "x" | center(999999999) }}', '{{ "x".ljust(999999999) }}', '{{ "x".zfill(999999999) }}', '{{ "\t".expandtabs(999999999) }}', '{{ "{:>999999999}".format(1) }}', '{{ "{:>{}}".format(1, 999999999) }}',
         '{{ range(99999) | join("x" * 99999) }}', '{{ ("x" * 99999).join(range(99999) | map("string")) }}', '{{ ("x" * 99999).replace("x", "x" * 99999) }}', '{{ ("x" * 99999) | replace("x", "x" * 99999) }}',
         '{{ ("x" * 99999) | replace("", "x" * 99999) }}', '{% set n = namespace(a="xx") %}{% for i in range(60) %}{% set n.a = n.a ~ n.a %}{% endfor %}{{ n.a | length }}',
         '{% set n = namespace(a=[0]) %}{% for i in range(60) %}{% set n.a = n.a + n.a %}{% endfor %}{{ n.a | length }}', '{% set n = namespace(a=[0]) %}{% for i in range(60) %}{% set n.a = [n.a, n.a] %}{% endfor %}{{ n.a }}',
         '{% set n = namespace(a=[0]) %}{% for i in range(60) %}{% set n.a = [n.a, n.a] %}{% endfor %}{{ n.a | string | length }}', '{% set a = [] %}{% for i in range(99999) %}{% set _ = a.append("x" * 99999 ~ i) %}{% endfor %}{{ a | length }}',
         '{% for i in range(99999) %}{{ "x" * 99999 }}{% endfor %}', '{% set a = "x" * 99999 %}{% for i in range(99999) %}{{ a }}{% endfor %}', '{% set b %}{% for i in range(99999) %}{{ "x" * 9999 }}{% endfor %}{% endset %}{{ b }}',
         '{% set a = [0] %}{% for i in range(60) %}{% set _ = a.extend(a) %}{% endfor %}{{ a | length }}', '{{ 1.5 | round(10**9) }}', '{{ range(10**9) | list }}', '{% set n = namespace(a=99999) %}{% for i in range(99) %}{% set n.a = n.a * n.a %}{% endfor %}{{ n.a }}',
         '{{ [["x" * 99999] * 99] * 999 }}', '{{ "%s" * 9999 % (("x" * 99999,) * 9999) }}', '{{ range(99999) | map("replace", "1", "x" * 99999) | list | length }}', '{{ (range(99999) | list | tojson) * 10 }}')


@pytest.mark.parametrize('text', BOMBS)
def test_no_gigabytes(text):
    began = time.thread_time()
    with pytest.raises(RenderError) as caught: render_text(text, {}, cut=0)
    assert caught.value.rule in ('template_too_large', 'template_too_slow', 'template_unsafe', 'template_syntax', 'template_failed'), caught.value
    assert time.thread_time() - began < 3


# ---- what Jinja does without asking

SHARED = '{% set n = namespace(l=["x"], m=["x"], t=("x",), u=("x",)) %}{% for _ in range(99) %}{% set n.l = [n.l, n.l] %}{% set n.m = [n.m, n.m] %}{% set n.t = (n.t, n.t) %}{% set n.u = (n.u, n.u) %}{% endfor %}'


@pytest.mark.parametrize('use', ['{{ n.l == n.m }}', '{{ n.l < n.m }}', '{{ n.l in [n.m] }}', '{{ n.l is eq n.m }}', '{{ n.l is in [n.m] }}', '{{ {n.t: 1} }}', '{{ {}[n.t] }}', '{{ [n.t, n.u] | unique | list }}', '{{ [n.l, n.m] | sort }}',
                                 '{{ [n.l] | most_frequent }}', '{{ [n.l, n.m] | max }}', '{{ dict([(n.t, 1)]) }}', '{% if n.l != n.m %}a{% endif %}', '{{ [n.l].index(n.m) }}', '{{ [n.l] | select("eq", n.m) | list }}', '{{ [{"a": n.l}, {"a": n.m}] | sort(attribute="a") }}'])
def test_shared_lists_are_not_compared(use):
    with pytest.raises(RenderError, match='template_too_large'): render_text(SHARED + use, {})


def test_comparing_still_compares():
    text = '{{ 1 < x <= 3 }} {{ x == 2 and "a" in words }} {{ words[1:] }} {{ words[::-1] | first }} {{ {x: "two"}[2] }} {{ x is divisibleby 2 }} {{ x not in [1] }}'
    assert render_text(text, {'x': 2, 'words': ['a', 'b']}) == "True True ['b'] b two True True"


@pytest.mark.parametrize('text, wanted', [('{{ "%s of %d, %.2f%%" % (a, 3, 1.5) }}', 'x of 3, 1.50%'), ('{{ "%(k)5s" % {"k": 1} }}', '    1'), ('{{ "%s!" | format(a) }}', 'x!')])
def test_formats(text, wanted): assert render_text(text, {'a': 'x'}) == wanted


@given(st.recursive(st.text(max_size=5) | st.integers() | st.none() | st.booleans(), lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4), max_leaves=20))
def test_sizes_are_never_far_below(value): assert written_size(value) * 12 + 12 >= len(str(value))


def test_endless_templates_stop_in_every_thread():
    endless = '{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}'
    rules = []
    def render() -> None:
        try: render_text(endless, {}, seconds=.1)
        except RenderError as error: rules.append(error.rule)
    threads = [threading.Thread(target=render) for _ in range(3)]
    for thread in threads: thread.start()
    render()
    for thread in threads: thread.join()
    assert rules == ['template_too_slow'] * 4
    assert render_text('{{ a }}', {'a': 1}) == '1'


def test_the_patrol_strikes_inside_only():
    "Many functions that end just when their time does: none is struck afterwards."
    outcomes = Counter()
    for wait in range(16):
        end = time.thread_time() + .045 + wait / 4000
        def spin() -> str:
            while time.thread_time() < end: pass
            return 'done'
        try: outcomes[limit_time(spin, .05)] += 1
        except TimeoutError: outcomes['late'] += 1
        sum(range(20_000))
    assert sum(outcomes.values()) == 16


def test_what_a_function_raises_comes_out():
    with pytest.raises(ZeroDivisionError): limit_time(lambda: 1 / 0, 1)
    with pytest.raises(KeyboardInterrupt): limit_time(_interrupted, 1)


def _interrupted() -> None: raise KeyboardInterrupt


@settings(max_examples=200)
@given(st.text(alphabet='{}%| abx._[]()"0123456789*~+-,:', max_size=40))
def test_any_text_gives_a_text_or_a_named_error(text):
    try: assert len(render_text(text, {'a': 'x', 'b': [1, 2]}, seconds=.5)) <= LARGEST
    except RenderError as error: assert error.rule.startswith(('template_', 'no_', 'null_'))


def test_no_addresses_are_written():
    for text in ('{{ "a".upper }}', '{{ range }}', '{{ ["a".upper] }}'):
        with pytest.raises(RenderError, match='template_failed: it writes'): render_text(text, {})
    assert render_text('{{ text }}', {'text': '<x at 0x7f00aa00bb>'}) == '<x at 0x7f00aa00bb>'


# ---- files

def test_a_file_of_brackets_does_not_end_the_process():
    "The loader in C has no bound of its own."
    for text in ('[' * 100_000, 'a: ' + '{b: ' * 50_000, 'dataset: quiz\ntemplates: ' + '[' * 60 + ']' * 60):
        with pytest.raises(ValueError, match='broken_yaml'): parse_templates(text)
