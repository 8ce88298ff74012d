"""What a rank and the engine's worker beside it say to each other during a transfer through shared memory.

    rank                                       worker beside it
    address of the buffer ───────────────────► maps it
    ready (bucket 0 is in the buffer) ───────► copies it out and loads it
                   waits ◄──────────────────── done (the buffer may be filled again)
    ready (bucket 1) …
                   waits ◄──────────────────── closed (nothing maps the buffer any more)

They say it through a key-value store on the learner's first rank. Every wait has the transport's deadline, and ends
once the publish is called back.
"""

import time
from datetime import timedelta

from torch.distributed import DistStoreError, PrefixStore, TCPStore

from rollout.transfer.recall import CALLED_BACK, CalledBack

JOINED, COMPLETE = "joined", "complete"
SLICE_S = 0.5


class Pair:
    """One rank with the worker beside it, in one transfer group."""

    def __init__(self, store: TCPStore, name: str, rank: int, deadline_s: float) -> None:
        self.store, self.rank, self.deadline_s = PrefixStore(name, store), rank, deadline_s
        self.transfers = 0

    def join(self, workers: int) -> None:
        """For a worker: take its seat and wait until all have come."""
        self.store.set(f"beside/{self.rank}", "")
        if self.store.add(JOINED, 1) == workers:
            self.store.set(COMPLETE, "")
        self._wait(COMPLETE, "the other engines to join")

    def meets(self) -> bool:
        """For a rank: wait until all workers have come; whether one of them is beside this rank. None is where its engine has died."""
        self._wait(COMPLETE, "the engines to join")
        return self.store.check([f"beside/{self.rank}"])

    def begin(self) -> None:
        """Begin the next transfer. Both ends count them."""
        self.transfers += 1

    def offer(self, address: str) -> None:
        """For the rank: tell where the buffer is."""
        self.store.set(self._key("address"), address)

    def address(self) -> str:
        """For the worker: where the buffer is."""
        return self._take("address", "the rank's buffer")

    def say(self, word: str, bucket: int = 0) -> None:
        """Tell the other end that a bucket is ready or done, or that the buffer is closed."""
        self.store.set(self._key(word, bucket), "")

    def hear(self, word: str, bucket: int = 0) -> None:
        """Wait until the other end says it; TimeoutError past the deadline."""
        self._take(f"{word}", f"'{word}' of bucket {bucket}", bucket)

    def _take(self, word: str, what: str, bucket: int = 0) -> str:
        key = self._key(word, bucket)
        self._wait(key, what)
        said = self.store.get(key).decode()
        self.store.delete_key(key)  # a long run would fill the first rank's memory
        return said

    def _key(self, word: str, bucket: int = 0) -> str:
        return f"{self.transfers}/{self.rank}/{word}/{bucket}"

    def _wait(self, key: str, what: str) -> None:
        """Wait in slices, and ask between them whether the publish was called back."""
        until = time.monotonic() + self.deadline_s
        while True:
            left = until - time.monotonic()
            try:
                self.store.wait([key], timedelta(seconds=max(0.001, min(SLICE_S, left))))
                return
            except RuntimeError as error:
                if left <= SLICE_S or not isinstance(error, DistStoreError):
                    raise RuntimeError(f"waited {self.deadline_s:g} s for {what} beside learner rank {self.rank}: {error}") from error
                if self.store.check([CALLED_BACK]):
                    raise CalledBack(f"waited for {what} beside learner rank {self.rank}: the publish was called back") from error
