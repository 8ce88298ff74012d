"""A function of the user's, in a file or a module: what it may be and return, and what each common mistake is met with."""

import sys
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from reward.checkers import load_checker
from reward.number import number_of
from reward.own.function import OwnFunction
from reward.own.name import OwnCodeError
from reward.programs.limits import CodeLimits

GOOD = "def score(response, reference):\n    return float(response == reference)\n"


@pytest.fixture(autouse=True)
def imports_are_undone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    yield
    for name in set(sys.modules) - before:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


def load(name: str) -> OwnFunction:
    score = load_checker(name, CodeLimits())
    assert isinstance(score, OwnFunction)
    return score


def write(path: str, text: str) -> Path:
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def test_a_file_is_found_however_its_path_is_written_and_imported_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write("rewards/mine.py", f"print('once')\n{GOOD}")
    monkeypatch.setenv("HOME", str(tmp_path))
    names = ["rewards/mine.py:score", "./rewards/../rewards/mine.py:score", f"{tmp_path}/rewards/mine.py:score", "~/rewards/mine.py:score"]
    assert [load(name)("4", "4") for name in names] == [1.0] * 4
    assert len([name for name in sys.modules if name.startswith("own_mine_")]) == 1


def test_files_of_one_name_do_not_clash_and_hide_nothing_of_ours() -> None:
    for folder, reward in (("a", 0.25), ("b", 0.5)):
        for name in ("reward", "json", "score"):
            write(f"{folder}/{name}.py", f"def score(response, reference):\n    return {reward}\n")
    for name in ("reward", "json", "score"):
        assert (load(f"a/{name}.py:score")("", ""), load(f"b/{name}.py:score")("", "")) == (0.25, 0.5)
    import json

    import reward.checkers

    assert not any(Path(module.__file__).is_relative_to(Path.cwd()) for module in (json, reward.checkers))


def test_helpers_beside_the_file_are_found_at_its_import_and_at_a_call() -> None:
    write("own/parts.py", "HALF = 0.5\n")
    write("own/later.py", "QUARTER = 0.25\n")
    write("own/mine.py", "from parts import HALF\ndef score(response, reference):\n    import later\n    return HALF + later.QUARTER\n")
    assert load("own/mine.py:score")("", "") == 0.75


def test_what_may_be_called_is_called() -> None:
    write(
        "mine.py",
        """
import functools
class Scorer:
    def __init__(self): self.calls = 0
    def __call__(self, response, reference): self.calls += 1; return self.calls
    def method(self, response, reference): return 0.5
keeps = Scorer()
short = lambda response, reference: len(response)
def three(weight, response, reference): return weight
half = functools.partial(three, 0.5)
def more(response, reference=None, *rest, **options): return 1
def wraps(function):
    @functools.wraps(function)
    def inside(*arguments): return function(*arguments)
    return inside
@wraps
def wrapped(response, reference): return 0.125
""",
    )
    names = ("keeps", "keeps.method", "short", "half", "more", "wrapped")
    assert [load(f"mine.py:{name}")("ab", None) for name in names] == [1.0, 0.5, 2.0, 0.5, 1.0, 0.125]
    scorer = load("mine.py:keeps")
    assert [scorer("", None) for _ in range(2)] == [2.0, 3.0], "an object stays the same between calls"


NUMBERS = (
    1,
    0.5,
    True,
    False,
    Fraction(1, 2),
    Decimal("0.5"),
    np.float32(0.5),
    np.int64(1),
    np.bool_(True),
    np.array(0.5),
    torch.tensor(0.5),
)


@pytest.mark.parametrize("value", NUMBERS, ids=lambda value: type(value).__name__)
def test_any_single_number_is_a_reward(value: object) -> None:
    found = number_of(value)
    assert (type(found), found) == (float, float(value))  # type: ignore[arg-type]


