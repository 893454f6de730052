"""The annotation of P3's templates against the paper's counts, and the demonstration's templates and contexts against their promises."""
from collections import Counter, defaultdict

import pytest

from instructgen.bonito.format import find_task_type, load_task_types
from instructgen.bonito.meta import read_registry, turn_templates
from instructgen.bonito.templates import load_templates

# dataset/config: templates in the collection, templates that show the context, templates that the paper uses
BY_DATASET = {
    'cosmos_qa': (13, 12, 12), 'social_i_qa': (6, 6, 6), 'paws/labeled_final': (12, 12, 12), 'quail': (13, 13, 13), 'squad': (6, 6, 6), 'dream': (5, 3, 3),
    'qasc': (8, 3, 3), 'wiki_hop/original': (9, 9, 9), 'race/all': (8, 8, 8), 'hellaswag': (11, 8, 8), 'super_glue/boolq': (10, 10, 10),
    'adversarial_qa/dbert': (5, 5, 5), 'adversarial_qa/dbidaf': (5, 5, 5), 'adversarial_qa/droberta': (5, 5, 5), 'quoref': (11, 11, 10),
    'duorc/ParaphraseRC': (9, 9, 9), 'duorc/SelfRC': (9, 9, 9), 'ropes': (12, 10, 10), 'super_glue/record': (20, 10, 10), 'amazon_polarity': (9, 9, 9),
    'app_reviews': (4, 4, 4), 'imdb': (11, 11, 10), 'rotten_tomatoes': (10, 10, 9), 'yelp_review_full': (7, 7, 7), 'cnn_dailymail/3.0.0': (9, 9, 9),
    'gigaword': (9, 9, 9), 'samsum': (7, 7, 7), 'xsum': (10, 10, 10), 'ag_news': (7, 7, 7), 'dbpedia_14': (4, 3, 2), 'glue/mrpc': (7, 7, 7),
    'super_glue/wsc.fixed': (10, 10, 10), 'super_glue/wic': (10, 10, 10), 'super_glue/copa': (12, 12, 12), 'super_glue/rte': (10, 10, 10),
    'super_glue/cb': (15, 15, 15), 'anli': (15, 15, 15), 'quartz': (8, 8, 8)}
# task type: dataset/config -> templates
BY_TYPE = {
    'mcqa': {'cosmos_qa': 8, 'social_i_qa': 2, 'quail': 10, 'dream': 2, 'qasc': 3, 'wiki_hop/original': 5, 'race/all': 4, 'super_glue/record': 6, 'app_reviews': 2, 'quartz': 8},
    'exqa': {'squad': 4, 'adversarial_qa/dbert': 4, 'adversarial_qa/dbidaf': 4, 'adversarial_qa/droberta': 4, 'quoref': 9, 'duorc/ParaphraseRC': 5, 'duorc/SelfRC': 5,
             'ropes': 10, 'super_glue/record': 4},
    'sentiment': {'amazon_polarity': 9, 'imdb': 10, 'rotten_tomatoes': 9, 'yelp_review_full': 7},
    'summarization': {'quoref': 1, 'duorc/ParaphraseRC': 1, 'duorc/SelfRC': 1, 'cnn_dailymail/3.0.0': 7, 'gigaword': 7, 'samsum': 6, 'xsum': 10},
    'nli': {'super_glue/cb': 15, 'anli': 15},
    'sent_comp': {'hellaswag': 6, 'super_glue/copa': 12},
    'paraphrase_id': {'paws/labeled_final': 11, 'glue/mrpc': 5},
    'qa': {'cosmos_qa': 3, 'social_i_qa': 2, 'quail': 3, 'wiki_hop/original': 4, 'race/all': 1, 'app_reviews': 1},
    'qg': {'cosmos_qa': 1, 'social_i_qa': 1, 'squad': 2, 'race/all': 2, 'adversarial_qa/dbert': 1, 'adversarial_qa/dbidaf': 1, 'adversarial_qa/droberta': 1,
           'duorc/ParaphraseRC': 2, 'duorc/SelfRC': 2},
    'ynqa': {'social_i_qa': 1, 'race/all': 1, 'super_glue/boolq': 10},
    'topic_class': {'hellaswag': 2, 'ag_news': 7, 'dbpedia_14': 2},
    'coref': {'super_glue/wsc.fixed': 10}, 'wsd': {'super_glue/wic': 10}, 'te': {'super_glue/rte': 10},
    'text_gen': {'dream': 1, 'duorc/ParaphraseRC': 1, 'duorc/SelfRC': 1, 'app_reviews': 1, 'cnn_dailymail/3.0.0': 2, 'gigaword': 2, 'samsum': 1},
    'paraphrase': {'paws/labeled_final': 1, 'glue/mrpc': 2}}
ADDED = {'quoref': {'Read And Extract': 'exqa'}, 'imdb': {'Sentiment with choices': 'sentiment'}, 'rotten_tomatoes': {'Sentiment with choices': 'sentiment'},
         'dbpedia_14': {'given_a_choice_of_categories': 'topic_class'}}


def test_annotation_has_the_papers_counts_by_dataset_and_type():
    registry = read_registry()
    assert {entry.name: len(entry.templates) for entry in registry} == {name: used for name, (_, _, used) in BY_DATASET.items()}
    assert len(registry) == 38 and sum(len(entry.templates) for entry in registry) == 323
    found = defaultdict(Counter)
    for entry in registry:
        for kind in entry.templates.values(): found[kind][entry.name] += 1
    assert {kind: dict(counts) for kind, counts in found.items()} == BY_TYPE
    assert set(found) == {kind.short for kind in load_task_types()}
    assert {entry.name: entry.added for entry in registry if entry.added} == ADDED


def test_doubtful_names_are_annotated_and_give_a_reason():
    for entry in read_registry():
        assert set(entry.doubtful) <= {*entry.templates, *entry.added}, entry.name
        assert all(len(reason.split()) > 4 for reason in entry.doubtful.values()), entry.name


def test_annotation_meets_the_real_collection(shared_data):
    templates, registry = load_templates(shared_data / 'promptsource/templates.tar.xz'), read_registry()
    by_dataset = Counter('/'.join(filter(None, (template.dataset, template.subset))) for template in templates)
    assert {name: by_dataset[name] for name in BY_DATASET} == {name: total for name, (total, _, _) in BY_DATASET.items()}
    made, rejected = turn_templates(registry, templates, careful=False)
    published = [meta for meta in made if meta.paper]
    assert len(published) == 323 and {r.rule for r in rejected} <= {'context_not_found', 'not_registered'}
    matched = {entry.name: {*entry.templates, *entry.added} for entry in registry}
    assert {name: len(names) for name, names in matched.items()} == {name: fits for name, (_, fits, _) in BY_DATASET.items()}
    missing = Counter(r.where for r in rejected if r.rule == 'context_not_found')
    assert missing == {name: total - fits for name, (total, fits, _) in BY_DATASET.items() if total > fits}
    careful, left = turn_templates(registry, templates, careful=True)
    doubtful = sum(len(entry.doubtful) for entry in registry)
    assert len(careful) == 323 + 4 - doubtful and Counter(r.rule for r in left)['doubtful'] == doubtful
    assert not any('text.split' in meta.jinja for meta in careful)  # no copy of the context beside its placeholder
