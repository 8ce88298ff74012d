"""A person in the model's place: an engine that is asked for turns like any other, and asks the terminal."""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import numpy as np

from cluster.commands.play.lines import Lines
from cluster.commands.play.screen import Screen, Shown
from configs.schema import Config
from rollout.chat.reply_tokens import ReplyTokens
from rollout.engine.detokenise import Detokeniser
from rollout.transcript.episode import Reply
from rollout.turns import Ask, Bounds, Play
from rollout.types import Finish, Prompt, Response


class Person:
    """What is typed becomes the tokens that the model would have sampled, with the token that ends a turn."""

    def __init__(self, config: Config, tokenizer: Any, stops: Sequence[int], speller: ReplyTokens, lines: Lines, screen: Screen) -> None:
        own = tokenizer.eos_token_id
        self.end = own if own in stops or not stops else stops[0]
        self.tokenizer, self.detokeniser, self.speller = tokenizer, Detokeniser(tokenizer, list(stops)), speller
        self.lines, self.screen = lines, screen
        rollout = config.rollout
        self.bounds = Bounds(
            turns=rollout.max_turns, reply=rollout.max_reply_tokens, response=rollout.max_response_tokens, context=config.context_tokens
        )
        self._read = 0  # tokens that were shown

    async def respond_group(
        self, group_id: int, prompt: Prompt, seed: int, size: int, temperature: float | None, reply_to: Callable[[int], Reply | None], /
    ) -> AsyncIterator[tuple[int, Response]]:
        """One episode, as an engine gives a group."""
        self._read = len(prompt.token_ids)
        reply = reply_to(0)
        if reply is None:
            limit = self.bounds.response
            yield 0, await self.sample(Ask(context=prompt.token_ids.tolist(), turn=0, limit=limit, known=0))
            return
        shown = Shown(reply, self.screen, said=False)
        yield 0, await Play(prompt.token_ids.tolist(), self.sample, shown, self.speller.for_prompt(prompt), self.bounds).respond()

    async def sample(self, ask: Ask) -> Response:
        """The next turn. What does not fit is cut off, as the model's tokens would be."""
        if ask.turn:
            self.screen.read(self._decoded(ask.context[self._read :]) if len(ask.context) > self._read else self._decoded(ask.context))
        said = self.lines.turn(f"turn {ask.turn + 1}> ")
        ids = self.tokenizer.encode(said, add_special_tokens=False)
        fits = len(ids) < ask.limit
        if not fits:
            self.screen.line("", f"a turn of {len(ids)} tokens is cut off: only {ask.limit} are left (rollout.max_response_tokens)")
        ids = [*ids, self.end] if fits else ids[: ask.limit]
        text = self.detokeniser.text(ids)
        if text != said and fits:
            self.screen.line("", f"in the model's tokens this is {text!r}")
        self._read = len(ask.context) + len(ids)
        return Response(
            token_ids=np.asarray(ids, np.int32),
            logprobs=None,
            finish=Finish.STOP if fits else Finish.LENGTH,
            oldest_version=0,
            newest_version=0,
            text=text,
        )

    def _decoded(self, ids: Sequence[int]) -> str:
        text: str = self.tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text
