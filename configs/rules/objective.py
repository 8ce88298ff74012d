"""The rules for `[objective]`: unknown names, choices that cannot be combined, settings that have no effect."""

from collections.abc import Iterable, Iterator
from difflib import get_close_matches

from configs.keys import Keys
from configs.no_reward import NO_REWARD
from configs.presets import ADVANTAGES, CORRECTIONS, PRESETS, REDUCTIONS, Correction, Preset
from configs.rules.common import Problem, Rule
from configs.surrogates import (
    SETTINGS,
    SURROGATES,
    Cispo,
    Clip,
    ClippedRatio,
    DppoKl,
    DppoTv,
    DualClip,
    Gmpo,
    Minirl,
    Reinforce,
    Sapo,
    settings_of,
)
from configs.toml_writer import quoted

LARGEST_SEQUENCE_CLIP = 0.01  # GSPO clips at 3e-4: the geometric mean over a response moves far less than the ratio of one token
SMALLEST_TOKEN_CLIP = 0.001
LARGEST_KL = 0.5  # of dppo_kl: bounds of ratios and probabilities are often given in its place
ADVANTAGE_KEYS = ("objective.advantage", "objective.preset")
TakesSequenceRatio = Clip | Sapo  # the formulas of all other surrogates are about the ratios of single tokens, or have none


def choices_are_known(config: Keys) -> Iterator[Problem]:
    """Presets, corrections, advantages, surrogates and reductions have a name from the tables of `docs/algorithms.md`."""
    chosen = config.objective
    named: list[tuple[str, str, str | None, Iterable[str]]] = [
        ("objective.preset", "preset", chosen.preset, PRESETS),
        ("objective.advantage", "advantage", chosen.advantage, ADVANTAGES),
        ("objective.surrogate", "surrogate", chosen.surrogate, SURROGATES),
        ("objective.reduction", "reduction", chosen.reduction, REDUCTIONS),
        ("correction.preset", "correction", config.correction.preset, CORRECTIONS),
    ]
    for key, kind, name, known in named:
        if name is not None and name not in known:
            near = get_close_matches(name.lower().replace("-", "_").replace("z", "s"), list(known), 1, cutoff=0.7)
            guess = f' (did you mean "{near[0]}"?)' if near else ""
            yield Problem((key,), f'got "{name}", needed a known {kind}{guess}: use one of {quoted(known)}')


def group_baseline_needs_a_group(config: Keys) -> Iterator[Problem]:
    """`rollout.group_size` ≥ 2, unless `objective.advantage = "none"`."""
    chosen = known_preset(config)
    if config.rollout.group_size == 1 and (chosen is None or chosen.advantage != "none"):
        message = (
            "got 1, needed at least 2: every advantage compares a response with the other responses of its group, "
            'so a single response teaches nothing: use 8 or 16, or objective.advantage = "none" to learn from kl.reference alone'
        )
        yield Problem(("rollout.group_size", "objective.preset", "objective.advantage"), message)


def something_teaches(config: Keys) -> Iterator[Problem]:
    """`objective.advantage = "none"` needs a KL in the loss and no dynamic sampling; `reward.checker = "none"` needs that advantage, or
    parts, rows or sources with checkers of their own."""
    if (chosen := known_preset(config)) is None:
        return
    own = config.reward.parts or config.data.own_checkers or config.data.checker_field
    if config.reward.checker == NO_REWARD and chosen.advantage != "none" and not own:
        message = (
            f'got "none", which rewards nothing, with advantage "{chosen.advantage}", which needs rewards: name a checker, or set '
            'objective.advantage = "none" and learn from kl.reference'
        )
        yield Problem(("reward.checker", "objective.advantage"), message)
    if chosen.advantage != "none":
        return
    if not config.kl.resolved.in_loss:
        message = (
            'got "none", so rewards teach nothing, and there is no KL in the loss either: set kl.reference to the teacher and '
            'kl.coefficient = 1.0 with kl.place = "loss", or use another advantage'
        )
        yield Problem(("objective.advantage", "kl.coefficient", "kl.place"), message)
    if config.dynamic_sampling:
        message = (
            'got "none" with dynamic sampling, which rejects the groups whose rewards are equal, although no reward is learned: '
            "set rollout.dynamic_sampling = false"
        )
        yield Problem(("objective.advantage", "rollout.dynamic_sampling", "objective.preset"), message)


def entropy_starts_within_its_bounds(config: Keys) -> Iterator[Problem]:
    """With `entropy.target`, `entropy.coefficient` is at most `entropy.largest`."""
    entropy = config.entropy
    if entropy.target is not None and entropy.coefficient > entropy.largest:
        message = f"got {entropy.coefficient:g}, needed at most entropy.largest ({entropy.largest:g}): lower it, or raise entropy.largest"
        yield Problem(("entropy.coefficient", "entropy.largest"), message)


