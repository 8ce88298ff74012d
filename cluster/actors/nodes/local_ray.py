"""What a Ray that starts on this machine would take: its folder, its object store. Starts nothing."""

from pathlib import Path

from ray._common.utils import get_default_ray_temp_dir, get_system_memory
from ray._private import ray_constants
from ray._private.utils import estimate_available_memory

SOCKET = "session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"  # the longest path of a socket below Ray's folder
SOCKET_CHARS = 107  # of any socket's path: the kernel's limit


def ray_folder() -> Path:
    """The folder of Ray's sessions: sockets, logs, spilled objects. RAY_TMPDIR and TMPDIR move it."""
    return Path(get_default_ray_temp_dir())


def longest_socket(folder: Path) -> int:
    """Characters of the longest socket's path in that folder."""
    return len(str(folder / SOCKET))


def memory_seen_by_ray() -> int:
    """Bytes of memory that Ray believes to have."""
    return int(get_system_memory())


def wanted_object_store() -> int:
    """Bytes that the object store takes where /dev/shm has room for them."""
    share = ray_constants.DEFAULT_OBJECT_STORE_MEMORY_PROPORTION
    return min(ray_constants.DEFAULT_OBJECT_STORE_MAX_MEMORY_BYTES, int(estimate_available_memory() * share))
