"""Environments for whole runs: they let the model try again."""

from collections.abc import Generator

from gatewise import Rewrite, held


def again(said: str, reference: str) -> Generator[str, str, float]:
    """Right if one of three turns is the reference."""
    for left in (2, 1, 0):
        if said.strip() == reference:
            return 1.0
        if left:
            said = yield f"{len(said)}+{left}="
    return 0.0


@held
def again_held(said: str, reference: str) -> Generator[str, str, float]:
    """The same in a process of its own for each episode."""
    return (yield from again(said, reference))


def anew(said: str, reference: str) -> Generator[Rewrite, str, float]:
    """Right if the model says the reference at once, or after its context was rewritten to an easier sum."""
    if said.strip() != reference:
        said = yield Rewrite([{"role": "user", "content": f"{reference}+0="}])
    return float(said.strip() == reference)
