"""Whole runs on real engines, ranks and Ray: what they record, that they repeat, and that a killed one continues as if it never was."""

import gzip
import json
import re
import signal
import sqlite3
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from cluster.publish.turns import ARROWS
from cluster.record.audit.audit import audit
from cluster.record.checkpoint import Checkpoints, read_position
from cluster.record.ledger import Ledger
from configs.loader import load
from tests.toys.drive import CONFIG, driving, gpu_box, metrics, train, wait_for_step
from tests.toys.nccl import nccl_on_cpus

pytestmark = pytest.mark.end_to_end

STEPS = 6
# All that a checkpoint has to remember: rejected groups, what is known of every prompt, a reference that is renewed after step 3.
SETTINGS = (
    f"run.steps={STEPS}",
    "run.save_every=2",
    "run.eval_every=3",
    "run.seed=3",
    "objective.preset=dapo",
    "data.sampler=difficulty",
    "correction.preset=tis",
    "kl.reference=initial",
    "kl.coefficient=0.01",
    "kl.refresh_every=3",
    "rollout.capture_routing=true",
    "learner.routing=replay_rollout",
    "rollout.max_turns=3",  # of the rows whose checker is an environment
    "rollout.max_response_tokens=24",
)
WORLD, HELD, ANEW = (f"tests/toys/world.py:{name}" for name in ("again", "again_held", "anew"))
PROMPTS = 24  # so few that they come back within the run
# What a clock says is another thing every time; everything else must repeat to the last bit.
CLOCKED = ("seconds", "share", "tokens_per_second", "publish/seconds", "window/", "learner/restarts", "engines/", "groups/stragglers")
CLOCKED += tuple(f"turns/{arrow}" for arrow in ARROWS)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """What both runs are told: a config of two sources, in forms and with fields of their own, and two eval sets."""
    folder = tmp_path_factory.mktemp("data")
    rows = [json.loads(line) for line in Path(".cache/tiny/train.jsonl").read_text().splitlines()[:PROMPTS]]
    (folder / "nested").mkdir()
    with (folder / "nested" / "rows.jsonl").open("w") as file:
        file.writelines(json.dumps({"asked": {"sum": row["prompt"]}, "gold": [{"is": row["answer"]}]}) + "\n" for row in rows[::2])
    with gzip.open(folder / "table.csv.gz", "wt") as file:
        file.writelines(["prompt,answer\n", *(f"{row['prompt']},{row['answer']}\n" for row in rows[1::2])])
    recipe = Path(CONFIG).read_text()
    without = [line for line in recipe.splitlines() if not line.startswith("train = ")]
    (folder / "run.toml").write_text("\n".join(without))
    nested = {"path": folder / "nested", "share": 0.75, "prompt_field": "asked.sum", "reference_field": "gold.-1.is", "checker": WORLD}
    tables = {
        "sources.nested": nested,
        "sources.table": {"path": folder / "table.csv.gz", "share": 0.25, "checker": ANEW},
        "evals.seen": {"path": folder / "table.csv.gz", "limit": 8, "responses": 2, "checker": HELD},
    }
    keys = [f"data.{table}.{key}={value}" for table, values in tables.items() for key, value in values.items()]
    return (str(folder / "run.toml"), *SETTINGS, *keys)


def command(run: Path, settings: tuple[str, ...], *overrides: str) -> list[str]:
    """The command that trains with the settings' own config file."""
    config, *keys = settings
    name, _, *others = train(run, *keys, *overrides)
    return [name, config, *others]


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory, settings: tuple[str, ...]) -> Path:
    """A run that nobody disturbs."""
    folder = tmp_path_factory.mktemp("straight")
    with driving(command(folder / "run", settings), folder) as driver:
        assert driver.wait() == 0, driver.text()
        assert driver.wait_for_nobody() == []
        (folder / "run" / "said.txt").write_text(driver.text())
    return folder / "run"


