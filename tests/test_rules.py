"""The embedded writer: what it proposes, what it must never propose, and that it answers every prompt it knows."""
import json
import os
import re
import subprocess
import sys

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from instructgen.dynosaur.fields import RULES, Metadata, metadata
from instructgen.dynosaur.prompts import build_prompt, load_prompts
from instructgen.dynosaur.rules import answer, write_tasks
from instructgen.dynosaur.tasks import check_tasks, parse_tasks
from instructgen.records import Field, SourceCard

PHASES = (Phase.explicit, Phase.reuse, Phase.generate)  # shrinking a whole source takes minutes and shows little
PASSAGE = 'The well in the yard is older than the house, and its rope was changed in the spring of last year.'


def source(rows, labels=None, name='demo', summary='', dtypes=None):
    "A source with these rows; labels make a field a ClassLabel."
    labels, dtypes = labels or {}, dtypes or {}
    names = dict.fromkeys(name for row in rows for name in row)
    return SourceCard(name, summary=summary, rows=tuple(rows), fields=tuple(
        Field(name, 'ClassLabel' if name in labels else dtypes.get(name, ''), tuple(labels.get(name, ()))) for name in names))


def directions(card, setting='unaware'):
    "What is asked from what, as 'input+input>output', and the instructions; every task must keep the project's own rules."
    meta = metadata(card, setting)
    if not isinstance(meta, Metadata): return [], []
    text = answer(build_prompt(meta, load_prompts()))
    kept, dropped = check_tasks(parse_tasks(text), card)
    assert dropped == []
    return ['+'.join(task.inputs) + '>' + task.output for task in kept], [task.instruction for task in kept]


# ---- what ordinary sources get

