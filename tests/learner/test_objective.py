"""Every golden case of the policy loss, value and gradient, whatever lies in masked slots."""

from dataclasses import replace
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from configs import presets, surrogates
from configs.presets import CORRECTIONS, PRESETS, Correction, Kl, Objective
from configs.surrogates import Cispo, DualClip
from learner.loss.kl import ESTIMATORS
from learner.loss.objective import RATIOS, LossInputs, policy_loss
from learner.loss.surrogates import SURROGATES
from tests.toys.objective import BATCH, GARBAGE, GOLDEN, GROUPS, MASK, Outcome, outcome, spoilt, weights

STANDARDISED = "grpo_std_bessel_eps1e_6"
GRPO, DAPO = PRESETS["grpo"], PRESETS["dapo"]
TOKEN_WISE = 1 + 0.1 * torch.arange(MASK.shape[1], dtype=torch.float64)


class Case(NamedTuple):
    """The choices that make up a golden case."""

    objective: Objective
    advantages: str = STANDARDISED
    times: Tensor | float = 1.0  # what the advantages are multiplied by
    old: str = "logp_old"
    engine: str = "logp_rollout"
    gamma_min: float | None = None  # floor of the router shift
    renormalised: bool = False  # whether rejected tokens leave the denominator


def only_kl(estimator: str) -> Case:
    return Case(Objective(preset=DAPO, kl=Kl(coefficient=1.0, estimator=estimator)), times=0.0)


K3 = Kl(coefficient=0.04, estimator="k3")
CASES = {
    "grpo_seq_mean_kl_k3": Case(Objective(preset=GRPO, kl=K3)),
    "grpo_prompt_mean_kl_k3": Case(Objective(preset=GRPO.replace(reduction="prompt_mean"), kl=K3)),
    "grpo_seq_mean_nokl": Case(Objective(preset=GRPO)),
    "grpo_on_policy": Case(Objective(preset=GRPO)),
    "opsm_delta_0.1": Case(Objective(preset=GRPO, correction=Correction(opsm=0.1)), engine="logp_old"),
    "dppo_tv": Case(Objective(preset=PRESETS["dppo_tv"]), advantages="mean_only", old="logp_rollout"),
    "dppo_kl": Case(Objective(preset=PRESETS["dppo_kl"]), advantages="mean_only", old="logp_rollout"),
    "gdpo_one_part": Case(Objective(preset=PRESETS["gdpo"]), advantages="gdpo_one_part"),
    "maxrl": Case(Objective(preset=PRESETS["maxrl"]), advantages="maxrl"),
    "opo": Case(Objective(preset=PRESETS["opo"]), advantages="opo"),
    "dr_grpo": Case(Objective(preset=PRESETS["dr_grpo"]), advantages="mean_only"),
    "dapo_global_token_mean": Case(Objective(preset=DAPO)),
    "dapo_prompt_token_mean": Case(Objective(preset=PRESETS["dapo_prompt"])),
    "dual_clip": Case(Objective(preset=DAPO.replace(surrogate=DualClip(clip_low=0.2, clip_high=0.2, cap=3.0)))),
    "gspo": Case(Objective(preset=PRESETS["gspo"])),
    "gspo_token_uniform_adv": Case(Objective(preset=PRESETS["gspo_token"])),
    "gspo_token_tokenwise_adv": Case(Objective(preset=PRESETS["gspo_token"]), times=TOKEN_WISE),
    "cispo": Case(Objective(preset=PRESETS["cispo"].replace(surrogate=Cispo(clip_low=1.0, clip_high=1.0)))),
    "gmpo": Case(Objective(preset=PRESETS["gmpo"])),
    "sapo": Case(Objective(preset=PRESETS["sapo"])),
    "rloo_reinforce": Case(Objective(preset=PRESETS["rloo"]), advantages="rloo"),
    "reinforce_pp_baseline_ppo": Case(Objective(preset=PRESETS["reinforce_pp"]), advantages="rpp_baseline_token_whiten_bessel"),
    "tis_token_C2": Case(Objective(preset=DAPO, correction=CORRECTIONS["tis"])),
    "tis_seq_C2": Case(Objective(preset=DAPO, correction=CORRECTIONS["tis_sequence"])),
    "mis_token_0.5_2": Case(Objective(preset=DAPO, correction=CORRECTIONS["mis"])),
    "mis_token_0.5_2_renorm": Case(Objective(preset=DAPO, correction=CORRECTIONS["mis"]), renormalised=True),
    "icepop_0.5_5": Case(Objective(preset=DAPO, correction=CORRECTIONS["icepop"])),
    "seq_mis_0.5_2": Case(Objective(preset=DAPO, correction=CORRECTIONS["sequence_mis"])),
    "geo_mask_0.99_1.01_tis2": Case(Objective(preset=DAPO, correction=CORRECTIONS["geometric"])),
    "decoupled_ppo_uncapped": Case(Objective(preset=DAPO, correction=Correction(weight="token"))),
    "bypass_ppo": Case(Objective(preset=DAPO.replace(old="engine")), old="logp_rollout"),
    "minirl": Case(Objective(preset=PRESETS["minirl"]), advantages="mean_only"),
    "kl_loss_k1": only_kl("k1"),
    "kl_loss_k2": only_kl("k2"),
    "kl_loss_k3": only_kl("k3"),
    "kl_loss_k3_ratio_weighted": only_kl("ratio_k3"),
    "rspo_v2_gmpo": Case(Objective(preset=PRESETS["gmpo"]), gamma_min=0.8),
}


