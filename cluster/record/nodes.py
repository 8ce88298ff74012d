"""`nodes.json` in the run directory: the address of the node of each engine and each rank, by the name of its log."""

import json
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

from configs.arithmetic import counted, plural

WORDS = {"engine": "engine", "learner": "rank"}


def write_nodes(folder: Path, nodes: Mapping[str, str]) -> None:
    (folder / "nodes.json").write_text(json.dumps(nodes, indent=1) + "\n")


def describe_nodes(nodes: Mapping[str, str]) -> list[str]:
    """A line for each node with the roles on it, engines first; one short line if there is one node."""
    roles: dict[str, dict[str, list[int]]] = {}
    for name, node in nodes.items():
        kind, _, index = name.rpartition("-")
        roles.setdefault(node, {}).setdefault(kind, []).append(int(index))
    if len(roles) == 1:
        ((node, there),) = roles.items()
        counts = (counted(len(found), word) for kind, word in WORDS.items() if (found := there.get(kind)))
        return [f"on one machine ({node}): {', '.join(counts)}"]
    return [
        f"on {node}: {', '.join(_named(word, found) for kind, word in WORDS.items() if (found := there.get(kind)))}"
        for node, there in roles.items()
    ]


def _named(word: str, numbers: Sequence[int]) -> str:
    return f"{plural(word, len(numbers))} {ranges(numbers)}"


def ranges(numbers: Sequence[int]) -> str:
    """Whole numbers with runs of neighbours joined: 0-3, 8."""
    runs = [[n for _, n in run] for _, run in groupby(enumerate(sorted(numbers)), key=lambda pair: pair[1] - pair[0])]
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)
