"""With how many threads engines and ranks compute on CPU. Ray reserves cores; whoever's turn it is may use those of the others too.

| run | an engine | a rank |
|---|---|---|
| both take turns (`max_staleness = 0`) | all cores / engines | all cores / ranks |
| both work at once | its share of the cores, as the two reserve them | the same |
| in a cluster, which other jobs may use | the cores that it reserves | the same |

Sums depend on the number of threads in their last bits, so it follows from config, model and machine alone, never from a measurement.
"""

import os
from dataclasses import dataclass

from configs.arithmetic import model_config
from configs.parameters import count_parameters
from configs.schema import Config

LIMIT = "OMP_NUM_THREADS"  # where a person has set it, "auto" takes no more
# Of a model with fewer active parameters an operation is so short that further threads wait for each other. Its engine also shares the
# cores with its own front end: two threads took 1.5 times as long as one.
TINY = 10e6
TINY_RANK = 4  # threads of a rank that trains such a model, at most


@dataclass(frozen=True, slots=True)
class Threads:
    """Threads of each engine and of each rank."""

    engine: int
    rank: int

    def __str__(self) -> str:
        return f"{self.engine} an engine, {self.rank} a rank"


def threads_of(config: Config, cores: int | None) -> Threads:
    """The threads of a run on a machine of so many cores; None where it may use no more than it reserves."""
    auto = reserved(config) if cores is None else _on_machine(config, cores)
    engine, rank = config.rollout.threads, config.learner.threads
    return Threads(auto.engine if engine == "auto" else engine, auto.rank if rank == "auto" else rank)


def reserved(config: Config) -> Threads:
    """A thread for each core that Ray reserves."""
    return Threads(whole(config.rollout.cpus_per_engine), whole(config.learner.cpus_per_rank))


def whole(cpus: float) -> int:
    """The whole cores of a reservation, at least one."""
    return max(1, int(cpus))


def _on_machine(config: Config, cores: int) -> Threads:
    at_least = reserved(config)
    engines, ranks = config.rollout.fewest_engines, config.learner.ranks
    for_engines = for_ranks = float(cores)
    if config.ahead:
        wanted = engines * config.rollout.cpus_per_engine, ranks * config.learner.cpus_per_rank
        for_engines, for_ranks = (cores * size / sum(wanted) for size in wanted)
    engine, rank = max(at_least.engine, int(for_engines / engines)), max(at_least.rank, int(for_ranks / ranks))
    size = count_parameters(model_config(config))
    if size is not None and size.active < TINY:
        engine, rank = at_least.engine, max(at_least.rank, min(rank, TINY_RANK))
    most = limit()
    return Threads(min(engine, most or engine), min(rank, most or rank))


def limit() -> int | None:
    """The number in the driver's OMP_NUM_THREADS, None where there is none."""
    first = os.environ.get(LIMIT, "").partition(",")[0].strip()
    return max(1, int(first)) if first.isdecimal() else None
