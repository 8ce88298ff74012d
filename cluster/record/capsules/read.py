"""Reads a capsule: what one step was learned from. NumPy and safetensors only; nothing of a capsule is executed.

    capsule.json        step, reasons, updates, metrics, and the size and hash of every other file
    config.toml         the run's config
    groups.json         prompts, references, texts and verdicts of the step's groups
    rank_N.safetensors  the rows that rank N learned: tokens, log-probs, masks, experts, advantages, token weights, losses

Legend: P prompt tokens and T response tokens of a row, K turns, L decoder layers, E experts a token, R ranks, U updates.
"""

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cluster.record.capsules.files import CAPSULE, CONFIG, GROUPS, Damage, find_damage, rank_file, read_tensors
from cluster.record.capsules.groups import Member, read_members, read_summary
from configs.digits import read_long_json
from configs.errors import InputError
from rollout.types import GroupSummary

FORMAT = 1  # of the files; a reader refuses any other one

Floats = NDArray[np.float32]
Table = dict[str, NDArray[Any]]


class NoCapsule(InputError):
    """A folder that holds no capsule, or one that cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CapsuleRow:
    """What was learned of a response; of an episode whose context was rewritten, one of its segments."""

    group_id: int
    position: int  # of its group among the step's groups
    member: int  # of the group
    segment: int  # of the response
    update: int  # of the step
    rank: int
    micro_batch: int  # of the rank's in this update
    prompt_ids: NDArray[np.int32]  # [P], of a later segment the context that an environment wrote
    token_ids: NDArray[np.int32]  # [T]
    sampled: NDArray[np.bool_]  # [T], False on tokens of an environment or a tool
    mask: NDArray[np.bool_]  # [T], True on tokens that were learned
    logprobs: Floats  # [T], of the policy in the pass that learned
    old_logprobs: Floats  # [T], of the policy at the start of the step
    engine_logprobs: Floats | None  # [T], None where the engine reported none
    reference_logprobs: Floats | None  # [T], None without a reference
    ratios: Floats  # [T], of the loss, 1 off the mask
    advantages: Floats  # [T]
    token_weights: Floats  # [T]
    entropy: Floats | None  # [T], where its bonus is in the loss
    measured_logprobs: Floats | None  # [T], as the old ones, of the pass that measured a KL in the reward
    log_shift: Floats | None  # [T], RSPO's router shift, where it is in use
    spans: NDArray[np.int32]  # [K, 2], where each turn of the model begins and ends
    experts: NDArray[Any] | None  # [P+T, L, E], those that the tokens replayed; None if there was none
    experts_known: NDArray[np.bool_] | None  # [P+T], False where the router chose live
    advantage: float  # of the plan, float64; with credit by turn of the first turn
    by_turn: tuple[float, ...]  # of each turn of the row; empty where they all have one
    weight: float  # of each learned token in the update's loss, float64
    first_turn: int  # the turns of the response's earlier segments
    oldest_version: int
    newest_version: int
    own_context: bool  # whether `prompt_ids` is another one than the group's prompt

    @property
    def where(self) -> str:
        """The response that it belongs to, for a message."""
        later = f", segment {self.segment}" if self.segment else ""
        return f"group {self.group_id}, response {self.member}{later}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CapsuleGroup:
    """A group of the step with its verdicts, learned or not."""

    position: int
    summary: GroupSummary
    prompt: Mapping[str, Any]  # prompt, question, reference, checker, columns, … as a line of `responses/` names them
    members: Sequence[Member] | None  # [G], None where the engine's node was lost with the texts
    rewards: Sequence[float | None]  # [G], None where a response has none
    advantages: Sequence[float | None]  # [G], None where a response was not learned

    @property
    def group_id(self) -> int:
        return self.summary.group_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """An optimizer update of the step."""

    losses: Sequence[Sequence[float]]  # [R][micro-batch], as the ranks computed them; their sum is the update's loss
    norm: float | None  # of the gradient before clipping; None where it was not finite or there was no update

    @property
    def loss(self) -> float:
        """The loss that the update made smaller."""
        return float(sum(sum(of_rank) for of_rank in self.losses))


@dataclass(frozen=True, kw_only=True)
class Capsule:
    """One step of a run."""

    folder: Path
    step: int
    reasons: Sequence[str]  # why it was kept: "due", "update dropped", …
    version: str  # of Gatewise
    ranks: int
    entropy_coefficient: float
    metrics: Mapping[str, float | None]
    rows: Sequence[CapsuleRow]  # rank by rank, in the order in which they were learned
    groups: Sequence[CapsuleGroup]
    updates: Sequence[Update]
    damage: Sequence[Damage] = field(default=())  # files that are not what the run wrote

    @cached_property
    def config(self) -> dict[str, Any]:
        """The run's config as a table; `configs.loader.load` reads `config.toml` into a `Config`."""
        return tomllib.loads((self.folder / CONFIG).read_text(encoding="utf-8"))

    @property
    def reason(self) -> str:
        return ", ".join(self.reasons)

    @property
    def loss(self) -> float:
        """The mean loss of the step's updates, as in `metrics.jsonl`."""
        learned = [update.loss for update in self.updates if any(map(len, update.losses))]
        return float(np.mean(learned)) if learned else 0.0

    def row(self, group_id: int, member: int, segment: int = 0) -> CapsuleRow | None:
        """A row of the step; None where that response was not learned."""
        return self._by_name.get((group_id, member, segment))

    @cached_property
    def _by_name(self) -> dict[tuple[int, int, int], CapsuleRow]:
        return {(row.group_id, row.member, row.segment): row for row in self.rows}


