"""`run.device`: every combination of key, installed packages and GPUs has one clear answer."""

import os
from pathlib import Path

import pytest

from cluster.actors import session
from cluster.actors.places import device
from cluster.actors.places.device import Builds
from cluster.actors.session import engine_env, learner_env
from cluster.commands.checks import machine
from cluster.commands.checks.findings import Findings
from cluster.commands.init import machine as init_machine
from configs.schema import Config
from learner.process_group import join_ranks
from tests.toys.machine import install_torch, write_program
from tests.toys.run import run_config

CPU = Builds("2.13.0+cpu", None, "cpu")
CUDA = Builds("2.13.0", "13.0", "cuda")
CPU_TORCH, CPU_VLLM, NO_VLLM = Builds("2.13.0+cpu", None, "cuda"), Builds("2.13.0", "13.0", "cpu"), Builds("2.13.0", "13.0", None)


def asking(asked: str, **sections: dict) -> Config:
    return run_config(Path("run"), run={"device": asked}, **sections)


def nodes(*gpus: int) -> list[dict[str, float]]:
    return [{"CPU": 8.0, "GPU": float(count)} for count in gpus]


@pytest.mark.parametrize(
    ("asked", "builds", "gpus", "answer"),
    [
        ("auto", CPU, (0,), False),
        ("auto", CPU, (1,), False),
        ("auto", CPU, (2,), False),
        ("auto", CPU, (8, 8), False),
        ("auto", CUDA, (1,), True),
        ("auto", CUDA, (0, 8), True),  # the driver's node has none
        ("auto", NO_VLLM, (0,), False),
        ("cpu", CPU, (8,), False),
        ("cpu", CPU_VLLM, (8,), False),
        ("gpu", CUDA, (8,), True),
        ("gpu", NO_VLLM, (8,), True),
        ("gpu", CPU, (8,), 'got "gpu", but torch 2.13.0+cpu (a CPU build) is installed, which cannot use GPUs: * `make setup DEVICE=gpu`'),
        ("gpu", CPU, (0,), "torch 2.13.0+cpu (a CPU build) is installed, which cannot use GPUs"),
        ("gpu", CUDA, (0,), "but no GPU is visible: look at `nvidia-smi` and at CUDA_VISIBLE_DEVICES, or * `make setup DEVICE=cpu`"),
        ("gpu", CPU_VLLM, (8,), "vLLM's CPU build is installed beside torch 2.13.0 (for CUDA 13.0)"),
        ("auto", CPU_VLLM, (8,), "vLLM's CPU build is installed beside torch 2.13.0 (for CUDA 13.0)"),
        ("auto", CUDA, (0,), 'got "auto", and no GPU is visible, but vLLM\'s CUDA build is installed, which does not run on CPUs'),
        ("auto", CPU_TORCH, (8,), 'got "auto", with torch 2.13.0+cpu (a CPU build), but vLLM\'s CUDA build is installed'),
        ("cpu", CUDA, (8,), 'got "cpu", but vLLM\'s CUDA build is installed, which does not run on CPUs: * or use "auto"'),
        ("cpu", CPU_TORCH, (0,), 'got "cpu", but vLLM\'s CUDA build is installed'),
    ],
)
def test_every_combination_is_answered(
    monkeypatch: pytest.MonkeyPatch, asked: str, builds: Builds, gpus: tuple[int, ...], answer: bool | str
) -> None:
    monkeypatch.setattr(device, "installed", lambda: builds)
    config = asking(asked)
    if isinstance(answer, bool):
        device.refuse_device(config, nodes(*gpus))
        assert device.on_gpu(config, nodes(*gpus)) is answer
        return
    with pytest.raises(ValueError, match=r"run\.device: got") as refused:
        device.refuse_device(config, nodes(*gpus))
    for part in answer.split(" * "):
        assert part in str(refused.value)


