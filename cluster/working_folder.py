"""The folder in which a command starts: the user's own modules are found there, and none of them may hide a module that a run needs.

It imports `os` and `sys` alone, because it runs before every import that another file could answer.
"""

import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
OURS = ("cluster", "configs", "gatewise", "learner", "reward", "rollout")
LIBRARIES = (
    "accelerate", "datasets", "deepspeed", "httpx", "huggingface_hub", "jsonschema", "matplotlib", "mlflow", "mpmath", "numpy", "packaging",
    "pandas", "PIL", "plotly", "psutil", "py3langid", "pyarrow", "pydantic", "ray", "regex", "requests", "rich", "safetensors", "scipy",
    "sympy", "tensorboard", "tokenizers", "torch", "tqdm", "trackio", "transformers", "triton", "vllm", "wandb", "yaml",
)  # fmt: skip


class HiddenModule(ValueError):
    """A file or folder of the user's hides a module that a run imports."""


def refuse_hidden_modules(folder: str | None = None) -> None:
    """Raise HiddenModule where a name in `folder`, by default the current one, hides our package, a library or a standard module.

    `python -m` and Ray's actors look there first. A folder without `__init__.py` hides nothing as long as ROOT is on the path.
    """
    if ROOT not in sys.path:
        sys.path.append(ROOT)
    try:
        folder = os.getcwd() if folder is None else folder
        entries = sorted(os.listdir(folder))
    except OSError as error:
        raise HiddenModule(f"the current folder cannot be read ({error.strerror}): start in another one") from error
    hidden = {}
    for entry in entries:
        path = os.path.join(folder, entry)
        name, what = module_of(path), ""
        if name in OURS and not is_ours(path):
            what = "Gatewise's own package"
        elif name in LIBRARIES:
            what = "the library"
        elif name in sys.stdlib_module_names:
            what = "Python's own module"
        if what:
            hidden[path] = f'{what} "{name}"'
    if hidden:
        listed = ", ".join(f"{path} hides {what}" for path, what in hidden.items())
        name_of_first = next(iter(hidden))
        raise HiddenModule(
            f"{listed}, because Python looks into the folder of a run first: rename "
            f"{'it' if len(hidden) == 1 else 'them'} (for example to my_{os.path.basename(name_of_first)}), or start in another folder"
        )


def is_ours(path: str) -> bool:
    """Whether a path is our own package, perhaps by a link."""
    ours = os.path.join(ROOT, os.path.basename(path))
    return os.path.exists(ours) and os.path.samefile(path, ours)


def module_of(path: str) -> str | None:
    """The name by which `import` finds a file or a folder; None where it finds neither."""
    stem, suffix = os.path.splitext(os.path.basename(path))
    if os.path.isdir(path):
        return os.path.basename(path) if os.path.exists(os.path.join(path, "__init__.py")) else None
    return stem.partition(".")[0] if suffix in (".py", ".so") else None


def find_modules_in(folder: str) -> None:
    """Let imports find the modules of a folder, behind all others; `python -m` does this, a console script and an actor do not."""
    if os.path.abspath(folder) not in [os.path.abspath(path) for path in sys.path]:
        sys.path.append(os.path.abspath(folder))


def work_in(folder: str) -> None:
    """Make `folder` the current one, so that relative paths mean what they mean to the driver, and find its modules.

    Where this node has no such folder the current one stays: `ray job submit --working-dir` has unpacked the files there.
    """
    if os.path.isdir(folder):
        os.chdir(folder)
    find_modules_in(os.getcwd())
