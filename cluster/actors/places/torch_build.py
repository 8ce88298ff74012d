"""Which build of torch is installed, read from its files: an import would take seconds and could fail."""

import ast
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path


@dataclass(frozen=True, slots=True)
class TorchBuild:
    """A build of torch."""

    version: str
    cuda: str | None  # "13.0"; None: no CUDA build

    @property
    def major(self) -> int:
        """The major version of its CUDA, 0 without CUDA."""
        return int(self.cuda.partition(".")[0]) if self.cuda else 0

    def __str__(self) -> str:
        return f"torch {self.version} ({f'CUDA {self.cuda}' if self.cuda else 'CPU'} build)"


def torch_build() -> TorchBuild | None:
    """The torch of this environment; None where it is not installed, or its version file is missing."""
    try:
        file = Path(str(distribution("torch").locate_file("torch/version.py")))
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except (PackageNotFoundError, OSError, SyntaxError):
        return None
    values: dict[str, object] = {}
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        value = getattr(node, "value", None)
        if isinstance(value, ast.Constant):
            values |= {target.id: value.value for target in targets if isinstance(target, ast.Name)}
    version, cuda = values.get("__version__"), values.get("cuda")
    return TorchBuild(str(version), str(cuda) if cuda else None) if version else None
