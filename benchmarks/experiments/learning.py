"""Learning curves of the algorithms.

    python -m benchmarks.experiments.learning EXPERIMENT [--seeds 0 1 2] [--steps N] [--jobs 2]

Every training is `benchmarks.experiments.laboratory` in its own process. A finished curve is stored as JSON and not made again, so an
interrupted sweep continues; --fresh makes all curves again, which is necessary after the code has changed.
"""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.experiments.conditions import PRESET_CHANGES, STEADINESS, find_condition
from benchmarks.experiments.report import (
    NONE,
    Curves,
    by_condition,
    by_label,
    crossing,
    differences,
    draw,
    endings,
    held_out,
    last,
    mean,
    rewards,
    show,
    spread,
)
from benchmarks.experiments.sweep import ENVIRONMENT, sweep
from benchmarks.experiments.trial import Trial
from benchmarks.rounds import OUT
from configs.presets import PRESETS

BASE = "grpo"  # presets are compared with it
LEVELS = (0.45, 0.5, 0.55, 0.6)  # held-out correctness
SAMPLERS = ("uniform", "difficulty")


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """A question, the trainings that answer it, and the report on their curves."""

    about: str
    steps: int
    trials: Callable[[argparse.Namespace], list[Trial]]
    report: Callable[[Curves, Path], None]


def preset_trials(asked: argparse.Namespace) -> list[Trial]:
    """Every preset under the tiny recipe, the base first."""
    names = dict.fromkeys([BASE, *(asked.presets or PRESETS)])
    return [trial_of(asked, asked.conditions[0] if asked.conditions else "plain", name, seed) for name in names for seed in asked.seeds]


def steadiness_trials(asked: argparse.Namespace) -> list[Trial]:
    """A few presets under each condition."""
    presets = asked.presets or ("grpo", "gspo")
    return [trial_of(asked, c, p, seed) for c in asked.conditions or STEADINESS for p in presets for seed in asked.seeds]


def difficulty_trials(asked: argparse.Namespace) -> list[Trial]:
    """Both samplers on arithmetic of mixed difficulty, under each preset and condition of the command line."""
    from benchmarks.experiments.tasks import make_mixed  # and with it torch

    data = make_mixed(asked.out / "data")
    found = []
    for condition in asked.conditions or ("plain",):
        for preset in asked.presets or (BASE,):
            for sampler in SAMPLERS:
                chosen = [*data, *([] if sampler == "uniform" else [f"data.sampler={sampler}"])]
                panel = preset if condition == "plain" else f"{preset} {condition}"
                found += [trial_of(asked, condition, preset, seed, chosen, label=sampler, panel=panel) for seed in asked.seeds]
    return found


def trial_of(
    asked: argparse.Namespace, condition: str, preset: str, seed: int, more: Sequence[str] = (), *, label: str = "", panel: str = ""
) -> Trial:
    """A training of this preset under this condition."""
    chosen = find_condition(condition)
    return Trial(
        condition=panel or condition,
        label=label or preset,
        seed=seed,
        steps=asked.steps,
        evaluate_every=asked.evaluate_every,
        overrides=(*more, f"objective.preset={preset}", *PRESET_CHANGES.get(preset, ()), *chosen.overrides, *asked.set),
        engine_dtype=chosen.engine_dtype,
        engine_noise=chosen.engine_noise,
    )


def report_presets(curves: Curves, out: Path) -> None:
    """Report final rewards and their difference from the base's on the same seed."""
    labels = by_label(curves)
    base = labels.get(BASE, [])
    rows = [
        [
            label,
            str(len(found)),
            spread([curve.final for curve in found]),
            spread(differences(found, base, lambda curve: curve.final), signed=True),
            spread(differences(found, base, lambda curve: curve.within_budget), signed=True),
            mean([curve.held_out[-1]["held_out/greedy"] if curve.held_out else NONE for curve in found]),
            mean([float(curve.steps[-1]["tokens"]) if curve.steps else NONE for curve in found], 0),
            endings(found),
        ]
        for label, found in labels.items()
    ]
    columns = ["preset", "seeds", "final reward", f"- {BASE}, as many steps", f"- {BASE}, as many responses", "held-out greedy", "tokens"]
    show("presets: mean (least…most) over seeds", [*columns, "ended early"], rows)
    panels = {label: {BASE: base, label: found} if label != BASE else {BASE: base} for label, found in labels.items()}
    draw(panels, rewards, ("step", "reward"), out / "presets.png")


