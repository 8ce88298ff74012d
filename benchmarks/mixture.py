"""A random mixture of experts of 57M parameters with the tiny model's tokenizer, for figures where computing counts.

Its responses are as long as chance makes them, up to 128 tokens. The reward is the share of digits in a response, since a random model
never answers right, and a step whose responses are all alike has no gradient to compute.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.prompts import pick
from benchmarks.rounds import OUT, ROOT
from configs.schema import Config
from rollout.types import Finish, Group, Response, Verdict

TINY = ROOT / ".cache" / "tiny" / "model"
NEVER = "<never>"  # a token that the model has no row for
LAYERS, DEEP = 8, 16  # with 57M and 114M parameters
PROMPTS, SIZE, LONGEST = 16, 8, 128
END = 1 / 84  # the chance that a random model of 84 tokens ends its response after any of them


def folder_of(layers: int) -> Path:
    """Where the mixture of so many layers lies."""
    return OUT / f"mixture-{layers}"


def keys(layers: int = LAYERS) -> list[str]:
    """Overrides of the tiny recipe that train the mixture."""
    return [
        f'model.path="{folder_of(layers)}"',
        f"rollout.groups_per_step={PROMPTS}",
        f"rollout.group_size={SIZE}",
        f"rollout.max_response_tokens={LONGEST}",
        "learner.updates_per_step=1",
        "learner.lr=1e-9",  # a reward of digits soon teaches never to end, and lengths would not be those of a random model any more
        'reward.checker="benchmarks.mixture:digits"',
    ]


def digits(response: str, reference: object) -> float:
    """The share of digits in a response."""
    return sum(letter.isdigit() for letter in response) / max(1, len(response))


def write_mixture(layers: int = LAYERS, *, ends: bool = True) -> Path:
    """Make the model where it is absent. Without `ends` its responses go on to their limit: their end is a token that it cannot make."""
    folder = folder_of(layers) if ends else folder_of(layers).with_name(f"mixture-{layers}-endless")
    if (folder / "model.safetensors").exists():
        return folder
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen3MoeConfig

    tokenizer = AutoTokenizer.from_pretrained(TINY)
    vocabulary = len(tokenizer)
    if not ends:
        tokenizer.add_special_tokens({"eos_token": NEVER})
    torch.manual_seed(0)
    kind: Any = Qwen3MoeConfig  # its types lack keys that it takes
    settings = kind(
        vocab_size=vocabulary, hidden_size=512, intermediate_size=512, moe_intermediate_size=256, num_hidden_layers=layers,
        num_attention_heads=8, num_key_value_heads=4, head_dim=64, num_experts=16, num_experts_per_tok=2, norm_topk_prob=True,
        decoder_sparse_step=1, max_position_embeddings=4096, tie_word_embeddings=False, pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, dtype=torch.float32,
    )  # fmt: skip
    tokenizer.save_pretrained(folder)
    AutoModelForCausalLM.from_config(settings).save_pretrained(folder)
    return folder


def random_groups(config: Config) -> Sequence[Group]:
    """One step's groups of random responses, as long as a random model's."""
    rng, longest = np.random.default_rng(config.run.seed), config.rollout.max_response_tokens

    def response() -> Response:
        length = min(int(rng.geometric(END)), longest)
        return Response(
            token_ids=rng.integers(4, 84, length).astype(np.int32),
            logprobs=np.full(length, -4.4, np.float32),
            finish=Finish.LENGTH if length == longest else Finish.STOP,
            oldest_version=0,
            newest_version=0,
            text="",
        )

    return [
        Group(
            group_id=number,
            prompt=prompt,
            responses=tuple(response() for _ in range(config.rollout.group_size)),
            verdicts=tuple(Verdict(reward=float(rng.random())) for _ in range(config.rollout.group_size)),
        )
        for number, prompt in pick(config)(0)
    ]
