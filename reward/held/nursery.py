"""Where held worlds come from: the template that forks them, and the descriptors that their owner's thread waits for."""

import math
import os
import selectors
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from reward.held.world_owner import Phase, World
from reward.own.name import OwnCodeError
from reward.programs.limits import CodeLimits
from reward.workers.lateness import GONE_S, START_S
from reward.workers.supervisor import FIRM_S, MAX_STARTS, PAUSE_S, POLITE_S
from reward.workers.template_owner import TemplateGone, TemplateProcess
from reward.workers.worker_owner import ending


class Owner(Protocol):
    """Whoever decides about worlds."""

    def hear(self, world: World) -> None: ...
    def printed(self, world: World) -> None: ...
    def unborn(self, world: World) -> None: ...
    def gone(self, world: World, how: str) -> None: ...


class WorldTemplate(TemplateProcess):
    """The template process of held worlds."""

    module = "reward.held.template_main"


class Nursery:
    """Forks worlds and hears of their ends; its owner is called for what they say. Used by the owner's thread, except `wake`."""

    owner: Owner

    def __init__(self, memory_mb: int, limits: CodeLimits, warm: Sequence[str], on_output: Callable[[bytes], None] | None) -> None:
        self._memory_mb, self._limits, self._warm, self._on_output = memory_mb, limits, warm, on_output
        self.serial = self.failures = 0
        self._worlds: dict[int, World] = {}  # by serial: every process that was not reaped
        self._template: TemplateProcess | None = None
        self._stuck = False
        self._start_at = 0.0
        self._selector = selectors.DefaultSelector()
        self._alarm = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._alarm_lock = threading.Lock()  # nobody writes to a descriptor that was closed and given away
        self._selector.register(self._alarm, selectors.EVENT_READ, lambda: os.eventfd_read(self._alarm))

    @property
    def ready(self) -> bool:
        """Whether the user's code is imported, so that worlds can be forked."""
        return self._template is not None and self._template.ready

    def wake(self) -> None:
        """End the wait, from any thread."""
        with self._alarm_lock:
            if self._alarm >= 0:
                os.eventfd_write(self._alarm, 1)

    def tend(self, now: float) -> None:
        """Start the template where there is none; end one that is late or reads nothing.

        RuntimeError where it cannot be started, OwnCodeError where the user's code is why.
        """
        if self._template is not None:
            if self._stuck or now > self._template.deadline:
                self._template_gone()
        elif now >= self._start_at:
            template = self._template = WorldTemplate(self._memory_mb, self._limits, self._warm, self._on_output)
            template.deadline = now + START_S
            self._selector.register(template.channel, selectors.EVENT_READ, self._answers)
            self._selector.register(template.output.descriptor, selectors.EVENT_READ, lambda: self._template_printed(template))

    def fork(self, episode: str, now: float) -> World | None:
        """A new world, whose process is on its way; None where this machine has no descriptors for it now."""
        assert self._template is not None
        try:
            world = World(self.serial + 1, episode, self._on_output)
        except OSError as error:  # too many open files
            self._count_failure(str(error))
            return None
        self.serial += 1
        self._worlds[world.serial] = world
        try:
            self._template.ask("fork", world.serial, world.theirs)
        except TemplateGone:
            self._stuck = True
        world.hand_over()
        self._selector.register(world.channel, selectors.EVENT_READ, lambda: self._spoken(world))
        self._selector.register(world.output.descriptor, selectors.EVENT_READ, lambda: self._printed(world))
        return world

    def may_fork(self, now: float) -> bool:
        """Whether the template takes requests."""
        return self.ready and not self._stuck and now >= self._start_at

    def ask(self, request: str, world: World) -> None:
        """Have the template do something to a world that has a process."""
        if self._template is not None and world.pid:
            try:
                self._template.ask(request, world.pid)
            except TemplateGone:
                self._stuck = True

    def wait(self, seconds: float) -> None:
        """Wait at most so long until something comes, and read everything that has come."""
        for world in self._worlds.values():
            if world.sending and not world.closed and world.channel.fileno() >= 0:
                self._selector.modify(world.channel, selectors.EVENT_READ | selectors.EVENT_WRITE, lambda world=world: self._spoken(world))
        for key, _ in self._selector.select(max(0.0, seconds)):
            if key.fd in self._selector.get_map():  # an event before it may have ended its world
                key.data()

    def _spoken(self, world: World) -> None:
        world.send()
        self.owner.hear(world)
        if world.closed:
            self._forget(world.channel)
        elif not world.sending:
            self._selector.modify(world.channel, selectors.EVENT_READ, lambda: self._spoken(world))

    def _printed(self, world: World) -> None:
        if world.output.read() == b"":
            self._forget(world.output.descriptor)
        self.owner.printed(world)

    def _template_printed(self, template: TemplateProcess) -> None:
        if template.output.read() == b"":
            self._forget(template.output.descriptor)

    def _forget(self, watched: object) -> None:
        with suppress(KeyError, ValueError):
            self._selector.unregister(watched)  # type: ignore[arg-type]

    def release(self, world: World) -> None:
        """Free the descriptors of a world that is gone."""
        del self._worlds[world.serial]
        self._forget(world.channel)
        self._forget(world.output.descriptor)
        world.close()

    def _answers(self) -> None:
        """The template has answered, or has ended."""
        assert self._template is not None
        try:
            answers = self._template.answers()
        except TemplateGone:
            return self._template_gone()
        for answer in answers:
            match answer:
                case ["importing", str(name)]:
                    self._template.importing, self._template.deadline = name, time.monotonic() + START_S
                case ["refused", str(why)]:
                    raise OwnCodeError(why)
                case ["ready", dict()]:
                    self._template.ready, self._template.importing, self._template.deadline = True, "", math.inf
                case ["forked", int(serial), int(pid)]:
                    self._worlds[serial].born(pid)
                    if self._worlds[serial].phase is Phase.ENDING:  # it was not wanted any more before it was born
                        self.ask("kill", self._worlds[serial])
                case ["failed", int(serial), str(why)]:
                    self._count_failure(f"no process for a world: {why}")
                    self.owner.unborn(self._worlds[serial])
                case ["ended", int(pid), int(code), int(status)]:
                    how = ending(code, status).replace("worker", "world")
                    self.owner.gone(next(world for world in self._worlds.values() if world.pid == pid), how)
        return None

    def _count_failure(self, why: str) -> None:
        """Try again a little later; RuntimeError after MAX_STARTS failures in a row without any world."""
        self.failures += 1
        self._start_at = time.monotonic() + PAUSE_S * self.failures
        if self.failures >= MAX_STARTS:
            raise RuntimeError(f"held worlds could not be started {self.failures} times in a row (memory_mb={self._memory_mb}): {why}")

    def _template_gone(self) -> None:
        """End the rest of the template and of its worlds."""
        template, stuck = self._template, self._stuck
        self._template, self._stuck = None, False
        assert template is not None
        late = template.importing if time.monotonic() > template.deadline else ""
        how = self._end_template(template, GONE_S if template.ready and not stuck else 0.0)
        worlds = list(self._worlds.values())
        for world in worlds:
            if world.pid:
                # The kernel gives no new process the number of a group that has members, nor within milliseconds that of an empty one.
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(world.pid, signal.SIGKILL)
        for world in worlds:
            self.owner.gone(world, f"crash: the process that starts held worlds {how}")
        printed = template.output.tail or "(nothing)"
        if late:
            raise OwnCodeError(
                f"checker {late!r} was not imported within {START_S:g} s: load what takes long at the first call; it printed: {printed}"
            )
        importing = f" while it imported checker {template.importing!r}" if template.importing else ""
        self._count_failure(f"the process that starts held worlds {how}{importing}; its output ends: {printed}")

    def _end_template(self, template: TemplateProcess, polite_s: float) -> str:
        self._forget(template.channel)
        self._forget(template.output.descriptor)
        return template.end(polite_s, FIRM_S)

    def end(self) -> None:
        """Leave no process and no descriptor. Worlds are killed: who wants their `finally` blocks to run leaves their episodes first."""
        try:
            if self._template is not None:
                self._end_template(self._template, POLITE_S if self._template.ready else 0.0)
        finally:
            for world in list(self._worlds.values()):
                self.release(world)
            self._selector.close()
            with self._alarm_lock:
                os.close(self._alarm)
                self._alarm = -1
