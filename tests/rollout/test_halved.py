"""Both ends of a transfer compute with half of their threads, and with all of them afterwards."""

import pytest
import torch

from rollout.transfer.halved import half_the_threads


@pytest.mark.parametrize(("before", "during"), [(1, 1), (2, 1), (5, 2)])
def test_half_of_the_threads_work_until_the_transfer_ends_or_fails(before: int, during: int) -> None:
    found = torch.get_num_threads()
    torch.set_num_threads(before)
    try:
        with half_the_threads():
            assert torch.get_num_threads() == during
        assert torch.get_num_threads() == before
        with pytest.raises(ValueError, match="invalid literal"), half_the_threads():
            int("it broke")
        assert torch.get_num_threads() == before
    finally:
        torch.set_num_threads(found)