@pytest.fixture(scope="module")
def resumed(tmp_path_factory: pytest.TempPathFactory, settings: tuple[str, ...]) -> Path:
    """The same run, its driver killed in the middle of step 6 and continued from the checkpoint of step 4.

    Until then its weights travel by NCCL, with a stand-in for the communicator alone, in several chunks. Then it goes on on a
    machine with a GPU that its packages cannot use. That may change nothing.
    """
    folder = tmp_path_factory.mktemp("resumed")
    run = folder / "run"
    with driving(command(run, settings, "rollout.transfer=nccl"), folder, nccl_on_cpus()) as driver:
        wait_for_step(driver, run, 5)
        driver.process.send_signal(signal.SIGKILL)
        assert driver.wait_for_nobody() == [], "a killed driver must take all its processes along"
    (folder / "killed.json").write_text(json.dumps(metrics(run)))
    with driving(command(run, settings, "run.resume=auto"), folder, gpu_box(1)) as driver:
        assert driver.wait() == 0, driver.text()
        assert "cannot use the 1 GPU that is there" in driver.text()
        assert "after step 4" in driver.text()
    return run


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, settings: tuple[str, ...]) -> Path:
    """The same run with engine and rank taking turns, stopped by Ctrl-C after step 3, continued, and its rank killed after step 5."""
    folder = tmp_path_factory.mktemp("shared")
    run = folder / "run"
    turns = ("placement.share=true", "rollout.transfer=ipc")
    with driving(command(run, settings, *turns), folder) as driver:
        wait_for_step(driver, run, 3)
        driver.process.send_signal(signal.SIGINT)
        assert driver.wait() == 130, driver.text()
        assert driver.wait_for_nobody() == []
    with driving(command(run, settings, *turns, "run.resume=auto"), folder) as driver:
        wait_for_step(driver, run, metrics(run)[-1]["step"] + 1)  # the stop came at step 3, or at 4 where that had begun
        driver.actors("RewardActor")[0].kill()
        wait_for_step(driver, run, 5)
        driver.actors("LearnerActor")[0].kill()
        assert driver.wait() == 0, driver.text()
        assert driver.wait_for_nobody() == []
        (run / "said.txt").write_text(driver.text())
    return run


def steps(run: Path) -> list[dict[str, float]]:
    return [row for row in metrics(run) if row["step"] > 0]


def weights(run: Path) -> list[tuple[int, str]]:
    with sqlite3.connect(run / "ledger.db") as db:
        return db.execute("SELECT step, weights FROM steps WHERE NOT undone ORDER BY step").fetchall()


def test_engine_and_learner_agree_on_every_log_prob_of_every_step(straight: Path) -> None:
    largest = [row["mismatch/max"] for row in steps(straight)]
    assert len(largest) == STEPS
    assert max(largest) <= 1e-4


def test_every_response_brings_the_experts_that_are_replayed(straight: Path) -> None:
    assert [row["routing/missing"] for row in steps(straight)] == [0.0] * STEPS
    assert "every pass of the policy replays the engine's experts" in (straight / "said.txt").read_text()


def test_rows_with_an_environment_have_several_turns_in_training_and_in_evaluation(straight: Path) -> None:
    """So the agreement of log-probs and experts, and the equality of a resumed run, are those of episodes too."""
    assert max(row["turns/max"] for row in steps(straight)) == 3
    assert all(1 < row["turns/mean"] < 3 and row["tokens/environment"] > 0 for row in steps(straight))
    shown = [json.loads(line) for line in (straight / "responses" / "step_000001.jsonl").read_text().splitlines()]
    turns = {name: [row["turns"] for row in shown if row["source"] == name and row.get("turns")] for name in ("nested", "table")}
    assert any(turn[0]["answered"].endswith("+2=") for turn in turns["nested"])
    assert any(turn[0].get("rewritten") for turn in turns["table"])
    assert all(row["learned_tokens"] <= row["tokens"] and row["reward/failures"] == 0 for row in steps(straight))


def test_no_token_is_stale_in_a_synchronous_run(straight: Path) -> None:
    assert [row["staleness/max"] for row in steps(straight)] == [0.0] * STEPS