GOLDEN = {
    'question, passage': ([{'question': 'How old is the well?', 'passage': PASSAGE, 'answer': 'older than the house'},
                           {'question': 'When was the rope changed?', 'passage': PASSAGE + ' It is dry.', 'answer': 'last spring'}], {},
                          ['passage+question>answer', 'passage+answer>question']),
    'nested answers': ([{'title': 'Wells', 'context': PASSAGE, 'question': 'How old is the well?', 'answers': {'text': ['older than the house', 'older'], 'answer_start': [28, 28]}},
                        {'title': 'Ropes', 'context': PASSAGE + ' It is dry.', 'question': 'When was it changed?', 'answers': {'text': ['last spring'], 'answer_start': [70]}}], {},
                       ['context+question>answers.text', 'context+answers.text>question', 'context>title']),
    'yes and no': ([{'question': 'is the well old', 'passage': PASSAGE, 'answer': True}, {'question': 'is the rope old', 'passage': PASSAGE + ' It is dry.', 'answer': False}], {},
                   ['passage+question>answer']),
    'choices in a list': ([{'question': 'Which of these is red?', 'choices': ['milk', 'blood', 'grass'], 'answer': 'blood'},
                           {'question': 'Which of these is wet?', 'choices': ['sand', 'water', 'stone'], 'answer': 'water'}], {},
                          ['question+choices>answer']),
    'choices in columns': ([{'question': 'Which of these is red?', 'A': 'milk', 'B': 'blood', 'C': 'grass', 'D': 'snow', 'answer': 'B'},
                            {'question': 'Which of these is wet?', 'A': 'sand', 'B': 'stone', 'C': 'water', 'D': 'ash', 'answer': 'C'}], {},
                           ['question+A+B+C+D>answer']),
    'a labelled text': ([{'text': 'A gentle, funny film.', 'label': 'positive'}, {'text': 'Two hours of my life are gone.', 'label': 'negative'}], {'label': ('negative', 'positive')},
                        ['text>label']),
    'inference': ([{'premise': 'A man sleeps on a bench.', 'hypothesis': 'Nobody is awake.', 'label': 'neutral'}, {'premise': 'Rain falls on the roof.', 'hypothesis': 'The roof is wet.', 'label': 'entailment'}],
                  {'label': ('entailment', 'neutral', 'contradiction')}, ['premise+hypothesis>label', 'premise+label>hypothesis']),
    'claims': ([{'claim': 'The well is new.', 'evidence': PASSAGE, 'label': 'refutes'}, {'claim': 'The well is old.', 'evidence': PASSAGE + ' It is dry.', 'label': 'supports'}], {},
               ['claim+evidence>label', 'evidence+label>claim']),
    'two sentences': ([{'sentence1': 'A man sleeps on a bench.', 'sentence2': 'A bench is slept on.', 'label': 1}, {'sentence1': 'Rain falls today.', 'sentence2': 'It was dry all day.', 'label': 0}],
                      {'label': ('0', '1')}, ['sentence1+sentence2>label']),
    'an article': ([{'headline': 'Old well found', 'article': PASSAGE, 'summary': 'A well is older than its house.'}, {'headline': 'Rope changed', 'article': PASSAGE + ' It is dry.', 'summary': 'The rope is new.'}], {},
                   ['article>summary', 'article>headline']),
    'code': ([{'docstring': 'Return the sum of two numbers.', 'code': 'def add(a, b): return a + b'}, {'docstring': 'Return the larger number.', 'code': 'def top(a, b): return max(a, b)'}], {},
             ['docstring>code', 'code>docstring']),
    'a dialogue': ([{'dialogue': 'Ann: Is it open? Ben: Until six.', 'summary': 'Ben tells Ann that it is open until six.'}, {'dialogue': 'Ann: Have you eaten? Ben: Not yet.', 'summary': 'Ben has not eaten.'}], {},
                   ['dialogue>summary']),
    'translation': ([{'translation': {'de': 'Guten Morgen.', 'en': 'Good morning.'}}, {'translation': {'de': 'Gute Nacht.', 'en': 'Good night.'}}], {},
                    ['translation.en>translation.de', 'translation.de>translation.en']),
    'concepts': ([{'concepts': ['dog', 'park', 'run'], 'target': 'A dog runs in the park.'}, {'concepts': ['boat', 'lake', 'row'], 'target': 'They row the boat over the lake.'}], {},
                 ['concepts>target']),
    'a worked problem': ([{'question': 'Ann has 3 pears and gets 4. How many has she?', 'answer': '3 + 4 = <<3+4=7>>7 #### 7'}, {'question': 'Ben had 9 and lost 2. How many are left?', 'answer': '9 - 2 = <<9-2=7>>7 #### 7'}], {},
                         ['question>answer']),
    'a review with stars': ([{'review_title': 'Too small', 'review_body': 'The lamp is half as big as it looks.', 'stars': 2}, {'review_title': 'Lovely', 'review_body': 'It gives a warm and even light.', 'stars': 5}], {},
                            ['review_title+review_body>stars', 'review_body>review_title']),
    'instructions with an input': ([{'instruction': 'Translate the sentence.', 'input': 'The well is old.', 'output': 'Der Brunnen ist alt.'}, {'instruction': 'Shorten the sentence.', 'input': 'The rope, which is new, is long.', 'output': 'The new rope is long.'}], {},
                                   ['instruction+input>output']),
    'preferences': ([{'prompt': 'Name three kinds of trees.', 'chosen': 'Oak, beech and larch.', 'rejected': 'I do not know any.'}, {'prompt': 'Say good night in verse.', 'chosen': 'The lamp is low, the day is done.', 'rejected': 'Night.'}], {},
                    ['prompt>chosen']),
    'a query with its tables': ([{'question': 'How many wells are there?', 'context': 'CREATE TABLE wells (id INTEGER)', 'answer': 'SELECT COUNT(*) FROM wells'}, {'question': 'How many ropes are there?', 'context': 'CREATE TABLE ropes (id INTEGER)', 'answer': 'SELECT COUNT(*) FROM ropes'}], {},
                                ['context+question>answer', 'context+answer>question']),
    'a gap': ([{'sentence': 'The rope did not fit the wheel because _ was too thick.', 'option1': 'the rope', 'option2': 'the wheel', 'answer': '1'}, {'sentence': 'The lid did not fit the well because _ was too wide.', 'option1': 'the lid', 'option2': 'the well', 'answer': '2'}], {},
              ['sentence+option1+option2>answer']),
    'a stance': ([{'text': PASSAGE, 'target': 'well water', 'stance': 'favor'}, {'text': PASSAGE + ' It is dry.', 'target': 'new ropes', 'stance': 'against'}], {},
                 ['text+target>stance']),
    'recipes': ([{'name': 'Pea soup', 'ingredients': ['peas', 'salt'], 'instructions': 'Boil the peas in salted water for an hour.', 'minutes': 60}, {'name': 'Rice', 'ingredients': ['rice', 'water'], 'instructions': 'Boil the rice in water until it is soft.', 'minutes': 20}], {},
                ['name+ingredients>instructions', 'ingredients+instructions>name']),
    'tickets': ([{'subject': 'Lamp broken', 'body': PASSAGE, 'priority': 'high', 'agent_reply': 'We are sorry and will send a new lamp.'}, {'subject': 'Card charged', 'body': PASSAGE + ' It is dry.', 'priority': 'low', 'agent_reply': 'One of the charges was cancelled.'}], {},
                ['body>subject', 'body>agent_reply']),
    'clauses': ([{'clause_text': 'The tenant shall keep the well covered at all times.', 'clause_type': 'Obligation', 'contract_id': 'c1', 'party': 'Tenant'}, {'clause_text': 'This lease ends on the last day of May.', 'clause_type': 'Term', 'contract_id': 'c2', 'party': 'Both'}], {},
                ['clause_text>clause_type']),
    'products': ([{'product_name': 'Lamp A3', 'description': PASSAGE, 'price': 44.5, 'category': 'Lighting', 'rating': 4.5}, {'product_name': 'Lamp A4', 'description': PASSAGE + ' It is dry.', 'price': 54.5, 'category': 'Garden', 'rating': 3.5}], {},
                 ['description>category']),
    'instructions': ([{'instruction': 'Name three kinds of trees.', 'output': 'Oak, beech and larch.'}, {'instruction': 'Say good night in verse.', 'output': 'The lamp is low, the day is done.'}], {},
                     ['instruction>output']),
}


