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
# what a visitor says, by what follows for another visit
SAID = {
    'yes': '{person} sold us the best {goods} in years|The {goods} were fresh and cheap|Everybody was friendly, {person} above all|We loved the {goods}|The music was lovely|Our children were happy all morning|'
           'A charming place with good {goods}|The coffee was excellent|I enjoyed every minute|{person} gave us a generous taste of the {goods}|Clean, sunny and well run|What a pleasure to walk there',
    'no': 'The {goods} were stale and dear|{person} shouted at us|It was crowded and dirty|We hated the noise|The {goods} were the worst in years|Our children were bored all morning|'
          'A gloomy place with bad {goods}|The coffee was awful|I regretted every minute|{person} sold us rotten {goods}|Muddy, cold and badly run|What a nuisance to park there',
    'maybe': 'We only passed through|The {goods} had not arrived yet|{person} was away that day|I have not tried the {goods} so far|It was too early to say|We left before it began|'
             'A place like many others|The coffee stand was closed|I waited in the car|{person} told us to ask again in spring|Half of the pitches were empty|What it is like in summer I cannot tell'}


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
