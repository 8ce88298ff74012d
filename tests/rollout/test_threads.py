"""Both ends of a transfer compute with half of their threads, and with all of them afterwards; a vLLM worker does so too."""

import pytest
import torch

from rollout.delta.side_by_side import side_by_side
from rollout.transfer.threads import half_the_threads, set_threads


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


def test_threads_are_set_where_vllm_has_replaced_the_function_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    found = torch.get_num_threads()
    set_threads(4)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)  # as `vllm.v1.worker.cpu_worker` does
    try:
        with half_the_threads():
            assert torch.get_num_threads() == 2
            pieces = side_by_side(lambda _: torch.get_num_threads(), range(3), torch.device("cpu"))
        assert torch.get_num_threads() == 4
    finally:
        set_threads(found)
    assert pieces == [1, 1, 1]