@pytest.mark.parametrize('name', GOLDEN)
def test_ordinary_sources(name):
    rows, labels, expected = GOLDEN[name]
    assert sorted(directions(source(rows, labels))[0]) == sorted(expected)


# ---- what nothing sound can be asked of

UNSOUND = {
    'sales': {'date': '2024-01-05', 'region': 'North', 'product': 'Lamp A3', 'units': 7, 'unit_price': 44.6, 'revenue': 312.4},
    'sensors': {'timestamp': '2024-01-05T10:00:00Z', 'sensor': 'boiler-3', 'temperature': 61.3, 'humidity': 40.1, 'status': 'ok'},
    'logs': {'time': '10:00:01', 'host': 'web-1', 'level': 'ERROR', 'message': 'connection to the database was lost', 'request_id': 'a81f'},
    'patients': {'patient_id': 'p1', 'age': 71, 'gender': 'f', 'blood_pressure': '140/90', 'admitted': '2024-01-05', 'ward': 'B2'},
    'survey': {'respondent': 'r1', 'age': 33, 'q1': 4, 'q2': 5, 'income': 'high', 'city': 'Graz'},
    'shop': {'sku': 'L-77', 'name': 'Lamp', 'brand': 'Helio', 'price': 44.6, 'stock': 3, 'image_url': 'https://shop.example/l77.jpg'},
    'files': {'path': 'src/a.py', 'size': 1200, 'license': 'mit', 'repo_name': 'wells/ropes', 'hash': '5f2a09c1b3d4e5f6'},
    'pages': {'url': 'https://a.example/x', 'timestamp': '2019-04-25T12:57:54Z', 'text': PASSAGE},
    'authors': {'text': PASSAGE, 'author': 'Ann', 'age': 48, 'gender': 'f', 'horoscope': 'Libra', 'date': '12,July,2003'},
    'votes': {'comment': PASSAGE, 'ups': 12, 'downs': 1, 'score': 11, 'num_comments': 4, 'subreddit': 'wells'},
    'unknown columns': {'foo': 'a bar of soap', 'baz': 'another bar of soap', 'qux': 'two'},
    'tokens': {'tokens': ['A', 'man', 'sleeps'], 'ner_tags': ['O', 'O', 'O'], 'pos_tags': ['DT', 'NN', 'VB']},
    'coordinates': {'lat': 47.07, 'lon': 15.44, 'altitude': 353, 'name': 'Graz'},
    'flags without a name': {'text': PASSAGE, 'absent': '0', 'health': '1'},
    'a wordless label': {'text': PASSAGE, 'label': 3},
    'letters without options': {'question': 'Which of these is red?', 'answer': 'B'},
    'a hypothesis alone': {'premise': PASSAGE, 'hypothesis': 'The well is dry.'},
    'two sentences alone': {'sentence1': 'A man sleeps on a bench.', 'sentence2': 'Rain falls on the roof.'},
}


