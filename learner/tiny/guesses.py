"""The task `game`: find a secret number of a range, told after each guess whether it is higher or lower.

The transcripts teach the form of a guess and show the skill seldom: in most games each guess is any number, whatever was answered.
"""

import random
from collections.abc import Sequence

from learner.tiny.rows import Row
from learner.tiny.transcript import Transcript

HELD_OUT = 256
NUMBERS = 16  # in each range
TURNS = 6  # guesses; halving the range takes five at most
ATTENTIVE = 0.35  # share of games whose guesses heed the range and all answers; where in what is left, chance decides


def split_ranges(seed: int, held_out: int = HELD_OUT) -> tuple[list[Row], list[Row]]:
    """Every secret of every range of two-digit numbers in a shuffled order, as disjoint (train, eval) rows."""
    firsts = range(10, 101 - NUMBERS)
    rows: list[Row] = [
        {"prompt": f"{first}-{first + NUMBERS - 1}:", "secret": secret} for first in firsts for secret in range(first, first + NUMBERS)
    ]
    random.Random(seed).shuffle(rows)
    return rows[held_out:], rows[:held_out]


def hint(number: int, secret: int) -> str:
    """Where the secret is, seen from a guess."""
    return "higher" if number < secret else "lower"


def attempts(rows: Sequence[Row], count: int, rng: random.Random) -> list[Transcript]:
    """What an unskilled player does with rows drawn at random."""
    return [attempt(rng.choice(rows), rng) for _ in range(count)]


def attempt(row: Row, rng: random.Random) -> Transcript:
    """One game, to its end."""
    first, last = map(int, row["prompt"].removesuffix(":").split("-"))
    low, high = first, last  # what the answers so far leave
    attentive = rng.random() < ATTENTIVE
    transcript = [row["prompt"]]
    for left in reversed(range(TURNS)):
        number = rng.randint(low, high) if attentive else rng.randint(10, 99)
        transcript.append(str(number))
        if number == row["secret"] or not left:
            break
        transcript.append(hint(number, row["secret"]))
        if number < row["secret"]:
            low = max(low, number + 1)
        else:
            high = min(high, number - 1)
    return tuple(transcript)
