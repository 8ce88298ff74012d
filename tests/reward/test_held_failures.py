"""Held environments that break, in each way and in each turn, and owners that are killed: typed failures, and nothing is left."""

import asyncio
import gc
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import psutil
import pytest

from configs.schema import Config
from reward.held.held import Held
from reward.own.name import OwnCodeError
from reward.workers.tasks import Item
from rollout.transcript.episode import Answer
from rollout.types import Outcome
from tests.reward.test_reward_process import living
from tests.toys.held import TOYS, asked, config, failure_of

pytestmark = [pytest.mark.timeout(600), pytest.mark.end_to_end]


def play(config: Config, main: Callable[[Held], Coroutine[Any, Any, None]], **options: Any) -> None:
    """Run `main` with held worlds; no process, thread or descriptor is left."""
    me = psutil.Process()
    before = {child.pid for child in me.children(recursive=True)}, set(os.listdir("/proc/self/fd"))
    held = Held(config, [f"{TOYS}:echo"], **options)

    async def with_held() -> None:
        await held.ready()
        await main(held)

    try:
        asyncio.run(with_held())
    finally:
        held.close()
    held.close()
    after = {child.pid for child in me.children(recursive=True)}, set(os.listdir("/proc/self/fd"))
    assert after == before
    assert "held-worlds" not in {thread.name for thread in threading.enumerate()}


WAYS = {
    "fail": (Outcome.UNSCORABLE, "error: KeyError: 'no such thing'"),
    "leave": (Outcome.UNSCORABLE, "error: SystemExit: 0"),
    "exit_at_once": (Outcome.CRASHED, "crash: the world exited with status 3"),
    "segfault": (Outcome.CRASHED, "crash: the world was killed by SIGSEGV"),
    "kill_itself": (Outcome.CRASHED, "crash: the world was killed by SIGKILL"),
    "eat_memory": (Outcome.CRASHED, "memory: the world needs more than memory_mb=512"),
    "print_for_ever": (Outcome.CRASHED, "output: the world printed more than 1024 KB"),
    "close_channel": (Outcome.CRASHED, "crash: the world closed its channel"),
    "hang_asleep": (Outcome.TIMED_OUT, "timeout: more than"),
    "hang_busy": (Outcome.TIMED_OUT, "timeout: "),
    "hang_deaf": (Outcome.TIMED_OUT, "timeout: more than"),
}


def test_every_way_to_break_in_the_first_turn_and_in_a_later_one_is_typed_and_hurts_nobody_else() -> None:
    quarantined: list[Item] = []

    async def break_in(held: Held, how: str, turn: int) -> None:
        named = {"reference": {"how": how, "turn": turn}, "episode": f"engine-0.0/{how}{turn}"}
        for heard in range(1, turn):
            assert (await held.reply(asked("misbehave", *["go"] * heard, **named))).words
        question = asked("misbehave", *["go"] * turn, **named)
        outcome, failure = failure_of(await held.reply(question))
        expected, text = WAYS[how]
        # On a busy machine one that fills the memory or the pipe may be late before it is done.
        assert (outcome, failure[: len(text)]) == (expected, text) or failure.startswith("timeout:"), failure
        assert failure.endswith(f"[in turn {turn} of a held world]")
        assert (await held.score(question)).failure == failure

    async def main(held: Held) -> None:
        bystander = {"reference": {"how": "", "turn": 0}, "episode": "engine-0.0/good"}
        first = await held.reply(asked("misbehave", "go", **bystander))
        await asyncio.gather(*(break_in(held, how, turn) for how in WAYS for turn in (1, 2)))
        assert (await held.reply(asked("misbehave", "go", "go", **bystander))).words == first.words, "the same process"

    play(config(timeout_s=1.0, held_start_s=1.5, memory_mb=512), main, on_quarantine=lambda item, _: quarantined.append(item))
    crashed = [item.reference["how"] for item in quarantined]
    assert {"exit_at_once", "segfault", "kill_itself", "close_channel"} <= set(crashed)
    assert not {"fail", "leave", "hang_asleep"} & set(crashed)
    turns = [item.transcript.turns for item in quarantined if item.transcript and item.reference == {"how": "segfault", "turn": 2}]
    assert [(turn.said, turn.answered is None) for turn in turns[0]] == [("go", False), ("go", True)], "the transcript is kept"


def lines_of(file: Path, count: int) -> list[str]:
    """The first lines of a log, once they are there."""
    deadline = time.monotonic() + 20
    while not (file.exists() and len(lines := file.read_text().splitlines()) >= count):
        assert time.monotonic() < deadline, file.read_text() if file.exists() else "nothing was written"
        time.sleep(0.01)
    return lines


