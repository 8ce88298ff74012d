"""Reads numbers and the names of variables: letters with their indices, primes and accents."""

from abc import ABC, abstractmethod
from fractions import Fraction

from reward.mathematics.cursor import Cursor
from reward.mathematics.names import SETS, UNIT_LETTERS
from reward.mathematics.nodes import Call, Constant, Node, Number, NumberSet, Symbol
from reward.mathematics.tokens import Token
from reward.mathematics.unreadable import UnreadableError

LONGEST_NUMBER = 4_000  # digits; Python converts no more without a switch
LONGEST_EXPONENT = 4_000
APPLIED = frozenset("fgFG")  # before a bracket these letters are functions, others are factors
INVERSE = ["^", "{", "-", "1", "}", "("]


class Letters(ABC):
    """The names in a text; subclasses read what they are parts of."""

    def __init__(self, tokens: list[Token]) -> None:
        self.at = Cursor(tokens)
        self.in_bars = False
        self.in_set = False
        self.read_brackets: dict[tuple[int, bool, bool], tuple[Node | UnreadableError, int]] = {}
        self.fraction_just_read = False  # set by \\frac, so that "3\\frac{1}{2}" is a mixed number and "3 (1/2)" a product

    @abstractmethod
    def arguments(self) -> tuple[Node, ...]:
        """The values between round brackets."""

    def power_number(self) -> Node:
        """The number that comes next."""
        token = self.at.take()
        if token.kind != "number":
            raise UnreadableError(f"{token.text!r} where a number was expected")
        return number(token.text)

    def letter(self) -> Node:
        """A variable with its index and primes, one of the constants e and i, or a function applied to a bracket."""
        first = self.first_of_member()
        name = self.at.take().text + self.index() + self.primes()
        if (
            name in SETS
            and self.at.sees("^")
            and self.at.peek(1).text in ("*", "+")
            and self.at.peek(2).text in (")", "end", ",", ":}", "the end")
        ):
            self.at.place += 2
            return NumberSet(name + self.at.peek(-1).text)
        if name in ("e", "i"):
            return Constant(name)
        if name in APPLIED and [self.at.peek(ahead).text for ahead in range(len(INVERSE))] == INVERSE:
            self.at.place += len(INVERSE) - 1
            name = f"inverse {name}"
        weight = name == "g" and not self.at.peek(-1).gap and self.at.peek(-2).text in ("m", "M", "rho")
        applied = name.rstrip("'").removeprefix("inverse ")[:1] in APPLIED and self.at.sees("(") and not weight
        if applied or (first and self.names_function()) or self.is_applied_to_number():
            return Call(f"apply {name}", self.arguments())
        return Symbol(name)

    def first_of_member(self) -> bool:
        """Whether the answer or one value of a list begins here."""
        before = self.at.peek(-1)
        return before.kind in ("end", "word") or (before.kind == "sign" and before.text in (",", ";", "and", "or"))

    def names_function(self) -> bool:
        """Whether "(x) =" or "(3) =" follows a letter, which then names a function."""
        if not (self.at.sees("(") and self.at.sees(")", ahead=2) and self.at.sees("=", "~", ahead=3)):
            return False
        return self.at.peek(1).kind in ("letter", "number")

    def is_applied_to_number(self) -> bool:
        """Whether "(0)" follows a letter directly, as in "I(0)"; a product would be written the other way round."""
        return self.at.sees("(") and not self.at.peek().gap and self.at.peek(1).kind == "number" and self.at.sees(")", ahead=2)

    def is_unit_letter(self) -> bool:
        """Whether the letter here stands apart or upright behind a number, as a unit does."""
        token, before = self.at.peek(), self.at.peek(-1)
        apart = token.gap and before.kind == "number" and self.at.peek(1).kind == "end"
        return (apart or token.upright) and token.text in UNIT_LETTERS

    def index(self) -> str:
        """The index behind a letter, as text; "" without one."""
        if not self.at.takes("_"):
            return ""
        if not self.at.takes("{"):
            return "_" + self.at.take().text
        parts, depth = [], 1
        while depth:
            token = self.at.take()
            if token.kind == "end":
                raise UnreadableError("an index that is not closed")
            depth += {"{": 1, "}": -1}.get(token.text, 0)
            parts.append(token.text)
        return "_" + "".join(parts[:-1])

    def primes(self) -> str:
        """The primes behind a letter, also raised ones; "" without any."""
        marks = ""
        while self.at.takes("'"):
            marks += "'"
        braced = self.at.sees("{", ahead=1)
        while self.at.sees("^") and self.at.sees("'", ahead=1 + braced):
            self.at.place += 1 + braced
            while self.at.takes("'"):
                marks += "'"
            if braced:
                self.at.expect("}")
        return marks

    def as_text(self) -> str:
        """An argument as the text of its signs, for a name."""
        if not self.at.takes("{"):
            first = self.at.take()
            text = first.text
            while first.kind == "letter" and first.text.isupper() and self.at.peek().kind == "letter" and self.at.peek().text.isupper():
                text += self.at.take().text
            return text
        self.at.place -= 1
        start = self.at.place
        depth = 0
        while True:
            token = self.at.take()
            if token.kind == "end":
                raise UnreadableError("a brace that is not closed")
            depth += {"{": 1, "}": -1}.get(token.text, 0)
            if depth == 0:
                return "".join(token.text for token in self.at.tokens[start + 1 : self.at.place - 1])

    def number_set(self, name: str) -> Node:
        """\\mathbb{R} and the like, with a raised sign or without."""
        sign = ""
        if self.at.takes("^"):
            closing = self.at.takes("{")
            sign = self.at.take().text
            if closing:
                self.at.expect("}")
        elif self.at.takes("_"):
            self.at.takes("{")
            raise UnreadableError(f"the set {name} with an index")
        if len(name) != 1 or sign not in ("", "+", "-", "*"):
            raise UnreadableError(f"the set {name}{sign}")
        return NumberSet(name + sign)


def number(text: str) -> Number:
    """The number in digits; UnreadableError for more digits than can be handled."""
    mantissa, _, exponent = text.lower().partition("e")
    if len(mantissa) > LONGEST_NUMBER or abs(int(exponent or 0)) > LONGEST_EXPONENT:
        raise UnreadableError(f"a number of more than {LONGEST_NUMBER} digits")
    _, point, decimals = mantissa.partition(".")
    value = Fraction(mantissa if mantissa != "." else "0") * Fraction(10) ** int(exponent or 0)
    places = max(0, len(decimals) - int(exponent or 0)) if point or exponent else None
    return Number(value, places)
