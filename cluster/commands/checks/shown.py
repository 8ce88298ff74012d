"""What `validate` shows of a config: the model, a prompt as the model reads it, the lengths of prompts, the length of an epoch."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from configs.arithmetic import amount
from configs.families import family_of, number_of_experts
from configs.parameters import count_parameters
from configs.schema import Config
from rollout.types import Prompt

SHOWN_CHARS = 400  # of a prompt
PERCENTILES = (50, 90, 99)


def describe_model(config: Config, model: dict[str, Any]) -> str:
    """The family, the size and the layers of a model; `model` is its Hugging Face config."""
    family, experts, counted = family_of(model["model_type"]), number_of_experts(model), count_parameters(model)
    size = f"{amount(counted.total)} parameters" if counted else "parameters not counted"
    if counted and experts:
        size += f", {amount(counted.active)} of them used by a token"
    layers = f"{model['num_hidden_layers']} layers"
    layers += f", {experts} experts a layer of which {model.get('num_experts_per_tok')} see a token" if experts else ""
    context = f"context {model['max_position_embeddings']}" if model.get("max_position_embeddings") else "no limit of its context"
    return f"{family.name} in {config.model.path}: {size}; {layers}; vocabulary {model['vocab_size']}, {context}"


def render(prompt: Prompt, tokenizer: Any) -> str:
    """A prompt as the model reads it, with its special tokens, cut in the middle where it is long."""
    text: str = tokenizer.decode(prompt.token_ids.tolist(), skip_special_tokens=False, clean_up_tokenization_spaces=False)
    if len(text) > SHOWN_CHARS:
        text = f"{text[: SHOWN_CHARS // 2]} […] {text[-SHOWN_CHARS // 2 :]}"
    return text


def describe_lengths(prompts: Sequence[Prompt], limit: int) -> str:
    """How long prompts are in tokens, against the longest that the config allows."""
    lengths = np.array([len(prompt.token_ids) for prompt in prompts])
    values = np.percentile(lengths, PERCENTILES, method="higher").astype(int)
    shown = ", ".join(f"p{share} {value}" for share, value in zip(PERCENTILES, values, strict=True))
    return f"{shown}, longest {lengths.max()}, of at most {limit} (data.max_prompt_tokens)"


def describe_epoch(config: Config, prompts: int) -> str:
    """How many steps see every prompt once."""
    groups, steps = config.rollout.groups_per_step, config.run.steps
    about = "about " if config.data.sampler == "difficulty" or config.dynamic_sampling else ""
    epochs = f"{steps * groups / prompts:.3g}"
    count = f"{prompts / groups:.3g}"
    steps_an_epoch = f"{count} {'step' if count == '1' else 'steps'}"
    in_all = f"run.steps {steps} = {epochs} {'epoch' if epochs == '1' else 'epochs'}"
    return f"{prompts} prompts / {groups} a step = {about}{steps_an_epoch}; {in_all}"
