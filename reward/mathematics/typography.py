"""Brings the many ways to write the same sign into one, before a text is cut into tokens."""

import re
from fractions import Fraction
from functools import lru_cache

from reward.mathematics.signs import FULL_WIDTH, GREEK_LETTERS, SIGNS, SUPERSCRIPTS

TABLE = str.maketrans(SIGNS | FULL_WIDTH | {letter: rf"\{name} " for letter, name in GREEK_LETTERS.items()})
RAISED = re.compile(f"[{''.join(SUPERSCRIPTS)}]+")
THOUSANDS = re.compile(r"(?<=\d)(?:\{\s*,\s*\}|\s?\{\s*,\s*\}|,\s*\\!|\\[,!]\s*|\\ |,\s*\\,)\s*(?=\d{3}(?!\d))")  # "1{,}234", "14,\! 400"
SIZES = re.compile(
    r"\\(?:left|right|middle|[bB]igg?[lrm]?|displaystyle|textstyle|scriptstyle|limits|nolimits|rm|it|bf|large|Large|small|normalsize|strut|nonumber)(?![a-zA-Z])\.?"
)
VECTOR = re.compile(r"\s*<([^<>=]*,[^<>=]*)>\s*")
ROW_GAP = re.compile(r"\\\\\s*\[\s*-?[\d.]+\s*(?:pt|em|ex|mm|cm|in)\s*\]")  # "\\[2pt]" between the rows of a matrix
UNIT_QUOTIENT = re.compile(
    r"(?<=[\d}\s~,;!])\\[dt]?frac\s*\{\s*\\(?:text|mathrm|mbox)\s*\{([^{}\d]*)\}\s*\}"
    r"\s*\{\s*\\(?:text|mathrm|mbox)\s*\{([^{}\d]*)\}\s*(\^\s*\{?\d\}?)?\s*\}"
)
DEGREES_OF = re.compile(r"(?<=\d)\s*(?:\^\s*\{?\s*\\circ\s*\}?|\u00b0)\s*([CFK])\s*$")  # of a scale of temperature
GAP = r"(?:\s|~|\\[ ,;:!])"
UNIT_GREEK = re.compile(  # ohms and micrometres, apart from the number or upright; "2\\mu N" is a product
    rf"(?<=\d)(?:{GAP}*\\(?:text|mathrm)\s*\{{\s*[kM]?\s*\}}?\s*\\(?:Omega|mu)|{GAP}+(?:\\(?:text|mathrm)\s*\{{\s*[kM]\s*\}}\s*)?\\(?:Omega|mu(?=\s*[msgLA\\]))"
    r"|\\mu(?=\s*\\(?:text|mathrm)))\s*(?:\\(?:text|mathrm)\s*\{\s*)?(?:[msgLFACVWHNJ]|mol)?\s*\}*\s*$"
)
LINE_ENDS = re.compile(r"\\\\(?:\[[^\]]*\])?\s*$")
SPACES = re.compile(
    r"(?<!\\)\\(?:[,;:!> ]|q?quad|(?:hspace|vspace|phantom|hphantom|label|tag)\*?\s*\{[^{}]*\}|(?:enspace|thinspace|,)(?![a-zA-Z]))|~"
)
DELIMITERS = re.compile(r"\\?\$+|(?<!\\)\\[()\[\]]")
CURRENCY = re.compile(r"(?:\bUS|\bA|\bC)?\\\$|[\u20ac\u00a3\u00a5\u20b9\u20a9\u20bd]|\\(?:euro|pounds|texteuro|yen)(?![a-zA-Z])")
BOLD = re.compile(r"(?<![\w)\]}*])\*\*(?=[^\s*])(.{1,2000}?)(?<=[^\s*])\*\*(?![\w(\\{*])", re.DOTALL)
REPEATING = re.compile(r"(?<![\d.])(\d{0,20})\.(\d{0,20})\\(?:overline|bar|dot)\s*\{?(\d{1,20})\}?")
STYLED = r"\\(?:text|textbf|textrm|textit|mathrm|mathbf|rm|bf|mbox)\s*"
OPTION = re.compile(
    rf"\s*(?:{STYLED}\{{\s*\(?\s*[A-J]\s*[).]?\s*\)?\s*[.:]?\s*\}}|\(\s*(?:[A-J]|{STYLED}\{{\s*[A-J]\s*\}})\s*\)|[A-J]\s*[).:])"
    r"(?:\s|~|\\[ ,;:!]|\\q?quad(?![a-z]))*(?=[\d$.-]|\\(?:[dt]?frac|sqrt|\$|pi|left|text|\())"
)
OPTION_WITHIN = re.compile(rf"{STYLED}\{{\s*(?:\(\s*[A-J]\s*\)|[A-J]\s*[).:])\s*([^{{}}]*\d[^{{}}]*)\}}")
OPTION_BEHIND = re.compile(rf"(?<=[\w}})])(?:\s|~|\\[ ,;:!]|\\q?quad(?![a-z]))*{STYLED}\{{\s*\(\s*[A-J]\s*\)\s*\}}\s*$")
UNIT_RAISED = re.compile(r"(?<=[\d\s])(mm|cm|dm|km|m|ft|in|yd)([\u00b2\u00b3])")  # "9 m\u00b2"; a variable has "^2" or stands in a formula
DOUBLED = re.compile(
    r"\\\\(?=(?:[dt]?frac|sqrt|left|right|leq?|geq?|neq?|pi|text|cdot|times|infty|cup|cap|in|pm|circ|theta|alpha|beta|mathbb|mathrm)(?![a-z]))"
)
MODULE = re.compile(r"\b(?:np|numpy|math|sympy|sp)\.(?=[a-z])")
TIMES_TEN = re.compile(r"(?<=\d)\s*[xX]\s*(?=10\s*(?:\^|\*\*))")
BRACED_COLON = re.compile(r"\{\s*:\s*\}")
CASES = re.compile(r"\\begin\{(cases|aligned|gathered|array)\}(?:\{[lcr]*\})?(.*)\\end\{\1\}\s*", re.DOTALL)
QUOTES = re.compile(r"``|''(?=\s|$)(?<!\w'')|[\"\u201c\u201d`]")


