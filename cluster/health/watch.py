"""Applies the health rules after every step: a warning is printed once when it begins, recorded, and forgotten after calm steps."""

from collections.abc import Mapping, Sequence

from cluster.health.episode_rules import EPISODE_RULES
from cluster.health.history import History
from cluster.health.policy_rules import POLICY_RULES
from cluster.health.reward_rules import REWARD_RULES
from cluster.health.rule import Rule
from cluster.record.metrics.metrics import read_metrics
from cluster.record.metrics.sinks import METRICS
from cluster.record.warnings import WarningLog
from configs.schema import Config

RULES: Sequence[Rule] = (*REWARD_RULES, *POLICY_RULES, *EPISODE_RULES)
CALM = 10  # steps without the symptom that end a warning; it is printed again if the symptom returns after them


class Watch:
    """Follows one run."""

    def __init__(self, config: Config, rules: Sequence[Rule] = RULES, held_out: Mapping[str, int] | None = None) -> None:
        """`held_out` has the number of prompts of each eval set."""
        self.config, self.rules, self.held_out = config, rules, held_out
        self.history = History(config, held_out=held_out)
        self.log = WarningLog(config.run_dir)
        self.seen: dict[str, int] = {}  # open warnings, and the last step that showed the symptom

    def begin(self, from_step: int) -> None:
        """Continue with the rows and the open warnings of the steps up to a checkpoint; later warnings are dropped."""
        self.log.cut(from_step)
        self.seen = dict.fromkeys(self.log.open(), from_step)
        path = self.config.run_dir / METRICS
        self.history = History(self.config, read_metrics(self.config.run_dir) if path.exists() else (), self.held_out)

    def observe(self, step: int, values: Mapping[str, float], found: Mapping[str, str] | None = None) -> list[str]:
        """The warnings that begin with this step. `found` has symptoms that others saw, by name; an empty text is none."""
        self.history.add({"step": step, **values})
        texts = {rule.name: rule.test(self.history) for rule in self.rules} | dict(found or {})
        begun = []
        for name, text in texts.items():
            if text:
                if name not in self.seen:
                    self.log.begin(step, name, text)
                    begun.append(f"step {step}: {text}")
                self.seen[name] = step
        for name in [name for name, last in self.seen.items() if step - last >= CALM]:
            self.log.end(self.seen.pop(name), name)
        return begun

    def record(self, step: int, name: str, text: str) -> None:
        """Add what was raised at one step, such as the alarm of `[mismatch]`, which follows its symptom itself."""
        self.log.begin(step, name, text)
        self.log.end(step, name)
