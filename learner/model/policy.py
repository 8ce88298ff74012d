"""The policy: a causal language model that returns log-probs of given tokens instead of logits.

The head runs inside `forward`, so whatever wraps the module (ZeRO-3 above all) sees every use of its weights.
"""

from collections.abc import Sequence
from math import ceil
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from configs.schema import Config
from learner.batch.layout import Layout, lay_out
from learner.batch.recorded import Recording
from learner.batch.tensors import Batch
from learner.experts.routers import freeze_routers
from learner.experts.routing import Balance, Pass, Routing, Watcher
from learner.model.logprobs import chunked_logprobs, token_logprobs
from learner.model.packed_attention import FLASH, PACKED, borders, refuse_unpackable


class Policy(nn.Module):
    """A Hugging Face causal language model with the outputs that the objective needs."""

    def __init__(self, language_model: Any, temperature: float, chunks: int, *, packed: bool = False) -> None:
        """`chunks` is how often the head runs in a forward pass; ranks that share its weights must agree on it.

        `packed` leaves padding out of the pass; the model's attention must then be one that knows where sequences end.
        """
        super().__init__()
        self.language_model = language_model
        self.temperature, self.chunks, self.packed = temperature, chunks, packed
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
        layout = lay_out(batch.attention, packed=self.packed)
        answers = lay_out(batch.attention[:, batch.prompt_width :], packed=self.packed)
        tokens = answers.flat(batch.token_ids[:, batch.prompt_width :])
        replay = None if replay is None else replay.to(batch.token_ids.device)
        with self.routing.during(Pass(layout, replay, watchers, balance)):
            hidden = self.language_model.get_decoder()(**self._seen(batch, layout), use_cache=False).last_hidden_state
        speaking, head = speaking_states(hidden, batch, layout), self.language_model.get_output_embeddings()
        if self.chunks == 1:
            logprobs, entropy = token_logprobs(head(speaking), tokens, self.temperature)
        else:
            logprobs, entropy = chunked_logprobs(speaking, head, tokens, self.temperature, self.chunks)
        return answers.padded(logprobs), answers.padded(entropy)

    def _seen(self, batch: Batch, layout: Layout) -> dict[str, Any]:
        """The decoder's inputs: padded rows with their mask, or one row of real tokens with its borders."""
        if layout.place is None:
            return {"input_ids": batch.token_ids, "attention_mask": batch.attention, "position_ids": batch.position_ids}
        told = borders(batch.attention, self.language_model.config._attn_implementation)
        return {"input_ids": layout.flat(batch.token_ids)[None], "position_ids": layout.flat(batch.position_ids)[None], **told}


def speaking_states(hidden: Tensor, batch: Batch, layout: Layout) -> Tensor:
    """The decoder's last states that predict response tokens, in the order of those tokens [M, H].

    Position p predicts token p + 1; the last position predicts nothing.
    """
    if layout.place is None:
        return hidden[:, batch.prompt_width - 1 : -1].flatten(0, 1)
    spoken_of = batch.attention.clone()
    spoken_of[:, : batch.prompt_width] = False
    return hidden[0].index_select(0, layout.flat(spoken_of).nonzero().squeeze(1) - 1)


def load_policy(config: Config, path: str | None = None) -> Policy:
    """The model of [model], or of another folder, in fp32 or bf16, ready to train; raises where the checkpoint does not fill it."""
    path = path or config.model.path
    # Weights load in float32 only where they train in float32: under bf16 ZeRO keeps the float32 masters itself.
    dtype = getattr(torch, config.model.dtype)
    attention = config.learner.attention
    model, report = AutoModelForCausalLM.from_pretrained(
        path,
        dtype=dtype,
        attn_implementation=PACKED if config.learner.packing and attention != FLASH else attention,
        trust_remote_code=config.model.trust_remote_code,
        output_loading_info=True,
    )
    lacking = {key: sorted(names) for key in ("missing_keys", "unexpected_keys", "mismatched_keys") if (names := report.get(key))}
    if lacking:
        raise ValueError(f"{path} does not hold this model's weights: {lacking}; use a complete checkpoint")
    if config.learner.router == "frozen":
        freeze_routers(model)
    if config.learner.packing:
        refuse_unpackable(model.config, config, f"the model in {path}")
        if not model._supports_attention_backend:
            raise ValueError(f"{type(model).__name__} computes attention in its own way, which knows no packs: set learner.packing = false")
    chunks = ceil(config.learner.micro_batch_tokens / config.learner.head_chunk_tokens)
    policy = Policy(model, float(config.rollout.temperature), chunks, packed=config.learner.packing)
    if config.learner.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False, "context_fn": policy.routing.again})
    model.train()
    return policy
