"""`data.template_file`: checked before a run, used for its prompts, kept with it, and exported with the policy."""

from pathlib import Path

import pytest

from cluster.commands.validate import check
from cluster.record.run_dir import refuse_changed_template, write_config
from configs.loader import load
from configs.schema import Config
from rollout.chat.template import use_template
from tests.cluster.test_cli import CONFIG, model, write_rows  # noqa: F401 - a fixture
from tests.toys.model import toy_tokenizer

GOOD = "{% for m in messages %}{{ m.role[0] }} {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}a {% endif %}"


@pytest.fixture
def config(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> Config:  # noqa: F811
    """A run that names its template by a path of the working directory."""
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path, {"prompt": "1+1=", "answer": "2"})
    (tmp_path / "own.jinja").write_text(GOOD)
    (tmp_path / "run.toml").write_text(CONFIG.format(folder=tmp_path, model=model))
    return load(tmp_path / "run.toml", ["data.chat_template=true", "data.template_file=own.jinja"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("one\n{% for m in messages }", "line 2: not a Jinja template: unexpected '}': correct that line"),
        ("{% for m in messages %}\n{{ m.content }}", "line 2: not a Jinja template: Unexpected end of template"),
        (GOOD.replace("m.content", "m.contents"), "does not show the content of a user's message"),
        (GOOD.replace("{% if add_generation_prompt %}a {% endif %}", ""), "ignores add_generation_prompt"),
        (GOOD.replace("{% if add_generation_prompt %}a {% endif %}", "a "), "end it with {% if add_generation_prompt %}…{% endif %}"),
        ("{{ raise_exception('no system turn') }}", "cannot render a user's message (TemplateError: no system turn)"),
        ("{{ 1 + 'a' }}", "cannot render a user's message (TypeError: unsupported operand"),
        ("{{ messages[7].content }}", "cannot render a user's message (UndefinedError: list object has no element 7)"),
        ("{{ unknown(3) }}", "cannot render a user's message (UndefinedError: 'unknown' is undefined)"),
        ("{{ 1 / 0 }}", "cannot render a user's message (ZeroDivisionError: division by zero)"),
        ("{{ raise_exception('a\n\x1b[31mb') }}", r"(TemplateError: a\n\x1b[31mb): correct it"),
        ("", "does not show the content of a user's message"),
    ],
)
def test_a_template_that_cannot_be_used_says_why(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "t.jinja").write_text(text)
    with pytest.raises(ValueError, match=r"^data\.template_file ") as caught:
        use_template(toy_tokenizer(), str(tmp_path / "t.jinja"))
    assert said in str(caught.value)


def test_a_file_that_is_missing_or_no_text_says_where_it_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "t.jinja").write_bytes(b"\xff\xfe")
    for path in (tmp_path / "none.jinja", tmp_path / "t.jinja", tmp_path):
        with pytest.raises(ValueError, match=f"cannot be read .*: give a Jinja file; it was looked for at {path}"):
            use_template(toy_tokenizer(), str(path))


def test_prompts_are_written_in_the_template(config: Config) -> None:
    (prompt,) = check(config).prompts.prompts
    assert prompt.text == "u 1+1=\na "


def test_a_run_keeps_its_template_and_continues_with_no_other(config: Config, tmp_path: Path) -> None:
    config.run_dir.mkdir()
    write_config(config)
    checkpoint = config.run_dir / "checkpoints" / "step_000001"
    refuse_changed_template(config, checkpoint)
    refuse_changed_template(config, None)
    (tmp_path / "own.jinja").write_text(GOOD.replace("a ", "b "))
    with pytest.raises(ValueError, match=rf'has changed since the run began.*data\.template_file = "{config.template_copy}"'):
        refuse_changed_template(config, checkpoint)
    refuse_changed_template(
        load(tmp_path / "run.toml", ["data.chat_template=true", f"data.template_file={config.template_copy}"]), checkpoint
    )


def test_an_export_has_the_template_that_the_policy_was_trained_with(config: Config, tmp_path: Path) -> None:
    config.run_dir.mkdir()
    write_config(config)
    (tmp_path / "own.jinja").unlink()
    from learner.weights.export import trained_tokenizer  # imports DeepSpeed, which takes a second

    trained_tokenizer(config).save_pretrained(tmp_path / "exported")
    assert (tmp_path / "exported" / "chat_template.jinja").read_text() == GOOD
