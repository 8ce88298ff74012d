"""Whether the trackers that a config asks for can work here: their packages and their keys."""

import netrc
import os
from collections.abc import Iterator
from importlib.util import find_spec
from urllib.parse import urlsplit

from cluster.record.metrics.trackers.table import TRACKERS
from cluster.record.metrics.trackers.to_wandb import CLOUD
from configs.schema import Config

WANDB_KEYS = ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE")


def tracker_problems(config: Config) -> Iterator[str]:
    """What would keep a tracker from working in a run that starts here."""
    for name in config.followed_by:
        package = TRACKERS[name].package
        if not installed(package):
            yield (
                f'trackers.use has "{name}", and its package {package} is not installed: install it (`pip install {package}`), or remove '
                "the name from trackers.use"
            )
    if "wandb" in config.followed_by and not config.trackers.offline and not has_wandb_key():
        yield (
            'trackers.use has "wandb", and there is no key: set WANDB_API_KEY in the environment, or run `wandb login` once; '
            "trackers.offline = true needs none"
        )
    if "trackio" in config.followed_by and not config.trackers.offline:
        yield from trackio_problems()


def trackio_problems() -> Iterator[str]:
    """What is wrong with the variables that name Trackio's server."""
    server = os.environ.get("TRACKIO_SERVER_URL", "")
    if not server or os.environ.get("TRACKIO_SPACE_ID"):
        return
    if not server.startswith(("http://", "https://")):
        yield "TRACKIO_SERVER_URL holds no address: it begins with http:// or https://"
    elif "write_token=" not in server and not os.environ.get("TRACKIO_WRITE_TOKEN"):
        yield "TRACKIO_SERVER_URL names a server, which asks for a token: set TRACKIO_WRITE_TOKEN in the environment"


def installed(package: str) -> bool:
    """Whether Python finds a package; a folder without code, such as the one that a service writes to, is none."""
    found = find_spec(package)
    return found is not None and found.origin is not None


def has_wandb_key() -> bool:
    """Whether Weights & Biases would find a key, in a variable or in the file that its login writes."""
    if any(os.environ.get(name) for name in WANDB_KEYS):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", CLOUD)).hostname or ""
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
