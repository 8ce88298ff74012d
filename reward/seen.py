"""What a checker sees of the model's words: without thoughts, unless it looks at all."""

from typing import Any

from configs.sections.reward import RewardConfig
from reward.asked import Asked
from reward.thinking import answer_of, ends_within, is_about_marks


class Sight:
    """The texts as `[reward]` has checkers see them."""

    def __init__(self, config: RewardConfig) -> None:
        self._config, self._marks = config, config.thinking_marks

    def is_of_all(self, part: str, checker: str, reference: Any) -> bool:
        """Whether a score is of the whole response, thoughts included."""
        found = self._config.parts.get(part)
        if found is not None and found.see is not None:
            return found.see == "all"
        return self._config.thinking == "keep" or is_about_marks(checker, reference, self._marks)

    def of(self, asked: Asked, text: str, sees_all: bool) -> str | None:
        """What a checker sees of one turn; None where it would see an answer and the text ends within a thought.

        Every turn of the model begins as the first does: after `data.prefill`, and within a thought if the chat template opens one.
        """
        return self._of(asked, text, sees_all, opened=not sees_all and self._opened(asked))

    def turns(self, asked: Asked) -> list[str]:
        """What an environment sees of each turn; nothing of one that ends within a thought."""
        sees_all = self._config.thinking == "keep"
        opened = not sees_all and self._opened(asked)
        return [self._of(asked, turn.said, sees_all, opened=opened) or "" for turn in asked.said]

    def _opened(self, asked: Asked) -> bool:
        """Whether the text that a checker sees of a turn begins within a thought."""
        if self._config.see_prefill:
            return ends_within(asked.prompt.removesuffix(asked.prefill), "", self._marks)
        return ends_within(asked.prompt, asked.prefill, self._marks)

    def _of(self, asked: Asked, text: str, sees_all: bool, *, opened: bool) -> str | None:
        whole = asked.prefill + text if self._config.see_prefill else text
        return whole if sees_all else answer_of(whole, self._marks, opened)

    def ends_in_thought(self, asked: Asked) -> bool:
        """Whether an environment sees nothing of the last turn, because it ends within a thought."""
        return self.of(asked, asked.response, self._config.thinking == "keep") is None
