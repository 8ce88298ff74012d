"""The command `validate`: what it shows, that it reports every problem at once, and that it starts and writes nothing."""

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import ray

from cluster.cli import main
from cluster.commands import offline, validate
from cluster.commands.checks.shown import render
from cluster.commands.validate import refuse_short_vocabulary
from cluster.record.checkpoint import STATE, Checkpoints, Position
from cluster.record.run_dir import write_config
from cluster.record.saves.integrity import write_state
from configs.loader import load
from configs.memory import table
from rollout.types import Prompt
from tests.cluster.test_cli import CONFIG, write_rows
from tests.toys.families import write_family
from tests.toys.model import toy_tokenizer


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "qwen3_moe"
    write_family("qwen3_moe", folder)
    return folder


@pytest.fixture
def config(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(ray, "init", lambda *_, **__: pytest.fail("Ray was started"))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    write_rows(tmp_path, *({"prompt": f"{n}+1=", "answer": str(n + 1)} for n in range(6)))
    (tmp_path / "run.toml").write_text(CONFIG.format(folder=tmp_path, model=model))
    return str(tmp_path / "run.toml")


def shown(capsys: pytest.CaptureFixture[str], config: str, *overrides: str) -> str:
    """What a valid config shows, with nothing left behind."""
    before = sorted(Path(config).parent.rglob("*"))
    main(["validate", config, *overrides])
    assert sorted(Path(config).parent.rglob("*")) == before
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], config: str, *overrides: str) -> tuple[str, list[str]]:
    """What an invalid config shows, and its problems."""
    before = sorted(Path(config).parent.rglob("*"))
    with pytest.raises(SystemExit) as ended:
        main(["validate", config, *overrides])
    assert ended.value.code == 1
    assert sorted(Path(config).parent.rglob("*")) == before
    said = capsys.readouterr()
    assert "is valid" not in said.out
    return said.out, said.err.partition(": ")[2].partition(": ")[2].splitlines()


def test_it_shows_what_was_understood_in_the_order_of_questions(capsys: pytest.CaptureFixture[str], config: str, model: Path) -> None:
    lines = shown(capsys, config).splitlines()
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == [
        "model", "plan", "memory", "prompt", "lengths", "epoch", "scored", "places", "start", config,
    ]  # fmt: skip
    text = "\n".join(lines)
    assert f"Qwen3-MoE in {model}: 66.2k parameters, 54k of them used by a token; 2 layers, 4 experts a layer of which 2 see" in text
    assert "train.jsonl line 1, 4 ids: '0+1='" in text
    assert "prompts: p50 4, p90 4, p99 4, longest 4, of at most 16 (data.max_prompt_tokens)" in text
    assert "6 prompts / 2 a step = 3 steps; run.steps 3 = 1 epoch" in text
    assert "line 1, exact: response '1' to reference '1' → reward 1 (correct 1)" in text
    assert re.search(
        r"this machine \(\d+ CPU cores, \d+ GPUs\): engines 1 on .*, reward workers 1; threads \d+ an engine, \d+ a rank; weights by ", text
    )
    assert f"a new run in {Path(config).parent / 'run'}" in text
    assert "a checkpoint takes about 0.795 MB; run.keep_checkpoints = 2" in text


def test_a_long_prompt_is_cut_in_the_middle_and_keeps_its_special_tokens() -> None:
    ids = np.array([1, *[4] * 500, *[5] * 500, 2], np.int32)
    text = render(Prompt(prompt_id="long", token_ids=ids, reference="", checker="exact"), toy_tokenizer())
    assert text == f"<bos>{'0' * 195} […] {'1' * 195}<eos>"


def test_memory_is_computed_for_the_gpus_of_this_machine_or_for_those_asked_for(
    capsys: pytest.CaptureFixture[str], config: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "TOY", 0)
    monkeypatch.setattr(validate, "gpus_here", list)
    assert "assumed GPUs of 80 GB, as none is here" in shown(capsys, config)
    assert "for GPUs of 24 GB" in shown(capsys, config, "--gpu-memory", "24")
    monkeypatch.setattr(validate, "gpus_here", lambda: [85.5, 42.7])
    assert "for GPUs of 40 GB" in shown(capsys, config)
    assert "for GPUs of 24 GB" in shown(capsys, config, "--gpu-memory", "24")
    _, problems = refused(capsys, config, "--gpu-memory", "0")
    assert "needs the GB of one GPU, above 0" in problems[0]


