"""The rules for `[correction]`: bounds around K = 1, corrections without an effect, corrections of what is already corrected."""

from collections.abc import Iterator

from configs.keys import Keys
from configs.rules.common import Problem, Rule
from configs.rules.objective import known_correction, known_preset
from configs.surrogates import Minirl


def correction_bounds_are_in_order(config: Keys) -> Iterator[Problem]:
    """Lower bounds are below 1, upper bounds above 1, and `cap` ≥ 1: K is 1 where learner and engine agree."""
    if (chosen := known_correction(config)) is None:
        return
    why = "K is 1 where learner and engine agree, and such tokens must not be rejected"
    for key, fine in (("keep_low", 0.5), ("veto_low", 1e-4)):
        if (low := getattr(chosen, key)) is not None and low >= 1:
            yield Problem((f"correction.{key}",), f"got {low}, needed less than 1: {why}: use {fine}")
    for key, fine in (("keep_high", 2), ("veto_high", 100)):
        if (high := getattr(chosen, key)) is not None and high <= 1:
            yield Problem((f"correction.{key}",), f"got {high}, needed more than 1: {why}: use {fine}")
    if chosen.weight != "none" and chosen.cap is not None and chosen.cap < 1:
        yield Problem(("correction.cap",), f"got {chosen.cap}, needed at least 1: {why}: use 2")


def correction_settings_have_an_effect(config: Keys) -> Iterator[Problem]:
    """A `keep` has a bound, a `weight` has a `cap` or a `keep_high` on the same K, and a preset is not switched off part by part."""
    if (chosen := known_correction(config)) is None:
        return
    if chosen.keep != "all" and chosen.keep_low == 0 and chosen.keep_high is None:
        message = (
            f'got "{chosen.keep}" without bounds, so it keeps everything and has no effect: set correction.keep_high (2) or keep_low (0.5)'
        )
        yield Problem(("correction.keep", "correction.keep_low", "correction.keep_high"), message)
    if chosen.weight != "none" and chosen.cap is None and (chosen.keep != chosen.weight or chosen.keep_high is None):
        message = f'got "{chosen.weight}" without a bound, so one token could outweigh all other tokens: set correction.cap (2)'
        yield Problem(("correction.weight", "correction.cap"), message)
    if config.correction.preset != "none" and not chosen.uses_engine:
        message = (
            f'got "{config.correction.preset}" with every part of it switched off, so it has no effect: use correction.preset = "none"'
        )
        yield Problem(("correction.preset", "correction.weight", "correction.keep"), message)


def correction_has_something_to_correct(config: Keys) -> Iterator[Problem]:
    """A mismatch that the ratio or the weight of the surrogate already includes is not corrected again."""
    chosen, correction = known_preset(config), known_correction(config)
    if chosen is None or correction is None:
        return
    weighs = correction.weight != "none"
    if chosen.old == "engine" and (weighs or correction.keep != "all" or correction.veto_low or correction.veto_high):
        message = (
            'got a correction with objective.old = "engine", where the ratio already includes the mismatch: '
            'remove it (correction.preset = "none", or only opsm), or use objective.old = "learner"'
        )
        yield Problem(("correction.preset", "objective.old", "objective.preset"), message)
    elif isinstance(chosen.surrogate, Minirl) and weighs:
        message = (
            'got a weight with surrogate "minirl", whose own weight already includes the mismatch: use correction.preset = "none", or '
            'correction.weight = "none" with only its bounds'
        )
        yield Problem(("correction.weight", "correction.preset", "objective.surrogate"), message)


def mismatch_needs_the_engines_logprobs(config: Keys) -> Iterator[Problem]:
    """A correction, `objective.old = "engine"` and `minirl` need `rollout.logprobs = true`."""
    chosen, correction = known_preset(config), known_correction(config)
    if chosen is None or correction is None or config.rollout.logprobs:
        return
    wants = [
        (correction.uses_engine, ("correction.preset",), "the correction compares them with the learner's"),
        (chosen.old == "engine", ("objective.old", "objective.preset"), "they are the denominator of the ratio"),
        (isinstance(chosen.surrogate, Minirl), ("objective.surrogate", "objective.preset"), "they are the denominator of its weight"),
    ]
    for wanted, keys, why in wants:
        if wanted:
            message = (
                f"needs the engine's log-probs ({why}), got rollout.logprobs = false: set rollout.logprobs = true, or choose another value"
            )
            yield Problem((*keys, "rollout.logprobs"), message)


CORRECTION_RULES: tuple[Rule, ...] = (
    correction_bounds_are_in_order,
    correction_settings_have_an_effect,
    correction_has_something_to_correct,
    mismatch_needs_the_engines_logprobs,
)
