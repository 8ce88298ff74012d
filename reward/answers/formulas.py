"""The formulas and numbers in a text of words, each whole, with the unit words behind it."""

import re
from typing import NamedTuple

NUMBER = (
    r"(?:\d{1,3}(?:(?:,|\{,\}|\\[,!]|,\\!)\s?\d{3})+(?!\d)(?:\.\d+)?|\d{1,3}(?:[ \u202f\u2009\u00a0]\d{3})+(?![\d/])(?:\.\d+)?"
    r"|\d+(?:\s?:\s?\d+)+|\d+(?:[.,]\d+)?|\.\d+)(?:[eE][-+]?\d{1,9}(?!\w|\.\d))?(?:\.(?=[*/]))?"
)
FUNCTION = r"(?:sqrt|cbrt|arcsin|arccos|arctan|sin|cos|tan|cot|sec|csc|log|ln|exp|pi|theta|infinity)(?![A-Za-z])"
TOKEN = re.compile(
    r"(?P<formula>\$\$.{1,3000}?\$\$|\\\[.{1,3000}?\\\]|\\\(.{1,1000}?\\\)|\\begin\{(?P<env>[a-z]+\*?)\}.{0,3000}?\\end\{(?P=env)\})"
    r"|(?P<unmatched>\\(?:begin|end)\{\w+\*?\}|#\d+)"
    rf"|(?P<number>(?:\\?[$\u20ac\u00a3\u00a5\u20b9]\s?)?{NUMBER}[$\u20ac\u00a3\u00a5\u20b9]?|[\u00bd\u2153\u2154\u00bc\u00be\u03c0\u221e\u2205]|{FUNCTION})"
    r"|(?P<command>\\(?:text\w{0,6}|[mh]box|mathrm|mathbf|operatorname)\s*\{[^{}\n]*\}|\\(?:[A-Za-z]+|[,;:!%|$ ]))"
    r"|(?P<variable>[A-Za-z](?:_\{?\w{1,6}\}?)?(?![^\W\d_]|['\u2019]\w))"
    r"|(?P<word>[^\W\d_](?:[^\W\d_]|['\u2019.](?=[^\W\d_]))*)"
    r"|(?P<operator>\*\*|[-+*/^=<>\u2212\u2013\u00d7\u00f7\u00b1\u00b7\u2264\u2265\u2260\u2248\u221a\u00b0\u00b2\u00b3\u222a\u2229\u2208%!])"
    r"|(?P<open>\\?[(\[{])|(?P<space>[^\S\n]+)|(?P<other>.)",
    re.DOTALL,
)
WORDS = re.compile(rf"(?<![\\A-Za-z])(?!{FUNCTION})[^\W\d_]{{2,}}")
INLINE = re.compile(r"\$(?P<left>\s?)(?P<inner>(?:\\[^\n]|[^$\n\\]){1,600}?)\$(?!\d)")
PROSE = re.compile(r"(?<![\\A-Za-z{])[A-Za-z]{2,}[,;:]?\s+[A-Za-z]{2,}")  # between two dollar signs: sums of money, no formula
TEXT_GROUP = re.compile(r"\\(?:text\w{0,6}|[mh]box|mathrm|operatorname)\s*\{[^{}]*\}")
VARIABLE_ALONE = re.compile(r"\s*[A-Za-z]\s*[.,]?\s*")
LONGEST_GROUP = 300  # characters in brackets
TRIMMED_BEFORE = re.compile(
    r"(?:\s|[*/^=\u2248!%\u00b7\u00d7]|[-+\u2212\u2013](?=\s)|\\(?:[,;:! ]|q?quad|therefore|implies|approx|Rightarrow|to)(?![A-Za-z]))+"
)
TRIMMED_AFTER = re.compile(r"(?:[-+*/^=<>\u2212\u2013\u00d7\u00f7\u00b1\u00b7\u2264\u2265\u2248\s]|\\[,;:! ])+")
UNIT_WORD = (
    r"dollars?|cents?|euros?|pounds?|yen|yuan|rupees?|USD|EUR|GBP|bucks|pence|miles?|inch(?:es)?|foot|feet|yards?|met(?:er|re)s?|"
    r"(?:kilo|centi|milli|micro|nano|deci)?(?:met(?:er|re)s?|grams?|lit(?:er|re)s?|seconds?|watts?|joules?)|tons?|tonnes?|ounces?|gallons?|"
    r"quarts?|pints?|cups?|acres?|hectares?|minutes?|hours?|days?|weeks?|months?|years?|decades?|degrees?(?:\s(?:Celsius|Fahrenheit))?|radians?|units?|"
    r"(?-i:mph|kph|km/h|m/s|[kcmn]?m|k?g|mg|lbs?|oz|ft|yd|mi|ml|mL|L|s|sec|min|hrs?|h|J|kJ|N|Pa|W|kW|V|K|Hz|mol|rad|\u00b0[CF]?)|"
    r"\u5143|\u7c73|\u5398\u7c73|\u5343\u7c73|\u516c\u91cc|\u5343\u514b|\u514b|\u5c0f\u65f6|\u5206\u949f|\u79d2|\u5929|\u5ea6"
)
TIMES = r"(?:hundred|thousand|million|billion|trillion|dozens?|percent(?:age)?(?:\spoints?)?|pct)"
UNIT = re.compile(
    rf"\s?(?:[ap]\.?m(?:\.(?=\W|$)|\b)|noon\b|o['\u2019]clock\b|{TIMES}\b)|\s?(?:(?:square|cubic|sq\.?|cu\.?|solar)\s)?(?:{UNIT_WORD})"
    rf"(?:(?:\s?/\s?|\s(?:per|an?)\s)(?:(?:square|cubic)\s)?(?:{UNIT_WORD}))?(?:\^\{{?-?\d\}}?|[\u00b2\u00b3])?(?![^\W_])",
    re.IGNORECASE,
)
COMMAND_ENDS = re.compile(r"\\[A-Za-z]+$")
LONGEST_COMMAND = 20
ORDINAL = re.compile(r"(?:st|nd|rd|th)(?![A-Za-z])", re.IGNORECASE)
ATTACHED = re.compile(r"\w+")  # behind a word and a sign: "step-3", "miles/day"
SHORT_WORD = 3  # letters directly behind a number or an operator that may be a product or a unit: "2xy", "5cm"


