"""A call that the model wrote, or what is wrong with it."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A tool's name, as the model wrote it, and the arguments."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)  # JSON values
    texts: bool = False  # each argument is text whose type only the tool's schema tells


@dataclass(frozen=True, slots=True, kw_only=True)
class BadCall:
    """Something that was meant as a call and cannot be read."""

    why: str  # for the model: what is wrong, and what to write


Found = Call | BadCall
