"""Text of strangers as tokens: a special token that stands in it as text stays text, so that it ends no turn and opens none.

    words ──hide──► words with a stand-in for each mark ──template──► text ──encode──► ids; a stand-in becomes the letters of its mark

Marks are the special tokens, and what the template writes around turns as plain text, such as `[INST]`. The first are spelled without their
token. The second have no token of their own, so a blank breaks them.
"""

import re
from collections.abc import Iterable
from functools import cached_property
from typing import Any

STAND_IN = re.compile(r"gatewise5mark(\d+)x")  # letters and digits, so that no template strips or escapes it
OF_TEMPLATES = re.compile(r"<[^<>\s]{1,40}>|\[/?[A-Z_]{2,40}\]")


class Strangers:
    """A tokenizer for texts that others wrote: hide their marks, render, and encode. Any other attribute is the tokenizer's own.

    stops: further tokens at which engines end a turn. written: what the template writes around turns.
    """

    def __init__(self, tokenizer: Any, stops: Iterable[int] = (), written: str = "") -> None:
        self._tokenizer, self._stops, self._written = tokenizer, stops, written

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)

    @cached_property
    def _special(self) -> dict[str, int]:
        """The special tokens by their text. One character is no mark: it may be a letter, or a line's end."""
        added = self._tokenizer.added_tokens_decoder
        names = {str(token): number for number, token in added.items() if token.special}
        names |= {str(self._tokenizer.convert_ids_to_tokens(stop)): stop for stop in self._stops}
        return {name: number for name, number in names.items() if len(name) > 1}

    @cached_property
    def _marks(self) -> list[str]:
        """All marks, the longest first."""
        plain = {mark for mark in OF_TEMPLATES.findall(self._written) if mark not in self._tokenizer.get_vocab()}
        return sorted({*self._special, *plain}, key=lambda mark: (-len(mark), mark))

    @cached_property
    def _pattern(self) -> re.Pattern[str] | None:
        return re.compile("|".join(map(re.escape, self._marks))) if self._marks else None

    def hide(self, text: str) -> str:
        """The text with a stand-in for each mark; itself where it has none."""
        if self._pattern is None or not self._pattern.search(text):
            return text
        return self._pattern.sub(lambda mark: f"gatewise5mark{self._marks.index(mark[0])}x", text)

    def encode(self, text: str, **options: Any) -> list[int]:
        """The ids of a rendered text, each stand-in as the letters of its mark."""
        if not STAND_IN.search(text):
            whole: list[int] = self._tokenizer.encode(text, **options)
            return whole
        add_special_tokens = options.get("add_special_tokens", True)
        ids: list[int] = []
        for place, part in enumerate(STAND_IN.split(text)):  # text, number, text, number, ..., text
            if place % 2:
                ids += self._spelled(int(part))
            elif part or (add_special_tokens and place == 0):
                ids += self._tokenizer.encode(part, add_special_tokens=add_special_tokens and place == 0)
        return ids

    def apply_chat_template(self, conversation: list[dict[str, Any]], **options: Any) -> Any:
        """As the tokenizer's own, but that it encodes as `encode` does; ids come as a list."""
        text: str = self._tokenizer.apply_chat_template(conversation, **{**options, "tokenize": False})
        return self.encode(text, add_special_tokens=False) if options.get("tokenize", True) else text

    def _spelled(self, number: int) -> list[int]:
        """The ids of a mark as text."""
        if number >= len(self._marks):  # the text itself had a stand-in's letters
            return self._plain(f"gatewise5mark{number}x")
        mark = self._marks[number]
        return self._plain(mark) if mark in self._special else self._plain(f"{mark[0]} {mark[1:]}")

    def _plain(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
        if self._special.keys().isdisjoint(self._tokenizer.convert_ids_to_tokens(ids)):
            return ids
        return [one for letter in text for one in self._tokenizer.encode(letter, add_special_tokens=False)]
