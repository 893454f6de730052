"""Templates: golden values of P3's semantics, the real collection, faults, and what a stranger's template may not do."""
import io
import multiprocessing
import resource
import signal
import tarfile
import threading
import time
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from instructgen.bonito.sandbox import RenderError
from instructgen.bonito.templates import Template, load_templates, parse_templates

ROW = {'text': 'The lease ends in May.', 'label': 1, 'answers': {'text': ['May', 'in May', 'May'], 'answer_start': [18, 15, 18]}, 'none': None}


def template(jinja: str, choices: str = '') -> Template: return Template('demo', 'name', jinja, '', choices)


def render(jinja: str, row: dict | None = None, choices: str = '', seed: int = 0, **more) -> tuple[str, str] | None:
    return template(jinja, choices).render(ROW if row is None else row, seed, **more)


def entry(jinja: str, name: str = 'a', **more: object) -> str:
    import yaml
    return yaml.safe_dump({'dataset': 'demo', 'templates': {name: {'name': name, 'jinja': jinja, 'answer_choices': None, **more}}})


# ---- the real collection

@pytest.fixture(scope='module')
def collection(shared_data: Path) -> list[Template]:
    rejected: list = []
    found = load_templates(shared_data / 'promptsource' / 'templates.tar.xz', rejected)
    assert rejected == []
    return found


def test_collection_loads_whole(collection):
    assert len(collection) == 2085
    assert len({(made.dataset, made.subset) for made in collection}) == 279
    assert sum(bool(made.answer_choices) for made in collection) == 2085 - 940
    assert all(made.name == made.name.strip() for made in collection)
    assert {made.name for made in collection if made.dataset == 'imdb'} >= {'Sentiment with choices'}  # a blank at its end in the file


def test_collection_renders_without_fields(collection):
    "Every template is compiled; on an empty row it writes something, nothing, or is a named error, and never anything else."
    rules = set()
    for made in collection:
        try: made.render({}, 0)
        except RenderError as error: rules.add(error.rule)
    assert rules <= {'template_failed', 'many_parts'}


@pytest.mark.parametrize('name, row, wanted', [
    ('ag_news/classify', {'text': 'Stocks fell.', 'label': 2}, ('Stocks fell. What label best describes this news article?', 'Business')),
    ('squad/given_context_answer_question_variation', {'context': 'It ends in May.', 'question': 'When?', 'answers': {'text': ['May'], 'answer_start': [11]}}, None)])
def test_collection_golden(collection, name, row, wanted):
    made = next((made for made in collection if made.label == name), None)
    if made is None: pytest.skip(f'the collection calls it something else than {name}')
    prompt, target = made.render(row)
    if wanted: assert (prompt.split(), target) == (wanted[0].split(), wanted[1])
    else: assert 'When?' in prompt and target == 'May'


def test_collection_appends_to_lists(collection):
    "212 calls of append are in P3's templates, which Jinja's immutable sandbox refuses."
    users = [made for made in collection if '.append(' in made.jinja]
    assert len(users) > 100
    failed = []
    for made in users:
        try: made.render({'text': 'a b', 'tokens': ['a', 'b'], 'ner_tags': [0, 1], 'pos_tags': [0, 1], 'labels': [0, 1]}, 0)
        except RenderError as error: failed.append(str(error))
    assert not [text for text in failed if text.startswith(('template_unsafe', 'template_too'))]


# ---- semantics of P3

