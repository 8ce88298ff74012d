"""One learner rank: a step's groups in, optimizer updates out.

    summaries ──► plan_step ──► this rank's rows ──► fetch groups ──► old log-probs ──► for each update: micro-batches ──► update

Every rank plans alike from the same summaries, so nothing has to be agreed on; ranks meet only in gradients and in sums.
"""

import json
import random
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from configs.schema import Config
from learner.batch import Batch, build_batch
from learner.objective import MAXIMA, policy_loss
from learner.plan import StepPlan, plan_step
from learner.policy import load_policy
from learner.process_group import max_over_ranks, sum_over_ranks
from learner.zero import ZeroEngine
from rollout.types import Group, GroupSummary

Fetch = Callable[[Sequence[int]], Mapping[int, Group]]
MISMATCH_LIMIT = 20.0  # log-ratio beyond which exp() says nothing more


class Learner:
    """The policy as one rank of `world` sees it. The default process group must have been joined."""

    def __init__(self, config: Config, *, rank: int, world: int, device: torch.device) -> None:
        seed = config.run.seed
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed)
        self.config, self.rank, self.world, self.device = config, rank, world, device
        self.zero = ZeroEngine(config, lambda: load_policy(config), device, world)
        self.preset = config.objective.resolved
        self.updates_done = 0
        self.skipped = 0

    def step(self, summaries: Sequence[GroupSummary], fetch: Fetch) -> dict[str, float]:
        """Learn from one step's groups; `fetch(positions)` brings those groups' tokens. The step's statistics, equal on every rank."""
        started = time.perf_counter()
        plan = self._plan(summaries)
        mine = plan.of_rank(self.rank)
        groups = fetch(sorted({row.group for update in mine for part in update for row in part}))
        batches = [[build_batch(part, groups, 0).to(self.device) for part in update] for update in mine]
        fetched = time.perf_counter()
        # The first update needs no pass of its own: nothing has changed yet, so its old log-probs are its own, detached.
        old = [None, *([self._logprobs(batch) for batch in update] for update in batches[1:])]
        passed = time.perf_counter()
        sums: defaultdict[str, float] = defaultdict(float)
        most: dict[str, float] = {}
        norms = [self._update(update, before, sums, most) for update, before in zip(batches, old, strict=True)]
        total = sum_over_ranks(dict(sums), self.device) | max_over_ranks(most, self.device)
        return self._describe(total, norms, plan) | {
            "seconds/learn_fetch": fetched - started,
            "seconds/learn_old": passed - fetched,
            "seconds/learn_update": time.perf_counter() - passed,
        }

    def save(self, folder: Path) -> None:
        """Write this rank's state below `folder`: weights, optimizer, counters and random state. Every rank must call it."""
        self.zero.save(folder)
        counters = {"updates_done": self.updates_done, "skipped": self.skipped}
        (folder / f"rank-{self.rank}.json").write_text(json.dumps(counters))
        np.save(folder / f"rank-{self.rank}-rng.npy", torch.get_rng_state().numpy())

    def load(self, folder: Path) -> None:
        """Restore what `save` wrote; raises ValueError where the folder was written by another number of ranks."""
        counters = folder / f"rank-{self.rank}.json"
        ranks = len(list(folder.glob("rank-*.json")))
        if ranks != self.world:
            raise ValueError(f"{folder} was saved by {ranks} learner ranks, this run has {self.world}: set learner.ranks={ranks}")
        self.zero.load(folder)
        state = json.loads(counters.read_text())
        self.updates_done, self.skipped = state["updates_done"], state["skipped"]
        torch.set_rng_state(torch.from_numpy(np.load(folder / f"rank-{self.rank}-rng.npy")))

    def _plan(self, summaries: Sequence[GroupSummary]) -> StepPlan:
        learner = self.config.learner
        return plan_step(
            summaries,
            self.preset,
            updates=learner.updates_per_step,
            ranks=self.world,
            micro_batch_tokens=learner.micro_batch_tokens,
            overlong_filter=self.config.objective.overlong_filter,
        )

    @torch.no_grad()
    def _logprobs(self, batch: Batch) -> Tensor:
        logprobs, _ = self.zero(batch)
        return logprobs.detach()

    def _update(self, batches: Sequence[Batch], old: Sequence[Tensor] | None, sums: dict[str, float], most: dict[str, float]) -> float:
        """One optimizer update from this rank's micro-batches; the gradient's norm, NaN where the update was dropped."""
        for place, batch in enumerate(batches):
            logprobs, entropy = self.zero(batch)
            before = logprobs.detach() if old is None else old[place]
            loss, stats = policy_loss(self.preset, logprobs, before, batch.advantages, batch.mask, batch.token_weight)
            # A loss that is not finite poisons the whole gradient on purpose: every rank then sees it, and drops the update.
            self.zero.backward(loss if torch.isfinite(loss) else loss * float("nan"))
            stats |= mismatch(before, batch) | {"entropy": torch.where(batch.mask, entropy, 0).sum(), "loss": loss.detach()}
            for name, value in stats.items():
                if name in MAXIMA or name.startswith("max_"):
                    most[name] = max(most.get(name, 0.0), float(value))
                else:
                    sums[name] += float(value)
            sums["bad_logprobs"] += batch.bad_logprobs
            sums["micro_batches"] += 1
        self.updates_done += 1
        norm, applied = self.zero.update(self._lr())
        self.skipped += not applied
        return norm if applied else float("nan")

    def _lr(self) -> float:
        """The learning rate of the current update: a straight rise over the warm-up, constant after it."""
        learner = self.config.learner
        return float(learner.lr) * min(1.0, self.updates_done / max(1, learner.warmup_updates))

    def _describe(self, total: dict[str, float], norms: Sequence[float], plan: StepPlan) -> dict[str, float]:
        tokens = max(1.0, total["tokens"])
        return {
            "loss": total["loss"] / len(norms),
            "lr": self._lr(),
            "grad_norm": float(np.mean(norms)),
            "entropy": total["entropy"] / tokens,
            "ratio/mean": total["ratio"] / tokens,
            "ratio/abs_log": total["abs_log_ratio"] / tokens,
            "ratio/max_abs_log": total["max_abs_log_ratio"],
            "policy_kl": total["kl"] / tokens,
            "clip/low": total["clipped_low"] / tokens,
            "clip/high": total["clipped_high"] / tokens,
            "mismatch/mean": total["mismatch_abs"] / tokens,
            "mismatch/max": total["max_mismatch"],
            "mismatch/kl": total["mismatch_k3"] / tokens,
            "bad_logprobs": total["bad_logprobs"],
            "learned_tokens": total["tokens"],
            "responses_left_out": float(sum(update.left_out for update in plan.updates)),
            "micro_batches": total["micro_batches"] / self.world,
            "updates_skipped": float(self.skipped),
        }


@torch.no_grad()
def mismatch(old: Tensor, batch: Batch) -> dict[str, Tensor]:
    """How far the engine's log-probs lie from the learner's: sums of |difference| and of k3, and the largest difference."""
    difference = torch.where(batch.mask, old - batch.rollout_logprobs, 0).double()
    log_ratio = difference.clamp(-MISMATCH_LIMIT, MISMATCH_LIMIT)
    return {
        "mismatch_abs": difference.abs().sum(),
        "mismatch_k3": (log_ratio.exp() - 1 - log_ratio).sum(),
        "max_mismatch": difference.abs().max(),
    }
