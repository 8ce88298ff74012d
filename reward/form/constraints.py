"""The instructions of IFEval (arXiv 2311.07911) by their public ids: the arguments of each, and the function that verifies it.

The code is our own, from the public description; words and sentences are those of `reward.form.text`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from reward.form import wording
from reward.form import writing_format as form

Follows = Callable[..., bool]  # (a response that is not empty, the named arguments)


@dataclass(frozen=True, slots=True)
class Constraint:
    """One kind of instruction."""

    follows: Follows
    needs: dict[str, str]  # arguments by name, each with its kind


RELATIONS = ("less than", "at least")
CONSTRAINTS: dict[str, Constraint] = {
    "keywords:existence": Constraint(wording.has_keywords, {"keywords": "texts"}),
    "keywords:frequency": Constraint(wording.keyword_frequency, {"keyword": "text", "frequency": "count", "relation": "relation"}),
    "keywords:forbidden_words": Constraint(wording.lacks_words, {"forbidden_words": "texts"}),
    "keywords:letter_frequency": Constraint(
        wording.letter_frequency, {"letter": "letter", "let_frequency": "count", "let_relation": "relation"}
    ),
    "language:response_language": Constraint(wording.mostly_in, {"language": "language"}),
    "length_constraints:number_sentences": Constraint(wording.number_sentences, {"num_sentences": "count", "relation": "relation"}),
    "length_constraints:number_paragraphs": Constraint(form.number_paragraphs, {"num_paragraphs": "positive"}),
    "length_constraints:number_words": Constraint(wording.number_words, {"num_words": "count", "relation": "relation"}),
    "length_constraints:nth_paragraph_first_word": Constraint(
        form.nth_paragraph_first_word, {"num_paragraphs": "positive", "nth_paragraph": "positive", "first_word": "text"}
    ),
    "detectable_content:number_placeholders": Constraint(form.number_placeholders, {"num_placeholders": "count"}),
    "detectable_content:postscript": Constraint(form.has_postscript, {"postscript_marker": "text"}),
    "detectable_format:number_bullet_lists": Constraint(form.number_bullets, {"num_bullets": "count"}),
    "detectable_format:constrained_response": Constraint(form.gives_a_choice, {}),
    "detectable_format:number_highlighted_sections": Constraint(form.number_highlights, {"num_highlights": "count"}),
    "detectable_format:multiple_sections": Constraint(form.number_sections, {"section_spliter": "text", "num_sections": "count"}),
    "detectable_format:json_format": Constraint(form.is_json, {}),
    "detectable_format:title": Constraint(form.has_title, {}),
    "combination:two_responses": Constraint(form.two_responses, {}),
    "combination:repeat_prompt": Constraint(form.repeats_prompt, {"prompt_to_repeat": "text"}),
    "startend:end_checker": Constraint(form.ends_with, {"end_phrase": "text"}),
    "startend:quotation": Constraint(form.is_quoted, {}),
    "change_case:capital_word_frequency": Constraint(
        wording.capital_word_frequency, {"capital_frequency": "count", "capital_relation": "relation"}
    ),
    "change_case:english_capital": Constraint(wording.english_capital, {}),
    "change_case:english_lowercase": Constraint(wording.english_lowercase, {}),
    "punctuation:no_comma": Constraint(wording.no_comma, {}),
}


def _is_count(value: Any, least: int) -> bool:
    """Whole numbers as tables of numbers give them: 3.0 is 3."""
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1 and value >= least


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "text": ("a text that is not empty", _is_text),
    "texts": ("a list of texts that are not empty", lambda value: isinstance(value, list) and bool(value) and all(map(_is_text, value))),
    "letter": ("one character", lambda value: isinstance(value, str) and len(value.strip()) == 1),
    "count": ("a whole number from 0", lambda value: _is_count(value, 0)),
    "positive": ("a whole number from 1", lambda value: _is_count(value, 1)),
    "relation": (" or ".join(map(repr, RELATIONS)), lambda value: value in RELATIONS),
    "language": ("a code of a language such as 'en'", wording.is_language),
}
