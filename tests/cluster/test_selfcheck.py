"""A selfcheck around its parts: runs that fail, engines that die on purpose, measurements, the table, the file and the exit status."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cluster.causes.cause import Cause
from cluster.cli import main
from cluster.commands.selfcheck import check
from cluster.commands.selfcheck.attempt import Attempt, Death, Watched, attempt_run
from cluster.commands.selfcheck.flops import training_flops
from cluster.commands.selfcheck.parts.table import AFTER_EXPORT, AFTER_FIRST, AFTER_SECOND
from cluster.commands.selfcheck.report import Report
from cluster.commands.selfcheck.rows import Row, Status
from cluster.commands.selfcheck.scaled.prepare import Prepared, prepare
from cluster.commands.selfcheck.scaled.task import REWARD
from cluster.commands.selfcheck.victim import kill_engine
from cluster.commands.selfcheck.yardstick import Asked, gpus_by_name, measure, measured
from cluster.stop import Stop, Stopped
from configs.schema import Config
from gatewise import commands
from tests.toys.machine import write_program

PARTS = [part.key for part in (*AFTER_FIRST, *AFTER_SECOND, *AFTER_EXPORT)]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """The tiny selfcheck on CPU, ready to run; its model is real and small."""
    return prepare(None, tmp_path_factory.mktemp("selfcheck"), full=False, gpus=0)


@pytest.fixture
def config(prepared: Prepared, tmp_path: Path) -> Config:
    return check.with_run(prepared.config, dir=str(tmp_path / "run"))


def test_a_first_run_that_fails_hides_no_other_part(
    prepared: Prepared, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(config: Config, *_: Any, death: Death | None = None, **__: Any) -> Attempt:
        return Attempt(config=config, death=death, cause=Cause(line="OutOfMemoryError: 3 GB", role="engine 0"))

    monkeypatch.setattr(check, "attempt_run", fails)
    told: list[str] = []
    rows = check.run_parts(replace(prepared, config=config), tmp_path, told.append, Stop())
    assert [row.part for row in rows] == ["machine", *PARTS]
    passed = {row.part for row in rows if row.status is not Status.FAIL}
    assert passed == {"machine", "sleep"}
    assert all("engine 0: OutOfMemoryError: 3 GB" in row.cause for row in rows if row.status is Status.FAIL)
    assert any(line.startswith("fail: engines start and generate (engine 0: OutOfMemoryError") for line in told)


def test_a_run_that_cannot_start_is_an_attempt_with_its_cause(config: Config) -> None:
    broken = config.model_copy(update={"model": config.model.model_copy(update={"path": "/no/such/model"})})
    done = attempt_run(broken, lambda _: None, Stop(), limit_s=60.0)
    assert "model.path /no/such/model is not a model folder" in done.why()
    asked = Stop()
    asked.ask()
    with pytest.raises(Stopped):
        attempt_run(broken, lambda _: None, asked, limit_s=60.0)


def test_an_engine_dies_once_at_its_moment(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    deaths: list[int] = []

    def kill(_: Path, engine: int) -> bool:
        deaths.append(engine)
        return True

    monkeypatch.setattr("cluster.commands.selfcheck.attempt.kill_engine", kill)
    watched = Watched(Attempt(config=config, death=Death(engine=1, after=2)), print)
    for step in (1, 2, 3):
        watched.exchange("transfer")
        watched.recorded({"step": step})
        assert deaths == ([1] if step >= 2 else [])
    deaths.clear()
    watched = Watched(Attempt(config=config, death=Death(engine=1, after=2, in_publish=True)), print)
    for step in (1, 2):
        watched.exchange("transfer")
        watched.recorded({"step": step})
    assert deaths == []
    for stage in ("join", "transfer", "join", "transfer"):  # the second pair is the retry over the engines that are left
        watched.exchange(stage)
    assert deaths == [1]


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """Starts processes with a word on their command line."""
    started: list[subprocess.Popen[bytes]] = []

    def start(word: str) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen([sys.executable, "-c", "import time; print(1, flush=True); time.sleep(60)", word], stdout=-1))
        assert started[-1].stdout is not None
        started[-1].stdout.readline()
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_only_the_process_of_the_engine_is_killed(tmp_path: Path, sleeper: Callable[[str], subprocess.Popen[bytes]]) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    engine, other = sleeper("ray::EngineActor"), sleeper("somebody")
    assert not kill_engine(tmp_path, 0), "it has no log"
    (logs / "engine-0.log").write_text(f"--- gatewise: engine-0 on 127.0.0.1, process {other.pid} ---\n")
    assert not kill_engine(tmp_path, 0), "that process is no engine"
    with (logs / "engine-0.log").open("a") as log:
        log.write(f"some output\n--- gatewise: engine-0 on 127.0.0.1, process {engine.pid} ---\n")
    assert kill_engine(tmp_path, 0)
    assert engine.wait(10) == -signal.SIGKILL
    assert other.poll() is None


def test_the_memory_of_a_gpu_that_uses_the_machines_own_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fields = ("Default, Disabled, 0", "Default, [N/A], [N/A]")
    rows = f"0, GPU-a, NVIDIA H100, 580.65.06, 81559, 80000, {fields[0]}\\n1, GPU-b, NVIDIA GB10, 580.95.05, [N/A], [N/A], {fields[1]}\\n"
    answer = f"case $1 in --query-gpu=*) printf '{rows}';; esac"
    monkeypatch.setenv("PATH", f"{write_program(tmp_path, 'nvidia-smi', answer)}{os.pathsep}{os.environ['PATH']}")
    assert [(gpu["name"], gpu["memory_gb"]) for gpu in gpus_by_name()] == [("NVIDIA H100", 85.5), ("NVIDIA GB10", 0.0)]


def test_a_copy_and_a_product_are_measured_and_a_failure_is_named() -> None:
    found = measure(Asked(device="cpu", dtype="float32", rows=64, width=64, columns=64))
    assert found.copy_gb_per_s > 0.01
    assert found.matmul_tflops > 0
    with pytest.raises(RuntimeError, match=r"^KeyError: 'abacus'$"):
        measured(Asked(device="abacus", dtype="float32", rows=64, width=64, columns=64))


def test_the_flops_of_a_dense_layer_are_those_of_its_products() -> None:
    model = {
        "model_type": "llama", "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
        "num_key_value_heads": 2, "vocab_size": 10,
    }  # fmt: skip
    products = 4 * 8 * 8 + 3 * 8 * 16 + 8 * 10 + 3 * 8  # attention, MLP, head, three norms
    assert training_flops(model, 3, 5.0) == 3 * 5 * (6 * products + 6 * 8 * 5)
    assert training_flops(model | {"tie_word_embeddings": True}, 3, 5.0) == training_flops(model, 3, 5.0)


def test_any_two_responses_get_rewards_of_their_own() -> None:
    names: dict[str, Any] = {}
    exec(REWARD, names)
    rewards = {names["score"](text, None) for text in ("", "0", "1", "42", "24", "forty-two")}
    assert len(rewards) == 6
    assert all(0 <= reward <= 1 for reward in rewards)


def report(*rows: Row) -> Report:
    return Report(
        recipe="tiny", full=False, device="cpu", devices=[], model={}, changed=[], config={}, rows=rows, seconds=1.0, kept="/tmp/kept"
    )


FINE = Row(part="engine", title="engines start", status=Status.PASS, seconds=2.0, numbers={"tokens_per_s": 1234.5, "run": "went on"})
BROKEN = Row(part="publish", title="publish", status=Status.FAIL, cause="engine 0: NCCL error")


def test_the_file_has_a_schema_and_the_table_every_cause(tmp_path: Path) -> None:
    whole = report(FINE, BROKEN)
    whole.write(tmp_path / "selfcheck.json")
    written = json.loads((tmp_path / "selfcheck.json").read_text())
    assert list(written) == [
        "schema", "passed", "gatewise", "versions", "device", "devices", "machine", "recipe", "full", "changed", "model", "config",
        "rows", "seconds",
    ]  # fmt: skip
    assert (written["schema"], written["passed"]) == (1, False)
    assert list(written["rows"][0]) == ["part", "title", "status", "seconds", "numbers", "cause", "stand_in"]
    assert set(written["machine"]) == {"architecture", "cpus", "kernel"}, "no name of the host"
    assert whole.table() == [
        "part           status  seconds  numbers",
        "engines start  pass    2.0      tokens_per_s 1234, run went on",
        "publish        fail    0.0",
        "    engine 0: NCCL error",
    ]


def test_a_failing_part_ends_with_status_1_and_names_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(check, "selfcheck", lambda *_: report(FINE, BROKEN))
    with pytest.raises(SystemExit) as ended:
        main(["selfcheck", "--to", str(tmp_path / "selfcheck.json")])
    assert ended.value.code == 1
    shown = capsys.readouterr()
    assert shown.err == "gatewise: SelfcheckFailed: 1 of 2 parts failed: publish\n"
    assert "the runs and their logs are in /tmp/kept" in shown.out
    monkeypatch.setattr(check, "selfcheck", lambda *_: report(FINE))
    main(["selfcheck", "--to", str(tmp_path / "selfcheck.json")])
    assert json.loads((tmp_path / "selfcheck.json").read_text())["passed"]
    assert commands.selfcheck(progress=False)["passed"]


@pytest.mark.parametrize(
    ("words", "said"), [(["--full"], "belong to a config"), (["run.seed=1"], "run.seed=1"), (["--gpus", "-1"], "needed a whole number")]
)
def test_a_command_line_without_sense_is_refused(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["selfcheck", *words])
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--to", "{folder}"], "is a folder, needed a file: give --to {folder}/selfcheck.json"),
        (["--to", "{folder}/absent/selfcheck.json"], "--to {folder}/absent: nothing can be written there"),
        (["--inside", "{folder}/absent"], "--inside {folder}/absent: nothing can be written there"),
        (["--inside", "/dev/null"], "--inside /dev/null: nothing can be written there"),
        (["--gpus", "100000"], "--gpus 100000: the installed packages can use 0 GPUs of this machine"),
    ],
)
def test_places_and_gpus_that_are_not_there_are_refused_before_anything_runs(
    options: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["selfcheck", *(one.format(folder=tmp_path) for one in options)])
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("gatewise: InputError: ")
    assert said.format(folder=tmp_path) in last
    assert not list(tmp_path.iterdir())


def test_an_impatient_user_leaves_no_folder_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, asked = shutil.rmtree, list[Path]()

    def interrupted_once(folder: Path, **options: bool) -> None:
        asked.append(folder)
        if len(asked) == 1:
            raise KeyboardInterrupt
        real(folder, **options)

    monkeypatch.setattr(shutil, "rmtree", interrupted_once)
    with pytest.raises(KeyboardInterrupt), check.working_folder(check.Wanted(recipe=None, named="tiny", inside=tmp_path)):
        raise KeyboardInterrupt
    monkeypatch.undo()
    assert not list(tmp_path.iterdir())
