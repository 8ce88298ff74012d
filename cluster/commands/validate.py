"""Everything that can be known wrong about a run before a process starts or a GPU is held."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cluster.actors.places.nvidia import MIB
from cluster.commands.checks.attention import describe_packing, refuse_attention
from cluster.commands.checks.engine import engine_problems
from cluster.commands.checks.episodes.limits import chat_of, check_episodes, talking
from cluster.commands.checks.findings import Findings
from cluster.commands.checks.machine import check_machine
from cluster.commands.checks.model import experts_of_the_model, refuse_impossible_numbers
from cluster.commands.checks.rewards import Rewards, check_rewards
from cluster.commands.checks.rows.data_lines import describe_eval_sets, describe_prompts
from cluster.commands.checks.sense import doubtful, repeated_prompts
from cluster.commands.checks.weights import refuse_other_weights
from cluster.commands.init.machine import gpus_here, host_bytes
from cluster.models.folder import described_folder, model_folder, refuse_generation_config, refuse_kind, refuse_no_tokenizer
from cluster.record.metrics.trackers.ready import tracker_problems
from configs.arithmetic import GB, plan
from configs.errors import ModelError, in_one_line, raises
from configs.families import families_that, family_of, number_of_experts
from configs.memory.table import memory_warnings
from configs.object_store import describe_object_store
from configs.parameters import count_parameters
from configs.passthrough import check_passthrough, unchecked_libraries
from configs.schema import Config
from configs.section import LARGEST
from configs.sections.objective import INITIAL
from configs.toml_writer import quoted
from rollout.chat.chat import NOTHING, Chat
from rollout.chat.reply_tokens import ReplyTokens
from rollout.chat.stops import stops_of
from rollout.chat.template import refuse_ignored_arguments, use_template
from rollout.prompts.prompts import EvalSet, PromptSet, load_eval_sets, load_training_prompts


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A valid config, with everything that was read to check it."""

    prompts: PromptSet
    held_out: Sequence[EvalSet]
    lines: Sequence[str]  # what a person wants to know before starting
    checkers: Sequence[str]  # that rows name
    chat: Chat = NOTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """What could be read of a config, valid or not, and what was found."""

    checked: Checked  # its prompts are empty where they could not be read
    found: Findings
    model: dict[str, Any]  # the Hugging Face config; empty where there is none
    tokenizer: Any  # None where there is none
    speller: ReplyTokens | None = None  # what tells the model the words of environments and tools; None without a tokenizer
    environments: Sequence[str] = ()  # checkers that are environments
    gpu_gb: float | None = None  # memory of a GPU: as given, or of this machine's smallest; None where it has none


def check(config: Config, *, here: bool = True, gpu_gb: float | None = None) -> Checked:
    """Check a config against its model, tokenizer, data and machine; ValueError lists what is wrong and what to do.

    `here` is False for a config that is meant for another machine; `gpu_gb` is a GPU's memory, None for this machine's.
    """
    examined = examine(config, here=here, gpu_gb=gpu_gb)
    examined.found.refuse()
    return replace(examined.checked, lines=[*examined.checked.lines, *examined.found.warned])


