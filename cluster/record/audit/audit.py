"""The audit of a run from its files: what must hold of every run, running, killed or finished, whatever happened to it.

steps that stand ──► files (metrics, responses, experts, checkpoints) ──► the whole ledger
                     older than the ledger, newer than the steps, so what both promise must be there
"""

from collections.abc import Sequence
from pathlib import Path

from cluster.record.audit.account import Account, read_account, standing_steps
from cluster.record.audit.conservation import check_conservation
from cluster.record.audit.events import check_events
from cluster.record.audit.files import Files, read_files
from cluster.record.audit.invariant import Invariant
from cluster.record.audit.once import check_once
from cluster.record.audit.saved import check_checkpoints
from cluster.record.audit.steps import check_metrics
from cluster.record.audit.verdicts import check_rewards
from cluster.record.audit.versions import check_provenance, check_staleness
from configs.errors import NoRun
from configs.loader import load
from configs.schema import Config

TRIES = 20  # readings, where the run begins another attempt, or learns the first step of one, during each


def audit(folder: Path, config: Config | None = None) -> list[Invariant]:
    """Every invariant of the run in a folder, without scoring anything again; NoRun where there is no run.

    It reads only, keeps no lock, and starts nothing. Without `config` the run's own config.toml is read.
    """
    if config is None:
        config = config_of_run(folder)
    return check(*read_run(folder, config))


def check(account: Account, files: Files, standing: Sequence[int]) -> list[Invariant]:
    """Every invariant of what was read; `standing` are the steps that stood before the files were read."""
    return [
        check_conservation(account),
        check_once(account),
        check_staleness(account),
        check_provenance(account),
        check_rewards(account, files),
        check_metrics(account, files, standing),
        check_checkpoints(account, files),
        check_events(account),
    ]


def config_of_run(folder: Path) -> Config:
    """The newest config of a run; NoRun where the folder holds none."""
    if not folder.is_dir():
        raise NoRun(f"{folder} is {'a file' if folder.is_file() else 'no folder'}: give the run.dir of a run that has started")
    path = folder / "config.toml"
    if not path.is_file():
        above = next((parent for parent in folder.absolute().parents[:2] if (parent / "ledger.db").is_file()), None)
        meant = f"the run is {above}" if above else "give the run.dir of a run that has started"
        raise NoRun(f"{folder} holds no run: it has no config.toml; {meant}")
    return load(path)


def read_run(folder: Path, config: Config) -> tuple[Account, Files, list[int]]:
    """The ledger, the files and the steps that stood before them, all of the same attempt, and all before or all after its first step."""
    ledger = folder / "ledger.db"
    for _ in range(TRIES):
        begun, standing = standing_steps(ledger)
        files = read_files(folder)
        account = read_account(ledger, config)
        if account.begun == begun:
            return account, files, standing
    raise NoRun(f"{folder} begins one attempt after another while it is read: wait until the run works, or has ended")
