"""An update's rows divided over ranks and into micro-batches, the same on every rank.

Rows are dealt longest first, so that ranks get about equally many tokens. Where passes compute equal prompts once, whole groups may be
dealt instead: their responses then meet in a micro-batch. That is chosen where the fullest rank has clearly fewer tokens to compute.
"""

from collections.abc import Hashable, Iterable, Sequence
from heapq import heapify, heapreplace
from itertools import chain

from learner.batch.row import MicroBatch, Row

WORTH = 0.95  # of the tokens: groups stay together if this leaves fewer than that

Hand = list[Row]  # of one rank, in the order in which they are cut
Cuts = list[tuple[MicroBatch, ...]]  # [rank][micro-batch]


def divide(rows: Sequence[Row], ranks: int, budget: int, *, packed: bool, shared: bool = False) -> tuple[tuple[MicroBatch, ...], ...]:
    """The micro-batches of every rank [rank][micro-batch], equally many on each.

    A micro-batch has at most `budget` tokens, counted with padding unless `packed`; ValueError if one row alone has more. `shared` says
    that packs compute the prompt of a group once; which rank gets a row follows from it and never from `packed`.
    """
    longest = max(rows, key=lambda r: r.tokens, default=None)
    if longest is not None and longest.tokens > budget:
        raise ValueError(
            f"response {longest.member} of the step's group {longest.group} has {longest.tokens} tokens with its prompt, "
            f"a micro-batch may hold {budget}: set learner.micro_batch_tokens to at least {longest.tokens}"
        )
    cuts = as_packs(deal(rows, ranks), budget)
    if shared:
        # Decided as for packs, whatever `packed` says: the driver, which deals too, does not know whether "auto" packs this model.
        whole = as_packs(deal_groups(rows, ranks), budget)
        cuts = whole if fullest(whole) < WORTH * fullest(cuts) else cuts
    if not packed:
        cuts = [cut_into_micro_batches(list(chain.from_iterable(of_rank)), budget, packed=False) for of_rank in cuts]
    # A pass is a collective under ZeRO-3 and with spread experts: a rank with fewer micro-batches takes part with empty ones.
    count = max(1, *map(len, cuts))
    return tuple(of_rank + ((),) * (count - len(of_rank)) for of_rank in cuts)


def cut_into_micro_batches(rows: Sequence[Row], budget: int, *, packed: bool) -> tuple[MicroBatch, ...]:
    """Rows sorted by length and cut into micro-batches of at most `budget` tokens."""
    return cut(sorted(rows, key=_longest_first), budget, packed=packed)


def _longest_first(row: Row) -> tuple[int, int, int, int]:
    return -row.tokens, row.group, row.member, row.segment


def deal(rows: Iterable[Row], ranks: int) -> list[Hand]:
    """Give the longest remaining row to the rank with the fewest tokens; ties go by position, so every rank computes the same."""
    return _to_the_emptiest([[row] for row in sorted(rows, key=_longest_first)], ranks)


def deal_groups(rows: Iterable[Row], ranks: int) -> list[Hand]:
    """The same with whole groups: the one with the most tokens to compute first."""
    groups: dict[int, Hand] = {}
    for row in sorted(rows, key=_longest_first):
        groups.setdefault(row.group, []).append(row)
    return _to_the_emptiest(sorted(groups.values(), key=lambda group: (-computed(group), group[0].group)), ranks)


def _to_the_emptiest(parts: Sequence[Hand], ranks: int) -> list[Hand]:
    hands: list[Hand] = [[] for _ in range(ranks)]
    loads = [(0, rank) for rank in range(ranks)]
    heapify(loads)
    for part in parts:
        load, rank = loads[0]
        hands[rank] += part
        heapreplace(loads, (load + computed(part), rank))
    return hands


def computed(rows: Iterable[Row]) -> int:
    """The tokens of a pass that computes the prompt of each group once; one that follows a rewrite is its segment's own."""
    prompts: dict[Hashable, int] = {}
    responses = 0
    for row in rows:
        prompts[row.name if row.segment else row.group] = row.prompt_tokens
        responses += row.tokens - row.prompt_tokens
    return responses + sum(prompts.values())


def as_packs(hands: Sequence[Hand], budget: int) -> Cuts:
    """Every rank's rows cut into packs."""
    return [cut(hand, budget, packed=True) for hand in hands]


def fullest(cuts: Cuts) -> int:
    """The most tokens that a rank computes."""
    return max(sum(map(computed, of_rank)) for of_rank in cuts)


def cut(rows: Sequence[Row], budget: int, *, packed: bool) -> tuple[MicroBatch, ...]:
    """Cut rows where one more would exceed the budget; padding counts unless `packed`."""
    batches: list[MicroBatch] = []
    current: Hand = []
    prompt = response = real = 0
    for row in rows:
        prompt, response, real = max(prompt, row.prompt_tokens), max(response, row.tokens - row.prompt_tokens), real + row.tokens
        if current and (real if packed else (len(current) + 1) * (prompt + response)) > budget:
            batches.append(tuple(current))
            current, prompt, response, real = [], row.prompt_tokens, row.tokens - row.prompt_tokens, row.tokens
        current.append(row)
    return (*batches, tuple(current)) if current else tuple(batches)
