"""No attack gets out of the sandbox, and none is judged right: every test passes no share of its cases."""

import os
from collections.abc import Iterator

import psutil
import pytest

from reward.programs.child_owner import RunResult
from reward.programs.code import CodeChecker
from reward.programs.limits import CodeLimits
from reward.programs.sandbox import Sandbox
from reward.programs.session_owner import Session
from tests.reward.attacks import bombs, calls, forgeries, reach
from tests.reward.attacks.world import SENTINEL, World, strangers, world

pytestmark = [pytest.mark.timeout(120), pytest.mark.end_to_end]
REACH = reach.PROGRAMS | calls.PROGRAMS
SHORT = CodeLimits(timeout_s=0.5, memory_mb=192, disk_mb=4, output_kb=256, partial=True)
ASSERTS = [
    *(f"assert add({a}, {b}) == {a + b}" for a, b in ((20417, 31), (-8, 3), (700, 77))),
    "assert abs(add(1.25, 2.5) - 3.75) < 1e-6",
    "import math\nassert math.isclose(add(1.25, 2.5), 3.75)",
    "assert not abs(add(2, 3) - 5)",
    "assert 20448 in [add(20417, 31)]",
    "assert add(20417, 31) in (20448,)",
]
CHECK = {"test": "def check(candidate):\n    assert candidate(20417, 31) == 20448, 'wrong'\n", "entry_point": "add"}
CALLS = {"fn_name": "add", "inputs": [[20417, 31], [-8, 3]], "outputs": [20448, -5]}
PRINT = {"inputs": ["20417 31\n"], "outputs": ["20448\n"]}
LEVELS = {
    "no namespaces": ("namespaces",),
    "no Landlock": ("landlock",),
    "same user": ("user",),
    "same user, no namespaces": ("user", "namespaces"),
}


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    os.environ["SENTINEL"] = SENTINEL
    with world(tmp_path_factory.mktemp("world")) as made:
        yield made
    del os.environ["SENTINEL"]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(CodeLimits(timeout_s=5, disk_mb=4)) as made:
        yield made


@pytest.fixture(scope="module")
def short() -> Iterator[CodeChecker]:
    with Sandbox(SHORT) as made:
        yield CodeChecker(SHORT, made)


@pytest.fixture(scope="module")
def bombed() -> Iterator[Sandbox]:
    with Sandbox(SHORT) as made:
        yield made


def assert_held(result: RunResult, name: str) -> None:
    said = result.stdout.decode(errors="replace") + result.stderr
    assert "ESCAPED" not in said, f"{name}: {said}"
    assert SENTINEL not in said, f"{name}: {said}"


@pytest.mark.parametrize("name", REACH)
def test_nothing_outside_can_be_reached(name: str, targets: World, sandbox: Sandbox) -> None:
    assert_held(sandbox.run(targets.program(REACH[name])), name)
    targets.assert_unchanged()


def test_nothing_outside_can_be_reached_from_a_session(targets: World) -> None:
    """One attack after the other, as far as possible in the interpreter that the attack before has left."""
    limits = CodeLimits(timeout_s=5, disk_mb=4)
    with Sandbox(limits) as sandbox:
        session = Session(sandbox.launcher, limits)
        for name, body in REACH.items():
            if session.ended:
                session.close()
                session = Session(sandbox.launcher, limits)
            printed = session.run(targets.program(body))
            if name == "read: open descriptors":  # its own: where programs come from, and where it says that one has ended
                assert printed.text.count("ESCAPED descriptor") == printed.text.count("\n") == 2
                continue
            assert "ESCAPED" not in printed.text, f"{name}: {printed.text}"
            assert SENTINEL not in printed.text, f"{name}: {printed.text}"
        targets.assert_unchanged()
        session.close()
        assert strangers(sandbox.launcher.process.pid) == []


@pytest.mark.parametrize("name", {**bombs.CRASHING, **bombs.ENDLESS})
def test_a_bomb_ends_no_more_than_its_session(name: str, bombed: Sandbox) -> None:
    program, _ = {**bombs.CRASHING, **bombs.ENDLESS}[name]
    session = Session(bombed.launcher, SHORT)
    printed = session.run(program)
    assert "ESCAPED" not in printed.text
    assert len(printed.text) < 2 * SHORT.output_kb << 10
    session.close()
    after = Session(bombed.launcher, SHORT)
    assert after.run("1 + 1").text == "2\n"
    after.close()


def test_no_attack_left_a_process_or_a_descriptor(targets: World, sandbox: Sandbox) -> None:
    sandbox.run("pass")
    descriptors = psutil.Process().num_fds()
    for name in ("double fork", "memfd and exec", "stream pair to another name", "outside, a pipe"):
        sandbox.run(targets.program({**reach.PROCESSES, **reach.NETWORK, **reach.WRITING}[name]))
    assert psutil.Process().num_fds() == descriptors
    assert strangers(sandbox.launcher.process.pid) == []


@pytest.mark.parametrize("level", LEVELS)
def test_every_level_of_the_sandbox_holds(level: str, targets: World) -> None:
    with Sandbox(CodeLimits(timeout_s=5, disk_mb=4), LEVELS[level]) as sandbox:
        for name, body in REACH.items():
            if level != "no Landlock" or name not in reach.OWN_TREE:
                assert_held(sandbox.run(targets.program(body)), name)
        targets.assert_unchanged()
        assert strangers(sandbox.launcher.process.pid) == []


@pytest.mark.parametrize("name", forgeries.PROGRAMS)
def test_no_verdict_can_be_forged(name: str, short: CodeChecker) -> None:
    program = forgeries.PROGRAMS[name]
    for reference in (ASSERTS, CHECK, CALLS, PRINT):
        assert short(program, reference) == 0.0, reference


@pytest.mark.parametrize("name", bombs.SOURCES)
def test_a_source_that_is_no_program_is_wrong(name: str, short: CodeChecker) -> None:
    assert short(bombs.SOURCES[name], PRINT) == 0.0


@pytest.mark.parametrize("name", bombs.CRASHING)
def test_a_program_that_crashes_ends(name: str, short: CodeChecker) -> None:
    program, ways = bombs.CRASHING[name]
    assert_ended(short.sandbox.run(program), name, ways)


@pytest.mark.parametrize("name", bombs.ENDLESS)
def test_a_program_that_does_not_end_is_ended(name: str, short: CodeChecker) -> None:
    program, ways = bombs.ENDLESS[name]
    assert_ended(short.sandbox.run(program), name, ways)
    assert short(program, ASSERTS[:1]) == 0.0


def assert_ended(result: RunResult, name: str, ways: bombs.Ways) -> None:
    assert result.ended in ways, f"{name}: {result.ended} {result.status} {result.stderr[-500:]}"
    assert "ESCAPED" not in result.stdout.decode(errors="replace")
    assert len(result.stdout) < 2 * SHORT.output_kb << 10


@pytest.mark.parametrize("level", ["all walls", *LEVELS])
def test_bombs_end_at_every_level_and_leave_nothing_on_disk(level: str) -> None:
    with Sandbox(SHORT, LEVELS.get(level, ())) as sandbox:
        for name, (program, ways) in (bombs.GREEDY | bombs.CRASHING).items():
            assert_ended(sandbox.run(program), name, (*ways, bombs.TIME))  # a busy machine gives memory slowly
        scratch = sandbox.launcher.scratch
    assert scratch is None or not os.path.exists(scratch.path)
