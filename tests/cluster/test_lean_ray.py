"""A local Ray starts only what a run uses, and its processes import large libraries only where they need them."""

import gc
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ray._private import parameter, services

from cluster.actors.nodes import idle_agent
from cluster.actors.nodes.lean import IDLE, PORTS, lean, start_without
from cluster.actors.process import freeze_gc, pause_gc, without_gc
from cluster.actors.start import apart_from_env

ROOT = Path(__file__).resolve().parents[2]
NODE = 28 * "ab"
AGENTS = ["--dashboard_agent_command=python agent.py", "--runtime_env_agent_command=x"]
COMMAND = ["raylet", f"--node_id={NODE}", "--session_dir={}", *AGENTS, "--head"]


@pytest.mark.parametrize("idle", [["runtime_env_agent"], ["dashboard_agent", "runtime_env_agent"]])
def test_a_raylet_gets_idle_agents_and_the_ports_that_it_waits_for(tmp_path: Path, idle: list[str]):
    started: list[Any] = []
    command = [word.format(tmp_path) for word in COMMAND]
    start_without(idle, lambda *words, **options: started.append((words, options)), command, "raylet", fate_share=True)
    ((given, kind), options) = started[0]
    assert (kind, options) == ("raylet", {"fate_share": True})
    assert [word for word in given if word.endswith(IDLE)] == [f"--{agent}_command={IDLE}" for agent in idle]
    assert [word for word in given if not word.endswith(IDLE)] == [word for word in command if word.split("_command")[0][2:] not in idle]
    assert {file.name.removesuffix(f"_{NODE}") for file in tmp_path.iterdir()} == {port for agent in idle for port in PORTS[agent]}


def test_other_processes_of_ray_start_as_they_are(tmp_path: Path):
    assert start_without(["dashboard_agent"], lambda command, kind: (command, kind), ["gcs"], "gcs_server") == (["gcs"], "gcs_server")


def test_ray_is_lean_only_within():
    def now() -> list[Any]:
        return [services.start_api_server, services.start_ray_process, parameter.RayParams]

    before = now()
    with lean(metrics=False):
        assert services.start_api_server(None, host="any") == (None, None)
        assert (parameter.RayParams().no_monitor, parameter.RayParams().include_log_monitor) == (True, False)
    assert now() == before


def test_an_idle_agent_ends_with_its_raylet_and_at_once_where_that_is_gone():
    raylet = subprocess.Popen(["sleep", "600"])
    env = os.environ | {"RAY_RAYLET_PID": str(raylet.pid)}
    words = [sys.executable, "-I", "-S", idle_agent.__file__]
    agent = subprocess.Popen(words, env=env)
    with pytest.raises(subprocess.TimeoutExpired):
        agent.wait(0.2)
    raylet.kill()
    raylet.wait()
    assert agent.wait(10) == 0
    assert subprocess.run(words, env=env, timeout=10).returncode == 0


def test_an_actor_of_a_local_run_sets_its_variables_itself_and_ray_does_on_a_cluster(monkeypatch: pytest.MonkeyPatch):
    def options() -> dict[str, Any]:
        return {"num_cpus": 1, "runtime_env": {"env_vars": {"A": "B"}}}

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert apart_from_env(options()) == ({"num_cpus": 1}, {"A": "B"})
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    assert apart_from_env(options()) == (options(), {})


def test_actors_take_their_variables_before_a_library_that_reads_them_is_imported():
    code = (
        "import sys, cluster.commands.train, cluster.actors.engine_actor, cluster.actors.learner_actor, cluster.actors.reward_actor\n"
        "print(sorted({'torch', 'vllm', 'transformers', 'deepspeed'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True).stdout == "[]\n"


def test_garbage_is_collected_again_once_the_start_is_over():
    try:
        pause_gc()
        assert not gc.isenabled()
        freeze_gc()
        assert gc.isenabled()
        with without_gc():
            assert not gc.isenabled()
            with without_gc():
                pass
            assert not gc.isenabled(), "who has paused it goes on"
        assert gc.isenabled()
    finally:
        gc.enable()
        gc.unfreeze()
