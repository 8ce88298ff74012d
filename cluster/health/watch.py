"""Applies the health rules after every step: a symptom is printed once when it begins, recorded, and forgotten after calm steps."""

from collections.abc import Mapping, Sequence

from cluster.health.history import History
from cluster.health.ranked import RULES
from cluster.health.rule import Finding, Rule
from cluster.record.health_log import HealthLog
from cluster.record.metrics.metrics import read_metrics
from cluster.record.metrics.sinks import METRICS
from configs.schema import Config

CALM = 10  # steps without the symptom that end it; it is printed again if it returns after them


class Watch:
    """Follows one run."""

    def __init__(self, config: Config, rules: Sequence[Rule] = RULES, held_out: Mapping[str, int] | None = None, prompts: int = 0) -> None:
        """`held_out` has the number of prompts of each eval set, `prompts` that of the training prompts, 0 if it is not known."""
        self.config, self.rules, self.held_out, self.prompts = config, rules, held_out, prompts
        self.history = History(config, held_out=held_out, prompts=prompts)
        self.log = HealthLog(config.run_dir)
        self.seen: dict[str, int] = {}  # open symptoms, and the last step that showed the symptom

    def begin(self, from_step: int) -> None:
        """Continue with the rows and the open symptoms of the steps up to a checkpoint; later ones are dropped."""
        self.log.cut(from_step)
        self.seen = dict.fromkeys(self.log.open(), from_step)
        path = self.config.run_dir / METRICS
        self.history = History(self.config, read_metrics(self.config.run_dir) if path.exists() else (), self.held_out, self.prompts)

    def observe(self, step: int, values: Mapping[str, float], found: Mapping[str, Finding | None] | None = None) -> list[str]:
        """The texts of the symptoms that begin with this step, causes first. `found` has causes that others saw, by name."""
        self.history.add({"step": step, **values})
        findings = dict(found or {}) | {rule.name: rule.test(self.history) for rule in self.rules}
        begun = []
        for name, finding in findings.items():
            if finding:
                if name not in self.seen:
                    self.log.begin(step, name, finding.seen, finding.advice)
                    begun.append(f"step {step}: {finding.message}")
                self.seen[name] = step
        for name in [name for name, last in self.seen.items() if step - last >= CALM]:
            self.log.end(self.seen.pop(name), name)
        return begun

    def record(self, step: int, name: str, finding: Finding) -> None:
        """Add what was raised at one step, such as the alarm of `[mismatch]`, which follows its symptom itself."""
        self.log.begin(step, name, finding.seen, finding.advice)
        self.log.end(step, name)
