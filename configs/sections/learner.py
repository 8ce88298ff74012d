"""Keys of `[learner]`."""

from typing import Literal

from pydantic import Field, StrictBool

from configs.section import AboveOne, Auto, Count, DecayRate, Fraction, NonNegative, Positive, Section, Whole
from configs.tables import Table, inner_table


class LearnerConfig(Section):
    """The ranks that hold, update and publish the policy."""

    ranks: Count = Field(default=1, description="number of learner processes, each a Ray actor. With GPUs each has one GPU")
    lr: Positive = Field(default=1e-6, description="learning rate of AdamW after the warm-up")
    schedule: Literal["constant", "linear", "cosine"] = Field(
        default="constant",
        description="how the learning rate changes after the warm-up. It falls to `min_lr` over the steps up to `run.steps`, "
        "by step and not by update",
    )
    min_lr: NonNegative = Field(
        default=0.0, description="learning rate at the end of a schedule that falls. The step after the last one would have it"
    )
    updates_per_step: Count = Field(
        default=1,
        description="optimizer updates in one step. They are made one after another, each from its own part of the step's groups",
    )
    warmup_updates: Whole = Field(
        default=0,
        description="updates over which the learning rate rises linearly. Update n of the warm-up uses `lr × n / warmup_updates`",
    )
    weight_decay: NonNegative = Field(default=0.0, description="weight decay of AdamW")
    betas: tuple[DecayRate, DecayRate] = Field(default=(0.9, 0.999), description="decay rates of AdamW's two moments")
    max_grad_norm: Positive = Field(default=1.0, description="gradients are clipped to this norm")
    on_spike: Literal["go on", "skip", "rollback"] = Field(
        default="go on",
        description="an update whose gradient spikes is made all the same, dropped, or dropped while the run goes back to its newest "
        'checkpoint with `rollback_lr` times the rate. One that is not finite is dropped, and with "rollback" takes the run back too',
    )
    spike_factor: AboveOne = Field(
        default=10.0,
        description="a gradient spikes if its norm is above this many times the median norm of the last 50 updates. "
        "The warm-up does not count, and nothing spikes in the 20 updates after it",
    )
    rollback_lr: Fraction = Field(
        default=0.5,
        description="by what the learning rate is multiplied with every rollback. The ledger keeps it, so a resumed run has it too",
    )
    rollbacks: Count = Field(
        default=3, description='how often a run with `on_spike = "rollback"` goes back in all, resumed or not. The next spike ends it'
    )
    micro_batch_tokens: Count = Field(
        default=16384,
        description="most tokens of a rank in one forward pass. Without `packing`: rows × (longest prompt + longest response)",
    )
    head_chunk_tokens: Count = Field(
        default=2048,
        description="positions whose logits over the whole vocabulary are in memory at once. "
        "The backward pass computes the logits of each chunk again",
    )
    gradient_checkpointing: StrictBool = Field(
        default=False, description="compute activations again in the backward pass instead of storing them"
    )
    attention: Literal["sdpa", "eager", "flash_attention_2"] = Field(
        default="sdpa", description="attention implementation of transformers in the learner"
    )
    packing: StrictBool | Auto = Field(
        default="auto",
        description='leave padding out of the forward pass, exactly. `"auto"` does so wherever the model and its attention allow it. '
        "`micro_batch_tokens` then counts real tokens. With `sdpa` the responses to a prompt that share a micro-batch compute it once. "
        'Every layer must attend to the whole sequence; a layer with a window needs `attention = "flash_attention_2"`',
    )
    routing: Literal["live", "replay_learner", "replay_rollout"] = Field(
        default="live",
        description="which experts a token uses: chosen anew in every pass, the learner's of the step's start (R2), or the engine's (R3)",
    )
    missing_routing: Literal["live", "mask"] = Field(
        default="live",
        description='a response without recorded experts is routed live, or masked out of the loss (`routing = "replay_rollout"`)',
    )
    expert_parallel: Count = Field(
        default=1,
        description="ranks over which the experts of a layer are spread (DeepSpeed AutoEP). "
        "It divides `ranks` and the number of experts, and needs ZeRO stage 1, 2 or 3",
    )
    router: Literal["trained", "frozen"] = Field(
        default="trained", description="whether the weights of the routers, which choose experts, are trained or frozen"
    )
    router_dtype: Literal["float32", "model"] = Field(
        default="float32", description="precision of the router's logits, in the policy and the reference"
    )
    head_dtype: Literal["float32", "model"] = Field(
        default="model",
        description="precision of the logits over the vocabulary, in the policy and the reference. "
        '"float32" also casts the weight of the head each time it runs',
    )
    aux_loss: NonNegative = Field(
        default=0.0,
        examples=[1e-3],
        description="coefficient of the load-balancing loss. It is computed over the whole update and costs one more forward pass",
    )
    cpus_per_rank: Positive = Field(
        default=1, description="CPU cores that Ray reserves for a rank. On a GPU or in a cluster also its number of threads"
    )
    threads: Count | Auto = Field(
        default="auto",
        description="threads with which a rank computes on CPU. "
        '`"auto"` takes every core of the machine while engines rest, and a share of them where both work at once',
    )
    restarts: Whole = Field(
        default=3,
        description="how often within `restart_window_s` all ranks start again after one died, was stopped or was late. The run goes back "
        "to its newest checkpoint. Losses without a new checkpoint between them all count. 0: the first loss ends the run",
    )
    restart_window_s: Positive = Field(default=3600, description="seconds within which `restarts` are counted")
    stall_s: Positive = Field(
        default=120,
        description="longest time in seconds in which a rank's process may answer no ping. A rank that works answers at once; "
        "one that is stopped does not, and is killed",
    )
    deepspeed: Table = Field(default_factory=dict, description="added to DeepSpeed's config, with DeepSpeed's own names")

    @property
    def zero(self) -> Table:
        """The table `zero_optimization`, empty if it is left out or is no table."""
        return inner_table(self.deepspeed, ("zero_optimization",))

    @property
    def zero_stage(self) -> int:
        return int(self.zero.get("stage", 0))

    @property
    def shares_prompts(self) -> bool:
        """Whether a pass that is packed computes a prompt once for all responses to it."""
        return self.packing is not False and self.attention == "sdpa"
