"""Every rule of [objective], [correction] and [kl]: a config that breaks it, and its neighbour that does not."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from configs.errors import ConfigError
from configs.loader import load
from configs.presets import ADVANTAGES, CORRECTIONS, PRESETS, REDUCTIONS, Correction, Kl, Objective
from configs.rules.correction import CORRECTION_RULES
from configs.rules.kl import KL_RULES
from configs.rules.objective import OBJECTIVE_RULES
from configs.schema import ALL_RULES, Config
from configs.surrogates import KINDS, SETTINGS, Clip, settings_of

FOLDER = TemporaryDirectory()
BASE = Path(FOLDER.name) / "base.toml"
BASE.write_text("""
model = {path = "no/such/model"}
data = {train = "train.jsonl"}
rollout = {group_size = 16, groups_per_step = 32}
""")

# rule, overrides that break it, the key to change first, what is said of what was given and what to do, overrides that keep it
BROKEN = [
    ("choices_are_known", "objective.preset=ppo", "objective.preset",
     'got "ppo", needed a known preset: use one of "grpo", "dr_grpo", "dapo"', "objective.preset=dr_grpo"),
    ("choices_are_known", "objective.advantage=loo", "objective.advantage",
     'got "loo", needed a known advantage: use one of "standardised", "population", "centred"', "objective.advantage=leave_one_out"),
    ("choices_are_known", "objective.surrogate=clipped", "objective.surrogate",
     'got "clipped", needed a known surrogate (did you mean "clip"?): use one of "clip", "dual_clip"', "objective.surrogate=clip"),
    ("choices_are_known", "objective.reduction=sum", "objective.reduction",
     'got "sum", needed a known reduction: use one of "token_mean", "prompt_token_mean"', "objective.reduction=sequence_sum"),
    ("choices_are_known", "correction.preset=tiss", "correction.preset",
     'got "tiss", needed a known correction (did you mean "tis"?): use one of "none", "tis"', "correction.preset=tis"),
    ("group_baseline_needs_a_group", "rollout.group_size=1", "rollout.group_size",
     "got 1, needed at least 2: every advantage compares a response with the other responses of its group", "rollout.group_size=2"),
    ("something_teaches", "objective.advantage=none", "objective.advantage",
     'got "none", so rewards teach nothing, and there is no KL in the loss either: set kl.reference to the teacher',
     "objective.advantage=none kl.coefficient=1 kl.reference=teacher rollout.group_size=1"),
    ("something_teaches", "objective.advantage=none kl.coefficient=1 kl.reference=teacher kl.place=reward", "objective.advantage",
     'kl.coefficient = 1.0 with kl.place = "loss"', "objective.advantage=none kl.coefficient=1 kl.reference=teacher"),
    ("something_teaches", "objective.preset=dapo objective.advantage=none kl.coefficient=1 kl.reference=teacher", "objective.advantage",
     "set rollout.dynamic_sampling = false",
     "objective.preset=dapo objective.advantage=none kl.coefficient=1 kl.reference=teacher rollout.dynamic_sampling=false"),
    ("something_teaches", "reward.checker=none", "reward.checker",
     'got "none", which rewards nothing, with advantage "standardised", which needs rewards: name a checker',
     "reward.checker=none objective.advantage=none kl.coefficient=1 kl.reference=teacher"),
    ("something_teaches", "reward.checker=none", "reward.checker", "and learn from kl.reference",
     "reward.checker=none reward.parts.length.reference.max=5"),
    ("entropy_starts_within_its_bounds", "entropy.target=0.2 entropy.coefficient=0.5 entropy.largest=0.1", "entropy.coefficient",
     "got 0.5, needed at most entropy.largest (0.1): lower it", "entropy.target=0.2 entropy.coefficient=0.1 entropy.largest=0.1"),
    ("surrogate_has_its_settings", "objective.surrogate=dual_clip", "objective.cap",
     'missing, but surrogate "dual_clip" reads clip_low, clip_high, cap: set objective.cap',
     "objective.surrogate=dual_clip objective.cap=3"),
    ("surrogate_has_its_settings", "objective.preset=sapo objective.surrogate=clip objective.clip_low=0.2", "objective.clip_high",
     'missing, but surrogate "clip" reads clip_low, clip_high: set objective.clip_high',
     "objective.preset=sapo objective.surrogate=clip objective.clip_low=0.2 objective.clip_high=0.2"),
    ("surrogate_has_its_settings", "objective.preset=sapo objective.clip_low=0.2", "objective.clip_low",
     'got 0.2, but surrogate "sapo" reads only tau_positive, tau_negative, so it has no effect: remove it',
     "objective.preset=sapo objective.tau_negative=1.1"),
    ("surrogate_has_its_settings", "objective.preset=rloo objective.cap=3", "objective.cap",
     'got 3, but surrogate "reinforce" reads no settings, so it has no effect: remove it', "objective.preset=rloo"),
    ("ratio_fits_the_surrogate", "objective.preset=gmpo objective.ratio=sequence objective.clip_low=1e-3 objective.clip_high=1e-3",
     "objective.ratio", 'got "sequence" with surrogate "gmpo", whose formula has no sequence ratio: use objective.ratio = "token"',
     "objective.preset=gmpo objective.ratio=token objective.clip_low=1e-3 objective.clip_high=1e-3"),
    ("ratio_fits_the_surrogate", "objective.preset=dppo_tv objective.ratio=sequence", "objective.ratio",
     'or objective.surrogate = "clip"', "objective.preset=gspo objective.ratio=sequence"),
    ("clip_bounds_are_in_order", "objective.clip_low=1", "objective.clip_low",
     "got 1, needed less than 1: the ratio is clipped at 1 - clip_low, which must stay above 0: use 0.2", "objective.clip_low=0.99"),
    ("clip_bounds_are_in_order", "objective.preset=cispo objective.clip_low=1.5", "objective.clip_low",
     "got 1.5, needed at most 1: the smallest weight is 1 - clip_low", "objective.preset=cispo objective.clip_low=1.0"),
    ("clip_bounds_are_in_order", "objective.surrogate=dual_clip objective.cap=1.2", "objective.cap",
     "got 1.2, needed more than 1 + clip_high (1.2): use 3.2", "objective.surrogate=dual_clip objective.cap=1.21"),
    ("clip_bounds_are_in_order", "objective.preset=minirl objective.cap=1", "objective.cap",
     "needed more than 1 + clip_high (1.27)", "objective.preset=minirl objective.cap=1.3"),
    ("clip_fits_the_ratio", "objective.preset=gspo objective.clip_high=0.28", "objective.clip_high",
     "got 0.28 on a sequence ratio, needed at most 0.01", "objective.preset=gspo objective.clip_high=0.01"),
    ("clip_fits_the_ratio", "objective.clip_low=3e-4", "objective.clip_low",
     "got 0.0003 on a token ratio, needed at least 0.001", "objective.clip_low=0.001"),
    ("reinforce_needs_on_policy_data", "objective.preset=rloo learner.updates_per_step=2", "learner.updates_per_step",
     'got 2 with surrogate "reinforce", which has no ratio', "objective.preset=rloo learner.updates_per_step=1"),
    ("reinforce_needs_on_policy_data", "objective.preset=rloo run.max_staleness=1", "run.max_staleness",
     'got 1 with surrogate "reinforce"', "objective.preset=rloo run.max_staleness=1 correction.preset=decoupled"),
    ("reinforce_needs_on_policy_data", "objective.preset=rloo objective.old=engine", "objective.old",
     'got "engine" with surrogate "reinforce", which has no ratio, so it has no effect', "objective.preset=rloo objective.old=learner"),
    ("correction_bounds_are_in_order", "correction.preset=mis correction.keep_low=2.0", "correction.keep_low",
     "got 2.0, needed less than 1: K is 1 where learner and engine agree", "correction.preset=mis correction.keep_low=0.9"),
    ("correction_bounds_are_in_order", "correction.preset=mis correction.keep_high=0.9", "correction.keep_high",
     "got 0.9, needed more than 1: K is 1 where learner and engine agree", "correction.preset=mis correction.keep_high=1.1"),
    ("correction_bounds_are_in_order", "correction.preset=veto correction.veto_high=1e-4", "correction.veto_high",
     "got 0.0001, needed more than 1", "correction.preset=veto correction.veto_high=100"),
    ("correction_bounds_are_in_order", "correction.preset=veto correction.veto_low=2", "correction.veto_low",
     "got 2, needed less than 1", "correction.preset=veto correction.veto_low=0.01"),
    ("correction_settings_have_an_effect", "correction.keep=token", "correction.keep",
     'got "token" without bounds, so it keeps everything and has no effect', "correction.keep=token correction.keep_high=3"),
    ("correction_settings_have_an_effect", "correction.weight=sequence", "correction.weight",
     'got "sequence" without a bound, so one token could outweigh all other tokens', "correction.weight=sequence correction.cap=3"),
    ("correction_settings_have_an_effect", "correction.preset=tis correction.weight=none", "correction.preset",
     'got "tis" with every part of it switched off, so it has no effect', "correction.preset=none"),
    ("correction_settings_have_an_effect", "correction.weight=sequence correction.keep=token correction.keep_high=2", "correction.weight",
     "set correction.cap (2)", "correction.weight=token correction.keep=token correction.keep_high=2"),
    ("correction_bounds_are_in_order", "correction.preset=tis correction.cap=0.5", "correction.cap",
     "got 0.5, needed at least 1: K is 1", "correction.preset=tis correction.cap=1"),
    ("correction_has_something_to_correct", "objective.preset=dppo_tv correction.preset=tis", "correction.preset",
     'got a correction with objective.old = "engine", where the ratio already includes the mismatch: remove it',
     "objective.preset=dppo_tv correction.preset=opsm"),
    ("correction_has_something_to_correct", "objective.old=engine correction.preset=veto", "correction.preset",
     'or use objective.old = "learner"', "objective.old=learner correction.preset=veto"),
    ("correction_has_something_to_correct", "objective.preset=minirl correction.preset=icepop", "correction.weight",
     'got a weight with surrogate "minirl", whose own weight already includes the mismatch: use correction.preset = "none"',
     "objective.preset=minirl correction.preset=icepop correction.weight=none"),
    ("mismatch_needs_the_engines_logprobs", "rollout.logprobs=false correction.preset=tis", "correction.preset",
     "needs the engine's log-probs (the correction compares them with the learner's), got rollout.logprobs = false: set",
     "rollout.logprobs=true correction.preset=tis"),
    ("mismatch_needs_the_engines_logprobs", "rollout.logprobs=false objective.old=engine", "objective.old",
     "(they are the denominator of the ratio), got rollout.logprobs = false: set rollout.logprobs = true", "rollout.logprobs=false"),
    ("mismatch_needs_the_engines_logprobs", "rollout.logprobs=false objective.preset=minirl", "objective.surrogate",
     "(they are the denominator of its weight)", "rollout.logprobs=false objective.preset=dr_grpo"),
    ("kl_has_a_reference", "kl.coefficient=0.1", "kl.coefficient",
     'got 0.1 without kl.reference: set kl.reference = "initial" (model.path) or a model', "kl.coefficient=0.1 kl.reference=initial"),
    ("kl_has_a_gradient", "kl.coefficient=0.1 kl.reference=initial kl.estimator=k1", "kl.estimator",
     'got "k1" with place = "loss": its expected gradient is zero, so it only adds noise. Use estimator = "ratio_k3"',
     "kl.coefficient=0.1 kl.reference=initial kl.estimator=k2"),
    ("only_the_initial_reference_is_refreshed", "kl.coefficient=0.1 kl.reference=teacher kl.refresh_every=50", "kl.refresh_every",
     'got 50 with kl.reference = "teacher": a refreshed reference takes the policy', "kl.coefficient=0.1 kl.reference=teacher"),
    ("kl_has_a_gradient", "kl.coefficient=0.1 kl.reference=m kl.estimator=k1 objective.advantage=centred", "kl.estimator",
     'or place = "reward"', "kl.coefficient=0.1 kl.reference=m kl.estimator=k1 kl.place=reward objective.advantage=centred"),
    ("kl_reference_lags_behind_the_policy", "kl.coefficient=0.1 kl.reference=initial kl.refresh_every=1", "kl.refresh_every",
     "got 1, so the reference equals the policy at every gradient, and the expected gradient of the KL is zero: use a larger",
     "kl.coefficient=0.1 kl.reference=initial kl.refresh_every=2"),
    ("kl_reference_lags_behind_the_policy",
     "kl.coefficient=0.1 kl.reference=initial kl.refresh_every=1 kl.place=reward kl.estimator=k1 objective.advantage=centred "
     "learner.updates_per_step=2", "kl.refresh_every", "or 0 for a frozen reference",
     "kl.coefficient=0.1 kl.reference=initial kl.refresh_every=1 learner.updates_per_step=2"),
    ("kl_in_the_reward_is_fair", "kl.coefficient=0.1 kl.reference=initial kl.place=reward objective.preset=dr_grpo "
     "objective.overlong_filter=true", "kl.place", "a filtered response stays in the baseline without its KL",
     "kl.coefficient=0.1 kl.reference=initial kl.place=reward objective.preset=dr_grpo"),
    ("kl_in_the_reward_is_fair", "kl.coefficient=0.1 kl.reference=initial kl.place=reward kl.estimator=k1", "kl.place",
     'got "reward" with advantage "standardised": a group of equally correct responses would be divided by the spread of its KL alone',
     "kl.coefficient=0.1 kl.reference=initial kl.place=reward kl.estimator=k1 objective.advantage=batch_std"),
    ("kl_in_the_reward_is_fair", "kl.coefficient=0.1 kl.reference=initial kl.place=reward", "kl.place", "by the spread of its KL alone",
     "kl.coefficient=0.1 kl.reference=initial kl.place=reward objective.preset=dapo"),
    ("surrogate_has_its_settings", "objective.preset=grpo objective.surrogate=cispo objective.clip_high=4", "objective.clip_low",
     'missing, but surrogate "cispo" reads clip_low, clip_high',
     "objective.surrogate=cispo objective.clip_low=1 objective.clip_high=4"),
    ("clip_bounds_are_in_order", "objective.preset=dppo_tv objective.clip_high=1.0", "objective.clip_low",
     "needed less than 1: no probability moves by 1", "objective.preset=dppo_tv objective.clip_high=0.9"),
    ("clip_bounds_are_in_order", "objective.preset=dppo_kl objective.clip_high=0.6", "objective.clip_low",
     "got 0.6, needed at most 0.5: a token whose probability rises from 1/2 to 9/10", "objective.preset=dppo_kl objective.clip_high=0.5"),
    ("mean_normalised_needs_rewards_from_zero", "objective.preset=maxrl reward.range=[-1,1]", "reward.range",
     'got a reward of -1 for a wrong response with advantage "mean_normalised"', "objective.preset=maxrl reward.range=[0,2]"),
    ("mean_normalised_needs_rewards_from_zero", "objective.preset=maxrl reward.overlong_cache=64", "reward.overlong_cache",
     "use overlong_cache = 0, and objective.overlong_filter = true", "objective.preset=maxrl objective.overlong_filter=true"),
    ("mean_normalised_needs_rewards_from_zero", "objective.preset=maxrl reward.parts.length.weight=-0.5", "reward.parts.length.weight",
     'got -0.5 with advantage "mean_normalised"', "objective.preset=maxrl reward.parts.length.how=multiply"),
    ("mean_normalised_needs_rewards_from_zero", "objective.preset=maxrl kl.coefficient=0.1 kl.reference=initial kl.place=reward",
     "kl.place", 'use kl.place = "loss"', "objective.preset=maxrl kl.coefficient=0.1 kl.reference=initial"),
    ("decoupled_parts_are_the_whole_reward", "objective.preset=gdpo kl.coefficient=0.1 kl.reference=initial kl.place=reward",
     "kl.place", "never sees the KL", "objective.preset=gdpo kl.coefficient=0.1 kl.reference=initial reward.range=[-1,1]"),
    ("reinforce_needs_on_policy_data", "objective.preset=opo learner.updates_per_step=2", "learner.updates_per_step",
     "which has no ratio", "objective.preset=opo"),
    ("credit_by_turn_leaves_one_out", "objective.preset=grpo objective.credit=turn", "objective.credit",
     'got "turn" with advantage "standardised", which compares whole episodes',
     "objective.preset=grpo objective.credit=turn objective.advantage=leave_one_out"),
    ("credit_by_turn_leaves_one_out", "objective.preset=gdpo objective.credit=turn", "objective.credit",
     "a part is of the whole episode", "objective.preset=rloo objective.credit=turn"),
    ("credit_by_turn_leaves_one_out", "objective.preset=opo objective.credit=turn", "objective.credit",
     "weighs whole responses by their tokens", "objective.preset=opo objective.credit=whole"),
]  # fmt: skip


def config_with(overrides: str) -> Config:
    return load(BASE, overrides.split())


def refusal(overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        config_with(overrides)
    return caught.value.problems


def test_every_rule_is_broken_here() -> None:
    assert {rule for rule, *_ in BROKEN} == {rule.__name__ for rule in (*OBJECTIVE_RULES, *CORRECTION_RULES, *KL_RULES)}


@pytest.mark.parametrize(("rule", "overrides", "key", "said", "allowed"), BROKEN, ids=[f"{b[0]}-{b[1]}" for b in BROKEN])
def test_a_broken_rule_is_refused_with_what_was_given_and_what_to_do(rule: str, overrides: str, key: str, said: str, allowed: str) -> None:
    (line,) = refusal(overrides)
    assert f": {key}: " in line
    assert said in line
    broken = next(r for r in ALL_RULES if r.__name__ == rule)
    config = config_with(allowed)
    assert list(broken(config)) == []


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_obeys_the_rules_as_it_is(preset: str) -> None:
    config = config_with(f"objective.preset={preset}")
    assert config.whole_objective == Objective(preset=PRESETS[preset])
    assert config.dynamic_sampling is PRESETS[preset].dynamic_sampling


@pytest.mark.parametrize("correction", CORRECTIONS)
def test_every_correction_obeys_the_rules_as_it_is(correction: str) -> None:
    config = config_with(f"objective.preset=dapo correction.preset={correction}")
    assert config.whole_objective == Objective(preset=PRESETS["dapo"], correction=CORRECTIONS[correction])


@pytest.mark.parametrize("advantage", ADVANTAGES)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_advantage_and_reduction_combine_freely(advantage: str, reduction: str) -> None:
    pulled = " kl.coefficient=1 kl.reference=teacher" if advantage == "none" else ""
    chosen = config_with(
        f"objective.preset=gspo objective.advantage={advantage} objective.reduction={reduction}{pulled}"
    ).objective.resolved
    assert chosen == PRESETS["gspo"].replace(advantage=advantage, reduction=reduction)


@pytest.mark.parametrize("estimator", ["k2", "k3", "k3_clamped", "ratio_k3"])
def test_the_pull_to_a_reference_combines_with_any_preset(estimator: str) -> None:
    for preset in PRESETS:
        config = config_with(f"objective.preset={preset} kl.coefficient=0.001 kl.reference=initial kl.estimator={estimator}")
        assert config.whole_objective.kl == Kl(coefficient=0.001, estimator=estimator)


def test_what_is_set_on_top_of_a_row_changes_that_and_nothing_else() -> None:
    config = config_with(
        "objective.preset=dapo objective.clip_high=0.3 correction.preset=icepop correction.keep_high=6 correction.veto_low=1e-5"
    )
    assert config.objective.resolved == PRESETS["dapo"].replace(surrogate=Clip(clip_low=0.2, clip_high=0.3))
    assert config.correction.resolved == Correction(weight="token", keep="token", keep_low=0.5, keep_high=6, veto_low=1e-5)
    assert config_with("objective.clip_high=0.3 objective.overlong_filter=true").objective.overlong_filter


def test_a_surrogate_keeps_the_presets_bounds_only_where_they_mean_the_same() -> None:
    assert config_with("objective.surrogate=dual_clip objective.cap=3").objective.settings == {"clip_low": 0.2, "clip_high": 0.2, "cap": 3}
    assert config_with("objective.preset=minirl objective.surrogate=clip").objective.resolved.surrogate == Clip(
        clip_low=0.2, clip_high=0.27
    )
    assert len(refusal("objective.preset=cispo objective.surrogate=clip")) == 2


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_setting_of_another_surrogate_is_refused_with_those_that_this_one_reads(kind: type) -> None:
    reads = settings_of(kind)
    own = " ".join(f"objective.{key}={2 if key == 'cap' else 0.1}" for key in reads)
    base = f"objective.surrogate={kind.name} {own}"
    assert config_with(base).objective.resolved.surrogate == kind(**{key: 2 if key == "cap" else 0.1 for key in reads})
    for key in set(SETTINGS) - set(reads):
        (line,) = refusal(f"{base} objective.{key}=0.3")
        takes = f"reads only {', '.join(reads)}" if reads else "reads no settings"
        assert f'objective.{key}: got 0.3, but surrogate "{kind.name}" {takes}, so it has no effect: remove it' in line


def test_the_kl_is_in_the_loss_or_in_the_reward_or_nowhere() -> None:
    assert [(Kl(coefficient=c, place=p).in_loss, Kl(coefficient=c, place=p).in_reward) for c in (0.0, 0.1) for p in ("loss", "reward")] == [
        (False, False),
        (False, False),
        (True, False),
        (False, True),
    ]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("objective.ratio=tokens", 'got "tokens"; needed one of "token", "sequence"'),
        ("objective.old=behaviour", 'got "behaviour"; needed one of "learner", "engine"'),
        ("objective.clip_low=0", "got 0; needed a number, above 0"),
        ("correction.keep=sometimes", 'needed one of "all", "token", "sequence", "geometric"'),
        ("correction.cap=-1", "got -1; needed a number, above 0"),
        ("kl.estimator=k4", 'got "k4"; needed one of "k1", "k2", "k3", "k3_clamped", "ratio_k3"'),
        ("kl.place=nowhere", 'needed one of "loss", "reward"'),
        ("kl.coefficient=-1", "got -1; needed a number, at least 0"),
    ],
)
def test_a_value_out_of_range_is_told_what_is_needed(override: str, said: str) -> None:
    (line,) = refusal(override)
    assert said in line


def test_several_broken_rules_are_all_reported_and_an_unknown_name_hides_no_other() -> None:
    assert len(refusal("objective.preset=ppo kl.coefficient=0.1 correction.preset=mis correction.keep_low=3")) == 3
