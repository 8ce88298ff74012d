"""Weights through memory that a rank and the worker beside it share: the real sender, store and memory, and toy workers in threads."""

import errno
import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from learner.weights.beside import BesideSender
from learner.weights.sender import open_sender
from rollout.transfer.local_memory import SHARED, CudaAddress, Exported, FileAddress, map_buffer, read_address, write_address
from rollout.transfer.meeting import free_socket, open_store
from rollout.transfer.pairs import Pair
from rollout.transfer.proof import Entry, Manifest, aligned, buckets
from rollout.transfer.recall import CalledBack, call_back
from rollout.transfer.transport import Ipc, Rendezvous

CPU = torch.device("cpu")
WEIGHTS = {"a": torch.arange(6.0).reshape(2, 3), "large": torch.randn(9, 9), "b": torch.tensor([7], dtype=torch.int64), "c": torch.ones(5)}
BUCKET = 64  # bytes: `large` is larger, and travels alone


class Source:
    """Yields the weights, and counts the passes in which it copied and in which it stood by."""

    device = CPU

    def __init__(self, prove: bool) -> None:
        self.prove, self.yielded, self.stood_by = prove, 0, 0

    def manifest(self) -> Manifest:
        return tuple(Entry(name, str(t.dtype).removeprefix("torch."), tuple(t.shape)) for name, t in WEIGHTS.items())

    def __iter__(self) -> Iterator[tuple[str, torch.Tensor]]:
        for pair in WEIGHTS.items():
            self.yielded += 1
            yield pair

    def stand_by(self) -> None:
        self.stood_by += 1


class Site:
    """Ranks of one machine and the workers beside some of them."""

    def __init__(self, ranks: int, workers: list[int], patience: float) -> None:
        self.transport = Ipc(deadline_s=patience, bucket_bytes=BUCKET)
        listener = free_socket("127.0.0.1")
        self.meeting = Rendezvous(name="publish-1", host="127.0.0.1", port=listener.getsockname()[1], world_size=1 + len(workers))
        self.sources = [Source(prove=rank == 0) for rank in range(ranks)]
        self.threads = ThreadPoolExecutor(ranks + len(workers))
        first = self.threads.submit(self._open, 0, listener)
        others = [self.threads.submit(self._open, rank, None) for rank in range(1, ranks)]
        self.pairs = {rank: self.threads.submit(self._join, rank) for rank in workers}
        self.senders: list[Any] = [opened.result() for opened in (first, *others)]
        self.pairs_joined = {rank: joined.result() for rank, joined in self.pairs.items()}

    def _open(self, rank: int, listener: Any) -> Any:
        return open_sender(self.transport, self.sources[rank], self.meeting, rank, listener)  # type: ignore[arg-type]

    def _join(self, rank: int) -> Pair:
        store = open_store("127.0.0.1", self.meeting.port, self.meeting.world_size, self.transport.deadline_s)
        pair = Pair(store, self.meeting.name, rank, self.transport.deadline_s)
        pair.join(self.meeting.world_size - 1)
        return pair

    def receive(self, rank: int, breaks_at: int | None = None) -> dict[str, torch.Tensor]:
        """What the worker beside a rank gets; it breaks at a bucket if asked."""
        pair, got = self.pairs_joined[rank], {}
        pair.begin()
        shared = map_buffer(pair.address(), CPU)
        for number, bucket in enumerate(buckets(self.sources[0].manifest(), BUCKET)):
            pair.hear("ready", number)
            if number == breaks_at:
                raise RuntimeError("the worker broke")
            start = 0
            for entry in bucket:
                raw = shared[start : start + entry.nbytes].clone()
                got[entry.name] = raw.view(getattr(torch, entry.dtype)).view(entry.shape)
                start += aligned(entry.nbytes)
            pair.say("done", number)
        pair.say("closed")
        return got

    def publish(self, **breaks: Any) -> tuple[list[Future[Any]], list[Future[Any]]]:
        sending = [self.threads.submit(sender.send) for sender in self.senders]
        return sending, [self.threads.submit(self.receive, rank, **breaks) for rank in self.pairs_joined]


def left_over() -> set[Path]:
    # Another process that runs tests at the same time has files of its own there.
    return set(SHARED.glob("gatewise-*")) - set(SHARED.glob("gatewise-test-*"))


