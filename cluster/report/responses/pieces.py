"""The text of each single token, by the tokenizer of the run's model."""

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

HALF = "\ufffd"  # what a tokenizer decodes of an incomplete character
PATIENCE = 8  # tokens that one character may take

Pieces = list[str]


def tokenizer_of(folder: Path) -> Tokenizer | None:
    """The tokenizer in a model's folder; None where there is none that can be read without the model's own code."""
    path = folder / "tokenizer.json"
    try:
        return Tokenizer.from_file(str(path)) if path.is_file() else None
    except Exception as error:  # the library raises nothing narrower for a file that it cannot read
        if type(error) is not Exception:
            raise
        return None


def pieces_of(tokenizer: Tokenizer | None, ids: Sequence[int]) -> Pieces:
    """What each token adds to the text; "" for one that only begins a character, which its last token then adds.

    Without a tokenizer a token is its number: ⟨17⟩.
    """
    if tokenizer is None:
        return [f"⟨{token}⟩" for token in ids]
    pieces: Pieces = []
    first = done = 0  # a window of few tokens is decoded, since the whole text again for each token would take quadratic time
    for place in range(len(ids)):
        before = tokenizer.decode(list(ids[first:done]), skip_special_tokens=False)
        text = tokenizer.decode(list(ids[first : place + 1]), skip_special_tokens=False)
        waits = text.endswith(HALF) and place + 1 < len(ids) and place - done < PATIENCE
        pieces.append("" if waits else text[len(before) :])
        if not waits:
            first, done = done, place + 1
    return pieces
