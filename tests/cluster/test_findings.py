"""What `validate` makes of errors that are no ValueErrors: a line each beside every other problem, safe for a terminal."""

from pathlib import Path

import pytest

from cluster.commands.checks.findings import Findings
from configs.errors import InputError, ModelError
from reward.own.name import OwnCodeError, OwnName
from tests.cluster.test_validate import config, model, refused, shown  # noqa: F401 - fixtures


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ModelError("no model"), "no model"),
        (ValueError("of \x1b[31ma row\nand more"), "of \\x1b[31ma row\nand more"),
        (KeyError("factor"), "KeyError: 'factor'"),
        (OSError(36, "File name too long"), "OSError: [Errno 36] File name too long"),
        (RuntimeError("first\nsecond\x07"), "RuntimeError: first\\nsecond\\x07"),
        (ZeroDivisionError("division by zero"), "ZeroDivisionError: division by zero"),
    ],
)
def test_an_error_of_what_was_given_is_a_problem_and_the_next_check_goes_on(error: Exception, said: str) -> None:
    found = Findings()
    with found.collect():
        raise error
    assert found.problems == [said]
    with pytest.raises(InputError) as refusal:
        found.refuse()
    assert isinstance(refusal.value, type(error) if isinstance(error, InputError) else InputError)


def test_names_that_the_system_refuses_are_listed_with_all_other_problems(
    capsys: pytest.CaptureFixture[str],
    config: str,  # noqa: F811
) -> None:
    bad = ("data.train=~nouser/x.jsonl", "reward.checker=~nouser/a.py:score", f"run.dir=/tmp/{'a' * 300}", "model.path=nowhere")
    _, problems = refused(capsys, config, *bad)
    assert [line[:30] for line in problems] == [
        "model.path nowhere is not a mo",
        "~nouser/x.jsonl does not exist",
        "checker '~nouser/a.py:score': ",
        f"run.dir /tmp/{'a' * 17}",
    ]


def test_a_file_that_links_to_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.py").symlink_to(tmp_path / "a.py")
    with pytest.raises(OwnCodeError, match="cannot be reached"):
        _ = OwnName.read(f"{tmp_path}/a.py:score").path


@pytest.mark.parametrize(
    ("source", "memory_mb", "said"),
    [
        ("import os\nos._exit(0)\n", 4096, "died at start"),
        ("raise ValueError('first\\n\\x1b[31msecond')\n", 4096, r"ValueError: first\n\x1b[31msecond"),
        ("buffer = bytearray(1 << 28)\n", 64, "of address space: raise it"),
    ],
)
def test_a_reward_worker_that_cannot_start_is_one_line(
    capsys: pytest.CaptureFixture[str],
    config: str,  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
    source: str,
    memory_mb: int,
    said: str,
) -> None:
    own = tmp_path_factory.mktemp("own") / "mine.py"
    own.write_text(source)
    checker = f"{own}:score"
    _, problems = refused(capsys, config, f"reward.checker={checker}", f"reward.memory_mb={memory_mb}")
    assert len(problems) == 1
    assert said in problems[0]
    assert "File " not in problems[0], "a traceback is no clear line"
