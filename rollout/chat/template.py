"""A chat template from a file, for a tokenizer that has none or another one."""

from collections.abc import Mapping
from typing import Any

from jinja2 import TemplateSyntaxError, meta

from configs.errors import in_one_line
from configs.home import expanded
from configs.sections.data import DataConfig
from rollout.data.row import DatasetError

GIVEN = {"messages", "add_generation_prompt", "bos_token", "eos_token", "pad_token", "unk_token"}  # a prompt gives these by itself
QUESTION = "How many legs has a spider?"  # a template must show it
ADVICE = "end it with {% if add_generation_prompt %}…{% endif %}, where … is what comes before an answer"


def read_template(path: str) -> str:
    """The text of `data.template_file`; ValueError where there is none."""
    file = expanded(path)
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"data.template_file {path} cannot be read ({error}): give a Jinja file; it was looked for at {file.absolute()}"
        ) from error


def use_template(tokenizer: Any, path: str, arguments: Mapping[str, Any] | None = None) -> None:
    """Give a tokenizer the template of a file; ValueError where it is no template, hides the question or opens no answer."""
    tokenizer.chat_template = read_template(path)
    closed, opened = (_render(tokenizer, path, {**(arguments or {}), "add_generation_prompt": opens}) for opens in (False, True))
    if QUESTION not in opened:
        raise ValueError(
            f"data.template_file {path} does not show the content of a user's message: write a loop over messages with "
            f"message['role'] and message['content']. It made {opened[:200]!r}"
        )
    if len(opened) <= len(closed):
        raise ValueError(
            f"data.template_file {path} ignores add_generation_prompt, so a prompt would not end where an answer begins: {ADVICE}. "
            f"It made {opened[-200:]!r}"
        )


def refuse_ignored_arguments(data: DataConfig, tokenizer: Any) -> None:
    """ValueError with the first argument for the chat template that the template does not read, and with those that it reads."""
    wanted = {f"{key}.{name}": name for key, table in data.every_template_arguments.items() for name in table}
    if not wanted or not tokenizer.chat_template:
        return
    reads = variables_of(tokenizer.get_chat_template())
    for key, name in wanted.items():
        if name not in reads:
            known = ", ".join(sorted(reads - GIVEN)) or "no argument of its own"
            raise ValueError(f"{key}: the chat template does not read {name}, so it has no effect: remove it; the template reads {known}")


def variables_of(template: str) -> set[str]:
    """The names that a chat template takes from outside, in transformers' dialect of Jinja."""
    from transformers.utils.chat_template_utils import _compile_jinja_template

    environment: Any = _compile_jinja_template(template).environment
    return meta.find_undeclared_variables(environment.parse(template)) - set(environment.globals)


def _render(tokenizer: Any, path: str, options: Mapping[str, Any]) -> str:
    """A question in the template; ValueError with the line of an error in it."""
    try:
        text: str = tokenizer.apply_chat_template([{"role": "user", "content": QUESTION}], tokenize=False, **options)
    except TemplateSyntaxError as error:
        raise DatasetError(
            f"data.template_file {path}, line {error.lineno}: not a Jinja template: {error.message}: correct that line"
        ) from error
    except Exception as error:  # a template is a program and may raise anything
        said = in_one_line(f"{type(error).__name__}: {error}")
        raise DatasetError(f"data.template_file {path} cannot render a user's message ({said}): correct it") from error
    return text
