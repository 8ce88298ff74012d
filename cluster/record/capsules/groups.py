"""`groups.json` of a capsule: the step's groups with their prompts, texts, verdicts and the numbers of their summaries."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from cluster.record.metrics.lines import plain
from cluster.record.metrics.responses import describe_response
from rollout.types import GroupSummary, Outcome, SegmentSize, Verdict
from rollout.window.scored import Scored, Text

OF_THE_PROMPT = ("prompt_id", "prompt", "question", "row", "prefill", "reference", "columns", "checker", "source")
FLOATS = ("rewards", "correct", "environment_s")
COUNTS = ("lengths", "sampled", "turns", "tool_calls", "tool_errors", "cut_replies")
FLAGS = ("truncated", "aborted")
PLAIN = ("group_id", "prompt_id", "prompt_tokens", "oldest_version", "newest_version", "source", "scoring_s", "answering_s", "talks")


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A response of a group as people and checkers read it."""

    line: Mapping[str, Any]  # as a line of `responses/`: response, turns, tokens, finish, with the prompt's own fields
    verdict: Verdict

    @property
    def text(self) -> str:
        """Its words; of several turns the last one's."""
        return str(self.line["response"])


def describe_group(scored: Scored, texts: Sequence[Text] | None, prompt_ids: Sequence[int]) -> dict[str, Any]:
    """A group of the step. `texts` has every response's; None where they were lost."""
    lines = [describe_response(scored, text) for text in texts or ()]
    shown = lines or [describe_response(scored, Text(0, "", Verdict(reward=0.0)))]
    return {
        "prompt": {name: shown[0][name] for name in OF_THE_PROMPT if name in shown[0]} | {"token_ids": list(map(int, prompt_ids))},
        "summary": describe_summary(scored.summary),
        "responses": None
        if texts is None
        else [
            {name: value for name, value in line.items() if name not in OF_THE_PROMPT} | {"verdict": describe_verdict(text.verdict)}
            for line, text in zip(lines, texts, strict=True)
        ],
    }


def read_members(found: Mapping[str, Any]) -> list[Member] | None:
    """The responses of a group of `groups.json`."""
    if found["responses"] is None:
        return None
    prompt = {name: value for name, value in found["prompt"].items() if name != "token_ids"}
    return [
        Member(line={**prompt, **{name: value for name, value in one.items() if name != "verdict"}}, verdict=read_verdict(one["verdict"]))
        for one in found["responses"]
    ]


def describe_verdict(verdict: Verdict) -> dict[str, Any]:
    """A verdict with every number as it was."""
    return {one.name: getattr(verdict, one.name) for one in fields(verdict)} | {"turn_rewards": list(verdict.turn_rewards)}


def read_verdict(found: Mapping[str, Any]) -> Verdict:
    """A verdict from its description; ValueError or TypeError where it is none."""
    return Verdict(**{**found, "outcome": Outcome(found["outcome"]), "turn_rewards": tuple(found["turn_rewards"])})


def describe_summary(summary: GroupSummary) -> dict[str, Any]:
    """The numbers from which a step is planned. NaN is null."""
    turns = summary.turn_rewards
    return {
        **{name: getattr(summary, name) for name in PLAIN},
        **{name: getattr(summary, name).tolist() for name in (*COUNTS, *FLAGS)},
        **{name: numbers(getattr(summary, name)) for name in FLOATS},
        "outcomes": [str(outcome) for outcome in summary.outcomes],
        "failures": list(summary.failures),
        "parts": {name: numbers(values) for name, values in summary.parts.items()},
        "unfinished": None if summary.unfinished is None else summary.unfinished.tolist(),
        "turn_rewards": None if turns is None else [numbers(values) for values in turns],
        "segments": [[list(size) for size in sizes] for sizes in summary.segments],
    }


def read_summary(found: Mapping[str, Any]) -> GroupSummary:
    """A summary from its description."""
    turns = found["turn_rewards"]
    arrays: dict[str, Any] = {name: np.array(found[name], np.int64) for name in COUNTS}
    arrays |= {name: np.array(found[name], np.bool_) for name in FLAGS} | {name: floats(found[name]) for name in FLOATS}
    return GroupSummary(
        **{name: found[name] for name in PLAIN},
        **arrays,
        outcomes=tuple(map(Outcome, found["outcomes"])),
        failures=tuple(found["failures"]),
        parts={name: floats(values) for name, values in found["parts"].items()},
        unfinished=None if found["unfinished"] is None else np.array(found["unfinished"], np.bool_),
        turn_rewards=None if turns is None else tuple(map(floats, turns)),
        segments=tuple(tuple(SegmentSize(*size) for size in sizes) for sizes in found["segments"]),
    )


def numbers(values: Any) -> list[float | None]:
    """Numbers as JSON has them, NaN as null."""
    return [plain(value) for value in np.asarray(values).tolist()]


def floats(values: Sequence[float | None]) -> Any:
    """Numbers of JSON as float64 [n], null as NaN."""
    return np.array([np.nan if value is None else value for value in values], np.float64)
