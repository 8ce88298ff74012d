"""Checkpoints: written under another name and renamed when whole, `latest` last. Only whole ones are ever found again."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cluster.record.metrics.best import best_step
from cluster.record.metrics.metrics import read_metrics
from cluster.record.metrics.sinks import METRICS
from cluster.record.saves.integrity import STATE, Files, State, damage, describe_files, read_state, write_state
from cluster.record.saves.replace import flush, replace_text
from configs.digits import write_long_json
from configs.errors import CheckpointError
from configs.schema import Config
from rollout.types import Prompt

STREAM = "stream.npz"  # what the prompt stream needs beside a position; absent if it needs nothing

Arrays = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Where a run stands between two steps: enough to submit the same prompts in the same order."""

    step: int
    next_group: int
    pending: Sequence[int]  # groups submitted and not yet settled; a tuple when it comes from a checkpoint
    data: str = ""  # the prompts, as `identify` names them; empty in checkpoints that do not record them
    references: str = ""  # what their rows are scored by, as `identify_references` names it; empty likewise


class Checkpoints:
    """The checkpoints of one run. The oldest are deleted first, never the only whole one."""

    def __init__(self, config: Config, prompts: Sequence[Prompt] = ()) -> None:
        self.folder, self.run_dir, self.keep_best = config.run_dir / "checkpoints", config.run_dir, config.run.keep_best
        self.keep, self.keep_every, self.ranks = config.run.keep_checkpoints, config.run.keep_every, config.learner.ranks
        self.data, self.references = identify(prompts), identify_references(prompts)

    def begin(self, step: int) -> Path:
        """An empty folder to write step's state into; it does not count until `commit`."""
        aside = self.folder / f"step_{step:06d}.tmp"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        return aside

    def discard(self, aside: Path) -> None:
        """Remove what a save that failed has written."""
        shutil.rmtree(aside, ignore_errors=True)

    def commit(self, aside: Path, position: Position, stream: Arrays | None = None, files: Sequence[Files] = ()) -> Path:
        """Make what the ranks wrote a checkpoint, with the stream's state: record sizes and hashes, flush, rename, write `latest` last.

        `files` are the files that each rank has written, hashed and flushed; all others are hashed and flushed here. RuntimeError if a
        rank's part is missing.
        """
        written = {name: found for of_rank in files for name, found in of_rank.items()}
        self._refuse_missing(aside, written)
        if stream:
            np.savez(aside / STREAM, allow_pickle=False, **stream)
        unknown = [path for path in sorted(aside.rglob("*")) if path.is_file() and str(path.relative_to(aside)) not in written]
        whole_position = asdict(replace(position, data=self.data, references=self.references))
        write_state(aside, whole_position, written | describe_files(aside, unknown))
        for path in [*unknown, *(path for path in aside.rglob("*") if path.is_dir()), aside / STATE, aside]:
            flush(path)
        whole = aside.with_suffix("")
        shutil.rmtree(whole, ignore_errors=True)
        aside.rename(whole)
        replace_text(self.folder / "latest", whole.name)
        self._delete_old()
        return whole

    def _refuse_missing(self, aside: Path, written: Files) -> None:
        """Raise RuntimeError if the driver does not see what the ranks have written."""
        needed = dict.fromkeys([f"rank-{rank}.json" for rank in range(self.ranks)], -1) | {
            name: of["bytes"] for name, of in written.items()
        }
        missing = [name for name, size in needed.items() if not (aside / name).is_file() or size not in (-1, (aside / name).stat().st_size)]
        if missing:
            raise RuntimeError(
                f"{aside} lacks {', '.join(missing[:8])} of {self.ranks} learner ranks, so it is no checkpoint: "
                "give a run.dir that the nodes of all ranks share"
            )

    def _delete_old(self) -> None:
        """Delete all but the newest whole checkpoints, the best one, those to keep for ever, and what a killed save or a resume left."""
        whole = self.whole()
        kept = [*whole[-self.keep :], *(path for path in whole if self.keep_every and step_of(path) % self.keep_every == 0)]
        kept += best_of(whole, self.run_dir) if self.keep_best else []
        for other in list(self.folder.glob("step_*")):
            if other not in kept:
                shutil.rmtree(other, ignore_errors=True)

    def whole(self) -> list[Path]:
        """Every checkpoint whose files are all there with their sizes, oldest first. Their contents are not read."""
        return whole_in(self.folder)

    def size(self) -> int:
        """Bytes of the newest whole checkpoint; 0 without one."""
        return read_state(newest).bytes if (newest := next(iter(reversed(self.whole())), None)) else 0

    def set_aside_after(self, step: int) -> None:
        """Rename checkpoints of later steps, so that they are not found again once the run continues. The next commit deletes them."""
        for path in _named(self.folder):
            if step_of(path) > step:
                undone = path.with_suffix(".undone")
                shutil.rmtree(undone, ignore_errors=True)
                path.rename(undone)

    def newest(self, *, read: bool = True) -> Path | None:
        """The newest complete checkpoint; a damaged one is skipped. Its files are read whole, once in a process, unless `read` is False."""
        return self.within(self.folder, read=read)

    @staticmethod
    def within(folder: Path, *, read: bool = True) -> Path | None:
        """The newest complete checkpoint of a folder `checkpoints` of any run."""
        return next((path for path in reversed(_named(folder)) if not faults(path, read=read)), None)

    def passed_over(self) -> list[str]:
        """The checkpoints after the newest complete one, each with what is wrong with it."""
        found = self.newest()
        return [f"{path.name} ({faults(path)[0]})" for path in _named(self.folder) if found is None or step_of(path) > step_of(found)]


