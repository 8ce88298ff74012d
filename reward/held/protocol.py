"""The messages between the process of a held world and its owner: JSON lines, never pickle, over a socket pair.

```
owner → world   {"begin": checker, "said": text, "reference": value, "fields": {...}}    once, with the model's first turn
                {"said": text}                                                         each later turn
                {"over": true}                                                         the model has no further turn
world → owner   a step with STARTED                                                    once: the process is up
                a step                                                                 for every line from the owner
```

After a step that ends the episode the world ends by itself. SIGTERM asks it to close the generator and to end, at any moment after STARTED.
"""

import json
import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

MAX_LINE_BYTES = 16 << 20


class Kind(StrEnum):
    """What a step is."""

    STARTED = "started"
    WORDS = "words"
    REWRITTEN = "rewritten"
    RETURNED = "returned"  # the generator returned a number: the episode is over
    FAILED = "failed"  # it broke the rules or raised: the episode has no reward
    MEMORY = "memory"  # it ran out of address space: the same


ENDS = (Kind.RETURNED, Kind.FAILED, Kind.MEMORY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What a world did with one turn of the model."""

    kind: Kind
    words: str = ""
    messages: tuple[dict[str, Any], ...] = ()  # of REWRITTEN: the whole context
    reward: float = 0.0  # of the turn; of RETURNED what the generator returned
    failure: str = ""

    @property
    def ends(self) -> bool:
        """Whether the generator has ended."""
        return self.kind in ENDS

    def encode(self) -> bytes:
        fields = {"kind": self.kind, "words": self.words, "messages": self.messages, "reward": self.reward, "failure": self.failure}
        return json.dumps(fields).encode() + b"\n"

    @classmethod
    def decode(cls, line: bytes) -> Self:
        """Read a line from a world; ValueError where it is no step."""
        fields = json.loads(line)
        match fields:
            case {
                "kind": str(kind), "words": str(words), "messages": list(messages), "reward": float(reward), "failure": str(failure), **rest
            } if not rest and all(isinstance(one, dict) for one in messages):  # fmt: skip
                if not math.isfinite(reward):
                    raise ValueError(f"a reward must be finite, got {reward!r}")
                return cls(kind=Kind(kind), words=words, messages=tuple(messages), reward=reward, failure=failure)
        raise ValueError(f"not a step of a world: {line[:200]!r}")
