"""CTGA from the hub's own names, labels as numbers or names, and what overrides can say about rows"""
import json

import pytest
from hub_server import HubServer, repository

from instructgen.bonito.ctga import build_ctga, check_fields, plan_datasets
from instructgen.bonito.examples import Override, map_row
from instructgen.bonito.format import find_task_type
from instructgen.bonito.meta import Registered, meta_template, read_registry, turn_templates
from instructgen.bonito.sandbox import RenderError
from instructgen.bonito.templates import Template, load_templates
from instructgen.sources import Policy
from instructgen.store import open_run, read_dataset

CARD = """---
license: mit
language: en
configs:
- config_name: default
  data_files: data/train.jsonl
dataset_info:
  features:
  - name: text
    dtype: string
  - name: label
    dtype:
      class_label:
        names:
          '0': World
          '1': Sports
          '2': Business
---
# News
"""
NEWS = Template('me/news', 'which', '{{ text }} Is it on World, Sports or Business? ||| {{ answer_choices[label] }}', answer_choices='world ||| sports ||| business')
ENTRY = Registered('me/news', '{{text}}', {'which': 'topic_class'})
METAS = [meta_template(NEWS, '{{text}}', find_task_type('topic_class'))]


def lines(labels: list) -> bytes: return ''.join(json.dumps({'text': f'Match number {number} was played.', 'label': label}) + '\n' for number, label in enumerate(labels)).encode()


def built(tmp_path, plans, refused) -> tuple[list[dict], dict]:
    with open_run('ctga', {}, out=tmp_path/'run') as run: build_ctga(run, plans, refused)
    drops = {drop['rule']: drop['count'] for drop in map(json.loads, (tmp_path/'run'/'rejected.jsonl').read_text().splitlines())}
    return (read_dataset(tmp_path/'run').to_pylist() if list((tmp_path/'run').glob('dataset/data/*')) else []), drops


@pytest.mark.parametrize('labels', [[1, 2, 0, 1], ['Sports', 'Business', 'World', 'Sports']])
def test_a_name_of_the_hub(tmp_path, monkeypatch, labels):
    "Without an override the registry's name is asked for on the hub; labels may be stored as numbers or as names."
    with HubServer({'me/news': repository(CARD, {'data/train.jsonl': lines(labels)}, tags=['language:en', 'license:mit'])}) as server:
        monkeypatch.setenv('HF_ENDPOINT', server.address)
        plans, refused = plan_datasets([ENTRY], METAS)
        made, drops = built(tmp_path, plans, refused)
    assert (refused, drops) == ([], {})
    assert [example['output'] for example in made] == ['sports', 'business', 'world', 'sports']
    assert {(example['source'], example['license'], example['split']) for example in made} == {('me/news', 'mit', 'train')} and len(made[0]['revision']) == 40


def test_an_owner_and_a_configuration(tmp_path, monkeypatch):
    with HubServer({'you/news': repository(CARD, {'data/train.jsonl': lines([1])}, tags=['language:en', 'license:mit'])}) as server:
        monkeypatch.setenv('HF_ENDPOINT', server.address)
        plans, refused = plan_datasets([ENTRY], METAS, {'me/news': Override('hub:you/news:default')})
        made, _ = built(tmp_path, plans, refused)
        assert [drop.rule for drop in plan_datasets([ENTRY], METAS, {'me/news': Override('hub:me/none')})[1]] == ['not_found']
    assert made[0]['source'] == 'you/news' and made[0]['output'] == 'sports'


def test_a_row_without_a_label(tmp_path):
    "-1 is how the hub writes 'no label', and Jinja would take the last choice."
    (tmp_path/'news').mkdir()
    (tmp_path/'news'/'train.jsonl').write_bytes(lines([1, -1, None, 0]))
    plans, refused = plan_datasets([ENTRY], METAS, {'me/news': Override(str(tmp_path/'news'))}, Policy(languages=(), license='own'))
    made, drops = built(tmp_path, plans, refused)
    assert [example['output'] for example in made] == ['sports', 'world'] and drops == {'no_label': 1, 'no_field': 1}


def test_constants_stand_in_for_a_field(tmp_path):
    asks = Template('quiz', 'tell', '{% if metadata.split != "test" %}{{ text }} {{ question }} ||| {{ answer }}{% endif %}')
    plan_of = lambda override: plan_datasets([Registered('quiz', '{{text}}', {'tell': 'qa'})], [meta_template(asks, '{{text}}', find_task_type('qa'))], {'quiz': override}, Policy(languages=(), license='own'))
    (tmp_path/'quiz').mkdir()
    (tmp_path/'quiz'/'train.jsonl').write_text('{"text": "The lease ends in May.", "question": "When?", "answer": "May"}\n')
    lacking = check_fields(plan_of(Override(str(tmp_path/'quiz')))[0][0], ['text', 'question', 'answer'])
    assert [(drop.rule, drop.text.partition(';')[0]) for drop in lacking[1]] == [('no_field', 'it needs metadata')]
    made, drops = built(tmp_path, *plan_of(Override(str(tmp_path/'quiz'), constants={'metadata': {'split': 'train'}})))
    assert (made[0]['instruction'], made[0]['output'], drops) == ('{{context}} When?', 'May', {})


@pytest.mark.parametrize('row, override, wanted', [
    ({'a': {'b': [{'c': 1}, {'c': 2}]}}, Override(fields={'x': 'a.b.c'}), [1, 2]), ({'x': None}, Override(values={'x': {'null': 'none'}}), 'none'), ({'x': 1.0}, Override(values={'x': {'1': 'one'}}), 'one'),
    ({'y': 'Sports'}, Override(fields={'x': 'y'}, values={'x': {'Sports': 7}}), 7), ({'y': 'Sports'}, Override(fields={'x': 'y'}), 1), ({'y': 'Chess', 'x': 0}, Override(fields={'x': 'y'}), 'Chess')])
def test_rows_are_mapped(row, override, wanted): assert map_row(row, override, {'y': {'World': 0, 'Sports': 1}})['x'] == wanted


def test_the_papers_counts(shared_data):
    templates = load_templates(shared_data/'promptsource'/'templates.tar.xz')
    published, left = turn_templates(read_registry(), templates, careful=False)
    assert len(published) == 323 and len({made.task_type for made in published}) == 16 and len({(made.template.dataset, made.template.subset) for made in published}) == 38
    assert {drop.rule for drop in left} == {'context_not_found'} and all(made.paper for made in published)
    careful, left = turn_templates(read_registry(), templates)
    added, doubtful = [made for made in careful if not made.paper], [drop for drop in left if drop.rule == 'doubtful']
    assert len(added) == 4 and len(careful) == 323 + 4 - len(doubtful)
    dream = [made for made in careful if made.template.dataset == 'dream']
    assert len(dream) == 3 and not any('join' in made.text.partition('|||')[0] + made.text.partition('|||')[2] and 'dialogue' in made.text for made in dream)  # no rest of the expression is left
    for made in published:
        assert '\0' not in made.text and '{{context}}' in made.text, made.label


def test_a_missing_value_is_an_error_of_its_row_only():
    with pytest.raises(RenderError, match='unmapped_value: x is 3'): map_row({'x': 3}, Override(values={'x': {'1': 'one'}}))
