"""One worker's end of a delta publish: it takes patches of the weights that it holds, and of no others.

nothing ── whole publish, proven ──► holds weights ── patch of these weights ──► holds the next ones
   ▲                                     │  └── patch of other weights: refused, nothing is written
   └── a whole publish begins, or a patch fails half-way
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from rollout.delta.carried import carried
from rollout.delta.held import Held, Weights, WrongNumbers
from rollout.delta.patch import read_patch
from rollout.transfer.digest import digest
from rollout.transfer.proof import Digest, Manifest, Proof, fingerprint

Raw = tuple[bytes, Digest]  # a rank's patch, and the digest that the rank took of it


class Refused(Exception):
    """This worker cannot take a patch, and needs whole weights; the message says why."""


class PatchTaker:
    """The weights that a worker holds, by their digests, and what changes them."""

    def __init__(self, manifest: Manifest, held: Held | None, device: torch.device, reason: str = "") -> None:
        """Without `held` it refuses every patch for `reason`."""
        self.manifest, self.held, self.device, self.reason = manifest, held, device, reason
        self.proof: Proof = {}  # of the weights that it holds; empty where nobody knows

    def begin(self) -> None:
        """A whole publish begins."""
        self.proof = {}

    def see(self, weights: Weights) -> None:
        """Look at tensors of a whole publish before they are loaded."""
        if self.held is not None:
            self.held.see(weights)

    def whole(self, proof: Proof) -> None:
        """A whole publish is loaded and proven."""
        if self.held is None:
            return
        if wrong := self.held.settle(proof):
            self.held, self.reason = (
                None,
                f"{', '.join(wrong[:3])} are served in another form than they are published ({len(wrong)} tensors)",
            )
            return
        self.proof = dict(proof)

    def take(self, base: str, patches: Sequence[Raw]) -> Proof:
        """Apply the patches of all ranks to the weights with the fingerprint `base`; the proof of what it holds then, or Refused."""
        if self.held is None:
            raise Refused(self.reason)
        if not self.proof or fingerprint(self.proof) != base:
            raise Refused("it holds other weights than those that the patch changes")
        raws = [torch.from_numpy(np.frombuffer(raw, np.uint8).copy()) for raw, _ in patches]
        if any(tuple(expected) != digest(raw) for raw, (_, expected) in zip(raws, patches, strict=True)):
            raise Refused("a patch arrived altered")
        held, proof = self.held, self.proof
        self.proof = {}  # until all of it is applied
        try:
            for raw in raws:
                proof |= self._apply(raw, held, proof)
            held.serve()
        except (ValueError, WrongNumbers) as error:
            raise Refused(str(error)) from error
        self.proof = proof
        return dict(proof)

    def _apply(self, raw: Tensor, held: Held, proof: Proof) -> Proof:
        moved: Proof = {}
        for changes in read_patch(raw, self.manifest, self.device):
            held.change(changes)
            name = changes.entry.name
            moved[name] = carried(moved.get(name, proof[name]), changes.removed, changes.added)
        return moved
