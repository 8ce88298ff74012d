"""Every config in examples/ is one that a run takes; those for two CPU cores also pass all checks before a start."""

from pathlib import Path

import pytest

from cluster.commands.validate import check
from configs.loader import load
from configs.passthrough import check_passthrough

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.toml"))
ON_TWO_CORES = ("own_reward", "two_sources")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_loads_and_is_listed(path: Path) -> None:
    assert check_passthrough(load(path)) == []
    assert f"`{path.name}`" in (ROOT / "examples/README.md").read_text()


@pytest.mark.end_to_end
@pytest.mark.parametrize("name", ON_TWO_CORES)
def test_an_example_for_two_cores_is_valid(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    lines = check(load(f"examples/{name}.toml", [f"run.dir={tmp_path / name}"])).lines
    assert any("examples/my_reward.py:score: 1 with the reference of examples/sums.jsonl line 1" in line for line in lines)
