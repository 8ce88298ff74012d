"""The KL to a reference policy, estimated from sampled tokens.

With x = log-prob under the policy minus log-prob under the reference, the expected gradient of each estimator in the loss is
(arXiv 2506.09477 and 2510.01555):

    k1        none
    k2        that of reverse KL
    k3        that of forward KL
    ratio_k3  that of reverse KL, off-policy too
"""

from collections.abc import Callable

import torch
from torch import Tensor

from learner.loss.surrogates import LOG_RATIO_LIMIT


def k1(x: Tensor, log_ratio: Tensor) -> Tensor:
    """The log-ratio itself: unbiased, positive or negative."""
    return x


def k2(x: Tensor, log_ratio: Tensor) -> Tensor:
    """Half the square of the log-ratio: biased in value, correct in gradient."""
    return x**2 / 2


def k3(x: Tensor, log_ratio: Tensor) -> Tensor:
    """exp(-x) - 1 + x: unbiased in value and never negative; http://joschu.net/blog/kl-approx.html."""
    bounded = x.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
    return _with_slope((-bounded).exp() - 1 + bounded, 1 - (-bounded).exp(), x)


def ratio_k3(x: Tensor, log_ratio: Tensor) -> Tensor:
    """k3 weighted by the ratio to the old policy, with its gradient; DeepSeek-V3.2, arXiv 2512.02556."""
    ratio = log_ratio.exp()
    return _with_slope(ratio * k3(x, log_ratio), ratio * x, x)


def _with_slope(value: Tensor, slope: Tensor, x: Tensor) -> Tensor:
    """`value` with the gradient `slope` in x. Autograd through the clamped exp() would lose the sign and the digits far from 0."""
    return value.detach() + slope.detach() * (x - x.detach())


ESTIMATORS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"k1": k1, "k2": k2, "k3": k3, "ratio_k3": ratio_k3}


@torch.no_grad()
def kl_of_responses(estimator: str, logprobs: Tensor, reference: Tensor, log_ratio: Tensor, mask: Tensor) -> Tensor:
    """The estimated KL of each response to the reference, summed over its tokens [B, T] -> [B], float64."""
    policy, base, ratio = (torch.where(mask, values, 0) for values in (logprobs, reference, log_ratio))
    return torch.where(mask, ESTIMATORS[estimator](policy - base, ratio), 0).sum(-1, dtype=torch.float64)