def test_a_config_for_another_machine_is_not_held_against_this_one(capsys: pytest.CaptureFixture[str], config: str) -> None:
    wide = ("rollout.engines=900", "rollout.groups_per_step=900")
    assert any("cannot hold them" in line for line in refused(capsys, config, *wide)[1])
    said = shown(capsys, config, *wide, "--gpu-memory", "80")
    assert "another machine, as --gpu-memory is given" in said
    assert said.splitlines()[-1] == f"{config} is valid, as far as can be seen from here"


def test_size_and_memory_follow_from_a_config_json_without_weights(
    capsys: pytest.CaptureFixture[str], config: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "TOY", 0)
    bare = tmp_path / "bare"
    shutil.copytree(model, bare, ignore=shutil.ignore_patterns("*.safetensors*"))
    out, problems = refused(capsys, config, f"model.path={bare}")
    assert len(problems) == 1
    assert "no *.safetensors weights" in problems[0]
    assert f"Qwen3-MoE in {bare}: 66.2k parameters" in out
    assert "computed, not measured, for" in out


def test_without_a_model_the_arithmetic_the_rows_and_the_epoch_are_still_shown(capsys: pytest.CaptureFixture[str], config: str) -> None:
    out, problems = refused(capsys, config, "model.path=nowhere")
    assert len(problems) == 1
    assert problems[0].startswith("model.path nowhere is not a model folder")
    assert "not read, so neither its size and weights nor its prompts' tokens were checked: nowhere" in out
    assert "2 prompts × 4 responses = 8 responses a step" in out
    assert "6 prompts / 2 a step = 3 steps" in out
    assert "line 1, without the model's tokens: '0+1='" in out
    write_rows(Path(config).parent, {"prompt": "1", "answer": {"not": "text"}})
    assert any("train.jsonl line 1: checker 'exact'" in line for line in refused(capsys, config, "model.path=nowhere")[1])


def test_all_problems_are_listed_at_once(capsys: pytest.CaptureFixture[str], config: str) -> None:
    bad = (
        "rollout.vllm.max_num_seqs=abc",
        "rollout.vllm.tensor_parallel_size=3",
        "data.train=none.jsonl",
        "run.dir=/proc/run",
        "reward.checker=exakt",
    )
    _, problems = refused(capsys, config, *bad)
    wanted = (
        "rollout.vllm.max_num_seqs",
        "rollout.vllm.tensor_parallel_size",
        "none.jsonl does not exist",
        "run.dir /proc/run",
        "unknown checker",
    )
    assert [any(line.startswith(start) for line in problems) for start in wanted] == [True] * len(wanted)


def test_warnings_do_not_refuse(capsys: pytest.CaptureFixture[str], config: str) -> None:
    said = shown(capsys, config, "rollout.groups_per_step=9", "rollout.temperature=1.9").splitlines()
    assert [line.split(" = ")[0].split(" (")[0] for line in said if line.startswith("warning: ")] == [
        "warning: rollout.temperature",
        "warning: rollout.groups_per_step",
    ]
    assert said[-1] == f"{config} is valid"


def test_changes_on_one_machine_are_a_warning(capsys: pytest.CaptureFixture[str], config: str) -> None:
    (said,) = [
        line
        for line in shown(capsys, config, "rollout.full_every=4", "rollout.dtype=bfloat16").splitlines()
        if line.startswith("warning: ")
    ]
    assert said.startswith("warning: rollout.full_every = 4 makes publishes slower here")
    assert said.endswith("Use rollout.full_every = 1")


