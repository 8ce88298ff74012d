"""A response as a scorer gets it."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A finished response that needs a reward."""

    checker: str
    response: str
    reference: Any  # a JSON value
    tokens: int  # generated; for the over-long penalty
    prompt: str = ""
