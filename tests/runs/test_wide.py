"""Two engines, two ranks, ZeRO-3, spread experts, staleness and dynamic sampling together, from the config alone; an engine dies."""

import json
import re
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.toys.drive import driving, gpu_box, metrics, train, wait_for_step

pytestmark = pytest.mark.end_to_end

WIDE = (
    "rollout.engines=2",
    "learner.ranks=2",
    "rollout.cpus_per_engine=0.5",
    "learner.cpus_per_rank=0.5",
    "learner.deepspeed.zero_optimization.stage=3",
    "learner.expert_parallel=2",
    "run.max_staleness=1",
    "objective.preset=dapo",
    "correction.preset=decoupled",
    "kl.reference=initial",
    "kl.coefficient=0.01",
    "rollout.capture_routing=true",
    "mismatch.share=0.2",
    "mismatch.alarm=1e-9",
    "run.steps=8",
    "run.eval_every=0",
    "run.tensorboard=true",
)

SUMS = ("37+58=95", "12+30=42", "88+9=97")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wide run that loses the second of its engines after three steps, and ends well; on a machine with GPUs that it cannot use."""
    folder = tmp_path_factory.mktemp("wide")
    run = folder / "run"
    with driving(train(run, *WIDE), folder, gpu_box(2)) as driver:
        wait_for_step(driver, run, 3)
        engines = [p for p in driver.family() if "EngineCore" in p.name() or "EngineCore" in " ".join(p.cmdline())]
        assert len(engines) == 2
        victim: psutil.Process = max(engines, key=lambda p: p.pid)
        victim.send_signal(signal.SIGKILL)
        assert driver.wait() == 0, driver.text()[-4000:]
        assert driver.wait_for_nobody() == []
        (folder / "said.txt").write_text(driver.text())
    return run


def test_a_wide_run_survives_the_death_of_an_engine(run: Path) -> None:
    rows = [row for row in metrics(run) if row["step"] > 0]
    assert [row["step"] for row in rows] == list(range(1, 9))
    assert rows[0]["engines"] == 2
    assert rows[-1]["reference_kl"] > rows[0]["reference_kl"]
    assert rows[0]["reference_kl"] < 0.02, "the reference is the model that training starts from"
    assert rows[-1]["engines"] == 1
    assert max(row["staleness/max"] for row in rows) == 1
    assert [row["routing/missing"] for row in rows] == [0.0] * 8, "responses that a publish cut bring all their experts too"
    refuse_a_gap_other_than_staleness(rows)
    assert [json.loads(line)["step"] for line in (run / "layers.jsonl").read_text().splitlines()] == list(range(1, 9))
    assert re.search(r"warning: step [34]: mismatch/kl is", (run.parent / "said.txt").read_text())
    died = re.search(r"warning: engine \d died; its groups go on elsewhere\. (.*)", (run.parent / "said.txt").read_text())
    assert died, "the death of an engine is announced when it happens"
    assert "SIGKILL" in died.group(1)
    assert "/logs/engine-" in died.group(1)
    assert list((run / "tensorboard").glob("events*"))
    with sqlite3.connect(run / "ledger.db") as db:
        twice = db.execute("SELECT group_id FROM groups WHERE outcome = 'learned' GROUP BY group_id HAVING count(*) > 1").fetchall()
        learned = db.execute("SELECT count(*) FROM groups WHERE outcome = 'learned'").fetchone()[0]
        order = [row[0] for row in db.execute("SELECT step FROM groups WHERE outcome = 'learned' ORDER BY group_id")]
    assert twice == []
    assert learned == 8 * 16
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


def test_the_export_of_spread_experts_says_the_same_in_transformers_and_in_vllm(run: Path, tmp_path: Path) -> None:
    exported = tmp_path / "exported"
    with driving(["export", str(run / "config.toml"), "--to", str(exported)], tmp_path) as driver:
        assert driver.wait() == 0, driver.text()
    model, report = AutoModelForCausalLM.from_pretrained(exported, output_loading_info=True)
    assert not any(report.values()), report
    tokenizer, first = AutoTokenizer.from_pretrained(exported), AutoModelForCausalLM.from_pretrained(".cache/tiny/model")
    words = [sys.executable, "-m", "tests.toys.said_by_vllm", str(exported), *SUMS]
    by_vllm = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    for text, said in zip(SUMS, by_vllm, strict=True):
        ids = tokenizer(text, return_tensors="pt").input_ids
        with torch.no_grad():
            ours, before = ((one(ids).logits.log_softmax(-1)[0, :-1].gather(-1, ids[0, 1:, None])).squeeze(1) for one in (model, first))
        assert torch.allclose(ours, torch.tensor(said), atol=1e-4, rtol=0), text
        assert (ours - before).abs().max() > 1e-2, "what was exported must have learned"
