"""Recordings of experts: checked against the model, and laid out beside the tokens of a batch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rollout.types import Experts

BYTE = 256  # experts that one byte can name


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """The experts that the tokens of a batch took in one pass; in host memory, because a step has a recording of every response.

    Legend: B responses, S tokens with the prompt, L decoder layers, K experts a token.
    """

    experts: Tensor  # [B, S, L, K], any integer type; the columns of layers without experts are ignored
    known: Tensor  # bool [B, S], False where the router chooses live

    def to(self, device: torch.device | str) -> "Recording":
        """The recording on a device."""
        return Recording(experts=self.experts.to(device), known=self.known.to(device))


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertShape:
    """The shape that recordings of a model's experts must have."""

    layers: int  # L, decoder layers; those without experts have a column too
    sparse: tuple[int, ...]  # the layers that have experts
    experts: int  # E of such a layer
    top_k: int  # K

    @property
    def dtype(self) -> torch.dtype:
        return expert_dtype(self.experts)


def expert_dtype(experts: int) -> torch.dtype:
    """The smallest integer type that holds an expert's number and that torch can compute with."""
    return torch.uint8 if experts <= BYTE else torch.int16


def lay_out_experts(
    recorded: Mapping[int, Experts | None], prompts: Sequence[int], responses: Sequence[int], width: int, length: int, shape: ExpertShape
) -> tuple[Recording | None, NDArray[np.bool_]]:
    """The engine's recording beside the tokens of a batch, None if no response has one; and which responses lack none of it [B].

    `recorded` has the fetched recordings by the response's position in the batch. A response whose recording was not fetched lacks
    nothing, and its router chooses live. `prompts` and `responses` are the numbers of tokens.
    """
    experts = torch.zeros(len(responses), width + length, shape.layers, shape.top_k, dtype=shape.dtype).numpy()
    known = np.zeros(experts.shape[:2], np.bool_)
    whole = np.ones(len(responses), np.bool_)
    for i, found in recorded.items():
        # A prompt of P and a response of T tokens have P+T-1 rows: the last token is never fed to the engine.
        rows = prompts[i] + responses[i] - 1
        usable = usable_rows(found, rows, shape)
        whole[i] = usable.all()
        if usable.any():
            place = slice(width - prompts[i], width - prompts[i] + rows)
            experts[i, place], known[i, place] = found, usable
    if not known.any():
        return None, whole
    return Recording(experts=torch.from_numpy(experts), known=torch.from_numpy(known)), whole


def usable_rows(recorded: NDArray[np.integer] | None, rows: int, shape: ExpertShape) -> NDArray[np.bool_]:
    """Which of the tokens fed to the engine [rows] have usable recorded experts.

    None of them if the row count differs from the tokens fed (rows would shift), or if layers or experts per token do not match the
    model. A single token has none if a number names no expert, or if its first two experts are equal: the engine never wrote that row.
    """
    if recorded is None or recorded.shape != (rows, shape.layers, shape.top_k):
        return np.zeros(rows, np.bool_)
    taken = recorded if len(shape.sparse) == shape.layers else recorded[:, shape.sparse]
    usable = np.logical_and(taken >= 0, taken < shape.experts).all(axis=(1, 2))
    written = (taken[..., 0] != taken[..., 1]).all(axis=1) if shape.top_k > 1 else np.ones_like(usable)
    return np.logical_and(usable, written)
