"""The model families that a run can train, one row each. A row holds everything that differs between families; nothing is imported.

A mixture's layer is called `mlp` in transformers 5, and its experts are two tensors: `mlp.experts.gate_up_proj` [E, 2I, H] and
`mlp.experts.down_proj` [E, H, I]. Checkpoints on disk hold one tensor an expert and a projection.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

BLOCK, GATE_UP, DOWN = "mlp", "gate_up_proj", "down_proj"  # in transformers 5, for every family
# Keys of config.json that hold the number of experts. transformers 5 writes the second one for models saved with the first.
EXPERT_COUNTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertNames:
    """Names of a mixture's tensors outside transformers: `block.experts.N.gate.weight` on disk, `block.experts.gate_up` to the engine."""

    block: str = BLOCK
    gate: str = "gate_proj"
    up: str = "up_proj"
    down: str = DOWN
    gate_up: str = GATE_UP  # vLLM's name for all experts' gate and up projections in one tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One row: what the learner, the publish and the export must know about a `model_type` of config.json."""

    model_type: str
    name: str
    router: str | None = None  # transformers' class; None for a dense model
    followed: bool = False  # the learner can replay, balance, freeze and measure this router: it takes the largest of a softmax
    float32_gates: bool = False  # transformers leaves the experts' weights of a token in float32
    names: ExpertNames = ExpertNames()
    buffers: tuple[str, ...] = ()  # ends of the names of buffers that belong to the weights, kept in their own type
    spread: str | None = None  # DeepSpeed AutoEP's preset, where its layers can be put together again
    packed: bool = True
    engine_on_cpu: bool = True
    limits: str = ""  # what the family cannot do, for people

    @property
    def dense(self) -> bool:
        """Whether the family has no experts."""
        return self.router is None


MIXTRAL = ExpertNames(block="block_sparse_moe", gate="w1", up="w3", down="w2", gate_up="w13")
ROWS = (
    Family(model_type="qwen3_moe", name="Qwen3-MoE", router="Qwen3MoeTopKRouter", followed=True, spread="qwen3_moe"),
    Family(model_type="qwen2_moe", name="Qwen2-MoE", router="Qwen2MoeTopKRouter", followed=True, spread="qwen3_moe"),
    Family(
        model_type="olmoe",
        name="OLMoE",
        router="OlmoeTopKRouter",
        followed=True,
        limits="no expert parallelism: DeepSpeed's AutoEP has no preset for it",
    ),
    Family(
        model_type="mixtral",
        name="Mixtral",
        router="MixtralTopKRouter",
        followed=True,
        float32_gates=True,
        names=MIXTRAL,
        spread="mixtral",
    ),
    Family(
        model_type="glm4_moe",
        name="GLM-4.5-MoE",
        router="Glm4MoeTopkRouter",
        buffers=("e_score_correction_bias",),
        limits="its router scores by sigmoid, bias and groups: it trains, but the learner cannot replay, balance, freeze or measure it; "
        "the bias stays as it is; no expert parallelism",
    ),
    Family(model_type="qwen3", name="Qwen3"),
    Family(model_type="qwen2", name="Qwen2"),
    Family(model_type="llama", name="Llama"),
)
FAMILIES = {row.model_type: row for row in ROWS}


def family_of(model_type: Any, named: str = "the model") -> Family:
    """The row of a `model_type`; ValueError for any other family. `named` is how the message calls the model."""
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        known = ", ".join(f"{row.model_type} ({row.name})" for row in ROWS)
        raise ValueError(
            f'{named} is of model_type "{model_type}", needed one of the families that can be trained: {known}. Use such a model'
        )
    return FAMILIES[model_type]


def families_that(can: Callable[[Family], Any]) -> list[str]:
    """The `model_type` of every family for which `can` is true."""
    return [row.model_type for row in ROWS if can(row)]


def number_of_experts(model: dict[str, Any]) -> int:
    """Experts of a layer from a model's Hugging Face config, 0 for a dense model."""
    inner = model.get("text_config")
    text = inner if isinstance(inner, dict) else {}
    return next((int(found) for name in EXPERT_COUNTS if (found := model.get(name) or text.get(name))), 0)
