from pathlib import Path

import numpy as np
import pytest

from configs.errors import ConfigError
from configs.given import configured
from configs.loader import dump, load
from configs.schema import Config

RECIPE = Path(__file__).parents[2] / "configs/tiny_cpu.toml"


def test_a_file_a_recipe_a_run_a_table_and_a_config_are_the_same_config(tmp_path: Path) -> None:
    loaded = load(RECIPE)
    (tmp_path / "config.toml").write_text(dump(loaded))
    table = loaded.model_dump(exclude_unset=True)
    dotted = {f"{section}.{key}": value for section, keys in table.items() for key, value in keys.items()}
    for given in (RECIPE, str(RECIPE), "tiny_cpu", "tiny_cpu.toml", tmp_path, str(tmp_path), table, dotted, loaded):
        assert configured(given) == loaded, given


def test_overrides_are_texts_or_tables_nested_or_dotted() -> None:
    wanted = load(RECIPE, ["run.steps=3", "learner.lr=1e-3", "rollout.vllm.max_num_seqs=64"])
    vllm = {"max_num_seqs": 64}
    assert configured("tiny_cpu", ["run.steps=3", "learner.lr=1e-3", "rollout.vllm.max_num_seqs=64"]) == wanted
    assert configured("tiny_cpu", {"run": {"steps": 3}, "learner": {"lr": 1e-3}, "rollout": {"vllm": vllm}}) == wanted
    assert configured("tiny_cpu", {"run.steps": 3, "learner.lr": 1e-3, "rollout.vllm": vllm}) == wanted
    assert configured(load(RECIPE), {"run.steps": 3, "learner": {"lr": 1e-3}, "rollout.vllm.max_num_seqs": 64}) == wanted


def test_values_that_python_code_has_are_written_as_toml_can(tmp_path: Path) -> None:
    given = configured("tiny_cpu", {"run.dir": tmp_path, "learner.lr": np.float64(1e-3), "run.steps": np.int64(3)})
    (tmp_path / "config.toml").write_text(dump(given))
    assert load(tmp_path / "config.toml") == given
    assert (given.run.dir, given.learner.lr, given.run.steps) == (str(tmp_path), 1e-3, 3)


def test_a_given_table_is_not_changed() -> None:
    table = {"model": {"path": "m"}, "data": {"train": "t.jsonl"}}
    configured(table, {"model.path": "other"})
    assert table == {"model": {"path": "m"}, "data": {"train": "t.jsonl"}}


@pytest.mark.parametrize(
    ("given", "overrides", "message"),
    [
        ("tiny_cpp", None, "did you mean .*tiny_cpu.toml"),
        ("none.toml", None, "none.toml: no such file"),
        ({"model": {"path": "m"}}, None, "config: data.train: missing"),
        ({"model": 3, "data": {"train": "t"}}, None, "config: model: got 3; needed a table"),
        (7, None, "got a int: give a TOML file"),
        ("tiny_cpu", {"run.step": 3}, "overrides: run.step: unknown key .* did you mean run.steps"),
        ("tiny_cpu", ["run.step=3"], "overrides: run.step: unknown key"),
        ("tiny_cpu", ["run.steps"], "overrides: run.steps: got no key.path=value"),
        ("tiny_cpu", "run.steps=3", 'got the text "run.steps=3": give a list'),
        ("tiny_cpu", {3: 4}, "got the key 3: write keys as text"),
        ("tiny_cpu", {"run.steps.more": 4}, "run.steps is a value, not a table"),
        ("tiny_cpu", {"learner.updates_per_step": 7}, "overrides: learner.updates_per_step: got 7, needed a divisor"),
    ],
)
def test_what_cannot_be_a_config_is_named_with_its_place(given: object, overrides: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        configured(given, overrides)  # type: ignore[arg-type]


def test_a_config_without_overrides_is_itself() -> None:
    config = Config.model_validate({"model": {"path": "m"}, "data": {"train": "t"}})
    assert configured(config) is config
