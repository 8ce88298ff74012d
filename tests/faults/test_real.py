"""The killer of real runs, on a script that stands for a run: an engine that is started again, and a driver that may end."""

import json
import signal
import sys
from pathlib import Path

import pytest

from benchmarks.faults.real import Killer, running, stopped, under_fire, wait_for_steps

pytestmark = pytest.mark.end_to_end
TOY_RUN = """
import json, pathlib, signal, subprocess, sys, time
folder = pathlib.Path(sys.argv[1])
folder.mkdir(exist_ok=True)
path = folder / "metrics.jsonl"
start = lambda: subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", "EngineCore"])
engine, stop = start(), []
signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
step = len(path.read_text().splitlines()) if path.exists() else 0
while not stop:
    if engine.poll() is not None:
        print("warning: engine 0 died", flush=True)
        engine = start()
    step += 1
    with path.open("a") as file:
        file.write(json.dumps({"step": step, "engines": 2, "seconds/step": 0.1}) + "\\n")
    time.sleep(0.1)
engine.kill()
engine.wait()
sys.exit(143)
"""


def test_each_strike_has_a_witness_and_a_driver_that_ends_is_followed_by_another(tmp_path: Path):
    (tmp_path / "cluster.py").write_text(TOY_RUN)
    command = [sys.executable, str(tmp_path / "cluster.py"), str(tmp_path / "run"), "-m cluster train"]
    with running(tmp_path / "run", command) as run:
        wait_for_steps(run, 2, 20)
        killer = Killer(run, ["core", "driver"], signal.SIGKILL, seed=2)
        under_fire(run, killer, every_s=1.0, seconds=5)
        status, left = stopped(run, wait_s=0.5)
    seen = [json.loads(line) for line in killer.witness.read_text().splitlines()]
    assert {one["role"] for one in seen} == {"core", "driver"}
    of_engines = [one for one in seen if one["role"] == "core" and one["noticed_s"] is not None]
    assert of_engines
    assert all(one["recovered_s"] >= one["noticed_s"] and one["line"] == "warning: engine 0 died" for one in of_engines)
    assert run.drivers == 1 + sum(one["role"] == "driver" for one in seen)
    assert status == 143
    assert len(left) <= sum(one["role"] == "driver" for one in seen), "only engines of killed drivers may be left in this toy"
