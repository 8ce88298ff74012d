"""The parts of a selfcheck in the order of the table: each has a stable key, a title, and a function that judges what the runs left."""

from collections.abc import Callable
from dataclasses import dataclass

from cluster.commands.selfcheck.evidence import Evidence
from cluster.commands.selfcheck.parts import death, engine, export, learn, mismatch, publish, resume, sleep
from cluster.commands.selfcheck.rows import Measured, PartFailed, PartSkipped, Row, Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part. `judge` raises PartFailed or PartSkipped, or returns what it measured."""

    key: str
    title: str
    judge: Callable[[Evidence], Measured]
    on_cpu: str = ""  # what stands in for the part's GPU side on a machine without


AFTER_FIRST = (
    Part(key="engine", title="engines start and generate", judge=engine.judge, on_cpu="eager mode for CUDA graphs"),
    Part(key="publish", title="identity publish, proven", judge=publish.judge, on_cpu="gloo for NCCL, a copy in host memory"),
    Part(key="mismatch_live", title="mismatch, live experts", judge=mismatch.judge_live, on_cpu="CPU kernels"),
    Part(key="mismatch_replayed", title="mismatch, replayed experts (R3)", judge=mismatch.judge_replayed, on_cpu="CPU kernels"),
    Part(key="learn", title="two training steps", judge=learn.judge, on_cpu="a matrix product on the CPU"),
    Part(key="sleep", title="sleep and wake", judge=sleep.judge, on_cpu="vLLM ignores sleep without a GPU"),
    Part(key="engine_killed_generating", title="engine killed, generating", judge=death.judge_generating),
)
AFTER_SECOND = (
    Part(key="resume", title="resume from the checkpoint", judge=resume.judge),
    Part(key="engine_killed_publishing", title="engine killed, publishing", judge=death.judge_publishing, on_cpu="gloo for NCCL"),
)
AFTER_EXPORT = (Part(key="export", title="export loads in transformers", judge=export.judge),)


def row_of(part: Part, found: Evidence) -> Row:
    """The line of a part."""
    stand_in = "" if found.gpu else part.on_cpu
    try:
        measured = part.judge(found)
    except PartSkipped as why:
        return Row(part=part.key, title=part.title, status=Status.SKIPPED, cause=str(why))
    except PartFailed as why:
        return Row(part=part.key, title=part.title, status=Status.FAIL, cause=str(why), stand_in=stand_in)
    return Row(part=part.key, title=part.title, status=Status.PASS, seconds=measured.seconds, numbers=measured.numbers, stand_in=stand_in)
