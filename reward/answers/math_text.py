"""Brings the many ways to write mathematics into one form of LaTeX before it is parsed."""

import re
from decimal import Decimal
from fractions import Fraction

# Signs that LaTeX parsers do not know, with their ASCII or LaTeX equivalents. Full-width forms have ASCII codes plus a constant.
SIGNS = {
    "\u2010": "-", "\u2011": "-", "\u2012": "-", "\u2013": "-", "\u2212": "-", "\u00a0": " ", "\u2009": " ", "\u202f": " ", "\u3000": " ",
    "\u00d7": r"\times ", "\u00b7": r"\cdot ", "\u22c5": r"\cdot ", "\u00f7": "/", "\u2215": "/", "\u2044": "/", "\u00b1": r"\pm ",
    "\u2264": r"\le ", "\u2265": r"\ge ", "\u2260": r"\neq ", "\u2248": r"\approx ", "\u221e": r"\infty ", "\u222a": r"\cup ",
    "\u2229": r"\cap ", "\u2208": r"\in ", "\u2205": r"\emptyset ", "\u03c0": r"\pi ", "\u221a": r"\sqrt", "\u00b0": r"^\circ ",
    "\u00bd": r"\frac{1}{2}", "\u00bc": r"\frac{1}{4}", "\u00be": r"\frac{3}{4}", "\u2153": r"\frac{1}{3}", "\u2154": r"\frac{2}{3}",
    "\u00b2": "^2", "\u00b3": "^3", "\u211d": r"\mathbb{R}",
}  # fmt: skip
TYPOGRAPHY = str.maketrans(SIGNS | {chr(code): chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)})

DELIMITER = re.compile(r"(?<!\\)\\[()\[\]]|\\?\$|\*\*|[\u20ac\u00a3\u00a5\u20b9\u20a9\u20bd]|\\(?:displaystyle|euro|pounds)(?![a-zA-Z])")
SPACE = re.compile(r"(?<!\\)\\(?:[,;:! ]|q?quad(?![a-zA-Z]))|~|\s+")
GROUPS = re.compile(r"(?<![\w.,])\d{1,3}(?:([, ])\d{3})(?:\1\d{3})*(?![\d,]| \d)")  # thousands: "1,234", "1 000 000"
SAFE_GROUPS = re.compile(r"(?<=\d)(?:\{,\}|\\[,!]|\\ )(?=\d{3}(?!\d))")  # "1{,}234", "1\,234", which can only be thousands
BEFORE = re.compile(r"(?:\s|=|:|\\approx(?![a-zA-Z])|\\text\s*\{[^{}]*\}(?=\s*[^\s,.^_]))+")  # "= 5", "\text{Joe: } 5"
LABEL = re.compile(r"[A-Za-z][A-Za-z ]{2,40}:\s*(?=\S)")
NUMBER = r"[-+]?(?:\d+\s+\d+/\d+|\d+/\d+|\d+(?:\.\d+)?|\.\d+)"
NO_UNIT = r"(?:and|or|to|pi|ln|percent|percentage|pct|inf|infinity)\b|sqrt|sin|cos|tan|log|exp|mod"
WITH_UNIT = re.compile(
    rf"({NUMBER}\s*(?:\\?%)?)\s*(?:\^\s*\{{?\\circ\}}?)?\s*(?!{NO_UNIT})[A-Za-z]{{2,}}[A-Za-z /.,'()-]*(?:\^\{{?\d\}}?)?"
)
MIXED = re.compile(r"([-+]?)(\d+)\s+(\d+)/(\d+)")
POWER_OF_TEN = re.compile(r"(?<![\w.])([-+]?\d+(?:\.\d*)?|\.\d+)[eE]([-+]?\d{1,9})(?![\w.])")
MAX_WRITTEN_OUT = 400  # digits
REPEATING = re.compile(r"(?<![\d.])(\d{0,20})\.(\d{0,20})\\(?:overline|bar|dot)\s*\{?(\d{1,20})\}?")
SENTENCE_END = re.compile(r"(?<=\d)\.(?=\s|$)")  # "5/6." would be read as 5
MIXED_IN_PROSE = re.compile(r"(?<![\w./])(\d{1,3}) (\d{1,3})/(\d{1,4})(?![\w/])")


def tidy(text: str) -> str:
    """An answer that stands alone, without currency, thousands separators, units in words and math delimiters."""
    text = SAFE_GROUPS.sub("", text.translate(TYPOGRAPHY))
    text = SPACE.sub(" ", DELIMITER.sub(" ", text)).strip().rstrip(".;,: ")
    if label := BEFORE.match(text) or LABEL.match(text):
        text = text[label.end() :] or text
    if not set(text) & set("([{&"):  # "(1,234)" is a point
        text = GROUPS.sub(lambda group: group[0].replace(group[1], ""), text)
    if unit := WITH_UNIT.fullmatch(text):
        text = unit[1].strip()
    text = POWER_OF_TEN.sub(_written_out, REPEATING.sub(_as_fraction, text))
    if mixed := MIXED.fullmatch(text):
        text = f"{mixed[1]}{mixed[2]}\\frac{{{mixed[3]}}}{{{mixed[4]}}}"
    return text.replace(r"\varnothing", r"\emptyset")


def tidy_prose(text: str) -> str:
    """A text with an answer somewhere in it, with only its typography, mixed numbers and full stops brought into form."""
    text = SENTENCE_END.sub(",", SAFE_GROUPS.sub("", text.translate(TYPOGRAPHY)))
    return MIXED_IN_PROSE.sub(r"$\1\\frac{\2}{\3}$", text)


def _written_out(number: re.Match[str]) -> str:
    """3e8 as 300000000; "e" would be read as Euler's number."""
    if abs(int(number[2])) > MAX_WRITTEN_OUT:
        return rf"{number[1]} \times 10^{{{int(number[2])}}}"
    return format(Decimal(number[0]), "f")


def _as_fraction(number: re.Match[str]) -> str:
    whole, fixed, repeated = number.groups()
    ninths = Fraction(int(repeated), 10 ** len(fixed) * (10 ** len(repeated) - 1))
    value = Fraction(f"{whole or 0}.{fixed or 0}") + ninths
    return rf"\frac{{{value.numerator}}}{{{value.denominator}}}"