def report_steadiness(curves: Curves, out: Path) -> None:
    """Report how far rewards fell from their best, under each condition."""
    panels = {condition: by_label(found) for condition, found in by_condition(curves).items()}
    rows = [
        [
            condition,
            label,
            mean([curve.peak for curve in found]),
            spread([curve.final for curve in found]),
            spread([curve.final - curve.peak for curve in found], signed=True),
            mean([last(curve, "entropy") for curve in found]),
            mean([last(curve, "clip/low") + last(curve, "clip/high") for curve in found]),
            mean([last(curve, "mismatch/kl") for curve in found], 4),
            endings(found),
        ]
        for condition, labels in panels.items()
        for label, found in labels.items()
    ]
    columns = ["condition", "preset", "best reward", "final reward", "fall", "entropy", "clipped", "mismatch/kl", "ended early"]
    show("steadiness: mean (least…most) over seeds", columns, rows)
    draw(panels, rewards, ("step", "reward"), out / "steadiness.png")


def report_difficulty(curves: Curves, out: Path) -> None:
    """Report tokens until held-out levels, and how many times fewer the difficulty sampler needs on the same seed."""
    panels = {condition: by_label(found) for condition, found in by_condition(curves).items()}
    rows = []
    for condition, labels in panels.items():
        for level in LEVELS:
            needed = {
                label: {curve.trial.seed: crossing(curve.held_out, "held_out/mean", level) for curve in found}
                for label, found in labels.items()
            }
            uniform, chosen = (needed.get(sampler, {}) for sampler in SAMPLERS)
            ratios = [uniform[seed] / tokens for seed, tokens in chosen.items() if seed in uniform and tokens]
            rows.append([condition, f"{level:.2f}", *(spread(list(found.values()), 0) for found in (uniform, chosen)), spread(ratios, 2)])
    columns = ["preset", "level", "tokens, uniform", "tokens, difficulty", "uniform / difficulty"]
    show("difficulty: tokens until held-out sums are right as often as level", columns, rows)
    draw(panels, held_out, ("tokens", "held-out correctness"), out / "difficulty.png")


EXPERIMENTS = {
    "presets": Experiment(about="every preset under the tiny recipe", steps=60, trials=preset_trials, report=report_presets),
    "steadiness": Experiment(
        about="which rewards fall under too many updates and too high learning rates",
        steps=100,
        trials=steadiness_trials,
        report=report_steadiness,
    ),
    "difficulty": Experiment(
        about="tokens that difficulty-aware sampling saves", steps=100, trials=difficulty_trials, report=report_difficulty
    ),
}


def read_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line, with valid names."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.experiments.learning", description=__doc__)
    parser.add_argument("experiment", choices=EXPERIMENTS, help="; ".join(f"{name}: {e.about}" for name, e in EXPERIMENTS.items()))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, help="of each training")
    parser.add_argument("--jobs", type=int, default=2, help="trainings at a time, of one thread each")
    parser.add_argument("--out", type=Path, help=f"folder of curves and picture (default {OUT / 'learning'}/EXPERIMENT)")
    parser.add_argument("--presets", nargs="+", choices=PRESETS, metavar="PRESET")
    parser.add_argument("--conditions", nargs="+", metavar="CONDITION", help="of benchmarks.experiments.conditions, joined by +")
    parser.add_argument("--evaluate-every", type=int, default=5, help="steps; 0 never")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="overrides of the tiny recipe in every training")
    parser.add_argument("--fresh", action="store_true", help="make finished curves again")
    asked = parser.parse_args(argv)
    for name in asked.conditions or ():
        try:
            find_condition(name)
        except ValueError as error:
            parser.error(str(error))
    asked.steps = asked.steps or EXPERIMENTS[asked.experiment].steps
    asked.out = (asked.out or OUT / "learning" / asked.experiment).absolute()
    return asked


def main(argv: Sequence[str] | None = None) -> int:
    """Run the missing trainings, print the table, draw the picture; 1 if a training could not run."""
    asked = read_arguments(argv)
    # So that a plain `kill` ends the trainings too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    os.environ.update(ENVIRONMENT)
    experiment = EXPERIMENTS[asked.experiment]
    trials = experiment.trials(asked)
    curves = sweep(trials, asked.out, asked.jobs, asked.fresh)
    if curves:
        experiment.report(curves, asked.out)
    return int(len(curves) < len(trials))


if __name__ == "__main__":
    sys.exit(main())
