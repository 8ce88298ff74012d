"""Tokens of unfinished responses that wait in an engine's core for the next message of their response.

    first token, last token ──► pass at once: their times say which weights sampled them
    every other token       ──► held, up to HOLD_S ──► passes with the next message of its response

Outputs are vLLM's `EngineCoreOutput`: what one step of the core made for one request.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

HOLD_S = 0.25  # for a token to be counted; the watch over engines allows many times as long
SAYS_MORE = (  # fields of an output that is not just further tokens
    "finish_reason", "pooling_output", "prefill_stats", "events", "kv_transfer_params", "ec_transfer_params",
    "new_prompt_logprobs_tensors", "new_sampling_mask",
)  # fmt: skip


class Held:
    """What waits, by client of the core and request."""

    def __init__(self) -> None:
        self.parts: dict[tuple[int, str], list[Any]] = {}
        self._since = 0.0  # when the oldest of them came

    def take(self, client: int, output: Any, tokens: int, now: float) -> Any | None:
        """An output of a response that is read when it is finished, and has `tokens` tokens now.

        Returns it with what its request has held before; None if it is held.
        """
        is_first = tokens <= len(output.new_token_ids)
        if is_first or any(getattr(output, name) is not None for name in SAYS_MORE):
            return self.join(client, output)
        if not self.parts:
            self._since = now
        self.parts.setdefault((client, output.request_id), []).append(output)
        return None

    def join(self, client: int, output: Any) -> Any:
        """An output with what its request has held before."""
        return joined([*self.parts.pop((client, output.request_id), ()), output])

    def overdue(self, now: float) -> list[tuple[int, Any]]:
        """Every client and output that is held, once the oldest has waited for long enough."""
        if not self.parts or now - self._since < HOLD_S:
            return []
        held, self.parts = self.parts, {}
        return [(client, joined(parts)) for (client, _), parts in held.items()]


def joined(parts: Sequence[Any]) -> Any:
    """The outputs of one request as its last one."""
    *_, last = parts
    if len(parts) > 1:
        last.new_token_ids = [token for part in parts for token in part.new_token_ids]
        if logprobs := [part.new_logprobs for part in parts if part.new_logprobs is not None]:
            # token ids, log-probs and ranks, each with a row for each token; the last column is None for one request
            columns = (np.concatenate([one[column] for one in logprobs]) for column in range(3))
            last.new_logprobs = type(logprobs[0])(*columns)
        if experts := [part.routed_experts for part in parts if part.routed_experts is not None]:
            last.routed_experts = np.concatenate(experts)
    return last
