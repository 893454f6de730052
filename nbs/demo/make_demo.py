"""Write the four larger demonstration sources: `python make_demo.py [FOLDER]`. Same seed, same bytes."""
import csv
import io
import json
import random
import sys
from pathlib import Path

ROWS = {'train': 400, 'validation': 50, 'test': 50}  # of each source
NAMES = 'Ada Amir Anna Ben Carla Chen Dana Elif Emre Eva Femi Finn Grace Hana Igor Ines Jonas Kofi Lars Leila Mara Mina Nils Noor Olga Omar Petra Rosa Sven Tara Umut Vera Wim Yara Zoe'.split()

# ---------------------------------------------------------------- support tickets: subject and message -> category, priority

GOODS = ('desk lamp', 'wool blanket', 'coffee grinder', 'garden hose', 'bicycle pump', 'cutting board', 'rain jacket', 'bookshelf', 'alarm clock', 'yoga mat', 'tea kettle', 'backpack',
         'picture frame', 'hand mixer', 'door mat', 'tool box', 'wall mirror', 'sleeping bag', 'plant stand', 'pillow', 'bread knife', 'office chair', 'laundry basket', 'thermos flask')
PLACES = 'Aldham Brightwater Carsfield Dunmore Eastwick Fernley Granby Holmstead Inverlea Kestrelbay'.split()
DAYS = 'Monday Tuesday Wednesday Thursday Friday Saturday'.split()
GREETINGS = ('Hello,', 'Hi there,', 'Good morning,', 'Dear team,', 'Good afternoon,', 'To whom it may concern,', '')
THANKS = ('Thank you.', 'Thanks in advance.', 'Many thanks for your help.', 'Regards', 'Best wishes', 'Please let me know.', '')
URGENT = ('I need an answer today.', 'We leave on {day}, so please hurry.', 'This has to be settled before {day}.', 'It is urgent, because it is a gift for {day}.')
CALM = ('There is no hurry.', 'Take your time.', 'Any time this month is fine.', 'This is not urgent at all.')
TICKETS = {
    'delivery': (
        ('Where is my {good}?', 'I ordered a {good} on {day} and the tracking page has said "in transit" for {n} days.', 'The carrier\'s line is always busy.'),
        ('Parcel left at the wrong house', 'Your driver left my {good} with number {n} in our street, and nobody lives there.', 'I would like it to be brought to my own door.'),
        ('Only part of my order came', 'The box held the {good}, but the {other} from the same order is missing.', 'The delivery note lists both.'),
        ('Change of address', 'I have moved to {place} since I ordered the {good}.', 'Can order {order} still be sent to the new address?'),
        ('Delivery on another day', 'I shall not be at home on {day} when the {good} is to arrive.', 'Would the day after be possible?'),
        ('Does {place} count as remote?', 'The shop shows a fee of {n} euros for sending a {good} to {place}.', 'The town has a railway station, so I was surprised.')),
    'billing': (
        ('Charged twice for order {order}', 'My account shows the price of the {good} two times, both on {day}.', 'Please send one of the payments back.'),
        ('Invoice with our company name', 'We bought {n} units of the {good} and the invoice carries my private name.', 'Our accounts need the name of the company on it.'),
        ('Voucher was not taken off', 'I entered a voucher of {n} euros for the {good}, and the full price was charged.', 'The code was accepted on the page.'),
        ('Wrong amount for the {good}', 'The page said {n} euros, the invoice for order {order} says {more}.', 'I should like to pay the price that was shown.'),
        ('Refund has not arrived', 'You confirmed the refund for the {good} on {day}, and nothing has reached my account.', 'It has been {n} days now.'),
        ('Can I pay in parts?', 'The {good} and the {other} together cost more than I planned.', 'Do you offer payment in {few} parts?')),
    'return': (
        ('{Good} is too small', 'I should like to send back the {good}, which is smaller than the photograph suggests.', 'It is unused and in its box.'),
        ('Return label missing', 'There was no return label in the parcel with the {good}.', 'Where do I get one for order {order}?'),
        ('{Good} arrived broken', 'The {good} came with a crack, although the box looked fine.', 'I have {few} photographs that show it.'),
        ('Sent back {n} days ago', 'I returned the {good} from {place} and have heard nothing since.', 'The receipt of the post office has number {order}.'),
        ('Exchange for another colour', 'The {good} is blue and I ordered green.', 'May I swap it without paying for postage?'),
        ('Wrong article', 'I opened the box and found a {other} instead of the {good}.', 'Someone else must be waiting for it.')),
    'account': (
        ('Password mail does not come', 'I have asked for a new password {few} times since {day} and received no mail.', 'It is not in the spam folder either.'),
        ('Please delete my account', 'I no longer want an account with your shop.', 'My last order was the {good}, number {order}.'),
        ('Two accounts by mistake', 'I seem to have registered twice, once from {place} and once from work.', 'Can the orders be put together in one account?'),
        ('Newsletter after signing off', 'I signed off from the newsletter on {day}, and {few} more have come since.', 'The last one praised a {good}.'),
        ('Cannot change my phone number', 'The page goes blank when I save a new phone number.', 'It happens on my phone and on the computer, since {day}.'),
        ('Somebody else\'s order in my list', 'My account lists order {order} for a {good}, and I never bought one.', 'I have changed my password already.')),
    'product': (
        ('Is the {good} washable?', 'Before I buy the {good}, I should like to know whether it may be washed.', 'The page does not mention it.'),
        ('Spare part for the {good}', 'A small part of my {good} broke after {n} months.', 'Do you sell it, or is there a drawing that I could give to a workshop?'),
        ('Size of the {good}', 'Which size does the {good} have when it is packed?', 'It must fit through a door of {wide} centimetres.'),
        ('Manual in English', 'The manual that came with the {good} is in a language that I cannot read.', 'Could you send me an English one?'),
        ('Does it go with the {other}?', 'I own your {other} and wonder whether the {good} has the same colour.', 'On my screen one looks grey and the other brown.'),
        ('Back in stock?', 'The {good} has been sold out since {day}.', 'Shall I wait, or will it not come back?')),
}


