"""The numbers of every token of a capsule's responses: log-probs, ratio, clip, mismatch, advantage."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cluster.record.capsules.read import Capsule, CapsuleRow
from cluster.report.responses.pieces import Pieces
from configs.surrogates import Cispo, Clip, DualClip, Gmpo, Minirl, Surrogate

MOST_TOKENS = 100_000  # of a report
MOST_OF_A_ROW = 8_192  # tokens of one response
DIGITS = 4

Shades = dict[str, Any]


def clipped(surrogate: Surrogate | None, ratios: NDArray[Any], advantages: NDArray[Any]) -> NDArray[np.bool_] | None:
    """Whether a surrogate that clips by the ratio did so, for every token; None for other surrogates."""
    up, down = advantages > 0, advantages < 0
    if isinstance(surrogate, Clip | DualClip | Minirl):
        beyond = (up & (ratios > 1 + surrogate.clip_high)) | (down & (ratios < 1 - surrogate.clip_low))
        return beyond | (down & (ratios > surrogate.cap)) if isinstance(surrogate, DualClip) else beyond
    if isinstance(surrogate, Cispo):
        return (ratios < 1 - surrogate.clip_low) | (ratios > 1 + surrogate.clip_high)
    if isinstance(surrogate, Gmpo):
        moved = np.log(np.maximum(ratios, np.finfo(np.float32).tiny))
        return (up & (moved > surrogate.clip_high)) | (down & (moved < -surrogate.clip_low))
    return None


def shades_of(row: CapsuleRow, pieces: Pieces, surrogate: Surrogate | None) -> Shades:
    """The columns of a row's tokens, each as long as `pieces`; a column that the run did not record is absent."""
    count = len(pieces)
    found = clipped(surrogate, row.ratios, row.advantages)
    optional = {
        "engine": row.engine_logprobs,
        "mismatch": None if row.engine_logprobs is None else row.old_logprobs - row.engine_logprobs,
        "reference": row.reference_logprobs,
        "entropy": row.entropy,
        "clip": None if found is None else (found & row.mask).astype(np.float32),
    }
    always = {"logprob": row.logprobs, "old": row.old_logprobs, "ratio": row.ratios, "advantage": row.advantages}
    return {
        "segment": row.segment,
        "pieces": pieces,
        "left_out": len(row.token_ids) - count,
        "sampled": row.sampled[:count].astype(int).tolist(),
        "learned": row.mask[:count].astype(int).tolist(),
        **{name: short(values[:count]) for name, values in (always | optional).items() if values is not None},
    }


def short(values: NDArray[Any]) -> list[float | None]:
    """Numbers with as many digits as a reader needs; None where one is not finite."""
    return [float(f"{value:.{DIGITS}g}") if np.isfinite(value) else None for value in values.tolist()]


def rows_within(capsule: Capsule, shown: Sequence[tuple[Any, Any]], most: int) -> Iterator[tuple[tuple[int, int], list[CapsuleRow]]]:
    """Rows of a capsule by group and member, in the order of `shown`, as long as `most` tokens are not used up."""
    by_name: dict[tuple[Any, Any], list[CapsuleRow]] = {}
    for row in capsule.rows:
        by_name.setdefault((row.group_id, row.member), []).append(row)
    for name in shown:
        rows = by_name.get(name, [])
        most -= sum(min(len(row.token_ids), MOST_OF_A_ROW) for row in rows)
        if most < 0:
            return
        if rows:
            yield name, sorted(rows, key=lambda row: row.segment)
