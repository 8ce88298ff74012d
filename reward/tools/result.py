"""What a call gave: text for the model, or a failure of the machine's."""

from dataclasses import dataclass

from rollout.types import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The result of one call."""

    text: str = ""
    error: bool = False  # the model caused an error, which `text` describes
    failure: Verdict | None = None  # the call broke for no fault of the model's: the episode has no reward

    @classmethod
    def wrong(cls, why: str) -> "Result":
        """The model made a mistake."""
        return cls(text=f"error: {why}", error=True)