def test_the_builds_are_read_without_an_import() -> None:
    import torch

    found = device.installed()
    assert (found.torch, found.cuda) == (torch.__version__, torch.version.cuda)
    assert found.vllm is not None


@pytest.mark.parametrize(
    ("text", "cuda"),
    [
        ("from typing import Optional\n__version__ = '2.13.0'\ncuda: Optional[str] = '13.0'\nhip: Optional[str] = None\n", "13.0"),
        ("__version__ = '2.13.0'\ncuda = '13.0'\n", "13.0"),
        ("__version__ = '2.13.0'\ncuda: Optional[str] = None\nhip: Optional[str] = '7.2'\n", None),
    ],
)
def test_a_cuda_build_is_known_by_its_version_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, cuda: str | None) -> None:
    monkeypatch.syspath_prepend(install_torch(tmp_path, "2.13.0", None))
    (tmp_path / "torch" / "version.py").write_text(text)
    found = device.installed.__wrapped__()
    assert (found.torch, found.cuda) == ("2.13.0", cuda)


@pytest.mark.parametrize(
    ("visible", "there", "count"),
    [
        (None, 2, 2),
        ("", 2, 0),
        ("0", 2, 1),
        ("1,0", 2, 2),
        ("-1", 2, 0),
        ("0,-1,1", 2, 1),
        ("5", 2, 0),
        ("GPU-1a2b,GPU-3c4d", 8, 2),
        ("0,1", 0, 0),
    ],
)
def test_gpus_that_cuda_does_not_see_are_not_counted(monkeypatch: pytest.MonkeyPatch, visible: str | None, there: int, count: int) -> None:
    monkeypatch.setattr(device.NvidiaGPUAcceleratorManager, "get_current_node_num_accelerators", lambda: there)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert device.visible_gpus() == count
    assert device.this_machine()[0]["GPU"] == count


@pytest.mark.parametrize(("builds", "told"), [(CPU, 0), (CUDA, 2)])
def test_a_local_ray_is_told_of_gpus_only_where_the_run_uses_them(monkeypatch: pytest.MonkeyPatch, builds: Builds, told: int) -> None:
    asked: dict = {}
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(device, "installed", lambda: builds)
    monkeypatch.setattr(session, "this_machine", lambda: nodes(2))
    monkeypatch.setattr(session.ray, "init", lambda **options: asked.update(options))
    monkeypatch.setattr(session.ray, "shutdown", lambda: None)
    monkeypatch.setattr(session, "watch_ray", lambda local: None)
    with session.ray_session(asking("auto")):
        assert asked["num_gpus"] == told


def test_engines_and_ranks_of_a_cpu_run_see_no_gpu_whatever_the_user_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    for env in (engine_env(asking("auto"), gpu=False), learner_env(asking("auto"), gpu=False)):
        assert env["CUDA_VISIBLE_DEVICES"] == ""
    assert learner_env(asking("auto"), gpu=False)["DS_ACCELERATOR"] == "cpu"
    for env in (engine_env(asking("auto"), gpu=True), learner_env(asking("auto"), gpu=True)):
        assert "CUDA_VISIBLE_DEVICES" not in env  # Ray names each actor's own


@pytest.mark.parametrize(
    ("user", "share", "found"),
    [
        ({}, False, "expandable_segments:True,pinned_max_round_threshold_mb:64"),
        ({"PYTORCH_CUDA_ALLOC_CONF": "max_split_size_mb:64"}, False, "max_split_size_mb:64"),
        ({"PYTORCH_ALLOC_CONF": "max_split_size_mb:64"}, False, None),
        ({}, True, None),
    ],
)
def test_ranks_on_gpus_have_segments_that_grow(
    monkeypatch: pytest.MonkeyPatch, user: dict[str, str], share: bool, found: str | None
) -> None:
    for name in ("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF"):
        monkeypatch.delenv(name, raising=False)
    for name, value in user.items():
        monkeypatch.setenv(name, value)
    config = asking("auto", placement={"share": share})
    assert learner_env(config, gpu=True).get("PYTORCH_CUDA_ALLOC_CONF") == found
    assert "PYTORCH_CUDA_ALLOC_CONF" not in learner_env(config, gpu=False) | engine_env(config, gpu=True)


