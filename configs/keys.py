"""The keys of a config file by section: type, default and meaning, without the rules between them.

A description is one line for a table: its first sentence says what the key is, and is also shown in errors. `configs.document` writes the
tables of docs/config.md from them.
"""

from pathlib import Path
from typing import Literal

from pydantic import Field, StrictBool, StrictStr

from configs.mismatch import MismatchConfig
from configs.objective import CorrectionConfig, KlConfig, ObjectiveConfig
from configs.presets import Objective
from configs.reward import CodeConfig, HttpConfig, JudgeConfig, RewardConfig
from configs.section import Count, DecayRate, NonNegative, Positive, PositiveShare, Section, Whole
from configs.tables import Table, inner_table


class RunConfig(Section):
    """How long the run is, where its files are and how far generation may run ahead of learning."""

    dir: StrictStr = Field(
        default="runs/gatewise",
        description="folder of the run. A relative path starts at the working directory; on a cluster give an absolute path "
        "that every node can read and write",
    )
    steps: Count = Field(default=100, description="steps to train. A resumed run counts the steps before its checkpoint too")
    seed: Whole = Field(default=0, description="seed of the prompt order, of every request, of vLLM and of the learner")
    max_staleness: Whole = Field(
        default=0,
        description="largest staleness: steps between the publish of a token's weights and the step that learns the token. "
        "0: generation and learning take turns; 1 and more: generation runs ahead",
    )
    resume: StrictStr = Field(
        default="never",
        description='"never", "auto" or a checkpoint folder. "never" refuses a `run.dir` that already holds a run; "auto" continues from '
        "the newest complete checkpoint of `run.dir`, or starts from the model if there is none; a folder continues from that checkpoint",
    )
    save_every: Count = Field(default=50, description="steps between checkpoints. The last step is always saved")
    keep_checkpoints: Count = Field(default=2, description="number of complete checkpoints to keep, the newest ones")
    eval_every: Whole = Field(
        default=50,
        description="steps between evaluations on `data.eval`. 0 evaluates only before the first and after the last step",
    )
    sample_responses: Whole = Field(
        default=4,
        description="responses of every step written as readable text to `responses/`. They are one of each of the first groups; "
        "0 writes none",
    )
    tensorboard: StrictBool = Field(default=False, description="also write every metric to `tensorboard/`")
    deadline_s: Positive = Field(
        default=600,
        description="longest time in seconds for any single wait: a start, a group, a learner call, each stage of a publish. "
        "A longer one is an error: set it above the longest step",
    )


class ModelConfig(Section):
    """The checkpoint that is trained."""

    path: StrictStr = Field(
        description="folder of a Hugging Face causal language model with `config.json`, `*.safetensors` and its tokenizer. "
        "A hub id is not accepted: download the model first"
    )
    dtype: Literal["float32", "bfloat16"] = Field(
        default="bfloat16",
        description="precision of the learner's forward pass, and of the engines unless `rollout.dtype` is set. "
        "With bfloat16 DeepSpeed keeps fp32 master weights",
    )
    trust_remote_code: StrictBool = Field(default=False, description="let transformers and vLLM run Python code from the model's folder")


class DataConfig(Section):
    """Where prompts come from and what the fields of a row mean."""

    train: StrictStr = Field(description="a .jsonl or .parquet file, or a Hugging Face dataset id")
    eval: StrictStr | None = Field(
        default=None, description="held-out prompts, given in the same forms as `data.train`. Left out, nothing is evaluated"
    )
    split: StrictStr = Field(default="train", description="split of `data.train`, if that is a dataset id")
    eval_split: StrictStr = Field(default="test", description="split of `data.eval`, if that is a dataset id")
    prompt_field: StrictStr = Field(
        default="prompt",
        description="field with the question. It holds text or, with `chat_template`, a list of messages with `role` and `content`",
    )
    reference_field: StrictStr = Field(default="answer", description="field with the reference that the checker compares with")
    checker_field: StrictStr | None = Field(
        default=None, description="field with the name of a row's checker. Rows without a value there use `reward.checker`"
    )
    chat_template: StrictBool = Field(
        default=True, description="wrap text as a user turn in the model's chat template. `false` tokenises the text as it is"
    )
    system: StrictStr | None = Field(default=None, description="system turn before every prompt")
    max_prompt_tokens: Count = Field(default=1024, description="longest prompt in tokens, chat template included")
    overlong: Literal["refuse", "drop"] = Field(
        default="refuse",
        description='"refuse" stops at a prompt above `max_prompt_tokens`, naming its row; "drop" leaves those prompts out and counts them',
    )
    sampler: Literal["uniform", "difficulty"] = Field(
        default="uniform",
        description='"uniform" draws every prompt once an epoch; "difficulty" draws prompts with mixed results more often than those '
        "that are always or never solved",
    )
    difficulty_floor: PositiveShare = Field(
        default=0.1, description="smallest sampling weight of a prompt, as a share of the largest (difficulty sampler)"
    )
    difficulty_half_life: Positive = Field(
        default=2.0, description="half-life, in epochs, of a prompt's observed results (difficulty sampler)"
    )
    eval_limit: Count | None = Field(default=None, examples=[500], description="evaluate on this many rows of `data.eval`, the first ones")


