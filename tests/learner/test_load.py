"""Expert load: counted over real tokens, reported as metrics, written to a file and drawn."""

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from cluster.record.expert_log import KEPT, ExpertLog
from cluster.record.pictures.experts import draw_experts
from learner.experts.load import ExpertLoad, describe_load
from tests.learner.test_balance import one_part, part_of
from tests.toys.balance import EXPERTS, TOP_K, Probabilities, ToyMixture
from tests.toys.process_group import alone


@pytest.fixture(scope="module", autouse=True)
def process_group() -> Iterator[None]:
    with alone():
        yield


@pytest.mark.parametrize("replays", [False, True])
@pytest.mark.parametrize(("packed", "checkpoints"), [(False, False), (True, True)])
def test_every_real_token_counts_once_with_the_experts_it_takes(packed: bool, checkpoints: bool, replays: bool) -> None:
    model, part, load = ToyMixture(packed=packed, checkpoints=checkpoints), one_part(replays), ExpertLoad()
    idle = part_of((), [], replays=False)
    seen = Probabilities()
    for each, watchers in ((part, (seen,)), (idle, ())):
        logprobs, _ = model(each.batch, each.replay, (load.over(each.real), *watchers))
        torch.autograd.backward(logprobs.sum())
    table = load.table()
    assert table is not None
    real = part.batch.attention
    assert not real.all(), "without padding nothing could be left out"
    expected = [np.bincount(taken[real].flatten().numpy(), minlength=EXPERTS) for _, taken in sorted(seen.taken.items())]
    np.testing.assert_array_equal(table, expected)
    assert (table.sum(1) == TOP_K * int(real.sum())).all()


def test_a_dense_model_tells_nothing() -> None:
    assert ExpertLoad().table() is None
    assert describe_load(None) == {}


def test_the_metrics_of_a_table_by_hand() -> None:
    metrics = describe_load(np.array([[4, 4, 4, 4], [8, 8, 0, 0], [1, 0, 0, 15]]))
    lowest = -(1 / 16 * np.log(1 / 16) + 15 / 16 * np.log(15 / 16)) / np.log(4)
    assert metrics == pytest.approx(
        {
            "load/max_over_mean": (1 + 2 + 3.75) / 3,
            "load/max_over_mean_worst": 3.75,
            "load/entropy": (1 + 0.5 + lowest) / 3,
            "load/entropy_worst": lowest,
            "load/dead": 4,
        }
    )


def table_of(step: int) -> np.ndarray:
    return np.array([[step, 1, 2], [3, 4, step]])


def test_a_table_that_was_written_is_read_again_and_cut_on_resume(tmp_path: Path) -> None:
    log = ExpertLog(tmp_path)
    log.cut(0)
    assert log.read() is None
    for step in range(1, 6):
        log.write(step, table_of(step))
    log.cut(3)
    log.write(4, 10 * table_of(4))
    history = ExpertLog(tmp_path).read()
    assert history is not None
    assert history[0].tolist() == [1, 2, 3, 4]
    np.testing.assert_array_equal(history[1], [table_of(1), table_of(2), table_of(3), 10 * table_of(4)])
    assert [path.name for path in tmp_path.iterdir()] == ["experts.npz"]


def test_a_long_run_keeps_the_newest_step_and_a_coarse_history(tmp_path: Path) -> None:
    log = ExpertLog(tmp_path)
    for step in range(1, 6 * KEPT):
        log.write(step, table_of(step))
        history = log.read()
        assert history is not None
        assert len(history[0]) <= 2 * KEPT + 1
        assert history[0][-1] == step
    assert (history[1][:, 0, 0] == history[0]).all()
    assert history[0][0] < 8
    assert np.diff(history[0]).max() <= 8


def test_the_picture_is_drawn_from_one_step_or_many(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, steps in (("one", 1), ("many", 30)):
        draw_experts((np.arange(1, steps + 1), rng.integers(0, 50, (steps, 6, 16))), tmp_path / f"{name}.png")
        assert struct.unpack(">II", (tmp_path / f"{name}.png").read_bytes()[16:24]) == (1430, 594)
    assert (tmp_path / "one.png").read_bytes() != (tmp_path / "many.png").read_bytes()
