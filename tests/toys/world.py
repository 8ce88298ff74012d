"""An environment for whole runs: it lets the model try again."""

from collections.abc import Generator


def again(said: str, reference: str) -> Generator[str, str, float]:
    """Right if one of three turns is the reference."""
    for left in (2, 1, 0):
        if said.strip() == reference:
            return 1.0
        if left:
            said = yield f"{len(said)}+{left}="
    return 0.0
