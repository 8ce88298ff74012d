"""One router: bitwise that of transformers when it chooses live, the formula of replay when it replays."""

import importlib
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from configs.families import FAMILIES, families_that
from learner.batch.layout import lay_out
from learner.batch.recorded import ExpertShape, Recording, usable_rows
from learner.experts.routers import STOCK, attach, expert_shape, routers_of
from learner.experts.routing import Pass, Recorder, Routing
from tests.toys.model import tiny_config
from tests.toys.moe import moe_policy

FOLLOWED = families_that(lambda row: row.followed)


class OneLayer(nn.Module):
    """A router at its place in a decoder."""

    def __init__(self, router: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.ModuleDict({"gate": router})])


def router_of(family: str, *, normed: bool = True, hidden: int = 64, experts: int = 8, top_k: int = 3) -> Any:
    """A random router of transformers."""
    config = tiny_config()
    config.hidden_size, config.num_experts, config.num_experts_per_tok, config.norm_topk_prob = hidden, experts, top_k, normed
    config.num_local_experts = experts
    module = importlib.import_module(f"transformers.models.{family}.modeling_{family}")
    router = getattr(module, str(FAMILIES[family].router))(config)
    nn.init.normal_(router.weight, generator=torch.Generator().manual_seed(1))
    return router


def followed(router: Any, routing: Routing, *, precise: bool) -> Any:
    attach(OneLayer(router), routing, precise=precise)
    return router


def hidden_states(dtype: torch.dtype, size: int = 64) -> Tensor:
    return torch.randn(20, size, generator=torch.Generator().manual_seed(2)).to(dtype)


@pytest.mark.parametrize("normed", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", FOLLOWED)
def test_a_followed_router_that_chooses_is_the_stock_router_to_the_last_bit(family: str, dtype: torch.dtype, normed: bool) -> None:
    router = router_of(family, normed=normed).to(dtype)
    stock = router(hidden_states(dtype))
    ours = followed(router, Routing(), precise=False)(hidden_states(dtype))
    for expected, got in zip(stock, ours, strict=True):
        assert got.dtype == expected.dtype
        assert torch.equal(got, expected)


@pytest.mark.parametrize("family", FOLLOWED)
def test_a_precise_router_computes_its_logits_in_float32_and_leaves_the_rest_in_the_models_type(family: str) -> None:
    hidden = hidden_states(torch.bfloat16)
    router = router_of(family).to(torch.bfloat16)
    blunt = router(hidden)[0]
    logits, weights, experts = followed(router, Routing(), precise=True)(hidden)
    expected = hidden.float() @ router.weight.float().T
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=0)
    assert float((blunt.float() - expected).abs().max().detach()) > 1e-2, "bf16 logits are what this is to be better than"
    assert torch.equal(experts, expected.softmax(-1).topk(3).indices)
    assert weights.dtype == (torch.float32 if FAMILIES[family].float32_gates else torch.bfloat16)
    whole = router_of(family)
    stock = whole(hidden_states(torch.float32))
    for left, right in zip(stock, followed(whole, Routing(), precise=True)(hidden_states(torch.float32)), strict=True):
        assert torch.equal(left, right), "in a float32 model it changes nothing"


def test_every_served_router_is_tested_and_found() -> None:
    assert {type(router_of(family)).__name__ for family in FOLLOWED} == set(STOCK)