def test_the_run_records_what_it_promises(straight: Path) -> None:
    keys = set(steps(straight)[0])
    wanted = {"reward/mean", "length/mean", "entropy", "clip/low", "clip/high", "grad_norm", "mismatch/mean", "mismatch/kl"}
    wanted |= {
        "publish/bytes",
        "publish/seconds",
        "window/generating",
        "window/waiting",
        "tokens_per_second",
        "seconds/generate",
        "share/learn",
        "staleness/mean",
    }
    wanted |= {f"mismatch/{name}" for name in ("k1", "chi2", "ess", "ratio_mean", "ratio_min", "ratio_max", "ratio_p999")}
    wanted |= {f"correction/{name}" for name in ("capped", "masked", "vetoed")} | {"reference_kl", "groups/rejected"}
    assert wanted <= keys
    assert sum(row["groups/rejected"] for row in steps(straight)) > 0
    assert steps(straight)[2]["reference_kl"] > steps(straight)[3]["reference_kl"], "the reference was renewed after step 3"
    assert metrics(straight)[0]["step"] == 0
    assert 0 < metrics(straight)[0]["eval/greedy"] < 1
    assert (straight / "reward.png").stat().st_size > 10_000
    shown = [json.loads(line) for line in (straight / "responses" / "step_000001.jsonl").read_text().splitlines()]
    assert shown
    assert all(row["prompt"].endswith("=") and row["reward"] in (0.0, 1.0) and row["response"] for row in shown)
    said = (straight / "said.txt").read_text()
    assert {row["finish"] for row in shown} <= {"stop", "length"}
    assert "\non one machine (127.0.0.1): 1 engine, 1 rank\n" in said
    assert json.loads((straight / "nodes.json").read_text()) == {"engine-0": "127.0.0.1", "learner-0": "127.0.0.1"}
    assert "\nheld-out " in said
    assert "\nseen " in said


def test_two_sources_of_other_forms_are_mixed_by_their_shares_and_reported_apart(straight: Path) -> None:
    with sqlite3.connect(straight / "ledger.db") as db:
        asked = [name.partition("/")[0] for (name,) in db.execute("SELECT prompt_id FROM groups ORDER BY group_id")]
    assert len(asked) > 2 * PROMPTS
    for count in range(1, len(asked) + 1):
        assert abs(asked[:count].count("nested") - 0.75 * count) < 1
    for row in steps(straight):
        assert row["source/nested/groups"] + row["source/table/groups"] == 16
        assert row["source/nested/sampler/effective"] > 0
    assert {"source/table/reward", "source/table/length", "source/table/truncated", "source/nested/epochs"} <= steps(straight)[0].keys()
    shown = (straight / "responses" / "step_000001.jsonl").read_text().splitlines()
    assert {json.loads(line)["source"] for line in shown} <= {"nested", "table"}


def test_each_eval_set_is_reported_under_its_name(straight: Path) -> None:
    before = metrics(straight)[0]
    assert {"eval/greedy", "eval/pass@1", "eval/seen/greedy", "eval/seen/pass@2", "eval/seen/mean@2", "eval/seen/failures"} <= before.keys()
    said = (straight / "said.txt").read_text()
    assert f"before training: held-out correctness {before['eval/greedy']:.3f}, seen {before['eval/seen/greedy']:.3f}" in said
    assert "nested: 12 prompts from " in said


def test_every_published_version_has_weights_of_its_own(straight: Path) -> None:
    prints = [fingerprint for _, fingerprint in weights(straight)]
    assert len(set(prints)) == STEPS
    assert all(len(fingerprint) == 32 for fingerprint in prints)


def test_a_killed_and_resumed_run_ends_bitwise_where_the_straight_one_does(straight: Path, resumed: Path) -> None:
    assert weights(resumed) == weights(straight)
    there = [{k: v for k, v in row.items() if not k.startswith(CLOCKED)} for row in metrics(straight)]
    here = [{k: v for k, v in row.items() if not k.startswith(CLOCKED)} for row in metrics(resumed)]
    assert here == there


def test_a_run_that_takes_turns_on_one_place_is_bitwise_the_one_that_does_not(straight: Path, shared: Path) -> None:
    assert weights(shared) == weights(straight)
    there = [{k: v for k, v in row.items() if not k.startswith(CLOCKED)} for row in metrics(straight)]
    here = [{k: v for k, v in row.items() if not k.startswith(CLOCKED)} for row in metrics(shared)]
    assert here == there
    assert {f"turns/{arrow}" for arrow in ARROWS} <= metrics(shared)[-1].keys()
    said = (shared / "logs" / "engine-0.log").read_text()
    assert "sleep mode is not supported on CPU, ignore it" in said, "the engine was asked to sleep"


