"""The experts that engines recorded, held against the model and laid out in the places of their tokens."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rollout.types import Response

BYTE = 256  # experts that one byte can name


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """The experts that tokens took in some pass, in host memory, as a step holds them for all its responses.

    Legend: B responses, S tokens with the prompt, L decoder layers, K experts a token.
    """

    experts: Tensor  # [B, S, L, K], any integer type; columns of layers without experts are never read
    known: Tensor  # bool [B, S], False where the live choice is to be taken

    def to(self, device: torch.device | str) -> "Recording":
        """The same on a device."""
        return Recording(experts=self.experts.to(device), known=self.known.to(device))


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertShape:
    """What a recording of a model's experts must look like."""

    layers: int  # L, decoder layers: each has its column, with experts or without
    sparse: tuple[int, ...]  # the layers that have experts
    experts: int  # E of such a layer
    top_k: int  # K

    @property
    def dtype(self) -> torch.dtype:
        """The smallest type that holds an expert's number and that torch computes with."""
        return torch.uint8 if self.experts <= BYTE else torch.int16


def lay_out_experts(
    prompts: Sequence[NDArray[np.int32]], responses: Sequence[Response], width: int, length: int, shape: ExpertShape
) -> tuple[Recording | None, NDArray[np.bool_]]:
    """The engine's experts in the places of their tokens, None where there are none, and which responses bring them whole [B]."""
    experts = np.zeros((len(responses), width + length, shape.layers, shape.top_k), np.uint8 if shape.experts <= BYTE else np.int16)
    known = np.zeros(experts.shape[:2], np.bool_)
    whole = np.zeros(len(responses), np.bool_)
    for i, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
        # A response of T tokens after P of the prompt has P+T-1 rows: its last token was never fed to the engine.
        rows = len(prompt) + len(response) - 1
        usable = usable_rows(response.routed_experts, rows, shape)
        whole[i] = usable.all()
        if usable.any():
            place = slice(width - len(prompt), width - len(prompt) + rows)
            experts[i, place], known[i, place] = response.routed_experts, usable
    if not known.any():
        return None, whole
    return Recording(experts=torch.from_numpy(experts), known=torch.from_numpy(known)), whole


def usable_rows(recorded: NDArray[np.integer] | None, rows: int, shape: ExpertShape) -> NDArray[np.bool_]:
    """Which of the tokens fed to the engine [rows] have experts that this model can take.

    None has where the number of rows is another one: they belong to other tokens, and a shift would go unnoticed. Nor where layers or
    experts a token are others than the model's. A single token has none where a number names no expert, or where the same expert stands
    first and second: the engine never wrote that row.
    """
    if recorded is None or recorded.shape != (rows, shape.layers, shape.top_k):
        return np.zeros(rows, np.bool_)
    taken = recorded if len(shape.sparse) == shape.layers else recorded[:, shape.sparse]
    usable = np.logical_and(taken >= 0, taken < shape.experts).all(axis=(1, 2))
    written = (taken[..., 0] != taken[..., 1]).all(axis=1) if shape.top_k > 1 else np.ones_like(usable)
    return np.logical_and(usable, written)
