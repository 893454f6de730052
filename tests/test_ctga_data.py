"""The table of the datasets behind Bonito's training tasks: the paper's counts, and the real templates that it speaks of"""
import re
import tarfile
from collections import Counter
from importlib.resources import files

import jinja2
import jinja2.meta
import pytest
import yaml

from instructgen.bonito.format import find_task_type, load_task_types

# dataset/config -> templates in promptsource, those that hold the context, those that the paper uses
COUNTS = {
    'cosmos_qa': (13, 12, 12), 'social_i_qa': (6, 6, 6), 'paws/labeled_final': (12, 12, 12), 'quail': (13, 13, 13), 'squad': (6, 6, 6), 'dream': (5, 3, 3),
    'qasc': (8, 3, 3), 'wiki_hop/original': (9, 9, 9), 'race/all': (8, 8, 8), 'hellaswag': (11, 8, 8), 'super_glue/boolq': (10, 10, 10),
    'adversarial_qa/dbert': (5, 5, 5), 'adversarial_qa/dbidaf': (5, 5, 5), 'adversarial_qa/droberta': (5, 5, 5), 'quoref': (11, 11, 10),
    'duorc/ParaphraseRC': (9, 9, 9), 'duorc/SelfRC': (9, 9, 9), 'ropes': (12, 10, 10), 'super_glue/record': (20, 10, 10), 'amazon_polarity': (9, 9, 9),
    'app_reviews': (4, 4, 4), 'imdb': (11, 11, 10), 'rotten_tomatoes': (10, 10, 9), 'yelp_review_full': (7, 7, 7), 'cnn_dailymail/3.0.0': (9, 9, 9),
    'gigaword': (9, 9, 9), 'samsum': (7, 7, 7), 'xsum': (10, 10, 10), 'ag_news': (7, 7, 7), 'dbpedia_14': (4, 3, 2), 'glue/mrpc': (7, 7, 7),
    'super_glue/wsc.fixed': (10, 10, 10), 'super_glue/wic': (10, 10, 10), 'super_glue/copa': (12, 12, 12), 'super_glue/rte': (10, 10, 10),
    'super_glue/cb': (15, 15, 15), 'anli': (15, 15, 15), 'quartz': (8, 8, 8),
}
# short name of a task type -> dataset/config -> templates
TYPES = {
    'mcqa': {'cosmos_qa': 8, 'social_i_qa': 2, 'quail': 10, 'dream': 2, 'qasc': 3, 'wiki_hop/original': 5, 'race/all': 4, 'super_glue/record': 6, 'app_reviews': 2, 'quartz': 8},
    'exqa': {'squad': 4, 'adversarial_qa/dbert': 4, 'adversarial_qa/dbidaf': 4, 'adversarial_qa/droberta': 4, 'quoref': 9, 'duorc/ParaphraseRC': 5, 'duorc/SelfRC': 5, 'ropes': 10, 'super_glue/record': 4},
    'sentiment': {'amazon_polarity': 9, 'imdb': 10, 'rotten_tomatoes': 9, 'yelp_review_full': 7},
    'summarization': {'quoref': 1, 'duorc/ParaphraseRC': 1, 'duorc/SelfRC': 1, 'cnn_dailymail/3.0.0': 7, 'gigaword': 7, 'samsum': 6, 'xsum': 10},
    'nli': {'super_glue/cb': 15, 'anli': 15},
    'sent_comp': {'hellaswag': 6, 'super_glue/copa': 12},
    'paraphrase_id': {'paws/labeled_final': 11, 'glue/mrpc': 5},
    'qa': {'cosmos_qa': 3, 'social_i_qa': 2, 'quail': 3, 'wiki_hop/original': 4, 'race/all': 1, 'app_reviews': 1},
    'qg': {'cosmos_qa': 1, 'social_i_qa': 1, 'squad': 2, 'race/all': 2, 'adversarial_qa/dbert': 1, 'adversarial_qa/dbidaf': 1, 'adversarial_qa/droberta': 1, 'duorc/ParaphraseRC': 2, 'duorc/SelfRC': 2},
    'ynqa': {'social_i_qa': 1, 'race/all': 1, 'super_glue/boolq': 10},
    'topic_class': {'hellaswag': 2, 'ag_news': 7, 'dbpedia_14': 2},
    'coref': {'super_glue/wsc.fixed': 10},
    'wsd': {'super_glue/wic': 10},
    'te': {'super_glue/rte': 10},
    'text_gen': {'dream': 1, 'duorc/ParaphraseRC': 1, 'duorc/SelfRC': 1, 'app_reviews': 1, 'cnn_dailymail/3.0.0': 2, 'gigaword': 2, 'samsum': 1},
    'paraphrase': {'paws/labeled_final': 1, 'glue/mrpc': 2},
}


class _OneOfEach(yaml.SafeLoader):
    "A loader that refuses a key that stands twice, which YAML readers pass over in silence."


