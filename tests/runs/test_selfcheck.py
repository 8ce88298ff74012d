"""The command `selfcheck` on this machine's CPU cores: two real runs and an export, started as a user starts them."""

import json
from pathlib import Path

import pytest

from tests.toys.drive import driving

pytestmark = pytest.mark.end_to_end


def test_every_part_passes_on_cpu_with_numbers_that_can_be(tmp_path: Path) -> None:
    written, inside = tmp_path / "selfcheck.json", tmp_path / "inside"
    inside.mkdir()
    with driving(["selfcheck", "--to", str(written), "--inside", str(inside)], tmp_path) as driver:
        assert driver.wait() == 0, driver.text()[-4000:]
        assert driver.wait_for_nobody() == []
        said = driver.text()
    report = json.loads(written.read_text())
    rows = {row["part"]: row for row in report["rows"]}
    assert {part: row["status"] for part, row in rows.items()} == {
        "machine": "pass",
        "engine": "pass",
        "publish": "pass",
        "mismatch_live": "pass",
        "mismatch_replayed": "pass",
        "learn": "pass",
        "sleep": "skipped",
        "engine_killed_generating": "pass",
        "resume": "pass",
        "engine_killed_publishing": "pass",
        "export": "pass",
    }
    numbers = {part: row["numbers"] for part, row in rows.items()}
    assert (report["schema"], report["passed"], report["device"], report["devices"]) == (1, True, "cpu", [])
    assert {"python", "torch", "deepspeed", "transformers", "ray"} <= report["versions"].keys()
    assert numbers["engine"]["engines"] == 2
    assert 10 < numbers["engine"]["tokens_per_s"] < 1e6
    assert numbers["publish"]["workers"] == 2
    assert 3.9 < numbers["publish"]["megabytes"] < 4.2
    assert 0 < numbers["publish"]["of_copy"] < 1
    assert numbers["mismatch_live"]["max"] <= 1e-4
    assert numbers["mismatch_live"]["tokens_with_other_experts"] == 0
    assert numbers["mismatch_replayed"]["tokens"] == numbers["engine"]["tokens"]
    assert 0.001 < numbers["learn"]["of_matmul"] < 10, "a busy machine may be fast in the one and slow in the other"
    assert numbers["engine_killed_generating"] == numbers["engine_killed_publishing"] == {"run": "went on", "engines_left": 1}
    assert numbers["resume"] == {"after_step": 3, "next_step": 4, "groups": 4}
    assert numbers["export"]["parameters"] > 1e6
    assert rows["publish"]["stand_in"] == "gloo for NCCL, a copy in host memory"
    assert "\npass: resume from the checkpoint; after_step 3" in said
    assert f"{written} is written" in said
    assert list(inside.iterdir()) == [], "a selfcheck that passed leaves nothing but its file"
