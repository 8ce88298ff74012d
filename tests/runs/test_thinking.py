"""A whole run whose responses think: marks are special tokens, thoughts are cut off or unfinished, and a prefill begins the answer.

The tiny model adds two numbers. Here its tokens "1" and "0" are called `</think>` and `<think>`: 135 reads `</think>35`, an answer of 35
after a thought, and 108 reads `</think><think>8`, which ends within a thought.
"""

import json
import shutil
from pathlib import Path

import pytest

from cluster.commands.rewards.audit import audit
from tests.toys.drive import SMALL, driving, metrics, train

pytestmark = pytest.mark.end_to_end

OPENS, ENDS = "<think>", "</think>"
ADDED = 72
TEMPLATE = "{% for m in messages %}{{ m.content }}{% endfor %}{% if add_generation_prompt %}{{ sign }}{% endif %}"


def renamed(text: str) -> str:
    return text.replace("1", ENDS).replace("0", OPENS)


def seen(response: str) -> str | None:
    """What follows the last thought, None within one."""
    return None if response.rfind(OPENS) > response.rfind(ENDS) else response.rpartition(ENDS)[2]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("thinking")
    shutil.copytree(".cache/tiny/model", folder / "model")
    path = folder / "model" / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    tokenizer["model"]["vocab"] = {renamed(token): number for token, number in tokenizer["model"]["vocab"].items()}
    like = tokenizer["added_tokens"][0]
    tokenizer["added_tokens"] += [{**like, "id": tokenizer["model"]["vocab"][mark], "content": mark} for mark in (OPENS, ENDS)]
    path.write_text(json.dumps(tokenizer))
    (folder / "template.jinja").write_text(TEMPLATE)
    numbers = [n for n in range(22, 99) if not {"0", "1"} & set(str(n))]
    rows = [{"prompt": str(n), "answer": seen(renamed(str(n + ADDED))) or "none"} for n in numbers]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = (
        f"model.path={folder / 'model'}", f"data.train={folder / 'rows.jsonl'}", f"data.eval={folder / 'rows.jsonl'}", *SMALL,
        "run.steps=1", "run.eval_every=0", "run.sample_responses=64", "data.chat_template=true",
        f"data.template_file={folder / 'template.jinja'}", "data.template_arguments.sign=+", f"data.prefill={ADDED}=",
        "reward.see_prefill=false",
    )  # fmt: skip
    with driving(train(folder / "run", *settings), folder) as driver:
        assert driver.wait() == 0, driver.text()
    return folder / "run"


def test_checkers_of_a_run_see_answers_without_thoughts(run: Path) -> None:
    rows = [json.loads(line) for line in (run / "responses" / "step_000001.jsonl").read_text().splitlines()]
    assert all(row["prompt"].endswith("+72=") and row["prefill"] == "72=" for row in rows)
    answers = [(seen(row["response"]), row) for row in rows]
    assert [row["reward"] for _, row in answers] == [float(text is not None and text.strip() == row["reference"]) for text, row in answers]
    assert any(row["reward"] and row["response"].startswith(ENDS) for row in rows), "no response thought and answered right"
    unfinished = sum(text is None for text, _ in answers)
    assert unfinished > 0
    (line,) = [line for line in metrics(run) if line["step"] == 1]
    assert (line["reward/unfinished_thoughts"], line["reward/failures"]) == (unfinished, 0)
    again = audit(run, lambda done, of: None)
    assert (again.same, again.kept) == (len(rows), len(rows))
