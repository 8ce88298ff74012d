"""The transcript of an episode in JSON, and back: what the model said in each turn, and what was answered.

Seconds are left out, so that the same seed writes the same bytes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from rollout.transcript.episode import Answer, Turn
from rollout.types import Verdict

COUNTS = ("tool_calls", "tool_errors")  # of a turn's answer; absent where they are 0


def turns_as_json(transcript: Sequence[Turn], verdict: Verdict) -> list[dict[str, Any]]:
    """A dict a turn. `reward` is there where rewards belong to turns, `rewritten` where the answer replaced the context."""
    rewards = verdict.turn_rewards if len(verdict.turn_rewards) == len(transcript) else ()
    return [
        {
            "said": turn.said,
            "answered": turn.answer.words,
            **({"rewritten": list(turn.answer.rewritten)} if turn.answer.rewritten is not None else {}),
            **({"role": turn.answer.role} if turn.answer.role else {}),
            **{name: count for name in COUNTS if (count := getattr(turn.answer, name))},
            **({"cut": True} if turn.answer.cut else {}),
            **({"reward": rewards[place]} if rewards else {}),
        }
        for place, turn in enumerate(transcript)
    ]


def read_transcript(row: Mapping[str, Any], where: str) -> tuple[Turn, ...]:
    """The turns of a line of `responses/`, none for a response of one turn; ValueError where they are not what a run writes."""
    given = row.get("turns", [])
    if not isinstance(given, list) or not all(isinstance(turn, dict) for turn in given):
        raise ValueError(f"{where}: turns is no list of objects: correct the row, or leave it out")
    return tuple(_read_turn(turn, f"{where}, turn {number}") for number, turn in enumerate(given, start=1))


def _read_turn(turn: Mapping[str, Any], where: str) -> Turn:
    said, words, context, role = turn.get("said"), turn.get("answered"), turn.get("rewritten"), turn.get("role", "")
    counts = {name: turn.get(name, 0) for name in COUNTS}
    if not isinstance(said, str) or not isinstance(words, str | None) or not isinstance(role, str):
        raise ValueError(f"{where}: needed texts for said, answered and role, got {said!r:.80}, {words!r:.80} and {role!r:.80}")
    if context is not None and not (isinstance(context, list) and all(isinstance(message, dict) for message in context)):
        raise ValueError(f"{where}: needed a list of messages for rewritten, got {context!r:.80}")
    if not all(type(count) is int and count >= 0 for count in counts.values()):
        raise ValueError(f"{where}: needed whole numbers for {' and '.join(COUNTS)}, got {counts}")
    rewritten = None if context is None else tuple(context)
    return Turn(said=said, answer=Answer(words=words, role=role, rewritten=rewritten, cut=turn.get("cut") is True, **counts))


def transcript_lines(prompt: str, turns: Sequence[Mapping[str, Any]], width: int) -> list[str]:
    """A transcript as a person reads it: a line for the prompt, for each turn and for each answer, cut to `width` characters."""
    lines = [f"prompt  {shown(prompt, width)}"]
    for turn in turns:
        reward = f"  (reward {turn['reward']:g})" if turn.get("reward") else ""
        lines.append(f"model   {shown(turn['said'], width)}{reward}")
        if turn.get("rewritten") is not None:
            lines += [f"context {shown(str(message.get('content', '')), width)}" for message in turn["rewritten"]]
        elif turn["answered"] is not None:
            lines.append(f"answer  {shown(turn['answered'], width)}")
    return lines


def shown(text: str, width: int) -> str:
    """A text on one line, cut in the middle where it is longer than `width`."""
    line = text.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")
    line = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in line)
    return line if len(line) <= width else f"{line[: width // 2 - 1]} … {line[-(width // 2 - 2) :]}"
