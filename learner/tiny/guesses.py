"""The task `game`: find a secret letter, told after each guess whether it stands further up or down the alphabet.

The transcripts teach the form of a guess and show the skill seldom: in most games each guess is any letter, whatever was answered.
"""

import random
from collections.abc import Sequence

from learner.tiny.rows import Row
from learner.tiny.transcript import Transcript

HELD_OUT = 256
LETTERS = "abcdefghijklmnop"
TURNS = 6  # guesses; halving what is left takes five at most
ATTENTIVE = 0.3  # share of games whose guesses heed all answers; where in what is left, chance decides


def split_games(seed: int, held_out: int = HELD_OUT) -> tuple[list[Row], list[Row]]:
    """Every secret in 90 numbered games in a shuffled order, as disjoint (train, eval) rows; no number tells a secret."""
    rows: list[Row] = [{"prompt": f"{number} a-p:", "secret": secret} for number in range(10, 100) for secret in LETTERS]
    random.Random(seed).shuffle(rows)
    return rows[held_out:], rows[:held_out]


def hint(letter: str, secret: str) -> str:
    """Where the secret is, seen from a guess."""
    return "up" if letter < secret else "down"


def attempts(rows: Sequence[Row], count: int, rng: random.Random) -> list[Transcript]:
    """What an unskilled player does with rows drawn at random."""
    return [attempt(rng.choice(rows), rng) for _ in range(count)]


def attempt(row: Row, rng: random.Random) -> Transcript:
    """One game, to its end."""
    open_letters = LETTERS  # what the answers so far leave
    attentive = rng.random() < ATTENTIVE
    transcript = [row["prompt"]]
    for left in reversed(range(TURNS)):
        letter = rng.choice(open_letters if attentive else LETTERS)
        transcript.append(letter)
        if letter == row["secret"] or not left:
            break
        transcript.append(hint(letter, row["secret"]))
        open_letters = "".join(other for other in open_letters if other != letter and hint(letter, other) == transcript[-1])
    return tuple(transcript)
