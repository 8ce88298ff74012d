"""One learner rank: a step's groups in, optimizer updates out.

    summaries ──► plan_step ──► this rank's rows ──► fetch them ──► old and reference log-probs ──► for each update: micro-batches
                      ▲                                                          │
                      └──────── rewards less their KL (kl.place = "reward") ─────┘

Every rank computes the same plan from the same summaries, so ranks exchange only gradients and sums.
"""

import math
import random
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from configs.schema import Config
from learner.balance import Balanced, balance
from learner.batch.costs import charged
from learner.batch.fetched import Fetched, Source, fetch
from learner.batch.plan import StepPlan, UpdatePlan, plan_for
from learner.batch.recorded import ExpertShape
from learner.batch.row import MicroBatch
from learner.batch.trace import LearnedPass, StepTrace
from learner.experts.load import ExpertLoad, Table, describe_load
from learner.experts.router_shift import Shift
from learner.experts.routers import expert_shape
from learner.loss.entropy import EntropyControl
from learner.loss.objective import LossInputs, masked, policy_loss
from learner.measurement import Measurement, Part
from learner.mismatch.rescoring import Rescoring
from learner.mismatch.routing_watch import RoutingWatch
from learner.model.packing import settled
from learner.model.policy import load_policy
from learner.model.reference import Reference
from learner.model.schedule import learning_rate
from learner.model.spikes import Spikes
from learner.model.zero import ZeroEngine
from learner.penalty import kl_costs, repriced
from learner.statistics import StepStatistics
from rollout.types import GroupSummary


