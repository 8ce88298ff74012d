"""The health rules on recorded runs: the shipped recipes with three seeds are silent, and ill runs are named by their cause first."""

from pathlib import Path

import pytest

from benchmarks.health.__main__ import folder_of, main
from benchmarks.health.recording import read, record
from benchmarks.health.replay import findings, replay
from benchmarks.health.settings import HEALTHY as SOUND
from benchmarks.health.settings import ILL as SETTINGS
from benchmarks.health.settings import Setting
from cluster.health.ranked import RULES
from cluster.record.health_log import HealthLog
from configs.loader import load

RECORDED = Path("tests/data/health")
HEALTHY = sorted(path.name for path in RECORDED.glob("healthy_*"))
ILL = sorted(path.name for path in RECORDED.glob("ill_*"))
LARGEST = 200_000  # bytes of all of them


def test_there_are_recordings_of_both_kinds_and_they_are_small() -> None:
    assert len(HEALTHY) >= 8
    assert len({name.partition("-")[0] for name in ILL}) >= 15
    assert sum(path.stat().st_size for path in RECORDED.iterdir()) < LARGEST


@pytest.mark.parametrize("name", HEALTHY)
def test_a_recorded_run_that_learns_is_silent(name: str) -> None:
    run = read(RECORDED / name)
    assert len(run.rows) > 40
    assert findings(run.config, run.rows, run.held_out, run.prompts) == []


@pytest.mark.parametrize("name", ILL)
def test_a_recorded_run_that_is_ill_is_named_by_its_cause_first(name: str) -> None:
    run = read(RECORDED / name)
    found = [rule for _, rule, _ in findings(run.config, run.rows, run.held_out, run.prompts)]
    assert found[0] == name.removesuffix(".jsonl.gz").removeprefix("ill_").partition("-")[0]


def test_a_run_is_recorded_and_replayed(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(
        '[run]\nmax_staleness = 0\n[model]\npath = "m"\n[data]\ntrain = "t.jsonl"\nchat_template = false\n'
    )
    lines = [f'{{"step": {step}, "ratio/abs_log": {0.123456 * step}, "loss": 1.0, "grad_norm": null}}\n' for step in range(4)]
    (tmp_path / "metrics.jsonl").write_text("".join(lines))
    record(tmp_path, tmp_path / "run.jsonl.gz")
    kept = read(tmp_path / "run.jsonl.gz")
    assert kept.rows[1] == {"step": 1, "ratio/abs_log": 0.1235, "grad_norm": None}
    (found,) = replay(tmp_path)
    assert found[:2] == (3, "rate_too_high")
    assert findings(kept.config, kept.rows)[0][:2] == found[:2]


@pytest.mark.parametrize("setting", [*SETTINGS, *SOUND], ids=lambda setting: setting.name)
def test_a_run_made_ill_on_purpose_has_a_config_that_loads_and_a_rule_that_exists(setting: Setting) -> None:
    file, *overrides = setting.arguments
    assert load(file, overrides).run.steps == setting.steps
    assert setting.rule in {"", "reward_failures", *(rule.name for rule in RULES)}


def test_the_command_compares_the_first_finding_with_the_expected_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for setting, rule in ((SETTINGS[0], SETTINGS[0].rule), (SETTINGS[1], "clipped")):
        folder = folder_of(setting, tmp_path)
        folder.mkdir()
        (folder / "metrics.jsonl").write_text(f'{{"step": {setting.steps}}}\n')
        HealthLog(folder).begin(3, rule, "seen", "advice")
    assert main([SETTINGS[0].name, "--to", str(tmp_path)]) == 0
    assert main([SETTINGS[0].rule, SETTINGS[1].rule, "--to", str(tmp_path)]) == 1
    assert "1 of 2 as expected" in capsys.readouterr().out
