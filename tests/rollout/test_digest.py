from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

import rollout.transfer.digest as digests
from rollout.transfer.digest import COLUMNS, digest, read, sums

GB = 1e9
DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.uint8)


def written_out(data: bytes) -> tuple[int, int]:
    """The digest by its definition, in whole numbers of any size."""
    whole = len(data) // 4 * 4
    words = [*np.frombuffer(data[:whole], np.int32).tolist(), *data[whole:]]
    return wrapped(sum(words)), wrapped(sum(place * word for place, word in enumerate(words, start=1)))


def wrapped(number: int) -> int:
    """A number modulo 2**64, with a sign as int64 has it."""
    return (number + 2**63) % 2**64 - 2**63


def random_bytes(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (count,), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("count", [0, 1, 3, 4, 7, 4 * COLUMNS - 1, 4 * COLUMNS, 4 * COLUMNS + 5, 12 * COLUMNS + 4, 3 * 4 * (1 << 17) + 9])
def test_a_digest_is_the_sums_of_its_definition(count: int) -> None:
    tensor = random_bytes(count)
    assert digest(tensor) == written_out(tensor.numpy().tobytes())


@given(st.integers(0, 5 * COLUMNS), st.sampled_from(DTYPES), st.integers(0, 2**32))
def test_it_is_the_same_for_every_dtype_of_the_same_bytes(count: int, dtype: torch.dtype, seed: int) -> None:
    raw = random_bytes(count * 8, seed)
    assert digest(raw.view(dtype)) == written_out(raw.numpy().tobytes())


@pytest.mark.parametrize("words", [COLUMNS, 4 * COLUMNS, 1 << 23])
def test_it_does_not_depend_on_how_many_words_are_read_at_a_time(words: int, monkeypatch: pytest.MonkeyPatch) -> None:
    tensor = random_bytes(4 * 9 * COLUMNS + 6)
    expected = digest(tensor)
    monkeypatch.setattr(digests, "CPU_WORDS", words)
    assert digest(tensor) == expected


def test_a_view_that_begins_within_a_word_counts_as_its_own_values() -> None:
    chunk = random_bytes(40)
    assert digest(chunk[2:].view(torch.bfloat16)) == written_out(chunk[2:].numpy().tobytes())


def test_a_view_that_is_not_contiguous_counts_as_its_own_values() -> None:
    table = torch.randn(7, 5)
    assert digest(table.T) == digest(table.T.contiguous()) != digest(table)


@pytest.mark.parametrize("change", ["permute", "alter", "drop", "cast"])
def test_what_may_go_wrong_on_the_way_changes_it(change: str) -> None:
    tensor = torch.randn(COLUMNS + 3)
    altered = tensor.clone()
    altered[-1] += 1
    wrong = {"permute": tensor.flip(0), "alter": altered, "drop": tensor[:-1], "cast": tensor.to(torch.bfloat16)}[change]
    assert digest(wrong) != digest(tensor)


def test_many_digests_are_read_together() -> None:
    tensors = {name: torch.randn(size) for name, size in (("a", 3), ("b", 4 * COLUMNS))}
    assert read({name: sums(tensor) for name, tensor in tensors.items()}) == {name: digest(tensor) for name, tensor in tensors.items()}
    assert read({}) == {}


def test_a_thread_that_begins_in_inference_mode_may_go_on_outside_of_it() -> None:
    tensor = random_bytes(4 * 40 * COLUMNS)

    def both() -> list[tuple[int, int]]:
        with torch.inference_mode():
            inside = digest(tensor)
        return [inside, digest(tensor)]

    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(both).result() == [written_out(tensor.numpy().tobytes())] * 2


def test_threads_digest_at_the_same_time() -> None:
    tensors = [random_bytes(4 * 300 * COLUMNS, seed) for seed in range(8)]
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(digest, tensors)) == [written_out(tensor.numpy().tobytes()) for tensor in tensors]


class Calls(TorchDispatchMode):
    """Counts the operations that reach a device, and those that stop it."""

    def __init__(self) -> None:
        super().__init__()
        self.count = self.stops = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += 1
        self.stops += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


def test_on_a_gpu_a_gigabyte_takes_at_most_500_kernels_and_no_stop() -> None:
    tensor = torch.empty(1 << 28, dtype=torch.uint8, device="meta")  # any device but the CPU takes the words of a GPU
    with Calls() as calls:
        sums(tensor)
    assert 0 < calls.count / (tensor.nbytes / GB) <= 500
    assert calls.stops == 0