class Learner:
    """The policy on one rank of `world`. The rank must have joined the default process group."""

    def __init__(self, config: Config, *, rank: int, world: int, device: torch.device) -> None:
        """Load the model; ValueError if a setting needs routers that the model does not have."""
        seed = config.run.seed
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed)
        config = settled(config)
        self.config, self.rank, self.world, self.device = config, rank, world, device
        self.objective = config.whole_objective
        self.zero = ZeroEngine(config, lambda division: load_policy(config, division=division), device, world)
        self.reference = Reference(config, self.zero, rank, device) if config.kl.reference else None
        policy: Any = self.zero.module
        self.shape = expert_shape(policy.language_model)
        refuse_without_routers(config, self.shape)
        captured = self.shape if config.rollout.capture_routing else None
        self.watch = RoutingWatch(captured.sparse if captured else (), device)
        self.rescoring = Rescoring(config, self.zero, captured, device)
        self.entropy = EntropyControl(config.entropy)
        self.spikes = Spikes(config.learner)
        self.rate = 1.0  # of the learning rate that the config asks for; lower after a rollback
        self.steps_done = self.updates_done = self.skipped = 0
        self.counted = ExpertLoad()
        self.experts: Table | None = None
        self.trace: StepTrace | None = None  # of the newest step, until the next one begins

    def step(self, summaries: Sequence[GroupSummary], source: Source) -> dict[str, float]:
        """Learn from one step's groups, whose tokens come from `source`; the step's metrics, equal on every rank."""
        started = time.perf_counter()
        kept = bool(self.config.run.keep_capsules)
        self.trace = StepTrace(preset=self.objective.preset, entropy_coefficient=self.entropy.coefficient) if kept else None
        plan = self._plan(summaries)
        rows = plan.of_rank(self.rank)
        mine = plan.rows_of_rank(self.rank)
        fetched = fetch(self.config, source, mine)
        drawn = self.rescoring.draw(self.steps_done, mine, fetched)
        arrived = time.perf_counter()
        updates = [[self._measure(part, fetched, first=number == 0) for part in update] for number, update in enumerate(rows)]
        if self.objective.kl.in_reward:
            plan, updates = self._charge_kl(summaries, updates)
        measured = time.perf_counter()
        mismatch = self.rescoring.measure(self.steps_done, drawn, fetched)
        rescored = time.perf_counter()
        statistics = StepStatistics(self.device)
        self.counted = ExpertLoad()
        flat = [bool(update.rows) and self._has_no_gradient(update) for update in plan.updates]
        norms = [
            self._look(parts, statistics, first=number == 0) if flat[number] else self._update(parts, statistics, first=number == 0)
            for number, (update, parts) in enumerate(zip(plan.updates, updates, strict=True))
            if update.rows
        ]
        self.experts = self.counted.table()
        if self.trace is not None:
            self.trace.end(plan, fetched, norms)
        lr = self._lr()
        self.steps_done += 1
        if self.reference is not None:
            self.reference.refresh_when_due(self.steps_done)
        routing = {f"routing/{name}": share for name, share in self.watch.describe().items()}
        metrics = statistics.describe(len(norms), self.world) | describe_load(self.experts) | routing | mismatch
        if self.config.entropy.in_use:
            metrics["entropy_coefficient"] = self.entropy.coefficient
            self.entropy.observe(metrics["entropy"], metrics["learned_tokens"])
        return metrics | {
            "lr": lr,
            "grad_norm": float(np.mean(norms)) if norms else float("nan"),
            "responses_left_out": float(sum(update.left_out for update in plan.updates)),
            "updates_skipped": float(self.skipped),
            **self.spikes.describe(),
            "updates_empty": float(len(plan.updates) - len(norms)),
            "updates_without_signal": float(sum(flat)),
            "seconds/learn_fetch": arrived - started,
            "seconds/learn_old": measured - arrived,
            "seconds/learn_split": rescored - measured,
            "seconds/learn_update": time.perf_counter() - rescored,
        }

    def expert_load(self) -> Table | None:
        """The tokens that each expert took in the last step [L, E], prompts included; None for a dense model. Equal on every rank."""
        return self.experts

    def _plan(self, summaries: Sequence[GroupSummary]) -> StepPlan:
        return plan_for(self.config, self.objective.preset, self.world, summaries)

    def _measure(self, rows: MicroBatch, fetched: Fetched, first: bool) -> Part:
        measurement = Measurement(
            config=self.config,
            objective=self.objective,
            zero=self.zero,
            reference=self.reference,
            watch=self.watch,
            shape=self.shape,
        )
        return measurement.part(measurement.batch(rows, fetched).to(self.device), rows, first)

    def _charge_kl(self, summaries: Sequence[GroupSummary], updates: Sequence[Sequence[Part]]) -> tuple[StepPlan, list[list[Part]]]:
        """Plan again with rewards less their KL: the same rows with other advantages."""
        parts, by_turn = (part for parts in updates for part in parts), self.config.objective.credit == "turn"
        costs = kl_costs(self.objective, parts, summaries, self.device, by_turn=by_turn)
        plan = self._plan(charged(summaries, costs))
        return plan, [
            [repriced(part, rows, costs) for rows, part in zip(update, parts, strict=True)]
            for update, parts in zip(plan.of_rank(self.rank), updates, strict=True)
        ]

    def _has_no_gradient(self, update: UpdatePlan) -> bool:
        """Whether the gradient of an update is 0 by construction. Every rank has the same plan, so all decide alike."""
        acts = self.objective.acts_without_advantage or self.config.learner.aux_loss or self.entropy.coefficient
        return update.without_signal and not acts

    @torch.no_grad()
    def _look(self, parts: Sequence[Part], statistics: StepStatistics, first: bool) -> float:
        """The passes of an update without a gradient, for its statistics; the norm 0 of that gradient.

        AdamW would move the weights by its momentum and its decay. So no update is made, and the warm-up does not count one.
        """
        for part in parts:
            self._learn(part, None, statistics, first)
        return 0.0

    def _update(self, parts: Sequence[Part], statistics: StepStatistics, first: bool) -> float:
        """One optimizer update from this rank's micro-batches; the gradient's norm, NaN where it was not finite."""
        coefficient = float(self.config.learner.aux_loss)
        balanced = balance(self.zero, parts, coefficient) if coefficient else None
        for part in parts:
            self._learn(part, balanced, statistics, first)
        if balanced is not None:
            statistics.add({"aux_loss": balanced.value})
        self.updates_done = update = self.updates_done + 1
        norm, applied = self.zero.update(self._lr(), partial(self.spikes.refuses, update=update) if self.spikes.drops else None)
        self.spikes.observe(norm, update)
        self.skipped += not applied
        return norm if math.isfinite(norm) else float("nan")

    def _learn(self, part: Part, balanced: Balanced | None, statistics: StepStatistics, first: bool) -> None:
        """Forward and backward pass of one micro-batch; its gradient is added to the update's. Without autograd the forward pass alone."""
        batch = part.batch
        shift = None if part.routers is None else Shift(part.routers)
        watchers = (self.counted.over(part.real), shift, *(self.watch.watchers(batch) if first else ()))
        logprobs, entropy = self.zero(
            batch,
            part.replay,
            [watcher for watcher in watchers if watcher is not None],
            None if balanced is None else balanced.over(part.real),
        )
        old = logprobs.detach() if first or part.old_logprobs is None else part.old_logprobs
        inputs = LossInputs(
            old_logprobs=part.ratio_base(self.objective.preset, old),
            engine_logprobs=batch.engine_logprobs,
            reference_logprobs=part.reference_logprobs,
            advantages=batch.advantages,
            mask=batch.mask,
            token_weight=batch.token_weight,
            log_shift=None if shift is None else shift.log_factor(),
        )
        loss, sums = policy_loss(self.objective, logprobs, inputs)
        if coefficient := self.entropy.coefficient:
            loss = loss - coefficient * (masked(batch.mask, entropy) * batch.token_weight).sum()
        # A loss that is not finite makes the whole gradient NaN on purpose: every rank then sees it and drops the update.
        if torch.is_grad_enabled():
            self.zero.backward(loss if torch.isfinite(loss) else loss * float("nan"))
        if self.trace is not None:
            self._trace(self.trace, part, inputs, logprobs, entropy, old, loss)
        statistics.add(sums | {"entropy": torch.where(batch.mask, entropy.detach(), 0).sum(), "loss": loss.detach()})
        statistics.add({"bad_logprobs": batch.bad_logprobs, "unrouted": batch.unrouted, "micro_batches": 1})
        if shift is not None:
            statistics.add(shift.sums(batch.mask))
        if first or part.old_logprobs is not None:
            statistics.add_mismatch(old, batch)

    def _trace(
        self, trace: StepTrace, part: Part, inputs: LossInputs, logprobs: Tensor, entropy: Tensor, old: Tensor, loss: Tensor
    ) -> None:
        """Hold what a micro-batch was learned from until the step has ended."""
        learned = LearnedPass(
            rows=part.rows,
            batch=part.batch,
            inputs=inputs,
            replay=part.replay,
            logprobs=logprobs.detach(),
            old_logprobs=old,
            measured_logprobs=part.old_logprobs if self.objective.kl.in_reward else None,
            entropy=entropy.detach() if trace.entropy_coefficient else None,
            loss=loss.detach(),
        )
        trace.passes.append(learned)

    def _lr(self) -> float:
        """The learning rate of the newest update of this step, or of its first one."""
        steps = self.config.run.steps
        return self.rate * learning_rate(self.config.learner, steps=steps, step=self.steps_done, updates=self.updates_done)


def refuse_without_routers(config: Config, shape: ExpertShape | None) -> None:
    """Raise ValueError where a setting needs routers that routing can follow and the model has none (`shape` is None)."""
    learner, shift = config.learner, config.objective.router_shift
    settings = {
        f'learner.routing = "{learner.routing}"': learner.routing != "live",
        f'learner.router = "{learner.router}"': learner.router != "trained",
        f"learner.aux_loss = {learner.aux_loss}": learner.aux_loss > 0,
        f"objective.router_shift = {shift}": shift is not None,
    }
    needing = next((setting for setting, needs in settings.items() if needs), None)
    if shape is None and needing is not None:
        raise ValueError(
            f"{needing} needs a mixture of experts whose routers can be followed, and model.path {config.model.path} has none: "
            "remove the setting or use such a model"
        )