def _mapping(loader, node):
    found = loader.construct_mapping(node, deep=True)
    assert len(found) == len(node.value), f'a key stands twice {node.start_mark}'
    return found


_OneOfEach.add_constructor('tag:yaml.org,2002:map', _mapping)


class _Templates(getattr(yaml, 'CSafeLoader', yaml.SafeLoader)):
    "A loader of promptsource's files."


for tag in ('!Template', '!TemplateMetadata'): _Templates.add_constructor(tag, lambda loader, node: loader.construct_mapping(node, deep=True))


def _key(entry: dict) -> str: return '/'.join(filter(None, (entry['dataset'], entry.get('config'))))


@pytest.fixture(scope='module')
def registry() -> dict[str, dict]:
    entries = yaml.load(files('instructgen.bonito').joinpath('ctga.yaml').read_text('utf-8'), _OneOfEach)
    found = {_key(entry): entry for entry in entries}
    assert len(found) == len(entries)
    return found


@pytest.fixture(scope='module')
def collection(shared_data) -> dict[str, list[dict]]:
    "The real templates of the datasets of the table, and of multi_news."
    found = {}
    with tarfile.open(shared_data / 'promptsource' / 'templates.tar.xz') as archive:
        for member in archive:
            name = member.name.removeprefix('./').removeprefix('templates/').removesuffix('/templates.yaml')
            if name in COUNTS or name == 'multi_news': found[name] = list(yaml.load(archive.extractfile(member).read(), _Templates)['templates'].values())
    return found


@pytest.fixture(scope='module')
def used(registry, collection) -> list[tuple[str, str, str, dict, re.Pattern]]:
    "Dataset, name, type, template and what finds the context, of the paper's templates."
    return [(key, name, kind, next(made for made in collection[key] if made['name'].strip() == name), _finds(entry['context']))
            for key, entry in registry.items() for name, kind in entry['templates'].items()]


def _finds(context: str) -> re.Pattern:
    tokens = re.findall(r'\{\{|\}\}|\{%|%\}|[^\s{}%]+', context)
    return re.compile(r'\s*'.join(map(re.escape, tokens)))


def test_totals(registry):
    kinds = Counter(kind for entry in registry.values() for kind in entry['templates'].values())
    assert (len(registry), sum(kinds.values()), len(kinds)) == (38, 323, 16)
    assert kinds == {kind: sum(counts.values()) for kind, counts in TYPES.items()}
    assert len({entry['dataset'] for entry in registry.values()}) == 29
    assert sum(len(entry.get('added', {})) for entry in registry.values()) == 4


def test_used_by_dataset(registry):
    assert {key: len(entry['templates']) for key, entry in registry.items()} == {key: count[2] for key, count in COUNTS.items()}
    assert {key: len(entry['added']) for key, entry in registry.items() if 'added' in entry} == {key: match - number for key, (_, match, number) in COUNTS.items() if match > number}


@pytest.mark.parametrize('kind', TYPES)
def test_datasets_of_a_type(registry, kind):
    found = {key: list(entry['templates'].values()).count(kind) for key, entry in registry.items()}
    assert {key: count for key, count in found.items() if count} == TYPES[kind]


def test_form_of_entries(registry):
    assert {entry['split'] for key, entry in registry.items() if key != 'anli'} == {'train'} and registry['anli']['split'] == 'train_r3'
    for key, entry in registry.items():
        assert set(entry) <= {'dataset', 'config', 'split', 'context', 'templates', 'added', 'doubtful'} and isinstance(entry['context'], str), key
        assert all(isinstance(value, str) for value in (entry['dataset'], entry.get('config', ''), entry['split'])), key
        names = [*entry['templates'], *entry.get('added', {})]
        assert all(isinstance(name, str) and name and name == name.strip() for name in names) and len(set(names)) == len(names), key
        assert set(entry.get('doubtful', {})) <= set(names) and all(len(reason) > 20 for reason in entry.get('doubtful', {}).values()), key


def test_types_are_known_short_names(registry):
    short = {kind.short for kind in load_task_types()}
    for entry in registry.values():
        for kind in (*entry['templates'].values(), *entry.get('added', {}).values()): assert kind in short and find_task_type(kind).short == kind


def test_the_packages_reader_agrees(registry):
    "A check of both: what the package reads is what stands in the file."
    meta = pytest.importorskip('instructgen.bonito.meta')
    read = {entry.name: entry for entry in meta.read_registry()}
    assert list(read) == list(registry)
    for key, entry in registry.items():
        assert (read[key].context, read[key].split, read[key].templates, read[key].added, read[key].doubtful) == (
            entry['context'], entry['split'], entry['templates'], entry.get('added', {}), entry.get('doubtful', {}))


