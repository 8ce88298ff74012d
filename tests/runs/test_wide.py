"""Two engines, two ranks, ZeRO-3, spread experts, staleness and dynamic sampling together, from the config alone.

An engine dies, the run goes on, and another one takes its place. A second one is stopped, and is killed for it. Then a rank dies while an
engine is still starting: the run ends with its newest checkpoint, and nothing is left of it.
"""

import json
import re
import signal
import sqlite3
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from transformers import AutoModelForCausalLM

from cluster.commands.replay.replay import replay
from cluster.record.capsules.read import list_capsules
from cluster.record.metrics.timeline.file import is_recorded
from cluster.record.metrics.timeline.lanes import by_lane, covered, read_timeline, seconds, without
from cluster.record.metrics.timeline.trace_events import trace_of
from rollout.transfer.digest import digest
from rollout.transfer.proof import fingerprint
from tests.toys.drive import Driver, driving, gpu_box, metrics, train, wait_for_row, wait_for_step
from tests.toys.ended import ended
from tests.toys.trace import check_trace

pytestmark = pytest.mark.end_to_end

STEPS, STALL_S = 8, 6.0
WIDE = (
    "rollout.engines=2",
    "learner.ranks=2",
    "rollout.cpus_per_engine=0.5",
    "learner.cpus_per_rank=0.5",
    "learner.deepspeed.zero_optimization.stage=3",
    "learner.expert_parallel=2",
    "learner.restarts=1",
    "run.max_staleness=1",
    "objective.preset=dapo",
    "correction.preset=decoupled",
    "kl.reference=initial",
    "kl.coefficient=0.01",
    "rollout.capture_routing=true",
    f"rollout.stall_s={STALL_S}",
    "mismatch.share=0.2",
    "mismatch.alarm=1e-9",
    "run.steps=500",
    f"run.save_every={STEPS}",
    "run.eval_every=0",
    "run.tensorboard=true",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wide run that loses the core of an engine after three steps, gets it back, loses one that is stopped, and at last a rank, twice.

    The machine has GPUs that it cannot use.
    """
    folder = tmp_path_factory.mktemp("wide")
    run = folder / "run"
    with driving(train(run, *WIDE), folder, gpu_box(2)) as driver:
        wait_for_step(driver, run, 3)
        max(cores(driver), key=lambda p: p.pid).send_signal(signal.SIGKILL)
        wait_for_step(driver, run, STEPS + 1)  # a step is recorded after the one before it is saved
        wait_for_line(driver, "is started again and serves")
        wait_for_step(driver, run, metrics(run)[-1]["step"] + 3)
        stopped, began = min(cores(driver), key=lambda p: p.create_time()), time.monotonic()
        stopped.send_signal(signal.SIGSTOP)
        wait_for_line(driver, "EngineStalled")
        (folder / "noticed.txt").write_text(str(time.monotonic() - began))
        wait_for_step(driver, run, metrics(run)[-1]["step"] + 2)
        assert not stopped.is_running() or stopped.status() == psutil.STATUS_ZOMBIE, "a stopped core is killed as well"
        keep_records(run, folder / "before")
        driver.actors("LearnerActor")[1].send_signal(signal.SIGABRT)
        wait_for_row(driver, run, "learner/restarts", 1)
        driver.actors("LearnerActor")[1].send_signal(signal.SIGABRT)
        (folder / "ended.txt").write_text("\n".join(ended(driver)))
        (folder / "said.txt").write_text(driver.text())
    return run


def cores(driver: Driver) -> list[psutil.Process]:
    """The processes of both engine cores."""
    found = [p for p in driver.family() if "EngineCore" in p.name() or "EngineCore" in " ".join(p.cmdline())]
    assert len(found) == 2
    return found


def keep_records(run: Path, folder: Path) -> None:
    """Copy the metrics, then the ledger, which has every step first: a rank that dies takes back the steps since the last checkpoint."""
    folder.mkdir()
    (folder / "metrics.jsonl").write_bytes((run / "metrics.jsonl").read_bytes())
    with sqlite3.connect(run / "ledger.db") as db, sqlite3.connect(folder / "ledger.db") as copy:
        db.backup(copy)


def wait_for_line(driver: Driver, text: str, timeout: float = 120) -> None:
    """Return once the driver has said it."""
    deadline = time.monotonic() + timeout
    while text not in driver.text():
        assert driver.process.poll() is None, f"the driver ended before it said {text!r}:\n{driver.text()[-3000:]}"
        assert time.monotonic() < deadline, f"{text!r} was not said within {timeout} s:\n{driver.text()[-3000:]}"
        time.sleep(0.05)


def test_a_dead_engine_is_replaced_and_learned_from_again_and_a_stopped_one_is_noticed_in_time(run: Path) -> None:
    said = (run.parent / "said.txt").read_text()
    number, *_ = re.findall(r"engine (\d) is started again and serves", said)
    before = run.parent / "before"
    rows = [row for row in metrics(before) if row["step"] > 0]
    again = next(row["step"] for row in rows if row["engines/restarts"])
    served = next(row["step"] for row in rows if row["step"] > again and row["engines/serving"] == 2)
    with sqlite3.connect(before / "ledger.db") as db:
        learned = "SELECT count(*) FROM groups WHERE outcome = 'learned' AND engine = ? AND step BETWEEN ? AND ?"
        last = rows[-1]["step"]
        assert db.execute(learned, (number, served + 2, last)).fetchone()[0] > 0, "the engine that came back makes groups that are learned"
    with sqlite3.connect(run / "ledger.db") as db:
        steps = db.execute("SELECT step FROM steps WHERE NOT undone ORDER BY step").fetchall()
    assert steps == [(step,) for step in range(1, len(steps) + 1)], "no step is lost"
    assert float((run.parent / "noticed.txt").read_text()) <= 3 * STALL_S
    assert re.search(r"engine \d is suspect and gets no new groups: .* for \d+ s", said)
    assert said.count("is suspect and gets no new groups") == 1


def test_a_signal_that_ends_a_rank_is_named_and_not_the_rank_that_waited_for_it(run: Path) -> None:
    lines = (run.parent / "ended.txt").read_text().splitlines()
    assert re.match(r"learner rank \d on 127.0.0.1 died; its log: ", lines[0])
    assert re.match(r"gatewise: ProcessDied: learner rank \d \(process \d+\): killed by SIGABRT", lines[-1])


def test_spread_experts_come_back_as_often_as_restarts_allow(run: Path) -> None:
    said = (run.parent / "said.txt").read_text()
    back = re.search(r"warning: learner rank \d died: all ranks start again, and the run goes back to step (\d+) .*killed by SIGABRT", said)
    assert back, said
    assert int(back.group(1)) % STEPS == 0
    assert "learner.restarts = 1 are used up" in said
    assert metrics(run)[-1]["learner/restarts"] == 1


def test_the_step_that_raised_the_alarm_is_kept_and_can_be_computed_again(run: Path) -> None:
    found = replay(list_capsules(run)[0])
    assert "mismatch alarm" in found.capsule.reason
    assert [line for check in found.checks for line in check.different] == []
    assert not found.differs
    assert {row.rank for row in found.capsule.rows} == {0, 1}
    assert "kept as a capsule: gatewise replay" in (run.parent / "said.txt").read_text()


def test_the_timeline_shows_who_worked_when_and_that_generation_overlaps_learning(run: Path) -> None:
    steps = read_timeline(run)
    asked = [row["step"] for row in metrics(run) if row["step"] and is_recorded(row["step"], 10)]
    assert [step.step for step in steps] in (asked, asked[:-1]), "a rank may be lost between a step's two lines"
    lanes = by_lane(steps[1].spans)
    assert {"driver", "engine 0", "engine 1", "reward workers", "rank 0", "rank 1", "publish"} <= set(lanes)
    stages = [span.name for span in lanes["driver"]]
    assert stages == ["wait for groups", "learn", "publish", "evaluate", "record and save"]
    assert {"transfer", "proof", "resume"} <= {span.name for span in lanes["publish"]}
    assert [span.name for span in lanes["rank 1"]][:2] == ["fetch responses", "old log-probs"]
    learning = covered(span for span in lanes["driver"] if span.name == "learn")
    generating = covered(span for lane in ("engine 0", "engine 1") for span in lanes[lane] if span.kind == "generate")
    assert seconds(without(learning, generating)) < seconds(learning), "with a staleness of 1 engines work while ranks do"
    of_driver = sum(span.end - span.start for span in lanes["driver"] if span.end)
    assert abs(of_driver - steps[1].length) < 0.05 * steps[1].length + 0.05
    check_trace(trace_of(steps, "wide"))


def test_a_wide_run_survives_the_death_of_an_engine(run: Path) -> None:
    rows = [row for row in metrics(run) if 0 < row["step"] <= STEPS]
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    assert rows[0]["engines"] == 2
    assert rows[-1]["reference_kl"] > rows[0]["reference_kl"]
    assert rows[0]["reference_kl"] < 0.02, "the reference is the model that training starts from"
    assert min(row["engines"] for row in rows) == 1
    assert max(row["staleness/max"] for row in rows) == 1
    assert [row["routing/missing"] for row in rows] == [0.0] * STEPS, "responses that a publish cut bring all their experts too"
    refuse_a_gap_other_than_staleness(rows)
    layers = [json.loads(line)["step"] for line in (run / "layers.jsonl").read_text().splitlines()]
    assert layers == list(range(1, len(layers) + 1))
    assert len(layers) > STEPS
    assert re.search(r"warning: step [34]: mismatch/kl is", (run.parent / "said.txt").read_text())
    died = re.search(r"warning: engine \d died; its groups go on elsewhere\. (.*)", (run.parent / "said.txt").read_text())
    assert died, "the death of an engine is announced when it happens"
    assert "SIGKILL" in died.group(1)
    assert "/logs/engine-" in died.group(1)
    assert list((run / "tensorboard").glob("events*"))
    with sqlite3.connect(run / "ledger.db") as db:
        twice = db.execute("SELECT group_id FROM groups WHERE outcome = 'learned' GROUP BY group_id HAVING count(*) > 1").fetchall()
        learned = db.execute("SELECT count(*) FROM groups WHERE outcome = 'learned' AND step <= ?", (STEPS,)).fetchone()[0]
        order = [row[0] for row in db.execute("SELECT step FROM groups WHERE outcome = 'learned' ORDER BY group_id")]
    assert twice == []
    assert learned == STEPS * 16
    assert order == sorted(order), "groups are learned in the order in which their prompts were handed out"


def test_the_cpu_packages_train_on_the_cpus_of_a_machine_with_gpus(run: Path) -> None:
    said = (run.parent / "said.txt").read_text()
    assert "the run is on CPUs: torch" in said
    assert "cannot use the 2 GPUs that are there; `make setup DEVICE=gpu` installs what can" in said


def refuse_a_gap_other_than_staleness(rows: list[dict[str, Any]]) -> None:
    """In float32 engines and ranks compute alike and take the same experts, so that all there is between them is that weights are old."""
    split = [row for row in rows if row["split/tokens"]]
    assert len(split) >= 4
    assert max(row["split/numerics_max"] for row in split) <= 1e-4
    assert max(row["split/routing_max"] for row in split) <= 1e-4
    assert max(row["split/differ"] for row in split) == 0
    assert max(row["split/staleness_max"] for row in split) > 1e-3
    assert max(row["split/not_held"] for row in rows) == 0
    assert all(row["split/total"] == pytest.approx(row["split/staleness"], abs=1e-5) for row in split)
    assert 0 < max(row["routing/tokens_differ"] for row in rows) < 0.5, "weights that moved choose other experts"


def test_the_export_of_spread_experts_has_every_weight_that_the_engines_proved(run: Path, tmp_path: Path) -> None:
    exported = tmp_path / "exported"
    with driving(["export", str(run / "config.toml"), "--to", str(exported)], tmp_path) as driver:
        assert driver.wait() == 0, driver.text()
    model, report = AutoModelForCausalLM.from_pretrained(exported, output_loading_info=True)
    assert not any(report.values()), report
    with sqlite3.connect(run / "ledger.db") as db:
        published = dict(db.execute("SELECT step, weights FROM steps"))
    assert len(set(published.values())) == len(published), "every step has learned"
    newest = int((run / "checkpoints/latest").read_text().removeprefix("step_"))
    assert newest >= STEPS
    assert fingerprint({name: digest(parameter) for name, parameter in model.named_parameters()}) == published[newest]
