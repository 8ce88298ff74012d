"""A generator that stays suspended between the turns of one episode."""

from collections.abc import Callable
from typing import Any

from reward.episodes.replay import World, close, final, is_new, value_without_turns
from reward.episodes.yielded import spoken
from reward.held.protocol import Kind, Step

Start = Callable[[], object]  # calls the environment with the model's first turn


class Suspended:
    """One episode's generator. Each method runs it to its next `yield` or its end, and raises what it raises."""

    def __init__(self) -> None:
        self._world: World | None = None

    def begin(self, start: Start) -> Step:
        """The model's first turn."""
        made = start()
        if not is_new(made):
            return Step(kind=Kind.RETURNED, reward=final(made))
        self._world = made
        return self._run(made, None)

    def turn(self, said: str) -> Step:
        """A later turn of the model."""
        assert self._world is not None, "the episode has ended"
        return self._run(self._world, said)

    def over(self) -> Step:
        """The model has no further turn."""
        assert self._world is not None, "the episode has ended"
        value = value_without_turns(self._world)
        self._world = None
        return Step(kind=Kind.RETURNED, reward=value)

    def close(self) -> None:
        """Run the generator's `finally` blocks, where it has not ended."""
        world, self._world = self._world, None
        if world is not None:
            close(world)

    def _run(self, world: World, said: Any) -> Step:
        try:
            heard = spoken(next(world) if said is None else world.send(said), world)
        except StopIteration as end:
            self._world = None
            return Step(kind=Kind.RETURNED, reward=final(end.value))
        if isinstance(heard.answered, str):
            return Step(kind=Kind.WORDS, words=heard.answered, reward=heard.reward)
        return Step(kind=Kind.REWRITTEN, messages=tuple(heard.answered), reward=heard.reward)
