"""What a save needs: the ranks that have the state, and the records that must be on the disk first."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from cluster.record.saves.integrity import Files


class Ranks(Protocol):
    """What a save needs of the learner's ranks."""

    async def snapshot(self) -> object:
        """Copy the state; the next step may begin afterwards."""

    async def write(self, folder: Path) -> Sequence[Files]:
        """Write the newest snapshot; the files of each rank, flushed, with their sizes and hashes."""

    async def export(self, folder: Path) -> None:
        """Write the policy of now as a Hugging Face folder."""


class Record(Protocol):
    """A file of the run to which every step adds."""

    def flush(self) -> None:
        """Bring everything to the disk; raises if that is impossible."""

    def complaint(self) -> str:
        """What is not on the disk although it should be; empty if all is."""
