"""What a step changes, followed by the patches of all ranks."""

from typing import Any

import torch
import torch.distributed as dist

from learner.learner import Learner
from learner.weights.delta import Deltas
from learner.weights.shares import NotDivided
from learner.weights.source import ZeroWeightSource
from rollout.delta.differences import as_integers
from rollout.delta.moved import moved_on
from rollout.delta.patch import read_patch
from tests.toys.rank_base import Rank


def followed(rank: Rank, learner: Learner) -> tuple[dict[str, float], dict[str, Any]]:
    """A step's metrics, and how the bfloat16 weights before it, patched, differ from those after it. A collective."""
    source = ZeroWeightSource(learner.zero, torch.bfloat16, prove=True)
    deltas = Deltas(source)
    weights = {name: tensor.clone() for name, tensor in source}
    before = source.proof
    try:
        deltas.keep()
    except NotDivided as refused:
        return rank.step(learner), {"refused": str(refused)}
    stats = rank.step(learner)
    mine = deltas.patch()
    patches: list[Any] = [None] * rank.world
    dist.all_gather_object(patches, (mine.raw, mine.moved, mine.changed))
    after, proof, written = dict(source), dict(before), 0
    for raw, moved, _ in patches:
        for changes in read_patch(raw, deltas.manifest, rank.device):
            as_integers(weights[changes.entry.name])[changes.places] += changes.differences
            written += len(changes.places)
        proof = moved_on(proof, moved)
    found = {
        "wrong": [name for name, tensor in after.items() if not torch.equal(as_integers(weights[name]), as_integers(tensor))],
        "uncarried": [name for name, digest in source.proof.items() if tuple(proof[name]) != tuple(digest)],
        "moved": sum(before[name] != source.proof[name] for name in before),
        "shares": [changed for _, _, changed in patches],
        "written": written,
        "again": deltas.patch().changed,
    }
    return stats, found
