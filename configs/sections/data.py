"""Keys of `[data]`, of its sources and of its eval sets."""

from typing import Literal

from pydantic import Field, StrictBool, StrictStr

from configs.section import Count, Positive, PositiveShare, Section
from configs.tables import Table

AnswerTurn = Literal["refuse", "cut"]
KeepFields = list[StrictStr] | StrictBool  # true: every column of a row; false or empty: none


class RowKeys(Section):
    """How the rows of one source or eval set are read, where it differs from `[data]`."""

    prompt_field: StrictStr | None = Field(default=None, description="field with the question. Left out, it is `data.prompt_field`")
    reference_field: StrictStr | None = Field(default=None, description="field with the reference. Left out, it is `data.reference_field`")
    checker_field: StrictStr | None = Field(
        default=None, description="field with the name of a row's checker. Left out, it is `data.checker_field`"
    )
    checker: StrictStr | None = Field(default=None, description="checker of rows that name none. Left out, it is `reward.checker`")
    system: StrictStr | None = Field(
        default=None, description='system turn before every prompt; `""` is none. Left out, it is `data.system`'
    )
    template_arguments: Table | None = Field(
        default=None, description="keywords for the chat template; `{}` is none. Left out, it is `data.template_arguments`"
    )
    prefill: StrictStr | None = Field(
        default=None, description='text that begins the assistant\'s turn; `""` is none. Left out, it is `data.prefill`'
    )
    answer_turn: AnswerTurn | None = Field(
        default=None, description="what happens to messages that end in an answer. Left out, it is `data.answer_turn`"
    )
    keep_fields: KeepFields | None = Field(
        default=None,
        examples=[["level"]],
        description="columns for a reward function of your own, or `true` for all. Left out, it is `data.keep_fields`",
    )
    limit: Count | None = Field(default=None, examples=[500], description="use this many prompts, the first ones")


class SourceConfig(RowKeys):
    """One of several sources of training prompts."""

    path: StrictStr = Field(description="file, folder, glob or Hugging Face dataset id, as in `data.train`")
    split: StrictStr = Field(default="train", description="split of a dataset id or of a saved dataset")
    share: Positive | None = Field(
        default=None,
        examples=[0.5],
        description="part of the groups that this source gives, relative to the other sources' shares. Give all or none; "
        "without shares every prompt comes up equally often",
    )


class EvalConfig(RowKeys):
    """One of several sets of held-out prompts."""

    path: StrictStr = Field(description="file, folder, glob or Hugging Face dataset id, as in `data.train`")
    split: StrictStr = Field(default="test", description="split of a dataset id or of a saved dataset")
    responses: Count | None = Field(
        default=None,
        examples=[4],
        description="sampled responses to each prompt, besides the greedy one. Left out, it is `rollout.eval_responses`",
    )


class DataConfig(Section):
    """Where prompts come from and what the fields of a row mean."""

    train: StrictStr | None = Field(
        default=None,
        examples=["train.jsonl"],
        description="training prompts: a file, a folder, a glob or a Hugging Face dataset id. Leave it out to mix `[data.sources.NAME]`",
    )
    sources: dict[str, SourceConfig] = Field(
        default_factory=dict, description="several sources of training prompts instead of `data.train`"
    )
    eval: StrictStr | None = Field(
        default=None,
        description="held-out prompts, given in the same forms as `data.train`. Without them and `[data.evals.NAME]` nothing is evaluated",
    )
    evals: dict[str, EvalConfig] = Field(default_factory=dict, description="further sets of held-out prompts, each with its own metrics")
    split: StrictStr = Field(default="train", description="split of `data.train`, if that is a dataset id or a saved dataset")
    eval_split: StrictStr = Field(default="test", description="split of `data.eval`, if that is a dataset id or a saved dataset")
    prompt_field: StrictStr = Field(
        default="prompt",
        description="field with the question. It holds text or, with `chat_template`, a list of messages with `role` and `content`. "
        'Dots lead into nested fields: "extra_info.question"',
    )
    reference_field: StrictStr = Field(default="answer", description="field with the reference that the checker compares with")
    checker_field: StrictStr | None = Field(
        default=None, description="field with the name of a row's checker. Rows without a value there use `reward.checker`"
    )
    keep_fields: KeepFields = Field(
        default=[],
        examples=[["level"]],
        description="columns of a row, or `true` for all, that a reward function of your own gets as `row`",
    )
    chat_template: StrictBool = Field(
        default=True, description="wrap text as a user turn in the model's chat template. `false` tokenises the text as it is"
    )
    template_file: StrictStr | None = Field(
        default=None,
        examples=["template.jinja"],
        description="Jinja file with the chat template, in place of the tokenizer's own; base models have none. "
        "A relative path starts at the working directory. The run keeps a copy, and an export holds it",
    )
    template_arguments: Table = Field(
        default={},
        examples=[{"enable_thinking": False}],
        description="keywords for the chat template, with the template's own names. One that the template does not read is refused",
    )
    prefill: StrictStr | None = Field(
        default=None,
        examples=["The answer is"],
        description="text that begins every turn of the assistant; the model continues it. Its tokens are given, and not learned",
    )
    system: StrictStr | None = Field(default=None, description="system turn before every prompt")
    answer_turn: AnswerTurn = Field(
        default="refuse",
        description='messages that end in the assistant\'s answer: "refuse" stops at the first, naming its row; "cut" takes the turns '
        "before that answer as the prompt",
    )
    max_prompt_tokens: Count = Field(default=1024, description="longest prompt in tokens, chat template included")
    overlong: Literal["refuse", "drop"] = Field(
        default="refuse",
        description='"refuse" stops at a prompt above `max_prompt_tokens`, naming its row; "drop" leaves those prompts out and counts them',
    )
    sampler: Literal["uniform", "difficulty"] = Field(
        default="uniform",
        description='"uniform" draws every prompt once an epoch; "difficulty" draws prompts with mixed results more often than those '
        "that are always or never solved",
    )
    difficulty_floor: PositiveShare = Field(
        default=0.1, description="smallest sampling weight of a prompt, as a share of the largest (difficulty sampler)"
    )
    difficulty_half_life: Positive = Field(
        default=2.0, description="half-life, in epochs, of a prompt's observed results (difficulty sampler)"
    )
    eval_limit: Count | None = Field(default=None, examples=[500], description="evaluate on this many rows of `data.eval`, the first ones")

    @property
    def tables(self) -> dict[str, RowKeys]:
        """Every source and eval set by its dotted key."""
        return {f"data.sources.{name}": table for name, table in self.sources.items()} | {
            f"data.evals.{name}": table for name, table in self.evals.items()
        }

    @property
    def every_template_arguments(self) -> dict[str, Table]:
        """The arguments of `[data]` and of every source and eval set that has its own, by their dotted key."""
        own = {f"{key}.template_arguments": table.template_arguments for key, table in self.tables.items() if table.template_arguments}
        return {"data.template_arguments": self.template_arguments} | own

    @property
    def own_checkers(self) -> list[str]:
        """The checkers that sources and eval sets name for their rows, each once."""
        return list(dict.fromkeys(table.checker for table in self.tables.values() if table.checker is not None))
