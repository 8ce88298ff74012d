"""A real tiny run under fire: a killer strikes a process of a random role every so often, and keeps a witness of every strike.

    python -m benchmarks.faults.real --minutes 15 --every 60

Two engines, one rank and reward workers on this machine's CPUs. A run that ends is continued as a user would, with run.resume=auto. At the
end it prints the ETTR (useful time / time under fire) and what `audit` says of the run. Useful time counts each recorded step once, at the
median pace of all steps: most of them are calm, and their pace changes while a run learns.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from benchmarks.rounds import CONFIG, OUT, ROOT
from cluster.record.metrics.metrics import read_metrics
from cluster.record.metrics.sinks import METRICS

MARK = "GATEWISE_FAULTS_RUN"
# By what is in its command line or its name, for each role.
ROLES: Mapping[str, str] = {
    "engine": "ray::EngineActor",
    "core": "EngineCore",
    "rank": "ray::LearnerActor",
    "reward": "ray::RewardActor",
    "worker": "reward.workers.template_main",
    "driver": "-m cluster train",
}
SIGNALS = {"KILL": signal.SIGKILL, "STOP": signal.SIGSTOP}
ENGINES = 2
SETTINGS = (
    f"rollout.engines={ENGINES}",
    "rollout.cpus_per_engine=0.5",  # two cores are enough
    "learner.cpus_per_rank=0.5",
    "rollout.groups_per_step=16",
    "rollout.group_size=4",
    "run.save_every=5",
    "run.eval_every=0",
    "run.steps=100000",
    "run.deadline_s=120",
    "run.resume=auto",
)
POLL_S = 0.1
END_S = 120.0  # that the run may take to stop and save


class Run:
    """The processes of one run directory, through all of its drivers."""

    def __init__(self, folder: Path, command: Sequence[str]) -> None:
        """`command` starts a driver, or continues the run."""
        self.folder, self.command = folder, command
        self.mark = uuid.uuid4().hex
        self.output = folder.with_suffix(".txt")
        self.drivers = 0
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start a driver; a later one continues."""
        self.drivers += 1
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                self.command,
                cwd=ROOT,
                env={**os.environ, MARK: self.mark, "PYTHONUNBUFFERED": "1"},
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def goes(self) -> bool:
        """Whether its driver lives."""
        return self.process is not None and self.process.poll() is None

    def family(self) -> Iterator[psutil.Process]:
        """Every living process of the run."""
        for process in psutil.process_iter():
            try:
                if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) == self.mark:
                    yield process
            except psutil.Error:
                continue

    def of_role(self, role: str) -> list[psutil.Process]:
        """The living processes of a role."""
        found = []
        for process in self.family():
            try:
                if ROLES[role] in f"{process.name()} {' '.join(process.cmdline())}":
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def rows(self) -> list[dict[str, Any]]:
        """The recorded steps."""
        return [row for row in read_metrics(self.folder) if row["step"] > 0] if (self.folder / METRICS).exists() else []

    def steps(self) -> int:
        """The newest recorded step."""
        return max((row["step"] for row in self.rows()), default=0)

    def said(self) -> int:
        """Bytes of output so far."""
        return self.output.stat().st_size


class Killer:
    """Strikes, and keeps what it saw."""

    def __init__(self, run: Run, roles: Sequence[str], number: signal.Signals, seed: int) -> None:
        self.run, self.roles, self.number = run, roles, number
        self.chance = random.Random(seed)
        self.witness = run.folder.with_suffix(".witness.jsonl")
        self.open: list[dict[str, Any]] = []  # strikes that the run has not recovered from
        self.closed: list[dict[str, Any]] = []

    def strike(self) -> None:
        """Send the signal to one process of a random role; nothing if none of that role lives now."""
        role = self.chance.choice(list(self.roles))
        there = self.run.of_role(role)
        if not there:
            return
        victim = self.chance.choice(there)
        at = time.monotonic()
        victim.send_signal(self.number)
        self.open.append(
            {
                "role": role, "pid": victim.pid, "signal": self.number.name, "at": at, "step": self.run.steps(), "said": self.run.said(),
                "drivers": self.run.drivers, "gone_s": None, "noticed_s": None, "recovered_s": None, "line": "",
            }
        )  # fmt: skip

    def look(self) -> None:
        """Note what has become of the strikes: the process is gone, the run speaks of it, a later step has all engines."""
        rows = self.run.rows()
        for one in list(self.open):
            passed = round(time.monotonic() - one["at"], 1)
            if one["gone_s"] is None and not psutil.pid_exists(one["pid"]):
                one["gone_s"] = passed
            if one["noticed_s"] is None and (line := self._line_after(one["said"])):
                one["noticed_s"], one["line"] = passed, line
            later = [row for row in rows if row["step"] > one["step"] and row["engines"] >= ENGINES]
            if later and (one["noticed_s"] is not None or one["role"] not in ("engine", "core")):
                one["recovered_s"] = passed
                self.close(one)

    def close(self, one: dict[str, Any]) -> None:
        """Write a strike into the witness file."""
        self.open.remove(one)
        self.closed.append(one)
        with self.witness.open("a") as file:
            file.write(json.dumps(one) + "\n")

    def _line_after(self, place: int) -> str:
        """The first line of the driver's output since then that speaks of a failure; empty if there is none."""
        with self.run.output.open("rb") as file:
            file.seek(place)
            lines = file.read().decode(errors="replace").splitlines()
        words = ("warning: engine", "died", "suspect", "restart", "gatewise: ", "comes back", "lost")
        return next((line[:300] for line in lines if any(word in line for word in words)), "")


