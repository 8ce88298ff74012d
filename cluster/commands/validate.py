"""Everything that can be known wrong about a run before a process starts or a GPU is held."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cluster.commands.model_checks import experts_of_the_model
from cluster.commands.reward_checks import check_rewards
from configs.arithmetic import plan
from configs.errors import ModelError, raises
from configs.families import families_that, family_of, number_of_experts
from configs.passthrough import check_passthrough, unchecked_libraries
from configs.schema import Config
from configs.sections.objective import INITIAL
from configs.toml_writer import quoted
from rollout.prompts import PromptSet, load_prompts
from rollout.types import Prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A valid config, with everything that was read to check it."""

    prompts: PromptSet
    held_out: Sequence[Prompt]
    lines: Sequence[str]  # what a person wants to know before starting
    checkers: Sequence[str]  # that rows name


def check(config: Config) -> Checked:
    """Check a config against its model, tokenizer and data; ValueError says what is wrong and what to do."""
    problems = check_passthrough(config)
    if problems:
        raise ValueError("\n".join(problems))
    model = model_settings(config, "model.path", config.model.path)
    if problems := list(experts_of_the_model(config, model.to_dict())):
        raise ValueError("\n".join(problems))
    if config.learner.packing:
        refuse_layers_that_cannot_be_packed(config, model, f"model.path {config.model.path}")
    if config.kl.reference not in (None, INITIAL):
        refuse_foreign_reference(config, model)
    limit = int(getattr(model, "max_position_embeddings", None) or config.context_tokens)
    if config.context_tokens > limit:
        raise ValueError(
            f"data.max_prompt_tokens ({config.data.max_prompt_tokens}) + "
            f"rollout.max_response_tokens ({config.rollout.max_response_tokens}) = "
            f"{config.context_tokens} tokens, but {config.model.path} has a context of {limit}: lower one of them"
        )
    tokenizer = load_tokenizer(config)
    prompts = load_prompts(config, config.data.train, config.data.split, tokenizer)
    held_out = PromptSet(prompts=[], dropped=0)
    lines = [
        *plan(config),
        f"{len(prompts.prompts)} prompts from {config.data.train}"
        + (f", {prompts.dropped} dropped as over-long" if prompts.dropped else ""),
    ]
    if config.data.eval:
        held_out = load_prompts(config, config.data.eval, config.data.eval_split, tokenizer)
        held_out = replace(held_out, prompts=held_out.prompts[: config.data.eval_limit])
        lines.append(f"{len(held_out.prompts)} held-out prompts from {config.data.eval}")
    lines += [f"{name} is not installed here, so its own settings were not checked" for name in unchecked_libraries()]
    lines += check_rewards(config, prompts, held_out)
    checkers = sorted({prompt.checker for prompt in (*prompts.prompts, *held_out.prompts)})
    return Checked(prompts=prompts, held_out=held_out.prompts, lines=lines, checkers=checkers)


def model_folder(key: str, path: str) -> Path:
    """The folder of a model; ValueError where it holds none."""
    folder = Path(path)
    if not (folder / "config.json").is_file():
        raise ValueError(
            f"{key} {path} is not a model folder: it has no config.json. Give the path of a downloaded Hugging Face "
            "model (for the shipped tiny one: make tiny)"
        )
    if not any(folder.glob("*.safetensors")):
        raise ValueError(f"{key} {path} has a config.json but no *.safetensors weights: download the model completely")
    return folder


@raises(ModelError)
def refuse_foreign_reference(config: Config, ours: Any) -> None:
    """Raise ValueError where the reference has another vocabulary than the policy `ours`, or cannot be held as the policy is."""
    folder = Path(str(config.kl.reference))
    if not folder.is_dir():
        raise ValueError(f'kl.reference got "{folder}", which is no folder: give a model folder, or "initial" for model.path')
    theirs = model_settings(config, "kl.reference", str(folder))
    if theirs.vocab_size != ours.vocab_size:
        raise ValueError(
            f"kl.reference {folder} has a vocabulary of {theirs.vocab_size} tokens, model.path {config.model.path} one of "
            f'{ours.vocab_size}: give a model with the same tokenizer, or "initial"'
        )
    size, experts, preset = config.learner.expert_parallel, number_of_experts(theirs.to_dict()), family_of(ours.model_type).spread
    if size > 1 and (family_of(theirs.model_type).spread != preset or not experts or experts % size):
        alike = quoted(families_that(lambda row: row.spread == preset))
        raise ValueError(
            f"kl.reference {folder} ({theirs.model_type}, {experts} experts) cannot be spread as the policy is by "
            f'learner.expert_parallel = {size}: give a reference of {alike} whose experts it divides, "initial", or '
            "learner.expert_parallel = 1"
        )
    if config.learner.packing:
        refuse_layers_that_cannot_be_packed(config, theirs, f"kl.reference {folder}")


def refuse_layers_that_cannot_be_packed(config: Config, settings: Any, named: str) -> None:
    """Raise ValueError where a layer of the model would look across the borders of a pack."""
    from learner.model.packed_attention import refuse_unpackable

    if not family_of(settings.model_type, named).packed:
        raise ValueError(
            f'learner.packing = true, but {named} is of model_type "{settings.model_type}", needed '
            f"{quoted(families_that(lambda row: row.packed))}: set learner.packing = false"
        )
    refuse_unpackable(settings, config, named)


@raises(ModelError)
def model_settings(config: Config, key: str, path: str) -> Any:
    """The Hugging Face config of the model that `key` names; ValueError where there is no model, or one of a family that cannot train."""
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig

    folder = model_folder(key, path)
    try:
        raw = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{key} {path} has a config.json that is not JSON ({error}): download the model again") from error
    if not isinstance(raw, dict):
        raise ValueError(f"{key} {path} has a config.json that is a JSON {type(raw).__name__}, no object: download the model again")
    family = family_of(raw.get("model_type"), f"{key} {path}")  # first: transformers itself may not know the family
    try:
        settings = AutoConfig.from_pretrained(folder, trust_remote_code=config.model.trust_remote_code)
        experts = number_of_experts(settings.to_dict())
    except (OSError, ValueError, TypeError, AttributeError, StrictDataclassError) as error:
        raise ValueError(f"{key} {path} has a config.json that transformers cannot use ({error}): download the model again") from error
    if not family.dense and experts < 1:
        raise ValueError(f"{key} {path} is a mixture of experts ({family.name}) with {experts} experts: correct its config.json")
    return settings


@raises(ModelError)
def load_tokenizer(config: Config) -> Any:
    """The model's tokenizer; ValueError where its folder has none."""
    from transformers import AutoTokenizer

    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(config.model.path, trust_remote_code=config.model.trust_remote_code)
    except (OSError, ValueError) as error:
        raise ValueError(f"model.path {config.model.path} holds no tokenizer that can be loaded: {error}") from error
    if not tokenizer.encode("1", add_special_tokens=False):  # transformers makes up an empty one where the files are missing
        raise ValueError(f"model.path {config.model.path} holds no tokenizer that can be loaded: add its tokenizer.json")
    return tokenizer
