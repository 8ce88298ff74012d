"""One entry of `tools.use`: a tool of ours, a function of the user's, or a server that has tools."""

import shlex
from dataclasses import dataclass

from configs.tool_names import BUILT_IN, MCP, MCP_STDIO, PREFIX


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerName:
    """An MCP server: an address, or a command that speaks over its stdin and stdout."""

    entry: str
    prefix: str = ""  # of `tools.key_env`, and of the names of its tools
    url: str = ""
    command: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        """The server in words, for messages."""
        return self.url or f"`{shlex.join(self.command)}`"

    def tool(self, name: str) -> str:
        """The name by which the model calls a tool of this server."""
        return f"{self.prefix}_{name}" if self.prefix else name


def server_of(entry: str) -> ServerName | None:
    """The server that an entry names; None for other tools."""
    found = PREFIX.match(entry)
    prefix, rest = (found["prefix"], entry[found.end() :]) if found else ("", entry)
    if not rest.startswith(MCP):
        return None
    if rest.startswith(MCP_STDIO):
        return ServerName(entry=entry, prefix=prefix, command=tuple(shlex.split(rest.removeprefix(MCP_STDIO))))
    return ServerName(entry=entry, prefix=prefix, url=rest.removeprefix(MCP))


def is_own_function(entry: str) -> bool:
    """Whether an entry names a function of the user's."""
    return entry not in BUILT_IN and server_of(entry) is None
