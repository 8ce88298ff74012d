"""What the page of responses has of a run: its rows, its prompts, its groups, the numbers of its tokens, and no more than fits."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from cluster.report.files import RunFiles
from cluster.report.responses.pieces import pieces_of, tokenizer_of
from cluster.report.responses.rows import MOST_ROWS, keep, thin
from cluster.report.responses.shading import clipped
from cluster.report.responses.shorten import is_cut, shortened, shorter
from cluster.report.responses.table import chunked, table_of
from configs.surrogates import Cispo, Clip, DualClip, Gmpo, Minirl, Reinforce, Sapo, Surrogate
from tests.toys.shown_run import HOSTILE, response_row, write_capsule, write_rows, write_run


def table(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The columns of a run, and its whole rows in their order."""
    made = table_of(RunFiles(folder), 0)
    return made.data, [row for number in range(len(made.data["chunks"])) for row in made.more[f"0-texts-{number}"]]


def test_every_row_of_a_run_is_in_the_list_with_what_the_ledger_knows(tmp_path: Path):
    write_run(tmp_path, steps=3, size=2)
    data, rows = table(tmp_path)
    columns = data["columns"]
    assert {len(values) for values in columns.values()} == {6}
    assert sum(data["chunks"]) == len(rows) == 6
    assert columns["step"] == [1, 1, 2, 2, 3, 3]
    assert columns["reward"] == [1.0, 0.0] * 3
    assert columns["advantage"] == [0.5, -0.5] * 3
    assert (columns["engine"], columns["oldest"]) == ([1, 1, 0, 0, 1, 1], [0, 0, 1, 1, 2, 2])
    assert [data["prompts"][place] for place in columns["prompt"][::2]] == [[f"p{step}", f"What is {step} + 1?"] for step in (1, 2, 3)]
    assert rows[1]["response"] == "Perhaps 3, says response 1 of step 1."


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"prompt": "1+1=", "response": "2", "reward": 1.0},  # of version 0.1
        {"group": 3, "member": None, "response": None, "turns": None, "reward": "much"},
        {"group": [1], "member": {}, "turns": [None, {"said": 3}], "versions": [1], "reference": {"a": [1]}, "prompt_id": 7},
        {"group": 1, "member": 0, "reward": float("nan"), "tokens": float("inf"), "reference": 10**400, "advantage": True},
        {"group": 2**70, "member": -1, "turns": [{}], "response": ["a"], "outcome": 3},
    ],
)
def test_rows_of_other_versions_are_shown_as_far_as_they_go(tmp_path: Path, row: dict[str, Any]):
    write_run(tmp_path, steps=1, size=1)
    write_rows(tmp_path, 2, [row])
    (tmp_path / "responses/step_000003.jsonl").write_text('{"half": \n[1]\nnull\n')
    (tmp_path / "responses/step_x.jsonl").write_text("{}")
    (tmp_path / "ledger.db").write_bytes(b"no ledger")
    data, rows = table(tmp_path)
    assert data["columns"]["step"] == [1, 2]
    assert all(value is None or isinstance(value, int | float | str) for column in data["columns"].values() for value in column)
    assert len(rows) == 2


def test_texts_that_would_harm_a_careless_page_come_as_they_are(tmp_path: Path):
    write_run(tmp_path, steps=len(HOSTILE), size=1, texts=dict(enumerate(HOSTILE.values(), start=1)))
    _, rows = table(tmp_path)
    assert [row["response"] for row in rows] == list(HOSTILE.values())


def test_a_run_without_responses_has_an_empty_list(tmp_path: Path):
    write_run(tmp_path, steps=1)
    (tmp_path / "responses/step_000001.jsonl").unlink()
    data, rows = table(tmp_path)
    assert (rows, data["chunks"], data["notes"]) == ([], [], [])


def test_a_capsule_completes_its_groups_and_has_the_numbers_of_tokens(tmp_path: Path):
    write_run(tmp_path, steps=2, size=4)
    write_rows(tmp_path, 2, [response_row(2, 0, "kept", 1.0)])
    write_capsule(tmp_path, 2)
    made = table_of(RunFiles(tmp_path), 0)
    columns = made.data["columns"]
    assert [(m, a) for s, m, a in zip(columns["step"], columns["member"], columns["advantage"], strict=True) if s == 2] == [
        (0, 0.75), (1, -0.25), (2, None), (3, None),
    ]  # fmt: skip
    assert made.data["tokens"] == {"0-tokens-0": ["2/2/0", "2/2/1"]}
    (segment,) = made.more["0-tokens-0"]["2/2/1"]
    assert segment["pieces"] == [f"⟨{token}⟩" for token in range(4, 10)]  # the toy has no model
    assert segment["mismatch"] == [0.25] * 6
    assert (segment["ratio"], segment["learned"]) == ([1.0, 1.0, 1.5, 1.0, 1.0, 1.0], [1, 1, 1, 1, 1, 0])
    assert segment["clip"] == [0.0] * 6  # a ratio above 1 is not clipped where the advantage is negative
    assert made.more["0-tokens-0"]["2/2/0"][0]["clip"] == [0.0, 0.0, 1.0, 0.0, 0.0, 0.0]


