"""Every snippet of docs/python.md runs as it stands. Only what `gatewise.train` starts is a toy; tests/runs/test_from_python.py trains."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Qwen3MoeForCausalLM

from cluster.record.checkpoint import Checkpoints, Position
from cluster.record.ledger import Ledger
from cluster.record.metrics.metrics import Metrics, OnStep
from cluster.record.progress.progress import Progress
from cluster.record.run_dir import write_config
from cluster.stop import Stop
from configs.loader import load
from configs.schema import Config
from tests.toys.model import tiny_config, toy_tokenizer

PAGE = (Path(__file__).parents[2] / "docs/python.md").read_text()
SNIPPETS = {
    heading: re.findall(r"^```python\n(.*?)^```", body, re.MULTILINE | re.DOTALL)
    for heading, body in re.findall(r"^## (.*?)$(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
}


def run_snippet(heading: str, **changes: str) -> dict[str, Any]:
    """The names that a section's only snippet leaves, run with other paths than its own."""
    (code,) = SNIPPETS[heading]
    for old, new in changes.items():
        path = {"run": "runs/python", "model": ".cache/tiny/model"}[old]
        assert path in code
        code = code.replace(path, new)
    names: dict[str, Any] = {}
    exec(compile(code, f"docs/python.md, {heading}", "exec"), names)
    return names


def test_every_snippet_is_run_by_a_test() -> None:
    assert {heading for heading, found in SNIPPETS.items() if found} == {
        "Train", "Read a run", "Your own loop", "With a transformers model", "Errors",
    }  # fmt: skip


def test_training_returns_a_run_and_calls_on_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def three_steps(config: Config, show: Progress, on_step: OnStep, stop: Stop) -> None:
        write_config(config)
        metrics = Metrics(config, 0, on_step)
        for step in range(1, config.run.steps + 1):
            metrics.write(step, {"reward/mean": step / 4, "seconds/step": 1.0, "tokens": 8.0})
        metrics.close()

    monkeypatch.setattr("cluster.commands.train.train", three_steps)
    names = run_snippet("Train", run=str(tmp_path))
    assert names["rewards"] == [0.25, 0.5, 0.75]
    assert names["run"].config.learner.lr == 5e-5
    assert [row["reward/mean"] for row in names["run"].metrics] == names["rewards"]


def test_a_run_is_read(tmp_path: Path) -> None:
    config = load("configs/tiny_cpu.toml", [f"run.dir={tmp_path}"])
    write_config(config)
    metrics = Metrics(config, 0)
    metrics.write(1, {"reward/mean": 0.25})
    metrics.close()
    Ledger(tmp_path / "ledger.db").close()
    checkpoints = Checkpoints(config)
    aside = checkpoints.begin(1)
    (aside / "rank-0.json").write_text("{}")
    checkpoints.commit(aside, Position(step=1, next_group=1, pending=()))
    names = run_snippet("Read a run", run=str(tmp_path))
    assert names["last"] == {"step": 1, "reward/mean": 0.25}
    assert len(names["table"]) == 1
    assert names["newest"].name == "step_000001"


def test_the_loop_of_a_plain_torch_model_learns_to_count() -> None:
    assert len(SNIPPETS["Your own loop"][0].splitlines()) <= 40
    assert float(run_snippet("Your own loop")["rewards"].mean()) > 0.9


def test_a_transformers_model_takes_an_update(tmp_path: Path) -> None:
    torch.manual_seed(0)
    Qwen3MoeForCausalLM(tiny_config()).save_pretrained(tmp_path)
    toy_tokenizer().save_pretrained(tmp_path)
    names = run_snippet("With a transformers model", model=str(tmp_path))
    assert names["logprobs"].shape == names["mask"].shape
    assert names["mask"][:, 0].all()
    assert float(names["sums"]["ratio"]) == float(names["sums"]["tokens"]) == float(names["mask"].sum())


def test_wrong_input_is_caught_by_type(capsys: pytest.CaptureFixture[str]) -> None:
    run_snippet("Errors")
    assert capsys.readouterr().out.startswith("correct this, nothing was started: overrides: learner.lr: got ")
