"""The rules for `[tools]`: how entries are spelled, and what the other sections must give them."""

import re
import shlex
from collections.abc import Iterator
from urllib.parse import urlsplit

from configs.keys import Keys
from configs.rules.common import Problem, Rule
from configs.rules.effect import has_no_effect, is_default
from configs.tool_names import BUILT_IN, MCP, MCP_STDIO, PREFIX, PYTHON

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
FORMS = '"python", "python_session", "package.module:function", "path/to/file.py:function", "mcp:http://…" or "mcp:stdio COMMAND"'
SERVER_KEYS = ("timeout_s", "retries", "concurrency", "key_env")


def server_part(entry: str) -> str | None:
    """What stands behind "NAME=" of an entry that names an MCP server; None for other entries."""
    rest = PREFIX.sub("", entry, count=1)
    return rest if rest.startswith(MCP) else None


def tools_are_spelled_in_a_known_way(config: Keys) -> Iterator[Problem]:
    """Each entry of `tools.use` has one of its forms, and none is there twice."""
    for place, entry in enumerate(config.tools.use):
        if entry in config.tools.use[:place]:
            yield Problem(("tools.use",), f'got "{entry}" twice: remove one')
        if (found := PREFIX.match(entry)) and any(one.startswith(found[0]) for one in config.tools.use[:place]):
            yield Problem(("tools.use",), f'got "{found[1]}" as the name of two servers: name two servers differently')
        if problem := spelling_problem(entry):
            yield Problem(("tools.use",), f"got {shown(entry)}, {problem}")


def shown(entry: str) -> str:
    """The entry for a message, without what may be a key."""
    start, at, end = entry.partition("@")
    safe = f"{start.rpartition('//')[0]}//…@{end}" if at else entry
    return f'"{safe.partition("?")[0]}"'


def spelling_problem(entry: str) -> str:
    """What is wrong with the spelling of an entry, and what to write; empty where nothing is."""
    server = server_part(entry)
    if server is None:
        return "" if entry in BUILT_IN or ":" in entry.strip(":") else f"needed one of {FORMS}"
    if server.startswith(MCP_STDIO):
        return command_problem(server.removeprefix(MCP_STDIO))
    return address_problem(server.removeprefix(MCP))


def command_problem(command: str) -> str:
    """What is wrong with the command of a server."""
    try:
        return "" if shlex.split(command) else "needed a command: write mcp:stdio COMMAND"
    except ValueError as error:
        return f"whose command cannot be read ({error}): quote it as a shell wants it"


def address_problem(url: str) -> str:
    """What is wrong with the address of a server."""
    try:
        parts = urlsplit(url)
        host = parts.scheme in ("http", "https") and parts.hostname
    except ValueError:
        return "whose address cannot be read: write mcp:http://HOST:PORT/PATH"
    if not host:
        return "needed mcp:http://HOST:PORT/PATH, mcp:https://… or mcp:stdio COMMAND"
    if parts.username or parts.password or parts.query:
        return "which has a password or a `?…` in its address, and would be in logs: give a key by tools.key_env"
    return ""


def keys_of_servers_have_a_server(config: Keys) -> Iterator[Problem]:
    """Each name in `tools.key_env` is the NAME of a server in `tools.use`, and each value the name of an environment variable."""
    names = {found[1] for entry in config.tools.use if (found := PREFIX.match(entry))}
    for name, variable in config.tools.key_env.items():
        if name not in names:
            there = f"the names are {', '.join(sorted(names))}" if names else "no entry has a name"
            message = f'got "{name}", needed the NAME of a server in tools.use, and {there}: write "{name}=mcp:…" there'
            yield Problem(("tools.key_env", "tools.use"), message)
        if not VARIABLE.fullmatch(variable):
            message = f"the value of {name} (not shown) must be the name of an environment variable, such as SEARCH_KEY"
            yield Problem(("tools.key_env",), message)


def programs_end_before_their_worker(config: Keys) -> Iterator[Problem]:
    """With the tool `python`, `code.timeout_s` is below `reward.timeout_s`."""
    program, worker = config.code.timeout_s, config.reward.timeout_s
    if PYTHON in config.tools.use and program >= worker:
        message = (
            f"got {program}, needed less than reward.timeout_s ({worker}), with which a worker is ended: a program that never ends would "
            "cost the episode its reward, instead of being an error that the model sees. Lower it, or raise reward.timeout_s"
        )
        yield Problem(("code.timeout_s", "reward.timeout_s"), message)


def tools_settings_have_a_use(config: Keys) -> Iterator[Problem]:
    """The other keys of `[tools]` are set only with `tools.use`, those of servers with an MCP server in it."""
    tools = config.tools
    servers = any(server_part(entry) is not None for entry in tools.use)
    for leaf in type(tools).model_fields:
        value = getattr(tools, leaf)
        if leaf == "use" or is_default(tools, leaf) or not value:
            continue
        if not tools.use:
            yield Problem((f"tools.{leaf}", "tools.use"), f"{has_no_effect(value, 'without tools.use')}: set tools.use, or remove it")
        elif leaf in SERVER_KEYS and not servers:
            message = f"{has_no_effect(value, 'without an MCP server in tools.use')}: add one, or remove it"
            yield Problem((f"tools.{leaf}", "tools.use"), message)


TOOLS_RULES: tuple[Rule, ...] = (
    tools_are_spelled_in_a_known_way,
    keys_of_servers_have_a_server,
    programs_end_before_their_worker,
    tools_settings_have_a_use,
)
