"""Near-duplicates against every pair, root verbs and objects on golden and real instructions, languages on golden sentences and real rows."""
import gzip
import json
import random
import re
from collections import Counter
from types import SimpleNamespace

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from instructgen import text
from instructgen.text import (SPACY_MODELS, STOP_WORDS, detect_language, distinct_share, main_script, near_duplicates, object_noun,
                              parsed_verb_object, root_verb_object, singular, top_verb_share, verb_objects, words)


# near-duplicates

def rouge_l(first: list[str], second: list[str]) -> float:
    "ROUGE-L F1 by the plain dynamic programme."
    row = [0] * (len(second) + 1)
    for word in first:
        left = 0
        for place, other in enumerate(second):
            up = row[place + 1]
            row[place + 1] = left + 1 if word == other else max(up, row[place])
            left = up
    return 2 * row[-1] / (len(first) + len(second))


def every_pair(texts: list[str], threshold: float) -> list[int]:
    "What near_duplicates promises, by comparing each text with every kept one."
    split, kept, twins = [words(text) for text in texts], [], []
    for place, mine in enumerate(split):
        twin = next((other for other in kept if (rouge_l(split[other], mine) >= threshold - 1e-6 if mine and split[other]
                                                 else not mine and not split[other] and texts[other].strip() == texts[place].strip())), -1)
        twins.append(twin)
        if twin < 0: kept.append(place)
    return twins


VOCABULARY = 'given the a question answer context passage predict generate short title of sentence label review best first second summary text'.split()


