"""Every check of `gatewise doctor`, in the order in which it is shown. A new check is a function and its row here."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from cluster.commands.doctor.checks.compilers import check_compiler
from cluster.commands.doctor.checks.disks import check_disks, check_locks, check_ray_folder, check_run_dir
from cluster.commands.doctor.checks.gpus import check_device, check_driver, check_gpu_memory, check_gpus
from cluster.commands.doctor.checks.memory import check_limits, check_memory, check_shared_memory
from cluster.commands.doctor.checks.network import check_nccl, check_network
from cluster.commands.doctor.checks.packages import check_builds, check_doubles, check_python, check_versions
from cluster.commands.doctor.checks.places import check_places
from cluster.commands.doctor.checks.ports import check_ports
from cluster.commands.doctor.checks.ray_cluster import check_ray
from cluster.commands.doctor.checks.rewards import check_sandbox, check_secrets, check_tools
from cluster.commands.doctor.checks.token import check_token
from cluster.commands.doctor.checks.variables import check_variables
from cluster.commands.doctor.diagnosis import Diagnosis, Finding
from cluster.commands.doctor.subject import Subject
from configs.errors import in_one_line


@dataclass(frozen=True, slots=True)
class Check:
    """One check. `of_nodes`: engines and ranks meet it, so every node of a cluster is asked. `at_start`: its errors stop `train`, too."""

    name: str
    run: Callable[[Subject], Iterator[Finding]]
    of_nodes: bool = False
    at_start: bool = False


CHECKS = (
    Check("python", check_python, of_nodes=True),
    Check("versions", check_versions, of_nodes=True),
    Check("builds", check_builds, of_nodes=True, at_start=True),
    Check("doubles", check_doubles, of_nodes=True),
    Check("driver", check_driver, of_nodes=True, at_start=True),
    Check("gpus", check_gpus, of_nodes=True),
    Check("device", check_device),
    Check("gpu memory", check_gpu_memory, of_nodes=True),
    Check("places", check_places),
    Check("nccl", check_nccl, of_nodes=True),
    Check("network", check_network, of_nodes=True),
    Check("shared memory", check_shared_memory, of_nodes=True, at_start=True),
    Check("memory", check_memory, of_nodes=True),
    Check("limits", check_limits, of_nodes=True, at_start=True),
    Check("disks", check_disks, of_nodes=True, at_start=True),
    Check("run.dir", check_run_dir),  # `train` calls it by itself
    Check("locks", check_locks, at_start=True),
    Check("session folder", check_ray_folder, of_nodes=True, at_start=True),
    Check("ray", check_ray),
    Check("token", check_token, at_start=True),
    Check("ports", check_ports),
    Check("compiler", check_compiler, of_nodes=True, at_start=True),
    Check("sandbox", check_sandbox, of_nodes=True),
    Check("secrets", check_secrets),
    Check("tools", check_tools),
    Check("variables", check_variables, of_nodes=True),
)


def examine(subject: Subject, checks: Sequence[Check] = CHECKS) -> list[Diagnosis]:
    """Run the checks. One that fails itself is an error of its own, and the others go on."""
    found: list[Diagnosis] = []
    for check in checks:
        try:
            findings = list(check.run(subject))
        except Exception as error:  # whatever a library or the system raises on a machine where something is broken
            said = in_one_line(f"{type(error).__name__}: {error}")
            findings = [Finding("error", f"the check itself failed ({said})", "please report this line")]
        found += [Diagnosis(name=check.name, status=one.status, found=one.found, do=one.do) for one in findings]
    return found
