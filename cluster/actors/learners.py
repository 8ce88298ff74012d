"""The driver's view of the learner ranks: one call is a call on every rank, and a failure is that of the rank that broke it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import ray
from numpy.typing import NDArray

from cluster.actors.died import has_died
from cluster.actors.ping import Silent, until_lost
from cluster.actors.process import log_path
from cluster.causes.choice import follows_from_another
from cluster.causes.lost import RANK
from cluster.causes.roles import RankLost, Role, RoleLate
from cluster.record.metrics.timeline.spans import Spans
from configs.errors import RunFailed
from configs.schema import Config
from learner.batch.plan import plan_for
from learner.batch.row import Place
from rollout.transfer.proof import Manifest
from rollout.types import GroupSummary
from rollout.window.scored import Packed, Reference, Scored

# A step's summaries, as they are or packed, and the tokens of its prompts [P], group by group.
Shared = tuple[Sequence[GroupSummary] | Packed, Sequence[NDArray[np.int32]]]

T = TypeVar("T")

LOOK_S = 2.0  # between looks for places, where there were none
GRACE_S = 3.0  # for other ranks to fail too, once one has


def put_packed(shared: Shared) -> object:
    """A reference to it in Ray's object store. Ray would write ten arrays for each summary; prompts are read where they lie."""
    summaries, prompts = shared
    return ray.put((Packed.of(summaries), prompts))


class NoPlaceForRanks(RunFailed):
    """A node with ranks is gone, and no other one has room for them."""


