"""The rules between keys: each is a function named as the rule it enforces and yields what breaks it.

`Config` runs them all when it is built, so a run that breaks a rule never starts. None of them changes a value.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from configs.keys import Keys


class Problem(NamedTuple):
    """What is wrong and what to do; `keys` are the dotted keys involved, the one to change first."""

    keys: tuple[str, ...]
    message: str


class RuleError(ValueError):
    """Raised with every broken rule of a config at once."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__("\n".join(f"{p.keys[0]}: {p.message}" for p in problems))


Rule = Callable[[Keys], Iterator[Problem]]


def quoted(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def betas_lie_below_one(config: Keys) -> Iterator[Problem]:
    if not all(0 <= beta < 1 for beta in config.learner.betas):
        message = f"got {list(config.learner.betas)}, needed two numbers from 0 to below 1 (Adam's decay rates): use [0.9, 0.999]"
        yield Problem(("learner.betas",), message)


def flash_attention_needs_bfloat16(config: Keys) -> Iterator[Problem]:
    if config.learner.attention == "flash_attention_2" and config.model.dtype == "float32":
        message = (
            'got "flash_attention_2" with model.dtype = "float32", which it cannot compute: '
            'use attention = "sdpa" or model.dtype = "bfloat16"'
        )
        yield Problem(("learner.attention", "model.dtype"), message)


def packing_needs_attention_with_borders(config: Keys) -> Iterator[Problem]:
    if config.learner.packing and config.learner.attention == "eager":
        message = (
            'got "eager" with learner.packing = true, which knows no borders between packed sequences: '
            'use attention = "sdpa" or "flash_attention_2", or packing = false'
        )
        yield Problem(("learner.attention", "learner.packing"), message)


def updates_divide_groups(config: Keys) -> Iterator[Problem]:
    updates, groups = config.learner.updates_per_step, config.rollout.groups_per_step
    if groups % updates:
        divisors = [n for n in range(1, groups + 1) if groups % n == 0]
        near = sorted(sorted(divisors, key=lambda n: abs(n - updates))[:6])
        message = (
            f"got {updates}, needed a divisor of rollout.groups_per_step ({groups}), as every update learns from the same number of whole "
            f"groups: use {' or '.join(map(str, near))}, or change rollout.groups_per_step"
        )
        yield Problem(("learner.updates_per_step", "rollout.groups_per_step"), message)


def micro_batch_holds_one_response(config: Keys) -> Iterator[Problem]:
    if config.learner.micro_batch_tokens < config.context_tokens:
        message = (
            f"got {config.learner.micro_batch_tokens}, needed at least {config.context_tokens} (data.max_prompt_tokens "
            f"{config.data.max_prompt_tokens} + rollout.max_response_tokens {config.rollout.max_response_tokens}), as one response is "
            f"never split: raise it or lower those"
        )
        yield Problem(("learner.micro_batch_tokens", "data.max_prompt_tokens", "rollout.max_response_tokens"), message)


def overlong_cache_fits_the_response(config: Keys) -> Iterator[Problem]:
    cache, longest = config.reward.overlong_cache, config.rollout.max_response_tokens
    if cache > longest:
        message = (
            f"got {cache}, needed at most rollout.max_response_tokens ({longest}): the punishment begins overlong_cache tokens before that "
            f"end: use {max(1, longest // 5)} (a fifth, as in DAPO), or 0 for none"
        )
        yield Problem(("reward.overlong_cache", "rollout.max_response_tokens"), message)


def difficulty_settings_have_an_effect(config: Keys) -> Iterator[Problem]:
    if (floor := config.data.difficulty_floor) > 1:
        message = f"got {floor}, needed at most 1: it is the share of the top sampling weight that no prompt falls below: use 0.1"
        yield Problem(("data.difficulty_floor",), message)
    for key, plain in (("difficulty_floor", 0.1), ("difficulty_half_life", 2.0)):
        if config.data.sampler == "uniform" and (given := getattr(config.data, key)) != plain:
            message = f'got {given} with data.sampler = "uniform", so it would do nothing: set data.sampler = "difficulty", or remove it'
            yield Problem((f"data.{key}", "data.sampler"), message)


def system_turn_needs_the_chat_template(config: Keys) -> Iterator[Problem]:
    if config.data.system is not None and not config.data.chat_template:
        message = (
            "got a system turn with data.chat_template = false, which takes the prompt as it is: "
            "remove data.system or use chat_template = true"
        )
        yield Problem(("data.system", "data.chat_template"), message)


RULES: tuple[Rule, ...] = (
    betas_lie_below_one,
    flash_attention_needs_bfloat16,
    packing_needs_attention_with_borders,
    updates_divide_groups,
    micro_batch_holds_one_response,
    overlong_cache_fits_the_response,
    difficulty_settings_have_an_effect,
    system_turn_needs_the_chat_template,
)
