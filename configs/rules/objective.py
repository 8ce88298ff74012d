"""The rules for `[objective]`: what is unknown, what cannot be combined, what would have no effect."""

from collections.abc import Iterable, Iterator
from difflib import get_close_matches

from configs.keys import Keys
from configs.presets import (
    ADVANTAGES,
    CLIPPED_RATIO,
    CORRECTIONS,
    ESTIMATORS,
    PRESETS,
    REDUCTIONS,
    SETTINGS,
    SURROGATES,
    Correction,
    Preset,
)
from configs.rules.common import Problem, Rule, quoted

LARGEST_SEQUENCE_CLIP = 0.01  # GSPO clips at 3e-4: the geometric mean over a response moves far less than any one token's ratio
SMALLEST_TOKEN_CLIP = 0.001
# Surrogates whose formula speaks of single tokens' ratios, or of none.
ONE_TOKEN_AT_A_TIME = ("dual_clip", "cispo", "gmpo", "reinforce", "minirl", "dppo_tv")


def choices_are_known(config: Keys) -> Iterator[Problem]:
    chosen = config.objective
    named: list[tuple[str, str, str | None, Iterable[str]]] = [
        ("objective.preset", "preset", chosen.preset, PRESETS),
        ("objective.advantage", "advantage", chosen.advantage, ADVANTAGES),
        ("objective.surrogate", "surrogate", chosen.surrogate, SURROGATES),
        ("objective.reduction", "reduction", chosen.reduction, REDUCTIONS),
        ("correction.preset", "correction", config.correction.preset, CORRECTIONS),
        ("kl.estimator", "estimator", config.kl.estimator, ESTIMATORS),
    ]
    for key, kind, name, known in named:
        if name is not None and name not in known:
            near = get_close_matches(name.lower().replace("-", "_").replace("z", "s"), list(known), 1, cutoff=0.7)
            guess = f' (did you mean "{near[0]}"?)' if near else ""
            yield Problem((key,), f'got "{name}", needed a known {kind}{guess}: use one of {quoted(known)}')


def group_baseline_needs_a_group(config: Keys) -> Iterator[Problem]:
    if config.rollout.group_size == 1:
        message = (
            "got 1, needed at least 2: every advantage compares a response with the others of its group, "
            "so a lone response teaches nothing: use 8 or 16"
        )
        yield Problem(("rollout.group_size", "objective.preset", "objective.advantage"), message)


def surrogate_has_its_settings(config: Keys) -> Iterator[Problem]:
    if (chosen := known_preset(config)) is None:
        return
    reads = SURROGATES[chosen.surrogate]
    for key in SETTINGS:
        if key in reads and getattr(chosen, key) is None:
            message = f'got nothing, but surrogate "{chosen.surrogate}" reads {", ".join(reads)}: set objective.{key}'
            yield Problem((f"objective.{key}", "objective.surrogate"), message)
        if key not in reads and getattr(config.objective, key) is not None:
            takes = f"reads only {', '.join(reads)}" if reads else "reads no settings"
            message = f'got {getattr(config.objective, key)}, but surrogate "{chosen.surrogate}" {takes}, so it would do nothing: remove it'
            yield Problem((f"objective.{key}", "objective.surrogate", "objective.preset"), message)


def ratio_fits_the_surrogate(config: Keys) -> Iterator[Problem]:
    chosen = known_preset(config)
    if chosen and chosen.surrogate in ONE_TOKEN_AT_A_TIME and chosen.ratio == "sequence":
        message = (
            f'got "sequence" with surrogate "{chosen.surrogate}", whose formula knows none: '
            'use objective.ratio = "token", or objective.surrogate = "clip"'
        )
        yield Problem(("objective.ratio", "objective.surrogate", "objective.preset"), message)


