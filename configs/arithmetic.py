"""The arithmetic of a run in words: responses, updates and GPUs, without starting anything. Memory: `configs/memory/`."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from configs.expert_plan import describe_experts
from configs.rules.engine import gpus_per_engine
from configs.schema import Config
from configs.surrogates import Minirl
from configs.tables import inner_table

GB = 1e9
UNITS = ((1e9, "B"), (1e6, "M"), (1e3, "k"))
MOMENT_BYTES = 4  # of one of Adam's two moments, or of a master weight


def plan(config: Config, model: dict[str, Any] | None = None) -> list[str]:
    """Lines that say what follows from the numbers of a config; `model` is the Hugging Face config, empty where it cannot be read."""
    model = model_config(config) if model is None else model
    numbers = [describe_batch(config), describe_window(config), *describe_objective(config), *describe_experts(config, model)]
    return [*numbers, describe_devices(config)]


def model_config(config: Config) -> dict[str, Any]:
    """The model's Hugging Face config, empty if there is no file or no JSON object in it, which `validate` refuses."""
    source = Path(config.model.path) / "config.json"
    try:
        found: Any = json.loads(source.read_text(encoding="utf-8")) if source.is_file() else {}
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def used_gpus(config: Config) -> int:
    """GPUs of a whole run on GPUs, with the fewest engines that it may have."""
    engines, ranks = config.rollout.fewest_engines * gpus_per_engine(config), config.learner.ranks
    return max(engines, ranks) if config.placement.share else engines + ranks


