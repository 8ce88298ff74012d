"""The alarm over the mismatch of engine and learner (`[mismatch]`): it is raised when they differ too much for too long."""

import math
from collections import deque
from collections.abc import Mapping
from statistics import median

from cluster.health.rule import Finding
from configs.errors import RunFailed
from configs.schema import Config
from configs.sections.mismatch import PARTS

REMEMBERED = 100  # calm steps; a part is compared with their median
REMEDIES = {
    "numerics": 'the same weights and experts give different numbers: set learner.router_dtype and learner.head_dtype to "float32", and '
    "bring precision and kernels of [rollout.vllm] closer to model.dtype",
    "routing": 'tokens take different experts in the engine: set learner.routing = "replay_rollout" with rollout.capture_routing = true',
    "staleness": "the policy moves too far while responses wait: lower run.max_staleness or learner.lr, or set correction.preset",
    "engine": "numerics or routing: set rollout.capture_routing = true to tell them apart",
}
REMEDIES["replayed_staleness"] = REMEDIES["staleness"]
REPLAYED = ("numerics", "replayed_staleness")


class MismatchTooLarge(RunFailed):
    """`mismatch/kl` stayed above `mismatch.alarm`, and `mismatch.on_alarm` asks for a stop."""


class MismatchAlarm:
    """Follows `mismatch/kl` step by step. It starts from nothing with every start of a run, resumed or not."""

    def __init__(self, config: Config) -> None:
        self.limit, self.patience, self.stops = config.mismatch.alarm, config.mismatch.patience, config.mismatch.on_alarm == "stop"
        self.splits = config.mismatch.share > 0
        self.parts = REPLAYED if config.learner.routing == "replay_rollout" else PARTS
        self.above = 0  # steps in a row
        self.calm: dict[str, deque[float]] = {part: deque(maxlen=REMEMBERED) for part in self.parts}
        self.found: dict[str, float] = {}  # the last value of each part in these steps

    def observe(self, values: Mapping[str, float]) -> Finding | None:
        """The alarm once `mismatch.patience` steps in a row were above the limit, else None; once in a row. NaN counts as above.

        A step that learned no token with a known engine log-prob has no `mismatch/kl`; it neither ends the row nor adds to it.
        """
        kl = values.get("mismatch/kl")
        if self.limit is None or kl is None:
            return None
        parts = {part: values[key] for part in self.parts if (key := f"split/{part}_kl") in values}
        if kl <= self.limit:
            self.above, self.found = 0, {}
            for part, value in parts.items():
                self.calm[part].append(value)
            return None
        self.above += 1
        self.found |= parts
        if self.above != self.patience:
            return None
        steps = "1 step" if self.patience == 1 else f"{self.patience} steps in a row"
        grew, advice = self._what_grew()
        return Finding(f"mismatch/kl is {kl:.3g}, above mismatch.alarm = {self.limit:g} for {steps}; {grew}", advice)

    @property
    def counted(self) -> dict[str, float]:
        """The alarm's own metric; nothing where no alarm is set."""
        return {} if self.limit is None else {"mismatch/above": float(self.above)}

    def _what_grew(self) -> tuple[str, str]:
        """The part that grew most since calm steps, and what helps against it."""
        if not self.splits:
            return (
                "what grew is unknown",
                "set mismatch.share, for example to 0.05, to split the mismatch into routing, staleness and numerics",
            )
        if not self.found:
            unsplit = "no response of these steps could be split (split/cut, split/not_held, split/unrouted say why)"
            return "what grew is unknown", f"raise mismatch.share: {unsplit}"
        before = {part: median(known) if (known := self.calm[part]) else 0.0 for part in self.found}
        growth = {part: math.inf if math.isnan(value) else value - before[part] for part, value in self.found.items()}
        part = max(growth, key=growth.__getitem__)
        calm = f"up from {before[part]:.3g} in calm steps" if self.calm[part] else "with no calm step yet to compare it with"
        return f"what grew most is {part}, split/{part}_kl = {self.found[part]:.3g}, {calm}", REMEDIES[part]
