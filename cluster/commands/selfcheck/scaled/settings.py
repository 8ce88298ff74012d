"""From a recipe to the config of a selfcheck's runs: its own settings at a small size, and what was changed."""

from typing import Any

from cluster.commands.selfcheck.scaled.sizes import RunSizes, differences
from configs.families import family_of, number_of_experts
from configs.given import configured
from configs.schema import Config
from configs.sections.objective import INITIAL
from configs.tables import Table

ALL_GROUPS = 10**6  # steps: no checkpoint but the last
PROMPT_TOKENS = 32
MOST_ON_GPU = 256  # tokens of a response
LEARNED = 3  # steps of the first run: two to learn, one to lose an engine in
# Of [rollout.vllm]: sizes that are set anew, and what belongs to the recipe's own weights or context.
NOT_TAKEN = (
    "pipeline_parallel_size",
    "prefill_context_parallel_size",
    "decode_context_parallel_size",
    "max_model_len",
    "hf_overrides",
    "load_format",
)
GPU_ONLY = ("enable_chunked_prefill", "long_prefill_token_threshold", "max_num_scheduled_tokens", "max_num_batched_tokens")


def config_of(recipe: Config, sizes: RunSizes, model: Table, *, gpu: bool, cpus: int, full: bool, paths: dict[str, str]) -> Config:
    """The checked config of the first run. `model` is the config.json of its model; `paths` are those of task, model and run."""
    given = recipe.model_dump(exclude_unset=True)
    table: Table = {section: given[section] for section in ("objective", "correction", "kl", "placement") if section in given}
    if recipe.kl.reference not in (None, INITIAL):
        table["kl"] = table["kl"] | {"reference": INITIAL}
    staleness = min(1, recipe.run.max_staleness)
    deadline = float(recipe.run.deadline_s) if full else 300.0
    table["run"] = {
        "dir": paths["run"], "steps": LEARNED + staleness, "seed": recipe.run.seed, "device": recipe.run.device if gpu else "cpu",
        "max_staleness": staleness, "save_every": ALL_GROUPS, "eval_every": 0, "deadline_s": deadline, "stop_s": 60.0,
    }  # fmt: skip
    table["model"] = {"path": paths["model"], "dtype": recipe.model.dtype, "trust_remote_code": recipe.model.trust_remote_code}
    table["data"] = {
        "train": paths["train"], "eval": paths["eval"], "prompt_field": "prompt", "reference_field": "answer",
        "chat_template": False, "max_prompt_tokens": PROMPT_TOKENS,
    }  # fmt: skip
    table["reward"] = {"checker": f"{paths['reward']}:score"}
    table["mismatch"] = {"share": 1.0}
    per_engine, per_rank = cores(recipe, sizes, cpus)
    table["rollout"] = rollout_of(given.get("rollout", {}), sizes, model, gpu=gpu) | {"cpus_per_engine": per_engine}
    if not recipe.placement.share:
        table["rollout"]["restarts"] = 0  # the parts count the engines that are left
    table["learner"] = learner_of(given.get("learner", {}), sizes, gpu=gpu) | {"cpus_per_rank": per_rank}
    return configured(table)


def rollout_of(given: Table, sizes: RunSizes, model: Table, *, gpu: bool) -> Table:
    """`[rollout]`: short responses, experts recorded where the learner can follow the router, the recipe's engines otherwise."""
    vllm: dict[str, Any] = {key: value for key, value in given.get("vllm", {}).items() if key not in NOT_TAKEN}
    if sizes.tensor_parallel > 1:
        vllm["tensor_parallel_size"] = sizes.tensor_parallel
    else:
        vllm.pop("tensor_parallel_size", None)
        vllm.pop("enable_expert_parallel", None)
    if not gpu:
        vllm = {key: value for key, value in vllm.items() if key not in GPU_ONLY} | {"enforce_eager": True}
    kept: Table = {key: given[key] for key in ("temperature", "dtype", "dynamic_sampling") if key in given}
    if gpu and "transfer" in given:
        kept["transfer"] = given["transfer"]
    return {
        **kept,
        "engines": sizes.engines,
        "group_size": 8,
        "groups_per_step": 16 if gpu else 4,
        "max_response_tokens": response_tokens(model, gpu=gpu),
        "capture_routing": follows(model),
        "vllm": vllm,
    }


def response_tokens(model: Table, *, gpu: bool) -> int:
    """Short responses, longer ones on GPUs, within the model's context beside a prompt."""
    context = int(model.get("max_position_embeddings") or 0) or 2 * MOST_ON_GPU
    return min(MOST_ON_GPU if gpu else 16, context - PROMPT_TOKENS)


def learner_of(given: Table, sizes: RunSizes, *, gpu: bool) -> Table:
    """`[learner]`: the recipe's, with a learning rate that shows after one update."""
    kept = {key: value for key, value in given.items() if key not in ("warmup_updates", "schedule", "min_lr", "cpus_per_rank")}
    if not gpu:
        if kept.get("attention") == "flash_attention_2":
            kept["attention"] = "sdpa"
        deepspeed = dict(kept.get("deepspeed", {}))
        if "zero_optimization" in deepspeed:
            deepspeed["zero_optimization"] = {"stage": deepspeed["zero_optimization"].get("stage", 0)}
        kept["deepspeed"] = deepspeed
    updates = min(2, int(given.get("updates_per_step", 1)))
    return {**kept, "lr": 1e-4, "updates_per_step": updates, "ranks": sizes.ranks, "expert_parallel": sizes.expert_parallel}


def follows(model: Table) -> bool:
    """Whether the learner can replay the experts that an engine of this model records."""
    return bool(number_of_experts(model)) and family_of(model.get("model_type")).followed


def cores(recipe: Config, sizes: RunSizes, cpus: int) -> tuple[float, float]:
    """CPU cores of an engine and of a rank: the recipe's, or less of each where the machine has fewer."""
    engine, rank = float(recipe.rollout.cpus_per_engine), float(recipe.learner.cpus_per_rank)
    share = min(1.0, cpus / (sizes.engines * engine + sizes.ranks * rank))
    return int(100 * engine * share) / 100, int(100 * rank * share) / 100


def changes(recipe: Config, config: Config, sizes: RunSizes) -> list[str]:
    """What the runs of a selfcheck do otherwise than the recipe, one line each."""
    before, after = recipe.model_dump(), config.model_dump()
    lines = differences(recipe, sizes)
    for section in ("rollout", "learner", "kl", "run"):
        for key, value in after[section].items():
            name = f"{section}.{key}"
            if key not in SAID and before[section].get(key) != value and not any(line.startswith(f"{name}:") for line in lines):
                lines.append(f"{name}: {before[section].get(key)} → {value}")
    return lines


# Keys of which a selfcheck sets its own, whatever the recipe has.
SAID = ("dir", "steps", "resume", "origin", "save_every", "keep_checkpoints", "eval_every", "stop_s", "deadline_s", "max_refill")
