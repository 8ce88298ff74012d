"""A group whose responses are episodes of an agent: a user's function in a process of its own, which asks the engine's door for turns."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from cluster.actors.fleet.door import Door, Visit
from cluster.actors.fleet.group_work import GroupWork
from reward.held.bounds import WALL_TIMES
from reward.thinking import ends_within
from reward.tools.agent_calls import calls_for_agents
from rollout.door.episode import AgentEpisode, Voice
from rollout.seeds import seed_of_response
from rollout.transcript.episode import Reply
from rollout.types import Outcome, Prompt, Response, Verdict

SILENT = "error: the agent returned without a request to the model, needed at least one"


class Speaking(Protocol):
    """The engine behind the door."""

    def voice(self, prompt: Prompt, seed: int, temperature: float | None) -> Voice: ...


@dataclass(frozen=True, slots=True)
class Agents:
    """Stands for the engine in the work on such a group: each response comes when its agent has returned, with what that earned."""

    engine: Speaking
    door: Door
    work: GroupWork

    async def respond_group(
        self, group_id: int, prompt: Prompt, seed: int, size: int, temperature: float | None, reply_to: Callable[[int], Reply | None], /
    ) -> AsyncIterator[tuple[int, Response]]:
        """The group's responses, each as soon as its agent is done. Who stops asking ends the rest."""
        url = await self.door.open()

        async def one(member: int) -> tuple[int, Response]:
            own = seed_of_response(seed, group_id, member, evaluated=temperature is not None)
            return member, await self._one(member, url, self.engine.voice(prompt, own, temperature), temperature)

        asked = [asyncio.ensure_future(one(member)) for member in range(size)]
        try:
            for done in asyncio.as_completed(asked):
                yield await done
        finally:
            for response in asked:
                response.cancel()

    async def _one(self, member: int, url: str, voice: Voice, temperature: float | None) -> Response:
        """One episode, from the start of the agent's process to what it returned."""
        work, config = self.work, self.work.questions.config
        usual = config.rollout.temperature
        episode = AgentEpisode(work.prompt.token_ids.tolist(), voice, self._calls())
        visit = Visit(episode, work.mine, (usual if temperature is None else temperature, usual))
        with self.door.let_in(visit):
            name = work.begins(member)
            playing = asyncio.ensure_future(work.questions.run_agent(replace(work.asked(member, ""), door=(url, visit.key))))
            try:
                earned = await self._outcome(playing, visit)
            finally:
                playing.cancel()
        if earned.reward is None:
            work.questions.leave([name])  # its process, where it still runs
        response = replace(episode.response(), environment_s=visit.thought_s)
        if earned.reward is not None and not response.sampled_tokens:
            earned = Verdict.failed(Outcome.UNSCORABLE, SILENT)
        work.earned[member] = earned
        return response

    async def _outcome(self, playing: "asyncio.Future[Verdict]", visit: Visit) -> Verdict:
        """What the agent returned, or that it is late; raises what the engine raised."""
        reward = self.work.questions.config.reward
        ends: set[asyncio.Future[Any]] = {playing, visit.broken}
        while True:
            asked = bool(visit.episode.transcript)
            key, limit = ("timeout_s", reward.timeout_s) if asked else ("held_start_s", reward.held_start_s)
            left = WALL_TIMES * limit - visit.thinking_s
            if left <= 0:
                what = "after a turn of the model" if asked else "before its first request"
                return Verdict.failed(
                    Outcome.TIMED_OUT, f"timeout: the agent did nothing for {visit.thinking_s:.1f} s {what} (4 × reward.{key})"
                )  # fmt: skip
            await asyncio.wait(ends, timeout=max(0.01, min(left, 1.0)), return_when=asyncio.FIRST_COMPLETED)
            if visit.broken.done():
                visit.broken.result()
            if playing.done():
                return playing.result()

    def _calls(self) -> Callable[[str, Sequence[Mapping[str, Any]]], Any]:
        """What finds the calls in a turn."""
        config, prompt = self.work.questions.config, self.work.prompt
        marks = config.reward.thinking_marks
        opened = ends_within(prompt.text.removesuffix(prompt.prefill), "", marks)
        return calls_for_agents(config.tools.format, marks, opened=opened, prefill=prompt.prefill)
