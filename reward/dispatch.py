"""Who answers a turn of the model: a tool that it calls, else the row's environment; with neither the episode is over.

```
turns so far ──► tools: a call in the last one ──────────────► its result
             └─► environment, in the pool: run from its start ─┬► its words, or a new context
             └─► environment that is held: its own process ────┘  or nothing: the episode is over, and is scored
```
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from configs.schema import Config
from configs.tool_names import PYTHON_SESSION
from reward.asked import AGENT, HELD, YIELDS, Asked
from reward.episodes.transcript import Past, Transcript
from reward.episodes.yielded import was_cut
from reward.held.gate import Gate
from reward.own.name import OwnCodeError, is_own
from reward.seen import Sight
from reward.workers.pool import Item, RewardPool
from rollout.transcript.episode import Answer, Turn
from rollout.types import Verdict


class HeldWorlds(Protocol):
    """Environments that stay between turns."""

    def reply(self, asked: Asked) -> Awaitable[Answer]: ...
    def score(self, asked: Asked) -> Awaitable[Verdict]: ...
    def leave(self, episode: str) -> object: ...
    async def ready(self) -> None: ...
    def close(self) -> None: ...


Hold = Callable[[Sequence[str]], HeldWorlds]  # makes a home for environments that stay


class CalledTools(Protocol):
    """Tools that the model may call; None for a turn without a call."""

    def answer(self, asked: Asked) -> Awaitable[Answer | None]: ...
    def leave(self, episode: str) -> object: ...


class Episodes:
    """Answers turns, and says what is run to score an episode. `pool`, then this, must be ready before anything is asked.

    hold makes a home for the environments that stay, once it is known that there are any.
    """

    def __init__(self, config: Config, pool: RewardPool, *, hold: Hold, tools: CalledTools | None = None) -> None:
        self._config, self._pool, self._hold, self._tools = config, pool, hold, tools
        self._held: HeldWorlds | None = None
        self._all_held = config.reward.held
        self._gate = Gate(config.reward.held_episodes) if PYTHON_SESSION in config.tools.use else None
        self._sight = Sight(config.reward)

    def is_environment(self, checker: str) -> bool:
        """Whether a checker is an environment."""
        return YIELDS in self._pool.asks.get(checker, ())

    @property
    def asks(self) -> dict[str, Sequence[str]]:
        """What the pool says of each function of the user's; environments that the config holds are marked as such."""
        return {name: [*marks, HELD] if self.is_held(name) and HELD not in marks else marks for name, marks in self._pool.asks.items()}

    def is_held(self, checker: str) -> bool:
        """Whether an environment stays between turns."""
        return self.is_environment(checker) and (self._all_held or HELD in self._pool.asks[checker])

    def is_agent(self, checker: str) -> bool:
        """Whether a checker is an agent, which has a process of its own for each episode."""
        return AGENT in self._pool.asks.get(checker, ())

    async def ready(self) -> None:
        """Wait until environments that stay can be started, where there are any; RuntimeError where they cannot.

        OwnCodeError where a checker of a part asks for the whole group: an environment would keep its place until the others of its group,
        which may wait for a place, are over.
        """
        checkers = [name for name in self._pool.asks if self.is_held(name) or self.is_agent(name)]
        if (checkers and self._held is None) or self._gate is not None:
            refuse_group_beside(self._config, self._pool.asks, checkers)
        if checkers and self._held is None:
            self._held = self._hold(checkers)
        if self._held is not None:
            await self._held.ready()

    async def close(self) -> None:
        """End every environment that stays."""
        if self._held is not None:
            await asyncio.to_thread(self._held.close)

    async def reply(self, asked: Sequence[Asked]) -> list[Answer]:
        """What follows the last turn of each."""
        await asyncio.gather(*map(self._enter, asked))
        tools = self._tools
        answers = list(await asyncio.gather(*(tools.answer(one) for one in asked))) if tools else [None] * len(asked)
        open_ = [place for place, answer in enumerate(answers) if answer is None]
        held = [place for place in open_ if self.is_held(asked[place].checker)]
        again = [place for place in open_ if place not in held and self.is_environment(asked[place].checker)]
        in_pool = self._pool.score([self.item(asked[place]) for place in again])
        ran, stayed = await asyncio.gather(in_pool, self._reply_held([asked[place] for place in held]))
        answers_of = dict(zip([*again, *held], [*map(answer_of, ran), *stayed], strict=True))
        return [answer or answers_of.get(place) or Answer() for place, answer in enumerate(answers)]

    async def _enter(self, asked: Asked) -> None:
        """Wait for a place where the episode may need a world and an interpreter."""
        if self._gate is not None and self.is_held(asked.checker):
            await self._gate.enter(asked.episode)

    async def _reply_held(self, asked: Sequence[Asked]) -> list[Answer]:
        held = self._held
        assert held is not None or not asked, "nothing is held without a home for it"
        return list(await asyncio.gather(*(held.reply(self.view(one)) for one in asked))) if held else []

    async def score_held(self, asked: Sequence[Asked]) -> list[Verdict]:
        """The correctness of episodes whose environment stayed, unshaped; `view` has made them."""
        held = self._held
        assert held is not None or not asked, "nothing is held without a home for it"
        return list(await asyncio.gather(*(self._score_held(held, one) for one in asked))) if held else []

    async def _score_held(self, held: HeldWorlds, asked: Asked) -> Verdict:
        await self._enter(asked)
        verdict = await held.score(asked)
        if self._gate is not None:
            self._gate.leave(asked.episode)
        return verdict

    def leave_tools(self, episodes: Sequence[str]) -> None:
        """These episodes make no further call. Said before they are scored: a score may wait for an episode that needs what tools hold."""
        if self._tools is not None:
            for episode in episodes:
                self._tools.leave(episode)

    def leave(self, episodes: Sequence[str]) -> None:
        """Nobody will ask about these episodes again."""
        for home in (self._held, self._tools, self._gate):
            if home is not None:
                for episode in episodes:
                    home.leave(episode)

    def item(self, asked: Asked, *, score: bool = False) -> Item:
        """What the pool runs: the environment from its start over the turns, for the next words or the reward."""
        said, seen = asked.said, self._sight.turns(asked)
        past = tuple(past_of(said[place], seen[place]) for place in places_of_environment(asked))
        return Item(
            checker=asked.checker,
            response=past[-1].said,
            reference=asked.reference,
            prompt=asked.prompt,
            question=asked.question,
            fields=asked.fields_of_environment,
            transcript=Transcript(turns=past, score=score, over=score and asked.over),
        )

    def view(self, asked: Asked) -> Asked:
        """The episode as its environment sees it: without thoughts, and without turns that tools have answered."""
        said, seen = asked.said, self._sight.turns(asked)
        turns = tuple(turn_as(said[place], seen[place]) for place in places_of_environment(asked))
        return replace(asked, turns=turns, response=turns[-1].said)


