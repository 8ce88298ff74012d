"""The sandbox around right programs: what they may do, what ends them, what is left of them."""

import json
import math
import os
import platform
import re
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from reward.programs import scratch, seccomp, syscalls
from reward.programs.child_owner import Ended
from reward.programs.code import CodeChecker
from reward.programs.launcher_owner import SandboxError
from reward.programs.limits import CodeLimits
from reward.programs.sandbox import Sandbox, describe_confinement
from reward.programs.walls import Unconfined
from tests.reward.attacks import bombs
from tests.reward.attacks.reach import OWN_TREE
from tests.reward.attacks.world import world
from tests.toys.right_programs import PRINTING, SUM

pytestmark = pytest.mark.timeout(120)
ROOT = Path(__file__).resolve().parents[2]
LIMITS = CodeLimits(timeout_s=5)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(LIMITS) as made:
        yield made


@pytest.mark.parametrize("name", PRINTING)
def test_a_right_program_passes(name: str, sandbox: Sandbox) -> None:
    assert CodeChecker(LIMITS, sandbox)(PRINTING[name], SUM) == 1.0


def test_a_run_gives_what_was_printed_and_how_it_ended(sandbox: Sandbox) -> None:
    result = sandbox.run("import sys\nprint(input()[::-1])\nprint('why', file=sys.stderr)\nsys.exit(3)", "abc\n")
    assert (result.stdout, result.stderr, result.ended, result.status) == (b"cba\n", "why", Ended.EXITED, 3)
    assert 0 < result.cpu_s < 5
    result = sandbox.run("import os\nos.kill(os.getpid(), 11)")
    assert (result.ended, result.status, result.succeeded) == (Ended.KILLED, signal.SIGSEGV, False)


def test_a_run_finds_nothing_of_the_run_before_it(sandbox: Sandbox) -> None:
    wrote = sandbox.run(
        "import os, json, re\nopen('x', 'w').write('1')\njson.left = re.left = 1\nos.environ['LEFT'] = '1'\nprint(os.getcwd())"
    )
    assert wrote.succeeded
    found = sandbox.run("import os, json, re\nprint(os.listdir('.'), hasattr(json, 'left'), 'LEFT' in os.environ)")
    assert found.stdout == b"[] False False\n"


def test_random_numbers_differ_between_runs(sandbox: Sandbox) -> None:
    assert len({sandbox.run("import random\nprint(random.random())").stdout for _ in range(4)}) == 4


