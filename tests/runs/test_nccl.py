"""Weights by NCCL on CPUs, with a stand-in for the communicator alone. Engines die between publishes, in a join and in a transfer."""

import re
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.toys.drive import driving, metrics, train, wait_for_step
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
    "rollout.restarts=0",
    "run.steps=9",
    "run.save_every=1",
    "run.eval_every=0",
    "data.eval_limit=4",
)
CLOSE = 1e-5  # nats, in float32


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that loses two of three engines between publishes and the last one in a join. Resumed on one engine of two workers."""
    folder = tmp_path_factory.mktemp("nccl")
    run = folder / "run"
    with driving(train(run, *WIDE, "rollout.engines=3"), folder, nccl_on_cpus("3:generation:2", "2:generation:3", "1:join:3")) as driver:
        wait_for_step(driver, run, 2)
        assert driver.wait(DEADLINE_S / 2) == 1, driver.text()[-4000:]
        assert driver.wait_for_nobody() == [], "members that wait for a dead one for ever end with the run"
        (run / "killed_in_join.txt").write_text(driver.text())
        shutil.copytree(run / "logs", run / "logs_of_three")
    two_workers = ("rollout.vllm.tensor_parallel_size=2", "run.resume=auto")
    with driving(train(run, *WIDE, *two_workers), folder, nccl_on_cpus("2:transfer:4")) as driver:
        wait_for_step(driver, run, 3)
        assert driver.wait(DEADLINE_S / 2) == 1, driver.text()[-4000:]
        assert driver.wait_for_nobody() == []
        (run / "killed_in_transfer.txt").write_text(driver.text())
    return run


def transfers(log: Path) -> list[tuple[int, int]]:
    """The rank and the number of chunks of every transfer that an engine's workers report."""
    return [(int(rank), int(chunks)) for chunks, rank in re.findall(r"transfer \d+: (\d+) chunks as rank (\d+)", log.read_text())]


def steps(run: Path) -> list[dict[str, Any]]:
    return [row for row in metrics(run) if row["step"] > 0]


def test_every_publish_is_proven_on_all_workers_of_all_engines_and_they_agree_with_the_ranks(run: Path) -> None:
    assert [row["step"] for row in steps(run)] == [1, 2, 3]
    assert max(row["mismatch/max"] for row in steps(run)) <= CLOSE
    with sqlite3.connect(run / "ledger.db") as db:
        prints = [found for (found,) in db.execute("SELECT weights FROM steps WHERE NOT undone ORDER BY step")]
    assert len(set(prints)) == 3
    ranks = [[rank for rank, _ in transfers(run / "logs_of_three" / f"engine-{engine}.log")] for engine in range(3)]
    assert ranks == [[1, 1, 1], [2, 2, 2], [3, 3]], "the identity publish, and one after each step"
    of_two_workers = transfers(run / "logs" / "engine-0.log")[3:]
    assert sorted(rank for rank, _ in of_two_workers) == [1, 1, 1, 2, 2, 2]
    every = [transfers(log) for log in (run / "logs_of_three").glob("engine-*.log")]
    assert {chunks for found in (*every, of_two_workers) for _, chunks in found} == {4}, "a publish is several chunks"


def test_an_engine_that_dies_between_publishes_is_left_out_and_the_others_form_a_new_group(run: Path) -> None:
    said = (run / "killed_in_join.txt").read_text()
    assert [row["engines"] for row in steps(run)] == [3, 2, 1]
    for engine in (1, 2):
        assert re.search(rf"warning: engine {engine} died; its groups go on elsewhere\..* SIGKILL", said)
    for role in ("engine-0", "learner-0"):
        left = (run / "logs_of_three" / f"{role}.log").read_text().count("leaves its group")
        assert left == 2, f"{role} must free the communicator of a group that has lost a member"


@pytest.mark.parametrize(
    ("said", "stage", "version", "who"),
    [("killed_in_join", "join", 3, "engine core"), ("killed_in_transfer", "transfer", 4, "its worker VllmWorker-1")],
)
def test_an_engine_that_dies_in_an_exchange_ends_the_run_at_once_and_is_named(
    run: Path, said: str, stage: str, version: int, who: str
) -> None:
    lines = (run / f"{said}.txt").read_text().rstrip().splitlines()
    ended = f"version {version} could not be published: engine 0 failed at '{stage}': "
    assert [line for line in lines if line.startswith(ended)], lines[-10:]
    assert any("NCCL cannot be called back: resume the run with run.resume=auto" in line for line in lines)
    assert f"gatewise: step {version - 1} is saved; to continue after it: " in "\n".join(lines)
    assert re.search(rf"^gatewise: ProcessDied: engine 0 \(process \d+\): {who} killed .*SIGKILL", lines[-1]), lines[-1]


def test_the_run_that_a_death_ended_is_continued(run: Path) -> None:
    said = (run / "killed_in_transfer.txt").read_text()
    assert "after step 2" in said
    assert "changed after step 2: rollout.engines: 3 in the run, 1 now" in said
