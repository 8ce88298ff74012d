"""What the proof of learned copies says in an engine's worker when the copies are wrong: mixed into the worker before it is forked."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from vllm.config import set_current_vllm_config

from rollout.worker.direct import DirectExperts, DirectLayer, DirectLinear, DirectLoader
from rollout.worker.direct_proof import prove
from rollout.worker.learned_copies import NotLearned


def layer_of(loader: DirectLoader, kind: type[DirectLayer]) -> DirectLayer:
    return next(layer for layer in loader.layers if type(layer) is kind)


def dropped(layer: DirectLayer) -> None:
    next(iter(layer.copies.values())).pop()


def elsewhere(layer: DirectLayer) -> None:
    """The first tensor's numbers one place further, the last of them where it was."""
    copies = next(iter(layer.copies.values()))
    name, copy = copies[0]
    first = replace(copy.taken, size=(1,) * len(copy.taken.size))
    copies.append((name, replace(copy, taken=first, put=replace(first, offset=copy.put.offset + 1))))


def never_packed(layer: DirectLayer) -> None:
    layer.complete = lambda: None  # type: ignore[method-assign]


SPOILS: dict[str, tuple[type[DirectLayer], Callable[[DirectLayer], None]]] = {
    "a norm without its weight": (DirectLayer, dropped),
    "a linear layer without one of its parts": (DirectLinear, dropped),
    "a linear layer with a number elsewhere": (DirectLinear, elsewhere),
    "a linear layer whose kernel stays": (DirectLinear, never_packed),
    "experts in another order": (DirectExperts, lambda layer: setattr(layer, "whole", {}) or swapped(layer)),
}


def swapped(layer: DirectLayer) -> None:
    copies = next(iter(layer.copies.values()))
    (name, one), (_, other) = copies[0], copies[1]
    copies[0], copies[1] = (name, replace(one, put=other.put)), (name, replace(other, put=one.put))


def what_the_proof_says(worker: Any) -> dict[str, str]:
    """The refusal of each kind of wrong copies, empty where it was not noticed; of the right ones under "right". Weights are lost."""
    loading = worker.weight_transfer_engine.loading
    said = {}
    with set_current_vllm_config(worker.vllm_config):
        for what, (kind, spoil) in {"right": (DirectLayer, lambda layer: None), **SPOILS}.items():
            loader = DirectLoader(loading.model, loading.manifest)
            spoil(layer_of(loader, kind))
            try:
                prove(loader, loading.config)
                said[what] = ""
            except NotLearned as refused:
                said[what] = str(refused)
    return said
