"""Whether engines and ranks of a config fit on this machine."""

from collections.abc import Iterator

from cluster.actors.places.device import this_machine
from cluster.commands.checks.findings import Findings
from cluster.commands.checks.machine import check_machine
from cluster.commands.doctor.diagnosis import Finding, ok, refusal, warning
from cluster.commands.doctor.subject import Subject


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
        engines, ranks = subject.config.rollout.engines, subject.config.learner.ranks
        where = "the cluster counts its resources when the run starts" if subject.joins else "they fit on this machine"
        yield ok(f"engines {engines}, ranks {ranks}: {where}")
    yield from (warning(note, "keep it in mind for the nodes of the cluster") for note in found.notes if subject.joins)