def clip_bounds_are_in_order(config: Keys) -> Iterator[Problem]:
    chosen = known_preset(config)
    if chosen is None or chosen.clip_low is None or chosen.clip_high is None:
        return
    low = chosen.clip_low
    if chosen.surrogate in CLIPPED_RATIO and low >= 1:
        message = f"got {low}, needed less than 1: the ratio is clipped at 1 - clip_low, which must stay above 0: use 0.2 (token ratio)"
        yield Problem(("objective.clip_low", "objective.preset"), message)
    if chosen.surrogate == "cispo" and low > 1:
        message = (
            f"got {low}, needed at most 1: the weight is held above 1 - clip_low, and a weight below 0 does not exist: use 1 for no bound"
        )
        yield Problem(("objective.clip_low", "objective.preset"), message)
    if chosen.surrogate == "dppo_tv" and max(low, chosen.clip_high) >= 1:
        message = f"got {low} and {chosen.clip_high}, needed less than 1: no token's probability can move as far as 1: use 0.2"
        yield Problem(("objective.clip_low", "objective.clip_high"), message)
    if chosen.cap is not None and chosen.surrogate in ("dual_clip", "minirl") and chosen.cap <= 1 + chosen.clip_high:
        message = f"got {chosen.cap}, needed more than 1 + clip_high ({1 + chosen.clip_high:g}): use {3 + chosen.clip_high:g}"
        yield Problem(("objective.cap", "objective.clip_high"), message)


def clip_fits_the_ratio(config: Keys) -> Iterator[Problem]:
    chosen = known_preset(config)
    if chosen is None or chosen.surrogate not in (*CLIPPED_RATIO, "gmpo"):
        return
    for name, clip in (("clip_low", chosen.clip_low), ("clip_high", chosen.clip_high)):
        keys = (f"objective.{name}", "objective.ratio", "objective.preset")
        if clip is not None and chosen.ratio == "sequence" and clip > LARGEST_SEQUENCE_CLIP:
            yield Problem(
                keys,
                f"got {clip} on a sequence ratio, needed at most {LARGEST_SEQUENCE_CLIP}: a sequence ratio is a mean over the whole "
                f'response and hardly leaves 1, so this never clips: use 3e-4 / 4e-4 (preset gspo) or objective.ratio = "token"',
            )
        if clip is not None and chosen.ratio == "token" and clip < SMALLEST_TOKEN_CLIP:
            yield Problem(
                keys,
                f"got {clip} on a token ratio, needed at least {SMALLEST_TOKEN_CLIP}: nearly every token would be clipped after one "
                f'update: use 0.2 (presets grpo, dapo) or objective.ratio = "sequence"',
            )


def without_a_ratio_the_policy_is_that_which_sampled(config: Keys) -> Iterator[Problem]:
    chosen, correction = known_preset(config), known_correction(config)
    if chosen is None or correction is None or chosen.surrogate != "reinforce":
        return
    if chosen.old == "engine":
        message = 'got "engine" with surrogate "reinforce", which takes no ratio, so it would do nothing: use objective.old = "learner"'
        yield Problem(("objective.old", "objective.surrogate", "objective.preset"), message)
    if (staleness := config.run.max_staleness) and correction.weight == "none":
        message = (
            f'got {staleness} with surrogate "reinforce", which has no ratio and is only right for the policy that sampled: '
            'use run.max_staleness = 0, or correction.preset = "decoupled", whose weight is that ratio'
        )
        yield Problem(("run.max_staleness", "objective.surrogate", "objective.preset"), message)
    if (updates := config.learner.updates_per_step) > 1:
        message = (
            f'got {updates} with surrogate "reinforce", which has no ratio and is only right for the policy that sampled: '
            'use learner.updates_per_step = 1, or objective.surrogate = "clip" with clip_low = 0.2 and clip_high = 0.2'
        )
        yield Problem(("learner.updates_per_step", "objective.surrogate", "objective.preset"), message)


def known_preset(config: Keys) -> Preset | None:
    """The resolved preset, or None where a name in it is unknown, which is reported on its own."""
    chosen = config.objective
    known = chosen.preset in PRESETS and chosen.surrogate in (None, *SURROGATES)
    return chosen.resolved if known else None


def known_correction(config: Keys) -> Correction | None:
    """The resolved correction, or None where its preset is unknown."""
    return config.correction.resolved if config.correction.preset in CORRECTIONS else None


OBJECTIVE_RULES: tuple[Rule, ...] = (
    choices_are_known,
    group_baseline_needs_a_group,
    surrogate_has_its_settings,
    ratio_fits_the_surrogate,
    clip_bounds_are_in_order,
    clip_fits_the_ratio,
    without_a_ratio_the_policy_is_that_which_sampled,
)
