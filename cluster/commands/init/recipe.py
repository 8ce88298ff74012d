"""The sections of a new config, each key with its value and the reason for it."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.commands.init.data import Data
from cluster.commands.init.machine import Machine
from cluster.commands.init.model import Model
from cluster.commands.init.split import Split
from configs.arithmetic import amount, counted
from configs.toml_writer import write_value

BOXED = "Please reason step by step, and put your final answer within \\boxed{}."
TINY = 50e6  # parameters below which a model is a toy that learns at a high rate and answers shortly
ROUND = 8  # token limits are multiples of it
PROMPT_SHARE = 0.75  # of the model's context, at most
MOST_HELD_OUT = 500  # rows of an evaluation
SMALL_GPU_GB = 16  # below it, 15 % of a shared GPU is less than a waiting rank keeps
COMMENT_AT = 48  # column of the comments, where the value leaves room


@dataclass(frozen=True, slots=True)
class Key:
    """A line of a section."""

    name: str
    value: Any
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Everything that a config is written from."""

    model: Model
    train: Data
    held_out: Data | None
    machine: Machine
    split: Split | None  # None on CPU
    name: str  # of the config

    @property
    def toy(self) -> bool:
        return self.model.parameters < TINY

    @property
    def data(self) -> list[Data]:
        return [self.train, *([self.held_out] if self.held_out else [])]

    @property
    def prompt_tokens(self) -> int:
        """The longest prompt, as far as the model's context leaves room for an answer."""
        system = len(self.model.tokenizer.encode(BOXED)) + ROUND if self.asks_for_a_box else 0
        return min(up(max(each.kept for each in self.data) + system), int(PROMPT_SHARE * self.model.context))

    @property
    def drops(self) -> float:
        """The largest share of a dataset's prompts that are longer than that."""
        return max(each.share_above(self.prompt_tokens) for each in self.data)

    @property
    def response_tokens(self) -> int:
        wanted = up(2 * self.train.longest_reference) if self.toy else 256 if self.split is None else 2048
        return min(wanted, self.model.context - self.prompt_tokens)

    @property
    def asks_for_a_box(self) -> bool:
        """Whether a system turn should say how to mark the answer."""
        return self.model.chat and self.train.fields.checker == "math" and not self.train.boxed and not self.train.own_system

    @property
    def groups(self) -> int:
        """Prompts a step: even, for two updates, and no more than the data has."""
        most = 64 if self.split or self.toy else 16
        return max(2, min(most, self.train.rows) // 2 * 2) if self.train.rows > 1 else 1


NO_EVAL = Key("# eval", "held_out.jsonl", "held-out rows show whether the task is learned, or only these rows")


def up(tokens: int) -> int:
    return -(-tokens // ROUND) * ROUND


def sections(seen: Seen) -> Iterator[tuple[str, list[Key]]]:
    """(section, keys) in the order of the shipped recipes."""
    yield "run", run_keys(seen)
    if seen.split and seen.split.share:
        yield "placement", [Key("share", True, "engines and ranks take turns on the same GPUs: docs/sharing.md")]
    yield (
        "model",
        [
            Key(
                "path",
                seen.model.path,
                f"{seen.model.family.name}, {amount(seen.model.parameters)} parameters, {seen.model.layers} layers",
            ),
            Key("dtype", "bfloat16" if seen.split else "float32", "" if seen.split else "engines on CPU are exact in float32"),
        ],
    )
    yield "data", data_keys(seen)
    yield "rollout", rollout_keys(seen)
    yield "rollout.vllm", vllm_keys(seen)
    yield (
        "reward",
        [
            Key("checker", seen.train.fields.checker, seen.train.fields.why),
            Key("workers", 1 if seen.split is None else min(32, max(2, seen.machine.cpus // 4)), "processes that score responses"),
        ],
    )
    yield "learner", learner_keys(seen)
    if seen.split:
        yield (
            "learner.deepspeed.zero_optimization",
            [
                Key("stage", seen.split.zero_stage, seen.split.why),
                *(
                    [Key("offload_optimizer", {"device": "cpu"}, "the optimizer does not fit beside the weights")]
                    if seen.split.offload
                    else []
                ),
            ],
        )
        yield "learner.deepspeed.data_types", [Key("grad_accum_dtype", "fp32", "an update adds up many micro-batches")]
    yield "objective", [Key("preset", "grpo", "gspo and dapo are the next to try: docs/algorithms.md")]
    if seen.split:
        yield "correction", [Key("preset", "tis", "weighs each token by what engine and learner compute differently")]
    if seen.split and seen.model.family.followed:
        yield "mismatch", [Key("share", 0.02, "of the responses are scored again, which splits the mismatch by its causes")]


def run_keys(seen: Seen) -> list[Key]:
    """How long the run is, and what it writes."""
    folder = Path("runs") / seen.name
    large = seen.split is not None
    ahead = seen.split is not None and not seen.split.share
    epoch = -(-seen.train.rows // seen.groups)
    return [
        Key("dir", str(folder), "on a cluster: an absolute path that every node can write"),
        Key("steps", 200 if large else 50, f"an epoch is {counted(epoch, 'step')}"),
        Key(
            "max_staleness",
            1 if ahead else 0,
            "generation and learning work at the same time" if ahead else "generation and learning take turns",
        ),
        Key("save_every", 20 if large else 25),
        *([Key("eval_every", 20 if large else 25)] if seen.held_out else []),
        *([Key("deadline_s", 3600, "above the longest step")] if large else []),
    ]


def data_keys(seen: Seen) -> list[Key]:
    """Where the rows are, and how they are read."""
    train, held_out, model = seen.train, seen.held_out, seen.model
    chat = "the model has a chat template" if model.chat else "the model has no chat template: it reads the text as it is"
    if model.thinks_by_choice:
        chat += "; template_arguments = { enable_thinking = false } turns thinking off"
    keys = [
        Key("train", train.source, counted(train.rows, "row")),
        *([Key("split", train.split)] if train.split != "train" else []),
        Key("eval", held_out.source, counted(held_out.rows, "row")) if held_out else NO_EVAL,
        *([Key("eval_split", held_out.split)] if held_out and held_out.split != "test" else []),
        *([Key("eval_limit", MOST_HELD_OUT, "the first rows")] if held_out and held_out.rows > MOST_HELD_OUT else []),
        Key("prompt_field", train.fields.prompt, "messages" if train.messages else "text"),
        *answer_turn_keys(seen),
        Key("reference_field", train.fields.reference, "the checker compares with it"),
        *([Key("checker_field", train.fields.checker_field, "rows name their checkers")] if train.fields.checker_field else []),
        Key("chat_template", model.chat, chat),
        *([Key("system", BOXED, "delete it if the prompts say so themselves")] if seen.asks_for_a_box else []),
        Key(
            "max_prompt_tokens",
            seen.prompt_tokens,
            f"the longest prompt seen has {max(train.longest, held_out.longest if held_out else 0)}",
        ),
    ]
    return [*keys, *([Key("overlong", "drop", f"{100 * seen.drops:.2g} % of the prompts are longer")] if seen.drops else [])]


def answer_turn_keys(seen: Seen) -> list[Key]:
    """Cut the assistant's turn off where messages end in it; only a chat template reads messages."""
    cut = seen.model.chat and any(each.ends_in_answers for each in seen.data)
    return [Key("answer_turn", "cut", "the turns before the assistant's answer are the prompt")] if cut else []


def rollout_keys(seen: Seen) -> list[Key]:
    """How many engines there are, and what they generate."""
    split = seen.split
    keys = [
        Key(
            "engines",
            split.engines if split else 1,
            on_gpus(split.engines * split.tensor_parallel, split)
            if split
            else f"vLLM on CPU: this machine has {seen.machine.without_gpus}",
        ),
        Key("group_size", 8, "responses to each prompt"),
        Key("groups_per_step", seen.groups, "prompts a step"),
        Key("max_response_tokens", seen.response_tokens, "a longer response is truncated: raise it if metrics show truncated > 0.1"),
    ]
    if split and seen.model.family.followed:
        keys.append(Key("capture_routing", True, "the learner takes the experts that the engine chose"))
    return keys


def on_gpus(count: int, split: Split) -> str:
    return f"{counted(count, 'GPU')}{', the same for engines and ranks' if split.share else ''}"


def vllm_keys(seen: Seen) -> list[Key]:
    """What vLLM itself is told."""
    split = seen.split
    if split is None:
        return [Key("enforce_eager", True, "compiling costs more than it saves on CPU")]
    keys = [
        Key("tensor_parallel_size", split.tensor_parallel, "GPUs of an engine"),
        Key("gpu_memory_utilization", 0.7 if split.share and seen.machine.gpu_gb < SMALL_GPU_GB else 0.85),
        Key("max_model_len", seen.prompt_tokens + seen.response_tokens),
    ]
    spread = seen.model.experts and split.tensor_parallel > 1 and seen.model.experts % split.tensor_parallel == 0
    return [*keys, *([Key("enable_expert_parallel", True, "each GPU of an engine holds whole experts")] if spread else [])]


def learner_keys(seen: Seen) -> list[Key]:
    """How many ranks there are, and how they learn."""
    split, context = seen.split, seen.prompt_tokens + seen.response_tokens
    rate = 1e-4 if seen.toy else 1e-6
    keys = [
        Key("ranks", split.ranks if split else 1, on_gpus(split.ranks, split) if split else "a process on CPU"),
        Key("lr", rate, "small models learn at a high rate" if seen.toy else "usual for full training; above 5e-6 runs often collapse"),
        Key("updates_per_step", 2 if seen.groups % 2 == 0 else 1),
        Key("micro_batch_tokens", max(context, 8192 if split else 2048), "most tokens of a rank at once: lower it if memory runs out"),
        Key("packing", seen.model.family.packed, "no padding in the forward pass"),
    ]
    if split is None:
        return keys
    keys += [Key("warmup_updates", 10), Key("gradient_checkpointing", True, "activations are computed again instead of stored")]
    if seen.model.family.followed:
        keys.append(Key("routing", "replay_rollout", "each token is trained through the experts it took in the engine"))
    return keys


def text(seen: Seen, made_by: str, words: str, path: Path) -> str:
    """The config as commented TOML; `words` start the program, and `path` is the file."""
    lines = [
        f"# Made by `{on_one_line(made_by)}`. Every key: docs/config.md. Change what you like, then run:",
        f"#   {words} validate {on_one_line(shlex.quote(str(path)))}",
        f"#   {words} train {on_one_line(shlex.quote(str(path)))}",
    ]
    for section, keys in sections(seen):
        lines += ["", f"[{section}]", *(line_of(key) for key in keys)]
    return "\n".join(lines) + "\n"


def on_one_line(text: str) -> str:
    """The text with its line breaks and control characters escaped: in a comment, they would break the file."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def line_of(key: Key) -> str:
    setting = f"{key.name} = {write_value(key.value)}"
    return f"{setting:<{COMMENT_AT}}# {key.why}" if key.why else setting
