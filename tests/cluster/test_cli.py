import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import ray
import torch
from transformers import Qwen3Config, Qwen3MoeForCausalLM

from cluster.cli import main
from cluster.record.checkpoint import Checkpoints, Position
from cluster.record.pictures import artist
from cluster.record.run_dir import lock_run_dir, write_config
from configs.loader import load
from tests.toys.model import tiny_config, toy_tokenizer
from tests.toys.run import finish_step

CONFIG = """
[run]
dir = "{folder}/run"
steps = 3
[model]
path = "{model}"
dtype = "float32"
[data]
train = "{folder}/train.jsonl"
chat_template = false
max_prompt_tokens = 16
[rollout]
group_size = 4
groups_per_step = 2
max_response_tokens = 8
cpus_per_engine = 0.5
[reward]
checker = "exact"
[learner]
cpus_per_rank = 0.5
"""


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with real weights and a real tokenizer."""
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    Qwen3MoeForCausalLM(tiny_config()).save_pretrained(folder)
    toy_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def config(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A config file of a run that could start, where starting anything fails the test."""

    def start(*_: object, **__: object) -> None:
        pytest.fail("Ray was started")

    monkeypatch.setattr(ray, "init", start)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    write_rows(tmp_path, *({"prompt": f"{n}+1=", "answer": str(n + 1)} for n in range(6)))
    (tmp_path / "run.toml").write_text(CONFIG.format(folder=tmp_path, model=model))
    return str(tmp_path / "run.toml")


def write_rows(folder: Path, *rows: object) -> None:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    (folder / "train.jsonl").write_text("".join(f"{line}\n" for line in lines))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "lock"}


def refused(capsys: pytest.CaptureFixture[str], config: str, *overrides: str, command: str = "train") -> str:
    """What is said of a run that is refused with exit code 1, leaving every file as it was."""
    folder = Path(config).parent
    before, had_run = contents(folder), (folder / "run").exists()
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main([command, config, *overrides])
    assert ended.value.code == 1
    assert contents(folder) == before
    assert (folder / "run").exists() == had_run
    assert not ray.is_initialized()
    said = capsys.readouterr().err
    assert said.startswith("gatewise: "), "a user's mistake needs no traceback"
    return said


def test_the_run_these_tests_spoil_is_valid(capsys: pytest.CaptureFixture[str], config: str):
    main(["validate", config])
    said = capsys.readouterr().out
    assert "6 prompts from" in said
    assert said.splitlines()[-1] == f"{config} is valid"
    assert not (Path(config).parent / "run").exists()


@pytest.mark.parametrize("command", ["train", "validate"])
@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("rollout.grop_size=4", "rollout.grop_size: unknown key (got 4); did you mean rollout.group_size?"),
        ("run.steps=many", "run.steps"),
        ("learner.lr=true", "learner.lr: got true; needed"),
        ("rollout.group_size=1", "rollout.group_size: got 1, needed at least 2"),
        ("objective.preset=grop", 'objective.preset: got "grop", needed a known preset'),
        ("model.path=nowhere", "model.path nowhere is not a model folder"),
        ("data.train=none.jsonl", "none.jsonl does not exist"),
        ("data.prompt_field=question", 'line 1 has no value for field "question"; it has "prompt", "answer"'),
        ("data.max_prompt_tokens=3", "train.jsonl line 1 has 4 prompt tokens, above data.max_prompt_tokens = 3; 6 of 6 rows"),
        ("data.max_prompt_tokens=125", "= 133 tokens, but"),
        ("data.chat_template=true", "tokenizer has no chat template"),
        ("reward.checker=exakt", "unknown checker 'exakt': use one of "),
    ],
)
def test_a_bad_setting_is_told_with_what_is_needed(capsys: pytest.CaptureFixture[str], config: str, command: str, override: str, said: str):
    assert said in refused(capsys, config, override, command=command)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "has no rows: needs at least one"),
        (['{"prompt": "1+1=", "answer": "2"}', '{"prompt": '], "train.jsonl line 2 is not JSON"),
        (["[1]"], "train.jsonl line 1 is a JSON list, not an object"),
        ([{"prompt": "1", "answer": "2"}, {"prompt": "1"}], 'train.jsonl line 2 has no value for field "answer"'),
        ([{"prompt": "", "answer": "2"}], "train.jsonl line 1 has an empty prompt"),
        ([{"prompt": "1", "answer": "2", "id": 7}, {"prompt": "2", "answer": "3", "id": 7}], 'have the same id "7"'),
        ([{"prompt": "1", "answer": {"not": "text"}}], "train.jsonl line 1: checker 'exact': "),
        ([{"prompt": "1", "answer": "2", "id": "a"}, {"prompt": "1", "answer": [], "id": "b"}], "train.jsonl line 2: checker 'exact': "),
    ],
)
def test_a_bad_dataset_is_told_with_its_line(capsys: pytest.CaptureFixture[str], config: str, rows: list[object], said: str):
    write_rows(Path(config).parent, *rows)
    assert said in refused(capsys, config)


