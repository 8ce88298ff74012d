"""Which parts of a bfloat16 policy compute in float32, and which weights stay frozen."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional
from transformers import Qwen3MoeForCausalLM

from configs.sections.learner import LearnerConfig
from learner.batch.tensors import Batch
from learner.experts.routers import routers_of
from learner.model.policy import Policy, load_policy
from learner.model.precision import apply_precision
from tests.learner.test_router_shift import whole_plan
from tests.toys.batches import whole_batch
from tests.toys.learner import toy_group
from tests.toys.model import tiny_config
from tests.toys.run import run_config


def bfloat16_policy(*, tied: bool = False, chunks: int = 1, **learner: str) -> Policy:
    torch.manual_seed(0)
    config = tiny_config()
    config.tie_word_embeddings = tied
    policy = Policy(Qwen3MoeForCausalLM(config).to(torch.bfloat16), 1.0, chunks)
    apply_precision(policy, LearnerConfig.model_validate(learner))
    return policy


def toy_batch() -> Batch:
    groups = [toy_group(5), toy_group(6)]
    return whole_batch(whole_plan(groups), groups, 0)


@pytest.mark.parametrize("dtype", ["float32", "model"])
def test_router_logits_are_as_precise_as_they_are_asked_to_be(dtype: str) -> None:
    router = routers_of(bfloat16_policy(router_dtype=dtype).language_model)[0]
    hidden = torch.randn(40, 64, generator=torch.Generator().manual_seed(1)).bfloat16()
    logits, weights, _ = router(hidden)
    exact = functional.linear(hidden.double(), router.weight.double())
    assert logits.dtype == (torch.float32 if dtype == "float32" else torch.bfloat16)
    assert weights.dtype == torch.bfloat16, "what the experts get stays in the model's precision"
    error = (logits.double() - exact).abs().max()
    assert error < 1e-6 if dtype == "float32" else error > 1e-4


@pytest.mark.parametrize("chunks", [1, 3])
@pytest.mark.parametrize("tied", [False, True])
def test_the_heads_logits_are_as_precise_as_they_are_asked_to_be(tied: bool, chunks: int) -> None:
    batch, errors = toy_batch(), {}
    for dtype in ("float32", "model"):
        policy = bfloat16_policy(tied=tied, chunks=chunks, head_dtype=dtype)
        model = policy.language_model
        with torch.no_grad():
            hidden = model.get_decoder()(
                input_ids=batch.token_ids, attention_mask=batch.attention, position_ids=batch.position_ids, use_cache=False
            ).last_hidden_state[:, batch.prompt_width - 1 : -1]
        assert hidden.dtype == torch.bfloat16
        logits = functional.linear(hidden.double(), model.lm_head.weight.detach().double())
        exact = logits.log_softmax(-1).gather(-1, batch.token_ids[:, batch.prompt_width :, None]).squeeze(-1)
        logprobs, _ = policy(batch)
        assert logprobs.dtype == torch.float32
        errors[dtype] = float((logprobs.detach() - exact)[batch.mask].abs().max())
        torch.autograd.backward(logprobs.sum())
        assert model.lm_head.weight.grad is not None
        assert model.lm_head.weight.grad.dtype == torch.bfloat16
        assert (model.lm_head.weight is model.get_input_embeddings().weight) == tied
    assert errors["float32"] < 1e-5
    assert errors["model"] > 1e-4


@pytest.mark.parametrize("router", ["frozen", "trained"])
def test_a_frozen_router_takes_no_gradient_and_everything_else_does(tmp_path: Path, router: str) -> None:
    torch.manual_seed(0)
    Qwen3MoeForCausalLM(tiny_config()).save_pretrained(tmp_path / "model")
    model = {"path": str(tmp_path / "model"), "dtype": "float32"}
    policy = load_policy(run_config(tmp_path, model=model, learner={"router": router, "gradient_checkpointing": True}))
    torch.autograd.backward(policy(toy_batch())[0].sum())
    without = {name for name, parameter in policy.named_parameters() if parameter.grad is None}
    gates = {f"language_model.model.layers.{layer}.mlp.gate.weight" for layer in (0, 1)}
    assert without == (gates if router == "frozen" else set())
