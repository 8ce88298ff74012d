"""Saves a run beside its training: training waits for a copy of the state, and the copy is written while the next steps are learned.

    finished step ──► due? ──► room on the disk? ──► snapshot (training waits) ──► write ──► ledger and metrics on disk ──► commit
                                     │ no                                            │ failed: what was written is removed
                                     └──────────► said after every step ◄────────────┘ training goes on, and the save is tried again

One write is under way at a time: the next due save, a stop and the end of the run wait for it. The newest whole checkpoint is only ever
deleted by the commit of a newer one.
"""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from cluster.record.checkpoint import Arrays, Checkpoints, Position
from cluster.record.saves.integrity import EXPORT
from cluster.record.saves.needs import Ranks, Record
from cluster.record.saves.trouble import words, words_of_the_disk
from cluster.stop import Stop
from configs.arithmetic import GB
from configs.errors import RunFailed
from configs.schema import Config

MARGIN = 1.05  # of a checkpoint's size that must be free: folders and the run's other files need some
PATIENCE = 6  # failed writes in a row after which the time between two tries no longer doubles
LEAST_PATIENCE_S = 10.0  # that a run which ends by an error waits for the write that is under way


class NotSaved(RunFailed):
    """The run has ended with finished steps that no checkpoint has."""


class Saver:
    """The saves of one attempt at a run."""

    def __init__(
        self,
        config: Config,
        ranks: Ranks,
        checkpoints: Checkpoints,
        records: Sequence[Record],
        say: Callable[[str], object],
        stop: Stop,
    ) -> None:
        self.config, self.ranks, self.checkpoints, self.records, self.say, self.stop = config, ranks, checkpoints, records, say, stop
        self.said = dict.fromkeys(self.records, "")  # the newest complaint of each
        self._forget(0)

    def _forget(self, step: int) -> None:
        """Begin anew at a step."""
        self.saved = self.began = step  # the newest step that a checkpoint has, and the one that was continued
        self.reached: tuple[Position, Arrays] | None = None  # after the newest finished step; None before the first one
        self.copied: int | None = None  # the step of the ranks' snapshot
        self.exported: int | None = None  # the step whose policy lies in `aside`
        self.aside: Path | None = None  # the folder of the save that is prepared
        self.writing: asyncio.Task[None] | None = None
        self.error: BaseException | None = None  # of the newest write that failed, None since the last one that did not
        self.cause = ""  # why the newest save failed; empty if it did not
        self.failures, self.try_at = 0, 0  # writes that failed in a row, and the step from which the next is tried

    @asynccontextmanager
    async def from_step(self, step: int) -> AsyncIterator[None]:
        """Within: save from a step on that a checkpoint has; 0 is the model.

        A write that is under way when an error ends the block is finished: its step is worth as much as any. One whose ranks no longer
        answer is given up.
        """
        self._forget(step)
        try:
            yield
        except Exception:
            if self.writing is not None:
                patience = max(LEAST_PATIENCE_S, 3 * (self.stop.needed_s or 0.0))
                await asyncio.wait((self.writing,), timeout=min(patience, float(self.config.run.deadline_s)))
            raise
        finally:
            if self.writing is not None:
                self.writing.cancel()
                await self.settled()

    def plan(self, done: int) -> str:
        """What a stop does while the step after `done` is generated, as the user reads it."""
        if done == self.saved:
            return f"stopping after step {done}, which is saved" if done else "stopping before the first step"
        return f"stopping after step {done} is saved"

    async def in_the_ranks_turn(self, step: int) -> bool:
        """Copy the state of a step before its publish, if afterwards the engines have the GPUs; whether that was needed."""
        if not self.config.placement.share or not self._to_copy(step):
            return False
        await self._copy(step)
        return True

    async def after_step(self, position: Position, stream: Arrays) -> None:
        """Begin the save of a step that is due, and say what is not saved. Groups submitted since the step are handed out again.

        Raises what made a run's first save fail, unless it is the disk: the next ones would fail too, and the run would have no checkpoint.
        """
        if self.error is not None and self.saved == self.began and not self._is_of_the_disk():
            raise self.error
        self.reached = position, stream
        # Where GPUs are shared the engines have them now, so that a copy would cost them their weights.
        if self.copied != position.step and not self.config.placement.share and self._to_copy(position.step):
            await self._copy(position.step)
        if self.copied == position.step and self._to_save(position.step):
            self.writing = asyncio.create_task(self._write(position, stream), name=f"save step {position.step}")
            if self.config.run.steps == position.step or self.stop.asked:
                await self.settled()
        self._complain(position.step)

    async def settled(self) -> None:
        """Wait for the write that is under way. A cancelled wait does not cancel the write."""
        if self.writing is not None:
            await asyncio.wait((self.writing,))
            self.writing = None

    async def finish(self) -> None:
        """Save the newest finished step, unless it is saved; NotSaved if that fails. Call it when no step is under way.

        After a step that was cut the ranks' state is of no step: then only their snapshot can be saved.
        """
        await self.settled()
        if self.reached is None or self.reached[0].step == self.saved:
            return
        position, stream = self.reached
        if self.stop.cut:
            if self.copied != position.step:
                self.say(f"step {position.step} has no copy in host memory: the newest checkpoint is {self._newest()}")
                return
        elif self.copied != position.step:
            await self._copy(position.step)
        elif self.config.run.export_checkpoints and self.exported != position.step and not self.stop.hurried:
            await self._export(position.step)
        if self.copied == position.step:
            await self._write(position, stream)
        if self.saved == position.step:
            return
        if self.error is not None and not self._is_of_the_disk():
            raise self.error
        left = "; ".join(filter(None, (record.complaint() for record in self.records)))
        raise NotSaved(
            f"the newest checkpoint is {self._newest()}, and step {position.step} could not be saved: {self.cause}"
            + (f" ({left})" if left else "")
        ) from self.error

    def _due(self, step: int) -> bool:
        run = self.config.run
        return step % run.save_every == 0 or step == run.steps

    def _to_save(self, step: int) -> bool:
        """Whether a finished step is to be saved now: it is due, the run stops, or a due save has failed."""
        return self._due(step) or self.stop.asked or bool(self.cause and step >= self.try_at)

    def _to_copy(self, step: int) -> bool:
        """Whether the ranks copy the state of a step: to save it, or to have it where a preemption cuts the next one.

        The ranks hold one copy, so while one is written only a save that is due takes another.
        """
        writes = self.writing is not None and not self.writing.done()
        return self._to_save(step) or (self.config.run.grace_s is not None and not writes)

    async def _copy(self, step: int) -> None:
        """Let the ranks copy their state, if the disk has room for it."""
        await self.settled()
        if self._to_save(step) and not await self._has_room(step):
            return
        started, self.copied = time.perf_counter(), None
        try:
            await self.ranks.snapshot()
            self.copied = step
            if self.config.run.export_checkpoints and self._to_save(step):
                await self._export(step)
        except Exception as error:
            if not words_of_the_disk(error):
                raise
            await self._failed(step, error)
        self.stop.needed_s = max(self.stop.needed_s or 0.0, time.perf_counter() - started)

    async def _export(self, step: int) -> None:
        self.aside = await asyncio.to_thread(self.checkpoints.begin, step)
        try:
            await self.ranks.export(self.aside / EXPORT)
            self.exported = step
        except Exception as error:
            if not words_of_the_disk(error):
                raise
            self.say(f"warning: the policy of step {step} is not exported: {words(error)}")
            await asyncio.to_thread(self.checkpoints.discard, self.aside)
            self.aside = None

    async def _write(self, position: Position, stream: Arrays) -> None:
        """Write the snapshot and commit it. A failure is kept for the warnings after each step."""
        started = time.perf_counter()
        try:
            if self.aside is None or self.exported != position.step:
                self.aside = await asyncio.to_thread(self.checkpoints.begin, position.step)
            files = await self.ranks.write(self.aside)
            for record in self.records:  # a checkpoint promises that its step is on record
                record.flush()
            await _to_its_end(asyncio.to_thread(self.checkpoints.commit, self.aside, position, stream, files))
        except asyncio.CancelledError:
            await self._discard()
            raise
        except Exception as error:
            await self._failed(position.step, error)
            return
        self.saved, self.aside = position.step, None
        self.error, self.cause, self.failures = None, "", 0
        self.stop.needed_s = time.perf_counter() - started

    async def _failed(self, step: int, error: BaseException) -> None:
        self.error, self.cause = error, words(error)
        self.failures += 1
        self.try_at = step + min(2 ** min(self.failures, PATIENCE), self.config.run.save_every)
        await self._discard()

    async def _discard(self) -> None:
        aside, self.aside, self.exported = self.aside, None, None
        if aside is not None:
            await asyncio.to_thread(self.checkpoints.discard, aside)

    async def _has_room(self, step: int) -> bool:
        """Whether a checkpoint of the last one's size fits on the disk; otherwise the save has failed, until there is room."""
        try:
            needed, free = await asyncio.to_thread(self._room)
        except OSError as error:
            self.cause, self.error, self.try_at = words(error), error, step + 1
            return False
        if free >= MARGIN * needed:
            return True
        there, takes = (f"{count / GB:.3g} GB" for count in (free, needed))
        self.cause = f"disk full: the disk of run.dir {self.config.run_dir} has {there} free, and a checkpoint takes {takes}"
        self.error, self.try_at = None, step + 1
        return False

    def _room(self) -> tuple[int, int]:
        """Bytes that a checkpoint needs, as far as one is known, and bytes free."""
        return self.checkpoints.size(), shutil.disk_usage(self.config.run_dir).free

    def _complain(self, step: int) -> None:
        """Say after every step what is not on the disk although it should be."""
        if self.cause:
            self.say(f"warning: step {step} is not saved, the newest checkpoint is {self._newest()}: {self.cause}; training goes on")
        for record, before in list(self.said.items()):
            self.said[record] = now = record.complaint()
            if now and now != before:
                self.say(f"warning: {now}; training goes on")

    def _is_of_the_disk(self) -> bool:
        return self.error is None or bool(words_of_the_disk(self.error))

    def _newest(self) -> str:
        return f"that of step {self.saved}" if self.saved else "none"


async def _to_its_end(work: Awaitable[Path]) -> None:
    """Await work in a thread, to its end even if the wait is cancelled: a rename must not come later than its caller thinks."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait((task,))
        raise