class Learners:
    """All ranks of the learner. A call fails once one rank fails."""

    def __init__(
        self,
        config: Config,
        actors: Sequence[Any],
        share: Callable[[Shared], object] = put_packed,
        *,
        spawn: Callable[[], Sequence[Any]] | None = None,
        renew: Callable[[], Awaitable[bool]] | None = None,
        kill: Callable[[Any], object] = ray.kill,
    ) -> None:
        """`share` makes an object that every rank can have as an argument; by default each node fetches it once.

        `spawn` makes new actors in the places of the old ones, and `kill` ends one; without `spawn` ranks cannot start again. `renew` gives
        the ranks other places where a node is gone, and says whether all have one; by default places stay.
        """
        self.renew = renew or _always_have_places
        self.config, self.actors, self.share, self.spawn, self.kill = config, list(actors), share, spawn, kill
        self.spans = Spans()
        self.on_one_node = False  # all of them, as far as is known
        self._silent: dict[int, RoleLate] = {}  # ranks that were killed because they answered nothing
        self._lost: asyncio.Future[BaseException] | None = None
        # Called before every work that needs the ranks' weights. Where GPUs are shared it takes them from the engines.
        self.take_turn: Callable[[], Awaitable[None]] = _always_has_it

    async def start(self) -> list[str]:
        """Let the ranks meet and load the model; returns the address of each rank's node."""
        host, port = await self.address()
        nodes: list[str] = await self.all("start", host, port)
        self.on_one_node = len(set(nodes)) == 1
        return nodes

    async def restart(self) -> None:
        """Start new ranks in the places of the old ones, which are killed; they hold the model as it came."""
        if self.spawn is None:
            raise RuntimeError("these ranks cannot start again: nobody knows their places")
        self.end()
        await self._find_places()
        self.actors, self._silent, self._lost = list(self.spawn()), {}, None
        await self.start()

    async def _find_places(self) -> None:
        """Wait until the ranks have places on nodes that are alive; NoPlaceForRanks if there are none within the run's deadline."""
        deadline = float(self.config.run.deadline_s)
        try:
            async with asyncio.timeout(deadline):
                while not await self.renew():
                    await asyncio.sleep(LOOK_S)
        except TimeoutError as error:
            raise NoPlaceForRanks(
                f"a node with learner ranks is gone, and no other node has had room for them within run.deadline_s ({deadline:g} s): add a "
                "node, then resume the run"
            ) from error

    def end(self) -> None:
        """Kill every rank: whoever waits for one in an exchange fails at once."""
        for actor in self.actors:
            self.kill(actor)

    async def watch(self) -> None:
        """Ping the ranks until each is lost. One that is silent for learner.stall_s is killed, so its calls fail.

        While the ranks work, the loss shows in the call that fails. While they wait, `unless_lost` raises it.
        """
        watching = [asyncio.ensure_future(self._watch(rank, actor, self._loss_of_any())) for rank, actor in enumerate(self.actors)]
        try:
            await asyncio.gather(*watching)
        finally:
            for task in watching:
                task.cancel()

    async def _watch(self, rank: int, actor: Any, lost: "asyncio.Future[BaseException]") -> None:
        stall = float(self.config.learner.stall_s)
        error = await until_lost(actor.ping.remote, stall)
        if isinstance(error, Silent):
            self._silent[rank] = RoleLate(self._role(rank), "was stopped: it did not answer a ping", stall, "learner.stall_s")
            self.kill(actor)
        if not lost.done():
            lost.set_result(self._loss(rank, error))

    async def unless_lost(self, work: Awaitable[T]) -> T:
        """The result of `work`, which needs no rank; RankLost as soon as a watched rank is lost meanwhile."""
        working, lost = asyncio.ensure_future(work), self._loss_of_any()
        waiting: set[asyncio.Future[Any]] = {working, lost}
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                raise lost.result()
            return await working
        finally:
            if not working.done():
                working.cancel()
                await asyncio.wait([working])

    def _loss_of_any(self) -> "asyncio.Future[BaseException]":
        """Holds the loss of the first rank that was lost since the ranks started."""
        if self._lost is None:
            self._lost = asyncio.get_running_loop().create_future()
        return self._lost

    async def address(self) -> tuple[str, int]:
        """A port on the first rank's node, reserved until the group that meets there has formed."""
        host, port = await self._within(self.actors[0].address.remote(), "find an address to meet at")
        return host, port

    async def all(self, method: str, *args: Any) -> list[Any]:
        """Call `method` on every rank within the run's deadline; the ranks' answers in order."""
        return await self.each(method, [args] * len(self.actors))

    async def each(self, method: str, args: Sequence[Sequence[Any]]) -> list[Any]:
        """The same with arguments of its own for every rank."""
        with self.spans.on_ranks(method, len(self.actors)):
            return await self._each(method, args)

    async def _each(self, method: str, args: Sequence[Sequence[Any]]) -> list[Any]:
        calls = [asyncio.ensure_future(getattr(actor, method).remote(*of_rank)) for actor, of_rank in zip(self.actors, args, strict=True)]
        deadline = float(self.config.run.deadline_s)
        try:
            _, waiting = await asyncio.wait(calls, timeout=deadline, return_when=asyncio.FIRST_EXCEPTION)
            if not any(call.done() and call.exception() for call in calls):
                if waiting:
                    raise self._late([rank for rank, call in enumerate(calls) if call in waiting], method)
                return [call.result() for call in calls]
            # The rank that broke a collective may be the last to be known: Ray needs a moment to notice a death.
            await asyncio.wait(calls, timeout=min(GRACE_S, deadline))
            failed = {rank: error for rank, call in enumerate(calls) if call.done() and (error := call.exception())}
            error = culprit(list(failed.values()))
            raise self._loss(next(rank for rank in failed if failed[rank] is error), error)
        finally:
            for call in calls:
                call.cancel()

    def _late(self, ranks: Sequence[int], what: str) -> RoleLate:
        others = f" (nor did {', '.join(f'rank {rank}' for rank in ranks[1:])})" if ranks[1:] else ""
        return RoleLate(self._role(ranks[0]), f"did not finish '{what}'{others}", float(self.config.run.deadline_s))

    def _role(self, rank: int) -> Role:
        return Role(f"{RANK}{rank}", log_path(self.config.run_dir, f"learner-{rank}"))

    def _loss(self, rank: int, error: BaseException) -> BaseException:
        """RankLost, raised from `error`, where the rank died or only followed another; any other error of a rank as it is."""
        silent = self._silent.get(rank)
        if died := silent is not None or has_died(error):
            what = "stopped answering" if silent else "died"
        elif follows_from_another(str(error), "learner"):
            what = "lost its connection to another member"
        else:
            return error
        return RankLost(self._role(rank), what, silent or error, died=died)

    async def step(self, groups: Sequence[Scored]) -> dict[str, float]:
        """Learn from groups; the step's metrics. Of several ranks each gets references to the responses that the plan deals to it.

        Two ranks may get segments of one response; each then fetches all of that response.
        """
        summaries = [scored.summary for scored in groups]
        shared = self.share((summaries, [scored.prompt.token_ids for scored in groups]))
        parts = [scored.learnable for scored in groups]
        hands = []
        for places in self._dealt(summaries):
            # References inside a mapping, so that Ray does not fetch what they refer to before the rank asks for it.
            tokens: dict[Place, Reference] = {}
            experts: dict[Place, Reference] = {}
            for group, member in places:
                tokens[group, member] = parts[group].tokens[member]
                if parts[group].experts:
                    experts[group, member] = parts[group].experts[member]
            at_hand = bool(tokens) and all(isinstance(reference, Packed) for reference in tokens.values())
            hands.append((shared, Packed.of(tokens) if at_hand else tokens, experts))
        await self.take_turn()
        asked = self.spans.clock()
        stats: list[dict[str, float]] = await self.each("step", hands)
        for rank, of_rank in enumerate(stats):
            self.spans.learned(rank, asked, of_rank)
        return stats[0]

    def _dealt(self, summaries: Sequence[GroupSummary]) -> list[list[Place]]:
        """The places of the responses that each rank may learn. One rank may learn any, and fetches those of its own plan."""
        if len(self.actors) == 1:
            return [[(group, member) for group, summary in enumerate(summaries) for member in range(len(summary.rewards))]]
        plan = plan_for(self.config, self.config.whole_objective.preset, len(self.actors), summaries)
        return [[row.place for row in plan.rows_of_rank(rank)] for rank in range(len(self.actors))]

    async def expert_load(self, stats: Mapping[str, float]) -> NDArray[np.int64] | None:
        """The tokens that each expert took in the last step [L, E], of which `stats` are the statistics; None for a dense model."""
        if "load/dead" not in stats:
            return None
        table: NDArray[np.int64] = await self._within(self.actors[0].expert_load.remote(), "report the load of its experts")
        return table

    async def capsule(self, folder: Path, room: int) -> list[dict[str, Any]]:
        """Let every rank write what it learned in the last step into `folder`; of each rank what `write_rank` says."""
        return await self.all("capsule", str(folder), room)

    async def manifest(self) -> Manifest:
        manifest: Manifest = (await self.all("manifest"))[0]
        return manifest

    async def snapshot(self) -> None:
        """Copy the state of every rank; `write` writes this copy, while the ranks learn."""
        await self.take_turn()
        await self.all("snapshot")

    async def write(self, folder: Path) -> list[dict[str, dict[str, Any]]]:
        """Write the newest snapshot below `folder`: of each rank, the bytes and the hash of every file that it has written."""
        return await self.all("write", str(folder))

    async def load(self, folder: Path) -> None:
        await self.take_turn()
        await self.all("load", str(folder))

    async def load_weights(self, folder: Path, *, optimizer: bool) -> None:
        """Begin anew from the weights of a checkpoint, and from its optimizer's moments if asked."""
        await self.take_turn()
        await self.all("load_weights", str(folder), optimizer)

    async def scale_rate(self, share: float) -> None:
        """Learn from now on with this share of the learning rate that the config asks for. Ranks begin with all of it."""
        await self.all("scale_rate", share)

    async def export(self, folder: Path) -> None:
        await self.take_turn()
        await self.all("export", str(folder))

    async def _within(self, call: Any, what: str) -> Any:
        deadline = float(self.config.run.deadline_s)
        try:
            async with asyncio.timeout(deadline):
                return await call
        except TimeoutError as error:
            raise self._late([0], what) from error
        except ray.exceptions.RayError as error:
            loss = self._loss(0, error)
            raise loss from loss.__cause__


async def _always_have_places() -> bool:
    """Places that never move are always there."""
    return True


async def _always_has_it() -> None:
    """Ranks with GPUs of their own need not take turns."""


def culprit(errors: Sequence[BaseException]) -> BaseException:
    """Among the errors of ranks that work together: a death, else one that does not follow from another rank's, else the first."""
    deaths = [error for error in errors if has_died(error)]
    own = [error for error in errors if not follows_from_another(str(error), "learner")]
    return next(iter((*deaths, *own, *errors)))
