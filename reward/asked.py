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
    prompt: str = ""  # as the model read it, with the marks of its chat template
    question: str = ""  # the same in plain words, for a judge
    prefill: str = ""  # the end of `prompt`: what begins the assistant's turn (`data.prefill`)
    row: str = ""  # where it stands in the data, for messages: "prompts.jsonl line 3"
