"""The rank's end of a delta publish: what of its own share changed since the last publish, as a patch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from learner.weights.shares import Share, own_shares
from learner.weights.source import ZeroWeightSource
from rollout.delta.changes import take_changes
from rollout.delta.differences import as_integers
from rollout.delta.moved import Moved, RankPatch, moved_on
from rollout.delta.patch import Record, join, write_record
from rollout.delta.side_by_side import side_by_side
from rollout.transfer.digest import digest
from rollout.transfer.proof import Proof


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """One rank's patch."""

    raw: Tensor  # uint8, on CPU
    moved: Moved
    changed: int  # numbers

    def after(self, proof: Proof) -> Proof:
        """The digests of the weights after the changes of this rank, from those before them."""
        return moved_on(proof, self.moved)

    def given(self, put: Callable[[Any], Any]) -> RankPatch:
        """What the rank says of it; `put` makes the bytes an object of which engines get a reference."""
        reference, nbytes = put(self.raw.numpy()), self.raw.numel()
        return RankPatch(reference=reference, digest=digest(self.raw), bytes=nbytes, changed=self.changed, moved=self.moved)


class Deltas:
    """This rank's share of the weights as it was last published: as many bytes as the share has in the engines' precision."""

    def __init__(self, source: ZeroWeightSource) -> None:
        self.source = source
        self.manifest = source.manifest()
        self.shares: list[Share] = []
        self.published: list[Tensor] = []

    def keep(self) -> None:
        """Remember the share as it is: it has just been published whole."""
        self._settle()
        if not self.shares:
            tensors = [tensor for layer in self.source.layers for tensor in layer]
            self.shares = list(own_shares(tensors, self.source.zero, self.source.dtype))
            self.published = [as_integers(share.numbers()).clone() for share in self.shares]
            return
        for old, share in zip(self.published, self.shares, strict=True):
            old.copy_(as_integers(share.numbers()))

    def patch(self) -> Patch:
        """What changed since the last publish, whole or delta; from then on it counts as published."""
        self._settle()
        moved: Moved = {}
        parts = [part for part in side_by_side(self._changed, range(len(self.shares)), self.source.device) if part is not None]
        for record, _ in parts:
            both = ((record.removed, record.removed_placed), (record.added, record.added_placed))
            moved.setdefault(self.manifest[record.entry].name, []).append(both)
        return Patch(raw=join(parts), moved=moved, changed=sum(record.count for record, _ in parts))

    def _changed(self, number: int) -> tuple[Record, list[Tensor]] | None:
        """What changed in one share; it counts as published then."""
        share = self.shares[number]
        new = as_integers(share.numbers())
        places, differences = take_changes(self.published[number], new)
        if not len(places):
            return None
        return write_record(share.where, self.manifest[share.where.entry], places, new[places], differences)

    def _settle(self) -> None:
        """Wait for the update that made these weights: DeepSpeed may write them on another stream."""
        if self.source.device.type == "cuda":
            torch.cuda.synchronize(self.source.device)
