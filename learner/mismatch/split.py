"""Why learner and engine differ: a few responses scored again, with live and with the engine's experts, under old and present weights.

    a rank's own rows ──► a few of them, by chance ──► for every version that sampled them: swap its weights in, score, swap back, score

Nothing is learned from these passes, and no random state is touched, so a run learns the same with them as without.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from math import ceil

import numpy as np
import torch

from configs.schema import Config
from learner.batch.plan import Row, gather
from learner.batch.recorded import ExpertShape, usable_rows
from learner.batch.tensors import Batch, build_batch
from learner.experts.routing import Watcher
from learner.mismatch.gap_parts import WITH_EXPERTS, WITHOUT, GapParts, Scores, parts_of
from learner.mismatch.history import WeightHistory
from learner.mismatch.routing_watch import RoutingWatch
from learner.model.zero import ZeroEngine
from learner.process_group import max_over_ranks, sum_over_ranks
from rollout.types import Group

# Why a response cannot be split: its experts were not told, a publish fell into it, its version's weights are no longer or not yet held.
LEFT_OUT = ("unrouted", "cut", "not_held")


class MismatchSplit:
    """The split of one rank's responses. `captured` is what the engines' experts look like, None where they tell none."""

    def __init__(self, config: Config, zero: ZeroEngine, captured: ExpertShape | None, device: torch.device) -> None:
        self.zero, self.device, self.captured = zero, device, captured
        self.share = float(config.mismatch.share)
        self.seed, self.budget, self.packed = config.run.seed, config.learner.micro_batch_tokens, config.learner.packing
        self.behind = config.run.max_staleness
        self.history = WeightHistory(zero, self.behind) if self.share and self.behind else None
        self.watch = RoutingWatch(captured.sparse if captured else (), device)

    @torch.no_grad()
    def measure(self, version: int, rows: Iterable[Row], groups: Mapping[int, Group]) -> dict[str, float]:
        """The split of a step before anything of it is learned; `version` is that of the present weights. A collective."""
        if not self.share:
            return {}
        held = [v for v in range(version - self.behind, version) if self.history is not None and v in self.history.kept]
        rows, held = list(rows), [*held, version]
        reasons = [self._reason(row, groups, held) for row in rows]
        fit = [row for row, reason in zip(rows, reasons, strict=True) if reason is None]
        chosen = self._draw(version, fit, ceil(self.share * len(rows)))
        parts = GapParts(WITH_EXPERTS if self.captured else WITHOUT, self.device)
        for sampling, batches in self._batches(held, chosen, groups).items():
            self._score_under(sampling, version, batches, parts)
        if self.history is not None:
            self.history.keep(version)
        counts = [len(chosen), *(reasons.count(reason) for reason in LEFT_OUT)]
        counted = sum_over_ranks(torch.tensor(counts, dtype=torch.float64, device=self.device)).tolist()
        told = dict(zip(("responses", *LEFT_OUT), counted, strict=True)) | parts.describe()
        told |= {name: share for name, share in self.watch.describe().items() if "/" not in name}
        return {f"split/{name}": value for name, value in told.items()}

    def _reason(self, row: Row, groups: Mapping[int, Group], held: Sequence[int]) -> str | None:
        """Why a response cannot be split; None where it can."""
        response = groups[row.group].responses[row.member]
        if self.captured and not usable_rows(response.routed_experts, row.tokens - 1, self.captured).all():
            return "unrouted"
        if response.oldest_version != response.newest_version:
            return "cut"
        return None if response.oldest_version in held else "not_held"

    def _draw(self, step: int, rows: Sequence[Row], count: int) -> list[Row]:
        """So many of the rows, by chance that depends on the run's seed, the step and the row's place alone."""
        return sorted(rows, key=lambda row: np.random.default_rng((self.seed, step, row.group, row.member)).random())[:count]

    def _batches(self, held: Sequence[int], chosen: Sequence[Row], groups: Mapping[int, Group]) -> dict[int, list[Batch]]:
        """The chosen rows by the version that sampled them, as micro-batches: as many on every rank, some perhaps empty."""

        def sampled_by(version: int) -> list[Row]:
            return [row for row in chosen if groups[row.group].responses[row.member].oldest_version == version]

        mine = [gather(sampled_by(version), self.budget, packed=self.packed) for version in held]
        # Every pass is a collective for ZeRO-3 and for experts that live apart.
        most = max_over_ranks(torch.tensor([len(parts) for parts in mine], device=self.device)).tolist()
        return {
            version: [build_batch(rows, groups, 0, captured=self.captured).to(self.device) for rows in parts + ((),) * (count - len(parts))]
            for version, parts, count in zip(held, mine, most, strict=True)
            if count
        }

    def _score_under(self, sampling: int, present: int, batches: Sequence[Batch], parts: GapParts) -> None:
        """Score the batches that one version sampled, under its weights and under the present ones."""
        with nullcontext() if sampling == present or self.history is None else self.history.holding(sampling):
            then = [self._score(batch, self.watch.watchers(batch)) for batch in batches]
        now = then if sampling == present else [self._score(batch) for batch in batches]
        for batch, old, new in zip(batches, then, now, strict=True):
            assert batch.rollout_logprobs is not None, "a share without the engines' log-probs is refused"
            parts.add(parts_of(batch.rollout_logprobs, old, new, batch.mask))

    def _score(self, batch: Batch, watchers: Sequence[Watcher] = ()) -> Scores:
        live = self.zero(batch, None, watchers)[0].detach()
        return Scores(live=live, replayed=self.zero(batch, batch.experts)[0].detach() if self.captured else None)
