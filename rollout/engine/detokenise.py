"""Response tokens → the text that checkers and people read."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

# Roles of special tokens that are no part of an answer. Every other special token is text: a model's marks of thinking may be such tokens.
HIDDEN_ROLES = ("bos_token", "eos_token", "pad_token", "unk_token", "sep_token", "cls_token", "mask_token")
ANSWER = "42"


class Detokeniser:
    """Decodes responses with their special tokens, but for those that only end or fill a text; `stops` are ids that end a response."""

    def __init__(self, tokenizer: Any, stops: Iterable[int] = ()) -> None:
        self.tokenizer = tokenizer
        ids = tokenizer.get_vocab()
        named = [token for role in HIDDEN_ROLES if (token := tokenizer.special_tokens_map.get(role)) is not None]
        self.hidden = {ids[str(token)] for token in [*named, *ends_of_turns(tokenizer)] if str(token) in ids} | set(stops)

    def text(self, token_ids: Sequence[int]) -> str:
        """The text of a response."""
        kept = [token for token in token_ids if token not in self.hidden]
        text: str = self.tokenizer.decode(kept, skip_special_tokens=False)
        return text


def ends_of_turns(tokenizer: Any) -> list[str]:
    """The special tokens that the chat template writes after an assistant's turn; a base model does not name them as its ends."""
    turns = [{"role": "user", "content": "6*7"}, {"role": "assistant", "content": ANSWER}]
    text = ""
    with suppress(Exception):  # no template, or one that refuses such a conversation: then no more is known than the named tokens
        text = tokenizer.apply_chat_template(turns, tokenize=False)
    after = text.rpartition(ANSWER)[2]
    special = [str(token) for token in tokenizer.added_tokens_decoder.values() if token.special]
    return [token for token in special if token in after]
