"""Reads the exceptions out of a log: Python's tracebacks as vLLM, Ray, torch and multiprocessing print them.

Several processes may write to one log, a few lines each in turn. Their lines begin with a mark of the process, so each is read by itself.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cluster.causes.logs import COLOUR

PROCESS = re.compile(r"^(\([\w.-]+ pid=\d+[^)]*\)|\[rank\d+\]:) ?")  # "(EngineCore pid=5139) ", "[rank0]: "
RECORD = re.compile(r"^(DEBUG|INFO|WARNING|ERROR|CRITICAL) \d\d-\d\d [\d:]+ \[[^\]]+\] ?")  # of vLLM
BORDER = re.compile(r"^(\s*)[|] ?")  # of the traceback of an exception group
START = re.compile(
    r"^\s*Traceback \(most recent call last\):|\bray::[\w.]+\(\) \(pid="
)  # Ray replaces the first line by the name of its task
RAISED = re.compile(r"^((?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*)(?:\([A-Za-z_.]+\))?(?::\s?(.*))?$", re.DOTALL)
DIRECT = "The above exception was the direct cause of the following exception:"
DURING = "During handling of the above exception, another exception occurred:"
FATAL = re.compile(r"encountered a fatal error|failed to start|WorkerProc failed|hit an exception")
ENDS = ("Process ", "*** ", "--- ", 'File "', "Exception raised in creation task")  # what follows a message without belonging to it
MESSAGE_LINES = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Raised:
    """An exception as a log shows it."""

    type: str  # without its module
    message: str
    place: str  # the last frame, "file.py:120 in build", empty if unknown
    code: str  # the line of source that raised
    mild: bool  # logged below ERROR: somebody went on
    fatal: bool  # logged as the end of its process

    @property
    def line(self) -> str:
        return one_line(f"{self.type}: {self.message}" if self.message else self.type)


Chain = tuple[Raised, ...]  # an exception and those that followed from it, the innermost first


@dataclass(frozen=True, slots=True)
class _Line:
    text: str
    level: str


def chains(text: str) -> list[Chain]:
    """Every chain of exceptions in a log, in the order in which they begin."""
    streams: dict[str, list[tuple[int, _Line]]] = {}
    for number, raw in enumerate(text.splitlines()):
        line = COLOUR.sub("", raw)
        mark = PROCESS.match(line)
        rest = line[mark.end() :] if mark else line
        level = RECORD.match(rest)
        rest = rest[level.end() :] if level else rest
        streams.setdefault(mark.group(1) if mark else "", []).append(
            (number, _Line(BORDER.sub(r"\1", rest), level.group(1) if level else ""))
        )
    found = [chain for stream in streams.values() for chain in _of_stream(stream)]
    return [chain for _, chain in sorted(found, key=lambda numbered: numbered[0])]


def _of_stream(stream: Sequence[tuple[int, _Line]]) -> Iterator[tuple[int, Chain]]:
    lines = [line for _, line in stream]
    chain: list[Raised] = []
    began = place = 0
    while place < len(lines):
        if not START.search(lines[place].text):
            place += 1
            continue
        began = began if chain else stream[place][0]
        raised, place = _traceback(lines, place)
        if raised:
            chain.append(raised)
        following = next((line.text.strip() for line in lines[place : place + 3] if line.text.strip()), "")
        if following not in (DIRECT, DURING) and chain:
            yield began, tuple(chain)
            chain = []
    if chain:
        yield began, tuple(chain)


def _traceback(lines: Sequence[_Line], start: int) -> tuple[Raised | None, int]:
    """The exception whose traceback begins at `start`, and the line after it."""
    indent, level = _indent(lines[start].text), lines[start].level
    place, at, code = start + 1, "", ""
    while place < len(lines) and (not lines[place].text.strip() or _indent(lines[place].text) > indent):
        if frame := re.match(r'\s*File "([^"]+)", line (\d+), in (\S+)', lines[place].text):
            at, code = f"{frame.group(1).rsplit('/', 1)[-1]}:{frame.group(2)} in {frame.group(3)}", ""
        elif at and not code and lines[place].text.strip(" ^~"):
            code = lines[place].text.strip()
        place += 1
    if place == len(lines) or not (said := RAISED.match(lines[place].text.strip())):
        return None, place
    message, place = [said.group(2) or ""], place + 1
    while place < len(lines) and len(message) < MESSAGE_LINES and _goes_on(lines[place], level):
        message.append(lines[place].text.strip())
        place += 1
    before = lines[start - 1].text if start else ""
    return Raised(
        type=said.group(1).rsplit(".", 1)[-1],
        message="\n".join(message).strip(),
        place=at,
        code=code,
        mild=level in ("DEBUG", "INFO", "WARNING"),
        fatal=bool(FATAL.search(before)),
    ), place


def _goes_on(line: _Line, level: str) -> bool:
    """Whether a line still belongs to the message of the exception above it."""
    text = line.text.strip()
    return line.level == level and text not in (DIRECT, DURING) and not START.search(text) and not text.startswith(ENDS)


def _indent(text: str) -> int:
    return len(text) - len(text.lstrip())


def one_line(text: str, limit: int = 400) -> str:
    """A message in one line, without what pydantic adds to its errors, cut after `limit` characters."""
    text = re.sub(r"\[type=\w+, input_value=.*", "", text)
    text = re.sub(r"\d+ validation errors? for \w+\s*(Value error, )?", "", text)
    text = re.sub(r"For further information visit \S+", "", text)
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"
