"""Held environments: a generator that is suspended between turns, in one forked process for each episode.

```
held = Held(config, ["my_task:game"])
await held.ready()
answer = await held.reply(asked)      # as often as the episode has turns
verdict = await held.score(asked)
held.leave(asked.episode)             # where it will not be asked about again before its end
```

A world whose steps are slow, or whose state is not a function of what was said, cannot be run again from the transcript, as others are. It
costs a process. So at most `reward.held_episodes` of them exist at once, and the first question of further episodes waits. A world that is
lost is a failure without reward, and nothing is tried again.
"""

import asyncio
import json
import math
import threading
import time
from collections.abc import Callable, Sequence

from configs.digits import write_long_json
from configs.schema import Config
from reward.asked import Asked
from reward.episodes.transcript import Messages, Past, Transcript
from reward.episodes.yielded import was_cut
from reward.held.bounds import LEAVE_S, Bounds
from reward.held.episode import Beginning, Episode, Heard, Result, Results
from reward.held.keeper import Keeper
from reward.held.nursery import Nursery
from reward.held.protocol import Kind, Step
from reward.programs.limits import CodeLimits
from reward.workers.tasks import Item
from rollout.transcript.episode import Answer
from rollout.types import Verdict

CLOSE_S = 2 * LEAVE_S + 15.0


class Held:
    """The held environments of one node; usable from any event loop of any thread, as it has a thread of its own.

    checkers: the names of the user's environments that are held; their code is imported once, in the process that forks worlds.
    on_quarantine is called, on that thread, with every episode whose world died, and how; on_output with everything that worlds print.
    """

    def __init__(
        self,
        config: Config,
        checkers: Sequence[str],
        *,
        on_quarantine: Callable[[Item, str], None] | None = None,
        on_output: Callable[[bytes], None] | None = None,
    ) -> None:
        reward = config.reward
        bounds = Bounds(
            most=reward.held_episodes,
            timeout_s=float(reward.timeout_s),
            start_s=float(reward.held_start_s),
            idle_s=float(reward.held_idle_s),
            memory_mb=reward.memory_mb,
        )
        quarantine = on_quarantine or (lambda item, failure: None)
        nursery = Nursery(reward.memory_mb, CodeLimits(), checkers, on_output)
        self._keeper = Keeper(bounds, nursery, lambda episode, failure: quarantine(item_of(episode), failure))
        self._keeper.start()

    @property
    def worlds(self) -> int:
        """How many processes of worlds exist now."""
        return self._keeper.register.worlds

    async def ready(self) -> None:
        """Wait until worlds can be forked; RuntimeError when they cannot, OwnCodeError when the user's code is why."""
        await asyncio.shield(asyncio.wrap_future(self._keeper.started))

    async def reply(self, asked: Asked) -> Answer:
        """What follows the last turn. The first question of an episode waits while `reward.held_episodes` worlds exist.

        The same question asked again gets the same answer. RuntimeError where this is closed or cannot start worlds.
        """
        began = time.perf_counter()
        results = await self._ask(asked, [turn.said for turn in asked.said])
        return answer_of(results[-1], time.perf_counter() - began)

    async def score(self, asked: Asked) -> Verdict:
        """How right the episode was: the rewards of its turns and what the environment returned. Its world ends.

        A world that would go on gets NoMoreTurns.
        """
        said: list[Heard] = [turn.said for turn in asked.said]
        results = await self._ask(asked, said)
        if isinstance(results[-1], Step) and not results[-1].ends:
            results = await self._ask(asked, [*said, None])
        return verdict_of(results, len(said))

    async def _ask(self, asked: Asked, heard: Sequence[Heard]) -> Results:
        if not asked.episode:
            raise ValueError("a question about a held environment needs the name of its episode, got none: give Asked.episode")
        beginning = None
        if len(heard) == 1:
            reference, fields = write_long_json(asked.reference), write_long_json(asked.fields_of_environment)
            beginning = Beginning(checker=asked.checker, reference=reference, fields=fields, agent=asked.door is not None)
        return await asyncio.wrap_future(self._keeper.ask(asked.episode, beginning, heard))

    def leave(self, episode: str) -> None:
        """Nobody will ask about this episode again; of a name that ends in "/", about any that begins with it.

        Its generator is closed, so that its `finally` blocks run, and the process ends.
        """
        self._keeper.leave(episode)

    def close(self) -> None:
        """Close every generator, end every process and wait for that; waiting callers get a RuntimeError. May be repeated."""
        self._keeper.close(RuntimeError("held environments are closed"))
        if self._keeper is not threading.current_thread():
            self._keeper.join(CLOSE_S)
            if self._keeper.is_alive():
                raise RuntimeError(f"held worlds did not end within {CLOSE_S:g} s: {self.worlds} processes are left")


def answer_of(result: Result, seconds: float) -> Answer:
    """What the engine does next."""
    if isinstance(result, Verdict):
        return Answer(failure=result, seconds=seconds)
    match result.kind:
        case Kind.WORDS:
            return Answer(words=result.words, cut=was_cut(result.words), seconds=seconds)
        case Kind.REWRITTEN:
            return Answer(rewritten=result.messages, seconds=seconds)
    return Answer(seconds=seconds)


def verdict_of(results: Results, turns: int) -> Verdict:
    """The correctness of an episode that is over, from all that its world did."""
    last = results[-1]
    if isinstance(last, Verdict):
        return last
    rewards = [one.reward for one in results if isinstance(one, Step)]
    rewards[turns - 1 :] = [math.fsum(rewards[turns - 1 :])]  # NoMoreTurns is no turn: what it gave is the last one's
    correct = math.fsum(rewards)
    return Verdict(reward=correct, parts={"correct": correct}, turn_rewards=tuple(rewards) if any(rewards[:-1]) else ())


def item_of(episode: Episode) -> Item:
    """An episode with its transcript, for the quarantine."""
    answered: list[str | Messages | None] = [
        None if isinstance(one, Verdict) or one.ends else one.words if one.kind is Kind.WORDS else list(one.messages)
        for one in episode.results
    ]
    said = [one for one in episode.heard if one is not None]
    turns = [Past(one, answered[place] if place < len(answered) else None) for place, one in enumerate(said)]
    return Item(
        checker=episode.beginning.checker,
        response=said[-1],
        reference=json.loads(episode.beginning.reference),
        transcript=Transcript(turns=tuple(turns)),
    )
