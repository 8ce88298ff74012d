"""Calls as GLM-4.5 writes them: <tool_call>NAME<arg_key>ARGUMENT</arg_key><arg_value>text</arg_value></tool_call>."""

import re

from reward.thinking import Marks
from reward.tools.call import BadCall, Call, Found
from reward.tools.spoken import calls_between_marks

FORM = "<tool_call>NAME\n<arg_key>ARGUMENT</arg_key>\n<arg_value>VALUE</arg_value>\n</tool_call>"
NAME = re.compile(r"\s*([^<\n]{1,200}?)\s*(?=[<\n]|\Z)")
PAIR = re.compile(r"<arg_key>\s*([^<\n]{1,200}?)\s*</arg_key>\s*<arg_value>")
CLOSE = re.compile(r"</tool_call>")
BEHIND = re.compile(r"\s*(?=<tool_call>|\Z)")


def find_calls(text: str, marks: Marks, opened: bool) -> list[Found]:
    """The calls of a turn; the last closing mark may be missing."""
    return calls_between_marks(text, "<tool_call>", read, marks, opened)


def read(text: str, start: int) -> tuple[list[Found], int]:
    """The call behind an opening mark, and where to go on."""
    end, go_on = end_of(text, start)
    name = NAME.match(text[start:end])
    if name is None:
        return [BadCall(why=f"no name of a tool follows <tool_call>. Write {FORM}")], go_on
    between, *parts = PAIR.split(text[start + name.end() : end])
    names, values = parts[::2], [value.rpartition("</arg_value>")[0] if "</arg_value>" in value else value for value in parts[1::2]]
    if between.strip():
        return [BadCall(why=f"behind the name {name[1]!r} stands {between.strip()[:40]!r}. Write {FORM}")], go_on
    if twice := next((one for one in names if names.count(one) > 1), None):
        return [BadCall(why=f"the argument {twice!r} is there twice. Write {FORM}")], go_on
    return [Call(name=name[1], arguments=dict(zip(names, values, strict=True)), texts=True)], go_on


def end_of(text: str, begin: int) -> tuple[int, int]:
    """Where a call ends and where to go on: its closing mark stands behind a value, or behind the name."""
    close = CLOSE.search(text, begin)
    for one in CLOSE.finditer(text, begin):
        before = text[begin : one.start()].rstrip()
        if before.endswith("</arg_value>") or "<arg_value>" not in before:
            return one.start(), one.end()
    return (close.start(), close.end()) if close else (len(text), len(text))