def test_a_program_that_only_waits_for_a_core_is_not_late() -> None:
    program = "import time\nend = time.process_time() + .2\nwhile time.process_time() < end: pass\nprint(5)"
    burn = [subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"]) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        with Sandbox(CodeLimits(timeout_s=0.45)) as sandbox:
            started = time.monotonic()
            assert sandbox.run(program).stdout == b"5\n"
            assert time.monotonic() - started > 0.2
    finally:
        for process in burn:
            process.kill()
            process.wait()


def test_a_late_program_is_killed_soon_after_its_limit() -> None:
    with Sandbox(CodeLimits(timeout_s=0.3)) as sandbox:
        started = time.monotonic()
        assert sandbox.run("import time\ntime.sleep(60)").ended is Ended.TIME
        assert time.monotonic() - started < 10


def test_the_walls_of_this_machine_are_said_in_words() -> None:
    assert re.match(r"(Landlock ABI \d+|no Landlock)", describe_confinement(LIMITS))
    assert "no namespaces" in describe_confinement(LIMITS, ["namespaces"])
    assert describe_confinement(LIMITS, ["landlock"]).startswith("no Landlock, a file tree of its own")
    assert "without capabilities" in describe_confinement(LIMITS, ["user"])


@pytest.mark.parametrize(
    ("without", "missing"), [(["seccomp"], "does not filter system calls"), (["landlock", "namespaces"], "neither Landlock")]
)
def test_a_machine_that_cannot_confine_is_refused_with_the_remedy(without: list[str], missing: str) -> None:
    with pytest.raises(Unconfined, match=f'{missing}.*code.sandbox = "unsafe"'):
        describe_confinement(LIMITS, without)
    with Sandbox(LIMITS, without) as sandbox, pytest.raises(ValueError, match=missing):
        sandbox.run("print(1)")


def test_unsafe_programs_have_our_rights_and_the_same_limits(tmp_path: Path) -> None:
    limits = CodeLimits(unsafe=True, timeout_s=0.4, memory_mb=256, output_kb=64, disk_mb=2)
    with Sandbox(limits) as sandbox:
        assert sandbox.walls.startswith("none")
        assert sandbox.run(f"open({str(tmp_path / 'x')!r}, 'w').write('1')").succeeded
        assert (tmp_path / "x").read_text() == "1"
        assert sandbox.run("x = bytes(2**30)").ended is Ended.MEMORY
        assert sandbox.run("while True: print('x' * 99)").ended is Ended.OUTPUT
        assert sandbox.run("f = open('x', 'wb')\nwhile True: f.write(bytes(2**16))").ended in (Ended.EXITED, Ended.DISK)
        result = sandbox.run("import os, time\npid = os.fork()\nprint(pid, flush=True) if pid else None\ntime.sleep(60)")
        assert result.ended is Ended.TIME
        grandchild = int(result.stdout)
        deadline = time.monotonic() + 10
        while psutil.pid_exists(grandchild) and psutil.Process(grandchild).status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_a_lost_launcher_is_an_error_and_the_next_run_starts_another(sandbox: Sandbox) -> None:
    first = sandbox.launcher.process.pid
    os.kill(first, signal.SIGKILL)
    with pytest.raises(SandboxError, match="launcher of programs is lost"):
        sandbox.run("print(1)")
    assert sandbox.run("print(1)").stdout == b"1\n"
    assert sandbox.launcher.process.pid != first


@pytest.mark.parametrize("victim", ["program", "tester"])
def test_a_process_that_is_killed_from_outside_is_an_error_and_no_wrong_program(victim: str) -> None:
    wait = "import time\ntime.sleep(60)\n"
    program, test = (wait, "") if victim == "program" else ("", wait)
    with Sandbox(CodeLimits(timeout_s=30)) as sandbox:
        launcher = psutil.Process(sandbox.launcher.process.pid)

        def kill() -> None:
            deadline = time.monotonic() + 10
            while len(children := launcher.children()) < 2 and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(0.3)  # past its walls
            max(children, key=lambda child: child.pid if victim == "program" else -child.pid).kill()

        killer = threading.Thread(target=kill)
        killer.start()
        with pytest.raises(SandboxError, match=f"the {victim} was killed from outside"):
            CodeChecker(sandbox.limits, sandbox)(f"{program}def f(): return 1", [f"{test}assert f() == 1"])
        killer.join()


def test_a_program_cannot_end_itself_as_if_from_outside(sandbox: Sandbox) -> None:
    for name in ("kills itself", "kills itself by its thread"):
        result = sandbox.run(bombs.CRASHING[name][0])
        assert (result.ended, result.status) == (Ended.EXITED, 1)
        assert "PermissionError" in result.stderr
    with Sandbox(CodeLimits(timeout_s=0.3)) as short:
        assert short.run(bombs.CRASHING["kills itself by a limit"][0]).ended is Ended.TIME
    assert sandbox.run("import resource\nprint(resource.getrlimit(resource.RLIMIT_CPU))").stdout == b"(6, 7)\n"


@pytest.mark.end_to_end
def test_a_program_that_ignores_the_end_of_its_cpu_time_is_late() -> None:
    program = "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass"
    with Sandbox(CodeLimits(timeout_s=8)) as sandbox, pytest.MonkeyPatch.context() as patch:
        patch.setattr(math, "ceil", lambda _: 0)  # one second of CPU time
        result = sandbox.run(program)
        assert (result.ended, result.status) == (Ended.TIME, signal.SIGKILL)
        assert result.cpu_s < 4


def test_launcher_and_program_die_with_their_owner() -> None:
    code = (
        "import os, signal, threading, time\nfrom reward.programs.limits import CodeLimits\nfrom reward.programs.sandbox import Sandbox\n"
        "sandbox = Sandbox(CodeLimits(timeout_s=60))\nprint(sandbox.launcher.process.pid, flush=True)\n"
        "threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGKILL)).start()\nsandbox.run('while True: pass')"
    )
    owner = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)
    assert owner.returncode == -signal.SIGKILL
    launcher = int(owner.stdout)
    deadline = time.monotonic() + 10
    while left := [p.pid for p in psutil.process_iter(["pid", "ppid"]) if launcher in (p.pid, p.info["ppid"])]:
        assert time.monotonic() < deadline, left
        time.sleep(0.02)


def test_the_launcher_knows_no_environment_and_no_module_of_ours() -> None:
    os.environ["SENTINEL"] = "secret"
    with Sandbox(LIMITS) as sandbox:
        environment = Path(f"/proc/{sandbox.launcher.process.pid}/environ").read_bytes()
        maps = Path(f"/proc/{sandbox.launcher.process.pid}/maps").read_text()
    del os.environ["SENTINEL"]
    assert environment == b""
    assert not re.search(r"torch|numpy|site-packages", maps)