def make_ticket(rng):
    category = rng.choice(sorted(TICKETS))
    subject, first, second = rng.choice(TICKETS[category])
    good, other = rng.sample(GOODS, 2)
    n = rng.randint(3, 29)
    slots = dict(good=good, Good=good.capitalize(), other=other, day=rng.choice(DAYS), place=rng.choice(PLACES), n=n, more=n + rng.randint(2, 9), few=rng.choice(('two', 'three', 'four')),
                 order=rng.randint(10_000, 99_999), wide=rng.randrange(60, 95, 5))
    priority = rng.choice(('high', 'low', 'normal'))
    extra = {'high': rng.choice(URGENT), 'low': rng.choice(CALM), 'normal': ''}[priority]
    parts = [rng.choice(GREETINGS), f'{first} {second} {extra}'.strip(), rng.choice(THANKS)]
    message = '\n'.join(part for part in parts if part).format(**slots).replace(' a office', ' an office').replace(' a alarm', ' an alarm')
    return {'subject': subject.format(**slots), 'message': message, 'category': category, 'priority': priority}


# ---------------------------------------------------------------- word problems: question -> rationale, answer

def bus(rng):
    speed, hours = rng.randrange(40, 95, 5), rng.choice((2, 3, 4, 5))
    return (f'A bus drives for {hours} hours at {speed} kilometres an hour. How many metres does it cover?',
            f'In {hours} hours it covers {hours} x {speed} = {hours * speed} km. A kilometre has 1000 metres, so that is {hours * speed} x 1000 = {hours * speed * 1000} m.', hours * speed * 1000)


