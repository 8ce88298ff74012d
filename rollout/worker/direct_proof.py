"""Whether learned copies load a model as vLLM does: both load the same numbers, and the model must hold and compute the same after each.

Between the two vLLM loads other numbers, so that a copy which is missing or goes elsewhere shows. It is done once for a manifest, before a
publish whose weights replace the numbers.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from vllm.config import ModelConfig

from rollout.transfer.digest import digest
from rollout.transfer.meeting import torch_dtype
from rollout.transfer.proof import Digest, Entry
from rollout.worker.direct import DirectLayer, DirectLoader
from rollout.worker.learned_copies import NotLearned
from rollout.worker.reload import begin_reload, end_reload

PERIOD = 65_537  # of the numbers, a prime, so that rows and columns of any usual size differ
ROWS = 2  # of the input on which kernels are compared


def prove(loader: DirectLoader, config: ModelConfig) -> None:
    """Load numbers of its own in both ways; NotLearned, naming a layer, if the model is not the same afterwards."""
    reload(loader, config, seed=0)
    expected = held(loader)
    reload(loader, config, seed=1)
    loader.begin()
    loader.load(numbers(loader, seed=0))
    loader.end()
    found = held(loader)
    if wrong := [name for name, digests in expected.items() if found[name] != digests]:
        raise NotLearned(f"learned copies load {', '.join(wrong[:3])} otherwise than vLLM ({len(wrong)} layers)")


def reload(loader: DirectLoader, config: ModelConfig, seed: int) -> None:
    """Load numbers as vLLM does."""
    model: Any = loader.model
    begin_reload(model)
    for weight in numbers(loader, seed):
        model.load_weights([weight])
    end_reload(model, config)


def numbers(loader: DirectLoader, seed: int) -> Iterator[tuple[str, Tensor]]:
    """A tensor of small numbers for each name, different for each name and seed."""
    drawn = torch.rand(PERIOD, generator=torch.Generator().manual_seed(seed)) - 0.5
    for place, entry in enumerate(loader.manifest):
        yield entry.name, number_tensor(entry, drawn.roll(place))


def number_tensor(entry: Entry, drawn: Tensor) -> Tensor:
    dtype = torch_dtype(entry.dtype)
    count = torch.Size(entry.shape).numel()
    values = drawn if dtype.is_floating_point else drawn * 100
    return values.to(dtype).repeat(-(-count // PERIOD))[:count].view(entry.shape)


def held(loader: DirectLoader) -> dict[str, list[Digest]]:
    """Digests of every tensor that a layer serves with, and of what its kernel computes."""
    with torch.no_grad():
        return {layer.name: list(_held(layer)) for layer in loader.layers}


def _held(layer: DirectLayer) -> Iterator[Digest]:
    tensors = (*layer.layer._parameters.items(), *layer.layer._buffers.items())
    yield from (digest(tensor) for _, tensor in tensors if tensor is not None)
    served: Any = layer.layer
    if (kernel := getattr(served, "cpu_linear", None)) is not None:
        weight = layer.loaded["weight"]
        drawn = torch.rand(ROWS, weight.shape[1], generator=torch.Generator().manual_seed(1)).to(weight.dtype)
        yield digest(kernel(drawn, served.weight, None))
