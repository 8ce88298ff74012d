"""The rules between keys: each is a function named as the rule it enforces and yields what breaks it.

`Config` runs them all when it is built, so a run that breaks a rule never starts. None of them changes a value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from configs.presets import ADVANTAGES, PRESETS, REDUCTIONS

if TYPE_CHECKING:
    from configs.schema import Config


class Problem(NamedTuple):
    """What is wrong and what to do; `keys` are the dotted keys involved, the one to change first."""

    keys: tuple[str, ...]
    message: str


class RuleError(ValueError):
    """Raised with every broken rule of a config at once."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__("\n".join(f"{p.keys[0]}: {p.message}" for p in problems))


Rule = Callable[["Config"], Iterator[Problem]]
LARGEST_SEQUENCE_CLIP = 0.01  # GSPO clips at 3e-4: the geometric mean over a response moves far less than any one token's ratio
SMALLEST_TOKEN_CLIP = 0.001


def quoted(names: tuple[str, ...]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def preset_is_known(config: Config) -> Iterator[Problem]:
    if (preset := config.objective.preset) not in PRESETS:
        yield Problem(("objective.preset",), f'got "{preset}", needed a preset of configs/presets.py: use one of {quoted(tuple(PRESETS))}')


def advantage_is_known(config: Config) -> Iterator[Problem]:
    if (advantage := config.objective.advantage) not in (None, *ADVANTAGES):
        yield Problem(("objective.advantage",), f'got "{advantage}", needed a known advantage: use one of {quoted(ADVANTAGES)}')


def reduction_is_known(config: Config) -> Iterator[Problem]:
    if (reduction := config.objective.reduction) not in (None, *REDUCTIONS):
        yield Problem(("objective.reduction",), f'got "{reduction}", needed a known reduction: use one of {quoted(REDUCTIONS)}')


def group_baseline_needs_a_group(config: Config) -> Iterator[Problem]:
    if config.rollout.group_size == 1:
        message = (
            "got 1, needed at least 2: every advantage compares a response with the others of its group, "
            "so a lone response teaches nothing: use 8 or 16"
        )
        yield Problem(("rollout.group_size", "objective.preset", "objective.advantage"), message)


def clip_low_leaves_the_ratio_positive(config: Config) -> Iterator[Problem]:
    if config.objective.preset in PRESETS and (low := config.objective.resolved.clip_low) >= 1:
        message = f"got {low}, needed less than 1: the ratio is clipped at 1 - clip_low, which must stay above 0: use 0.2 (token ratio)"
        yield Problem(("objective.clip_low", "objective.preset"), message)


def clip_fits_the_ratio(config: Config) -> Iterator[Problem]:
    if config.objective.preset not in PRESETS:
        return
    chosen = config.objective.resolved
    for name, clip in (("clip_low", chosen.clip_low), ("clip_high", chosen.clip_high)):
        keys = (f"objective.{name}", "objective.ratio", "objective.preset")
        if chosen.ratio == "sequence" and clip > LARGEST_SEQUENCE_CLIP:
            yield Problem(
                keys,
                f"got {clip} on a sequence ratio, needed at most {LARGEST_SEQUENCE_CLIP}: a sequence ratio is a mean over the whole "
                f'response and hardly leaves 1, so this never clips: use 3e-4 / 4e-4 (preset gspo) or objective.ratio = "token"',
            )
        if chosen.ratio == "token" and clip < SMALLEST_TOKEN_CLIP:
            yield Problem(
                keys,
                f"got {clip} on a token ratio, needed at least {SMALLEST_TOKEN_CLIP}: nearly every token would be clipped after one "
                f'update: use 0.2 (presets grpo, dapo) or objective.ratio = "sequence"',
            )


def betas_lie_below_one(config: Config) -> Iterator[Problem]:
    if not all(0 <= beta < 1 for beta in config.learner.betas):
        message = f"got {list(config.learner.betas)}, needed two numbers from 0 to below 1 (Adam's decay rates): use [0.9, 0.999]"
        yield Problem(("learner.betas",), message)


def flash_attention_needs_bfloat16(config: Config) -> Iterator[Problem]:
    if config.learner.attention == "flash_attention_2" and config.model.dtype == "float32":
        message = (
            'got "flash_attention_2" with model.dtype = "float32", which it cannot compute: '
            'use attention = "sdpa" or model.dtype = "bfloat16"'
        )
        yield Problem(("learner.attention", "model.dtype"), message)


def updates_divide_groups(config: Config) -> Iterator[Problem]:
    updates, groups = config.learner.updates_per_step, config.rollout.groups_per_step
    if groups % updates:
        divisors = [n for n in range(1, groups + 1) if groups % n == 0]
        near = sorted(sorted(divisors, key=lambda n: abs(n - updates))[:6])
        message = (
            f"got {updates}, needed a divisor of rollout.groups_per_step ({groups}), as every update learns from the same number of whole "
            f"groups: use {' or '.join(map(str, near))}, or change rollout.groups_per_step"
        )
        yield Problem(("learner.updates_per_step", "rollout.groups_per_step"), message)


def micro_batch_holds_one_response(config: Config) -> Iterator[Problem]:
    if config.learner.micro_batch_tokens < config.context_tokens:
        message = (
            f"got {config.learner.micro_batch_tokens}, needed at least {config.context_tokens} (data.max_prompt_tokens "
            f"{config.data.max_prompt_tokens} + rollout.max_response_tokens {config.rollout.max_response_tokens}), as one response is "
            f"never split: raise it or lower those"
        )
        yield Problem(("learner.micro_batch_tokens", "data.max_prompt_tokens", "rollout.max_response_tokens"), message)


def overlong_cache_fits_the_response(config: Config) -> Iterator[Problem]:
    cache, longest = config.reward.overlong_cache, config.rollout.max_response_tokens
    if cache > longest:
        message = (
            f"got {cache}, needed at most rollout.max_response_tokens ({longest}): the punishment begins overlong_cache tokens before that "
            f"end: use {max(1, longest // 5)} (a fifth, as in DAPO), or 0 for none"
        )
        yield Problem(("reward.overlong_cache", "rollout.max_response_tokens"), message)


def system_turn_needs_the_chat_template(config: Config) -> Iterator[Problem]:
    if config.data.system is not None and not config.data.chat_template:
        message = (
            "got a system turn with data.chat_template = false, which takes the prompt as it is: "
            "remove data.system or use chat_template = true"
        )
        yield Problem(("data.system", "data.chat_template"), message)


RULES: tuple[Rule, ...] = (
    preset_is_known,
    advantage_is_known,
    reduction_is_known,
    group_baseline_needs_a_group,
    clip_low_leaves_the_ratio_positive,
    clip_fits_the_ratio,
    betas_lie_below_one,
    flash_attention_needs_bfloat16,
    updates_divide_groups,
    micro_batch_holds_one_response,
    overlong_cache_fits_the_response,
    system_turn_needs_the_chat_template,
)
