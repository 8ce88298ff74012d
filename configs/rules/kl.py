"""The rules for `[kl]`: a missing reference, a KL without a gradient, a KL that distorts the reward."""

from collections.abc import Iterator

from configs.keys import Keys
from configs.rules.common import Problem, Rule
from configs.rules.objective import known_preset
from configs.sections.objective import INITIAL

DIVIDED_BY_THE_GROUP = ("standardised", "population", "leave_one_out_standardised")  # advantages in units of the group's own spread


def kl_has_a_reference(config: Keys) -> Iterator[Problem]:
    """A `kl.coefficient` above 0 needs a `kl.reference`."""
    kl = config.kl
    if kl.coefficient > 0 and kl.reference is None:
        message = (
            f'got {kl.coefficient} without kl.reference: set kl.reference = "initial" (model.path) or a model folder, or coefficient = 0'
        )
        yield Problem(("kl.coefficient", "kl.reference"), message)


def only_the_initial_reference_is_refreshed(config: Keys) -> Iterator[Problem]:
    """`kl.refresh_every` needs `kl.reference = "initial"`."""
    kl = config.kl
    if kl.refresh_every and kl.reference not in (None, INITIAL):
        message = (
            f'got {kl.refresh_every} with kl.reference = "{kl.reference}": a refreshed reference takes the policy\'s weights, so it must '
            'start as the policy: use kl.reference = "initial", or refresh_every = 0'
        )
        yield Problem(("kl.refresh_every", "kl.reference"), message)


def kl_has_a_gradient(config: Keys) -> Iterator[Problem]:
    """`k1` is not used in the loss: its expected gradient is zero."""
    kl = config.kl
    if kl.coefficient > 0 and kl.place == "loss" and kl.estimator == "k1":
        message = (
            'got "k1" with place = "loss": its expected gradient is zero, so it only adds noise. Use estimator = "ratio_k3" or "k2" '
            '(reverse KL), "k3" (forward KL), or place = "reward"'
        )
        yield Problem(("kl.estimator", "kl.place"), message)


def kl_reference_lags_behind_the_policy(config: Keys) -> Iterator[Problem]:
    """`kl.refresh_every` ≥ 2 with one update a step or in the reward, where the KL would otherwise always be zero."""
    kl = config.kl
    if kl.refresh_every == 1 and (kl.place == "reward" or config.learner.updates_per_step == 1):
        message = (
            "got 1, so the reference equals the policy at every gradient, and the expected gradient of the KL is zero: "
            "use a larger kl.refresh_every, or 0 for a frozen reference"
        )
        yield Problem(("kl.refresh_every", "kl.place", "learner.updates_per_step"), message)


def kl_in_the_reward_is_fair(config: Keys) -> Iterator[Problem]:
    """`kl.place = "reward"` excludes `objective.overlong_filter` and `learner.missing_routing = "mask"`. Without dynamic sampling it also
    excludes advantages that are divided by the group's own spread."""
    chosen = known_preset(config)
    if not config.kl.resolved.in_reward or chosen is None:
        return
    if config.objective.overlong_filter:
        message = (
            'got "reward" with objective.overlong_filter = true: a filtered response stays in the baseline without its KL, '
            'so correct responses get a lower advantage: use kl.place = "loss", or reward.overlong_cache instead of the filter'
        )
        yield Problem(("kl.place", "objective.overlong_filter"), message)
    if config.learner.missing_routing == "mask":
        message = (
            'got "reward" with learner.missing_routing = "mask": a masked response stays in the baseline without its KL: '
            'use kl.place = "loss", or learner.missing_routing = "live"'
        )
        yield Problem(("kl.place", "learner.missing_routing"), message)
    if chosen.advantage in DIVIDED_BY_THE_GROUP and not config.dynamic_sampling:
        message = (
            f'got "reward" with advantage "{chosen.advantage}": a group of equally correct responses would be divided by the '
            'spread of its KL alone, and learn only from the KL at full strength. Use objective.advantage = "centred", "leave_one_out", '
            '"batch_std" or "whitened", or kl.place = "loss"'
        )
        yield Problem(("kl.place", "objective.advantage", "objective.preset"), message)


KL_RULES: tuple[Rule, ...] = (
    kl_has_a_reference,
    only_the_initial_reference_is_refreshed,
    kl_has_a_gradient,
    kl_reference_lags_behind_the_policy,
    kl_in_the_reward_is_fair,
)
