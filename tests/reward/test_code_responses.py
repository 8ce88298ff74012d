"""Where the program stands in a response: fences as people and models write them, tags, plain text."""

import pytest

from reward.programs.response import find_program

CODE = 'def inc(x):\n    """Add one."""\n    return x + 1\n'
INDENTED = "".join(f"   {line}\n" for line in CODE.splitlines())
USE = "```python\nprint(inc(1))\n```\n"


@pytest.mark.parametrize(
    "response",
    [
        f"{CODE}```\nThis adds one.",
        f"{CODE}```",
        f"{CODE}```\nUse it:\n{USE}Output:\n```\n2\n```\n",
        f"1. Step:\n   ```python\n{INDENTED}   ```\n",
        f"1. Step:\n   ```python\n{CODE}   ```\n",
        f"- ```python\n{INDENTED}  ```\n",
        "> Code:\n> ```python\n" + "".join(f"> {line}\n" for line in CODE.splitlines()) + "> ```\n",
        f"```python\n{INDENTED}```\n",
        f"~~~python\n{CODE}~~~",
        f"~~~\n{CODE}~~~",
        f"````python\n{CODE}````",
        f'```python title="x.py"\n{CODE}```',
        f"```{{.python}}\n{CODE}```",
        f"```{{.python .numberLines}}\n{CODE}```",
        f"```{{python}}\n{CODE}```",
        f"```py3\n{CODE}```",
        f"```Python\n{CODE}```",
        f"``` python3\n{CODE}```",
        f"```python3.11\n{CODE}```",
        f"```python:main.py\n{CODE}```",
        f"```python\n{CODE}",
        f"```python\n{CODE.rstrip()}```",
        f"```python\n{CODE}```Done.",
        f"```python\n{CODE}```\n{USE}",
        f"```python\n{CODE}{USE}",
        f"```python\n{CODE}```\nRun it:\n```bash\npython inc.py\n```\nIt prints:\n```text\n2\n```",
        f"```\n{CODE}```\n```bash\npython inc.py\n```\n```\n2\n```",
        f"```pycon\n>>> inc(1)\n2\n```\n```python\n{CODE}```",
        f"Use `inc` or ```inc``` like this:\n```python\n{CODE}```",
        f"```python\ndef inc(x):\n    return x\n```\nNo, that is wrong:\n```python\n{CODE}```",
        f"Here is the code:\n\n{CODE}\nThis adds one to its argument.",
        f"Sure!\n[PYTHON]\n{CODE}[/PYTHON]\nDone.",
        f"<code>\n{CODE}</code>",
        f'<code class="python">\n{CODE}',
        f"<answer>\n```python\n{CODE}```\n</answer>",
        f"<answer>```python\n{CODE}```</answer>",
        f"Solution: ```python\n{CODE}```",
        f"**Code** (with `inc`):```py\n{CODE}```\n{USE}",
        f"{CODE.rstrip()}```",
        f"{CODE.rstrip()}```\nThis adds one.",
        CODE,
    ],
)
def test_a_program_is_found_however_it_is_marked(response: str) -> None:
    for text in (response, response.replace("\n", "\r\n")):
        assert [line.rstrip() for line in find_program(text, ["inc"]).splitlines() if line.strip()] == CODE.splitlines()


def test_marks_in_a_string_of_the_program_do_not_end_it() -> None:
    program = 'def inc(x):\n    """Add.\n\n```\n>>> inc(1)\n```\n    """\n    return x + 1\n'
    assert find_program(f"```python\n{program}```\n") == program
    noted = f"# as in the first ```python\n{CODE}"
    assert find_program(f"```python\n{noted}```\n") == noted


def test_a_block_without_the_functions_of_the_tests_loses_to_one_with_them() -> None:
    first, last = "def inc(x):\n    return x\n", "def inc(x):\n    return x + 1\n"
    assert find_program(f"```python\n{first}```\n```python\n{last}```\n{USE}", ["inc"]) == last
    assert find_program(f"```python\n{last}```\n```python\n{first}```\n{USE}", ["inc"]) == first
    assert find_program(f"```python\n{last}```\n{USE}") == "print(inc(1))\n"


@pytest.mark.parametrize(
    "program", ["x = '''\nHere it is.\n'''", "#!/usr/bin/env python\nprint(1)\n", "# A comment.\nprint(1)", "I cannot.", ""]
)
def test_a_response_without_marks_is_the_program(program: str) -> None:
    assert find_program(program) == program


@pytest.mark.timeout(5)
@pytest.mark.parametrize(
    "response", ["`" * 200_000, "```\n" * 50_000, "```python\n'''\n" * 20_000, "<code>" * 50_000, "- " * 100_000 + "```", "A " * 100_000]
)
def test_a_long_response_is_read_in_no_time(response: str) -> None:
    find_program(response, ["f"])
