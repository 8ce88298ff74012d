"""The table of settings that have no effect unless another key allows it, and the rule that refuses them there.

Setting one of them to its own default is allowed: a run directory keeps the resolved config with every default written out.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from configs.keys import Keys
from configs.rules.common import Problem, Rule
from configs.rules.objective import known_correction
from configs.section import Section
from configs.toml_writer import shorten, write_value


class Needs(NamedTuple):
    """A key that has an effect only if another key has a fitting value."""

    key: str
    other: str
    fits: Callable[[Any], bool]  # of the other key's value
    needed: str  # what to set, as docs and messages say it


def is_set(value: object) -> bool:
    return value is not None


def is_true(value: object) -> bool:
    return value is True


def is_false(value: object) -> bool:
    return value is False


def are_several(value: object) -> bool:
    return value != 1


def is_difficulty(value: str) -> bool:
    return value == "difficulty"


def is_positive(value: float) -> bool:
    return value > 0


def falls(value: str) -> bool:
    return value != "constant"


def is_replay_rollout(value: str) -> bool:
    return value == "replay_rollout"


def is_rollback(value: str) -> bool:
    return value == "rollback"


def is_a_statistic(value: str) -> bool:
    return value not in ("all", "none")


A_STATISTIC = '"token", "sequence" or "geometric"'
NEEDS: tuple[Needs, ...] = (
    Needs("run.capsule_every", "run.keep_capsules", is_positive, "run.keep_capsules above 0"),
    Needs("data.difficulty_floor", "data.sampler", is_difficulty, 'data.sampler = "difficulty"'),
    Needs("data.difficulty_half_life", "data.sampler", is_difficulty, 'data.sampler = "difficulty"'),
    Needs("data.template_file", "data.chat_template", is_true, "data.chat_template = true"),
    Needs("data.system", "data.chat_template", is_true, "data.chat_template = true"),
    Needs("rollout.hedge", "rollout.engines", are_several, "rollout.engines above 1"),
    Needs("rollout.restarts", "placement.share", is_false, "placement.share = false"),
    Needs("rollout.restart_window_s", "rollout.restarts", is_positive, "rollout.restarts above 0"),
    Needs("data.template_arguments", "data.chat_template", is_true, "data.chat_template = true"),
    Needs("rollout.reply_role", "data.chat_template", is_true, "data.chat_template = true"),
    Needs("data.prefill", "data.chat_template", is_true, "data.chat_template = true"),
    Needs("data.answer_turn", "data.chat_template", is_true, "data.chat_template = true"),
    Needs("reward.keep_disagreements", "reward.second", is_set, "reward.second"),
    Needs("learner.missing_routing", "learner.routing", is_replay_rollout, 'learner.routing = "replay_rollout"'),
    Needs("learner.min_lr", "learner.schedule", falls, 'learner.schedule = "cosine"'),
    Needs("learner.rollback_lr", "learner.on_spike", is_rollback, 'learner.on_spike = "rollback"'),
    Needs("learner.rollbacks", "learner.on_spike", is_rollback, 'learner.on_spike = "rollback"'),
    Needs("entropy.change", "entropy.target", is_set, "entropy.target (for example to 0.2)"),
    Needs("entropy.largest", "entropy.target", is_set, "entropy.target (for example to 0.2)"),
    Needs("correction.cap", "correction.weight", is_a_statistic, f"correction.weight to {A_STATISTIC}"),
    Needs("correction.keep_low", "correction.keep", is_a_statistic, f"correction.keep to {A_STATISTIC}"),
    Needs("correction.keep_high", "correction.keep", is_a_statistic, f"correction.keep to {A_STATISTIC}"),
    Needs("kl.estimator", "kl.coefficient", is_positive, "kl.coefficient above 0"),
    Needs("kl.place", "kl.coefficient", is_positive, "kl.coefficient above 0"),
    Needs("kl.refresh_every", "kl.reference", is_set, 'kl.reference = "initial"'),
    Needs("mismatch.share", "rollout.logprobs", is_true, "rollout.logprobs = true"),
    Needs("mismatch.alarm", "rollout.logprobs", is_true, "rollout.logprobs = true"),
    Needs("mismatch.patience", "mismatch.alarm", is_set, "mismatch.alarm (for example to 0.01)"),
    Needs("mismatch.on_alarm", "mismatch.alarm", is_set, "mismatch.alarm (for example to 0.01)"),
)


def settings_have_an_effect(config: Keys) -> Iterator[Problem]:
    """A setting of the table below that is not at its default comes with the other key that it needs."""
    for row in NEEDS:
        section, leaf = row.key.split(".")
        table = getattr(config, section)
        if not is_default(table, leaf) and not row.fits(found := value_in_effect(config, row.other)):
            state = f"without {row.other}" if found is None else f"with {row.other} = {write_value(found)}"
            keys = (row.key, row.other, *(["correction.preset"] if section == "correction" else []))
            yield Problem(keys, f"{has_no_effect(getattr(table, leaf), state)}: set {row.needed}, or remove it")


def is_default(table: Section, leaf: str) -> bool:
    """Whether a key has the value that it has when it is left out."""
    value: object = getattr(table, leaf)
    return value == type(table).model_fields[leaf].default


def has_no_effect(value: object, state: str) -> str:
    """The first half of a message about a setting that does nothing in that state of the config."""
    return f"got {shorten(value)} {state}, so it has no effect"


def value_in_effect(config: Keys, key: str) -> object:
    """A key's value; in [correction] the preset's where the key is left out."""
    section, leaf = key.split(".")
    table = known_correction(config) if section == "correction" else getattr(config, section)
    return getattr(table, leaf, None)


EFFECT_RULES: tuple[Rule, ...] = (settings_have_an_effect,)
