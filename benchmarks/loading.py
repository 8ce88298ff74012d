"""Loading a mixture of experts of 1 GB under ZeRO-3 against plain `from_pretrained` and against transformers' own loading under ZeRO-3.

Every rank's peak memory is compared with what it must hold: its shard, and a layer or two on their way. The memory that the process
already has with its imports is not counted. Every parameter is compared with plain `from_pretrained`, byte for byte by its digest.
"""

import shutil
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

from benchmarks.loading_ranks import MODEL, PLAIN, SPREAD
from benchmarks.peer import Peer, peers
from benchmarks.rounds import CONFIG, Answers, Row, Size, alternate, figures, ratio
from cluster.actors.session import learner_env
from configs.loader import load

LAYERS, EXPERTS, HIDDEN, INNER = 10, 32, 1024, 512
MOST_ROUNDS = 5  # a round loads the model six times, for half a minute
WORLDS = (2, 4)
SIDES = {
    PLAIN: (PLAIN, 1),
    **{f"gatewise, {world} ranks": ("gatewise", world) for world in WORLDS},
    **{f"transformers, {world} ranks": ("transformers", world) for world in WORLDS},
    "gatewise, experts over 4 ranks": (SPREAD, 4),
}
GB = 1e9


def measure(size: Size) -> list[Row]:
    """Rounds of one load by each side; AssertionError if a side's parameters are not those of plain `from_pretrained`."""
    layer = write_model()
    few = replace(size, warm_up=1, rounds=min(size.rounds, MOST_ROUNDS))
    with peers({"loading_ranks.ranks": learner_env(load(CONFIG), gpu=False)}, []) as on:
        found = alternate({side: partial(one, on["ranks"], *what) for side, what in SIDES.items()}, few)
    for side, answers in found.items():
        assert all(answer["digests"].items() <= found[PLAIN][0]["digests"].items() for answer in answers), f"{side} loaded other parameters"
    taken = {key: {side: [answer[key] for answer in answers] for side, answers in found.items()} for key in ("seconds", "cpu")}
    others = [side for side in SIDES if side != PLAIN]
    return [
        *(ratio(f"seconds, {side} / {PLAIN} from_pretrained", taken["seconds"][side], taken["seconds"][PLAIN]) for side in others),
        *(ratio(f"CPU seconds of a rank, {side} / {PLAIN}", taken["cpu"][side], taken["cpu"][PLAIN]) for side in others),
        *(Row(what=f"layers beside the shard at the peak, {side}", unit="layers", values=beside(found[side], layer)) for side in SIDES),
        *(Row(what=f"peak without imports, {side}", unit="GB", values=peaks(found[side])) for side in SIDES),
        *(figures(f"load, {side}", "s", found[side], "seconds") for side in SIDES),
        Row(what="memory of a process with its imports", unit="GB", values=[rank["base"] / GB for rank in ranks_of(found)]),
        Row(what="one layer", unit="GB", values=[layer / GB]),
        Row(what="the model", unit="GB", values=[found[PLAIN][0]["ranks"][0]["shard"] / GB]),
    ]


def one(peer: Peer, side: str, world: int, _: int) -> dict[str, Any]:
    """One load."""
    return peer.ask(side=side, world=world)


def beside(answers: Answers, layer: int) -> list[float]:
    """The peak of the rank with the largest, less its shard and its imports, in layers."""
    return [max(rank["peak"] - rank["base"] - rank["shard"] for rank in answer["ranks"]) / layer for answer in answers]


def peaks(answers: Answers) -> list[float]:
    """The largest peak of a rank, less its imports, in GB."""
    return [max(rank["peak"] - rank["base"] for rank in answer["ranks"]) / GB for answer in answers]


def ranks_of(found: dict[str, Answers]) -> list[dict[str, Any]]:
    """What every rank of every load said."""
    return [rank for answers in found.values() for answer in answers for rank in answer["ranks"]]


def write_model() -> int:
    """A random Qwen3-MoE in bfloat16, one tensor an expert on disk as published ones have it; the bytes of its largest layer."""
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
    model: Any = Qwen3MoeForCausalLM(config).bfloat16()
    shutil.rmtree(MODEL, ignore_errors=True)
    model.save_pretrained(MODEL, max_shard_size="200MB")
    layers = model.get_submodule("model.layers").children()
    return max(sum(parameter.nbytes for parameter in layer.parameters()) for layer in layers)
