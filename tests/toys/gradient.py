"""The objectives whose gradients are compared, and what stands in for the policies that they compare with."""

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


def elsewhere(batch: Batch, logprobs: Tensor, near: float) -> tuple[Batch, Tensor, Tensor]:
    """The batch with an engine, an old policy and a reference that differ from the policy token by token, alike in any division."""
    seen = batch.rollout_logprobs
    assert seen is not None
    old = logprobs + near * seen.sin()
    return replace(batch, rollout_logprobs=old + 0.4 * seen.cos()), old, logprobs + 0.3 * (2 * seen).sin()


def nearness(objective: Objective) -> float:
    """How far the old policy lies: a sequence ratio's clips are of another order."""
    return 1e-3 if objective.preset.ratio == "sequence" else 0.5
