"""What the name of a dataset means: a file, a folder, a pattern of paths, or a dataset of the Hugging Face hub."""

import glob
import re
from pathlib import Path

from configs.home import expanded
from rollout.data.forms import COLUMNS, KNOWN, TEXT, form_of, is_data
from rollout.data.row import DatasetError
from rollout.data.text import COMPRESSED

PATTERN = re.compile(r"[*?\[]")
# Ends of names that are certainly files, also of forms that are not read.
ENDS = (*TEXT, *COLUMNS, *COMPRESSED, ".txt", ".xlsx", ".xls", ".zip", ".tar", ".bz2", ".xz", ".pkl", ".pt", ".npy", ".toml", ".yaml")
SPLITS = {"train": "train", "test": "test", "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation"}
NEEDED = f"give a file ({KNOWN}), a folder, a pattern such as data/*.jsonl, or a Hugging Face dataset id"


def looks_local(source: str) -> bool:
    """Whether a source can only mean a path: a Hugging Face id is "name" or "owner/name" and names no file."""
    return (
        source.startswith((".", "/", "~"))
        or source.lower().endswith(ENDS)
        or source.count("/") > 1
        or PATTERN.search(source) is not None
        or Path(source).exists()
    )


def files_of(source: str) -> list[Path]:
    """The data files of a local source, sorted by name; a DatasetError if there are none."""
    path = expanded(source)
    if path.is_dir():
        return files_in(path)
    if path.exists():
        if not path.is_file():
            raise DatasetError(f"{source} is neither a file nor a folder: {NEEDED}")
        if form_of(path) is None:
            raise DatasetError(f"{source} has a form that is not known by its name: {NEEDED}")
        return [path]
    if PATTERN.search(source):
        return files_like(source)
    raise DatasetError(f"{source} does not exist (looked for {path.absolute()}): {NEEDED}")


def files_in(folder: Path) -> list[Path]:
    """The data files directly in a folder; hidden files and files of other kinds are left out."""
    files = sorted(path for path in folder.iterdir() if is_data(path) and path.is_file())
    if not files:
        below = sorted({f"{path.parent}/*{path.suffix}" for path in folder.rglob("*") if is_data(path) and path.is_file()})
        advice = f"its subfolders have some: give a pattern such as {below[0]}" if below else f"needed some ({KNOWN}): check the path"
        raise DatasetError(f"{folder} is a folder without data files; {advice}")
    splits = {split: path for path in files if (split := split_of(path))}
    if len(splits) > 1:
        named = " and ".join(f"{path.name} ({split})" for split, path in sorted(splits.items()))
        raise DatasetError(
            f"{folder} has files of several splits, {named}, which would be learned together: give a pattern that takes one of them, "
            f"such as {folder}/*{split_word(splits.get('train') or next(iter(splits.values())))}*"
        )
    return files


def files_like(pattern: str) -> list[Path]:
    """The files that a pattern names, `**` included; hidden ones only where the pattern itself has the dot."""
    found = sorted(Path(name) for name in glob.glob(str(expanded(pattern)), recursive=True))
    files = [path for path in found if path.is_file()]
    if not files:
        raise DatasetError(f"{pattern} names no file (looked from {Path.cwd()}): {NEEDED}")
    if odd := [path for path in files if form_of(path) is None]:
        raise DatasetError(f"{pattern} names {odd[0]}, whose form is not known by its name: narrow the pattern to data files ({KNOWN})")
    return files


def split_of(path: Path) -> str | None:
    """The split that a file's name says it is, such as that of train-00000-of-00004.parquet; None if it says none."""
    word = split_word(path)
    return SPLITS[word] if word else None


def split_word(path: Path) -> str | None:
    return next((word for word in re.split(r"[^a-z]+", path.name.lower()) if word in SPLITS), None)