def test_however_an_episode_ends_the_world_can_close_its_server_and_the_server_ends(tmp_path: Path) -> None:
    files = {how: tmp_path / how for how in ("left", "late", "returned", "closed", "left in a turn")}

    async def main(held: Held) -> None:
        async def reply(how: str, *said: str) -> Answer:
            return await held.reply(asked("tidy", *said, reference=str(files[how]), episode=f"engine-0.0/{how}"))

        for how in files:
            assert (await reply(how, "go")).words == "go on"
        assert (await reply("returned", "go", "end")).ends
        held.leave("engine-0.0/left")
        hung = asyncio.ensure_future(reply("left in a turn", "go", "hang"))
        assert failure_of(await reply("late", "go", "hang"))[0] is Outcome.TIMED_OUT
        held.leave("engine-0.0/left in a turn")
        await hung
        for how in ("left", "late", "returned", "left in a turn"):
            assert await asyncio.to_thread(lines_of, files[how], 2), how

    play(config(timeout_s=2.0), main)
    for how, file in files.items():
        started, closed = lines_of(file, 2)
        assert closed == "closed", how
        assert living([int(started.removeprefix("server "))]) == [], how


def test_an_idle_world_ends_and_its_place_is_free() -> None:
    async def main(held: Held) -> None:
        await held.reply(asked("echo", "a"))
        assert (await held.reply(asked("echo", "a", episode="engine-0.0/2"))).words == "1 a"
        outcome, failure = failure_of(await held.reply(asked("echo", "a", "b")))
        assert outcome is Outcome.TIMED_OUT
        assert "nobody asked its world for 0.3 s" in failure

    play(config(held_episodes=1, held_idle_s=0.3), main)


def test_code_that_cannot_be_imported_is_refused_before_any_episode() -> None:
    held = Held(config(), ["tests.toys.no_such_module:game"])
    with pytest.raises(OwnCodeError, match="no_such_module"):
        asyncio.run(held.ready())
    with pytest.raises(OwnCodeError, match="no_such_module"):
        asyncio.run(held.reply(asked("echo", "a")))
    held.close()


def test_worlds_end_with_an_owner_that_is_killed() -> None:
    code = (
        "import asyncio, os, signal\nfrom reward.held.held import Held\nfrom tests.toys.held import asked, config\n"
        "async def main():\n"
        "    held = Held(config(), ['tests.toys.held_worlds:misbehave'])\n"
        "    named = {'reference': {'how': '', 'turn': 0}}\n"
        "    one = await held.reply(asked('misbehave', 'go', **named))\n"
        "    print(held._keeper.nursery._template.process.pid, one.words, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(main())"
    )
    owner = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert owner.returncode == -signal.SIGKILL, owner.stderr
    pids = [int(pid) for pid in owner.stdout.split()]
    assert len(pids) == 2
    assert living(pids) == []


BROKEN = ("segfault", "hang_asleep", "exit_at_once", "fail", "kill_itself", "print_for_ever")


def test_a_thousand_episodes_of_which_one_in_twenty_breaks_leave_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    gc.collect()  # what tests before this one left for the collector would otherwise close while this one runs
    rss: list[float] = []

    async def episode(held: Held, number: int) -> None:
        named: dict[str, Any] = {"episode": f"engine-{number % 3}.0/{number}"}
        if number % 20 == 7:
            named["reference"] = {"how": BROKEN[number // 20 % len(BROKEN)], "turn": number % 3 + 1}
            said: list[str] = []
            while (await held.reply(asked("misbehave", *(said := [*said, "go"]), **named))).failure is None:
                assert len(said) < named["reference"]["turn"]
            assert len(said) == named["reference"]["turn"]
            return
        assert (await held.reply(asked("echo", "a", **named))).words == "1 a"
        if number % 20 == 8:
            held.leave(named["episode"])  # its group was aborted
            return
        assert (await held.reply(asked("echo", "a", "end", **named))).ends
        assert (await held.score(asked("echo", "a", "end", **named))).reward == 1.0

    async def main(held: Held) -> None:
        for first in (0, 500):
            await asyncio.gather(*(episode(held, number) for number in range(first, first + 500)))
            rss.append(psutil.Process().memory_info().rss / 2**20)
        register = held._keeper.register
        assert not register.queue
        async with asyncio.timeout(15):  # the last broken one may still be ending
            while register.live:
                await asyncio.sleep(0.05)

    play(config(held_episodes=16, timeout_s=2.0, held_start_s=2.0), main)
    assert rss[1] - rss[0] < 5, f"resident memory grew from {rss[0]:.1f} MB to {rss[1]:.1f} MB"
    assert list(tmp_path.iterdir()) == []
