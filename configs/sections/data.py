"""Keys of `[data]`."""

from typing import Literal

from pydantic import Field, StrictBool, StrictStr

from configs.section import Count, Positive, PositiveShare, Section


class DataConfig(Section):
    """Where prompts come from and what the fields of a row mean."""

    train: StrictStr = Field(description="a .jsonl or .parquet file, or a Hugging Face dataset id")
    eval: StrictStr | None = Field(
        default=None, description="held-out prompts, given in the same forms as `data.train`. Left out, nothing is evaluated"
    )
    split: StrictStr = Field(default="train", description="split of `data.train`, if that is a dataset id")
    eval_split: StrictStr = Field(default="test", description="split of `data.eval`, if that is a dataset id")
    prompt_field: StrictStr = Field(
        default="prompt",
        description="field with the question. It holds text or, with `chat_template`, a list of messages with `role` and `content`",
    )
    reference_field: StrictStr = Field(default="answer", description="field with the reference that the checker compares with")
    checker_field: StrictStr | None = Field(
        default=None, description="field with the name of a row's checker. Rows without a value there use `reward.checker`"
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
    system: StrictStr | None = Field(default=None, description="system turn before every prompt")
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