def templated(seed: int, count: int) -> list[str]:
    "Instructions that are close to each other, as a model writes them for one source."
    rng = random.Random(seed)
    base = [' '.join(rng.choices(VOCABULARY, k=rng.randint(3, 22))) for _ in range(count // 8)]
    texts = []
    for _ in range(count):
        copy = rng.choice(base).split()
        for _ in range(rng.randint(0, 3)):
            place = rng.randrange(len(copy))
            copy[place:place + rng.randint(0, 1)] = rng.choices(VOCABULARY, k=rng.randint(0, 1))
            if not copy: copy = ['answer']
        texts.append(' '.join(copy))
    return texts


@pytest.mark.parametrize('threshold', [.5, .7, .9, 1.])
def test_equals_every_pair_on_245_thousand_pairs(threshold):
    texts = templated(1, 700)
    twins = near_duplicates(texts, threshold)
    assert twins == every_pair(texts, threshold)
    assert 0 < sum(twin >= 0 for twin in twins) < len(texts)


@settings(deadline=None, max_examples=150)
@given(st.lists(st.lists(st.sampled_from('a b c d e !? é 日本'.split()), max_size=14).map(' '.join), max_size=12), st.floats(.3, 1.))
def test_equals_every_pair_on_anything(texts, threshold):
    assert near_duplicates(texts, threshold) == every_pair(texts, threshold)


@settings(deadline=None)
@given(st.lists(st.text(), max_size=10))
def test_twins_were_kept_and_come_first(texts):
    twins = near_duplicates(texts)
    for place, twin in enumerate(twins):
        assert twin == -1 or twin < place and twins[twin] == -1
    assert near_duplicates(texts + texts)[len(texts):] == [place if twin < 0 else twin for place, twin in enumerate(twins)]


def test_kept_texts_do_not_chain():
    chain = ['a b c d e f g h i j', 'a b c d e f g h i X', 'a b c d e f g h Y X']
    assert near_duplicates(chain) == [-1, 0, -1]


def test_more_words_than_characters_of_one_plane():
    texts = [f'word{n} other{n} third{n}' for n in range(20_000)] + ['word5 other5 third5']  # the codes cross the surrogates
    assert near_duplicates(texts) == [-1] * 20_000 + [5]


def test_distinct_share():
    assert distinct_share([]) == 1
    assert distinct_share(['Answer it.', 'answer it', 'Answer them.']) == 2 / 3


# root verb and object

GOLDEN = {
    'Given a question, provide the corresponding top-rated answer.': ('provide', 'answer'),
    'Given a premise, hypothesis, and label, write an explanation for the label.': ('write', 'explanation'),
    'Given the question, answer options, and passage, choose the correct option.': ('choose', 'option'),
    'Given a passage, answer questions about it.': ('answer', 'question'),
    'Please identify the sentiment of the following tweet.': ('identify', 'sentiment'),
    'Could you please rewrite this sentence in a formal style?': ('rewrite', 'sentence'),
    'Based on the title and the body, can you suggest two short tags?': ('suggest', 'tag'),
    'In this task, you are given an article. Your task is to summarize the article in a sentence.': ('summarize', 'article'),
    'You will be given a sentence in which your task is to list the phrases that give information.': ('list', 'phrase'),
    'I want you to act as a translator.': ('act', ''),
    'I want you to write a cover letter.': ('write', 'letter'),
    'Determine whether the claim is supported by the evidence.': ('determine', ''),
    'Decide which of the two answers is better.': ('decide', ''),
    'Translate it into French.': ('translate', ''),
    'Fill in the blank with the most suitable word.': ('fill', 'blank'),
    'Come up with a funny question.': ('come', 'question'),
    'Create a short, informative summary of the article.': ('create', 'summary'),
    'Identify the positive or negative sentiment.': ('identify', 'sentiment'),
    'Extract all the names mentioned in the text.': ('extract', 'name'),
    'Write a sentence describing the picture.': ('write', 'sentence'),
    'Anonymise the letter.': ('anonymise', 'letter'),
    'Replace the "TODO" comment in the code.': ('replace', 'comment'),
    '1. List three synonyms of the word': ('list', 'synonym'),
    'Give the brand a motto.': ('give', 'motto'),
    'Output 1 if the sentence is correct, and 0 if not.': ('output', ''),
    'What is the capital of France?': ('', ''),
    'Is the review positive or negative?': ('', ''),
    'The sky was blue that day.': ('', ''),
    '': ('', ''),
    '   \n…': ('', ''),
    'Schreibe eine kurze Zusammenfassung des folgenden Textes.': ('', ''),
    'Beantworte die Frage anhand des Textes und gib nur ein Wort an.': ('', ''),
    'Résume le texte suivant en une phrase et donne un titre.': ('', ''),
    'Escribe un resumen del siguiente texto en una oración.': ('', ''),
}


@pytest.mark.parametrize('instruction', GOLDEN)
def test_root_verb_and_object(instruction):
    assert root_verb_object(instruction) == GOLDEN[instruction]


@settings(deadline=None)
@given(st.text() | st.lists(st.sampled_from(list(text._VERBS)[:40] + VOCABULARY + [',', '.', '"', "'s", '\n', 'to', 'please', 'your task is to']), max_size=12).map(' '.join))
def test_any_text_gives_two_words(instruction):
    verb, noun = root_verb_object(instruction)
    assert (verb == '' or ' ' not in verb) and (noun == '' or ' ' not in noun)
    assert verb or not noun


def test_object_noun():
    for phrase, noun in {'the author\'s opinion': 'opinion', 'a 3-word phrase': 'phrase', 'the sentence longer': 'sentence', 'the one that fits': '',
                         'the following two short stories': 'story', 'a table listing the games': 'table', 'the given text': 'text'}.items():
        assert object_noun(phrase.split()) == noun, phrase


def test_singular_is_stable():
    for noun in 'class answer analysis bias series people query'.split(): assert singular(singular(noun)) == singular(noun)
    assert [singular(noun) for noun in 'classes queries phrases wishes analyses'.split()] == 'class query phrase wish analysis'.split()


def test_real_instructions(shared_data):
    definitions = []
    for path in sorted((shared_data/'eval'/'super_ni').glob('task*/dev.json.gz')):
        definition = json.load(gzip.open(path))['Definition']
        definitions.append(definition if isinstance(definition, str) else definition[0])
    assert len(definitions) == 14 and all(root_verb_object(definition)[0] for definition in definitions)
    folder = shared_data/'eval'/'user_oriented'
    users = [json.loads(line)['instruction'] for name in ('user_oriented_instructions', 'seed_tasks') for line in (folder/f'{name}.jsonl').open(encoding='utf-8')]
    pairs, coverage, backend = verb_objects(definitions + users, 'rules')
    assert coverage > .74 and backend == 'rules' and len(pairs) == 441
    assert sum(bool(verb) for verb, _ in pairs) / 441 > .88
    known = {verb for verb, _ in pairs if verb} & text._VERBS
    assert len({verb for verb, _ in pairs if verb} - known) <= 3  # hardly anything is taken for a verb that is none


def token(lemma, pos, dep, *children): return SimpleNamespace(lemma_=lemma, pos_=pos, dep_=dep, children=children)


def test_parse_is_searched_level_by_level():
    near, far = token('write', 'VERB', 'xcomp', token('Poem', 'NOUN', 'dobj')), token('give', 'VERB', 'acl', token('word', 'NOUN', 'dobj'))
    root = token('be', 'AUX', 'ROOT', token('task', 'NOUN', 'nsubj', far), near)
    assert parsed_verb_object(root) == ('write', 'poem')
    assert parsed_verb_object(token('decide', 'VERB', 'ROOT', token('be', 'AUX', 'ccomp'), token('it', 'PRON', 'dobj'))) == ('decide', '')


def test_spacy_is_used_where_a_model_is_installed(monkeypatch):
    spacy = pytest.importorskip('spacy', reason='spaCy is not installed')
    from spacy.tokens import Doc

    class Parser:  # a tiny stand-in for a model: the parse of 'Your task is to write a poem . Do it .'
        vocab = spacy.blank('en').vocab

        def pipe(self, texts):
            for content in texts:
                if not content: yield Doc(self.vocab); continue
                yield Doc(self.vocab, 'Your task is to write a poem . Do it .'.split(), heads=[1, 2, 2, 4, 2, 6, 4, 2, 8, 8, 8],
                          deps='poss nsubj ROOT aux xcomp det dobj punct ROOT dobj punct'.split(), pos='PRON NOUN AUX PART VERB DET NOUN PUNCT VERB PRON PUNCT'.split(),
                          lemmas='your task be to write a poem . do it .'.split(), sent_starts=[True] + [False] * 7 + [True] + [False] * 2)

    monkeypatch.setattr(text, 'find_spec', lambda name: name in ('spacy', SPACY_MODELS[-1]))
    monkeypatch.setattr(spacy, 'load', lambda name, exclude: Parser())
    assert verb_objects(['Your task is to write a poem. Do it.', ''], 'spacy') == ([('write', 'poem'), ('', '')], .5, f'spaCy {SPACY_MODELS[-1]}')
    assert verb_objects(['x'], 'auto')[2].startswith('spaCy')
    assert verb_objects(['x'], 'rules')[2] == 'rules'


def test_spacy_without_a_model_says_what_to_install(monkeypatch):
    monkeypatch.setattr(text, 'find_spec', lambda name: None)
    with pytest.raises(ModuleNotFoundError, match='spacy download'): verb_objects(['x'], 'spacy')
    assert verb_objects([], 'auto') == ([], 0, 'rules')


def test_top_verb_share():
    assert top_verb_share([]) == 0
    assert top_verb_share([('write', 'poem')] * 3 + [('name', '')]) == 1
    assert top_verb_share([('write', 'poem')] * 3 + [('name', '')], top=1) == .75


# language: Article 1 of the Universal Declaration of Human Rights, of which no word list was made

ARTICLE = {
    'en': 'All human beings are born free and equal in dignity and rights. They are endowed with reason and conscience and should act towards one another in a spirit of brotherhood.',
    'de': 'Alle Menschen sind frei und gleich an Würde und Rechten geboren. Sie sind mit Vernunft und Gewissen begabt und sollen einander im Geist der Brüderlichkeit begegnen.',
    'fr': 'Tous les êtres humains naissent libres et égaux en dignité et en droits. Ils sont doués de raison et de conscience et doivent agir les uns envers les autres dans un esprit de fraternité.',
    'es': 'Todos los seres humanos nacen libres e iguales en dignidad y derechos y, dotados como están de razón y conciencia, deben comportarse fraternalmente los unos con los otros.',
    'it': 'Tutti gli esseri umani nascono liberi ed eguali in dignità e diritti. Essi sono dotati di ragione e di coscienza e devono agire gli uni verso gli altri in spirito di fratellanza.',
    'pt': 'Todos os seres humanos nascem livres e iguais em dignidade e em direitos. Dotados de razão e de consciência, devem agir uns para com os outros em espírito de fraternidade.',
    'nl': 'Alle mensen worden vrij en gelijk in waardigheid en rechten geboren. Zij zijn begiftigd met verstand en geweten, en behoren zich jegens elkander in een geest van broederschap te gedragen.',
    'sv': 'Alla människor är födda fria och lika i värde och rättigheter. De är utrustade med förnuft och samvete och bör handla gentemot varandra i en anda av broderskap.',
    'da': 'Alle mennesker er født frie og lige i værdighed og rettigheder. De er udstyret med fornuft og samvittighed, og de bør handle mod hverandre i en broderskabets ånd.',
    'pl': 'Wszyscy ludzie rodzą się wolni i równi pod względem swej godności i swych praw. Są oni obdarzeni rozumem i sumieniem i powinni postępować wobec innych w duchu braterstwa.',
    'cs': 'Všichni lidé se rodí svobodní a sobě rovní co do důstojnosti a práv. Jsou nadáni rozumem a svědomím a mají spolu jednat v duchu bratrství.',
    'ro': 'Toate ființele umane se nasc libere și egale în demnitate și în drepturi. Ele sunt înzestrate cu rațiune și conștiință și trebuie să se comporte unele față de altele în spiritul fraternității.',
    'tr': 'Bütün insanlar hür, haysiyet ve haklar bakımından eşit doğarlar. Akıl ve vicdana sahiptirler ve birbirlerine karşı kardeşlik zihniyeti ile hareket etmelidirler.',
    'id': 'Semua orang dilahirkan merdeka dan mempunyai martabat dan hak-hak yang sama. Mereka dikaruniai akal dan hati nurani dan hendaknya bergaul satu sama lain dalam semangat persaudaraan.',
    'fi': 'Kaikki ihmiset syntyvät vapaina ja tasavertaisina arvoltaan ja oikeuksiltaan. Heille on annettu järki ja omatunto, ja heidän on toimittava toisiaan kohtaan veljeyden hengessä.',
    'hu': 'Minden emberi lény szabadon születik és egyenlő méltósága és joga van. Az emberek, ésszel és lelkiismerettel bírván, egymással szemben testvéri szellemben kell hogy viseltessenek.',
    'vi': 'Tất cả mọi người sinh ra đều được tự do và bình đẳng về nhân phẩm và quyền. Mọi con người đều được tạo hoá ban cho lý trí và lương tâm và cần phải đối xử với nhau trong tình anh em.',
    'ru': 'Все люди рождаются свободными и равными в своем достоинстве и правах. Они наделены разумом и совестью и должны поступать в отношении друг друга в духе братства.',
    'uk': 'Всі люди народжуються вільними і рівними у своїй гідності та правах. Вони наділені розумом і совістю і повинні діяти у відношенні один до одного в дусі братерства.',
    'bg': 'Всички хора се раждат свободни и равни по достойнство и права. Те са надарени с разум и съвест и следва да се отнасят помежду си в дух на братство.',
    'el': 'Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα.',
    'ar': 'يولد جميع الناس أحرارًا متساوين في الكرامة والحقوق. وقد وهبوا عقلاً وضميرًا وعليهم أن يعامل بعضهم بعضًا بروح الإخاء.',
    'fa': 'تمام افراد بشر آزاد به دنیا می‌آیند و از لحاظ حیثیت و حقوق با هم برابرند. همه دارای عقل و وجدان هستند و باید نسبت به یکدیگر با روح برادری رفتار کنند.',
    'he': 'כל בני האדם נולדו בני חורין ושווים בערכם ובזכויותיהם.',
    'hi': 'सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है। उन्हें बुद्धि और अन्तरात्मा की देन प्राप्त है और परस्पर उन्हें भाईचारे के भाव से बर्ताव करना चाहिए।',
    'th': 'มนุษย์ทั้งปวงเกิดมามีอิสระและเสมอภาคกันในศักดิ์ศรีและสิทธิ',
    'ja': 'すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。',
    'zh': '人人生而自由，在尊严和权利上一律平等。',
    'ko': '모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.',
}


@pytest.mark.parametrize('code', ARTICLE)
def test_language_of_article_1(code):
    assert detect_language(ARTICLE[code]) == code


@pytest.mark.parametrize('content', ['', 'Yes.', 'New York', '1, 2, 3', 'x' * 50, 'O B-PER I-PER O O', 'https://example.org/the/of/and/to', '😀 😀 😀 😀'])
def test_language_of_too_little(content):
    assert detect_language(content) == ''


@settings(deadline=None)
@given(st.text())
def test_language_of_anything_is_known(content):
    code = detect_language(content)
    assert code == '' or code in STOP_WORDS or code in text._SCRIPTS
    assert main_script(content) in {'', *text._SCRIPTS}


def strings(value):
    "All texts of a cell that have a blank."
    if isinstance(value, str): yield from [value] if ' ' in value else []
    elif isinstance(value, dict): yield from (found for part in value.values() for found in strings(part))
    elif isinstance(value, list): yield from [' '.join(value)] if value and all(isinstance(part, str) for part in value) else (found for part in value for found in strings(part))


def test_language_of_real_rows_agrees_with_their_cards(shared_data):
    counts = Counter()
    for card in sorted(shared_data.glob('cards/*/README.md')):
        header = re.match(r'---\n(.*?)\n---', card.read_text(encoding='utf-8'), re.S)
        try: tags = yaml.safe_load(header[1]).get('language') or []
        except (yaml.YAMLError, TypeError): continue
        tags = tags if isinstance(tags, list) else [tags]
        if len(tags) != 1 or tags[0] == 'code': continue
        for path in sorted(card.parent.glob('data/*.jsonl')):
            rows = ' \n'.join(found for _, line in zip(range(5), path.open(encoding='utf-8')) for found in strings(json.loads(line)))
            if rows: counts['right' if (code := detect_language(rows)) == str(tags[0])[:2] else 'other' if code else 'unsure'] += 1
    assert counts['right'] >= .93 * counts.total() and counts['other'] <= .02 * counts.total(), counts
