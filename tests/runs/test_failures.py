"""Runs that fail, started as a user starts them: the last line is the cause, with at most 30 lines of explanation."""

import signal
from pathlib import Path

import pytest

from cluster.causes.cause import MOST_LINES
from tests.toys.drive import Driver, driving, train, wait_for_step

pytestmark = pytest.mark.end_to_end


def ended(driver: Driver) -> list[str]:
    """What a failed run explained, from the line that names who failed; nothing may be left of the run."""
    assert driver.wait(240) == 1, driver.text()[-3000:]
    assert driver.wait_for_nobody() == []
    lines = driver.text().rstrip().splitlines()
    start = next(place for place, line in enumerate(lines) if "; its log: " in line and not line.startswith("warning: "))
    assert len(lines) - start <= MOST_LINES
    assert "traceback of the driver: " in driver.text()
    return lines[start:]


def test_a_model_that_no_kernel_can_run_is_named_from_the_log_of_the_engine_core(tmp_path: Path) -> None:
    """The front of the engine only says that its core died, and to look above. Here vLLM alone is told of heads that it cannot run."""
    settings = ("rollout.vllm.hf_overrides={head_dim=24}", "rollout.vllm.load_format=dummy")
    with driving(train(tmp_path / "run", *settings), tmp_path) as driver:
        lines = ended(driver)
    assert lines[-1].startswith("gatewise: RuntimeError: Unsupported CPU attention configuration: head_dim=24")
    assert "model.path (.cache/tiny/model now)" in "\n".join(lines)


def test_a_signal_that_ends_a_rank_is_named(tmp_path: Path) -> None:
    with driving(train(tmp_path / "run", "run.steps=500", "run.eval_every=0"), tmp_path) as driver:
        wait_for_step(driver, tmp_path / "run", 1)
        next(p for p in driver.family() if "LearnerActor" in " ".join(p.cmdline())).send_signal(signal.SIGABRT)
        lines = ended(driver)
    assert lines[0].startswith("learner rank 0 on 127.0.0.1 failed; its log: ")
    assert lines[-1].startswith("gatewise: ProcessDied: learner rank 0 (process ")
    assert lines[-1].endswith("): killed by SIGABRT")
