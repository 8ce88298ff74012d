"""Whether a run leaves padding out: `learner.packing`, whose "auto" follows from the model, the reference and their attention."""

from functools import cache
from typing import Any

from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig

from configs.families import FAMILIES
from configs.schema import Config
from configs.sections.objective import INITIAL

FLASH = "flash_attention_2"


def settled(config: Config) -> Config:
    """The config with `learner.packing` as true or false, the same on every rank and in every start of a run."""
    if config.learner.packing != "auto":
        return config
    return config.model_copy(update={"learner": config.learner.model_copy(update={"packing": obstacle(config) is None})})


def obstacle(config: Config) -> str | None:
    """Why `learner.packing = "auto"` computes on padding, None where it packs. The models must be folders of this machine."""
    if config.learner.attention == "eager":
        return 'attention = "eager" cannot separate packed sequences'
    reference = None if config.kl.reference in (None, INITIAL) else str(config.kl.reference)
    for path in filter(None, (config.model.path, reference)):
        if why := unpackable(settings_of(path, config.model.trust_remote_code), config):
            return f"the model in {path} {why}"
    return None


@cache
def settings_of(path: str, trusted: bool) -> Any:
    """The transformers config of the model in a folder."""
    return AutoConfig.from_pretrained(path, trust_remote_code=trusted)


def unpackable(settings: Any, config: Config) -> str | None:
    """What keeps a model of these settings from being packed, None where nothing does."""
    row = FAMILIES.get(settings.model_type)
    if row is not None and not row.packed:
        return f'is of model_type "{settings.model_type}", which cannot be packed'
    if kinds := windowed(settings, config):
        return f"has layers of {kinds}"
    kind: Any = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(settings), None)
    if kind is None or not kind._supports_attention_backend:
        return "has its own attention, which cannot tell packed sequences apart"
    return None


def windowed(settings: Any, config: Config) -> str:
    """The kinds of layers of a model that a pack would take across borders, empty where there are none."""
    settings = settings.get_text_config()
    window = getattr(settings, "sliding_window", None) or 0
    kinds = set(getattr(settings, "layer_types", None) or (["sliding_attention"] if window else [])) - {"full_attention"}
    if config.learner.attention == FLASH or window >= config.context_tokens:
        kinds -= {"sliding_attention"}  # flash-attn slides itself, and a window that holds every sequence whole hides nothing
    return ", ".join(sorted(kinds))


def refuse_unpackable(settings: Any, config: Config, named: str) -> None:
    """Raise ValueError where a model of these settings of transformers has layers that a pack would take across borders.

    `named` is what the message calls the model.
    """
    if kinds := windowed(settings, config):
        raise ValueError(
            f"{named} has layers of {kinds}, learner.packing = true needs causal attention over whole sequences: "
            'set learner.packing = "auto" or false'
        )
