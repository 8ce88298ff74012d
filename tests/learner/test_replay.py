"""A whole policy under replay: bitwise the same with its own experts, different with others, and no token gets another token's experts."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from learner.batch.layout import Layout
from learner.batch.recorded import Recording
from learner.batch.row import Row
from learner.batch.tensors import Batch
from learner.experts.routers import expert_shape, routers_of
from learner.experts.routing import Recorder
from learner.model.policy import Policy
from rollout.types import Group
from tests.toys.batches import whole_batch
from tests.toys.moe import learn, moe_batch, moe_group, moe_policy, permuted

LENGTHS = [5, 1, 8, 3]  # so that every row but one has padding on the right


class Counter:
    """A watcher that counts the calls of each layer."""

    def __init__(self) -> None:
        self.seen: dict[int, int] = {}

    def see(self, layer: int, probs: Tensor, taken: Tensor, layout: Layout) -> None:
        assert probs.dtype == torch.float32
        assert probs.requires_grad
        self.seen[layer] = self.seen.get(layer, 0) + 1


def recorded(policy: Policy, batch: Batch) -> Recording:
    """The policy's live choices."""
    shape = expert_shape(policy.language_model)
    assert shape is not None
    recorder = Recorder(shape.dtype)
    with torch.no_grad():
        policy(batch, None, (recorder,))
    return recorder.recording(batch.attention)


def near(left: Tensor, right: Tensor) -> bool:
    """Equal up to the order of sums: experts compute the tokens of a pass together, so other tokens' choices change the last bit."""
    return torch.allclose(left, right, rtol=0, atol=1e-6)


def same(left: Any, right: Any) -> bool:
    (logprobs, gradient), (others, theirs) = left, right
    return torch.equal(logprobs, others) and gradient.keys() == theirs.keys() and all(torch.equal(gradient[n], theirs[n]) for n in gradient)


MODELS: dict[str, dict[str, Any]] = {
    "plain": {},
    "checkpointing": {"checkpointing": True},
    "dense layers": {"num_hidden_layers": 4, "mlp_only_layers": [0, 2]},
    "many experts": {"num_experts": 300, "num_experts_per_tok": 8},
    "weights not normed": {"norm_topk_prob": False},
}


@pytest.mark.parametrize("model", MODELS)
def test_replaying_the_live_choice_changes_nothing(model: str) -> None:
    policy = moe_policy(**MODELS[model])
    batch = moe_batch(moe_group(LENGTHS))
    live = learn(policy, batch)
    assert max(float(g.abs().max()) for g in live[1].values()) > 1e-3
    assert same(learn(policy, batch, recorded(policy, batch)), live)


@pytest.mark.parametrize("model", MODELS)
def test_replaying_another_choice_changes_log_probs_and_gradients_and_teaches_the_router(model: str) -> None:
    policy = moe_policy(**MODELS[model])
    batch = moe_batch(moe_group(LENGTHS))
    shape = expert_shape(policy.language_model)
    assert shape is not None
    other = permuted(recorded(policy, batch), shape.experts)
    live, replayed = learn(policy, batch), learn(policy, batch, other)
    assert float((live[0] - replayed[0]).abs().max()) > 1e-3
    routers = [name for name in replayed[1] if name.endswith("gate.weight")]
    assert len(routers) == len(shape.sparse)
    for name in routers:
        assert float(replayed[1][name].abs().max()) > 1e-5
        assert not torch.equal(replayed[1][name], live[1][name])


class ByHand(torch.nn.Module):
    """The router of a plain transformers model by the formula of replay: g_e = I_e exp(s_e) / sum of I_j exp(s_j)."""

    def __init__(self, router: Any, experts: Tensor) -> None:
        super().__init__()
        self.weight, self.experts = router.weight, experts

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        scores = functional.linear(hidden.reshape(-1, hidden.shape[-1]), self.weight)
        mask = torch.zeros_like(scores).scatter(1, self.experts, 1.0)
        gates = mask * scores.exp() / (mask * scores.exp()).sum(1, keepdim=True)
        return scores, gates.gather(1, self.experts), self.experts


@pytest.mark.parametrize("checkpointing", [False, True])
def test_replay_is_the_plain_model_with_the_gates_of_the_formula(checkpointing: bool) -> None:
    batch = moe_batch(moe_group(LENGTHS))
    policy = moe_policy(checkpointing=checkpointing)
    other = permuted(recorded(policy, batch), 4)
    ours = learn(policy, batch, other)
    plain = moe_policy()
    for layer, router in routers_of(plain).items():
        plain.language_model.model.layers[layer].mlp.gate = ByHand(router, other.experts[:, :, layer].flatten(0, 1).long())
    theirs = learn(plain, batch)
    torch.testing.assert_close(ours[0][batch.mask], theirs[0][batch.mask], atol=1e-5, rtol=0)
    assert ours[1].keys() == theirs[1].keys()
    for name, gradient in theirs[1].items():
        torch.testing.assert_close(ours[1][name], gradient, atol=1e-5, rtol=1e-4)


