"""Bytes of activations and logits of one token, as PyTorch allocates them.

The factors were measured on transformers' own layers: the peak of live storages of a forward and a backward pass, seen at every dispatched
operation. `tests/learner/test_activations.py` measures again. GPU kernels other than these may need more or less.
"""

from configs.memory.sizes import Sizes

HALF = 2  # bytes of a bfloat16
# Bytes in bfloat16 for each unit of width: norms and residuals; queries, keys and values; what is routed to experts; dense layers.
NORMS, ATTENTION, ROUTED, DENSE_NORMS, DENSE = 18, 12, 10, 24, 12
EXCHANGED = 4 * HALF  # tokens to the ranks of their experts and back, each as sent and as received
LOGITS = {"model": 14, "float32": 16}  # of one logit in a bfloat16 model, by learner.head_dtype


def layer_bytes(sizes: Sizes, weight: int, *, spread: bool) -> float:
    """One token's part in a forward and a backward pass of one layer, at its peak; `weight` is 2 in bfloat16 and 4 in float32."""
    attention = ATTENTION * (sizes.queries + sizes.keys)
    if not sizes.per_token:
        return (DENSE_NORMS * sizes.hidden + attention + DENSE * sizes.width) * weight / HALF
    routed = sizes.per_token * sizes.hidden + sizes.width
    exchanged = EXCHANGED * sizes.per_token * sizes.hidden if spread else 0
    return (NORMS * sizes.hidden + attention + ROUTED * routed + exchanged) * weight / HALF


def logit_bytes(head_dtype: str, weight: int) -> int:
    """One logit of one position at the peak of `chunked_logprobs`."""
    return LOGITS["float32"] if weight > HALF else LOGITS[head_dtype]
