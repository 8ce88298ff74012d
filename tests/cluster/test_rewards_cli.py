"""`gatewise rewards`: finds rows whose right answer fails, and rewards that would differ now."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import Any

import pytest

from cluster.cli import main
from configs.loader import dump
from configs.schema import Config
from reward.asked import Asked, Wants
from reward.checkers import CHECKERS, get_checker
from rollout.types import Outcome, Verdict
from tests.toys.gsm8k import DATA

pytestmark = pytest.mark.timeout(60)
ECHO = "tests.toys.bad_checkers:echo"


def write_rows(path: Path, *rows: object) -> str:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return str(path)


def passes(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    main(["rewards", *arguments])
    return capsys.readouterr().out


def fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[str, str]:
    """What a command that exits 1 has printed, and the last it said."""
    with pytest.raises(SystemExit) as ended:
        main(["rewards", *arguments])
    assert ended.value.code == 1
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return said.out, said.err.strip().splitlines()[-1]


def test_a_dataset_whose_right_answers_pass_is_reported_whole(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "d.jsonl", *({"answer": n} for n in range(5)))
    assert passes(capsys, "check", rows, "--checker", "exact", "--workers", "1") == (
        f"5 rows of {rows}: 5 passed (100.00 %), 0 failed, 0 have no gold answer\n"
        "in other words: 5 of 5 right answers passed (5 wordings); 0 of 15 near misses accepted; 0 references not understood whole\n"
    )
    assert "2 rows of" in passes(capsys, "check", rows, "--checker", "exact", "--limit", "2", "--workers", "1")


def test_rows_that_fail_are_listed_with_their_place_and_what_is_wrong(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rows = write_rows(
        tmp_path / "d.jsonl",
        {"answer": "1", "solution": "1", "kind": "exact"},
        {"answer": "1", "solution": "2"},
        {"answer": " ", "solution": ""},
        {"solution": "3"},
        {"answer": "4", "solution": [4]},
        {"answer": "5", "solution": "5", "kind": "maths"},
        {"answer": "6", "solution": "6", "kind": "os:system"},
        {"answer": "7", "solution": "7", "kind": 7},
        {"answer": "8"},
        {"answer": "9", "solution": "x", "kind": ECHO},
    )
    fields = ("--solution-field", "solution", "--checker-field", "kind")
    out, last = fails(capsys, "check", rows, "--checker", "exact", *fields)
    for line, wrong in (
        (2, "exact: reward 0; reference '1', right answer '2'"),
        (3, "checker 'exact': reference must not be empty"),
        (4, 'has no value for field "answer"'),
        (5, 'has [4] in field "solution": a response is a text'),
        (6, "names checker 'maths', needed one of choice, code, exact"),
        (7, "names checker 'os:system', needed one of choice, code, exact"),
        (8, "names checker 7, needed one of choice, code, exact"),
        (10, f"names checker '{ECHO}', needed one of choice, code, exact"),
    ):
        assert f"  {rows} line {line}: {wrong}" in out
    assert f"10 rows of {rows}: 1 passed (10.00 %), 8 failed, 1 has no gold answer" in out
    assert last.startswith("gatewise: RewardsDiffer: 8 of 10 rows failed the row's own checker: ")


def test_a_checker_that_hangs_or_raises_on_a_right_answer_is_told_as_that(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rows = write_rows(
        tmp_path / "d.jsonl", {"answer": 0, "solution": "x"}, {"answer": 0, "solution": "1"}, {"answer": 0, "solution": "0.5"}
    )
    out, _ = fails(capsys, "check", rows, "--checker", ECHO, "--solution-field", "solution")
    assert "line 1: tests.toys.bad_checkers:echo: error: ValueError: could not convert" in out
    assert "line 3: tests.toys.bad_checkers:echo: reward 0.5; " in out
    assert ": 1 passed (33.33 %), 2 failed" in out
    rows = write_rows(tmp_path / "d.jsonl", {"answer": 0, "solution": "hang"})
    hanging = ("--checker", "tests.toys.bad_checkers:hang", "--solution-field", "solution", "--timeout", "0.5")
    assert "timeout: more than 0.5 s" in fails(capsys, "check", rows, *hanging)[0]


UNREAD = r"\sum_{k=1}^{n} k^2"


def test_references_that_are_not_understood_are_listed_and_fail_if_asked_for(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "d.jsonl", {"answer": "1/2"}, {"answer": UNREAD})
    out = passes(capsys, "check", rows, "--workers", "1")
    assert "references that are not understood whole:\n" in out
    assert "line 2: math: " in out
    assert "; it is compared as text: reference " in out
    assert "in other words: 2 of 2 right answers passed (" in out
    assert "; 0 of 10 near misses accepted; 1 reference not understood whole" in out
    assert "1 of 2 references not understood whole" in fails(capsys, "check", rows, "--workers", "1", "--strict")[1]
    rows = write_rows(tmp_path / "d.jsonl", {"answer": UNREAD})
    assert "1 of 1 reference not understood" in fails(capsys, "check", rows, "--workers", "1")[1]


def test_other_words_that_fail_and_near_misses_that_pass_are_listed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = replace(CHECKERS["exact"], other_words=lambda _: ["3", "2 "], near_misses=lambda _: ["2", "4"])
    monkeypatch.setitem(CHECKERS, "exact", wrong)
    rows = write_rows(tmp_path / "d.jsonl", {"answer": "2"})
    out, last = fails(capsys, "check", rows, "--checker", "exact", "--workers", "1")
    assert "right answers that do not pass in other words:\n" in out
    assert "line 1: exact: reward 0; reference '2', response '3'\n" in out
    assert "near misses that are accepted:\n" in out
    assert "line 1: exact: reward 1; reference '2', response '2'\n" in out
    assert "in other words: 0 of 1 right answer passed (2 wordings); 1 of 2 near misses accepted" in out
    assert "1 right answer did not pass in other words, 1 near miss was accepted" in last


def test_a_long_list_is_cut_unless_all_of_it_is_asked_for(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "d.jsonl", *({"answer": "1", "solution": "2"} for _ in range(25)))
    asked = ("check", rows, "--checker", "exact", "--solution-field", "solution")
    out, _ = fails(capsys, *asked)
    assert (out.count("reward 0;"), "… and 5 more: --all lists them" in out) == (20, True)
    out, _ = fails(capsys, *asked, "--all")
    assert (out.count("reward 0;"), "more" in out) == (25, False)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("none.jsonl",), "none.jsonl does not exist"),
        (("{rows}", "--reference-field", "gold"), '--reference-field got "gold", but no row of'),
        (("{rows}", "--solution-field", "text"), 'has it; the first has "answer": name the right one'),
        (("{rows}", "--checker", "maths"), "unknown checker 'maths'"),
        (("{rows}", "--checker", "judge"), "checker 'judge' is a service that a run asks over the network"),
        (("{rows}", "--checker", "tests.toys.bad_checkers:nothing"), "tests.toys.bad_checkers has no 'nothing'; the functions of"),
        (("{rows}", "--checker", "regex"), "none of the 1 rows of"),
    ],
)
def test_what_cannot_be_checked_is_an_error_that_says_what_to_do(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: Sequence[str], said: str
) -> None:
    rows = write_rows(tmp_path / "d.jsonl", {"answer": "1"})
    out, last = fails(capsys, "check", *(argument.format(rows=rows) for argument in arguments))
    assert out == ""
    assert last.startswith("gatewise: ")
    assert said in last


def test_solutions_of_gsm8k_pass_as_whole_texts(capsys: pytest.CaptureFixture[str]) -> None:
    path = DATA / "gsm8k" / "test.jsonl"
    if not path.exists():
        pytest.skip(f"no GSM8K at {path}")
    asked = ("check", str(path), "--reference-field", "answer", "--solution-field", "answer", "--limit", "100", "--workers", "1")
    assert "100 passed (100.00 %)" in passes(capsys, *asked)


class Toy:
    """What audit needs of a scorer: the checker's reward, doubled so that it shows that the scorer was asked."""

    wants = Wants()
    episodes = SimpleNamespace(is_held=lambda checker: False)

    def __init__(self, config: Config, named_by_rows: Sequence[str] = ()) -> None:
        assert config.reward.second is None, "the second opinion counts for nothing here"

    async def __aenter__(self) -> "Toy":
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        pass

    async def score(self, asked: Sequence[Asked]) -> list[Verdict]:
        return [self.verdict(one) for one in asked]

    def verdict(self, one: Asked) -> Verdict:
        if one.response == "slow":
            return Verdict.failed(Outcome.TIMED_OUT, "timeout: more than 5 s")
        return Verdict(reward=2 * get_checker(one.checker).score(one.response, one.reference) - one.tokens / 10)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a finished run of two steps of 2 x 4 responses, of which four were kept."""
    monkeypatch.setattr("reward.scorer.Scorer", Toy)
    config = Config.model_validate({
        "run": {"dir": str(tmp_path)},
        "model": {"path": "m"},
        "data": {"train": "d.jsonl"},
        "rollout": {"group_size": 4, "groups_per_step": 2},
        "reward": {"second": "exact"},
    })  # fmt: skip
    (tmp_path / "config.toml").write_text(dump(config))
    (tmp_path / "metrics.jsonl").write_text('{"step": 0}\n{"step": 1}\n{"step": 2}\n')
    keep(tmp_path, 1, response("4", 1.9), response("a\u2028b", -0.1))
    keep(tmp_path, 2, response("slow", None, outcome="timed_out", failure="timeout"), response("4", 1.9 + 1e-12, member=1))
    return tmp_path


def response(text: str, reward: float | None, *, outcome: str = "scored", failure: str | None = None, member: int = 0) -> dict[str, Any]:
    return {
        "group": 7, "member": member, "prompt_id": "p", "prompt": "2+2=", "response": text, "checker": "exact", "reference": "4",
        "tokens": 1, "outcome": outcome, "reward": reward, "failure": failure, "parts": {},
    }  # fmt: skip


def keep(folder: Path, step: int, *rows: object) -> None:
    (folder / "responses").mkdir(exist_ok=True)
    lines = "".join((row if isinstance(row, str) else json.dumps(row, ensure_ascii=False)) + "\n" for row in rows)
    (folder / "responses" / f"step_{step:06d}.jsonl").write_text(lines)


def test_a_run_whose_rewards_hold_is_reported_with_how_much_was_kept(capsys: pytest.CaptureFixture[str], run: Path) -> None:
    assert passes(capsys, "audit", str(run)) == (
        "4 of 16 responses scored again: 3 rewards the same, 0 different, 0 failures scored now, 0 scored responses failing now, "
        "1 failed both times\n"
    )


def test_rewards_that_differ_are_listed_and_failures_apart_from_them(capsys: pytest.CaptureFixture[str], run: Path) -> None:
    failed = response("4", None, outcome="crashed", failure="crash: gone", member=3)
    keep(run, 3, response("5", 1.9, member=2), failed, response("slow", 0.5, member=1), '{"half')
    out, last = fails(capsys, "audit", str(run))
    assert "rewards that are different now:\n  step 3, group 7, member 2, checker exact: reward 1.9, now -0.1\n" in out
    assert "failures that are scored now:\n  step 3, group 7, member 3, checker exact: crashed (crash: gone), now reward 1.9\n" in out
    assert "rewards that fail now:\n  step 3, group 7, member 1, checker exact: reward 0.5, now timed_out (timeout: more than 5 s)\n" in out
    assert "3 rewards the same, 1 different, 1 failure scored now, 1 scored response failing now, 1 failed both times" in out
    assert "1 line skipped: half-written" in out
    assert last.startswith("gatewise: RewardsDiffer: 1 of 7 rewards differ")


def test_failures_alone_are_told_but_are_no_disagreement(capsys: pytest.CaptureFixture[str], run: Path) -> None:
    keep(run, 3, response("4", None, outcome="crashed", failure="crash: gone"), response("slow", 0.5))
    out = passes(capsys, "audit", str(run))
    assert "failures that are scored now:" in out
    assert "rewards that fail now:" in out


def test_a_folder_without_what_an_audit_needs_is_refused(capsys: pytest.CaptureFixture[str], run: Path, tmp_path: Path) -> None:
    assert "is no run directory: it has no config.toml" in fails(capsys, "audit", str(tmp_path / "nowhere"))[1]
    row = response("4", 1.9)
    keep(run, 3, {key: value for key, value in row.items() if key not in ("checker", "tokens")})
    assert "without checker, tokens: an older version wrote it" in fails(capsys, "audit", str(run))[1]
    for path in (run / "responses").iterdir():
        path.unlink()
    assert "kept no responses, so nothing can be scored again: set run.sample_responses" in fails(capsys, "audit", str(run))[1]


@pytest.mark.parametrize(
    "arguments", [(), ("check",), ("audit",), ("check", "d.jsonl", "--workers", "0"), ("check", "d", "--timeout", "inf")]
)
def test_bad_usage_ends_with_2(capsys: pytest.CaptureFixture[str], arguments: Sequence[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["rewards", *arguments])
    assert ended.value.code == 2


def test_help_teaches_both_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["rewards", "--help"])
    said = capsys.readouterr().out
    assert "gatewise rewards check train.jsonl" in said
    assert "gatewise rewards audit runs/first" in said


def test_neither_command_imports_ray_or_torch(tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "d.jsonl", {"answer": "1"})
    code = (
        "import sys, cluster.commands.rewards.audit; from cluster.cli import main; "
        f"main(['rewards', 'check', {rows!r}, '--checker', 'exact', '--workers', '1']); "
        "print(sorted({'ray', 'torch', 'vllm', 'transformers'} & set(sys.modules)))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.splitlines()[-1] == "[]"


def test_a_kept_row_does_not_choose_what_code_runs(capsys: pytest.CaptureFixture[str], run: Path) -> None:
    keep(run, 2, response("4", 1.0) | {"checker": "os:system"})
    with pytest.raises(SystemExit):
        main(["rewards", "audit", str(run)])
    assert "names checker 'os:system', needed one of " in capsys.readouterr().err