def test_real_templates_and_matches_by_dataset(registry, collection):
    "Every count of templates, and that the names that match are exactly those that we list."
    for key, (templates, match, _) in COUNTS.items():
        names = {made['name'].strip() for made in collection[key]}
        found = {made['name'].strip() for made in collection[key] if _finds(registry[key]['context']).search(made['jinja'])}
        assert (len(collection[key]), len(names), len(found)) == (templates, templates, match), key
        assert found == {*registry[key]['templates'], *registry[key].get('added', {})}, key
    assert (sum(count[0] for count in COUNTS.values()) + len(collection['multi_news']), sum(count[1] for count in COUNTS.values())) == (357, 327)


def test_multi_news_has_no_context(collection, registry):
    assert 'multi_news' not in registry and len(collection['multi_news']) == 6
    assert not any(_finds('{{document}}').search(made['jinja']) for made in collection['multi_news'])


def test_added_names_end_in_a_blank(registry, collection):
    for key, entry in registry.items():
        for name in entry.get('added', {}): assert [made['name'] for made in collection[key] if made['name'].strip() == name] == [f'{name} ']


def test_answer_choices_of_the_323(used):
    "149 fixed, 63 computed for each row, 111 none; 33 begin with a condition; 58 draw something."
    environment = jinja2.Environment()
    kinds = Counter('none' if not made['answer_choices'] else 'computed' if jinja2.meta.find_undeclared_variables(environment.parse(made['answer_choices'])) else 'fixed' for *_, made, _ in used)
    assert kinds == {'fixed': 149, 'computed': 63, 'none': 111}
    assert sum(bool(re.match(r'\s*\{%-?\s*if', made['jinja'])) for *_, made, _ in used) == 33
    assert sum(bool(re.search(r'\|\s*choice\b', made['jinja'])) for *_, made, _ in used) == 58


def test_context_stands_on_one_side(used):
    "Where the context is the answer the type is text generation, but for one template that the table calls doubtful."
    found = Counter()
    for key, name, kind, made, context in used:
        instruction, answer = made['jinja'].split('|||')
        assert bool(context.search(instruction)) + bool(context.search(answer)) == 1 and len(context.findall(made['jinja'])) == 1, (key, name)
        if context.search(answer): found[key, kind] += 1
    assert found == {**{(key, 'text_gen'): count for key, count in TYPES['text_gen'].items()}, ('hellaswag', 'sent_comp'): 1}


def test_left_over_copies_are_doubtful(used, registry):
    "A template that uses a field of the context once more, beside the context itself."
    environment, found = jinja2.Environment(extensions=[]), set()
    environment.filters.update(choice=list)
    for key, name, _, made, context in used:
        fields = jinja2.meta.find_undeclared_variables(environment.parse(registry[key]['context']))
        rest = jinja2.meta.find_undeclared_variables(environment.parse(context.sub('', made['jinja']) + (made['answer_choices'] or '')))
        if fields & rest: found.add((key, name))
    assert found == {('super_glue/wsc.fixed', 'in other words'), ('super_glue/wsc.fixed', 'I think they mean')}
    assert all(name in registry[key]['doubtful'] for key, name in found)


def test_labels_of_label_types(used, registry):
    "Fixed answer choices of a type with labels are one of its sets of labels, or the template is doubtful."
    strange = set()
    for key, name, kind, made, _ in used:
        sets, choices = find_task_type(kind).labels, made['answer_choices']
        if sets and not any({choice.strip().lower() for choice in choices.split('|||')} <= set(labels) for labels in sets): strange.add((key, name))
    assert strange == {('paws/labeled_final', 'PAWS-ANLI GPT3')} and 'PAWS-ANLI GPT3' in registry['paws/labeled_final']['doubtful']


def test_listed_options(used, registry):
    "A multiple-choice template shows its options, or the table calls it doubtful: what promptsource notes of a template agrees."
    hidden = {(key, name) for key, name, kind, made, _ in used if kind == 'mcqa' and made['metadata']['choices_in_prompt'] is False}
    doubtful = {(key, name) for key, name, kind, *_ in used if kind == 'mcqa' and name in registry[key].get('doubtful', {})}
    assert hidden == doubtful


def test_turning_the_real_templates_round(registry, shared_data):
    "The package's own matcher finds the same 323 and four more; the careful rules leave out the doubtful ones, and only those."
    from instructgen.bonito.meta import read_registry, turn_templates
    from instructgen.bonito.templates import load_templates
    templates, doubtful = load_templates(shared_data / 'promptsource/templates.tar.xz'), sum(len(entry.get('doubtful', {})) for entry in registry.values())
    made, rejected = turn_templates(read_registry(), templates, careful=False)
    assert len(made) == sum(meta.paper for meta in made) == 323 and {drop.rule for drop in rejected} == {'context_not_found'}
    missing = Counter(drop.where for drop in rejected)
    assert missing == {key: total - match for key, (total, match, _) in COUNTS.items() if total > match}
    careful, left = turn_templates(read_registry(), templates)
    assert len(careful) == 327 - doubtful and Counter(drop.rule for drop in left)['doubtful'] == doubtful
    assert not any('text.split' in meta.jinja for meta in careful)
