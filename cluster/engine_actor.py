"""An engine as a Ray actor: generates groups, has each response scored as it finishes, keeps tokens out of the driver."""

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray

from cluster.logs import send_output_to
from configs.schema import Config
from rollout.types import Group, GroupSummary, Prompt, Response, Verdict


class EngineActor:
    """One engine in its own process. Methods are coroutines: many groups are in flight at once."""

    def __init__(self, config: Config, index: int, transfer: str, reward: Any) -> None:
        send_output_to(config.run_dir, f"engine-{index}")
        from rollout.engine import Engine

        self.config, self.index, self.reward = config, index, reward
        self.engine = Engine(config, transfer)
        self._unscored: list[tuple[Prompt, Response, asyncio.Future[Verdict]]] = []
        self._scoring: asyncio.Task[None] | None = None

    async def ready(self) -> str:
        """Answer once the engine is up: the address of its node."""
        return ray.util.get_node_ip_address()

    async def respond(
        self, group_id: int, prompt: Prompt, size: int, temperature: float | None, texts: int
    ) -> tuple[tuple[GroupSummary, list[tuple[str, Verdict]]], Group]:
        """A scored group in two parts: what the driver may know, with the first `texts` responses to read, and the group itself."""
        responses: dict[int, Response] = {}
        verdicts: dict[int, asyncio.Future[Verdict]] = {}
        async for member, response in self.engine.respond_group(group_id, prompt, self.config.run.seed, size, temperature):
            responses[member] = response
            verdicts[member] = self._score(prompt, response)
        group = Group(
            group_id=group_id,
            prompt=prompt,
            responses=tuple(responses[member] for member in range(size)),
            verdicts=tuple([await verdicts[member] for member in range(size)]),
        )
        shown = [(group.responses[i].text, group.verdicts[i]) for i in range(min(texts, size))]
        return (GroupSummary.of(group), shown), group

    def _score(self, prompt: Prompt, response: Response) -> asyncio.Future[Verdict]:
        verdict: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        self._unscored.append((prompt, response, verdict))
        if self._scoring is None or self._scoring.done():
            self._scoring = asyncio.create_task(self._score_arrivals())
        return verdict

    async def _score_arrivals(self) -> None:
        """Send whatever has finished since the last call; under load calls grow instead of queueing."""
        while self._unscored:
            arrivals, self._unscored = self._unscored, []
            asked = [(p.checker, r.text, p.reference, len(r)) for p, r, _ in arrivals]
            try:
                verdicts: Sequence[Verdict] = await self.reward.score.remote(asked)
            except BaseException as error:
                for _, _, verdict in arrivals:
                    verdict.set_exception(error)
                raise
            for (_, _, future), verdict_ in zip(arrivals, verdicts, strict=True):
                future.set_result(verdict_)

    async def probe(self, prompts: Sequence[NDArray[np.int32]]) -> list[tuple[list[int], list[float]]]:
        return await self.engine.probe(prompts)

    async def pause(self) -> None:
        await self.engine.pause()

    async def resume(self) -> None:
        await self.engine.resume()

    async def join_transfer(self, init_info: dict[str, Any]) -> None:
        await self.engine.join_transfer(init_info)

    async def start_update(self) -> None:
        await self.engine.start_update()

    async def receive(self, update_info: dict[str, Any]) -> None:
        await self.engine.receive(update_info)

    async def finish_update(self, version: int) -> Any:
        return await self.engine.finish_update(version)

    async def abandon_update(self) -> None:
        await self.engine.abandon_update()

    async def shutdown(self) -> None:
        self.engine.shutdown()
