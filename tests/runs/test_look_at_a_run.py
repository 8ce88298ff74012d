"""The notebook that looks at a run, in a real kernel, on the files of a run that is known."""

from pathlib import Path

import nbclient
import nbformat
import pytest

from tests.toys.drive import ROOT
from tests.toys.shown_run import write_capsule, write_run

pytestmark = pytest.mark.end_to_end

NOTEBOOK = ROOT / "examples/look_at_a_run.ipynb"


def test_the_notebook_shows_metrics_responses_ledger_and_a_capsule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "run"
    write_run(folder, steps=6, objective={"preset": "dr_grpo"})
    write_capsule(folder, 6)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    for name, value in {"PYTHONPATH": ROOT, "RUN": folder, "IPYTHONDIR": tmp_path}.items():
        monkeypatch.setenv(name, str(value))
    place = {"metadata": {"path": NOTEBOOK.parent}}
    nbclient.NotebookClient(notebook, timeout=300, startup_timeout=300, kernel_name="python3", resources=place).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    shown = "\n".join(output.text if "text" in output else output.data.get("text/plain", "") for output in outputs)
    assert "reward   0.233 at step 1" in shown
    assert "18 of 24 kept responses earned nothing; by the way they ended: {'stop': 12, 'length': 6}" in shown
    assert any("image/png" in output.get("data", {}) for output in outputs)
    last = outputs[-1].data["text/plain"].splitlines()
    assert [line.split() for line in last[1:3]] == [["0", "1.0", "0.75", "0.75"], ["1", "0.0", "-0.25", "-0.25"]]