def test_a_recomputed_layer_replays_what_its_own_pass_did_and_tells_nobody_again() -> None:
    plain, policy = moe_policy(), moe_policy(checkpointing=True)
    batch = moe_batch(moe_group(LENGTHS))
    other = permuted(recorded(plain, batch), 4)
    counter = Counter()
    logprobs, _ = policy(batch, other, (counter,))
    # What a pass leaves behind must not be found by the layers of this one when they are computed again.
    policy(batch)
    with torch.no_grad():
        policy(batch, permuted(other, 4))
    torch.autograd.backward((logprobs * batch.advantages[:, None] * batch.mask).sum())
    assert counter.seen == {0: 1, 1: 1}
    expected = learn(plain, batch, other)
    assert torch.equal(logprobs, expected[0])
    for name, gradient in expected[1].items():
        assert torch.equal(dict(policy.named_parameters())[name].grad, gradient), name  # type: ignore[arg-type]


def test_a_pass_that_failed_leaves_the_next_one_free() -> None:
    policy, batch = moe_policy(), moe_batch(moe_group(LENGTHS))
    live = learn(policy, batch)
    other = permuted(recorded(policy, batch), 4)

    class Failing:
        def see(self, *_: Any) -> None:
            raise RuntimeError("a watcher's own fault")

    with pytest.raises(RuntimeError, match="own fault"):
        policy(batch, other, (Failing(),))
    assert policy.routing.now is None
    assert same(learn(policy, batch), live)


def test_tokens_whose_experts_are_not_known_choose_live() -> None:
    policy, batch = moe_policy(), moe_batch(moe_group(LENGTHS))
    live = learn(policy, batch)
    other = permuted(recorded(policy, batch), 4)
    assert same(learn(policy, batch, replace(other, known=torch.zeros_like(other.known))), live)
    known = batch.attention.clone()
    known[:, : batch.prompt_width + 1] = False  # the experts of what comes later cannot be felt before
    partly = learn(policy, batch, replace(other, known=known))
    assert near(partly[0][:, 0], live[0][:, 0])
    assert near(partly[0][:, 1], live[0][:, 1])
    assert not near(partly[0][0, 2:5], live[0][0, 2:5])
    assert near(partly[0][1, :1], live[0][1, :1]), "a row without known tokens is live"


def test_what_stands_on_padding_is_never_felt() -> None:
    policy, batch = moe_policy(), moe_batch(moe_group(LENGTHS))
    found = permuted(recorded(policy, batch), 4)
    rubbish = torch.where(batch.attention[..., None, None], found.experts, 3 - found.experts)
    known = replace(found, experts=rubbish, known=torch.ones_like(found.known))
    logprobs = learn(policy, batch, found)[0][batch.mask]
    assert near(learn(policy, batch, known)[0][batch.mask], logprobs)


def engine_experts(policy: Policy, lengths: list[int], prompt: int) -> dict[int, Any]:
    """The recording of each response by an engine that takes other experts: [P+T-1, L, K]."""
    batch = moe_batch(moe_group(lengths, prompt))
    found = permuted(recorded(policy, batch), 4)
    return {i: found.experts[i, batch.prompt_width - prompt : batch.prompt_width + n - 1].numpy() for i, n in enumerate(lengths)}


def rows_of(group: Group, place: int) -> list[Row]:
    """All responses of the group at a place of the step."""
    prompt = len(group.prompt.token_ids)
    return [
        Row(group=place, member=i, advantage=1.0, weight=0.1, prompt_tokens=prompt, tokens=prompt + len(response))
        for i, response in enumerate(group.responses)
    ]


