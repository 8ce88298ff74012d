"""The objectives whose gradients are compared, and made-up old policy, engine and reference."""

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from configs.presets import CORRECTIONS, PRESETS, Kl, Objective
from configs.sections.objective import Credit
from learner.batch.tensors import Batch
from rollout.types import Group
from tests.toys.holes import with_episodes

OBJECTIVES = {name: Objective(preset=preset) for name, preset in PRESETS.items()}
OBJECTIVES["grpo+icepop+k2"] = Objective(preset=PRESETS["grpo"], correction=CORRECTIONS["icepop"], kl=Kl(coefficient=0.1, estimator="k2"))
OBJECTIVES["dapo+tis_sequence+ratio_k3"] = Objective(
    preset=PRESETS["dapo"], correction=CORRECTIONS["tis_sequence"], kl=Kl(coefficient=0.1, estimator="ratio_k3")
)
OBJECTIVES["rloo+k1_in_reward"] = Objective(preset=PRESETS["rloo"], kl=Kl(coefficient=0.1, estimator="k1", place="reward"))
OBJECTIVES["grpo+entropy"] = Objective(preset=PRESETS["grpo"])
# On episodes: an environment's tokens between the turns, later segments, rewards of turns.
OBJECTIVES["gspo+episodes"] = Objective(preset=PRESETS["gspo"])
OBJECTIVES["dapo+tis_sequence+episodes"] = Objective(preset=PRESETS["dapo"], correction=CORRECTIONS["tis_sequence"])
OBJECTIVES["rloo+k1_in_reward+by_turn"] = OBJECTIVES["rloo+k1_in_reward"]
ENTROPY = {"grpo+entropy": 0.3}  # coefficients of the entropy bonus

# ZeRO sees the gradient of a number, whatever it is the loss of. So every objective is tried on one rank and on two, and under each
# stage those that differ most: a ratio by token and by sequence, three reductions, corrections, a penalty in the loss and in the reward.
WITH_ALL = (("gradient-zero1", 1), ("gradient-zero2", 2))
EVERYWHERE = (
    "grpo",
    "gspo",
    "grpo+icepop+k2",
    "dapo+tis_sequence+ratio_k3",
    "rloo+k1_in_reward",
    "grpo+entropy",
    *(name for name in OBJECTIVES if name.endswith(("episodes", "by_turn"))),
)


def labels_of(run: str, world: int) -> tuple[str, ...]:
    """The objectives of a run of so many ranks."""
    return tuple(OBJECTIVES) if (run, world) in WITH_ALL else EVERYWHERE


def credit_of(label: str) -> Credit:
    """How an objective's advantages are divided over turns."""
    return "turn" if label.endswith("by_turn") else "whole"


def groups_of(label: str, groups: Sequence[Group]) -> list[Group]:
    """The groups that an objective learns from: these, or episodes made of them."""
    made = label.endswith(("episodes", "by_turn"))
    return [with_episodes(group, 20 + group.group_id) if made else group for group in groups]


def elsewhere(batch: Batch, logprobs: Tensor, near: float) -> tuple[Batch, Tensor, Tensor]:
    """The batch with engine log-probs, old ones and a reference's. They differ from the policy's by token, equally in any division."""
    own = batch.engine_logprobs
    assert own is not None
    old = logprobs + near * own.sin()
    return replace(batch, engine_logprobs=old + 0.4 * own.cos()), old, logprobs + 0.3 * (2 * own).sin()


def nearness(objective: Objective) -> float:
    """The distance of the old policy: the clip range of a sequence ratio is much narrower."""
    return 1e-3 if objective.preset.ratio == "sequence" else 0.5
