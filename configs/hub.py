"""Models by their hub id: `owner/name`, or `owner/name@revision` for a branch, a tag or a commit."""

import re
from dataclasses import dataclass
from pathlib import Path

HUB_ID = re.compile(r"(?P<name>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@(?P<revision>[\w./-]+))?")
COMMIT = re.compile(r"[0-9a-f]{40}")
SNAPSHOT = re.compile(r"models--(?P<owner>[\w.-]+?)--(?P<name>[\w.-]+)/snapshots/(?P<commit>[0-9a-f]{40})")
LOCAL_ENDINGS = (".gguf", ".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".json")


@dataclass(frozen=True, slots=True)
class HubModel:
    """A model on the hub, at a revision."""

    name: str  # owner/name
    revision: str | None = None

    @property
    def pinned(self) -> bool:
        """Whether the revision is a whole commit, which never changes."""
        return self.revision is not None and COMMIT.fullmatch(self.revision) is not None

    def at(self, revision: str) -> "HubModel":
        return HubModel(self.name, revision)

    def __str__(self) -> str:
        return f"{self.name}@{self.revision}" if self.revision else self.name


def hub_model(path: str) -> HubModel | None:
    """The hub model that a path names; None where it is a local path. What exists on this machine always is one."""
    found = HUB_ID.fullmatch(path)
    if found is None or path.lower().endswith(LOCAL_ENDINGS) or Path(path).exists():
        return None
    return HubModel(found["name"], found["revision"])


def model_of_snapshot(folder: str) -> HubModel | None:
    """The hub model whose snapshot a folder of the Hugging Face cache is; None for any other folder."""
    found = SNAPSHOT.fullmatch("/".join(Path(folder).parts[-3:]))
    return HubModel(f"{found['owner']}/{found['name']}", found["commit"]) if found else None
