"""The reward workers of one node behind a Ray actor."""

import json
from collections.abc import Sequence

from cluster.actors.process import send_output_to
from configs.schema import Config
from reward.asked import Asked
from reward.scorer import Scorer
from reward.workers.tasks import Item
from rollout.types import Verdict


class RewardActor:
    """Scores finished responses in a pool of supervised processes, and writes the responses that kill one to a file."""

    def __init__(self, config: Config, index: int, named_by_rows: Sequence[str]) -> None:
        send_output_to(config.run_dir, f"reward-{index}")
        self.quarantine = config.run_dir / "quarantine" / f"reward-{index}.jsonl"
        self.scorer = Scorer(config, on_quarantine=self._keep, named_by_rows=named_by_rows)

    async def ready(self) -> None:
        """Wait until every worker is up."""
        await self.scorer.ready()

    async def score(self, asked: Sequence[Asked]) -> list[Verdict]:
        """A shaped verdict for each response."""
        return await self.scorer.score(asked)

    async def shutdown(self) -> None:
        """End every worker process."""
        await self.scorer.close()

    def _keep(self, item: Item, failure: str) -> None:
        row = {"checker": item.checker, "failure": failure, "response": item.response, "reference": item.reference, "prompt": item.prompt}
        self.quarantine.parent.mkdir(exist_ok=True)
        with self.quarantine.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
