"""The notebook in a real kernel, whose loop is running: it trains twice, the second time in a thread, and leaves nothing in the process."""

import json
import re
from collections import Counter
from typing import Any

import nbclient
import nbformat
import pytest

from tests.toys.drive import ROOT

pytestmark = pytest.mark.end_to_end

NOTEBOOK = ROOT / "examples/first_run.ipynb"
# Ray leaves the open log of each session, and now and then a socket and a thread; the kernel sockets for each thread that prints;
# matplotlib the fonts of each thread that draws, 64 at most.
KEPT, KEPT_THREADS = r"/tmp/ray/|socket:|anon_inode:|.*/fonts/", 4
BEFORE = """
import threading
from tests.toys.leftovers import left_over
at_first = left_over()
"""
# The second run's own cell, but in a thread.
IN_A_THREAD = """
between = left_over()
thread = threading.Thread(target=exec, args=[{cell!r}, globals()])
thread.start()
thread.join()
after = left_over()
"""
AFTER = """
import json, shutil
print(json.dumps({
    "environments": [at["environment"] for at in (at_first, between, after)],
    "between": between, "after": after,
    "runs": {run.dir.name: [row["step"] for row in run.metrics] for run in (grpo, gspo)},
    "presets": [run.config.objective.preset for run in (grpo, gspo)],
}))
shutil.rmtree(runs)
"""


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The notebook with its outputs, run from its own folder; the cells around it see what its runs leave."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    places = [place for place, cell in enumerate(notebook.cells) if "gatewise.train(" in cell.source]
    assert len(places) == 2
    second = notebook.cells[places[1]]
    second.source = IN_A_THREAD.format(cell=second.source)
    notebook.cells.insert(places[0], nbformat.v4.new_code_cell(BEFORE))
    notebook.cells.append(nbformat.v4.new_code_cell(AFTER))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("IPYTHONDIR", str(tmp_path_factory.mktemp("ipython")))
        nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": NOTEBOOK.parent}}).execute()
    return notebook


def printed(cell: Any) -> str:
    return "".join(output["text"] for output in cell.outputs if output.output_type == "stream")


def test_the_notebook_trains_shows_its_run_and_plots(executed: Any) -> None:
    cells = [cell for cell in executed.cells if cell.cell_type == "code"]
    text = "".join(map(printed, cells))
    assert "held-out" in text
    assert "right: " in text
    assert any("image/png" in output.data for cell in cells for output in cell.outputs if output.output_type == "display_data")


def test_one_process_trains_again_and_keeps_nothing(executed: Any) -> None:
    found = json.loads(printed(executed.cells[-1]).splitlines()[-1])
    assert found["runs"] == {name: [0, 1, 2, 3] for name in ("grpo", "gspo")}
    assert found["presets"] == ["grpo", "gspo"]
    first, *later = found["environments"]
    assert [environment for environment in later if environment != later[0]] == []
    added = {name for name, _ in first.items() ^ later[0].items()}
    assert added <= {"RAY_CLIENT_MODE", "TORCHINDUCTOR_CACHE_DIR"}, "only imports of libraries may set variables"
    between, after = found["between"], found["after"]
    assert after["children"] == between["children"] == []
    assert after["threads"] == between["threads"]
    more = Counter(after["descriptors"]) - Counter(between["descriptors"])
    assert [kind for kind in more if not re.match(KEPT, kind)] == []
    assert after["system_threads"] <= between["system_threads"] + KEPT_THREADS
