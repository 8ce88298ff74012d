from dataclasses import replace

import numpy as np
import torch

from learner.batch.row import Row
from rollout.types import Finish, Group, Prompt, Response, Verdict
from tests.toys.batches import whole_batch
from tests.toys.learner import toy_group

PAD = 99


def response(tokens: list[int], logprobs: list[float], version: int = 0) -> Response:
    return Response(
        token_ids=np.array(tokens, np.int32),
        logprobs=np.array(logprobs, np.float32),
        finish=Finish.STOP,
        oldest_version=version,
        newest_version=version + 1,
        text="",
    )


def group(position: int, prompt: list[int], *responses: Response) -> Group:
    return Group(
        group_id=position,
        prompt=Prompt(prompt_id=str(position), token_ids=np.array(prompt, np.int32), reference=None, checker="toy"),
        responses=responses,
        verdicts=tuple(Verdict(reward=1.0) for _ in responses),
    )


def row(group: int, member: int, advantage: float = 1.0, weight: float = 0.5) -> Row:
    return Row(group=group, member=member, advantage=advantage, weight=weight, prompt_tokens=0, tokens=0)


GROUPS = {
    2: group(2, [1, 2, 3], response([4, 5], [-0.1, -0.2], version=7)),
    5: group(5, [6], response([0], [-9.0]), response([7, 8, 9], [-0.3, -0.4, -0.5], version=8)),
}


def test_responses_begin_in_one_column_whatever_the_prompts() -> None:
    batch = whole_batch([row(2, 0, 0.25, 0.5), row(5, 1, -1.5, 0.125)], GROUPS, PAD)
    assert batch.prompt_width == 3
    assert batch.token_ids.tolist() == [[1, 2, 3, 4, 5, PAD], [PAD, PAD, 6, 7, 8, 9]]
    assert batch.attention.int().tolist() == [[1, 1, 1, 1, 0, 0], [0, 0, 1, 1, 1, 0]], "the last token of a response predicts nothing"
    assert batch.position_ids[batch.attention].tolist() == [0, 1, 2, 3, 0, 1, 2]
    assert batch.answers.int().tolist() == [[1, 1, 0], [1, 1, 1]]
    assert batch.position_ids[batch.whole].tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3]
    assert batch.whole.int().tolist() == [[1, 1, 1, 1, 1, 0], [0, 0, 1, 1, 1, 1]]
    assert batch.mask.int().tolist() == [[1, 1, 0], [1, 1, 1]]
    torch.testing.assert_close(batch.engine_logprobs, torch.tensor([[-0.1, -0.2, 0], [-0.3, -0.4, -0.5]]))
    assert batch.advantages.tolist() == [0.25, -1.5]
    assert batch.token_weight.tolist() == [[0.5, 0.5, 0.0], [0.125, 0.125, 0.125]]
    assert batch.versions.tolist() == [7, 8]
    assert batch.bad_logprobs == 0


def test_types_are_those_the_loss_and_the_model_expect() -> None:
    for batch in (whole_batch([row(2, 0)], GROUPS, PAD), whole_batch([], GROUPS, PAD)):
        assert {t.dtype for t in (batch.token_ids, batch.position_ids, batch.versions)} == {torch.int64}
        assert {t.dtype for t in (batch.attention, batch.answers, batch.mask)} == {torch.bool}
        assert {t.dtype for t in (batch.engine_logprobs, batch.advantages, batch.token_weight)} == {torch.float32}


def test_a_sequence_of_groups_serves_as_well_as_a_mapping() -> None:
    by_position = whole_batch([row(0, 0)], [GROUPS[2]], PAD)
    assert by_position.token_ids.tolist() == [[1, 2, 3, 4, 5]]


def test_tokens_with_unusable_logprobs_are_masked_and_counted() -> None:
    groups = [group(0, [1], response([2, 3, 4, 5], [-0.1, float("nan"), float("-inf"), -0.2]))]
    batch = whole_batch([row(0, 0)], groups, PAD)
    assert batch.bad_logprobs == 2
    assert batch.mask.tolist() == [[True, False, False, True]]
    assert batch.attention.tolist() == [[True] * 4 + [False]]
    assert batch.engine_logprobs.isfinite().all()
    assert batch.token_weight.tolist() == [[0.5, 0.0, 0.0, 0.5]]


def test_no_rows_make_a_row_that_runs_but_teaches_nothing() -> None:
    batch = whole_batch([], {}, PAD)
    assert batch.token_ids.shape == batch.attention.shape == batch.position_ids.shape == (1, 2)
    assert batch.prompt_width == 1
    assert batch.mask.shape == batch.engine_logprobs.shape == batch.token_weight.shape == (1, 1)
    assert batch.attention.all()
    assert not batch.mask.any()
    assert not batch.token_weight.any()


def test_moving_a_batch_moves_every_tensor() -> None:
    batch = whole_batch([row(2, 0)], GROUPS, PAD).to("meta")
    tensors = [getattr(batch, name) for name in batch.__slots__ if isinstance(getattr(batch, name), torch.Tensor)]
    assert len(tensors) == 9
    assert {t.device.type for t in tensors} == {"meta"}
    assert batch.prompt_width == 3


def test_log_probs_that_one_response_lacks_are_masked_and_counted_and_of_none_are_absent() -> None:
    group = toy_group(1, members=3)
    lengths = [len(response) for response in group.responses]
    rows = [Row(group=0, member=m, advantage=1.0, weight=0.5, prompt_tokens=1, tokens=1 + n) for m, n in enumerate(lengths)]
    one = replace(group, responses=(*group.responses[:2], replace(group.responses[2], logprobs=None)))
    batch = whole_batch(rows, [one], 0)
    assert batch.bad_logprobs == lengths[2] > 0
    assert not batch.mask[2].any()
    none = replace(group, responses=tuple(replace(response, logprobs=None) for response in group.responses))
    batch = whole_batch(rows, [none], 0)
    assert batch.engine_logprobs is None
    assert (batch.bad_logprobs, int(batch.mask.sum())) == (0, sum(lengths))
