"""An engine as a Ray actor: it generates groups, has each response scored when it finishes, and keeps tokens out of the driver."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray

from cluster.actors.fleet.core_watch import CoreWatch
from cluster.actors.fleet.keeper import keep_order
from cluster.actors.places.device import refuse_other_builds
from cluster.actors.process import find_own_programs, freeze_gc, send_output_to
from cluster.scored import Text
from configs.schema import Config
from reward.asked import Asked, Wants
from reward.own.name import is_own
from reward.scorer import used_checkers
from reward.shaping import disagrees
from rollout.proof import Manifest, Proof
from rollout.pulse import GroupAtWork, Pulse, describe_groups
from rollout.seeds import seed_of_response
from rollout.transport import Seat, Transport
from rollout.types import Finish, Group, GroupSummary, Prompt, Response, Sampled, Verdict

Arrival = tuple[Asked, asyncio.Future[Verdict]]
Head = tuple[GroupSummary, list[Text]]


class GroupAborted(Exception):
    """The driver no longer wants this group from this engine."""


class EngineActor:
    """One engine in its own process. Methods are coroutines: many groups are in flight at once."""

    def __init__(self, config: Config, index: int, transport: Transport, reward: Any, *, gpu: bool = False) -> None:
        send_output_to(config.run_dir, f"engine-{index}")
        refuse_other_builds(gpu)
        find_own_programs()
        keep_order()
        from cluster.models.hub import fetch_to_this_node
        from rollout.engine import Engine

        fetch_to_this_node(config)
        self.config, self.index, self.reward = config, index, reward
        self.engine = Engine(config, transport)
        self.watch = CoreWatch(self.engine.processes())
        freeze_gc()
        self._wants: Wants | None = None  # not known before the reward actor is ready
        self._unscored: list[Arrival] = []
        self._scoring: set[asyncio.Task[None]] = set()
        self._groups: list[GroupAtWork] = []

    async def ready(self) -> str:
        """Wait until the engine is up; returns the address of its node."""
        return ray.util.get_node_ip_address()

    async def respond(self, group_id: int, prompt: Prompt, size: int, temperature: float | None, texts: int, learned: bool) -> Any:
        """A scored group: its head for the driver, the tokens of every response, and every response's recorded experts if there are any.

        The head is the summary with a few texts: of the first `texts` responses and of those on which two checkers disagree. A group that
        will not be `learned` is the head alone. Ray makes an object of each part, and the driver that asked for them owns them all: they
        outlive this process.

        A response is scored as soon as it is finished, unless a function of the user's asks for the whole group.
        """
        mine = GroupAtWork(group_id, evaluated=temperature is not None)
        work = asyncio.ensure_future(self._respond(mine, prompt, size, temperature, texts, learned))
        mine.end = work.cancel
        self._groups.append(mine)
        try:
            return await work
        except asyncio.CancelledError:
            raise GroupAborted(f"group {group_id} was aborted on engine {self.index}") from None
        finally:
            self._groups.remove(mine)

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

    async def _respond(self, mine: GroupAtWork, prompt: Prompt, size: int, temperature: float | None, texts: int, learned: bool) -> Any:
        group_id = mine.group_id
        wants = (await self._known_wants()).of(prompt.checker)
        responses: dict[int, Response] = {}
        verdicts: dict[int, asyncio.Future[Verdict]] = {}
        async for member, response in self.engine.respond_group(group_id, prompt, self.config.run.seed, size, temperature):
            responses[member] = response
            mine.tokens += len(response)
            if "group" not in wants:
                verdicts[member] = self._score(self._asked(group_id, prompt, member, response, wants, temperature is not None))
        mine.scoring, generated = True, time.perf_counter()
        if "group" in wants:
            texts_of_all = tuple(responses[member].text for member in range(size))
            for member, response in responses.items():
                asked = self._asked(group_id, prompt, member, response, wants, temperature is not None)
                verdicts[member] = self._score(replace(asked, group=texts_of_all))
        scored = [await verdicts[member] for member in range(size)]
        group = Group(
            group_id=group_id,
            prompt=prompt,
            responses=tuple(responses[member] for member in range(size)),
            verdicts=tuple(scored),
        )
        summary = GroupSummary.of(group, time.perf_counter() - generated)
        odd = [i for i in range(texts, size) if disagrees(group.verdicts[i])][: self.config.reward.keep_disagreements]
        shown = [Text.of(i, group.responses[i], scored[i]) for i in (*range(min(texts, size)), *odd)]
        head: Head = (summary, shown)
        if not learned:
            return head
        experts = [response.routed_experts for response in group.responses] if self.config.rollout.capture_routing else []
        return (head, *map(Sampled.of, group.responses), *experts)

    async def _known_wants(self) -> Wants:
        """What the user's functions ask for; nothing where the config names none, as data may name none."""
        if self._wants is None:
            self._wants = await self.reward.wants.remote() if any(map(is_own, used_checkers(self.config))) else Wants()
        return self._wants

    def _asked(self, group_id: int, prompt: Prompt, member: int, response: Response, wants: frozenset[str], evaluated: bool) -> Asked:
        """The response as the reward actor scores it; columns of the row travel only where a function asks for them."""
        return Asked(
            checker=prompt.checker,
            response=response.text,
            reference=prompt.reference,
            tokens=len(response),
            prompt=prompt.text,
            question=prompt.question,
            prefill=prompt.prefill,
            row=prompt.where,
            columns=prompt.columns if "row" in wants else {},
            truncated=response.finish is Finish.LENGTH,
            index=member,
            seed=seed_of_response(self.config.run.seed, group_id, member, evaluated=evaluated),
        )

    def _score(self, asked: Asked) -> asyncio.Future[Verdict]:
        """A future for the verdict. Responses that finish in one turn of the loop share a call; no call waits for an earlier one."""
        loop = asyncio.get_running_loop()
        verdict: asyncio.Future[Verdict] = loop.create_future()
        if not self._unscored:
            loop.call_soon(self._send_arrivals)
        self._unscored.append((asked, verdict))
        return verdict

    def _send_arrivals(self) -> None:
        arrivals, self._unscored = self._unscored, []
        task = asyncio.create_task(self._score_arrivals(arrivals))
        self._scoring.add(task)
        task.add_done_callback(self._scoring.discard)

    async def _score_arrivals(self, arrivals: Sequence[Arrival]) -> None:
        try:
            verdicts: Sequence[Verdict] = await self.reward.score.remote([asked for asked, _ in arrivals])
        except Exception as error:
            # The groups that wait for these verdicts raise it.
            for _, verdict in arrivals:
                if not verdict.done():
                    verdict.set_exception(error)
            return
        for (_, waiting), scored in zip(arrivals, verdicts, strict=True):
            if not waiting.done():
                waiting.set_result(scored)

    async def probe(self, prompts: Sequence[NDArray[np.int32]]) -> list[tuple[list[int], list[float]]]:
        return await self.engine.probe(prompts)

    async def pause(self) -> None:
        await self.engine.pause()

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

    async def start_update(self) -> None:
        await self.engine.start_update()

    async def receive(self, manifest: Manifest) -> None:
        await self.engine.receive(manifest)

    async def finish_update(self, version: int) -> tuple[list[Proof], list[str]]:
        return await self.engine.finish_update(version)

    async def abandon_update(self) -> None:
        await self.engine.abandon_update()

    async def shutdown(self) -> None:
        self.watch.expected = True
        self.engine.shutdown()
