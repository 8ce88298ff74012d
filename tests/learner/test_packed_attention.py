from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from learner.model.packed_attention import SPREAD, Pack, attend, borders

HEADS, SHARED, WIDTH, OUT = 4, 2, 8, 6  # query heads, key heads, their widths and that of the values
lengths_of_packs = st.lists(st.integers(1, 40), min_size=1, max_size=30)
CPU = torch.device("cpu")


def heads_of(tokens: int, seed: int) -> list[Tensor]:
    """Queries, keys and values [1, heads, N, width] in float64."""
    torch.manual_seed(seed)
    shapes = ((HEADS, WIDTH), (SHARED, WIDTH), (SHARED, OUT))
    return [torch.randn(1, heads, tokens, width, dtype=torch.float64, requires_grad=True) for heads, width in shapes]


def one_by_one(query: Tensor, key: Tensor, value: Tensor, lengths: list[int], scaling: float) -> Tensor:
    """Attention written out, one sequence at a time: [1, N, heads, width]."""
    found = []
    for q, k, v in zip(*(heads[0].split(lengths, dim=1) for heads in (query, key, value)), strict=True):
        k, v = (heads.repeat_interleave(HEADS // SHARED, dim=0) for heads in (k, v))
        future = torch.ones(q.shape[1], q.shape[1], dtype=torch.bool).triu(1)
        probs = (q @ k.transpose(1, 2) * scaling).masked_fill(future, -torch.inf).softmax(-1)
        found.append((probs @ v).transpose(0, 1))
    return torch.cat(found)[None]


@given(lengths=lengths_of_packs, seed=st.integers(0, 100))
@settings(max_examples=30, deadline=None)
def test_every_sequence_sees_its_own_past_alone(lengths: list[int], seed: int) -> None:
    heads = heads_of(sum(lengths), seed)
    pack = Pack.of(np.array(lengths), CPU)
    ours, weights = attend(SimpleNamespace(), *heads, None, scaling=0.3, pack=pack)
    theirs = one_by_one(*heads, lengths, scaling=0.3)
    assert weights is None
    torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=0)
    gradients = [torch.autograd.grad((out * out.detach().cos()).sum(), heads) for out in (ours, theirs)]
    for found, wanted in zip(*gradients, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-12, rtol=0)


@given(lengths=st.lists(st.integers(1, 5000), min_size=1, max_size=300))
@settings(max_examples=100, deadline=None)
def test_a_pack_wastes_little_and_makes_few_calls(lengths: list[int]) -> None:
    pack = Pack.of(np.array(lengths), CPU)
    assert sum(count for count, _ in pack.buckets) == len(lengths)
    assert sum(count * width for count, width in pack.buckets) <= SPREAD * sum(lengths)
    assert len(pack.buckets) <= 1 + np.log(max(lengths) / min(lengths)) / np.log(SPREAD)
    if pack.spread is not None and pack.home is not None:
        assert torch.equal(pack.spread[pack.home], torch.arange(sum(lengths)))


def test_sequences_of_one_length_are_not_copied() -> None:
    assert Pack.of(np.array([7, 7, 7]), CPU) == Pack(buckets=((3, 7),), spread=None, home=None)


def test_flash_attention_is_told_where_sequences_end() -> None:
    attention = torch.tensor([[False, True, True, False], [True, True, True, True], [False, True, False, False]])
    ends = borders(attention, "flash_attention_2")
    assert ends["cu_seq_lens_q"].tolist() == ends["cu_seq_lens_k"].tolist() == [0, 2, 6, 7]
    assert ends["cu_seq_lens_q"].dtype == torch.int32
    assert (ends["max_length_q"], ends["max_length_k"]) == (4, 4)


@pytest.mark.parametrize(("pack", "mask"), [(None, None), (Pack.of(np.array([2]), CPU), torch.zeros(1, 1, 2, 2))])
def test_attention_without_borders_or_with_a_mask_is_refused(pack: Pack | None, mask: Tensor | None) -> None:
    with pytest.raises(ValueError, match=r"set learner\.packing = false for this model"):
        attend(SimpleNamespace(), *heads_of(2, 0), mask, pack=pack)
