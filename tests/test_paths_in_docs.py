"""README and docs against the code: paths, links, modules, targets and commands exist, and every command is run by a test or listed.

pytest tests/test_paths_in_docs.py
"""

import importlib.util
import itertools
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Qwen3MoeForCausalLM

from cluster.cli import main, read_words
from configs.loader import load
from tests.toys.model import tiny_config, toy_tokenizer

ROOT = Path(__file__).resolve().parents[1]
PAGES = {str(path.relative_to(ROOT)): path.read_text() for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))}
OTHERS = {name: (ROOT / name).read_text() for name in ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md") if (ROOT / name).exists()}
FOLDERS = "configs|rollout|reward|learner|cluster|gatewise|examples|tests|benchmarks|docs|requirements"
PROGRAMS = (
    "make",
    "python",
    ".venv/bin/python",
    "gatewise",
    ".venv/bin/gatewise",
    "ray",
    "sbatch",
    "kubectl",
    "docker",
    "export",
    "pip",
    "cat",
)
TINY = "configs/tiny_cpu.toml"

# By the beginning of a command. Tests run commands with settings of their own, on the tiny model.
TESTED = {
    "python -m cluster train": "tests/runs/test_runs.py",
    "python -m cluster validate": "tests/cluster/test_cli.py",
    "python -m cluster evaluate": "tests/runs/test_runs.py",
    "python -m cluster export": "tests/runs/test_runs.py",
    "python -m cluster doctor": "tests/cluster/test_doctor_command.py",
    "python -m cluster init": "tests/cluster/test_init.py",
    "python -m cluster selfcheck": "tests/runs/test_selfcheck.py",
    "python -m cluster engines": "tests/cluster/test_engines_command.py",
    "gatewise engines": "tests/cluster/test_engines_command.py",
    "gatewise selfcheck": "tests/runs/test_selfcheck.py",
    "gatewise audit": "tests/cluster/test_audit_command.py",
    "gatewise rewards check": "tests/cluster/test_rewards_cli.py",
    "gatewise rewards audit": "tests/cluster/test_rewards_cli.py",
    "gatewise play": "tests/cluster/test_play_command.py",
    "ray start": "tests/runs/test_jobs.py",
    "ray job submit": "tests/runs/test_jobs.py",
    "export RAY_AUTH_MODE=token": "tests/runs/test_jobs.py",  # as a variable of the process, not of a shell
    "python -m tests.toys.simulated_cluster": "tests/runs/test_simulated_cluster.py",
    "export RAY_ADDRESS=auto": "tests/cluster/test_doctor_command.py",
    "cat": "tests/test_paths_in_docs.py",
    "python -c": "tests/test_paths_in_docs.py",
}
NEEDS = {
    "make": "a network at its first call, then minutes; `make test` is what CI runs, and the tests call what its targets call",
    "python -m pytest": "nothing: it is how tests are run",
    "python -m configs.document": "a page to write; a test compares what it would write",
    "python -m configs.memory": "recipes and a page to write; a test compares what it would write",
    "python -m benchmarks": "minutes to hours on a quiet machine",
    "python -m compileall": "packages to compile; it is Python's own",
    "pip install": "a network and a GPU node",
    "ray start --address": "a second machine",
    "ray get-auth-token": "a home directory that a test must not write to",
    "ray job stop": "a cluster with a job",
    "ray job logs": "a cluster with a job",
    "ray symmetric-run": "a second machine; it ends every Ray of this one",
    "sbatch": "Slurm; tests/cluster/test_slurm.py runs the script with stand-ins for its commands",
    "kubectl": "a Kubernetes cluster",
    "docker build": "Docker and a network",
    "python -m cluster train configs/qwen3_30b_a3b_gspo.toml": "GPUs",
    "python -m cluster validate configs/qwen3_30b_a3b_gspo.toml": "the model's folder; a test loads the recipe",
}


def expand(path: str) -> list[str]:
    """Every path that one with {a,b} in it stands for."""
    parts = [part.split(",") for part in re.split(r"[{}]", path)]
    return ["".join(choice) for choice in itertools.product(*parts)]


@pytest.mark.parametrize("page", PAGES)
def test_every_path_in_the_docs_exists(page: str) -> None:
    named = re.findall(rf"(?<![\w/.:-])(?:{FOLDERS})/[\w{{}},*./-]*(?:/|\.(?:py|toml|md|json|png|yaml|txt|in|ipynb))(?![\w*])", PAGES[page])
    paths = sorted({path for found in named for path in expand(found) if "NAME" not in path})
    assert [path for path in paths if not any(ROOT.glob(path.rstrip("/")))] == []


def anchors(text: str) -> set[str]:
    """What a page's headings are called in links."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES | OTHERS)
def test_every_link_leads_to_a_page_and_a_heading(page: str) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", (PAGES | OTHERS)[page]):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, anchor = target.partition("#")
        there = (ROOT / page).parent / path if path else ROOT / page
        inside = "/" not in page or (ROOT / "docs") in there.resolve().parents
        if not inside or not there.exists() or (anchor and anchor not in anchors(there.read_text())):
            broken.append(target)
    assert broken == []


def commands(page: str) -> Iterator[str]:
    """Every command that a page gives, in a block or in a line, without comments and without the files that it writes."""
    block = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
    for language, body in block.findall(PAGES[page]):
        if language in ("", "bash", "sh"):
            lines = re.sub(r"<<'END'\n.*?^END$", "", body, flags=re.MULTILINE | re.DOTALL).replace("\\\n", " ").splitlines()
            yield from (plain(line) for line in lines if line.split()[:1] and line.split()[0] in PROGRAMS)
    for span in re.findall(r"(?<!`)`([^`\n]+)`(?!`)", block.sub("", PAGES[page])):
        words = span.split()
        mention = (
            len(words) < 2 or words[0] in ("export", "cat") or words[1] in ("COMMAND", "…", "-I") or "COMMAND" in words
        )  # of no command
        if not mention and words[0] in PROGRAMS:
            yield plain(span)


def plain(line: str) -> str:
    """A command with one space between words, without its comment and its folder."""
    return " ".join(re.sub(r"\s+#\s.*$", "", line).split()).removeprefix(".venv/bin/")


COMMANDS = sorted({command for page in PAGES for command in commands(page)})


def after_submission(command: str) -> str:
    """The command that a job runs."""
    return plain(command.partition(" -- ")[2])


INNER = sorted(
    {*COMMANDS, *(after_submission(command) for command in COMMANDS if command.startswith("ray job submit ") and " -- " in command)}
)


@pytest.mark.parametrize("command", INNER)
def test_every_command_in_the_docs_is_run_by_a_test_or_listed_with_its_need(command: str) -> None:
    known = [start for start in (*TESTED, *NEEDS) if re.match(rf"{re.escape(start)}(\W|$)", command)]
    assert known, f"add {command!r} to TESTED with the test that runs it, or to NEEDS with what keeps a test from running it"


@pytest.mark.parametrize("start", TESTED)
def test_a_test_that_is_said_to_run_a_command_names_it(start: str) -> None:
    if start in ("cat", "python -c"):
        return
    last = start.split()[-1].partition("=")[0]  # in test_jobs.py as words of a list
    helpers = (ROOT / "tests/toys/drive.py").read_text() if TESTED[start].startswith("tests/runs/") else ""
    assert f'"{last}"' in (ROOT / TESTED[start]).read_text() + helpers


@pytest.mark.parametrize("command", INNER)
def test_every_module_and_target_exists(command: str) -> None:
    words = shlex.split(command)
    if words[0] == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert words[1] in targets
    if words[:2] == ["python", "-m"]:
        assert importlib.util.find_spec(words[2]) is not None
        assert [word for word in words if word.endswith(".py") and not (ROOT / word).exists()] == []


def settings(command: str) -> list[str]:
    """The arguments of `gatewise` in a command; empty where it calls something else."""
    words = shlex.split(command)
    if words[0] == "gatewise":
        return words[1:]
    if words[:3] == ["python", "-m", "cluster"]:
        return words[3:]
    if words[:2] == ["make", "train"]:
        given = dict(word.split("=", 1) for word in words[2:])
        return ["train", given.get("CONFIG", TINY), *shlex.split(given.get("SET", ""))]
    return []


@pytest.mark.parametrize("command", [command for command in INNER if settings(command)])
def test_every_command_line_parses_and_its_settings_make_a_config(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    if re.fullmatch(r"(python -m cluster|gatewise)( [a-z]+)+", command):
        return  # the name alone, in a sentence
    asked = read_words(settings(command))
    if getattr(asked, "config", None):
        load(asked.config if Path(asked.config).exists() else TINY, asked.overrides)


def test_the_ten_lines_of_the_readme_are_valid_word_for_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The two files as a shell writes them, then the command as `validate`, with a toy in the tiny model's place."""
    (block,) = [body for body in re.findall(r"```bash\n(.*?)```", PAGES["README.md"], re.DOTALL) if "my_reward" in body]
    files, _, command = block.partition(".venv/bin/python")
    subprocess.run(["bash", "-euc", files], cwd=tmp_path, check=True)
    torch.manual_seed(0)
    Qwen3MoeForCausalLM(tiny_config()).save_pretrained(tmp_path / "model")
    toy_tokenizer().save_pretrained(tmp_path / "model")
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    words = shlex.split(command.replace("\\\n", " "))
    assert words[:3] == ["-m", "cluster", "train"]
    main(["validate", *words[3:], f"model.path={tmp_path / 'model'}"])
    assert "rewards: my_reward.py:score" in capsys.readouterr().out


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.startswith("python -c")])
def test_every_line_of_python_that_reads_a_run_reads_one(command: str, tmp_path: Path) -> None:
    run = tmp_path / "runs/NAME"
    run.mkdir(parents=True)
    (run / "metrics.jsonl").write_text(json.dumps({"step": 1, "reward/mean": 0.5, "mismatch/max": 1e-6}) + "\n")
    np.savez(run / "experts.npz", steps=np.array([1]), counts=np.ones((1, 2, 8), np.int64))
    _, *words = shlex.split(command)
    done = subprocess.run([sys.executable, *words], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("1 ")
