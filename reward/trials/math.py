"""Right answers in other words, and near misses, for the checker of mathematics."""

from reward.answers.math_words import reference_words
from reward.answers.mathematics import boxed, reference_answer
from reward.mathematics.nodes import Node
from reward.mathematics.read import read_answer
from reward.trials.misses import misses, numbers_in
from reward.trials.wordings import in_other_marks, in_other_words
from reward.trials.written import UnwritableError, written

MANY = 10  # near misses of one reference


def math_in_other_words(reference: object) -> list[str]:
    """Responses that give the reference's answer in other words; only marked otherwise where it is compared as text."""
    answer = reference_answer(reference)
    node = _tree(answer)
    return in_other_marks(answer) + ([] if node is None else in_other_words(answer, node))


def math_near_misses(reference: object) -> list[str]:
    """Responses with another value; of a reference that is compared as text, its numbers."""
    answer = reference_answer(reference)
    node = _tree(answer)
    if node is None:
        return [boxed(number) for number in numbers_in(answer)] + ([boxed("0")] if answer.strip("0. ") else [])
    texts: dict[str, None] = {}
    for miss in misses(node):
        try:
            texts[written(miss)] = None
        except UnwritableError:
            continue
    return [boxed(text) for text in list(texts)[:MANY]]


def _tree(answer: str) -> Node | None:
    return None if reference_words(answer) else read_answer(answer)