def test_the_engines_experts_find_their_tokens_whatever_the_lengths() -> None:
    policy = moe_policy()
    long, short = engine_experts(policy, LENGTHS, 6), engine_experts(policy, [2, 7], 2)
    groups = [moe_group(LENGTHS, 6, long), moe_group([2, 7], 2, short)]
    shape = expert_shape(policy.language_model)
    rows = [row for g, group in enumerate(groups) for row in rows_of(group, g)]
    batch = whole_batch(rows, groups, 0, captured=shape)
    assert batch.experts is not None
    assert batch.unrouted == 0
    assert batch.experts.experts.dtype == torch.uint8
    together = learn(policy, batch, batch.experts)[0]
    for place, row in enumerate(rows):
        alone = whole_batch([row], groups, 0, captured=shape)
        assert alone.experts is not None
        # All tokens that the engine was fed are replayed: the prompt's, and the response's but its last.
        assert alone.experts.known[0].tolist() == [True] * (row.tokens - 1) + [False]
        expected = learn(policy, alone, alone.experts)[0][0]
        torch.testing.assert_close(together[place][batch.mask[place]], expected, atol=1e-6, rtol=0)
        unlike = learn(policy, alone)[0][0]
        assert float((unlike - expected).abs().max()) > 1e-4


def test_more_than_256_experts_travel_in_two_bytes() -> None:
    policy = moe_policy(num_experts=300, num_experts_per_tok=8)
    shape = expert_shape(policy.language_model)
    assert shape is not None
    assert shape.dtype == torch.int16
    experts = np.random.default_rng(0).permuted(np.tile(np.arange(300), (3 + 5 - 1, 2, 1)), axis=-1)[..., -8:].astype(np.uint16)
    group = moe_group([5, 2], 3, {0: experts})
    batch = whole_batch(rows_of(group, 0), [group], 0, captured=shape)
    assert batch.experts is not None
    assert (batch.experts.experts.dtype, batch.unrouted) == (torch.int16, 1)
    assert int(batch.experts.experts.max()) > 256
    assert np.array_equal(batch.experts.experts[0, :7].numpy(), experts)
    learn(policy, batch, batch.experts)


WRONG = {
    "none": lambda e: None,
    "one row short": lambda e: e[:-1],
    "one row long": lambda e: np.concatenate([e, e[-1:]]),
    "a layer short": lambda e: e[:, :1],
    "a layer long": lambda e: np.concatenate([e, e[:, :1]], axis=1),
    "an expert short": lambda e: e[:, :, :1],
    "an expert long": lambda e: np.concatenate([e, e[:, :, :1]], axis=2),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_recording_that_does_not_fit_is_never_shifted_but_live_or_masked_and_counted(wrong: str) -> None:
    policy = moe_policy()
    good = engine_experts(policy, LENGTHS, 3)
    experts = good | {2: WRONG[wrong](good[2])}
    group = moe_group(LENGTHS, 3, experts)
    shape, rows = expert_shape(policy.language_model), rows_of(group, 0)
    batch = whole_batch(rows, [group], 0, captured=shape)
    assert batch.experts is not None
    assert batch.unrouted == 1
    assert not batch.experts.known[2].any()
    assert batch.experts.known[[0, 1, 3]].any(1).all()
    masked = whole_batch(rows, [group], 0, captured=shape, mask_unrouted=True)
    assert masked.mask.sum(1).tolist() == [5, 1, 0, 3]
    assert not masked.token_weight[2].any()
    assert masked.unrouted == 1
    replayed, live = learn(policy, batch, batch.experts)[0], learn(policy, batch)[0]
    assert near(replayed[2], live[2])
    assert not near(replayed[0], live[0])


def test_a_response_known_in_part_replays_that_part_and_is_masked_whole() -> None:
    policy = moe_policy()
    good = engine_experts(policy, LENGTHS, 3)
    torn = good[0].copy()
    torn[4] = 255
    group = moe_group(LENGTHS, 3, good | {0: torn})
    shape, rows = expert_shape(policy.language_model), rows_of(group, 0)
    batch = whole_batch(rows, [group], 0, captured=shape, mask_unrouted=True)
    assert batch.experts is not None
    width = batch.prompt_width
    assert batch.experts.known[0, width - 3 :].tolist() == [True] * 4 + [False] + [True] * 2 + [False] * 4
    assert batch.mask.sum(1).tolist() == [0, 1, 8, 3]
    learn(policy, batch, batch.experts)


def test_a_batch_of_which_nothing_is_known_and_an_idle_one_are_live() -> None:
    shape = expert_shape(moe_policy().language_model)
    group = moe_group(LENGTHS)
    nothing = whole_batch(rows_of(group, 0), [group], 0, captured=shape)
    assert nothing.experts is None
    assert nothing.unrouted == 4
    unasked = whole_batch(rows_of(group, 0), [group], 0)
    assert (unasked.experts, unasked.unrouted) == (None, 0)
    idle = whole_batch((), [group], 0, captured=shape, mask_unrouted=True)
    assert (idle.experts, idle.unrouted) == (None, 0)
    logprobs, gradient = learn(moe_policy(), idle)
    assert logprobs.isfinite().all()
    assert not any(g.any() for g in gradient.values())
