"""near_duplicates on 50,000 instructions, beside MinHash LSH and every pair by ROUGE-L on a sample.

Run it with `python benchmarks/near_duplicates.py [texts] [sample]`. The instructions are made from templates, because the hard case is one
in which all texts are built from the same few words; a second set draws from a larger vocabulary. Times are of one process.
"""
import random
import sys
import time
from collections.abc import Callable

from datasketch import MinHash, MinHashLSH
from rapidfuzz.distance import LCSseq

from instructgen.text import near_duplicates, words

THRESHOLD = .9
FIELDS = [f'{which} {what}' for which in 'source target first second original short long main given related'.split()
          for what in 'question answer sentence title passage summary label text review article code name topic document dialogue'.split()]
VERBS = 'predict generate identify write determine extract provide choose classify create'.split()
TEMPLATES = ['Given the {a}, {v} the {b}.', 'Given the {a} and the {c}, {v} the {b}.', '{v} the {b} from the {a}.', '{v} a {b} that fits the given {a} and {c}.',
             'Read the {a} and {v} the {b} in one sentence.', 'Based on the {a} and the {c}, {v} whether the {b} is correct or not.']


def templated(count: int, seed: int = 0) -> list[str]:
    "Instructions of few words: 150 fields, ten verbs, six frames."
    rng = random.Random(seed)
    return [rng.choice(TEMPLATES).format(a=rng.choice(FIELDS), b=rng.choice(FIELDS), c=rng.choice(FIELDS), v=rng.choice(VERBS)) for _ in range(count)]


def varied(count: int, seed: int = 0) -> list[str]:
    "Instructions of 6 to 30 words out of 5,000, common ones more often; half are copies with up to three words changed."
    rng = random.Random(seed)
    vocabulary = [f'w{n}' for n in range(5000)]
    weights = [1 / (n + 3) for n in range(5000)]
    texts = []
    for _ in range(count):
        if texts and rng.random() < .5:
            text = rng.choice(texts).split()
            for _ in range(rng.randint(0, 3)): text[rng.randrange(len(text))] = rng.choices(vocabulary, weights)[0]
        else: text = rng.choices(vocabulary, weights, k=rng.randint(6, 30))
        texts.append(' '.join(text))
    return texts


def by_minhash(texts: list[str], permutations: int = 128) -> list[int]:
    "The same by MinHash LSH over words, candidates checked by ROUGE-L; the Jaccard threshold is where 0.9 of F1 lies for sets."
    index, split, twins = MinHashLSH(threshold=THRESHOLD / (2 - THRESHOLD), num_perm=permutations), [words(text) for text in texts], []
    for place, (text, sketch) in enumerate(zip(split, MinHash.generator([[word.encode() for word in set(text)] for text in split], num_perm=permutations))):
        near = sorted(other for other in index.query(sketch) if 2 * LCSseq.similarity(split[other], text) >= (THRESHOLD - 1e-6) * (len(split[other]) + len(text)))
        if not near: index.insert(place, sketch)
        twins.append(near[0] if near else -1)
    return twins


def by_every_pair(texts: list[str]) -> list[int]:
    "The same by ROUGE-L of each text with every kept one: quadratic."
    split, kept, twins = [words(text) for text in texts], [], []
    for place, text in enumerate(split):
        twins.append(next((other for other in kept if 2 * LCSseq.similarity(split[other], text) >= (THRESHOLD - 1e-6) * (len(split[other]) + len(text))), -1))
        if twins[-1] < 0: kept.append(place)
    return twins


def timed(find: Callable[[list[str]], list[int]], texts: list[str]) -> tuple[float, list[int]]:
    "Seconds and result."
    start = time.perf_counter()
    found = find(texts)
    return time.perf_counter() - start, found


def agreement(found: list[int], want: list[int]) -> str:
    "Precision and recall of the texts that were dropped."
    dropped, wanted = {n for n, twin in enumerate(found) if twin >= 0}, {n for n, twin in enumerate(want) if twin >= 0}
    return f'precision {len(dropped & wanted) / max(1, len(dropped)):.4f}, recall {len(dropped & wanted) / max(1, len(wanted)):.4f}'


def main(count: int = 50_000, sample: int = 5_000) -> None:
    "Print a table."
    for make in (templated, varied):
        texts = make(count)
        seconds, twins = timed(near_duplicates, texts)
        print(f'{make.__name__}: {count:,} texts, {sum(twin >= 0 for twin in twins):,} dropped; near_duplicates {seconds:.1f} s', flush=True)
        pairs, want = timed(by_every_pair, texts[:sample])
        ours, found = timed(near_duplicates, texts[:sample])
        sketched, sketches = timed(by_minhash, texts[:sample])
        print(f'  {sample:,} texts: every pair {pairs:.1f} s (that is {pairs * (count / sample) ** 2 / 60:.0f} min for {count:,}); '
              f'near_duplicates {ours:.2f} s, {agreement(found, want)}, equal {found == want}; MinHash LSH {sketched:.1f} s, {agreement(sketches, want)}', flush=True)


if __name__ == '__main__': main(*(int(argument) for argument in sys.argv[1:]))
