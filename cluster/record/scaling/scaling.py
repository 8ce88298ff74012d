"""Changes the number of engines while a run works: as a user asks, and by itself when nodes join.

engines.json ──► Scaling ──► fleet.want(n)          a request counts until the next one
free nodes   ──►         ──► engines-status.json
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

from cluster.record.scaling.files import AUTO, REQUEST, STATUS, Answer, BadFile, EngineState, Request, Status, forget, read, write
from configs.arithmetic import counted, span
from configs.schema import Config

LOOK_S = 1.0  # between two looks at the request
ROOM_S = 5.0  # between two looks at what the nodes have free
SERVES = ("serving", "suspect", "leaving")  # with the weights of the newest publish


class Engine(Protocol):
    """What is shown of an engine."""

    index: int
    life: int

    @property
    def health(self) -> str: ...

    @property
    def name(self) -> str: ...


class Fleet(Protocol):
    """Starts and drains engines until there are as many as wanted."""

    wanted: int

    def want(self, count: int) -> None: ...


class Places(Protocol):
    """Where engines are, and how many further ones would fit."""

    def room(self) -> int: ...

    def most(self) -> int: ...

    def address_of(self, index: int) -> str | None: ...


class Scaling:
    """Reads requests, follows the nodes and writes the status, until it is cancelled."""

    def __init__(
        self,
        config: Config,
        fleet: Fleet,
        engines: Callable[[], Sequence[Engine]],
        places: Places,
        version: Callable[[], int | None],
        say: Callable[[str], object] = print,
    ) -> None:
        """`engines` are those of the run, in order of their places; `version` is that of the newest publish."""
        self.config, self.fleet, self.engines, self.places, self.version, self.say = config, fleet, engines, places, version, say
        self.is_range = not isinstance(config.rollout.engines, int)
        self.follows = self.is_range
        self.answer: Answer | None = None
        self.since: dict[int, tuple[int, str, float]] = {}  # place -> life, health, when it came to both
        self.written: Status | None = None
        self.warned: set[str] = set()
        self.room = 0  # at the last look
        self.looked = -ROOM_S

    @property
    def folder(self) -> Path:
        return self.config.run_dir

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Look in the background while the block works. Should that fail, the run goes on with the engines that it has."""
        task = asyncio.create_task(self.run(), name="number of engines")
        task.add_done_callback(self._ended)
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.say(f"warning: the number of engines can no longer be changed: {type(error).__name__}: {error}")

    async def run(self) -> None:
        """Look again and again. At the end both files are removed: their engines have ended."""
        try:
            while True:
                await self.look()
                await asyncio.sleep(LOOK_S)
        finally:
            forget(self.folder)

    async def look(self) -> None:
        """Answer a request, take room that appeared, and write down what changed."""
        if (request := self._request()) is not None:
            await self._answer(request)
        now = asyncio.get_running_loop().time()
        if self.follows and now - self.looked >= ROOM_S:
            self.looked = now
            self._take_room(await asyncio.to_thread(self.places.room))
        self._write()

    def _request(self) -> Request | None:
        """The request, which is removed as it is read. One that is malformed is named once and stays, for its author to look at."""
        try:
            found = read(self.folder, REQUEST, Request)
            if found is not None:
                (self.folder / REQUEST).unlink(missing_ok=True)
        except (BadFile, OSError) as error:
            self._warn(f"{error}: this request for engines is ignored; `gatewise engines` writes right ones", self._stamp())
            return None
        return found

    def _stamp(self) -> str:
        """Tells one content of the request's file from the next."""
        try:
            found = os.lstat(self.folder / REQUEST)
        except OSError:
            return ""
        return f"{found.st_ino} {found.st_mtime_ns} {found.st_size}"

    async def _answer(self, request: Request) -> None:
        before, refused = self.fleet.wanted, None
        if request.count == AUTO:
            refused = None if self.is_range else 'got "auto", but rollout.engines is a number: give a number'
            self.follows = self.is_range
            said = f"the number of engines follows the nodes again, {span(*self._configured())} as rollout.engines allows"
        else:
            refused = await self._why_not(request.count)
            said = f"{counted(request.count, 'engine')} wanted, {before} before{self._idle(request.count)}"
            if refused is None:
                self.follows = False
                self.fleet.want(request.count)
        self.answer = Answer(id=request.id, said=refused or said, refused=refused is not None)
        self.say(f"gatewise engines: {self.answer.said}" if refused is None else f"gatewise engines was refused: {refused}")

    def _configured(self) -> tuple[int, int]:
        return self.config.rollout.fewest_engines, self.config.rollout.most_engines

    async def _why_not(self, count: int) -> str | None:
        """Why the run cannot have so many engines, with what is possible; None if it can."""
        if self.config.placement.share:
            return f"got {count}, but with placement.share = true engines and ranks share their GPUs, so their number is fixed"
        fewest, most = self._configured() if self.is_range else (1, count)
        if not fewest <= count <= most:
            return f"got {count}, needed {span(fewest, most)}: rollout.engines of this run is {{ min = {fewest}, max = {most} }}"
        hold = await asyncio.to_thread(self.places.most)
        if count > hold and count > self.fleet.wanted:
            possible = f"needed {span(fewest, max(fewest, hold))}" if hold else "no engine would fit"
            return f"got {count}, {possible}: the nodes of the cluster hold {counted(hold, 'engine')} beside the ranks"
        return None

    def _idle(self, count: int) -> str:
        """A word on engines that would have nothing to do."""
        groups = self.config.groups_in_flight
        return f"; at most {groups} groups are in flight, so some of them idle" if count > groups else ""

    def _take_room(self, room: int) -> None:
        """Want more engines where two looks in a row found room for them: what Ray says is free lags behind what was just reserved."""
        lasting, self.room = min(room, self.room), room
        placed = len([engine for engine in self.engines() if engine.health != "dead"])
        more = min(self.config.rollout.most_engines, placed + lasting)
        if lasting and more > placed:
            if more > self.fleet.wanted:
                self.say(f"the nodes have room for more engines: {more} wanted, {self.fleet.wanted} before")
            self.room = 0
            self.fleet.want(max(more, self.fleet.wanted))

    def _write(self) -> None:
        """Write the status if it has changed; a disk that refuses it does not stop the run."""
        fewest, most = self._configured() if self.is_range else (1, None)
        status = Status(
            wanted=self.fleet.wanted,
            fewest=fewest,
            most=most,
            follows=self.follows,
            engines=[self._state(engine) for engine in self._shown()],
            answer=self.answer,
        )
        if status != self.written:
            try:
                write(self.folder, STATUS, status)
            except OSError as error:
                self._warn(f"the state of the engines is not written to {self.folder / STATUS} ({error.strerror})")
                return
            self.written = status

    def _shown(self) -> list[Engine]:
        """The engines of the run: a dead one only while another will take its place. One that has left is not shown."""
        staying = [engine for engine in self.engines() if engine.health not in ("dead", "leaving")]
        return [engine for engine in self.engines() if engine.health != "dead" or len(staying) < self.fleet.wanted]

    def _state(self, engine: Engine) -> EngineState:
        life, health = engine.life, str(engine.health)
        if self.since.get(engine.index, ())[:2] != (life, health):
            self.since[engine.index] = (life, health, time.time())
        return EngineState(
            name=engine.name,
            place=engine.index,
            life=life,
            health=health,
            version=self.version() if health in SERVES else None,
            node=self.places.address_of(engine.index) or "none",
            since=self.since[engine.index][2],
        )

    def _warn(self, text: str, which: str = "") -> None:
        """Say a warning once for each content of a file."""
        if f"{text} {which}" not in self.warned:
            self.warned.add(f"{text} {which}")
            self.say(f"warning: {text}")
