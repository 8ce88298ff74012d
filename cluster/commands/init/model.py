"""What a model folder says about itself: family, size, context, chat template."""

from dataclasses import dataclass
from typing import Any

from cluster.commands.validate import load_tokenizer, model_settings
from cluster.models.hub import fetch_models
from configs.families import Family, family_of, number_of_experts
from configs.parameters import count_parameters
from configs.schema import Config
from rollout.chat.template import variables_of

NO_LIMIT = 2**31


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """The facts of a model that the sizes of a run follow from."""

    path: str
    family: Family
    parameters: int
    experts: int  # of a layer; 0 for a dense model
    heads: int
    layers: int
    vocabulary: int
    context: int  # longest prompt with its response
    tokenizer: Any

    @property
    def chat(self) -> bool:
        """Whether the model has a chat template."""
        return bool(self.tokenizer.chat_template)

    @property
    def thinks_by_choice(self) -> bool:
        """Whether the chat template turns thinking on and off by `enable_thinking`."""
        return self.chat and "enable_thinking" in variables_of(self.tokenizer.get_chat_template())


def read_model(path: str) -> Model:
    """Read a model's folder, downloaded first where `path` is a hub id; ValueError where it cannot be trained."""
    named = Config.model_validate({"model": {"path": path}, "data": {"train": "rows.jsonl"}})
    config = fetch_models(named, print)
    settings = model_settings(config, "model.path", config.model.path)
    counted = count_parameters(settings.to_dict())
    assert counted is not None, "every family that can be trained is counted"
    return Model(
        path=path,
        family=family_of(settings.model_type),
        parameters=counted.total,
        experts=number_of_experts(settings.to_dict()),
        heads=int(settings.num_attention_heads),
        layers=int(settings.num_hidden_layers),
        vocabulary=int(settings.vocab_size),
        context=int(getattr(settings, "max_position_embeddings", None) or NO_LIMIT),
        tokenizer=load_tokenizer(config),
    )
