"""What a run may be continued from: its own checkpoint, its own config, its own data."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cluster.commands.offline import checkpoint_of
from cluster.commands.resuming.beginning import Beginning, find_origin, where_to_begin, where_to_resume
from cluster.commands.resuming.going_on import how_to_continue
from cluster.record.checkpoint import STATE, Checkpoints, Position, read_position, refuse_changed_data
from cluster.record.ledger import Ledger
from cluster.record.run_dir import write_config
from configs.errors import CheckpointError
from configs.loader import load
from configs.schema import Config
from rollout.types import Prompt
from tests.toys.run import run_config

PROMPTS = [Prompt(prompt_id=str(n), token_ids=np.array([1, n], np.int32), reference="", checker="exact") for n in range(3)]
ZERO_3 = {"zero_optimization": {"stage": 3}}


def config_in(folder: Path, **sections: dict) -> Config:
    return run_config(folder, **{"run": {"dir": str(folder), "resume": "auto"}} | sections)


def save(config: Config, step: int, prompts: list[Prompt] = PROMPTS) -> Path:
    """A checkpoint of a run that keeps its config."""
    checkpoints = Checkpoints(config, prompts)
    aside = checkpoints.begin(step)
    (aside / "rank-0.json").write_text("{}")
    whole = checkpoints.commit(aside, Position(step=step, next_group=2 * step, pending=()))
    write_config(config)
    return whole


def resuming(folder: Path, checkpoint: Path, **sections: dict) -> Config:
    return config_in(folder, run={"dir": str(folder), "resume": str(checkpoint)}, **sections)


@pytest.mark.parametrize(
    "changed",
    [
        PROMPTS[:2],
        PROMPTS[::-1],
        [replace(PROMPTS[0], prompt_id="other"), *PROMPTS[1:]],
        [*PROMPTS[:2], replace(PROMPTS[2], token_ids=np.array([1, 9], np.int32))],
    ],
)
def test_a_run_does_not_go_on_with_other_data(tmp_path: Path, changed: list[Prompt]):
    position = read_position(save(config_in(tmp_path), 1))
    refuse_changed_data(position, PROMPTS)
    said = rf"the run learned from 3 prompts, sha256 \w{{64}}, but data\.train now gives {len(changed)} prompts, .* restore the data"
    with pytest.raises(ValueError, match=said):
        refuse_changed_data(position, changed)


@pytest.mark.parametrize(
    "change",
    [
        {"reference": "7"},
        {"reference": 0},
        {"reference": None},
        {"reference": {"min": 5}},
        {"named_checker": "math"},
        {"columns": {"level": "hard"}},
    ],
)
def test_a_run_does_not_go_on_with_other_references_or_checkers_of_rows(tmp_path: Path, change: dict[str, object]):
    position = read_position(save(config_in(tmp_path), 1))
    with pytest.raises(ValueError, match=r"their references, kept columns or named checkers are not \(sha256 \w{64} in the run"):
        refuse_changed_data(position, [*PROMPTS[:2], replace(PROMPTS[2], **change)])
    other_default = [replace(prompt, checker="math") for prompt in PROMPTS]  # reward.checker may change: the ledger records it
    refuse_changed_data(position, other_default)
    refuse_changed_data(replace(position, references=""), [*PROMPTS[:2], replace(PROMPTS[2], **change)])


def test_a_checkpoint_that_does_not_name_its_data_is_taken_with_any(tmp_path: Path):
    whole = save(config_in(tmp_path), 1)
    state = json.loads((whole / STATE).read_text())
    del state["position"]["data"], state["position"]["references"], state["hash"]
    state["files"] = {name: found["bytes"] for name, found in state["files"].items()}  # as older versions wrote it
    (whole / STATE).write_text(json.dumps(state))
    refuse_changed_data(read_position(whole), PROMPTS[:1])


def test_a_checkpoint_of_another_run_is_held_against_that_runs_config(tmp_path: Path):
    whole = save(config_in(tmp_path / "first"), 1)
    assert where_to_resume(resuming(tmp_path / "second", whole)) == (whole, [])
    with pytest.raises(
        ValueError, match=r"first/checkpoints/step_000001 cannot be resumed .*\n  learner\.router: 'trained' in the run, 'frozen' now"
    ):
        where_to_resume(resuming(tmp_path / "second", whole, learner={"router": "frozen"}))
    changed = where_to_begin(resuming(tmp_path / "second", whole, learner={"lr": 0.5})).changes
    assert [tuple(change) for change in changed] == [("learner.lr", 1e-6, 0.5)]


def test_a_checkpoint_that_lies_in_no_run_directory_is_taken_as_it_is(tmp_path: Path):
    whole = save(config_in(tmp_path / "first"), 1)
    moved = whole.rename(tmp_path / "moved")
    assert where_to_resume(resuming(tmp_path / "second", moved, learner={"lr": 0.5})) == (moved, [])


def test_evaluate_and_export_need_the_model_of_the_checkpoint_and_nothing_else(tmp_path: Path):
    whole = save(config_in(tmp_path / "first"), 1)
    free = {"data": {"train": "other.jsonl"}, "rollout": {"engines": 2}, "learner": {"lr": 0.5, "ranks": 2, "deepspeed": ZERO_3}}
    assert checkpoint_of(config_in(tmp_path / "second", **free), str(whole)) == whole
    assert checkpoint_of(config_in(tmp_path / "first", **free), None) == whole
    said = r"cannot be loaded with another config:\n  model\.path: 'model' in the run, 'base' now\nset these back"
    with pytest.raises(ValueError, match=said):
        checkpoint_of(config_in(tmp_path / "first", model={"path": "base"}), None)


@pytest.mark.parametrize(
    "learner",
    [
        {"ranks": 4},
        {"ranks": 2, "expert_parallel": 2, "deepspeed": ZERO_3},
        {"deepspeed": ZERO_3},
        {"deepspeed": {"zero_optimization": {"stage": 2, "overlap_comm": True, "offload_optimizer": {"device": "cpu"}}}},
        {"deepspeed": {"data_types": {"grad_accum_dtype": "fp32"}, "wall_clock_breakdown": True}},
    ],
)
def test_a_run_goes_on_with_its_state_divided_in_another_way(tmp_path: Path, learner: dict):
    whole = save(config_in(tmp_path), 1)
    begin = where_to_begin(config_in(tmp_path, learner=learner))
    assert begin.checkpoint == whole
    assert {change.key.split(".")[0] for change in begin.changes} == {"learner"}


def test_a_run_does_not_go_on_with_another_way_to_compute_the_weights(tmp_path: Path):
    save(config_in(tmp_path), 1)
    with pytest.raises(ValueError, match=r"learner\.deepspeed\.weight_quantization\.bits: None in the run, 8 now"):
        where_to_begin(config_in(tmp_path, learner={"deepspeed": {"weight_quantization": {"bits": 8}}}))


@pytest.mark.parametrize("begins", ["resume", "folder", "from", "export"])
def test_a_checkpoint_in_another_layout_is_refused_before_anything_starts(tmp_path: Path, begins: str):
    whole = save(config_in(tmp_path), 1)

    def begin() -> None:
        if begins == "export":
            checkpoint_of(config_in(tmp_path), None)
        elif begins == "resume":
            where_to_begin(config_in(tmp_path))
        else:
            run = {"dir": str(tmp_path / "second"), "resume" if begins == "folder" else "from": str(whole)}
            where_to_begin(config_in(tmp_path / "second", run=run))

    begin()
    (whole / "zero").mkdir()
    with pytest.raises(CheckpointError, match=r"step_000001 is in DeepSpeed's own layout, .* export it with that version"):
        begin()
    (whole / "zero").rmdir()
    (whole / "rank-0.json").write_text('{"layout": 2, "ranks": 1}')
    state = json.loads((whole / STATE).read_text())
    state["files"] = {}
    del state["hash"]
    (whole / STATE).write_text(json.dumps(state))
    with pytest.raises(CheckpointError, match=r"has layout 2, and this version reads up to 1: use the version that wrote it"):
        begin()


def test_a_resumed_run_says_which_damaged_checkpoints_it_passed_over(tmp_path: Path):
    config = config_in(tmp_path, run={"dir": str(tmp_path), "resume": "auto", "keep_checkpoints": 9})
    first, damaged = save(config, 1), save(config, 2)
    assert where_to_begin(config).describe(config) == [f"continuing {damaged} after step 2"]
    (damaged / "rank-0.json").unlink()
    passed = "passed over as damaged: step_000002 (rank-0.json is missing)"
    assert where_to_begin(config).checkpoint == first
    assert where_to_begin(config).describe(config) == [f"continuing {first} after step 1; {passed}"]
    (first / STATE).write_text("")
    (said,) = Beginning().describe(config)
    assert said.startswith(f"a new run in {tmp_path}; passed over as damaged: step_000001 (state.json cannot be read: ")


def test_a_new_run_begins_with_the_weights_of_a_checkpoint_or_of_a_runs_newest_one(tmp_path: Path):
    source = config_in(tmp_path / "first")
    first, newest = save(source, 1), save(source, 2)
    for asked, found in ((first, first), (tmp_path / "first", newest)):
        config = config_in(tmp_path / "second", run={"dir": str(tmp_path / "second"), "from": str(asked)}, learner={"lr": 0.5})
        begin = where_to_begin(config)
        assert (begin.checkpoint, begin.origin, begin.position.step, begin.position.next_group) == (None, found, 0, 0)
        assert [tuple(change) for change in begin.changes] == [("run.from", None, str(found))]
        assert begin.describe(config)[0].endswith(f"from the weights of {found}")


def test_a_run_that_has_a_checkpoint_of_its_own_continues_it_wherever_it_came_from(tmp_path: Path):
    save(config_in(tmp_path / "first"), 1)
    own = config_in(tmp_path / "second", run={"dir": str(tmp_path / "second"), "resume": "auto", "from": str(tmp_path / "first")})
    whole = save(own, 3)
    begin = where_to_begin(own)
    assert (begin.checkpoint, begin.origin, list(begin.changes)) == (whole, None, [])


@pytest.mark.parametrize(
    ("where", "learner", "said"),
    [
        ("nowhere", {}, "is no folder: give a checkpoint folder, or the folder of a run that has one"),
        ("empty", {}, "has no whole checkpoint: give another run, or a checkpoint folder"),
        ("empty/checkpoints", {}, "is not a whole checkpoint"),
        ("first", {"router": "frozen"}, r"(?s)learner\.router: 'trained' in the run, 'frozen' now.*export it"),
    ],
)
def test_weights_that_cannot_be_taken_are_refused_before_anything_starts(tmp_path: Path, where: str, learner: dict, said: str):
    save(config_in(tmp_path / "first"), 1)
    (tmp_path / "empty" / "checkpoints").mkdir(parents=True)
    with pytest.raises(ValueError, match=said):
        find_origin(config_in(tmp_path / "second", run={"dir": str(tmp_path / "second"), "from": str(tmp_path / where)}, learner=learner))


def test_a_run_that_ended_early_says_how_to_continue_with_the_settings_it_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.argv", ["/opt/bin/gatewise", "train"])
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    settings = [f"run.dir={tmp_path}", "data.system=say it", "data.chat_template=true", "run.resume=never"]
    same = f"/opt/bin/gatewise train configs/tiny_cpu.toml run.dir={tmp_path} 'data.system=say it' data.chat_template=true run.resume=auto"

    def said(*more: str) -> str:
        words = [*settings, *more]
        return how_to_continue(load("configs/tiny_cpu.toml", words), "configs/tiny_cpu.toml", words)

    assert "no step was finished" in said()
    ledger = Ledger(tmp_path / "ledger.db")
    ledger.begin(0, 0, ())
    ledger.learned(1, [])
    ledger.close()
    assert said().endswith(f"no checkpoint was written; to start again from the first step: {same}")
    save(config_in(tmp_path), 2)
    assert said() == f"gatewise: step 2 is saved; to continue after it: {same}"
    assert said("run.steps=2").startswith("gatewise: all 2 steps are learned and saved")
    monkeypatch.setattr("sys.argv", ["/w/cluster/__main__.py"])
    assert " -m cluster train configs/tiny_cpu.toml" in said()
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6379")
    assert "ray job submit --working-dir . -- python -m cluster train" in said()


def test_a_run_whose_ledger_is_broken_says_so_and_hides_no_other_error(tmp_path: Path):
    (tmp_path / "ledger.db").write_text("no database, but long enough to be one" * 100)
    assert "cannot be read (file is not a database)" in how_to_continue(config_in(tmp_path), "x.toml", [])


def test_an_optimizer_comes_from_a_checkpoint_only(tmp_path: Path):
    with pytest.raises(ValueError, match=r"run\.from_optimizer: got true without run\.from, so it has no effect"):
        config_in(tmp_path, run={"dir": str(tmp_path), "from_optimizer": True})
