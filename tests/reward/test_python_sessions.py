"""One confined interpreter an episode: what stays between programs, what ends it, who waits, and what is left."""

import asyncio
import os
import signal
import threading
from collections.abc import Iterator

import psutil
import pytest

from reward.held.sessions import SessionLost, Sessions
from reward.programs.launcher_owner import LauncherProcess, SandboxError
from reward.programs.limits import CodeLimits
from reward.programs.session_owner import Session

pytestmark = pytest.mark.timeout(60)
LIMITS = CodeLimits(timeout_s=5, memory_mb=256, disk_mb=2, output_kb=64)
LOST = "all variables are lost, and the next program starts anew]"


@pytest.fixture(scope="module")
def launcher() -> Iterator[LauncherProcess]:
    made = LauncherProcess(unsafe=False)
    yield made
    made.close()


@pytest.fixture
def session(launcher: LauncherProcess) -> Iterator[Session]:
    made = Session(launcher, LIMITS)
    yield made
    made.close()


def test_a_program_finds_what_the_programs_before_it_have_left(session: Session) -> None:
    for program, text in {
        "x = 20": "",
        "x + 1": "21\n",
        "import math\ndef area(r):\n    return round(math.pi * r * r, 2)\nprint('defined')": "defined\n",
        "area(2)": "12.57\n",
        "None": "",
        "open('kept', 'w').write('kept')": "4\n",
        "open('kept').read()": "'kept'\n",
        "import sys\nprint('out')\nprint('err', file=sys.stderr)\nprint('out')": "out\nerr\nout\n",
        "": "",
        "# nothing": "",
        "class A: pass\nA.__module__": "'__main__'\n",
    }.items():
        printed = session.run(program)
        assert (printed.text, printed.ok) == (text, True), program


@pytest.mark.parametrize(
    ("program", "end"),
    [
        ("1/0", "ZeroDivisionError: division by zero\n"),
        ("x = (", "SyntaxError: '(' was never closed\n"),
        ("def f():\n    raise ValueError('bad')\nf()", "ValueError: bad\n"),
        ("raise SystemExit('bye')", "bye\n"),
        ("import sys; sys.exit(3)", ""),
        ("exit(1)", ""),
        ("raise KeyboardInterrupt", "KeyboardInterrupt\n"),
        ("f = lambda n: f(n + 1)\nf(0)", "RecursionError: maximum recursion depth exceeded\n"),
        ("a = bytearray(600 << 20)", "MemoryError\n"),
        ("\0", "SyntaxError: source code string cannot contain null bytes\n"),
        ("'\udc80'", "UnicodeEncodeError"),
        ("import torch", "ModuleNotFoundError: No module named 'torch'\n"),
        ("import reward", "ModuleNotFoundError: No module named 'reward'\n"),
    ],
)  # fmt: skip
def test_what_a_program_raises_is_printed_and_the_interpreter_goes_on(program: str, end: str, session: Session) -> None:
    session.run("kept = 1")
    printed = session.run(program)
    assert not printed.ok
    assert printed.text.endswith(end) or end in printed.text.splitlines()[-1], printed.text
    assert "session.py" not in printed.text, "the model sees frames of its own program alone"
    assert session.run("kept").text == "1\n"


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("import os; os._exit(3)", "it ended its interpreter (exited, status 3)"),
        ("import os; os.kill(os.getpid(), 11)", "it ended its interpreter (killed, status 11)"),
        ("print('x' * 100_000)", "it printed more than 64 kB"),
        ("import os; os.closerange(0, 60)", "it ended its interpreter"),
    ],
)
def test_a_program_that_ends_its_interpreter_is_answered_in_words(program: str, why: str, session: Session) -> None:
    printed = session.run(program)
    assert not printed.ok
    assert why in printed.text
    assert printed.text.endswith(LOST)
    assert session.ended


@pytest.mark.parametrize("program", ["while True: pass", "import time; time.sleep(99)", "import threading; threading.Event().wait()"])
def test_a_program_that_does_not_end_is_ended(program: str, launcher: LauncherProcess) -> None:
    session = Session(launcher, CodeLimits(timeout_s=0.3, memory_mb=256))
    assert session.run("x = 1").ok
    assert session.run(program).text == f"[the program was ended: it took more than 0.3 s; {LOST}"
    session.close()