def describe_batch(config: Config) -> str:
    """Responses a step, updates, and each rank's share."""
    prompts, size = config.rollout.groups_per_step, config.rollout.group_size
    updates, ranks = config.learner.updates_per_step, config.learner.ranks
    responses = prompts * size
    share, rest = divmod(responses // updates, ranks)
    each = f"{share}" if not rest else f"{share} to {share + 1}"
    return (
        f"{counted(prompts, 'prompt')} × {counted(size, 'response')} = {counted(responses, 'response')} a step → "
        f"{counted(updates, 'update')} of {responses // updates}; {counted(ranks, 'rank')} × {each} each, in micro-batches of at most "
        f"{counted(config.learner.micro_batch_tokens, 'token')} (a response with its prompt has up to {config.context_tokens})"
    )


def describe_window(config: Config) -> str:
    staleness, ahead, groups = config.run.max_staleness, config.ahead, config.rollout.groups_per_step
    runs = f"generation runs up to {counted(ahead, 'step')} ahead" if ahead else "generation and learning take turns"
    slack = f", and a straggler may come {counted(staleness - ahead, 'step')} later" if staleness > ahead else ""
    return (
        f"max_staleness {staleness}: {runs}{slack}; ({ahead} + 1) × {counted(groups, 'group')} × {config.rollout.group_size} = "
        f"{counted(config.groups_in_flight * config.rollout.group_size, 'response')} in flight at most"
    )


def describe_objective(config: Config) -> list[str]:
    """The resolved loss, and warnings about its combination with updates and staleness."""
    preset, correction, kl = config.objective.resolved, config.correction.resolved, config.kl
    settings = ", ".join(f"{name} {value:g}" for name, value in asdict(preset.surrogate).items())
    bounds = ", ".join(f"{name} {value}" for name, value in asdict(correction).items() if value not in (None, "none", "all", 0.0))
    pull = f"{kl.coefficient:g} × {kl.estimator} in the {kl.place} to {kl.reference}" if kl.coefficient else "none"
    lines = [
        f"objective: advantage {preset.advantage}; {preset.ratio} ratio to the {preset.old}'s log-probs; surrogate {preset.surrogate.name}"
        + (f" ({settings})" if settings else "")
        + f"; {preset.reduction}; correction {bounds or 'none'}; KL {pull}; prompts {config.data.sampler}"
    ]
    if preset.advantage == "none":
        lines.append("advantage none: rewards are reported and teach nothing; the policy learns from the reference alone")
    if config.objective.credit == "turn":
        lines.append(
            "credit by turn: what a response earned from a turn on is compared with the other responses that reached the turn; one with a "
            "single turn is compared as a whole"
        )
    if kl.resolved.in_loss and kl.estimator == "k3":
        lines.append(
            "the slope of k3 in the loss has no bound: a token at exp(-5) of the reference's probability is pulled by 147 × coefficient; "
            'use kl.estimator = "ratio_k3" (reverse KL, slope 5), or "k3_clamped" as verl and OpenRLHF have it (no pull below exp(-2.6))'
        )
    lines.extend(describe_entropy(config))
    if preset.old == "learner" and config.learner.updates_per_step == 1:
        lines.append("one update a step: its ratio to the learner's log-probs is always 1, so nothing is ever clipped")
    if config.run.max_staleness and preset.old == "learner" and not isinstance(preset.surrogate, Minirl) and correction.weight == "none":
        stale = counted(config.run.max_staleness, "step")
        lines.append(f"responses may be {stale} stale, and no [correction] weight corrects for that: watch mismatch/kl and mismatch/ess")
    return lines


def describe_entropy(config: Config) -> list[str]:
    """What the entropy bonus and the schedule of the learning rate do in this run; nothing where neither is set."""
    entropy, learner, lines = config.entropy, config.learner, []
    if entropy.target is not None:
        lines.append(
            f"entropy bonus: from {entropy.coefficient:g}, ± {entropy.change:g} a step towards an entropy of {entropy.target:g}, at most "
            f"{entropy.largest:g}"
        )
    elif entropy.in_use:
        lines.append(f"entropy bonus: {entropy.coefficient:g}, fixed: it pushes up without end, so watch entropy; entropy.target stops it")
    if learner.schedule != "constant":
        lines.append(f"learning rate: {learner.schedule} from {learner.lr:g} to {learner.min_lr:g} at step {config.run.steps} (run.steps)")
    return lines


def describe_devices(config: Config) -> str:
    """GPUs and cores of engines and ranks, side by side or in turns."""
    ranks, each = config.learner.ranks, gpus_per_engine(config)
    engines, most = config.rollout.fewest_engines, config.rollout.most_engines
    if config.placement.share:
        cores = engines * max(config.rollout.cpus_per_engine, each * config.learner.cpus_per_rank) + config.reward.workers
        return (
            f"engines {engines} × {counted(each, 'GPU')} (tensor × pipeline parallel), and a learner rank on each of them, in turns → "
            f"{counted(engines * each, 'GPU')} in all, or none on CPU; CPU cores: {cores:g} (engines and ranks in turns, reward workers)"
        )
    others = ranks * config.learner.cpus_per_rank + config.reward.workers
    cpus = [number * config.rollout.cpus_per_engine + others for number in (engines, most)]
    return (
        f"engines {span(engines, most)} × {counted(each, 'GPU')} (tensor × pipeline parallel) = {span(engines * each, most * each)}, "
        f"learner ranks {ranks} × 1 GPU → {span(engines * each + ranks, most * each + ranks)} GPUs in all, or none of them on CPU; "
        f"CPU cores: {span(*cpus)} (engines, ranks, reward workers)"
    )


def span(low: float, high: float) -> str:
    """One number, or a range of them: "4", "2 to 8"."""
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def plural(noun: str, count: int) -> str:
    return noun if count == 1 else f"{noun}s"


def amount(number: float) -> str:
    """A number with three digits and a unit."""
    return next((f"{number / size:.3g}{unit}" for size, unit in UNITS if number >= size), f"{number:g}")


def counted(count: int, noun: str) -> str:
    return f"{count} {plural(noun, count)}"


def weight_bytes(config: Config) -> int:
    """Bytes of one of the policy's weights."""
    return 4 if config.model.dtype == "float32" else 2


def has_masters(config: Config) -> bool:
    """Whether the optimizer has float32 master weights of its own: without ZeRO, float32 weights need none."""
    return config.learner.zero_stage > 0 or config.model.dtype != "float32"


def offloads(config: Config) -> bool:
    """Whether DeepSpeed keeps the optimizer in host memory or on a disk; its own Adam, which it compiles, then takes the steps."""
    return inner_table(config.learner.zero, ("offload_optimizer",)).get("device") not in (None, "none")


def optimizer_bytes(config: Config) -> int:
    """Bytes of the optimizer for one parameter."""
    return (3 if has_masters(config) else 2) * MOMENT_BYTES
