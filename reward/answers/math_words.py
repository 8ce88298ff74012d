"""Answers to mathematical questions that are words: "Monday", "even", "\\text{Yes}"."""

import re

from reward.answers.answer import stated_answer
from reward.answers.joined import WRAPPER, unwrapped

NOISE = re.compile(r"\\?\$|\\[,;:! ()\[\]]|[*().,;:!?\"\u3001\u3002\uff01\uff0c\uff1a\uff1b\uff1f\u201c\u201d]|\s+")
WORDS = re.compile(r"[^\W\d_](?:[^\W\d_]|[' -])*")
# Greek letters and the like are mathematics, though they look like words.
SYMBOLS = re.compile(r"infinity|inf|alpha|beta|gamma|delta|theta|lambda|sigma|omega|sqrt|[\u0370-\u03ff]+", re.IGNORECASE)
SHORT_WORDS = frozenset({"yes", "no", "odd"})
PRODUCT = 4  # fewer letters than this may be a product: "ab", "xyz"
# Ways to say the same of an equation or a limit, by the form that stands for all of them
SAME = {
    "no solutions": "no solution",
    "there is no solution": "no solution",
    "there are no solutions": "no solution",
    "no solution exists": "no solution",
    "no solutions exist": "no solution",
    "dne": "does not exist",
    "doesn't exist": "does not exist",
    "it does not exist": "does not exist",
    "the limit does not exist": "does not exist",
    "infinitely many solutions": "infinitely many",
    "there are infinitely many solutions": "infinitely many",
    "an infinite number of solutions": "infinitely many",
}
NEGATIONS = frozenset({"not", "never", "isn't", "neither", "nor", "non", "no"})


def plain_words(text: str) -> str:
    """The text in small letters, without LaTeX's wrappers and punctuation, its words one space apart."""
    return " ".join(NOISE.sub(" ", unwrapped(text)).split()).casefold()


def reference_words(text: str) -> str | None:
    """The words of a reference that consists of words; None where it is mathematics.

    It does where it is all in \\text{}, or only letters: at least four, a name such as "No", or "yes", "no", "odd".
    """
    words, outside = plain_words(text), NOISE.sub("", WRAPPER.sub("", text))
    if not WORDS.fullmatch(words) or SYMBOLS.fullmatch(words):
        return None
    if not outside:  # all of it in \text{}
        return words
    if outside != NOISE.sub("", text):
        return None
    letters = sum(letter.isalpha() for letter in words)
    named = letters > 1 and outside.istitle()
    return words if letters >= PRODUCT or named or words in {*SHORT_WORDS, *SAME} or (letters and not words.isascii()) else None


def says(response: str, words: str, *, marked: bool) -> bool:
    """Whether a response answers with those words: a marked answer equals them, any other response ends on them."""
    said, words = plain_words(response), SAME.get(words, words)
    if SAME.get(said, said) == words or marked:
        return SAME.get(said, said) == words
    stated = plain_words(stated_answer(response) or "")
    if stated and SAME.get(stated, stated) == words:
        return True
    before, found, after = said.rpartition(words)
    if not found or after or (before and not before.endswith(" ")):
        return False
    return not before or before.split()[-1] not in NEGATIONS
