"""Paths as people write them, with `~` for the folder of a user."""

import os
from pathlib import Path


def expanded(path: str | os.PathLike[str]) -> Path:
    """The path with `~` resolved; as it is written where no such user exists, as a shell does it, so that it is then reported as absent."""
    return Path(os.path.expanduser(path))
