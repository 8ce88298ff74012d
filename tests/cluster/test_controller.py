"""The real controller, window, ledger, metrics and checkpoints over toy engines, learners and publisher."""

import json
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cluster.causes.cause import find_cause
from cluster.record.ledger import Ledger
from tests.toys.controller import STEPS, train


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Any], list[dict[str, float]]]:
    """What a synchronous run learns that nothing disturbs. By the first test below it is the same at every timing."""
    return train(tmp_path_factory.mktemp("straight"), 1)


@pytest.mark.parametrize("dynamic", [True, False])
@pytest.mark.parametrize("sampler", ["difficulty", "uniform"])
def test_a_synchronous_run_repeats_whatever_the_timing_and_wherever_it_was_cut(tmp_path: Path, sampler: str, dynamic: bool) -> None:
    straight = train(tmp_path / "straight", 0, sampler=sampler, dynamic=dynamic)
    assert any(key.startswith("sampler/") for key in straight[1][0]) == (sampler == "difficulty")
    assert ("rejected" in {outcome for _, _, outcome, _ in straight[0]}) == dynamic
    for timing in (1, 2):
        assert train(tmp_path / f"timing-{timing}", timing, sampler=sampler, dynamic=dynamic) == straight
    for cut in (3, 15):
        shutil.copytree(tmp_path / "straight", tmp_path / f"cut-{cut}")
        assert train(tmp_path / f"cut-{cut}", cut, resume=cut, sampler=sampler, dynamic=dynamic) == straight


@pytest.mark.parametrize("staleness", [1, 2, 4])
def test_a_run_that_runs_ahead_keeps_its_bound_and_its_accounts_when_continued(tmp_path: Path, staleness: int) -> None:
    for timing in (0, 1):
        rows, lines = train(tmp_path / f"{timing}", timing, staleness=staleness)
        assert len(lines) == STEPS
        assert sum(outcome == "learned" for _, _, outcome, _ in rows) == STEPS * 4
        rows, _ = train(tmp_path / f"{timing}", timing + 50, resume=9, staleness=staleness)
        assert sum(outcome == "learned" for _, _, outcome, _ in rows) == STEPS * 4
        assert json.loads((tmp_path / f"{timing}" / "checkpoints" / "step_000018" / "state.json").read_text())["position"]["step"] == STEPS


@pytest.mark.parametrize(("sampler", "dynamic"), [("uniform", True), ("difficulty", True), ("uniform", False)])
def test_a_mix_of_sources_repeats_whatever_the_timing_and_wherever_it_was_cut(tmp_path: Path, sampler: str, dynamic: bool) -> None:
    sources = {"soft": {"path": "s", "share": 1}, "hard": {"path": "h", "share": 3}}
    straight = train(tmp_path / "straight", 0, sampler=sampler, dynamic=dynamic, sources=sources)
    assert train(tmp_path / "other", 1, sampler=sampler, dynamic=dynamic, sources=sources) == straight
    for cut in (3, 15):
        shutil.copytree(tmp_path / "straight", tmp_path / f"cut-{cut}")
        assert train(tmp_path / f"cut-{cut}", cut, resume=cut, sampler=sampler, dynamic=dynamic, sources=sources) == straight
    last = straight[1][-1]
    assert last["source/hard/groups"] + last["source/soft/groups"] == 4
    assert last["source/hard/share"] == last["source/hard/groups"] / 4
    if not dynamic:
        assert {line["source/hard/groups"] for line in straight[1]} == {3.0}
        assert last["source/hard/epochs"] == STEPS * 3 / 8


@pytest.mark.parametrize(("stage", "last"), [("generate", 7), ("learn", 8), ("publish", 8), ("save", 6)])
@pytest.mark.parametrize("staleness", [0, 1])
def test_a_stopped_run_saves_the_newest_learned_step_and_loses_nothing(
    tmp_path: Path, straight: tuple[list[Any], list[dict[str, float]]], stage: str, last: int, staleness: int
) -> None:
    """A stop waits for the update of its step, or for the save, and never for generation."""
    _, lines = train(tmp_path / "cut", 0, staleness=staleness, stop_in=(stage, 6 if stage == "save" else 8))
    assert [line["step"] for line in lines] == list(range(1, last + 1))
    assert (tmp_path / "cut" / "checkpoints" / f"step_{last:06d}").is_dir()
    rows, lines = train(tmp_path / "cut", 1, staleness=staleness, resume=last)
    assert len(lines) == STEPS
    assert sum(outcome == "learned" for _, _, outcome, _ in rows) == STEPS * 4
    if staleness == 0:
        assert (rows, lines) == straight


def test_a_run_that_is_stopped_before_its_first_step_saves_nothing(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="no checkpoint"):
        train(tmp_path, 0, stop_in=("generate", 1))
    assert not list(tmp_path.glob("checkpoints/*"))


RECOVERING = [("drop", 7), ("reset", -1), ("start", -1), ("load", 0), ("publish", 6)]


@pytest.mark.parametrize(
    "lost_in",
    [
        *([(stage, 8)] for stage in ("wait", "learn", "publish")),
        [("save", 6)],
        [("learn", 1)],
        [("learn", 2), ("learn", 2)],
        *([("learn", 8), again] for again in RECOVERING),
    ],
    ids=str,
)
def test_a_run_that_loses_a_rank_learns_what_a_resumed_run_learns(
    tmp_path: Path, straight: tuple[list[Any], list[dict[str, float]]], lost_in: list[tuple[str, int]]
) -> None:
    assert train(tmp_path / "lost", 0, lost_in=lost_in) == straight
    with closing(Ledger(tmp_path / "lost" / "ledger.db")) as ledger:
        attempts = ledger.db.execute("SELECT from_step FROM attempts").fetchall()
    back = {("save", 6): 3, ("learn", 1): 0, ("learn", 2): 0}.get(lost_in[0], 6)
    recovered = len(lost_in) - sum(found in RECOVERING for found in lost_in[1:])
    assert attempts == [(0,), *[(back,)] * recovered]


def test_a_rank_lost_in_a_run_that_runs_ahead_loses_no_prompt(tmp_path: Path) -> None:
    rows, lines = train(tmp_path, 0, staleness=2, lost_in=[("learn", 8), ("wait", 12), ("publish", 17)])
    assert len(lines) == STEPS
    assert sum(outcome == "learned" for _, _, outcome, _ in rows) == STEPS * 4


@pytest.mark.parametrize("restarts", [0, 2])
def test_a_run_whose_restarts_are_used_up_ends_with_the_loss_as_its_cause(tmp_path: Path, restarts: int) -> None:
    with pytest.raises(ExceptionGroup) as raised:
        train(tmp_path, 0, restarts=restarts, lost_in=[("learn", 5)] * (restarts + 1))
    assert find_cause(raised.value).role == "learner rank 1"
    assert "RuntimeError: gone" in find_cause(raised.value).line
