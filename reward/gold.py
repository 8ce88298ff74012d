"""Right answers of the user's functions: a response, or of an environment the text of each turn."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

from reward.episodes.transcript import Past, Transcript
from reward.own.signature import AT_THE_END
from reward.workers.tasks import Item


def gold_turns(words: Mapping[str, str]) -> list[str]:
    """The right turns that a worker reports of a reference: one of a plain checker, none where there is no right answer."""
    if "gold turns" in words:
        return [str(turn) for turn in json.loads(words["gold turns"])]
    return [words["gold"]] if "gold" in words else []


def as_episode(item: Item, turns: Sequence[Past], *, score: bool = False, over: bool = False) -> Item:
    """The item as a question to its environment."""
    fields = {name: value for name, value in item.fields.items() if name not in AT_THE_END}
    transcript = Transcript(turns=tuple(turns), score=score, over=over)
    return replace(item, response=turns[-1].said, fields=fields, group=(), of_reference=False, transcript=transcript)


def whole_episode(item: Item, turns: Sequence[str]) -> Item:
    """The item as an episode in which the model has these turns and no further one."""
    return as_episode(item, [Past(turn) for turn in turns], score=True, over=True)
