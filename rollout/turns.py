"""Plays an episode: the engine samples turns of the model, `reply` answers them, and both become one row of tokens, exact to the token.

    context ──► sample ──► turn ──► reply ──► words: their tokens join the context ──┐
       ▲                                 ├──► messages: a new segment begins with them ─┤
       │                                 └──► nothing: the episode is over            │
       └──────────────────────────────────────────────────────────────────────────────┘

History is never rendered again: a turn reads the very tokens that were fed and sampled before it.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rollout.chat.behind import UnfitWords
from rollout.chat.fitting import fit
from rollout.transcript.episode import Answer, Reply, Turn
from rollout.transcript.messages import Message
from rollout.types import Experts, Finish, Outcome, Response, Segment, Verdict


class Speller(Protocol):
    """What turns words into tokens; `rollout.chat.reply_tokens` is that of a run."""

    def of(self, words: str, role: str, last_token: int) -> list[int]: ...
    def context(self, messages: Sequence[Message]) -> list[int]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What the engine is asked for: one turn of the model."""

    context: Sequence[int]  # all that it reads
    turn: int  # 0, 1, 2, ... over all segments
    limit: int  # tokens that it may have
    known: int  # tokens of the context whose experts are recorded


Sample = Callable[[Ask], Awaitable[Response]]  # returns one turn; its experts begin with those of token `known`


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How far an episode may go."""

    turns: int  # of the model, over all segments
    reply: int  # tokens that one answer appends
    response: int  # tokens after the prompt, over all segments
    context: int  # tokens of a segment with its prompt


@dataclass(slots=True)
class Growing:
    """A segment while it grows."""

    prompt: Sequence[int]
    tokens: list[int] = field(default_factory=list)
    turns: list[tuple[int, int]] = field(default_factory=list)
    logprobs: list[NDArray[np.float32] | None] = field(default_factory=list)  # of each turn
    experts: list[Experts | None] = field(default_factory=list)  # of each turn: rows from the last token of the turn before on
    versions: list[tuple[int, int]] = field(default_factory=list)  # of each turn: oldest, newest

    @property
    def context(self) -> list[int]:
        return [*self.prompt, *self.tokens]

    @property
    def known(self) -> int:
        """Tokens that the model has read: all up to the end of its last turn, but for that turn's last token."""
        return len(self.prompt) + self.turns[-1][1] - 1 if self.turns else 0

    def add(self, turn: Response) -> None:
        """The model said this."""
        began = len(self.tokens)
        self.tokens += turn.token_ids.tolist()
        self.turns.append((began, len(self.tokens)))
        self.logprobs.append(turn.logprobs)
        self.experts.append(turn.routed_experts)
        self.versions.append((turn.oldest_version, turn.newest_version))

    def parts(self) -> dict[str, Any]:
        """The fields that a Response and a Segment share."""
        return {
            "token_ids": np.asarray(self.tokens, np.int32),
            "logprobs": self._logprobs(),
            "routed_experts": self._experts(),
            "turns": np.asarray(self.turns, np.int32) if len(self.turns) > 1 else None,
            "oldest_version": self.versions[0][0],
            "newest_version": self.versions[-1][1],
        }

    def _logprobs(self) -> NDArray[np.float32] | None:
        """[T], 0 on tokens that the model did not sample."""
        found = np.zeros(len(self.tokens), np.float32)
        for (began, ended), logprobs in zip(self.turns, self.logprobs, strict=True):
            if logprobs is None:
                return None
            found[began:ended] = logprobs
        return found

    def _experts(self) -> Experts | None:
        """[P+T-1, L, K]: every token has those of the pass that read it first."""
        known = [rows for rows in self.experts if rows is not None]
        whole: Any = np.concatenate(known) if known and len(known) == len(self.experts) else None
        return whole


class Play:
    """One episode of one response, from its prompt to its end."""

    def __init__(self, prompt: Sequence[int], sample: Sample, reply: Reply, speller: Speller, bounds: Bounds) -> None:
        self.sample, self.reply, self.speller, self.bounds = sample, reply, speller, bounds
        self.segments = [Growing(prompt)]
        self.transcript: list[Turn] = []

    async def respond(self) -> Response:
        """Play to the end. A turn that ends without a stop token is the last one."""
        while True:
            last = await self._turn()
            if last.finish is not Finish.STOP:
                return self._response(last.finish, last.text)
            answer = await self.reply(tuple(self.transcript))
            taken = answer if answer.ends else self._read(answer)
            self.transcript[-1] = Turn(said=last.text, answer=taken or replace(answer, words=None, rewritten=None))
            if taken is None or taken.ends:
                return self._response(Finish.LENGTH if taken is None else Finish.STOP, last.text)

    @property
    def used(self) -> int:
        """Tokens after the prompt so far, of all segments."""
        return sum(len(segment.tokens) for segment in self.segments)

    async def _turn(self) -> Response:
        segment = self.segments[-1]
        context = segment.context
        limit = min(self.bounds.response - self.used, self.bounds.context - len(context))
        turn = await self.sample(Ask(context=context, turn=len(self.transcript), limit=limit, known=segment.known))
        segment.add(turn)
        self.transcript.append(Turn(said=turn.text))
        return turn

    def _read(self, answer: Answer) -> Answer | None:
        """The answer as the model reads it, or a failure in its place where the chat template cannot tell it to the model."""
        try:
            return self._take(answer)
        except UnfitWords as error:
            failure = Verdict.failed(Outcome.UNSCORABLE, f"the model cannot be told this: {error}")
            return replace(answer, words=None, rewritten=None, failure=failure)

    def _take(self, answer: Answer) -> Answer | None:
        """Let the model read an answer; returns it as read, or None where the model has no turn or no room to answer it."""
        segment = self.segments[-1]
        if len(self.transcript) >= self.bounds.turns:
            return None
        if answer.rewritten is not None:
            context = self.speller.context(answer.rewritten)
            if len(context) >= self.bounds.context or self.used >= self.bounds.response:
                return None
            self.segments.append(Growing(context))
            return answer
        assert answer.words is not None, "an answer with neither words nor a context ends the episode"
        words, ids = fit(answer.words, self.bounds.reply, lambda text: self.speller.of(text, answer.role, segment.tokens[-1]))
        fed = len(segment.prompt) + len(segment.tokens) + len(ids)
        if fed >= self.bounds.context or self.used + len(ids) >= self.bounds.response:
            return None
        segment.tokens += ids
        return replace(answer, words=words, cut=answer.cut or words != answer.words)

    def _response(self, finish: Finish, text: str) -> Response:
        return response_of(self.segments, self.transcript, finish, text)


def response_of(segments: Sequence[Growing], transcript: Sequence[Turn], finish: Finish, text: str) -> Response:
    """The whole episode; `text` is that of its last turn."""
    first, *later = segments
    answers = [turn.answer for turn in transcript]
    alone = len(answers) == 1 and answers[0] == Answer()
    return Response(
        **first.parts() | {"newest_version": max(newest for segment in segments for _, newest in segment.versions)},
        finish=finish,
        text=text,
        later=tuple(Segment(prompt_ids=np.asarray(segment.prompt, np.int32), **segment.parts()) for segment in later),
        transcript=() if alone else tuple(transcript),
        tool_calls=sum(answer.tool_calls for answer in answers),
        tool_errors=sum(answer.tool_errors for answer in answers),
        cut_replies=sum(answer.cut for answer in answers),
        environment_s=sum(answer.seconds for answer in answers),
    )
