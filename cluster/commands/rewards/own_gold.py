"""Right answers for the user's own functions, which only a worker can ask for them, and the fields that these functions ask for."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from configs.digits import write_long_json
from reward.asked import YIELDS
from reward.gold import gold_turns, whole_episode
from reward.own.function import stand_ins
from reward.own.name import is_own
from reward.workers.pool import Item, RewardPool
from rollout.data.row import Row
from rollout.prompts.columns import columns_of
from rollout.types import Verdict

Ready = tuple[Item | None, Verdict | None]  # to be scored, or None without a right answer; the verdict where it cannot be scored


async def with_golds(workers: RewardPool, asked: Sequence[tuple[Row, Item]], prompt_field: str) -> list[Ready]:
    """The items with the right answers and the fields of the user's functions; other items unchanged."""
    own = [place for place, (_, item) in enumerate(asked) if is_own(item.checker)]
    said = dict(zip(own, await workers.score([replace(asked[place][1], of_reference=True) for place in own]), strict=True))
    ready: list[Ready] = []
    for place, (row, item) in enumerate(asked):
        if place not in said:
            ready.append((item, None))
        elif said[place].failure:
            ready.append((item, said[place]))
        else:
            turns = gold_turns(said[place].words) if item.of_reference else [item.response]
            columns = columns_of(True, row) if "row" in workers.asks.get(item.checker, ()) else {}
            whole = with_fields(item, turns[-1], row.values.get(prompt_field), columns) if turns else None
            if whole is not None and YIELDS in workers.asks.get(item.checker, ()):
                whole = whole_episode(whole, turns)
            ready.append((whole, None))
    return ready


def with_fields(item: Item, response: str, prompt: Any, columns: dict[str, Any]) -> Item:
    """The item as a response outside a run: no model has read the prompt, so it is the row's own text."""
    text = prompt if isinstance(prompt, str) else "" if prompt is None else write_long_json(prompt, ensure_ascii=False, default=str)
    fields = {**stand_ins(response), "prompt": text, "question": text, "row": columns}
    group = fields.pop("group")
    return replace(item, response=response, of_reference=False, fields=fields, group=group)
