"""The table of model families: what it says of itself, and docs/models.md, which says the same."""

from pathlib import Path

import pytest

from configs.families import FAMILIES, ROWS, Family, families_that, family_of, number_of_experts

NONE = "-"
DOCS = Path(__file__).parents[2] / "docs" / "models.md"


def line_of(row: Family) -> str:
    """A row as docs/models.md writes it."""

    def yes(can: object) -> str:
        return "yes" if can else "no"

    kind = "dense" if row.dense else "mixture"
    experts = [NONE, NONE] if row.dense else [yes(row.followed), yes(row.spread)]
    cells = [row.name, f"`{row.model_type}`", kind, *experts, yes(row.packed), yes(row.engine_on_cpu), row.limits or NONE]
    return f"| {' | '.join(cells)} |"


def test_the_docs_have_the_same_table() -> None:
    table = [line for line in DOCS.read_text(encoding="utf-8").splitlines() if line.startswith("| ") and "`model_type`" not in line]
    assert [without_turns(line) for line in table] == [line_of(row) for row in ROWS]


def without_turns(line: str) -> str:
    """The line without its last column but one, which the tests of chat templates check."""
    *cells, _, limits = line.removesuffix(" |").split(" | ")
    return f"{' | '.join([*cells, limits])} |"


def test_the_families_that_are_trained_whole_are_these() -> None:
    assert list(FAMILIES) == ["qwen3_moe", "qwen2_moe", "olmoe", "mixtral", "glm4_moe", "qwen3", "qwen2", "llama"]
    assert families_that(lambda row: row.dense) == ["qwen3", "qwen2", "llama"]


def test_a_dense_row_has_nothing_of_experts_and_only_known_routers_are_spread() -> None:
    for row in ROWS:
        if row.dense:
            assert (row.followed, row.spread, row.buffers) == (False, None, ())
        assert row.followed or not row.spread, "AutoEP replaces the router, and the learner follows what it puts there"
        assert bool(row.limits) == (not row.dense and not (row.followed and row.spread)), "what a family cannot do is said"


@pytest.mark.parametrize("other", ["deepseek_v3", "gpt_oss", "qwen3_next", None])
def test_another_family_is_refused_by_name_with_the_list(other: str | None) -> None:
    with pytest.raises(ValueError, match=f'model.path here is of model_type "{other}", needed one of') as refusal:
        family_of(other, "model.path here")
    assert all(f"{row.model_type} ({row.name})" in str(refusal.value) for row in ROWS)


def test_the_number_of_experts_is_found_under_every_familys_name() -> None:
    assert number_of_experts({"num_experts": 128}) == number_of_experts({"num_local_experts": 128}) == 128
    assert number_of_experts({"n_routed_experts": 128}) == 128
    assert number_of_experts({"text_config": {"num_experts": 64}}) == 64
    assert number_of_experts({"num_experts": 0}) == number_of_experts({"model_type": "qwen3"}) == 0
