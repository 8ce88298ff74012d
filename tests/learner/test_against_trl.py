"""The benchmark against TRL asks it for the recipe's own training, and says so where TRL is absent."""

from pathlib import Path

import pytest

from benchmarks import trl
from benchmarks.mixture import digits, keys
from benchmarks.rounds import CONFIG, QUICK
from configs.loader import load


def test_it_is_skipped_aloud_where_trl_is_absent(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(trl, "find_spec", lambda name: None)
    assert trl.measure(QUICK) == []
    said = capsys.readouterr().out
    assert "skipped: TRL is not installed" in said
    assert f"trl=={trl.VERSION}" in said
    assert f'"bench": ["trl=={trl.VERSION}"]' in Path("setup.py").read_text()


@pytest.mark.parametrize(
    ("given", "batch", "updates", "group", "tokens", "checker", "lr"),
    [([], 256, 2, 8, 8, "exact", 1e-4), (keys(), 128, 1, 8, 128, "benchmarks.mixture:digits", 1e-9)],
    ids=["tiny", "mixture"],
)
def test_trl_gets_the_recipes_own_numbers(
    given: list[str], batch: int, updates: int, group: int, tokens: int, checker: str, lr: float
) -> None:
    config = load(CONFIG, given)
    job = trl.job_of(config, 5, 1, "folder")
    assert (job.batch, job.updates, job.group, job.tokens, job.checker) == (batch, updates, group, tokens, checker)
    assert (job.lr, job.clip, job.max_grad_norm) == (lr, 0.2, 1.0)
    assert job.model == str(Path(config.model.path).absolute())


@pytest.mark.parametrize(("text", "share"), [("", 0.0), ("12", 1.0), ("a1", 0.5), ("abc", 0.0)])
def test_the_mixture_earns_the_share_of_digits(text: str, share: float) -> None:
    assert digits(text, None) == share