class RolloutConfig(Section):
    """The engines: how many, how they sample, what reaches the learner."""

    engines: Count = Field(default=1, description="number of vLLM engines, each a Ray actor")
    group_size: Count = Field(default=8, description="responses to each prompt")
    groups_per_step: Count = Field(default=64, description="prompts that one step learns from")
    temperature: Positive = Field(
        default=1.0,
        description="sampling temperature. The learner divides its logits by the same number. "
        "top-p, top-k and min-p are off and cannot be set, as they would change the normaliser",
    )
    max_response_tokens: Count = Field(
        default=1024, description="longest response in tokens. A response that reaches it counts as truncated"
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
    transfer: Literal["auto", "gloo", "nccl"] = Field(
        default="auto", description='how weights travel to the engines; "auto" is nccl if Ray has GPUs, and otherwise gloo'
    )
    cpus_per_engine: Positive = Field(
        default=1, description="CPU cores that Ray reserves for an engine. On CPU also its number of threads; fractions share a core"
    )
    eval_responses: Count = Field(
        default=1,
        description="sampled responses to each held-out prompt, besides the greedy one. This is the k of `eval/pass@k` and `eval/mean@k`",
    )
    vllm: Table = Field(default_factory=dict, description="arguments for vLLM's `AsyncEngineArgs`, with vLLM's own names")


class LearnerConfig(Section):
    """The ranks that hold, update and publish the policy."""

    ranks: Count = Field(default=1, description="number of learner processes, each a Ray actor. With GPUs each has one GPU")
    lr: Positive = Field(default=1e-6, description="learning rate of AdamW after the warm-up. It stays constant")
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
    packing: StrictBool = Field(
        default=False,
        description="leave padding out of the forward pass, exactly. `micro_batch_tokens` then counts real tokens. "
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
    cpus_per_rank: Positive = Field(default=1, description="CPU cores that Ray reserves for a rank. On CPU also its number of threads")
    deepspeed: Table = Field(default_factory=dict, description="added to DeepSpeed's config, with DeepSpeed's own names")

    @property
    def zero(self) -> Table:
        """The table `zero_optimization`, empty if it is left out or is no table."""
        return inner_table(self.deepspeed, ("zero_optimization",))

    @property
    def zero_stage(self) -> int:
        return int(self.zero.get("stage", 0))


class Keys(Section):
    """Every key of a run, by section, and values that follow from them; the rules between keys are in `configs.rules`."""

    run: RunConfig = Field(default_factory=RunConfig)
    model: ModelConfig
    data: DataConfig
    rollout: RolloutConfig = Field(default_factory=RolloutConfig)
    reward: RewardConfig = Field(default_factory=RewardConfig)
    code: CodeConfig = Field(default_factory=CodeConfig)
    judge: JudgeConfig = Field(default_factory=JudgeConfig)
    http: HttpConfig = Field(default_factory=HttpConfig)
    learner: LearnerConfig = Field(default_factory=LearnerConfig)
    objective: ObjectiveConfig = Field(default_factory=ObjectiveConfig)
    correction: CorrectionConfig = Field(default_factory=CorrectionConfig)
    kl: KlConfig = Field(default_factory=KlConfig)
    mismatch: MismatchConfig = Field(default_factory=MismatchConfig)

    @property
    def whole_objective(self) -> Objective:
        """The loss that `[objective]`, `[correction]` and `[kl]` define together."""
        return Objective(preset=self.objective.resolved, correction=self.correction.resolved, kl=self.kl.resolved)

    @property
    def dynamic_sampling(self) -> bool:
        asked = self.rollout.dynamic_sampling
        return self.objective.resolved.dynamic_sampling if asked is None else asked

    @property
    def engine_dtype(self) -> str:
        return self.model.dtype if self.rollout.dtype == "model" else self.rollout.dtype

    @property
    def context_tokens(self) -> int:
        return self.data.max_prompt_tokens + self.rollout.max_response_tokens

    @property
    def run_dir(self) -> Path:
        return Path(self.run.dir).absolute()
