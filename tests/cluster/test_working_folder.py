"""The folder of a run: the user's code is found there by both ways to start, and a file that hides a module is named."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.working_folder import ROOT, HiddenModule, find_modules_in, refuse_hidden_modules, work_in
from tests.toys.drive import CONSOLE, MODULE

STARTS = {"module": MODULE, "console": CONSOLE}


def make(folder: Path, name: str) -> None:
    path = folder / name
    if name.endswith("/"):
        path.mkdir()
        path = path / "__init__.py"
    path.touch()


def start(how: str, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": ROOT}
    return subprocess.run([sys.executable, *STARTS[how], *words], cwd=folder, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("name", "hidden"),
    [
        ("reward.py", 'Gatewise\'s own package "reward"'),
        ("reward/", 'Gatewise\'s own package "reward"'),
        ("learner.py", 'Gatewise\'s own package "learner"'),
        ("configs.py", 'Gatewise\'s own package "configs"'),
        ("rollout/", 'Gatewise\'s own package "rollout"'),
        ("gatewise.py", 'Gatewise\'s own package "gatewise"'),
        ("math.py", 'Python\'s own module "math"'),
        ("json.py", 'Python\'s own module "json"'),
        ("random.py", 'Python\'s own module "random"'),
        ("torch.py", 'the library "torch"'),
        ("datasets/", 'the library "datasets"'),
        ("ray.cpython-311-x86_64-linux-gnu.so", 'the library "ray"'),
    ],
)
def test_what_hides_a_module_is_named_with_what_it_hides_and_what_to_do(tmp_path: Path, name: str, hidden: str) -> None:
    make(tmp_path, name)
    with pytest.raises(HiddenModule) as refused:
        refuse_hidden_modules(str(tmp_path))
    said = str(refused.value)
    assert said.startswith(f"{tmp_path / name} hides {hidden}, because Python looks into the folder of a run first: rename it (for example")
    assert "or start in another folder" in said


def test_names_that_hide_nothing_are_no_error_and_our_own_folder_hides_nothing(tmp_path: Path) -> None:
    for name in ("my_reward.py", "rewards/", "main.py", "utils.py", "reward.txt", "math.json", "test.py"):
        make(tmp_path, name)
    for name in ("configs", "datasets", "reward", "data"):
        (tmp_path / name).mkdir()  # without __init__.py
    refuse_hidden_modules(str(tmp_path))
    refuse_hidden_modules(ROOT)
    (tmp_path / "cluster").symlink_to(f"{ROOT}/cluster")
    refuse_hidden_modules(str(tmp_path))


def test_a_folder_that_is_gone_is_no_traceback(tmp_path: Path) -> None:
    with pytest.raises(HiddenModule, match=r"the current folder cannot be read .No such file or directory.: start in another one"):
        refuse_hidden_modules(str(tmp_path / "gone"))


@pytest.mark.parametrize("how", STARTS)
def test_a_command_started_beside_such_a_file_ends_with_that_message_alone(tmp_path: Path, how: str) -> None:
    for name in ("reward.py", "json.py", "random.py"):
        (tmp_path / name).write_text("raise RuntimeError('imported')\n")
    ended = start(how, tmp_path, "rewards", "check", "none.jsonl")
    assert (ended.returncode, ended.stdout) == (1, "")
    (said,) = ended.stderr.splitlines()
    assert said.startswith(f"gatewise: HiddenModule: {tmp_path}/json.py hides Python's own module")
    assert f"{tmp_path}/reward.py hides Gatewise's own package" in said


@pytest.mark.parametrize(("how", "checker"), [("module", "my_reward.py:score"), ("console", "my_reward:score")])
def test_a_function_in_the_current_folder_is_found_by_both_ways_to_start(tmp_path: Path, how: str, checker: str) -> None:
    (tmp_path / "reward").mkdir()
    (tmp_path / "helper.py").write_text("RIGHT = 1.0\n")
    text = "import helper\ndef score(response, reference):\n    return helper.RIGHT * (response == str(reference))\n"
    (tmp_path / "my_reward.py").write_text(text)
    (tmp_path / "rows.jsonl").write_text('{"answer": 42}\n{"answer": "x"}\n')
    ended = start(how, tmp_path, "rewards", "check", "rows.jsonl", "--checker", checker, "--workers", "1")
    assert ended.stdout == "2 rows of rows.jsonl: 2 passed (100.00 %), 0 failed, 0 have no gold answer\n", ended.stderr


def test_an_actor_works_in_the_drivers_folder_where_its_node_has_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path)
    work_in(str(tmp_path / "elsewhere"))
    assert (os.getcwd(), sys.path[-1]) == (str(tmp_path), str(tmp_path))
    work_in(str(tmp_path / "here"))
    assert (os.getcwd(), sys.path[-1]) == (str(tmp_path / "here"), str(tmp_path / "here"))
    before = len(sys.path)
    find_modules_in(str(tmp_path))
    assert len(sys.path) == before, "once is enough"