def test_a_rank_and_a_reward_actor_that_are_killed_cost_steps_and_no_bit(straight: Path, shared: Path) -> None:
    said = (shared / "said.txt").read_text()
    assert re.search(r"warning: learner rank 0 died: all ranks start again, and the run goes back to step 4 .*Restart 1 of 3", said)
    assert re.search(r"warning: reward workers 0 \(process \d+\) died and started again", said)
    assert metrics(shared)[-1]["learner/restarts"] == 1
    with sqlite3.connect(shared / "ledger.db") as db:
        assert db.execute("SELECT from_step FROM attempts ORDER BY attempt").fetchall() in ([(0,), (3,), (4,)], [(0,), (4,), (4,)])
        assert db.execute("SELECT step FROM steps WHERE undone").fetchall()[-1] == (5,)
    assert weights(shared) == weights(straight)


def test_two_runs_of_one_seed_are_bitwise_equal_by_gloo_and_by_nccl(straight: Path, resumed: Path) -> None:
    killed = json.loads((resumed.parent / "killed.json").read_text())
    first = [{k: v for k, v in row.items() if not k.startswith(CLOCKED)} for row in metrics(straight)[: len(killed)]]
    assert [{k: v for k, v in row.items() if not k.startswith(CLOCKED)} for row in killed] == first


def test_the_ledger_shows_no_prompt_lost_or_learned_twice(straight: Path, resumed: Path) -> None:
    for run in (straight, resumed):
        newest = Checkpoints(load(run / "config.toml")).newest()
        assert newest is not None
        position = read_position(newest)
        ledger = Ledger(run / "ledger.db")
        assert ledger.faults(position.next_group, position.pending) == []
        ledger.close()
        audited = audit(run)
        assert [text for one in audited for text in one.violations] == []
        assert all(one.checked for one in audited)
    with sqlite3.connect(resumed / "ledger.db") as db:
        assert db.execute("SELECT count(*) FROM groups WHERE outcome = 'undone'").fetchone()[0] >= 16
        assert db.execute("SELECT count(*) FROM attempts").fetchone()[0] == 2
        learned = db.execute("SELECT group_id, prompt_id, step FROM groups WHERE outcome = 'learned' ORDER BY group_id").fetchall()
    with sqlite3.connect(straight / "ledger.db") as db:
        assert learned == db.execute("SELECT group_id, prompt_id, step FROM groups WHERE outcome = 'learned' ORDER BY group_id").fetchall()


def test_an_exported_run_loads_in_transformers_and_in_vllm_and_answers_as_the_run_did(straight: Path, tmp_path: Path) -> None:
    exported = tmp_path / "exported"
    with driving(["export", str(straight / "config.toml"), "--to", str(exported)], tmp_path) as driver:
        assert driver.wait() == 0, driver.text()
    model, report = AutoModelForCausalLM.from_pretrained(exported, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    tokenizer = AutoTokenizer.from_pretrained(exported)
    rows = [json.loads(line) for line in Path(".cache/tiny/eval.jsonl").read_text().splitlines()[:64]]
    right = 0
    for row in rows:
        ids = tokenizer(row["prompt"], add_special_tokens=False, return_tensors="pt").input_ids
        with torch.no_grad():
            answer = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, do_sample=False)[0, ids.shape[1] :]
        right += tokenizer.decode(answer, skip_special_tokens=True).strip() == row["answer"]
    accuracy = metrics(straight)[-1]["eval/greedy"]
    assert right / len(rows) == pytest.approx(accuracy, abs=1e-9)
    with driving(["evaluate", str(straight / "config.toml"), f"model.path={exported}", f"run.dir={tmp_path / 'none'}"], tmp_path) as driver:
        assert driver.wait() == 0, driver.text()
        assert f"eval/greedy {accuracy:.4f}" in driver.text()