def best_of(checkpoints: Sequence[Path], run_dir: Path) -> list[Path]:
    """The best of these checkpoints by the run's metrics; none where they say nothing of any."""
    rows = read_metrics(run_dir) if (run_dir / METRICS).exists() else []
    best = best_step(rows, map(step_of, checkpoints))
    return [path for path in checkpoints if best is not None and step_of(path) == best.step]


def whole_in(folder: Path) -> list[Path]:
    """The checkpoints in a folder `checkpoints` whose files are all there with their sizes, oldest first. Their contents are not read."""
    return [path for path in _named(folder) if not faults(path, read=False)]


def identify(prompts: Sequence[Prompt]) -> str:
    """A name for these prompts in this order, with their ids; empty for none."""
    if not prompts:
        return ""
    digest = sha256()
    for prompt in prompts:
        digest.update(f"{len(prompt.prompt_id)}:{prompt.prompt_id}:{len(prompt.token_ids)}:".encode())
        digest.update(prompt.token_ids.tobytes())
    return f"{len(prompts)} prompts, sha256 {digest.hexdigest()}"


def identify_references(prompts: Sequence[Prompt]) -> str:
    """A name for the references of these prompts in this order, their kept columns, and the checkers that rows name; empty for none."""
    if not prompts:
        return ""
    digest = sha256()
    for prompt in prompts:
        scored_by = [prompt.named_checker, prompt.reference, *([prompt.columns] if prompt.columns else [])]
        digest.update(write_long_json(scored_by, sort_keys=True, default=repr).encode() + b"\n")
    return f"sha256 {digest.hexdigest()}"


def refuse_changed_data(position: Position, prompts: Sequence[Prompt]) -> None:
    """Raise ValueError if a run would continue with other prompts, references or checkers of rows than it began with."""
    now = identify(prompts)
    if position.data and position.data != now:
        raise CheckpointError(
            f"the run learned from {position.data}, but data.train now gives {now}: "
            "restore the data, the tokenizer and tools.use as they were, or start a new run in another run.dir"
        )
    references = identify_references(prompts)
    if position.references and position.references != references:
        raise CheckpointError(
            f"the prompts of data.train are those that the run learned from, but their references, kept columns or named checkers are not "
            f"({position.references} in the run, {references} now): restore them, or start a new run in another run.dir, "
            "where run.from takes the weights of this one"
        )


def read_position(checkpoint: Path, *, read: bool = True) -> Position:
    """Where the run stood; ValueError if the folder is no whole checkpoint. `read = False` compares sizes and not contents."""
    wrong = faults(checkpoint, read=read)
    if wrong:
        raise CheckpointError(f'{checkpoint} is not a whole checkpoint ({wrong[0]}): choose another, or resume with "auto"')
    return _position(read_state(checkpoint))


def read_stream(checkpoint: Path) -> Arrays:
    """The prompt stream's state, as it was given to `commit`; empty if there was none."""
    if not (checkpoint / STREAM).is_file():
        return {}
    with np.load(checkpoint / STREAM, allow_pickle=False) as arrays:
        return dict(arrays)


def faults(checkpoint: Path, *, read: bool = True) -> list[str]:
    """What is missing, cut off or altered in a checkpoint; empty if it is whole. `read = False` compares sizes and not contents."""
    try:
        state = read_state(checkpoint)
        _position(state)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return [f"{STATE} cannot be read: {error}"]
    return damage(checkpoint, state, read=read)


def _position(state: State) -> Position:
    position = state.position
    return Position(
        step=position["step"],
        next_group=position["next_group"],
        pending=tuple(position["pending"]),
        data=position.get("data", ""),
        references=position.get("references", ""),
    )


def _named(folder: Path) -> list[Path]:
    """The checkpoints of a folder, whole or not, oldest first."""
    return sorted((path for path in folder.glob("step_*") if path.name[5:].isdecimal()), key=step_of)


def step_of(checkpoint: Path) -> int:
    """The step of a checkpoint, by its name."""
    return int(checkpoint.name[5:])
