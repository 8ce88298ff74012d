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
        whole = asked.prefill + text
        if sees_all:
            return whole if self._config.see_prefill else text
        if self._config.see_prefill:
            return answer_of(whole, self._marks, ends_within(asked.prompt.removesuffix(asked.prefill), "", self._marks))
        return answer_of(text, self._marks, ends_within(asked.prompt, asked.prefill, self._marks))

    def turns(self, asked: Asked) -> list[str]:
        """What an environment sees of each turn; nothing of one that ends within a thought."""
        return [self.of(asked, turn.said, self._config.thinking == "keep") or "" for turn in asked.said]

    def ends_in_thought(self, asked: Asked) -> bool:
        """Whether an environment sees nothing of the last turn, because it ends within a thought."""
        return self.of(asked, asked.response, self._config.thinking == "keep") is None