def test_threads_that_a_program_has_left_get_no_time_between_programs(session: Session) -> None:
    """They would take a core for as long as the model thinks."""
    session.run(
        "import threading, time\nn = 0\ndef count():\n    global n\n    while True:\n        n += 1\n"
        "threading.Thread(target=count, daemon=True).start()"
    )
    process = psutil.Process(session._child.pid)
    before = process.cpu_times().user
    for _ in range(20):
        if process.status() == psutil.STATUS_STOPPED:
            break
        threading.Event().wait(0.01)
    assert process.status() == psutil.STATUS_STOPPED
    threading.Event().wait(0.3)
    assert process.cpu_times().user - before < 0.1
    assert int(session.run("n").text) > 0


def test_an_interpreter_that_was_killed_from_outside_is_nobodys_answer(launcher: LauncherProcess) -> None:
    session = Session(launcher, LIMITS)
    session.run("x = 1")
    os.kill(session._child.pid, signal.SIGKILL)
    with pytest.raises(SandboxError, match="killed from outside"):
        session.run("x")
    session.close()


def test_sessions_are_apart_a_repeated_call_runs_nothing_and_a_lost_one_fails() -> None:
    async def main() -> None:
        sessions = Sessions(LIMITS, 2, 60.0)
        try:
            one, two = await asyncio.gather(sessions.run("a", "x = 1\nx"), sessions.run("b", "x = 2\nx"))
            assert (one.text, two.text) == ("1\n", "2\n")
            for _ in range(2):
                assert (await sessions.run("a", "x += 1\nx", 1)).text == "2\n"
            assert "SystemExit" not in (await sessions.run("b", "import os; os._exit(0)", 1)).text
            again = await sessions.run("b", "x", 2)
            assert again.fresh
            assert "NameError" in again.text
            assert (await sessions.run("a", "x" * (2 << 20), 2)).text.startswith("[the program was not run")
            with pytest.raises(SessionLost):
                await sessions.run("c", "x", 1)
            with pytest.raises(SessionLost):
                await sessions.run("a", "x", 9)
        finally:
            await sessions.close()

    asyncio.run(main())


def test_further_episodes_wait_for_a_seat_and_nothing_is_left() -> None:
    before = {child.pid for child in psutil.Process().children(recursive=True)}, psutil.Process().num_fds(), threading.active_count()

    async def main() -> None:
        sessions = Sessions(LIMITS, 2, 60.0)
        order = []

        async def episode(name: str) -> None:
            assert (await sessions.run(name, f"x = '{name}'")).ok
            order.append(name)
            assert (await sessions.run(name, "x", 1)).text == f"'{name}'\n", "a seat is empty when the next episode gets it"
            sessions.leave(name)

        gone = asyncio.ensure_future(sessions.run("first", "1"))
        await gone
        await asyncio.gather(*(episode(str(n)) for n in range(6)), asyncio.sleep(0), leave_later(sessions))
        assert sorted(order) == list("012345")
        assert len(sessions._all) == 2
        running = asyncio.ensure_future(sessions.run("x", "import time; time.sleep(99)"))
        await asyncio.sleep(0.2)
        waiting = [asyncio.ensure_future(sessions.run(name, "1")) for name in ("y", "z")]
        await asyncio.sleep(0.1)
        await sessions.close()
        with pytest.raises(SandboxError):
            await running
        assert isinstance((await asyncio.gather(*waiting, return_exceptions=True))[1], RuntimeError)
        with pytest.raises(RuntimeError, match="closed"):
            await sessions.run("x", "1")

    async def leave_later(sessions: Sessions) -> None:
        await asyncio.sleep(0.2)
        sessions.leave("first")

    asyncio.run(main())
    after = {child.pid for child in psutil.Process().children(recursive=True)}, psutil.Process().num_fds()
    assert after[0] <= before[0]
    assert after[1] <= before[1] + 2  # of the loop's default executor
    assert not any(thread.name == "python-session" for thread in threading.enumerate())


@pytest.mark.end_to_end
def test_an_idle_episode_loses_its_interpreter() -> None:
    async def main() -> None:
        sessions = Sessions(LIMITS, 1, 0.2)
        try:
            assert (await sessions.run("a", "x = 1")).ok
            assert (await sessions.run("b", "2")).text == "2\n", "the seat came free"
            with pytest.raises(SessionLost):
                await sessions.run("a", "x", 1)
        finally:
            await sessions.close()

    asyncio.run(main())
