"""A pack's log-probs and gradients are those of the padded batch, and nothing but real tokens goes through the model."""

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    MistralConfig,
    MixtralConfig,
    OlmoeConfig,
    PreTrainedConfig,
    Qwen2MoeConfig,
    Qwen3Config,
    Qwen3MoeForCausalLM,
)

from cluster.commands.checks.attention import describe_packing
from cluster.commands.validate import refuse_layers_that_cannot_be_packed
from configs.loader import load
from configs.presets import PRESETS
from learner.batch.plan import plan_step
from learner.experts.routers import attach
from learner.experts.routing import Recorder
from learner.model.packed_attention import PACKED
from learner.model.packing import obstacle, settled
from learner.model.policy import Policy, load_policy
from rollout.types import GroupSummary
from tests.toys.batches import whole_batch
from tests.toys.model import tiny_config
from tests.toys.packing import Lengths, batch_of, gradient, learn, other_experts
from tests.toys.ranks import recorded_groups, write_run

TOLERANCE = 1e-6
SHAPES: dict[str, Lengths] = {
    "many": [(1 + 5 * i % 8, 1 + 7 * i % 8) for i in range(17)],
    "long among short": [(8, 60), (2, 3), (1, 4), (3, 30), (2, 2)],
    "one row": [(3, 5)],
    "one token each": [(1, 1), (1, 7), (6, 1), (1, 1)],
    "equal": [(4, 4)] * 5,
    "idle": [],
}
PASSES = {
    "plain": [],
    "recomputed": ["learner.gradient_checkpointing=true"],
    "head in chunks": ["learner.head_chunk_tokens=16"],
}
# Small models of the families that are shipped with or may be asked for.
SMALL = {"vocab_size": 32, "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
HEADS = {"num_key_value_heads": 2, "max_position_embeddings": 128}
FAMILIES: dict[str, PreTrainedConfig] = {
    "llama": LlamaConfig(**SMALL, **HEADS),
    "qwen3": Qwen3Config(**SMALL, **HEADS, head_dim=32),
    "qwen2_moe": Qwen2MoeConfig(
        **SMALL, **HEADS, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32, shared_expert_intermediate_size=32
    ),
    "olmoe": OlmoeConfig(**SMALL, **HEADS, num_experts=4, num_experts_per_tok=2),
    "mixtral": MixtralConfig(**SMALL, **HEADS, num_local_experts=4),
    "mistral, window wider than any sequence": MistralConfig(**SMALL, **HEADS, sliding_window=100),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("packing")
    write_run(made)
    return made


def policy_of(folder: Path, *overrides: str) -> Policy:
    policy = load_policy(load(folder / "config.toml", list(overrides)))
    attach(policy, policy.routing, precise=True)
    return policy


@pytest.mark.parametrize("changes", PASSES.values(), ids=PASSES)
@pytest.mark.parametrize("replayed", [False, True], ids=["live", "replayed"])
def test_a_pack_gives_the_log_probs_and_gradients_of_the_padded_batch(folder: Path, changes: list[str], replayed: bool) -> None:
    padded, packed = (policy_of(folder, f"learner.packing={how}", *changes) for how in ("false", "true"))
    for name, lengths in SHAPES.items():
        batch = batch_of(lengths)
        replay = other_experts(batch, layers=2, experts=4, top_k=2) if replayed else None
        if replay is not None and lengths:
            live, other = padded(batch)[0], padded(batch, replay)[0]
            assert (live - other)[batch.mask].abs().max() > 1e-3, "the replayed experts must be others"
        (theirs, wanted), (ours, found) = learn(padded, batch, replay), learn(packed, batch, replay)
        assert (ours - theirs).abs().max() <= TOLERANCE, name
        assert (found - wanted).abs().max() <= TOLERANCE, name
        assert bool(lengths) == (wanted.abs().max() > 1e-3), name
        padded.zero_grad()
        packed.zero_grad()


def test_padding_has_a_log_prob_and_an_entropy_of_zero(folder: Path) -> None:
    batch = batch_of(SHAPES["many"])
    for values in policy_of(folder, "learner.packing=true")(batch):
        assert torch.equal(values != 0, batch.answers)


def test_only_real_tokens_go_through_the_model_and_only_what_predicts_responses_through_the_head(folder: Path) -> None:
    policy = policy_of(folder, "learner.packing=true")
    seen: dict[str, list[int]] = {name: [] for name in ("embed_tokens", "o_proj", "mlp", "experts", "lm_head")}
    for name, module in policy.named_modules():
        if (leaf := name.split(".")[-1]) in seen:
            module.register_forward_hook(lambda _, given, out, leaf=leaf: seen[leaf].append(out.shape[:-1].numel()))
    lengths = SHAPES["long among short"]
    policy(batch_of(lengths))
    tokens, answers = sum(p + r - 1 for p, r in lengths), sum(r for _, r in lengths)
    assert seen == {"embed_tokens": [tokens], "o_proj": [tokens] * 2, "mlp": [tokens] * 2, "experts": [tokens] * 2, "lm_head": [answers]}


def test_the_last_token_of_a_row_in_a_pack_too_changes_nothing(folder: Path) -> None:
    policy, batch = policy_of(folder, "learner.packing=true"), batch_of(SHAPES["many"])
    ours, found = learn(policy, batch)
    policy.zero_grad()
    theirs, wanted = learn(policy, replace(batch, attention=batch.whole))
    assert (ours - theirs).abs().max() <= TOLERANCE
    assert (found - wanted).abs().max() <= TOLERANCE
    assert wanted.abs().max() > 1e-3


def test_watchers_see_the_experts_of_the_padded_batch_in_their_places(folder: Path) -> None:
    batch, recordings = batch_of(SHAPES["many"]), []
    for how in ("false", "true"):
        recorder = Recorder(torch.int16)
        policy_of(folder, f"learner.packing={how}")(batch, None, (recorder,))
        recordings.append(recorder.recording(batch.attention))
    padded, packed = recordings
    assert torch.equal(padded.experts[batch.attention], packed.experts[batch.attention])
    assert packed.experts[batch.attention].any()
    assert not packed.experts[~batch.attention].any()


def test_replaying_what_was_recorded_changes_nothing(folder: Path) -> None:
    policy, batch, recorder = policy_of(folder, "learner.packing=true"), batch_of(SHAPES["many"]), Recorder(torch.int16)
    policy(batch, None, (recorder,))
    live, wanted = learn(policy, batch)
    policy.zero_grad()
    replayed, found = learn(policy, batch, recorder.recording(batch.attention))
    assert torch.equal(live, replayed)
    assert torch.equal(found, wanted)


@pytest.mark.parametrize("budget", [16, 24, 60])
def test_the_gradient_does_not_depend_on_how_packs_are_cut(folder: Path, budget: int) -> None:
    policy, groups = policy_of(folder, "learner.packing=true"), recorded_groups()

    def whole(tokens: int) -> tuple[int, torch.Tensor]:
        summaries = [GroupSummary.of(group) for group in groups]
        plan = plan_step(summaries, PRESETS["grpo"], updates=1, ranks=1, micro_batch_tokens=tokens, response_tokens=8, packed=True)
        parts = plan.of_rank(0)[0]
        policy.zero_grad()
        for rows in (*parts, ()):
            learn(policy, whole_batch(rows, groups, 0))
        return len(parts), gradient(policy).clone()

    (count, found), (one, wanted) = whole(budget), whole(10_000)
    assert count > one == 1
    assert (found - wanted).abs().max() <= TOLERANCE


@pytest.mark.parametrize("config", FAMILIES.values(), ids=FAMILIES)
def test_other_families_of_models_are_packed_alike(config: PreTrainedConfig) -> None:
    models = []
    for attention, packed in (("sdpa", False), (PACKED, True)):
        torch.manual_seed(1)
        # A config of its own for each: it holds the attention.
        models.append(Policy(AutoModelForCausalLM.from_config(deepcopy(config), attn_implementation=attention), 1.0, 1, packed=packed))
    batch = batch_of(SHAPES["long among short"])
    (theirs, wanted), (ours, found) = (learn(model, batch) for model in models)
    assert (ours - theirs).abs().max() <= TOLERANCE
    assert (found - wanted).abs().max() <= TOLERANCE


def test_a_model_whose_layers_look_through_a_window_is_refused_before_and_when_it_is_loaded(folder: Path, tmp_path: Path) -> None:
    settings = tiny_config()
    settings.use_sliding_window, settings.sliding_window = True, 8
    AutoModelForCausalLM.from_config(settings).save_pretrained(tmp_path / "model")
    config = load(folder / "config.toml", [f'model.path="{tmp_path / "model"}"', "learner.packing=true"])
    with pytest.raises(ValueError, match=r"model\.path here has layers of sliding_attention, learner\.packing = true needs"):
        refuse_layers_that_cannot_be_packed(config, settings, "model.path here")
    with pytest.raises(ValueError, match=r"the model in .*model has layers of sliding_attention, learner\.packing = true needs"):
        load_policy(config)


def test_a_model_that_computes_attention_in_its_own_way_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Qwen3MoeForCausalLM, "_supports_attention_backend", False)
    with pytest.raises(ValueError, match=r"Qwen3MoeForCausalLM has its own attention, .* learner\.packing = false"):
        policy_of(folder, "learner.packing=true")


def windows(folder: Path) -> Path:
    """A model folder whose layers look through a window of 8 tokens."""
    settings = tiny_config()
    settings.use_sliding_window, settings.sliding_window = True, 8
    settings.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ([], None),
        (["learner.attention=eager"], 'attention = "eager" cannot separate'),
        (['model.path="WINDOWS"'], "WINDOWS has layers of sliding_attention"),
        (['kl.reference="WINDOWS"', "kl.coefficient=0.1"], "WINDOWS has layers of sliding_attention"),
        (["kl.reference=initial", "kl.coefficient=0.1"], None),
        (['model.path="WINDOWS"', "learner.attention=flash_attention_2", "model.dtype=bfloat16"], None),
        (['model.path="WINDOWS"', "data.max_prompt_tokens=2", "rollout.max_response_tokens=6"], None),
    ],
)
def test_auto_packs_wherever_model_reference_and_attention_allow_it(folder: Path, tmp_path: Path, changes: list[str], why: str) -> None:
    given = [change.replace("WINDOWS", str(windows(tmp_path))) for change in changes]
    config = load(folder / "config.toml", ["learner.packing=auto", *given])
    found = obstacle(config)
    assert found is None if why is None else why.replace("WINDOWS", str(tmp_path)) in str(found)
    assert settled(config).learner.packing is (why is None)
    assert describe_packing(config) == ([] if why is None else [f'learner.packing "auto" computes on padding: {found}'])
    for asked in (True, False):
        chosen = config.model_copy(update={"learner": config.learner.model_copy(update={"packing": asked})})
        assert settled(chosen).learner.packing is asked


def test_auto_computes_on_padding_where_a_model_has_its_own_attention(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert policy_of(folder, "learner.packing=auto").packed
    monkeypatch.setattr(Qwen3MoeForCausalLM, "_supports_attention_backend", False)
    assert not policy_of(folder, "learner.packing=auto").packed