class Formula(NamedTuple):
    """A formula or a number in a text, and whether it contains more than variables."""

    start: int
    end: int
    solid: bool


def formulas(text: str) -> list[Formula]:
    """Every formula and number of the text in order, none of them a piece of a larger one. Takes time linear in the text."""
    found: list[Formula] = []
    start, solid, position = -1, False, 0
    while position <= len(text):
        kind, end = _token(text, position) if position < len(text) else ("other", position + 1)
        if kind in ("number", "formula", "name", "group", "command", "operator", "variable"):
            start = position if start < 0 else start
            solid = solid or kind in ("number", "formula") or (kind == "group" and any(c.isdigit() for c in text[position:end]))
            solid = solid or (kind == "command" and text[position + 1].isalpha())
        elif kind != "space" and start >= 0:
            found += _trimmed(text, start, position, solid)
            start, solid = -1, False
        position = end
    return found


def _token(text: str, position: int) -> tuple[str, int]:
    """The kind and the end of the token that begins there; words of mathematics count as numbers, brackets around it as groups."""
    inline = INLINE.match(text, position) if text[position] == "$" else None
    if inline and _is_formula(inline["left"], inline["inner"]):
        return ("name" if VARIABLE_ALONE.fullmatch(inline["inner"]) else "formula"), inline.end()
    token = TOKEN.match(text, position)
    assert token is not None
    kind, end = token.lastgroup or "other", token.end()
    before = text[position - 1 : position]
    if kind == "open":
        closed = _closing(text, position)
        kind, end = ("group", closed) if closed else ("other", end)
    elif kind == "env":
        kind = "formula"
    elif kind == "number":
        if ordinal := ORDINAL.match(text, end):
            kind, end = "word", ordinal.end()
        elif before.isascii() and before.isalpha() and not COMMAND_ENDS.search(text[max(0, position - LONGEST_COMMAND) : position]):
            kind = "word"
    elif kind == "variable" and not _connected(text, position, end):
        kind = "word"
    elif kind == "word" and end - position <= SHORT_WORD and token[0].isascii() and before and before in "0123456789^*/)}":
        kind = "variable"
    elif kind == "operator" and token[0] in "-\u2013/" and text[max(0, position - 2) : position].isalpha():
        attached = ATTACHED.match(text, end)
        kind, end = ("word", attached.end()) if attached and before.isalpha() else (kind, end)
    return kind, end


def _is_formula(left: str, inner: str) -> bool:
    """Whether the text between two dollar signs is a formula and not "5 and the other cost"."""
    spaced = inner[-1].isspace()
    latex = "\\" in inner and not any(c.isspace() for c in inner.strip())  # "$\\frac13 $"
    if (spaced != bool(left) and not latex) or inner.rstrip()[-1:] in ("", "=", "+", "-", "*", "/", "("):
        return False
    return not PROSE.search(TEXT_GROUP.sub("", inner))


def _connected(text: str, start: int, end: int) -> bool:
    """Whether a single letter is a variable: beside an operator or a bracket, or between two numbers. Else it is a word, as "a" and "I"."""
    before, after = text[max(0, start - 3) : start].rstrip(" "), text[end : end + 3].lstrip(" ")
    touches = text[start - 1 : start] if start else ""
    if (touches.isdigit() or touches in (")", "}")) and touches:
        return True
    signs = "=+*/^<>\u2264\u2265\u2260\u2248\u2208\u00d7\u00b7"
    if (before and before[-1] in signs) or (after and after[0] in signs) or re.match(r"[(^_]|\\(?!text|mbox|[()\[\]])[A-Za-z]", after):
        return True
    dash = after[:1] in ("-", "\u2212") and text[end : end + 1] == after[:1]
    return (
        (before[-1:].isdigit() and after[:1].isdigit())
        or (dash and after[1:2].isdigit())
        or (after[:2] in ("- ", "\u2212 ") and bool(before))
    )


def _closing(text: str, start: int) -> int | None:
    """The end of the bracket that opens there, if it contains mathematics alone."""
    depth = 0
    for position in range(start, min(len(text), start + LONGEST_GROUP)):
        depth += (text[position] in "([{") - (text[position] in ")]}")
        if depth == 0 and text[position] in ")]}":
            inner = TEXT_GROUP.sub("", text[start : position + 1])
            return None if WORDS.search(inner) or "\n\n" in inner else position + 1
    return None


def _trimmed(text: str, start: int, end: int, solid: bool) -> list[Formula]:
    """The formula without the operators and spaces around it that belong to the sentence, and with its unit."""
    if before := TRIMMED_BEFORE.match(text, start, end):
        start = before.end()
    while end > start and TRIMMED_AFTER.fullmatch(text[end - 1 : end]):
        end -= 1
    if end > start and text[end - 1] == "!" and text[start : end - 1].strip().isdigit():  # "It is 42!"
        end -= 1
    if end <= start:
        return []
    for _ in range(3):
        if unit := UNIT.match(text, end):
            end = unit.end()
    return [Formula(start, end, solid)]
