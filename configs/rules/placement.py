"""The rules for engines and ranks that take turns on the same GPUs."""

from collections.abc import Iterator

from configs.keys import Keys
from configs.rules.common import Problem, Rule
from configs.rules.engine import gpus_per_engine
from configs.sections.rollout import EngineRange
from configs.toml_writer import write_value

SHARED_UTILIZATION = 0.85  # of a GPU's memory for an awake engine, where the config gives none
MOST_UTILIZATION = 0.9


def sharing_takes_turns(config: Keys) -> Iterator[Problem]:
    """`placement.share` needs `run.max_staleness = 0`."""
    if config.placement.share and (stale := config.run.max_staleness):
        message = (
            f"got true with run.max_staleness = {stale}, which generates while it learns; on shared GPUs they alternate: "
            "set run.max_staleness = 0, or placement.share = false and give engines and ranks GPUs of their own"
        )
        yield Problem(("placement.share", "run.max_staleness"), message)


def generation_stays_within_the_bound(config: Keys) -> Iterator[Problem]:
    """`rollout.ahead` is at most `run.max_staleness`."""
    if config.ahead > config.run.max_staleness:
        message = (
            f"got {config.ahead} with run.max_staleness = {config.run.max_staleness}: a group that is generated {config.ahead} steps ahead "
            "would be learned that many steps later, which is beyond the bound: lower rollout.ahead, or raise run.max_staleness"
        )
        yield Problem(("rollout.ahead", "run.max_staleness"), message)


def transfer_suits_the_placement(config: Keys) -> Iterator[Problem]:
    """`rollout.transfer = "nccl"` needs `placement.share = false`, `"ipc"` needs `placement.share = true`."""
    share, transfer = config.placement.share, config.rollout.transfer
    if share and transfer == "nccl":
        message = 'got "nccl" with placement.share = true, and NCCL refuses two members on one GPU: use "auto", "ipc" or "gloo"'
        yield Problem(("rollout.transfer", "placement.share"), message)
    if not share and transfer == "ipc":
        message = (
            'got "ipc", which needs a rank and an engine\'s worker on the same GPU, with placement.share = false: '
            'use "auto", or placement.share = true'
        )
        yield Problem(("rollout.transfer", "placement.share"), message)


def fewest_engines_are_at_most_the_most(config: Keys) -> Iterator[Problem]:
    """`rollout.engines = { min, max }` needs `min` ≤ `max`."""
    fewest, most = config.rollout.fewest_engines, config.rollout.most_engines
    if fewest > most:
        message = (
            f"got min = {fewest} above max = {most}, needed min of at most max: use {{ min = {most}, max = {fewest} }}, "
            f"or engines = {most} for a fixed number"
        )
        yield Problem(("rollout.engines",), message)


def sharing_engines_are_a_fixed_number(config: Keys) -> Iterator[Problem]:
    """With `placement.share`, `rollout.engines` is a number, no range."""
    if config.placement.share and isinstance(config.rollout.engines, EngineRange):
        each = gpus_per_engine(config)
        message = (
            "got a range with placement.share = true, where each engine lies on GPUs of its own ranks, whose number is fixed: "
            f"use rollout.engines = {max(1, config.learner.ranks // each)}, or placement.share = false"
        )
        yield Problem(("rollout.engines", "placement.share"), message)


def a_rank_is_beside_every_worker(config: Keys) -> Iterator[Problem]:
    """With `placement.share`, `rollout.engines` × the GPUs of an engine = `learner.ranks`."""
    if not config.placement.share or isinstance(config.rollout.engines, EngineRange):
        return
    engines, each, ranks = config.rollout.engines, gpus_per_engine(config), config.learner.ranks
    if engines * each == ranks:
        return
    fitting = f"rollout.engines = {ranks // each}, or " if ranks % each == 0 else ""
    message = (
        f"got {ranks} with placement.share = true, needed {engines * each}: rollout.engines ({engines}) x {each} GPUs of an engine "
        f"(tensor x pipeline parallel), and one rank on each of them: use {fitting}learner.ranks = {engines * each}"
    )
    yield Problem(("learner.ranks", "rollout.engines", "rollout.vllm.tensor_parallel_size"), message)


def a_sharing_engine_can_sleep(config: Keys) -> Iterator[Problem]:
    """With `placement.share`, `[rollout.vllm]` must not turn `enable_sleep_mode` or `enable_cumem_allocator` off."""
    for name in ("enable_sleep_mode", "enable_cumem_allocator"):
        value = config.rollout.vllm.get(name, True)
        if config.placement.share and value is not True:
            message = f"got {write_value(value)} with placement.share = true, where the engine sleeps while the ranks learn: remove it"
            yield Problem((f"rollout.vllm.{name}", "placement.share"), message)


def a_sharing_engine_leaves_room(config: Keys) -> Iterator[Problem]:
    """With `placement.share`, `rollout.vllm.gpu_memory_utilization` ≤ 0.9."""
    given = config.rollout.vllm.get("gpu_memory_utilization", SHARED_UTILIZATION)
    is_number = isinstance(given, int | float) and not isinstance(given, bool)
    if config.placement.share and not (is_number and 0 < given <= MOST_UTILIZATION):
        message = (
            f"got {write_value(given)} with placement.share = true, needed a number above 0 and at most {MOST_UTILIZATION}: a resting rank "
            f"keeps its CUDA context and NCCL's buffers (1 to 3 GB): use {SHARED_UTILIZATION}, or remove it"
        )
        yield Problem(("rollout.vllm.gpu_memory_utilization", "placement.share"), message)


def changes_are_published_in_bfloat16_to_engines_that_keep_weights(config: Keys) -> Iterator[Problem]:
    """`rollout.full_every` > 1 needs engines in bfloat16 and `placement.share = false`."""
    every = config.rollout.full_every
    if every == 1:
        return
    if config.engine_dtype != "bfloat16":
        message = (
            f"got {every} with engines in {config.engine_dtype}, where an update changes almost every number: "
            'use rollout.dtype = "bfloat16", or rollout.full_every = 1'
        )
        yield Problem(("rollout.full_every", "rollout.dtype"), message)
    if config.placement.share:
        message = (
            f"got {every} with placement.share = true, where engines lose their weights while the ranks learn, so each publish sends whole "
            "ones: use rollout.full_every = 1, or placement.share = false"
        )
        yield Problem(("rollout.full_every", "placement.share"), message)


PLACEMENT_RULES: tuple[Rule, ...] = (
    sharing_takes_turns,
    generation_stays_within_the_bound,
    transfer_suits_the_placement,
    changes_are_published_in_bfloat16_to_engines_that_keep_weights,
    fewest_engines_are_at_most_the_most,
    sharing_engines_are_a_fixed_number,
    a_rank_is_beside_every_worker,
    a_sharing_engine_can_sleep,
    a_sharing_engine_leaves_room,
)