async def coroutine() -> float:
    return 1.0


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "returned None, needed a number: some way through it ends without `return`"),
        ("1.0", "returned str '1.0', needed a number: return the number itself, not its text"),
        ((1.0, "why"), "returned tuple (1.0, 'why'), needed a number: it scores one response a call"),
        ([1.0], "returned list [1.0], needed"),
        ({"score": 1.0}, "returned dict {'score': 1.0}, needed"),
        (1j, "returned complex 1j, needed a number: return a float"),
        (10**400, "returned int above 1.8e308, needed a number that a float can hold"),
        (np.ones(3), "returned ndarray of shape (3,), needed a number: return a float; of an array, its mean"),
        (torch.ones(1, 2), "returned Tensor of shape (1, 2), needed a number"),
        (coroutine, "returned coroutine <coroutine object coroutine"),
        ((n for n in [1]), "needed a number: a function that is an environment has the `yield` itself"),
    ],
)
def test_what_is_no_number_is_described_with_what_to_do(value: object, said: str) -> None:
    with pytest.raises(TypeError) as raised:
        number_of(coroutine() if value is coroutine else value)
    assert said in str(raised.value)


MISTAKES = {
    "def scor(r, f): return 1\nclass Other: ...\n": "the functions of mine.py are Other, scor; did you mean mine.py:scor?",
    "": "the functions of mine.py are none",
    "score = 1.0": "has the type float, needed a function",
    "class score:\n    def __init__(self, a, b): ...": "is a class, and to call it makes an object",
    "def score(source, answer, truth, e=None): return 1": "takes (source, answer, truth, e=None), but no field is called 'truth'",
    "def score(data_source, solution_str, ground_truth, extra_info): return 1": "called 'ground_truth'; did you mean reference?",
    "def score(response, reference, *, tokenizer): return 1": "but no field is called 'tokenizer'; did you mean tokens?",
    "def score(response, level): return 1\ndef other(): ...\nscore = lambda response, row, level: 1": 'data.keep_fields = ["level"]',
    "def score(): return 1": "takes (), needed a parameter that gets the response: write (response, reference)",
    "def score(**options): return 1": "takes (**options), needed a parameter that gets the response",
    "def score(x=1, response=2, *, y): return 1": "no field is called 'y'",
    "class Scorer:\n    def __call__(self, response, reference, model): ...\nscore = Scorer()": "no field is called 'model'",
    "import functools\n@functools.partial\ndef score(response, reference, model, /): ...": "no field is called 'model'",
    "import functools\ndef wrap(f):\n    @functools.wraps(f)\n    def inside(*a): return f(*a)\n    return inside\n"
    "@wrap\ndef score(response, *, row): ...": "its decorator takes (*a), to which response, row cannot be passed",
    "async def score(response, reference): yield 1": "is an async generator: write an environment with `def`",
    "def score(response, reference): return 1\nscore.gold = 'yes'": "brings gold, a str, needed a function of (reference)",
    "def score(response, reference): return 1\nscore.warm_up = ['4']": "brings warm_up, a list, needed a function without parameters",
    "def score(response, reference): return 1\n\nscore.warm_up = lambda: 1 / 0": "ZeroDivisionError: division by zero ({file}:3",
    "def score(said, reference, tokens): yield 'a'": "and tokens cannot be known before the episode is over: remove",
    "def score(said, truth, *, group, seed=1): yield 'a'": "an environment may ask for said, reference, prompt, question, row, index, seed",
    "def score(said, reference, seeds): yield 'a'": "no field is called 'seeds'; did you mean seed? a function gets",
    "def score(said, reference, responses): yield 'a'": "no field is called 'responses'; a function gets",
    "from gatewise import held\n@held\ndef score(response, reference): return 1": "is marked with @held, but has no `yield`",
    "import pandas_of_nobody\n": "named 'pandas_of_nobody' ({file}:1 in <module>): pandas_of_nobody is not installed for",
    "\nfrom . import other\n": "({file}:2 in <module>): a file that is named by its path is in no package; write `import x`",
    "\n\ndef score(response, reference)\n    return 1": "{file}:3: SyntaxError: expected ':': `def score(response, reference)`",
    "if True:\nx = 1": "{file}:2: IndentationError: expected an indented block",
    "import sys\nsys.exit('usage: mine FILE')": "SystemExit: usage: mine FILE ({file}:2 in <module>): it calls sys.exit when",
    "def read():\n    return open('words.txt')\nwords = read()": "No such file or directory: 'words.txt' ({file}:2 in read)",
    "import os\nkey = os.environ['A_KEY_OF_MINE']": "'A_KEY_OF_MINE' ({file}:2 in <module>): reward workers see only the variables",
    "raise MemoryError": "({file}:1 in <module>): a worker may use reward.memory_mb of address space: raise it",
    "raise ImportError('libcudnn.so: failed to map segment from shared object')": "a worker may use reward.memory_mb",
    "import email\n": "imports email, and {folder}/email.py lies beside it, but Python finds",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_file_that_cannot_be_used_is_met_with_its_line_and_what_to_do(text: str, tmp_path: Path) -> None:
    file = write("mine.py", text)
    write("email.py", "")
    with pytest.raises(OwnCodeError, match=r"^checker 'mine\.py:score'") as refused:
        load("mine.py:score")
    assert MISTAKES[text].format(file=file.absolute(), folder=tmp_path) in str(refused.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("rewards/nine.py:score", "no file {here}/rewards/nine.py on "),
        ("rewards/nine.py:score", "; {here}/rewards has mine.py. A relative path starts at the folder where the run was started."),
        ("/nowhere/mine.py:score", "put it into the folder that `ray job submit --working-dir` ships"),
        ("folder.py:score", "{here}/folder.py is a folder: name a .py file in it"),
        (
            "my_rewards:score",
            "there is no module 'my_rewards', neither in {here} nor on PYTHONPATH nor installed; did you mean my_reward:score?",
        ),
        ("unlike.anything:score", "there is no module 'unlike', neither in {here}"),
        ("reward.mine:score", "'reward' is Gatewise's own package: name your file by its path, such as reward/mine.py:score"),
        ("reward:score", "reward has no 'score'; 'reward' is Gatewise's own package: name your file by its path, such as reward.py:score"),
    ],
)
def test_a_place_without_code_is_met_with_where_it_was_looked_for(name: str, said: str, tmp_path: Path) -> None:
    write("rewards/mine.py", GOOD)
    write("my_reward.py", GOOD)
    Path("folder.py").mkdir()
    with pytest.raises(OwnCodeError) as refused:
        load(name)
    assert said.format(here=tmp_path) in str(refused.value)


