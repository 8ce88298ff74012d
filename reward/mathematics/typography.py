"""Brings the many ways to write the same sign into one, before a text is cut into tokens."""

import re
from fractions import Fraction

# Signs with their ASCII or LaTeX equivalents. Full-width forms have ASCII codes plus a constant.
SIGNS = {
    "\u2010": "-", "\u2011": "-", "\u2012": "-", "\u2013": "-", "\u2014": "-", "\u2212": "-", "\u00a0": " ", "\u2009": " ", "\u202f": " ",
    "\u3000": " ", "\u200b": "", "\u2061": "", "\u2062": "", "\u00d7": r"\times ", "\u2217": "*", "\u00b7": r"\cdot ", "\u22c5": r"\cdot ",
    "\u00f7": "/", "\u2215": "/", "\u2044": "/", "\u00b1": r"\pm ", "\u2213": r"\mp ", "\u2264": r"\le ", "\u2265": r"\ge ",
    "\u2a7d": r"\le ", "\u2a7e": r"\ge ", "\u2260": r"\neq ", "\u2248": r"\approx ", "\u2243": r"\approx ", "\u2261": r"\equiv ",
    "\u221e": r"\infty ", "\u222a": r"\cup ", "\u2229": r"\cap ", "\u2216": r"\setminus ", "\u2208": r"\in ", "\u2205": r"\emptyset ",
    "\u2223": "|", "\u221a": r"\sqrt", "\u221b": r"\sqrt[3]", "\u00b0": r"^\circ ", "\u00bd": r"\frac{1}{2}", "\u00bc": r"\frac{1}{4}",
    "\u00be": r"\frac{3}{4}", "\u2153": r"\frac{1}{3}", "\u2154": r"\frac{2}{3}", "\u215b": r"\frac{1}{8}", "\u2032": "'", "\u2033": "''",
    "\u2019": "'", "\u211d": r"\mathbb{R}", "\u2124": r"\mathbb{Z}", "\u2115": r"\mathbb{N}", "\u211a": r"\mathbb{Q}", "\u2102": r"\mathbb{C}",
    "\u2026": r"\dots ", "\u2308": r"\lceil ", "\u2309": r"\rceil ", "\u230a": r"\lfloor ", "\u230b": r"\rfloor ", "\u2227": r"\land ",
    "\u2228": r"\lor ", "\u3001": ",", "\u3002": ".", "\u2081": "_1", "\u2082": "_2", "\u2083": "_3", "\u2220": r"\angle ", "\u25b3": r"\triangle ",
    "\u22ef": r"\dots ", "\u27e8": r"\langle ", "\u27e9": r"\rangle ", "\u2236": ":", "\u2113": r"\ell ", "\u210f": r"\hbar ",
}  # fmt: skip
GREEK_LETTERS = dict(zip("αβγδεζηθικλμνξπρστυφχψω", ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu", "nu", "xi", "pi", "rho", "sigma", "tau", "upsilon", "phi", "chi", "psi", "omega"], strict=True)
) | dict(zip("ΓΔΘΛΞΣΦΨΩ", ["Gamma", "Delta", "Theta", "Lambda", "Xi", "Sigma", "Phi", "Psi", "Omega"], strict=True))  # fmt: skip
SUPERSCRIPTS = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ⁿ", "0123456789-+n", strict=True))
TABLE = str.maketrans(
    SIGNS
    | {letter: rf"\{name} " for letter, name in GREEK_LETTERS.items()}
    | {chr(code): chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}
)
RAISED = re.compile(f"[{''.join(SUPERSCRIPTS)}]+")
THOUSANDS = re.compile(r"(?<=\d)(?:\{\s*,\s*\}|\s?\{\s*,\s*\}|,\s*\\!|\\[,!]\s*|\\ |,\s*\\,)\s*(?=\d{3}(?!\d))")  # "1{,}234", "14,\! 400"
SIZES = re.compile(
    r"\\(?:left|right|middle|[bB]igg?[lrm]?|displaystyle|textstyle|scriptstyle|limits|nolimits|rm|it|bf|large|Large|small|normalsize|strut|nonumber)(?![a-zA-Z])\.?"
)
LINE_ENDS = re.compile(r"\\\\(?:\[[^\]]*\])?\s*$")
SPACES = re.compile(
    r"(?<!\\)\\(?:[,;:!> ]|q?quad|(?:hspace|vspace|phantom|hphantom|label|tag)\*?\s*\{[^{}]*\}|(?:enspace|thinspace|,)(?![a-zA-Z]))|~"
)
DELIMITERS = re.compile(r"\\?\$+|(?<!\\)\\[()\[\]]")
CURRENCY = re.compile(r"(?:\bUS|\bA|\bC)?\\\$|[\u20ac\u00a3\u00a5\u20b9\u20a9\u20bd]|\\(?:euro|pounds|texteuro|yen)(?![a-zA-Z])")
BOLD = re.compile(r"(?<![\w)\]}*])\*\*(?=[^\s*])(.{1,2000}?)(?<=[^\s*])\*\*(?![\w(\\{*])", re.DOTALL)
REPEATING = re.compile(r"(?<![\d.])(\d{0,20})\.(\d{0,20})\\(?:overline|bar|dot)\s*\{?(\d{1,20})\}?")
OPTION = re.compile(
    r"\s*(?:\\(?:text|textbf|textrm|textit|mathrm|mathbf|rm|bf|mbox)\s*\{\s*\(?\s*[A-J]\s*[).]?\s*\)?\s*[.:]?\s*\}|\(\s*[A-J]\s*\)|[A-J]\s*[).:])"
    r"\s*(?=[\d$.-]|\\(?:[dt]?frac|sqrt|\$|pi|left|text|\())"
)
UNIT_RAISED = re.compile(r"(?<=[\d\s])(mm|cm|dm|km|m|ft|in|yd)([\u00b2\u00b3])")  # "9 m\u00b2"; a variable has "^2" or stands in a formula
DOUBLED = re.compile(
    r"\\\\(?=(?:[dt]?frac|sqrt|left|right|leq?|geq?|neq?|pi|text|cdot|times|infty|cup|cap|in|pm|circ|theta|alpha|beta|mathbb|mathrm)(?![a-z]))"
)
QUOTES = re.compile(r"``|''(?=\s|$)(?<!\w'')|[\"\u201c\u201d`]")


def clean(text: str) -> str:
    """The text with plain signs only: no currency, no math delimiters, no sizes, no Markdown, no separators of thousands after LaTeX's manner."""
    text = RAISED.sub(_raised, UNIT_RAISED.sub(r"\\text{\1}", text).translate(TABLE))
    if "\\begin" not in text:
        text = DOUBLED.sub(r"\\", text)  # one level of escaping too many, as in JSON within JSON
    text = OPTION.sub("", text, count=1) if OPTION.match(text) else text
    text = THOUSANDS.sub("", text)
    text = CURRENCY.sub(" ", text)
    text = BOLD.sub(r"\1", text)
    text = SIZES.sub("", text)
    text = DELIMITERS.sub(" ", SPACES.sub(" ", text))
    text = QUOTES.sub(" ", text)
    text = REPEATING.sub(_as_fraction, text)
    return LINE_ENDS.sub("", text.strip()).strip().rstrip(".;,:\\ \u3002").strip()


def _raised(signs: re.Match[str]) -> str:
    return "^{" + "".join(SUPERSCRIPTS[sign] for sign in signs[0]) + "}"


def _as_fraction(number: re.Match[str]) -> str:
    whole, fixed, repeated = number.groups()
    ninths = Fraction(int(repeated), 10 ** len(fixed) * (10 ** len(repeated) - 1))
    value = Fraction(f"{whole or 0}.{fixed or 0}") + ninths
    return rf"{{\frac{{{value.numerator}}}{{{value.denominator}}}}}"
