"""The rules for mixtures of experts: what replay needs from the engine, and what routers, their shift and past weights exclude."""

from collections.abc import Iterator

from configs.keys import Keys
from configs.rules.common import Problem, Rule
from configs.rules.objective import known_preset
from configs.surrogates import DppoKl, DppoTv, Reinforce


def replay_needs_recorded_experts(config: Keys) -> Iterator[Problem]:
    """`learner.routing = "replay_rollout"` needs `rollout.capture_routing = true`."""
    if config.learner.routing == "replay_rollout" and not config.rollout.capture_routing:
        message = (
            'got "replay_rollout" with rollout.capture_routing = false, so no engine records the experts to replay: '
            'set rollout.capture_routing = true, or learner.routing = "replay_learner" or "live"'
        )
        yield Problem(("learner.routing", "rollout.capture_routing"), message)


def auxiliary_loss_trains_the_router(config: Keys) -> Iterator[Problem]:
    """`learner.aux_loss` needs `learner.router = "trained"`."""
    if config.learner.aux_loss and config.learner.router == "frozen":
        message = (
            f'got {config.learner.aux_loss} with learner.router = "frozen": only a trained router can balance its load: '
            'set aux_loss = 0, or learner.router = "trained"'
        )
        yield Problem(("learner.aux_loss", "learner.router"), message)


def router_shift_suits_the_surrogate(config: Keys) -> Iterator[Problem]:
    """`objective.router_shift` needs a token ratio, and a surrogate other than `reinforce`, `dppo_tv` and `dppo_kl`."""
    chosen = known_preset(config)
    if config.objective.router_shift is None or chosen is None:
        return
    why, instead = "", ""
    if isinstance(chosen.surrogate, Reinforce):
        why = 'the surrogate "reinforce" has no ratio, so it has no effect'
    elif isinstance(chosen.surrogate, DppoTv):
        why = 'the surrogate "dppo_tv" pulls every ratio to 1, and the shift would move that point'
    elif isinstance(chosen.surrogate, DppoKl):
        why = 'the surrogate "dppo_kl" limits probabilities and not ratios, so the shift would come after its limit'
    elif chosen.ratio == "sequence":
        why = (
            "the bounds of a sequence ratio are smaller than the shift of routers, so every response with a negative advantage would be "
            "clipped and none with a positive one"
        )
        instead = ', or use objective.ratio = "token" with its own bounds'
    if why:
        given = f'got {config.objective.router_shift} with objective.preset = "{config.objective.preset}"'
        yield Problem(("objective.router_shift", "objective.preset"), f"{given}: {why}: leave router_shift out{instead}")


def past_weights_can_be_swapped_in(config: Keys) -> Iterator[Problem]:
    """`mismatch.share` with `run.max_staleness` ≥ 1 excludes hpZ."""
    if not (config.mismatch.share and config.run.max_staleness):
        return
    key = "zero_hpz_partition_size"
    if config.learner.zero.get(key, 1) != 1:
        message = (
            f"got {config.mismatch.share} with run.max_staleness = {config.run.max_staleness} and {key} set: splitting the mismatch "
            f"swaps past weights into the policy, and cannot swap weights stored in this way: set mismatch.share = 0, or remove {key}"
        )
        yield Problem(("mismatch.share", f"learner.deepspeed.zero_optimization.{key}"), message)


MOE_RULES: tuple[Rule, ...] = (
    replay_needs_recorded_experts,
    auxiliary_loss_trains_the_router,
    router_shift_suits_the_surrogate,
    past_weights_can_be_swapped_in,
)
