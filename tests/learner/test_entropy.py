"""The adaptive coefficient of the entropy bonus: Skywork-OR1's rule with the entropy of the step before."""

import json

import pytest

from configs.sections.objective import EntropyConfig
from learner.loss.entropy import EntropyControl


def coefficients(control: EntropyControl, entropies: list[float]) -> list[float]:
    """The coefficient of each step, where the step then has that entropy."""
    used = []
    for entropy in entropies:
        used.append(control.coefficient)
        control.observe(entropy, 10)
    return used


def test_it_rises_below_the_target_falls_above_it_and_acts_only_below() -> None:
    control = EntropyControl(EntropyConfig(target=0.2, change=0.005))
    found = coefficients(control, [0.3, 0.1, 0.1, 0.2, 0.25, 0.1, 0.1])
    # level after each step: 0, .005, .010, .005, 0, .005, .010; at the target itself it falls and still acts
    assert found == pytest.approx([0, 0, 0.005, 0.010, 0.005, 0, 0.005])
    assert control.coefficient == pytest.approx(0.010)


def test_it_stays_between_0_and_the_largest() -> None:
    control = EntropyControl(EntropyConfig(target=0.2, change=0.4, largest=0.5))
    assert coefficients(control, [0.1, 0.1, 0.1, 0.9]) == [0, 0.4, 0.5, 0.5]
    assert (control.coefficient, control.level) == (0, pytest.approx(0.1))


def test_a_fixed_coefficient_never_changes_and_is_no_state() -> None:
    control = EntropyControl(EntropyConfig(coefficient=0.01))
    assert coefficients(control, [0.1, 5.0, 0.0]) == [0.01] * 3
    assert control.state() == {}
    control.restore({"level": 0.3, "seen": 0.1})
    assert control.coefficient == 0.01, "a run that gives up its target has the coefficient of its config"


@pytest.mark.parametrize(("entropy", "tokens"), [(0.0, 0), (float("nan"), 4)])
def test_a_step_without_tokens_or_without_a_number_changes_nothing(entropy: float, tokens: float) -> None:
    control = EntropyControl(EntropyConfig(target=0.2, coefficient=0.1))
    control.observe(entropy, tokens)
    assert control.state() == {"level": 0.1, "seen": None}


def test_it_goes_on_bit_for_bit_from_what_json_kept() -> None:
    whole, entropies = EntropyControl(EntropyConfig(target=0.2, change=0.0037)), [0.1, 0.17, 0.3, 0.12, 0.19, 0.05]
    expected = coefficients(whole, entropies)
    first = EntropyControl(EntropyConfig(target=0.2, change=0.0037))
    before = coefficients(first, entropies[:3])
    second = EntropyControl(EntropyConfig(target=0.2, change=0.0037))
    second.restore(json.loads(json.dumps(first.state())))
    assert before + coefficients(second, entropies[3:]) == expected
    assert second.state() == whole.state()


def test_a_run_that_only_now_gets_a_target_begins_with_its_coefficient() -> None:
    control = EntropyControl(EntropyConfig(target=0.2, coefficient=0.03))
    control.restore({})
    assert control.state() == {"level": 0.03, "seen": None}
