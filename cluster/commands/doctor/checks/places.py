"""Whether engines and ranks of a config fit on this machine."""

from collections.abc import Iterator

from cluster.actors.places.device import this_machine
from cluster.actors.places.fit import engines_at_start
from cluster.commands.checks.findings import Findings
from cluster.commands.checks.machine import check_machine
from cluster.commands.doctor.diagnosis import Finding, ok, refusal, warning
from cluster.commands.doctor.subject import Subject
from configs.arithmetic import span
from configs.schema import Config


def check_places(subject: Subject) -> Iterator[Finding]:
    """Cores and GPUs against what the run takes; of a cluster's nodes only the run itself counts the resources."""
    if subject.config is None:
        (here,) = this_machine()
        yield ok(f"{here['CPU']:g} CPU cores, {here['GPU']:g} GPUs; give a config to see whether it fits")
        return
    found = Findings()
    check_machine(subject.config, {}, found)
    for problem in found.problems:
        yield refusal(ValueError(problem))
    if not found.problems:
        ranks = subject.config.learner.ranks
        engines = describe_engines(subject.config, elsewhere=subject.joins)
        where = "the cluster counts its resources when the run starts" if subject.joins else "they fit on this machine"
        yield ok(f"engines {engines}, ranks {ranks}: {where}")
    yield from (warning(note, "keep it in mind for the nodes of the cluster") for note in found.notes if subject.joins)


def describe_engines(config: Config, *, elsewhere: bool) -> str:
    """How many engines the run starts: a range where the nodes are not known here."""
    if elsewhere:
        return span(config.rollout.fewest_engines, config.rollout.most_engines)
    return str(engines_at_start(config, this_machine()))
