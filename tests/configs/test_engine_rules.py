"""Rules for the pass-through tables that need more than a line to test."""

import pytest

from tests.configs.test_configs import config_with, sole_refusal

SECRET = "hf_notForAnyLog"
OVERLAP = "learner.deepspeed.zero_optimization.overlap_comm=true"


@pytest.mark.parametrize(
    ("key", "instead"),
    [
        ("rollout.vllm.hf_token", "HF_TOKEN"),
        ("learner.deepspeed.comet.api_key", "COMET_API_KEY"),
        ("learner.deepspeed.wandb.api_key", "WANDB_API_KEY"),
        ("learner.deepspeed.wandb.WANDB_API_KEY", "WANDB_API_KEY"),
    ],
)
def test_a_secret_is_sent_to_the_environment_and_never_shown(key: str, instead: str) -> None:
    line = sole_refusal(f"{key}={SECRET}")
    assert f"{key}: got a secret (not shown)" in line
    assert line.endswith(f"remove it and set {instead} in the environment")
    assert SECRET not in line


def test_a_monitor_without_its_key_is_allowed() -> None:
    config_with("learner.deepspeed.wandb={enabled=true, project='mine'}", "learner.deepspeed.comet={enabled=false}")


@pytest.mark.parametrize(("given", "stage"), [([], 0), (["learner.deepspeed.zero_optimization.stage=1"], 1)])
def test_communication_is_overlapped_only_where_gradients_are_sharded(given: list[str], stage: int) -> None:
    assert f"overlap_comm: got true with stage = {stage}; " in sole_refusal(OVERLAP, *given)


@pytest.mark.parametrize("stage", [2, 3])
def test_communication_may_be_overlapped_where_gradients_are_sharded(stage: int) -> None:
    config_with(OVERLAP, f"learner.deepspeed.zero_optimization.stage={stage}")
    config_with(OVERLAP.replace("true", "false"))


def test_experts_that_vllm_would_move_are_refused() -> None:
    line = sole_refusal("rollout.vllm.enable_expert_parallel=true", "rollout.vllm.enable_eplb=true")
    assert "rollout.vllm.enable_eplb: got true; vLLM moves experts" in line
    assert line.endswith("remove it; enable_expert_parallel alone works")
    config_with("rollout.vllm.enable_eplb=false", "rollout.vllm.eplb_config={}")
    line = sole_refusal("rollout.vllm.eplb_config={num_redundant_experts=2}")
    assert "rollout.vllm.eplb_config: got {num_redundant_experts = 2}; vLLM moves experts" in line


@pytest.mark.parametrize(
    ("zero", "key", "instead"),
    [
        ("{stage=3, offload_optimizer={device='nvme', nvme_path='/x'}}", "offload_optimizer.device", 'use device = "cpu"'),
        ("{stage=3, offload_param={device='nvme', nvme_path='/x'}}", "offload_param.device", 'use device = "cpu"'),
        ("{stage=3, mics_shard_size=2}", "mics_shard_size", "remove it"),
    ],
)
def test_a_state_that_a_checkpoint_cannot_copy_is_refused(zero: str, key: str, instead: str) -> None:
    line = sole_refusal(f"learner.deepspeed.zero_optimization={zero}")
    assert f"learner.deepspeed.zero_optimization.{key}: a checkpoint copies" in line
    assert line.endswith(instead)


def test_a_state_in_host_memory_is_allowed() -> None:
    config_with("learner.deepspeed.zero_optimization={stage=3, offload_optimizer={device='cpu'}, offload_param={device='cpu'}}")


def test_a_temperature_that_vllm_refuses_is_refused() -> None:
    assert "got 2.5; needed a number, above 0, at most 2" in sole_refusal("rollout.temperature=2.5")
    assert config_with("rollout.temperature=2.0").rollout.temperature == 2.0
