"""The checker for a pattern that a response must, or must not, match: Python's regular expressions.

A pattern that takes for ever on some response is ended by the deadline of `reward.workers.pool`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from reward.form.options import read_options
from reward.given import given

FLAGS = {"a": re.ASCII, "i": re.IGNORECASE, "m": re.MULTILINE, "s": re.DOTALL, "x": re.VERBOSE}
LEADING_FLAGS = re.compile(r"(?:\(\?[aiLmsux]+\))*")
MATCHES: dict[str, Callable[[re.Pattern[str], str], object]] = {
    "search": re.Pattern.search,
    "fullmatch": re.Pattern.fullmatch,
    "start": re.Pattern.match,
    "end": re.Pattern.search,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """The pattern of a reference, and where it must match."""

    pattern: re.Pattern[str]
    where: str = "search"
    absent: bool = False


def read_rule(reference: object) -> Rule:
    """The rule of a reference: a pattern, or a table with `pattern`, `flags`, `where`, `absent`; else ValueError."""
    reference = given(reference, "pattern")  # other JSON is a pattern too: "[0-9]" or "[7]"
    if isinstance(reference, str):
        reference = {"pattern": reference}
    known = {"pattern": (str,), "flags": (str,), "where": (str,), "absent": (bool,)}
    options = read_options(reference, known, needed=("pattern",))
    pattern, letters, where = options["pattern"], options.get("flags", ""), options.get("where", "search")
    if not pattern:
        raise ValueError("pattern must not be empty: it would match every response")
    if unknown := [letter for letter in letters if letter not in FLAGS]:
        raise ValueError(f"flags must be letters of {''.join(FLAGS)!r}, got {unknown[0]!r} in {letters!r}")
    if where not in MATCHES:
        raise ValueError(f"where must be one of {', '.join(MATCHES)}, got {where!r}")
    flags = re.NOFLAG
    for letter in letters:
        flags |= FLAGS[letter]
    compiled = compile_pattern(pattern, flags)
    if where == "end":
        leading = LEADING_FLAGS.match(pattern)
        cut = leading.end() if leading else 0
        line = "\n" if compiled.flags & re.VERBOSE else ""  # ends a comment, which would hide the rest
        compiled = compile_pattern(rf"{pattern[:cut]}(?:{pattern[cut:]}{line})\Z", flags)
    return Rule(pattern=compiled, where=where, absent=options.get("absent", False))


def compile_pattern(pattern: str, flags: re.RegexFlag) -> re.Pattern[str]:
    """The pattern compiled; ValueError says where it is wrong."""
    try:
        return re.compile(pattern, flags)
    except re.error as error:
        at = "" if error.pos is None else f" at character {error.pos}"
        raise ValueError(f"pattern {pattern!r:.200} is no regular expression: {error.msg}{at}") from error
    except (OverflowError, RecursionError) as error:
        raise ValueError(f"pattern {pattern!r:.200} cannot be compiled: {error}") from error


def regex_reference(reference: object) -> None:
    """ValueError when the reference is no rule."""
    read_rule(reference)


def check_regex(response: str, reference: object) -> float:
    """1.0 when the pattern is found where it should be, or with `absent` is not, else 0.0.

    `where`: "search" anywhere, "fullmatch" the whole response, "start" from its first character, "end" up to its last one.
    """
    rule = read_rule(reference)
    found = MATCHES[rule.where](rule.pattern, response) is not None
    return float(found != rule.absent)
