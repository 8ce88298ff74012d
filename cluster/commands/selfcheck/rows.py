"""The result of one part of a selfcheck, and the two ways in which a part does not pass."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

Numbers = dict[str, float | str]


class Status(StrEnum):
    """How a part ended."""

    PASS = "pass"
    FAIL = "fail"
    SKIPPED = "skipped"


class PartFailed(Exception):
    """A part failed; the message is its cause in one line."""


class PartSkipped(Exception):
    """A part does not apply here; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a part that passed has to say."""

    numbers: Numbers
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table. `part` is a stable key of selfcheck.json."""

    part: str
    title: str
    status: Status
    seconds: float = 0.0
    numbers: Mapping[str, float | str] = field(default_factory=dict)
    cause: str = ""  # of a failure, or why the part was skipped
    stand_in: str = ""  # what ran in the place of something that only GPUs have
