"""An agent's episode: its requests become turns of the model in segments, exact to the token, whatever it does with its history.

```
messages ──► some segment, as far as it was said, and more ──► only what is new behind its last turn is spelled ──┐
         └─► anything else: rewritten, branched, other tools ──► a segment of its own, rendered as rows are ──────┴─► one more turn
```
History is never rendered again: a segment goes on with the very tokens that were fed and sampled.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from rollout.chat.behind import UnfitWords
from rollout.door.request import Refused, Request
from rollout.door.said import Said
from rollout.transcript.episode import Answer, Turn
from rollout.transcript.messages import Message
from rollout.turns import Ask, Bounds, Growing, Sample, response_of
from rollout.types import Finish, Response

Calls = tuple[str, list[tuple[str, dict[str, Any]]]]  # the text beside the calls of a turn, and each call's name and arguments
FindCalls = Callable[[str, Sequence[dict[str, Any]]], Calls]  # of a turn's text and the tools that its request shows


class AgentSpeller(Protocol):
    """What turns an agent's messages into tokens; `rollout.chat.reply_tokens` is that of a run."""

    def showing(self, schemas: Sequence[dict[str, Any]], *, system: bool = True) -> "AgentSpeller": ...
    def context(self, messages: Sequence[Message]) -> list[int]: ...
    def after(self, messages: Sequence[Message], last_token: int) -> list[int]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """How the engine speaks in one response."""

    sample: Sample
    speller: AgentSpeller
    bounds: Bounds
    plain: bool  # data.chat_template = false: a conversation is the texts of its messages, one behind another
    version: int  # of the weights now, for a response without a turn


@dataclass(slots=True)
class Conversation:
    """A segment with the messages that it stands for."""

    growing: Growing
    speller: AgentSpeller
    tools: tuple[dict[str, Any], ...]
    messages: list[Message] = field(default_factory=list)  # all that was said in it, the model's last turn included

    def new_in(self, request: Request) -> tuple[Message, ...]:
        """What a request adds to it; empty where it does not go on with it."""
        known, said = len(self.messages), list(request.messages)
        goes_on = request.tools == self.tools and said[:known] == self.messages
        added = request.messages[known:] if goes_on else ()
        return () if any(one["role"] == "assistant" for one in added) else added


