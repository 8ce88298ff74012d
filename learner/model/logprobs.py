"""Log-probs of given tokens under the policy at the sampling temperature."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def token_logprobs(logits: Tensor, tokens: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Log-prob of each token and entropy of its distribution: logits [..., V], tokens [...] -> [...], [...].

    Computed in float32 or better, whatever the model computes in. Only the log-probs have a gradient.
    """
    precise = torch.promote_types(logits.dtype, torch.float32)
    logprobs = torch.log_softmax(logits.to(precise) / temperature, dim=-1)
    with torch.no_grad():
        entropy = torch.special.entr(logprobs.exp()).sum(-1)  # entr(0) is 0, where p * log p would be NaN
    return logprobs.gather(-1, tokens[..., None]).squeeze(-1), entropy


def chunked_logprobs(
    hidden: Tensor, head: Callable[[Tensor], Tensor], tokens: Tensor, temperature: float, chunks: int
) -> tuple[Tensor, Tensor]:
    """`token_logprobs` of `head(hidden)`, one chunk of logits in memory at a time: hidden [N, H], tokens [N] -> [N], [N].

    The backward pass recomputes each chunk's logits. The head runs exactly `chunks` times, on empty chunks too: under ZeRO-3 all ranks must
    pass the same number.
    """

    def of_chunk(part: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        return token_logprobs(head(part), wanted, temperature)

    parts = zip(hidden.tensor_split(chunks), tokens.tensor_split(chunks), strict=True)
    results = [checkpoint(of_chunk, part, wanted, use_reentrant=False) for part, wanted in parts]
    return torch.cat([logprobs for logprobs, _ in results]), torch.cat([entropy for _, entropy in results])