@contextmanager
def running(folder: Path, command: Sequence[str]) -> Iterator[Run]:
    """A run whose processes are all ended afterwards."""
    run = Run(folder, command)
    run.start()
    try:
        yield run
    finally:
        for process in list(run.family()):
            try:
                process.kill()
            except psutil.Error:
                continue


def wait_for_steps(run: Run, steps: int, within_s: float) -> None:
    """Return once so many steps are recorded; RuntimeError if the driver ends before, or if they do not come."""
    end = time.monotonic() + within_s
    while run.steps() < steps:
        if not run.goes() or time.monotonic() > end:
            raise RuntimeError(f"{steps} calm steps did not come within {within_s:g} s; the run said:\n{run.output.read_text()[-2000:]}")
        time.sleep(POLL_S)


def under_fire(run: Run, killer: Killer, every_s: float, seconds: float) -> None:
    """Strike until the time is over; a driver that ended is followed by another one."""
    began = time.monotonic()
    due = began
    while time.monotonic() < began + seconds:
        if time.monotonic() >= due:
            killer.strike()
            due += every_s
        if not run.goes():
            run.start()
        killer.look()
        time.sleep(POLL_S)


def stopped(run: Run, wait_s: float = 5.0) -> tuple[int, list[str]]:
    """Stop the run as a user does: its exit status, and the processes that it left."""
    assert run.process is not None
    if run.goes():
        run.process.send_signal(signal.SIGTERM)
    status = run.process.wait(END_S)
    time.sleep(wait_s)
    return status, [f"{process.pid} {' '.join(process.cmdline())[:100]}" for process in run.family()]


def main(argv: Sequence[str] | None = None) -> int:
    """Run it; the exit status is 1 if the audit finds a violation or a process is left."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults.real", description=__doc__)
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--every", type=float, default=60.0, metavar="S")
    parser.add_argument("--roles", nargs="+", choices=ROLES, default=["engine", "core", "rank", "reward", "worker"])
    parser.add_argument("--signal", choices=SIGNALS, default="KILL")
    parser.add_argument("--calm", type=int, default=10, metavar="STEPS", help="steps before the first strike")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=OUT / "under_fire")
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="of the run")
    asked = parser.parse_args(argv)
    asked.out.mkdir(parents=True, exist_ok=True)
    folder = asked.out.absolute() / time.strftime("run-%m%d-%H%M%S")
    train = [sys.executable, "-m", "cluster", "train", str(CONFIG.relative_to(ROOT)), f"run.dir={folder}", *SETTINGS, *asked.settings]
    with running(folder, train) as run:
        wait_for_steps(run, asked.calm, 600)
        killer, before, began = Killer(run, asked.roles, SIGNALS[asked.signal], asked.seed), run.steps(), time.monotonic()
        under_fire(run, killer, asked.every, 60 * asked.minutes)
        seconds, steps = time.monotonic() - began, run.steps() - before
        pace = median(row["seconds/step"] for row in run.rows())
        for one in list(killer.open):
            killer.close(one)
        status, left = stopped(run)
    audited = subprocess.run([sys.executable, "-m", "cluster", "audit", str(folder)], cwd=ROOT, capture_output=True, text=True, check=False)
    print(audited.stdout + audited.stderr)
    for one in killer.closed:
        print(
            f"{one['role']:>8} {one['signal']} at step {one['step']}: noticed {one['noticed_s']} s, recovered {one['recovered_s']} s later"
        )
    print(
        f"{len(killer.closed)} strikes in {seconds:.0f} s, {run.drivers} drivers, {steps} steps, the median one of {pace:.2f} s; "
        f"ETTR {steps * pace / seconds:.3f}; stopped with status {status}; left: {', '.join(left) or 'no process'}; "
        f"audit: {'clean' if audited.returncode == 0 else f'exit status {audited.returncode}'}; witness: {killer.witness}"
    )
    return bool(audited.returncode or left)


if __name__ == "__main__":
    sys.exit(main())
