"""Datasets of the Hugging Face hub, from the local cache where the hub cannot be reached."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from threading import Thread

from rollout.data.columns import pick_columns
from rollout.data.row import DatasetError, RawRow

ANSWER_S = 3.0  # within which a reachable hub answers


def read_hub(source: str, split: str, needed: Sequence[str], optional: Sequence[str]) -> Iterator[RawRow]:
    """The named columns of one split, downloaded or from the local cache; rows are numbered from 1.

    Without a network the library would repeat its requests for half a minute, so the hub is asked for a sign of life first.
    """
    probe = Probe()
    import datasets  # takes seconds to import, while the hub is asked

    name, _, subset = source.partition(":")
    unreachable = probe.result()
    try:
        with offline() if unreachable else nullcontext():
            table = datasets.load_dataset(name, subset or None, split=split)
    except Exception as error:  # the library raises a dozen unrelated types; quote its own message
        if unreachable:
            raise DatasetError(absent(source, split, unreachable)) from error
        raise DatasetError(
            f'{source} is neither a file in {Path.cwd()} nor a Hugging Face dataset with a split "{split}" that can be loaded '
            f'({type(error).__name__}: {error}): check the id, its subset ("owner/name:subset") and data.split, or give a file'
        ) from error
    where = f'{source} split "{split}"'
    columns = pick_columns(source, table.features.arrow_schema, needed, optional)
    for number, values in enumerate(table.select_columns(columns), start=1):
        yield RawRow(f"{where} row {number}", values)


def absent(source: str, split: str, why: str) -> str:
    return (
        f'{source} is neither a file in {Path.cwd()} nor a Hugging Face dataset with a split "{split}" in the local cache, and the hub '
        f"cannot be reached ({why}): correct the path; or load the dataset once where there is a network and copy it here with "
        "save_to_disk or as files"
    )


class Probe:
    """Asks the hub for a sign of life in a thread, since looking up its address may block for longer than any timeout."""

    def __init__(self) -> None:
        self.until = time.monotonic() + ANSWER_S
        self.why = f"no answer within {ANSWER_S:g} s"
        self.thread = Thread(target=self._ask, name="ask the hub", daemon=True)
        self.thread.start()

    def result(self) -> str:
        """Why the hub cannot be reached; empty if it answered."""
        self.thread.join(max(0.5, self.until - time.monotonic()))
        return self.why

    def _ask(self) -> None:
        self.why = ask_hub()


def ask_hub() -> str:
    """Why the hub cannot be reached; empty if it answers anything. Proxies and the hub's address come from the environment."""
    from huggingface_hub import constants, get_session

    try:
        get_session().head(constants.ENDPOINT, timeout=ANSWER_S)
    except Exception as error:  # any failure of the client, its proxy or its certificates means the same here
        return " ".join(str(error).split()) or type(error).__name__
    return ""


@contextmanager
def offline() -> Iterator[None]:
    """Make the libraries use their caches only. They read HF_HUB_OFFLINE from the environment once, when they are imported."""
    import datasets
    from huggingface_hub import constants

    before = datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE = before
