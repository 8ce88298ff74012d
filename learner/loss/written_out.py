"""GRPO, DAPO and GSPO as their papers write them, prompt by prompt and response by response.

Training does not run these functions: it composes the same losses from `advantages`, `reductions` and `objective`, for any division into
ranks and micro-batches. A test holds that composition to this file, in value and in gradient. Each function returns the loss -J to
minimise. Responses have at least one token, and every response has a reward.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from learner.loss.advantages import EPSILON


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """The G responses to one prompt; response i has n_i tokens."""

    new: Sequence[Tensor]  # [n_i] each, log-probs under the policy that learns, with gradient
    old: Sequence[Tensor]  # [n_i] each, log-probs under the policy before the update
    reference: Sequence[Tensor]  # [n_i] each, log-probs under the reference policy; only GRPO's KL reads them
    rewards: Tensor  # [G]

    @property
    def advantages(self) -> Tensor:
        """Each reward's distance to the group's mean, in the group's standard deviations [G]; all three papers use it."""
        return (self.rewards - self.rewards.mean()) / (self.rewards.std() + EPSILON)


def grpo(prompts: Sequence[Samples], clip: float = 0.2, beta: float = 0.0) -> Tensor:
    """GRPO with one reward a response; DeepSeekMath, arXiv 2402.03300, equations 3 and 4, section 4.1.2.

    The paper's beta is 0.04; most later work, and the preset `grpo`, leaves the KL out.
    """
    objective = torch.zeros(())
    for group in prompts:
        for new, old, reference, advantage in zip(group.new, group.old, group.reference, group.advantages, strict=True):
            ratio = (new - old).exp()
            gain = torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)
            kl = (reference - new).exp() - (reference - new) - 1
            objective = objective + (gain - beta * kl).mean() / len(group.new)
    return -objective / len(prompts)


def dapo(prompts: Sequence[Samples], low: float = 0.2, high: float = 0.28, *, per_prompt: bool = False) -> Tensor:
    """DAPO; arXiv 2503.14476, equation 8: a wider clip upwards, and every token weighs the same.

    Equation 8 divides each prompt's sum by that prompt's tokens (`per_prompt`, the preset `dapo_prompt`). The authors' code, and the preset
    `dapo`, divides by all tokens of the update. Prompts whose answers are all right or all wrong have been resampled before.
    """
    gains = []
    for group in prompts:
        of_prompt = []
        for new, old, advantage in zip(group.new, group.old, group.advantages, strict=True):
            ratio = (new - old).exp()
            of_prompt.append(torch.minimum(ratio * advantage, ratio.clamp(1 - low, 1 + high) * advantage))
        gains.append(torch.cat(of_prompt))
    return -torch.stack([gain.mean() for gain in gains]).mean() if per_prompt else -torch.cat(gains).mean()


def gspo(prompts: Sequence[Samples], low: float = 3e-4, high: float = 4e-4) -> Tensor:
    """GSPO; arXiv 2507.18071, equations 5 to 7, clips of section 5.1: one ratio a response, the geometric mean of its tokens' ratios."""
    objective = torch.zeros(())
    for group in prompts:
        for new, old, advantage in zip(group.new, group.old, group.advantages, strict=True):
            ratio = (new - old).mean().exp()
            gain = torch.minimum(ratio * advantage, ratio.clamp(1 - low, 1 + high) * advantage)
            objective = objective + gain / len(group.new)
    return -objective / len(prompts)
