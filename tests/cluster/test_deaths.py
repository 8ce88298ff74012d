"""Deaths that would otherwise be noticed late, or blamed on somebody else."""

import asyncio
import multiprocessing
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import ray

from cluster.actors.fleet import core_watch
from cluster.actors.fleet.core_watch import CoreWatch
from cluster.actors.learners import Learners
from cluster.causes.roles import RankLost, RoleLate
from tests.toys.run import run_config

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("expected", [False, True])
def test_an_actor_ends_with_its_engine_core_unless_it_is_shut_down(
    expected: bool, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(core_watch, "GRACE_S", 0.05)
    core = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,), name="EngineCore")
    core.start()
    left: list[int] = []
    watch = CoreWatch([core], leave=left.append)
    watch.expected = expected
    core.kill()
    core.join()
    deadline = time.monotonic() + (0.3 if expected else 10)
    while not left and time.monotonic() < deadline:
        time.sleep(0.01)
    assert left == ([] if expected else [1])
    assert ("EngineCore (process " in capfd.readouterr().err) is not expected


def learners(*ranks: Any) -> Learners:
    """Ranks of which each call lasts some seconds and raises an error, or hangs."""

    async def call(after_s: float, error: Exception) -> None:
        await asyncio.sleep(after_s)
        raise error

    return Learners(
        run_config(Path("run")), [SimpleNamespace(step=SimpleNamespace(remote=lambda rank=rank: call(*rank))) for rank in ranks]
    )


def test_a_rank_that_died_is_blamed_and_not_the_one_that_lost_its_connection_first():
    peer, death = RuntimeError("[pair.cc:534] Connection closed by peer [127.0.0.1]:1"), ray.exceptions.ActorDiedError()
    with pytest.raises(RankLost, match="learner rank 1 died") as raised:
        asyncio.run(learners((0.0, peer), (0.05, death)).all("step"))
    assert raised.value.__cause__ is death


def test_a_rank_whose_error_is_its_own_is_blamed_and_not_the_one_that_lost_its_connection_first():
    peer, own = RuntimeError("[pair.cc:534] Connection closed by peer [127.0.0.1]:1"), RuntimeError("CUDA out of memory")
    with pytest.raises(RuntimeError, match="CUDA out of memory"):
        asyncio.run(learners((0.0, peer), (0.05, own)).all("step"))


def test_all_ranks_that_are_late_are_named():
    late = (3600, RuntimeError())
    with pytest.raises(RoleLate, match=r"learner rank 0 did not finish 'step' \(nor did rank 1\) within run\.deadline_s \(0\.6 s\)"):
        asyncio.run(learners(late, late).all("step"))


CHILD = """
import os, subprocess, sys, time
from multiprocessing import resource_tracker
from multiprocessing.shared_memory import SharedMemory
from cluster.actors.fleet import keeper
keeper.keep_order(orphaned_s=0.3)
memory, unwatched = SharedMemory(create=True, size=8), SharedMemory(create=True, size=8)
resource_tracker.unregister(unwatched._name, "shared_memory")  # as after a tracker that was killed
keeper.note_memory()
child = subprocess.Popen(["sh", "-c", "sleep 600; true"], start_new_session=True)
if (fork := os.fork()) == 0:  # its environment in /proc is that of before, as in an engine core
    os.setsid()
    time.sleep(600)
open(os.path.join(os.environ[keeper.SOCKETS], "socket"), "w").close()
print(os.getpid(), child.pid, fork, os.environ[keeper.SOCKETS], memory.name, unwatched.name, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("killed", ["actor", "daemon"])
def test_a_keeper_ends_what_is_left_also_where_it_is_stopped_or_a_grandchild(killed: str):
    # The daemon of a node, whose child is an actor.
    daemon = subprocess.Popen(
        ["sh", "-c", '"$@"; true', "daemon", sys.executable, "-c", CHILD], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert daemon.stdout is not None
    *pids, sockets, memory, unwatched = daemon.stdout.readline().split()
    actor, child, fork = map(psutil.Process, map(int, pids))
    deadline = time.monotonic() + 20
    while not child.children():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    family = [actor, child, fork, *child.children()]
    for process in family:
        process.send_signal(signal.SIGSTOP)
    (actor if killed == "actor" else daemon).send_signal(signal.SIGKILL)
    gone, left = psutil.wait_procs(family, timeout=20)
    daemon.wait()
    daemon.stdout.close()
    assert (len(gone), left) == (4, [])
    while any(path.exists() for path in (Path(sockets), Path("/dev/shm", memory), Path("/dev/shm", unwatched))):
        assert time.monotonic() < deadline, "the sockets and the shared memory go after the processes"
        time.sleep(0.01)
