"""The calls in a turn of the model, for an agent that makes them itself."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from reward.thinking import Marks
from reward.tools.arguments import typed
from reward.tools.call import BadCall, Call
from reward.tools.formats.table import FORMATS

OPENS = ("<tool_call>", "<function=")
Calls = tuple[str, list[tuple[str, dict[str, Any]]]]


def calls_for_agents(form: str, marks: Marks, *, opened: bool, prefill: str) -> Callable[[str, Sequence[Mapping[str, Any]]], Calls]:
    """What finds the text beside the calls of a turn, and each call's name and arguments; `form` is `tools.format`.

    A turn with a call that cannot be read stays text: the agent sees what the model wrote.
    """
    find = FORMATS[form].find

    def calls(text: str, tools: Sequence[Mapping[str, Any]]) -> Calls:
        found = find(prefill + text, marks, opened)
        good = [one for one in found if isinstance(one, Call)]
        if not good or any(isinstance(one, BadCall) for one in found):
            return text, []
        schemas = {tool["function"]["name"]: tool["function"].get("parameters") or {} for tool in tools}
        begins = min((place for mark in OPENS if (place := text.find(mark)) >= 0), default=0)
        return text[:begins].rstrip(), [
            (one.name, typed(one.arguments, schemas.get(one.name, {})) if one.texts else one.arguments) for one in good
        ]

    return calls
