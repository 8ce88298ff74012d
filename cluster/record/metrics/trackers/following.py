"""Brings one tracker up to date with the files of a run, round after round."""

import re
import secrets
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from cluster.record.metrics.trackers.files import RunRecord, objects, said
from cluster.record.metrics.trackers.hiding import hide
from cluster.record.metrics.trackers.state import State, read_state, write_state
from cluster.record.metrics.trackers.tracker import Tracked, Tracker

AT_ONCE = 200  # steps between two notes of how far it is
PICTURES_S = 300.0  # least time between two pictures of a kind while the run works
SLOW_S = 60.0  # without an answer, after which the user is told; a busy machine may need half of it to import a library
LONGEST = 300  # letters of a complaint


class Asked(BaseModel):
    """What the config says about trackers, without secrets: they are in the environment."""

    project: str
    name: str  # of the run
    offline: bool
    responses_every: int
    end_s: float


class Following:
    """One tracker and one run."""

    def __init__(self, folder: Path, name: str, kind: type[Tracker], asked: Asked) -> None:
        self.folder, self.name, self.kind, self.asked = folder, name, kind, asked
        self.record = RunRecord(folder)
        self.tracker: Tracker | None = None
        self.drawn_at = 0.0  # when a picture was sent last
        self.waits_since: float | None = None  # for the tracker, in a round
        self.writing = threading.Lock()
        self.state = read_state(folder, name)
        if self.state.to != (to := hide(kind.destination(folder, asked.offline))):
            self.state = State(to=to, id=new_id(asked.name))
        self.state.trouble, self.state.complete = "", False
        self.undone = False  # whether the tracker has steps that the run has undone

    def round(self, ended: bool) -> bool:
        """Send what is new; whether another round must follow because steps were undone meanwhile. Raises whatever the tracker raises."""
        self.waits_since = time.monotonic()
        self.record.read()
        if self._undo():  # the ledger says so before the files are cut: they are read next time
            return True
        tracker = self.tracker or self._open()
        if self.undone:
            tracker.rewind(self.state.sent)
            self.undone = False
        self._scalars(tracker)
        self._texts(tracker, ended)
        self._health(tracker)
        self._pictures(tracker, ended)
        self.waits_since = None
        self._trouble("")
        return False

    def close(self) -> None:
        """End the run at the tracker, once a round has sent everything."""
        assert self.tracker is not None
        self.waits_since = time.monotonic()
        self.tracker.close()
        self.waits_since = None
        self.state.complete = True
        self._save()

    def failed(self, error: Exception) -> None:
        """Note why nothing gets through; the next round connects anew."""
        self.tracker, self.waits_since = None, None
        first = str(error).strip().split("\n")[0]
        self._trouble(f"{type(error).__name__}: {first}")

    def notice_silence(self) -> None:
        """Note that the tracker does not answer, from another thread than the one that waits."""
        since = self.waits_since
        if since is not None and time.monotonic() - since > SLOW_S:
            self._trouble(f"no answer for {SLOW_S:g} s")

    def _trouble(self, text: str) -> None:
        text = hide(text)[:LONGEST]
        if text != self.state.trouble:
            self.state.trouble = text
            try:
                self._save()
            except OSError:  # the disk is full: the driver learns at the end that something is missing
                return

    def _save(self) -> None:
        with self.writing:
            write_state(self.folder, self.name, self.state)

    def _undo(self) -> bool:
        """Go back to where a newer attempt began; whether a tracker has something that was undone."""
        newer = [(attempt, step) for attempt, step in self.record.attempts() if attempt > self.state.attempt]
        if not newer:
            return False
        self.state.attempt = newer[-1][0]
        back = min(step for _, step in newer) or -1  # a run that starts over evaluates again, which is step 0
        if back >= self.state.sent:
            return False
        self.state.sent, self.state.texts, self.undone = back, min(back, self.state.texts), True
        self.record.start_over()
        return True

    def _open(self) -> Tracker:
        self._save()  # first: what cannot be noted would be begun again and again
        state = self.state
        run = Tracked(
            folder=self.folder,
            project=self.asked.project,
            name=self.asked.name,
            id=state.id,
            resumed=state.begun,
            attempt=state.attempt,
            sent=state.sent,
            offline=self.asked.offline,
            config=self.record.config(),
        )
        self.tracker = tracker = self.kind(run)
        state.id, state.url, state.begun = tracker.id, hide(tracker.url), True
        if tracker.known is not None and tracker.known < state.sent:
            state.sent, state.texts = tracker.known, min(state.texts, tracker.known)
        self.record.start_over()  # what was read and not sent was forgotten by nobody, but an earlier step may be missing too
        self.record.read()
        self._save()
        return tracker

    def _scalars(self, tracker: Tracker) -> None:
        lines = self.record.after(self.state.sent)
        for start in range(0, len(lines), AT_ONCE):
            part = lines[start : start + AT_ONCE]
            tracker.scalars(part)
            self.state.sent = part[-1][0]
            self._save()

    def _texts(self, tracker: Tracker, ended: bool) -> None:
        """Send the responses of the steps that are due. The newest step's file may be half-written while the run works."""
        every, newest = self.asked.responses_every, self.record.newest
        found = self.record.texts(self.state.texts, newest if ended else newest - 1)
        for step, path in found:
            last = ended and step == found[-1][0]
            if every and (step == 1 or step % every == 0 or last):
                rows: list[Mapping[str, Any]] = list(objects(path.read_bytes()))
                if rows:
                    tracker.responses(step, rows)
            self.state.texts = step
            self._save()

    def _health(self, tracker: Tracker) -> None:
        rows = self.record.health()
        self.state.health = min(self.state.health, len(rows))  # the file is cut where steps are undone
        for row in rows[self.state.health :]:
            tracker.health(row["step"], said(row))
            self.state.health += 1
            self._save()

    def _pictures(self, tracker: Tracker, ended: bool) -> None:
        now = time.monotonic()
        if not ended and now - self.drawn_at < PICTURES_S:
            return
        for name, (path, drawn) in self.record.pictures().items():
            if self.state.pictures.get(name) != drawn:
                tracker.picture(name, path, self.state.sent)
                self.drawn_at, self.state.pictures[name] = now, drawn
                self._save()


def new_id(name: str) -> str:
    """An id for a run that no other run has, in letters that every tracker takes."""
    return f"{re.sub(r'[^A-Za-z0-9_-]+', '-', name)[:40].strip('-') or 'run'}-{secrets.token_hex(4)}"
