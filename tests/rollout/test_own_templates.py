"""Chat templates of your own: `GATEWISE_TEMPLATES=FOLDER pytest tests/rollout/test_own_templates.py -rs`, with FOLDER/*.jinja.

Words behind a turn are what the whole conversation, rendered again, has behind that turn. Or the template is refused with the reason, which
`-rs` shows. A template comes without its tokenizer, so each mark that it writes is a special token here, and engines stop at the first one
behind a turn.
"""

import os
import re
from pathlib import Path

import pytest

from rollout.chat.behind import FIRST, QUESTION, SENTINEL, SYSTEM, Before, Template, UnfitWords, form_for, of_a_call
from tests.toys.templates import FOLDER, SEARCH, tokenizer

NAME = "GATEWISE_TEMPLATES"
OWN = sorted(Path(os.environ[NAME]).glob("*.jinja")) if NAME in os.environ else []
MARK = re.compile(r"<[|\uff5c][^<>]{1,40}[|\uff5c]>|</?s>|<turn\|>|<end_of_turn>")
WORDS = ("12", " 12\n", "a\n\nb", "", "<b>x</b>", '{"a": [1]}', "it's \u00e9")
AGAIN = {"role": "user", "content": "no"}
HISTORIES = (
    (QUESTION,),
    (QUESTION, {"role": "assistant", "content": "41"}, AGAIN, {"role": "assistant", "content": "<think>\nx\n</think>\n\n42"}, AGAIN),
    (SYSTEM, QUESTION),
)


def stops_of(text: str) -> list[str]:
    """The marks that end a turn of the model's, before a question or a result."""
    template = Template(tokenizer=tokenizer(text, ["</s>"]), stops=())
    found = []
    for role in ("user", "tool"):
        try:
            whole = template.render([QUESTION, {"role": "assistant", "content": SENTINEL}, {"role": role, "content": "1"}])
        except UnfitWords:
            continue
        found += MARK.findall(whole.partition(SENTINEL)[2])[:1]
    return list(dict.fromkeys(found)) or ["</s>"]


@pytest.mark.parametrize("role", ["user", "tool"])
@pytest.mark.parametrize("tools", [(), (SEARCH,)], ids=["alone", "tools"])
@pytest.mark.parametrize("path", [*sorted(FOLDER.glob("*.jinja")), *OWN], ids=lambda path: path.stem)
def test_words_behind_a_turn_are_those_of_the_whole_conversation(path: Path, tools: tuple[dict[str, object], ...], role: str) -> None:
    text = path.read_text(encoding="utf-8")
    try:
        stops = stops_of(text)
        made = tokenizer(text, stops)
        template = Template(tokenizer=made, stops=[made.get_vocab()[stop] for stop in stops], schemas=tools)
        form = form_for(template, role)
    except UnfitWords as error:
        if path in OWN:
            pytest.skip(f"{path.stem}, role {role}: refused: {error}")
        return
    compared = 0
    for history in HISTORIES:
        said = {"role": "assistant", "content": SENTINEL}
        for words in WORDS:
            behind = form(template, words, FIRST)
            try:
                if form is of_a_call:
                    whole = form(template, words, Before(messages=history))
                else:
                    whole = template.render([*history, said, {"role": role, "content": words}]).partition(SENTINEL)[2]
            except UnfitWords:  # a template without a system turn
                assert history[0] is SYSTEM
                continue
            assert behind == whole
            compared += 1
    assert compared >= 2 * len(WORDS)


def test_a_folder_of_your_own_is_looked_at() -> None:
    if NAME not in os.environ:
        pytest.skip(f"no templates of your own: set {NAME} to a folder of chat templates, each a file NAME.jinja")
    assert OWN, f"{os.environ[NAME]} has no file NAME.jinja"
