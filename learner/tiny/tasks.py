"""The tasks that a tiny model can be made for, by name, each with the warm-up that makes it a beginner."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from learner.tiny import guesses, products
from learner.tiny.arithmetic import split_sums
from learner.tiny.rows import Row
from learner.tiny.tokenizer import CHARACTERS
from learner.tiny.warm_up import WarmUp, imitate, until_often_right


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Rows, and a warm-up after which the model is right sometimes."""

    things: str  # what the rows are
    split: Callable[[int], tuple[list[Row], list[Row]]]  # seed -> rows to train on and held-out rows
    warm_up: WarmUp
    characters: str = CHARACTERS  # one token each


TASKS = {
    "sums": Task(things="sums", split=split_sums, warm_up=until_often_right),
    "tool": Task(
        things="products",
        split=products.split_products,
        warm_up=partial(imitate, attempts=products.attempts, steps=300),
        characters=CHARACTERS + "[]",
    ),
    "game": Task(things="secrets", split=guesses.split_games, warm_up=partial(imitate, attempts=guesses.attempts, steps=250)),
}