def places_of_environment(asked: Asked) -> list[int]:
    """Which turns the environment sees: the last one, and those that no tool has answered."""
    turns = asked.said
    return [place for place, turn in enumerate(turns) if place == len(turns) - 1 or not is_a_tools(turn)]


def turn_as(turn: Turn, said: str) -> Turn:
    """The turn with these words of the model's; itself where it has them, as every turn passes here as often as the episode goes on."""
    return turn if turn.said == said else replace(turn, said=said)


def is_a_tools(turn: Turn) -> bool:
    return turn.answer.tool_calls > 0


def with_tools_turns(asked: Asked, rewards: Sequence[float]) -> tuple[float, ...]:
    """The rewards of the environment's turns among all turns: a turn that a tool has answered has none."""
    of_place = dict(zip(places_of_environment(asked), rewards, strict=True))
    return tuple(of_place.get(place, 0.0) for place in range(len(asked.said)))


def past_of(turn: Turn, said: str) -> Past:
    """A turn as it travels to a worker, with these words of the model's."""
    answer = turn.answer
    if answer.rewritten is not None:
        return Past(said, [{"role": one["role"], "content": one["content"]} for one in answer.rewritten])
    return Past(said, answer.words, answer.cut)


def answer_of(verdict: Verdict) -> Answer:
    """What an environment in the pool has said."""
    if verdict.reward is None:
        return Answer(failure=verdict)
    if (messages := verdict.words.get("messages")) is not None:
        return Answer(rewritten=tuple(json.loads(messages)))
    words = verdict.words.get("words")
    return Answer(words=words, cut=words is not None and was_cut(words))


def refuse_environments_beside(config: Config, asks: Mapping[str, Sequence[str]]) -> None:
    """Raise OwnCodeError where a part, or the second checker, is an environment: an episode is played with one."""
    beside = {f"reward.parts.{name}": part.checker or name for name, part in config.reward.parts.items()}
    if config.reward.second:
        beside["reward.second"] = config.reward.second
    for key, checker in beside.items():
        marks = asks.get(checker, ()) if is_own(checker) else ()
        if YIELDS in marks or AGENT in marks:
            what = "has a `yield` and so is an environment" if YIELDS in marks else "asks for base_url and so is an agent"
            raise OwnCodeError(
                f"{key} got {checker!r}, which {what}, needed a checker of finished responses: name it in "
                "reward.checker or in the rows, or write a function that returns"
            )


def refuse_group_beside(config: Config, asks: Mapping[str, Sequence[str]], held: Sequence[str]) -> None:
    """Raise OwnCodeError where a part, or the second checker, asks for the whole group beside what is held for each episode."""
    beside = {f"reward.parts.{name}": part.checker or name for name, part in config.reward.parts.items()}
    if config.reward.second:
        beside["reward.second"] = config.reward.second
    what = f"{held[0]!r} is a held environment" if held else "python_session is in tools.use"
    for key, checker in beside.items():
        if "group" in asks.get(checker, ()):
            raise OwnCodeError(
                f"{key} got {checker!r}, which asks for `group`, and {what}: an episode would keep its process until the last response of "
                "its group is finished, which may wait for a process itself. Remove the parameter `group`, or what is held"
            )
