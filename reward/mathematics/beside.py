"""The words beside a value: a label before it, a unit behind it, a condition such as "where n is an integer"."""

import re

from reward.mathematics.cursor import Cursor
from reward.mathematics.names import NEGATING, UNIT_LETTERS
from reward.mathematics.nodes import Node, NumberSet, Relation, Symbol
from reward.mathematics.unreadable import UnreadableError

LONGEST_LABEL = 12  # words
LONGEST_POWER = 2  # digits of an exponent in a unit
IN_UNIT = frozenset({"/", "*", "^", "-", "{", "}", "(", ")", ".", "%"})
KINDS = r"integers?|whole numbers?|natural numbers?|real numbers?|real"
CONDITION = re.compile(
    rf"(?:where|for|with|for all|for any|for some|for every|and)?\s*(?:any|all|some|every|each)?\s*(?:({KINDS})\s+)?([A-Za-z])\s*"
    rf"(?:(?:is|are|be|any|can be|being)\s+)*(?:an?|any|some|all|arbitrary)?\s*({KINDS})?"
)
DOMAINS = {"integer": "Z", "whole number": "Z", "natural number": "N", "real number": "R", "real": "R"}


def drop_label(at: Cursor) -> None:
    """Move behind words before a value ("Joe: ", "Area =", "approximately"); UnreadableError where they change its meaning."""
    start, words = at.place, 0
    while at.peek().kind == "word" or (words and at.sees(":", ".", ",")):
        if at.peek().kind == "word" and len(at.peek().text) == 1 and at.peek().upright and not words and is_operand_of(at):
            return
        words += at.peek().kind == "word"
        refuse_negation(at.take().text)
        if words > LONGEST_LABEL:
            raise UnreadableError(f"more than {LONGEST_LABEL} words before a value")
    if at.place > start:
        at.takes("=", "~", ":")
    elif at.sees("~", "=", ":"):
        at.take()


def is_operand_of(at: Cursor) -> bool:
    """Whether a letter set upright is a symbol: an operator, a bracket or an index follows it."""
    after = at.peek(1)
    return after.kind == "end" or (
        after.kind == "sign" and after.text in ("+", "-", "*", "/", "^", "_", "=", "<", ">", "<=", ">=", "(", "'")
    )


def drop_unit(at: Cursor) -> None:
    """Move behind the words of a unit: "cm^2", "square inches", "m/s". UnreadableError where something else stands among them."""
    depth, words = 0, 0
    while at.peek().kind != "end":
        token = at.peek()
        if token.kind == "word":
            refuse_negation(token.text)
            words += 1
        elif token.kind == "letter" and (token.upright or token.text in UNIT_LETTERS or token.text == "a"):  # "miles a day"
            words += 1
        elif token.kind == "number":
            if at.peek(-1).text not in ("^", "{", "-") or len(token.text) > LONGEST_POWER:
                raise UnreadableError(f"the number {token.text} among the words behind a value")
        elif token.kind != "sign" or token.text not in IN_UNIT:
            break
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        if depth < 0:
            break
        at.take()
    if not words:
        raise UnreadableError(f"{at.peek(-1).text!r} behind a value")


def refuse_negation(word: str) -> None:
    """UnreadableError for a word that changes what the number beside it means."""
    if word.lower() in NEGATING:
        raise UnreadableError(f"the word {word!r} beside a value")


def condition_in_words(at: Cursor) -> Node | None:
    """A condition such as "where n is any integer" that ends the text; None where the words are something else."""
    rest, place = [], at.place
    while at.peek().kind in ("word", "letter"):
        rest.append(at.take().text)
    found = CONDITION.fullmatch(" ".join(rest)) if at.peek().kind == "end" else None
    name = found and (found[1] or found[3])
    if not found or not name:
        at.place = place
        return None
    return Relation((Symbol(found[2]), NumberSet(DOMAINS[name.removesuffix("s")])), ("in",))
