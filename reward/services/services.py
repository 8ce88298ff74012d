"""The checkers that are services: "judge" and "http", with the settings of the tables of those names.

They run in the event loop of whoever scores; a service that does not answer is a typed failure of the response, never a reward of 0 and
never the end of the run.
"""

import asyncio
from collections.abc import Collection, Sequence

import httpx

from configs.schema import Config
from reward.json_value import check_json_value
from reward.services.endpoint import NoAnswer
from reward.services.http_checker import HttpChecker
from reward.services.judge import Judge
from reward.workers.tasks import Item
from rollout.types import Outcome, Verdict


class Services:
    """Scores items whose checker is a service; `close` it on the loop that used it. Budgets count for this object."""

    def __init__(self, config: Config) -> None:
        self._services: dict[str, Judge | HttpChecker] = {"judge": Judge(config.judge), "http": HttpChecker(config.http)}

    async def score(self, items: Sequence[Item]) -> list[Verdict]:
        """A verdict for each item, in their order. Failures begin with "timeout:" or "error:"; a scored verdict has `parts["correct"]`."""
        return await asyncio.gather(*(self._verdict(item) for item in items))

    async def _verdict(self, item: Item) -> Verdict:
        service = self._services[item.checker]
        try:
            check_json_value(item.reference)
        except ValueError as error:
            return Verdict.failed(Outcome.UNSCORABLE, f"error: {item.checker}: {error}")
        try:
            answer = await service.score(item)
        except NoAnswer as failed:
            return Verdict.failed(failed.outcome, str(failed), words_of(failed.words))
        return Verdict(reward=answer.score, parts={"correct": answer.score}, words=words_of(answer.words))

    async def probe(self, used: Collection[str]) -> list[str]:
        """A line for each of the used services, all asked at once; ValueError where one of them could not score."""
        names = [name for name in sorted(self._services) if name in used]
        found = await asyncio.gather(*(self._probe_one(name) for name in names))
        if problems := [text for works, text in found if not works]:
            raise ValueError("\n".join(problems))
        return [text for _, text in found]

    async def _probe_one(self, name: str) -> tuple[bool, str]:
        service = self._services[name]
        try:
            return True, await service.probe()
        except NoAnswer as failed:
            said = str(failed).partition(": ")[2]
            silent = service.endpoint.problem is None and (failed.status is None or httpx.codes.is_server_error(failed.status))
            return False, f"{said}: start the service, or correct {name}.url" if silent else said

    async def close(self) -> None:
        """Close every connection."""
        for service in self._services.values():
            await service.endpoint.close()


def words_of(words: str) -> dict[str, str]:
    return {"correct": words} if words else {}


def probe_services(config: Config, used: Collection[str]) -> list[str]:
    """A line about each service among the checkers of a run; ValueError says which cannot be reached, and why."""

    async def probe() -> list[str]:
        services = Services(config)
        try:
            return await services.probe(used)
        finally:
            await services.close()

    return asyncio.run(probe())
