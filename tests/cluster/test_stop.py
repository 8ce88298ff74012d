"""A stop is heard wherever it comes from, waits for what it must and for nothing else."""

import asyncio
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.cli import main
from cluster.stop import SIGNALS, Stop, Stopped, StopSignals
from configs.schema import Config
from tests.toys.run import finish_step


@pytest.fixture
def signals() -> Iterator[StopSignals]:
    """Handlers that are put back afterwards."""
    mine = StopSignals()
    with mine.installed():
        yield mine


def test_work_is_cancelled_by_a_stop_from_another_thread_and_its_end_is_awaited():
    stop, said, ended = Stop(), [], []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            ended.append("cleaned up")

    async def run() -> None:
        with stop.answered(said.append, 60):
            stop.then = "stopping after step 3 is saved"
            threading.Timer(0.02, stop.ask).start()
            with pytest.raises(Stopped):
                await stop.cuts(work())
            with pytest.raises(Stopped):
                await stop.cuts(work())
            await asyncio.sleep(0)

    asyncio.run(run())
    assert ended == ["cleaned up"], "the second work never began"
    assert said == ["stopping after step 3 is saved; Ctrl-C again ends at once"]
    assert not stop.listening


def test_work_that_ends_by_itself_gives_its_result_or_its_error():
    async def run() -> int:
        stop = Stop()
        with pytest.raises(ZeroDivisionError):
            await stop.cuts(fails())
        return await stop.cuts(asyncio.sleep(0, result=7))

    async def fails() -> None:
        raise ZeroDivisionError

    assert asyncio.run(run()) == 7


def test_a_stop_that_was_asked_before_the_loop_began_is_heard():
    async def run(stop: Stop) -> None:
        with stop.answered(lambda _: None, 60):
            await stop.cuts(asyncio.sleep(60))

    stop = Stop()
    stop.ask()
    with pytest.raises(Stopped):
        asyncio.run(run(stop))


def test_what_a_stop_waits_for_is_bounded():
    async def run(stop: Stop) -> None:
        with stop.answered(lambda _: None, 0.05):
            stop.ask()
            await asyncio.sleep(60)  # a rank that hangs

    with pytest.raises(TimeoutError, match=r"did not stop within run\.stop_s \(0\.05 s\), so it was ended without another checkpoint"):
        asyncio.run(run(Stop()))


@pytest.mark.parametrize(("needed_s", "lasts_s", "cut"), [(0.1, 0.05, False), (0.1, 5.0, True), (None, 5.0, True), (9.0, 5.0, True)])
def test_a_hurried_stop_waits_for_the_step_as_long_as_a_save_still_fits(needed_s: float | None, lasts_s: float, cut: bool):
    stop, said, ended = Stop(), [], []

    async def step() -> str:
        try:
            await asyncio.sleep(lasts_s)
        finally:
            ended.append(time.monotonic())
        return "learned"

    async def run() -> None:
        with stop.answered(said.append, 60, 1.0):
            stop.then, stop.needed_s, started = "stopping after step 3 is learned and saved", needed_s, time.monotonic()
            stop.ask(hurried=True)
            if cut:
                with pytest.raises(Stopped):
                    await stop.finishes(step())
                assert ended[0] - started < 0.8, "the margin is left for actors to end"
            else:
                assert await stop.finishes(step()) == "learned"

    asyncio.run(run())
    assert stop.cut == cut
    assert said == ["stopping after step 3 is learned and saved; within run.grace_s (1 s), or else the newest finished step is saved"]


def test_a_save_that_does_not_fit_into_the_grace_time_is_given_up_before_the_kill():
    async def run(stop: Stop) -> None:
        with stop.answered(lambda _: None, 60, 0.3):
            stop.ask(hurried=True)
            await asyncio.sleep(60)

    started = time.monotonic()
    with pytest.raises(TimeoutError, match=r"no save was finished within run\.grace_s \(0\.3 s\), .* raise run\.grace_s, if the one who"):
        asyncio.run(run(Stop()))
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("grace_s", [None, 0.2])
def test_only_a_preemption_hurries_and_it_may_come_after_ctrl_c(signals: StopSignals, grace_s: float | None):
    said: list[str] = []

    async def run() -> None:
        with signals.stop.answered(said.append, 60, grace_s):
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(0.01)
            assert not signals.stop.hurried
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(0.01 if grace_s is None else 60)

    if grace_s is None:
        asyncio.run(run())
        assert len(said) == 1, "without run.grace_s a preemption is bounded by run.stop_s"
    else:
        with pytest.raises(TimeoutError, match=r"run\.grace_s"):
            asyncio.run(run())
    assert signals.stop.hurried
    assert signals.status == 128 + signal.SIGINT


def test_a_cancellation_that_is_no_stop_stays_one():
    async def run() -> None:
        with Stop().answered(lambda _: None, 60):
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(run())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_before_a_loop_answers_a_signal_ends_at_once(signals: StopSignals, number: signal.Signals):
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)
    assert signals.status == 128 + number
    assert not signals.stop.asked


@pytest.mark.parametrize(
    ("first", "second", "at_once"), [("SIGINT", "SIGINT", True), ("SIGTERM", "SIGTERM", False), ("SIGTERM", "SIGINT", True)]
)
def test_the_first_signal_asks_and_a_second_ctrl_c_ends_at_once(signals: StopSignals, first: str, second: str, at_once: bool):
    async def run() -> None:
        with signals.stop.answered(lambda _: None, 60):
            started = time.monotonic()
            os.kill(os.getpid(), getattr(signal, first))
            with pytest.raises(Stopped):
                await signals.stop.cuts(asyncio.sleep(60))
            assert time.monotonic() - started < 30
            os.kill(os.getpid(), getattr(signal, second))
            await asyncio.sleep(0.01)

    if at_once:
        with pytest.raises(KeyboardInterrupt):
            asyncio.run(run())
    else:
        asyncio.run(run())
    assert signals.status == 128 + getattr(signal, first)


def test_nohup_stays_and_other_background_commands_hear_ctrl_c():
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with StopSignals().installed():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_that_a_signal_stopped_exits_as_shells_expect_and_says_how_to_continue(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, number: signal.Signals
):
    async def run(stop: Stop) -> None:
        with stop.answered(print, 60):
            os.kill(os.getpid(), number)
            await asyncio.sleep(0.01)

    def train(config: Config, stop: Stop) -> None:
        finish_step(config.run_dir)
        asyncio.run(run(stop))

    monkeypatch.setattr("cluster.commands.train.train", train)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    before, words = signal.getsignal(number), ["train", "configs/tiny_cpu.toml", f"run.dir={tmp_path}"]
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 128 + number
    assert capsys.readouterr().err.splitlines()[-1].endswith(f"{' '.join(words)} run.resume=auto")
    assert signal.getsignal(number) is before


def test_an_error_after_the_start_says_how_to_continue_before_its_cause(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    def train(_: Config, stop: Stop) -> None:
        stop.heard = True
        raise RuntimeError("rank 1 died")

    monkeypatch.setattr("cluster.commands.train.train", train)
    with pytest.raises(SystemExit):
        main(["train", "configs/tiny_cpu.toml", f"run.dir={tmp_path}"])
    assert capsys.readouterr().err.splitlines()[-2:] == [
        f"gatewise: no step was finished, so nothing is saved and {tmp_path} may be used again",
        "gatewise: RuntimeError: rank 1 died",
    ]
