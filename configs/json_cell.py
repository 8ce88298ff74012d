"""Texts that hold JSON: tables of text, and many columns of Parquet, write objects and lists so."""

from configs.digits import read_long_json

BEGINS = ("{", "[")


def from_json(text: str) -> object:
    """The object or the list that a text spells out as JSON; None where the text is anything else."""
    if not text.lstrip().startswith(BEGINS):
        return None
    try:
        found: object = read_long_json(text)
    except (ValueError, RecursionError):
        return None
    return found


def why_not_json(text: str) -> str:
    """Why a text that looks like an object or a list is no JSON, and what to do."""
    try:
        found = read_long_json(text)
    except (ValueError, RecursionError) as error:
        python = "; str() of a Python object is no JSON" if "'" in text else ""
        return f"a text that is not JSON ({error}{python}: write it with json.dumps)"
    return f"a JSON text, got {type(found).__name__}"
