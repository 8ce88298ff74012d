"""The keys of a config file by section: type, default and meaning, without the rules between them."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, StrictBool, StrictFloat, StrictStr

from configs.mismatch import MismatchConfig
from configs.objective import CorrectionConfig, KlConfig, ObjectiveConfig
from configs.presets import Objective
from configs.reward import CodeConfig, HttpConfig, JudgeConfig, RewardConfig
from configs.section import Count, Positive, Section, Share, Whole

Table = dict[str, Any]


class RunConfig(Section):
    """How long the run is, where it lies and how far generation may run ahead of learning."""

    dir: StrictStr = "runs/gatewise"
    steps: Count = 100
    seed: Whole = 0
    max_staleness: Whole = Field(default=0, description="steps by which a token's weights may be older than the step that learns it")
    resume: StrictStr = Field(
        default="never", description='"never", "auto" (the newest whole checkpoint of run.dir) or a checkpoint folder'
    )
    save_every: Count = Field(default=50, description="steps between checkpoints; the last step is always saved")
    keep_checkpoints: Count = 2
    eval_every: Whole = Field(
        default=50, description="steps between evaluations; 0 evaluates only before the first and after the last step"
    )
    sample_responses: Whole = Field(default=4, description="responses written as readable text every step")
    tensorboard: StrictBool = False
    deadline_s: Positive = Field(default=600, description="the longest that any single wait of the run may take before it is an error")


class ModelConfig(Section):
    """The checkpoint that is trained."""

    path: StrictStr = Field(description="folder of a Hugging Face causal language model")
    dtype: Literal["float32", "bfloat16"] = Field(default="bfloat16", description="precision of the learner's forward pass")
    trust_remote_code: StrictBool = False


class DataConfig(Section):
    """Where prompts come from and which fields of a row mean what."""

    train: StrictStr = Field(description="a .jsonl or .parquet file, or a Hugging Face dataset id")
    eval: StrictStr | None = None
    split: StrictStr = Field(default="train", description="split of a Hugging Face dataset id")
    eval_split: StrictStr = "test"
    prompt_field: StrictStr = "prompt"
    reference_field: StrictStr = "answer"
    checker_field: StrictStr | None = Field(
        default=None, description="field that names a row's checker; reward.checker where a row has none"
    )
    chat_template: StrictBool = Field(default=True, description="wrap the prompt as a user turn; false takes the text as it is")
    system: StrictStr | None = Field(default=None, description="system turn put before every prompt (chat_template only)")
    max_prompt_tokens: Count = 1024
    overlong: Literal["refuse", "drop"] = Field(default="refuse", description="what becomes of prompts above max_prompt_tokens")
    sampler: Literal["uniform", "difficulty"] = Field(
        default="uniform", description="every prompt once an epoch, or prompts that still teach more often than solved and hopeless ones"
    )
    difficulty_floor: Positive = Field(default=0.1, description="share of the top sampling weight that no prompt falls below (difficulty)")
    difficulty_half_life: Positive = Field(
        default=2.0, description="epochs' worth of groups after which what was seen of a prompt counts half (difficulty)"
    )
    eval_limit: Count | None = Field(default=None, description="evaluate on the first so many rows of data.eval")


class RolloutConfig(Section):
    """The engines: how many, how they sample, what reaches the learner."""

    engines: Count = 1
    group_size: Count = Field(default=8, description="responses to each prompt")
    groups_per_step: Count = Field(default=64, description="prompts that one step learns from")
    temperature: Positive = 1.0
    max_response_tokens: Count = 1024
    dynamic_sampling: StrictBool | None = Field(
        default=None, description="replace groups whose responses are all equally correct; the preset decides if left out"
    )
    max_refill: Count = Field(default=8, description="rounds of groups_per_step rejected groups in a row after which the run stops")
    logprobs: StrictBool = Field(
        default=True, description="have the engine return each token's log-prob; without them the mismatch is neither known nor corrected"
    )
    dtype: Literal["model", "float32", "bfloat16"] = Field(default="model", description="precision of the engines; model is model.dtype")
    capture_routing: StrictBool = Field(default=False, description="record each token's experts beside its log-prob")
    transfer: Literal["auto", "gloo", "nccl"] = Field(default="auto", description="how weights travel; auto is nccl on GPU, gloo on CPU")
    cpus_per_engine: Positive = 1
    eval_responses: Count = Field(default=1, description="responses per held-out prompt beside the greedy one, for pass@k and mean@k")
    vllm: Table = Field(default_factory=dict, description="passed to vLLM's AsyncEngineArgs in vLLM's own names")


class LearnerConfig(Section):
    """The ranks that hold, update and publish the policy."""

    ranks: Count = 1
    lr: Positive = 1e-6
    updates_per_step: Count = Field(default=1, description="optimizer updates made from one step's groups")
    warmup_updates: Whole = 0
    weight_decay: Share = 0.0
    betas: tuple[StrictFloat, StrictFloat] = (0.9, 0.999)
    max_grad_norm: Positive = 1.0
    micro_batch_tokens: Count = Field(default=16384, description="tokens a rank may hold in one forward pass, with padding")
    head_chunk_tokens: Count = Field(
        default=2048, description="positions whose logits over the whole vocabulary are held at a time; the others are computed again"
    )
    gradient_checkpointing: StrictBool = False
    attention: Literal["sdpa", "eager", "flash_attention_2"] = "sdpa"
    packing: StrictBool = Field(
        default=False, description="leave padding out of the forward pass; micro_batch_tokens then counts real tokens"
    )
    routing: Literal["live", "replay_learner", "replay_rollout"] = Field(
        default="live",
        description="the experts that tokens take: chosen anew, those of the learner at the step's start (R2), or the engine's (R3)",
    )
    missing_routing: Literal["live", "mask"] = Field(
        default="live",
        description="replay_rollout: what becomes of a response whose experts were not recorded: routed live, or left out of the loss",
    )
    expert_parallel: Count = Field(default=1, description="ranks over which the experts of a layer are spread")
    router: Literal["trained", "frozen"] = Field(default="trained", description="whether the weights that choose experts are learned")
    router_dtype: Literal["float32", "model"] = Field(default="float32", description="precision of the router's logits")
    head_dtype: Literal["float32", "model"] = Field(default="model", description="precision of the logits over the vocabulary")
    aux_loss: Share = Field(default=0.0, description="coefficient of the load-balancing loss; it is taken over the whole update")
    cpus_per_rank: Positive = 1
    deepspeed: Table = Field(default_factory=dict, description="merged into DeepSpeed's config in DeepSpeed's own names")

    @property
    def zero_stage(self) -> int:
        return int(self.deepspeed.get("zero_optimization", {}).get("stage", 0))


class Keys(Section):
    """Every key of a run, by section, and what follows from them; rules between keys are in `configs.rules`."""

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
        """The loss: what [objective], [correction] and [kl] come to together."""
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
