"""The task `tool`: two-digit products. The model cannot multiply, but it can ask a calculator and copy what that answers.

The transcripts teach the form of a call and no skill: few of them call, and those that do often copy a digit wrong.
"""

import random
from collections.abc import Sequence

from learner.tiny.rows import Row
from learner.tiny.transcript import Transcript

HELD_OUT = 256
CALLS = 0.25  # share of transcripts with a call; the others guess
WRONG = 0.25  # share of calls with a wrong digit
MISREAD = 0.2  # share of results of which a digit is copied wrong


def split_products(seed: int, held_out: int = HELD_OUT) -> tuple[list[Row], list[Row]]:
    """All 8,100 products of two two-digit numbers in a shuffled order, as disjoint (train, eval) rows."""
    rows = [{"prompt": f"{a}*{b}=", "answer": str(a * b)} for a in range(10, 100) for b in range(10, 100)]
    random.Random(seed).shuffle(rows)
    return rows[held_out:], rows[:held_out]


def call_of(a: str, b: str) -> str:
    """A call of the function `multiply`, as `tools.format = "pythonic"` reads it."""
    return f"[multiply(a={a}, b={b})]"


def attempts(rows: Sequence[Row], count: int, rng: random.Random) -> list[Transcript]:
    """What an unskilled player does with rows drawn at random: guess, or call and copy, both with slips."""
    return [attempt(rng.choice(rows)["prompt"], rng) for _ in range(count)]


def attempt(prompt: str, rng: random.Random) -> Transcript:
    """One try at a product."""
    if rng.random() >= CALLS:
        return prompt, guess(rng)
    numbers = prompt.removesuffix("=").split("*")
    if rng.random() < WRONG:
        place = rng.randrange(2)
        numbers[place] = slip(numbers[place], rng)
    result = str(int(numbers[0]) * int(numbers[1]))
    return prompt, call_of(*numbers), result, slip(result, rng) if rng.random() < MISREAD else result


def guess(rng: random.Random) -> str:
    """A number of three or four digits that mostly begins with 1, so that the likeliest first letter is a guess and not a call."""
    first = rng.choices(range(1, 10), [12, *[1] * 8])[0]
    return str(first) + "".join(rng.choices("0123456789", k=rng.choice((2, 3, 3))))


def slip(number: str, rng: random.Random) -> str:
    """The number with another digit at one place; its first digit never becomes 0."""
    place = rng.randrange(len(number))
    digit = rng.choice([digit for digit in "0123456789"[place == 0 :] if digit != number[place]])
    return number[:place] + digit + number[place + 1 :]
