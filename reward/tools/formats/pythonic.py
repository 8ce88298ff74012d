"""Calls as Llama 4 and OLMo 3 write them: [NAME(ARGUMENT=VALUE), ...], or one call a line within <function_calls>."""

import ast
import re
from typing import Any

from reward.thinking import Marks, answer_of
from reward.tools.call import BadCall, Call, Found

FORM = "[NAME(ARGUMENT=VALUE)]"
LIST = re.compile(r"^[ \t]*\[\s*(?=[A-Za-z_][\w.-]*\s*\()", re.MULTILINE)
BLOCK = re.compile(r"<function_calls>(.*?)(?:</function_calls>|\Z)", re.DOTALL)
MARKS = re.compile(r"<\|python_(?:start|end|tag)\|>")
CONSTANTS = {"true": True, "false": False, "null": None}
LONGEST = 100_000  # characters: Python's parser takes a hundred times as much memory


def find_calls(text: str, marks: Marks, opened: bool) -> list[Found]:
    """The calls of a turn: the list that begins a line and ends the turn, behind the thoughts."""
    answer = MARKS.sub("", answer_of(text, marks, opened) or "")
    block = BLOCK.search(answer)
    if block is not None:
        lines = block[1].strip()
        return read(lines if lines.startswith("[") else f"[{joined(lines)}]") if lines else []
    begins = LIST.search(answer)
    if begins is None:
        return []
    return read(answer[begins.start() :].strip().removesuffix("```").strip())


def joined(lines: str) -> str:
    """Calls of one line each as the entries of a list. A line that begins no call goes on with the one before."""
    return re.sub(r"\)\s*\n(?=[A-Za-z_][\w.-]*\s*\()", "),\n", lines)


def read(text: str) -> list[Found]:
    """The calls of a list in Python's words."""
    if len(text) > LONGEST:
        return [BadCall(why=f"it has more than {LONGEST} characters")]
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        what = error.msg if isinstance(error, SyntaxError) else type(error).__name__
        return [BadCall(why=f"it is no list of calls in Python's words ({what}). Write {FORM}")]
    try:
        return [call_of(entry) for entry in (tree.elts if isinstance(tree, ast.List) else [tree])]
    except RecursionError:
        return [BadCall(why="it is nested too deeply")]


def call_of(node: ast.expr) -> Found:
    """One call; its values are Python's literals, and JSON's true, false and null."""
    before = ""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub):  # a name with a hyphen: find-all(x=1)
        before, node = ast.unparse(node.left).replace(" ", "") + "-", node.right
    if not isinstance(node, ast.Call):
        return BadCall(why=f"the list has an entry that is no call. Write {FORM}")
    name = before + ast.unparse(node.func)
    if node.args or any(one.arg is None for one in node.keywords):
        return BadCall(why=f"name every argument of {name}. Write {FORM}")
    try:
        return Call(name=name, arguments={str(one.arg): value_of(one.value) for one in node.keywords})
    except (ValueError, TypeError):
        return BadCall(why=f"an argument of {name} is no plain value: write texts in quotes, numbers, true, false, null, lists or dicts")


def value_of(node: ast.expr) -> Any:
    """The JSON value that a literal stands for; ValueError where it is none."""
    if isinstance(node, ast.Name) and node.id in CONSTANTS:
        return CONSTANTS[node.id]
    if isinstance(node, ast.List | ast.Tuple):
        return [value_of(one) for one in node.elts]
    if isinstance(node, ast.Dict):
        return {str(ast.literal_eval(key)): value_of(one) for key, one in zip(node.keys, node.values, strict=True) if key is not None}
    value = ast.literal_eval(node)
    if not isinstance(value, str | int | float | bool | None):
        raise ValueError(value)
    return value
