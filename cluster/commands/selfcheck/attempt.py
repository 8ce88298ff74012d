"""One real run of a selfcheck: the code of `gatewise train`, watched, with a deadline, and with an engine that dies on purpose.

The export is watched alike. Whatever ends them becomes part of the result, as the parts that follow can often still run.
"""

import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cluster.causes.cause import Cause, find_cause
from cluster.causes.died import oom_kills
from cluster.causes.report import keep
from cluster.commands.offline import export_offline
from cluster.commands.selfcheck.rows import PartFailed
from cluster.commands.selfcheck.victim import kill_engine
from cluster.commands.train import train
from cluster.record.progress.progress import Progress
from cluster.stop import Stop, Stopped
from configs.schema import Config

Tell = Callable[[str], object]
IN_TRANSFER = "transfer"
LOOK_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """An engine that gets SIGKILL once step `after` is on record: at once, or in the next publish."""

    engine: int
    after: int
    in_publish: bool = False

    @property
    def name(self) -> str:
        return f"engine {self.engine}"


@dataclass(slots=True, kw_only=True)
class Attempt:
    """What a run did, beside the files that it wrote."""

    config: Config
    death: Death | None
    stages: dict[str, float] = field(default_factory=dict)  # seconds of each stage of the start that ended well
    said: list[str] = field(default_factory=list)
    killed: bool | None = None  # whether the engine that was to die was found; None before its time came
    cause: Cause | None = None  # what ended the run early
    late_s: float | None = None  # the deadline, where it ended the run
    seconds: float = 0.0

    def why(self) -> str:
        """Why the run did not get further, in one line."""
        if self.late_s is not None:
            return f"the run did not end within {self.late_s:g} s"
        if self.cause is None:
            return "the run ended without it"
        return f"{self.cause.role}: {self.cause.line}" if self.cause.role else self.cause.line

    def stage(self, text: str) -> float:
        """Seconds of a stage of the start; PartFailed where the run did not get through it."""
        if text not in self.stages:
            raise PartFailed(self.why())
        return self.stages[text]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What became of the export."""

    folder: Path | None  # None where it failed
    seconds: float
    cause: str = ""


class Watched(Progress):
    """The progress of an attempt: short lines, and the moments at which an engine dies."""

    def __init__(self, attempt: Attempt, tell: Tell) -> None:
        super().__init__(attempt.config.run.steps)
        self.attempt, self.tell, self.done = attempt, tell, -1

    def say(self, text: str) -> None:
        """Keep a line for the parts; only a warning is worth showing."""
        self.attempt.said.append(text)
        if text.startswith("warning: engine"):
            self.tell(f"  {text}")

    @contextmanager
    def stage(self, text: str) -> Iterator[None]:
        """Show a stage of the start and keep its seconds."""
        started = time.perf_counter()
        yield
        self.attempt.stages[text] = time.perf_counter() - started
        self.tell(f"  {text}: {self.attempt.stages[text]:.1f} s")

    @contextmanager
    def training(self, done: int) -> Iterator[None]:
        """No bar."""
        yield

    def step(self, step: int, values: Mapping[str, float]) -> None:
        self.tell(f"  step {step}/{self.steps}: {values['seconds/step']:.1f} s")

    def recorded(self, values: Mapping[str, Any]) -> None:
        """A step is on record; the next groups are being generated."""
        self.done = int(values["step"])
        death = self.attempt.death
        if death is not None and not death.in_publish and self.done == death.after:
            self.kill(death)

    def exchange(self, stage: str) -> None:
        """A stage of a publish begins."""
        death = self.attempt.death
        if death is not None and death.in_publish and stage == IN_TRANSFER and self.done == death.after and self.attempt.killed is None:
            self.kill(death)

    def kill(self, death: Death) -> None:
        self.attempt.killed = kill_engine(self.attempt.config.run_dir, death.engine)


def attempt_run(config: Config, tell: Tell, outer: Stop, *, limit_s: float, death: Death | None = None) -> Attempt:
    """Run `config` to its end, its failure or `limit_s`; a failure is a part of the result. Stopped where `outer` asks for a stop."""
    attempt = Attempt(config=config, death=death)
    watched, stop, over = Watched(attempt, tell), Stop(), threading.Event()
    before, started = oom_kills(), time.perf_counter()

    def watch() -> None:
        while not over.wait(LOOK_S):
            if outer.asked or time.perf_counter() - started > limit_s:
                attempt.late_s = limit_s
                stop.ask()
                return

    threading.Thread(target=watch, daemon=True, name="selfcheck's deadline").start()
    try:
        train(config, watched, watched.recorded, stop)
    except Exception as error:
        attempt.cause = find_cause(error, config, oom_kills_before=before)
        keep("".join(traceback.format_exception(error)), config)
    finally:
        over.set()
    if outer.asked:
        raise Stopped
    attempt.seconds = time.perf_counter() - started
    return attempt


def attempt_export(config: Config, to: Path, tell: Tell, outer: Stop) -> Exported:
    """Write the newest checkpoint as the command `export` does; a failure is a part of the result."""
    started = time.perf_counter()
    try:
        export_offline(config, None, str(to), Watched(Attempt(config=config, death=None), tell), outer)
    except Stopped:
        raise
    except Exception as error:
        return Exported(folder=None, seconds=time.perf_counter() - started, cause=find_cause(error, config).line)
    return Exported(folder=to, seconds=time.perf_counter() - started)
