"""Which episodes have a world, which wait for one, and which are over; without processes.

At most `most` worlds exist at once, those that are ending included. Further episodes wait, first come, first served. Every wait ends,
whatever the order in which engines ask, because an episode that has a world waits for no other one: its engine needs only the answers of
this world to go on, and asks for the score when the episode is over.
"""

from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future

from reward.held.episode import GONE, Beginning, Episode, Heard, Result, Results, give
from reward.held.names import named_by
from rollout.types import Outcome, Verdict

MOST_PAST = 1024  # episodes that are over and whose last question may be asked again
LEFT = Verdict.failed(Outcome.UNSCORABLE, "error: the episode was left: its engine goes on without it")


class Register:
    """The episodes of one owner of worlds."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.worlds = 0  # processes that exist, from the fork until they are reaped
        self.live: dict[str, Episode] = {}  # neither over nor left
        self.queue: OrderedDict[str, Episode] = OrderedDict()  # of the live ones those that wait for a world
        self._past: OrderedDict[str, Episode] = OrderedDict()

    def ask(self, name: str, beginning: Beginning | None, words: Sequence[Heard], caller: Future[Results]) -> Episode | None:
        """Take in a question; the episode whose world must hear the last word now, if it has a world.

        beginning: of the question about a first turn, which makes an episode that is not known.
        """
        episode = self.live.get(name) or self._past.get(name)
        if episode is None:
            if beginning is None:
                give(caller, (Verdict.failed(Outcome.CRASHED, GONE),))
                return None
            episode = self.live[name] = self.queue[name] = Episode(name, beginning)
        return episode if episode.ask(words, caller) and episode.serial is not None else None

    def next(self, serial: int) -> Episode | None:
        """The first episode that waits and is still wanted, where a place is free. Its world gets this number."""
        while self.queue and self.worlds < self.most:
            name, episode = self.queue.popitem(last=False)
            if not episode.wanted:
                del self.live[name]
                continue
            episode.serial = serial
            self.worlds += 1
            return episode
        return None

    def give_back(self, name: str) -> None:
        """The world of an episode could not be forked: it waits again, in front."""
        self.worlds -= 1
        if (episode := self.live.get(name)) is not None:
            episode.serial = None
            self.queue[name] = episode
            self.queue.move_to_end(name, last=False)

    def settle(self, name: str, result: Result) -> None:
        """The world of a live episode has answered, or has failed."""
        if (episode := self.live.get(name)) is not None:
            episode.settle(result)
            if episode.over:
                self._bury(episode)

    def _bury(self, episode: Episode) -> None:
        del self.live[episode.name]
        self.queue.pop(episode.name, None)
        self._past[episode.name] = episode
        if len(self._past) > MOST_PAST:
            self._past.popitem(last=False)

    def leave(self, name: str) -> list[Episode]:
        """End an episode, or all whose names begin with `name` where it ends in "/"; those that were live, for their worlds to end.

        A question that comes later gets a failure.
        """
        left = [self.live[one] for one in named_by(name, self.live)]
        for episode in left:
            episode.settle(LEFT)
            self._bury(episode)
        return left
