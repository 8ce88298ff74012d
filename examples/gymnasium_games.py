"""Two games of gymnasium as environments, and the rows of both: `python examples/gymnasium_games.py FOLDER`."""

import json
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import gymnasium
from gymnasium.envs.toy_text.frozen_lake import MAPS

MOVES = {"left": 0, "down": 1, "right": 2, "up": 3}


def frozen_lake(said: str, options: dict[str, Any], seed: int) -> Generator[str, str, float]:
    """Walk over the ice to the goal, with one word a turn. Where the ice is slippery, `seed` decides, for a whole group alike."""
    world = gymnasium.make("FrozenLake-v1", **options)
    world.reset(seed=seed)
    while True:
        if (move := MOVES.get(said.strip())) is None:
            said = yield "say left, down, right or up"
            continue
        square, reward, over, cut, _ = world.step(move)
        if over or cut:
            return float(reward)
        said = yield f"square {square}"


def blackjack(said: str, deal: int) -> Generator[str, str, float]:
    """Take cards. The row names the deal, because its prompt shows the first cards. A draw is worth 0.5."""
    world = gymnasium.make("Blackjack-v1")
    world.reset(seed=deal)
    while True:
        if said.strip() not in ("hit", "stick"):
            said = yield "say hit or stick"
            continue
        cards, reward, over, _, _ = world.step(int(said.strip() == "hit"))
        if over:
            return (float(reward) + 1) / 2
        said = yield hand(cards)


def hand(cards: tuple[int, int, int]) -> str:
    """What the player sees."""
    return f"you have {cards[0]}{' with an ace' if cards[2] else ''}, the dealer shows {cards[1]}"


def write_rows(folder: Path, deals: int = 1000) -> None:
    """frozen_lake.jsonl and blackjack.jsonl."""
    lake = "S is the start, G the goal, H a hole, square 0 the upper left one. left, down, right or up?"
    rows = [
        {"prompt": "\n".join([*squares, lake]), "reference": {"map_name": name, "is_slippery": slippery}}
        for name, squares in MAPS.items()
        for slippery in (False, True)
    ]
    (folder / "frozen_lake.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    world = gymnasium.make("Blackjack-v1")
    games = [{"prompt": f"{hand(world.reset(seed=deal)[0])}. hit or stick?", "reference": deal} for deal in range(deals)]
    (folder / "blackjack.jsonl").write_text("".join(json.dumps(game) + "\n" for game in games))


if __name__ == "__main__":
    write_rows(Path(sys.argv[1]))
