"""The learner's weights as a stream of whole tensors, layer by layer, the same on every rank."""

import re
from collections.abc import Iterable, Iterator

import torch

from learner.model.zero import ZeroEngine
from learner.weights.whole_experts import Published, published
from rollout.transfer.digest import read, sums
from rollout.transfer.proof import Entry, Manifest, Proof

PREFIX = "language_model."
Tensors = Iterator[tuple[str, torch.Tensor]]


class ZeroWeightSource:
    """Names, shapes and bytes of a policy under ZeRO, gathered one decoder layer at a time.

    Names are those of the family's checkpoints, with experts fused. It yields copies made while a layer is whole, so they stay right
    after the layer is partitioned again. Gathering is a collective: every rank iterates, in the same order. After a pass with `prove`,
    `proof` holds the digest of every tensor that was yielded.
    """

    def __init__(self, zero: ZeroEngine, dtype: torch.dtype, *, prove: bool) -> None:
        self.zero, self.dtype, self.prove = zero, dtype, prove
        now = {name.removeprefix(PREFIX): parameter for name, parameter in zero.module.named_parameters()}
        shapes = {name.removeprefix(PREFIX): shape for name, shape in zero.shapes.items()}
        buffers = {name.removeprefix(PREFIX): buffer for name, buffer in zero.buffers().items()}
        self.family = zero.family
        self.device = zero.engine.device
        self.tensors = published(shapes, now, buffers, zero.expert_group, zero.family)
        self.layers = [[self.tensors[name] for name in layer] for layer in by_layer(list(self.tensors))]
        self.proof: Proof = {}

    def manifest(self) -> Manifest:
        """The tensors in the order of iteration; gathers nothing."""

        def dtype(tensor: Published) -> str:
            return str(tensor.dtype or self.dtype).removeprefix("torch.")

        return tuple(Entry(tensor.name, dtype(tensor), tensor.shape) for layer in self.layers for tensor in layer)

    def __iter__(self) -> Tensors:
        self.proof = {}
        self._settle()
        for layer in self.layers:
            with self.zero.whole([part for tensor in layer for part in tensor.parts]):
                copies = {tensor.name: tensor.assembled(tensor.parts, self.dtype) for tensor in layer}
            if self.prove:
                self.proof |= read({name: sums(copy) for name, copy in copies.items()})
            # The receiver of a copy may read it on another stream than the one that is writing it.
            finish(copies.values())
            for name in list(copies):
                yield name, copies.pop(name)  # given away, so that the copies of two layers are never there at once

    def live(self) -> Tensors:
        """Every tensor without a copy: it may have another dtype than the manifest says, and is right only until the next is asked for."""
        self._settle()
        for layer in self.layers:
            with self.zero.whole([part for tensor in layer for part in tensor.parts]):
                for tensor in layer:
                    yield tensor.name, tensor.live(tensor.parts, self.dtype)

    def _settle(self) -> None:
        """Wait for the update that made these weights: the one who iterates may read them on another stream."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def stand_by(self) -> None:
        """Take part in the gathers of one pass and keep nothing."""
        for layer in self.layers:
            with self.zero.whole([part for tensor in layer for part in tensor.parts]):
                for tensor in layer:
                    if tensor.group is not None:
                        tensor.assembled(tensor.parts, self.dtype)


def finish(tensors: Iterable[torch.Tensor]) -> None:
    """Wait until this stream has written the tensors; a CPU has nothing to wait for."""
    if any(tensor.is_cuda for tensor in tensors):
        torch.cuda.current_stream().synchronize()


def by_layer(names: list[str]) -> list[list[str]]:
    """Names in groups of one decoder layer each; runs of names outside any layer are groups of their own."""
    groups: list[list[str]] = []
    last: str | None = None
    for name in names:
        found = re.match(r"(.*?\.\d+)\.", name)
        key = found.group(1) if found else ""
        if key != last:
            groups.append([])
        groups[-1].append(name)
        last = key
    return groups
