"""A place in a list of tokens, from which the parser reads forward."""

from collections.abc import Sequence
from dataclasses import dataclass

from reward.mathematics.tokens import Token
from reward.mathematics.unreadable import UnreadableError

END = Token("end", "the end")
DEEPEST = 120  # nested brackets and arguments; a recursive parser must stay far from Python's own limit


@dataclass(slots=True)
class Cursor:
    """Reads tokens from left to right."""

    tokens: Sequence[Token]
    place: int = 0
    depth: int = 0

    def peek(self, ahead: int = 0) -> Token:
        """The token at this place, or one further on; `END` behind the last."""
        place = self.place + ahead
        return self.tokens[place] if 0 <= place < len(self.tokens) else END

    def take(self) -> Token:
        """The token at this place; the cursor moves behind it."""
        token = self.peek()
        self.place += 1
        return token

    def sees(self, *texts: str, ahead: int = 0) -> bool:
        """Whether a sign or command of one of these texts comes next."""
        token = self.peek(ahead)
        return token.kind in ("sign", "command") and token.text in texts

    def takes(self, *texts: str) -> bool:
        """Whether one of these comes next; then the cursor moves behind it."""
        if self.sees(*texts):
            self.place += 1
            return True
        return False

    def expect(self, text: str) -> None:
        """Move behind a sign that must stand here."""
        if not self.takes(text):
            raise UnreadableError(f"{self.peek().text!r} where {text!r} was expected")

    def deeper(self, levels: int = 1) -> None:
        """Count levels of nesting."""
        self.depth += levels
        if self.depth > DEEPEST:
            raise UnreadableError(f"nesting of more than {DEEPEST} levels")
