"""The policy: a causal language model that returns log-probs of given tokens instead of logits.

The head runs inside `forward`, so a wrapper such as ZeRO-3 sees every use of its weights.
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
from learner.batch.same_prompts import shared_prompts
from learner.batch.tensors import Batch
from learner.experts.routers import freeze_routers
from learner.experts.routing import Balance, Pass, Routing, Watcher
from learner.model.loading import Division, reading_once
from learner.model.logprobs import chunked_logprobs, token_logprobs
from learner.model.packed_attention import PACKED, borders
from learner.model.packing import FLASH, refuse_unpackable, settled


class Policy(nn.Module):
    """A Hugging Face causal language model, reduced to what the objective needs."""

    def __init__(
        self, language_model: Any, temperature: float, chunks: int, *, packed: bool = False, entropy_gradient: bool = False
    ) -> None:
        """`chunks` is how often the head runs in a forward pass; it must be the same on all ranks.

        `packed` leaves padding out of the pass; the model's attention must then know where sequences end.
        `entropy_gradient` lets the loss use the entropy.
        """
        super().__init__()
        self.language_model = language_model
        self.temperature, self.chunks, self.packed = temperature, chunks, packed
        self.entropy_gradient = entropy_gradient
        self.routing = Routing()

    @property
    def config(self) -> Any:
        """The model's own config; DeepSpeed's AutoEP reads the number and the weighting of experts from it."""
        return self.language_model.config

    def forward(
        self, batch: Batch, replay: Recording | None = None, watchers: Sequence[Watcher] = (), balance: Balance | None = None
    ) -> tuple[Tensor, Tensor]:
        """Log-probs of the response tokens and the entropy at each, both [B, T], float32, at the sampling temperature.

        `replay` makes tokens take recorded experts; `watchers` observe the routers; `balance` adds to the routers' gradient.
        """
        layout = self._layout(batch, replay)
        answers = lay_out(batch.answers, packed=self.packed)
        tokens = answers.flat(batch.token_ids[:, batch.prompt_width :])
        replay = None if replay is None else replay.to(batch.token_ids.device)
        with self.routing.during(Pass(layout, replay, watchers, balance)):
            hidden = self.language_model.get_decoder()(**self._inputs(batch, layout), use_cache=False).last_hidden_state
        states, head = predicting_states(hidden, batch, layout), self.language_model.get_output_embeddings()
        if self.chunks == 1:
            logprobs, entropy = token_logprobs(head(states), tokens, self.temperature, entropy_gradient=self.entropy_gradient)
        else:
            logprobs, entropy = chunked_logprobs(
                states, head, tokens, self.temperature, self.chunks, entropy_gradient=self.entropy_gradient
            )
        return answers.padded(logprobs), answers.padded(entropy)

    def _layout(self, batch: Batch, replay: Recording | None) -> Layout:
        """The layout of a pass; in a pack rows share their prompts, but for flash-attn, which would need them in every row."""
        prompts = None
        if self.packed and batch.prompts is not None and self.language_model.config._attn_implementation == PACKED:
            prompts = shared_prompts(batch.prompts, replay, batch.prompt_width, batch.attention.device)
        return lay_out(batch.attention, packed=self.packed, prompts=prompts, width=batch.prompt_width)

    def _inputs(self, batch: Batch, layout: Layout) -> dict[str, Any]:
        """The decoder's arguments: padded rows with their mask, or one row of real tokens with the borders of its sequences."""
        if layout.place is None:
            # With the last tokens, which are computed here anyway: rows of one length then need no mask, and fused attention takes them.
            return {"input_ids": batch.token_ids, "attention_mask": batch.whole, "position_ids": batch.position_ids}
        ends = borders(batch.attention, self.language_model.config._attn_implementation, layout.sharing)
        return {"input_ids": layout.flat(batch.token_ids)[None], "position_ids": layout.flat(batch.position_ids)[None], **ends}


def predicting_states(hidden: Tensor, batch: Batch, layout: Layout) -> Tensor:
    """The decoder's last states that predict the response tokens, in the order of those tokens [M, H].

    Position p predicts token p + 1; the last position predicts nothing.
    """
    if layout.place is None:
        return hidden[:, batch.prompt_width - 1 : -1].flatten(0, 1)
    predicting = torch.zeros_like(batch.attention)
    predicting[:, batch.prompt_width - 1 : -1] = batch.answers
    before = layout.every(predicting).nonzero().squeeze(1)
    return hidden[0].index_select(0, before if layout.sharing is None else layout.sharing.token[before])


def load_policy(config: Config, path: str | None = None, division: Division | None = None) -> Policy:
    """The model of [model], or of another folder, ready to train; ValueError if the checkpoint lacks weights of it.

    In a process group it is a collective: the ranks read the model together, and each keeps what `division` says, by default all of it.
    """
    config = settled(config)
    path = path or config.model.path
    # Under bf16 ZeRO keeps the float32 masters itself, so weights load in float32 only if they train in it.
    dtype = getattr(torch, config.model.dtype)
    attention = config.learner.attention
    with reading_once(division or Division(device=torch.device("cpu"))):
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            path,
            dtype=dtype,
            attn_implementation=PACKED if config.learner.packing and attention != FLASH else attention,
            trust_remote_code=config.model.trust_remote_code,
            output_loading_info=True,
        )
    model, report = loaded
    lacking = {key: sorted(names) for key in ("missing_keys", "unexpected_keys", "mismatched_keys") if (names := report.get(key))}
    if lacking:
        raise ValueError(f"{path} does not have this model's weights: {lacking}; use a complete checkpoint")
    if config.learner.router == "frozen":
        freeze_routers(model)
    if config.learner.packing:
        refuse_unpackable(model.config, config, f"the model in {path}")
        if not model._supports_attention_backend:
            raise ValueError(
                f"{type(model).__name__} has its own attention, which cannot tell packed sequences apart: set learner.packing = false"
            )
    chunks = ceil(config.learner.micro_batch_tokens / config.learner.head_chunk_tokens)
    policy = Policy(
        model,
        float(config.rollout.temperature),
        chunks,
        packed=config.learner.packing is True,
        entropy_gradient=config.entropy.in_use,
    )
    if config.learner.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False, "context_fn": policy.routing.again})
    model.train()
    return policy