@pytest.mark.parametrize('name', UNSOUND)
def test_nothing_is_asked_where_nothing_follows(name):
    row = UNSOUND[name]
    other = {key: value + 1 if isinstance(value, (int, float)) else list(value) + ['now'] if isinstance(value, list) else value.replace('1', '2') + ' ' for key, value in row.items()}
    assert directions(source([row, other]))[0] == []


def test_a_candidate_answer_is_judged_and_not_learnt():
    rows = [{'question': 'How old is the well?', 'answer': 'It is older than the house.', 'label': 1}, {'question': 'Who dug it?', 'answer': 'Ropes are made of hemp.', 'label': 0}]
    found, texts = directions(source(rows, {'label': ('0', '1')}))
    assert found == ['question+answer>label']
    assert texts[0].endswith('Answer 1 for yes and 0 for no.')


def test_an_answer_that_depends_on_missing_turns_is_not_asked_for():
    rows = [{'snippet': PASSAGE, 'question': 'Can I use the well?', 'history': [{'follow_up_question': 'Are you a guest?', 'follow_up_answer': 'No'}, {'follow_up_question': 'Is it dry?', 'follow_up_answer': 'Yes'}], 'answer': word}
            for word in ('Yes', 'No')]
    assert 'snippet+question>answer' not in directions(source(rows))[0]


def test_positions_need_a_base():
    def rows(*places): return [{'ctx': 'The man lowers the bucket into the well and', 'endings': ['drinks.', 'sings a song.', 'flies away.', 'sleeps.'], 'label': place} for place in places]
    assert directions(source(rows('1', '2')))[0] == []          # counted from 0 or from 1?
    assert 'from 0' in directions(source(rows('0', '2')))[1][0] or 'first is 0' in directions(source(rows('0', '2')))[1][0]
    assert 'from 1' in directions(source(rows('1', '4')))[1][0] or 'first is 1' in directions(source(rows('1', '4')))[1][0]


def test_titles_that_are_addresses_are_left_alone():
    rows = [{'title': 'wells.example.com', 'text': PASSAGE}, {'title': 'ropes.example.com', 'text': PASSAGE + ' It is dry.'}]
    assert directions(source(rows))[0] == []


def test_lists_are_no_targets():
    rows = [{'text': PASSAGE, 'keywords': ['well', 'rope']}, {'text': PASSAGE + ' It is dry.', 'keywords': ['well', 'water']}]
    assert all(not name.endswith('>keywords') for name in directions(source(rows))[0])


