"""What a run complained of: the periods of `health.jsonl`, whatever version wrote it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cluster.report.files import RunFiles


@dataclass(frozen=True, slots=True)
class Complaint:
    """A rule from the first to the last step that showed its symptom; `last` is None while it goes on."""

    rule: str
    first: int
    seen: str
    advice: str
    last: int | None = None

    @property
    def when(self) -> str:
        if self.last is None:
            return f"since step {self.first}"
        return f"steps {self.first} to {self.last}" if self.last > self.first else f"step {self.first}"


def complaints(run: RunFiles) -> Sequence[Complaint]:
    """Those that go on, the oldest first since what began first often causes the rest; then the others, the newest first."""
    found: list[Complaint] = []
    for row in run.health:
        rule, step = str(row.get("rule", row.get("warning", ""))), row["step"]
        if row.get("event") == "begins":
            found.append(Complaint(rule, step, str(row.get("seen") or row.get("message") or ""), str(row.get("advice") or "")))
        elif open_ := [place for place, one in enumerate(found) if one.rule == rule and one.last is None]:
            found[open_[-1]] = replace(found[open_[-1]], last=step)
    return sorted(found, key=lambda one: (one.last is not None, one.first if one.last is None else -one.first))
