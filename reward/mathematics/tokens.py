"""Cuts a cleaned text into the tokens of mathematics: numbers, letters, commands, signs and words."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from reward.mathematics.commands import SAME, SIGN_COMMANDS
from reward.mathematics.names import FUNCTIONS, GREEK, INFINITE, ORDINALS, SETS, SHORT_WORDS, UNITS
from reward.mathematics.unreadable import UnreadableError

MOST_TOKENS = 4_000
DEEPEST_TEXT = 5  # \\text within \\text
LONGEST_NAME = 6  # capital letters, which name points: "ABCD"
LONGEST_WORD = 4  # letters from which a run of letters is a word, not a product
EXPONENT = r"(?:[eE](?:-?\d{1,4}|\+\d{2,4}|(?<=\.\d[eE])\+\d|(?<=\.\d\d[eE])\+\d|(?<=\.\d\d\d[eE])\+\d)(?![\w.]))?"  # "2e+9" is a sum
NUMBER = re.compile(
    r"(?:\d{1,3}(?:,\d{3})+(?![\d,])(?:\.\d+)?|\d{1,3}(?: \d{3})+(?![\d/]| \d)(?:\.\d+)?|\d+(?:\.\d*)?|\.\d+)"
    rf"{EXPONENT}"
)
BARE_NUMBER = re.compile(rf"(?:\d+(?:\.\d*)?|\.\d+){EXPONENT}")  # where a comma separates items
GROUP = re.compile(
    r"\\(text|textbf|textit|textrm|textsf|texttt|textnormal|mbox|mathrm|mathsf|mathtt|mathit|mathbf|boldsymbol|bm|mathcal|mathscr|mathfrak|mathbb|Bbb|"
    r"operatorname|emph|underline|hbox)(?![a-zA-Z])\s*\*?\s*(?=[{A-Za-z0-9\\])"
)
COMMAND = re.compile(r"\\([a-zA-Z]+)")
LETTERS = re.compile(r"[A-Za-z]+(?:'[a-z]{1,2}(?![a-z]))?|[^\W\d_A-Za-z]+")
SIGN = re.compile(r"<=|>=|!=|==|\*\*|->|=>|.", re.DOTALL)
SPACE = re.compile(r"\s+")
BOLD = ("mathbf", "boldsymbol", "bm")
LETTER_STYLES = (*BOLD, "mathit", "mathcal", "mathscr", "mathfrak", "underline")
VARIABLES = frozenset(unit for unit in UNITS if len(unit) <= len("mol") and unit.isascii()) - frozenset(
    ["in", "min", "mins", "sec", "secs", "day", "wk", "mo", "yr", "us", "sq", "cu", "deg", "cup", "USD", "EUR", "GBP", "usd", "bar"]
)
OPENS = frozenset({"(", "[", "{", "{:", "<:", "+", "-", "=", "<", ">", "<=", ">=", ",", "pm", "|"})
WORD_SIGNS = (
    {"and": "and", "or": "or", "percent": "%", "percentage": "%", "pct": "%", "mod": "mod"}
    | dict.fromkeys(("或", "或者", "oder", "или", "または", "또는"), "or")
    | dict.fromkeys(("和", "与", "及"), "and")
)
ESCAPED = {"{": "{:", "}": ":}", "|": "||", "%": "%", "&": "and", "#": "#", "_": "_", "\\": "\\\\", "-": "", "/": ""}


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of a text; `gap` says that white space stands before it, `upright` that LaTeX sets it as text."""

    kind: str  # number, letter, command, sign, word
    text: str
    gap: bool = False
    upright: bool = False


def tokens_of(text: str, *, listed: bool = False) -> list[Token]:
    """The tokens of a cleaned text; with `listed` a comma always separates. UnreadableError for unclosed groups and very long texts."""
    found: list[Token] = []
    for token in _cut(text, listed, 0):
        found.append(token)
        if len(found) > MOST_TOKENS:
            raise UnreadableError(f"more than {MOST_TOKENS} signs")
    return _with_products(found)


def _with_products(tokens: list[Token]) -> list[Token]:
    """The tokens with names of units as products of variables where no number stands before them: "mg sin x", "mg + ma", "2mg"."""
    found: list[Token] = []
    for place, token in enumerate(tokens):
        if token.kind == "word" and not token.upright and token.text in VARIABLES:
            before = tokens[place - 1] if place else None
            after = tokens[place + 1] if place + 1 < len(tokens) else None
            if _is_product(before, token, after):
                found += [Token("letter", letter, token.gap and not i) for i, letter in enumerate(token.text)]
                continue
        found.append(token)
    return found


def _is_product(before: Token | None, unit: Token, after: Token | None) -> bool:
    """Whether letters that can be a unit are variables, by the tokens around them."""
    opens = before is None or (before.kind == "sign" and before.text in OPENS)
    if opens:
        return after is None or (after.kind == "sign" and after.text not in (":", ".")) or after.kind in ("letter", "command")
    coefficient = unit.text in ("mg", "ml") and not unit.gap and before is not None and len(before.text) == 1
    return coefficient or (after is not None and after.kind == "command")