class AgentEpisode:
    """The turns that an agent asks for, one after another in the order in which its requests come."""

    def __init__(self, prompt: Sequence[int], voice: Voice, find_calls: FindCalls) -> None:
        self.prompt, self.voice, self.find_calls = list(prompt), voice, find_calls
        self.conversations: list[Conversation] = []
        self.transcript: list[Turn] = []
        self.finish, self.text = Finish.STOP, ""
        self.empty = 0  # requests for which there was no turn or room left
        self._one = asyncio.Lock()  # the room that is left is known only when the turn before is over

    async def complete(self, request: Request) -> Said:
        """One more turn of the model; raises Refused, and what the engine raises. A cancelled one leaves no trace."""
        async with self._one:
            at, added, spelled = self._place(request)
            context = [*at.growing.context, *spelled]
            bounds = self.voice.bounds
            limit = min(bounds.response - self._used - len(spelled), bounds.context - len(context))
            if limit < 1 or len(self.transcript) >= bounds.turns:
                return self._none_left(len(context))
            own = min(limit, request.limit or limit)
            known = at.growing.known
            turn = await self.voice.sample(Ask(context=context, turn=len(self.transcript), limit=own, known=known))
            if turn.finish is Finish.ABORTED or not len(turn):
                raise Refused(503, "the engine ended this turn before it was finished")
            at.growing.tokens += spelled
            at.growing.add(turn)
            said = self._said(request, at, added, turn, len(context))
            # A turn that its agent has cut short is no response for which the run's own limits were too narrow.
            self.finish = Finish.STOP if own < limit else turn.finish
            return said

    def _place(self, request: Request) -> tuple[Conversation, tuple[Message, ...], list[int]]:
        """Where the turn goes: a conversation, the messages that are new there, and their tokens behind what it has."""
        for one in sorted(self.conversations, key=lambda found: -len(found.messages)):
            if added := one.new_in(request):
                try:
                    return one, added, one.speller.after(added, one.growing.tokens[-1])
                except UnfitWords:  # the template does not show them behind a turn; whole, it may
                    break
        own_system = any(one["role"] == "system" for one in request.messages)
        speller = self.voice.speller.showing(request.tools, system=not own_system)
        try:
            context = speller.context(self._shown(request))
        except UnfitWords as error:
            raise Refused(400, f"the model cannot be told these messages: {error}", param="messages") from error
        return Conversation(Growing(context), speller, request.tools), request.messages, []

    def _shown(self, request: Request) -> list[Message]:
        """The messages as a prompt is made of them."""
        if not self.voice.plain:
            return list(request.messages)
        if request.tools:
            raise Refused(400, "with data.chat_template = false the model is shown no tools: leave tools out", param="tools")
        return [{"role": "user", "content": "".join(one["content"] for one in request.messages)}]

    @property
    def _used(self) -> int:
        """Tokens behind the contexts so far."""
        return sum(len(one.growing.tokens) for one in self.conversations)

    def _none_left(self, prompt_tokens: int) -> Said:
        """The answer to an agent that goes on where no turn or room is left; it is told so in words when it does not stop."""
        self.finish = Finish.LENGTH
        self.empty += 1
        if self.empty > self.voice.bounds.turns:
            raise Refused(
                400,
                f"no turn or room is left in this episode: it has had {len(self.transcript)} of {self.voice.bounds.turns} turns "
                "(rollout.max_turns); end it when finish_reason is length",
                code="episode_over",
            )
        return Said(number=len(self.transcript), content="", finish="length", prompt_tokens=prompt_tokens)

    def _said(self, request: Request, at: Conversation, added: Sequence[Message], turn: Response, read: int) -> Said:
        """Record a turn, and give it to the agent."""
        if not any(one is at for one in self.conversations):
            self.conversations.append(at)
        content, calls = self.find_calls(turn.text, request.tools) if request.calls else (turn.text, [])
        ended = turn.finish is Finish.STOP
        finish = "length" if not ended else "tool_calls" if calls else "stop"
        said = Said(
            number=len(self.transcript), content=content, calls=calls, finish=finish, prompt_tokens=read, tokens=len(turn)
        )  # fmt: skip
        self._note(at, added)
        at.messages = [*request.messages, said.message]
        self.transcript.append(Turn(said=turn.text, answer=Answer(tool_calls=len(calls))))
        self.text = turn.text
        return said

    def _note(self, at: Conversation, added: Sequence[Message]) -> None:
        """Write what the agent said in between into the turn before, for people who read the transcript."""
        if not self.transcript:
            return
        last = self.transcript[-1]
        if at.messages and at is self.conversations[-1]:
            answer = Answer(words="\n".join(one["content"] for one in added), role=added[0]["role"], tool_calls=last.answer.tool_calls)
        else:
            answer = Answer(rewritten=tuple(added), tool_calls=last.answer.tool_calls)
        self.transcript[-1] = Turn(said=last.said, answer=answer)

    def response(self) -> Response:
        """The episode so far, as it is learned: every segment once."""
        if not self.conversations:
            nothing = np.empty(0, np.int32)
            version = self.voice.version
            return Response(
                token_ids=nothing, logprobs=None, finish=Finish.STOP, oldest_version=version, newest_version=version, text=""
            )  # fmt: skip
        segments = [one.growing for one in self.conversations]
        whole = response_of(segments, self.transcript, self.finish, self.text)
        began = segments[0].prompt
        return whole if list(began) == self.prompt else replace(whole, prompt_ids=np.asarray(began, np.int32))
