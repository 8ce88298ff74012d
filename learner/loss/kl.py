"""The KL to a reference policy, estimated from sampled tokens.

With x = log-prob under the policy minus log-prob under the reference, the expected gradient of each estimator in the loss is
(arXiv 2506.09477 and 2510.01555):

    k1          none
    k2          that of reverse KL
    k3          that of forward KL
    k3_clamped  that of k3 where k3 is at most 10, none elsewhere
    ratio_k3    that of reverse KL, off-policy too
"""

from collections.abc import Callable

import torch
from torch import Tensor

from learner.loss.surrogates import LOG_RATIO_LIMIT

K3_LIMIT = 10.0  # verl, OpenRLHF and SkyRL clamp the value of k3 to ±10; k3 is never negative


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


def k3_clamped(x: Tensor, log_ratio: Tensor) -> Tensor:
    """k3, at most 10, without a gradient beyond: verl's `low_var_kl`. A token at exp(-2.6) of the reference is no longer pulled back."""
    value = k3(x, log_ratio)
    return torch.where(value > K3_LIMIT, torch.full_like(value, K3_LIMIT), value)


def ratio_k3(x: Tensor, log_ratio: Tensor) -> Tensor:
    """k3 weighted by the ratio to the old policy, with its gradient; DeepSeek-V3.2, arXiv 2512.02556."""
    ratio = log_ratio.exp()
    return _with_slope(ratio * k3(x, log_ratio), ratio * x, x)


def _with_slope(value: Tensor, slope: Tensor, x: Tensor) -> Tensor:
    """`value` with the gradient `slope` in x. Autograd through the clamped exp() would lose the sign and the digits far from 0."""
    return value.detach() + slope.detach() * (x - x.detach())


ESTIMATORS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"k1": k1, "k2": k2, "k3": k3, "k3_clamped": k3_clamped, "ratio_k3": ratio_k3}


@torch.no_grad()
def kl_of_tokens(estimator: str, logprobs: Tensor, reference: Tensor, log_ratio: Tensor, mask: Tensor) -> Tensor:
    """The estimated KL to the reference at each token [B, T], 0 off the mask."""
    policy, base, ratio = (torch.where(mask, values, 0) for values in (logprobs, reference, log_ratio))
    return torch.where(mask, ESTIMATORS[estimator](policy - base, ratio), 0)