def surrogate_has_its_settings(config: Keys) -> Iterator[Problem]:
    """A surrogate has every setting that it reads, from the config or from its own preset, and no other setting."""
    if not names_are_known(config):
        return
    chosen, name = config.objective, config.objective.surrogate_type.name
    reads = settings_of(chosen.surrogate_type)
    for key in chosen.missing_settings:
        message = f'missing, but surrogate "{name}" reads {", ".join(reads)}: set objective.{key}'
        yield Problem((f"objective.{key}", "objective.surrogate"), message)
    for key in SETTINGS:
        if key in chosen.given_settings and key not in reads:
            takes = f"reads only {', '.join(reads)}" if reads else "reads no settings"
            message = f'got {chosen.given_settings[key]}, but surrogate "{name}" {takes}, so it has no effect: remove it'
            yield Problem((f"objective.{key}", "objective.surrogate", "objective.preset"), message)


def ratio_fits_the_surrogate(config: Keys) -> Iterator[Problem]:
    """`objective.ratio = "sequence"` needs the surrogate `clip` or `sapo`."""
    chosen = known_preset(config)
    if chosen and chosen.ratio == "sequence" and not isinstance(chosen.surrogate, TakesSequenceRatio):
        message = (
            f'got "sequence" with surrogate "{chosen.surrogate.name}", whose formula has no sequence ratio: '
            'use objective.ratio = "token", or objective.surrogate = "clip"'
        )
        yield Problem(("objective.ratio", "objective.surrogate", "objective.preset"), message)


def clip_bounds_are_in_order(config: Keys) -> Iterator[Problem]:
    """`clip_low` < 1 (`cispo`: ≤ 1; `dppo_tv`: both bounds < 1; `dppo_kl`: both bounds ≤ 0.5), and `cap` > 1 + `clip_high`."""
    if (chosen := known_preset(config)) is None:
        return
    surrogate = chosen.surrogate
    if isinstance(surrogate, ClippedRatio) and (low := surrogate.clip_low) >= 1:
        message = f"got {low}, needed less than 1: the ratio is clipped at 1 - clip_low, which must stay above 0: use 0.2 (token ratio)"
        yield Problem(("objective.clip_low", "objective.preset"), message)
    if isinstance(surrogate, Cispo) and (low := surrogate.clip_low) > 1:
        message = f"got {low}, needed at most 1: the smallest weight is 1 - clip_low, which cannot be negative: use 1 for no bound"
        yield Problem(("objective.clip_low", "objective.preset"), message)
    if isinstance(surrogate, DppoTv) and max(surrogate.clip_low, surrogate.clip_high) >= 1:
        message = f"got {surrogate.clip_low} and {surrogate.clip_high}, needed less than 1: no probability moves by 1 or more: use 0.2"
        yield Problem(("objective.clip_low", "objective.clip_high"), message)
    if isinstance(surrogate, DppoKl) and (bound := max(surrogate.clip_low, surrogate.clip_high)) > LARGEST_KL:
        message = (
            f"got {bound:g}, needed at most {LARGEST_KL}: a token whose probability rises from 1/2 to 9/10 has a KL of 0.51, so hardly any "
            "token would ever be dropped: use 0.05"
        )
        yield Problem(("objective.clip_low", "objective.clip_high", "objective.preset"), message)
    if isinstance(surrogate, DualClip | Minirl) and surrogate.cap <= 1 + (high := surrogate.clip_high):
        message = f"got {surrogate.cap}, needed more than 1 + clip_high ({1 + high:g}): use {3 + high:g}"
        yield Problem(("objective.cap", "objective.clip_high"), message)


def clip_fits_the_ratio(config: Keys) -> Iterator[Problem]:
    """With `clip`, `dual_clip`, `minirl` and `gmpo` both clips are ≤ 0.01 for a sequence ratio and ≥ 0.001 for a token ratio."""
    chosen = known_preset(config)
    if chosen is None or not isinstance(chosen.surrogate, ClippedRatio | Gmpo):
        return
    for name, clip in (("clip_low", chosen.surrogate.clip_low), ("clip_high", chosen.surrogate.clip_high)):
        keys = (f"objective.{name}", "objective.ratio", "objective.preset")
        if chosen.ratio == "sequence" and clip > LARGEST_SEQUENCE_CLIP:
            yield Problem(
                keys,
                f"got {clip} on a sequence ratio, needed at most {LARGEST_SEQUENCE_CLIP}: a sequence ratio is a mean over the whole "
                f'response and stays close to 1, so this never clips: use 3e-4 / 4e-4 (preset gspo) or objective.ratio = "token"',
            )
        if chosen.ratio == "token" and clip < SMALLEST_TOKEN_CLIP:
            yield Problem(
                keys,
                f"got {clip} on a token ratio, needed at least {SMALLEST_TOKEN_CLIP}: nearly every token would be clipped after one "
                f'update: use 0.2 (presets grpo, dapo) or objective.ratio = "sequence"',
            )


