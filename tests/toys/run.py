"""Configs and folders of runs that are never started, for tests of the driver."""

from contextlib import closing
from pathlib import Path

import numpy as np

from cluster.record.ledger import Ledger
from configs.schema import Config
from rollout.types import GroupSummary, Outcome


def run_config(folder: Path, **sections: dict) -> Config:
    """A config whose run lies in `folder`; a section's keys go over the toy's."""
    toy = {
        "run": {"dir": str(folder), "steps": 4, "deadline_s": 0.6},
        "model": {"path": "model", "dtype": "float32"},
        "data": {"train": "train.jsonl", "chat_template": False, "max_prompt_tokens": 16},
        "rollout": {"group_size": 4, "groups_per_step": 2, "max_response_tokens": 8},
        "reward": {"checker": "exact"},
    }
    return Config.model_validate({name: toy.get(name, {}) | sections.get(name, {}) for name in toy | sections})


def finish_step(folder: Path) -> None:
    """Make the ledger that a run leaves after its first step."""
    with closing(Ledger(folder / "ledger.db")) as ledger:
        ledger.begin(0, 0, ())
        ledger.learned(1, [])


def toy_summary(
    group_id: int, rewards: list[float | None], *, oldest: int = 0, lengths: list[int] | None = None, parts: dict | None = None
) -> GroupSummary:
    """A scored group as the driver sees it; a reward of None is a failed verdict."""
    known = np.array([np.nan if reward is None else reward for reward in rewards])
    count = len(rewards)
    return GroupSummary(
        group_id=group_id,
        prompt_id=f"p{group_id}",
        prompt_tokens=3,
        lengths=np.array(lengths or [2] * count),
        rewards=known,
        correct=known,
        truncated=np.zeros(count, bool),
        aborted=np.zeros(count, bool),
        oldest_version=oldest,
        newest_version=oldest,
        outcomes=tuple(Outcome.CRASHED if reward is None else Outcome.SCORED for reward in rewards),
        failures=tuple(f"crash: {group_id}" for reward in rewards if reward is None),
        parts=parts or {},
    )
