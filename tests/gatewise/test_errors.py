"""Every end of a run has a type; the types of today's errors stay what they were."""

import pickle
from pathlib import Path

import pytest
import ray

import gatewise
from cluster.actors.engines import NoEngineLeft
from cluster.causes.roles import Role, RoleFailed, register
from cluster.health.alarm import MismatchTooLarge
from cluster.publish.publisher import LearnerFailed, PublishFailed
from configs.errors import raises
from gatewise.errors import typed, typed_errors
from rollout.data.row import DatasetError
from rollout.window.window import WindowExhausted

ROLES = {"engine 0": "e0" * 16, "learner rank 1": "a1" * 16, "reward workers 0": "f0" * 16}


@pytest.fixture(autouse=True)
def roles(tmp_path: Path) -> None:
    for name, actor in ROLES.items():
        register(actor, Role(name, tmp_path / "none.log"))


def raised_in(role: str, cause: Exception) -> Exception:
    """What Ray raises in the driver when a method of an actor raises."""
    text = f"ray::Actor.step() (pid=7, ip=127.0.0.1, actor_id={ROLES[role]}, repr=x)\n  File ..."
    return ray.exceptions.RayTaskError("step", text, cause).as_instanceof_cause()


def chained(error: Exception, cause: BaseException) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize("kind", [gatewise.InputError, DatasetError, gatewise.RunDirTaken, gatewise.NoRun, gatewise.CheckpointError])
def test_wrong_input_is_still_a_value_error(kind: type[Exception]) -> None:
    assert issubclass(kind, gatewise.InputError)
    assert issubclass(kind, ValueError)


@pytest.mark.parametrize("kind", [NoEngineLeft, MismatchTooLarge, PublishFailed, LearnerFailed, WindowExhausted, gatewise.DeadlineExceeded])
def test_a_failed_run_is_still_a_runtime_error(kind: type[Exception]) -> None:
    assert issubclass(kind, gatewise.RunFailed)
    assert issubclass(kind, RuntimeError)


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (DatasetError("a row"), DatasetError, "a row"),
        (ExceptionGroup("", [ExceptionGroup("", [MismatchTooLarge("far off")])]), MismatchTooLarge, "far off"),
        (chained(NoEngineLeft("all died"), raised_in("engine 0", OSError("x"))), NoEngineLeft, "all died"),
        (ExceptionGroup("", [TimeoutError("rank: 600 s")]), gatewise.DeadlineExceeded, "rank: 600 s"),
        (ValueError("no GPU fits"), gatewise.InputError, "no GPU fits"),
        (KeyError("k"), gatewise.RunFailed, "KeyError: 'k'"),
        (ExceptionGroup("", [raised_in("learner rank 1", MemoryError("40 GB"))]), gatewise.RankFailed, "MemoryError: 40 GB"),
        (raised_in("learner rank 1", gatewise.ModelError("weights lack")), gatewise.ModelError, "weights lack"),
        (raised_in("reward workers 0", RuntimeError("no worker")), gatewise.RunFailed, "no worker"),
        (
            RoleFailed.behind(Role("engine 0", Path("none")), "died", raised_in("engine 0", OSError("no disk"))),
            gatewise.EngineFailed,
            "no disk",
        ),
        (ray.exceptions.RayActorError(error_msg=f"died\n\tactor_id: {ROLES['learner rank 1']}\n"), gatewise.RankFailed, "learner rank 1"),
    ],
)
def test_whatever_ends_a_run_gets_the_type_of_the_part_that_failed(error: Exception, kind: type[Exception], text: str) -> None:
    found = typed(error)
    assert type(found) is kind
    assert text in str(found)
    with pytest.raises(kind) as caught, typed_errors():
        raise error
    assert caught.value is error or caught.value.__cause__ is error


def test_plain_value_errors_of_a_function_get_its_kind_and_others_keep_theirs() -> None:
    @raises(gatewise.ModelError)
    def check(error: Exception) -> None:
        raise error

    with pytest.raises(gatewise.ModelError, match="no weights"):
        check(ValueError("no weights"))
    with pytest.raises(DatasetError):
        check(DatasetError("a row"))
    with pytest.raises(KeyError):
        check(KeyError("k"))


def test_a_config_error_travels_between_processes_with_its_problems() -> None:
    assert pickle.loads(pickle.dumps(gatewise.ConfigError(["a", "b"]))).problems == ["a", "b"]


def test_wrong_input_of_every_kind_is_caught_by_type_before_anything_starts(tmp_path: Path) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_text('{"prompt": "1+1=", "answer": "2"}\n')
    with pytest.raises(gatewise.ConfigError, match=r"run\.step"):
        gatewise.train("tiny_cpu", {"run.step": 3})
    with pytest.raises(gatewise.ModelError, match="is not a model folder"):
        gatewise.train("tiny_cpu", {"model.path": tmp_path, "data.train": data, "data.eval": data, "run.dir": tmp_path / "run"})
    with pytest.raises(gatewise.NoRun, match="holds no run"):
        gatewise.load_run(tmp_path)
    with pytest.raises(gatewise.NoRun, match="is no folder"):
        gatewise.load_run(tmp_path / "none")
    assert not (tmp_path / "run").exists()
