"""A request for a chat completion, as an agent's client sends it: what is read, what changes nothing, and what is refused.

What would change the distribution that the model is sampled from is refused: the learner's log-probs are those of the run's own.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from rollout.chat.chat import Schema
from rollout.transcript.messages import Message

# With these values a key changes nothing; null is the same as absent.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "top_p": (1,),
    "top_k": (-1, 0),
    "min_p": (0,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "repetition_penalty": (1,),
    "logit_bias": ({},),
    "stop": ([], ""),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "response_format": ({"type": "text"},),
    "tool_choice": ("auto", "none"),
    "modalities": (["text"],),
    "functions": ([],),
}
# `seed` is among them: a turn has the run's own.
IGNORED = frozenset(
    {"model", "seed", "user", "metadata", "store", "parallel_tool_calls", "service_tier", "prompt_cache_key", "safety_identifier"}
)
READ = frozenset({"messages", "tools", "temperature", "max_tokens", "max_completion_tokens", "stream", "stream_options"})
FAILED = 500  # statuses from here on are the server's fault
HERE = "rollout.temperature"


class Refused(Exception):
    """A request that is not served: the status and the error in the API's form."""

    def __init__(self, status: int, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.param, self.code = status, param, code

    @property
    def body(self) -> dict[str, Any]:
        """What the client gets."""
        kind = "server_error" if self.status >= FAILED else "invalid_request_error"
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request that is served."""

    messages: tuple[Message, ...]  # normal ones
    tools: tuple[Schema, ...] = ()
    calls: bool = False  # whether calls in the model's turn are given back as such
    limit: int | None = None  # tokens of the turn at most
    model: str = ""
    stream: bool = False
    usage: bool = False  # whether a stream ends with the usage


def read_request(body: object, temperatures: Sequence[float]) -> Request:
    """The request in a body; Refused says what is wrong. `temperatures`: those that are the run's own at this moment."""
    if not isinstance(body, Mapping):
        raise Refused(400, f"the body is {type(body).__name__}, needed a JSON object")
    given = {str(key): value for key, value in body.items() if value is not None}
    refuse_other_distributions(given, temperatures)
    tools = read_tools(given.get("tools"))
    stream = flag(given, "stream")
    options = given.get("stream_options") or {}
    if not isinstance(options, Mapping):
        raise Refused(400, f"stream_options is {options!r:.80}, needed an object", param="stream_options")
    return Request(
        messages=read_all(given.get("messages")),
        tools=tools,
        calls=bool(tools) and given.get("tool_choice") != "none",
        limit=read_limit(given),
        model=str(given.get("model", "")),
        stream=stream,
        usage=stream and options.get("include_usage") is True,
    )


def refuse_other_distributions(given: Mapping[str, Any], temperatures: Sequence[float]) -> None:
    """Raise Refused for a key that would change how the model is sampled, and for one that nobody here knows."""
    for key, value in given.items():
        if key in NEUTRAL and not any(same(value, neutral) for neutral in NEUTRAL[key]):
            raise Refused(
                400,
                f"{key} = {value!r:.80} is not served: the model is sampled as the run's [rollout] says, as the learner computes the same "
                f"distribution. Leave {key} out",
                param=key,
            )
        if key == "temperature" and not any(same(value, heat) for heat in temperatures):
            raise Refused(
                400, f"temperature = {value!r:.80}, but the run samples with {temperatures[0]:g} ({HERE}): leave it out", param=key
            )
        if key not in NEUTRAL and key not in IGNORED and key not in READ:
            raise Refused(400, f"{key!r:.80} is not served: leave it out", param=key, code="unknown_parameter")


def same(value: object, neutral: object) -> bool:
    """Equal, and no boolean for a number."""
    return value == neutral and isinstance(value, bool) == isinstance(neutral, bool)


def flag(given: Mapping[str, Any], key: str) -> bool:
    value = given.get(key, False)
    if not isinstance(value, bool):
        raise Refused(400, f"{key} is {value!r:.80}, needed true or false", param=key)
    return value


def read_limit(given: Mapping[str, Any]) -> int | None:
    """The smaller of the two limits that a request may give."""
    limits = []
    for key in ("max_tokens", "max_completion_tokens"):
        value = given.get(key)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise Refused(400, f"{key} is {value!r:.80}, needed a whole number from 1", param=key)
        limits.append(value)
    return min(limits, default=None)


def read_tools(tools: object) -> tuple[Schema, ...]:
    """The schemas of the functions that the model may call."""
    if tools is None:
        return ()
    if not isinstance(tools, list):
        raise Refused(400, f"tools is {tools!r:.80}, needed a list", param="tools")
    for tool in tools:
        function = tool.get("function") if isinstance(tool, Mapping) and tool.get("type") == "function" else None
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise Refused(400, f'a tool is {tool!r:.80}, needed {{"type": "function", "function": {{"name": ...}}}}', param="tools")
    return tuple(tools)


def read_all(messages: object) -> tuple[Message, ...]:
    """The conversation, each message in its normal form."""
    if not isinstance(messages, list) or not messages:
        raise Refused(400, f"messages is {messages!r:.80}, needed a list of at least one message", param="messages")
    return tuple(normal(number, message) for number, message in enumerate(messages))


def normal(number: int, message: object) -> Message:
    """A message as two are compared: role, text, calls and the name of the call that it answers; a key that is null is absent.

    Other keys, such as `refusal`, are left out: nothing of them is shown to the model.
    """
    if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
        raise Refused(400, f"messages[{number}] is {message!r:.80}, needed an object with role and content", param="messages")
    found: Message = {"role": message["role"], "content": text_of(number, message.get("content"))}
    if calls := message.get("tool_calls"):
        found["tool_calls"] = [normal_call(number, call) for call in calls] if isinstance(calls, list) else normal_call(number, calls)
    return found | {key: str(message[key]) for key in ("tool_call_id", "name") if message.get(key) is not None}


def text_of(number: int, content: object) -> str:
    """The text of a message's content: itself, or that of its parts."""
    if content is None or isinstance(content, str):
        return content or ""
    if isinstance(content, list) and all(isinstance(part, Mapping) and isinstance(part.get("text"), str) for part in content):
        return "\n".join(part["text"] for part in content)
    raise Refused(400, f"messages[{number}].content is {content!r:.80}, needed text: the model reads nothing else", param="messages")


def normal_call(number: int, call: object) -> dict[str, Any]:
    """A call with its arguments as a JSON value, as chat templates want them."""
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(call, Mapping) or not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise Refused(400, f"messages[{number}].tool_calls has {call!r:.80}, needed a call with a function", param="messages")
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        with suppress(ValueError, RecursionError):  # else as the agent wrote it; the template may show text
            arguments = json.loads(arguments)
    return {"id": str(call.get("id")), "type": "function", "function": {"name": function["name"], "arguments": arguments}}
