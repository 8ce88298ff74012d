"""Texts that a model, a row, a checker or a file name may hold, made harmless for a terminal and a log."""

import unicodedata

# Other controls, marks of direction, invisible letters, ends of lines and paragraphs, halves of a surrogate pair.
STEERING = ("Cc", "Cf", "Zl", "Zp", "Cs")
JOINERS = "\u200c\u200d"  # between letters of Persian or Hindi and in emoji; they move nothing
MOST_CHARS = 2000  # of a line


def harmless(text: str, most: int = MOST_CHARS) -> str:
    """One line that steers no terminal and forges no other line: what could is escaped as in Python, and a long text is cut."""
    shown = text if len(text) <= most else f"{text[:most]} … ({len(text):,} characters)"
    if shown.isascii() and shown.isprintable():
        return shown
    return "".join(repr(letter)[1:-1] if unicodedata.category(letter) in STEERING and letter not in JOINERS else letter for letter in shown)


def harmless_lines(text: str) -> str:
    """A text of several lines, each made harmless and kept whole."""
    return "\n".join(harmless(line, len(line)) for line in text.split("\n"))


def say(text: object) -> None:
    """Print what may quote a run, a row or a file name."""
    print(harmless_lines(str(text)))
