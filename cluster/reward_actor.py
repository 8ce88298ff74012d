"""The reward workers of a run behind one Ray actor."""

import asyncio
from collections.abc import Sequence
from typing import Any

from cluster.process import send_output_to
from configs.schema import Config
from reward.pool import Item, RewardPool
from reward.shaping import shape
from rollout.types import Verdict


class RewardActor:
    """Scores finished responses in a pool of supervised processes."""

    def __init__(self, config: Config) -> None:
        send_output_to(config.run_dir, "reward")
        self.limit, self.cache = config.rollout.max_response_tokens, config.reward.overlong_cache
        reward = config.reward
        self.pool = RewardPool(workers=reward.workers, timeout_s=float(reward.timeout_s), memory_mb=reward.memory_mb, warm=[reward.checker])

    async def ready(self) -> None:
        """Answer once every worker is up."""
        await self.pool.ready()

    async def score(self, asked: Sequence[tuple[str, str, Any, int]]) -> list[Verdict]:
        """A verdict for every (checker, response, reference, response tokens), shaped by the over-long punishment."""
        verdicts = await self.pool.score([Item(checker=c, response=text, reference=ref) for c, text, ref, _ in asked])
        lengths = [tokens for *_, tokens in asked]
        return [shape(verdict, n, self.limit, self.cache) for verdict, n in zip(verdicts, lengths, strict=True)]

    async def shutdown(self) -> None:
        """End every worker process."""
        await asyncio.to_thread(self.pool.close)
