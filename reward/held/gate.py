"""Who may have a world and an interpreter at once, so that no two episodes wait for what the other one has."""

import asyncio
from collections import OrderedDict

from reward.held.names import named_by


class Gate:
    """Lets in at most `most` episodes, first come, first served; an episode stays in until it is left. Used from one event loop.

    An episode whose environment is held and which calls `python_session` needs two places. If some had the one and waited for the other,
    and others the reverse, nobody would go on. Such episodes come through this gate first, so that none of them waits for a world.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._inside: set[str] = set()
        self._waiting: OrderedDict[str, list[asyncio.Future[None]]] = OrderedDict()

    async def enter(self, episode: str) -> None:
        """Wait until the episode is in; at once where it is."""
        if episode in self._inside:
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(episode, []).append(place)
        self._let_in()
        await place

    def leave(self, episode: str) -> None:
        """Let the next one in; of a name that ends in "/", all whose names begin with it leave. Those that wait go on, and find out."""
        for one in named_by(episode, (*self._inside, *self._waiting)):
            self._inside.discard(one)
            for place in self._waiting.pop(one, ()):
                if not place.done():
                    place.set_result(None)
        self._let_in()

    def _let_in(self) -> None:
        while self._waiting and len(self._inside) < self._most:
            episode, places = self._waiting.popitem(last=False)
            wanted = [place for place in places if not place.done()]
            if not wanted:  # every caller was cancelled
                continue
            self._inside.add(episode)
            for place in wanted:
                place.set_result(None)
