"""Says that a run does not learn: in a step, every response was as good as the rest of its group."""

from collections.abc import Mapping
from math import log10


class NoSignal:
    """Counts the steps in a row with an update that was not made because every advantage was 0."""

    def __init__(self) -> None:
        self.in_a_row = 0

    def observe(self, step: int, values: Mapping[str, float]) -> str | None:
        """The text of a warning at the 1st, 10th, 100th … such step in a row, else None."""
        count = int(values.get("updates_without_signal", 0))
        self.in_a_row = self.in_a_row + 1 if count else 0
        if not self.in_a_row or not log10(self.in_a_row).is_integer():
            return None
        updates = "1 update was" if count == 1 else f"{count} updates were"
        return (
            f"step {step}: {updates} not made, because each group has equal rewards and every advantage is 0{_since(self.in_a_row)}; "
            f"rewards are between {values['reward/min']:g} and {values['reward/max']:g}: {_remedy(values)}"
        )


def _since(steps: int) -> str:
    return "" if steps == 1 else f", as in the {steps - 1} steps before"


def _remedy(values: Mapping[str, float]) -> str:
    if values["reward/min"] != values["reward/max"]:
        return 'a larger rollout.group_size, data.sampler = "difficulty" or rollout.dynamic_sampling = true finds groups that differ'
    return "read responses/ to see whether the prompts are too hard or too easy, or the checker misjudges them"
