"""The fenced blocks of a response's Markdown, and the text of each as it stood before it was indented."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

# A line of marks, in a list, a quotation or after a tag too: what stands before them, the marks, the words after them.
FENCE = re.compile(r"(?P<before>(?:[ \t]|[-*+>] |\d{1,3}[.)] )*)(?:<\w+>[ \t]*)?(?P<marks>`{3,}|~{3,})[ \t]*(?P<info>[^\r\n]*)")
# A block of Python that begins after words on their line, which is no fence in Markdown.
LATE = re.compile(r"(?P<before>)(?:[^`\r\n]|`(?!``))+(?P<marks>```)(?P<info>i?python3?|py)[ \t]*\r?\n?", re.IGNORECASE)
LANGUAGE = re.compile(r"[{.\s]*([\w+#-]*)")
PYTHON = re.compile(r"i?python[\d.]*|py[23]?[\d.]*", re.IGNORECASE)
QUOTES = re.compile(r'"""|\'\'\'')


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: the language that its first line names, perhaps "", and its text."""

    language: str
    text: str

    @property
    def is_python(self) -> bool:
        return bool(PYTHON.fullmatch(self.language))


@dataclass(frozen=True, slots=True)
class Mark:
    """A line that may open a block or close it: its place among the lines, and its parts."""

    line: int
    before: str
    marks: str
    info: str
    late: bool = False  # it stands after words, so it only opens

    @property
    def language(self) -> str:
        found = LANGUAGE.match(self.info)
        return found[1].rstrip("-") if found else ""

    def opens(self) -> bool:
        """A backtick in the words after backticks means inline code: ```` ```x``` ````."""
        return self.marks[0] == "~" or "`" not in self.info

    def closes(self, opened: "Mark") -> bool:
        return not self.late and self.marks[0] == opened.marks[0] and len(self.marks) >= len(opened.marks)


def find_marks(lines: list[str]) -> list[Mark]:
    """The lines that may open or close a block, in their order."""
    return [
        Mark(number, match["before"], match["marks"], match["info"].strip(), late=match.re is LATE)
        for number, line in enumerate(lines)
        if (match := FENCE.match(line) or LATE.fullmatch(line))
    ]


def find_blocks(lines: list[str], marks: list[Mark]) -> Iterator[Block]:
    """The blocks of these lines; the last one may lack its end.

    A mark with a language inside a block closes it and opens the next: models forget the end of a block.
    """
    place = 0
    while place < len(marks):
        opened = marks[place]
        place += 1
        if not opened.opens():
            continue
        end = find_end(lines, marks, place, opened)
        last = marks[end].line if end < len(marks) else len(lines)
        text = "".join(unquoted(line, opened.before) for line in lines[opened.line + 1 : last])
        if end == len(marks):
            whole = text.rstrip()
            text = whole.rstrip(opened.marks[0]) if whole.endswith(opened.marks) else text  # marks at the end of the last line of code
        yield Block(opened.language, dedented(text))
        place = end if end < len(marks) and PYTHON.fullmatch(marks[end].language) else end + 1


def find_end(lines: list[str], marks: list[Mark], place: int, opened: Mark) -> int:
    """The number of the mark that closes a block, len(marks) where none does; marks inside a string of several lines are text."""
    start, quotes, first = opened.line + 1, 0, len(marks)
    for number in range(place, len(marks)):
        if not marks[number].closes(opened):
            continue
        first = min(first, number)
        quotes += sum(len(QUOTES.findall(line)) for line in lines[start : marks[number].line])
        start = marks[number].line + 1
        if quotes % 2 == 0:
            return number
    return first


def unquoted(line: str, before: str) -> str:
    """A line of a quotation without the quotation's marks."""
    for _ in range(before.count(">")):
        line = re.sub(r"^[ \t]*> ?", "", line)
    return line


def dedented(text: str) -> str:
    """A program without the indentation of its first statement; a line that has less of it, as in a string, loses what it has."""
    lines = text.splitlines(keepends=True)
    first = next((line for line in lines if line.strip() and not line.lstrip().startswith("#")), "")
    margin = first[: len(first) - len(first.lstrip())]
    if not margin:
        return text
    return "".join(line[len(margin) :] if line.startswith(margin) else line.lstrip(" \t") for line in lines)
