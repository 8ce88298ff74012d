"""Where the program stands in a response: in a fenced block, between tags, or in plain text."""

import re
from collections.abc import Sequence

from reward.programs.fences import Block, dedented, find_blocks, find_marks

TAGS = re.compile(r"\[PYTHON\](.*?)(?:\[/PYTHON\]|\Z)|<(code|python|answer|solution)\b[^>\n]*>(.*?)(?:</\2>|\Z)", re.DOTALL)
# Lines that begin a program and are no sentence.
DEFINITION = re.compile(r"import \w.*|from [\w.]+ import .*|(?:async )?def \w+ ?\(.*|class \w+ ?[(:].*|@\w.*")
STATEMENT = re.compile(
    r"(?:if|while|with) .*:|for .+ in .+:.*|try:|#.*|(?:\"\"\"|''').*|\w+(?:, ?\w+)* ?[-+*/]?=[^=].*|\w+(?:\.\w+)*[(\[].*|\w+: ?[^=]+=.*"
)
# Text up to marks at the end of a line of code: the prompt has opened the block.
CLOSED = re.compile(r"([^`]*[^`\s])```[ \t\r]*$", re.MULTILINE)
SENTENCE = re.compile(r"[\"'*_(]*[A-Z][\w'\u2019,-]*(?: [^\s=]+)*[.:!?][\"'*_)]*")


def find_program(response: str, names: Sequence[str] = ()) -> str:
    """The program of a response, from which its tests take `names`.

    Of its fenced blocks: those of Python, else those without a language that begin like a program, else those without a language, else the
    others; of these the last of those that define the most of `names`. Text before a lone closing fence is a block of Python, whose opening
    fence stood in the prompt. Without blocks: the last text between tags, else the text without the sentences around the program.
    """
    lines = response.splitlines(keepends=True)
    marks = find_marks(lines)
    if not marks and (ended := CLOSED.match(response)):
        lines = ended[1].splitlines(keepends=True)
    opened = opened_before(lines[: marks[0].line]) if marks and not marks[0].info else []
    if blocks := opened + list(find_blocks(lines, marks[len(opened) :])):
        return chosen(blocks, names)
    if tagged := [found[0] or found[2] for found in TAGS.findall(response)]:
        return dedented(tagged[-1].strip("\r\n"))
    return dedented(without_sentences(lines))


def opened_before(lines: list[str]) -> list[Block]:
    """The block before a first mark without a language, if it begins like a program: the prompt has opened it."""
    text = "".join(lines)
    return [Block("python", dedented(text))] if begins_like_code(text) else []


def begins_like_code(text: str) -> bool:
    first = text.strip().partition("\n")[0].strip()
    return bool(DEFINITION.fullmatch(first) or STATEMENT.fullmatch(first))


def chosen(blocks: list[Block], names: Sequence[str]) -> str:
    """The program among the blocks; a block that shows its use, or what it prints, is none."""
    bare = [block for block in blocks if not block.language]
    of_python = [block for block in blocks if block.is_python]
    texts = [block.text for block in of_python or [block for block in bare if begins_like_code(block.text)] or bare or blocks]
    most = max(defined(text, names) for text in texts)
    return [text for text in texts if defined(text, names) == most][-1]


def defined(text: str, names: Sequence[str]) -> int:
    """How many of the names a program defines, as functions, methods, classes or values."""
    return sum(
        bool(re.search(rf"^[ \t]*(?:(?:async )?def|class) {re.escape(name)}\b|^{re.escape(name)}\b.*?=", text, re.M)) for name in names
    )


def without_sentences(lines: list[str]) -> str:
    """The text without sentences before and after a program that stands in it without marks; no program begins or ends with a sentence."""
    first, last = 0, len(lines)
    while last > 0 and (not lines[last - 1].strip() or SENTENCE.fullmatch(lines[last - 1].strip())):
        last -= 1
    while first < last and (not lines[first].strip() or SENTENCE.fullmatch(lines[first].strip())):
        first += 1
    return "".join(lines[first:last]) if begins_like_code("".join(lines[first:last])) else "".join(lines)