def test_a_function_of_the_users_that_fails_on_a_real_row_is_refused(
    capsys: pytest.CaptureFixture[str], config: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    own = tmp_path_factory.mktemp("own") / "mine.py"
    own.write_text("def score(response, reference):\n    return response.answer == reference\n")
    checker, row = f"{own}:score", f"{Path(config).parent / 'train.jsonl'} line 1"
    _, problems = refused(capsys, config, f"reward.checker={checker}")
    assert f"checker '{checker}' fails with the reference of {row} as the response ('1'): AttributeError: " in problems[0]


def test_a_function_of_the_users_that_fails_on_some_responses_is_a_warning(capsys: pytest.CaptureFixture[str], config: str) -> None:
    write_rows(Path(config).parent, *({"prompt": "1", "answer": "raise"} for _ in range(2)))
    said = shown(capsys, config, "reward.checker=tests.toys.bad_checkers:raise_if_asked")
    assert "as the response ('raise'): error: " in said
    assert said.count("response 'raise' to reference 'raise' has no reward (error: ") == 2
    assert "the run learns nothing from such responses" in said


def test_a_right_answer_that_does_not_score_one_is_a_warning(
    capsys: pytest.CaptureFixture[str], config: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster.commands.checks.one_row.right_answer", lambda prompt: "7")
    said = shown(capsys, config)
    assert "warning: the right answer of a row does not score 1: " in said
    assert "response '7' to reference '1' → reward 0 (correct 0)" in said


def test_a_function_of_the_users_shows_its_score(capsys: pytest.CaptureFixture[str], config: str) -> None:
    assert "response '1' to reference '1' → reward 1 (correct 1)" in shown(capsys, config, "reward.checker=tests.toys.bad_checkers:echo")


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(
    capsys: pytest.CaptureFixture[str], config: str, model: Path, tmp_path: Path
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    for path in model.iterdir():
        (small / path.name).write_bytes(path.read_bytes())
    raw = json.loads((small / "config.json").read_text())
    (small / "config.json").write_text(json.dumps(raw | {"vocab_size": 30}))
    _, problems = refused(capsys, config, f"model.path={small}")
    assert "shapes differ: lm_head.weight [32, 64], needed [30, 64]" in problems[0]
    assert "has ids up to 31, but its config.json a vocabulary of 30 (ids up to 29)" in problems[1]


def with_checkpoint(config: str) -> Path:
    loaded = load(config)
    loaded.run_dir.mkdir()
    write_config(loaded)
    checkpoints = Checkpoints(loaded)
    aside = checkpoints.begin(2)
    (aside / "rank-0.json").write_text("{}")
    return checkpoints.commit(aside, Position(step=2, next_group=4, pending=(), data=""))


def test_where_a_run_goes_on_is_shown_and_what_cannot_is_refused(capsys: pytest.CaptureFixture[str], config: str) -> None:
    checkpoint = with_checkpoint(config)
    assert f"continuing {checkpoint} after step 2" in shown(capsys, config, "run.resume=auto")
    assert "changed after step 2: rollout.group_size: 4 in the run, 8 now" in shown(
        capsys, config, "run.resume=auto", "rollout.group_size=8"
    )
    assert "changed after step 2: learner.ranks: 1 in the run, 2 now" in shown(capsys, config, "run.resume=auto", "learner.ranks=2")
    assert "all 2 steps are done" in shown(capsys, config, "run.resume=auto", "run.steps=2")
    for overrides, said in (
        ((), "already holds a run"),
        (("run.resume=auto", "run.seed=8"), "run.seed: 0 in the run, 8 now"),
        (("run.resume=auto", "learner.router=frozen"), "learner.router: 'trained' in the run, 'frozen' now"),
        (("run.resume=nowhere",), 'run.resume got "nowhere", needed "never"'),
    ):
        assert said in "\n".join(refused(capsys, config, *overrides)[1])
    state = json.loads((checkpoint / STATE).read_text())
    write_state(checkpoint, state["position"] | {"data": "9 prompts, sha256 0"}, state["files"])
    assert "the run learned from 9 prompts" in "\n".join(refused(capsys, config, "run.resume=auto")[1])
    (checkpoint / "rank-0.json").write_text("")
    assert "is not a whole checkpoint" in "\n".join(refused(capsys, config, f"run.resume={checkpoint}")[1])


def test_an_evaluation_makes_no_run_dir(config: str, monkeypatch: pytest.MonkeyPatch) -> None:
    places = []

    def look(given: object, work: object, *_: object) -> dict[str, float]:
        cells = dict(zip(work.__code__.co_freevars, (cell.cell_contents for cell in work.__closure__), strict=True))
        places.append((given.run_dir, cells["config"].run_dir, given.run_dir.is_dir()))
        return {}

    monkeypatch.setattr(offline, "within_ray", look)
    asked = ["evaluate", config, f"data.eval={Path(config).parent / 'train.jsonl'}"]
    main(asked)
    (where, within, there) = places.pop()
    assert where == within
    assert there
    assert not where.exists()
    assert not load(config).run_dir.exists()
    load(config).run_dir.mkdir()
    main(asked)
    assert places.pop()[0] == load(config).run_dir


def test_the_largest_id_of_a_tokenizer_counts_and_not_their_number() -> None:
    tokenizer, asked = SimpleNamespace(get_vocab=lambda: {"a": 0, "b": 40}), SimpleNamespace(model=SimpleNamespace(path="m"))
    with pytest.raises(ValueError, match=r"has ids up to 40, but its config\.json a vocabulary of 40"):
        refuse_short_vocabulary(asked, SimpleNamespace(vocab_size=40), tokenizer)
    refuse_short_vocabulary(asked, SimpleNamespace(vocab_size=41), tokenizer)
