"""What the settings for mixtures of experts come to, in words, before anything is started."""

from typing import Any

from configs.families import number_of_experts
from configs.rules.engine import vllm_size
from configs.schema import Config

BYTE = 256  # experts that one byte can name


def describe_experts(config: Config, model: dict[str, Any]) -> list[str]:
    """Lines about routing and about where experts lie; `model` is the Hugging Face config, empty where it is not there to be read."""
    return [*describe_routing(config), *describe_capture(config, model), *describe_spread(config, model)]


def describe_routing(config: Config) -> list[str]:
    """Which pass of the learner takes which experts, and what of it would do nothing."""
    learner = config.learner
    updates = learner.updates_per_step
    lines = []
    if learner.routing == "replay_rollout":
        missing = "left out of the loss" if learner.missing_routing == "mask" else "routed live"
        lines.append(f"routing: every pass of the policy replays the engine's experts (R3); a response without them is {missing}")
    elif learner.routing == "replay_learner" and updates > 1:
        lines.append("routing: every update but the first replays the experts that the learner took at the step's start (R2)")
    elif learner.routing == "replay_learner":
        lines.append("one update a step: learner.routing replay_learner does nothing, as the experts of the step's start are its own")
    if config.objective.router_shift is not None and updates == 1:
        lines.append("one update a step: objective.router_shift does nothing, as the router has not moved since the step's start")
    return lines


def describe_capture(config: Config, model: dict[str, Any]) -> list[str]:
    """What the recorded experts weigh."""
    if not (each := recorded_bytes(config, model)):
        return []
    layers, top_k, size = model["num_hidden_layers"], model["num_experts_per_tok"], expert_bytes(model)
    response = config.context_tokens * each / 1e6
    return [
        f"recorded experts: {layers} {'layer' if layers == 1 else 'layers'} × {top_k} × {size} B = {each} B a token, "
        f"up to {response:.3g} MB a response with its prompt"
    ]


def recorded_bytes(config: Config, model: dict[str, Any]) -> int:
    """Bytes of a token's recorded experts; 0 if engines record none, or the model's experts are not known."""
    layers, experts, top_k = model.get("num_hidden_layers"), number_of_experts(model), model.get("num_experts_per_tok")
    return layers * top_k * expert_bytes(model) if config.rollout.capture_routing and layers and experts and top_k else 0


def expert_bytes(model: dict[str, Any]) -> int:
    """Bytes of an expert's number."""
    return 1 if number_of_experts(model) <= BYTE else 2


def describe_spread(config: Config, model: dict[str, Any]) -> list[str]:
    """Where the experts of a layer lie, if they are parted at all."""
    experts, size = number_of_experts(model), config.learner.expert_parallel
    tensor = vllm_size(config, "tensor_parallel_size") if config.rollout.vllm.get("enable_expert_parallel") is True else 1
    parts = [("learner.expert_parallel", size, "ranks"), ("expert parallelism of an engine", tensor, "GPUs")]
    words = [f"{name} {n}: {experts // n} on each of {n} {unit}" for name, n, unit in parts if n > 1 and experts]
    return [f"{experts} experts a layer; {'; '.join(words)}"] if words else []
