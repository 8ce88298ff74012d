"""Instructions about the words of a response: which, how many, in what language and case."""

import re
from collections.abc import Callable

from reward.form.language import language_code, language_share, prose
from reward.form.text import sentences, words

MAIN_SHARE = 0.5  # of the words, from which a response is in a language, as the public benchmark asks for the main one only


def compares(found: int, relation: str, wanted: float) -> bool:
    return found >= wanted if relation == "at least" else found < wanted


def has_keywords(response: str, keywords: list[str]) -> bool:
    text = response.casefold()
    return all(keyword.strip().casefold() in text for keyword in keywords)


def keyword_frequency(response: str, keyword: str, frequency: float, relation: str) -> bool:
    """A keyword counts within longer words too: "sneakers" contains "sneaker"."""
    return compares(response.casefold().count(keyword.strip().casefold()), relation, frequency)


def lacks_words(response: str, forbidden_words: list[str]) -> bool:
    """Forbidden are whole words: "rocket" is not "rock"."""
    text = response.casefold()
    return not any(re.search(rf"(?<!\w){re.escape(word.strip().casefold())}(?!\w)", text) for word in forbidden_words)


def letter_frequency(response: str, letter: str, let_frequency: float, let_relation: str) -> bool:
    return compares(response.lower().count(letter.strip().lower()), let_relation, let_frequency)


def number_sentences(response: str, num_sentences: float, relation: str) -> bool:
    return compares(len(sentences(response)), relation, num_sentences)


def number_words(response: str, num_words: float, relation: str) -> bool:
    return compares(len(words(response)), relation, num_words)


def is_language(name: object) -> bool:
    """Whether the language of that code can be recognised."""
    try:
        return isinstance(name, str) and bool(language_code(name))
    except ValueError:
        return False


def mostly_in(response: str, language: str) -> bool:
    return language_share(prose(response, code=False, math=False), language_code(language)) >= MAIN_SHARE


def capital_word_frequency(response: str, capital_frequency: float, capital_relation: str) -> bool:
    """Words all in capital letters; "I" and "A" are such words."""
    return compares(sum(map(str.isupper, words(response))), capital_relation, capital_frequency)


def english_capital(response: str) -> bool:
    return _english(response, str.isupper)


def english_lowercase(response: str) -> bool:
    return _english(response, str.islower)


def _english(response: str, cased: Callable[[str], bool]) -> bool:
    return cased(response) and mostly_in(response, "en")


def no_comma(response: str) -> bool:
    return "," not in response