@pytest.mark.parametrize('jinja, row, choices, wanted', [
    ('{{text}} ||| {{answer_choices[label]}}', ROW, 'No ||| Yes', ('The lease ends in May.', 'Yes')),
    ('{{none}}|||{{missing}}.', ROW, '', ('None', '.')),                                        # None is written, a missing field is nothing
    ('{% if label == 0 %}{{text}} ||| {{label}}{% endif %}', ROW, '', None),                    # a branch that writes nothing
    ('{{text}}', ROW, '', None),                                                                # no target
    ('{{answers.text | most_frequent | choice}} ||| x', ROW, '', ('May', 'x')),
    ('{{ [] | most_frequent }} ||| x', ROW, '', ('None', 'x')),
    ('{{ text | highlight }} ||| {{ (1, 2) | join("-") }}', ROW, '', ('The lease ends in May.', '1-2')),
    ('{% for a, b in zip([1, 2], "xy") %}{{a}}{{b}}{% endfor %} ||| {{ {"a": {"b": 1}}["a"]["b"] }}', ROW, '', ('1x2y', '1')),
    ('  {{text}}  \n|||\n  y ', ROW, '', ('The lease ends in May.', 'y')),
    ('{{ a }} ||| {{ b[0].c }}', {'a': 'x ||| y', 'b': [{'c': 'p|||q'}]}, '', ('x ||| y', 'p|||q')),  # pipes of a row, at the top and nested
    ('{{ answer_choices | join("/") }} ||| {{ answer_choices | length }}', {'ends': ['a', 'b', 'c']}, '{{ ends | join("|||") }}', ('a/b/c', '3')),
    ('{{ answer_choices[0] }} ||| x', {'a': ' one|||two '}, '{{ a }}', ('one|||two', 'x')),       # pipes of a field do not part choices
    ('{{ text | length }} ||| {{ text.split(" ")[1:3] | join("+") }}', ROW, '', ('22', 'lease+ends')),
    ('{% set n = namespace(s=0) %}{% for i in range(4) %}{% set n.s = n.s + i %}{% endfor %}{{ n.s }} ||| x', ROW, '', ('6', 'x')),
    ('{% set l = [] %}{% if l.append(text) %}{% endif %}{{ l | length }} ||| x', ROW, '', ('1', 'x')),
    ('{{ "<b>" }} & {{ text }} ||| \'"', {'text': '<&>'}, '', ('<b> & <&>', '\'"')),             # nothing is escaped
])
def test_golden(jinja, row, choices, wanted): assert render(jinja, row, choices) == wanted


def test_choices():
    assert template('x ||| y').choices(ROW) is None
    assert template('x ||| y', ' A |||B|||  C').choices(ROW) == ['A', 'B', 'C']
    assert template('x ||| y', '{{text}} ||| {{label}}').choices(ROW) == ['The lease ends in May.', '1']
    first = template('x ||| y', 'A ||| B').choices(ROW)
    first.append('C')
    assert template('x ||| y', 'A ||| B').choices(ROW) == ['A', 'B']   # a caller's change reaches no other row


def test_cut():
    long = 'word ' * 1000
    prompt, target = render('{{ t }} ||| {{ {"a": {"b": t}}["a"]["b"] }}', {'t': long})     # }} inside a literal, on which P3's own way breaks
    assert prompt == target == long[:2045].rsplit(' ', 1)[0] + '...'
    assert render('{{ t }} ||| x', {'t': 'a' * 2053})[0] == 'a' * 2053                      # five characters of grace
    assert render('{{ t }} ||| x', {'t': 'a' * 2054})[0] == 'a' * 2045 + '...'
    assert render('{{ t }} ||| x', {'t': long}, cut=0)[0] == long.strip()
    assert len(render('{% for t in ts %}{{ t }}{% endfor %} ||| x', {'ts': [long, long]})[0]) > 4000  # each value is cut, the whole is not


def test_many_parts():
    with pytest.raises(RenderError, match='many_parts: .* 3 parts'): render('a ||| b ||| c')


def test_choices_field():
    with pytest.raises(RenderError, match='choices_field'): render('{{a}} ||| b', {'a': 1, 'answer_choices': ['x']})


def test_chance_is_of_the_seed():
    jinja = '{{ range(1000) | choice }} {{ range(1000) | random }} ||| {{ ["a", "b"] | choice }}'
    draws = [render(jinja, seed=seed) for seed in range(20)]
    assert draws == [render(jinja, seed=seed) for seed in range(20)]
    assert len(set(draws)) > 15
    import random
    state = random.getstate()
    render(jinja)
    assert random.getstate() == state


def test_row_is_not_changed():
    row = {'l': [1], 'd': {'a': 1}}
    for _ in range(2): assert render('{{ l.append(2) }}{{ d.update({"b": 2}) }}{{ l | length }} ||| {{ d | length }}', row) == ('NoneNone2', '2')
    assert row == {'l': [1], 'd': {'a': 1}}


# ---- files

