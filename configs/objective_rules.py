"""The rules for `[objective]`, `[correction]` and `[kl]`: what is unknown, what cannot be combined, what would have no effect."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from configs.objective import INITIAL, SETTINGS
from configs.presets import ADVANTAGES, CORRECTIONS, PRESETS, REDUCTIONS, SURROGATES, Correction, Preset
from configs.rules import Problem, Rule, quoted

if TYPE_CHECKING:
    from configs.schema import Config

LARGEST_SEQUENCE_CLIP = 0.01  # GSPO clips at 3e-4: the geometric mean over a response moves far less than any one token's ratio
SMALLEST_TOKEN_CLIP = 0.001
# Surrogates whose formula speaks of single tokens' ratios, or of none.
ONE_TOKEN_AT_A_TIME = ("dual_clip", "cispo", "gmpo", "reinforce", "minirl", "dppo_tv")
CLIPPED_RATIO = ("clip", "dual_clip", "minirl")  # surrogates that hold the ratio between 1 - clip_low and 1 + clip_high
DIVIDED_BY_THE_GROUP = ("standardised", "population", "leave_one_out_standardised")


def choices_are_known(config: Config) -> Iterator[Problem]:
    chosen = config.objective
    tables = {"preset": PRESETS, "advantage": ADVANTAGES, "surrogate": SURROGATES, "reduction": REDUCTIONS}
    for key, known in tables.items():
        if (name := getattr(chosen, key)) not in (None, *known):
            yield Problem((f"objective.{key}",), f'got "{name}", needed a known {key}: use one of {quoted(known)}')
    if (name := config.correction.preset) not in CORRECTIONS:
        yield Problem(("correction.preset",), f'got "{name}", needed a known correction: use one of {quoted(CORRECTIONS)}')


def group_baseline_needs_a_group(config: Config) -> Iterator[Problem]:
    if config.rollout.group_size == 1:
        message = (
            "got 1, needed at least 2: every advantage compares a response with the others of its group, "
            "so a lone response teaches nothing: use 8 or 16"
        )
        yield Problem(("rollout.group_size", "objective.preset", "objective.advantage"), message)


def surrogate_has_its_settings(config: Config) -> Iterator[Problem]:
    if (chosen := _preset(config)) is None:
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


def ratio_fits_the_surrogate(config: Config) -> Iterator[Problem]:
    chosen = _preset(config)
    if chosen and chosen.surrogate in ONE_TOKEN_AT_A_TIME and chosen.ratio == "sequence":
        message = (
            f'got "sequence" with surrogate "{chosen.surrogate}", whose formula knows none: '
            'use objective.ratio = "token", or objective.surrogate = "clip"'
        )
        yield Problem(("objective.ratio", "objective.surrogate", "objective.preset"), message)


def clip_bounds_are_in_order(config: Config) -> Iterator[Problem]:
    chosen = _preset(config)
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
        message = f"got {chosen.cap}, needed more than 1 + clip_high ({1 + chosen.clip_high:g}), which it lies beyond: use 3 (5 for minirl)"
        yield Problem(("objective.cap", "objective.clip_high"), message)


def clip_fits_the_ratio(config: Config) -> Iterator[Problem]:
    chosen = _preset(config)
    if chosen is None or chosen.surrogate not in ("clip", "dual_clip", "minirl", "gmpo"):
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


def without_a_ratio_the_policy_is_that_which_sampled(config: Config) -> Iterator[Problem]:
    chosen, correction = _preset(config), _correction(config)
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


def correction_bounds_are_in_order(config: Config) -> Iterator[Problem]:
    if config.correction.preset not in CORRECTIONS:
        return
    chosen = config.correction.resolved
    why = "K is 1 where learner and engine agree, and that must not be rejected"
    for key, fine in (("keep_low", 0.5), ("veto_low", 1e-4)):
        if (low := getattr(chosen, key)) is not None and low >= 1:
            yield Problem((f"correction.{key}",), f"got {low}, needed less than 1: {why}: use {fine}")
    for key, fine in (("keep_high", 2), ("veto_high", 100)):
        if (high := getattr(chosen, key)) is not None and high <= 1:
            yield Problem((f"correction.{key}",), f"got {high}, needed more than 1: {why}: use {fine}")
    if chosen.keep != "all" and chosen.keep_low == 0 and chosen.keep_high is None:
        message = f'got "{chosen.keep}" without bounds, so it would keep everything: set correction.keep_high (2) or keep_low (0.5)'
        yield Problem(("correction.keep", "correction.keep_low", "correction.keep_high"), message)
    if chosen.weight != "none" and chosen.keep == "all" and chosen.cap is None:
        message = f'got "{chosen.weight}" without a bound, so a single token could outweigh all others: set correction.cap (2)'
        yield Problem(("correction.weight", "correction.cap"), message)
    if chosen.keep == "all" and (config.correction.keep_low is not None or config.correction.keep_high is not None):
        message = 'got a bound with keep = "all", so it would do nothing: set correction.keep to "token", "sequence" or "geometric"'
        yield Problem(("correction.keep", "correction.keep_low", "correction.keep_high"), message)
    if chosen.weight == "none" and config.correction.cap is not None:
        message = f'got {chosen.cap} with weight = "none", so it would do nothing: set correction.weight to "token" or "sequence"'
        yield Problem(("correction.cap", "correction.weight"), message)


def correction_has_something_to_correct(config: Config) -> Iterator[Problem]:
    chosen, correction = _preset(config), _correction(config)
    if chosen is None or correction is None:
        return
    weighs = correction.weight != "none"
    if chosen.old == "engine" and (weighs or correction.keep != "all" or correction.veto_low or correction.veto_high):
        message = (
            'got a correction with objective.old = "engine", which puts the mismatch into the ratio already: '
            'remove it (correction.preset = "none", or only opsm), or use objective.old = "learner"'
        )
        yield Problem(("correction.preset", "objective.old", "objective.preset"), message)
    elif chosen.surrogate == "minirl" and weighs:
        message = 'got a weight with surrogate "minirl", whose own weight has the mismatch in it: use correction.weight = "none"'
        yield Problem(("correction.weight", "correction.preset", "objective.surrogate"), message)


def mismatch_needs_the_engines_logprobs(config: Config) -> Iterator[Problem]:
    chosen, correction = _preset(config), _correction(config)
    if chosen is None or correction is None or config.rollout.logprobs:
        return
    wants = [
        (correction.uses_engine, ("correction.preset",), "the correction compares the learner with them"),
        (chosen.old == "engine", ("objective.old", "objective.preset"), "the ratio is taken to them"),
        (chosen.surrogate == "minirl", ("objective.surrogate", "objective.preset"), "its weight is the ratio to them"),
    ]
    for wanted, keys, why in wants:
        if wanted:
            message = f"needs the engine's log-probs ({why}), got rollout.logprobs = false: set rollout.logprobs = true, or choose another"
            yield Problem((*keys, "rollout.logprobs"), message)


def kl_has_a_reference(config: Config) -> Iterator[Problem]:
    kl = config.kl
    if kl.coefficient > 0 and kl.reference is None:
        message = (
            f'got {kl.coefficient} without kl.reference: set kl.reference = "initial" (model.path) or a model folder, or coefficient = 0'
        )
        yield Problem(("kl.coefficient", "kl.reference"), message)
    if kl.refresh_every and kl.reference is None:
        message = f'got {kl.refresh_every} without kl.reference, so there is nothing to refresh: set kl.reference = "initial", or remove it'
        yield Problem(("kl.refresh_every", "kl.reference"), message)


def kl_choices_have_a_coefficient(config: Config) -> Iterator[Problem]:
    kl = config.kl
    for key, plain in (("estimator", "ratio_k3"), ("place", "loss")):
        if kl.coefficient == 0 and (given := getattr(kl, key)) != plain:
            yield Problem(
                (f"kl.{key}", "kl.coefficient"), f'got "{given}" with kl.coefficient = 0, so it would do nothing: set kl.coefficient'
            )


def kl_reference_is_renewed_in_kind(config: Config) -> Iterator[Problem]:
    kl = config.kl
    if kl.refresh_every and kl.reference not in (None, INITIAL):
        message = (
            f'got {kl.refresh_every} with kl.reference = "{kl.reference}": a reference that takes over the policy\'s weights begins as the '
            'policy: use kl.reference = "initial", or refresh_every = 0'
        )
        yield Problem(("kl.refresh_every", "kl.reference"), message)


def kl_has_a_gradient(config: Config) -> Iterator[Problem]:
    kl = config.kl
    if kl.coefficient > 0 and kl.place == "loss" and kl.estimator == "k1":
        message = (
            'got "k1" with place = "loss": the expected gradient of that is zero, it only adds noise. Use estimator = "ratio_k3" or "k2" '
            '(reverse KL), "k3" (forward KL), or place = "reward"'
        )
        yield Problem(("kl.estimator", "kl.place"), message)


def kl_reference_lags_behind_the_policy(config: Config) -> Iterator[Problem]:
    kl = config.kl
    if kl.coefficient > 0 and kl.refresh_every == 1 and (kl.place == "reward" or config.learner.updates_per_step == 1):
        message = (
            "got 1, so at every gradient the reference is the policy itself and the expected gradient of the KL is zero: "
            "use a larger kl.refresh_every, or 0 for a frozen reference"
        )
        yield Problem(("kl.refresh_every", "kl.place", "learner.updates_per_step"), message)


def kl_in_the_reward_is_fair(config: Config) -> Iterator[Problem]:
    chosen = _preset(config)
    if not config.kl.resolved.in_reward or chosen is None:
        return
    if config.objective.overlong_filter:
        message = (
            'got "reward" with objective.overlong_filter = true: a filtered response stays in the baseline without paying for its KL, '
            'which turns right answers into bad ones: use kl.place = "loss", or reward.overlong_cache in the place of the filter'
        )
        yield Problem(("kl.place", "objective.overlong_filter"), message)
    if chosen.advantage in DIVIDED_BY_THE_GROUP and not config.dynamic_sampling:
        message = (
            f'got "reward" with advantage "{chosen.advantage}": a group whose answers are all alike would be divided by the spread of '
            'its KL alone and learn from that at full strength. Use objective.advantage = "centred", "leave_one_out", "batch_std" or '
            '"whitened", or kl.place = "loss"'
        )
        yield Problem(("kl.place", "objective.advantage", "objective.preset"), message)


def _preset(config: Config) -> Preset | None:
    """The resolved preset, or None where a name in it is unknown, which is reported on its own."""
    chosen = config.objective
    known = chosen.preset in PRESETS and chosen.surrogate in (None, *SURROGATES)
    return chosen.resolved if known else None


def _correction(config: Config) -> Correction | None:
    return config.correction.resolved if config.correction.preset in CORRECTIONS else None


OBJECTIVE_RULES: tuple[Rule, ...] = (
    choices_are_known,
    group_baseline_needs_a_group,
    surrogate_has_its_settings,
    ratio_fits_the_surrogate,
    clip_bounds_are_in_order,
    clip_fits_the_ratio,
    without_a_ratio_the_policy_is_that_which_sampled,
    correction_bounds_are_in_order,
    correction_has_something_to_correct,
    mismatch_needs_the_engines_logprobs,
    kl_has_a_reference,
    kl_choices_have_a_coefficient,
    kl_reference_is_renewed_in_kind,
    kl_has_a_gradient,
    kl_reference_lags_behind_the_policy,
    kl_in_the_reward_is_fair,
)
