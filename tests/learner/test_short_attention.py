"""Attention of short sequences is torch's own, in values and gradients."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from learner.model.packed_attention import attend_short

SHAPES = {  # sequences, width, query heads, key heads, size
    "one token": (3, 1, 2, 2, 4),
    "one sequence": (1, 7, 4, 4, 8),
    "shared keys": (5, 9, 6, 2, 8),
    "one key head": (4, 16, 3, 1, 5),
    "wider than a register": (2, 31, 4, 2, 16),
}


def torchs(query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
    q, k, v = (heads.transpose(1, 2) for heads in (query, key, value))
    return functional.scaled_dot_product_attention(q, k, v, scale=scale, is_causal=True, enable_gqa=True).transpose(1, 2)


@pytest.mark.parametrize("scale", [None, 0.3])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_values_and_gradients_are_those_of_torch(shape: tuple[int, int, int, int, int], scale: float | None) -> None:
    b, w, heads, groups, size = shape
    torch.manual_seed(0)
    given = [torch.randn(b, w, count, size, dtype=torch.float64, requires_grad=True) for count in (heads, groups, groups)]
    ours, theirs = attend_short(*given, scale), torchs(*given, scale)
    assert ours.shape == (b, w, heads, size)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    weights = torch.randn_like(theirs)
    for found, wanted in zip(torch.autograd.grad(ours, given, weights), torch.autograd.grad(theirs, given, weights), strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


def test_values_may_have_a_size_of_their_own() -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(2, 5, 4, 8), torch.randn(2, 5, 2, 8), torch.randn(2, 5, 2, 3)
    torch.testing.assert_close(attend_short(q, k, v, None), torchs(q, k, v, None))


def test_half_precision_is_computed_in_float32() -> None:
    torch.manual_seed(0)
    given = [torch.randn(3, 12, count, 8).bfloat16() for count in (4, 2, 2)]
    found = attend_short(*given, None)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), torchs(*(heads.float() for heads in given), None), rtol=2**-8, atol=1e-6)
