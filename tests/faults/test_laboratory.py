"""A few of the schedules that `python -m benchmarks.faults` runs by the thousand, and the bugs that they must catch."""

import errno
import gc
import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.faults.disk import Disk
from benchmarks.faults.invariants import is_typed
from benchmarks.faults.laboratory import Laboratory, shrink
from benchmarks.faults.mutants import MUTANTS, missed
from benchmarks.faults.plan import CLOCK, Fault, Kind, Schedule, Shape
from cluster.causes.roles import Role, RoleLate
from tests.toys.run import run_config

UNIT, MANY, FOR_A_MUTANT = (0, 1, 2, 90, 289), range(100, 250), range(60)


@pytest.fixture(scope="module")
def laboratory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laboratory]:
    """In memory if the machine has a file system for it: a run flushes its files often."""
    memory = Path("/dev/shm")
    folder = tmp_path_factory.mktemp("faults")
    root = memory / f"gatewise-test-{os.getpid()}" if memory.is_dir() else folder
    gc.freeze()  # after each driver that is killed its remains are collected
    yield Laboratory(root)
    gc.unfreeze()
    shutil.rmtree(root, ignore_errors=True)


@pytest.mark.parametrize("seed", UNIT)
def test_a_schedule_ends_at_its_last_step_with_sound_records(laboratory: Laboratory, seed: int):
    result = laboratory.run_seed(seed)
    assert result.violations == []
    assert result.ends[-1] == "finished"


def test_a_schedule_is_the_same_each_time(laboratory: Laboratory):
    once, again = laboratory.run_seed(1), laboratory.run_seed(1)
    assert once.struck
    assert once == again


ONE_ENGINE = Shape(seed=1, engines=1, ranks=1)


@pytest.mark.parametrize(
    ("fault", "ends"),
    [
        (Fault(Kind.DIE, "rank 0", "forward", 4), ["finished"]),
        (Fault(Kind.CORE, "engine 0", "generate", 9), ["finished"]),
        (Fault(Kind.DRIVER, "driver", "callback", 900), ["killed", "finished"]),
        (Fault(Kind.POWER, "driver", "disk", 90), ["killed", "finished"]),
        (Fault(Kind.STOP, "driver", "callback", 900), ["stopped", "finished"]),
        (Fault(Kind.STALL, "rank 0", "update", 4), ["finished"]),
        (Fault(Kind.SLOW, "engine 0", "generate", 9), ["finished"]),
        (Fault(Kind.DIE, "reward 0", CLOCK, 200), ["finished"]),
    ],
)
def test_a_fault_strikes_and_the_run_tells_its_cause(laboratory: Laboratory, fault: Fault, ends: list[str]):
    result = laboratory.run(Schedule(seed=0, shape=ONE_ENGINE, faults=[fault]))
    assert [text.partition(" s: ")[2] for text in result.struck] == [str(fault)]
    assert result.violations == []
    assert len(result.ends) == len(ends)
    assert all(end.startswith(start) for end, start in zip(result.ends, ends, strict=True))
    assert 0 < result.ettr <= 1


def test_a_failing_schedule_shrinks_to_the_fault_that_matters(laboratory: Laboratory):
    calm = [Fault(Kind.STALL, "engine 0", "generate", n) for n in (3, 30)]
    late = laboratory.reference(ONE_ENGINE).turns * 9 // 10  # a checkpoint is there by then
    power = Fault(Kind.POWER, "driver", "callback", late)
    schedule = Schedule(seed=0, shape=ONE_ENGINE, faults=[calm[0], power, calm[1]])
    with MUTANTS["the ledger is not flushed before a checkpoint"]():
        assert laboratory.run(schedule).violations
        assert shrink(laboratory, schedule).faults == [power]
    assert laboratory.run(schedule).violations == []


@pytest.mark.end_to_end
def test_hundreds_of_schedules_violate_nothing(laboratory: Laboratory):
    failed = {seed: found for seed in MANY if (found := laboratory.run_seed(seed).violations)}
    assert failed == {}


@pytest.mark.end_to_end
@pytest.mark.parametrize("name", MUTANTS)
def test_a_planted_bug_is_caught(laboratory: Laboratory, name: str):
    laboratory.warm(len(FOR_A_MUTANT))
    assert missed(lambda seed: laboratory.run_seed(seed).violations, name, FOR_A_MUTANT) is not None


def test_only_errors_that_name_their_cause_are_typed():
    config = run_config(Path("run"))
    assert is_typed(RoleLate(Role("engine 0", Path("log")), "did not finish", 3), config)
    assert is_typed(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), config)
    assert not is_typed(KeyError("group 3"), config)
    assert not is_typed(AssertionError("needed"), config)


def test_a_power_cut_loses_what_was_not_flushed_and_a_full_disk_takes_nothing(tmp_path: Path):
    disk, run = Disk(tmp_path), tmp_path / "run"
    run.mkdir()
    with disk.hooked():
        with (run / "lines").open("w") as file:
            file.write("first\n")
            file.flush()
            os.fsync(file.fileno())
            file.write("second\n")
        db = sqlite3.connect(run / "ledger.db", isolation_level=None)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("CREATE TABLE kept (n)")
        db.execute("INSERT INTO kept VALUES (1)")
        db.execute("PRAGMA wal_checkpoint(FULL)")
        db.execute("INSERT INTO kept VALUES (2)")
        disk.full = True
        with pytest.raises(OSError, match="No space left"):
            (run / "other").write_text("x")
        with pytest.raises(sqlite3.OperationalError, match="full"):
            db.execute("INSERT INTO kept VALUES (3)")
        disk.full = False
        disk.capture(run, power_cut=True)
        disk.restore(run)
        assert (run / "lines").read_text() == "first\n"
        assert sqlite3.connect(run / "ledger.db").execute("SELECT n FROM kept").fetchall() == [(1,)]
