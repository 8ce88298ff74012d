from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from pydantic import ValidationError

from configs.errors import ConfigError
from configs.loader import load
from configs.schema import Config
from configs.suggest import known_keys
from configs.surrogates import Clip

LEAVES = [(section, leaf) for section, leaves in known_keys().items() for leaf in leaves]
SMALLEST = {"model": {"path": "m"}, "data": {"train": "d.jsonl"}}
FOLDER = TemporaryDirectory()
BASE = Path(FOLDER.name) / "base.toml"
BASE.write_text("""
run = {steps = 150}
model = {path = "no/such/model", dtype = "float32"}
data = {train = "train.jsonl", chat_template = false, max_prompt_tokens = 16}
rollout = {group_size = 16, groups_per_step = 32, max_response_tokens = 8}
learner = {updates_per_step = 2}
objective = {clip_high = 0.28}
""")


def write(folder: Path, text: str) -> Path:
    path = folder / "run.toml"
    path.write_text(text, encoding="utf-8")
    return path


def config_with(*overrides: str) -> Config:
    return load(BASE, overrides)


def refusal(*overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        config_with(*overrides)
    return caught.value.problems


def sole_refusal(*overrides: str) -> str:
    (line,) = refusal(*overrides)
    return line


def test_a_file_with_only_the_required_keys_gets_the_defaults(tmp_path: Path) -> None:
    config = load(write(tmp_path, '[model]\npath = "m"\n[data]\ntrain = "d.jsonl"\n'))
    assert config == Config.model_validate(SMALLEST)
    assert config.rollout.group_size == 8


def test_overrides_use_toml_values_and_take_a_bare_word_as_a_string() -> None:
    config = config_with("run.dir=runs/a", 'run.resume="auto"', "learner.lr=1e-4", "data.chat_template=true", "learner.betas=[0.8, 0.9]")
    assert (config.run.dir, config.run.resume, config.learner.lr) == ("runs/a", "auto", 1e-4)
    assert config.data.chat_template is True
    assert config.learner.betas == (0.8, 0.9)


def test_an_override_merges_into_a_table_and_leaves_its_other_keys() -> None:
    config = config_with("rollout.vllm.max_num_seqs=7", "rollout.vllm={max_model_len=64}", "rollout.vllm.block_size=16")
    assert config.rollout.vllm == {"max_num_seqs": 7, "max_model_len": 64, "block_size": 16}


def test_the_last_override_of_a_key_wins() -> None:
    assert config_with("run.seed=1", "run.seed=2").run.seed == 2


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("run.seed", "no key.path=value"),
        ("=3", "no key.path=value"),
        ("run..seed=3", "no key.path=value"),
        ("run.dir=", "not TOML"),
        ('run.dir="a', "not TOML"),
        ("learner.betas=[0.9, 0.99", "not TOML"),
        ("run.seed=1\nextra = 2", "more than one value"),
        ("run.sede=1", "did you mean run.seed?"),
    ],
)
def test_a_bad_override_is_refused_as_coming_from_the_command_line(override: str, said: str) -> None:
    line = sole_refusal(override)
    assert line.startswith("command line: ")
    assert said in line


def test_an_override_into_a_value_of_the_file_is_refused() -> None:
    assert "run.steps is a value, not a table" in sole_refusal("run.steps.deep=1")


def test_a_missing_file_is_named_with_the_recipes_beside_it(tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text("")
    (tmp_path / "other.toml").write_text("")
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "smal.toml")
    assert (
        str(caught.value)
        == f"{tmp_path}/smal.toml: no such file (did you mean {tmp_path}/small.toml?); {tmp_path} has other.toml, small.toml"
    )


def test_a_missing_file_in_a_folder_without_recipes_names_the_shipped_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"tiny_cpu\.toml"):
        load(tmp_path / "nowhere" / "x.toml")


@pytest.mark.parametrize(
    ("text", "line"), [("[run]\nsteps = 3\nseed == 4\n", 3), ("[run]\nsteps = 1\nsteps = 2\n", 3), ("[run\n", 1), ('a = "open', 1)]
)
def test_bad_toml_names_file_and_line(tmp_path: Path, text: str, line: int) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, text))
    assert str(caught.value).startswith(f"{tmp_path}/run.toml:{line}: not TOML: ")


