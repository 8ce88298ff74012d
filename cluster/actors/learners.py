"""The driver's view of the learner ranks: one call is a call on every rank, and a failure is that of the rank that broke it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray

from cluster.actors.died import has_died
from cluster.actors.process import log_path
from cluster.causes.choice import follows_from_another
from cluster.causes.roles import Role, RoleLate
from cluster.scored import Reference, Scored
from configs.schema import Config
from learner.batch.plan import Place, plan_for
from rollout.proof import Manifest
from rollout.types import GroupSummary

Shared = tuple[Sequence[GroupSummary], Sequence[NDArray[np.int32]]]  # a step's summaries and the tokens of its prompts [P], group by group

GRACE_S = 3.0  # for other ranks to fail too, once one has


class Learners:
    """All ranks of the learner. A call fails once one rank fails."""

    def __init__(self, config: Config, actors: Sequence[Any], share: Callable[[Shared], object] = ray.put) -> None:
        """`share` makes an object that every rank can have as an argument; by default each node fetches it once."""
        self.config, self.actors, self.share = config, list(actors), share
        # Called before every work that needs the ranks' weights. Where GPUs are shared it takes them from the engines.
        self.take_turn: Callable[[], Awaitable[None]] = _always_has_it

    async def start(self) -> list[str]:
        """Let the ranks meet and load the model; returns the address of each rank's node."""
        host, port = await self.address()
        return await self.all("start", host, port)

    async def address(self) -> tuple[str, int]:
        """A port on the first rank's node, reserved until the group that meets there has formed."""
        host, port = await self._within(self.actors[0].address.remote(), "find an address to meet at")
        return host, port

    async def all(self, method: str, *args: Any) -> list[Any]:
        """Call `method` on every rank within the run's deadline; the ranks' answers in order."""
        return await self.each(method, [args] * len(self.actors))

    async def each(self, method: str, args: Sequence[Sequence[Any]]) -> list[Any]:
        """The same with arguments of its own for every rank."""
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
            raise culprit([error for call in calls if call.done() and (error := call.exception())])
        finally:
            for call in calls:
                call.cancel()

    def _late(self, ranks: Sequence[int], what: str) -> RoleLate:
        role = Role(f"learner rank {ranks[0]}", log_path(self.config.run_dir, f"learner-{ranks[0]}"))
        others = f" (nor did {', '.join(f'rank {rank}' for rank in ranks[1:])})" if ranks[1:] else ""
        return RoleLate(role, f"did not finish '{what}'{others}", float(self.config.run.deadline_s))

    async def step(self, groups: Sequence[Scored]) -> dict[str, float]:
        """Learn from groups; the step's metrics. A rank gets references to the responses that the plan deals to it, and to no others."""
        summaries = [scored.summary for scored in groups]
        plan = plan_for(self.config, self.config.whole_objective.preset, len(self.actors), summaries)
        shared = self.share((summaries, [scored.prompt.token_ids for scored in groups]))
        parts = [scored.learnable for scored in groups]
        hands = []
        for rank in range(len(self.actors)):
            # References inside a mapping, so that Ray does not fetch what they refer to before the rank asks for it.
            tokens: dict[Place, Reference] = {}
            experts: dict[Place, Reference] = {}
            for group, member in (row.place for row in plan.rows_of_rank(rank)):
                tokens[group, member] = parts[group].tokens[member]
                if parts[group].experts:
                    experts[group, member] = parts[group].experts[member]
            hands.append((shared, tokens, experts))
        await self.take_turn()
        stats: dict[str, float] = (await self.each("step", hands))[0]
        return stats

    async def expert_load(self, stats: Mapping[str, float]) -> NDArray[np.int64] | None:
        """The tokens that each expert took in the last step [L, E], of which `stats` are the statistics; None for a dense model."""
        if "load/dead" not in stats:
            return None
        table: NDArray[np.int64] = await self._within(self.actors[0].expert_load.remote(), "report the load of its experts")
        return table

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

    async def save(self, folder: Path) -> None:
        """Write the state of every rank, and wait for it."""
        await self.snapshot()
        await self.write(folder)

    async def load(self, folder: Path) -> None:
        await self.take_turn()
        await self.all("load", str(folder))

    async def load_weights(self, folder: Path, *, optimizer: bool) -> None:
        """Begin anew from the weights of a checkpoint, and from its optimizer's moments if asked."""
        await self.take_turn()
        await self.all("load_weights", str(folder), optimizer)

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


async def _always_has_it() -> None:
    """Ranks with GPUs of their own need not take turns."""


def culprit(errors: Sequence[BaseException]) -> BaseException:
    """Among the errors of ranks that work together: a death, else one that does not follow from another rank's, else the first."""
    deaths = [error for error in errors if has_died(error)]
    own = [error for error in errors if not follows_from_another(str(error), "learner")]
    return next(iter((*deaths, *own, *errors)))