def examine(config: Config, *, here: bool = True, gpu_gb: float | None = None) -> Examined:
    """Check everything that can be checked, whatever else is wrong. `gpu_gb` is a GPU's memory, None for this machine's."""
    found = Findings(problems=check_passthrough(config))
    settings: Any = None
    with found.collect():
        settings = model_settings(config, "model.path", config.model.path, weights=False)
    model = {} if settings is None else settings.to_dict()
    if settings is not None:
        check_model(config, settings, found)
    if here:
        check_machine(config, model, found)
        found.problems += tracker_problems(config)
    tokenizer: Any = None
    if settings is not None:
        with found.collect():
            tokenizer = load_tokenizer(config)
            refuse_short_vocabulary(config, settings, tokenizer)
    prompts = held_out = PromptSet(prompts=[], dropped=0)
    eval_sets: list[EvalSet] = []
    chat, rewards = NOTHING, Rewards()
    with found.collect():
        chat = chat_of(config)
    shown = chat.schemas if tokenizer else ()
    lines = [*plan(config, model), *describe_object_store(config, model)]
    with found.collect():
        prompts = load_training_prompts(config, tokenizer or NoTokenizer(), shown)
        lines += describe_prompts(config, prompts)
    with found.collect():
        eval_sets, held_out = load_eval_sets(config, tokenizer or NoTokenizer(), shown)
        lines += describe_eval_sets(eval_sets)
    lines += [f"{name} is not installed here, so its own settings were not checked" for name in unchecked_libraries()]
    with found.collect():
        rewards = check_rewards(config, prompts, held_out)
        lines += rewards.lines
    every = (*prompts.prompts, *held_out.prompts)
    speller: ReplyTokens | None = None
    with found.collect():
        if tokenizer and (several := talking(config, every, rewards.environments)):
            speller = ReplyTokens(config, tokenizer, stops_of(config, tokenizer), chat)
            found.warnings += check_episodes(speller, config, several)
    family = model.get("model_type")
    seen = smallest_gpu() if gpu_gb is None else None
    found.warnings += [*doubtful(config, family, count_parameters(model)), *repeated_prompts(config, prompts.sizes)]
    found.warnings += memory_warnings(config, model, gpu_gb or seen, host_bytes() if seen else None)
    checkers = sorted({prompt.checker for prompt in every})
    checked = Checked(prompts=prompts, held_out=eval_sets, lines=lines, checkers=checkers, chat=chat)
    return Examined(
        checked=checked,
        found=found,
        model=model,
        tokenizer=tokenizer,
        speller=speller,
        environments=rewards.environments,
        gpu_gb=gpu_gb or seen,
    )


def smallest_gpu() -> float | None:
    """Memory of the smallest GPU of this machine in GB of 2^30 bytes, as GPUs are named; None where there is none."""
    here = gpus_here()
    return min(here) * GB / (1024 * MIB) if here else None


def check_model(config: Config, settings: Any, found: Findings) -> None:
    """Add what the model's config.json and weights do not allow; `settings` is its Hugging Face config.

    Weights come last: without them, size and memory still follow from config.json.
    """
    model, named = settings.to_dict(), f"model.path {config.model.path}"
    found.problems += [*experts_of_the_model(config, model), *engine_problems(config, model)]
    with found.collect():
        refuse_attention(config, settings)
    with found.collect():
        if config.learner.packing is True:
            refuse_layers_that_cannot_be_packed(config, settings, named)
    with found.collect():
        if config.kl.reference not in (None, INITIAL):
            refuse_foreign_reference(config, settings)
        found.notes += describe_packing(config)
    with found.collect():
        refuse_short_context(config, settings)
    with found.collect():
        model_folder("model.path", config.model.path)
        refuse_other_weights("model.path", config.model.path, settings)


def refuse_short_context(config: Config, settings: Any) -> None:
    """Raise ValueError where the longest prompt with the longest response is above the model's context."""
    limit = int(getattr(settings, "max_position_embeddings", None) or config.context_tokens)
    if config.context_tokens > limit:
        raise ValueError(
            f"data.max_prompt_tokens ({config.data.max_prompt_tokens}) + "
            f"rollout.max_response_tokens ({config.rollout.max_response_tokens}) = "
            f"{config.context_tokens} tokens, but {config.model.path} has a context of {limit}: lower one of them"
        )


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
    if config.learner.packing is True:
        refuse_layers_that_cannot_be_packed(config, theirs, f"kl.reference {folder}")
    refuse_other_weights("kl.reference", str(folder), theirs)


