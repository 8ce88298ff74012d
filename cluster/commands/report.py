"""The command `validate`: all that `train` checks before it starts a process, and what it understood of the config."""

from collections.abc import Iterator

from cluster.commands.checks.episodes.first_row import play_row, sample_result
from cluster.commands.checks.episodes.limits import talking
from cluster.commands.checks.findings import Findings
from cluster.commands.checks.folder import check_folder, checkpoint_bytes, in_bytes, refuse_place
from cluster.commands.checks.machine import describe_places
from cluster.commands.checks.one_row import score_first_row
from cluster.commands.checks.shown import describe_epoch, describe_lengths, describe_model, render
from cluster.commands.doctor.at_start import refuse_broken_machine
from cluster.commands.init.machine import refuse_impossible
from cluster.commands.resuming.beginning import Beginning, where_to_begin
from cluster.commands.validate import Examined, examine
from cluster.models.hub import fetch_models
from cluster.record.checkpoint import refuse_changed_data
from cluster.record.progress.harmless import say
from cluster.record.run_dir import refuse_changed_template, refuse_locked, refuse_other_run, refuse_unknown_resume
from cluster.record.saves.damage import refuse_damaged_record
from configs.memory.table import describe_memory
from configs.parameters import count_parameters
from configs.schema import Config

LABEL_CHARS = 9
ELSEWHERE = "another machine, as --gpu-memory is given: its GPUs, cores and disk are not checked; there run `validate` without that option"


def validate(config: Config, named: str, gpu_gb: float | None = None) -> None:
    """Print what follows from a config; ValueError lists everything that `train` would refuse. Starts no Ray, engine or rank.

    `gpu_gb` is the memory of a GPU of another machine, for which the run is meant; None for this machine, which is then checked too.
    """
    refuse_impossible(None, gpu_gb, 1)
    lines, found = report(config, gpu_gb)
    for line in lines:
        say(line)
    found.refuse()
    say(f"{named} is valid" if gpu_gb is None else f"{named} is valid, as far as can be seen from here")


def report(config: Config, gpu_gb: float | None = None) -> tuple[list[str], Findings]:
    """What follows from a config, as labelled lines, and what was found wrong with it."""
    config = fetch_models(config, print)
    here = gpu_gb is None
    examined = examine(config, here=here, gpu_gb=gpu_gb)
    found = examined.found
    begins = list(describe_start(config, examined, found, here=here))
    lines, last = [], ""
    for label, text in (*describe(config, examined, here=here), *(("start", line) for line in begins)):
        lines.append(f"{label if label != last else '':<{LABEL_CHARS}} {text}")
        last = label
    return [*lines, *(f"note: {note}" for note in found.notes), *found.warned], found


def describe(config: Config, examined: Examined, *, here: bool) -> Iterator[tuple[str, str]]:
    """Labelled lines: the model, the arithmetic, memory, a prompt, lengths, the epoch, a scored row, places."""
    prompts, model, tokenizer = examined.checked.prompts, examined.model, examined.tokenizer
    if model:
        yield "model", describe_model(config, model)
    else:
        yield "model", f"not read, so neither its size and weights nor its prompts' tokens were checked: {config.model.path}"
    yield from (("plan", line) for line in examined.checked.lines)
    yield from (("memory", line) for line in describe_memory(config, model, examined.gpu_gb))
    if prompts.prompts:
        first = prompts.prompts[0]
        where = prompts.where.get(first.prompt_id, "the first row")
        if tokenizer is None:
            yield "prompt", f"{where}, without the model's tokens: {first.text!r:.400}"
        else:
            yield "prompt", f"{where}, {len(first.token_ids)} ids: {render(first, tokenizer)!r}"
            yield "lengths", f"prompts: {describe_lengths(prompts.prompts, config.data.max_prompt_tokens)}"
        yield "epoch", describe_epoch(config, len(prompts.prompts))
        if prompts.prompts[0].checker not in examined.environments:
            yield from (("scored", line) for line in score_row(config, examined))
        yield from (("episode", line) for line in play_first(config, examined))
    yield "places", describe_places(config) if here else ELSEWHERE


def score_row(config: Config, examined: Examined) -> Iterator[str]:
    """A line about the first row's right answer; a wrong score becomes a warning."""
    if examined.found.problems:
        return
    with examined.found.collect():
        row = score_first_row(config, examined.checked.prompts)
        yield row.line
        if not row.warning:
            return
        examined.found.warnings.append(f"{row.warning}: look at all rows with `python -m cluster rewards check`")


def play_first(config: Config, examined: Examined) -> Iterator[str]:
    """Lines about the first row that can have several turns, where there is one."""
    speller, rows = examined.speller, talking(config, examined.checked.prompts.prompts, examined.environments)
    if examined.found.problems or speller is None or not rows:
        return
    with examined.found.collect():
        first = next((row for row in rows if row.checker in examined.environments), None)
        yield from play_row(config, first, speller) if first else sample_result(rows[0], speller)


def describe_start(config: Config, examined: Examined, found: Findings, *, here: bool) -> Iterator[str]:
    """Lines about run.dir and where the run would begin; what `train` would refuse there becomes a problem."""
    known = len(found.problems)
    with found.collect():
        refuse_place(config)
    if len(found.problems) > known:  # nothing can be looked up there
        return
    with found.collect():
        refuse_locked(config)
        if here:
            found.warnings += check_folder(config)
            refuse_broken_machine(config)
    with found.collect():
        refuse_unknown_resume(config)
        refuse_damaged_record(config)
        refuse_other_run(config)
        yield from begins(config, examined, where_to_begin(config))
    if parameters := count_parameters(examined.model):
        size = in_bytes(checkpoint_bytes(config, parameters))
        yield f"a checkpoint takes about {size}; run.keep_checkpoints = {config.run.keep_checkpoints}"


def begins(config: Config, examined: Examined, begin: Beginning) -> Iterator[str]:
    """Where the run would begin; ValueError if that checkpoint cannot be continued with these prompts."""
    refuse_changed_template(config, begin.checkpoint)
    if examined.tokenizer is not None and examined.checked.prompts.prompts:
        refuse_changed_data(begin.position, examined.checked.prompts.prompts)
    yield from begin.describe(config)
    if begin.position.step >= config.run.steps:
        yield f"all {config.run.steps} steps are done"
