"""The checker for multiple choice: the response must settle on one letter, the reference's."""

import re

from reward.answers.answer import marked_answer, spoken, stated_answer
from reward.answers.joined import unwrapped
from reward.answers.letters import concluded_letter, last_line_letter, stated_letters, without_denied
from reward.answers.match import normal_text
from reward.answers.statements import BEFORE, SUPPOSED
from reward.given import given, without_nulls

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
DECORATION = re.compile(r"\\?\$|[*_`\"\u201c\u201d]|\\(?:[,;:! ()\[\]]|boxed\b)")
SPACE = re.compile(r"[^\S\n]+")
# These may follow a letter that is a choice; before other text "A" may be an article and "I" a pronoun.
AFTER = r"(?=\s*(?:$|[\n).,;:!\]]|[-\u2013\u2014=]\s|(?:because|since|as|and|or|but|for|which|with)\b))"
LETTER = rf"(?:[(\[]\s*([A-Za-z])\s*[)\]]|([A-Z]){AFTER}|([a-z])(?=\s*\.?\s*(?:$|\n)))"
NOUN = r"(?:the\s+)?(?:option|choice|answer|letter)"
STATEMENTS = [
    re.compile(pattern)
    for pattern in (
        rf"(?i:\b(?:answer|(?:correct|right|best|final|my)\s+(?:option|choice|one|letter)(?:\s+here)?)"
        rf"(?:\s+(?:is|will\s+be|would\s+be|must\s+be|should\s+be)\s*:?|\s*[:=])\s*(?:(?:clearly|therefore|thus|simply)\s+)?(?:{NOUN}\s*:?)?\s*){LETTER}",
        rf"(?i:\b(?:choose|pick|select|go\s+with|going\s+with)\s+(?:{NOUN}\s*)?){LETTER}",
        r"(?<![\w'])[(\[]?([A-Z])[)\]]?\s+(?i:(?:is|must\s+be|would\s+be|seems)\s+(?:therefore\s+)?(?:the\s+|our\s+|my\s+)?(?:(?:final\s+)?answer|correct|right|best)\b"
        r"(?!\s+(?:about|in|that|to)\b))",
    )
]
# "A, B or C": further letters after one that was named
MORE = re.compile(
    r"[)\]]?(?:\s*[,/&]\s*(?:(?:and|or)\s+)?|\s+(?:and|or)\s+)(?:(?:maybe|perhaps|possibly|also|even)\s+)?[(\[]?([A-Z])(?=[)\]]|\s*(?:$|[\n.,;/&]|(?:and|or)\b))"
)
ALONE = re.compile(r"(?:(?i:option|choice|answer|letter)\s*[:\u2013-]?\s+)?[(\[]?\s*([A-Za-z])\s*[)\]]?\s*[.:)]?")
LEADING = re.compile(
    r"(?:(?i:option|choice|answer)\s+)?(?:[(\[]([A-Za-z])[)\]]\s*[.:]?|([A-Z])\s*[).:]|([A-Z])\s+[-\u2013\u2014])\s*(.*)", re.DOTALL
)
PARENTHESISED = re.compile(r"(?<![\w)])\(([A-Z])\)")
LISTED = re.compile(r"^\s*(?:[-*]\s*)?[(\[]?([A-Z])[)\].:]\s", re.MULTILINE)


def read_reference(reference: object) -> tuple[str, dict[str, str]]:
    """The right letter, and the options' texts by letter where they are known; ValueError says how a reference must look."""
    reference = given(reference, "answer")
    answer, options = reference, {}
    if isinstance(reference, dict):
        if not {"answer", "options"} >= set(reference) or "answer" not in reference:
            raise ValueError(f"reference must have the keys 'answer' and 'options', got {sorted(map(str, reference))}")
        answer, options = reference["answer"], _options(reference.get("options", {}))
    found = ALONE.fullmatch(answer.strip()) if isinstance(answer, str) else None
    if found is None:
        raise ValueError(f"reference must be a letter from A to Z, or {{'answer': a letter, 'options': texts}}, got {reference!r}")
    letter = found[1].upper()
    if options and letter not in options:
        raise ValueError(f"reference must be one of its options {', '.join(options)}, got {letter!r}")
    return letter, options