def refuse_layers_that_cannot_be_packed(config: Config, settings: Any, named: str) -> None:
    """Raise ValueError where a layer of the model would look across the borders of a pack."""
    from learner.model.packing import refuse_unpackable

    if not family_of(settings.model_type, named).packed:
        raise ValueError(
            f'learner.packing = true, but {named} is of model_type "{settings.model_type}", needed '
            f"{quoted(families_that(lambda row: row.packed))}: set learner.packing = false"
        )
    refuse_unpackable(settings, config, named)


@raises(ModelError)
def model_settings(config: Config, key: str, path: str, *, weights: bool = True) -> Any:
    """The Hugging Face config of the model that `key` names; ValueError where there is no model, or one of a family that cannot train.

    `weights` is False where a folder without weights will do.
    """
    from transformers import AutoConfig

    folder = model_folder(key, path) if weights else described_folder(key, path)
    try:
        raw = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{key} {path} has a config.json that is not JSON ({error}): download the model again") from error
    if not isinstance(raw, dict):
        raise ValueError(f"{key} {path} has a config.json that is a JSON {type(raw).__name__}, no object: download the model again")
    refuse_kind(key, path, raw)
    if huge := [name for name, value in raw.items() if isinstance(value, int) and abs(value) > LARGEST]:
        raise ValueError(f"{key} {path} has a config.json with a {huge[0]} above 64 bits: download the model again")
    family = family_of(raw.get("model_type"), f"{key} {path}")  # first: transformers itself may not know the family
    try:
        settings = AutoConfig.from_pretrained(folder, trust_remote_code=config.model.trust_remote_code)
        number_of_experts(settings.to_dict())
    except Exception as error:  # whatever transformers, or the model's own class, makes of a value that it does not expect
        said = in_one_line(f"{type(error).__name__}: {error}")
        raise ValueError(f"{key} {path} has a config.json that transformers cannot use ({said}): download the model again") from error
    refuse_impossible_numbers(f"{key} {path}", family, settings.to_dict())
    refuse_generation_config(key, folder)
    return settings


@raises(ModelError)
def load_tokenizer(config: Config) -> Any:
    """The model's tokenizer; ValueError where its folder has none."""
    from transformers import AutoTokenizer

    refuse_no_tokenizer(config.model.path)
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(config.model.path, trust_remote_code=config.model.trust_remote_code)
    except Exception as error:  # whatever transformers raises of a file that is no tokenizer
        said = " ".join(in_one_line(f"{type(error).__name__}: {error}").split())
        raise ValueError(f"model.path {config.model.path} holds no tokenizer that can be loaded: {said}") from error
    if not tokenizer.encode("1", add_special_tokens=False):  # transformers makes up an empty one where the files are missing
        raise ValueError(f"model.path {config.model.path} holds no tokenizer that can be loaded: add its tokenizer.json")
    if config.data.template_file:
        use_template(tokenizer, config.data.template_file, config.data.template_arguments)
    refuse_ignored_arguments(config.data, tokenizer)
    return tokenizer


def refuse_short_vocabulary(config: Config, settings: Any, tokenizer: Any) -> None:
    """Raise ValueError where the tokenizer makes ids for which the model has no embedding."""
    largest = max(tokenizer.get_vocab().values(), default=0)  # ids may have gaps, so their number says less
    if largest >= settings.vocab_size:
        raise ValueError(
            f"the tokenizer of model.path {config.model.path} has ids up to {largest}, but its config.json a vocabulary of "
            f"{settings.vocab_size} (ids up to {settings.vocab_size - 1}): "
            "use the tokenizer that belongs to the model, or a model with the added tokens"
        )


class NoTokenizer:
    """Stands in where the model has no tokenizer, so that rows and references are still checked; every prompt has one id."""

    chat_template = "none"

    def encode(self, text: str, **options: Any) -> list[int]:
        return [0] if text else []

    def apply_chat_template(self, conversation: list[dict[str, Any]], **options: Any) -> Any:
        return [0] if options.get("tokenize") else "\n".join(str(turn["content"]) for turn in conversation)
