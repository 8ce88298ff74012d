"""Why learner and engine differ: a share of the responses, scored again with live and recorded experts, past and present weights.

    a rank's rows ──► a random share of them ──► for every version that sampled them: swap its weights in, score, swap back, score

These passes learn nothing and leave the random state alone, so a run learns the same with and without them.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from math import ceil

import numpy as np
import torch

from configs.schema import Config
from learner.batch.divide import cut_into_micro_batches
from learner.batch.fetched import Fetched
from learner.batch.recorded import ExpertShape, usable_rows
from learner.batch.row import Row
from learner.batch.tensors import Batch, build_batch
from learner.experts.routing import Watcher
from learner.mismatch.history import WeightHistory
from learner.mismatch.parts import WITH_EXPERTS, WITHOUT_EXPERTS, MismatchParts, Scores, parts_of
from learner.mismatch.routing_watch import RoutingWatch
from learner.model.zero import ZeroEngine
from learner.process_group import max_over_ranks, sum_over_ranks

# Why a response is left out: the engine reported no experts; a publish interrupted it; the weights of its version are not in memory.
LEFT_OUT = ("unrouted", "cut", "not_held")


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """The rows of a rank that are scored again."""

    rows: Sequence[Row] = ()
    left_out: Sequence[str] = ()  # why other rows cannot be, a reason each


class Rescoring:
    """Measures the parts of the mismatch on one rank. `captured` is the shape of the engine's recordings, None if it makes none."""

    def __init__(self, config: Config, zero: ZeroEngine, captured: ExpertShape | None, device: torch.device) -> None:
        self.zero, self.device, self.captured = zero, device, captured
        self.share = float(config.mismatch.share)
        self.seed, self.budget, self.packed = config.run.seed, config.learner.micro_batch_tokens, config.learner.packing is True
        self.staleness = config.run.max_staleness
        self.history = WeightHistory(zero, self.staleness) if self.share and self.staleness else None
        self.watch = RoutingWatch(captured.sparse if captured else (), device)

    def draw(self, version: int, rows: Sequence[Row], fetched: Fetched) -> Drawn:
        """Choose at random the rows of a step to score again, and fetch their recorded experts; `version` is that of the present weights.

        Recordings that are not here are fetched row by row in the order of the draw, until enough are usable.
        """
        if not self.share:
            return Drawn()
        versions = self._versions(version)
        reasons = [self._reason(row, fetched, versions) for row in rows]
        fit = self._shuffle(version, [row for row, reason in zip(rows, reasons, strict=True) if reason is None])
        left_out = [reason for reason in reasons if reason is not None]
        count, chosen = ceil(self.share * len(rows)), list[Row]()
        while fit and len(chosen) < count:
            lacking = count - len(chosen)
            tried, fit = fit[:lacking], fit[lacking:]
            if self.captured:
                fetched.fetch_experts(tried)
            usable = [row for row in tried if self._is_routed(row, fetched)]
            chosen += usable
            left_out += ["unrouted"] * (len(tried) - len(usable))
        return Drawn(rows=chosen, left_out=left_out)

    @torch.no_grad()
    def measure(self, version: int, drawn: Drawn, fetched: Fetched) -> dict[str, float]:
        """The metrics of a step, measured before its first update; `version` is that of the present weights. A collective."""
        if not self.share:
            return {}
        parts = MismatchParts(WITH_EXPERTS if self.captured else WITHOUT_EXPERTS, self.device)
        for sampling, batches in self._batches(self._versions(version), drawn.rows, fetched).items():
            self._score_under(sampling, version, batches, parts)
        if self.history is not None:
            self.history.store(version)
        counts = [len(drawn.rows), *(list(drawn.left_out).count(reason) for reason in LEFT_OUT)]
        counted = sum_over_ranks(torch.tensor(counts, dtype=torch.float64, device=self.device)).tolist()
        metrics = dict(zip(("responses", *LEFT_OUT), counted, strict=True)) | parts.describe()
        metrics |= {name: share for name, share in self.watch.describe().items() if "/" not in name}
        return {f"split/{name}": value for name, value in metrics.items()}

    def _versions(self, version: int) -> list[int]:
        """The versions whose weights are here, the present one last."""
        return [*(v for v in range(version - self.staleness, version) if self.history is not None and v in self.history.stored), version]

    def _reason(self, row: Row, fetched: Fetched, versions: Sequence[int]) -> str | None:
        """Why a response is left out, as far as it is known without fetching more; None if it is not."""
        if fetched.has_experts(row) and not self._is_routed(row, fetched):
            return "unrouted"
        response = fetched.response(row)
        if response.oldest_version != response.newest_version:
            return "cut"
        return None if response.oldest_version in versions else "not_held"

    def _is_routed(self, row: Row, fetched: Fetched) -> bool:
        """Whether every token of a fetched recording is usable; always so if none is needed."""
        return self.captured is None or bool(usable_rows(fetched.experts(row), row.tokens - 1, self.captured).all())

    def _shuffle(self, step: int, rows: Sequence[Row]) -> list[Row]:
        """The rows in a random order that depends only on the run's seed, the step and each row's place."""
        return sorted(rows, key=lambda row: np.random.default_rng((self.seed, step, *row.name)).random())

    def _batches(self, versions: Sequence[int], chosen: Sequence[Row], fetched: Fetched) -> dict[int, list[Batch]]:
        """The chosen rows as micro-batches by the version that sampled them: equally many on every rank, some may be empty."""

        def sampled_by(version: int) -> list[Row]:
            return [row for row in chosen if fetched.response(row).oldest_version == version]

        mine = [cut_into_micro_batches(sampled_by(version), self.budget, packed=self.packed) for version in versions]
        # A pass is a collective under ZeRO-3 and with spread experts.
        most = max_over_ranks(torch.tensor([len(parts) for parts in mine], device=self.device)).tolist()
        return {
            version: [
                build_batch(rows, fetched, 0, captured=self.captured).to(self.device) for rows in parts + ((),) * (count - len(parts))
            ]
            for version, parts, count in zip(versions, mine, most, strict=True)
            if count
        }

    def _score_under(self, sampling: int, present: int, batches: Sequence[Batch], parts: MismatchParts) -> None:
        """Score the batches that one version sampled under its weights and under the present ones."""
        with nullcontext() if sampling == present or self.history is None else self.history.swapped_in(sampling):
            past = [self._score(batch, self.watch.watchers(batch)) for batch in batches]
        now = past if sampling == present else [self._score(batch) for batch in batches]
        for batch, under_sampling, under_present in zip(batches, past, now, strict=True):
            assert batch.engine_logprobs is not None, "the config refuses mismatch.share without engine log-probs"
            parts.add(parts_of(batch.engine_logprobs, under_sampling, under_present, batch.mask))

    def _score(self, batch: Batch, watchers: Sequence[Watcher] = ()) -> Scores:
        live = self.zero(batch, None, watchers)[0].detach()
        return Scores(live=live, replayed=self.zero(batch, batch.experts)[0].detach() if self.captured else None)
