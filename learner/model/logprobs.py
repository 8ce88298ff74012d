"""Log-probs of given tokens under the policy at the sampling temperature."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def token_logprobs(logits: Tensor, tokens: Tensor, temperature: float, *, entropy_gradient: bool = False) -> tuple[Tensor, Tensor]:
    """Log-prob of each token and entropy of its distribution: logits [..., V], tokens [...] -> [...], [...].

    Computed in float32 or better, whatever the model computes in. The entropy has a gradient only with `entropy_gradient`.
    """
    precise = torch.promote_types(logits.dtype, torch.float32)
    logprobs = torch.log_softmax(logits.to(precise) / temperature, dim=-1)
    if entropy_gradient:
        entropy: Tensor = _Entropy.apply(logprobs)
    else:
        with torch.no_grad():
            entropy = entropy_of(logprobs)
    return logprobs.gather(-1, tokens[..., None]).squeeze(-1), entropy


def entropy_of(logprobs: Tensor) -> Tensor:
    """The entropy of distributions given as log-probs [..., V] -> [...]. entr(0) is 0, where p * log p would be NaN."""
    return torch.special.entr(logprobs.exp()).sum(-1)


class _Entropy(torch.autograd.Function):
    """`entropy_of` with a gradient that keeps nothing in memory but the log-probs, which log_softmax keeps anyway."""

    @staticmethod
    def forward(ctx: Any, logprobs: Tensor) -> Tensor:
        ctx.save_for_backward(logprobs)
        return entropy_of(logprobs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (logprobs,) = ctx.saved_tensors
        p = logprobs.exp()
        return gradients[0][..., None] * torch.special.entr(p).sub_(p)  # -p (log p + 1), and 0 where p is 0


def chunked_logprobs(
    hidden: Tensor, head: Callable[[Tensor], Tensor], tokens: Tensor, temperature: float, chunks: int, *, entropy_gradient: bool = False
) -> tuple[Tensor, Tensor]:
    """`token_logprobs` of `head(hidden)`, one chunk of logits in memory at a time: hidden [N, H], tokens [N] -> [N], [N].

    The backward pass recomputes each chunk's logits. The head runs exactly `chunks` times, on empty chunks too: under ZeRO-3 all ranks must
    pass the same number.
    """

    def of_chunk(part: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        return token_logprobs(head(part), wanted, temperature, entropy_gradient=entropy_gradient)

    parts = zip(hidden.tensor_split(chunks), tokens.tensor_split(chunks), strict=True)
    results = [checkpoint(of_chunk, part, wanted, use_reentrant=False) for part, wanted in parts]
    return torch.cat([logprobs for logprobs, _ in results]), torch.cat([entropy for _, entropy in results])
