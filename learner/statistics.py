"""The statistics of a step: sums and maxima over micro-batches and ranks, reported as metrics."""

from collections.abc import Mapping, Sequence
from math import ceil, exp

import torch
from torch import Tensor

from learner.batch.tensors import Batch
from learner.loss.objective import MAXIMA
from learner.loss.surrogates import LOG_RATIO_LIMIT
from learner.process_group import largest_over_ranks, max_over_ranks, sum_over_ranks

TAIL = 0.001  # the share of tokens above the 99.9th percentile
# All ranks reduce the same names in the same order, whether or not a rank counted anything.
OF_THE_OBJECTIVE = ("tokens", "ratio", "kl", "abs_log_ratio", "reference_kl", "loss", "entropy", "bad_logprobs", "micro_batches")
OF_THE_CLIP = ("clipped_positive_high", "clipped_positive_low", "clipped_negative_high", "clipped_negative_low")
OF_THE_MISMATCH = ("mismatch_tokens", "mismatch_abs", "mismatch_k1", "mismatch_k3", "mismatch_ratio", "mismatch_square")
OF_THE_ROUTERS = ("aux_loss", "shift_tokens", "shift_factor", "shift_floored")
SUMS = (*OF_THE_OBJECTIVE, *OF_THE_CLIP, *OF_THE_MISMATCH, *OF_THE_ROUTERS, "capped", "masked", "vetoed", "unrouted")
MOST = (*MAXIMA, "max_mismatch", "max_log_mismatch", "max_inverse_log_mismatch")


class StepStatistics:
    """The statistics of one rank in one step."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seen: dict[str, Tensor] = {}  # stays on the device until the step ends: reading a value stops the device
        self.differences: list[Tensor] = []  # old log-probs minus the engine's

    def add(self, stats: Mapping[str, Tensor | float]) -> None:
        """Add a micro-batch's sums and maxima."""
        for name, value in stats.items():
            new = torch.as_tensor(value, dtype=torch.float64, device=self.device).detach()
            if name in self.seen:
                new = torch.maximum(self.seen[name], new) if name in MOST else self.seen[name] + new
            self.seen[name] = new

    @torch.no_grad()
    def add_mismatch(self, old: Tensor, batch: Batch) -> None:
        """Add a micro-batch's mismatch: old log-probs minus the engine's."""
        if batch.engine_logprobs is None or not batch.mask.any():
            return
        difference = (old - batch.engine_logprobs)[batch.mask].double()
        log_mismatch = difference.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
        ratio = log_mismatch.exp()
        self.differences.append(difference.float())
        self.add(
            {
                "mismatch_tokens": batch.mask.sum(),
                "mismatch_abs": difference.abs().sum(),
                "mismatch_k1": -difference.sum(),
                "mismatch_k3": (ratio - 1 - log_mismatch).sum(),
                "mismatch_ratio": ratio.sum(),
                "mismatch_square": (ratio * ratio).sum(),
                "max_mismatch": difference.abs().max(),
                "max_log_mismatch": log_mismatch.max(),
                "max_inverse_log_mismatch": (-log_mismatch).max(),
            }
        )

    def describe(self, updates: int, world: int) -> dict[str, float]:
        """The metrics of the step, equal on every rank. A collective."""
        total = dict(zip(SUMS, sum_over_ranks(self._stack(SUMS, 0.0)).tolist(), strict=True))
        most = dict(zip(MOST, max_over_ranks(self._stack(MOST, -LOG_RATIO_LIMIT)).tolist(), strict=True))
        tokens = max(1.0, total["tokens"])
        metrics = {
            "loss": total["loss"] / max(1, updates),
            "entropy": total["entropy"] / tokens,
            "ratio/mean": total["ratio"] / tokens,
            "ratio/abs_log": total["abs_log_ratio"] / tokens,
            "ratio/max_abs_log": max(0.0, most["max_abs_log_ratio"]),
            "policy_kl": total["kl"] / tokens,
            "reference_kl": total["reference_kl"] / tokens,
            "clip/low": (total["clipped_positive_low"] + total["clipped_negative_low"]) / tokens,
            "clip/high": (total["clipped_positive_high"] + total["clipped_negative_high"]) / tokens,
            "bad_logprobs": total["bad_logprobs"],
            "routing/missing": total["unrouted"],
            "learned_tokens": total["tokens"],
            "micro_batches": total["micro_batches"] / world,
        }
        metrics |= {
            f"clip/{sign}_{side}": total[f"clipped_{sign}_{side}"] / tokens for sign in ("positive", "negative") for side in ("low", "high")
        }
        metrics |= {f"correction/{what}": total[what] / tokens for what in ("capped", "masked", "vetoed")}
        if total["aux_loss"]:
            metrics["aux_loss"] = total["aux_loss"] / world / updates
        if shifted := total["shift_tokens"]:
            metrics |= {"router_shift/mean": total["shift_factor"] / shifted, "router_shift/floored": total["shift_floored"] / shifted}
        return metrics | self._describe_mismatch(total, most)

    def _stack(self, names: Sequence[str], unseen: float) -> Tensor:
        """The values of these names in their order, `unseen` where this rank has none."""
        none = torch.tensor(unseen, dtype=torch.float64, device=self.device)
        return torch.stack([self.seen.get(name, none) for name in names])

    def _describe_mismatch(self, total: Mapping[str, float], most: Mapping[str, float]) -> dict[str, float]:
        """The mismatch metrics over all tokens with an engine log-prob; empty where there are none."""
        count = total["mismatch_tokens"]
        if not count:
            return {}
        mine = torch.cat(self.differences) if self.differences else torch.empty(0, device=self.device)
        tail = largest_over_ranks(mine.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT), ceil(count * TAIL))
        return {
            "mismatch/mean": total["mismatch_abs"] / count,
            "mismatch/p999": float(largest_over_ranks(mine.abs(), ceil(count * TAIL))[-1]),
            "mismatch/max": most["max_mismatch"],
            "mismatch/k1": total["mismatch_k1"] / count,
            "mismatch/kl": total["mismatch_k3"] / count,
            "mismatch/chi2": total["mismatch_square"] / count - 1,
            "mismatch/ess": total["mismatch_ratio"] ** 2 / (count * total["mismatch_square"]),
            "mismatch/ratio_mean": total["mismatch_ratio"] / count,
            "mismatch/ratio_min": exp(-most["max_inverse_log_mismatch"]),
            "mismatch/ratio_max": exp(most["max_log_mismatch"]),
            "mismatch/ratio_p999": float(tail[-1].exp()),
        }
