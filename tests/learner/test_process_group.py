"""Parts of one tensor reach every rank of a gloo group in place, whatever they hold."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import multiprocessing

from learner.process_group import gather_in_place

RANKS, NUMBERS = 3, 5


def expected(dtype: torch.dtype) -> torch.Tensor:
    return torch.arange(RANKS * NUMBERS, dtype=torch.float32).to(dtype)


def one_rank(rank: int, store: str, dtype: torch.dtype, failures: str) -> None:
    """Begin with this rank's part alone; the others are not numbers."""
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=RANKS)
    flat = torch.full((RANKS * NUMBERS,), torch.nan, dtype=dtype)
    parts = flat.chunk(RANKS)
    parts[rank].copy_(expected(dtype).chunk(RANKS)[rank])
    gather_in_place(parts, dist.group.WORLD)
    other = dist.new_group([0, 2])  # whose ranks are counted by their places in it
    few = torch.full((2,), float(rank), dtype=dtype)
    if rank != 1:
        gather_in_place(few.chunk(2), other)
    if not torch.equal(flat, expected(dtype)) or (rank != 1 and few.tolist() != [0.0, 2.0]):
        Path(f"{failures}{rank}").write_text(f"{flat} {few}")
    dist.destroy_process_group()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_rank_has_all_parts(dtype: torch.dtype, tmp_path: Path) -> None:
    multiprocessing.spawn(one_rank, (str(tmp_path / "store"), dtype, str(tmp_path / "failed")), RANKS)
    assert [path.read_text() for path in tmp_path.glob("failed*")] == []
