"""An engine as a Ray actor: it generates groups, has each response scored when it finishes, and keeps tokens out of the driver."""

import asyncio
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray

from cluster.actors.fleet.agents import Agents
from cluster.actors.fleet.core_watch import CoreWatch
from cluster.actors.fleet.door import Door
from cluster.actors.fleet.group_work import GroupWork, episodes_of
from cluster.actors.fleet.keeper import keep_order, note_memory
from cluster.actors.fleet.line import Line, listen
from cluster.actors.fleet.questions import Questions
from cluster.actors.places.device import refuse_other_builds
from cluster.actors.process import NO_ENV, Env, find_own_programs, freeze_gc, pause_gc, send_output_to, take
from cluster.causes.tracebacks import one_line
from configs.object_store import words_come_apart
from configs.schema import Config
from reward.shaping import disagrees
from rollout.chat.chat import NOTHING, Chat
from rollout.engine.pulse import GroupAtWork, Pulse, describe_groups
from rollout.transfer.proof import Digest, Manifest, Proof
from rollout.transfer.transport import Seat, Transport
from rollout.types import Group, GroupSummary, Prompt, Sampled, SampledGroup
from rollout.window.scored import Packed, Text

Head = tuple[GroupSummary, list[Text]]


class GroupAborted(Exception):
    """The driver no longer wants this group from this engine."""


