"""`train` and its relatives from a script, a thread and a running loop, with toys in place of the run itself."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray

import gatewise
from cluster.actors import session
from cluster.commands import train as train_command
from cluster.record.metrics.metrics import Metrics
from cluster.record.run_dir import write_config
from cluster.stop import Stop, Stopped
from configs.schema import Config
from gatewise.background import in_background
from tests.toys.run import run_config

Toy = Callable[[Config, Any, Any, Stop], None]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[[Toy], None]:
    """Put a toy in the place of a training run."""
    return lambda toy: monkeypatch.setattr(train_command, "train", toy)


async def stoppable(stop: Stop, work: Any) -> None:
    """`work`, cancelled when a stop is asked for."""
    with stop.answered(lambda _: None, 60):
        await stop.cuts(work)


def three_steps(config: Config, show: Any, on_step: Any, stop: Stop) -> None:
    """Records three steps and leaves a run directory, in a loop of its own."""

    async def work() -> None:
        config.run_dir.mkdir(parents=True)
        write_config(config)
        metrics = Metrics(config, 0, on_step)
        try:
            for step in range(4):
                metrics.write(step, {"reward/mean": step / 10, "load/layer_00": 1.0, "split/routing": float("nan")})
                show.say(f"warning: step {step}")
        finally:
            metrics.close()

    asyncio.run(stoppable(stop, work()))


def test_importing_the_package_imports_nothing_heavy() -> None:
    heavy = "[m for m in ('numpy', 'torch', 'ray', 'pydantic', 'vllm') if m in sys.modules]"
    done = subprocess.run([sys.executable, "-c", f"import sys, gatewise; print({heavy})"], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_every_public_name_is_found_and_an_unknown_one_is_not() -> None:
    assert [name for name in gatewise.__all__ if not hasattr(gatewise, name)] == []
    assert set(gatewise.__all__) == {*gatewise.HOMES, "objective", "__version__"}
    with pytest.raises(AttributeError, match="no attribute 'trian'; it has"):
        gatewise.trian  # noqa: B018


def test_train_returns_the_run_and_on_step_gets_the_rows_of_its_metrics(tmp_path: Path, run: Callable[[Toy], None]) -> None:
    run(three_steps)
    seen: list[dict[str, Any]] = []
    done = gatewise.train(run_config(tmp_path / "run"), progress=False, on_step=seen.append)
    assert done.metrics == [{"step": 0, "reward/mean": 0.0, "split/routing": None}, *seen]
    assert [row["step"] for row in seen] == [1, 2, 3]
    assert repr(done) == f"Run('{tmp_path / 'run'}', 3 of 4 steps)"


def test_train_works_under_a_running_loop_and_in_a_thread(tmp_path: Path, run: Callable[[Toy], None]) -> None:
    run(three_steps)
    gatewise.train(run_config(tmp_path / "first"), progress=False)  # libraries open what they keep
    before = psutil.Process().num_fds()

    async def notebook() -> int:
        return len(gatewise.train(run_config(tmp_path / "a"), progress=False).metrics)

    assert asyncio.run(notebook()) == 4
    rows: list[int] = []
    thread = threading.Thread(target=lambda: rows.append(len(gatewise.train(run_config(tmp_path / "b"), progress=False).metrics)))
    thread.start()
    thread.join()
    assert rows == [4]
    assert [t.name for t in threading.enumerate() if t.name.startswith("gatewise")] == []
    assert psutil.Process().num_fds() == before


def test_what_on_step_raises_ends_the_run_and_stays_as_it_is(tmp_path: Path, run: Callable[[Toy], None]) -> None:
    run(three_steps)
    seen: list[int] = []

    def enough(row: dict[str, Any]) -> None:
        seen.append(row["step"])
        if row["step"] == 2:
            raise LookupError("enough")

    with pytest.raises(LookupError, match="enough"):
        gatewise.train(run_config(tmp_path / "run"), progress=False, on_step=enough)
    assert seen == [1, 2]


def test_without_progress_nothing_is_printed_and_lines_are_logged(
    tmp_path: Path, run: Callable[[Toy], None], capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    run(three_steps)
    with caplog.at_level(logging.INFO, "gatewise"):
        gatewise.train(run_config(tmp_path / "run"), progress=False)
    assert capfd.readouterr() == ("", "")
    assert caplog.record_tuples[1] == ("gatewise", logging.WARNING, "warning: step 1")


def test_ctrl_c_cancels_the_work_waits_for_its_cleanup_and_is_raised() -> None:
    told: list[str] = []

    def interrupt() -> None:
        while not told:  # Python loses an interrupt that it raises in a callback of its garbage collector
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)

    async def work() -> None:
        try:
            threading.Timer(0.05, interrupt).start()
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.1)
            told.append("stopped")

    with pytest.raises(KeyboardInterrupt):
        in_background(lambda stop: asyncio.run(stoppable(stop, work())))
    assert told == ["stopped"]
    assert in_background(lambda _: 7) == 7


def test_a_stop_before_the_loop_begins_is_not_lost() -> None:
    stop = Stop()
    stop.ask()
    with pytest.raises(Stopped):
        asyncio.run(stoppable(stop, asyncio.sleep(60)))


def test_a_second_run_at_the_same_time_is_refused_but_validation_is_not() -> None:
    begun, ended = threading.Event(), threading.Event()
    thread = threading.Thread(target=in_background, args=[lambda _: begun.set() or ended.wait(10)])
    thread.start()
    assert begun.wait(10)
    with pytest.raises(gatewise.InputError, match="already trains, evaluates or exports"):
        in_background(lambda _: None)
    assert in_background(lambda _: 7, with_ray=False) == 7
    ended.set()
    thread.join()


def test_a_process_that_has_initialised_ray_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    class Context:
        gcs_address = "10.0.0.1:6379"

    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "get_runtime_context", Context)
    with pytest.raises(gatewise.InputError, match=r'call ray.shutdown\(\) first.*RAY_ADDRESS"\] = "10.0.0.1:6379"'):
        session.refuse_ray_in_use()


def test_a_session_leaves_the_environment_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray itself adds variables, which would decide about the next session."""
    monkeypatch.setenv("RAY_worker_niceness", "3")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "init", lambda **_: session.os.environ.update(RAY_AUTH_MODE="token", RAY_worker_niceness="5"))
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setattr(session, "watch_ray", lambda local: None)
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    before = dict(session.os.environ)
    with session.ray_session(run_config(tmp_path)):
        assert session.os.environ["RAY_AUTH_MODE"] == "token"
    assert dict(session.os.environ) == before
