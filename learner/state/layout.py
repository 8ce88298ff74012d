"""What a checkpoint's folder contains, and which folders cannot be read. Works without torch.

state/rank-00000.safetensors    the fragments that a rank wrote
rank-0.json                     its counters, and how many ranks there were; written last
"""

import json
from pathlib import Path
from typing import Any

LAYOUT = 1
STATE = "state"


def state_file(rank: int) -> str:
    """The file of a rank's fragments, relative to the checkpoint."""
    return f"{STATE}/rank-{rank:05d}.safetensors"


def counters_file(rank: int) -> str:
    """The file of a rank's counters, relative to the checkpoint."""
    return f"rank-{rank}.json"


def read_counters(folder: Path) -> list[dict[str, Any]]:
    """The counters of every rank that wrote the checkpoint; ValueError for a layout that cannot be read, or a missing rank."""
    refuse_other_layouts(folder)
    first: dict[str, Any] = json.loads((folder / counters_file(0)).read_text())
    missing = [name for rank in range(first["ranks"]) if not (folder / (name := counters_file(rank))).is_file()]
    if missing:
        raise ValueError(f"{folder} lacks {', '.join(missing)} of {first['ranks']} learner ranks: use another checkpoint")
    return [first, *(json.loads((folder / counters_file(rank)).read_text()) for rank in range(1, first["ranks"]))]


def refuse_other_layouts(folder: Path) -> None:
    """Raise ValueError for a checkpoint that DeepSpeed wrote, as versions up to 0.8 let it, or that a later version wrote."""
    path = folder / counters_file(0)
    if not path.is_file():
        raise ValueError(f"{folder} has no {path.name}, so it is no checkpoint of learner ranks: give a folder step_NNNNNN")
    layout = json.loads(path.read_text()).get("layout", 0)
    if layout == 0:
        raise ValueError(
            f"{folder} is in DeepSpeed's own layout, which versions up to 0.8 wrote and this one does not read: finish the run with the "
            "version that began it, or export it with that version (python -m cluster export) and set model.path to the exported folder"
        )
    if layout > LAYOUT:
        raise ValueError(f"{folder} has layout {layout}, and this version reads up to {LAYOUT}: use the version that wrote it")
