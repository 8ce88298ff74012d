"""The conditions that the learning experiments vary, and changes for single presets, as data."""

from dataclasses import dataclass
from functools import reduce


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """Differences from the tiny recipe."""

    overrides: tuple[str, ...] = ()
    engine_dtype: str = "float32"
    engine_noise: float = 0.0

    def __add__(self, other: "Condition") -> "Condition":
        """Both conditions; the second wins where they disagree."""
        return Condition(
            overrides=(*self.overrides, *other.overrides),
            engine_dtype=self.engine_dtype if other.engine_dtype == "float32" else other.engine_dtype,
            engine_noise=other.engine_noise or self.engine_noise,
        )


# A condition is one of these or several joined by "+", such as "updates-8+lr-3e-4+bf16".
CONDITIONS = {
    "plain": Condition(),
    **{f"updates-{n}": Condition(overrides=(f"learner.updates_per_step={n}",)) for n in (4, 8, 16, 32)},
    **{f"lr-{lr}": Condition(overrides=(f"learner.lr={lr}",)) for lr in ("1.5e-4", "2e-4", "3e-4", "5e-4", "1e-3")},
    **{f"stale-{n}": Condition(overrides=(f"run.max_staleness={n}",)) for n in (1, 2, 4, 8)},
    **{f"warmup-{n}": Condition(overrides=(f"learner.warmup_updates={n}",)) for n in (80, 160)},
    "bf16": Condition(engine_dtype="bfloat16"),
    **{f"noise-{noise}": Condition(engine_noise=noise) for noise in (0.03, 0.1, 0.3, 1.0)},
    **{f"heat-{heat}": Condition(overrides=(f"rollout.temperature={heat}",)) for heat in (1.2, 1.5)},
    **{f"norm-{norm}": Condition(overrides=(f"learner.max_grad_norm={norm}",)) for norm in (10.0, 1000.0)},
}

# The default conditions of `steadiness`: the tiny recipe, and updates and learning rates that are too much for GRPO. Each warms up over
# its first ten steps; otherwise Adam's first updates break the model under any objective.
STEADINESS = ("plain", "updates-8+lr-2e-4+warmup-80", "updates-16+lr-2e-4+warmup-160")

# Overrides of single presets in every experiment. Reductions differ in the size of their gradient, but Adam divides by it and
# learner.max_grad_norm clips it, so all of them use the same learning rate.
PRESET_CHANGES: dict[str, tuple[str, ...]] = {
    "rloo": ("learner.updates_per_step=1",),  # has no ratio, so a second update would be off policy
    "opo": ("learner.updates_per_step=1",),
}


def find_condition(name: str) -> Condition:
    """The condition of that name; ValueError with the list if there is none."""
    if unknown := set(name.split("+")) - set(CONDITIONS):
        raise ValueError(f"no condition {', '.join(sorted(unknown))}: join by '+' any of {', '.join(CONDITIONS)}")
    return reduce(Condition.__add__, (CONDITIONS[part] for part in name.split("+")))
