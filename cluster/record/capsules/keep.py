"""Which capsules a run keeps: a bounded number, and of those with a cause the first ones are worth most."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from cluster.record.capsules.read import list_capsules
from cluster.record.capsules.write import DUE


def to_drop(found: Sequence[tuple[Path, bool]], keep: int) -> list[Path]:
    """The capsules to delete so that `keep` are left, from all of a run in their order, each with whether it has a cause.

    Those that were only due go first, the oldest of them before the others. Of those with a cause the first one stays, because it shows
    how the trouble began, and so do the newest.
    """
    due = [path for path, cause in found if not cause]
    caused = [path for path, cause in found if cause]
    excess = max(0, len(found) - keep)
    first = 1 if keep > 1 else 0
    return [*due, *caused[first:], *caused[:first]][:excess]


def drop_old(run_dir: Path, keep: int) -> None:
    """Delete the capsules that are too many."""
    found = [(folder, has_cause(folder)) for folder in sorted(list_capsules(run_dir), key=lambda path: path.stat().st_mtime_ns)]
    for folder in to_drop(found, keep):
        shutil.rmtree(folder, ignore_errors=True)


def has_cause(folder: Path) -> bool:
    """Whether a capsule was kept for more than being due; one that cannot be read counts as if it was not."""
    try:
        head = json.loads((folder / "capsule.json").read_text(encoding="utf-8"))
        return any(reason != DUE for reason in head["reasons"])
    except (OSError, ValueError, KeyError, TypeError):
        return False
