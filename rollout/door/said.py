"""What the model said in a turn, as an agent's client gets it: a message, a completion, the chunks of a stream."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rollout.transcript.messages import Message

CHARS_OF_A_CHUNK = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A turn of the model for its agent."""

    number: int  # of the turn in its episode
    content: str
    calls: Sequence[tuple[str, dict[str, Any]]] = ()  # name and arguments
    finish: str = "stop"  # or "length", or "tool_calls"
    prompt_tokens: int = 0
    tokens: int = 0

    @property
    def message(self) -> Message:
        """The message in its normal form, by which it is found again in a history."""
        found: Message = {"role": "assistant", "content": self.content}
        if self.calls:
            found["tool_calls"] = [
                {"id": self.id_of(place), "type": "function", "function": {"name": name, "arguments": arguments}}
                for place, (name, arguments) in enumerate(self.calls)
            ]
        return found

    def id_of(self, call: int) -> str:
        """The id of a call: nine letters and digits, as some templates want them."""
        return f"c{self.number:04d}{call:04d}"

    @property
    def usage(self) -> dict[str, int]:
        """Tokens read and sampled."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.tokens,
            "total_tokens": self.prompt_tokens + self.tokens,
        }

    @property
    def sent(self) -> dict[str, Any]:
        """The message as the client gets it: arguments are JSON in a text."""
        calls = [
            {"id": self.id_of(place), "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
            for place, (name, arguments) in enumerate(self.calls)
        ]
        found: dict[str, Any] = {"role": "assistant", "content": self.content if self.content or not calls else None}
        return found | ({"tool_calls": calls} if calls else {})


def completion(said: Said, *, name: str, model: str, now: int) -> dict[str, Any]:
    """The body of an answer."""
    choice = {"index": 0, "message": said.sent, "logprobs": None, "finish_reason": said.finish}
    return {"id": name, "object": "chat.completion", "created": now, "model": model, "choices": [choice], "usage": said.usage}


def chunks(said: Said, *, name: str, model: str, now: int, usage: bool) -> Iterator[dict[str, Any]]:
    """The same as the chunks of a stream."""
    head = {"id": name, "object": "chat.completion.chunk", "created": now, "model": model}

    def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        return {**head, "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]}

    yield chunk({"role": "assistant", "content": ""})
    for begin in range(0, len(said.content), CHARS_OF_A_CHUNK):
        yield chunk({"content": said.content[begin : begin + CHARS_OF_A_CHUNK]})
    for place, call in enumerate(said.sent.get("tool_calls", ())):
        yield chunk({"tool_calls": [{"index": place, **call}]})
    yield chunk({}, said.finish)
    if usage:
        yield {**head, "choices": [], "usage": said.usage}
