"""The responses that a run kept in `responses/`, read to be scored again."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.record.metrics.lines import step_files
from cluster.record.metrics.transcripts import read_transcript
from cluster.record.progress.harmless import harmless
from configs.digits import read_long_json
from configs.loader import load
from configs.schema import Config
from reward.asked import Asked
from reward.checkers import checkers_for_data
from rollout.seeds import seed_of_group, seed_of_response
from rollout.transcript.episode import Turn
from rollout.types import Finish

NEEDED = ("checker", "reference", "outcome", "reward", "response", "tokens")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One response as a line of `responses/`."""

    step: int
    row: dict[str, Any]

    @property
    def key(self) -> tuple[int, Any]:
        """The group that it belongs to."""
        return self.step, self.row.get("group")

    @property
    def where(self) -> str:
        row = self.row
        return f"step {self.step}, group {row.get('group')}, member {row.get('member')}, checker {row['checker']}"

    @property
    def turns(self) -> tuple[Turn, ...]:
        """Its transcript; empty for a response of one turn."""
        return read_transcript(self.row, self.where)


def config_of_run(folder: Path) -> Config:
    """The config in the run directory, without the second checker, whose verdicts are not part of the reward."""
    path = folder / "config.toml"
    if not path.is_file():
        raise ValueError(f"{folder} is no run directory: it has no config.toml; give run.dir of a run that has started")
    config = load(path)
    return config.model_copy(update={"reward": config.reward.model_copy(update={"second": None})})


def read_kept(folder: Path) -> tuple[list[Kept], int]:
    """Every recorded response, in order, and the number of other lines; ValueError for rows that lack what scoring needs."""
    kept, unreadable = [], 0
    for step, path in step_files(folder / "responses"):
        for row in rows_of(path):
            if row is None:
                unreadable += 1
            elif lacking := [name for name in NEEDED if name not in row]:
                raise ValueError(
                    f"{path} holds responses without {', '.join(lacking)}: an older version wrote it, without the fields that "
                    "scoring again needs; audit a run of this version"
                )
            else:
                kept.append(Kept(step=step, row=row))
    return kept, unreadable


def refuse_other_code(config: Config, kept: Sequence[Kept]) -> None:
    """Raise ValueError where a row names code that the run's config does not: a file of responses must not choose what runs here."""
    allowed = sorted({*checkers_for_data(config.reward.checker), *config.data.own_checkers})
    for one in kept:
        if one.row["checker"] not in allowed:
            raise ValueError(
                f"{harmless(one.where)} names checker {one.row['checker']!r}, needed one of {', '.join(allowed)}: the run's config "
                "names no such code; correct the row"
            )


def rows_of(path: Path) -> Iterator[dict[str, Any] | None]:
    """The objects of a file, None for any other line. Lines end in "\\n" alone, because responses may contain other line ends."""
    with path.open("rb") as lines:
        for line in lines:
            try:
                row = read_long_json(line)
            except ValueError:
                row = None
            yield row if isinstance(row, dict) else None


def whole_groups(kept: Sequence[Kept], size: int) -> dict[tuple[int, Any], tuple[str, ...]]:
    """The texts of every group of which all responses were kept, in the order of its members."""
    texts: dict[tuple[int, Any], dict[Any, str]] = {}
    for one in kept:
        texts.setdefault(one.key, {})[one.row.get("member")] = one.row["response"]
    members = set(range(size))
    return {key: tuple(found[member] for member in range(size)) for key, found in texts.items() if set(found) == members}


def asked_again(config: Config, kept: Kept, group: tuple[str, ...]) -> Asked:
    """The response as the run had it scored; its seed follows from the run's."""
    row, member = kept.row, kept.row.get("member", 0)
    return Asked(
        checker=row["checker"],
        response=row["response"],
        reference=row["reference"],
        tokens=row["tokens"],
        prompt=row.get("prompt", ""),
        question=row.get("question", ""),
        prefill=row.get("prefill", ""),
        row=row.get("row", ""),
        columns=row.get("columns", {}),
        truncated=row.get("finish") == Finish.LENGTH,
        group=group,
        index=member,
        seed=seed_of_response(config.run.seed, row.get("group", 0), member),
        turns=kept.turns,
        group_seed=seed_of_group(config.run.seed, row.get("group", 0)),
        over=row.get("finish") != Finish.STOP,
    )
