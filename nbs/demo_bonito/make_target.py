"""Write the demonstration target: `python make_target.py [FOLDER]`. Same seed, same bytes."""
import json
import random
import sys
from pathlib import Path

ROWS = {'train': 160, 'test': 80}
START = 'Alder Birch Brook Cliff Cold Crane Deep East Elm Fair Fern Fox Glen Green Grey Hazel High Holm Iron Keld Lark Lime Long Marsh Mill Moss North Oak Otter Pine Raven Red Rook Rose Salt Sand Silver Stone Swan Thorn West White Wild Wolf'.split()
END = 'bridge burn bury combe cross dale den field ford gate ham haven hurst ley mere minster mouth pool port stead stoke thorpe ton well wick worth'.split()
DAYS = 'Monday Tuesday Wednesday Thursday Friday Saturday Sunday'.split()
GOODS = 'honey cheese flowers pottery wool apples bread baskets soap mushrooms leather candles fish knives potatoes herbs'.split()
PEOPLE = 'Ada Amir Bela Carla Dov Elif Femi Greta Hana Igor Jonas Kofi Leila Mara Nils Olga Petra Rosa Sven Tara Umut Vera Wim Yara Zoe'.split()
PLACES = 'the old tram depot|the school yard|the square by the river|the covered hall|the car park of the brewery|the church green|the quay|the sports ground'.split('|')
WEATHER = 'heavy rain|strong wind|frost|thunder|deep snow|thick fog'.split('|')
# what a sentence tells: sentence, question, where its values come from; {0} is the value that the question is about
FACTS = {
    'day': ('The market is held every {0}.', 'Is the market of {town} held on a {0}?', DAYS),
    'place': ('Traders set up at {0}.', 'Does {town} have its market at {0}?', PLACES),
    'stalls': ('On most days {0} stalls are let.', 'Are {0} stalls let in {town} on most days?', [str(number) for number in range(6, 60)]),
    'goods': ('It is known above all for its {0}.', 'Is {town} known above all for {0}?', GOODS),
    'fee': ('A pitch costs {0} crowns.', 'Does a pitch in {town} cost {0} crowns?', [str(number) for number in range(4, 95)]),
    'year': ('It was first held in {0}.', 'Was the market of {town} first held in {0}?', [str(number) for number in range(1790, 2015)]),
    'warden': ('{0} looks after the pitches.', 'Is it {0} who looks after the pitches in {town}?', PEOPLE),
    'weather': ('It is called off in {0}.', 'Is the market of {town} called off in {0}?', WEATHER),
    'opens': ('The bell that opens it rings at {0}.', 'Does the bell in {town} ring at {0} to open the market?', [f'{hour}:{minute:02}' for hour in range(5, 11) for minute in (0, 10, 15, 20, 30, 40, 45, 50)]),
    'last': ('Carts have to be gone by {0}.', 'Do carts have to be gone from {town} by {0}?', [f'{hour}:{minute:02}' for hour in range(12, 21) for minute in (0, 10, 15, 20, 30, 40, 45, 50)])}


def make_row(chance: random.Random, town: str, answer: str) -> dict[str, str]:
    told = chance.sample(sorted(FACTS), 4)
    values = {kind: chance.choice(FACTS[kind][2]) for kind in told}
    kind = chance.choice(told) if answer != 'maybe' else chance.choice(sorted(set(FACTS) - set(told)))
    value = values[kind] if answer == 'yes' else chance.choice([other for other in FACTS[kind][2] if other != values.get(kind)])
    text = ' '.join(FACTS[name][0].format(values[name]) for name in told)
    return {'text': f'{town}. {text}', 'question': FACTS[kind][1].format(value, town=town), 'answer': answer}


def main(folder: Path) -> None:
    chance = random.Random(20)
    towns = [start + end for start in START for end in END]
    chance.shuffle(towns)
    for split, number in ROWS.items():
        answers = [('yes', 'no', 'maybe')[place % 3] for place in range(number)]
        chance.shuffle(answers)
        lines = [json.dumps(make_row(chance, towns.pop(), answer)) + '\n' for answer in answers]
        (folder / f'{split}.jsonl').write_text(''.join(lines), encoding='utf-8')


if __name__ == '__main__':
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / 'target' / 'data')
