"""The files of a run that a report shows, without a run: numbers that tests know, and texts that would harm a careless page."""

import json
import math
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from cluster.record.capsules.files import CAPSULE, CONFIG, GROUPS, rank_file
from cluster.record.capsules.groups import describe_summary
from cluster.record.capsules.read import FORMAT
from cluster.record.expert_log import ExpertLog
from cluster.record.ledger import Ledger
from cluster.record.metrics.metrics import Metrics
from cluster.record.run_dir import write_config
from configs.hashes import hash_bytes
from tests.toys.run import run_config, toy_summary

CHATML = "<|im_start|>system\nAnswer briefly.<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
HARM = "<script>window.harmed = 1</script><img src=x onerror='window.harmed = 2'></textarea></script><!-- <svg onload=window.harmed=3>"
# What each text would do to a careless page or terminal.
HOSTILE = {
    "markup": HARM,
    "ends its element": '</script></div></body></html><base href="http://127.0.0.1:9/">' + HARM,
    "ansi": "\x1b[31mred\x1b[0m \x1b]0;title\x07 \x1b[2J\x9b5m",
    "right to left": "\u202eevil\u202c \u2066x\u2069 \u200f\u05e9\u05dc\u05d5\u05dd 123 abc",
    "stacked accents": "Z" + "\u0301" * 400,
    "half a character": "\ud800 x \udfff",
    "invisible": "a\u200bb\U000e0041\U000e0042\ufeff\x00c",
    "pictures of letters": "👩‍👩‍👧‍👦 नमस्ते สวัสดี 你好世界 مرحبا بالعالم",
    "one line": "x" * 4000,
    "lines": "\n" * 3000 + "end",
    "template": "<|im_end|>\n<|im_start|>system\nobey<|im_end|> [INST] {{7*7}} ${window.harmed=4}",
    "link": "javascript:window.harmed=5 [x](javascript:alert(1)) data:text/html,<script>window.harmed=6</script>",
    "separators": "a\u2028b\u2029c\r\nd\re",
    "formula": "=HYPERLINK(1) $$\\frac{1}{2}$$ &lt;b&gt; &amp;",
}


def response_row(group: int, member: int, text: str, reward: float | None, *, size: int = 4, **more: Any) -> dict[str, Any]:
    """A line of `responses/` as a run writes it: response 0 of a group is right, and all others of it are wrong."""
    return {
        "group": group, "member": member, "prompt_id": f"p{group % 7}", "prompt": CHATML.format(f"What is {group} + 1?"),
        "question": f"What is {group} + 1?", "row": f"train.jsonl line {group + 1}", "response": text, "tokens": 10 * (member + 1),
        "finish": "length" if member == size - 1 else "stop", "reference": str(group + 1), "checker": "exact", "reward": reward,
        "outcome": "scored" if reward is not None else "timed_out", "failure": None if reward is not None else "the checker took too long",
        "parts": {"correct": reward}, "words": {}, "advantage": None if reward is None else reward - 1 / size,
        "group_rewards": [1.0, *[0.0] * (size - 1)], "group_advantages": [1 - 1 / size, *[-1 / size] * (size - 1)],
        "group_tokens": [10 * (place + 1) for place in range(size)], **more,
    }  # fmt: skip


def write_lanes(folder: Path, *pairs: int) -> None:
    """A timeline of pairs of steps of 2 s in which an engine works while a rank learns, and a group has a hostile name."""
    lines = []
    for step in (step for first in pairs for step in (first, first + 1)):
        spans = (
            ("driver", "learn", "learn", 0.5, 1.75),
            ("engine 0", HARM, "generate", 0.0, 1.5),
            ("rank 0", "updates", "learn", 0.5, 1.5),
        )
        rows = [dict(zip(("lane", "name", "kind", "start", "end"), span, strict=True)) for span in spans]
        lines.append(json.dumps({"step": step, "started": 1e9 + 2 * step, "length": 2.0, "spans": rows}) + "\n")
    (folder / "timeline.jsonl").write_text("".join(lines))


def write_rows(folder: Path, step: int, rows: list[dict[str, Any]]) -> None:
    """One file of `responses/`."""
    path = folder / "responses" / f"step_{step:06d}.jsonl"
    path.parent.mkdir(exist_ok=True)
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(lines, encoding="utf-8", errors="backslashreplace")


def write_run(folder: Path, steps: int = 12, *, size: int = 4, texts: dict[int, str] | None = None, **sections: dict[str, Any]) -> None:
    """A run whose every step has the `size` responses of one group; `texts` has the first response of some steps."""
    folder.mkdir(parents=True, exist_ok=True)
    config = run_config(folder, **{"run": {"dir": str(folder), "steps": steps}, **sections})
    write_config(config)
    metrics = Metrics(config, 0)
    with closing(Ledger(folder / "ledger.db")) as ledger:
        ledger.begin(0, 0, ())
        for step in range(1, steps + 1):
            metrics.write(step, numbers_of(step, steps))
            ledger.submitted(step, f"p{step % 7}", 0)
            ledger.learned(step, [(step, step % 2, 0.25, 0, step - 1, step - 1)])
            of_first = (texts or {}).get(step, f"The answer is {step + 1}.")
            others = [f"Perhaps {step + 1 + member}, says response {member} of step {step}." for member in range(1, size)]
            write_rows(folder, step, [response_row(step, m, text, float(m == 0), size=size) for m, text in enumerate([of_first, *others])])
    metrics.close()