def test_data_may_name_a_checker_of_ours_or_the_runs_own_and_nothing_else_is_imported(capsys: pytest.CaptureFixture[str], config: str):
    own = "tests.toys.bad_checkers:length"
    good = [{"prompt": "1", "answer": "2", "checker": name} for name in ("exact", "math", own)]
    named = (f"reward.checker={own}", "data.checker_field=checker")
    write_rows(Path(config).parent, *good)
    main(["validate", config, *named])
    write_rows(Path(config).parent, *good, {"prompt": "1", "answer": "2", "checker": "this:s"})
    said = refused(capsys, config, *named)
    assert "train.jsonl line 4 names checker 'this:s', needed one of " in said
    assert f", match, math, none, regex, tags, {own}: data may not name other code" in said
    assert "this" not in sys.modules


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("*.safetensors", "no *.safetensors weights"),
        ("tokenizer*", "holds no tokenizer that can be loaded"),
        ("config.json", "no config.json"),
    ],
)
def test_half_a_model_folder_is_told_with_what_it_lacks(
    capsys: pytest.CaptureFixture[str], config: str, model: Path, missing: str, said: str
):
    half = Path(config).parent / "half"
    half.mkdir()
    for path in model.iterdir():
        if not path.match(missing):
            (half / path.name).write_bytes(path.read_bytes())
    assert said in refused(capsys, config, f"model.path={half}")


@pytest.mark.parametrize("command", ["train", "validate"])
def test_what_a_model_cannot_do_with_its_experts_is_told_before_anything_starts(
    capsys: pytest.CaptureFixture[str], config: str, model: Path, command: str
):
    dense = Path(config).parent / "dense"
    shutil.copytree(model, dense)
    Qwen3Config(hidden_size=64, num_hidden_layers=2).save_pretrained(dense)
    replay = ("learner.routing=replay_rollout", "rollout.capture_routing=true")
    said = refused(capsys, config, f"model.path={dense}", *replay, command=command)
    assert f'learner.routing: got "replay_rollout", but model.path {dense} (qwen3) is a dense model' in said
    assert "rollout.capture_routing: got true" in said
    spread = ("rollout.vllm.enable_expert_parallel=true", "rollout.vllm.tensor_parallel_size=3")
    assert "tensor_parallel_size: got 3" in refused(capsys, config, *spread, command=command)
    main(["validate", config, *replay])


def test_more_engines_than_fit_are_refused_with_the_arithmetic(capsys: pytest.CaptureFixture[str], config: str):
    said = refused(capsys, config, "rollout.engines=900", "rollout.cpus_per_engine=2")
    assert "rollout.engines (900) x 2 CPU + learner.ranks (1) x 0.5 CPU = 1800.5 CPUs are needed" in said


def test_a_used_run_directory_is_refused(capsys: pytest.CaptureFixture[str], config: str):
    with lock_run_dir(load(config)) as folder:
        write_config(load(config))
        finish_step(folder)
    said = refused(capsys, config)
    assert 'already holds a run: choose another run.dir, or continue it with run.resume="auto"' in said


def test_a_second_driver_is_refused_with_the_first_ones_process(capsys: pytest.CaptureFixture[str], config: str):
    with lock_run_dir(load(config)):
        said = refused(capsys, config, "run.resume=auto")
    assert "is in use by another driver (process " in said


def test_a_changed_config_is_refused_with_each_difference(capsys: pytest.CaptureFixture[str], config: str):
    with lock_run_dir(load(config)) as folder:
        write_config(load(config))
        finish_step(folder)
    said = refused(capsys, config, "run.resume=auto", "run.steps=9", "learner.lr=0.5", "run.seed=8", "data.overlong=drop")
    assert "data.overlong: 'refuse' in the run, 'drop' now\n  run.seed: 0 in the run, 8 now\n" in said
    assert "run.steps" not in said.replace("learner.lr", "run.steps")


