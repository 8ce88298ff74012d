"""One group on an engine: its responses are asked about while they grow, scored when they finish, and left if they never do."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Protocol
from uuid import uuid4

from cluster.actors.fleet.questions import Questions
from reward.asked import Asked, Wants
from rollout.engine.pulse import GroupAtWork
from rollout.seeds import seed_of_group, seed_of_response
from rollout.transcript.episode import Answer, Reply, Turn
from rollout.types import Finish, Group, Prompt, Response, Verdict


class Responding(Protocol):
    """An engine that answers a prompt with a group of responses."""

    def respond_group(
        self, group_id: int, prompt: Prompt, seed: int, size: int, temperature: float | None, reply_to: Callable[[int], Reply | None], /
    ) -> AsyncIterator[tuple[int, Response]]: ...


class GroupWork:
    """A group from its prompt to its verdicts."""

    def __init__(self, questions: Questions, mine: GroupAtWork, prompt: Prompt, wants: Wants, *, size: int, engine: str) -> None:
        """`engine` begins the names of its episodes, so that all of them can be left if the engine dies."""
        self.questions, self.mine, self.prompt, self.size = questions, mine, prompt, size
        self.wants, self.talks, self.slow = wants.of(prompt.checker), wants.talks(prompt.checker), wants.slow(prompt.checker)
        self.agent = wants.agent(prompt.checker)
        self.earned: dict[int, Verdict] = {}  # what agents have returned, by the place of the response
        self.seed = questions.config.run.seed
        attempt = uuid4().hex[:12]
        self.names = [f"{engine}{mine.group_id}.{member}.{attempt}" for member in range(size)]
        self._open: set[str] = set()  # episodes that were asked about, and are not scored yet

    async def run(self, engine: Responding, temperature: float | None) -> tuple[Group, float]:
        """The scored group, and the seconds from its last response to its last verdict.

        A response is scored as soon as it is finished, unless a function of the user's asks for the whole group.
        """
        mine, prompt, size = self.mine, self.prompt, self.size
        responses: dict[int, Response] = {}
        verdicts: dict[int, asyncio.Future[Verdict]] = {}
        mine.working = size
        try:
            async for member, response in engine.respond_group(mine.group_id, prompt, self.seed, size, temperature, self.reply_to):
                responses[member] = response
                mine.finished(len(response))
                if "group" not in self.wants:
                    verdicts[member] = self.score(member, response)
            mine.scoring, generated = True, time.perf_counter()
            if "group" in self.wants:
                texts = tuple(responses[member].text for member in range(size))
                verdicts = {member: self.score(member, response, texts) for member, response in responses.items()}
            self.questions.hurry()  # until here the group waited for its responses
            scored = [await self._verdict(verdicts[member], self.names[member], responses[member]) for member in range(size)]
        finally:
            self._leave()
        of_members = tuple(responses[member] for member in range(size))
        group = Group(group_id=mine.group_id, prompt=prompt, responses=of_members, verdicts=tuple(scored))
        return group, time.perf_counter() - generated

    def reply_to(self, member: int) -> Reply | None:
        """What answers the turns of one response; nothing where there are no environment and no tools."""

        async def reply(turns: Sequence[Turn]) -> Answer:
            self.begins(member)
            with self.mine.answers():
                return await self.questions.reply(replace(self.asked(member, turns[-1].said), turns=tuple(turns)), alone=self.slow)

        return reply if self.talks and not self.agent else None

    def begins(self, member: int) -> str:
        """The name of an episode that something is held for from now on."""
        self._open.add(self.names[member])
        return self.names[member]

    def score(self, member: int, response: Response, group: tuple[str, ...] = ()) -> asyncio.Future[Verdict]:
        """A future for the verdict on a finished response; of an episode that broke, its failure."""
        if failure := failure_of(response):
            verdict: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
            verdict.set_result(failure)
            return verdict
        asked = replace(
            self.asked(member, response.text),
            earned=self.earned.get(member),
            tokens=response.sampled_tokens,
            truncated=response.finish is Finish.LENGTH,
            turns=response.transcript,
            over=response.finish is not Finish.STOP,
            group=group,
        )
        return self.questions.score(asked, held=self.slow or self.agent)

    async def _verdict(self, coming: asyncio.Future[Verdict], name: str, response: Response) -> Verdict:
        """A verdict; with it the episode is over for its environment, unless it broke and was not scored."""
        verdict = await coming
        if failure_of(response) is None:
            self._open.discard(name)
        return verdict

    def _leave(self) -> None:
        """Say that no episode that is open now will be asked about again."""
        self.questions.leave(sorted(self._open))
        self._open.clear()

    def asked(self, member: int, said: str) -> Asked:
        """A response as the reward actor knows it; columns of the row travel only where a function asks for them."""
        prompt, mine, seed = self.prompt, self.mine, self.seed
        return Asked(
            checker=prompt.checker,
            response=said,
            reference=prompt.reference,
            tokens=0,
            prompt=prompt.text,
            question=prompt.question,
            prefill=prompt.prefill,
            row=prompt.where,
            columns=prompt.columns if "row" in self.wants else {},
            index=member,
            seed=seed_of_response(seed, mine.group_id, member, evaluated=mine.evaluated),
            episode=self.names[member],
            group_seed=seed_of_group(seed, mine.group_id, evaluated=mine.evaluated),
        )


def failure_of(response: Response) -> Verdict | None:
    """Why an episode broke; None where it did not."""
    return response.transcript[-1].answer.failure if response.transcript else None


def episodes_of(engine: int) -> str:
    """What begins the name of every episode of an engine; it ends in "/", by which `RewardActor.leave` knows that it means them all."""
    return f"engine-{engine}/"
