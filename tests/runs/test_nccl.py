"""Weights by NCCL on CPUs, with a stand-in for the NCCL library alone. Engines die between publishes, in a join and in a transfer."""

import re
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.toys.drive import driving, metrics, train
from tests.toys.nccl import nccl_on_cpus

pytestmark = pytest.mark.end_to_end

DEADLINE_S = 150
WIDE = (
    "rollout.transfer=nccl",
    "learner.ranks=2",
    "rollout.cpus_per_engine=0.3",
    "learner.cpus_per_rank=0.3",
    "learner.deepspeed.zero_optimization.stage=3",
    "learner.expert_parallel=2",
    f"run.deadline_s={DEADLINE_S}",
    "rollout.restarts=0",  # a new engine would come or not, by the machine's speed
    "run.save_every=1",
    "run.eval_every=0",
    "data.eval_limit=4",
)
CLOSE = 1e-5  # nats, in float32


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that loses one of three engines between publishes and one in a join. Continued on two engines of two workers, of which one dies
    in a transfer. Both go on to their last step."""
    folder = tmp_path_factory.mktemp("nccl")
    run = folder / "run"
    with driving(train(run, *WIDE, "rollout.engines=3", "run.steps=3"), folder, nccl_on_cpus("3:generation:2", "2:join:2")) as driver:
        assert driver.wait() == 0, driver.text()[-4000:]
        assert driver.wait_for_nobody() == []
        (run / "killed_in_join.txt").write_text(driver.text())
        shutil.copytree(run / "logs", run / "logs_of_three")
    two_workers = ("rollout.vllm.tensor_parallel_size=2", "rollout.engines=2", "run.steps=5", "run.resume=auto")
    with driving(train(run, *WIDE, *two_workers), folder, nccl_on_cpus("4:transfer:3")) as driver:
        assert driver.wait() == 0, driver.text()[-4000:]
        assert driver.wait_for_nobody() == []
        (run / "killed_in_transfer.txt").write_text(driver.text())
    return run


def transfers(log: Path) -> list[tuple[int, int]]:
    """The rank and the number of chunks of every transfer that an engine's workers report."""
    return [(int(rank), int(chunks)) for chunks, rank in re.findall(r"transfer \d+: (\d+) chunks as rank (\d+)", log.read_text())]


def steps(run: Path) -> list[dict[str, Any]]:
    return [row for row in metrics(run) if row["step"] > 0]


def test_every_publish_is_proven_on_all_workers_of_all_engines_and_they_agree_with_the_ranks(run: Path) -> None:
    assert [row["step"] for row in steps(run)] == [1, 2, 3, 4, 5]
    assert max(row["mismatch/max"] for row in steps(run)) <= CLOSE
    with sqlite3.connect(run / "ledger.db") as db:
        prints = [found for (found,) in db.execute("SELECT weights FROM steps WHERE NOT undone ORDER BY step")]
    assert len(set(prints)) == 5
    ranks = [[rank for rank, _ in transfers(run / "logs_of_three" / f"engine-{engine}.log")] for engine in range(3)]
    assert ranks == [[1, 1, 1, 1], [2, 2], [3, 3]], "the identity publish, and one after each step"
    of_two_workers = [transfers(run / "logs" / f"engine-{engine}.log")[len(ranks[engine]) :] for engine in range(2)]
    assert sorted(rank for rank, _ in of_two_workers[0]) == [1] * 4 + [2] * 4
    every = [transfers(log) for log in (run / "logs_of_three").glob("engine-*.log")]
    assert {chunks for found in (*every, *of_two_workers) for _, chunks in found} == {4}, "a publish is several chunks"


def test_engines_that_die_between_publishes_in_a_join_and_in_a_transfer_are_left_out_and_the_others_form_a_new_group(run: Path) -> None:
    assert [row["engines"] for row in steps(run)] == [3, 1, 1, 1, 1]
    for said, engines in (("killed_in_join", (1, 2)), ("killed_in_transfer", (1,))):
        for engine in engines:
            assert re.search(rf"warning: engine {engine} died; its groups go on elsewhere\..* SIGKILL", (run / f"{said}.txt").read_text())
    for role in ("engine-0", "learner-0"):
        log = (run / "logs_of_three" / f"{role}.log").read_text()
        assert re.findall(r"rank \d (leaves|aborts) its group", log) == ["leaves", "aborts"], "NCCL keeps what nobody frees"


def test_nobody_waits_for_a_dead_engine_until_a_deadline(run: Path) -> None:
    broken = [row["publish/seconds"] for row in steps(run) if row["step"] in (2, 4)]
    assert max(broken) < DEADLINE_S / 4
    for log in ("logs_of_three/engine-0.log", "logs_of_three/learner-0.log", "logs/engine-0.log", "logs/learner-0.log"):
        assert "would wait for ever" in (run / log).read_text() or "aborts its group" in (run / log).read_text()
