"""Kept episodes: whether their turns, rewards and versions can be those of one episode."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from cluster.record.audit.account import GroupRow
from cluster.record.metrics.transcripts import read_transcript

CLOSE = 1e-6  # a reward is the sum of those of its turns, which were shaped one by one


def wrong_episode(where: str, kept: Mapping[str, Any], row: GroupRow, max_staleness: int | None) -> Iterator[str]:
    """What cannot be in a kept response of several turns; nothing for one of a single turn."""
    if "turns" not in kept:
        return
    try:
        turns = read_transcript(kept, where)
    except ValueError as error:
        yield str(error)
        return
    if not turns or turns[-1].said != kept["response"]:
        yield f"{where}: its response is not what the model said in its last turn"
    for number, turn in enumerate(turns, start=1):
        answered = not turn.answer.ends
        if answered != (number < len(turns)):
            what = "answered, and no turn follows" if answered else "a turn follows, and no answer"
            yield f"{where}, turn {number} of {len(turns)}: {what}"
    rewards = [turn.get("reward") for turn in kept["turns"]]
    if kept["reward"] is not None and None not in rewards and not math.isclose(sum(rewards), kept["reward"], rel_tol=CLOSE, abs_tol=CLOSE):
        yield f"{where}: the rewards of its turns add up to {sum(rewards):g}, and its reward is {kept['reward']:g}"
    yield from _wrong_versions(where, kept["versions"], row, max_staleness)


def _wrong_versions(where: str, versions: Any, row: GroupRow, max_staleness: int | None) -> Iterator[str]:
    """An episode is as old as its first turn."""
    if not (isinstance(versions, list) and [type(version) for version in versions] == [int, int]):
        yield f"{where}: versions {versions!r}, needed two whole numbers"
        return
    if row.step is None or row.oldest is None or row.newest is None:
        return
    oldest, newest = versions
    if not row.oldest <= oldest <= newest <= row.newest:
        yield f"{where}: sampled by versions {oldest} to {newest}, and the ledger has {row.oldest} to {row.newest}"
    if max_staleness is not None and row.step - 1 - oldest > max_staleness:
        yield f"{where}: staleness {row.step - 1 - oldest}, and run.max_staleness is {max_staleness}"
