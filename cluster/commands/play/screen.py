"""What `play` prints: the prompt as the model reads it, what was said and answered, the reward with its parts."""

from collections.abc import Callable, Sequence
from typing import Any

from configs.arithmetic import counted
from configs.sections.rollout import RolloutConfig
from rollout.transcript.episode import Answer, Reply, Turn
from rollout.types import Finish, Prompt, Response, Verdict

LABEL_CHARS = 9
RULE = "─" * 60


class Screen:
    """Prints an episode as it goes."""

    def __init__(self, say: Callable[[str], None] = print) -> None:
        self.say = say
        self.asked = 0  # turns whose answer was asked for
        self.words: str | None = None  # the newest answer

    def line(self, label: str, text: str) -> None:
        """A labelled text; further lines of it stand below its first one."""
        for place, line in enumerate(harmless(text).split("\n")):
            self.say(f"{'' if place else label:<{LABEL_CHARS}}{line}".rstrip())

    def prompt(self, prompt: Prompt, tokenizer: Any) -> None:
        """The row, and its prompt with every special token. The reference stays hidden until the end."""
        self.line("row", f"{prompt.where or prompt.prompt_id} (id {prompt.prompt_id}), checker {prompt.checker}")
        self.line("prompt", f"{counted(len(prompt.token_ids), 'token')}, as the model reads them:")
        self._whole(tokenizer.decode(prompt.token_ids.tolist(), skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def said(self, number: int, text: str) -> None:
        """A turn that an engine said."""
        self.line(f"turn {number}", text)

    def answer(self, answer: Answer) -> None:
        """What was answered."""
        self.words = answer.words
        if answer.rewritten is not None:
            self.line("context", "rewritten, up to the model's next turn:")
            for message in answer.rewritten:
                self.line(f"  {message['role']}", str(message.get("content", "")))
        elif answer.words is not None:
            self.line("error" if answer.tool_errors else "tool" if answer.tool_calls else "answer", answer.words)

    def read(self, text: str) -> None:
        """How the model reads the newest answer, where that is not its words alone."""
        if self.words is None or text.strip() != self.words.strip():
            self.line("", f"(the model reads {text!r})")

    def end(self, response: Response, rollout: RolloutConfig) -> None:
        """Why the model has no further turn."""
        turns: Sequence[Turn] = response.transcript
        for number, turn in enumerate(turns, start=1):
            if turn.answer.cut:
                self.line("cut", f"the answer to turn {number} is above rollout.max_reply_tokens = {rollout.max_reply_tokens}")
        self.line(
            "end", f"{counted(max(1, len(turns)), 'turn')}, {counted(response.sampled_tokens, 'token')}: {self._why(response, rollout)}"
        )

    def _why(self, response: Response, rollout: RolloutConfig) -> str:
        turns = max(1, len(response.transcript))
        if response.transcript and response.transcript[-1].answer.failure is not None:
            return "the episode broke"
        if response.finish is Finish.STOP:
            return "the episode is over" if self.asked else "a row of one turn"
        if self.asked < turns:
            return f"the turn was cut off at rollout.max_response_tokens = {rollout.max_response_tokens}"
        if turns >= rollout.max_turns:
            return f"no turn is left (rollout.max_turns = {rollout.max_turns}), so the model does not read the last answer"
        return f"no room is left for the last answer (rollout.max_response_tokens = {rollout.max_response_tokens})"

    def verdict(self, prompt: Prompt, verdict: Verdict) -> None:
        """The reward with its parts, of each turn where rewards belong to turns, and the reference."""
        if verdict.reward is None:
            self.line("reward", f"none, {verdict.outcome}: {verdict.failure}")
        else:
            parts = ", ".join(f"{name} {value:g}" for name, value in verdict.parts.items())
            self.line("reward", f"{verdict.reward:g}" + (f" ({parts})" if parts else ""))
        if verdict.turn_rewards:
            self.line("", "by turn: " + ", ".join(f"{reward:g}" for reward in verdict.turn_rewards))
        if verdict.unfinished:
            self.line("", "the last turn ends within a thought, so it has no answer")
        for name, words in verdict.words.items():
            self.line(name, words)
        self.line("right", f"{prompt.reference!r} is the row's reference")

    def _whole(self, text: str) -> None:
        for line in (RULE, harmless(text), RULE):
            self.say(line)


def harmless(text: str) -> str:
    """A text without characters that would steer the terminal: a model or an environment may say any."""
    return "".join(letter if letter.isprintable() or letter in "\n\t" else repr(letter)[1:-1] for letter in text)


class Shown:
    """What answers a turn, with both printed."""

    def __init__(self, reply: Reply, screen: Screen, *, said: bool, then: Callable[[], object] = lambda: None) -> None:
        """`said` prints the turn as well; `then` is called after an answer that leaves the model another turn."""
        self.reply, self.screen, self.prints, self.then = reply, screen, said, then

    async def __call__(self, turns: Sequence[Turn]) -> Answer:
        """The answer to the newest turn."""
        self.screen.asked = len(turns)
        if self.prints:
            self.screen.said(len(turns), turns[-1].said)
        answer = await self.reply(turns)
        self.screen.answer(answer)
        if not answer.ends:
            self.then()
        return answer