def test_a_capsule_that_is_cut_short_is_named_and_the_rest_is_shown(tmp_path: Path):
    write_run(tmp_path, steps=2)
    write_capsule(tmp_path, 1)
    (tmp_path / "capsules/step_000001/groups.json").write_text("[")
    kept = keep(RunFiles(tmp_path))
    assert len(kept.rows) == 8
    assert len(kept.notes) == 1
    assert "groups.json is cut short" in kept.notes[0]


def test_of_a_run_too_long_for_a_page_every_nth_step_is_shown(tmp_path: Path):
    path = tmp_path / "rows.jsonl"
    path.write_text("{}\n" * 10)
    notes: list[str] = []
    shown = [step for step, _ in thin([(step, path) for step in range(1, 1001)], notes, most=50)]
    assert shown == [1, 251, 501, 750, 1000]
    assert "5 of the 1000 steps" in notes[0]
    assert len(thin([(step, path) for step in range(1, 1001)], [], most=MOST_ROWS)) == 1000
    assert thin([], []) == []


def test_texts_lose_their_middle_only_where_they_do_not_fit():
    rng = np.random.default_rng(0)
    rows = [{"response": rng.bytes(20_000).hex(), "reference": 2**60, "turns": [{"said": "short"}]} for _ in range(20)]
    assert shortened(rows, budget=10**6)[1] is None
    cut, limit = shortened(rows, budget=200_000)
    assert limit == 16_000
    assert len(json.dumps(cut)) < 330_000
    text = rows[0]["response"]
    assert cut[0]["response"] == {"head": text[:10_666], "left_out": 40_000 - 15_999, "tail": text[-5333:]}
    assert (cut[0]["turns"], cut[0]["reference"]) == ([{"said": "short"}], str(2**60))
    assert shortened([], budget=1) == ([], None)
    assert is_cut(shorter({"a": [1, {"b": "x" * 99}]}, 9))
    assert not is_cut(shorter({"a": "x" * 9, "b": True, "c": 1.5}, 9))


def test_a_chunk_has_the_texts_of_neighbours_and_a_large_one_stands_alone():
    rows = [{"response": "x" * size} for size in (10, 10, 2_000_000, 10, 10)]
    assert [[len(row["response"]) for row in chunk] for chunk in chunked(rows)] == [[10, 10], [2_000_000], [10, 10]]
    assert chunked([]) == []


UP, DOWN = 1.0, -1.0


@pytest.mark.parametrize(
    ("surrogate", "ratio", "advantage", "cut"),
    [
        (Clip(clip_low=0.2, clip_high=0.28), 1.3, UP, True),
        (Clip(clip_low=0.2, clip_high=0.28), 1.27, UP, False),
        (Clip(clip_low=0.2, clip_high=0.28), 1.3, DOWN, False),
        (Clip(clip_low=0.2, clip_high=0.28), 0.7, DOWN, True),
        (Clip(clip_low=0.2, clip_high=0.28), 0.7, UP, False),
        (Clip(clip_low=0.2, clip_high=0.28), 9.0, 0.0, False),
        (DualClip(clip_low=0.2, clip_high=0.2, cap=3.0), 3.5, DOWN, True),
        (DualClip(clip_low=0.2, clip_high=0.2, cap=3.0), 2.5, DOWN, False),
        (Minirl(clip_low=0.2, clip_high=0.27, cap=5.0), 0.7, DOWN, True),
        (Cispo(clip_low=1.0, clip_high=4.0), 5.5, DOWN, True),
        (Cispo(clip_low=1.0, clip_high=4.0), 0.01, UP, False),
        (Gmpo(clip_low=0.4, clip_high=0.4), 1.6, UP, True),
        (Gmpo(clip_low=0.4, clip_high=0.4), 0.6, UP, False),
        (Sapo(tau_positive=1.0, tau_negative=1.05), 9.0, UP, None),
        (Reinforce(), 9.0, UP, None),
        (None, 9.0, UP, None),
    ],
)
def test_a_token_is_clipped_as_its_surrogate_clips(surrogate: Surrogate | None, ratio: float, advantage: float, cut: bool | None):
    found = clipped(surrogate, np.array([ratio]), np.array([advantage]))
    assert (None if found is None else bool(found[0])) is cut


def bytes_tokenizer() -> Tokenizer:
    """A tokenizer with a token for each byte, so that most characters take several."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE(vocab={letter: place for place, letter in enumerate(letters)}, merges=[]))
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    return made


@pytest.mark.parametrize("text", ["abc", "日本語", "a👩‍👩‍👧b", "שלום", " two  spaces ", "Zäh", ""])
def test_the_pieces_of_tokens_add_up_to_their_text(text: str):
    tokenizer = bytes_tokenizer()
    ids = tokenizer.encode(text).ids
    pieces = pieces_of(tokenizer, ids)
    assert len(pieces) == len(ids)
    assert "".join(pieces) == text


def test_half_a_character_at_the_end_is_shown_as_one(tmp_path: Path):
    tokenizer = bytes_tokenizer()
    assert pieces_of(tokenizer, tokenizer.encode("a語").ids[:-1])[-1] == "\ufffd"
    for content in (None, "{}", "not json"):
        if content is not None:
            (tmp_path / "tokenizer.json").write_text(content)
        assert tokenizer_of(tmp_path) is None