@pytest.mark.parametrize("asked", ["atuo", "run/checkpoints/step_000003"])
def test_a_resume_that_names_nothing_is_refused(capsys: pytest.CaptureFixture[str], config: str, asked: str):
    assert f'run.resume got "{asked}", needed "never"' in refused(capsys, config, f"run.resume={asked}")


def test_resuming_from_a_damaged_checkpoint_is_refused(capsys: pytest.CaptureFixture[str], config: str):
    damaged = Path(config).parent / "step_000002"
    damaged.mkdir()
    with lock_run_dir(load(config)):
        pass
    assert "step_000002 is not a whole checkpoint" in refused(capsys, config, f"run.resume={damaged}")


def test_a_run_that_is_done_says_so_and_starts_nothing(capsys: pytest.CaptureFixture[str], config: str, monkeypatch: pytest.MonkeyPatch):
    drawn: list[Path] = []

    def draw(folder: Path, *_: object) -> subprocess.Popen[bytes]:
        drawn.append(folder)
        return subprocess.Popen(["true"])

    monkeypatch.setattr(artist, "start_drawing", draw)
    loaded = load(config)
    with lock_run_dir(loaded):
        write_config(loaded)
        checkpoints = Checkpoints(loaded)
        aside = checkpoints.begin(3)
        (aside / "rank-0.json").write_text("{}")
        checkpoints.commit(aside, Position(step=3, next_group=6, pending=()))
    main(["train", config, "run.resume=auto"])
    assert "all 3 steps are done" in capsys.readouterr().out
    assert drawn == [], "there are no numbers yet"
    (loaded.run_dir / "metrics.jsonl").write_text('{"step": 1, "reward/mean": 0.5, "tokens": 8, "seconds/step": 2.0}\n')
    main(["train", config, "run.resume=auto"])
    assert "reward   0.500 at step 1" in capsys.readouterr().out
    assert drawn == [loaded.run_dir], "a driver killed before it drew its picture draws it when asked again"


@pytest.mark.parametrize(("command", "said"), [("evaluate", "data.eval is not set"), ("export", "has no whole checkpoint to export")])
def test_what_needs_more_than_there_is_says_what(capsys: pytest.CaptureFixture[str], config: str, command: str, said: str):
    assert said in refused(capsys, config, *(["--to", "out"] if command == "export" else []), command=command)


def test_the_cause_is_the_last_line_and_the_exit_code_is_one_in_a_process_of_its_own(tmp_path: Path):
    ended = subprocess.run(
        [sys.executable, "-m", "cluster", "train", str(tmp_path / "none.toml")], check=False, capture_output=True, text=True
    )
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith(f"gatewise: ConfigError: {tmp_path / 'none.toml'}: no such file")
    assert ended.stdout == ""


@pytest.mark.parametrize("arguments", [[], ["tarin", "x.toml"], ["train"], ["export", "x.toml"]])
def test_bad_usage_exits_with_two_and_shows_how_it_is_used(capsys: pytest.CaptureFixture[str], arguments: list[str]):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("usage: gatewise")


def test_an_unexpected_failure_shows_where_it_happened_and_ends_with_its_first_cause(
    capsys: pytest.CaptureFixture[str], config: str, monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: object, **__: object) -> None:
        raise ExceptionGroup("tasks", [RuntimeError("engine 1 died"), ValueError("later")])

    monkeypatch.setattr("cluster.commands.train.train", fail)
    with pytest.raises(SystemExit) as ended:
        main(["train", config])
    said = capsys.readouterr().err.splitlines()
    assert ended.value.code == 1
    assert said[-1] == "gatewise: RuntimeError: engine 1 died"
    assert any("Traceback" in line for line in said)


def test_an_interrupted_run_exits_as_shells_expect(capsys: pytest.CaptureFixture[str], config: str, monkeypatch: pytest.MonkeyPatch):
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cluster.commands.train.train", interrupt)
    with pytest.raises(SystemExit) as ended:
        main(["train", config])
    assert ended.value.code == 130
    assert "interrupted" in capsys.readouterr().err
