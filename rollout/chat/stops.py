"""The tokens at which an engine ends a turn of a model, found from its folder without an engine."""

from typing import Any

from configs.schema import Config

OF_THE_MODEL = ("auto", "vllm")  # values of vLLM's `generation_config` with which it reads the model's own file


def stops_of(config: Config, tokenizer: Any) -> list[int]:
    """The ids of the model's generation_config.json, or else of its config.json, and of the tokenizer's own end; as vLLM finds them."""
    from transformers import AutoConfig, GenerationConfig

    named = config.rollout.vllm.get("generation_config", "auto")
    folder = config.model.path if named in OF_THE_MODEL else str(named)
    found: Any
    try:
        found = GenerationConfig.from_pretrained(folder)
    except OSError:  # the model has no such file
        model = AutoConfig.from_pretrained(folder, trust_remote_code=config.model.trust_remote_code)
        found = GenerationConfig.from_model_config(model)
    return all_stops(listed(found.eos_token_id), tokenizer)


def all_stops(ids: list[int], tokenizer: Any) -> list[int]:
    """Ids of a generation config with the tokenizer's own end, each once."""
    own = tokenizer.eos_token_id
    return list(dict.fromkeys([*ids, *([] if own is None else [own])]))


def listed(ids: int | list[int] | None) -> list[int]:
    return [] if ids is None else list(ids) if isinstance(ids, list) else [ids]
