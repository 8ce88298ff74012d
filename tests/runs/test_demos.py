"""The demos of several turns: both configs pass all checks before a start, and the game runs, from the environment to the transcript."""

import json
from pathlib import Path

import pytest

from cluster.commands.replay.replay import replay
from cluster.commands.validate import check
from cluster.record.capsules.read import list_capsules
from configs.loader import load
from learner.tiny.make import make_tiny
from tests.toys.drive import ROOT, driving, metrics

pytestmark = pytest.mark.end_to_end

FORM = 30  # warm-up steps after which a guess is mostly a letter


def made(folder: Path, task: str, steps: int) -> list[str]:
    """A barely warmed-up model of the task in a folder, and the overrides that name it."""
    make_tiny(folder, task=task, progress=lambda line: None, most_steps=steps)
    files = {"model.path": "model", "data.train": "train.jsonl", "data.eval": "eval.jsonl"}
    return [f"{key}={folder / name}" for key, name in files.items()]


def assert_computed_again(run: Path, model: Path) -> None:
    """Both steps of a run are the same when they are computed again from their capsules, the first one from the model too."""
    first, second = list_capsules(run)
    for found in (replay(first, model), replay(second)):
        assert [line for check in found.checks for line in check.different] == []
        assert not found.differs
        assert any(not row.sampled.all() for row in found.capsule.rows), "an environment has answered"


@pytest.fixture(scope="module")
def game(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return made(tmp_path_factory.mktemp("demos") / "game", "game", FORM)


def test_the_config_of_the_tool_passes_all_checks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    given = made(tmp_path / "tool", "tool", 1)
    assert check(load("configs/tiny_tool.toml", [*given, f"run.dir={tmp_path / 'run'}"])).lines


def test_the_game_runs_and_shows_an_episode_before_and_after(game: list[str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    few = ("rollout.groups_per_step=8", "rollout.group_size=4", "data.eval_limit=16", "run.steps=2", "run.capsule_every=1")
    with driving(["train", "configs/tiny_game.toml", *game, *few, f"run.dir={run}"], tmp_path) as driver:
        assert driver.wait() == 0, driver.text()
    said = driver.text()
    rows = [row for row in metrics(run) if row["step"]]
    assert [row["step"] for row in rows] == [1, 2]
    assert all(1 < row["turns/mean"] <= 6 and row["turns/max"] <= 6 for row in rows)
    assert all(row["tokens/environment"] > 0 and row["reward/failures"] == 0 for row in rows)
    kept = [json.loads(line) for line in (run / "responses" / "step_000001.jsonl").read_text().splitlines()]
    answered = [turn["answered"] for row in kept for turn in row.get("turns", []) if turn["answered"] is not None]
    assert set(answered) <= {"up", "down"}
    assert answered
    assert_computed_again(run, Path(game[0].partition("=")[2]))
    assert "before " in said
    assert "after " in said
