"""A coroutine that asks for the model's turns as a generator that yields words, which is what an environment is.

```
coroutine: said = await ask(words) ──► yield words ──► the model's next turn
                                  ◄── said, or None where the model has no turn left
```
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar

from reward.episodes.words import NoMoreTurns

Ask = Callable[[str | None], Awaitable[str | None]]  # words for the model, None before its first turn -> what it said
Value = TypeVar("Value")


class OutOfTurn(RuntimeError):
    """The coroutine asked for a turn that there cannot be: the first one with words, a later one without, or one after the last."""


def bridge(said: str, play: Callable[[Ask], Coroutine[Any, Any, Value]]) -> Generator[str, str, Value]:
    """Run `play` with a function that gives it the model's turns, of which `said` is the first; return what it returns.

    Between two turns nothing of it runs. Where the model has no turn left it gets None, and must come to its end. It is cancelled where
    the generator is closed.
    """
    talk = Talk(play)
    try:
        if not talk.goes_on():
            return talk.value()
        if talk.words is not None:
            raise OutOfTurn("the coroutine spoke first: the model's first turn answers its prompt")
        while talk.goes_on(said):
            if talk.words is None:
                raise OutOfTurn("the coroutine asked for another turn without words for the model")
            said = yield talk.words
        return talk.value()
    except NoMoreTurns:
        talk.over = True
        talk.goes_on(None)
        return talk.value()
    finally:
        talk.close()


class Talk(Generic[Value]):
    """The coroutine with an event loop of its own, which runs only while the coroutine has the word."""

    def __init__(self, play: Callable[[Ask], Coroutine[Any, Any, Value]]) -> None:
        self.words: str | None = None  # what the coroutine said last
        self.over = False
        self._loop = asyncio.new_event_loop()
        self._asked, self._turns = asyncio.Queue[str | None](), asyncio.Queue[str | None]()
        self._playing = self._loop.create_task(play(self._ask))

    def goes_on(self, *said: str | None) -> bool:
        """Give it what the model said, and wait until it asks for a turn; False where it ends."""
        for turn in said:
            self._turns.put_nowait(turn)
        return self._loop.run_until_complete(self._question())

    def value(self) -> Value:
        """What it returned; raises what it raised."""
        return self._playing.result()

    def close(self) -> None:
        """Cancel it where it has not ended; its `finally` blocks run."""
        self._playing.cancel()
        self._loop.run_until_complete(asyncio.wait({self._playing}))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    async def _ask(self, words: str | None) -> str | None:
        if self.over:
            raise OutOfTurn("the coroutine asked for a turn after the model's last")
        await self._asked.put(words)
        return await self._turns.get()

    async def _question(self) -> bool:
        question = asyncio.ensure_future(self._asked.get())
        await asyncio.wait({question, self._playing}, return_when=asyncio.FIRST_COMPLETED)
        if not question.done():
            question.cancel()
            return False
        self.words = question.result()
        return True
