"""Whether the model and this environment have the attention that `learner.attention` asks for."""

from importlib.util import find_spec
from typing import Any

from configs.schema import Config
from configs.toml_writer import quoted

SUPPORT = {"sdpa": "_supports_sdpa", "flash_attention_2": "_supports_flash_attn"}  # transformers' names on a model's class
PACKAGES = ("flash_attn", "kernels")  # transformers takes either for flash_attention_2


def refuse_attention(config: Config, settings: Any) -> None:
    """Raise ValueError where the model's class has no such attention; `settings` is the model's Hugging Face config."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    asked = config.learner.attention
    if asked not in SUPPORT or type(settings) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        return
    kind: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(settings)]
    if not getattr(kind, SUPPORT[asked], False):
        other = [name for name, mark in SUPPORT.items() if getattr(kind, mark, False)]
        raise ValueError(
            f'learner.attention: got "{asked}", which {kind.__name__} in transformers does not have: use {quoted((*other, "eager"))}'
        )


def describe_packing(config: Config) -> list[str]:
    """A line that says why `learner.packing = "auto"` computes on padding; none where it packs. The models must be there."""
    from learner.model.packing import obstacle

    why = obstacle(config) if config.learner.packing == "auto" else None
    return [f'learner.packing "auto" computes on padding: {why}'] if why else []


def missing_package(config: Config) -> str | None:
    """What this environment lacks for flash attention, None where nothing is lacking."""
    if config.learner.attention != "flash_attention_2" or any(find_spec(name) for name in PACKAGES):
        return None
    return (
        'learner.attention: got "flash_attention_2", but the package flash_attn is not installed here: '
        'install flash-attn where the ranks run, or use "sdpa"'
    )
