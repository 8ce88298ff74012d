"""Runs that a signal stops save their newest step, leave no process and no port, and continue; one has prompts of 10 to 2,000 tokens."""

import json
import os
import re
import shlex
import shutil
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cluster.record.checkpoint import Checkpoints, Position, read_position
from cluster.record.ledger import Ledger
from cluster.record.run_dir import never_began
from configs.loader import load
from tests.toys.drive import CONFIG, LOOPBACK, Driver, driving, metrics, train, wait_for_step

pytestmark = pytest.mark.end_to_end

LENGTHS = (10, 80, 500, 2000)
GROUPS = 16


def long_prompt(place: int) -> str:
    """A sum after as much padding as the length asks for; one character is one token."""
    question = f"{10 + place}+{99 - place % 80}="
    return ("1+1=2 " * max(LENGTHS))[: LENGTHS[place % len(LENGTHS)] - len(question)] + question


def long_prompts(folder: Path) -> list[str]:
    """The command of an endless run on long prompts, many at once and seeded."""
    shutil.copytree(".cache/tiny/model", folder / "model")
    settings = folder / "model" / "config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"max_position_embeddings": 2048}))
    rows = [json.dumps({"prompt": long_prompt(place), "answer": "100"}) for place in range(GROUPS)]
    for name, count in (("train", GROUPS), ("eval", GROUPS // 2)):
        (folder / f"{name}.jsonl").write_text("\n".join(rows[:count]))
    return [
        *("train", CONFIG, f"run.dir={folder / 'run'}", f"model.path={folder / 'model'}", f"data.train={folder / 'train.jsonl'}"),
        *(f"data.eval={folder / 'eval.jsonl'}", f"data.max_prompt_tokens={max(LENGTHS)}", f"rollout.groups_per_step={GROUPS}"),
        *("rollout.group_size=2", "rollout.max_response_tokens=4", "learner.updates_per_step=1", "learner.packing=true"),
        *("run.steps=500", "run.eval_every=1"),
    ]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Driver, Path]]:
    """A run on long prompts after its first step."""
    folder = tmp_path_factory.mktemp("long")
    with driving(long_prompts(folder), folder) as driver:
        wait_for_step(driver, folder / "run", 1)
        yield driver, folder / "run"


def test_a_run_trains_and_evaluates_on_more_prompt_tokens_than_a_batch_holds(trained: tuple[Driver, Path]) -> None:
    """Without a GPU vLLM may not split a prompt over two batches."""
    before, first = metrics(trained[1])[:2]
    assert first["tokens"] >= 2 * GROUPS
    assert {"eval/greedy"} <= before.keys() & first.keys()
    assert first["mismatch/kl"] < 1e-6


def test_ctrl_c_to_the_whole_process_group_saves_the_newest_step(trained: tuple[Driver, Path]) -> None:
    driver, run = trained
    outside = [address for address in driver.listening() if not address.startswith(LOOPBACK)]
    assert outside == [], "nothing may listen beyond loopback"
    assert driver.process.poll() is None
    said = stop(driver, signal.SIGINT)
    step = saved(run).step
    assert step == metrics(run)[-1]["step"]
    assert re.search(rf"stopping after step {step}( is saved| is learned and saved|, which is saved); Ctrl-C again ends at once", said)
    assert "\nreward   " in said
    assert (run / "reward.png").exists()
    assert f"step {step} is saved; to continue after it: " in said.splitlines()[-1]


def test_it_continues_with_another_learning_rate_and_more_engines_until_sigterm(trained: tuple[Driver, Path], tmp_path: Path) -> None:
    """By the command that the stopped run gave, with other settings behind it."""
    first, run = trained
    before = saved(run)
    words = shlex.split(first.text().splitlines()[-1].partition("after it: ")[2])
    others = (
        "learner.lr=3e-5",
        "learner.warmup_updates=0",
        "rollout.engines=2",
        "rollout.cpus_per_engine=0.5",
        "learner.cpus_per_rank=0.5",
    )
    with driving([*words[words.index("train") :], *others], tmp_path) as driver:
        wait_for_step(driver, run, before.step + 2)
        said = stop(driver, signal.SIGTERM)
    assert f"changed after step {before.step}: rollout.engines: 1 in the run, 2 now" in said
    rows = [row for row in metrics(run) if row["step"] > before.step]
    assert {row["lr"] for row in rows} == {3e-5}
    assert {row["engines"] for row in rows} == {2}
    assert max(row["mismatch/kl"] for row in rows) < 1e-6
    after = saved(run)
    assert after.step == rows[-1]["step"] > before.step
    with closing(Ledger(run / "ledger.db")) as ledger:
        assert ledger.faults(after.next_group, after.pending) == []
        changed = ledger.db.execute("SELECT attempt, key, after FROM changes WHERE key IN ('learner.lr', 'rollout.engines')").fetchall()
        assert sorted(changed) == [(2, "learner.lr", "3e-05"), (2, "rollout.engines", "2")]
        steps = ledger.db.execute("SELECT step, count(*) FROM groups WHERE outcome = 'learned' GROUP BY step ORDER BY step").fetchall()
        assert steps == [(step, GROUPS) for step in range(1, after.step + 1)]


def test_ctrl_c_while_engines_are_starting_leaves_no_process_and_no_port(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with driving(train(run, "run.steps=500"), tmp_path) as driver:
        deadline = 60.0
        while not (run / "logs" / "engine-0.log").exists() and deadline > 0:
            signal.sigtimedwait([], 0.5)
            deadline -= 0.5
        assert "no step was finished" in stop(driver, signal.SIGINT).splitlines()[-1]
    assert never_began(run)


def saved(run: Path) -> Position:
    """Where the newest checkpoint of a run stands."""
    newest = Checkpoints(load(run / "config.toml")).newest()
    assert newest is not None
    return read_position(newest)


def stop(driver: Driver, sent: signal.Signals) -> str:
    """Signal the driver's group as a terminal does: it must exit as that signal says, its processes and ports gone. What it said."""
    os.killpg(driver.process.pid, sent)
    assert driver.wait(90) == 128 + sent, driver.text()
    assert driver.wait_for_nobody() == []
    assert driver.listening() == []
    return driver.text().strip()