def _cut(text: str, listed: bool, depth: int) -> Iterator[Token]:
    place, gap = 0, False
    while place < len(text):
        if space := SPACE.match(text, place):
            place, gap = space.end(), True
            continue
        if group := GROUP.match(text, place):
            inner, place = _group(text, group.end())
            yield from _upright(group[1], inner, gap, listed, depth)
        elif command := COMMAND.match(text, place):
            place = command.end()
            yield from _command(command[1], gap)
        elif text[place] == "\\":
            sign = ESCAPED.get(text[place + 1 : place + 2])
            if sign is None:
                raise UnreadableError(f"the command {text[place : place + 2]!r}")
            place += 2
            if sign:
                yield Token("sign", sign, gap)
        elif number := _number(text, place, listed):
            place = number.end()
            yield Token("number", number[0].replace(",", "").replace(" ", ""), gap)
        elif letters := LETTERS.match(text, place):
            place = letters.end()
            yield from _letters(letters[0], gap, glued=bool(number_before(text, letters.start())))
        else:
            sign_found = SIGN.match(text, place)
            assert sign_found is not None
            place = sign_found.end()
            yield Token("sign", {"==": "=", "**": "^"}.get(sign_found[0], sign_found[0]), gap)
        gap = False


def number_before(text: str, place: int) -> bool:
    """Whether a digit stands directly before that place."""
    return place > 0 and text[place - 1].isdigit()


def _number(text: str, place: int, listed: bool) -> re.Match[str] | None:
    return (BARE_NUMBER if listed else NUMBER).match(text, place)


def _group(text: str, place: int) -> tuple[str, int]:
    """The content of the braces at that place, or the one sign there, and the place behind."""
    if text[place] != "{":
        one = COMMAND.match(text, place)
        return (one[0], one.end()) if one else (text[place], place + 1)
    depth = 0
    for i in range(place, len(text)):
        if text[i] in "{}" and (i == 0 or text[i - 1] != "\\"):
            depth += 1 if text[i] == "{" else -1
            if depth == 0:
                return text[place + 1 : i], i + 1
    raise UnreadableError("a brace that is not closed")


def _upright(style: str, inner: str, gap: bool, listed: bool, depth: int) -> Iterator[Token]:
    """The tokens of \\text{} and its like: words, or mathematics that is set upright."""
    plain = inner.strip()
    if depth > DEEPEST_TEXT:
        raise UnreadableError("text within text")
    if style in ("mathbb", "Bbb") or (style in BOLD and plain in SETS):
        yield Token("command", f"set {plain}", gap)
        return
    if style in LETTER_STYLES and len(plain) <= 1:
        name = f"bold {plain}" if style in BOLD and plain in "ijke" else plain
        yield Token("letter" if plain.isalpha() else "number", name, gap) if plain else Token("sign", "", gap)
        return
    gap = gap or inner[:1].isspace()
    if plain in ORDINALS:
        yield Token("word", plain, gap, upright=True)
        return
    if (
        any(mark in inner for mark in "\\^_$")
        or any(c.isdigit() for c in inner)
        or not any(c.isalpha() for c in inner)
        or style in LETTER_STYLES
    ):
        for token in _cut(inner.replace("$", " "), listed, depth + 1):
            yield Token(token.kind, token.text, token.gap or gap, token.upright or style not in LETTER_STYLES)
            gap = False
        return
    for token in _cut(inner, listed, depth + 1):
        upright_word = token.kind == "letter" and token.text not in "ie"
        yield Token("word" if upright_word else token.kind, token.text, token.gap or gap, upright=True)
        gap = False


def _command(name: str, gap: bool) -> Iterator[Token]:
    same = SAME.get(name, name)
    if same in SIGN_COMMANDS:
        yield Token("sign", same, gap)
    else:
        yield Token("command", same, gap)


def _letters(run: str, gap: bool, *, glued: bool) -> Iterator[Token]:
    """A run of letters: a word, a name of mathematics, or a product of variables."""
    lower = run.lower()
    if lower in WORD_SIGNS:
        yield Token("sign", WORD_SIGNS[lower], gap)
    elif len(run) == 1:
        yield Token("letter" if run.isascii() else "word", run, gap)
    elif run in FUNCTIONS or (lower in FUNCTIONS and run[0].isupper() and run[1:].islower() and lower not in ("re", "im")):
        yield Token("command", run if run in FUNCTIONS else lower, gap)
    elif run in INFINITE or lower == "infinity":
        yield Token("command", "infty", gap)
    elif lower == "pi" or run in GREEK:
        yield Token("command", "pi" if lower == "pi" else run, gap)
    elif lower == "union":
        yield Token("sign", "cup", gap)
    elif run.isupper() and run.isascii() and len(run) <= LONGEST_NAME and run not in UNITS:
        yield from _product_of(run, gap)
    elif (
        run in UNITS
        or (glued and run in ORDINALS)
        or (lower in SHORT_WORDS and not glued)
        or not run.isascii()
        or (len(run) >= LONGEST_WORD and not _product(run))
    ):
        yield Token("word", run, gap)
    else:
        yield from _product_of(run, gap)


def _product(run: str) -> bool:
    """Whether a run of four letters or more ends or begins on a name of mathematics: "kpi", "sinx"."""
    return any(run.startswith(name) and len(run) == len(name) + 1 for name in ("sin", "cos", "tan", "sqrt", "log", "exp"))


def _product_of(run: str, gap: bool) -> Iterator[Token]:
    for name in ("sqrt", "sin", "cos", "tan", "log", "exp", "ln"):
        if run.startswith(name) and len(run) == len(name) + 1:
            yield Token("command", name, gap)
            yield Token("letter", run[-1])
            return
    if run.endswith("pi") and len(run) == len("kpi"):
        yield Token("letter", run[0], gap)
        yield Token("command", "pi")
        return
    for place, letter in enumerate(run):
        yield Token("letter", letter, gap and place == 0)