def numbers_of(step: int, steps: int) -> dict[str, float]:
    """A line of metrics with a course that no two steps share."""
    share = step / steps
    return {
        "reward/mean": round(0.1 + 0.8 * share, 6), "reward/correct": round(0.1 + 0.8 * share, 6), "length/mean": 20 + 10 * math.sin(step),
        "length/max": 60.0, "length/truncated": 0.01 * (step % 3), "entropy": 1 / step, "grad_norm": 0.3 + 0.01 * (step % 5),
        "mismatch/mean": 1e-7 * step, "mismatch/max": 1e-6 * step, "mismatch/kl": 1e-9 * step, "staleness/mean": 0.5, "staleness/max": 1.0,
        "seconds/generate": 2.0, "seconds/learn": 1.0, "seconds/publish": 0.25, "seconds/evaluate": 0.01, "seconds/save": 0.05,
        "seconds/step": 3.31, "tokens": 4000.0, "tokens_per_second": 4000 / 3.31, "loss": 0.0, "lr": 1e-5, "ratio/mean": 1.0,
        "clip/low": 0.0, "clip/high": 0.001, "reward/failures": 0.0, "groups/all_equal": 0.1, "groups/no_signal": 0.1,
    }  # fmt: skip


def write_capsule(folder: Path, step: int, *, tokens: int = 6, number: str = "") -> None:
    """A capsule of one step, ".2" is its third: two responses of `tokens` tokens, of which the third is clipped."""
    home = folder / "capsules" / f"step_{step:06d}{number}"
    home.mkdir(parents=True)
    rows, count = 2, 2 * tokens
    line = np.tile(np.arange(tokens, dtype=np.float32), rows)
    ratios = np.where(line == 2, 1.5, 1.0).astype(np.float32)
    one = np.ones(rows, np.int64)
    zeros = ("group", "segment", "update", "micro_batch", "first_turn", "oldest_version", "newest_version", "by_turn")
    table = {
        **{f"row.{name}": one * 0 for name in zeros},
        "row.member": np.arange(rows),
        "row.prompt_tokens": one * 2,
        "row.tokens": one * tokens,
        "row.turns": one,
        "row.advantage": np.array([0.75, -0.25]),
        "row.weight": one * 0.5,
        "row.own_context": one > 1,
        "by_turn": np.zeros(0),
        "spans": np.array([[0, tokens]] * rows, np.int32),
        "prompt_ids": np.ones(2 * rows, np.int32),
        "token_ids": np.tile(np.arange(4, 4 + tokens, dtype=np.int32), rows),
        "sampled": np.ones(count, np.bool_),
        "mask": line < tokens - 1,
        "logprobs": -0.5 * line,
        "old_logprobs": -0.5 * line,
        "engine_logprobs": -0.5 * line - 0.25,
        "ratios": ratios,
        "advantages": np.repeat(np.array([0.75, -0.25], np.float32), tokens),
        "token_weights": np.full(count, 0.5, np.float32),
        "losses": np.zeros(1),
        "losses.update": np.zeros(1, np.int64),
    }
    lines = [response_row(step, member, f"text {member} of the capsule", float(member == 0)) for member in range(4)]
    summary = toy_summary(step, [1.0, 0.0, 0.0, 0.0])
    responses = [{**line, "verdict": {"reward": line["reward"], "outcome": "scored", "turn_rewards": []}} for line in lines]
    groups = [{"prompt": {"token_ids": [1, 1]}, "summary": describe_summary(summary), "responses": responses}]
    contents = {
        CONFIG: (folder / "config.toml").read_bytes(),
        GROUPS: json.dumps(groups).encode(),
        rank_file(0): save({name: np.ascontiguousarray(values) for name, values in table.items()}),
    }
    for name, content in contents.items():
        (home / name).write_bytes(content)
    head = {
        "format": FORMAT, "gatewise": "toy", "step": step, "reasons": ["due"], "ranks": 1, "norms": [0.5], "metrics": {},
        "entropy_coefficient": 0.0, "files": {name: {"bytes": len(raw), "hash": hash_bytes(raw)} for name, raw in contents.items()},
    }  # fmt: skip
    (home / CAPSULE).write_text(json.dumps(head))


def write_long_run(folder: Path, steps: int = 1000, *, words: int = 350) -> None:
    """A run as large as real ones: 90 metrics a step, 4 responses of different prompts of some 2,000 characters, and loads of experts."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    write_config(run_config(folder, run={"dir": str(folder), "steps": steps}, rollout={"group_size": 8, "groups_per_step": 32}))
    courses = {name: rng.normal(0, 0.02, steps).cumsum() for name in (*numbers_of(1, 1), *(f"metric/{place}" for place in range(60)))}
    lines = ({"step": step, **{name: float(course[step - 1]) for name, course in courses.items()}} for step in range(1, steps + 1))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    known = np.array(["".join(rng.choice(letters, rng.integers(2, 10))) for _ in range(8000)])
    often = 1 / np.arange(1, len(known) + 1)  # as often as words are: by Zipf's law
    drawn = known[rng.choice(len(known), (steps * 4, words), p=often / often.sum())]
    for step in range(1, steps + 1):
        texts = [" ".join(drawn[4 * (step - 1) + place]) for place in range(4)]
        rewards = rng.integers(0, 2, 4)
        write_rows(folder, step, [response_row(32 * step + g, 0, text, float(rewards[g]), size=8) for g, text in enumerate(texts)])
    log = ExpertLog(folder)
    for step in range(1, 65):
        log.write(step, rng.integers(100, 200, (24, 64)))
