"""Rewards: the walls around programs, the keys of services."""

from collections.abc import Iterator

from cluster.commands.doctor.diagnosis import Finding, error, ok, refusal, warning
from cluster.commands.doctor.subject import Subject
from configs.tool_names import PYTHON, PYTHON_SESSION
from reward.checkers import SERVICES
from reward.code_limits import code_limits
from reward.programs.limits import CodeLimits
from reward.programs.sandbox import describe_confinement
from reward.scorer import used_checkers
from reward.services.secret import read_secret
from reward.tools.mcp_transport import refuse_missing_command, refuse_without_mcp
from reward.tools.name import server_of


def check_sandbox(subject: Subject) -> Iterator[Finding]:
    """The walls that this machine puts around a program of the checker `code`; one program is run to see them."""
    config = subject.config
    needed = config is None or "code" in used_checkers(config) or not {PYTHON, PYTHON_SESSION}.isdisjoint(config.tools.use)
    if not needed:
        yield ok("not needed: the config names neither the checker code nor a tool that runs Python")
        return
    try:
        walls = describe_confinement(code_limits(config) if config else CodeLimits())
    except (ValueError, OSError) as refused:
        what, do = str(refused), 'for rewards by running code: a newer kernel, a container that allows it, or code.sandbox = "unsafe"'
        yield error(what, do) if config else warning(what, do)
        return
    yield warning(walls, 'code.sandbox = "confined"') if config and config.code.sandbox == "unsafe" else ok(walls)


def check_secrets(subject: Subject) -> Iterator[Finding]:
    """Whether the variables that hold the keys of services are set. Their values are never shown."""
    config = subject.config
    if config is None:
        yield ok("give a config to check those that it names")
        return
    named, findings = [], []
    for service in sorted(SERVICES):
        variable = getattr(config, service).key_env
        if variable is None:
            continue
        named.append(f"{service}.key_env: {variable}")
        try:
            read_secret(f"{service}.key_env", variable)
        except ValueError as refused:
            findings.append(refusal(refused))
    for server, variable in config.tools.key_env.items():
        named.append(f"tools.key_env.{server}: {variable}")
        try:
            read_secret(f"tools.key_env.{server}", variable)
        except ValueError as refused:
            findings.append(refusal(refused))
    yield from findings or [ok(f"{', '.join(named)}: set" if named else "the config names none")]


def check_tools(subject: Subject) -> Iterator[Finding]:
    """Whether the commands of MCP servers, and the client library, are there. `validate` also asks servers and imports functions."""
    config = subject.config
    servers = [server for entry in config.tools.use if (server := server_of(entry)) is not None] if config else []
    if not servers:
        yield ok("the config names no MCP server")
        return
    try:
        refuse_without_mcp()
        for server in servers:
            refuse_missing_command(server)
    except ValueError as refused:
        yield refusal(refused)
        return
    yield ok(f"{len(servers)} MCP servers can be asked; `validate` asks them")
