"""A run whose gradient spikes: back to its newest checkpoint with a lower rate, a bounded number of times, with sound accounts."""

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cluster.loop.spikes import Spiked, describe, spike_in
from cluster.record.ledger import Ledger
from cluster.record.metrics.metrics import read_metrics
from tests.toys.controller import STEPS, train

BACK: dict[str, Any] = {"on_spike": "rollback"}


def rollbacks(folder: Path) -> list[tuple[int, int, float]]:
    with closing(Ledger(folder / "ledger.db")) as ledger:
        return ledger.db.execute("SELECT step, back_to, rate FROM rollbacks").fetchall()


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Any], list[dict[str, float]]]:
    return train(tmp_path_factory.mktemp("straight") / "run", 0)


@pytest.mark.parametrize(
    ("spikes", "back"),
    [([8], [(8, 6, 0.5)]), ([1], [(1, 0, 0.5)]), ([8, 7], [(8, 6, 0.5), (7, 6, 0.25)]), ([7, STEPS], [(7, 6, 0.5), (STEPS, 15, 0.25)])],
    ids=str,
)
def test_a_spike_takes_the_run_back_and_the_ledger_undoes_its_steps(
    tmp_path: Path, straight: tuple[list[Any], list[dict[str, float]]], spikes: list[int], back: list[tuple[int, int, float]]
) -> None:
    """`train` audits the run. The toys learn nothing, so its outcome is that of a run without spikes."""
    assert train(tmp_path / "run", 0, spikes=spikes, learner=BACK) == straight
    assert rollbacks(tmp_path / "run") == back
    with closing(Ledger(tmp_path / "run" / "ledger.db")) as ledger:
        assert ledger.db.execute("SELECT from_step FROM attempts").fetchall() == [(0,), *[(to,) for _, to, _ in back]]
    assert read_metrics(tmp_path / "run")[-1]["learner/rollbacks"] == len(back)


def test_a_step_that_spikes_again_after_its_rollback_stays_without_its_update(tmp_path: Path) -> None:
    """The prompts are the same, so the data are the cause: more rollbacks would meet the same spike."""
    _, lines = train(tmp_path / "run", 0, spikes=[8, 8], learner=BACK)
    assert rollbacks(tmp_path / "run") == [(8, 6, 0.5)]
    assert [line["step"] for line in lines if line.get("updates_spiked")] == [8]
    assert lines[-1]["step"] == STEPS


@pytest.mark.parametrize("mode", ["skip", "go on"])
def test_without_a_rollback_a_spike_is_only_on_record(tmp_path: Path, mode: str) -> None:
    _, lines = train(tmp_path / "run", 0, spikes=[8], learner={"on_spike": mode})
    assert [line["step"] for line in lines if line.get("updates_spiked")] == [8]
    assert rollbacks(tmp_path / "run") == []


def test_a_run_that_lost_a_rank_after_a_rollback_keeps_the_lower_rate_and_a_resumed_one_counts_on(tmp_path: Path) -> None:
    train(tmp_path / "run", 0, spikes=[5], lost_in=[("learn", 8)], learner=BACK)
    with pytest.raises(Spiked) as raised:
        train(tmp_path / "run", 0, resume=12, spikes=[14, 13], learner={**BACK, "rollbacks": 2})
    said = str(raised.value)
    assert said.startswith(
        "step 13: 1 update spiked: the gradient's norm is 50, the median before it 0.5 (learner.spike_factor = 10); 2 rol"
    )
    assert "are used up: resume the run with a lower learner.lr (1e-06, of which 0.25 times is used by now)" in said
    assert rollbacks(tmp_path / "run") == [(5, 3, 0.5), (14, 12, 0.25)]


def test_a_run_that_is_to_stop_keeps_the_step_without_its_update(tmp_path: Path) -> None:
    _, lines = train(tmp_path / "run", 0, spikes=[8], stop_in=("learn", 8), learner=BACK)
    assert [line["step"] for line in lines][-1] == 8
    assert rollbacks(tmp_path / "run") == []


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"grad_norm": float("nan"), "grad_norm_median": 0.5}, "1 update spiked: the gradient was not finite"),
        ({"grad_norm": 7.0}, "1 update spiked: the gradient's norm is 7"),
    ],
)
def test_a_spike_is_named_by_what_is_known_of_it(values: dict[str, float], said: str) -> None:
    assert describe(1, values, 10.0) == said
    assert spike_in(ExceptionGroup("", [ValueError(), ExceptionGroup("", [Spiked(3, said)])])).step == 3  # type: ignore[union-attr]
    assert spike_in(ValueError(said)) is None
