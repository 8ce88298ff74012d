"""Where a response says what its final answer is: a \\boxed{}, an <answer> tag, or GSM8K's "####"."""

import re
from bisect import bisect_left
from typing import NamedTuple

from reward.answers.joined import joins
from reward.answers.statements import statements

THINKING_ENDS = "</think>"
# A box with braces, a box of one bare word, an escaped character, or a brace: enough to find the end of a box in one pass.
BOX_TOKEN = re.compile(r"(?:(?<!\\)\\)?\\(?:boxed|fbox)\s*\{|\\(?:boxed|fbox)\s*(?P<bare>[-+]?[A-Za-z0-9][^\s{}$\\]*)|\\.|[{}]", re.DOTALL)
TAG = re.compile(r"<(/?)answer>", re.IGNORECASE)
HASHES = re.compile(r"(?<!#)####(?!#)")
MAX_BOXES, MAX_TAGS, MAX_HASHES = 30, 30, 20  # of one response; earlier ones can hardly belong to its last answer
# Markdown: a heading, and the text below it. An answer begins with a digit, a sign, a bracket, a currency or a formula,
# unless the digit numbers the heading: "1. Add", "2) Add", "3: Add", "(a) Add".
HEADING = re.compile(
    r"[^\S\n]*[*_`~]*+\s*(?:\(?\w{1,2}[.):\u3001\uff1a][*_`~]*[^\S\n]+\S[^\n]*|[0-9]+\u3001[^\n]*|[0-9]+(?:st|nd|rd|th)\b[^\n]*"
    r"|(?![-+\u2212\u00b1.$\u20ac\u00a3\u00a5\u20b9\\(\[{|<>\u221a\u03c0\u221e0-9\uff10-\uff19#*_`~\s])[^\n]+)\n\s*\S"
)


class Mark(NamedTuple):
    """A marked answer: where the mark starts and ends, and what it holds; None where it was cut off."""

    start: int
    end: int
    content: str | None


def spoken(response: str) -> str:
    """The response without its reasoning: the text after the last "</think>", or all of it."""
    return response.rpartition(THINKING_ENDS)[2]


def marked_answer(response: str) -> str | None:
    """The final answer that a response marks as such; "" where the mark holds nothing, None where there is no mark.

    Only the text after the last "</think>" counts. The last box or <answer> tag wins; a box inside the tag wins over the tag. Answers
    that `reward.answers.joined` joins are one text, "1, 2". A box that is never closed was cut off and holds nothing. A tag may lack its
    end, because engines strip stop strings. Without either, the answer is the rest of the line after the last "####" that is no heading.
    """
    answers = marked_answers(response)
    return None if answers is None else ", ".join(answers)


def marked_answers(response: str) -> list[str] | None:
    """The final answers that a response marks, each once: several where the last mark is joined to those before it."""
    text = spoken(response)
    boxes, tags = _boxes(text), _tags(text)
    marks = sorted([(mark, "box") for mark in boxes] + [(tag, "tag") for tag in tags if not _holds_a_box(tag, boxes)])
    marks = marks or [(mark, "hashes") for mark in _hashes(text)]
    return _joined(text, marks) if marks else None


def stated_answer(text: str) -> str | None:
    """The rest of the line after the last "answer is" or "answer:", in any of twenty languages; None where the text states no answer.

    It begins after the first of several on one line, so that a line with two answers equals neither.
    """
    found = [(start, end) for start, end, denied in statements(text) if not denied]
    if not found:
        return None
    line = text.rfind("\n", 0, found[-1][0]) + 1
    position = next(end for start, end in found if start >= line)
    return text[position:].lstrip().partition("\n")[0].strip()


def _joined(text: str, marks: list[tuple[Mark, str]]) -> list[str]:
    """The content of the last mark, and of the marks before it that are joined to it, each once and in order."""
    (start, _, last), kind = marks[-1]
    contents = [last or ""]
    for (before, end, content), earlier_kind in reversed(marks[:-1]):
        if last is None:
            break
        if end <= start:
            if content is None or not joins(text[end:start], alike=kind == earlier_kind):
                break
            contents.append(content)
        start, kind = before, earlier_kind
    return list(dict.fromkeys(content.strip() for content in reversed(contents)))


def _first_box(text: str) -> int | None:
    """Where the first of the last `MAX_BOXES` boxes begins, so that long texts before them are not scanned; None where there is no box."""
    place, count = len(text), 0
    while True:
        before = max(text.rfind("\\boxed", 0, place), text.rfind("\\fbox", 0, place))
        if before < 0:
            break
        place, count = before, count + 1
        if count >= MAX_BOXES and text[place - 1 : place] != "\\":
            return place
    escaped = text[place - 1 : place] == "\\"  # whether it is a box depends on the characters before
    return None if not count else 0 if escaped else place


def _boxes(text: str) -> list[Mark]:
    """The last boxes in the order of their starts; boxes that are never closed hold nothing."""
    start = _first_box(text)
    if start is None:
        return []
    boxes: list[Mark] = []
    opened: list[tuple[int, int] | None] = []  # start of the box and of its content; None for a plain brace
    for token in BOX_TOKEN.finditer(text, start):
        found = token.group()
        if token["bare"]:
            boxes.append(Mark(token.start(), token.end(), token["bare"]))
        elif found == "}":
            box = opened.pop() if opened else None
            if box:
                boxes.append(Mark(box[0], token.end(), text[box[1] : token.start()]))
        elif found[-1] == "{" and found != "\\{":
            opened.append((token.start(), token.end()) if len(found) > 1 else None)
    boxes += [Mark(box[0], box[1], None) for box in opened if box]
    return sorted(boxes, key=lambda box: box.start)


def _tags(text: str) -> list[Mark]:
    """The last <answer> tags, each with its content up to its end, the next tag, or the end of the text."""
    found = list(TAG.finditer(text))[-2 * MAX_TAGS :]  # beginnings and ends
    tags = []
    for position, tag in enumerate(found):
        if not tag[1]:
            after = found[position + 1] if position + 1 < len(found) else None
            content = text[tag.end() : after.start() if after else len(text)]
            inner = _hashes(content)
            end = len(text) if after is None else after.end() if after[1] else after.start()
            tags.append(Mark(tag.start(), end, (inner[-1].content if inner else content)))
    return tags


def _holds_a_box(tag: Mark, boxes: list[Mark]) -> bool:
    """Whether a box begins inside the tag; the boxes are sorted."""
    position = bisect_left(boxes, tag.start, key=lambda box: box.start)
    return position < len(boxes) and boxes[position].start < tag.end


def _hashes(text: str) -> list[Mark]:
    """The rest of the line after each of the last "####" that are not headings; none where the last one is a heading."""
    found = list(HASHES.finditer(text))[-MAX_HASHES:]
    if not found or HEADING.match(text, found[-1].end()):
        return []
    marks = []
    for position, mark in enumerate(found):
        limit = found[position + 1].start() if position + 1 < len(found) else len(text)
        rest = text[mark.end() : limit]
        content = rest.lstrip().partition("\n")[0]
        end = mark.end() + len(rest) - len(rest.lstrip()) + len(content)
        if not HEADING.match(text, mark.end()):
            marks.append(Mark(mark.start(), end, content))
    return marks
