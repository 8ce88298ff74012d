"""An episode: turns of the model with answers between them, from an environment or a tool.

    turn of the model ──► Reply ──► words: appended, and the model has another turn
                                 ├─► messages: the context is rewritten, and the model has another turn in a new segment
                                 ├─► nothing: the episode is over and is scored
                                 └─► a failure: the episode is over and has no reward

The engine asks; only `cluster` knows that reward actors answer.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from configs.pickled import quickly_pickled
from rollout.transcript.messages import Message
from rollout.transcript.verdict import Verdict


@quickly_pickled  # each turn of an episode travels as often as the episode goes on
@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What follows a turn of the model. At most one of `words`, `rewritten` and `failure` is there; with none the episode is over."""

    words: str | None = None  # appended to the context as they are, already cut to a length that fits
    role: str = ""  # whose words they are in the chat template; empty for `rollout.reply_role`
    rewritten: tuple[Message, ...] | None = None  # the whole context from now on, up to the model's next turn
    failure: Verdict | None = None  # the episode broke for no fault of the model's
    tool_calls: int = 0  # calls in the turn that is answered
    tool_errors: int = 0  # those whose answer is an error that the model caused
    cut: bool = False  # whether the words were longer than `rollout.max_reply_tokens` and end in "[cut]"
    seconds: float = 0.0  # from the question to this answer

    @property
    def ends(self) -> bool:
        """Whether the model has no further turn."""
        return self.words is None and self.rewritten is None


@quickly_pickled
@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One turn of the model, as text, and what was answered."""

    said: str
    answer: Answer = field(default_factory=Answer)  # of the newest turn, and of one after which the episode was over, an empty one


Reply = Callable[[Sequence[Turn]], Awaitable[Answer]]  # the turns so far, the last one without an answer
