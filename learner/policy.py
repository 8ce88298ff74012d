"""The policy: a causal language model that answers with log-probs of given tokens instead of logits.

The head runs inside `forward`, so whatever wraps the module (ZeRO-3 above all) sees every use of its weights.
"""

import torch
from torch import nn
from transformers import AutoModelForCausalLM

from configs.schema import Config
from learner.batch import Batch
from learner.logprobs import token_logprobs


class Policy(nn.Module):
    """A Hugging Face causal language model, reduced to what the objective asks of it."""

    def __init__(self, language_model: nn.Module, temperature: float) -> None:
        super().__init__()
        self.language_model = language_model
        self.temperature = temperature

    def forward(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probs of the response tokens and the entropy at each, both [B, T], float32, at the sampling temperature."""
        tail = batch.token_ids.shape[1] - batch.prompt_width
        out = self.language_model(
            input_ids=batch.token_ids,
            attention_mask=batch.attention,
            position_ids=batch.position_ids,
            logits_to_keep=tail + 1,
            use_cache=False,
        )
        # The logits at position p speak of token p + 1; the last position speaks of nothing.
        return token_logprobs(out.logits[:, :-1], batch.token_ids[:, batch.prompt_width :], self.temperature)


def load_policy(config: Config) -> Policy:
    """The model of [model] with fp32 or bf16 weights, ready to train; raises where the checkpoint does not fill it."""
    # Weights load in float32 only where they train in float32: under bf16 ZeRO keeps the float32 masters itself.
    dtype = getattr(torch, config.model.dtype)
    model, report = AutoModelForCausalLM.from_pretrained(
        config.model.path,
        dtype=dtype,
        attn_implementation=config.learner.attention,
        trust_remote_code=config.model.trust_remote_code,
        output_loading_info=True,
    )
    lacking = {key: sorted(names) for key in ("missing_keys", "unexpected_keys", "mismatched_keys") if (names := report.get(key))}
    if lacking:
        raise ValueError(f"{config.model.path} does not hold this model's weights: {lacking}; use a complete checkpoint")
    if config.learner.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    model.train()
    return Policy(model, float(config.rollout.temperature))