def replay_one(router: Any, hidden: Tensor, experts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    routing = Routing()
    followed(router, routing, precise=True)
    layout = lay_out(torch.ones(1, len(hidden), dtype=torch.bool), packed=False)
    recording = Recording(experts=experts[None, :, None], known=torch.ones(1, len(hidden), dtype=torch.bool))
    with routing.during(Pass(layout, recording, ())):
        answer: tuple[Tensor, Tensor, Tensor] = router(hidden)
    return answer


def test_the_replayed_gate_is_the_softmax_over_the_recorded_experts() -> None:
    """Scores 2, 1, 0.9, -1; the engine took experts 0 and 2."""
    router = router_of("qwen3_moe", hidden=4, experts=4, top_k=2)
    router.weight.data.copy_(torch.eye(4))
    scores = torch.tensor([[2.0, 1.0, 0.9, -1.0]])
    logits, live, taken = router(scores)
    assert taken.tolist() == [[0, 1]]
    torch.testing.assert_close(live, torch.tensor([[0.731059, 0.268941]]), atol=1e-6, rtol=0)
    for order, gates in (([0, 2], [0.750260, 0.249740]), ([2, 0], [0.249740, 0.750260])):
        again, weights, taken = replay_one(router, scores, torch.tensor([order], dtype=torch.uint8))
        assert taken.tolist() == [order]
        assert torch.equal(again, logits)
        torch.testing.assert_close(weights, torch.tensor([gates]), atol=1e-6, rtol=0)


def test_the_replayed_gate_has_the_gradient_of_its_formula() -> None:
    router, hidden = router_of("qwen3_moe"), hidden_states(torch.float32).requires_grad_()
    rng = np.random.default_rng(3)
    experts = torch.from_numpy(np.stack([rng.permutation(8)[:3] for _ in range(20)]))
    pull = torch.from_numpy(rng.normal(size=(20, 8)).astype(np.float32))
    _, weights, _ = replay_one(router, hidden, experts.to(torch.uint8))
    ours = torch.autograd.grad((weights * pull.gather(1, experts)).sum(), (hidden, router.weight))
    mask = torch.zeros(20, 8).scatter(1, experts, 1.0)
    powers = mask * (hidden @ router.weight.T).exp()
    formula = torch.autograd.grad((powers / powers.sum(1, keepdim=True) * pull).sum(), (hidden, router.weight))
    for left, right in zip(ours, formula, strict=True):
        assert float(right.abs().max()) > 1e-2
        torch.testing.assert_close(left, right, atol=1e-5, rtol=1e-4)


def test_layers_without_experts_are_told_from_those_with() -> None:
    policy = moe_policy(num_hidden_layers=4, mlp_only_layers=[0, 2])
    assert sorted(routers_of(policy)) == [1, 3]
    assert expert_shape(policy.language_model) == ExpertShape(layers=4, sparse=(1, 3), experts=4, top_k=2)
    assert expert_shape(moe_policy(mlp_only_layers=[0, 1]).language_model) is None


def test_a_recorder_keeps_what_is_taken_in_its_layers_column() -> None:
    recorder = Recorder(torch.uint8)
    layout = lay_out(torch.ones(2, 3, dtype=torch.bool), packed=False)
    taken = torch.arange(12).view(6, 2)
    recorder.see(2, torch.empty(0), taken, layout)
    found = recorder.recording(torch.ones(2, 3, dtype=torch.bool)).experts
    assert found.shape == (2, 3, 3, 2)
    assert found.dtype == torch.uint8
    assert torch.equal(found[:, :, 2].reshape(6, 2).long(), taken)
    assert not found[:, :, :2].any()


SHAPE = ExpertShape(layers=2, sparse=(0, 1), experts=4, top_k=2)
GOOD = np.array([[[0, 1], [2, 3]], [[3, 0], [1, 2]], [[1, 0], [0, 1]]], np.uint8)


@pytest.mark.parametrize(
    ("recorded", "usable"),
    [
        (GOOD, [True, True, True]),
        (GOOD.astype(np.int64), [True, True, True]),
        (None, [False] * 3),
        (GOOD[:2], [False] * 3),
        (np.concatenate([GOOD, GOOD[:1]]), [False] * 3),
        (GOOD[:, :1], [False] * 3),
        (GOOD[:, :, :1], [False] * 3),
        (GOOD.reshape(3, 4), [False] * 3),
        (np.where(np.arange(3)[:, None, None] == 1, np.uint8(255), GOOD), [True, False, True]),
        (np.where(np.arange(3)[:, None, None] == 1, -1, GOOD.astype(np.int16)), [True, False, True]),
        (np.where(np.arange(3)[:, None, None] == 2, 4, GOOD), [True, True, False]),
        (np.where(np.arange(3)[:, None, None] == 0, 0, GOOD), [False, True, True]),
    ],
    ids=["good", "wide", "none", "short", "long", "layers", "experts", "flat", "sentinel", "negative", "unknown", "unwritten"],
)
def test_rows_that_cannot_be_this_models_are_never_used(recorded: Any, usable: list[bool]) -> None:
    assert usable_rows(recorded, 3, SHAPE).tolist() == usable


def test_what_stands_in_the_column_of_a_dense_layer_is_not_looked_at() -> None:
    shape = ExpertShape(layers=2, sparse=(1,), experts=4, top_k=2)
    recorded = GOOD.copy()
    recorded[:, 0] = 0
    assert usable_rows(recorded, 3, shape).all()
    assert not usable_rows(recorded, 3, SHAPE).any()


def test_a_single_expert_a_token_may_be_the_first() -> None:
    assert usable_rows(np.zeros((3, 2, 1), np.uint8), 3, ExpertShape(layers=2, sparse=(0, 1), experts=4, top_k=1)).all()
