"""Runs that a signal stops leave no process and no port; one of them trains on prompts of 10 to 2,000 tokens until then."""

import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

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


def test_sigterm_in_the_middle_of_training_leaves_no_process_and_no_port(trained: tuple[Driver, Path]) -> None:
    driver, run = trained
    outside = [address for address in driver.listening() if not address.startswith(LOOPBACK)]
    assert outside == [], "nothing may listen beyond loopback"
    assert driver.process.poll() is None
    stop(driver, signal.SIGTERM)
    assert (run / "reward.png").stat().st_size > 10_000, "a run that was stopped shows how far it came"


def test_ctrl_c_while_engines_are_starting_leaves_no_process_and_no_port(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with driving(train(run, "run.steps=500"), tmp_path) as driver:
        deadline = 60.0
        while not (run / "logs" / "engine-0.log").exists() and deadline > 0:
            signal.sigtimedwait([], 0.5)
            deadline -= 0.5
        stop(driver, signal.SIGINT)


def stop(driver: Driver, sent: signal.Signals) -> None:
    """Send the signal: the driver must exit with 130, and its processes and ports must be gone."""
    driver.process.send_signal(sent)
    assert driver.wait(60) == 130, driver.text()
    assert driver.text().strip().splitlines()[-1].startswith("gatewise: interrupted")
    assert driver.wait_for_nobody() == []
    assert driver.listening() == []
