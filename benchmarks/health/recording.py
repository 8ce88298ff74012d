"""A run's metrics cut to what the rules read, small enough for the repository: the recorded runs of the tests.

The first line has the config without its files, and the numbers of held-out and of training prompts; each further line is a step, as in
`metrics.jsonl`.
"""

import gzip
import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.health.history import Row
from cluster.record.metrics.metrics import read_metrics
from configs.schema import Config

DIGITS = 4
PREFIXES = (
    "reward/",
    "groups/",
    "length/",
    "tool/",
    "turns/exhausted",
    "clip/low",
    "clip/high",
    "staleness/",
    "window/",
    "eval/greedy",
    "ratio/a",
)
KEYS = {
    "step", "tokens", "learned_tokens", "bad_logprobs", "grad_norm", "entropy", "lr", "ratio/max_abs_log", "mismatch/kl", "updates_skipped",
    "routing/missing", "load/dead", "load/entropy_worst", "load/max_over_mean_worst", "engines/died", "share/generate", "share/learn",
    "seconds/step", "seconds/generate", "seconds/score", "seconds/publish", "seconds/save", "seconds/evaluate",
}  # fmt: skip
FILES: dict[str, Any] = {"model": {"path": "model"}, "data": {"train": "train.jsonl", "chat_template": False}}
RUN = ("max_staleness", "save_every", "eval_every")
LEFT_OUT = ("model", "data", "run")


@dataclass(frozen=True, slots=True)
class Recording:
    """A recorded run."""

    config: Config
    held_out: dict[str, int]
    prompts: int  # for training; 0 if not known
    rows: list[Row]


def record(folder: Path, path: Path, held_out: int = 256, prompts: int = 0) -> None:
    """Write the recording of a finished run."""
    given = tomllib.loads((folder / "config.toml").read_text(encoding="utf-8"))
    sections = FILES | {name: keys for name, keys in given.items() if name not in LEFT_OUT}
    sections["data"] = FILES["data"] | {key: value for key, value in given["data"].items() if key == "max_prompt_tokens"}
    sections["run"] = {"dir": "run"} | {key: value for key, value in given["run"].items() if key in RUN}
    lines: list[Any] = [{"config": sections, "held_out": {"held-out": held_out}, "prompts": prompts}]
    for row in read_metrics(folder):
        lines.append({key: short(value) for key, value in row.items() if key in KEYS or key.startswith(PREFIXES)})
    text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode(), mtime=0))


def read(path: Path) -> Recording:
    """The recording in a file."""
    first, *rows = map(json.loads, gzip.decompress(path.read_bytes()).decode().splitlines())
    return Recording(Config.model_validate(first["config"]), first["held_out"], first.get("prompts", 0), rows)


def short(value: float | None) -> float | int | None:
    """A number with as many digits as a rule can see."""
    if value is None:
        return None
    rounded = float(f"{value:.{DIGITS}g}")
    return int(rounded) if rounded.is_integer() else rounded
