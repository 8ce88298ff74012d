"""The messages between a reward worker and its owner: JSON lines, never pickle, over a socket pair.

```
owner → worker   one line a chunk:  [[checker, response, reference] or [checker, response, reference, fields], ...]
                 `fields` is what a function of the user's asks for. The response null asks what the function says of the reference.
                 The response is an object for an environment: the turns so far, a `reward.episodes.transcript`.
worker → owner   one line a report, [state, item, reward, failure, words, turns]:
                 STARTED                                     once: chunks may come
                 ( [LOADING LOADED] (SCORED | FAILED) )*     for each item that it claimed, in the order of the chunk
                 DROPPED                                     when it could claim no more of the chunk
                 MEMORY | FILLED                             instead of a verdict; the worker then ends
```

With the chunk the owner puts one token an item into an eventfd. The worker *claims* an item by taking a token before it begins. When the
rest of the chunk must go elsewhere, the owner takes the remaining tokens. So no item is begun twice, and no item is blamed for a worker
that dies between two items.

The owner's clock of an item starts when the item before it ends, and again at LOADED: importing a checker has its own,
longer limit.
"""

import json
import math
from dataclasses import dataclass, field
from enum import StrEnum


class State(StrEnum):
    """What a worker reports."""

    STARTED = "started"
    LOADING = "loading"  # importing the item's checker
    LOADED = "loaded"
    SCORED = "scored"
    FAILED = "failed"  # the checker raised
    DROPPED = "dropped"  # the owner has taken back the rest of the chunk
    MEMORY = "memory"  # the checker ran out of address space; earlier items may have left a part of it in use
    FILLED = "filled"  # the item alone filled the address space


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One line from a worker."""

    state: State
    item: int = -1  # position in the chunk
    reward: float = 0.0  # of a SCORED item, finite
    failure: str = ""  # of a FAILED item
    # Of a SCORED item that is a reference: "gold", a right response, or "gold turns", a JSON list of right turns.
    # Of one that is an episode: "words" for the model, or "messages", a JSON list that is its new context. With neither it is over.
    words: dict[str, str] = field(default_factory=dict)
    turns: list[float] = field(default_factory=list)  # the reward of each turn of a SCORED episode that gives rewards inside

    def encode(self) -> bytes:
        """The line to send."""
        return json.dumps([self.state, self.item, self.reward, self.failure, self.words, self.turns]).encode() + b"\n"

    @classmethod
    def decode(cls, line: bytes) -> "Message":
        """Read a line from a worker; ValueError when it is not a message. A hostile checker may have written it."""
        match json.loads(line):
            case [str(state), int(item), float(reward), str(failure), dict(words), list(turns)] if math.isfinite(reward):
                if words and not all(isinstance(text, str) for text in words.values()):
                    raise ValueError(f"words must be text, got {line[:200]!r}")
                if turns and not all(isinstance(one, float) and math.isfinite(one) for one in turns):
                    raise ValueError(f"rewards must be finite, got {turns!r}")
                return cls(state=State(state), item=item, reward=reward, failure=failure, words=words, turns=turns)
        raise ValueError(f"not a worker's message: {line[:200]!r}")
