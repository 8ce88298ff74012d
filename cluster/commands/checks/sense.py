"""Settings that can run but hardly can be meant: each becomes a warning."""

from collections.abc import Iterator, Mapping
from math import ceil

from configs.arithmetic import counted
from configs.families import FAMILIES
from configs.parameters import Parameters
from configs.schema import Config
from rollout.window.order import shares_of

REAL = 100e6  # parameters; below it a model is a toy, which learns at higher rates
TOO_FAST, TOO_FAST_IF_UNKNOWN, TOO_FAST_FOR_TOYS, TOO_SLOW = 1e-4, 1e-3, 1e-2, 1e-9
HOT, COLD = 1.5, 0.1
START_S = 60.0  # an engine needs about half of it even for a tiny model
TOKEN_S = 0.01  # decoding one token of one response takes about this long on a GPU in a full batch


def doubtful(config: Config, family: str | None, parameters: Parameters | None) -> Iterator[str]:
    """A line for each such setting; `family` and `parameters` are of the model, None where they are not known."""
    lr, temperature, learner = config.learner.lr, config.rollout.temperature, config.learner
    real = parameters is None or parameters.total >= REAL
    if lr >= (TOO_FAST_IF_UNKNOWN if parameters is None else TOO_FAST if real else TOO_FAST_FOR_TOYS):
        yield (
            f"learner.lr = {lr:g} destroys a model within a few updates: reinforcement learning of whole models uses 1e-7 to 1e-5"
            if real
            else f"learner.lr = {lr:g} destroys even a tiny model within a few updates: use 1e-4 or less"
        )
    elif lr < TOO_SLOW:
        yield f"learner.lr = {lr:g} hardly moves a weight: reinforcement learning of whole models uses 1e-7 to 1e-5"
    if temperature > HOT:
        yield f"rollout.temperature = {temperature:g} makes responses almost random: use 0.6 to 1.2"
    elif temperature < COLD:
        yield f"rollout.temperature = {temperature:g} makes the responses of a group alike, and then nothing is learned: use 0.6 to 1.2"
    needed = max(START_S, config.rollout.max_response_tokens * TOKEN_S)
    if config.run.deadline_s < needed:
        why = "a start takes about a minute" if needed == START_S else f"{config.rollout.max_response_tokens} tokens take about that long"
        yield f"run.deadline_s = {config.run.deadline_s:g} is below {needed:g} s, and {why}: a wait that reaches it ends the run"
    if learner.router_dtype != "float32" and family in FAMILIES and not FAMILIES[family].followed:
        yield f'learner.router_dtype = "{learner.router_dtype}" has no effect on {FAMILIES[family].name}: remove it'


def repeated_prompts(config: Config, sizes: Mapping[str, int]) -> Iterator[str]:
    """A line if one step draws a prompt more than once; a line for each source whose share is so large. `sizes` are prompts by source."""
    groups, prompts = config.rollout.groups_per_step, sum(sizes.values())
    if config.data.sources and sizes:
        for name, share in shares_of(config.data, sizes).items():
            if 0 < sizes[name] < (most := ceil(share * groups)):
                yield (
                    f"data.sources.{name} gives up to {most} of the {groups} groups of a step, but has {counted(sizes[name], 'prompt')}, "
                    "so a step draws some of them more than once: lower its share, or add prompts"
                )
    elif 0 < prompts < groups:
        times = f"{groups // prompts}" + (f" to {groups // prompts + 1}" if groups % prompts else "")
        yield (
            f"rollout.groups_per_step ({groups}) is above the {prompts} prompts of data.train, so a step draws each of them {times} times: "
            f"lower it to {prompts} or less, or add prompts"
        )
