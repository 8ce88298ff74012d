"""`gatewise init`: a data file and a model folder become a commented config that validates."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cluster.cli import main
from cluster.commands.init.data import held_out_beside
from cluster.commands.init.machine import Machine
from cluster.commands.init.model import Model, read_model
from cluster.commands.init.rows import Told, find_fields
from cluster.commands.init.split import rank_gb, split_gpus
from configs.families import FAMILIES
from configs.loader import load
from rollout.data.row import RawRow
from tests.toys.families import write_family

SUMS = [{"question": "17+25=", "result": 42}, {"question": "31+48=", "result": 79}]
A100 = Machine(gpus=8, gpu_gb=80.0, gpus_per_node=8, cpus=64, host_gb=1000.0)
QWEN3_30B = {"family": FAMILIES["qwen3_moe"], "parameters": 30_500_000_000, "experts": 128, "heads": 32, "layers": 48}
TESTS = {"inputs": ["1\n"], "outputs": ["2\n"]}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("init") / "model"
    write_family("qwen3_moe", folder)
    return folder


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def rows(*values: dict[str, Any]) -> list[RawRow]:
    return [RawRow(f"data line {number}", each) for number, each in enumerate(values, start=1)]


def write(path: str, values: list[dict[str, Any]]) -> str:
    Path(path).write_text("".join(json.dumps(row) + "\n" for row in values))
    return path


def large(**changes: Any) -> Model:
    return Model(path="qwen3", vocabulary=151936, context=40960, tokenizer=None, **QWEN3_30B | changes)


@pytest.mark.parametrize(
    ("row", "prompt", "reference", "checker"),
    [
        ({"question": "17+25=", "result": 42}, "question", "result", "math"),
        ({"problem": "x?", "solution": "so x = 3", "answer": r"\frac{1}{2}"}, "problem", "answer", "math"),
        ({"question": "how many?", "answer": "2+2=4\n#### 4"}, "question", "answer", "math"),
        ({"prompt": [{"role": "user", "content": "capital of France?"}], "answer": "Paris"}, "prompt", "answer", "match"),
        ({"q": "Which? (A) one (B) two", "label": "B"}, "q", "label", "choice"),
        ({"prompt": "double it", "answer": TESTS}, "prompt", "answer", "code"),
        ({"prompt": "say hi", "reward_model": {"ground_truth": "7"}, "id": 3}, "prompt", "reward_model.ground_truth", "math"),
    ],
)
def test_fields_and_checker_are_found(row: dict[str, Any], prompt: str, reference: str, checker: str) -> None:
    found = find_fields(rows(row, row), "data")
    assert (found.prompt, found.reference, found.checker) == (prompt, reference, checker)


def test_messages_that_end_in_an_answer_have_it_as_their_reference() -> None:
    turns = [{"role": "user", "content": "1+1="}, {"role": "assistant", "content": "2"}]
    found = find_fields(rows({"messages": turns}, {"messages": turns}), "data")
    assert (found.prompt, found.reference, found.checker) == ("messages", "messages.-1.content", "math")
    with pytest.raises(ValueError, match="no field that looks like a reference"):
        find_fields(rows({"messages": turns}, {"messages": turns[:1]}), "data")
    prose = [turns[0], {"role": "assistant", "content": "a long text that no rule can compare with anything else"}]
    with pytest.raises(ValueError, match=r"--reward my_reward\.py:score"):
        find_fields(rows({"messages": prose}), "data")


def test_fields_that_the_user_names_need_no_guess() -> None:
    row = {"exercise": "1+1=", "solution_value": 2, "extra": {"deep": "3"}}
    found = find_fields(rows(row), "data", Told(prompt="exercise", reference="extra.deep"))
    assert (found.prompt, found.reference, found.checker) == ("exercise", "extra.deep", "math")
    with pytest.raises(ValueError, match='no value for field "nope" in every row: its fields are "exercise", "solution_value"'):
        find_fields(rows(row), "data", Told(reference="nope"))


def test_rows_that_name_their_checker_are_believed() -> None:
    row = {"prompt": "1+1=", "answer": "2", "checker": "exact"}
    assert find_fields(rows(row), "data").checker_field == "checker"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([{"answer": 4, "n": 1}], 'no field that looks like a question: its fields are "answer", "n"'),
        ([{"prompt": "a", "other": 4}], 'no field that looks like a reference beside "prompt"'),
        ([{"prompt": "a", "answer": 4}, {"prompt": "b", "answer": None}], 'data line 2 has no value for field "answer"'),
        ([{"prompt": "write", "answer": "a long text that no rule can compare with anything else"}], "--reward my_reward.py:score"),
    ],
)
def test_data_that_cannot_be_guessed_is_refused_with_what_it_has(values: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(ValueError, match=said.replace("(", r"\(")):
        find_fields(rows(*values), "data")


def test_own_data_becomes_a_config_for_cpus(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write("sums_train.jsonl", SUMS)
    write("sums_test.jsonl", SUMS)
    main(["init", "sums_train.jsonl", str(model), "--gpus", "0"])
    config, text = load("sums_train.toml"), Path("sums_train.toml").read_text()
    assert (config.data.prompt_field, config.data.reference_field, config.reward.checker) == ("question", "result", "math")
    assert (config.data.eval, config.model.dtype, config.data.chat_template) == ("sums_test.jsonl", "float32", False)
    assert config.rollout.groups_per_step <= len(SUMS)
    assert "# 2 rows" in text
    assert "sums_train.toml is written and valid" in capsys.readouterr().out


def test_gpus_are_divided_between_engines_and_ranks(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write("sums.jsonl", SUMS)
    main(["init", "sums.jsonl", str(model), "--gpus", "8", "--to", "mine.toml"])
    config = load("mine.toml")
    assert (config.rollout.engines, config.learner.ranks, config.learner.routing) == (4, 4, "replay_rollout")
    assert "8 GPUs in all" in capsys.readouterr().out


@pytest.mark.parametrize("gigabytes", ["8", "80"])
def test_one_gpu_is_shared(model: Path, gigabytes: str) -> None:
    write("sums.jsonl", SUMS)
    main(["init", "sums.jsonl", str(model), "--gpus", "1", "--gpu-memory", gigabytes])
    config = load("sums.toml")
    assert (config.placement.share, config.run.max_staleness, config.rollout.engines, config.learner.ranks) == (True, 0, 1, 1)


def test_gpus_are_shared_only_where_they_are_too_few() -> None:
    one, two = replace(A100, gpus=1, gpus_per_node=1), replace(A100, gpus=2, gpus_per_node=2)
    assert split_gpus(one, large(parameters=1_700_000_000)).share
    assert not split_gpus(two, large(parameters=1_700_000_000)).share


def test_a_large_model_gets_engines_and_ranks_that_hold_it() -> None:
    split = split_gpus(replace(A100, gpus=32), large())
    assert split.engines * split.tensor_parallel + split.ranks == 32
    assert rank_gb(large(), split.ranks, split.zero_stage, split.offload) < 80
    assert split.zero_stage == 3


def test_the_optimizer_is_offloaded_only_where_it_must_be() -> None:
    assert split_gpus(A100, large()).offload
    assert not split_gpus(replace(A100, gpus=32), large()).offload


@pytest.mark.parametrize(
    ("machine", "parameters", "said"),
    [
        (replace(A100, gpus=1, gpus_per_node=1), 17_000_000_000, "1 GPU of 80 GB cannot train qwen3 .*at least about 2 such GPUs"),
        (replace(A100, gpus=2, gpus_per_node=2), 36_000_000_000, "at least about [0-9]+ such GPUs"),
        (A100, 2_000_000_000_000, "leaves too little for keys and values"),
    ],
)
def test_gpus_that_are_too_few_are_refused_with_the_number_needed(machine: Machine, parameters: int, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        split_gpus(machine, large(parameters=parameters))


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--gpus", "-1"], "--gpus -1: needs a whole number"),
        (["--gpus", "1000000000"], "--gpus 1000000000: needs a whole number"),
        (["--gpus", "8", "--gpus-per-node", "0"], "--gpus-per-node 0: needs at least 1"),
        (["--gpus", "8", "--gpu-memory", "nan"], "--gpu-memory nan: needs the GB"),
        (["--gpus", "8", "--gpu-memory", "inf"], "--gpu-memory inf: needs the GB"),
        (["--gpus", "8", "--gpu-memory", "-5"], "--gpu-memory -5: needs the GB"),
        (["--gpus", "0", "--to", "/proc/x.toml"], "/proc/x.toml cannot be written"),
        (["--gpus", "0", "--to", "x" * 300], "cannot be written (File name too long)"),
    ],
)
def test_flags_that_no_config_can_follow_are_refused(model: Path, capsys: pytest.CaptureFixture[str], flags: list[str], said: str) -> None:
    write("sums.jsonl", SUMS)
    with pytest.raises(SystemExit, match="1"):
        main(["init", "sums.jsonl", str(model), *flags])
    assert said in capsys.readouterr().err
    assert not Path("sums.toml").exists()


def test_a_file_name_with_a_line_break_and_quotes_becomes_a_config(model: Path) -> None:
    name = write('su\nm\'s "x".jsonl', SUMS)
    main(["init", name, str(model), "--gpus", "0", "--to", "mine.toml"])
    assert load("mine.toml").data.train == name


def test_parameters_are_counted_from_the_headers_of_the_weights(model: Path) -> None:
    from transformers import AutoModelForCausalLM

    assert read_model(str(model)).parameters == AutoModelForCausalLM.from_pretrained(model).num_parameters()


def test_a_file_in_the_way_is_kept(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write("sums.jsonl", SUMS)
    Path("sums.toml").write_text("# mine\n")
    with pytest.raises(SystemExit, match="1"):
        main(["init", "sums.jsonl", str(model), "--gpus", "0"])
    assert capsys.readouterr().err.splitlines()[-1].endswith("sums.toml exists: name another file with --to, or delete it")
    assert Path("sums.toml").read_text() == "# mine\n"


def test_a_held_out_file_beside_is_found_by_its_name(tmp_path: Path) -> None:
    for name in ("train.jsonl", "test.jsonl", "other.jsonl"):
        (tmp_path / name).touch()
    assert held_out_beside(str(tmp_path / "train.jsonl")) == str(tmp_path / "test.jsonl")
    assert held_out_beside(str(tmp_path / "other.jsonl")) is None


def test_prompts_that_a_model_cannot_read_are_refused_or_dropped(model: Path) -> None:
    long, short = {"question": "1+" * 60 + "1=", "result": 61}, {"question": "1+1=", "result": 2}
    write("long.jsonl", [long, long, short])
    with pytest.raises(SystemExit, match="1"):
        main(["init", "long.jsonl", str(model), "--gpus", "0"])
    assert not Path("long.toml").exists()
    write("few.jsonl", [long, *[short] * 3])
    main(["init", "few.jsonl", str(model), "--gpus", "0"])
    assert load("few.toml").data.overlong == "drop"
