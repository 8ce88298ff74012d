"""The rules between keys: each is a function named as the rule it enforces, and yields what breaks it.

`Config` runs them all when it is built, so a run that breaks a rule never starts. None of them changes a value. A rule's docstring says
what it asks; `configs.document` puts it into docs/config.md.
"""

from collections.abc import Callable, Iterator
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


def flash_attention_needs_bfloat16(config: Keys) -> Iterator[Problem]:
    """`learner.attention = "flash_attention_2"` needs `model.dtype = "bfloat16"`."""
    if config.learner.attention == "flash_attention_2" and config.model.dtype == "float32":
        message = (
            'got "flash_attention_2" with model.dtype = "float32", which it does not support: '
            'use attention = "sdpa" or model.dtype = "bfloat16"'
        )
        yield Problem(("learner.attention", "model.dtype"), message)


def packing_needs_sdpa_or_flash_attention(config: Keys) -> Iterator[Problem]:
    """`learner.packing = true` needs `learner.attention = "sdpa"` or `"flash_attention_2"`."""
    if config.learner.packing is True and config.learner.attention == "eager":
        message = (
            'got "eager" with learner.packing = true; eager attention cannot separate packed sequences: '
            'use attention = "sdpa" or "flash_attention_2", or packing = false'
        )
        yield Problem(("learner.attention", "learner.packing"), message)


def updates_divide_groups(config: Keys) -> Iterator[Problem]:
    """`learner.updates_per_step` divides `rollout.groups_per_step`."""
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
    """`learner.micro_batch_tokens` ≥ `data.max_prompt_tokens + rollout.max_response_tokens`."""
    if config.learner.micro_batch_tokens < config.context_tokens:
        message = (
            f"got {config.learner.micro_batch_tokens}, needed at least {sum_of_tokens(config)}, as a response is never split: "
            "raise it or lower those"
        )
        yield Problem(("learner.micro_batch_tokens", "data.max_prompt_tokens", "rollout.max_response_tokens"), message)


def sum_of_tokens(config: Keys) -> str:
    """The longest prompt with the longest response, for a message."""
    return (
        f"{config.context_tokens} (data.max_prompt_tokens {config.data.max_prompt_tokens} + rollout.max_response_tokens "
        f"{config.rollout.max_response_tokens})"
    )


def overlong_cache_fits_the_response(config: Keys) -> Iterator[Problem]:
    """`reward.overlong_cache` ≤ `rollout.max_response_tokens`."""
    cache, longest = config.reward.overlong_cache, config.rollout.max_response_tokens
    if cache > longest:
        message = (
            f"got {cache}, needed at most rollout.max_response_tokens ({longest}), as the punishment starts overlong_cache tokens before "
            f"it: use {max(1, longest // 5)} (a fifth, as in DAPO), or 0 for none"
        )
        yield Problem(("reward.overlong_cache", "rollout.max_response_tokens"), message)


def the_optimizer_comes_from_a_checkpoint(config: Keys) -> Iterator[Problem]:
    """`run.from_optimizer` needs `run.from`."""
    if config.run.from_optimizer and config.run.origin is None:
        yield Problem(("run.from_optimizer", "run.from"), "got true without run.from, so it has no effect: set run.from, or remove it")


def schedule_has_room_to_fall(config: Keys) -> Iterator[Problem]:
    """A `learner.schedule` that falls begins at a `learner.lr` of at least `min_lr`, after a warm-up that ends before `run.steps`."""
    learner, steps = config.learner, config.run.steps
    if learner.schedule == "constant":
        return
    if learner.min_lr > learner.lr:
        message = f"got {learner.min_lr:g}, needed at most learner.lr ({learner.lr:g}), from which the rate falls: use {learner.lr / 10:g}"
        yield Problem(("learner.min_lr", "learner.lr"), message)
    if learner.warmup_updates >= steps * learner.updates_per_step:
        message = (
            f"got {learner.warmup_updates}, but the run has {steps} × {learner.updates_per_step} updates (run.steps × updates_per_step): "
            f'the schedule "{learner.schedule}" never begins. Lower it, raise run.steps, or use learner.schedule = "constant"'
        )
        yield Problem(("learner.warmup_updates", "run.steps", "learner.schedule"), message)


RULES: tuple[Rule, ...] = (
    schedule_has_room_to_fall,
    the_optimizer_comes_from_a_checkpoint,
    flash_attention_needs_bfloat16,
    packing_needs_sdpa_or_flash_attention,
    updates_divide_groups,
    micro_batch_holds_one_response,
    overlong_cache_fits_the_response,
)
