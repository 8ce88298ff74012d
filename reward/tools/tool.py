"""A tool as the model sees it, and how a call of it is made."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

from reward.tools.result import Result

Run = Callable[[dict[str, Any]], Awaitable[Result]]  # with arguments that fit the schema


async def in_session(arguments: dict[str, Any]) -> Result:
    """A program of a session needs its episode: `reward.tools.session` runs it."""
    raise TypeError("a program of a session was called without its episode")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """One tool."""

    entry: str  # of `tools.use`, for messages
    schema: dict[str, Any]  # {"type": "function", "function": {"name", "description", "parameters"}}
    run: Run = in_session
    strict: bool = True  # arguments that its schema does not name are wrong

    @property
    def name(self) -> str:
        name: str = self.schema["function"]["name"]
        return name

    @property
    def parameters(self) -> dict[str, Any]:
        """The JSON Schema of its arguments."""
        parameters: dict[str, Any] = self.schema["function"]["parameters"]
        return parameters


def by_name(tools: Iterable[Tool]) -> dict[str, Tool]:
    """The tools by the names that the model calls; ValueError where two have one name."""
    found: dict[str, Tool] = {}
    for tool in tools:
        if (other := found.get(tool.name)) is not None:
            raise ValueError(
                f"tools.use: {other.entry!r} and {tool.entry!r} both have a tool {tool.name!r}, and a call could mean either: rename the "
                'function, or write "NAME=mcp:…" for a server, which puts NAME_ before the names of its tools'
            )
        found[tool.name] = tool
    return found