def list_capsules(run_dir: Path) -> list[Path]:
    """The capsules of a run, by their steps."""
    return sorted(path.parent for path in (run_dir / "capsules").glob(f"step_*/{CAPSULE}"))


def read_capsule(folder: Path) -> Capsule:
    """The capsule in a folder; NoCapsule where there is none, or one that is cut short or of another version.

    A file that was changed since is read all the same, if it can be: `damage` names it.
    """
    head = read_head(folder)
    try:
        damage = find_damage(folder, head)
    except OSError as error:
        raise NoCapsule(f"{folder} cannot be read ({error}): let this user read its files") from error
    if missing := [one for one in damage if one.unreadable]:
        raise NoCapsule(f"{folder} is not whole: {'; '.join(map(str, missing))}: copy the capsule again, or use another one")
    try:
        groups = read_long_json((folder / GROUPS).read_bytes())
        summaries = [read_summary(group["summary"]) for group in groups]
        tables = [read_tensors(folder / rank_file(rank)) for rank in range(head["ranks"])]
        rows = [row for rank, table in enumerate(tables) for row in rows_of(table, rank, [summary.group_id for summary in summaries])]
        return Capsule(
            folder=folder,
            step=int(head["step"]),
            reasons=tuple(map(str, head["reasons"])),
            version=str(head["gatewise"]),
            ranks=int(head["ranks"]),
            entropy_coefficient=float(head["entropy_coefficient"]),
            metrics=head["metrics"],
            rows=rows,
            groups=[group_of(place, found, summary, rows) for place, (found, summary) in enumerate(zip(groups, summaries, strict=True))],
            updates=[update_of(number, norm, tables) for number, norm in enumerate(head["norms"])],
            damage=damage,
        )
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError) as error:
        said = "; ".join(map(str, damage)) or f"{type(error).__name__}: {error}"
        raise NoCapsule(f"{folder} cannot be read as a capsule ({said}): copy the capsule again, or use another one") from error


