"""Whether the model can be told what environments and tools say: by its chat template, within the limits of the config."""

from collections.abc import Collection, Sequence

from configs.cut import CUT
from configs.errors import DataError, raises
from configs.schema import Config
from reward.tools.describe import tool_schemas
from reward.tools.formats.shown import format_shown
from rollout.chat.behind import UnfitWords
from rollout.chat.chat import Chat
from rollout.chat.reply_tokens import ReplyTokens
from rollout.chat.template import read_template
from rollout.types import Prompt

OWN_AND_ANSWER = 2  # tokens of the shortest two turns of the model, which stand around an answer


def chat_of(config: Config) -> Chat:
    """What the engines of a run need to render conversations; ValueError where a tool or the template file cannot be used."""
    template = read_template(config.data.template_file) if config.data.template_file else None
    return Chat(template=template, schemas=tuple(tool_schemas(config)))


def talking(config: Config, prompts: Sequence[Prompt], environments: Collection[str]) -> list[Prompt]:
    """The prompts whose rows can have several turns."""
    return [prompt for prompt in prompts if config.tools.use or prompt.checker in environments]


@raises(DataError)
def check_episodes(speller: ReplyTokens, config: Config, prompts: Sequence[Prompt]) -> list[str]:
    """Warnings about episodes of these prompts; ValueError where their template or the limits leave no way to answer a turn."""
    for prompt in {prompt.key: prompt for prompt in prompts}.values():
        refuse_template(speller.for_prompt(prompt), config, prompt)
    return [*doubtful_limits(config), *untold_tools(config, speller, prompts), *other_format(config, prompts[0])] if prompts else []


def refuse_template(speller: ReplyTokens, config: Config, prompt: Prompt) -> None:
    """Raise ValueError where the template of these rows cannot tell the model words, or where no words fit."""
    role, limits = config.rollout.reply_role, config.rollout
    try:
        shortest = len(speller.of(CUT, "", speller.last_token))
    except UnfitWords as error:
        others = [other for other in ("user", "tool") if other != role and takes(speller, other)]
        remedy = f'set rollout.reply_role = "{others[0]}"' if others else "give another template in data.template_file"
        raise ValueError(
            f'rollout.reply_role: got "{role}", but rows of {prompt.key or "the data"} have several turns, and {error}: '
            f"{remedy}, or train on rows without environments and tools"
        ) from error
    if shortest > limits.max_reply_tokens:
        raise ValueError(
            f"rollout.max_reply_tokens: got {limits.max_reply_tokens}, needed at least {shortest}, the tokens of {CUT!r} with the marks of "
            "the chat template: raise it"
        )
    if shortest + OWN_AND_ANSWER > limits.max_response_tokens:
        raise ValueError(
            f"rollout.max_response_tokens: got {limits.max_response_tokens}, needed at least {shortest + OWN_AND_ANSWER}, as it counts all "
            "turns and answers of an episode: raise it"
        )


def takes(speller: ReplyTokens, role: str) -> bool:
    """Whether the template can tell words in this role."""
    try:
        speller.form(role)
    except UnfitWords:
        return False
    return True


def doubtful_limits(config: Config) -> list[str]:
    """Limits that let an episode end before its second turn."""
    limits, found = config.rollout, []
    if limits.max_turns == 1:
        found.append("rollout.max_turns = 1 ends every episode at the first answer of an environment or a tool: raise it")
    if limits.max_reply_tokens + OWN_AND_ANSWER > limits.max_response_tokens:
        found.append(
            f"rollout.max_reply_tokens ({limits.max_reply_tokens}) leaves the model no turn within rollout.max_response_tokens "
            f"({limits.max_response_tokens}), which counts answers too: an episode with so long an answer ends truncated; lower the one or "
            "raise the other"
        )
    return found


def other_format(config: Config, prompt: Prompt) -> list[str]:
    """A prompt that asks for calls in another form than the one that is read."""
    shown = format_shown(prompt.text) if config.tools.use else None
    if shown in (None, config.tools.format):
        return []
    return [
        f'tools.format: got "{config.tools.format}", but the chat template shows the model calls as "{shown}" writes '
        f'them, which would be no calls: set tools.format = "{shown}"'
    ]


def untold_tools(config: Config, speller: ReplyTokens, prompts: Sequence[Prompt]) -> list[str]:
    """Tools that the first prompt does not name, where no chat template describes them."""
    names = [str(schema.get("function", schema).get("name")) for schema in speller.schemas]
    hidden = [name for name in names if name not in prompts[0].text]
    if config.data.chat_template or not hidden:
        return []
    return [
        f"tools.use: the prompts do not name {', '.join(hidden)}, and with data.chat_template = false nothing else describes tools: "
        f'describe them in the prompts, and how they are called (tools.format = "{config.tools.format}")'
    ]