def check_choice(response: str, reference: object) -> float:
    """1.0 when the response settles on the reference's letter, or on the text of that option, else 0.0.

    The checker reads the marked answer (`reward.answers.answer`), else statements ("the answer is B", "I choose B", "B is correct"), which
    must all name the same letter, else a response or its last line that is one letter or option, else the last "(B)". Statements are read
    in twenty languages. A letter that is denied ("not B", "B is wrong") is none. A response with two letters is wrong.
    """
    letter, options = read_reference(reference)
    return float(chosen(response, options) == {letter})


def gold_choice(reference: object) -> str:
    """A response that is right."""
    return rf"\boxed{{{read_reference(reference)[0]}}}"


def chosen(response: str, options: dict[str, str]) -> set[str]:
    """The letters that a response settles on; one where it is clear. A marked answer without a letter leaves the choice to the text."""
    marked = marked_answer(response)
    if marked is not None:
        named = _settled(marked, options, marked=True)
        if named or not marked or re.search(r"(?<![^\W_])[A-Z](?![^\W_])", marked):
            return named
        return _stated(without_denied(_plain(spoken(response))))
    return _settled(spoken(response), options, marked=False)


def _settled(text: str, options: dict[str, str], *, marked: bool) -> set[str]:
    """The letters of a text: it is one itself, or states one, or ends with one."""
    plain = _plain(text)
    whole = _whole(plain, options, marked=marked)
    if whole is not None:
        return whole
    text = without_denied(plain)
    last = None if marked else last_line_letter(text)
    if stated := _stated(text):
        return stated | ({last} if last else set())
    stated_text = stated_answer(text)
    if stated_text and (by_text := _by_text(stated_text, options)):
        return by_text
    if last := last or concluded_letter(text):
        return {last}
    return _last_parenthesised(text)


def _plain(text: str) -> str:
    return SPACE.sub(" ", DECORATION.sub("", unwrapped(text))).strip()


def _whole(text: str, options: dict[str, str], *, marked: bool) -> set[str] | None:
    """The letters of a text that is only a choice: "B", "(B)", "B. Paris", "Paris", "A, C"; None when it is more."""
    if alone := ALONE.fullmatch(text):
        return {alone[1].upper()}
    leading, by_text = LEADING.fullmatch(text), _by_text(text, options)
    if by_text and (not leading or text in options.values()):
        return by_text
    if leading and (marked or "\n" not in text):
        letter = (leading[1] or leading[2] or leading[3]).upper()
        named = {letter, *_by_text(leading[4], options), *PARENTHESISED.findall(leading[4]), *_stated(leading[4])}
        return named
    first = re.match(r"[(\[]?([A-Z])\b", text)
    more = _listed_after(text, first.end()) if first else set()
    return {first[1], *more} if first and more else None


def _by_text(text: str, options: dict[str, str]) -> set[str]:
    said = normal_text(text)
    return {letter for letter, option in options.items() if said and normal_text(option) == said}


def _stated(text: str) -> set[str]:
    """Every letter that a statement names as the answer."""
    named = set()
    for statement in STATEMENTS:
        for found in statement.finditer(text):
            if not SUPPOSED.search(text[max(0, found.start() - BEFORE) : found.start()]):
                named |= {letter.upper() for letter in found.groups() if letter} | _listed_after(text, found.end())
    for position, letter in stated_letters(text).items():
        named |= {letter} | _listed_after(text, position)
    return named


def _listed_after(text: str, position: int) -> set[str]:
    letters = set()
    while more := MORE.match(text, position):
        letters.add(more[1])
        position = more.end()
    return letters


def _last_parenthesised(text: str) -> set[str]:
    """The letters in parentheses in the last line that has any; a list of the options, one a line, does not count."""
    listed = len(set(LISTED.findall(text))) > 1
    for line in reversed(text.splitlines()):
        if letters := set(PARENTHESISED.findall(LISTED.sub("", line) if listed else line)):
            return letters
    return set()


def _options(options: object) -> dict[str, str]:
    options = given(options)
    if isinstance(options, list):
        options = dict(zip(LETTERS, options, strict=False)) if len(options) <= len(LETTERS) else None
    options = without_nulls(options) if isinstance(options, dict) else options
    if not isinstance(options, dict) or not all(
        key in LETTERS and len(key) == 1 and isinstance(text, str) for key, text in options.items()
    ):
        raise ValueError(f"reference must have as options a list of at most 26 texts, or texts by letters A to Z, got {options!r}")
    return options
