"""A response as people, `rewards audit` and `play` read it: a line of `responses/`."""

from collections.abc import Collection, Sequence
from typing import Any

from cluster.record.metrics.lines import plain
from cluster.record.metrics.transcripts import turns_as_json
from configs.schema import Config
from learner.batch.plan import Weighed, weigh
from learner.loss.advantages import ACROSS_GROUPS
from rollout.types import Finish, GroupSummary
from rollout.window.scored import Scored, Text


def weighed_groups(config: Config, groups: Sequence[Scored], places: Collection[int]) -> dict[int, Weighed]:
    """The advantages of those of a step's groups that stand at `places`, as the learner plans them before any KL is taken off a reward.

    A step has thousands of groups and shows a few: the others are weighed only where an advantage compares them.
    """
    objective = config.objective
    together = objective.credit != "turn" and objective.resolved.advantage in ACROSS_GROUPS
    chosen = range(len(groups)) if together else sorted(places)
    summaries = [groups[place].summary for place in chosen]
    weighed = weigh(summaries, objective.resolved, objective.overlong_filter, config.reward, objective.credit)
    return dict(zip(chosen, weighed, strict=True))


def describe_response(scored: Scored, text: Text, weighed: Weighed | None = None) -> dict[str, Any]:
    """One response of a group. Of several turns, `response` is the last one, and `turns` has them all.

    With `weighed` it has its advantage, and the numbers of its whole group. An advantage is None where the response is not in the loss.
    """
    member, response, verdict, transcript, versions = text
    prompt = scored.prompt
    turns = turns_as_json(transcript, verdict)
    if weighed is not None and weighed.by_turn and weighed.learned[member]:
        turns = [{**turn, "advantage": float(own)} for turn, own in zip(turns, weighed.by_turn[member], strict=False)]
    return {
        "group": scored.summary.group_id,
        "member": member,
        "prompt_id": prompt.prompt_id,
        "prompt": prompt.text,
        "question": prompt.question,
        "row": prompt.where,
        **({"prefill": prompt.prefill} if prompt.prefill else {}),
        "response": response,
        **({"turns": turns} if transcript else {}),
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
        **({} if weighed is None else _numbers_of_group(weighed, member)),
    }


def _numbers_of_group(weighed: Weighed, member: int) -> dict[str, Any]:
    """The advantage of a response beside the rewards, the advantages and the lengths of its whole group."""
    advantages = [float(own) if learned else None for own, learned in zip(weighed.advantages, weighed.learned, strict=True)]
    return {
        "advantage": advantages[member],
        "group_rewards": [plain(reward) for reward in weighed.summary.rewards],
        "group_advantages": advantages,
        "group_tokens": weighed.summary.sampled.tolist(),
    }


def finish(summary: GroupSummary, member: int) -> Finish:
    """Why a response of a group ended."""
    if summary.aborted[member]:
        return Finish.ABORTED
    return Finish.LENGTH if summary.truncated[member] else Finish.STOP
