"""Why learner and engine differ: a share of the responses, scored again with live and recorded experts, past and present weights.

    a rank's rows ──► a random share of them ──► for every version that sampled them: swap its weights in, score, swap back, score

These passes learn nothing and leave the random state alone, so a run learns the same with and without them.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from math import ceil

import numpy as np
import torch

from configs.schema import Config
from learner.batch.plan import Row, cut_into_micro_batches
from learner.batch.recorded import ExpertShape, usable_rows
from learner.batch.tensors import Batch, build_batch
from learner.experts.routing import Watcher
from learner.mismatch.history import WeightHistory
from learner.mismatch.parts import WITH_EXPERTS, WITHOUT_EXPERTS, MismatchParts, Scores, parts_of
from learner.mismatch.routing_watch import RoutingWatch
from learner.model.zero import ZeroEngine
from learner.process_group import max_over_ranks, sum_over_ranks
from rollout.types import Group

# Why a response is left out: the engine reported no experts; a publish interrupted it; the weights of its version are not in memory.
LEFT_OUT = ("unrouted", "cut", "not_held")


class Rescoring:
    """Measures the parts of the mismatch on one rank. `captured` is the shape of the engine's recordings, None if it makes none."""

    def __init__(self, config: Config, zero: ZeroEngine, captured: ExpertShape | None, device: torch.device) -> None:
        self.zero, self.device, self.captured = zero, device, captured
        self.share = float(config.mismatch.share)
        self.seed, self.budget, self.packed = config.run.seed, config.learner.micro_batch_tokens, config.learner.packing
        self.staleness = config.run.max_staleness
        self.history = WeightHistory(zero, self.staleness) if self.share and self.staleness else None
        self.watch = RoutingWatch(captured.sparse if captured else (), device)

    @torch.no_grad()
    def measure(self, version: int, rows: Iterable[Row], groups: Mapping[int, Group]) -> dict[str, float]:
        """The metrics of a step, measured before its first update; `version` is that of the present weights. A collective."""
        if not self.share:
            return {}
        past = [v for v in range(version - self.staleness, version) if self.history is not None and v in self.history.stored]
        rows, versions = list(rows), [*past, version]
        reasons = [self._reason(row, groups, versions) for row in rows]
        fit = [row for row, reason in zip(rows, reasons, strict=True) if reason is None]
        chosen = self._draw(version, fit, ceil(self.share * len(rows)))
        parts = MismatchParts(WITH_EXPERTS if self.captured else WITHOUT_EXPERTS, self.device)
        for sampling, batches in self._batches(versions, chosen, groups).items():
            self._score_under(sampling, version, batches, parts)
        if self.history is not None:
            self.history.store(version)
        counts = [len(chosen), *(reasons.count(reason) for reason in LEFT_OUT)]
        counted = sum_over_ranks(torch.tensor(counts, dtype=torch.float64, device=self.device)).tolist()
        metrics = dict(zip(("responses", *LEFT_OUT), counted, strict=True)) | parts.describe()
        metrics |= {name: share for name, share in self.watch.describe().items() if "/" not in name}
        return {f"split/{name}": value for name, value in metrics.items()}

    def _reason(self, row: Row, groups: Mapping[int, Group], versions: Sequence[int]) -> str | None:
        """Why a response is left out; None if it is not."""
        response = groups[row.group].responses[row.member]
        if self.captured and not usable_rows(response.routed_experts, row.tokens - 1, self.captured).all():
            return "unrouted"
        if response.oldest_version != response.newest_version:
            return "cut"
        return None if response.oldest_version in versions else "not_held"

    def _draw(self, step: int, rows: Sequence[Row], count: int) -> list[Row]:
        """`count` of the rows at random; the draw depends only on the run's seed, the step and the row's place."""
        return sorted(rows, key=lambda row: np.random.default_rng((self.seed, step, row.group, row.member)).random())[:count]

    def _batches(self, versions: Sequence[int], chosen: Sequence[Row], groups: Mapping[int, Group]) -> dict[int, list[Batch]]:
        """The chosen rows as micro-batches by the version that sampled them: equally many on every rank, some may be empty."""

        def sampled_by(version: int) -> list[Row]:
            return [row for row in chosen if groups[row.group].responses[row.member].oldest_version == version]

        mine = [cut_into_micro_batches(sampled_by(version), self.budget, packed=self.packed) for version in versions]
        # A pass is a collective under ZeRO-3 and with spread experts.
        most = max_over_ranks(torch.tensor([len(parts) for parts in mine], device=self.device)).tolist()
        return {
            version: [build_batch(rows, groups, 0, captured=self.captured).to(self.device) for rows in parts + ((),) * (count - len(parts))]
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
