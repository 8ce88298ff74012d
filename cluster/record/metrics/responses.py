"""A response as people, `rewards audit` and `play` read it: a line of `responses/`."""

from typing import Any

from cluster.record.metrics.transcripts import turns_as_json
from rollout.scored import Scored, Text
from rollout.types import Finish, GroupSummary


def describe_response(scored: Scored, text: Text) -> dict[str, Any]:
    """One response of a group. Of several turns, `response` is the last one, and `turns` has them all."""
    member, response, verdict, transcript, versions = text
    prompt = scored.prompt
    return {
        "group": scored.summary.group_id,
        "member": member,
        "prompt_id": prompt.prompt_id,
        "prompt": prompt.text,
        "question": prompt.question,
        "row": prompt.where,
        **({"prefill": prompt.prefill} if prompt.prefill else {}),
        "response": response,
        **({"turns": turns_as_json(transcript, verdict)} if transcript else {}),
        **({"versions": list(versions)} if versions else {}),
        "tokens": int(scored.summary.sampled[member]),
        "finish": finish(scored.summary, member),
        "reference": prompt.reference,
        **({"columns": prompt.columns} if prompt.columns else {}),
        "checker": prompt.checker,
        **({"source": prompt.source} if prompt.source else {}),
        "reward": verdict.reward,
        "outcome": verdict.outcome,
        "failure": verdict.failure,
        "parts": verdict.parts,
        "words": verdict.words,
    }


def finish(summary: GroupSummary, member: int) -> Finish:
    """Why a response of a group ended."""
    if summary.aborted[member]:
        return Finish.ABORTED
    return Finish.LENGTH if summary.truncated[member] else Finish.STOP
