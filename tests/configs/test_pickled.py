"""Objects that are pickled quickly come back as they were."""

import copy
import pickle
from dataclasses import FrozenInstanceError, fields, replace

import pytest

from reward.asked import Asked
from rollout.transcript.episode import Answer, Turn
from rollout.types import Outcome, Verdict

ANSWERS = (
    Answer(),
    Answer(words="", role="tool", tool_calls=2, tool_errors=1, cut=True, seconds=0.25),
    Answer(rewritten=({"role": "user", "content": "on"},)),
    Answer(failure=Verdict.failed(Outcome.UNSCORABLE, "error: x")),
)
TURNS = tuple(Turn(said=f"turn {number}", answer=answer) for number, answer in enumerate(ANSWERS))
ASKED = Asked(
    checker="exact", response="5", reference={"gold": [5]}, tokens=3, columns={"a": None}, group=("5", "6"), turns=TURNS, over=True
)


VERDICTS = (
    Verdict(reward=1.0),
    Verdict(reward=0.5, parts={"correct": 1.0}, words={"judge": "fair"}, unfinished=True, turn_rewards=(0.25, 0.25)),
    Verdict.failed(Outcome.TIMED_OUT, "late", {"judge": ""}),
)


@pytest.mark.parametrize("one", [*ANSWERS, *TURNS, *VERDICTS, ASKED, replace(ASKED, turns=())])
def test_every_field_survives(one: Answer | Turn | Asked | Verdict) -> None:
    for back in (pickle.loads(pickle.dumps(one)), copy.deepcopy(one)):
        assert type(back) is type(one)
        assert back == one
        assert all(getattr(back, field.name) == getattr(one, field.name) for field in fields(one))
        with pytest.raises(FrozenInstanceError):
            setattr(back, fields(one)[0].name, "other")
