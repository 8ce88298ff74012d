"""Episodes on a real engine: each token has the log-prob and the experts that the learner computes for it, whatever happened on the way."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from configs.loader import load
from learner.batch.row import Row
from learner.model.policy import load_policy
from rollout.seeds import seed_of_response
from rollout.types import Finish, Group, Prompt, Response, Segment, Verdict
from tests.toys.batches import whole_batch
from tests.toys.capture_worker import FACTORS, OVERRIDES
from tests.toys.episodes import MEMBERS

pytestmark = pytest.mark.end_to_end

Part = Response | Segment
CLOSE = 1e-4


def parts_of(prompt: Prompt, response: Response) -> list[tuple[NDArray[np.int32], Part]]:
    """Each segment with the context that it begins with."""
    return [(prompt.token_ids if part.prompt_ids is None else part.prompt_ids, part) for part in response.segments]


def spans(part: Part) -> list[tuple[int, int]]:
    return [(0, len(part.token_ids))] if part.turns is None else [(int(began), int(ended)) for began, ended in part.turns]


@pytest.fixture(scope="module")
def episodes(answered: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = answered["episodes"]
    return found


def learner_logprobs(folder: Path, parts: Sequence[tuple[NDArray[np.int32], Part]], factor: float) -> list[NDArray[np.float32]]:
    """The learner's log-probs of every token of these segments [T], with the weights that `change_weights` makes."""
    policy = load_policy(load(folder / "config.toml", OVERRIDES))
    with torch.no_grad():
        for name, weight in policy.language_model.named_parameters():
            if name.endswith("norm.weight"):
                weight.mul_(factor)
    groups, rows = [], []
    for number, (head, part) in enumerate(parts):
        whole = Response(
            token_ids=part.token_ids, logprobs=part.logprobs, finish=Finish.STOP, oldest_version=0, newest_version=0, text=""
        )  # fmt: skip
        prompt = Prompt(prompt_id="", token_ids=head, reference="", checker="")
        groups.append(Group(group_id=number, prompt=prompt, responses=(whole,), verdicts=(Verdict(reward=1.0),)))
        tokens = len(head) + len(part.token_ids)
        rows.append(Row(group=number, member=0, advantage=0.0, weight=0.0, prompt_tokens=len(head), tokens=tokens))
    batch = whole_batch(rows, groups, 0)
    with torch.no_grad():
        live, _ = policy(batch, None)
    flat = live[batch.mask].numpy()
    return np.split(flat, np.cumsum([len(part.token_ids) for _, part in parts])[:-1])


def test_episodes_have_several_turns_and_segments_and_prefixes_from_the_cache(answered: dict[str, Any], episodes: dict[str, Any]) -> None:
    assert len(episodes["together"]) == MEMBERS
    assert {len(response.transcript) for response in episodes["together"]} == {3, 4, 5}
    assert sum(len(response.later) for response in episodes["together"]) == MEMBERS // 3
    assert sum(response.cut_replies for response in episodes["together"]) > 0
    assert max(answered["cached_in_episodes"]) >= 64
    for response in episodes["together"]:
        assert response.sampled[0]
        assert response.sampled[-1]


def test_an_episode_is_the_same_to_the_bit_whatever_else_the_engine_does(episodes: dict[str, Any]) -> None:
    """Some turns read their history from the prefix cache in one case and compute it in the other."""
    for together, alone in zip(episodes["together"], episodes["alone"], strict=True):
        assert [turn.said for turn in together.transcript] == [turn.said for turn in alone.transcript]
        for (_, ours), (_, theirs) in zip(*(parts_of(episodes["prompt"], each) for each in (together, alone)), strict=True):
            for name in ("token_ids", "logprobs", "routed_experts"):
                assert np.array_equal(getattr(ours, name), getattr(theirs, name)), name
    first, second = ([response.token_ids.tolist() for response in played] for played in episodes["greedy"])
    assert first == second
    assert max(len(response.transcript) for response in episodes["greedy"][0]) > 1


def test_experts_of_several_turns_are_those_of_one_request_that_reads_the_whole(episodes: dict[str, Any]) -> None:
    assert len(episodes["at_once"]) == MEMBERS + MEMBERS // 3 + 2 * len(episodes["agents"])
    for stitched, at_once in episodes["at_once"]:
        assert len(stitched) == len(at_once) - 1, "the whole has one token more, which it sampled"
        assert int((stitched != at_once[:-1]).sum()) == 0


def test_engine_and_learner_agree_on_every_sampled_token(captured_folder: Path, episodes: dict[str, Any]) -> None:
    played = [*episodes["together"], *episodes["agents"]]
    parts = [part for response in played for part in parts_of(episodes["prompt"], response)]
    seen = 0
    for (_, part), live in zip(parts, learner_logprobs(captured_folder, parts, 1.0), strict=True):
        for began, ended in spans(part):
            assert part.logprobs is not None
            assert np.abs(part.logprobs - live)[began:ended].max() <= CLOSE
            seen += ended - began
    assert seen == sum(response.sampled_tokens for response in played)
    for response in episodes["agents"]:
        assert [len(part.spans) for part in response.segments] == [3, 2], "two conversations, each a segment"
        assert response.prompt_ids is not None


def test_with_publishes_in_mid_episode_each_token_is_of_the_weights_of_its_version(captured_folder: Path, episodes: dict[str, Any]) -> None:
    first, responses = episodes["before"], episodes["published"]
    parts = [part for response in responses for part in parts_of(episodes["prompt"], response)]
    factors = np.cumprod([1.0, *FACTORS])
    live = {first + number: learner_logprobs(captured_folder, parts, float(factor)) for number, factor in enumerate(factors)}
    place, stale, crossed, told_apart = 0, set(), 0, 0
    for member, response in enumerate(responses):
        number = 0
        for _, part in parts_of(episodes["prompt"], response):
            for began, ended in spans(part):
                version, newest = episodes["versions"][seed_of_response(0, 7, member), number]
                crossed += version != newest
                for token in range(began, ended):
                    while abs(float(part.logprobs[token]) - float(live[version][place][token])) > CLOSE:
                        version += 1
                        assert version <= newest, "no version of this turn gives this log-prob"
                    others = [
                        abs(float(live[version][place][token] - other[place][token])) for name, other in live.items() if name != version
                    ]
                    told_apart += min(others) > CLOSE
                number += 1
            place += 1
        stale.add(response.newest_version - response.oldest_version)
    assert {1, 2} <= stale | {newest - oldest for oldest, newest in episodes["versions"].values()}
    assert crossed > 0, "some turns are cut by a publish"
    assert told_apart > 0.9 * sum(response.sampled_tokens for response in responses), "the versions must differ for this to mean something"
