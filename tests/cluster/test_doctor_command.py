"""`gatewise doctor` as a command, the part of it that `train` runs, the nodes of a cluster, and the list in the docs."""

import json
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import psutil
import pytest

import gatewise
from cluster.actors.session import joins_cluster
from cluster.commands.doctor import nodes, report
from cluster.commands.doctor.at_start import refuse_broken_machine
from cluster.commands.doctor.diagnosis import Diagnosis
from cluster.commands.doctor.table import CHECKS
from configs.schema import Config
from tests.toys.drive import MARK, ROOT
from tests.toys.run import run_config

LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (512, 512))
from cluster.cli import main
main(sys.argv[1:])
"""


def test_the_command_names_all_faults_at_once_as_json_and_leaves_nothing(tmp_path: Path) -> None:
    """A real process with six real faults."""
    (tmp_path / "run.toml").write_text((ROOT / "configs/tiny_cpu.toml").read_text().replace('dir = "runs/tiny"', f'dir = "{tmp_path}/run"'))
    mark = secrets.token_hex(8)
    faults = {
        "RAY_ADDRESS": "127.0.0.1:1", "RAY_AUTH_TOKEN_PATH": str(tmp_path / "no-token"), "GLOO_SOCKET_IFNAME": "no0",
        "HF_HUB_CACHE": "/proc/none", "DS_ACCELERATOR": "tpu", MARK: mark, "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    command = [sys.executable, "-c", LIMITED, "doctor", str(tmp_path / "run.toml"), f"run.dir={tmp_path}/run", "--json"]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **faults}, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert set(found[0]) == {"name", "status", "found", "do", "node"}
    wrong = {row["name"]: row["found"] for row in found if row["status"] == "error"}
    for name, said in {
        "ray": "127.0.0.1:1, where nothing answers",
        "token": "no-token, which cannot be read",
        "network": "GLOO_SOCKET_IFNAME=no0 names no interface",
        "variables": "DS_ACCELERATOR=tpu",
        "limits": "512 open files, needed at least 1024",
    }.items():
        assert said in wrong[name]
    assert all(row["do"] for row in found if row["status"] != "ok")
    assert done.stderr.strip().splitlines()[-1].startswith("gatewise: UnfitMachine: ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.toml"]
    assert [process for process in psutil.process_iter() if marked(process, mark)] == []


def marked(process: psutil.Process, mark: str) -> bool:
    try:
        return process.environ().get(MARK) == mark
    except psutil.Error:
        return False


def test_a_config_that_cannot_be_used_is_a_line_and_the_machine_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "diagnose", lambda config: [Diagnosis(name="python", status="ok", found=f"looked with {config}", do="")])
    first, *rest = report.diagnose_file(str(ROOT / "configs/tiny_cpu.toml"), ["rollout.grop_size=4"])
    assert (first.name, first.status) == ("config", "error")
    assert "did you mean rollout.group_size?" in first.found
    assert [one.found for one in rest] == ["looked with None"]
    assert [one.name for one in report.diagnose_file("no.toml", [])] == ["config", "python"]


def test_lines_have_status_name_what_was_found_and_what_to_do() -> None:
    found = [
        Diagnosis(name="disks", status="ok", found="1 GB free", do=""),
        Diagnosis(name="token", status="error", found="none", do="make one"),
        Diagnosis(name="driver", status="ok", found="driver 580", do="", node="10.0.0.2:1"),
        Diagnosis(name="clock", status="warning", found="5 s ahead", do="synchronise it", node="10.0.0.2:1"),
    ]
    assert list(report.describe(found)) == [
        "ok       disks           1 GB free",
        "error    token           none",
        "                         do: make one",
        "warning  clock           10.0.0.2:1: 5 s ahead",
        "                         do: synchronise it",
        "ok       node            10.0.0.2:1: 1 finding ok",
        "2 ok, 1 warning, 1 error",
    ]


def test_train_refuses_a_broken_machine_before_it_starts_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = run_config(tmp_path / "run")
    refuse_broken_machine(config)
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(ValueError, match=r"token: RAY_AUTH_TOKEN_PATH names .*none, which cannot be read .*: correct or unset") as refused:
        refuse_broken_machine(config)
    assert "\n" not in str(refused.value)


def test_of_a_cluster_the_drivers_machine_needs_only_what_the_driver_uses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / ("deep" * 30)))
    with pytest.raises(ValueError, match="session folder: "):
        refuse_broken_machine(run_config(tmp_path / "run"))
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert joins_cluster()
    refuse_broken_machine(run_config(tmp_path / "run"))


def test_nodes_without_the_shared_path_with_another_clock_or_without_an_answer_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def toy(work: Callable[..., object], config: Config, mark: str, *, limit_s: float) -> dict[str, object]:
        here, clock, sees = work(config, mark)  # type: ignore[misc]
        assert sees
        assert {one.name for one in here} == {check.name for check in CHECKS if check.of_nodes}
        os.unlink(mark)  # as on a node that does not mount the folder
        lost, now, unseen = [], clock, Path(mark).exists()
        Path(mark).touch()
        return {"10.0.0.2:1": (lost, now - 60, unseen), "10.0.0.3:1": RuntimeError("Traceback\nNo module named 'cluster'")}

    monkeypatch.setattr(nodes, "on_other_nodes", toy)
    found = list(nodes.examine_nodes(run_config(tmp_path / "run")))
    assert [(one.node, one.name, one.status) for one in found] == [
        ("10.0.0.2:1", "clock", "warning"),
        ("10.0.0.2:1", "shared path", "error"),
        ("10.0.0.3:1", "node", "error"),
    ]
    assert re.search(r"at least (59|60) s behind the driver's", found[0].found)
    assert "does not see the driver's files" in found[1].found
    assert "No module named 'cluster'" in found[2].found
    assert list(tmp_path.iterdir()) == []


def test_from_python_the_findings_are_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    one = Diagnosis(name="python", status="error", found="3.9", do="install 3.11")
    monkeypatch.setattr(report, "diagnose", lambda config: [one])
    assert gatewise.doctor() == [asdict(one)]


def test_the_docs_list_every_check_and_what_train_runs() -> None:
    page = (ROOT / "docs/doctor.md").read_text()
    rows = re.findall(r"^\| `([a-z. ]+)` \| (yes|) ?\|", page, re.MULTILINE)
    assert rows == [(check.name, "yes" if check.at_start else "") for check in CHECKS]
    shown = re.findall(r"^(?:ok|warning|error) +([a-z.]+(?: [a-z]+)?) {2,}", page, re.MULTILINE)
    assert {check.name for check in CHECKS} <= set(shown), "the output in the docs has every check"
