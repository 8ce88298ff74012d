"""What a person wants to know of a run's data before it starts."""

from collections.abc import Sequence

from configs.arithmetic import counted
from configs.schema import Config
from rollout.prompts.prompts import EvalSet, PromptSet
from rollout.window.order import shares_of


def describe_prompts(config: Config, prompts: PromptSet) -> list[str]:
    """How many prompts there are; of several sources a line each, with the source's share of the groups."""
    sources, count = config.data.sources, len(prompts.prompts)
    if not sources:
        return [f"{count} prompts from {config.data.train}{and_dropped(prompts.dropped)}"]
    lines = [f"{count} prompts from {counted(len(sources), 'source')}"]
    for name, share in shares_of(config.data, prompts.sizes).items():
        size, groups = prompts.sizes[name], float(share) * config.rollout.groups_per_step
        lines.append(
            f"  {name}: {size} prompts from {sources[name].path}{and_dropped(prompts.dropped_from.get(name, 0))}; "
            f"share {float(share):.3f}: {groups:.1f} groups a step, an epoch every {size / groups:,.1f} steps"
        )
    return lines


def describe_eval_sets(eval_sets: Sequence[EvalSet]) -> list[str]:
    return [
        f"{len(found.prompts)} held-out prompts from {found.path}{and_dropped(found.dropped)}" + (f" ({found.name})" if found.name else "")
        for found in eval_sets
    ]


def and_dropped(count: int) -> str:
    return f", {count} dropped as over-long" if count else ""
