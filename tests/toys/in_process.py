"""The actors of a run without Ray: the same classes and the same calls, in this process."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

from cluster.actors.learner_actor import LearnerActor
from configs.schema import Config
from rollout.types import Verdict


class InProcess:
    """Stands for a Ray handle: each method of the object has a `.remote`. Plain methods run one at a time in a thread of its own."""

    def __init__(self, behind: Any) -> None:
        self.behind = behind
        self.thread = ThreadPoolExecutor(1)

    def __getattr__(self, name: str) -> SimpleNamespace:
        method = getattr(self.behind, name)

        def remote(*args: Any) -> Any:
            if asyncio.iscoroutinefunction(method):
                return asyncio.ensure_future(method(*args))
            return asyncio.get_running_loop().run_in_executor(self.thread, method, *args)

        return SimpleNamespace(remote=remote)


class Rank(LearnerActor):
    """The only learner rank, which takes objects where an actor takes references to them."""

    def __init__(self, config: Config) -> None:
        super().__init__(config, 0)
        self.host = "127.0.0.1"

    def get(self, references: Sequence[Any]) -> Sequence[Any]:
        return references

    def put(self, value: Any) -> Any:
        async def fetched() -> Any:
            return value

        return fetched()


class ShareOfDigits:
    """A reward actor that pays for digits in a response."""

    async def line(self) -> str:
        """As a node without a place for a socket."""
        return ""

    async def score(self, asked: Sequence[Any]) -> list[Verdict]:
        return [Verdict(reward=sum(c.isdigit() for c in one.response) / (len(one.response) + 1)) for one in asked]