def test_file_faults(tmp_path):
    (tmp_path / 'good').mkdir(); (tmp_path / 'good' / 'templates.yaml').write_text(entry('{{a}} ||| {{b}}', ' blank '))
    for name, content in {'syntax': entry('{{ a ||| b'), 'private': entry('{{ a.__class__ }} ||| b'), 'yaml': 'dataset: [', 'list': '- a', 'python': '!!python/object/apply:os.system ["touch x"]',
                          'tag': 'dataset: d\ntemplates: !!python/name:os.system {}', 'number': entry('{{a}}', name='n').replace("'{{a}}'", '3'), 'deep': 'a: ' + '[' * 3000 + ']' * 3000}.items():
        (tmp_path / name).mkdir(); (tmp_path / name / 'templates.yaml').write_text(content)
    (tmp_path / 'latin').mkdir(); (tmp_path / 'latin' / 'templates.yaml').write_bytes(entry('é').encode('latin-1') + b'\xe9')
    rejected: list = []
    found = load_templates(tmp_path, rejected)
    assert [made.name for made in found] == ['blank']
    rules = {drop.where.partition('/')[0]: drop.rule for drop in rejected}
    assert rules == {'syntax': 'template_syntax', 'private': 'template_unsafe', 'yaml': 'broken_yaml', 'list': 'broken_yaml', 'python': 'broken_yaml', 'tag': 'broken_yaml',
                     'number': 'template_incomplete', 'deep': 'broken_yaml', 'latin': 'bad_encoding'}
    assert not Path('x').exists()


def test_duplicate_names():
    rejected: list = []
    text = 'dataset: d\ntemplates:\n' + ''.join(f'  {key}: !Template {{id: {key}, name: "{name}", jinja: "a ||| b", answer_choices: null, metadata: !TemplateMetadata {{languages: [en]}}}}\n' for key, name in (('k1', 'one'), ('k2', 'one ')))
    found = parse_templates(text, 'here', rejected)
    assert [(made.id, made.languages) for made in found] == [('k1', ('en',))]
    assert [drop.rule for drop in rejected] == ['duplicate_name']


@pytest.mark.parametrize('suffix', ['zip', 'tar', 'tar.xz', 'tar.gz', 'yaml'])
def test_archives(tmp_path, suffix):
    content, place = entry('{{a}} ||| ä').encode(), tmp_path / f'them.{suffix}'
    if suffix == 'zip':
        with zipfile.ZipFile(place, 'w') as archive: archive.writestr('x/demo/templates.yaml', content); archive.writestr('x/other.yaml', 'no: [')
    elif suffix == 'yaml': place.write_bytes(content)
    else:
        with tarfile.open(place, f'w:{suffix[4:]}') as archive:
            for name in ('x/demo/templates.yaml', '../outside/readme.txt'):
                item = tarfile.TarInfo(name); item.size = len(content); archive.addfile(item, io.BytesIO(content))
    assert [made.dataset for made in load_templates(place)] == ['demo']
    assert not (tmp_path.parent / 'outside').exists()


def test_nothing_there(tmp_path):
    with pytest.raises(ValueError, match='no template in'): load_templates(tmp_path)
    with pytest.raises(FileNotFoundError, match='want a folder'): load_templates(tmp_path / 'no')


# ---- what a template may not do

UNSAFE = ['{{ "".__class__ }}', '{{ ""["__class__"] }}', '{{ range.__globals__ }}', '{{ namespace.__init__.__globals__ }}', '{{ [""] | map(attribute="__class__") | list }}', '{{ "{0.__class__}".format(1) }}',
          '{% include "/etc/passwd" %}', '{% import "x" as y %}', '{% extends "x" %}', '{{ self.__init__ }}', '{{ (1)["__" ~ "class__"] }}', '{% set f = "{0.__class__}".format %}{{ f(1) }}']


@pytest.mark.parametrize('jinja', UNSAFE)
def test_no_way_out(jinja):
    with pytest.raises(RenderError, match='template_unsafe'): render(jinja + '|||y')


