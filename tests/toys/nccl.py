"""Runs that send weights by NCCL on a machine without GPUs: what their processes find in the environment."""

import os
from pathlib import Path

from tests.toys.nccl_on_cpus.stand_in import CHUNK_BYTES, DEATHS

STAND_IN = Path(__file__).parent / "nccl_on_cpus"
A_QUARTER = 1_000_000  # of the tiny model, about


def nccl_on_cpus(*deaths: str) -> dict[str, str]:
    """The environment of a run whose publishes are several chunks each, and in which members die as `stand_in.DEATHS` says."""
    paths = [str(STAND_IN), os.environ.get("PYTHONPATH", "")]
    return {"PYTHONPATH": os.pathsep.join(filter(None, paths)), CHUNK_BYTES: str(A_QUARTER), DEATHS: ",".join(deaths)}
