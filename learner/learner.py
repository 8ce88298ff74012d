"""One learner rank: a step's groups in, optimizer updates out.

    summaries ──► plan_step ──► this rank's rows ──► fetch groups ──► old and reference log-probs ──► for each update: micro-batches
                      ▲                                                          │
                      └──────── rewards less their KL (kl.place = "reward") ─────┘

Every rank plans alike from the same summaries, so nothing has to be agreed on; ranks meet only in gradients and in sums.
"""

import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from configs.schema import Config
from learner.balance import balance
from learner.batch.plan import MicroBatch, StepPlan, plan_step
from learner.experts.load import ExpertLoad, Table, describe_load
from learner.experts.router_shift import Shift
from learner.experts.routers import expert_shape
from learner.loss.kl import kl_of_responses
from learner.loss.objective import LossInputs, policy_loss
from learner.loss.surrogates import LOG_RATIO_LIMIT
from learner.measurement import Measurement, Part, asked_of_routers
from learner.mismatch.routing_watch import RoutingWatch
from learner.mismatch.split import MismatchSplit
from learner.model.policy import load_policy
from learner.model.reference import Reference
from learner.model.zero import ZeroEngine
from learner.process_group import sum_over_ranks
from learner.statistics import StepStatistics
from rollout.types import Group, GroupSummary

Fetch = Callable[[Sequence[int]], Mapping[int, Group]]