def test_a_file_in_another_encoding_or_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "latin.toml").write_bytes('[run]\ndir = "ü"\n'.encode("latin-1"))
    with pytest.raises(ConfigError, match="UTF-8"):
        load(tmp_path / "latin.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path)


@pytest.mark.parametrize(("section", "leaf"), LEAVES)
@pytest.mark.parametrize("misspelt", ["{}x", "x{}", "{}_"])
def test_a_misspelt_key_is_refused_with_the_right_one_suggested(section: str, leaf: str, misspelt: str) -> None:
    wrong = misspelt.format(leaf)
    line = next(line for line in refusal(f"{section}.{wrong}=1") if f"{section}.{wrong}:" in line)
    assert line == f"command line: {section}.{wrong}: unknown key (got 1); did you mean {section}.{leaf}?"


@pytest.mark.parametrize(("section", "leaf"), LEAVES)
def test_a_key_in_the_wrong_section_is_sent_to_its_own(section: str, leaf: str) -> None:
    homes = [name for name, keys in known_keys().items() if leaf in keys]
    wrong = next(name for name in known_keys() if name not in homes)
    line = sole_refusal(f"{wrong}.{leaf}=1")
    assert any(f"{wrong}.{leaf}: unknown key (got 1); did you mean {home}.{leaf}?" in line for home in homes)


def test_a_key_outside_any_section_and_a_misspelt_section_are_sent_home() -> None:
    assert "lr: unknown key (got 1e-05); did you mean learner.lr?" in sole_refusal("lr=1e-5")
    assert "lerner: unknown key (got {lr = 1e-05}); did you mean learner?" in sole_refusal("lerner.lr=1e-5")


def test_a_key_like_no_other_is_refused_with_the_keys_of_its_section() -> None:
    assert "run.qqqqqq: unknown key (got 1); remove it or use one of dir, steps, seed" in sole_refusal("run.qqqqqq=1")


@pytest.mark.parametrize(("section", "leaf"), LEAVES)
def test_a_value_of_the_wrong_type_is_refused(section: str, leaf: str) -> None:
    for problem in refusal(f"{section}.{leaf}=2026-01-02"):
        assert problem.startswith(f"command line: {section}.{leaf}: got 2026-01-02; needed ")
        assert "write " in problem


@pytest.mark.parametrize(
    ("override", "said"),
    [
        (
            'run.steps="10"',
            'run.steps: got "10"; needed a whole number, at least 1 (steps to train): write for example steps = 100 in [run]',
        ),
        ("run.steps=0", "run.steps: got 0; needed a whole number, at least 1 (steps to train): write for example steps = 100 in [run]"),
        ("run.steps=1.0", "got 1.0; needed a whole number"),
        ("run.steps=true", "got true; needed a whole number"),
        (
            "run.tensorboard=1",
            'got 1; needed true or false (the same as "tensorboard" in trackers.use): write for example tensorboard = false in [run]',
        ),
        ("run.dir=7", "got 7; needed a string in quotes"),
        (
            "learner.lr=0",
            "got 0; needed a number, above 0 (learning rate of AdamW after the warm-up): write for example lr = 1e-06 in [learner]",
        ),
        ("learner.lr=nan", "got nan; needed a number"),
        ("rollout.temperature=inf", "got inf; needed a number"),
        ("learner.betas=[0.9]", "got [0.9]; needed an array of 2 numbers"),
        ('reward.thinking_marks=["[THINK]"]', 'got ["[THINK]"]; needed an array of 2 texts'),
        ('reward.thinking_marks=["", "</t>"]', "needed an array of 2 texts, each not empty"),
        ('data.keep_fields="level"', "needed an array of texts (columns of a row, or true for all,"),
        ("model.dtype=fp16", 'got "fp16"; needed one of "float32", "bfloat16"'),
        ("rollout.vllm=3", "rollout.vllm: got 3; needed a table: write [rollout.vllm] and its keys below it"),
        ("learner=3", "learner: got 3; needed a table: write [learner] and its keys below it"),
    ],
)
def test_a_wrong_value_is_told_what_is_needed_and_what_to_write(override: str, said: str) -> None:
    assert said in sole_refusal(override)


def test_a_missing_required_key_is_named_even_when_its_whole_section_is(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, "[run]\nsteps = 3\n"))
    model, data = caught.value.problems
    assert model.startswith(f"{tmp_path}/run.toml: model.path: missing; needed a string in quotes (folder of a Hugging Face")
    assert data.startswith(f"{tmp_path}/run.toml: data.train: missing; ")


def test_every_problem_of_a_file_is_listed_broken_rules_too(tmp_path: Path) -> None:
    text = (
        '[model]\npath = "m"\ndtyp = "float32"\n[data]\ntrain = 3\n[rollout]\ngroups_per_step = 10\ngroup_size = 1\n'
        "[learner]\nlr = -1\nupdates_per_step = 3\n"
    )
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, text))
    keys = [line.split(": ")[1] for line in caught.value.problems]
    assert keys == ["model.dtyp", "data.train", "learner.lr", "learner.updates_per_step", "rollout.group_size"]


def test_a_rule_is_silent_about_keys_that_are_wrong_in_themselves() -> None:
    assert "groups_per_step: got 0" in sole_refusal("rollout.groups_per_step=0", "learner.updates_per_step=5")
    assert (
        "did you mean learner.updates_per_step?" in sole_refusal("learner.updates_per_stpe=32", "rollout.groups_per_step=33").split("\n")[0]
    )


def test_a_problem_names_the_file_unless_its_value_came_from_the_command_line(tmp_path: Path) -> None:
    path = write(tmp_path, '[model]\npath = "m"\n[data]\ntrain = "d"\n[run]\nsteps = 0\n')
    with pytest.raises(ConfigError) as caught:
        load(path, ["learner.lr=x"])
    steps, lr = caught.value.problems
    assert steps.startswith(f"{path}: run.steps: ")
    assert lr.startswith("command line: learner.lr: ")


