"""The learner's weights as a stream of whole tensors, layer by layer, the same on every rank."""

import re
from collections.abc import Iterator

import torch
from torch import nn

from learner.zero import ZeroEngine, full_shape
from rollout.proof import Entry, Manifest, Proof
from rollout.transfer import digest

PREFIX = "language_model."
Tensors = Iterator[tuple[str, torch.Tensor]]


class ZeroWeightSource:
    """Names, shapes and bytes of a policy under ZeRO, gathered one decoder layer at a time.

    Names are those of the Hugging Face model, experts fused. What it yields is a copy made while the layer was whole, so it stays
    right after the layer is partitioned again. Gathering is a collective: every rank iterates, in the same order. After a pass with
    `prove`, `proof` holds the digest of everything that was yielded.
    """

    def __init__(self, zero: ZeroEngine, dtype: torch.dtype, *, prove: bool) -> None:
        self.zero, self.dtype, self.prove = zero, dtype, prove
        self.parameters: dict[str, nn.Parameter] = {
            name.removeprefix(PREFIX): parameter for name, parameter in zero.module.named_parameters()
        }
        self.layers = by_layer(list(self.parameters))
        self.proof: Proof = {}

    def manifest(self) -> Manifest:
        """The tensors in the order of iteration; gathers nothing."""
        dtype = str(self.dtype).removeprefix("torch.")
        return tuple(Entry(name, dtype, full_shape(self.parameters[name])) for layer in self.layers for name in layer)

    def __iter__(self) -> Tensors:
        self.proof = {}
        for layer in self.layers:
            with self.zero.whole([self.parameters[name] for name in layer]):
                copies = [self.parameters[name].detach().to(self.dtype, copy=True) for name in layer]
            for name, tensor in zip(layer, copies, strict=True):
                if self.prove:
                    self.proof[name] = digest(tensor)
                yield name, tensor

    def stand_by(self) -> None:
        """Take part in the gathers of one pass and keep nothing."""
        for layer in self.layers:
            with self.zero.whole([self.parameters[name] for name in layer]):
                continue


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