def tank(rng):
    litres, hours = rng.randrange(5, 45, 5), rng.randrange(2, 13)
    return (f'A pump moves {litres} litres of water a minute. How many hectolitres has it moved after {hours} hours?',
            f'An hour has 60 minutes, so it moves {litres} x 60 = {litres * 60} litres an hour and {litres * 60 * hours} litres in {hours} hours. A hectolitre is 100 litres: {litres * 60 * hours} / 100 = {litres * 60 * hours // 100} hectolitres.',
            litres * 60 * hours // 100)


def recipe(rng):
    people, guests, grams = rng.choice((2, 4, 5)), rng.randrange(6, 21), rng.randrange(20, 160, 10)
    total = grams * guests
    return (f'A soup for {people} people needs {grams * people} grams of lentils. How many grams are needed for {guests} people?',
            f'One person needs {grams * people} / {people} = {grams} g. For {guests} people that is {grams} x {guests} = {total} g.', total)


def market(rng):
    thing, price, grams = rng.choice(('cherries', 'olives', 'hazelnuts', 'mushrooms', 'blueberries')), rng.randrange(4, 29, 4), rng.choice((250, 500, 750, 1250, 1500, 2500))
    cost = price * grams // 1000
    return (f'A kilogram of {thing} costs {price} euros. What do {grams} grams cost, in euros?',
            f'{grams} g are {grams} / 1000 = {grams / 1000:g} kg. They cost {grams / 1000:g} x {price} = {cost} euros.', cost)


def paint(rng):
    high, cover = rng.choice((2, 3, 4)), rng.choice((4, 6, 8, 12))
    wide = cover * rng.randrange(1, 4)
    area = wide * high
    return (f'A wall is {wide} metres long and {high} metres high. One litre of paint covers {cover} square metres. How many litres are needed for two coats?',
            f'The wall has {wide} x {high} = {area} square metres, two coats make {2 * area}. That needs {2 * area} / {cover} = {2 * area // cover} litres.', 2 * area // cover)


def film(rng):
    hour, minute, long = rng.randrange(14, 21), rng.randrange(0, 60, 5), rng.randrange(85, 170, 5)
    end = hour * 60 + minute + long
    return (f'A film starts at {hour}:{minute:02d} and lasts {long} minutes. How many minutes after {hour}:00 does it end?',
            f'It starts {minute} minutes after {hour}:00. It ends {minute} + {long} = {minute + long} minutes after {hour}:00, which is at {end // 60}:{end % 60:02d}.', minute + long)


def walker(rng):
    name, steps, length = rng.choice(NAMES), rng.randrange(2000, 12_500, 500), rng.choice((60, 70, 80))
    metres = steps * length // 100
    return (f'{name} takes {steps} steps of {length} centimetres each. How many metres is that?',
            f'{steps} steps of {length} cm are {steps} x {length} = {steps * length} cm. A metre has 100 cm, so that is {steps * length} / 100 = {metres} m.', metres)


def exchange(rng):
    name, euros, rate = rng.choice(NAMES), rng.randrange(40, 410, 10), rng.choice((8, 11, 25, 38))
    coin = {8: 'krone', 11: 'krona', 25: 'koruna', 38: 'lira'}[rate]
    spent = rng.randrange(2, 9) * rate * 2
    left = euros * rate - spent
    return (f'{name} changes {euros} euros at {rate} {coin} for a euro and spends {spent} {coin}. How many {coin} are left?',
            f'{euros} euros are {euros} x {rate} = {euros * rate} {coin}. After spending there are {euros * rate} - {spent} = {left} {coin} left.', left)


def heat(rng):
    celsius = rng.randrange(-20, 105, 5)
    fahrenheit = celsius * 9 // 5 + 32
    return (f'A thermometer shows {celsius} degrees Celsius. How many degrees Fahrenheit is that?',
            f'Multiply by 9, divide by 5 and add 32: {celsius} x 9 / 5 = {celsius * 9 // 5}, and {celsius * 9 // 5} + 32 = {fahrenheit}.', fahrenheit)


def sale(rng):
    good, price, percent = rng.choice(GOODS), rng.randrange(20, 205, 20), rng.choice((5, 10, 15, 20, 25, 30, 40))
    off = price * percent // 100
    return (f'A {good} costs {price} euros and is reduced by {percent} percent. What does it cost now, in euros?'.replace('A office', 'An office').replace('A alarm', 'An alarm'),
            f'{percent} percent of {price} are {price} x {percent} / 100 = {off}. The new price is {price} - {off} = {price - off} euros.', price - off)


def rope(rng):
    metres, piece = rng.randrange(6, 31, 2), rng.choice((25, 40, 50, 80))
    count, rest = metres * 100 // piece, metres * 100 % piece
    tail = f' and {rest} cm are left over' if rest else ''
    return (f'A rope of {metres} metres is cut into pieces of {piece} centimetres. How many whole pieces are there?',
            f'The rope has {metres} x 100 = {metres * 100} cm. {metres * 100} / {piece} gives {count} whole pieces{tail}.', count)


def staff(rng):
    place, people, hours = rng.choice(('bakery', 'library', 'workshop', 'kitchen', 'greenhouse')), rng.randrange(3, 13), rng.choice((4, 5, 6, 8))
    days = rng.choice((5, 6, 20))
    return (f'In a {place} {people} people work {hours} hours a day. How many hours do they work together in {days} days?',
            f'Each works {hours} x {days} = {hours * days} hours. Together they work {people} x {hours * days} = {people * hours * days} hours.', people * hours * days)


def make_problem(rng):
    topic, problem = rng.choice((('distance', bus), ('volume', tank), ('cooking', recipe), ('money', market), ('area', paint), ('time', film), ('distance', walker), ('money', exchange),
                                 ('temperature', heat), ('money', sale), ('length', rope), ('time', staff)))
    question, rationale, answer = problem(rng)
    return {'topic': topic, 'question': question, 'rationale': rationale, 'answer': answer}


# ---------------------------------------------------------------- dialogues: dialogue -> summary

TALKS = (
    (('Can you take my shift on {day}? {reason}', 'I am on the late shift myself on {day}. Would {other_day} help?', 'Not really, it has to be {day}. I could do your {other_day} in return.', 'Then let us swap. I shall tell the office.'),
     ('{a} cannot work on {day}, so {b} takes that shift and {a} works on {other_day} instead.', '{a} and {b} swap their shifts on {day} and {other_day}, and {b} tells the office.')),
    (('Have you seen the key to the {room}?', 'It hung on the board this morning.', 'The board is empty. I have to get in before {time}.', '{c} was in there last. Ask at the front desk, I shall look in my coat.'),
     ('{a} is looking for the key to the {room} and needs it before {time}; {b} suggests asking {c}, who used the room last.', 'The key to the {room} is missing. {b} will search a coat and {a} will ask {c}.')),
    (('The {machine} is making that noise again.', 'Did you switch it off and on?', 'Twice. Now it does not start at all.', 'Leave it. I shall call the repair service, they can come on {day}. Use the one in the {room} until then.'),
     ('The {machine} is broken. {b} calls a repair service for {day}, and until then {a} uses the one in the {room}.', '{a} reports that the {machine} no longer starts, and {b} arranges a repair on {day}.')),
    (('Shall we eat together at {time}?', 'I would like to, but I have a call until {later}.', 'Then {later}, at the place by the {spot}?', 'Good. Order me the soup if I am late.'),
     ('{a} and {b} will have lunch at {later} at the place by the {spot}, because {b} has a call before.', '{a} wants to eat at {time}; as {b} is on a call they meet at {later} by the {spot}.')),
    (('The meeting about the {topic} is in the {room}, is it not?', 'It was. {c} has moved it to {day} because the figures are not ready.', 'Nobody told me. I came in an hour early for it.', 'I am sorry, I thought that you were on the list. I shall add you now.'),
     ('{a} did not know that the meeting about the {topic} was moved to {day}; {b} apologises and adds {a} to the list.', '{c} has moved the meeting about the {topic} to {day}. {a} was not told and came early for nothing.')),
    (('I left my {thing} on the tram this morning.', 'Which line?', 'The {line}, around {time}. I have already phoned the depot, and they open the lost property box at {later}.', 'I pass the depot on my way home. Shall I ask for you?', 'That would be kind. It is {colour}, with my name inside.'),
     ('{a} lost a {colour} {thing} on tram line {line}, and {b} will ask for it at the depot.', '{a} forgot a {thing} on the tram around {time}. {b} offers to call at the depot on the way home.')),
    (('Are you going past the post office today?', 'On the way home, yes. Why?', 'There is a parcel for me, and they close at {time}.', 'I can fetch it if you give me the slip and write a line that I may.', 'Here it is. The parcel is {size}, though.'),
     ('{b} will fetch a {size} parcel for {a} from the post office, which closes at {time}.', '{a} gives {b} the slip for a parcel, because {a} cannot reach the post office before {time}.')),
    (('My train stands in {place} and nobody says why.', 'How long already?', '{n} minutes. I shall not be there at {time}.', 'Do not worry, I shall start with the {topic} and keep your part for the end.'),
     ('{a} is on a train that has stood in {place} for {n} minutes, so {b} begins with the {topic} and leaves the part of {a} for the end.', '{a} will be late because of a train in {place}; {b} starts without {a}.')),
    (('It is the birthday of {c} on {day}. Do we give something?', '{c} mentioned a {gift} last week.', 'How much would that be?', 'About {n} euros. If four of us share it, it is fine. I can buy it on {other_day}.'),
     ('{a} and {b} want to give {c} a {gift} for the birthday on {day}; it costs about {n} euros, shared by four.', 'For the birthday of {c}, {b} will buy a {gift} on {other_day}.')),
    (('Could I borrow your {tool} at the weekend?', 'What are you building?', 'A {build} for the children. I need it on {day} only.', 'Take it, but bring it back by {other_day}, because my sister wants it then. And wear glasses.'),
     ('{a} may borrow the {tool} of {b} to build a {build}, and has to return it by {other_day}.', '{b} lends {a} a {tool} for a {build}, on condition that it is back by {other_day}.')),
    (('Is the {room} free on {day} at {time}?', 'Booked until {later}, by the choir.', 'We are only six people. Is there anything smaller?', 'The reading corner, if you do not mind the {spot} in front of the window.', 'We do not. Please write us down.'),
     ('{a} wants the {room} on {day} at {time}, but the choir has it, so {a} books the reading corner.', 'Since the {room} is taken until {later}, {b} puts the group of {a} into the reading corner on {day}.')),
    (('You said that you would water my plants in {month}.', 'I did, and I will. How often?', 'The {plant} every second day, everything else once a week. The key is with {c}.', 'And if I kill the {plant}?', 'Then you owe me a {plant}.'),
     ('{b} will water the plants of {a} in {month}; {c} has the key, and the {plant} needs water every second day.', '{a} explains to {b} how to water the plants in {month}.')),
)
WORDS = dict(
    reason=('My daughter has a concert.', 'I have to take my father to the doctor.', 'The plumber can only come then.', 'My exam was moved.', 'It is my brother\'s wedding.'),
    room=('archive', 'meeting room', 'workshop', 'darkroom', 'music room', 'storeroom', 'small hall'), machine=('printer', 'dishwasher', 'copier', 'coffee machine', 'floor polisher', 'projector', 'label printer'),
    topic=('budget', 'new timetable', 'summer fair', 'holiday plan', 'roof repair', 'bicycle shed', 'open day'), thing=('raincoat', 'scarf', 'sketchbook', 'lunch box', 'glove', 'sports bag', 'notebook'),
    colour=('green', 'red', 'grey', 'yellow', 'dark blue', 'striped'), size=('huge', 'rather heavy', 'bulky', 'long and thin'), place=PLACES, gift=('teapot', 'chess set', 'concert ticket', 'rose bush', 'cookbook', 'pair of slippers'),
    tool=('drill', 'jigsaw', 'sander', 'spirit level', 'plane', 'ladder'), build=('rabbit hutch', 'swing', 'bunk bed', 'tree house', 'sand pit', 'puppet theatre'), spot=('fountain', 'station', 'market', 'old pump', 'scaffolding', 'kiosk'),
    month=('June', 'July', 'August', 'September'), plant=('fern', 'basil', 'palm', 'lemon tree', 'fig', 'tomato'), line=('2', '4', '7', '11'))
BEFORE, AFTER = ('Hi {b}.', 'Good that I see you, {b}.', 'Have you got a minute, {b}?', '{b}, one question.', ''), ('Thank you!', 'Great, thanks.', 'You are a treasure.', 'See you later, then.', 'I owe you one.', '')


def make_dialogue(rng):
    lines, summaries = rng.choice(TALKS)
    a, b, c = rng.sample(NAMES, 3)
    day, other_day = rng.sample(DAYS, 2)
    hour = rng.randrange(9, 17)
    slots = {name: rng.choice(words) for name, words in WORDS.items()}
    slots |= dict(a=a, b=b, c=c, day=day, other_day=other_day, time=f'{hour}:{rng.choice(("00", "15", "30", "45"))}', later=f'{hour + 1}:{rng.choice(("15", "30"))}', n=rng.randrange(15, 65, 5))
    said = [line.format(**slots) for line in lines]
    said[0] = f'{rng.choice(BEFORE).format(**slots)} {said[0]}'.strip()
    speakers = [(a, b)[i % 2] for i in range(len(said))]
    if (closing := rng.choice(AFTER)) and speakers[-1] == b: said, speakers = [*said, closing], [*speakers, a]
    dialogue = '\n'.join(f'{speaker}: {line}' for speaker, line in zip(speakers, said))
    return {'dialogue': dialogue, 'summary': rng.choice(summaries).format(**slots)}


# ---------------------------------------------------------------- sentence pairs: two notices -> do they say the same?

NOTICES = (
    ('The {room} closes at {hour} on {day}.', 'On {day} you can use the {room} until {hour}.', '{hour} is closing time for the {room} on {day}.'),
    ('Bus {line} to {place} leaves from stop {stop}.', 'If you want to go to {place} by bus {line}, wait at stop {stop}.', 'Stop {stop} is where bus {line} departs for {place}.'),
    ('{name} repaired the {machine} in the {room}.', 'The {machine} in the {room} was repaired by {name}.', 'It was {name} who mended the {machine} in the {room}.'),
    ('{thing} may not be taken into the {room}.', 'Please leave {small} outside the {room}.', 'It is forbidden to bring {small} into the {room}.'),
    ('Members pay {n} euros a year for the {club}.', 'The {club} costs its members {n} euros every year.', 'The yearly fee of the {club} is {n} euros.'),
    ('The {club} meets every {day} at {hour}.', 'Each {day} at {hour} there is a meeting of the {club}.', 'Every {day} the {club} comes together at {hour}.'),
    ('{name} won the {contest} ahead of {second}.', 'In the {contest}, {second} finished behind {name}, who won.', '{second} lost the {contest} to {name}.'),
    ('There is room for {n} people in the {room}.', 'The {room} holds {n} people at most.', 'No more than {n} people fit into the {room}.'),
    ('The market in {place} starts {n} minutes earlier than usual on {day}.', 'On {day} the market in {place} opens {n} minutes before its usual time.', 'Come {n} minutes sooner than usual if you visit the market in {place} on {day}.'),
    ('{name} lent the {club} a {machine}.', 'The {club} borrowed a {machine} from {name}.', 'A {machine} was lent to the {club} by {name}.'),
)
FILL = dict(room=('library', 'swimming pool', 'workshop', 'sauna', 'gallery', 'laundry', 'gym'), hour=('six', 'seven', 'eight', 'nine', 'ten'), day=DAYS, line=('2', '4', '7', '11', '15'), place=PLACES, stop=('A', 'B', 'C', 'D'),
            name=NAMES, second=NAMES, machine=('printer', 'projector', 'sewing machine', 'kiln', 'loudspeaker', 'scanner'), thing=('Umbrellas', 'Dogs', 'Bicycles', 'Drinks', 'Large bags', 'Skateboards'),
            club=('chess club', 'choir', 'film circle', 'walking group', 'book circle', 'repair group'), contest=('sack race', 'poetry slam', 'baking contest', 'quiz', 'rowing race', 'spelling contest'), n=tuple(range(12, 97)))


def make_pair(rng):
    forms = rng.choice(NOTICES)
    first, second = rng.sample(forms, 2)
    slots = {name: rng.choice(values) for name, values in FILL.items()}
    slots['name'], slots['second'] = rng.sample(NAMES, 2)
    other, label = dict(slots), rng.choice(('equivalent', 'not equivalent'))
    if label == 'not equivalent':
        used = sorted(name for name in FILL if any('{' + name + '}' in form for form in forms))
        changed = rng.choice(used)
        other[changed] = rng.choice([value for value in FILL[changed] if value not in (slots['name'], slots['second'], slots[changed])])
    sentences = [form.format(**values, small=values['thing'].lower()) for form, values in ((first, slots), (second, other))]
    return {'sentence1': sentences[0][0].upper() + sentences[0][1:], 'sentence2': sentences[1][0].upper() + sentences[1][1:], 'label': label}


# ---------------------------------------------------------------- files

HEADER = '---\npretty_name: {title}\nlanguage:\n- en\nlicense: cc0-1.0\ntask_categories:\n- {task}\nsize_categories:\n- n<1K\n{extra}---\n\n# Dataset Card for {title}\n\n## Dataset Description\n\n### Dataset Summary\n\n{summary}\n'
LABELS = "dataset_info:\n  features:\n  - name: sentence1\n    dtype: string\n  - name: sentence2\n    dtype: string\n  - name: label\n    dtype:\n      class_label:\n        names:\n        - equivalent\n        - not equivalent\n"
MADE = 'Generated for instructgen by `make_demo.py` from phrases written by hand.'
SOURCES = {
    'support_tickets': (make_ticket, 'csv', 1, 'Support tickets', 'text-classification', '', 'Messages to an invented mail-order shop, with their subject. Each belongs to one category (account, billing, delivery, product, return) and has a priority, '
                        'which is high if the writer is in a hurry and low if the writer says that time does not matter. ' + MADE),
    'unit_problems': (make_problem, 'jsonl', 2, 'Unit problems', 'question-answering', '', 'Word problems in which a unit has to be converted or a quantity scaled, with the reasoning step by step and the result as a number. ' + MADE),
    'shift_dialogues': (make_dialogue, 'jsonl', 3, 'Shift dialogues', 'summarization', '', 'Short conversations between two colleagues about shifts, keys, parcels and meetings, each with a summary of one sentence. ' + MADE),
    'notice_pairs': (make_pair, 'jsonl', 4, 'Notice pairs', 'text-classification', LABELS, 'Pairs of sentences from the notice board of an invented town. A pair is equivalent if both sentences say the same in different words, and not equivalent if one detail differs. ' + MADE),
}


def make_rows(make, seed: int) -> list[dict]:
    "As many different rows as all splits need; no two have the same texts."
    rng, rows = random.Random(seed), {}
    while len(rows) < sum(ROWS.values()):
        row = make(rng)
        rows.setdefault(json.dumps({name: row[name] for name in list(row)[:2]}, sort_keys=True), row)
    return list(rows.values())


def write(folder: Path) -> None:
    "Write card and data of each source below `folder`."
    for name, (make, form, seed, title, task, extra, summary) in SOURCES.items():
        (folder / name / 'data').mkdir(parents=True, exist_ok=True)
        (folder / name / 'README.md').write_text(HEADER.format(title=title, task=task, extra=extra, summary=summary), encoding='utf-8', newline='\n')
        rows, start = make_rows(make, seed), 0
        for split, count in ROWS.items():
            part, start, text = rows[start:start + count], start + count, io.StringIO(newline='')
            if form == 'csv':
                writer = csv.DictWriter(text, list(part[0]), lineterminator='\n')
                writer.writeheader()
                writer.writerows(part)
            else: text.writelines(json.dumps(row, ensure_ascii=False) + '\n' for row in part)
            (folder / name / 'data' / f'{split}.{form}').write_bytes(text.getvalue().encode())


if __name__ == '__main__': write(Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent))
