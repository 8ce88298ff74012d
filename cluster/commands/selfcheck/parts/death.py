"""An engine dies without warning: while it generates, and in a publish."""

from cluster.commands.selfcheck.attempt import Attempt
from cluster.commands.selfcheck.evidence import Evidence, needed
from cluster.commands.selfcheck.rows import Measured, PartSkipped


def judge_generating(found: Evidence) -> Measured:
    """The groups of a dead engine go to another one, and the run goes on."""
    if found.config.rollout.most_engines == 1:
        raise PartSkipped("the run has one engine, so none is left to go on with; see engine_killed_publishing")
    refuse_unseen(found.first, found.config.run.steps - 1, found)
    return goes_on(found, found.first)


def judge_publishing(found: Evidence) -> Measured:
    """The run goes on where another engine is left; else it ends, and names the engine."""
    again = found.again()
    refuse_unseen(again, again.config.run.steps - 1, found)
    if found.config.rollout.most_engines > 1:
        return goes_on(found, again)
    assert again.death is not None, "the second run is told to lose an engine"
    needed(again.cause is not None, f"{again.death.name} was killed in a publish, and the run did not notice")
    assert again.cause is not None
    named = f"{again.cause.role} {again.cause.line} {again.cause.story}"
    needed(again.death.name in named, f"{again.death.name} was killed, but the run blames: {again.why()}")
    return Measured(numbers={"run": f"ended, naming {again.death.name}"}, seconds=again.seconds)


def refuse_unseen(attempt: Attempt, step: int, found: Evidence) -> None:
    """Raise PartSkipped where the engine runs on another machine, PartFailed where the run ended before its death."""
    found.step(step)
    needed(attempt.killed is not None, f"the run came to no publish in which an engine could be killed: {attempt.why()}")
    if not attempt.killed:
        raise PartSkipped("the engine runs on another machine, where this process cannot end it")


def goes_on(found: Evidence, attempt: Attempt) -> Measured:
    """The last step is on record with one engine less, and the death was announced."""
    assert attempt.death is not None, "the run was told to lose an engine"
    row = found.step(attempt.config.run.steps)
    left = attempt.config.rollout.most_engines - 1
    needed(row["engines"] == left, f"{row['engines']:g} engines work after the death of one of {left + 1}")
    announced = any(line.startswith(f"warning: {attempt.death.name} died") for line in attempt.said)
    needed(announced, f"{attempt.death.name} was killed, and the run said nothing about it")
    return Measured(numbers={"run": "went on", "engines_left": left}, seconds=row["seconds/step"])
