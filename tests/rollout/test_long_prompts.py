"""Prompts of 10 to 2,000 tokens, many at once and seeded, on a real engine without a GPU: vLLM may not split one over two batches."""

import json
import shutil
from pathlib import Path

import pytest

from tests.toys.drive import CONFIG, driving, metrics

pytestmark = pytest.mark.end_to_end

LENGTHS = (10, 80, 500, 2000)
GROUPS = 64


def long_prompt(place: int) -> str:
    """A sum behind as many characters, which are tokens, as make up the prompt's length."""
    question = f"{10 + place}+{99 - place % 80}="
    return ("1+1=2 " * max(LENGTHS))[: LENGTHS[place % len(LENGTHS)] - len(question)] + question


def test_a_run_trains_and_evaluates_on_more_prompt_tokens_than_a_batch_holds(tmp_path: Path) -> None:
    shutil.copytree(".cache/tiny/model", tmp_path / "model")
    settings = tmp_path / "model" / "config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"max_position_embeddings": 2048}))
    rows = [json.dumps({"prompt": long_prompt(place), "answer": "100"}) for place in range(GROUPS)]
    for name, count in (("train", GROUPS), ("eval", GROUPS // 2)):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(rows[:count]))
    words = [
        *("train", CONFIG, f"run.dir={tmp_path / 'run'}", f"model.path={tmp_path / 'model'}", f"data.train={tmp_path / 'train.jsonl'}"),
        *(f"data.eval={tmp_path / 'eval.jsonl'}", f"data.max_prompt_tokens={max(LENGTHS)}", f"rollout.groups_per_step={GROUPS}"),
        *("rollout.group_size=2", "rollout.max_response_tokens=4", "learner.updates_per_step=1", "learner.packing=true", "run.steps=1"),
    ]
    with driving(words, tmp_path) as driver:
        assert driver.wait() == 0, driver.text()
    before, trained = metrics(tmp_path / "run")
    assert trained["tokens"] >= 2 * GROUPS
    assert {"eval/greedy"} <= before.keys() & trained.keys()
    assert trained["mismatch/kl"] < 1e-6
