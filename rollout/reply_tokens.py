"""Words for the model between its turns → the tokens to append, and a rewritten context → prompt ids."""

import copy
from collections.abc import Sequence
from typing import Any

from configs.schema import Config
from configs.sections.data import DataConfig
from rollout.behind import Form, Template, UnfitWords, end_of_turn, form_for
from rollout.chat import Schema, tokenise_messages, with_system
from rollout.data.row import DatasetError
from rollout.messages import Message, read_messages
from rollout.sources import eval_sources, training_sources
from rollout.stops import all_stops
from rollout.template import read_template
from rollout.types import Prompt

REWRITTEN = "the rewritten context"


class ReplyTokens:
    """What a run's environments and tools say, as tokens, each as the prompt's own rows are rendered.

    `stop_ids` are those of the model's generation config, `schemas` those of the tools, `template` the text of `data.template_file`.
    `prompt` says by which keys of `[data]` a text is rendered; without one it is `[data]` itself.
    """

    def __init__(
        self, config: Config, tokenizer: Any, stop_ids: Sequence[int], schemas: Sequence[Schema] = (), template: str | None = None
    ) -> None:
        self.config, self.schemas, self.stops = config, schemas, all_stops(list(stop_ids), tokenizer)
        self.tokenizer = copy.copy(tokenizer)  # an engine's own keeps its template
        if config.data.template_file:
            self.tokenizer.chat_template = template or read_template(config.data.template_file)
        sources = [*training_sources(config), *(source for source, _ in eval_sources(config))]
        self.data: dict[str, DataConfig] = {"": config.data, **{source.key: source.data for source in sources}}
        self._forms: dict[tuple[str, str], Form] = {}

    def of(self, words: str, role: str, last_token: int, prompt: Prompt | None = None) -> list[int]:
        """The tokens to append after a turn that ended with `last_token`, up to where the model's next turn begins.

        `role` is the template's, empty for `rollout.reply_role`. `data.prefill` begins every turn of the model, as it begins the first.
        UnfitWords where the template cannot say them.
        """
        key = prompt.key if prompt else ""
        data, role = self.data[key], role or self.config.rollout.reply_role
        if not data.chat_template:
            return self._encode(words)
        template = self.template(key)
        behind = self.form(key, role)(template, clean(words))
        text = behind + (data.prefill or "")
        end = end_of_turn(template, behind)
        if end is not None and end[1] == last_token:  # the model has sampled the end of its turn
            return self._encode(text[end[0] :])[1:]
        return self._encode(text)

    def context(self, messages: Sequence[Message], prompt: Prompt | None = None) -> list[int]:
        """A rewritten context as prompt ids, rendered as the rows of the prompt are; UnfitWords where it is none or is too long."""
        data = self.data[prompt.key if prompt else ""]
        try:
            ids = self._context(data, list(messages))
        except DatasetError as error:
            raise UnfitWords(str(error)) from error
        if not ids or len(ids) > data.max_prompt_tokens:
            raise UnfitWords(f"{REWRITTEN} has {len(ids)} tokens, needed 1 to {data.max_prompt_tokens} (data.max_prompt_tokens)")
        return ids

    def _context(self, data: DataConfig, messages: list[Message]) -> list[int]:
        turns = [turn | {"content": clean(turn["content"])} for turn in read_messages(REWRITTEN, messages)]
        if not turns or turns[-1]["role"] == "assistant":
            raise UnfitWords(f"{REWRITTEN} must end before the model's turn, with a message of another role than the assistant's")
        if data.chat_template:
            return tokenise_messages(data, REWRITTEN, REWRITTEN, with_system(data, REWRITTEN, turns), self.tokenizer, self.schemas)[1]
        if len(turns) > 1:
            raise UnfitWords(f"{REWRITTEN} has {len(turns)} messages, but with data.chat_template = false it is one message with the text")
        ids: list[int] = self.tokenizer.encode(turns[0]["content"])
        return ids

    def form(self, key: str, role: str) -> Form:
        """How words of a role are given to the template of these rows; UnfitWords where they cannot be."""
        found = self._forms.get((key, role))
        if found is None:
            found = self._forms[key, role] = form_for(self.template(key), role)
        return found

    def template(self, key: str = "") -> Template:
        return Template(tokenizer=self.tokenizer, stops=self.stops, arguments=dict(self.data[key].template_arguments), schemas=self.schemas)

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer.encode(clean(text), add_special_tokens=False)
        return ids


def clean(text: str) -> str:
    """A text that every tokenizer takes: the half of a surrogate pair, which JSON can hold, becomes U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if not text.isascii() else text