class EngineActor:
    """One engine in its own process. Methods are coroutines: many groups are in flight at once."""

    def __init__(
        self, config: Config, index: int, transport: Transport, reward: Any, *, gpu: bool = False, chat: Chat = NOTHING, env: Env = NO_ENV
    ) -> None:
        """`env`: variables that Ray has not set for this process."""
        take(env)
        pause_gc()
        send_output_to(config.run_dir, f"engine-{index}")
        refuse_other_builds(gpu)
        find_own_programs()
        keep_order()
        from cluster.models.hub import fetch_to_this_node
        from rollout.engine.engine import Engine
        from rollout.engine.fork import fork_the_core

        fetch_to_this_node(config)
        if not gpu:
            raylet: Any = ray._raylet
            fork_the_core(raylet.setproctitle)  # vLLM's own finds no room for a title where Ray has written one
        self.config, self.index = config, index
        self.engine = Engine(config, transport, chat)
        note_memory()
        self.watch = CoreWatch(self.engine.processes())
        freeze_gc()
        self.questions, self.door = Questions(config, reward, Line(lambda: reward.line.remote())), Door()
        self._groups: list[GroupAtWork] = []

    async def ready(self) -> str:
        """Wait until the engine is up; returns the address of its node."""
        return ray.util.get_node_ip_address()

    async def respond(
        self, group_id: int, prompt: Prompt, size: int, temperature: float | None, texts: int, learned: bool, together: bool = False
    ) -> Any:
        """A scored group: its head for the driver, the tokens of every response, and every response's recorded experts if there are any.

        With `together` the tokens are one part. Where the words of all responses come apart, they are a last part.

        The head is the summary with a few texts: of the first `texts` responses and of those on which two checkers disagree. A group that
        will not be `learned` is the head alone. Ray makes an object of each part, and the driver that asked for them owns them all: they
        outlive this process.

        A response is scored as soon as it is finished, unless a function of the user's asks for the whole group.
        """
        mine = GroupAtWork(group_id, evaluated=temperature is not None)
        work = asyncio.ensure_future(self._respond(mine, prompt, size, temperature, texts))
        mine.end = work.cancel
        self._groups.append(mine)
        try:
            group, head = await work
        except asyncio.CancelledError:
            raise GroupAborted(f"group {group_id} was aborted on engine {self.index}") from None
        finally:
            self._groups.remove(mine)
        return (head, *self._parts(group, together)) if learned else head

    async def line(self) -> str:
        """The path at which the driver is awaited, for `respond` without Ray, where it is on this node."""

        async def answer(method: str, asked: Sequence[Any]) -> list[Any]:
            return [await self._packed(*one) for one in asked]

        return await listen(answer)

    async def _packed(self, *asked: Any) -> Any:
        """What `respond` returns, its parts packed, as the driver need not read them; what it raises as Ray brings it."""
        try:
            made = await self.respond(*asked)
        except Exception as error:
            return ray.exceptions.RayTaskError("respond", traceback.format_exc(), error)
        *_, learned, _ = asked
        head, *parts = made if learned else (made,)
        return head, *(Packed.of(part) for part in parts)

    async def abort(self, group_id: int, evaluated: bool) -> None:
        """End the work on a group; its requests leave the engine. A group that is not there has been finished."""
        for group in [found for found in self._groups if (found.group_id, found.evaluated) == (group_id, evaluated)]:
            group.end()

    async def abort_all(self) -> None:
        """End the work on every group."""
        for group in list(self._groups):
            group.end()

    async def pulse(self) -> Pulse:
        """The engine's progress so far, at once; raises what vLLM raises if its core is gone."""
        return self.engine.pulse() | describe_groups(self._groups)

    async def _respond(self, mine: GroupAtWork, prompt: Prompt, size: int, temperature: float | None, texts: int) -> tuple[Group, Head]:
        work = GroupWork(self.questions, mine, prompt, await self.questions.wants(), size=size, engine=episodes_of(self.index))
        group, scoring_s = await work.run(Agents(self.engine, self.door, work) if work.agent else self.engine, temperature)
        summary = replace(GroupSummary.of(group, scoring_s, talks=work.talks), answering_s=mine.answering_s, answering=tuple(mine.answered))
        scored = group.verdicts
        odd = [i for i in range(texts, size) if disagrees(group.verdicts[i])][: self.config.reward.keep_disagreements]
        shown = [Text.of(i, group.responses[i], scored[i]) for i in (*range(min(texts, size)), *odd)]
        return group, (summary, shown)

    def _parts(self, group: Group, together: bool) -> Iterator[Any]:
        """What a learned group leaves in the object store."""
        tokens = map(Sampled.of, group.responses)
        yield from (SampledGroup(tuple(tokens)),) if together else tokens
        if self.config.rollout.capture_routing:
            yield from (response.recorded for response in group.responses)
        if words_come_apart(self.config):
            yield list(map(Text.of, range(len(group.responses)), group.responses, group.verdicts))

    async def probe(self, prompts: Sequence[NDArray[np.int32]]) -> list[tuple[list[int], list[float]]]:
        return await self.engine.probe(prompts)

    async def resume(self) -> None:
        await self.engine.resume()

    async def room(self) -> int:
        return await self.engine.room()

    async def sleep(self, level: int) -> None:
        await self.engine.sleep(level)

    async def wake(self, tags: Sequence[str] | None) -> None:
        await self.engine.wake(tags)

    async def join_transfer(self, seat: Seat) -> None:
        await self.engine.join_transfer(seat)

    async def update(self, manifest: Manifest, version: int) -> tuple[list[Proof], list[str]]:
        return await self.engine.update(manifest, version)

    async def patch(self, base: str, raws: Sequence[tuple[list[Any], Digest]], version: int) -> tuple[list[Proof], str]:
        """Fetch the patches of all ranks and apply them; what the workers then hold, or why this engine needs whole weights."""
        try:
            fetched = await asyncio.gather(*(reference for (reference,), _ in raws))
        except ray.exceptions.RayError as error:
            return [], f"a patch could not be fetched: {one_line(str(error), 200)}"
        return await self.engine.patch(base, [(raw.tobytes(), digest) for raw, (_, digest) in zip(fetched, raws, strict=True)], version)

    async def abandon_update(self) -> None:
        await self.engine.abandon_update()

    async def shutdown(self) -> None:
        self.watch.expected = True
        await self.questions.close()
        await self.door.close()
        self.engine.shutdown()
