"""Reads what arithmetic joins: numbers, letters, commands, and groups in brackets, braces and bars."""

from abc import abstractmethod

from reward.mathematics.functions import Functions
from reward.mathematics.nodes import Bracketed, Call, FiniteSet, Node
from reward.mathematics.unreadable import UnreadableError

BRACKET = 3  # levels of nesting for which a bracket counts, by the calls that it takes
CLOSES = {"(": (")", "]"), "[": (")", "]"), "<:": (":>",)}


class Atoms(Functions):
    """The tightest level of the grammar; a subclass adds sums and lists."""

    @abstractmethod
    def braces(self) -> Node:
        """A set in braces, behind its opening brace."""

    def base(self) -> Node:
        """One operand without signs or exponents."""
        self.at.deeper()
        token = self.at.peek()
        if token.kind == "number":
            found = self.power_number()
        elif token.kind == "letter":
            found = self.letter()
        elif token.kind == "command":
            found = self.command()
        elif token.kind == "word" and token.upright and len(token.text) == 1:
            found = self.letter()
        elif token.kind == "sign" and token.text in ("(", "[", "{", "|", "||", "<:", "{:"):
            found = self.bracket()
        else:
            raise UnreadableError(f"{token.text!r} where a number or symbol was expected")
        self.at.depth -= 1
        return found

    def bracket(self) -> Node:
        """A group, a tuple, an interval, a set or an absolute value; read once, though the grammar may come back to it."""
        key = self.at.place, self.in_bars, self.in_set
        if key not in self.read_brackets:
            self.at.deeper(BRACKET)
            try:
                found: Node | UnreadableError = self._bracket()
            except UnreadableError as error:
                found = error
            self.at.depth -= BRACKET
            self.read_brackets[key] = found, self.at.place
        found, self.at.place = self.read_brackets[key]
        if isinstance(found, UnreadableError):
            raise found
        self.fraction_just_read = False
        return found

    def _bracket(self) -> Node:
        opening = self.at.take().text
        bars, self.in_bars = self.in_bars, opening in ("|", "||")
        if opening == "{":
            found = self.group()
        elif opening in ("|", "||"):
            found = Call("abs" if opening == "|" else "norm", (self.sum(),))
            self.at.expect(opening)
        elif opening == "{:":
            found = self.braces()
        else:
            found = self.round_or_square(opening)
        self.in_bars = bars
        return found

    def group(self) -> Node:
        """What LaTeX's braces hold: an expression, or the elements of a set whose braces lack their backslashes."""
        items = [self.sum()]
        while self.at.takes(","):
            items.append(self.sum())
        self.at.expect("}")
        return items[0] if len(items) == 1 else FiniteSet(tuple(items))

    def round_or_square(self, opening: str) -> Node:
        """What round, square or angle brackets hold: one value, a tuple or an interval."""
        items = self.listing()
        closing = self.at.take().text
        if closing not in CLOSES[opening]:
            raise UnreadableError(f"{closing!r} where a closing bracket was expected")
        if len(items) == 1 and opening != "<:":
            if (opening, closing) in (("(", ")"), ("[", "]")):
                return items[0]
            raise UnreadableError("brackets of two kinds around one value")
        return Bracketed({"<:": "("}.get(opening, opening), tuple(items), {":>": ")"}.get(closing, closing))
