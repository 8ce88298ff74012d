"""Settings that need another key: every row of the table, refused without it, allowed with it, and allowed at their defaults."""

from pathlib import Path

import pytest

from configs.keys import Keys
from configs.loader import dump, load
from configs.presets import CORRECTIONS
from configs.rules.effect import NEEDS, Needs
from tests.configs.test_configs import config_with, refusal, sole_refusal, write

# For each row a value other than the default, and the other key's value that lets it have an effect.
VALUES = {
    "data.difficulty_floor": ("0.5", "data.sampler=difficulty"),
    "data.difficulty_half_life": ("3.0", "data.sampler=difficulty"),
    "data.template_file": ('"t.jinja"', "data.chat_template=true"),
    "data.system": ('"be brief"', "data.chat_template=true"),
    "data.answer_turn": ('"cut"', "data.chat_template=true"),
    "data.template_arguments": ("{deep = 1}", "data.chat_template=true"),
    "data.prefill": ('"So"', "data.chat_template=true"),
    "rollout.reply_role": ('"tool"', "data.chat_template=true"),
    "run.capsule_every": ("5", "run.keep_capsules=1"),
    "rollout.hedge": ("true", "rollout.engines=2"),
    "rollout.restarts": ("5", "placement.share=false"),
    "rollout.restart_window_s": ("60", "rollout.restarts=2"),
    "reward.keep_disagreements": ("3", "reward.second=exact"),
    "learner.missing_routing": ('"mask"', "learner.routing=replay_rollout rollout.capture_routing=true"),
    "learner.min_lr": ("1e-07", "learner.schedule=linear"),
    "learner.rollback_lr": ("0.25", "learner.on_spike=rollback"),
    "learner.rollbacks": ("5", "learner.on_spike=rollback"),
    "entropy.change": ("0.001", "entropy.target=0.2"),
    "entropy.largest": ("0.5", "entropy.target=0.2"),
    "correction.cap": ("2.5", "correction.weight=token"),
    "correction.keep_low": ("0.25", "correction.keep=token"),
    "correction.keep_high": ("2.5", "correction.keep=token"),
    "kl.estimator": ('"k3"', "kl.coefficient=0.1 kl.reference=initial"),
    "kl.place": ('"reward"', "kl.coefficient=0.1 kl.reference=initial objective.advantage=centred"),
    "kl.refresh_every": ("5", "kl.reference=initial"),
    "mismatch.share": ("0.5", "rollout.logprobs=true"),
    "mismatch.alarm": ("0.5", "rollout.logprobs=true"),
    "mismatch.patience": ("5", "mismatch.alarm=0.01"),
    "mismatch.on_alarm": ('"stop"', "mismatch.alarm=0.01"),
}
# What takes the effect away, where the default of the other key does not.
WITHOUT = {
    "run.capsule_every": "run.keep_capsules=0",
    "mismatch.share": "rollout.logprobs=false",
    "mismatch.alarm": "rollout.logprobs=false",
    "data.template_file": "data.chat_template=false",
    "data.system": "data.chat_template=false",
    "data.answer_turn": "data.chat_template=false",
    "data.template_arguments": "data.chat_template=false",
    "data.prefill": "data.chat_template=false",
    "rollout.reply_role": "data.chat_template=false",
    "rollout.restarts": "placement.share=true",
    "rollout.restart_window_s": "rollout.restarts=0",
}


def by_key(row: Needs) -> str:
    return row.key


def default_of(key: str) -> object:
    section, leaf = key.split(".")
    kind = Keys.model_fields[section].annotation
    return kind.model_fields[leaf].default  # type: ignore[union-attr]


@pytest.mark.parametrize("row", NEEDS, ids=by_key)
def test_a_setting_without_its_effect_is_refused_with_what_it_needs(row: Needs) -> None:
    value, _ = VALUES[row.key]
    line = sole_refusal(f"{row.key}={value}", *WITHOUT.get(row.key, "").split())
    assert f"{row.key}: got {value} with" in line
    assert row.other in line
    assert line.endswith(f", so it has no effect: set {row.needed}, or remove it")


@pytest.mark.parametrize("row", NEEDS, ids=by_key)
def test_a_setting_is_allowed_with_what_it_needs(row: Needs) -> None:
    value, given = VALUES[row.key]
    config_with(f"{row.key}={value}", *given.split())


@pytest.mark.parametrize("row", [row for row in NEEDS if default_of(row.key) is not None], ids=by_key)
def test_a_setting_written_out_at_its_default_is_allowed(row: Needs, tmp_path: Path) -> None:
    section, leaf = row.key.split(".")
    plain = config_with(*WITHOUT.get(row.key, "").split())
    assert load(write(tmp_path, dump(plain))) == plain
    assert getattr(getattr(plain, section), leaf) == default_of(row.key)


def test_a_bound_counts_as_used_if_the_preset_of_the_correction_names_its_statistic() -> None:
    assert CORRECTIONS["mis"].keep == "token"
    config_with("correction.preset=mis", "correction.keep_high=3")
    assert "got 5 with correction.keep = " in sole_refusal("correction.preset=tis", "correction.keep_high=5")
    assert "got 2 with correction.weight = " in sole_refusal("correction.preset=veto", "correction.cap=2")


def test_an_unknown_correction_is_reported_by_itself() -> None:
    assert "needed a known correction" in sole_refusal("correction.preset=tiss", "correction.cap=3")


def test_settings_without_an_effect_are_reported_one_by_one() -> None:
    assert len(refusal("kl.estimator=k3", "kl.place=reward", "kl.refresh_every=2")) == 3