@pytest.mark.parametrize(
    ("overrides", "key", "said"),
    [
        (["learner.betas=[0.9, 1.0]"], "learner.betas", "got [0.9, 1.0]; needed an array of 2 numbers, each at least 0, below 1"),
        (["learner.packing=true", "learner.attention=eager"], "learner.attention", "with learner.packing = true"),
        (["learner.attention=flash_attention_2"], "learner.attention", 'use attention = "sdpa" or model.dtype = "bfloat16"'),
        (["learner.updates_per_step=5"], "learner.updates_per_step", "divisor of rollout.groups_per_step (32)"),
        (["learner.updates_per_step=5"], "learner.updates_per_step", "use 1 or 2 or 4 or 8 or 16 or 32, or change rollout.groups_per_step"),
        (["learner.micro_batch_tokens=23"], "learner.micro_batch_tokens", "got 23, needed at least 24 (data.max_prompt_tokens 16 + "),
        (["reward.overlong_cache=9"], "reward.overlong_cache", "needed at most rollout.max_response_tokens (8)"),
        (["rollout.vllm.model=x"], "rollout.vllm.model", "remove it (set model.path)"),
        (["rollout.vllm.seed=1"], "rollout.vllm.seed", "set run.seed"),
        (["rollout.vllm.enable_return_routed_experts=true"], "rollout.vllm.enable_return_routed_experts", "set rollout.capture_routing"),
        (["rollout.vllm.weight_transfer_config={}"], "rollout.vllm.weight_transfer_config", "set rollout.transfer"),
        (["rollout.vllm.max_model_len=23"], "rollout.vllm.max_model_len", "got 23, needed a whole number of at least 24"),
        (["rollout.vllm.data_parallel_size=2"], "rollout.vllm.data_parallel_size", "set rollout.engines = 2"),
        (["rollout.vllm.tensor_parallel_size=two"], "rollout.vllm.tensor_parallel_size", "got 'two', needed a whole number of GPUs"),
        (
            ["rollout.vllm.pipeline_parallel_size=2", "rollout.capture_routing=true"],
            "rollout.vllm.pipeline_parallel_size",
            "with rollout.capture_routing = true",
        ),
        (
            ["rollout.vllm.decode_context_parallel_size=2", "rollout.capture_routing=true"],
            "rollout.vllm.decode_context_parallel_size",
            "or rollout.capture_routing = false",
        ),
        (["learner.deepspeed.optimizer={}"], "learner.deepspeed.optimizer", "set learner.lr"),
        (["learner.deepspeed.gradient_clipping=1.0"], "learner.deepspeed.gradient_clipping", "set learner.max_grad_norm"),
        (["learner.deepspeed.bf16={enabled=true}"], "learner.deepspeed.bf16", "set model.dtype"),
        (["learner.deepspeed.gradient_allreduce_op=sum"], "learner.deepspeed.gradient_allreduce_op", "mean over ranks"),
        (["learner.deepspeed.zero_optimization.stage=4"], "learner.deepspeed.zero_optimization.stage", "got 4, needed 0, 1, 2 or 3"),
        (["learner.deepspeed.zero_optimization=3"], "learner.deepspeed.zero_optimization", "needed a table"),
        (["learner.deepspeed.sequence_parallel_size=2"], "learner.deepspeed.sequence_parallel_size", "only ZeRO shards the learner"),
        (["learner.deepspeed.expert_parallel={enabled=true}"], "learner.deepspeed.expert_parallel", "set learner.expert_parallel = 2"),
    ],
)
def test_a_broken_rule_is_refused_with_what_to_do(overrides: list[str], key: str, said: str) -> None:
    line = sole_refusal(*overrides)
    assert f": {key}: " in line
    assert said in line


@pytest.mark.parametrize(
    "override",
    [
        "learner.updates_per_step=32",
        "learner.micro_batch_tokens=24",
        "reward.overlong_cache=8",
        "rollout.vllm.max_model_len=24",
        "rollout.vllm.data_parallel_size=1",
        "rollout.vllm.pipeline_parallel_size=2",
        "learner.deepspeed.zero_optimization.stage=3",
        "learner.deepspeed.expert_parallel={enabled=false}",
    ],
)
def test_a_value_at_the_edge_of_a_rule_is_allowed(override: str) -> None:
    config_with(override)


def test_several_broken_rules_are_all_reported() -> None:
    assert len(refusal("rollout.group_size=1", "learner.updates_per_step=5", "rollout.vllm.model=x", "learner.deepspeed.bf16={}")) == 4


def test_a_config_built_in_code_obeys_the_same_rules() -> None:
    with pytest.raises(ValidationError, match=r"rollout\.group_size: got 1, needed at least 2"):
        Config.model_validate({**SMALLEST, "rollout": {"group_size": 1}})


def test_loading_does_not_change_what_was_written() -> None:
    config = config_with("objective.preset=dapo")
    assert config.objective.preset == "dapo"
    assert config.objective.resolved.surrogate == Clip(clip_low=0.2, clip_high=0.28)
    assert config.dynamic_sampling
