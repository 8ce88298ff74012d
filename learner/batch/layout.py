"""How a pass sees a micro-batch: as padded rows, as one row of real tokens, or as one row in which equal prompts are there once.

Legend: B rows of S columns, M real tokens of the batch, N tokens of the pass. N is less than M where rows share a prompt.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharing:
    """Which token of the pass stands for each real token of the batch."""

    real: Tensor  # int64 [M], flat positions in the batch
    token: Tensor  # int64 [M], the token of the pass that stands for it
    first: Tensor  # int64 [N], the first real token that each token of the pass stands for


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The mapping between a padded batch [B, S] and the N tokens of a pass."""

    place: Tensor | None  # int64 [N], flat positions in the batch of the tokens of the pass; None if the pass has all positions
    shape: tuple[int, int]  # B, S
    sharing: Sharing | None = None  # None where each token stands for itself alone

    def flat(self, values: Tensor) -> Tensor:
        """Values of a padded batch [B, S, ...] as those of the pass [N, ...]; of shared tokens those of the first row."""
        flat = values.flatten(0, 1)
        return flat if self.place is None else flat[self.place]

    def padded(self, values: Tensor) -> Tensor:
        """Values of the pass [N, ...] as a padded batch [B, S, ...], 0 on padding."""
        if self.place is None:
            return values.unflatten(0, self.shape)
        whole = values.new_zeros(self.shape[0] * self.shape[1], *values.shape[1:])
        place = self.place if self.sharing is None else self.sharing.real
        return whole.index_copy(0, place, self.each(values)).unflatten(0, self.shape)

    def each(self, values: Tensor) -> Tensor:
        """Values of the pass [N, ...] as those of each real token [M, ...]."""
        return values if self.sharing is None else values.index_select(0, self.sharing.token)

    def every(self, values: Tensor) -> Tensor:
        """Values of a padded batch [B, S, ...] at each real token [M, ...]."""
        return self.flat(values) if self.sharing is None else values.flatten(0, 1)[self.sharing.real]

    def times(self, marked: Tensor) -> Tensor:
        """How many of the positions that `marked` [B, S] marks each token of the pass stands for: int64 [N]."""
        counts = self.every(marked).long()
        if self.sharing is None:
            return counts
        return counts.new_zeros(len(self.sharing.first)).index_add(0, self.sharing.token, counts)


def lay_out(attention: Tensor, *, packed: bool, prompts: Tensor | None = None, width: int = 0) -> Layout:
    """The layout of a batch whose real tokens `attention` [B, S] marks; `packed` leaves out its padding.

    `prompts` [B] names the row whose prompt stands for each row's own; prompts are the first `width` columns.
    """
    shape = (attention.shape[0], attention.shape[1])
    real = attention.flatten().nonzero().squeeze(1) if packed else None
    if real is None or prompts is None:
        return Layout(place=real, shape=shape)
    row, column = real // shape[1], real % shape[1]
    stands = torch.where(column < width, prompts[row] * shape[1] + column, real)
    first = (stands == real).nonzero().squeeze(1)
    place = real[first]
    number = torch.empty(shape[0] * shape[1], dtype=torch.int64, device=real.device)
    number[place] = torch.arange(len(place), device=real.device)
    return Layout(place=place, shape=shape, sharing=Sharing(real=real, token=number[stands], first=first))
