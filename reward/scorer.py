"""Finished responses → shaped verdicts: gets every part of the reward from the pool and the services, and adds them up.

```
Asked ──► row's checker ─┐
      ──► every part     ├─ pool (processes) | services (network) ──► shape ──► verdict
      ──► second checker ┘                                            └──────── second: recorded beside it, never part of the reward
```
Of an episode, an environment scores all turns, and every other checker the last one. `reward.episodes` answers the turns before.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Self

from configs.schema import Config
from reward.asked import Asked, Wants
from reward.checkers import SERVICES
from reward.code_limits import code_limits
from reward.dispatch import Episodes, refuse_environments_beside, with_tools_turns
from reward.held.held import Held
from reward.own.name import is_own
from reward.seen import Sight
from reward.services.services import Services
from reward.shaping import SECOND, shape
from reward.tools.tools import Tools
from reward.tools.warm import warm_tools
from reward.workers.output_log import OutputLog
from reward.workers.pool import Item, RewardPool
from rollout.transcript.episode import Answer
from rollout.types import Outcome, Verdict

SHOWN_CHARS = 60
UNFINISHED = Verdict(reward=0.0, unfinished=True)  # of a response that ends within a thought: it has no answer


class Scorer:
    """Scores responses as the config says, on any event loop; the first `async with` waits until every worker is up.

    on_quarantine is called, on a thread of the pool, with every item that killed two workers. named_by_rows are further checkers, which the
    config does not name: they too are imported, or their services probed, before the first item. log is the file for what workers print.
    """

    def __init__(
        self,
        config: Config,
        on_quarantine: Callable[[Item, str], None] | None = None,
        *,
        named_by_rows: Sequence[str] = (),
        log: Path | None = None,
    ) -> None:
        self.config, self.limit = config.reward, config.rollout.max_response_tokens
        self._log = None if log is None else OutputLog(log)
        self._see_log = f"; the traceback is in {log.parent.name}/{log.name}" if log else ""
        self._used = list(dict.fromkeys([*used_checkers(config), *named_by_rows]))
        self.pool = RewardPool(
            workers=self.config.workers,
            timeout_s=float(self.config.timeout_s),
            memory_mb=self.config.memory_mb,
            warm=[*(name for name in self._used if name not in SERVICES), *warm_tools(config)],
            limits=code_limits(config),
            max_waiting=self.config.max_waiting,
            on_quarantine=on_quarantine,
            on_output=self._log.write if self._log else None,
        )
        self.services = Services(config)
        self._config, self._sight = config, Sight(self.config)
        self.tools = Tools(config, self.pool)
        output = self._log.write if self._log else None
        hold = partial(Held, config, on_quarantine=on_quarantine, on_output=output)
        self.episodes = Episodes(config, self.pool, hold=hold, tools=self.tools if config.tools.use else None)

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.close)
            await self.ready()
            stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def ready(self) -> None:
        """Wait until every worker has started and every service has answered; RuntimeError or ValueError where one does not."""
        await asyncio.gather(self.pool.ready(), self.services.probe(self._used), self.tools.ready())
        refuse_environments_beside(self._config, self.pool.asks)
        await self.episodes.ready()

    @property
    def wants(self) -> Wants:
        """What the functions of the user's ask for; known once the scorer is ready."""
        always = tuple(checker for _, checker, _ in self._questions() if checker)
        return Wants(by_checker=self.episodes.asks, always=always, tools=bool(self._config.tools.use))

    async def reply(self, asked: Sequence[Asked]) -> list[Answer]:
        """What follows the last turn of each episode, in their order."""
        await self._know_environments()
        answers = await self.episodes.reply(asked)
        return [self._placed(one, answer) for one, answer in zip(asked, answers, strict=True)]

    async def run_agent(self, asked: Asked) -> Verdict:
        """What the agent of one response returned, as correctness alone; `score` takes it as `Asked.earned`."""
        await self._know_environments()
        (earned,) = await self.episodes.score_held([asked])
        return earned

    def leave(self, episodes: Sequence[str]) -> None:
        """Nobody will ask about these episodes again: end what is held for them."""
        self.episodes.leave(episodes)

    def _placed(self, asked: Asked, answer: Answer) -> Answer:
        """The answer, a failure with the place of its row."""
        return answer if answer.failure is None else replace(answer, failure=self._with_place(asked, answer.failure, own=True))

    async def score(self, asked: Sequence[Asked]) -> list[Verdict]:
        """A shaped verdict for each, in their order; `parts["second"]` is the score of reward.second, where there is one.

        Of an episode, `parts["correct"]` is all that its environment gave: the rewards of its turns and what it returned.
        """
        if any(map(is_own, self._used)):
            await self._know_environments()
        self.episodes.leave_tools([one.episode for one in asked if one.episode])
        questions = self._questions()
        items = [self._item(one, name, checker, reference) for one in asked for name, checker, reference in questions]
        answers = await self._ask(items)
        names = [name for name, _, _ in questions]
        verdicts = []
        for place, one in enumerate(asked):
            found = dict(zip(names, answers[place * len(names) : (place + 1) * len(names)], strict=True))
            verdicts.append(self._shaped(one, found))
        self.leave([one.episode for one in asked if one.episode])
        return verdicts

    async def _know_environments(self) -> None:
        """Wait until it is known which functions are environments, and those that stay can be started."""
        await self.pool.ready()
        await self.episodes.ready()

    def _questions(self) -> list[tuple[str, str | None, Any]]:
        """(name, checker, reference) of every score that a response needs; None stands for the row's own."""
        parts = [(name, part.checker or name, part.reference) for name, part in self.config.parts.items()]
        second = [(SECOND, self.config.second, None)] if self.config.second else []
        return [("correct", None, None), *parts, *second]

    def _item(self, asked: Asked, name: str, checker: str | None, reference: Any) -> Item | Asked | Verdict | None:
        """What one checker gets; the episode itself where its environment is held, and a verdict where an agent has earned it.

        None where a checker looks for an answer and the response ends within a thought.
        """
        named, own = checker or asked.checker, asked.reference if reference is None else reference
        if name == "correct" and asked.earned is not None:
            return asked.earned
        if self.episodes.is_environment(named):
            return self.episodes.view(asked) if self.episodes.is_held(named) else self.episodes.item(asked, score=True)
        sees_all = self._sight.is_of_all(name, named, own)
        seen = self._sight.of(asked, asked.response, sees_all)
        if seen is None:
            return None
        item = Item(checker=named, response=seen, reference=own, prompt=asked.prompt, question=asked.question)
        if not is_own(named):
            return item
        group = tuple(self._sight.of(asked, text, sees_all) or "" for text in asked.group)
        return replace(item, fields=asked.fields, group=group or (seen,))

    def _shaped(self, asked: Asked, found: dict[str, Verdict]) -> Verdict:
        words = {name: text for name, verdict in found.items() for text in verdict.words.values()}
        own = any(is_own(checker or asked.checker) for _, checker, _ in self._questions())
        second = found.pop(SECOND, None)
        unfinished = any(one is UNFINISHED for one in found.values()) or (second is UNFINISHED)
        correct = found.pop("correct")
        if self.episodes.is_environment(asked.checker):
            words, unfinished = {}, unfinished or self._sight.ends_in_thought(asked)
            if correct.turn_rewards:
                correct = replace(correct, turn_rewards=with_tools_turns(asked, correct.turn_rewards))
        shaped = shape(self.config, correct, found, asked.tokens, self.limit)
        verdict = replace(shaped, words=words, unfinished=unfinished)
        if verdict.failure is not None:
            return self._with_place(asked, verdict, own=own)
        if second is None or second.reward is None:
            return verdict
        return replace(verdict, parts=verdict.parts | {SECOND: second.reward})

    def _with_place(self, asked: Asked, failed: Verdict, *, own: bool) -> Verdict:
        """A failure with the place of its row, and of a function of the user's the file with its traceback."""
        see = self._see_log if own and failed.outcome is Outcome.UNSCORABLE else ""
        return replace(failed, failure=f"{failed.failure} [{place_of(asked)}{see}]")

    async def _ask(self, items: Sequence[Item | Asked | Verdict | None]) -> list[Verdict]:
        """Services, processes and held environments are asked at the same time; where there is no answer, nobody is asked."""
        asked = [(place, item) for place, item in enumerate(items) if isinstance(item, Item)]
        held = [(place, item) for place, item in enumerate(items) if isinstance(item, Asked)]
        far = [(place, item) for place, item in asked if item.checker in SERVICES]
        near = [(place, item) for place, item in asked if item.checker not in SERVICES]
        scored = await asyncio.gather(
            self.services.score([item for _, item in far]),
            self.pool.score([item for _, item in near]),
            self.episodes.score_held([item for _, item in held]),
        )
        places = [place for place, _ in (*far, *near, *held)]
        verdicts = {place: item for place, item in enumerate(items) if isinstance(item, Verdict)}
        verdicts |= zip(places, [one for found in scored for one in found], strict=True)
        return [verdicts.get(place, UNFINISHED) for place in range(len(items))]

    async def close(self) -> None:
        """End every worker process and every connection."""
        try:
            await asyncio.gather(asyncio.to_thread(self.pool.close), self.episodes.close())
        finally:
            await self.tools.close()
            await self.services.close()
            if self._log is not None:
                self._log.close()
                self._log = None


def place_of(asked: Asked) -> str:
    """Which response of which row, for the message of a failure."""
    text = asked.response
    begins = f"response {text!r}" if len(text) <= SHOWN_CHARS else f"response begins {text[:SHOWN_CHARS]!r}"
    return f"{asked.row}; {begins}" if asked.row else begins


def used_checkers(config: Config) -> list[str]:
    """The checkers that the config names, each once: the rows' default, the parts', the second, those of sources and eval sets."""
    reward = config.reward
    named = [reward.checker, *(part.checker or name for name, part in reward.parts.items()), reward.second, *config.data.own_checkers]
    return list(dict.fromkeys(name for name in named if name))
