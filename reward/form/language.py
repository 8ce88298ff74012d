"""The checker for the language of a response: how much of it is in the language wanted.

It is the language consistency of DeepSeek-R1 (arXiv 2501.12948, section 2.3.2): the share of words in that language.
"""

import re
from dataclasses import dataclass

from reward.form.languages import LANGUAGES, is_foreign, scripts_of
from reward.form.options import read_options
from reward.form.text import lines, script_of, sentences, words
from reward.given import given

ENOUGH_BYTES = 20  # of letters in UTF-8, from which a sentence is judged alone: 20 in Latin, 10 in Cyrillic, 7 in Chinese
FENCE = re.compile(r"^[ \t]*(```|~~~)")
CODE = re.compile(r"`[^`\n]*`")
MATH = re.compile(
    r"\$\$(?:(?!\$\$).)*+\$\$|\\\[(?:(?!\\\[|\\\]).)*+\\\]|\\\((?:(?!\\\(|\\\)).)*+\\\)|\$(?=\S)[^$\n]*(?<=\S)\$(?!\d)|\\[A-Za-z]+",
    re.DOTALL,
)
ADDRESS = re.compile(r"https?://\S+|</?\w+>")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The language and the share of it that a reference asks for."""

    language: str
    share: float = 1.0  # from which the score is 1
    ignore_code: bool = True
    ignore_math: bool = True


def read_language(reference: object) -> Wanted:
    """What the reference asks for: a code such as "en", or a table with `language`, `share`, `ignore_code`, `ignore_math`.

    ValueError when it is neither.
    """
    reference = given(reference, "language")
    if isinstance(reference, str):
        reference = {"language": reference}
    known = {"language": (str,), "share": (int, float), "ignore_code": (bool,), "ignore_math": (bool,)}
    options = read_options(reference, known, needed=("language",))
    share = options.get("share", 1.0)
    if not 0 < share <= 1:
        raise ValueError(f"share must be above 0 and at most 1, got {share}")
    return Wanted(**options | {"language": language_code(options["language"])})


def language_code(name: str) -> str:
    """The code that the model uses: "zh-CN" and "zh_TW" are "zh"; ValueError for an unknown one."""
    code = re.split("[-_]", name.strip().lower())[0]
    if code not in LANGUAGES:
        raise ValueError(f"unknown language {name!r}: use a code such as 'en', one of {' '.join(sorted(LANGUAGES))}")
    return code


def language_reference(reference: object) -> None:
    """ValueError when the reference names no language that is known."""
    read_language(reference)


def check_language(response: str, reference: object) -> float:
    """The share of the response's words that are in the language wanted; 1.0 when that is `share` or more, below it in proportion.

    Where there is nothing to tell a language by (a number, code, mathematics) the response is right; an empty one is wrong.
    """
    wanted = read_language(reference)
    if not response.strip():
        return 0.0
    share = language_share(prose(response, code=not wanted.ignore_code, math=not wanted.ignore_math), wanted.language)
    return min(1.0, share / wanted.share)


def prose(text: str, *, code: bool, math: bool) -> str:
    """The text without addresses and tags and, unless kept, without code and mathematics; an open fence runs to the end."""
    if not code:
        kept, inside = [], False
        for line in text.split("\n"):
            fence = FENCE.match(line) is not None
            if not fence and not inside:
                kept.append(line)
            inside ^= fence
        text = CODE.sub(" ", "\n".join(kept))
    if not math:
        text = MATH.sub(" ", text)
    return ADDRESS.sub(" ", text)


def language_share(text: str, language: str) -> float:
    """The share of words in the language; 1.0 where there are none.

    A word in a script that the language is not written in is foreign, one letter alone is no word. The other words of a sentence are
    foreign when `reward.form.languages` is sure of another language for them all; sentences too short for that are judged together.
    """
    own, foreign, few = 0, 0, []
    for sentence in (part for line in lines(text) for part in sentences(line)):
        told = [word for word in words(sentence) if tells(word)]
        mine = [word for word in told if script_of(word[0]) in scripts_of(language)]
        foreign += len(told) - len(mine)
        if len("".join(mine).encode(errors="replace")) < ENOUGH_BYTES:
            few += mine
        elif is_foreign(_sentence_of(mine), language):
            foreign += len(mine)
        else:
            own += len(mine)
    if len("".join(few).encode(errors="replace")) >= ENOUGH_BYTES and is_foreign(_sentence_of(few), language):
        foreign += len(few)
    else:
        own += len(few)
    return own / (own + foreign) if own + foreign else 1.0


def tells(word: str) -> bool:
    """Whether a word may tell a language: it begins with a letter and is none alone, unless its script has no spaces."""
    script = script_of(word[0])
    return bool(script) and (len(word) > 1 or script in ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "THAI", "LAO", "KHMER", "MYANMAR"))


def _sentence_of(mine: list[str]) -> str:
    """The words in one line; those of one letter, which have no spaces, close together."""
    return re.sub(r"(?<!\S)(\S) (?=\S(?!\S))", r"\1", " ".join(mine)).lower()
