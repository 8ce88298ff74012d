"""What a tracker has of a run, in `trackers/NAME.json`: written by its follower alone, read by the driver."""

from pathlib import Path

from pydantic import BaseModel, ValidationError

from cluster.record.saves.replace import replace_text


class State(BaseModel):
    """How far a tracker is."""

    to: str = ""  # destination
    id: str = ""  # of the run there
    begun: bool = False  # whether the tracker has a run of this id
    url: str = ""
    attempt: int = 0  # newest attempt of the ledger whose undone steps are dealt with
    sent: int = -1  # newest step whose values it got
    texts: int = -1  # newest step whose responses were sent or passed over
    health: int = 0  # lines of the health file
    pictures: dict[str, int] = {}  # when each picture that was sent was drawn
    trouble: str = ""  # why nothing gets through at the moment
    complete: bool = False  # everything was delivered when the run ended


def path_of(folder: Path, name: str) -> Path:
    return folder / "trackers" / f"{name}.json"


def read_state(folder: Path, name: str) -> State:
    """The state of one tracker; that of a new one where there is none that can be read."""
    try:
        return State.model_validate_json(path_of(folder, name).read_text(encoding="utf-8"))
    except (OSError, ValidationError, UnicodeDecodeError):
        return State()


def write_state(folder: Path, name: str, state: State) -> None:
    """Replace the state of one tracker; OSError on a full disk."""
    path = path_of(folder, name)
    path.parent.mkdir(exist_ok=True)
    replace_text(path, state.model_dump_json())
