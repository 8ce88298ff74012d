import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from cluster.record.changes import allowed_changes
from configs.arithmetic import describe_devices
from configs.errors import ConfigError
from configs.given import configured
from configs.loader import dump, load
from configs.memory.shared import refuse_no_room
from configs.memory.sizes import Sizes, sizes_of
from configs.schema import Config
from configs.sections.rollout import EngineRange
from tests.toys.run import run_config


def sharing(engines: Any = 1, ranks: int = 1, *, run: dict[str, Any] | None = None, **rollout: Any) -> Config:
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
        (
            {"engines": {"min": 1, "max": 2}, "ranks": 2},
            r"got a range with placement.share = true, .*: use rollout.engines = 2, or placement",
        ),
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


@pytest.mark.parametrize(
    ("engines", "fewest", "most"),
    [(3, 3, 3), ({"min": 2, "max": 8}, 2, 8), ({"min": 1, "max": 1}, 1, 1), ({"min": 1, "max": 2**63 - 1}, 1, 2**63 - 1)],
)
def test_engines_are_a_number_or_a_range(engines: Any, fewest: int, most: int) -> None:
    config = run_config(Path("run"), rollout={"engines": engines})
    assert (config.rollout.fewest_engines, config.rollout.most_engines) == (fewest, most)


RECIPE = Path(__file__).parents[2] / "configs" / "qwen3_30b_a3b_gspo.toml"
NEEDED = "needed a whole number, at least 1, or a range such as { min = 2, max = 8 }"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("{min=8,max=2}", "got min = 8 above max = 2, needed min of at most max: use { min = 2, max = 8 }, or engines = 2"),
        *(
            (given, NEEDED)
            for given in (
                "min=2", "2-8", "'{min=2,max=8}'", "{min=2}", "{max=2}", "{}", "{min=0,max=2}", "{min=-1,max=2}", "{min=2.0,max=8}",
                "{min=true,max=8}", "{min='2',max=8}", "{min=2,max=4,step=1}", "{minimum=2,maximum=4}", "[2,8]", "[]", "0", "true", "2.0",
                "{min=2,max=99999999999999999999}", "{min={},max=[]}",
            )
        ),
    ],
)  # fmt: skip
def test_what_is_neither_is_answered_with_both_forms(given: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(RECIPE, [f"rollout.engines={given}"])
    (line,) = error.value.problems
    assert line.startswith("command line: rollout.engines")
    assert said in line


def test_another_key_in_a_range_is_answered_by_its_own_name_and_no_secret_is_shown() -> None:
    with pytest.raises(ConfigError) as error:
        load(RECIPE, ['rollout.engines={min=2,max=4,tensor_parallel_size=2,api_key="s3cret"}'])
    assert "rollout.engines.tensor_parallel_size: unknown key (got 2); set rollout.vllm.tensor_parallel_size" in str(error.value)
    assert "s3cret" not in str(error.value)
    assert "EngineRange" not in str(error.value)


@pytest.mark.parametrize("overrides", [["rollout.engines={ min = 2, max = 8 }"], ["rollout.engines.min=2", "rollout.engines.max=8"]])
def test_a_range_replaces_the_number_of_a_file_and_is_written_and_read_back(overrides: list[str], tmp_path: Path) -> None:
    config = load(RECIPE, overrides)
    assert config.rollout.engines == EngineRange(min=2, max=8)
    (tmp_path / "config.toml").write_text(dump(config))
    assert load(tmp_path / "config.toml") == config
    assert "engines 2 to 8 × 4 GPUs (tensor × pipeline parallel) = 8 to 32" in describe_devices(config)
    assert load(tmp_path / "config.toml", ["rollout.engines=3"]).rollout.engines == 3
    assert configured(tmp_path / "config.toml", {"rollout.engines": {"max": 4}}).rollout.engines == EngineRange(min=2, max=4)
    assert configured(RECIPE, {"rollout": {"engines": {"min": 1, "max": 4}}}).rollout.engines == EngineRange(min=1, max=4)


def test_a_continued_run_may_have_any_number_of_engines() -> None:
    kept, now = load(RECIPE), load(RECIPE, ["rollout.engines={min=2,max=8}"])
    for before, after in ((kept, now), (now, kept), (now, load(RECIPE, ["rollout.engines={min=2,max=9}"]))):
        (change,) = allowed_changes(before, after)
        assert change.key == "rollout.engines"


@pytest.mark.parametrize("given", ["0", "-1", "1.5", "true", "'3'", "never", "[]", "{}", "99999999999999999999"])
def test_publishes_between_two_whole_ones_are_a_whole_number_from_one(given: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(RECIPE, [f"rollout.full_every={given}"])
    (line,) = error.value.problems
    assert line.startswith("command line: rollout.full_every")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": {"dtype": "float32"}}, 'got 4 with engines in float32, .*: use rollout.dtype = "bfloat16", or rollout.full_every = 1'),
        ({"rollout": {"dtype": "float32"}}, "got 4 with engines in float32"),
        ({"placement": {"share": True}}, "got 4 with placement.share = true, where engines lose their weights"),
    ],
)
def test_changes_are_refused_where_they_would_save_nothing(changes: dict[str, Any], said: str) -> None:
    given: dict[str, Any] = {"model": {"dtype": "bfloat16"}, **changes}
    given["rollout"] = {"full_every": 4} | changes.get("rollout", {})
    with pytest.raises(ValidationError, match=said):
        run_config(Path("run"), **given)
    assert run_config(Path("run"), **(given | {"rollout": given["rollout"] | {"full_every": 1}})).rollout.full_every == 1


def test_engines_in_bfloat16_may_get_changes_of_a_float32_learner() -> None:
    assert run_config(Path("run"), model={"dtype": "float32"}, rollout={"dtype": "bfloat16", "full_every": 4}).rollout.full_every == 4
