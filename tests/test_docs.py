import re
from pathlib import Path

import pytest

from configs.objective import ObjectiveConfig
from configs.presets import ADVANTAGES, CORRECTIONS, ESTIMATORS, PRESETS, REDUCTIONS, SETTINGS, SURROGATES, Preset
from configs.schema import ALL_RULES, Config

DOCS = Path(__file__).parents[1] / "docs"
CONFIG, ALGORITHMS = ((DOCS / name).read_text() for name in ("config.md", "algorithms.md"))


@pytest.mark.parametrize("section", Config.model_fields)
def test_every_key_of_a_config_is_documented_in_its_section(section: str) -> None:
    found = re.search(rf"^### \[{section}\]$(.*?)^##", CONFIG, re.MULTILINE | re.DOTALL)
    assert found is not None
    kind = Config.model_fields[section].annotation
    assert kind is not None
    named = set(re.findall(r"`([a-z_]+)`", " ".join(line.split("|")[1] for line in found[1].splitlines() if line.startswith("| `"))))
    assert named == set(kind.model_fields)  # type: ignore[attr-defined]


def test_every_rule_between_keys_is_documented() -> None:
    table = CONFIG[CONFIG.index("## Rules between keys") :]
    assert [rule.__name__ for rule in ALL_RULES if f"`{rule.__name__}`" not in table] == []


@pytest.mark.parametrize("names", [PRESETS, ADVANTAGES, SURROGATES, REDUCTIONS, CORRECTIONS, ESTIMATORS])
def test_every_choice_of_an_objective_is_documented(names: tuple[str, ...]) -> None:
    rows = " ".join(line.split("|")[1] for line in ALGORITHMS.splitlines() if line.startswith("| `"))
    assert [name for name in names if f"`{name}`" not in rows] == []


def test_every_setting_of_a_surrogate_can_be_set_and_every_estimator_is_listed() -> None:
    assert set(SETTINGS) <= set(ObjectiveConfig.model_fields) & set(Preset.__slots__)
    assert [name for name in (*PRESETS, *CORRECTIONS) if f'`"{name}"`' not in CONFIG] == []


def test_the_table_of_presets_says_what_they_are() -> None:
    for name, preset in PRESETS.items():
        (row,) = [line for line in ALGORITHMS.splitlines() if re.match(rf"\| (`[a-z_]+`, )*`{name}`.* \| `[a-z_]+` \| ", line)]
        cells = [cell.strip(" `") for cell in row.split("|")]
        assert cells[2] == preset.advantage
        assert cells[4] == preset.surrogate
        assert cells[6] == preset.reduction
        assert cells[7] == preset.old
        assert cells[8] == ("yes" if preset.dynamic_sampling else "")
