import re
from pathlib import Path

import pytest

from cluster.record.changes import FIXED, FREE_WITHIN
from configs.document import MORE, rewritten, tables
from configs.presets import ADVANTAGES, CORRECTIONS, ESTIMATORS, PRESETS, REDUCTIONS
from configs.schema import ALL_RULES, Config
from configs.sections.objective import ObjectiveConfig
from configs.suggest import known_keys
from configs.surrogates import SETTINGS, SURROGATES

DOCS = Path(__file__).parents[1] / "docs"
CONFIG, ALGORITHMS = ((DOCS / name).read_text() for name in ("config.md", "algorithms.md"))


@pytest.mark.parametrize("section", Config.model_fields)
def test_every_key_of_a_config_is_documented_in_its_section(section: str) -> None:
    found = re.search(rf"^### \[{section}\]$(.*?)^##", CONFIG, re.MULTILINE | re.DOTALL)
    assert found is not None
    kind = Config.model_fields[section].annotation
    assert kind is not None
    named = set(re.findall(r"`([a-z_]+)`", " ".join(line.split("|")[1] for line in found[1].splitlines() if line.startswith("| `"))))
    assert named == {field.alias or name for name, field in kind.model_fields.items()}  # type: ignore[attr-defined]


def test_every_rule_between_keys_is_documented() -> None:
    table = CONFIG[CONFIG.index("## Rules between keys") :]
    assert [rule.__name__ for rule in ALL_RULES if f"`{rule.__name__}`" not in table] == []
    assert [rule.__name__ for rule in ALL_RULES if not rule.__doc__] == []


def test_the_tables_of_the_page_are_those_that_the_config_makes() -> None:
    assert rewritten(CONFIG) == CONFIG, "the tables are out of date: run python -m configs.document"
    assert set(re.findall(r"<!-- table (\S+) -->", CONFIG)) == set(tables())


def test_a_table_that_does_not_exist_is_no_part_of_the_page() -> None:
    with pytest.raises(KeyError, match="sections"):
        rewritten("<!-- table sections -->\n<!-- end -->")


def test_text_beside_the_tables_stays_as_it_is() -> None:
    page = "before\n<!-- table kl -->\nold\n<!-- end -->\nafter\n"
    assert rewritten(page).startswith("before\n<!-- table kl -->\n\n| key | type | default | meaning |\n")
    assert rewritten(page).endswith("|\n\n<!-- end -->\nafter\n")
    assert "\nold\n" not in rewritten(page)


def test_links_from_the_tables_lead_to_headings_that_exist() -> None:
    assert [key for key in MORE if key.split(".")[1] not in known_keys()[key.split(".")[0]]] == []
    for link in MORE.values():
        name, _, anchor = link.partition("#")
        headings = re.findall(r"^#+ (.*)$", (DOCS / (name or "config.md")).read_text(), re.MULTILINE)
        anchors = [re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings]
        assert not anchor or anchor in anchors, link


def test_the_keys_that_may_not_change_on_resume_are_those_of_the_code() -> None:
    text = CONFIG[CONFIG.index("## Changing a config on resume") :]
    rows = [line for line in text[: text.index("A changed learning rate")].splitlines() if line.startswith("| ")]
    assert [name for name in FIXED if not any(f"`{name}`" in row or f"`[{name}]`" in row for row in rows)] == []
    (data,) = [row for row in rows if row.startswith("| `[data]`")]
    assert set(re.findall(r"`(data\.[a-z_]+)`", data)) == {name for name in FREE_WITHIN if name.startswith("data.")}


@pytest.mark.parametrize("names", [PRESETS, ADVANTAGES, SURROGATES, REDUCTIONS, CORRECTIONS, ESTIMATORS])
def test_every_choice_of_an_objective_is_documented(names: tuple[str, ...]) -> None:
    rows = " ".join(line.split("|")[1] for line in ALGORITHMS.splitlines() if line.startswith("| `"))
    assert [name for name in names if f"`{name}`" not in rows] == []


def test_every_setting_of_a_surrogate_can_be_set_and_every_estimator_is_listed() -> None:
    assert set(SETTINGS) <= set(ObjectiveConfig.model_fields)
    assert [name for name in (*PRESETS, *CORRECTIONS) if f'`"{name}"`' not in CONFIG] == []


def test_the_table_of_presets_says_what_they_are() -> None:
    for name, preset in PRESETS.items():
        (row,) = [line for line in ALGORITHMS.splitlines() if re.match(rf"\| (`[a-z_]+`, )*`{name}`.* \| `[a-z_]+` \| ", line)]
        cells = [cell.strip(" `") for cell in row.split("|")]
        assert cells[2] == preset.advantage
        assert cells[4] == preset.surrogate.name
        assert cells[6] == preset.reduction
        assert cells[7] == preset.old
        assert cells[8] == ("yes" if preset.dynamic_sampling else "")


def test_every_key_named_for_those_who_come_from_other_frameworks_exists_and_what_is_theirs_is_not_ours() -> None:
    page = (DOCS / "migrating.md").read_text()
    keys = {f"{section}.{leaf}" for section, leaves in known_keys().items() for leaf in leaves}
    ours = [row.split("|")[-2] for row in page.splitlines() if row.startswith("| ")]
    named = {name for cell in ours for name in re.findall(r"`([a-z_]+\.[a-z_]+)\b", cell)}
    assert sorted(named - keys) == []
    assert len(named) > 40
    for cell in ours:
        for key, value in re.findall(r"`([a-z_]+\.[a-z_]+) = (\"[a-z0-9_]+\")`", cell):
            text = CONFIG + ALGORITHMS
            assert value in text or f"`{value.strip(chr(34))}`" in text, (key, value)
