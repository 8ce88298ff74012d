"""Checks of the settings for experts against the model's family and its number of experts."""

from collections.abc import Iterator
from typing import Any

from cluster.commands.checks.engine import divisors_near
from configs.families import FAMILIES, Family, families_that, number_of_experts
from configs.rules.engine import vllm_size
from configs.schema import Config
from configs.toml_writer import quoted, write_value

PLAIN = {
    "learner.routing": 'learner.routing = "live"',
    "rollout.capture_routing": "rollout.capture_routing = false",
    "learner.expert_parallel": "learner.expert_parallel = 1",
    "learner.aux_loss": "learner.aux_loss = 0",
    "learner.router": 'learner.router = "trained"',
    "objective.router_shift": "no objective.router_shift",
    "rollout.vllm.enable_expert_parallel": "rollout.vllm.enable_expert_parallel = false",
}
BY_ITS_ROUTER = ("learner.routing", "rollout.capture_routing", "learner.aux_loss", "learner.router", "objective.router_shift")


def refuse_impossible_numbers(named: str, family: Family, model: dict[str, Any]) -> None:
    """Raise ValueError where the numbers of a Hugging Face config are those of no model: of its experts, or of its context."""
    experts, chosen, context = number_of_experts(model), model.get("num_experts_per_tok"), model.get("max_position_embeddings")
    if not family.dense and experts < 1:
        raise ValueError(f"{named} is a mixture of experts ({family.name}) with {experts} experts: correct its config.json")
    if not family.dense and chosen is not None and not (isinstance(chosen, int) and 1 <= chosen <= experts):
        raise ValueError(
            f"{named} has num_experts_per_tok = {chosen!r} in its config.json, needed a whole number from 1 to its {experts} experts: "
            "correct its config.json"
        )
    if context is not None and not (isinstance(context, int) and context >= 1):
        raise ValueError(
            f"{named} has max_position_embeddings = {context!r} in its config.json, needed a whole number, at least 1: "
            "correct its config.json"
        )


def followed(family: Family) -> bool:
    return family.followed


def spreadable(family: Family) -> bool:
    return family.spread is not None


def asked_of_experts(config: Config) -> dict[str, Any]:
    """The settings of a config that only a mixture of experts can have, with their values."""
    learner = config.learner
    spread = config.rollout.vllm.get("enable_expert_parallel")
    given = {
        "learner.routing": learner.routing != "live" and f'"{learner.routing}"',
        "rollout.capture_routing": config.rollout.capture_routing and "true",
        "learner.expert_parallel": learner.expert_parallel > 1 and learner.expert_parallel,
        "learner.aux_loss": learner.aux_loss,
        "learner.router": learner.router == "frozen" and '"frozen"',
        "objective.router_shift": config.objective.router_shift,
        "rollout.vllm.enable_expert_parallel": spread and write_value(spread),
    }
    return {key: value for key, value in given.items() if value}


def experts_of_the_model(config: Config, model: dict[str, Any]) -> Iterator[str]:
    """One line for each setting that the model's experts cannot fulfil; `model` is its Hugging Face config."""
    asked, experts, family = asked_of_experts(config), number_of_experts(model), str(model.get("model_type"))
    if not experts:
        for key, given in asked.items():
            yield (
                f"{key}: got {given}, but model.path {config.model.path} ({family}) is a dense model without experts: "
                f"use {PLAIN[key]}, or give a mixture of experts as model.path"
            )
        return
    for key in (*BY_ITS_ROUTER, "learner.expert_parallel"):
        can = followed if key in BY_ITS_ROUTER else spreadable
        if key in asked and (family not in FAMILIES or not can(FAMILIES[family])):
            yield (
                f'{key}: got {asked[key]}, but model.path {config.model.path} is of model_type "{family}", needed '
                f"{quoted(families_that(can))}, whose {'routers' if can is followed else 'experts'} the learner knows: "
                f"use {PLAIN[key]}, or another model.path"
            )
    if noise := model.get("router_jitter_noise"):
        yield (
            f"model.path {config.model.path} has router_jitter_noise = {noise} in its config.json, needed 0: the learner would add "
            "noise that the engine does not have. Set it to 0 there"
        )
    tensor = vllm_size(config, "tensor_parallel_size") if "rollout.vllm.enable_expert_parallel" in asked else 1
    for key, size in (("learner.expert_parallel", config.learner.expert_parallel), ("rollout.vllm.tensor_parallel_size", tensor)):
        if experts % size:
            near = " or ".join(map(str, divisors_near(experts, size)))
            why = " with rollout.vllm.enable_expert_parallel = true" if "vllm" in key else ""
            yield (
                f"{key}: got {size}{why}, needed a divisor of the {experts} experts of model.path {config.model.path}, "
                f"as each GPU holds as many: use {near}"
            )
