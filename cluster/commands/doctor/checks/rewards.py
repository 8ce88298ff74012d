"""Rewards: the walls around programs, the keys of services."""

from collections.abc import Iterator

from cluster.commands.doctor.diagnosis import Finding, error, ok, refusal, warning
from cluster.commands.doctor.subject import Subject
from reward.checkers import SERVICES
from reward.code_limits import code_limits
from reward.programs.limits import CodeLimits
from reward.programs.sandbox import describe_confinement
from reward.scorer import used_checkers
from reward.services.secret import read_secret


def check_sandbox(subject: Subject) -> Iterator[Finding]:
    """The walls that this machine puts around a program of the checker `code`; one program is run to see them."""
    config = subject.config
    if config is not None and "code" not in used_checkers(config):
        yield ok("not needed: the config does not name the checker code")
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
    yield from findings or [ok(f"{', '.join(named)}: set" if named else "the config names none")]
