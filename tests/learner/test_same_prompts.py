"""Rows of a pack that share a prompt are computed with one copy of it, and give what they give with copies of their own."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedConfig

from configs.loader import load
from learner.balance import BalancedPass, Census
from learner.batch.layout import Layout, lay_out
from learner.batch.recorded import Recording
from learner.batch.same_prompts import same_prompts, shared_prompts
from learner.batch.tensors import Batch
from learner.experts.load import ExpertLoad
from learner.experts.router_shift import RouterState, Shift
from learner.experts.routing import Balance, Recorder
from learner.mismatch.routing_watch import PassWatch
from learner.model.packed_attention import PACKED
from learner.model.policy import Policy, load_policy
from tests.learner.test_packing import FAMILIES, PASSES, TOLERANCE, policy_of
from tests.toys.packing import Lengths, batch_of, gradient, learn, other_experts
from tests.toys.ranks import write_run

CPU = torch.device("cpu")
SHAPES: dict[str, Lengths] = {
    "two groups": [(6, 3), (6, 5), (4, 2), (6, 1), (4, 4), (6, 7)],
    "all of one prompt, equal lengths": [(5, 4)] * 4,
    "one token each": [(1, 1), (1, 1), (1, 6)],
    "one shared among others": [(3, 2), (7, 9), (3, 8), (2, 2)],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("same_prompts")
    write_run(made)
    return made


def packed_policy(folder: Path, *overrides: str) -> Policy:
    return policy_of(folder, "learner.packing=true", *overrides)


def alone(batch: Batch) -> Batch:
    """The same batch whose rows share nothing."""
    return replace(batch, prompts=None)


def live(_: Batch) -> None:
    return None


def different(batch: Batch) -> Recording:
    """Other experts, also for equal prompts."""
    return other_experts(batch, layers=2, experts=4, top_k=2)


def same_for_all(batch: Batch) -> Recording:
    """Other experts, the same for equal prompts."""
    drawn = different(batch)
    assert batch.prompts is not None
    experts = drawn.experts.clone()
    experts[:, : batch.prompt_width] = experts[torch.from_numpy(batch.prompts), : batch.prompt_width]
    return Recording(experts=experts, known=drawn.known)


@pytest.mark.parametrize("changes", PASSES.values(), ids=PASSES)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("replayed", [live, same_for_all, different], ids=["live", "replayed", "replayed, prompts differ"])
def test_log_probs_and_gradients_are_those_of_rows_with_prompts_of_their_own(
    folder: Path, changes: list[str], shape: Lengths, replayed: Callable[[Batch], Recording | None]
) -> None:
    policy, batch = packed_policy(folder, *changes), batch_of(shape, alike=True)
    replay = replayed(batch)
    theirs, wanted = learn(policy, alone(batch), replay)
    policy.zero_grad()
    ours, found = learn(policy, batch, replay)
    assert wanted.abs().max() > 1e-3
    assert (ours - theirs).abs().max() <= TOLERANCE
    assert (found - wanted).abs().max() <= TOLERANCE


@pytest.mark.parametrize("config", FAMILIES.values(), ids=FAMILIES)
def test_every_family_that_is_packed_shares(config: PreTrainedConfig) -> None:
    torch.manual_seed(1)
    model = Policy(AutoModelForCausalLM.from_config(deepcopy(config), attn_implementation=PACKED), 1.0, 1, packed=True)
    batch = batch_of(SHAPES["two groups"], alike=True)
    theirs, wanted = learn(model, alone(batch))
    model.zero_grad()
    ours, found = learn(model, batch)
    assert (ours - theirs).abs().max() <= TOLERANCE
    assert (found - wanted).abs().max() <= TOLERANCE


def tokens_through(policy: Policy, batch: Batch, replay: Recording | None = None) -> int:
    seen: list[int] = []
    hook = policy.language_model.get_input_embeddings().register_forward_hook(lambda _, given, out: seen.append(out.shape[1]))
    policy(batch, replay)
    hook.remove()
    return seen[0]


def test_a_prompt_goes_through_the_model_once_unless_its_rows_replay_different_experts(folder: Path) -> None:
    policy, batch = packed_policy(folder), batch_of(SHAPES["two groups"], alike=True)
    responses = sum(response - 1 for _, response in SHAPES["two groups"])
    assert tokens_through(policy, alone(batch)) == responses + 4 * 6 + 2 * 4
    assert tokens_through(policy, batch) == responses + 6 + 4
    assert tokens_through(policy, batch, same_for_all(batch)) == responses + 6 + 4
    replay = same_for_all(batch)
    replay.experts[1, batch.prompt_width - 1, 0] = (replay.experts[1, batch.prompt_width - 1, 0] + 1) % 4
    assert tokens_through(policy, batch, replay) == responses + 2 * 6 + 4
    partly = same_for_all(batch)
    partly = Recording(experts=partly.experts, known=partly.known & (torch.arange(6)[:, None] != 5))
    assert tokens_through(policy, batch, partly) == responses + 2 * 6 + 4


def test_padded_rows_and_flash_attention_share_nothing(folder: Path) -> None:
    batch = batch_of(SHAPES["two groups"], alike=True)
    padded = load_policy(load(folder / "config.toml", ["learner.packing=false"]))
    assert tokens_through(padded, batch) == batch.token_ids.shape[1]
    policy = packed_policy(folder)
    policy.language_model.config._attn_implementation = "flash_attention_2"
    assert policy._layout(batch, None).sharing is None


def test_watchers_and_the_balancing_loss_count_every_row(folder: Path) -> None:
    policy, batch = packed_policy(folder), batch_of(SHAPES["two groups"], alike=True)
    engine = other_experts(batch, 2, 4, 2)
    slopes = {layer: torch.tensor([0.1, -0.2, 0.3, 0.4]) for layer in (0, 1)}

    def seen(batch: Batch) -> list[Tensor]:
        load, recorder, census, watch = ExpertLoad(), Recorder(torch.int16), Census(), PassWatch(batch, engine)
        census.real = batch.attention
        state = RouterState(batch.prompt_width, 0.1)
        shift = Shift(state)
        policy.zero_grad()
        balance: Balance = BalancedPass(slopes, batch.attention)
        policy(batch, None, (load.over(batch.attention), recorder, census, watch, state))
        logprobs, _ = policy(batch, None, (shift,), balance)
        torch.autograd.backward(logprobs.sum())
        assert sum(int(counts.sum()) for counts in load.counts.values()) == 2 * 2 * batch.attention.sum()
        layers = [watch.layers[layer] for layer in (0, 1)]
        counts, taken = [load.counts[layer] for layer in (0, 1)], recorder.recording(batch.attention).experts
        sums = [census.seen[layer] for layer in (0, 1)]
        return [*counts, taken, *sums, *layers, watch.touched, shift.distance(), gradient(policy)]

    for ours, theirs in zip(seen(batch), seen(alone(batch)), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


@given(data=st.data(), rows=st.integers(1, 6), width=st.integers(1, 4), length=st.integers(1, 4))
@settings(deadline=None)
def test_the_layout_brings_every_value_back_to_its_places(data: st.DataObject, rows: int, width: int, length: int) -> None:
    sizes = data.draw(st.lists(st.tuples(st.integers(1, width), st.integers(1, length), st.integers(0, 1)), min_size=rows, max_size=rows))
    prompts = [np.full(prompt, kind) for prompt, _, kind in sizes]
    attention = torch.zeros(rows, width + length, dtype=torch.bool)
    for i, (prompt, response, _) in enumerate(sizes):
        attention[i, width - prompt : width + response] = True
    first = same_prompts(prompts)
    layout = lay_out(attention, packed=True, prompts=torch.from_numpy(first), width=width)
    values = torch.arange(rows * (width + length)).reshape(rows, -1) * attention
    values[:, :width] = values[torch.from_numpy(first), :width]
    flat = layout.flat(values)
    unique = {(int(first[i]), prompt) for i, (prompt, _, _) in enumerate(sizes)}
    assert len(flat) == sum(prompt for _, prompt in unique) + sum(response for _, response, _ in sizes)
    assert torch.equal(layout.padded(flat), values)
    assert torch.equal(layout.each(flat), layout.every(values))
    assert layout.times(attention).sum() == attention.sum()


def test_rows_with_prompts_of_their_own_have_a_plain_layout() -> None:
    batch = batch_of([(3, 2), (2, 2)])
    assert batch.prompts is not None
    assert shared_prompts(batch.prompts, None, batch.prompt_width, CPU) is None
    assert same_prompts([np.array([1, 2]), np.array([1]), np.array([1, 2], np.int32)]).tolist() == [0, 1, 0]
    assert Layout(place=None, shape=(1, 2)).times(torch.tensor([[True, False]])).tolist() == [1, 0]
