import io

from rich.console import Console

from cluster.record.progress import Progress

SAID = "checker: cannot read [/INST] 95; no [correction] weighs that"


def test_a_line_that_quotes_a_response_is_printed_as_it_is(capsys):
    Progress(1).say(SAID)
    assert capsys.readouterr().out == f"{SAID}\n"


def test_a_stage_on_a_terminal_may_quote_a_response_too():
    progress = Progress(1)
    progress.console = Console(file=io.StringIO(), force_terminal=True)
    with progress.stage(SAID):
        pass
    assert SAID in progress.console.file.getvalue()
