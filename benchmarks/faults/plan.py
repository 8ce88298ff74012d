"""What a schedule is: a small world with its own durations, and the faults that strike it. Everything follows from its seed."""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b
from statistics import NormalDist

GROUPS_PER_STEP = 4
WORLDS = 96  # different worlds; a fault-free run of each is the reference of all its schedules
SIGMA = math.log(10) / NormalDist().inv_cdf(0.99)  # of response times: the 99th percentile is ten times the median


class Kind(StrEnum):
    """What can go wrong."""

    DIE = "die"  # a process is killed
    CORE = "core dies"  # the process behind a living engine actor
    HANG = "hang"  # a process is stopped for good
    CORE_HANG = "core hangs"  # an engine actor answers, and its core does nothing
    STALL = "stall"  # a process is stopped and goes on a little later
    SLOW = "slow"  # a process is ten times slower from now on
    NODE = "node lost"  # every process of a node, and the objects that it holds
    OBJECT = "object lost"  # the tokens of finished groups, of an engine that lives on
    DRIVER = "driver killed"
    POWER = "power cut"  # the driver is killed, and what it did not flush is gone
    STOP = "stop asked"  # Ctrl-C or SIGTERM
    FULL = "disk full"  # for a while
    DAMAGE = "checkpoint damaged"  # a file of the newest one is cut off, missing, or has a flipped bit when the driver dies


OF_ENGINES = (Kind.DIE, Kind.CORE, Kind.HANG, Kind.CORE_HANG, Kind.STALL, Kind.SLOW, Kind.NODE, Kind.OBJECT)
OF_RANKS = (Kind.DIE, Kind.HANG, Kind.STALL, Kind.SLOW, Kind.NODE)
OF_REWARDS = (Kind.DIE, Kind.HANG, Kind.STALL, Kind.SLOW)
OF_THE_DRIVER = (Kind.DRIVER, Kind.POWER, Kind.STOP, Kind.FULL, Kind.DAMAGE)
KINDS: Mapping[str, Sequence[Kind]] = {"engine": OF_ENGINES, "rank": OF_RANKS, "reward": OF_REWARDS}

CLOCK = "clock"
Site = tuple[str, str]  # a role ("engine 1") and what it is doing ("receive")


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: it strikes `role` when it enters or leaves `stage` for the `nth` time.

    The driver's stages are its callbacks and its operations on the disk. At the stage CLOCK, `nth` is a virtual second of the run.
    """

    kind: Kind
    role: str
    stage: str
    nth: int

    def __str__(self) -> str:
        return f"{self.kind}: {self.role} in {self.stage}, time {self.nth}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Virtual seconds; medians where they vary."""

    engine_start: float = 60.0
    rank_start: float = 60.0
    reward_start: float = 5.0
    driver_start: float = 30.0  # from the end of a driver to its successor's first line
    generate: float = 20.0
    score: float = 1.0
    learn: float = 30.0
    save: float = 8.0
    load: float = 12.0
    join: float = 1.0
    transfer: float = 2.0
    call: float = 0.002
    death: float = 1.0  # until others notice
    stall: float = 45.0
    full: float = 90.0
    deadline: float = 1200.0
    look: float = 20.0  # between two looks at an engine or a rank; the 2 s of a real run would take most of the laboratory's own time
    stalled: float = 120.0  # rollout.stall_s and learner.stall_s