BOMBS = {
    'product': '{{ "x" * 10**9 }}', 'product of products': '{{ "x" * 1000 * 1000 * 1000 }}', 'list product': '{{ [0] * 10**9 }}', 'power': '{{ 10 ** 10**9 }}',
    'percent': '{{ "%1000000000d" % 3 }}', 'star': '{{ "%*d" % (10**9, 3) }}', 'percent filter': '{{ "%1000000000d" | format(3) }}', 'join': '{{ ("y" * 100000).join("x" * 100000) }}',
    'join filter': '{{ (["x" * 100000] * 100000) | join }}', 'replace': '{{ ("x" * 100000).replace("x", "y" * 100000) }}', 'replace filter': '{{ ("x" * 100000) | replace("x", "y" * 100000) }}',
    'centre': '{{ "x".center(10**9) }}', 'zfill': '{{ "x".zfill(10**9) }}', 'slice': '{{ [1] | slice(10**9) | list | length }}',
    'joined': '{% set n = namespace(s="x" * 1000) %}{% for i in range(1000) %}{% set n.s = n.s ~ n.s %}{% endfor %}', 'added': '{% set n = namespace(s="x" * 1000) %}{% for i in range(1000) %}{% set n.s = n.s + n.s %}{% endfor %}',
    'added lists': '{% set n = namespace(s=[1] * 1000) %}{% for i in range(1000) %}{% set n.s = n.s + n.s %}{% endfor %}', 'numbers': '{% set n = namespace(s=10**18) %}{% for i in range(1000) %}{% set n.s = n.s * n.s %}{% endfor %}',
    'output': '{% for i in range(99999) %}{{ text }}{{ text }}{% endfor %}', 'nested': '{% set n = namespace(l=["x"]) %}{% for i in range(99) %}{% set n.l = [n.l, n.l] %}{% endfor %}{{ n.l }}',
    'rounding': '{{ 3 | round(-1000000000) }}', 'translate': '{{ ("x" * 1000000).translate({120: "y" * 100000}) | length }}',
    'recursion': '{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}', 'sum of lists': '{{ ([[1] * 1000] * 100000) | sum(start=[]) | length }}',
}


def _attempt(jinja: str, answer) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try: found = repr(render(jinja + '|||y'))[:100]
    except RenderError as error: found = str(error)
    answer.send((found, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024))


@pytest.mark.parametrize('name', BOMBS)
def test_bombs(name):
    "Each is a named error, in a process of its own, with less than 400 MB."
    context = multiprocessing.get_context('forkserver')  # not a copy of this process, which other tests may have filled beyond the limit
    here, there = context.Pipe(False)
    process = context.Process(target=_attempt, args=(BOMBS[name], there))
    process.start(); there.close()
    try:
        assert here.poll(30), f'{name} is still at work after 30 s'
        found, megabytes = here.recv()
    finally: process.kill(); process.join()
    assert found.startswith(('template_too_large', 'template_too_slow', 'template_unsafe', 'template_failed')), found
    assert megabytes < 400


ENDLESS = '{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %} ||| y'


def test_endless_in_any_thread():
    found = []
    def work() -> None:
        try: render(ENDLESS)
        except RenderError as error: found.append(error.rule)
        found.append(sum(range(1000)))     # nothing of it arrives later
    work()
    thread = threading.Thread(target=work); thread.start(); thread.join(60)
    assert found == ['template_too_slow', 499500] * 2
    assert render('a ||| b') == ('a', 'b')


def test_timers_of_others_survive():
    rung = []
    before = signal.signal(signal.SIGALRM, lambda *_: rung.append(1))
    try:
        signal.setitimer(signal.ITIMER_REAL, .3)
        render('a ||| b')
        assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= .3
        end = time.monotonic() + 10
        while not rung and time.monotonic() < end: time.sleep(.01)
        assert rung == [1]
    finally: signal.setitimer(signal.ITIMER_REAL, 0); signal.signal(signal.SIGALRM, before)


# ---- any row

VALUES = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4), max_leaves=12)
JINJA = ['{{ a }} {{ b }} ||| {{ c }}', '{{ a[0] }}{{ b.text }} ||| {{ c | length }}', '{{ a | choice }} ||| {{ b | most_frequent }}', '{% for x in a %}{{ x | lower }}{% endfor %} ||| {{ b == c }}',
         '{{ a ~ b }} ||| {{ a + b }}', '{{ a.split(b)[0] }} ||| {{ c | join(" ") }}', '{{ answer_choices[a] }} ||| {{ answer_choices | join }}', '{{ a | replace(b, c) }} ||| {{ a % b }}', '{{ a | sort | unique | list }} ||| {{ b | round | int }}']


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from('abc'), VALUES), st.sampled_from(JINJA), st.integers(0, 9), st.sampled_from(['', 'A ||| B', '{{ a }} ||| {{ b }}', '{{ a | choice }}']))
def test_any_row(row, jinja, seed, choices):
    def attempt() -> object:
        try: return render(jinja, row, choices, seed)
        except RenderError as error: return error.rule
    first = attempt()
    assert first == attempt()
    assert first is None or isinstance(first, (str, tuple))


def test_deep_row():
    deep: list = []
    for _ in range(5000): deep = [deep]
    with pytest.raises(RenderError): render('{{ a }} ||| x', {'a': deep})
