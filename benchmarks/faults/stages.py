"""A real tiny run whose engines and ranks are killed at each stage of their work: `python -m benchmarks.faults.stages`.

The driver is the real one. This module starts it in a process where every call to an actor is seen, and a process of the role that is
called dies while it works on the call. A strike comes once the run has recovered from the one before: a later step has all engines. At the
end the run must have reached its last step, its audit must be clean, and no process may be left.
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.faults.real import ENGINES, MARK, SETTINGS, Run, running
from benchmarks.rounds import CONFIG, OUT, ROOT

PLAN = "GATEWISE_FAULTS_PLAN"
POLL_S = 0.2
CALM = 3  # steps before the first strike


@dataclass(frozen=True, slots=True)
class Strike:
    """Kill a process of `role` so many seconds after a call of `method`. `at_once`: while the run still recovers from the strike before."""

    role: str
    method: str
    after_s: float = 0.0
    at_once: bool = False


STRIKES = (
    Strike("engine", "respond", 0.1),
    Strike("core", "join_transfer", at_once=True),  # the newcomer of the strike before changes the group
    Strike("engine", "update"),
    Strike("core", "update"),
    Strike("engine", "update", 0.01),
    Strike("core", "update", 0.02),
    Strike("engine", "resume"),
    Strike("rank", "step", 0.02),
    Strike("rank", "step", 0.15),
    Strike("rank", "send"),
    Strike("rank", "snapshot"),
    Strike("rank", "write"),
    Strike("rank", "load", at_once=True),
)


class Armed:
    """In the driver's process: sees every call, strikes when one is due, and writes what it did."""

    def __init__(self, run: Run, witness: Path, strikes: Sequence[Strike]) -> None:
        self.run, self.witness, self.left = run, witness, list(strikes)
        self.struck_at = 0  # step
        self.ready = False
        threading.Thread(target=self._watch, daemon=True).start()

    def called(self, method: str) -> None:
        """An actor is being called."""
        if self.ready and self.left and self.left[0].method == method:
            self.ready = False
            threading.Thread(target=self._strike, args=(self.left.pop(0),), daemon=True).start()

    def _strike(self, strike: Strike) -> None:
        time.sleep(strike.after_s)
        victims = self.run.of_role(strike.role)
        for victim in victims[:1]:
            victim.kill()
        self.struck_at = self.run.steps()
        row = {**asdict(strike), "step": self.struck_at, "pid": victims[0].pid if victims else None}
        with self.witness.open("a") as file:
            file.write(json.dumps(row) + "\n")
        self.ready = bool(self.left) and self.left[0].at_once

    def _watch(self) -> None:
        while self.left:
            time.sleep(POLL_S)
            rows = self.run.rows() if not self.ready else []
            last = rows[-1] if rows else {"step": 0, "engines": 0}
            if last["step"] > max(self.struck_at, CALM) + 1 and last["engines"] >= ENGINES:
                self.ready = True


def drive(arguments: Sequence[str]) -> None:
    """Be the driver, with every call to an actor seen, also over a line."""
    import ray.actor

    from cluster.actors.fleet.line import Line
    from cluster.cli import main as train

    plan = json.loads(os.environ[PLAN])
    run = Run(Path(plan["folder"]), [])
    run.mark = os.environ[MARK]
    armed = Armed(run, Path(plan["witness"]), [Strike(**strike) for strike in plan["strikes"]])
    really: Callable[..., Any] = ray.actor.ActorMethod._remote

    def remote(self: Any, *args: Any, **kwargs: Any) -> Any:
        called = really(self, *args, **kwargs)
        armed.called(self._method_name)
        return called

    past_ray = Line.ask

    async def ask(self: Any, method: str, questions: Sequence[Any]) -> Any:
        armed.called(method)
        return await past_ray(self, method, questions)

    with patch.object(ray.actor.ActorMethod, "_remote", remote), patch.object(Line, "ask", ask):
        train(list(arguments))


def main(argv: Sequence[str] | None = None) -> int:
    """Run it; the exit status is 1 if a strike did not come, the run or its audit failed, or a process is left."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults.stages", description=__doc__)
    parser.add_argument("--minutes", type=float, default=15.0, help="that the run may take")
    parser.add_argument("--only", nargs="+", metavar="METHOD", help="strike in these calls alone")
    parser.add_argument("--out", type=Path, default=OUT / "stages")
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="of the run")
    asked = parser.parse_args(argv)
    asked.out.mkdir(parents=True, exist_ok=True)
    folder = asked.out.absolute() / time.strftime("run-%m%d-%H%M%S")
    witness = folder.with_suffix(".witness.jsonl")
    strikes = [asdict(one) for one in STRIKES if not asked.only or one.method in asked.only]
    os.environ[PLAN] = json.dumps({"folder": str(folder), "witness": str(witness), "strikes": strikes})
    settings = (*SETTINGS, "run.save_every=2", "learner.restarts=100", "rollout.restarts=100", *asked.settings)
    command = [
        sys.executable,
        "-m",
        "benchmarks.faults.stages",
        "drive",
        "train",
        str(CONFIG.relative_to(ROOT)),
        f"run.dir={folder}",
        *settings,
    ]
    with running(folder, command) as run:
        status, struck = wait_for_strikes(run, witness, len(strikes), 60 * asked.minutes)
        time.sleep(5)
        left = [f"{process.pid} {' '.join(process.cmdline())[:100]}" for process in run.family()]
    audited = subprocess.run([sys.executable, "-m", "cluster", "audit", str(folder)], cwd=ROOT, capture_output=True, text=True, check=False)
    print(audited.stdout + audited.stderr)
    for one in struck:
        print(f"{one['role']:>8} killed {one['after_s']:g} s into {one['method']}, after step {one['step']}")
    print(
        f"{len(struck)} of {len(strikes)} strikes, {run.steps()} steps, stopped with status {status}; "
        f"left: {', '.join(left) or 'no process'}; "
        f"audit: {'clean' if audited.returncode == 0 else f'exit status {audited.returncode}'}; output: {run.output}"
    )
    return bool(audited.returncode or left or status != STOPPED or len(struck) < len(strikes))


STOPPED = 143  # of a run that was stopped by SIGTERM and has saved


def wait_for_strikes(run: Run, witness: Path, count: int, within_s: float) -> tuple[int, list[dict[str, Any]]]:
    """Wait until all strikes came and a few steps after the last; stop the run. Its exit status, and the strikes."""
    end, struck = time.monotonic() + within_s, []
    assert run.process is not None
    while run.goes() and time.monotonic() < end:
        struck = [json.loads(line) for line in witness.read_text().splitlines()] if witness.exists() else []
        if len(struck) == count and run.steps() > struck[-1]["step"] + CALM and run.rows()[-1]["engines"] >= ENGINES:
            run.process.terminate()
            break
        time.sleep(POLL_S)
    return run.process.wait(120), struck


if __name__ == "__main__":
    if sys.argv[1:2] == ["drive"]:
        drive(sys.argv[2:])
    else:
        sys.exit(main())
