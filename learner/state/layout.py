"""What a checkpoint's folder contains, and which folders cannot be read. Works without torch.

state/rank-00000.safetensors    the fragments that a rank wrote
rank-0.json                     its counters, and how many ranks there were; written last
"""

import json
from pathlib import Path
from typing import Any

from configs.errors import CheckpointError

LAYOUT = 1
DEEPSPEED = "zero"  # the folder of DeepSpeed's own layout
STATE = "state"


def state_file(rank: int) -> str:
    """The file of a rank's fragments, relative to the checkpoint."""
    return f"{STATE}/rank-{rank:05d}.safetensors"


def counters_file(rank: int) -> str:
    """The file of a rank's counters, relative to the checkpoint."""
    return f"rank-{rank}.json"


def read_counters(folder: Path) -> list[dict[str, Any]]:
    """The counters of every rank that wrote the checkpoint; CheckpointError for a layout that cannot be read, or a missing rank."""
    refuse_other_layouts(folder)
    first = counters_of(folder, 0)
    return [first, *(counters_of(folder, rank) for rank in range(1, first["ranks"]))]


def counters_of(folder: Path, rank: int) -> dict[str, Any]:
    """The counters of one rank; CheckpointError if they cannot be read."""
    path = folder / counters_file(rank)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["layout"] != LAYOUT:
            raise ValueError(f"layout {found['layout']}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} does not hold the counters of a learner rank ({error!r}): use another checkpoint") from error
    counters: dict[str, Any] = found
    return counters


def refuse_other_layouts(folder: Path) -> None:
    """Raise CheckpointError for a checkpoint that DeepSpeed wrote, as versions up to 0.8 let it, or that a later version wrote."""
    if (folder / DEEPSPEED).is_dir():
        raise CheckpointError(
            f"{folder} is in DeepSpeed's own layout, which versions up to 0.8 wrote and this one does not read: finish the run with the "
            "version that began it, or export it with that version (python -m cluster export) and set model.path to the exported folder"
        )
    try:
        layout = int(json.loads((folder / counters_file(0)).read_text(encoding="utf-8"))["layout"])
    except (OSError, ValueError, KeyError, TypeError):
        return  # damaged: `read_counters` says so
    if layout > LAYOUT:
        raise CheckpointError(f"{folder} has layout {layout}, and this version reads up to {LAYOUT}: use the version that wrote it")
