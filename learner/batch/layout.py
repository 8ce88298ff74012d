"""How a pass sees a micro-batch: as padded rows, or as one row of real tokens only."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The mapping between a padded batch [B, S] and the N tokens of a pass."""

    place: Tensor | None  # int64 [N], flat positions in the batch of the tokens of the pass; None if the pass has all positions
    shape: tuple[int, int]  # B, S

    def flat(self, values: Tensor) -> Tensor:
        """Values of a padded batch [B, S, ...] as those of the pass [N, ...]."""
        flat = values.flatten(0, 1)
        return flat if self.place is None else flat[self.place]

    def padded(self, values: Tensor) -> Tensor:
        """Values of the pass [N, ...] as a padded batch [B, S, ...], 0 on padding."""
        if self.place is None:
            return values.unflatten(0, self.shape)
        whole = values.new_zeros(self.shape[0] * self.shape[1], *values.shape[1:])
        return whole.index_copy(0, self.place, values).unflatten(0, self.shape)


def lay_out(attention: Tensor, *, packed: bool) -> Layout:
    """The layout of a batch whose real tokens `attention` [B, S] marks; `packed` leaves out its padding."""
    place = attention.flatten().nonzero().squeeze(1) if packed else None
    return Layout(place=place, shape=(attention.shape[0], attention.shape[1]))
