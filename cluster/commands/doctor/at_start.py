"""The part of `gatewise doctor` that `train` and `validate` run: errors with which no run of this config can work."""

from cluster.actors.session import joins_cluster
from cluster.commands.doctor.subject import Subject
from cluster.commands.doctor.table import CHECKS, examine
from configs.schema import Config


def refuse_broken_machine(config: Config) -> None:
    """Raise ValueError with a line for each error, before anything is started.

    With RAY_ADDRESS engines and ranks run on other machines, so only what concerns the driver is looked at.
    """
    joins = joins_cluster()
    checks = [check for check in CHECKS if check.at_start and not (joins and check.of_nodes)]
    wrong = [one for one in examine(Subject(config=config, joins=joins), checks) if one.status == "error"]
    if wrong:
        raise ValueError("\n".join(f"{one.name}: {one.found}: {one.do}" for one in wrong))
