"""Calls as Qwen2.5, Qwen3 and Hermes write them: <tool_call>{"name": ..., "arguments": {...}}</tool_call>."""

import re

from reward.thinking import Marks
from reward.tools.call import BadCall, Found
from reward.tools.json_call import calls_of, read_object
from reward.tools.spoken import calls_between_marks

FORM = '<tool_call>{"name": "NAME", "arguments": {"ARGUMENT": VALUE}}</tool_call>'
SPACE = re.compile(r"\s*")
FENCE = re.compile(r"\s*```(?:json)?\s*")
END = re.compile(r"</tool_call>")
STOP = re.compile(r"</?tool_call>")


def find_calls(text: str, marks: Marks, opened: bool) -> list[Found]:
    """The calls of a turn. A mark within a JSON text is text; the last closing mark may be missing."""
    return calls_between_marks(text, "<tool_call>", read, marks, opened)


def read(text: str, start: int) -> tuple[list[Found], int]:
    """The calls behind an opening mark, and where to go on."""
    fenced = FENCE.match(text, start)
    begin = (fenced or SPACE.match(text, start)).end()  # type: ignore[union-attr]
    try:
        value, end = read_object(text, begin)
    except ValueError as error:
        return [BadCall(why=f"{error}. Write {FORM}")], behind(text, start)
    close = END.search(text, end)
    rest = text[end : close.start() if close else len(text)].strip().strip("`").strip()
    if rest and (close or not calls_of(value)):
        return [BadCall(why=f"behind the JSON object stands {rest[:40]!r}. Write {FORM}")], close.end() if close else len(text)
    return calls_of(value), close.end() if close else end


def behind(text: str, start: int) -> int:
    """Where to go on behind a call that cannot be read: its closing mark, or the next opening one."""
    stop = STOP.search(text, start)
    if stop is None:
        return len(text)
    return stop.end() if stop[0] == "</tool_call>" else stop.start()
