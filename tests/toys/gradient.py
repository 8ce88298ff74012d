"""The objectives whose gradients are compared, and made-up old policy, engine and reference."""

from dataclasses import replace

from torch import Tensor

from configs.presets import CORRECTIONS, PRESETS, Kl, Objective
from learner.batch.tensors import Batch

OBJECTIVES = {name: Objective(preset=preset) for name, preset in PRESETS.items()}
OBJECTIVES["grpo+icepop+k2"] = Objective(preset=PRESETS["grpo"], correction=CORRECTIONS["icepop"], kl=Kl(coefficient=0.1, estimator="k2"))
OBJECTIVES["dapo+tis_sequence+ratio_k3"] = Objective(
    preset=PRESETS["dapo"], correction=CORRECTIONS["tis_sequence"], kl=Kl(coefficient=0.1, estimator="ratio_k3")
)
OBJECTIVES["rloo+k1_in_reward"] = Objective(preset=PRESETS["rloo"], kl=Kl(coefficient=0.1, estimator="k1", place="reward"))
OBJECTIVES["grpo+entropy"] = Objective(preset=PRESETS["grpo"])
ENTROPY = {"grpo+entropy": 0.3}  # coefficients of the entropy bonus

# ZeRO sees the gradient of a number, whatever it is the loss of. So every objective is tried on one rank and on two, and under each
# stage those that differ most: a ratio by token and by sequence, three reductions, corrections, a penalty in the loss and in the reward.
WITH_ALL = (("gradient-zero1", 1), ("gradient-zero2", 2))
EVERYWHERE = ("grpo", "gspo", "grpo+icepop+k2", "dapo+tis_sequence+ratio_k3", "rloo+k1_in_reward", "grpo+entropy")


def labels_of(run: str, world: int) -> tuple[str, ...]:
    """The objectives of a run of so many ranks."""
    return tuple(OBJECTIVES) if (run, world) in WITH_ALL else EVERYWHERE


def elsewhere(batch: Batch, logprobs: Tensor, near: float) -> tuple[Batch, Tensor, Tensor]:
    """The batch with engine log-probs, old ones and a reference's. They differ from the policy's by token, equally in any division."""
    own = batch.engine_logprobs
    assert own is not None
    old = logprobs + near * own.sin()
    return replace(batch, engine_logprobs=old + 0.4 * own.cos()), old, logprobs + 0.3 * (2 * own).sin()


def nearness(objective: Objective) -> float:
    """The distance of the old policy: the clip range of a sequence ratio is much narrower."""
    return 1e-3 if objective.preset.ratio == "sequence" else 0.5
