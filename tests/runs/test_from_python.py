"""Runs from Python: two in one process, and the notebook in a real kernel."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest

from tests.toys.drive import ROOT

pytestmark = pytest.mark.end_to_end

BY_IMPORTS = {"RAY_CLIENT_MODE", "TORCHINDUCTOR_CACHE_DIR"}  # variables that libraries set when they are imported
KEPT_BY_RAY = 4
NOTEBOOK = ROOT / "examples/first_run.ipynb"


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One run under a running loop, then one of another config in a thread."""
    command = [sys.executable, "-m", "tests.toys.twice", str(tmp_path_factory.mktemp("twice"))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_one_process_trains_twice_under_a_loop_and_in_a_thread(twice: dict[str, Any]) -> None:
    first, second = twice["runs"]
    assert [row["step"] for row in first["metrics"]] == [0, 1, 2]
    assert [row["step"] for row in second["metrics"]] == [0, 1, 2, 3]
    assert (first["preset"], second["preset"]) == ("gspo", "grpo")
    assert first["saved"] == second["saved"] == 1
    assert twice["seen"] == first["metrics"][1:]


def test_a_run_leaves_no_process_thread_or_variable_in_its_process(twice: dict[str, Any]) -> None:
    before, between, after = (twice[name] for name in ("before", "between", "after"))
    assert after["environment"] == between["environment"]
    assert {name for name, _ in after["environment"].items() ^ before["environment"].items()} <= BY_IMPORTS
    assert after["children"] == between["children"] == []
    assert after["threads"] == between["threads"] == ["MainThread"]
    # Libraries keep some for good when they are first used. Ray adds the open log of each session, and now and then a thread.
    assert after["descriptors"] <= between["descriptors"] + KEPT_BY_RAY
    assert after["system_threads"] <= between["system_threads"] + KEPT_BY_RAY


def test_the_notebook_runs_in_a_real_kernel_from_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": NOTEBOOK.parent}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    text = "".join(output["text"] for output in outputs if output.output_type == "stream")
    assert "held-out" in text
    assert "right: " in text
    assert any("image/png" in output.data for output in outputs if output.output_type == "display_data"), "the plot is shown"