# ---- wording

def test_the_summary_names_the_text():
    rows, labels, _ = GOLDEN['a labelled text']
    card = source(rows, labels, summary='Sentences from movie reviews with their sentiment.')
    film = source([{'text': PASSAGE, 'label': 'positive'}, {'text': PASSAGE + ' It is dry.', 'label': 'negative'}], labels, summary='Movie reviews with their sentiment.')
    assert 'the sentence' in directions(card, 'aware')[1][0]
    assert 'film review' in directions(film, 'aware')[1][0]
    assert 'the text' in directions(film, 'unaware')[1][0]


def test_both_settings_differ():
    rows, labels, _ = GOLDEN['inference']
    card = source(rows, labels, summary='Pairs of statements.')
    assert set(directions(card, 'aware')[1]).isdisjoint(directions(card, 'unaware')[1])


def test_labels_are_written_as_they_are():
    rows, labels, _ = GOLDEN['inference']
    texts = [directions(source(rows, labels, name=f'source {number}'))[1][0] for number in range(20)]
    assert any('entailment, neutral or contradiction' in text for text in texts)
    assert len(set(texts)) > 2  # wordings vary with the source


@pytest.mark.parametrize('name', ['question, passage', 'nested answers', 'yes and no', 'choices in a list', 'a labelled text', 'inference', 'claims', 'two sentences', 'an article', 'code', 'translation'])
def test_german_prompts_get_german_instructions(name):
    rows, labels, _ = GOLDEN[name]
    prompts, card = load_prompts('de'), source(rows, labels)
    kept, dropped = check_tasks(parse_tasks(answer(build_prompt(metadata(card, 'unaware'), prompts))), card, prompts=prompts)
    assert kept and not dropped
    for task in kept: assert re.match(r'(Beantworte|Entscheide|Lies|Finde|Schreibe|Formuliere|Wähle|Bestimme|Ordne|Beurteile|Stelle|Fasse|Gib|Übersetze|Übertrage|Setze|Beschreibe|Gehe)\b', task.instruction), task.instruction


# ---- the answer

def test_other_prompts_are_not_answered():
    for messages in (None, '', 'The sky is', [], [{}], [{'role': 'user', 'content': 'Hello!'}], [{'role': 'system', 'content': 'You are helpful.'}, {'role': 'user', 'content': '{"dataset": "x"}'}]):
        assert answer(messages) is None


def test_the_answer_has_the_form_that_was_asked_for():
    rows, labels, _ = GOLDEN['inference']
    card, published = source(rows, labels), RULES['published']
    assert list(json.loads(answer(build_prompt(metadata(card, 'unaware'), load_prompts())))) == ['tasks']
    text = answer(build_prompt(metadata(card, 'unaware', published), load_prompts(), published))
    assert text.startswith("{'task1': {'instruction': ")
    kept, _ = check_tasks(parse_tasks(text), card, published)
    assert len(kept) == 2


def test_the_hash_seed_does_not_matter():
    code = ('import json\nfrom instructgen.dynosaur.fields import Metadata\nfrom instructgen.dynosaur.rules import write_tasks\n'
            "meta = Metadata('x', 'Reviews.', fields=('title', 'text', 'label', 'toxic', 'topic', 'service'), types={'toxic': 'boolean', 'label': 'label', 'topic': 'label', 'service': 'label'},"
            " labels={'label': ['pos', 'neg'], 'topic': ['sports', 'politics'], 'service': ['positive', 'negative']})\nprint(json.dumps(write_tasks(meta)))")
    outputs = {subprocess.run([sys.executable, '-c', code], env=os.environ | {'PYTHONHASHSEED': seed}, capture_output=True, text=True, check=True).stdout for seed in ('0', '1', '7')}
    assert len(outputs) == 1 and len(json.loads(outputs.pop())) == 3


