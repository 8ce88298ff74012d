"""Keys that people bring from other frameworks: each is answered with ours, wherever it stands."""

import re
from pathlib import Path

import pytest

from configs.foreign import FOREIGN
from configs.loader import ConfigError, load
from configs.passthrough import check_passthrough
from configs.suggest import known_keys
from configs.translate import all_leaves, describe_flags, dotted_keys, translate
from tests.configs.test_configs import BASE, config_with, refusal, sole_refusal, write

BROUGHT = {
    "learning_rate": "learner.lr",
    "actor_rollout_ref.actor.optim.lr": "learner.lr",
    "actor_rollout_ref.rollout.n": "rollout.group_size",
    "rollout.n": "rollout.group_size",
    "num_generations": "rollout.group_size",
    "rollout.n_samples_per_prompt": "rollout.group_size",
    "rollout.top_p": "rollout.temperature",
    "sampling.top_k": "rollout.temperature",
    "actor_rollout_ref.rollout.temperature": "rollout.temperature",
    "algorithm.kl_ctrl.kl_coef": "kl.coefficient",
    "objective.beta": "kl.coefficient",
    "objective.epsilon": "objective.clip_low",
    "clip_range": "objective.clip_low",
    "objective.eps_clip": "objective.clip_low",
    "objective.cliprange_high": "objective.clip_high",
    "learner.offload_optimizer": "learner.deepspeed",
    "actor_rollout_ref.actor.fsdp_config.param_offload": "learner.deepspeed",
    "rollout.gpu_memory_utilization": "rollout.vllm",
    "rollout.tensor_model_parallel_size": "rollout.vllm",
    "data.max_prompt_length": "data.max_prompt_tokens",
    "data.max_response_length": "rollout.max_response_tokens",
    "max_completion_length": "rollout.max_response_tokens",
    "data.train_batch_size": "rollout.groups_per_step",
    "actor_rollout_ref.actor.ppo_mini_batch_size": "learner.updates_per_step",
    "learner.micro_batch_size_per_gpu": "learner.micro_batch_tokens",
    "gradient_accumulation_steps": "learner.micro_batch_tokens",
    "num_train_epochs": "run.steps",
    "trainer.total_epochs": "run.steps",
    "trainer.save_freq": "run.save_every",
    "trainer.test_freq": "run.eval_every",
    "trainer.project_name": "trackers.project",
    "trainer.experiment_name": "trackers.name",
    "trainer.logger": "trackers.use",
    "algorithm.adv_estimator": "objective.preset",
    "advantage_estimator": "objective.preset",
    "reward_fn": "reward.checker",
    "custom_reward_function.path": "reward.checker",
    "reward_model.model.path": "reward.checker",
    "actor_rollout_ref.actor.use_kl_loss": "kl.coefficient",
    "actor_rollout_ref.actor.entropy_coeff": "entropy.coefficient",
    "use_adaptive_entropy": "entropy.target",
    "lr_scheduler_type": "learner.schedule",
    "optim.min_lr_ratio": "learner.min_lr",
    "actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu": "kl.reference",
    "ref_model.path": "kl.reference",
    "critic.optim.lr": "objective.advantage",
    "learner.lora": "learner.deepspeed",
    "model.lora_rank": "learner.deepspeed",
    "learner.peft": "learner.deepspeed",
    "data.chat_template_path": "data.template_file",
    "trainer.total_training_steps": "run.steps",
    "learner.scheduler": "learner.schedule",
    "reward.function": "path/to/file.py:function",
    "reward.path": "reward.checker",
    "rollout.stop": "rollout.max_response_tokens",
    "rollout.max_tokens": "rollout.max_response_tokens",
    "learner.tensor_parallel": "the learner shards by ZeRO",
    "rollout.tensor_parallel": "rollout.vllm.tensor_parallel_size",
    "rollout.num_samples": "rollout.group_size",
    "rollout.batch_size": "rollout.groups_per_step",
    "data.path": "data.train",
    "data.prompt": "data.prompt_field",
    "data.reference": "data.reference_field",
    "data.max_tokens": "data.max_prompt_tokens",
    "run.checkpoint_every": "run.save_every",
}


@pytest.mark.parametrize(("brought", "ours"), BROUGHT.items())
def test_a_key_of_another_framework_is_answered_with_ours(brought: str, ours: str) -> None:
    line = sole_refusal(f"{brought}=8")
    assert line.startswith(f"command line: {brought}: unknown key (got 8); ")
    assert ours in line


