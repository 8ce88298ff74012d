"""Rules of `[trackers]`."""

import re
from collections.abc import Iterator
from difflib import get_close_matches

from configs.keys import Keys
from configs.rules.common import Problem, Rule
from configs.sections.trackers import NAMES
from configs.toml_writer import write_value

# What keys of the services look like: forty hexadecimal digits or more, or a service's own beginning.
SECRET = re.compile(r"[0-9a-fA-F]{40,}|hf_[A-Za-z0-9]{20,}|wandb_v\d_\w{20,}|local-[0-9a-f]{40}|\w+://\S*@")
OTHER_NAMES = {"w&b": "wandb", "weights_and_biases": "wandb", "weightsandbiases": "wandb", "tb": "tensorboard", "ml_flow": "mlflow"}
FORBIDDEN = "/\\#?%:"  # in a project of Weights & Biases


def trackers_are_known(config: Keys) -> Iterator[Problem]:
    """`trackers.use` holds names of trackers: "wandb", "mlflow", "trackio", "tensorboard", "prometheus"."""
    for name in config.trackers.use:
        if name not in NAMES:
            given = "what looks like a key or password, which is not shown" if SECRET.search(name) else f'"{name}"'
            meant = OTHER_NAMES.get(name.lower()) or next(iter(get_close_matches(name.lower(), NAMES, 1)), None)
            hint = f'did you mean "{meant}"?' if meant else f"use {', '.join(map(write_value, NAMES))}"
            yield Problem(("trackers.use",), f"got {given}, which is no tracker here: {hint}")


def trackers_are_named_once(config: Keys) -> Iterator[Problem]:
    """`trackers.use` names each tracker once."""
    use = config.trackers.use
    if twice := sorted({name for name in use if use.count(name) > 1}):
        yield Problem(("trackers.use",), f"got {', '.join(twice)} more than once: name each tracker once")


def names_are_no_secrets(config: Keys) -> Iterator[Problem]:
    """`trackers.project` and `trackers.name` hold no key and no password."""
    for key, value in (("trackers.project", config.trackers.project), ("trackers.name", config.trackers.name)):
        if value is not None and SECRET.search(value):
            message = (
                "got what looks like a key or password, which is not shown: a config is written to run.dir, so set WANDB_API_KEY, "
                "MLFLOW_TRACKING_TOKEN, MLFLOW_TRACKING_PASSWORD, TRACKIO_WRITE_TOKEN or HF_TOKEN in the environment, and give a name here"
            )
            yield Problem((key,), message)
        elif value is not None and (not value.strip() or not value.isprintable()):
            yield Problem((key,), f"got {value!r}, needed a name of printable letters")


def a_project_has_letters_that_services_take(config: Keys) -> Iterator[Problem]:
    """`trackers.project` has none of / \\ # ? % : where a run goes to Weights & Biases or Trackio."""
    project = config.trackers.project
    found = [letter for letter in FORBIDDEN if letter in project]
    if found and {"wandb", "trackio"} & set(config.trackers.use) and not SECRET.search(project):
        yield Problem(("trackers.project", "trackers.use"), f'got "{project}", which may not contain {" ".join(found)}: use - instead')


def a_port_is_for_prometheus(config: Keys) -> Iterator[Problem]:
    """`trackers.prometheus_port` needs "prometheus" in `trackers.use`."""
    if config.trackers.prometheus_port and "prometheus" not in config.trackers.use:
        message = f'got {config.trackers.prometheus_port}, which has no effect: add "prometheus" to trackers.use, or remove it'
        yield Problem(("trackers.prometheus_port", "trackers.use"), message)


def offline_is_for_services(config: Keys) -> Iterator[Problem]:
    """`trackers.offline` needs "wandb", "mlflow" or "trackio" in `trackers.use`."""
    if config.trackers.offline and not {"wandb", "mlflow", "trackio"} & set(config.trackers.use):
        message = 'got true, which has no effect: add "wandb", "mlflow" or "trackio" to trackers.use, or remove it'
        yield Problem(("trackers.offline", "trackers.use"), message)


TRACKER_RULES: tuple[Rule, ...] = (
    trackers_are_known,
    trackers_are_named_once,
    names_are_no_secrets,
    a_project_has_letters_that_services_take,
    a_port_is_for_prometheus,
    offline_is_for_services,
)
