"""The golden batch, random ones, and their policy loss with its gradient."""

import json
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from configs.presets import CORRECTIONS, ESTIMATORS, PRESETS, Kl, Objective
from configs.surrogates import DualClip
from learner.loss.objective import LossInputs, policy_loss
from learner.loss.reductions import REDUCTIONS, Extent

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "objectives.json").read_text())
BATCH = {name: torch.tensor(values, dtype=torch.float64) for name, values in GOLDEN["batch"].items()}
MASK = BATCH["mask"].bool()
GROUPS = BATCH["group"].long()
GARBAGE = [3.3, float("nan"), float("inf"), float("-inf")]
BUDGET = 5

GRPO = PRESETS["grpo"]
OBJECTIVES = {name: Objective(preset=preset) for name, preset in PRESETS.items()}
OBJECTIVES["dual_clip"] = Objective(preset=GRPO.replace(surrogate=DualClip(clip_low=0.2, clip_high=0.2, cap=1.3)))
OBJECTIVES |= {f"dapo+{name}": Objective(preset=PRESETS["dapo"], correction=CORRECTIONS[name]) for name in CORRECTIONS if name != "none"}
OBJECTIVES |= {f"grpo+{name}": Objective(preset=GRPO, kl=Kl(coefficient=0.3, estimator=name)) for name in ESTIMATORS}
OBJECTIVES["gspo+tis_sequence+ratio_k3"] = Objective(
    preset=PRESETS["gspo"], correction=CORRECTIONS["tis_sequence"], kl=Kl(coefficient=0.3, estimator="ratio_k3")
)


class Outcome(NamedTuple):
    loss: Tensor
    gradient: Tensor  # in the log-probs
    sums: dict[str, Tensor]


def outcome(objective: Objective, logprobs: Tensor, taken: LossInputs) -> Outcome:
    leaf = logprobs.clone().requires_grad_()
    loss, sums = policy_loss(objective, leaf, taken)
    (gradient,) = torch.autograd.grad(loss, leaf)
    return Outcome(loss.detach(), gradient, sums)


def weights(mask: Tensor, reduction: str, group: Tensor, learned: Tensor | None = None) -> Tensor:
    """The reduction's weight of every token [B, T], where these responses are the whole update."""
    kept = np.ones(len(mask), np.bool_) if learned is None else learned.numpy()
    extent = Extent(lengths=mask.sum(1).numpy(), learned=kept, group=group.numpy(), budget=BUDGET)
    return torch.from_numpy(REDUCTIONS[reduction](extent))[:, None].expand(mask.shape).to(torch.float64)


def random_batch(seed: int, reduction: str) -> tuple[Tensor, LossInputs]:
    """Log-probs and loss inputs of a random shape, with holes and empty rows; some ratios are near 1 and some far from it."""
    rng = torch.Generator().manual_seed(seed)
    rows, width = (int(torch.randint(1, 9, (), generator=rng)) for _ in range(2))
    logprobs = -3 * torch.rand(rows, width, generator=rng, dtype=torch.float64)
    size = 10 ** (-3.5 * torch.rand((), generator=rng, dtype=torch.float64))

    def near() -> Tensor:
        return logprobs + size * torch.randn(rows, width, generator=rng, dtype=torch.float64)

    mask = torch.rand(rows, width, generator=rng) < 0.7
    taken = LossInputs(
        old_logprobs=near(),
        engine_logprobs=near(),
        reference_logprobs=near(),
        advantages=torch.randn(rows, generator=rng, dtype=torch.float64) * (torch.rand(rows, generator=rng) < 0.9),
        mask=mask,
        token_weight=weights(mask, reduction, torch.arange(rows) // 2),
    )
    return logprobs, taken


def each_input(taken: LossInputs, change: Callable[[Tensor], Tensor]) -> LossInputs:
    """The inputs with every tensor changed in the same way; advantages are spread over the tokens first."""
    spread = replace(taken, advantages=per_token(taken))
    values = {field.name: getattr(spread, field.name) for field in fields(spread)}
    return replace(spread, **{name: change(value) for name, value in values.items() if value is not None})


def corner(taken: LossInputs, rows: slice, columns: int) -> LossInputs:
    """Some responses, cut to their first `columns` slots."""
    return each_input(taken, lambda x: x[rows, :columns])


def per_token(taken: LossInputs) -> Tensor:
    return taken.advantages[:, None].expand(taken.mask.shape) if taken.advantages.dim() == 1 else taken.advantages


def spoilt(taken: LossInputs, garbage: float) -> LossInputs:
    """The inputs with garbage in every masked slot."""
    return each_input(taken, lambda x: x if x.dtype == torch.bool else x.masked_fill(~taken.mask, garbage))


def on_policy(logprobs: Tensor, taken: LossInputs) -> LossInputs:
    """The inputs where old policy, engine and reference are the policy itself."""
    return replace(taken, old_logprobs=logprobs, engine_logprobs=logprobs, reference_logprobs=logprobs)


def same(ours: Tensor, theirs: Tensor | float) -> None:
    """Assert that they are equal up to rounding."""
    torch.testing.assert_close(ours, torch.as_tensor(theirs, dtype=ours.dtype), atol=1e-12, rtol=1e-9)