def test_two_folders_whose_helpers_share_a_name_are_refused_instead_of_mixed_up() -> None:
    for folder in ("a", "b"):
        write(f"{folder}/shared_helper.py", f"NAME = {folder!r}\n")
        write(f"{folder}/mine.py", f"import shared_helper\n{GOOD}")
    load("a/mine.py:score")
    with pytest.raises(
        OwnCodeError, match=r"imports shared_helper, and .*/b/shared_helper\.py lies beside it, but Python finds .*/a/shared_helper\.py"
    ):
        load("b/mine.py:score")


def test_a_file_that_failed_is_imported_anew_once_it_is_right() -> None:
    write("mine.py", "raise ValueError('not yet')\n")
    with pytest.raises(OwnCodeError, match="not yet"):
        load("mine.py:score")
    write("mine.py", GOOD)
    assert load("mine.py:score")("4", "4") == 1.0


def test_an_error_of_a_call_names_the_innermost_line_of_the_users_own_file() -> None:
    text = (
        "import json\ndef parse(text):\n    return json.loads(text)\ndef score(response, reference):\n    return parse(response)['score']\n"
    )
    file = write("mine.py", text)
    score = load("mine.py:score")
    with pytest.raises(ValueError, match="Expecting value") as raised:
        score("no JSON", None)
    said = score.describe(raised.value)
    assert said == f"JSONDecodeError: Expecting value: line 1 column 1 (char 0) ({file.absolute()}:3 in parse)"


@pytest.mark.parametrize("second", ["ValueError", "SystemExit"])
def test_an_error_whose_text_cannot_be_had_still_has_its_type_and_line(second: str, capfd: pytest.CaptureFixture[str]) -> None:
    text = f"class Odd(Exception):\n    def __str__(self): raise {second}\n\n\ndef score(response, reference):\n    raise Odd\n"
    own = load(f"{write('odd.py', text)}:score")
    with pytest.raises(Exception) as caught:  # noqa: PT011
        own("1", "1")
    assert f"Odd: its text cannot be had, because its __str__ raised {second}" in own.describe(caught.value)
    assert "odd.py:6 in score" in own.describe(caught.value)
    own.report(caught.value, "1")
