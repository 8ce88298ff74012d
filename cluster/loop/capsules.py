"""Keeps what a step was learned from where that is worth it: the step is due, its update was dropped or spiked, or an alarm was raised.

learned step ──► due, or a cause? ──► every rank writes its rows ──► the words of all responses ──► capsule.json, and its name
                                               │ no room on the disk, or a full one
                                               └──► removed and said; the run goes on
"""

import asyncio
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from cluster.record.capsules.groups import describe_group
from cluster.record.capsules.keep import drop_old
from cluster.record.capsules.write import DUE, FOLDER, begin, finish
from cluster.record.checkpoint import Checkpoints
from cluster.record.metrics.metrics import read_metrics
from cluster.record.metrics.sinks import METRICS
from configs.schema import Config
from rollout.window.scored import Scored, Text

COUNTED = {"updates_skipped": "an update was dropped"}  # metrics that count since the run began
OF_THE_STEP = {"updates_spiked": "an update spiked"}  # metrics that count in this step alone
# Warnings about the policy, by parts of their names; a step says nothing about the others.
OF_THE_POLICY = (
    "spike",
    "jump",
    "collapse",
    "explodes",
    "vanishes",
    "reward_falls",
    "rate_too_high",
    "moved_far",
    "mismatch_high",
    "bad_log",
)


class Ranks(Protocol):
    """What a capsule needs of the learner's ranks."""

    async def capsule(self, folder: Path, room: int) -> Sequence[Mapping[str, Any]]:
        """Write every rank's rows of the last step; what `write_rank` says of each."""


class Engines(Protocol):
    """What a capsule needs of the engines."""

    async def words(self, groups: Sequence[Scored]) -> Sequence[Sequence[Text] | None]:
        """The words of all responses."""


class Capsules:
    """The capsules of one attempt at a run."""

    def __init__(self, config: Config, ranks: Ranks, engines: Engines, checkpoints: Checkpoints, say: Callable[[str], object]) -> None:
        self.config, self.ranks, self.engines, self.checkpoints, self.say = config, ranks, engines, checkpoints, say
        self.counted: dict[str, float] = {}
        self.open: frozenset[str] = frozenset()  # warnings that go on
        self.last: frozenset[str] = frozenset()  # causes of the step before
        self.complaint = ""

    def begin(self, from_step: int, open_warnings: Collection[str]) -> None:
        """Continue after a step: what was counted and warned about before it is no cause."""
        path = self.config.run_dir / METRICS
        rows = [row for row in (read_metrics(self.config.run_dir) if path.exists() else ()) if row["step"] <= from_step]
        self.counted = {name: rows[-1].get(name) or 0.0 for name in COUNTED} if rows else {}
        self.open, self.last = frozenset(open_warnings), frozenset()
        for left in (self.config.run_dir / FOLDER).glob(".step_*"):
            shutil.rmtree(left, ignore_errors=True)

    async def after_step(
        self, step: int, groups: Sequence[Scored], values: Mapping[str, float], alarm: object | None, open_warnings: Collection[str]
    ) -> None:
        """Keep the step that was just learned, if it is worth it; of causes that go on, the first step. A full disk ends no run."""
        causes = self._causes(values, alarm, open_warnings)
        new, self.last = [cause for cause in causes if cause not in self.last], frozenset(causes)
        every = self.config.run.capsule_every
        if not self.config.run.keep_capsules or not (new or (every and step % every == 0)):
            return
        why = await self._write(step, new or [DUE], groups, values)
        if why and why != self.complaint:
            self.say(f"warning: no capsule of step {step} was kept: {why}")
        elif new and not why:
            self.say(f"step {step}: {', '.join(new)}; kept as a capsule: gatewise replay {self.newest}")
        self.complaint = why

    def _causes(self, values: Mapping[str, float], alarm: object | None, open_warnings: Collection[str]) -> list[str]:
        """Why this step is worth keeping, in words; empty if it is not."""
        counted = [words for name, words in COUNTED.items() if values.get(name, 0.0) > self.counted.get(name, 0.0)]
        counted += [words for name, words in OF_THE_STEP.items() if values.get(name, 0.0) > 0]
        self.counted |= {name: values[name] for name in COUNTED if name in values}
        begun = sorted(set(open_warnings) - self.open)
        self.open = frozenset(open_warnings)
        warned = [f"warning {name}" for name in begun if any(part in name for part in OF_THE_POLICY)]
        return [*counted, *(["mismatch alarm"] if alarm is not None else []), *warned]

    async def _write(self, step: int, reasons: Sequence[str], groups: Sequence[Scored], values: Mapping[str, float]) -> str:
        """Write the capsule; why there is none, empty if there is one."""
        run_dir, aside = self.config.run_dir, None
        try:
            aside = begin(run_dir, step)
            written = await self.ranks.capsule(aside, self.checkpoints.size())
            if failed := [str(of_rank["error"]) for of_rank in written if "error" in of_rank]:
                return failed[0]
            words = await self.engines.words(groups)
            described = [describe_group(one, texts, one.prompt.token_ids.tolist()) for one, texts in zip(groups, words, strict=True)]
            whole = partial(finish, aside, self.config, step=step, reasons=reasons, metrics=values, groups=described, ranks=written)
            self.newest = await asyncio.to_thread(whole)
            await asyncio.to_thread(drop_old, run_dir, self.config.run.keep_capsules)
        except OSError as error:
            return error.strerror or str(error)
        finally:
            if aside is not None:
                shutil.rmtree(aside, ignore_errors=True)
        return ""
