"""The words of an environment or a tool → the tokens that are appended to what the model has read and said."""

from collections.abc import Sequence
from typing import Any

from configs.schema import Config
from rollout.messages import Message


class ReplyTokens:
    """Spells words for one model; `stop_ids` are the tokens that end a turn."""

    def __init__(self, config: Config, tokenizer: Any, stop_ids: Sequence[int]) -> None:
        self.config, self.tokenizer, self.stop_ids = config, tokenizer, stop_ids

    def of(self, words: str, role: str, last_token: int) -> list[int]:
        """The tokens to append after a turn whose last token is `last_token`, up to where the model's next turn begins."""
        ids: list[int] = self.tokenizer.encode(words, add_special_tokens=False)
        return ids

    def context(self, messages: Sequence[Message]) -> list[int]:
        """A rewritten context as prompt tokens."""
        ids: list[int] = self.tokenizer.encode("".join(str(message["content"]) for message in messages))
        return ids