AS_NOBODY = """
import json, os, sys
from reward.programs.code import CodeChecker
from reward.programs.limits import CodeLimits
from reward.programs.sandbox import Sandbox
from tests.reward.attacks import calls, reach
from tests.toys.right_programs import PRINTING, SUM
os.setgroups([]), os.setresgid(65534, 65534, 65534), os.setresuid(65534, 65534, 65534)
limits = CodeLimits(timeout_s=5)
with Sandbox(limits, sys.argv[2:]) as sandbox:
    wrong = [name for name in PRINTING if CodeChecker(limits, sandbox)(PRINTING[name], SUM) != 1]
    said = {name: sandbox.run(sys.argv[1] + body).stdout.decode() for name, body in (reach.PROGRAMS | calls.PROGRAMS).items()}
    print(json.dumps([sandbox.walls, wrong, {name: text for name, text in said.items() if "ESCAPED" in text}]))
"""


@pytest.mark.end_to_end
@pytest.mark.parametrize("without", [[], ["namespaces"], ["landlock"]])
def test_a_user_without_rights_is_confined_too(without: list[str], tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("the other tests run as such a user")
    pythons = [path for path in (sys.executable, "/usr/bin/python3.11") if open_to_all(Path(path))]
    if not pythons:
        pytest.skip("no Python 3.11 that every user may run")
    with world(tmp_path) as targets:
        command = [pythons[0], "-c", AS_NOBODY, targets.program(""), *without]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False, cwd=ROOT, env={"TMPDIR": "/tmp"})
        targets.assert_unchanged()
    assert ran.returncode == 0, ran.stderr
    walls, wrong, escaped = json.loads(ran.stdout)
    assert ("no Landlock" in walls, "no namespaces" in walls) == ("landlock" in without, "namespaces" in without)
    assert "without capabilities" in walls
    assert wrong == []
    assert escaped.keys() <= (OWN_TREE if without == ["landlock"] else set())


def open_to_all(path: Path) -> bool:
    """Whether any user may run the program there."""
    return path.exists() and all(place.stat().st_mode & 0o005 == 0o005 for place in (path.resolve(), *path.resolve().parents))


def test_the_numbers_of_system_calls_are_the_kernels() -> None:
    header = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
    if not header.exists():
        pytest.skip(f"no {header}")
    numbers = dict(re.findall(r"#define __NR_(\w+)\s+(\d+)", header.read_text()))
    table = syscalls.PLAIN | syscalls.LOOKED_AT | syscalls.OUR_OWN
    assert {name: own for name, (own, _) in table.items() if own != int(numbers[name])} == {}


@pytest.mark.parametrize("machine", syscalls.MACHINES)
def test_the_filter_is_well_formed_on_every_machine(machine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    steps = [struct.unpack("=HBBI", step) for step in seccomp.instructions(77)]
    assert steps[1][3] == seccomp.ARCHITECTURES[machine]
    assert len(steps) < 4096
    for place, (code, if_true, if_false, _) in enumerate(steps):
        if code in (seccomp.EQUAL, seccomp.AT_LEAST):
            assert place + 1 + max(if_true, if_false) < len(steps)
    assert steps[-1][0] == seccomp.RETURN
    assert steps[-1][3] == seccomp.ERRNO | seccomp.EPERM


def test_a_scratch_folder_is_removed_however_deep_and_closed_it_is(tmp_path: Path) -> None:
    top = tmp_path / "top"
    top.mkdir()
    before = os.getcwd()
    os.chdir(top)
    try:
        for number in range(1500):
            os.mkdir("d")
            os.chdir("d")
            if number % 500 == 0:
                os.symlink("/", "link")
                os.mkdir("closed", 0)
                Path("file").write_text("x")
    finally:
        os.chdir(before)
    scratch.remove(str(top))
    assert not top.exists()


def test_folders_of_owners_that_are_no_more_are_swept_away() -> None:
    gone = subprocess.run([sys.executable, "-S", "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True).stdout
    left = Path(scratch.tempfile.gettempdir()) / f"{scratch.PREFIX}-{gone.strip()}-test"
    (left / "program").mkdir(parents=True)
    with Sandbox(LIMITS, ["namespaces"]) as sandbox:
        sandbox.run("pass")
        assert not left.exists()
        own = sandbox.launcher.scratch
        assert own is not None
        assert os.path.exists(own.path)
    assert not os.path.exists(own.path)