def test_the_table_names_only_keys_that_there_are_and_hides_none() -> None:
    sections = "|".join(known_keys())
    for name, text in FOREIGN.items():
        named = re.findall(rf"\b(?:{sections})\.[a-z_]+", text)
        assert set(named) <= dotted_keys(), name
        assert name.rpartition(".")[2] not in all_leaves() or "." in name, f"{name} is a key of ours: its own section is the better advice"
    assert "there is no LoRA here" in str(translate("learner.lora"))


def test_a_table_of_another_framework_is_answered_key_by_key(tmp_path: Path) -> None:
    text = (
        BASE.read_text()
        + "[actor_rollout_ref.actor]\nclip_ratio = 0.2\nstrange = 1\n[trainer]\nsteps = 4\nsave_freq = 5\n[learner.optim]\nlr = 1e-6\n"
    )
    text = text.replace("learner = {updates_per_step = 2}\n", "")
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, text))
    said = [line.removeprefix(f"{tmp_path / 'run.toml'}: ") for line in caught.value.problems]
    assert [line.split(":")[0] for line in said] == [
        "learner.optim.lr", "actor_rollout_ref.actor.clip_ratio", "actor_rollout_ref.actor.strange", "trainer.steps", "trainer.save_freq",
    ]  # fmt: skip
    assert said[0].endswith("here it is learner.lr: learning rate of AdamW after the warm-up")
    assert said[2].endswith("no counterpart is known: remove it, or look for one in docs/config.md")
    assert said[3].endswith("did you mean run.steps?")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("run.lr=1e-6", "did you mean learner.lr?"),
        ("lr=1e-6", "did you mean learner.lr?"),
        ("algorithm.seed=3", "unknown key"),
        ("learner.learnign_rate=3", "unknown key"),
        ("rollout.grop_size=3", "did you mean rollout.group_size?"),
        ("+trainer.nnodes=2", "set rollout.engines and learner.ranks"),
    ],
)
def test_what_is_ours_in_a_wrong_place_or_misspelt_is_still_found(given: str, said: str) -> None:
    assert said in sole_refusal(given)


def test_several_foreign_keys_are_all_answered() -> None:
    assert len(refusal("actor_rollout_ref.rollout.n=8", "trainer.save_freq=5", "data.train_batch_size=64")) == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--learning_rate", "1e-6"], "here it is learner.lr"),
        (["--n-samples-per-prompt=8"], "here it is rollout.group_size"),
        (["--learner.lr", "1e-6"], "write learner.lr=1e-6"),
        (["--rollout.group_size=8"], "write rollout.group_size=8"),
        (["--group_size", "8"], "did you mean rollout.group_size=8?"),
        (["--frobnicate"], "there is no such key"),
    ],
)
def test_a_flag_with_dashes_is_answered_with_the_setting_to_write(words: list[str], said: str) -> None:
    (line,) = describe_flags(words)
    assert line.startswith(f"{words[0].partition('=')[0]}: settings are written as key=value, without dashes; ")
    assert said in line


@pytest.mark.parametrize("name", ["run.yaml", "run.yml", "run.json", "train.sh"])
def test_a_file_of_another_format_says_that_a_run_is_toml(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("trainer:\n  n: 8\n")
    with pytest.raises(ConfigError, match=r"but a run is a TOML file: copy a recipe of .*tiny_cpu.toml"):
        load(tmp_path / name)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("rollout.vllm.top_p=0.9", "rollout.temperature is the only sampling setting"),
        ("learner.deepspeed.offload_optimizer={device='cpu'}", "set learner.deepspeed.zero_optimization.offload_optimizer"),
        ("rollout.vllm.max_num_seq=8", "did you mean rollout.vllm.max_num_seqs?"),
    ],
)
def test_what_a_library_lacks_is_looked_up_too(given: str, said: str) -> None:
    (line,) = check_passthrough(config_with(given))
    assert said in line


@pytest.mark.parametrize("key", ["judge.api_key", "model.hf_token", "run.wandb_key", "wandb.api_key", "trainer.hub_token", "http.password"])
def test_what_may_be_a_secret_is_in_no_message(key: str) -> None:
    with pytest.raises(ConfigError) as refused:
        config_with(f"{key}=sk-sentinel")
    assert "sk-sentinel" not in str(refused.value)
    assert f"{key}: unknown key (got a value that may be a secret, so it is not shown); " in str(refused.value)


def test_a_number_of_tokens_is_no_secret() -> None:
    with pytest.raises(ConfigError, match=r"rollout.max_new_tokens: unknown key \(got 7\)"):
        config_with("rollout.max_new_tokens=7")
