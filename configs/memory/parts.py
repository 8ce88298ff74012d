"""What lies on one GPU or in one node's host memory: named amounts, some always there, some only in one phase of a step."""

from collections.abc import Mapping
from dataclasses import dataclass

Bytes = Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A GPU or a host, with its amounts in bytes. The peak is the largest phase on top of what stays."""

    name: str
    stays: Bytes
    phases: Mapping[str, Bytes]

    @property
    def peak_phase(self) -> str:
        """The phase in which most memory is used."""
        return max(self.phases, key=self.total)

    def at(self, phase: str) -> dict[str, float]:
        """Everything that lies there in a phase, without what takes nothing."""
        return {name: size for name, size in (*self.stays.items(), *self.phases[phase].items()) if size > 0}

    def total(self, phase: str) -> float:
        """Bytes in a phase."""
        return sum(self.at(phase).values())

    @property
    def peak(self) -> float:
        """Bytes in the largest phase."""
        return self.total(self.peak_phase)
