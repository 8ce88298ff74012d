"""A micro-batch as the decoder sees it: padded rows, or real tokens alone in one long row."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where every token of a padded batch [B, S] lies among the N tokens of a pass."""

    place: Tensor | None  # int64 [N], the flat positions of the batch that are in the pass; None where all are
    shape: tuple[int, int]  # B, S

    def flat(self, values: Tensor) -> Tensor:
        """Values of the padded batch [B, S, ...] in the order of the pass [N, ...]."""
        flat = values.flatten(0, 1)
        return flat if self.place is None else flat[self.place]

    def padded(self, values: Tensor) -> Tensor:
        """Values in the order of the pass [N, ...] in their places of the padded batch [B, S, ...], 0 on padding."""
        if self.place is None:
            return values.unflatten(0, self.shape)
        whole = values.new_zeros(self.shape[0] * self.shape[1], *values.shape[1:])
        return whole.index_copy(0, self.place, values).unflatten(0, self.shape)


def lay_out(attention: Tensor, *, packed: bool) -> Layout:
    """The layout of a batch whose real tokens `attention` [B, S] marks, with or without its padding."""
    place = attention.flatten().nonzero().squeeze(1) if packed else None
    return Layout(place=place, shape=(attention.shape[0], attention.shape[1]))