def test_every_worker_gets_every_tensor_of_each_publish_from_the_rank_beside_it() -> None:
    before = left_over()
    site = Site(2, [0, 1], patience=20)
    for _ in range(2):
        sending, receiving = site.publish()
        for got in receiving:
            arrived = got.result(20)
            assert list(arrived) == list(WEIGHTS)
            assert all(torch.equal(arrived[name], tensor) for name, tensor in WEIGHTS.items())
        assert [sent.result(20) for sent in sending] == [None, None]
    assert left_over() == before


def test_a_run_leaves_no_word_of_old_transfers_in_the_store() -> None:
    site = Site(1, [0], patience=20)
    store = site.pairs_joined[0].store
    sizes = []
    for _ in range(3):
        sending, receiving = site.publish()
        [done.result(20) for done in (*sending, *receiving)]
        sizes.append(store.num_keys())
    assert sizes[0] == sizes[-1]


def test_a_rank_whose_engine_has_died_takes_part_in_the_gathers_alone() -> None:
    site = Site(3, [1], patience=20)
    sending, receiving = site.publish()
    assert list(receiving[0].result(20)) == list(WEIGHTS)
    [sent.result(20) for sent in sending]
    assert [source.stood_by for source in site.sources] == [0, 0, 1]
    assert site.sources[0].yielded == len(WEIGHTS), "the first rank digests what the others send"


@pytest.mark.parametrize("bucket", [0, 1])
def test_a_worker_that_breaks_is_noticed_at_the_deadline_and_no_other_rank_is_stranded(bucket: int) -> None:
    before = left_over()
    site = Site(1, [0], patience=0.3)
    sending, receiving = site.publish(breaks_at=bucket)
    with pytest.raises(RuntimeError, match="the worker broke"):
        receiving[0].result(20)
    with pytest.raises(RuntimeError, match=rf"waited 0.3 s for 'done' of bucket {bucket} beside learner rank 0"):
        sending[0].result(20)
    assert site.sources[0].yielded == len(WEIGHTS), "the gathers went on to the end"
    assert left_over() == before


def test_a_rank_beside_a_lost_worker_goes_on_once_the_publish_is_called_back() -> None:
    site = Site(1, [0], patience=60)
    sending, receiving = site.publish(breaks_at=0)
    with pytest.raises(RuntimeError, match="the worker broke"):
        receiving[0].result(20)
    call_back(site.meeting)
    with pytest.raises(CalledBack, match="waited for 'done' of bucket 0 beside learner rank 0: the publish was called back"):
        sending[0].result(20)
    assert site.sources[0].yielded == len(WEIGHTS), "the gathers went on to the end"


def test_engines_that_never_join_are_noticed_at_the_deadline() -> None:
    with free_socket("127.0.0.1") as listener:
        meeting = Rendezvous(name="publish-1", host="127.0.0.1", port=listener.getsockname()[1], world_size=2)
        source: Any = Source(prove=True)
        with pytest.raises(RuntimeError, match=r"waited 0.2 s for the engines to join"):
            BesideSender(Ipc(deadline_s=0.2), source, meeting, 0, listener)


def test_an_address_is_read_without_pickle_and_leads_to_our_own_buffers_only(tmp_path: Path) -> None:
    cuda = CudaAddress(
        gpu="GPU-1", size=8, offset=0, handle="aGFuZGxl", storage_bytes=8, storage_offset=512, counter="Y291bnQ=", counter_offset=3,
        event="ZXZlbnQ=", waits=True,
    )  # fmt: skip
    for address in (cuda, FileAddress(path="/dev/shm/gatewise-x", size=8)):
        assert read_address(write_address(address)) == address
        assert json.loads(write_address(address))["size"] == 8
    with pytest.raises(ValueError, match="is no address of a shared buffer"):
        read_address('["cos", "system"]')
    (tmp_path / "gatewise-theirs").write_bytes(b"secret")
    with pytest.raises(ValueError, match="is no buffer of a learner rank"):
        map_buffer(write_address(FileAddress(path=str(tmp_path / "gatewise-theirs"), size=6)), CPU)


def test_a_shared_file_is_for_this_user_alone_and_gone_once_it_is_hidden() -> None:
    shared = Exported(16, CPU)
    assert shared.path is not None
    assert shared.path.stat().st_mode & 0o777 == 0o600
    mapped = map_buffer(shared.address, CPU)
    shared.hide()
    assert not shared.path.exists()
    shared.buffer.fill_(7)
    assert mapped.tolist() == [7] * 16
    shared.close()


def test_a_full_shared_memory_is_named_before_anything_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    before = left_over()
    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(OSError, match=r"no room for a buffer of 16 bytes \(No space left on device\): enlarge it"):
        Exported(16, CPU)
    assert left_over() == before