NAMES = st.sampled_from('''text sentence sentence1 sentence2 question question_title answer answers.text options choice1 choice2 A B C label labels target class sentiment topic toxic title summary premise hypothesis claim evidence
context contexts document article code docstring dialogue response translation.de translation.en en de keywords rating stars score url date author id history.turn input output instruction prompt explanation query
is_impossible entailment meaning_representation human_reference word definition ingredients directions aspect . _ ß 1 a.b.c tweet review_body category type gold_label similarity head tail'''.split()) | st.text(max_size=12)
VALUES = st.one_of(st.text(max_size=40), st.lists(st.text(max_size=12), max_size=4), st.sampled_from(['yes', 'no', '0', '1', 'A', 'B', 'positive', 'SELECT 1', '#### 7', 'https://a.org', PASSAGE, '<mask>', '{x}', '[y]']))


@st.composite
def metadatas(draw):
    fields = tuple(draw(st.lists(NAMES, unique=True, max_size=9)))
    types = {name: draw(st.sampled_from(['text', 'number', 'boolean', 'label', 'category', 'list', 'url', 'time', ''])) for name in fields if draw(st.booleans())}
    labels = {name: draw(st.lists(st.text(max_size=12), max_size=5)) for name in fields if draw(st.integers(0, 3)) == 0}
    rows = tuple({name: draw(VALUES) for name in fields if draw(st.integers(0, 4))} for _ in range(draw(st.integers(0, 2))))
    return Metadata(draw(st.text(max_size=12)), draw(st.text(max_size=40) | st.just('Tweets and movie reviews.')), rows, fields, types, labels)


@settings(max_examples=300, deadline=None, phases=PHASES)
@given(metadatas(), st.sampled_from(['en', 'de']))
def test_any_source_is_answered_soundly(meta, language):
    tasks = write_tasks(meta, language)
    assert len(tasks) <= 3 and len({task['output_field'] for task in tasks}) == len(tasks) or all('ranslat' in task['instruction'] or language == 'de' or ' in ' in task['instruction'] for task in tasks)
    for task in tasks:
        named = [*task['input_fields'], task['output_field']]
        assert task['input_fields'] and len(set(named)) == len(named) and set(named) <= set(meta.fields)
        assert meta.types.get(task['output_field']) not in ('list', 'url', 'time')
        assert re.fullmatch(r'[^\W\d_].*[.!]', task['instruction'], re.S)
        assert not re.search(r'  | [.,;:]', task['instruction'])
    assert tasks == write_tasks(meta, language)


@settings(max_examples=100, deadline=None, phases=PHASES)
@given(metadatas())
def test_any_prompt_is_answered(meta):
    for prompts in (load_prompts(), load_prompts('de')):
        assert json.loads(answer(build_prompt(meta, prompts)))['tasks'] == write_tasks(meta, prompts.language)


# ---- real sources

def _cards(folder):
    for path in sorted(folder.iterdir()):
        files = sorted((path / 'data').glob('*.jsonl'), key=lambda file: 'train' not in file.name)
        if not files: continue
        with files[0].open(encoding='utf-8') as lines: rows = [json.loads(line) for line, _ in zip(lines, range(20))]
        yield source(rows, name=path.name)


def test_real_sources(shared_data):
    cards = list(_cards(shared_data / 'hub'))
    assert len(cards) == 19
    found = {card.name: directions(card)[0] for card in cards}  # keeps all rules, see `directions`
    assert [name for name, tasks in found.items() if not tasks] == []
    assert found['boolq'][0] == 'passage+question>answer'
    assert found['vitaminc'] == ['claim+evidence>label', 'evidence+label>claim']
    assert found['gsm8k'] == ['question>answer']
    assert found['policyqa'][0] == 'context+question>answers.text'
    assert [name for card in _cards(shared_data / 'cards') for name in directions(card)[0] if name.rpartition('>')[2].endswith(('url', 'date', 'author', 'id'))] == []
