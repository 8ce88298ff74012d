"""What one check found, and what to do about it."""

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding of a check. A warning costs speed or fails later; an error stops a run."""

    status: Status
    found: str
    do: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """A finding with the name of its check; `node` is the address of another node of the cluster, None for this machine."""

    name: str
    status: Status
    found: str
    do: str
    node: str | None = None


def ok(found: str) -> Finding:
    return Finding("ok", found)


def warning(found: str, do: str) -> Finding:
    return Finding("warning", found, do)


def error(found: str, do: str) -> Finding:
    return Finding("error", found, do)


def refusal(said: Exception, status: Status = "error") -> Finding:
    """The finding of a ValueError of ours, whose text after its last colon says what to do."""
    found, _, do = str(said).rpartition(": ")
    return Finding(status, found, do) if found else Finding(status, do, "correct this")