def golden_input(case: Case) -> LossInputs:
    """The golden batch with the inputs that a case names, its advantages spread over tokens."""
    advantages = torch.tensor(GOLDEN["advantages"][case.advantages], dtype=torch.float64)
    spread = advantages if advantages.dim() == 2 else advantages[:, None].expand(MASK.shape)
    k = torch.tensor(GOLDEN["mismatch"]["K_token"], dtype=torch.float64)
    kept = MASK & (k >= 0.5) & (k <= 2.0)
    return LossInputs(
        old_logprobs=BATCH[case.old],
        advantages=spread * case.times,
        mask=MASK,
        token_weight=kept.double() / kept.sum() if case.renormalised else weights(MASK, case.objective.preset.reduction, GROUPS),
        engine_logprobs=BATCH[case.engine],
        reference_logprobs=BATCH["logp_ref"],
        log_shift=None if case.gamma_min is None else BATCH["gamma_raw"].clamp(min=case.gamma_min).log(),
    )


def grpo_token_mean() -> tuple[Objective, LossInputs]:
    case = Case(Objective(preset=GRPO.replace(reduction="token_mean")))
    return case.objective, golden_input(case)


def check(name: str, got: Outcome) -> None:
    golden = GOLDEN["cases"][name]
    assert got.loss.item() == pytest.approx(golden["loss"], abs=1e-9)
    torch.testing.assert_close(got.gradient, torch.tensor(golden["grad"], dtype=torch.float64), atol=1e-9, rtol=0)
    assert got.gradient[~MASK].eq(0).all()


def test_every_golden_case_is_computed_here() -> None:
    assert set(CASES) == set(GOLDEN["cases"])


def test_every_choice_a_config_may_name_is_there() -> None:
    assert set(SURROGATES) == set(surrogates.KINDS)
    assert set(ESTIMATORS) == set(presets.ESTIMATORS)
    assert {type(case.objective.preset.surrogate) for case in CASES.values()} == set(SURROGATES), "a surrogate without golden values"
    assert {preset.ratio for preset in PRESETS.values()} <= set(RATIOS)
    assert {preset.advantage for preset in PRESETS.values()} <= set(presets.ADVANTAGES)
    assert {preset.reduction for preset in PRESETS.values()} <= set(presets.REDUCTIONS)


@pytest.mark.parametrize("garbage", GARBAGE)
@pytest.mark.parametrize("name", CASES)
def test_loss_and_gradient_are_the_golden_ones_whatever_lies_in_masked_slots(name: str, garbage: float) -> None:
    logprobs = BATCH[GOLDEN["cases"][name]["logp"]].masked_fill(~MASK, garbage)
    check(name, outcome(CASES[name].objective, logprobs, spoilt(golden_input(CASES[name]), garbage)))


@pytest.mark.parametrize("name", sorted(set(CASES) - {"gspo_token_tokenwise_adv", "reinforce_pp_baseline_ppo"}))
def test_one_advantage_a_response_is_that_advantage_at_each_of_its_tokens(name: str) -> None:
    taken = replace(golden_input(CASES[name]), advantages=golden_input(CASES[name]).advantages[:, 0])
    check(name, outcome(CASES[name].objective, BATCH[GOLDEN["cases"][name]["logp"]], taken))


@pytest.mark.parametrize(
    ("name", "case"), [("dapo_token_mean", "dapo_global_token_mean"), ("grpo_seq_mean", "grpo_seq_mean_nokl"), ("dr_grpo", "dr_grpo")]
)
def test_losses_of_parts_are_the_golden_ones_and_add_up_with_their_gradients(name: str, case: str) -> None:
    golden, taken, total = GOLDEN["sharding"][name], golden_input(CASES[case]), 0.0
    logprobs = BATCH["logp_new"].clone().requires_grad_()
    for plan, losses in zip(golden["plan"], golden["micro_losses"], strict=True):
        for rows, expected in zip(plan, losses, strict=True):
            part = LossInputs(
                old_logprobs=taken.old_logprobs[rows],
                advantages=taken.advantages[rows],
                mask=MASK[rows],
                token_weight=taken.token_weight[rows],
            )
            loss, _ = policy_loss(CASES[case].objective, logprobs[rows], part)
            assert loss.item() == pytest.approx(expected, abs=1e-9)
            torch.autograd.backward(loss)
            total += loss.item()
    assert logprobs.grad is not None
    assert total == pytest.approx(golden["loss"], abs=1e-9)
    check(case, Outcome(torch.tensor(total), logprobs.grad, {}))


