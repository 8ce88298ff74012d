"""The row that is played: by its id or its number, of the training prompts or of an eval set."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches

from cluster.commands.validate import Checked
from configs.arithmetic import counted
from configs.errors import DataError
from rollout.types import Prompt

TRAIN, EVAL = "train", "eval"  # what the sets of data.train (or of all sources) and of data.eval are called
SHOWN = 5  # ids named in an error


def sets_of(checked: Checked) -> dict[str, Sequence[Prompt]]:
    """The prompts of each set, by the name that --set takes."""
    return {TRAIN: checked.prompts.prompts, **{found.name or EVAL: found.prompts for found in checked.held_out}}


def find_prompt(sets: Mapping[str, Sequence[Prompt]], name: str, row: str) -> Prompt:
    """The prompt with this id, else the one at this place of the set, from 0; DataError says what there is instead.

    Rows without an id of their own are numbered from 0, so id and place differ only where rows were dropped as too long.
    """
    if name not in sets:
        raise DataError(f'there is no set "{name}": the config has {", ".join(sets)}; name one of them with --set')
    prompts = sets[name]
    if not prompts:
        raise DataError(f'the set "{name}" has no prompts')
    named = [prompt for prompt in prompts if prompt.prompt_id == row]
    if named:
        return named[0]
    if row.isdecimal() and int(row) < len(prompts):
        return prompts[int(row)]
    ids = [prompt.prompt_id for prompt in prompts]
    near = get_close_matches(row, ids, SHOWN) or ids[:SHOWN]
    more = ", …" if len(ids) > len(near) else ""
    raise DataError(
        f'the set "{name}" has no row "{row}": give a number from 0 to {len(prompts) - 1}, or one of '
        f"{counted(len(ids), 'id')} such as {', '.join(near)}{more}"
    )
