"""Where a response says what its final answer is: a \\boxed{}, an <answer> tag, or GSM8K's "####"."""

import re

THINKING_ENDS = "</think>"
# A box with braces, a box of one bare word, an escaped character, or a brace: enough to find the end of a box in one pass.
BOX_TOKEN = re.compile(r"\\(?:boxed|fbox)\s*\{|\\(?:boxed|fbox)\s*(?P<bare>[-+]?[A-Za-z0-9][^\s{}$\\]*)|\\.|[{}]", re.DOTALL)
# Boxes with only this between them are one answer of several values.
JOIN = re.compile(r"[\s$.]*(?:,|;|&|(?:,\s*)?\b(?:and|or)\b|\\text\s*\{\s*(?:and|or)\s*\})[\s$]*", re.IGNORECASE)
MAX_JOIN = 40
TAG = re.compile(r"<(/?)answer>", re.IGNORECASE)
HASHES = re.compile(r"(?<!#)####(?!#)")
WRAPPER = re.compile(r"\\(?:text|mbox|mathrm|textbf|mathbf|textit|textrm|operatorname)\s*\{([^{}]*)\}")
STATED = re.compile(r"\banswer\b(?:\s+is\b\s*:?|\s*:)\s*([^\n]*)", re.IGNORECASE)
HEADING = re.compile(r"\s*(?:[A-Za-z]|\*\*|\d+[.)]\s)[^\n]*\n\s*\S")  # Markdown: words, and the text they head


def spoken(response: str) -> str:
    """The response without its reasoning: the text after the last "</think>", or all of it."""
    return response.rpartition(THINKING_ENDS)[2]


def marked_answer(response: str) -> str | None:
    """The final answer that a response marks as such; "" where the mark holds nothing, None where there is no mark.

    Only the text after the last "</think>" counts. The last box or <answer> tag wins; a box inside the tag wins over the tag. Boxes joined
    by "and", "or" or a comma are one answer. A box that is never closed was cut off and holds nothing. A tag may lack its end, because
    engines strip stop strings. Without either, the answer is the rest of the line after the last "####" that is not a heading.
    """
    text = spoken(response)
    box, tag = _last_box(text), _last_tag(text)
    if box and (not tag or box[0] > tag[0]):
        return box[1].strip()
    if tag:
        inner = _after_hashes(tag[1])
        return (tag[1] if inner is None else inner).strip()
    return _after_hashes(text)


def stated_answer(text: str) -> str | None:
    """The rest of the line after the last "answer is" or "answer:"; None where the text has neither."""
    found = STATED.findall(text)
    return found[-1].strip() if found else None


def unwrapped(text: str) -> str:
    """The text with the content of \\text{} and the like in place of these commands."""
    return WRAPPER.sub(r" \1 ", text)


def _last_box(text: str) -> tuple[int, str] | None:
    """The position of the last box and its content, with the boxes joined to it."""
    if "\\boxed" not in text and "\\fbox" not in text:
        return None
    boxes: list[tuple[int, int, str]] = []  # start, end, content
    opened: list[tuple[int, int] | None] = []  # start of the box and of its content; None for a plain brace
    last = -1
    for token in BOX_TOKEN.finditer(text):
        found = token.group()
        if token["bare"]:
            last = token.start()
            boxes.append((last, token.end(), token["bare"]))
        elif found == "}":
            box = opened.pop() if opened else None
            if box:
                boxes.append((box[0], token.end(), text[box[1] : token.start()]))
        elif found[-1] == "{" and found != "\\{":
            is_box = len(found) > 1
            opened.append((token.start(), token.end()) if is_box else None)
            last = token.start() if is_box else last
    if last < 0:
        return None
    boxes = sorted(box for box in boxes if box[0] <= last)
    if not boxes or boxes[-1][0] != last:
        return last, ""
    return last, ", ".join(_joined(text, boxes))


def _joined(text: str, boxes: list[tuple[int, int, str]]) -> list[str]:
    """The values in the last box and the boxes joined to it, each once."""
    start, _, content = boxes[-1]
    contents = [content]
    for before, end, content in reversed(boxes[:-1]):
        if not 0 <= start - end <= MAX_JOIN or not JOIN.fullmatch(text, end, start):
            break
        contents.append(content)
        start = before
    return list(dict.fromkeys(reversed(contents)))


def _last_tag(text: str) -> tuple[int, str] | None:
    """The position of the last <answer> and its content."""
    tags = list(TAG.finditer(text))
    for position in range(len(tags) - 1, -1, -1):
        if not tags[position][1]:
            end = tags[position + 1].start() if position + 1 < len(tags) else len(text)
            return tags[position].start(), text[tags[position].end() : end]
    return None


def _after_hashes(text: str) -> str | None:
    marks = list(HASHES.finditer(text))
    if not marks or HEADING.match(text, marks[-1].end()):
        return None
    rest = text[marks[-1].end() :].lstrip()
    return rest.partition("\n")[0].strip()
