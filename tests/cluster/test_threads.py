"""Threads on CPU follow from config, model and machine: all cores in turns, shares of them at once, the reservation in a cluster."""

import json
from pathlib import Path

import pytest

from cluster.actors import session
from cluster.actors.places.threads import threads_of
from configs.schema import Config
from tests.toys.run import run_config

# Qwen3 of 0.1M and of 57M parameters.
SIZES = {"vocab_size": 84, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 16}
TINY = SIZES | {"hidden_size": 64, "intermediate_size": 128}
LARGE = SIZES | {"hidden_size": 1024, "intermediate_size": 6144}


@pytest.fixture(autouse=True)
def unlimited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def config_of(folder: Path, sizes: dict[str, int], **sections: dict) -> Config:
    folder.joinpath("config.json").write_text(json.dumps({"model_type": "qwen3", **sizes}))
    return run_config(folder / "run", model={"path": str(folder)}, **sections)


def found(folder: Path, sizes: dict[str, int], cores: int | None, **sections: dict) -> tuple[int, int]:
    threads = threads_of(config_of(folder, sizes, **sections), cores)
    return threads.engine, threads.rank


@pytest.mark.parametrize(
    ("sections", "cores", "wanted"),
    [
        ({}, 1, (1, 1)),
        ({}, 2, (2, 2)),
        ({}, 64, (64, 64)),
        ({"learner": {"ranks": 2}}, 8, (8, 4)),
        ({"rollout": {"engines": 3}}, 8, (2, 8)),
        ({"rollout": {"engines": 4}, "learner": {"ranks": 4}}, 2, (1, 1)),
        ({"run": {"max_staleness": 1}}, 2, (1, 1)),
        ({"run": {"max_staleness": 2}}, 8, (4, 4)),
        ({"run": {"max_staleness": 1}, "rollout": {"cpus_per_engine": 3}}, 8, (6, 2)),
        ({"run": {"max_staleness": 1}, "rollout": {"engines": 2, "cpus_per_engine": 0.5}}, 2, (1, 1)),
        ({"run": {"max_staleness": 1}, "rollout": {"ahead": 0}}, 8, (8, 8)),
        ({"rollout": {"cpus_per_engine": 3}, "learner": {"cpus_per_rank": 2.5}}, None, (3, 2)),
        ({"rollout": {"threads": 3}, "learner": {"threads": 5}}, 2, (3, 5)),
        ({"rollout": {"threads": 3}, "learner": {"threads": 5}}, None, (3, 5)),
    ],
)
def test_whoever_works_alone_has_every_core(tmp_path: Path, sections: dict, cores: int | None, wanted: tuple[int, int]) -> None:
    assert found(tmp_path, LARGE, cores, **sections) == wanted


@pytest.mark.parametrize(("cores", "wanted"), [(1, (1, 1)), (2, (1, 2)), (64, (1, 4))])
def test_a_tiny_model_gets_few_threads(tmp_path: Path, cores: int, wanted: tuple[int, int]) -> None:
    assert found(tmp_path, TINY, cores) == wanted


def test_a_model_that_cannot_be_counted_gets_every_core(tmp_path: Path) -> None:
    assert found(tmp_path, {"hidden_size": "many"}, 8) == (8, 8)


@pytest.mark.parametrize(("given", "wanted"), [("1", (1, 1)), ("3,1", (3, 3)), ("", (8, 8)), ("all", (8, 8)), ("0", (1, 1))])
def test_the_drivers_omp_num_threads_limits_auto_and_no_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, wanted: tuple[int, int]
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert found(tmp_path, LARGE, 8) == wanted
    assert found(tmp_path, LARGE, 8, learner={"threads": 6})[1] == 6


def test_actors_get_the_threads_in_their_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(session, "this_machine", lambda: [{"CPU": 8.0, "GPU": 0.0}])
    monkeypatch.setattr(session.os, "sched_getaffinity", lambda _: set(range(6)))
    config = config_of(tmp_path, LARGE)
    assert session.engine_env(config, gpu=False)["OMP_NUM_THREADS"] == session.learner_env(config, gpu=False)["OMP_NUM_THREADS"] == "6"
    for env in (session.engine_env(config, gpu=False), session.learner_env(config, gpu=False)):
        assert env["GOMP_SPINCOUNT"] == session.BRIEF
        assert env["THP_MEM_ALLOC_ENABLE"] == "1"
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    assert "GOMP_SPINCOUNT" not in session.engine_env(config, gpu=False) | session.learner_env(config, gpu=False)
    assert "OMP_NUM_THREADS" not in session.engine_env(config, gpu=True) | session.learner_env(config, gpu=True)
    given = config_of(tmp_path, LARGE, learner={"threads": 3})
    assert session.learner_env(given, gpu=True)["OMP_NUM_THREADS"] == "3"
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert session.learner_env(config, gpu=False)["OMP_NUM_THREADS"] == "1"
