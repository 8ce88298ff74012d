"""The weights of one engine's worker as patches change them.

Kept       whole tensors beside the model, in host memory, for a model that serves packed ones: patched, then loaded
InPlace    the served tensors themselves, where each number of a checkpoint has its own place in them
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from rollout.delta.carry import shares_of_digest
from rollout.delta.differences import as_integers
from rollout.delta.patch import Changes
from rollout.delta.places import Spot
from rollout.transfer.digest import digest, read, sums
from rollout.transfer.proof import Proof

Weights = Iterable[tuple[str, Tensor]]


class WrongNumbers(RuntimeError):
    """What a patch replaces is not what the worker has, or not what it should have afterwards."""


class Held(Protocol):
    """Weights that patches change."""

    def see(self, weights: Weights) -> None:
        """Look at tensors of a whole publish before they are loaded."""

    def settle(self, proof: Proof) -> list[str]:
        """A whole publish with this proof has been loaded; returns the tensors of which the served numbers differ."""

    def change(self, changes: Changes) -> None:
        """Apply one record of a patch; WrongNumbers."""

    def serve(self) -> None:
        """Serve with the changed numbers."""


class Kept:
    """Whole tensors beside the model. `load` brings them into it."""

    def __init__(self, load: Callable[[Weights], object]) -> None:
        self.load = load
        self.tensors: dict[str, Tensor] = {}

    def see(self, weights: Weights) -> None:
        for name, tensor in weights:
            if name in self.tensors:
                self.tensors[name].copy_(tensor)
            else:
                self.tensors[name] = tensor.to("cpu", copy=True)

    def settle(self, proof: Proof) -> list[str]:
        return [name for name in proof if name not in self.tensors]

    def change(self, changes: Changes) -> None:
        tensor = self.tensors[changes.entry.name]
        replace(as_integers(tensor), changes.places, changes.differences, changes)

    def serve(self) -> None:
        self.load(self.tensors.items())


class InPlace:
    """The served tensors themselves."""

    def __init__(self, spots: Mapping[str, Sequence[Spot]]) -> None:
        self.spots = spots
        self.proven = False
        self.mine: dict[str, Tensor] = {}  # of a tensor that the worker holds in part: the sums of its part

    def see(self, weights: Weights) -> None:
        if self.proven:
            return
        for name, tensor in weights:
            if self.spots.get(name) and not self._whole(name, tensor.numel()):
                part = torch.zeros_like(tensor)
                for spot in self.spots[name]:
                    spot.taken.within(part).copy_(spot.taken.within(tensor))
                self.mine[name] = sums(part)

    def settle(self, proof: Proof) -> list[str]:
        """Once: gather every tensor from its places and compare its digest with what was received."""
        if self.proven:
            return []
        expected = proof | read(self.mine)
        wrong = [name for name, spots in self.spots.items() if spots and digest(self._gathered(spots)) != expected.get(name)]
        self.proven, self.mine = not wrong, {}
        return wrong

    def change(self, changes: Changes) -> None:
        """Change the numbers that this worker holds; those of a tensor that it holds whole are compared with the patch's digests."""
        spots = self.spots[changes.entry.name]
        alone = len(spots) == 1 and self._whole(changes.entry.name, spots[0].whole)
        for spot in spots:
            inside, places = spot.destinations(changes.places)
            numbers, differences = as_integers(spot.served), changes.differences[inside]
            if alone:
                replace(numbers, places, differences, changes)
            else:
                numbers[places] += differences

    def serve(self) -> None:
        """They serve already."""

    def _whole(self, name: str, numbers: int) -> bool:
        return sum(spot.numel for spot in self.spots[name]) == numbers

    def _gathered(self, spots: Sequence[Spot]) -> Tensor:
        whole = torch.zeros(spots[0].whole, dtype=spots[0].served.dtype, device=spots[0].served.device)
        for spot in spots:
            spot.taken.within(whole).copy_(spot.put.within(spot.served))
        return whole


def replace(numbers: Tensor, places: Tensor, differences: Tensor, changes: Changes) -> None:
    """Add differences to numbers of a whole tensor. WrongNumbers, with nothing written, if they are not those that the patch replaces."""
    old = numbers[places]
    (found,) = shares_of_digest(changes.places, (old,), torch.Size(changes.entry.shape).numel()).tolist()
    if tuple(found) != tuple(changes.removed):
        raise WrongNumbers(f"{changes.entry.name} has other numbers than those that the patch replaces")
    numbers.index_copy_(0, places, old + differences)
