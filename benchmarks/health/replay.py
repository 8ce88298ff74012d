"""What today's rules find in the metrics of a finished run."""

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path

from cluster.health.history import History, Row
from cluster.health.ranked import RULES
from cluster.health.rule import Finding
from cluster.record.metrics.metrics import read_metrics
from configs.schema import Config


def replay(folder: Path) -> list[tuple[int, str, Finding]]:
    """The first finding of each rule, by step and rank; the number of prompts is not on record, so rules that need it are silent."""
    config = Config.model_validate(tomllib.loads((folder / "config.toml").read_text(encoding="utf-8")))
    return findings(config, read_metrics(folder))


def findings(
    config: Config, rows: Iterable[Row], held_out: Mapping[str, int] | None = None, prompts: int = 0
) -> list[tuple[int, str, Finding]]:
    """The first finding of each rule over these rows."""
    history, found = History(config, held_out=held_out, prompts=prompts), {}
    for row in rows:
        history.add(row)
        for rule in RULES if row["step"] else ():
            if rule.name not in found and (finding := rule.test(history)):
                found[rule.name] = (history.step, rule.name, finding)
    return list(found.values())
