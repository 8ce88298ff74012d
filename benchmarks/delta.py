"""A publish of changes against a publish of whole weights: a mixture of experts of about 512 MB in bfloat16, after real steps of AdamW.

Both ends are Gatewise's own, without Ray and vLLM around them: a learner rank under ZeRO-1, and a worker that serves each tensor in the
checkpoint's layout, as engines on GPUs do. Bytes go over gloo. Gradients are random, which moves weights as much as Adam ever does.
"""

import shutil
from dataclasses import replace
from typing import Any

from benchmarks.delta_ends import BASE, MODEL
from benchmarks.peer import Peer, peers
from benchmarks.rounds import CONFIG, OUT, Row, Size, alternate, figures, ratio
from cluster.actors.session import learner_env
from configs.loader import load

LAYERS, EXPERTS, HIDDEN, INNER = 5, 32, 1024, 512
RATES = (1e-6, 3e-6)
MOST_ROUNDS = 9  # each makes a step of 266M parameters


def measure(size: Size) -> list[Row]:
    """Rounds of one whole publish and one of changes each, for every learning rate."""
    write_model()
    few = replace(size, warm_up=min(size.warm_up, 1), rounds=min(size.rounds, MOST_ROUNDS))
    return [row for rate in RATES for row in measure_rate(rate, few)]


def measure_rate(rate: float, size: Size) -> list[Row]:
    """The rows of one learning rate; AssertionError if changes ever led to other weights."""
    overrides = [f"run.dir={OUT / 'delta'}", f'model.path="{MODEL}"', *BASE, f"learner.lr={rate}"]
    env = learner_env(load(CONFIG, overrides), gpu=False)
    with peers({"delta_ends.rank": env, "delta_ends.worker": env}, overrides) as on:
        said = on["rank"].ask(what="manifest")
        together(on, what="join", **said)

        def changes(_: int) -> dict[str, Any]:
            on["rank"].ask(what="step")
            return together(on, what="delta")

        found = alternate({"whole": lambda _: together(on, what="whole"), "changes": changes}, size)
    whole, patches = found["whole"], found["changes"]
    assert all(answer["unchanged"] for answer in whole[1:]), "changes led to other weights than whole ones"
    rows = [
        ratio("whole / changes, seconds", [answer["seconds"] for answer in whole], [answer["seconds"] for answer in patches]),
        ratio("changes / whole, bytes", [answer["bytes"] for answer in patches], [answer["bytes"] for answer in whole]),
        ratio("numbers that changed / all", [answer["changed"] for answer in patches], [said["numbers"]] * len(patches)),
        figures("whole publish", "s", whole, "seconds"),
        figures("publish of changes", "s", patches, "seconds"),
        figures("of which the rank's diff", "s", patches, "diff"),
        figures("of which the worker's patch", "s", patches, "apply"),
        Row(what="weights", unit="MB", values=[answer["bytes"] / 1e6 for answer in whole]),
    ]
    return [Row(what=f"lr {rate:g}: {row.what}", unit=row.unit, values=row.values) for row in rows]


def together(on: dict[str, Peer], **job: Any) -> dict[str, Any]:
    """Run both ends at the same time; what both say."""
    for end in on.values():
        end.tell(**job)
    return {key: value for end in reversed(on.values()) for key, value in end.hear().items()}


def write_model() -> None:
    """A random Qwen3-MoE in bfloat16."""
    import torch
    from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

    if (MODEL / "config.json").exists():
        return
    config = Qwen3MoeConfig(
        vocab_size=4096,
        hidden_size=HIDDEN,
        intermediate_size=INNER,
        moe_intermediate_size=INNER,
        num_hidden_layers=LAYERS,
        num_experts=EXPERTS,
        num_experts_per_tok=4,
        num_attention_heads=8,
        num_key_value_heads=2,
        tie_word_embeddings=False,
        dtype=torch.bfloat16,
    )
    torch.manual_seed(0)
    shutil.rmtree(MODEL, ignore_errors=True)
    model: Any = Qwen3MoeForCausalLM(config).bfloat16()
    model.save_pretrained(MODEL)
