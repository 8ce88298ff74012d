"""From the exception that ended a run to the cause that a person needs: `find_cause`. It works without the command line and without Ray."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster.causes.chain import back_from
from cluster.causes.choice import choose
from cluster.causes.died import how_it_died, last_words, lost_a_worker, oom_kills
from cluster.causes.known import filled, known
from cluster.causes.logs import latest
from cluster.causes.roles import ACTOR_ID, BehindARole, RoleFailed, RoleLate, node_of, process_of, role_of
from cluster.causes.row import Known
from cluster.causes.tracebacks import Chain, chains, one_line
from configs.errors import EngineFailed
from configs.schema import Config

MOST_LINES = 30  # of a failure on the terminal
EXCERPT = 16
LAST_WORDS = 6  # lines of the log of a process that died without a traceback
NEAR_THE_END = 120  # lines of such a log in which a traceback may still be the reason
POINTS_UP = re.compile(r"\babove\b (?:report|output|message|for)|[Ss]ee (?:the )?(?:log|output|report)")
ABOVE = 6  # lines of the log that such a message means
TROUBLE = re.compile(r"mismatch|missing|unexpected|error|failed", re.IGNORECASE)
LIBRARY_DIED = ("ActorDiedError", "ActorUnavailableError", "RayActorError", "EngineDeadError", "NodeDiedError", "WorkerCrashedError")
EXPECTED = (ValueError, RuntimeError, OSError, MemoryError)  # what settings, machines and other programs can cause


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Why a run ended: `line` in one line, and where to look and what to change where that is known."""

    line: str  # "Type: message"
    role: str | None = None  # "engine 0"; None if the driver itself failed
    node: str | None = None  # the address of the role's node
    log: Path | None = None
    story: str = ""  # what the driver was doing, in one line
    what: str = "failed"  # or "could not start", "died"
    excerpt: tuple[str, ...] = ()
    advice: str | None = None  # what to change in this run's config
    bug: bool = False  # nothing a user does should raise it

    @property
    def head(self) -> str:
        """Who failed, where, and the log that tells more."""
        where = f" on {self.node}" if self.node else ""
        return f"{self.role}{where} {self.what}; its log: {self.log}" if self.role else ""

    def lines(self, *more: str) -> list[str]:
        """What a terminal shows, at most MOST_LINES lines with `more` and the cause last."""
        shown = [
            self.head,
            self.story,
            *(f"  | {line}" for line in self.excerpt),
            f"what to do: {self.advice}" if self.advice else "",
            *more,
        ]
        shown = [line for line in shown if line]
        return [*shown[: MOST_LINES - 1], f"gatewise: {self.line}"]


def find_cause(error: BaseException, config: Config | None = None, *, oom_kills_before: int | None = None) -> Cause:
    """The cause of `error`, with the run's values in its advice if `config` is given. Reads the failed role's log."""
    trail = list(back_from(error))
    root = trail[-1]
    said = next((str(at) for at in reversed(trail) if ACTOR_ID.search(str(at))), "")
    role = role_of(said) or next((at.role for at in reversed(trail) if isinstance(at, RoleFailed | RoleLate)), None)
    values = config.model_dump() if config is not None else None
    if role is None:
        return _of_the_driver(root, values)
    log = latest(role.log)
    whats = [at.what for at in trail if isinstance(at, RoleFailed)]
    story = next((one_line(str(at)) for at in trail if isinstance(at, BehindARole) and not isinstance(at, RoleFailed)), "")
    died = any(type(at).__name__ in LIBRARY_DIED for at in trail) or "The actor died" in said or lost_a_worker(log)
    own, logged = chains(said), chains(log)
    silent = died and not own and not any(raised.fatal for chain in logged for raised in chain)
    chosen = choose(own, chains("\n".join(log.splitlines()[-NEAR_THE_END:])) if silent else logged, role.name)
    if chosen and isinstance(root, EngineFailed) and not own and (follows := known(chosen[0].line, role.name)) and follows.follows:
        chosen = None  # the driver itself judged this engine; its log tells of another member that was lost earlier
    if chosen:
        line, excerpt = chosen[0].line, _excerpt(chosen[1])
        if POINTS_UP.search(line):
            above = last_words(log, ABOVE)
            excerpt = [*above, *excerpt]
            line = next((one_line(f"{chosen[0].type}: {meant}") for meant in above if TROUBLE.search(meant)), line)
        row = known(line, role.name) or known("\n".join(raised.line for raised in chosen[1]), role.name)
    elif died:
        kills = oom_kills() - oom_kills_before if oom_kills_before is not None else 0
        how = how_it_died(log, said, kills)
        process = f" (process {process_of(said)})" if process_of(said) else ""
        line, excerpt = f"ProcessDied: {role.name}{process}: {how}", last_words(log, LAST_WORDS)
        row = known(how, role.name)
    else:
        line, excerpt = one_line(f"{type(root).__name__}: {root}"), last_words(log, LAST_WORDS)
        row = None
    return Cause(
        line=_named(line, row),
        role=role.name,
        node=node_of(said),
        log=role.log,
        what=whats[-1] if whats else "failed",
        story=story,
        excerpt=tuple(excerpt),
        advice=_advice(row, values),
    )


def _of_the_driver(root: BaseException, values: Mapping[str, object] | None) -> Cause:
    """The cause where no role failed. Our own ValueErrors say themselves what to do."""
    line = f"{type(root).__name__}: {root}".removesuffix(": ")
    if isinstance(root, ValueError):
        return Cause(line=line)
    row = known(line)
    return Cause(line=_named(one_line(line), row), advice=_advice(row, values), bug=not isinstance(root, EXPECTED) and not row)


def _named(line: str, row: Known | None) -> str:
    """The line with the plain name of a known cause: a library's own words may not give it away."""
    return f"{line} ({row.name})" if row else line


def _advice(row: Known | None, values: Mapping[str, object] | None) -> str | None:
    return filled(row.advice, values) if row else None


def _excerpt(chain: Chain) -> Sequence[str]:
    """The exceptions of a chain with the line of source that raised each."""
    lines: list[str] = []
    for raised in chain:
        if raised.place:
            lines.append(f"{raised.place}: {one_line(raised.code, 120)}")
        first, *rest = [line for line in f"{raised.type}: {raised.message}".splitlines() if line.strip()][:5]
        lines += [one_line(first, 300), *(f"  {one_line(line, 200)}" for line in rest)]
    return lines if len(lines) <= EXCERPT else [*lines[: EXCERPT - 3], "...", *lines[-2:]]
