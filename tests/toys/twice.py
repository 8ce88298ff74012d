"""Two runs in one process, the first under a running event loop, the second in a thread, as docs/python.md shows; prints what is left.

python -m tests.toys.twice FOLDER
"""

import asyncio
import gc
import json
import os
import re
import sys
import threading
from pathlib import Path
from typing import Any

import psutil

import gatewise
from tests.toys.drive import CONFIG, ROOT, SMALL

SHORT = (*SMALL, "run.steps=2", "objective.preset=gspo", "run.seed=5")


def left_over() -> dict[str, Any]:
    """What a run may leave in its process."""
    gc.collect()
    me = psutil.Process()
    return {
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "system_threads": me.num_threads(),
        "descriptors": me.num_fds(),
        "children": [" ".join(child.cmdline())[:80] for child in me.children(recursive=True) if child.is_running()],
        "environment": dict(os.environ),
    }


async def under_a_loop(run_dir: Path, seen: list[dict[str, Any]]) -> gatewise.Run:
    return gatewise.train(CONFIG, [*SHORT, f"run.dir={run_dir}"], progress=False, on_step=seen.append)


def as_the_page_shows(run_dir: Path) -> gatewise.Run:
    """The first snippet of the page, word for word but for its folder."""
    snippet = re.search(r"^```python\n(.*?)^```", (ROOT / "docs/python.md").read_text(), re.MULTILINE | re.DOTALL)
    assert snippet is not None
    names: dict[str, Any] = {}
    exec(snippet[1].replace("runs/python", str(run_dir)), names)
    run: gatewise.Run = names["run"]
    assert names["rewards"] == [row["reward/mean"] for row in run.metrics if row["step"] > 0]
    return run


def main() -> None:
    """Train twice and describe it as JSON, the last line of the output."""
    folder, seen, before = Path(sys.argv[1]), [], left_over()
    runs = [asyncio.run(under_a_loop(folder / "first", seen))]
    between = left_over()
    thread = threading.Thread(target=lambda: runs.append(as_the_page_shows(folder / "second")))
    thread.start()
    thread.join()
    found = {
        "before": before, "between": between, "after": left_over(), "seen": seen,
        "runs": [{"metrics": run.metrics, "preset": run.config.objective.preset, "saved": len(run.checkpoints)} for run in runs],
    }  # fmt: skip
    print(json.dumps(found))


if __name__ == "__main__":
    main()
