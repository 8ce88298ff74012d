"""Keys of `[rollout]`."""

from typing import Literal

from pydantic import Field, StrictBool

from configs.section import Auto, Count, Positive, Section, Temperature, Whole
from configs.tables import Table


class EngineRange(Section):
    """How few and how many engines a run may have while it works."""

    min: Count = Field(description="engines without which the run does not start")
    max: Count = Field(description="engines that it takes at most, as nodes have room for them")


class RolloutConfig(Section):
    """The engines: how many, how they sample, what reaches the learner."""

    engines: Count | EngineRange = Field(
        default=1,
        description="number of vLLM engines, each a Ray actor. With a range the run starts as many as fit, and more when a node joins",
        json_schema_extra={"table": "{ min = 2, max = 8 }"},
    )
    group_size: Count = Field(default=8, description="responses to each prompt")
    groups_per_step: Count = Field(default=64, description="prompts that one step learns from")
    ahead: Whole | None = Field(
        default=None,
        description="steps that generation runs ahead of learning. Left out, it is `run.max_staleness`. A smaller number leaves slack: "
        "finished groups are learned first, and a straggler may come later within the bound",
    )
    temperature: Temperature = Field(
        default=1.0,
        description="sampling temperature. The learner divides its logits by the same number. "
        "top-p, top-k and min-p are off and cannot be set, as they would change the normaliser",
    )
    max_response_tokens: Count = Field(
        default=1024, description="longest response in tokens. A response that reaches it counts as truncated"
    )
    reply_role: Literal["user", "tool"] = Field(
        default="user",
        description="role in which the chat template tells the model the words of an environment or of a tool. Templates that do not show "
        'a turn of the role "tool" are refused with it',
    )
    max_turns: Count = Field(
        default=8,
        description="turns that the model has at most in an episode, where an environment or a tool answers it. "
        "An episode that would go on counts as truncated",
    )
    max_reply_tokens: Count = Field(
        default=256,
        description="tokens that one answer of an environment or a tool adds at most, the marks of the chat template included. "
        'A longer answer is cut and ends in "[cut]"',
    )
    dynamic_sampling: StrictBool | None = Field(
        default=None,
        description="replace groups whose responses are all equally correct. Left out, the preset decides (`dapo`: yes)",
    )
    max_refill: Count = Field(
        default=8, description="the run stops after `max_refill` × `groups_per_step` rejected groups in a row (dynamic sampling)"
    )
    logprobs: StrictBool = Field(
        default=True,
        description="let the engine return the log-prob of each sampled token. Without them the mismatch is neither measured nor corrected",
    )
    dtype: Literal["model", "float32", "bfloat16"] = Field(
        default="model", description='precision of the engines and of the weights sent to them; "model" is `model.dtype`'
    )
    capture_routing: StrictBool = Field(
        default=False,
        description='record the experts of each token, for `learner.routing = "replay_rollout"` and for the split of the mismatch. '
        "They travel with the response: layers × experts per token in bytes (twice that above 256 experts), for every token",
    )
    transfer: Literal["auto", "gloo", "nccl", "ipc"] = Field(
        default="auto",
        description='how weights travel to the engines; "auto" is nccl if Ray has GPUs, and otherwise gloo. '
        "With `placement.share` it is ipc on GPUs: memory that a rank and the engine's worker on the same GPU share",
    )
    full_every: Count = Field(
        default=1,
        description="every `full_every`-th publish sends whole weights, those between only the numbers that have changed. 1: all send "
        "whole ones. They also follow a failure, and go to an engine that is new, has other weights or cannot be patched",
    )
    cpus_per_engine: Positive = Field(
        default=1,
        description="CPU cores that Ray reserves for an engine; fractions share a core. In a cluster of CPUs also its number of threads",
    )
    threads: Count | Auto = Field(
        default="auto",
        description="threads with which an engine computes on CPU. "
        '`"auto"` takes every core of the machine while ranks rest, and a share of them where both work at once. A tiny model gets one',
    )
    eval_responses: Count = Field(
        default=1,
        description="sampled responses to each held-out prompt, besides the greedy one. This is the k of `eval/pass@k` and `eval/mean@k`",
    )
    stall_s: Positive = Field(
        default=120,
        description="an engine that makes no token for so long while it has requests, or does not answer, is suspect and gets no new "
        "groups. After twice as long it is killed, and its groups go to other engines. Must be above the longest single step of "
        "an engine, a compilation at a first request included",
    )
    restarts: Whole = Field(
        default=3,
        description="how often an engine that has died is started again within `restart_window_s`, in the background. 0 never starts one "
        "again. With `placement.share` none is",
    )
    restart_window_s: Positive = Field(default=3600, description="the seconds within which `restarts` of an engine are counted")
    hedge: StrictBool = Field(
        default=False,
        description="run a group that takes much longer than its neighbours a second time on an idle engine, with the same seeds; "
        "the first result is kept",
    )
    vllm: Table = Field(default_factory=dict, description="arguments for vLLM's `AsyncEngineArgs`, with vLLM's own names")

    @property
    def fewest_engines(self) -> int:
        """The engines without which the run does not start."""
        return self.engines.min if isinstance(self.engines, EngineRange) else self.engines

    @property
    def most_engines(self) -> int:
        """The engines that the config allows at most; `gatewise engines` may ask for more where it gives one number."""
        return self.engines.max if isinstance(self.engines, EngineRange) else self.engines
