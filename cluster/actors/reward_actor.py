"""The reward workers of one node behind a Ray actor."""

import os
import sys
from collections.abc import Sequence
from typing import Any

from cluster.actors.fleet.line import listen
from cluster.actors.process import log_path, send_output_to
from cluster.working_folder import work_in
from configs.digits import write_long_json
from configs.schema import Config
from reward.asked import Asked, Wants
from reward.scorer import Scorer
from reward.workers.tasks import Item
from rollout.transcript.episode import Answer
from rollout.types import Verdict


class RewardActor:
    """Scores finished responses in a pool of supervised processes, and writes the responses that kill one to a file.

    folder: the driver's current folder, in which the user's own functions and their files are looked for.
    """

    def __init__(self, config: Config, index: int, named_by_rows: Sequence[str], folder: str) -> None:
        work_in(folder)
        send_output_to(config.run_dir, f"reward-{index}")
        self.quarantine = config.run_dir / "quarantine" / f"reward-{index}.jsonl"
        log = log_path(config.run_dir, f"reward-{index}")
        self.scorer = Scorer(config, on_quarantine=self._keep, named_by_rows=named_by_rows, log=log)

    async def ready(self) -> None:
        """Wait until every worker is up."""
        try:
            await self.scorer.ready()
        except (RuntimeError, ValueError) as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)  # this log is what the driver shows
            raise

    async def process(self) -> int:
        """The id of this process: another one after Ray has started the actor again."""
        return os.getpid()

    async def wants(self) -> Wants:
        """Which fields of a response the user's own functions ask for; known once this actor is ready."""
        return self.scorer.wants

    async def line(self) -> str:
        """The path at which one engine is awaited, for `reply` and `score` without Ray."""

        async def answer(method: str, asked: Sequence[Asked]) -> list[Any]:
            return await (self.reply(asked) if method == "reply" else self.score(asked))

        return await listen(answer)

    async def reply(self, asked: Sequence[Asked]) -> list[Answer]:
        """What follows the last turn of each episode; the slowest answer of a call is waited for."""
        return await self.scorer.reply(asked)

    async def run_agent(self, asked: Asked) -> Verdict:
        """Run the agent of one response to its end: how right the episode was, before parts and shaping."""
        return await self.scorer.run_agent(asked)

    async def leave(self, episodes: Sequence[str]) -> None:
        """End what is held for these episodes: nobody will ask about them again."""
        self.scorer.leave(episodes)

    async def score(self, asked: Sequence[Asked]) -> list[Verdict]:
        """A shaped verdict for each response."""
        return await self.scorer.score(asked)

    async def shutdown(self) -> None:
        """End every worker process."""
        await self.scorer.close()

    def _keep(self, item: Item, failure: str) -> None:
        row = {"checker": item.checker, "failure": failure, "response": item.response, "reference": item.reference, "prompt": item.prompt}
        if item.transcript is not None:
            row["turns"] = list(map(list, item.transcript.turns))
        self.quarantine.parent.mkdir(exist_ok=True)
        with self.quarantine.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(write_long_json(row, ensure_ascii=False) + "\n")