@lru_cache(maxsize=256)  # an answer is cleaned to be compared as text, to be read, and once more as a list
def clean(text: str) -> str:
    """The text with plain signs only: no currency, no math delimiters, no sizes, no Markdown."""
    text = RAISED.sub(_raised, UNIT_RAISED.sub(r"\\text{\1}", text).translate(TABLE))
    if (system := CASES.fullmatch(text.strip())) and "=" in system[2]:
        text = system[2].strip().removesuffix("\\\\").replace("\\\\", ", ").replace("&", "")
    text = _plain_units(text)
    if vector := VECTOR.fullmatch(text):
        text = rf"\langle {vector[1]} \rangle"
    if "\\begin" not in text:
        text = DOUBLED.sub(r"\\", text)  # one level of escaping too many, as in JSON within JSON
    text = _without_option(text)
    text = THOUSANDS.sub("", text)
    text = CURRENCY.sub(" ", text)
    text = BOLD.sub(r"\1", text)
    text = SIZES.sub("", text)
    text = DELIMITERS.sub(" ", SPACES.sub(" ", text))
    text = QUOTES.sub(" ", text)
    text = TIMES_TEN.sub(r" \\times ", BRACED_COLON.sub(":", MODULE.sub("", text)))
    text = REPEATING.sub(_as_fraction, text)
    return LINE_ENDS.sub("", text.strip()).strip().rstrip(".;,:\\ \u3002").strip()


def _plain_units(text: str) -> str:
    """The text with units in words where signs or fractions of words stand: "25\u00b0C", "10\\,\\Omega", "\\frac{\\text{m}}{\\text{s}}"."""
    if text.endswith(("C", "F", "K")):
        text = DEGREES_OF.sub(r"^{\\circ}", text)
    if "\\Omega" in text or "\\mu" in text:
        text = UNIT_GREEK.sub(r"\\text{ units}", text)
    if "frac" in text and ("\\text" in text or "\\mathrm" in text):
        text = UNIT_QUOTIENT.sub(r"\\text{ \1/\2}\3", text)
    return ROW_GAP.sub(r"\\\\", text) if "\\\\" in text else text


def _without_option(text: str) -> str:
    """The text without the letter of an option before or behind it: "\\textbf{(C)}\\ 12"."""
    if within := OPTION_WITHIN.fullmatch(text.strip()):
        return within[1]
    text = OPTION.sub("", text, count=1) if OPTION.match(text) else text
    return OPTION_BEHIND.sub("", text)


def _raised(signs: re.Match[str]) -> str:
    return "^{" + "".join(SUPERSCRIPTS[sign] for sign in signs[0]) + "}"


def _as_fraction(number: re.Match[str]) -> str:
    whole, fixed, repeated = number.groups()
    ninths = Fraction(int(repeated), 10 ** len(fixed) * (10 ** len(repeated) - 1))
    value = Fraction(f"{whole or 0}.{fixed or 0}") + ninths
    return rf"{{\frac{{{value.numerator}}}{{{value.denominator}}}}}"
