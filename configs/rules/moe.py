"""The rules for mixtures of experts: what replay needs of the engine, and which settings would do nothing."""

from collections.abc import Iterator

from configs.keys import Keys
from configs.rules.common import Problem, Rule
from configs.rules.objective import known_preset
from configs.tables import inner_table


def replay_needs_recorded_experts(config: Keys) -> Iterator[Problem]:
    if config.learner.routing == "replay_rollout" and not config.rollout.capture_routing:
        message = (
            'got "replay_rollout" with rollout.capture_routing = false, so no engine would record the experts that are to be replayed: '
            'set rollout.capture_routing = true, or learner.routing = "replay_learner" or "live"'
        )
        yield Problem(("learner.routing", "rollout.capture_routing"), message)


def missing_routing_needs_replay(config: Keys) -> Iterator[Problem]:
    if config.learner.missing_routing == "mask" and config.learner.routing != "replay_rollout":
        message = (
            f'got "mask" with learner.routing = "{config.learner.routing}", which misses no engine\'s experts, so it would do nothing: '
            'set learner.routing = "replay_rollout", or remove it'
        )
        yield Problem(("learner.missing_routing", "learner.routing"), message)


def auxiliary_loss_trains_the_router(config: Keys) -> Iterator[Problem]:
    if config.learner.aux_loss and config.learner.router == "frozen":
        message = (
            f'got {config.learner.aux_loss} with learner.router = "frozen": balancing its load is the work of the router: '
            'set aux_loss = 0, or learner.router = "trained"'
        )
        yield Problem(("learner.aux_loss", "learner.router"), message)


def router_shift_is_a_floor(config: Keys) -> Iterator[Problem]:
    if (floor := config.objective.router_shift) is not None and floor > 1:
        message = f"got {floor}, needed at most 1: it is the smallest factor of a ratio whose router has moved: use 0.8"
        yield Problem(("objective.router_shift",), message)


def router_shift_suits_the_surrogate(config: Keys) -> Iterator[Problem]:
    chosen = known_preset(config)
    if config.objective.router_shift is None or chosen is None:
        return
    why = ""
    if chosen.surrogate == "reinforce":
        why = 'the surrogate "reinforce" takes no ratio, so it would do nothing'
    elif chosen.surrogate == "dppo_tv":
        why = 'the surrogate "dppo_tv" pulls every ratio to 1, which the shift would take for somewhere else'
    elif chosen.ratio == "sequence":
        why = (
            "the bounds of a sequence ratio are smaller than what routers move, so every response with a negative advantage would be "
            'clipped and none with a positive one: use objective.ratio = "token" with bounds of its own'
        )
    if why:
        message = (
            f'got {config.objective.router_shift} with objective.preset = "{config.objective.preset}": {why}, or leave router_shift out'
        )
        yield Problem(("objective.router_shift", "objective.preset"), message)


def alarm_settings_have_an_effect(config: Keys) -> Iterator[Problem]:
    if config.mismatch.alarm is not None:
        return
    for key, plain in (("on_alarm", "warn"), ("patience", 3)):
        if (given := getattr(config.mismatch, key)) != plain:
            said = f'"{given}"' if isinstance(given, str) else given
            message = f"got {said} without mismatch.alarm, so it would do nothing: set mismatch.alarm (0.01 nats a token), or remove it"
            yield Problem((f"mismatch.{key}", "mismatch.alarm"), message)


def gap_is_measured_against_known_logprobs(config: Keys) -> Iterator[Problem]:
    if config.rollout.logprobs:
        return
    for key in ("share", "alarm"):
        if given := getattr(config.mismatch, key):
            message = f"got {given} with rollout.logprobs = false, so there is no gap to know: set rollout.logprobs = true, or remove it"
            yield Problem((f"mismatch.{key}", "rollout.logprobs"), message)


def past_weights_lie_within_reach(config: Keys) -> Iterator[Problem]:
    if not (config.mismatch.share and config.run.max_staleness):
        return
    zero = inner_table(config.learner.deepspeed, ("zero_optimization",))
    elsewhere = {
        "offload_param.device": inner_table(zero, ("offload_param",)).get("device") == "nvme",
        "zero_hpz_partition_size": zero.get("zero_hpz_partition_size", 1) != 1,
    }
    for key, set_so in elsewhere.items():
        if set_so:
            message = (
                f"got {config.mismatch.share} with run.max_staleness = {config.run.max_staleness} and {key} set: the split puts past "
                "weights in the policy's place for a while, and these lie where that does not reach: set mismatch.share = 0, or remove "
                "the other"
            )
            yield Problem(("mismatch.share", f"learner.deepspeed.zero_optimization.{key}"), message)


MOE_RULES: tuple[Rule, ...] = (
    replay_needs_recorded_experts,
    missing_routing_needs_replay,
    auxiliary_loss_trains_the_router,
    router_shift_is_a_floor,
    router_shift_suits_the_surrogate,
    alarm_settings_have_an_effect,
    gap_is_measured_against_known_logprobs,
    past_weights_lie_within_reach,
)