def test_a_rank_without_a_gpu_of_a_gpu_run_says_so_before_it_waits_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    with pytest.raises(RuntimeError, match=r"can use no GPU on the node of learner rank 2, where CUDA_VISIBLE_DEVICES is 3.*nvidia-smi"):
        join_ranks(rank=2, world=4, host="127.0.0.1", port=1, deadline_s=1, listener=None, gpu=True)


@pytest.mark.parametrize(("gpu", "builds"), [(True, CPU), (True, CPU_VLLM), (False, CUDA)])
def test_a_node_with_packages_for_the_other_device_is_named_by_its_actor(
    monkeypatch: pytest.MonkeyPatch, gpu: bool, builds: Builds
) -> None:
    monkeypatch.setattr(device, "installed", lambda: builds)
    with pytest.raises(RuntimeError, match=r"but this node has torch 2\.13\.0.* every node needs the packages of the driver's node"):
        device.refuse_other_builds(gpu)
    device.refuse_other_builds(not gpu if builds != CPU_VLLM else False)


@pytest.mark.parametrize(("address", "said"), [("", "the 2 GPUs that are there"), ("auto", "the GPUs of a cluster, if there are any")])
def test_validate_says_which_gpus_the_cpu_packages_leave_unused(monkeypatch: pytest.MonkeyPatch, address: str, said: str) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.setattr(device, "installed", lambda: CPU)
    monkeypatch.setattr(machine, "this_machine", lambda: nodes(2))
    found = Findings()
    machine.check_machine(asking("auto"), {}, found)
    assert found.problems == []
    assert any(said in note and "make setup DEVICE=gpu" in note for note in found.notes)
    if not address:
        assert "2 GPUs, which are not used" in machine.describe_places(asking("auto"))
        assert "weights by gloo" in machine.describe_places(asking("auto"))


def test_with_a_cluster_validate_knows_the_packages_but_not_the_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    found = Findings()
    monkeypatch.setattr(device, "installed", lambda: CPU)
    machine.check_machine(asking("gpu"), {}, found)
    assert "cannot use GPUs" in found.problems[0]
    found = Findings()
    monkeypatch.setattr(device, "installed", lambda: CUDA)
    machine.check_machine(asking("auto"), {}, found)
    assert found.problems == []


@pytest.mark.parametrize(
    ("builds", "visible", "gpus"), [(CPU, None, []), (CUDA, None, [80, 24]), (CUDA, "1", [24]), (CUDA, "", []), (CUDA, "1,0", [24, 80])]
)
def test_init_counts_the_gpus_that_a_run_would_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, builds: Builds, visible: str | None, gpus: list[int]
) -> None:
    row = "echo {0}, GPU-{0}, H100, 580.65.06, {1:.0f}, 1, Default, [N/A], 0\n"
    script = "".join(row.format(index, gb * 1e9 / 2**20) for index, gb in enumerate((80, 24)))
    program = write_program(tmp_path, "nvidia-smi", f'case "$1" in --query-gpu*) {script};; esac')
    monkeypatch.setenv("PATH", f"{program}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(device, "installed", lambda: builds)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    found = init_machine.this_machine(None, None, 8)
    assert (found.gpus, round(found.gpu_gb)) == (len(gpus), min(gpus, default=80) if gpus or builds is CUDA else 24)
    assert found.unused == (2 if builds is CPU else 0)
    assert ("make setup DEVICE=gpu" in found.without_gpus) is (builds is CPU)
    assert init_machine.this_machine(4, None, 8).gpus == 4
