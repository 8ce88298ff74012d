"""The policy: a causal language model that answers with log-probs of given tokens instead of logits.

The head runs inside `forward`, so whatever wraps the module (ZeRO-3 above all) sees every use of its weights.
"""

from collections.abc import Sequence
from math import ceil
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from configs.schema import Config
from learner.batch import Batch
from learner.layout import lay_out
from learner.logprobs import chunked_logprobs, token_logprobs
from learner.routers import freeze_routers
from learner.routing import Balance, Pass, Recording, Routing, Watcher


class Policy(nn.Module):
    """A Hugging Face causal language model, reduced to what the objective asks of it."""

    def __init__(self, language_model: Any, temperature: float, chunks: int) -> None:
        """`chunks` is how often the head runs in a forward pass; ranks that share its weights must agree on it."""
        super().__init__()
        self.language_model = language_model
        self.temperature, self.chunks = temperature, chunks
        self.routing = Routing()

    @property
    def config(self) -> Any:
        """The model's own; DeepSpeed's AutoEP reads from it how many experts there are and how they are weighed."""
        return self.language_model.config

    def forward(
        self, batch: Batch, replay: Recording | None = None, watchers: Sequence[Watcher] = (), balance: Balance | None = None
    ) -> tuple[Tensor, Tensor]:
        """Log-probs of the response tokens and the entropy at each, both [B, T], float32, at the sampling temperature.

        `replay` makes tokens take recorded experts; `watchers` see what the routers do; `balance` adds to the gradient that they get.
        """
        layout = lay_out(batch.attention, packed=False)
        tokens = batch.token_ids[:, batch.prompt_width :]
        with self.routing.during(Pass(layout, replay, watchers, balance)):
            hidden = self.language_model.get_decoder()(
                input_ids=batch.token_ids, attention_mask=batch.attention, position_ids=batch.position_ids, use_cache=False
            ).last_hidden_state
        # What stands at position p speaks of token p + 1; the last position speaks of nothing.
        speaking = hidden[:, batch.prompt_width - 1 : -1]
        head = self.language_model.get_output_embeddings()
        if self.chunks == 1:
            return token_logprobs(head(speaking), tokens, self.temperature)
        logprobs, entropy = chunked_logprobs(speaking.flatten(0, 1), head, tokens.flatten(), self.temperature, self.chunks)
        return logprobs.view_as(tokens), entropy.view_as(tokens)


def load_policy(config: Config, path: str | None = None) -> Policy:
    """The model of [model], or of another folder, in fp32 or bf16, ready to train; raises where the checkpoint does not fill it."""
    path = path or config.model.path
    # Weights load in float32 only where they train in float32: under bf16 ZeRO keeps the float32 masters itself.
    dtype = getattr(torch, config.model.dtype)
    model, report = AutoModelForCausalLM.from_pretrained(
        path,
        dtype=dtype,
        attn_implementation=config.learner.attention,
        trust_remote_code=config.model.trust_remote_code,
        output_loading_info=True,
    )
    lacking = {key: sorted(names) for key in ("missing_keys", "unexpected_keys", "mismatched_keys") if (names := report.get(key))}
    if lacking:
        raise ValueError(f"{path} does not hold this model's weights: {lacking}; use a complete checkpoint")
    if config.learner.router == "frozen":
        freeze_routers(model)
    chunks = ceil(config.learner.micro_batch_tokens / config.learner.head_chunk_tokens)
    policy = Policy(model, float(config.rollout.temperature), chunks)
    if config.learner.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False, "context_fn": policy.routing.again})
    model.train()
    return policy
