"""The checker for how long a response is, in words, characters, sentences, lines or paragraphs."""

from collections.abc import Callable
from dataclasses import dataclass

from reward.form.options import read_options
from reward.form.text import lines, paragraphs, sentences, words

LONGEST_GOLD = 100_000
COUNTS: dict[str, Callable[[str], int]] = {
    "words": lambda text: len(words(text)),
    "characters": lambda text: len(text.strip()),
    "sentences": lambda text: len(sentences(text)),
    "lines": lambda text: len(lines(text)),
    "paragraphs": lambda text: len(paragraphs(text)),
}
ONE = {"words": "word ", "characters": "x", "sentences": "A sentence. ", "lines": "line\n", "paragraphs": "paragraph\n\n"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The lengths that a reference allows, both ends included."""

    low: float
    high: float
    unit: str
    soft: float  # how far outside the score reaches 0


def read_span(reference: object) -> Span:
    """The lengths that a reference allows: a table with `min` or `max` or both, and `unit`, `soft`; else ValueError."""
    number = (int, float)
    options = read_options(reference, {"min": number, "max": number, "unit": (str,), "soft": number})
    unit = options.get("unit", "words")
    if unit not in COUNTS:
        raise ValueError(f"unit must be one of {', '.join(COUNTS)}, got {unit!r}")
    if "min" not in options and "max" not in options:
        raise ValueError(f"reference needs min or max or both: without them every length is right; got {reference!r:.200}")
    low, high, soft = options.get("min", 0), options.get("max", float("inf")), options.get("soft", 0)
    if not 0 <= low <= high:
        raise ValueError(f"need 0 <= min <= max, got min={low}, max={high}")
    if not 0 <= soft < float("inf"):
        raise ValueError(f"soft must be 0 or more {unit}, got {soft}")
    return Span(low=low, high=high, unit=unit, soft=soft)


def length_reference(reference: object) -> None:
    """ValueError when the reference allows no lengths."""
    read_span(reference)


def check_length(response: str, reference: object) -> float:
    """1.0 from `min` to `max`, falling in a straight line to 0.0 where the length is `soft` units outside.

    Words, sentences and paragraphs are those of `reward.form.text`; characters are code points but for white space around the response;
    lines are those that are not blank.
    """
    span = read_span(reference)
    length = COUNTS[span.unit](response)
    outside = max(span.low - length, length - span.high, 0)
    if outside == 0:
        return 1.0
    return float(1 - outside / span.soft) if outside < span.soft else 0.0


def gold_length(reference: object) -> str | None:
    """A text of the shortest length allowed, or of one unit where that is none; None where it would be huge."""
    span = read_span(reference)
    count = -int(-max(span.low, min(1, span.high)) // 1)
    return ONE[span.unit] * count if count <= min(span.high, LONGEST_GOLD) else None
