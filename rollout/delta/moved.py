"""What a rank says of its patch."""

from dataclasses import dataclass
from typing import Any

from rollout.delta.carried import carried
from rollout.transfer.proof import Digest, Proof

Moved = dict[str, list[tuple[Digest, Digest]]]  # tensor -> of each share what its changes take from the digest, and what they add


@dataclass(frozen=True, slots=True, kw_only=True)
class RankPatch:
    """One rank's patch, which engines fetch."""

    reference: Any  # to the bytes
    digest: Digest  # of the bytes
    bytes: int
    changed: int  # numbers
    moved: Moved


def moved_on(proof: Proof, moved: Moved) -> Proof:
    """The digests of all tensors after the changes of one rank."""
    out = dict(proof)
    for name, shares in moved.items():
        for removed, added in shares:
            out[name] = carried(out[name], removed, added)
    return out