def test_every_sharding_and_every_edge_of_the_golden_file_is_looked_at() -> None:
    assert set(GOLDEN["sharding"]) == {"dapo_token_mean", "grpo_seq_mean", "dr_grpo"}
    here = {"row1_masked", "all_masked", "neg_inf_at_masked_slot", "log_ratio_100"}
    of_advantages = {"all_equal_group", "equal_group_float32_noise", "one_success_of_four", "group_of_two"}
    assert set(GOLDEN["edges"]) == here | of_advantages | {"soft_overlong_Lmax20480_Lc4096"}  # the last is the reward's: test_shaping


@pytest.mark.parametrize(
    ("reduction", "golden", "stays"),
    [
        ("token_mean", "token_mean", False),
        ("sequence_mean", "seq_mean_excl", False),
        ("sequence_mean", "seq_mean_fixed_denominator_7", True),
    ],
)
def test_a_response_that_is_not_learned_is_out_of_the_denominators_unless_the_weights_keep_it(
    reduction: str, golden: str, stays: bool
) -> None:
    learned = torch.arange(len(MASK)) != 1
    mask = MASK & learned[:, None]
    weight = weights(MASK, reduction, GROUPS, learned=None if stays else learned)
    taken = replace(grpo_token_mean()[1], mask=mask, token_weight=weight)
    got = outcome(Objective(preset=GRPO), BATCH["logp_new"], taken)
    assert got.loss.item() == pytest.approx(GOLDEN["edges"]["row1_masked"][golden], abs=1e-9)
    assert got.gradient[1].eq(0).all()


@pytest.mark.parametrize(("reduction", "golden"), [("token_mean", "token_mean"), ("sequence_mean", "seq_mean")])
def test_with_every_golden_response_masked_the_loss_is_zero(reduction: str, golden: str) -> None:
    nothing = torch.zeros_like(MASK)
    taken = replace(grpo_token_mean()[1], mask=nothing, token_weight=weights(nothing, reduction, GROUPS))
    got = outcome(Objective(preset=GRPO), BATCH["logp_new"], taken)
    assert got.loss.item() == GOLDEN["edges"]["all_masked"][golden] == 0
    assert got.gradient.eq(0).all()


def test_minus_infinity_at_a_masked_slot_leaves_the_golden_loss() -> None:
    objective, taken = grpo_token_mean()
    golden = GOLDEN["edges"]["neg_inf_at_masked_slot"]
    spoilt_too = outcome(objective, BATCH["logp_new"].masked_fill(~MASK, float("-inf")), spoilt(taken, float("-inf")))
    assert spoilt_too.loss.item() == pytest.approx(golden["loss"], abs=1e-9)
    assert outcome(objective, BATCH["logp_new"], taken).loss.item() == pytest.approx(golden["same_without_inf"], abs=1e-9)


@pytest.mark.parametrize(
    ("advantage", "cap", "golden"), [(1.0, None, "A_pos"), (-1.0, None, "A_neg"), (-1.0, None, "exp20"), (-1.0, 3.0, "A_neg_dual_c3")]
)
def test_a_log_ratio_of_a_hundred_stays_finite_and_stops_the_gradient(advantage: float, cap: float | None, golden: str) -> None:
    one = torch.ones(1, 1, dtype=torch.float64)
    preset = DAPO if cap is None else DAPO.replace(surrogate=DualClip(clip_low=0.2, clip_high=0.28, cap=cap))
    taken = LossInputs(old_logprobs=0 * one, advantages=advantage * one, mask=one.bool(), token_weight=one)
    got = outcome(Objective(preset=preset), 100 * one, taken)
    assert got.loss.item() == pytest.approx(GOLDEN["edges"]["log_ratio_100"][golden], rel=1e-9)
    assert got.gradient.item() == 0


@pytest.mark.parametrize("name", CASES)
def test_in_float32_the_loss_is_the_golden_one_to_float32(name: str) -> None:
    taken = golden_input(CASES[name])
    halved = {key: getattr(taken, key).float() for key in ("old_logprobs", "advantages", "engine_logprobs", "reference_logprobs")}
    loss, sums = policy_loss(CASES[name].objective, BATCH[GOLDEN["cases"][name]["logp"]].float(), replace(taken, **halved))
    assert loss.item() == pytest.approx(GOLDEN["cases"][name]["loss"], abs=1e-5)
    assert {value.dtype for value in sums.values()} == {torch.float64}


def test_without_the_engines_logprobs_nothing_is_corrected() -> None:
    case = CASES["dapo_global_token_mean"]
    taken = replace(golden_input(case), engine_logprobs=None, reference_logprobs=None)
    objective = Objective(preset=DAPO, correction=CORRECTIONS["icepop"])
    got = outcome(objective, BATCH["logp_new"], taken)
    check("dapo_global_token_mean", got)
    assert not {"masked", "capped", "vetoed", "reference_kl"} & set(got.sums)
