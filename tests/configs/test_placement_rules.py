import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from configs.memory.shared import refuse_no_room
from configs.memory.sizes import Sizes, sizes_of
from configs.schema import Config
from tests.toys.run import run_config


def sharing(engines: int = 1, ranks: int = 1, *, run: dict[str, Any] | None = None, **rollout: Any) -> Config:
    return run_config(
        Path("run"), run=run or {}, rollout={"engines": engines, **rollout}, learner={"ranks": ranks}, placement={"share": True}
    )


def refused(**given: Any) -> str:
    with pytest.raises(ValidationError) as error:
        sharing(**given)
    return str(error.value)


@pytest.mark.parametrize(("engines", "ranks", "tensor"), [(1, 1, 1), (2, 2, 1), (1, 4, 4), (2, 8, 4)])
def test_a_rank_on_every_gpu_of_every_engine_is_let_through(engines: int, ranks: int, tensor: int) -> None:
    for transfer in ("auto", "ipc", "gloo"):
        sharing(engines, ranks, transfer=transfer, vllm={"tensor_parallel_size": tensor, "gpu_memory_utilization": 0.9})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"run": {"max_staleness": 1}}, "got true with run.max_staleness = 1, .*: set run.max_staleness = 0, or placement.share = false"),
        ({"transfer": "nccl"}, 'got "nccl" with placement.share = true, .*: use "auto", "ipc" or "gloo"'),
        ({"engines": 2}, r"got 1 .* needed 2: rollout.engines \(2\) x 1 GPUs .*: use rollout.engines = 1, or learner.ranks = 2"),
        ({"ranks": 3, "vllm": {"tensor_parallel_size": 2}}, r"got 3 .* needed 2: .*: use learner.ranks = 2"),
        ({"vllm": {"enable_sleep_mode": False}}, "got false with placement.share = true, where the engine sleeps .*: remove it"),
        ({"vllm": {"enable_cumem_allocator": False}}, "got false with placement.share = true"),
        ({"vllm": {"gpu_memory_utilization": 0.95}}, "got 0.95 with placement.share = true, .* at most 0.9: .*: use 0.85, or remove it"),
        ({"vllm": {"gpu_memory_utilization": "most"}}, 'got "most" with placement.share = true'),
    ],
)
def test_what_cannot_share_is_refused_with_what_to_do(given: dict[str, Any], said: str) -> None:
    told = refused(**given)
    assert re.search(said, told), told


def test_memory_beside_each_other_needs_the_same_gpu() -> None:
    with pytest.raises(ValidationError, match=r'got "ipc", which needs a rank and an engine.s worker on the same GPU'):
        run_config(Path("run"), rollout={"transfer": "ipc"})


def test_without_sharing_nothing_of_this_is_asked() -> None:
    apart = {"engines": 3, "vllm": {"gpu_memory_utilization": 0.95, "enable_sleep_mode": False}}
    run_config(Path("run"), run={"max_staleness": 2}, rollout=apart, learner={"ranks": 2})


QWEN3_0P6B = {
    "model_type": "qwen3", "hidden_size": 1024, "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8,
    "head_dim": 128, "intermediate_size": 3072, "vocab_size": 151936, "tie_word_embeddings": True,
}  # fmt: skip


def sizes() -> Sizes:
    found = sizes_of(QWEN3_0P6B)
    assert found is not None
    return found


def test_a_small_model_fits_beside_its_engine() -> None:
    config = run_config(Path("run"), model={"dtype": "bfloat16"}, placement={"share": True})
    refuse_no_room(config, sizes(), 24e9)
    with pytest.raises(ValueError, match=r"at a publish a GPU holds .* GB, but a GPU here has 8 GB: raise zero_optimization.stage"):
        refuse_no_room(config, sizes(), 8e9)


def test_an_engine_that_leaves_too_little_for_a_waiting_rank_is_refused_with_what_fits() -> None:
    vllm = {"gpu_memory_utilization": 0.9}
    config = run_config(Path("run"), model={"dtype": "bfloat16"}, rollout={"vllm": vllm}, placement={"share": True})
    with pytest.raises(ValueError, match=r"got 0.9 .*: 1.6 GB of 16 GB are left .* about 2 GB: use at most 0.87"):
        refuse_no_room(config, sizes(), 16e9)


def test_generation_runs_no_further_ahead_than_the_bound() -> None:
    with pytest.raises(ValidationError, match=r"(?s)rollout.ahead: got 3 with run.max_staleness = 2: .*lower rollout.ahead, or raise"):
        run_config(Path("run"), run={"max_staleness": 2}, rollout={"ahead": 3, "groups_per_step": 4})
    config = run_config(Path("run"), run={"max_staleness": 4}, rollout={"ahead": 1, "groups_per_step": 4})
    assert (config.ahead, config.groups_in_flight) == (1, 8)
    assert run_config(Path("run"), run={"max_staleness": 4}, rollout={"groups_per_step": 4}).groups_in_flight == 20
