"""The command `doctor`: looks at the machine, the installation, a config and a cluster's nodes, and shows what it found."""

from collections import Counter
from collections.abc import Iterator, Sequence

from cluster.actors.session import joins_cluster
from cluster.commands.doctor.diagnosis import Diagnosis
from cluster.commands.doctor.nodes import examine_nodes
from cluster.commands.doctor.subject import Subject
from cluster.commands.doctor.table import CHECKS, examine
from configs.arithmetic import counted
from configs.errors import ConfigError, InputError
from configs.loader import load
from configs.schema import Config

STATUS_CHARS, NAME_CHARS = 8, 15
NAMES = tuple(check.name for check in CHECKS)


class UnfitMachine(InputError):
    """The doctor found errors, which are printed above."""


def diagnose(config: Config | None) -> list[Diagnosis]:
    """Every finding about this machine and, where RAY_ADDRESS names a cluster that answers, about its other nodes."""
    joins = joins_cluster()
    found = examine(Subject(config=config, joins=joins))
    unreachable = any(one.status == "error" and one.name in ("ray", "token") for one in found)
    return [*found, *(examine_nodes(config) if joins and not unreachable else ())]


def diagnose_file(path: str | None, overrides: Sequence[str]) -> list[Diagnosis]:
    """The same for a config's file: one that cannot be used is an error of its own, and the machine is looked at without it."""
    if path is None:
        return diagnose(None)
    try:
        config = load(path, overrides)
    except ConfigError as refused:
        problems = [Diagnosis(name="config", status="error", found=said, do="correct the config") for said in refused.problems]
        return [*problems, *diagnose(None)]
    except (ValueError, OSError) as refused:
        return [Diagnosis(name="config", status="error", found=str(refused), do="correct the path or the file"), *diagnose(None)]
    return diagnose(config)


def describe(found: Sequence[Diagnosis]) -> Iterator[str]:
    """Lines for the terminal; of other nodes only what is wrong, and how many checks were well."""
    for one in found:
        if one.node is not None and one.status == "ok":
            continue
        where = f"{one.node}: " if one.node else ""
        yield f"{one.status:<{STATUS_CHARS}} {one.name:<{NAME_CHARS}} {where}{one.found}"
        if one.do:
            yield f"{'':<{STATUS_CHARS}} {'':<{NAME_CHARS}} do: {one.do}"
    for node, well in Counter(one.node for one in found if one.node and one.status == "ok").items():
        yield f"{'ok':<{STATUS_CHARS}} {'node':<{NAME_CHARS}} {node}: {counted(well, 'finding')} ok"
    yield summary(found)


def summary(found: Sequence[Diagnosis]) -> str:
    count = Counter(one.status for one in found)
    return f"{count['ok']} ok, {counted(count['warning'], 'warning')}, {counted(count['error'], 'error')}"
