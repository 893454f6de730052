"""Write the demonstration target: `python make_target.py [FOLDER]`. Same seed, same bytes."""
import json
import random
import sys
from pathlib import Path

ROWS = {'train': 160, 'test': 80}
START = 'Alder Birch Brook Cliff Cold Crane Deep East Elm Fair Fern Fox Glen Green Grey Hazel High Holm Iron Keld Lark Lime Long Marsh Mill Moss North Oak Otter Pine Raven Red Rook Rose Salt Sand Silver Stone Swan Thorn West White Wild Wolf'.split()
END = 'bridge burn bury combe cross dale den field ford gate ham haven hurst ley mere minster mouth pool port stead stoke thorpe ton well wick worth'.split()
DAYS = 'Monday Tuesday Wednesday Thursday Friday Saturday Sunday'.split()
GOODS = 'jams cheeses flowers pots scarves apples loaves baskets soaps mushrooms belts candles herrings knives potatoes herbs'.split()
PEOPLE = 'Ada Amir Bela Carla Dov Elif Femi Greta Hana Igor Jonas Kofi Leila Mara Nils Olga Petra Rosa Sven Tara Umut Vera Wim Yara Zoe'.split()
# what a visitor says, by what follows for another visit; about half is plain enough to be turned into its contrary by rule
SAID = {
    'yes': '{person} sold us the best {goods} in years|The {goods} were good and cheap|{person} was friendly from the beginning|We loved the {goods}|The {goods} were the best in years|The children were happy all morning|'
           'The whole place was sunny and charming|I enjoyed every minute|{person} gave us two {goods} for nothing|The stalls were clean and well run|What a pleasure to walk there|{person} knew all about the {goods}',
    'no': '{person} sold us broken {goods}|The {goods} were bad and dear|{person} was rude from the beginning|We hated the noise|The {goods} were the worst in years|The children were bored all morning|'
          'The whole place was crowded and dirty|I regretted every minute|{person} shouted at us|The stalls were cold and badly run|What a nuisance to park there|We had expected much more',
    'maybe': 'We only passed through|The {goods} were still on the way|{person} was away until the evening|I have not tried the {goods} so far|It was too early to say|We left before it began|'
             'The market was like many others|The gates were still closed at noon|I waited in the car|{person} told us to ask again in spring|The day was too short to say|What it is like in summer I cannot tell'}


def make_row(chance: random.Random, town: str, answer: str) -> dict[str, str]:
    told = [sentence.format(person=chance.choice(PEOPLE), goods=chance.choice(GOODS)) for sentence in chance.sample(SAID[answer].split('|'), 3)]
    text = f'{town}, {chance.choice(DAYS)}. {". ".join(told)}.'
    return {'text': text, 'question': f'Will this visitor come back to {town}?', 'answer': answer}


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
