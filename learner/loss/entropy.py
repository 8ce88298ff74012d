"""The coefficient of the entropy bonus: fixed, or raised while the policy's entropy is below a target.

    entropy of the step ──► observe: c ± change ──► coefficient of the next step: c, or 0 above the target

The rule is Skywork-OR1's, arXiv 2505.22312. It measures the entropy before an update; here the entropy of the step before is used, which
costs no pass of its own. Every rank sees the same entropy, so all have the same coefficient.
"""

from math import isfinite

from configs.sections.objective import EntropyConfig


class EntropyControl:
    """The coefficient of one run; its state is part of a checkpoint."""

    def __init__(self, config: EntropyConfig) -> None:
        self.config = config
        self.level = float(config.coefficient)  # c, what the bonus weighs where it acts
        self.seen: float | None = None  # the entropy of the newest step that learned; None before the first one

    @property
    def coefficient(self) -> float:
        """What the bonus weighs in this step."""
        if self.config.target is None:
            return self.level
        return self.level if self.seen is not None and self.seen <= self.config.target else 0.0

    def observe(self, entropy: float, tokens: float) -> None:
        """Take in the mean entropy of a step's `tokens` learned tokens; a step without any changes nothing."""
        if self.config.target is None or not tokens or not isfinite(entropy):
            return
        self.seen = entropy
        change = float(self.config.change) if entropy < self.config.target else -float(self.config.change)
        self.level = min(max(self.level + change, 0.0), float(self.config.largest))

    def state(self) -> dict[str, float | None]:
        """What a checkpoint keeps of it; nothing of a fixed coefficient, which may change on resume."""
        return {} if self.config.target is None else {"level": self.level, "seen": self.seen}

    def restore(self, state: dict[str, float | None]) -> None:
        """Go on from `state`. A run that only now gets a target begins with its coefficient."""
        if self.config.target is not None and state:
            level = state["level"]
            assert level is not None
            self.level, self.seen = min(level, float(self.config.largest)), state["seen"]
