"""What must hold of a run after any faults: what its records say is what its model learned."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing

from benchmarks.faults.asked import PROMPTS
from benchmarks.faults.history import History
from benchmarks.faults.plan import Kind, Reference, Shape
from benchmarks.faults.toys import NAMES
from cluster.causes.cause import find_cause
from cluster.causes.chain import back_from, raised_by_us
from cluster.record.audit.audit import audit
from cluster.record.checkpoint import Checkpoints, read_position
from cluster.record.ledger import Ledger
from cluster.record.metrics.metrics import read_metrics
from configs.errors import GatewiseError, NoRun
from configs.schema import Config
from rollout.transfer.proof import fingerprint
from rollout.window.order import open_stream

BUGS = (
    AssertionError,
    AttributeError,
    LookupError,
    TypeError,
    ZeroDivisionError,
    NotImplementedError,
)  # no fault of a machine raises these


def violations(config: Config, shape: Shape, history: History, reference: Reference | None) -> Iterator[str]:
    """Everything that does not hold of a run that reached its last step."""
    yield from dict.fromkeys(history.violations)
    newest = Checkpoints(config).newest()
    if newest is None or (position := read_position(newest)).step != shape.steps:
        yield f"the newest whole checkpoint is {newest and newest.name}, needed that of step {shape.steps}"
        return
    text = (newest / "rank-0.json").read_text()
    if not text.endswith("}"):
        yield f"{newest.name} counts as whole, but its shard is cut off"
        return
    model = json.loads(text)
    yield from audited(config, is_over=True, without_power=any(Kind.POWER in text for text in history.struck))
    with closing(Ledger(config.run_dir / "ledger.db")) as ledger:
        yield from ledger.faults(position.next_group, position.pending)
        yield from differences(ledger.db, shape, model["lineage"])
        yield from unproven(ledger.db, history, model["weights"], shape.steps)
        yield from wrong_prompts(ledger.db, config)
    rows = [row["step"] for row in read_metrics(config.run_dir)]
    if rows != list(range(0 if shape.eval_every else 1, shape.steps + 1)):  # the first is the evaluation before training
        yield f"metrics.jsonl has the steps {rows}"
    if reference is not None and shape.staleness == 0 and model["weights"] != reference.weights:
        yield "the model is not that of the run without faults, though no token is stale"


def audited(config: Config, *, is_over: bool = False, without_power: bool = False) -> list[str]:
    """What `gatewise audit` says against a run; of one that is over it must have looked at everything.

    But for responses where a machine was `without_power`: they are never flushed, so a cut after the last step may take all of them.
    """
    try:
        found = audit(config.run_dir, config)
    except NoRun as error:  # where a driver was killed before its ledger had a table
        return [f"audit: {error}"] if is_over or Checkpoints(config).newest() else []
    violated = [f"audit, {one.name}: {text}" for one in found for text in one.violations]
    unseen = [one.name for one in found if is_over and not one.checked and not (without_power and one.name == "rewards")]
    return violated + [f"audit, {name}: nothing was checked" for name in unseen]


def differences(db: sqlite3.Connection, shape: Shape, lineage: list[tuple[int, list[int]]]) -> Iterator[str]:
    """What the model learned against what the ledger says that it learned."""
    rows = db.execute("SELECT step, group_id, oldest_version FROM groups WHERE outcome = 'learned' ORDER BY step, group_id").fetchall()
    said: dict[int, list[int]] = {}
    for step, group, oldest in rows:
        said.setdefault(step, []).append(group)
        if step - 1 - oldest > shape.staleness:
            yield f"group {group} was {step - 1 - oldest} steps stale in step {step}"
    learned = {step: sorted(groups) for step, groups in lineage}
    if learned != said:
        yield f"the model learned {learned}, the ledger says {said}"
    seen = [group for _, groups in lineage for group in groups]
    if len(seen) != len(set(seen)):
        yield f"the model learned a group twice: {sorted(seen)}"


def unproven(db: sqlite3.Connection, history: History, last: int, steps: int) -> Iterator[str]:
    """Steps whose published weights are none that the learner ever had after that step, or not the last checkpoint's."""
    for step, weights in db.execute("SELECT step, weights FROM steps WHERE NOT undone"):
        had = {last} if step == steps else history.weights.get(step, set())
        if weights not in {fingerprint(dict.fromkeys(NAMES, (one, 1))) for one in had}:
            yield f"step {step} published weights that the learner never had after it"


def wrong_prompts(db: sqlite3.Connection, config: Config) -> Iterator[str]:
    """Groups that got another prompt than their number says."""
    stream = open_stream(config.data, {"": len(PROMPTS)}, config.run.seed)
    for group, prompt in db.execute("SELECT group_id, prompt_id FROM groups ORDER BY group_id"):
        if PROMPTS[stream.index(group)].prompt_id != prompt:
            yield f"group {group} got the prompt {prompt}"


def is_typed(error: BaseException, config: Config) -> bool:
    """Whether an error that ended a driver names its cause: it is of a class of ours, names a role, or is in the table of known causes."""
    trail = list(back_from(error))
    if isinstance(trail[-1], BUGS):
        return False
    if any(isinstance(at, GatewiseError) for at in trail) or (isinstance(trail[-1], TimeoutError) and raised_by_us(trail[-1])):
        return True
    found = find_cause(error, config)
    return found.role is not None or found.advice is not None
