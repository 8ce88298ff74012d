"""Words for the model between its turns → the tokens to append, and a rewritten context → prompt ids."""

import copy
from collections.abc import Sequence
from typing import Any

from configs.schema import Config
from rollout.chat.behind import FIRST, MARK, SENTINEL, Form, Template, UnfitWords, after_sentinel, end_of_turn, form_for, written_around
from rollout.chat.chat import NOTHING, Chat, Schema, tokenise_messages, with_system
from rollout.chat.stops import all_stops
from rollout.chat.strangers import Strangers
from rollout.chat.template import read_template
from rollout.data.row import DatasetError
from rollout.data.sources import every_source
from rollout.transcript.messages import Message, read_messages
from rollout.types import Prompt

REWRITTEN = "the rewritten context"


class ReplyTokens:
    """What a run's environments and tools say, as tokens, rendered by the keys of `[data]`, or by those of a prompt's own source.

    `stop_ids` are those of the model's generation config. The methods raise UnfitWords where the model cannot be told something.
    """

    def __init__(self, config: Config, tokenizer: Any, stop_ids: Sequence[int], chat: Chat = NOTHING) -> None:
        self.role, self.data, self.schemas = config.rollout.reply_role, config.data, chat.schemas
        self.stops = all_stops(list(stop_ids), tokenizer)
        self.tokenizer = copy.copy(tokenizer)  # an engine's own keeps its template
        if config.data.template_file:
            self.tokenizer.chat_template = chat.template or read_template(config.data.template_file)
        self._of_source = {source.key: source.data for source in every_source(config)}
        self._bound: dict[str, ReplyTokens] = {}
        self._forms: dict[str, Form] = {}  # by role
        self._strangers: Strangers | None = None

    def for_prompt(self, prompt: Prompt) -> "ReplyTokens":
        """The same by the keys of the prompt's own rows."""
        key = prompt.key if prompt.key in self._of_source else ""
        if key not in self._bound:
            self._bound[key] = bound = copy.copy(self)
            bound.data, bound._forms, bound._strangers = self._of_source.get(key, self.data), {}, None
        return self._bound[key]

    def showing(self, schemas: Sequence[Schema], *, system: bool = True) -> "ReplyTokens":
        """The same with other tools in the prompts, and without `data.system` where the conversation has a system turn of its own."""
        other = copy.copy(self)
        other.schemas, other._forms, other._bound, other._strangers = schemas, {}, {}, self.strangers  # tools change no mark
        other.data = self.data if system else self.data.model_copy(update={"system": None})
        return other

    def of(self, words: str, role: str, last_token: int) -> list[int]:
        """The tokens to append after a turn that ended with `last_token`, up to where the model's next turn begins.

        `role` is the template's, empty for `rollout.reply_role`. `data.prefill` begins every turn of the model, as it begins the first.
        """
        if not self.data.chat_template:
            return self._encode(self.strangers.hide(words))
        return self._behind(self.form(role or self.role)(self.template, self._heard(words), FIRST), last_token)

    def after(self, messages: Sequence[Message], last_token: int) -> list[int]:
        """The same for several messages, such as the results of several calls, which one turn of the model is followed by."""
        if len(messages) == 1 or not self.data.chat_template:
            return self.of("".join(one["content"] for one in messages), messages[0]["role"], last_token)
        for role in {one["role"] for one in messages}:
            self.form(role)  # refuses a role that the template does not show
        turns = [one | {"content": self._heard(one["content"])} for one in messages]
        marked = [one | {"content": f"{MARK}{place}x"} for place, one in enumerate(messages)]  # a template may escape the words themselves
        shown = self._behind_several(marked)
        if lost := [one["role"] for one in marked if one["content"] not in shown]:
            raise UnfitWords(f'the chat template leaves out the words of a turn of role "{lost[0]}"')
        return self._behind(self._behind_several(turns), last_token)

    def _behind_several(self, turns: Sequence[Message]) -> str:
        return after_sentinel(self.template.render([*FIRST.messages, {"role": "assistant", "content": SENTINEL}, *turns]))

    def _behind(self, behind: str, last_token: int) -> list[int]:
        """The tokens of what stands behind the sentinel, with the prefill of the model's next turn."""
        template = self.template
        text = behind + (self.data.prefill or "")
        end = end_of_turn(template, behind)
        if end is not None and end[1] == last_token:  # the model has sampled the end of its turn
            return self._encode(text[end[0] :])[1:]
        return self._encode(text)

    def context(self, messages: Sequence[Message]) -> list[int]:
        """A rewritten context as prompt ids, rendered as rows are; UnfitWords where it is no conversation, or is too long."""
        try:
            ids = self._context(list(messages))
        except DatasetError as error:
            raise UnfitWords(str(error)) from error
        longest = self.data.max_prompt_tokens
        if not 0 < len(ids) <= longest:
            raise UnfitWords(f"{REWRITTEN} has {len(ids)} tokens, needed 1 to {longest} (data.max_prompt_tokens)")
        return ids

    def _context(self, messages: list[Message]) -> list[int]:
        data = self.data
        turns = [turn | {"content": self._heard(turn["content"])} for turn in read_messages(REWRITTEN, messages)]
        if not turns or turns[-1]["role"] == "assistant":
            raise UnfitWords(f"{REWRITTEN} must end before the model's turn, with a message of another role than the assistant's")
        if data.chat_template:
            return tokenise_messages(data, REWRITTEN, REWRITTEN, with_system(data, REWRITTEN, turns), self.strangers, self.schemas)[1]
        if len(turns) > 1:
            raise UnfitWords(f"{REWRITTEN} has {len(turns)} messages, but with data.chat_template = false it is one message with the text")
        return self.strangers.encode(turns[0]["content"])

    def form(self, role: str) -> Form:
        """How words of a role are given to the template."""
        if role not in self._forms:
            self._forms[role] = form_for(self.template, role)
        return self._forms[role]

    @property
    def last_token(self) -> int:
        """The token with which the model ends its turns: the template's own, or the first at which engines stop."""
        end = end_of_turn(self.template, self.form(self.role)(self.template, MARK, FIRST)) if self.data.chat_template else None
        if end is None and not self.stops:
            raise UnfitWords("neither the tokenizer nor generation_config.json of the model names a token that ends a turn")
        return end[1] if end else self.stops[0]

    @property
    def template(self) -> Template:
        """The chat template with what it is rendered with."""
        return Template(tokenizer=self.tokenizer, stops=self.stops, arguments=dict(self.data.template_arguments), schemas=self.schemas)

    @property
    def strangers(self) -> Strangers:
        """What makes tokens of words that the model's author did not write."""
        if self._strangers is None:
            written = written_around(self.template) if self.data.chat_template else ""
            self._strangers = Strangers(self.tokenizer, self.stops, written)
        return self._strangers

    def _heard(self, words: str) -> str:
        """Words of an environment, a tool or an agent, with a stand-in for every special token that they spell."""
        return self.strangers.hide(clean(words))

    def _encode(self, text: str) -> list[int]:
        return self.strangers.encode(clean(text), add_special_tokens=False)


def clean(text: str) -> str:
    """A text that every tokenizer takes: the half of a surrogate pair, which JSON can hold, becomes U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if not text.isascii() else text
