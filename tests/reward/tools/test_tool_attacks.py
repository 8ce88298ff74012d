"""The attack programs of the sandbox, through the tools `python` and `python_session`: none gets out."""

import os
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from reward.pool_tool import cut
from reward.programs.limits import CodeLimits
from reward.programs.python_tool import PythonTool
from reward.programs.sandbox import Sandbox
from reward.programs.session_owner import Session
from tests.reward.attacks import bombs, calls, reach
from tests.reward.attacks.world import SENTINEL, World, strangers, world

pytestmark = [pytest.mark.timeout(240), pytest.mark.end_to_end]
REACH = reach.PROGRAMS | calls.PROGRAMS
LIMITS = CodeLimits(timeout_s=5, disk_mb=4)
SHORT = CodeLimits(timeout_s=0.3, memory_mb=192, disk_mb=4, output_kb=64)
OWN_PIPES = 2  # by which a session gets its programs and says that one has ended: a program can forge only what it is shown itself
JUNK = """
import os
for fd in range(3, 64):
    for text in (b"7 1\\n", b"2 1\\n" * 99, b"{]}\\xff", b"x" * 3000):
        try: os.write(fd, text)
        except OSError: pass
    try: os.read(fd, 1)
    except OSError: pass
"""
Say = Callable[[str], str]  # what the model is shown of a program


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    os.environ["SENTINEL"] = SENTINEL
    with world(tmp_path_factory.mktemp("world")) as made:
        yield made
    del os.environ["SENTINEL"]


def by_tool(sandbox: Sandbox, program: str) -> str:
    return "".join(PythonTool(sandbox.limits, sandbox).call({"code": program}).values())


def by_session(sandbox: Sandbox, program: str) -> str:
    session = Session(sandbox.launcher, sandbox.limits)
    try:
        shown = session.run("x = 1").text + session.run(program).text
        return cut(shown if session.ended else shown + session.run("print('on')").text)
    finally:
        session.close()


@pytest.mark.parametrize("way", [by_tool, by_session])
def test_no_attack_escapes_by_a_tool(way: Callable[[Sandbox, str], str], targets: World) -> None:
    assert len(REACH) > 50
    with Sandbox(LIMITS) as sandbox:
        say: Say = partial(way, sandbox)
        assert "2" in say("1 + 1")
        for name, body in REACH.items():
            shown = say(targets.program(body))
            own = OWN_PIPES if name.endswith("open descriptors") and way is by_session else 0
            assert shown.count("ESCAPED") == own, f"{name}: {shown}"
            assert SENTINEL not in shown, f"{name}: {shown}"
        targets.assert_unchanged()
        assert strangers(sandbox.launcher.process.pid) == []


@pytest.mark.parametrize("way", [by_tool, by_session])
def test_bombs_end_and_their_output_is_small(way: Callable[[Sandbox, str], str]) -> None:
    endless = {name: bombs.ENDLESS[name] for name in ("loop", "waiting thread", "at exit", "ignored signals", "swallowed interrupts")}
    greedy = {name: bombs.GREEDY[name] for name in ("list", "bytes", "stdout by os.write")}
    with Sandbox(SHORT) as sandbox:
        for name, (program, _) in (greedy | endless).items():
            shown = way(sandbox, program)
            assert "ESCAPED" not in shown, name
            assert len(shown) < 80_000, name
        assert "3" in way(sandbox, "1 + 2")
        scratch = sandbox.launcher.scratch
    assert scratch is None or not os.path.exists(scratch.path)


def test_a_program_that_writes_to_the_pipes_of_its_session_harms_itself_alone() -> None:
    with Sandbox(SHORT) as sandbox:
        assert "ESCAPED" not in by_session(sandbox, JUNK)
        assert by_session(sandbox, "print(x + 1)") == "2\non\n"
