"""How gradients of ZeRO-1 and 2 are reduced on CPUs: by one in-place collective a bucket, unless the config says otherwise."""

from pathlib import Path
from typing import Any

import pytest

from configs.loader import load
from learner.model.zero_config import CPU_BUCKETS, zero_config

ROOT = Path(__file__).parents[2]
ZERO = "learner.deepspeed.zero_optimization"


def zero_of(*overrides: str, on_cpu: bool = True) -> dict[str, Any]:
    config = load(ROOT / "configs" / "tiny_cpu.toml", ["learner.ranks=2", "learner.cpus_per_rank=0.5", *overrides])
    table: dict[str, Any] = zero_config(config, 2, on_cpu=on_cpu).get("zero_optimization", {})
    return table


@pytest.mark.parametrize("stage", [1, 2])
def test_a_cpu_reduces_small_buckets_in_place(stage: int) -> None:
    assert zero_of(f"{ZERO}.stage={stage}") == {"stage": stage, "reduce_bucket_size": CPU_BUCKETS[stage], "reduce_scatter": False}


def test_keys_of_the_config_win() -> None:
    asked = zero_of(f"{ZERO}={{stage=1, reduce_bucket_size=7, reduce_scatter=true}}")
    assert asked == {"stage": 1, "reduce_bucket_size": 7, "reduce_scatter": True}


def test_experts_over_ranks_keep_the_scatter_that_they_need() -> None:
    assert "reduce_scatter" not in zero_of(f"{ZERO}.stage=1", "learner.expert_parallel=2")


@pytest.mark.parametrize(("stage", "on_cpu"), [(0, True), (3, True), (1, False), (2, False)])
def test_other_stages_and_gpus_get_what_the_config_says(stage: int, on_cpu: bool) -> None:
    assert zero_of(f"{ZERO}.stage={stage}", on_cpu=on_cpu) == {"stage": stage}
