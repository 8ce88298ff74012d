"""The final answer of a text that marks none: what stands after "the answer is", else the last formula or number."""

import re

from reward.answers.formulas import Formula, formulas
from reward.answers.statements import statements
from reward.mathematics.signs import FULL_WIDTH

TAIL = 4_000  # characters that are searched
PLAIN_WIDTH = str.maketrans(FULL_WIDTH)
CALCULATION = re.compile(r"<<[^<>\n]{0,200}>>")  # GSM8K's notes for a calculator
STRONG = re.compile(r"(?P<power>(?:(?<![^\W_])[A-Za-z]|[\d)])\*\*(?=[\d(A-Za-z-])|(?<=[\w)])\s\*\*\s(?=[\w(]))|\*\*|`|__")
LIST_MARK = re.compile(
    r"^[ \t>]{0,20}(?:[-+*\u2022][ \t]{1,5})?"
    r"(?:\(?\d{1,2}[.)][ \t]{1,5}(?=\S)|#{0,6}[ \t]{0,5}(?:step|case|part|question|步骤|schritt|шаг|paso)[ \t]{0,5}\d+)",
    re.MULTILINE | re.IGNORECASE,
)
DENIAL = re.compile(
    r"(?:\b(?:not|never|nicht|pas|не|cannot\s+be|rather\s+than|instead\s+of)|n['\u2019]t(?:\s+be)?|不是)\s*(?:equal\s+to\s*|:)?[$]?\s*$",
    re.IGNORECASE,
)
DENIED_BEHIND = re.compile(
    r"[$)\s]{0,4}(?:is|was|are|would\s+be|can|could)(?:n['\u2019]t|not|\s+not|\s+(?:wrong|incorrect|false))\b|\s*(?:不是|不对|错)",
    re.IGNORECASE,
)
ASKED = re.compile(r"[$)*\s]{0,4}[?\uff1f]")
BUT = re.compile(r"[\s,;.]*(?:but|sondern|mais|sino|ma|mas|\u0430|而是)[\s,]*(?:rather|it\s+is|it['\u2019]s)?\s*", re.IGNORECASE)
JOINER = re.compile(
    r"\s*(?:,|\.(?=\s*or\b))?\s*\(?\s*(?P<word>and|or|und|oder|et|ou|y|o|e|и|или|和|或|或者|と|または|또는|and/or|&)(?:\s+(?:maybe|perhaps|possibly|even|else))*\s*",
    re.IGNORECASE,
)
NOUNS = re.compile(r"\s[a-z]{3,15}(?:\s[a-z]{3,15})?\s(?P<word>and|or)\s")
COMMA = re.compile(r"\s*[,;\u3001]\s*")
LIST_ENDS = re.compile(r"\)?\s*(?:[.!?\u3002]?\s*(?:$|\n)|[.!?\u3002]\s)")
ASSIGNMENT = re.compile(r"[$\\(\s]*\\?[A-Za-z]+(?:_\{?\w+\}?)?\s*=[^=]*")
IS = re.compile(r"[^.!?\n]{0,80}\b(?:is|are|equals?|must be|will be)\b[^.!?\n]{0,40}")
SENTENCE_END = re.compile(r"[.!?](?:\s|$)|[\u3002\uff01]|\n\s*\n")
BETWEEN_STATEMENTS = re.compile(
    r"[\s.,;!*]*(?:(?:or|and|maybe|perhaps|alternatively|possibly|the|my|final|correct|so|another)\b[\s,]*)*", re.IGNORECASE
)
LONGEST_DENIAL = 30  # characters before an answer in which a denial is looked for
LONGEST_GAP = 200  # characters between "the answer is" and the answer
ALIGNED = re.compile(r"\\begin\{(?:align|aligned|gather|gathered|eqnarray|split|multline|alignat)\*?\}(.*?)\\end\{\w+\*?\}", re.DOTALL)
CONTINUES = re.compile(r"\s*(?:[=<>\u2248]|\\(?:approx|le|leq|ge|geq|equiv|lt|gt)(?![a-zA-Z]))")


