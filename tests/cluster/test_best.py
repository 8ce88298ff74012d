"""Which step is the best, which checkpoint stays for it, and what the end of a run says of it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cluster.commands.runs.summary import best
from cluster.record.checkpoint import Checkpoints, Position
from cluster.record.metrics.best import Best, best_step
from tests.configs.test_configs import config_with, sole_refusal
from tests.toys.run import run_config

NAN = None  # as a line of metrics says it


def rows(rewards: list[float | None], **evaluated: float) -> list[dict[str, Any]]:
    """Lines of steps 1, 2, ...; `evaluated` has held-out correctness by step, as s0, s10, ..."""
    found = {int(name[1:]): value for name, value in evaluated.items()}
    lines = [{"step": 0}, *({"step": step, "reward/mean": reward} for step, reward in enumerate(rewards, 1))]
    return [line | ({"eval/greedy": found[line["step"]]} if line["step"] in found else {}) for line in lines]


@pytest.mark.parametrize(
    ("given", "best"),
    [
        (rows([0.1] * 20, s0=0.5, s10=0.7, s20=0.6), Best(10, 0.7, "held-out")),
        (rows([0.1] * 20, s0=0.8, s10=0.7, s20=0.6), Best(0, 0.8, "held-out")),
        (rows([0.1] * 20, s0=0.5, s10=0.7, s20=0.7), Best(10, 0.7, "held-out")),
        (rows([*[0.0] * 10, *[0.5] * 10], s0=0.9, s20=0.1), Best(20, 0.5, "reward")),
        (rows([1.0, *[0.0] * 10, *[0.2] * 12]), Best(21, 0.2, "reward")),
        (rows([0.3, 0.9, 0.3]), Best(3, 0.5, "reward")),
        (rows([NAN, 0.5, NAN, 0.7]), Best(4, 0.6, "reward")),
        (rows([NAN]), None),
        ([], None),
    ],
)
def test_the_best_step_is_by_evaluations_or_else_by_the_smoothed_reward(given: list[dict[str, Any]], best: Best | None) -> None:
    found = best_step(given)
    assert found == (None if best is None else replace(best, value=pytest.approx(best.value)))


def test_several_eval_sets_count_alike() -> None:
    lines = [{"step": n, "eval/greedy": a, "eval/math/greedy": b} for n, a, b in ((1, 0.9, 0.1), (2, 0.6, 0.6))]
    assert best_step(lines) == Best(2, 0.6, "held-out")


@pytest.mark.parametrize(("keep", "left"), [(True, ["step_000002", "step_000004", "step_000005"]), (False, ["step_000004", "step_000005"])])
def test_the_best_checkpoint_stays_beside_the_newest(tmp_path: Path, keep: bool, left: list[str]) -> None:
    checkpoints = Checkpoints(run_config(tmp_path, run={"dir": str(tmp_path), "keep_best": keep, "eval_every": 1, "save_every": 1}))
    for step, correct in enumerate([0.1, 0.8, 0.3, 0.2, 0.5], 1):
        with (tmp_path / "metrics.jsonl").open("a") as lines:
            lines.write(json.dumps({"step": step, "reward/mean": 0.5, "eval/greedy": correct}) + "\n")
        aside = checkpoints.begin(step)
        (aside / "rank-0.json").write_text("{}")
        checkpoints.commit(aside, Position(step=step, next_group=step, pending=()))
    assert sorted(path.name for path in checkpoints.whole()) == left
    line = "best     held-out 0.800 at step 2"
    lines = [{"step": step, "eval/greedy": correct} for step, correct in enumerate([0.1, 0.8, 0.3, 0.2, 0.5], 1)]
    where = tmp_path / "checkpoints" / ("step_000002" if keep else "step_000005")
    assert best(tmp_path, lines) == [f"{line}: {where}" if keep else f"{line}, not kept; best of the kept ones: {where}"]


@pytest.mark.parametrize(
    ("saved", "evaluated", "more", "refused"),
    [(30, 20, (), True), (40, 20, (), False), (30, 0, (), False), (30, 20, ("run.keep_best=false",), False)],
)
def test_a_best_checkpoint_needs_evaluations_where_the_run_is_saved(
    saved: int, evaluated: int, more: tuple[str, ...], refused: bool
) -> None:
    given = ("run.keep_best=true", "data.eval=held_out.jsonl", f"run.save_every={saved}", f"run.eval_every={evaluated}", *more)
    if refused:
        assert "make run.save_every a multiple of run.eval_every" in sole_refusal(*given)
    else:
        config_with(*given)
    config_with(*given[:1], *given[2:])
