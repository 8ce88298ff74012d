"""What an attempt is judged by: the few values of its config that bound staleness, the window and the sizes of steps."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from configs.schema import Config

# Where the config of a run says them; `changes` of the ledger tells their values before.
KEYS = {
    "max_staleness": "run.max_staleness",
    "groups_per_step": "rollout.groups_per_step",
    "group_size": "rollout.group_size",
    "max_refill": "rollout.max_refill",
    "sample_responses": "run.sample_responses",
    "sampler": "data.sampler",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The values of one attempt."""

    max_staleness: int
    groups_per_step: int
    group_size: int
    max_refill: int
    sample_responses: int
    sampler: str
    dynamic_sampling: bool  # whether groups without signal are rejected
    sources: Sequence[str]  # names of data.sources

    @classmethod
    def of(cls, config: Config) -> "Settings":
        """The values of a config."""
        return cls(
            max_staleness=config.run.max_staleness,
            groups_per_step=config.rollout.groups_per_step,
            group_size=config.rollout.group_size,
            max_refill=config.rollout.max_refill,
            sample_responses=config.run.sample_responses,
            sampler=config.data.sampler,
            dynamic_sampling=config.dynamic_sampling,
            sources=tuple(config.data.sources),
        )

    @property
    def most_in_flight(self) -> int:
        """The window: its slots, and the rejected groups that may wait for their turn behind a slow one."""
        waiting = self.max_refill * self.groups_per_step if self.dynamic_sampling else 0
        return (self.max_staleness + 1) * self.groups_per_step + waiting

    def as_json(self) -> dict[str, Any]:
        """Plain values for the ledger."""
        return asdict(self)


def settings_by_attempt(
    config: Config | None, recorded: Mapping[int, str | None], changes: Sequence[tuple[int, str, str | None, str | None]]
) -> dict[int, Settings | None]:
    """The settings of every attempt: as the ledger has them, else from the newest config and the changes since the attempt.

    None where there is neither. Files of older versions have no settings; `dynamic_sampling` is then taken as the newest config says.
    """
    found: dict[int, Settings | None] = {}
    newest = None if config is None else Settings.of(config)
    for attempt, text in recorded.items():
        if text is not None:
            found[attempt] = Settings(**json.loads(text))
        elif newest is None:
            found[attempt] = None
        else:
            values = newest.as_json()
            for name, key in KEYS.items():
                later = [before for changed, which, before, _ in changes if which == key and changed > attempt]
                if later and later[0] is not None:
                    values[name] = json.loads(later[0])
            found[attempt] = Settings(**values)
    return found