class Learner:
    """The policy as one rank of `world` sees it. The default process group must have been joined."""

    def __init__(self, config: Config, *, rank: int, world: int, device: torch.device) -> None:
        seed = config.run.seed
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed)
        self.config, self.rank, self.world, self.device = config, rank, world, device
        self.zero = ZeroEngine(config, lambda: load_policy(config), device, world)
        self.reference = Reference(config, self.zero, rank, device) if config.kl.reference else None
        # What a layer of another kind of router would take is not known, so nothing is compared there.
        policy: Any = self.zero.module
        shape = expert_shape(policy.language_model)
        if shape is None and (asked := asked_of_routers(config)):
            raise ValueError(
                f"{asked} asks for routers that can be followed, and no layer of model.path {config.model.path} has one: remove it"
            )
        captured = shape if config.rollout.capture_routing else None
        self.watch = RoutingWatch(captured.sparse if captured else (), device)
        self.measured = Measurement(config, self.zero, self.reference, self.watch, shape)
        self.split = MismatchSplit(config, self.zero, captured, device)
        self.objective = config.whole_objective
        self.steps_done = 0
        self.updates_done = 0
        self.skipped = 0
        self.counted = ExpertLoad()
        self.experts: Table | None = None

    def step(self, summaries: Sequence[GroupSummary], fetch: Fetch) -> dict[str, float]:
        """Learn from one step's groups; `fetch(positions)` brings those groups' tokens. The step's statistics, equal on every rank."""
        started = time.perf_counter()
        plan = self._plan(summaries)
        mine = plan.of_rank(self.rank)
        groups = fetch(sorted({row.group for update in mine for part in update for row in part}))
        fetched = time.perf_counter()
        updates = [[self._measure(rows, groups, first=number == 0) for rows in update] for number, update in enumerate(mine)]
        if self.objective.kl.in_reward:
            plan, updates = self._penalise(summaries, updates, groups)
        measured = time.perf_counter()
        split = self.split.measure(self.steps_done, (row for update in mine for part in update for row in part), groups)
        scored = time.perf_counter()
        statistics = StepStatistics(self.device)
        self.counted = ExpertLoad()
        norms = [
            self._update(parts, statistics, first=number == 0)
            for number, (update, parts) in enumerate(zip(plan.updates, updates, strict=True))
            if update.rows
        ]
        self.experts = self.counted.table()
        self.steps_done += 1
        if self.reference is not None:
            self.reference.refresh_when_due(self.steps_done)
        routing = {f"routing/{name}": share for name, share in self.watch.describe().items()}
        told = statistics.describe(len(norms), self.world) | describe_load(self.experts) | routing | split
        return told | {
            "lr": self._lr(),
            "grad_norm": float(np.mean(norms)) if norms else float("nan"),
            "responses_left_out": float(sum(update.left_out for update in plan.updates)),
            "updates_skipped": float(self.skipped),
            "updates_empty": float(len(plan.updates) - len(norms)),
            "seconds/learn_fetch": fetched - started,
            "seconds/learn_old": measured - fetched,
            "seconds/learn_split": scored - measured,
            "seconds/learn_update": time.perf_counter() - scored,
        }

    def expert_load(self) -> Table | None:
        """The tokens that each expert took in the last step [L, E], prompts included; None for a dense model. Equal on every rank."""
        return self.experts

    def save(self, folder: Path) -> None:
        """Write this rank's state below `folder`: weights, optimizer, counters and random state. Every rank must call it."""
        self.zero.save(folder)
        if self.reference is not None:
            self.reference.save(folder)
        counters = {"steps_done": self.steps_done, "updates_done": self.updates_done, "skipped": self.skipped}
        counters["expert_parallel"] = self.config.learner.expert_parallel
        (folder / f"rank-{self.rank}.json").write_text(json.dumps(counters))
        np.save(folder / f"rank-{self.rank}-rng.npy", torch.get_rng_state().numpy())

    def load(self, folder: Path) -> None:
        """Restore what `save` wrote; raises ValueError where the folder was written by ranks that divide the model otherwise."""
        ranks = len(list(folder.glob("rank-*.json")))
        if ranks != self.world:
            raise ValueError(f"{folder} was saved by {ranks} learner ranks, this run has {self.world}: set learner.ranks={ranks}")
        state = json.loads((folder / f"rank-{self.rank}.json").read_text())
        spread, now = state.get("expert_parallel", 1), self.config.learner.expert_parallel  # older runs could not spread them
        if spread != now:
            raise ValueError(
                f"{folder} was saved with experts spread over {spread} ranks, this run has {now}: set learner.expert_parallel={spread}"
            )
        self.zero.load(folder)
        if self.reference is not None:
            self.reference.load(folder)
        self.steps_done = state.get("steps_done", 0)  # runs of 0.1.0 did not count them, nor renew a reference
        self.updates_done, self.skipped = state["updates_done"], state["skipped"]
        torch.set_rng_state(torch.from_numpy(np.load(folder / f"rank-{self.rank}-rng.npy")))

    def _plan(self, summaries: Sequence[GroupSummary]) -> StepPlan:
        learner = self.config.learner
        return plan_step(
            summaries,
            self.objective.preset,
            updates=learner.updates_per_step,
            ranks=self.world,
            micro_batch_tokens=learner.micro_batch_tokens,
            response_tokens=self.config.rollout.max_response_tokens,
            overlong_filter=self.config.objective.overlong_filter,
            packed=learner.packing,
        )

    def _measure(self, rows: MicroBatch, groups: Mapping[int, Group], first: bool) -> Part:
        return self.measured.part(self.measured.batch(rows, groups).to(self.device), rows, first)

    def _penalise(
        self, summaries: Sequence[GroupSummary], updates: Sequence[Sequence[Part]], groups: Mapping[int, Group]
    ) -> tuple[StepPlan, list[list[Part]]]:
        """Take the KL to the reference off every response's reward, and plan again with what is left: the same rows, other advantages."""
        kl, width = self.objective.kl, max(len(summary.rewards) for summary in summaries)
        spent = torch.zeros(len(summaries), width, dtype=torch.float64, device=self.device)
        for part in (part for parts in updates for part in parts if part.rows):
            assert part.old is not None
            assert part.reference is not None
            engine = part.batch.rollout_logprobs if self.objective.preset.old == "engine" else None
            ratio = (part.old - (part.old if engine is None else engine)).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
            found = kl_of_responses(kl.estimator, part.old, part.reference, ratio, part.batch.mask)
            spent[[row.group for row in part.rows], [row.member for row in part.rows]] = found
        costs = kl.coefficient * sum_over_ranks(spent).cpu().numpy()
        # A cost that is not finite must not change which rows there are: its response keeps its place, and NaN drops the update.
        known = np.nan_to_num(costs, nan=0.0, posinf=0.0, neginf=0.0)
        plan = self._plan([replace(s, rewards=s.rewards - cost[: len(s.rewards)]) for s, cost in zip(summaries, known, strict=True)])

        def again(rows: MicroBatch, part: Part) -> Part:
            rows = tuple(row if np.isfinite(costs[row.group, row.member]) else replace(row, advantage=float("nan")) for row in rows)
            worth = torch.tensor([row.advantage for row in rows], dtype=torch.float32, device=self.device)
            return replace(part, rows=rows, batch=replace(part.batch, advantages=worth) if rows else part.batch)

        return plan, [
            [again(rows, part) for rows, part in zip(update, parts, strict=True)]
            for update, parts in zip(plan.of_rank(self.rank), updates, strict=True)
        ]

    def _update(self, parts: Sequence[Part], statistics: StepStatistics, first: bool) -> float:
        """One optimizer update from this rank's micro-batches; the gradient's norm, NaN where the update was dropped."""
        coefficient = float(self.config.learner.aux_loss)
        balanced = balance(self.zero, parts, coefficient) if coefficient else None
        for part in parts:
            batch = part.batch
            shift = None if part.routers is None else Shift(part.routers)
            seen = (self.counted.over(part.real), shift, *(self.watch.watchers(batch) if first else ()))
            watchers = [watcher for watcher in seen if watcher is not None]
            logprobs, entropy = self.zero(batch, part.replay, watchers, None if balanced is None else balanced.over(part.real))
            start = logprobs.detach() if first or part.old is None else part.old
            bypassed = batch.rollout_logprobs if self.objective.preset.old == "engine" else None
            given = LossInputs(
                old=start if bypassed is None else bypassed,
                engine=batch.rollout_logprobs,
                reference=part.reference,
                advantages=batch.advantages,
                mask=batch.mask,
                token_weight=batch.token_weight,
                log_shift=None if shift is None else shift.log_factor(),
            )
            loss, stats = policy_loss(self.objective, logprobs, given)
            # A loss that is not finite poisons the whole gradient on purpose: every rank then sees it, and drops the update.
            self.zero.backward(loss if torch.isfinite(loss) else loss * float("nan"))
            statistics.add(stats | {"entropy": torch.where(batch.mask, entropy, 0).sum(), "loss": loss.detach()})
            statistics.add({"bad_logprobs": batch.bad_logprobs, "unrouted": batch.unrouted, "micro_batches": 1})
            if shift is not None:
                statistics.add(shift.sums(batch.mask))
            if first or part.old is not None:
                statistics.add_mismatch(start, batch)
        if balanced is not None:
            statistics.add({"aux_loss": balanced.value})
        self.updates_done += 1
        norm, applied = self.zero.update(self._lr())
        self.skipped += not applied
        return norm if applied else float("nan")

    def _lr(self) -> float:
        """The learning rate of the current update: a straight rise over the warm-up, constant after it."""
        learner = self.config.learner
        return float(learner.lr) * min(1.0, self.updates_done / max(1, learner.warmup_updates))
