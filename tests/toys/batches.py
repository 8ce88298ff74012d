"""Micro-batches of whole groups that a test has in its own process."""

from collections.abc import Mapping, Sequence
from typing import Any

from learner.batch.fetched import fetch_all
from learner.batch.row import Row
from learner.batch.tensors import Batch, build_batch
from rollout.types import Group


def whole_batch(rows: Sequence[Row], groups: Mapping[int, Group] | Sequence[Group], pad_id: int, **more: Any) -> Batch:
    """The rows as a batch, with the recorded experts of all of them."""
    return build_batch(rows, fetch_all(groups, rows), pad_id, **more)