def prose_answer(text: str) -> str | None:
    """The final answer of a text without a mark, whole, with its unit words; None where the last 4,000 characters have none.

    A formula or number after "the answer is" (`reward.answers.statements`) wins, else the last one. Several that "and", "or" or commas join
    are one answer. What the text denies ("the answer is not 5") is no answer. Takes time linear in the text.
    """
    tail = _tail(text)
    found, denied, stated = formulas(tail), set(), None
    marks = [(mark.start(), mark.end()) for mark in LIST_MARK.finditer(tail)]
    found = [one for one in found if not any(start <= one.start and one.end <= end + 1 for start, end in marks)]
    for start, end, denies in statements(tail):
        position = _first_after(tail, found, end)
        if position is None:
            continue
        position = _named(tail, found, position)
        if denies:
            denied.add(position)
            if position + 1 < len(found) and BUT.fullmatch(tail, found[position].end, found[position + 1].start):
                stated = [(start, position + 1)]
        elif not ASKED.match(tail, found[position].end):
            follows = stated and BETWEEN_STATEMENTS.fullmatch(tail, found[stated[-1][1]].end, max(start, found[stated[-1][1]].end))
            stated = [*stated, (start, position)] if stated and follows else [(start, position)]
    if stated:
        answers = [_joined(tail, found, position, forward=True) for position in dict.fromkeys(position for _, position in stated)]
        return _distinct(answers)
    for position in range(len(found) - 1, -1, -1):
        if (
            found[position].solid
            and position not in denied
            and not DENIED_BEHIND.match(tail, found[position].end)
            and not DENIAL.search(tail[max(0, found[position].start - LONGEST_DENIAL) : found[position].start])
        ):
            return _joined(tail, found, position, forward=False)
    return None


def _tail(text: str) -> str:
    """The end of the text, from a space on, without Markdown's emphasis and notes for a calculator."""
    tail = text[-TAIL:]
    space = re.search(r"\s", tail) if len(text) > TAIL and not text[-TAIL - 1].isspace() else None
    tail = tail[space.start() :] if space else tail
    return STRONG.sub(lambda mark: mark["power"] or " " * len(mark[0]), CALCULATION.sub("", tail.translate(PLAIN_WIDTH)))


def _first_after(text: str, found: list[Formula], end: int) -> int | None:
    """The index of the first formula in the sentence after a statement, or in the next line where its own is empty."""
    position = next((i for i, one in enumerate(found) if one.start >= end or one.end > end), None)
    if position is None:
        return None
    between = text[end : found[position].start].lstrip()
    return None if len(between) > LONGEST_GAP or SENTENCE_END.search(between) or "\n" in between.strip() else position


def _named(text: str, found: list[Formula], position: int) -> int:
    """The index of the value where the formula only names what has it: "the largest $n$ is 34"."""
    while position + 1 < len(found) and not any(c.isdigit() for c in text[found[position].start : found[position].end]):
        if not IS.fullmatch(text[found[position].end : found[position + 1].start]):
            break
        position += 1
    return position


def _joined(text: str, found: list[Formula], position: int, *, forward: bool) -> str:
    """A formula with those that are joined to it, behind it or before it."""
    parts, joiners = [position], []
    step = 1 if forward else -1
    while 0 <= parts[-1] + step < len(found):
        first, second = sorted((parts[-1], parts[-1] + step))
        joiner = _joiner(text, found[first], found[second])
        if joiner is None:
            break
        parts.append(parts[-1] + step)
        joiners.append(joiner)
    if not forward:
        parts, joiners = parts[::-1], joiners[::-1]
    if joiners and all(joiner == ", " for joiner in joiners) and not LIST_ENDS.match(text, found[parts[-1]].end):
        parts, joiners = [position], []
    texts = [_whole(text[found[part].start : found[part].end]) for part in parts]
    return texts[0] + "".join(joiner + one for joiner, one in zip(joiners, texts[1:], strict=True))


def _joiner(text: str, first: Formula, second: Formula) -> str | None:
    """What joins two formulas to one answer; None where they are two."""
    if any("=" in text[one.start : one.end] and not ASSIGNMENT.fullmatch(text, one.start, one.end) for one in (first, second)):
        return None
    if not (first.solid and second.solid):
        return None
    if joiner := JOINER.fullmatch(text, first.end, second.start) or NOUNS.fullmatch(text, first.end, second.start):
        return (
            " or " if joiner["word"].casefold() in ("or", "oder", "ou", "o", "или", "或", "或者", "または", "또는", "and/or") else " and "
        )
    return ", " if COMMA.fullmatch(text, first.end, second.start) else None


def _distinct(answers: list[str]) -> str:
    """The answers of statements that follow one another, each number once: the last way to write it counts."""
    kept = {re.sub(r"[^\d./\\-]", "", answer).strip(".") or answer: answer for answer in answers}
    return ", ".join(kept.values())


def _whole(formula: str) -> str:
    """The formula; of several aligned lines the last with the lines that it continues."""
    aligned = ALIGNED.search(formula)
    if aligned is None:
        return formula
    chain: list[str] = []
    for row in re.split(r"\\\\(?:\[[^\]]*\])?", aligned[1].replace("&", " ")):
        if row.strip(" ,.\n"):
            chain = [*chain, row] if CONTINUES.match(row) else [row]
    return " ".join(" ".join(chain).split())
