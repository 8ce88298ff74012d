"""Words, sentences, lines and paragraphs of a text, counted alike by every checker.

No tagger and no model decides: the rules are few, so that a person can count along.
"""

import re
import unicodedata
from functools import lru_cache

# Scripts that put no spaces between words, as ranges of code points.
UNSPACED = (
    "\u3005-\u3007\u3041-\u3096\u30a1-\u30fa\uff66-\uff9d"  # kana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han
    "\u0e01-\u0e30\u0e32\u0e33\u0e40-\u0e46\u0e81-\u0eb0\u0ec0-\u0ec6"  # Thai, Lao
    "\u1000-\u102a\u1780-\u17b3"  # Burmese, Khmer
)
# Parts of words that are not \w: accents, points and vowel signs from Latin to Sinhala, joiners.
MARKS = (
    "\u0300-\u036f\u0483-\u0489\u0591-\u05bd\u05bf-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06ed"
    "\u0900-\u0963\u0966-\u0dff\u200c\u200d"
)
PART = rf"(?:(?![{UNSPACED}])[\w{MARKS}])+"
WORD = re.compile(rf"[{UNSPACED}]|{PART}(?:(?:['\u2019-]|(?<=\d)[.,](?=\d)){PART})*")
STOP = r".!?\u2026\u061f\u06d4\u0964\u0965"  # Latin, Arabic and Indic; white space must follow
CLOSING = r"\"')\]*_\u201d\u2019\u00bb"
WIDE_STOP, WIDE_CLOSING = r"\u3002\uff01\uff1f", r"\u201d\u2019\u300d\u300f\uff09"  # Chinese and Japanese; anything may follow
SENTENCE_END = re.compile(rf"(?<![{STOP}])[{STOP}]++[{CLOSING}]*+(?=\s)|[{WIDE_STOP}]++[{WIDE_CLOSING}]*+|\n\s*\n")
ABBREVIATIONS = frozenset(("mr", "mrs", "ms", "dr", "prof", "st", "vs", "cf", "fig", "approx", "gov", "capt", "e.g", "i.e"))
BLANK_LINE = re.compile(r"\n[^\S\n]*\n\s*")
LAST_WORD = re.compile(r"[\w.]*\w$")


def words(text: str) -> list[str]:
    """The words of a text.

    A word is a run of letters, digits, combining marks and underscores; an apostrophe or a hyphen inside it belongs to it, and so does
    the point or comma of a number. Where a script has no spaces (Chinese, Japanese kana, Thai, Lao, Khmer, Burmese) every letter counts
    as a word, vowel signs apart; Korean has spaces.
    """
    return WORD.findall(unicodedata.normalize("NFC", text))


def sentences(text: str) -> list[str]:
    """The sentences of a text, without white space around them.

    A sentence ends with . ! ? … or their Arabic and Indic kin before white space, with a Chinese or Japanese full stop anywhere, and
    with a blank line. No end is the full stop after a title or abbreviation ("Dr.", "e.g."), after a single capital letter
    ("J. Smith"), after a number that opens a line ("1. Wash"), and one before a small letter. What holds neither letter nor digit
    is no sentence.
    """
    found, begin = [], 0
    for end in SENTENCE_END.finditer(text):
        if not _is_inside(text, end):
            found.append(text[begin : end.end()])
            begin = end.end()
    found.append(text[begin:])
    return [sentence.strip() for sentence in found if any(letter.isalnum() for letter in sentence)]


def _is_inside(text: str, end: re.Match[str]) -> bool:
    """Whether this full stop does not end a sentence."""
    if end[0][0] not in ".…":
        return False
    before = LAST_WORD.search(text[max(0, end.start() - 40) : end.start()])
    word = before[0] if before else ""
    after = text[end.end() : end.end() + 40].lstrip()[:1]
    if after.islower():
        return True
    if len(end[0]) > 1:
        return False
    if word.lower() in ABBREVIATIONS:
        return True
    if word.isdigit():
        return not text[max(0, end.start() - 40) : end.start() - len(word)].rpartition("\n")[2].strip(" \t*_#>")
    return len(word) == 1 and word.isupper() and word != "I"


def lines(text: str) -> list[str]:
    """The lines that are not blank."""
    return [line for line in text.split("\n") if line.strip()]


def paragraphs(text: str) -> list[str]:
    """The parts between blank lines, without white space around them."""
    return [paragraph.strip() for paragraph in BLANK_LINE.split(text.replace("\r\n", "\n")) if paragraph.strip()]


@lru_cache(maxsize=1 << 14)
def script_of(letter: str) -> str:
    """The script of a letter as Unicode names it, such as LATIN; empty for other characters."""
    if not letter.isalpha():
        return ""
    name = unicodedata.name(letter, "")
    return "CJK" if name.startswith("IDEOGRAPHIC") else name.partition(" ")[0].partition("-")[0]
