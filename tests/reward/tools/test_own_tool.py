"""Which functions can be tools, and the text of what they return."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from reward.own.name import OwnCodeError
from reward.own.tool import OwnTool, text_of_result
from reward.programs.cell import run_cell
from reward.tools.call import Call
from reward.tools.formats.table import FORMATS

GOOD = 'def f(x: int) -> int:\n    """Double.\n\n    Args:\n        x: a number\n    """\n    return 2 * x\n'
REFUSED: list[tuple[str, str, str]] = [
    ("def f(x: int): ...", "f", "has no docstring"),
    ('def f(x: int):\n    """Do."""', "f", "does not describe the argument 'x'"),
    ("def g(): ...", "f", "has no 'f'; the functions of"),
    ("def f():\n    yield 1", "f", "an environment is a reward.checker"),
    ("async def f():\n    yield 1", "f", "has a `yield`, but a tool answers once"),
    ("class f: ...", "f", "has the type type, needed a function"),
    ("f = 3", "f", "has the type int, needed a function"),
    ("import nonesuch", "f", "nonesuch is not installed"),
    ("1 / 0", "f", "ZeroDivisionError"),
    ("def f(:", "f", "SyntaxError"),
]


@pytest.mark.parametrize(("source", "name", "why"), REFUSED)
def test_a_function_that_cannot_be_a_tool_is_refused(tmp_path: Path, source: str, name: str, why: str) -> None:
    (tmp_path / "toys.py").write_text(source)
    with pytest.raises(OwnCodeError, match=r"^tool ") as raised:
        OwnTool(f"{tmp_path}/toys.py:{name}").load()
    assert why in str(raised.value)


def test_a_file_or_a_module_that_is_not_there_is_named(tmp_path: Path) -> None:
    for entry, why in ((f"{tmp_path}/none.py:f", "no file"), ("nonesuch.module:f", "no module 'nonesuch'")):
        with pytest.raises(OwnCodeError, match=r"^tool ") as raised:
            OwnTool(entry).load()
        assert why in str(raised.value)


def test_methods_and_decorated_functions_are_tools(tmp_path: Path) -> None:
    source = f"import functools\nclass A:\n    {GOOD.replace(chr(10), chr(10) + '    ').replace('(x', '(self, x')}\na = A()\n"
    source += "def same(g):\n    @functools.wraps(g)\n    def h(*args, **kwargs):\n        return g(*args, **kwargs)\n    return h\n"
    source += f"@same\n{GOOD}"
    (tmp_path / "toys.py").write_text(source)
    for name in ("f", "a.f"):
        tool = OwnTool(f"{tmp_path}/toys.py:{name}")
        assert tool.call({"x": 4}) == {"result": "8"}
        assert tool.schema["function"]["parameters"]["required"] == ["x"]


def test_the_examples_of_the_docs_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[3] / "docs" / "tools.md").read_text()
    (tmp_path / "my_corpus.py").write_text(page.split("```python\n")[1].split("```")[0])
    (tmp_path / "corpus.txt").write_text("the cat\n\na dog and a cat\n\nnothing")
    monkeypatch.chdir(tmp_path)
    search = OwnTool("my_corpus.py:search")
    assert search.call({"query": "dog cat", "most": 1}) == {"result": "a dog and a cat"}
    assert search.call({"query": " "}) == {"error": "the query is empty: give words"}
    assert [*search.schema["function"]["parameters"]["properties"]] == ["query", "most"]
    example = page.split(">>> ")[1].split("```")[0]
    call, shown = example.split("\n", 1)
    (found,) = FORMATS["pythonic"].find(call, ("<think>", "</think>"), False)
    assert isinstance(found, Call)
    assert not run_cell(found.arguments["code"], {"__name__": "__main__"})
    assert capfd.readouterr().err == shown


def test_tables_of_the_docs_name_every_format() -> None:
    page = (Path(__file__).parents[3] / "docs" / "tools.md").read_text()
    for name in FORMATS:
        assert f"| `{name}` |" in page


@pytest.mark.parametrize(
    ("result", "text"),
    [("a", "a"), ("", ""), (None, ""), (1, "1"), (1.5, "1.5"), (True, "true"), ([1, None], "[1, null]"), ({"ü": (1,)}, '{"ü": [1]}'),
     (np.float32(0.5), "0.5"), (np.int64(3), "3"), (np.array(2), "2"), (Fraction(1, 2), "0.5"), (float("nan"), "NaN")],
)  # fmt: skip
def test_a_result_is_text(result: object, text: str) -> None:
    assert text_of_result(result) == text


@pytest.mark.parametrize("result", [b"x", {1, 2}, object(), np.zeros(3), [b"x"], iter([])])
def test_a_result_that_is_no_json_value_is_an_error(result: object) -> None:
    with pytest.raises(TypeError, match="needed a text or a JSON value"):
        text_of_result(result)