# Of a real tiny run on two CPU cores: a step takes 1.5 s; a dead engine serves again after 27 to 43 s, a dead rank's next step is done
# after 5.6 s, a dead reward actor scores again after 2 s, and a driver that is started again trains after about 20 s.
MEASURED = Times(
    engine_start=35, rank_start=3.5, reward_start=1.5, driver_start=10, generate=0.35, score=0.02, learn=0.65, save=0.5, load=0.3,
    join=0.02, transfer=0.02, death=0.5, stall=10, full=30, deadline=120, look=2, stalled=15,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """One world: the size of its run and the seed of its durations."""

    seed: int
    steps: int = 6
    engines: int = 2
    ranks: int = 2
    staleness: int = 0
    save_every: int = 2
    eval_every: int = 0
    together: bool = False  # an engine and a rank on one node
    share: bool = False  # engines and ranks take turns on the same GPUs
    dynamic: bool = False
    restarts: int = 5  # of each role
    crowded: bool = False  # an engine with more than its share of the groups is slower in proportion
    times: Times = Times()

    @classmethod
    def draw(cls, seed: int, times: Times) -> "Shape":
        """The world of this number."""
        chance = random.Random(f"world {seed}")
        engines = chance.choice((1, 2, 2, 3))
        share = chance.random() < 0.15
        return cls(
            seed=seed,
            times=times,
            engines=engines,
            ranks=engines if share else chance.choice((1, 2, 2)),
            share=share,
            together=share or chance.random() < 0.3,
            eval_every=chance.choice((0, 0, 3)),
            staleness=0 if share else chance.choice((0, 0, 1, 2)),
            save_every=chance.choice((1, 2, 3)),
            dynamic=chance.random() < 0.5,
            restarts=chance.choice((0, 3, 3, 10, 10)),
        )

    def chance(self, *what: object) -> float:
        """A number in [0, 1) that depends on the world and on what it is for, and on nothing else."""
        return number_of(self.seed, *what) / (1 << 64)

    def lasts(self, median: float, *what: object, sigma: float = 0.1) -> float:
        """A duration around its median."""
        return median * math.exp(sigma * NormalDist().inv_cdf(min(max(self.chance(*what), 1e-9), 1 - 1e-9)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A fault-free run of a world: what its schedules are compared with, and where their faults can strike."""

    seconds: float
    turns: int
    operations: int
    sites: Mapping[Site, int]
    weights: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A world and its faults."""

    seed: int
    shape: Shape
    faults: Sequence[Fault]


def world_of(seed: int) -> int:
    """The number of the world in which a schedule plays."""
    return random.Random(f"schedule {seed}").randrange(WORLDS)


def draw_schedule(seed: int, shape: Shape, reference: Reference) -> Schedule:
    """One to five faults, each at any place that the fault-free run came by."""
    chance = random.Random(f"faults {seed}")
    count = chance.choice((1, 1, 1, 2, 2, 3, 5))
    return Schedule(seed=seed, shape=shape, faults=[draw_fault(chance, reference) for _ in range(count)])


def draw_fault(chance: random.Random, reference: Reference) -> Fault:
    """A fault of the driver, or of a role: first the role and the stage, so that rare stages are struck as often as common ones."""
    if chance.random() < 0.3:
        stage, count = chance.choice((("callback", reference.turns), ("disk", reference.operations)))
        return Fault(chance.choice(OF_THE_DRIVER), "driver", stage, chance.randrange(1, count + 1))
    roles = sorted({role for role, _ in reference.sites})
    role = chance.choice(roles)
    stage = chance.choice(sorted(stage for one, stage in reference.sites if one == role))
    kind = chance.choice(KINDS[role.split()[0]])
    return Fault(kind, role, stage, chance.randrange(1, reference.sites[role, stage] + 1))


def number_of(*what: object) -> int:
    """64 bits that depend on all of `what`."""
    return int.from_bytes(blake2b(repr(what).encode(), digest_size=8).digest(), "big")


def strikes_by_the_clock(shape: Shape, every_s: float, until_s: float) -> list[Fault]:
    """A process of a random role is killed every so many seconds: an engine's actor or core, a rank, or the reward workers."""
    chance = random.Random(f"clock {shape.seed}")
    roles = [f"engine {n}" for n in range(shape.engines)] + [f"rank {n}" for n in range(shape.ranks)] + ["reward 0"]
    found = []
    for place in range(1, int(until_s / every_s)):
        role = chance.choice(roles)
        kind = chance.choice((Kind.DIE, Kind.CORE)) if role.startswith("engine") else Kind.DIE
        found.append(Fault(kind, role, CLOCK, int(place * every_s)))
    return found