def read_head(folder: Path) -> dict[str, Any]:
    """`capsule.json`; NoCapsule where there is none of this version's format."""
    path = folder / CAPSULE
    try:
        there = path.is_file()
    except OSError as error:
        raise NoCapsule(f"{folder} cannot be read ({error}): let this user read its files") from error
    if not there:
        near = next(filter(None, map(list_capsules, (folder, *list(folder.parents)[:3]))), [])
        here = f"; capsules are in {', '.join(str(found) for found in near[:3])}{' …' if near[3:] else ''}" if near else ""
        what = f"has no {CAPSULE}" if folder.is_dir() else "is no folder"
        raise NoCapsule(f"{folder} holds no capsule: it {what}; give a folder such as RUN/capsules/step_000012{here}")
    try:
        head = json.loads(path.read_text(encoding="utf-8"))
        found, version = head["format"], head.get("gatewise", "another version")
    except OSError as error:
        raise NoCapsule(f"{path} cannot be read ({error}): let this user read it") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise NoCapsule(f"{path} is cut short or no capsule's ({error}): copy the capsule again, or use another one") from error
    if found != FORMAT:
        raise NoCapsule(
            f"{folder} was written by Gatewise {version} in format {found}, and this version reads format {FORMAT}: use that one"
        )
    if lacking := [key for key in ("step", "reasons", "ranks", "norms", "metrics", "files", "entropy_coefficient") if key not in head]:
        raise NoCapsule(f"{path} lacks {', '.join(lacking)}: copy the capsule again, or use another one")
    return dict(head)


def rows_of(table: Table, rank: int, group_ids: Sequence[int]) -> list[CapsuleRow]:
    """The rows of one rank's file: arrays of all its rows behind one another, cut where each begins."""
    prompts, tokens, turns = (np.cumsum(table[f"row.{name}"])[:-1] for name in ("prompt_tokens", "tokens", "turns"))
    whole = np.cumsum(table["row.prompt_tokens"] + table["row.tokens"])[:-1]
    levels = np.cumsum(table["row.by_turn"])[:-1]
    count = len(table["row.group"])

    def cut(name: str, places: NDArray[Any]) -> Sequence[Any]:
        return np.split(table[name], places) if name in table else [None] * count

    of_tokens = {name: cut(name, tokens) for name in (*ALWAYS, *SOMETIMES)}
    of_prompts, of_spans, of_levels = cut("prompt_ids", prompts), cut("spans", turns), cut("by_turn", levels)
    experts, known = cut("experts", whole), cut("experts_known", whole)

    def named(i: int) -> dict[str, Any]:
        return {name: int(table[f"row.{name}"][i]) for name in NUMBERS} | {name: parts[i] for name, parts in of_tokens.items()}

    return [
        CapsuleRow(
            group_id=group_ids[int(table["row.group"][i])],
            position=int(table["row.group"][i]),
            rank=rank,
            prompt_ids=of_prompts[i],
            spans=of_spans[i],
            by_turn=tuple(of_levels[i].tolist()),
            experts=experts[i] if known[i] is not None and known[i].any() else None,
            experts_known=known[i] if known[i] is not None and known[i].any() else None,
            advantage=float(table["row.advantage"][i]),
            weight=float(table["row.weight"][i]),
            own_context=bool(table["row.own_context"][i]),
            **named(i),
        )
        for i in range(count)
    ]


NUMBERS = ("member", "segment", "update", "micro_batch", "first_turn", "oldest_version", "newest_version")
ALWAYS = ("token_ids", "sampled", "mask", "logprobs", "old_logprobs", "ratios", "advantages", "token_weights")
SOMETIMES = ("engine_logprobs", "reference_logprobs", "measured_logprobs", "entropy", "log_shift")


def group_of(position: int, found: Mapping[str, Any], summary: GroupSummary, rows: Sequence[CapsuleRow]) -> CapsuleGroup:
    """A group of `groups.json` with the advantages of its rows."""
    learned = {row.member: row.advantage for row in reversed(rows) if row.position == position}
    return CapsuleGroup(
        position=position,
        summary=summary,
        prompt=found["prompt"],
        members=read_members(found),
        rewards=[float(reward) if np.isfinite(reward) else None for reward in summary.rewards],
        advantages=[learned.get(member) for member in range(len(summary.rewards))],
    )


def update_of(number: int, norm: float | None, tables: Sequence[Table]) -> Update:
    """An update with the losses of every rank's micro-batches."""
    return Update(losses=[table["losses"][table["losses.update"] == number].tolist() for table in tables], norm=norm)
