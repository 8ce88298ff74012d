"""The result of one check of a run: what must hold, how often it was looked at, and where it does not hold."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from configs.arithmetic import counted

SHOWN = 5


@dataclass(slots=True, kw_only=True)
class Invariant:
    """One invariant of a run, filled while it is checked. A violation is a sentence that names its group, step, file or engine."""

    name: str
    claim: str
    checked: int = 0
    violations: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)  # what could not be looked at, each with the reason
    found: dict[str, int] = field(default_factory=dict)  # further counts, by name

    @property
    def holds(self) -> bool:
        return not self.violations

    def check(self, holds: bool, violation: str) -> bool:
        """Count one thing that was looked at, and note the violation if it does not hold."""
        self.checked += 1
        if not holds:
            self.violations.append(violation)
        return holds

    def check_all(self, checked: int, violations: Iterable[str]) -> None:
        """Count many things at once."""
        self.checked += checked
        self.violations += violations

    def as_json(self) -> dict[str, Any]:
        """Plain values, with `holds`."""
        return {**asdict(self), "holds": self.holds}

    def lines(self, shown: int = SHOWN) -> list[str]:
        """What a person reads: one line, then the first violations and all that could not be checked."""
        counts = "".join(f", {count:,} {what}" for what, count in self.found.items())
        wrong = counted(len(self.violations), "violation")
        mark = "VIOLATED" if self.violations else "holds" if self.checked else "not checked"
        head = f"{self.name:<14} {mark:<11} {self.claim}: {self.checked:,} checked, {wrong}{counts}"
        more = len(self.violations) - shown
        return [
            head,
            *(f"{'':<15}{text}" for text in self.violations[:shown]),
            *([f"{'':<15}… and {more:,} more: --all lists them"] if more > 0 else []),
            *(f"{'':<15}not checked: {text}" for text in self.unchecked),
        ]