def reinforce_needs_on_policy_data(config: Keys) -> Iterator[Problem]:
    """`reinforce` needs one update a step, `objective.old = "learner"` and, if `run.max_staleness` ≥ 1, the weight of a correction."""
    chosen, correction = known_preset(config), known_correction(config)
    if chosen is None or correction is None or not isinstance(chosen.surrogate, Reinforce):
        return
    why = 'with surrogate "reinforce", which has no ratio and is only correct for tokens sampled from the policy itself'
    if chosen.old == "engine":
        message = 'got "engine" with surrogate "reinforce", which has no ratio, so it has no effect: use objective.old = "learner"'
        yield Problem(("objective.old", "objective.surrogate", "objective.preset"), message)
    if (staleness := config.run.max_staleness) and correction.weight == "none":
        message = f'got {staleness} {why}: use run.max_staleness = 0, or correction.preset = "decoupled", whose weight replaces the ratio'
        yield Problem(("run.max_staleness", "objective.surrogate", "objective.preset"), message)
    if (updates := config.learner.updates_per_step) > 1:
        message = (
            f'got {updates} {why}: use learner.updates_per_step = 1, or objective.surrogate = "clip" with clip_low = 0.2, clip_high = 0.2'
        )
        yield Problem(("learner.updates_per_step", "objective.surrogate", "objective.preset"), message)


def names_are_known(config: Keys) -> bool:
    """Whether preset and surrogate exist; `choices_are_known` reports those that do not."""
    return config.objective.preset in PRESETS and config.objective.surrogate in (None, *SURROGATES)


def known_preset(config: Keys) -> Preset | None:
    """The resolved preset; None if a name in it is unknown or its surrogate lacks a setting, which other rules report."""
    return config.objective.resolved if names_are_known(config) and not config.objective.missing_settings else None


def known_correction(config: Keys) -> Correction | None:
    """The resolved correction, or None if its preset is unknown."""
    return config.correction.resolved if config.correction.preset in CORRECTIONS else None


def mean_normalised_needs_rewards_from_zero(config: Keys) -> Iterator[Problem]:
    """`objective.advantage = "mean_normalised"` (MaxRL) divides by the mean reward, so nothing may make a reward negative."""
    chosen = known_preset(config)
    if chosen is None or chosen.advantage != "mean_normalised":
        return
    why = 'with advantage "mean_normalised", which divides by the mean reward of the group and needs rewards of 0 and more'
    if (low := config.reward.range[0]) < 0:
        yield Problem(("reward.range", *ADVANTAGE_KEYS), f"got a reward of {low:g} for a wrong response {why}: use reward.range = [0, 1]")
    if cache := config.reward.overlong_cache:
        message = f"got {cache} {why}: use overlong_cache = 0, and objective.overlong_filter = true against truncation"
        yield Problem(("reward.overlong_cache", *ADVANTAGE_KEYS), message)
    for name, part in config.reward.parts.items():
        if part.how == "add" and part.weight < 0:
            message = f'got {part.weight:g} {why}: use how = "multiply" with a part that is small where responses are bad'
            yield Problem((f"reward.parts.{name}.weight", *ADVANTAGE_KEYS), message)
    if config.kl.resolved.in_reward:
        message = f'got "reward" {why}, and a KL makes them negative: use kl.place = "loss"'
        yield Problem(("kl.place", *ADVANTAGE_KEYS), message)


def decoupled_parts_are_the_whole_reward(config: Keys) -> Iterator[Problem]:
    """`objective.advantage = "decoupled"` (GDPO) compares the parts of the reward, so it excludes `kl.place = "reward"`."""
    chosen = known_preset(config)
    if chosen is None or chosen.advantage != "decoupled" or not config.kl.resolved.in_reward:
        return
    message = (
        'got "reward" with advantage "decoupled", which compares the parts of the reward one by one and never sees the KL: '
        'use kl.place = "loss"'
    )
    yield Problem(("kl.place", *ADVANTAGE_KEYS), message)


def credit_by_turn_leaves_one_out(config: Keys) -> Iterator[Problem]:
    """`objective.credit = "turn"` compares with the mean of the others: it needs `objective.advantage = "leave_one_out"`."""
    chosen = known_preset(config)
    if config.objective.credit != "turn" or chosen is None or chosen.advantage == "leave_one_out":
        return
    why = {
        "none": "by which rewards teach nothing",
        "decoupled": "which compares the parts of a reward, and a part is of the whole episode",
        "length_weighted": "which weighs whole responses by their tokens",
    }.get(chosen.advantage, "which compares whole episodes")
    message = (
        f'got "turn" with advantage "{chosen.advantage}", {why}, but credit by turn compares what was earned from a turn on with the mean '
        'of the other responses: use objective.advantage = "leave_one_out", or credit = "whole"'
    )
    yield Problem(("objective.credit", *ADVANTAGE_KEYS), message)


OBJECTIVE_RULES: tuple[Rule, ...] = (
    choices_are_known,
    group_baseline_needs_a_group,
    something_teaches,
    entropy_starts_within_its_bounds,
    surrogate_has_its_settings,
    ratio_fits_the_surrogate,
    clip_bounds_are_in_order,
    clip_fits_the_ratio,
    reinforce_needs_on_policy_data,
    mean_normalised_needs_rewards_from_zero,
    decoupled_parts_are_the_whole_reward,
    credit_by_turn_leaves_one_out,
)
