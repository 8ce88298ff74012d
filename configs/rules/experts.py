"""The rules for `learner.expert_parallel`: what DeepSpeed's AutoEP needs, and what it cannot be combined with."""

from collections.abc import Iterator
from typing import Any

from configs.keys import Keys
from configs.rules.common import Problem, Rule
from configs.tables import inner_table

ZERO = "learner.deepspeed.zero_optimization"
# What is refused of [learner.deepspeed.zero_optimization]: the key, the values it may have, the stages it is read in, and why.
REFUSED: tuple[tuple[str, tuple[Any, ...], tuple[int, ...], str], ...] = (
    ("zero_hpz_partition_size", (1,), (3,), "hpZ shards everything over one group of ranks, while experts and all other weights need two"),
    ("zero_quantized_gradients", (False,), (1, 2, 3), "DeepSpeed reduces quantized gradients over all ranks alike"),
    ("reduce_scatter", (True,), (1, 2), "DeepSpeed reduces experts over ranks of their own only by reduce-scatter"),
    ("contiguous_gradients", (True,), (2,), "DeepSpeed reduces experts over ranks of their own only from contiguous gradients"),
)


def spread_experts_need_zero(config: Keys) -> Iterator[Problem]:
    """`learner.expert_parallel` > 1 needs ZeRO stage 1, 2 or 3."""
    size, stage = config.learner.expert_parallel, inner_table(config.learner.deepspeed, ("zero_optimization",)).get("stage", 0)
    if size > 1 and stage == 0:
        message = (
            f"got {size} with {ZERO}.stage = 0; only under ZeRO is the norm of a gradient known whose parts lie on different ranks: "
            "use stage = 1, 2 or 3, or expert_parallel = 1"
        )
        yield Problem(("learner.expert_parallel", f"{ZERO}.stage"), message)


def expert_parallel_divides_the_ranks(config: Keys) -> Iterator[Problem]:
    """`learner.expert_parallel` divides `learner.ranks`."""
    size, ranks = config.learner.expert_parallel, config.learner.ranks
    if ranks % size:
        divisors = [str(n) for n in range(1, ranks + 1) if ranks % n == 0]
        message = (
            f"got {size}, needed a divisor of learner.ranks ({ranks}), as so many ranks together hold each layer's experts once: "
            f"use {' or '.join(divisors)}, or change learner.ranks"
        )
        yield Problem(("learner.expert_parallel", "learner.ranks"), message)


def spread_experts_exclude_other_shards(config: Keys) -> Iterator[Problem]:
    """`learner.expert_parallel` > 1 excludes hpZ and quantized gradients, and switching off `reduce_scatter` or `contiguous_gradients`."""
    size, table = config.learner.expert_parallel, inner_table(config.learner.deepspeed, ("zero_optimization",))
    if size == 1:
        return
    stage = table.get("stage", 0)
    for key, allowed, stages, why in REFUSED:
        if stage in stages and (value := table.get(key, allowed[0])) not in allowed:
            message = f"got {value!r} with learner.expert_parallel = {size}; {why}: remove it, or use learner.expert_parallel = 1"
            yield Problem((f"{ZERO}.{key}", "learner.expert_parallel"), message)


EXPERT_RULES: tuple[Rule, ...] = (
    spread_experts_need_zero,
    expert_parallel_divides_the_ranks,
    spread_experts_exclude_other_shards,
)
