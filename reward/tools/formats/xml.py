"""Calls as Qwen3-Coder writes them: <tool_call><function=NAME><parameter=ARGUMENT>text</parameter></function></tool_call>."""

import re

from reward.thinking import Marks
from reward.tools.call import BadCall, Call, Found
from reward.tools.spoken import calls_between_marks

FORM = "<tool_call>\n<function=NAME>\n<parameter=ARGUMENT>\nVALUE\n</parameter>\n</function>\n</tool_call>"
FUNCTION = re.compile(r"\s*<function=\s*([^>\n]{1,200}?)\s*>")
PARAMETER = re.compile(r"<parameter=\s*([^>\n]{1,200}?)\s*>")
CLOSE = re.compile(r"</function>")
BEHIND = re.compile(r"\s*(?:</tool_call>|(?=<tool_call>|<function=)|\Z)")


def find_calls(text: str, marks: Marks, opened: bool) -> list[Found]:
    """The calls of a turn. The model may leave out <tool_call> and the last closing marks."""
    return calls_between_marks(text, r"<tool_call>|(?=<function=)", read, marks, opened)


def read(text: str, start: int) -> tuple[list[Found], int]:
    """The call behind an opening mark, and where to go on."""
    function = FUNCTION.match(text, start)
    if function is None:
        end = text.find("</tool_call>", start)
        where = end + len("</tool_call>") if end >= 0 else len(text)
        return [BadCall(why=f"no <function=NAME> follows <tool_call>. Write {FORM}")], where
    end, go_on = end_of(text, function.end())
    _, *parts = PARAMETER.split(text[function.end() : end])
    names, values = parts[::2], [value_of(part) for part in parts[1::2]]
    if twice := next((name for name in names if names.count(name) > 1), None):
        return [BadCall(why=f"the parameter {twice!r} is there twice. Write {FORM}")], go_on
    return [Call(name=function[1], arguments=dict(zip(names, values, strict=True)), texts=True)], go_on


def end_of(text: str, begin: int) -> tuple[int, int]:
    """Where a function's parameters end and where to go on. A closing mark with text behind it belongs to a value, if another comes."""
    first: tuple[int, int] | None = None
    for close in CLOSE.finditer(text, begin):
        behind = BEHIND.match(text, close.end())
        if behind is not None:
            return close.start(), behind.end()
        first = first or (close.start(), close.end())
    return first or (len(text), len(text))


def value_of(part: str) -> str:
    """The text of a parameter without the line breaks that its marks stand on."""
    value = part.rpartition("</parameter>")[0] if "</parameter>" in part else part
    return value.removeprefix("\n").removesuffix("\n")
