"""Runs that are ill on purpose, with the rule that must speak first, and healthy ones, in which none may."""

from dataclasses import dataclass

OWN = "benchmarks/health/checkers.py"
CPU, TOOL, GAME = "configs/tiny_cpu.toml", "configs/tiny_tool.toml", "configs/tiny_game.toml"
SMALL = ("rollout.groups_per_step=16", "data.eval_limit=16", "run.eval_every=0")
FEW = ("rollout.groups_per_step=8",)
AHEAD = ("run.max_staleness=1",)
NONE = ""


@dataclass(frozen=True, slots=True)
class Setting:
    """One run: a shipped recipe and what is different."""

    name: str
    rule: str  # that speaks first; empty in a healthy run
    steps: int
    overrides: tuple[str, ...] = ()
    config: str = CPU
    small: bool = True
    timed: bool = False  # the illness is one of time, which a run in one process does not have

    @property
    def arguments(self) -> list[str]:
        """Of `python -m cluster train`, but for run.dir."""
        return [self.config, f"run.steps={self.steps}", "run.save_every=1000", *(SMALL if self.small else ()), *self.overrides]


ILL = (
    Setting("wrong column as reference", "all_wrong", 4, ("data.reference_field=prompt",)),
    Setting("checker accepts everything", "all_right", 4, (f"reward.checker={OWN}:accept",)),
    Setting("learning rate 1e-3", "rate_too_high", 4, ("learner.lr=1e-3",)),
    Setting("learning rate 1e-10", "rate_too_low", 21, ("learner.lr=1e-10", *FEW)),
    Setting("responses of two tokens", "truncated", 4, ("rollout.max_response_tokens=2",)),
    Setting("filter of every response", "nothing_learned", 4, ("rollout.max_response_tokens=2", "objective.overlong_filter=true")),
    Setting("checker crashes", "reward_failures", 3, (f"reward.checker={OWN}:crash",)),
    Setting("checker is slow", "checker_slow", 6, (f"reward.checker={OWN}:slow",)),
    Setting("checkers disagree", "checkers_disagree", 6, (f"reward.second={OWN}:first_digit",)),
    Setting(
        "only a part of the reward",
        "part_alone",
        6,
        (f"reward.checker={OWN}:refuse", f"reward.parts.one.checker={OWN}:begins_with_one"),
    ),
    Setting(
        "format instead of the task",
        "format_learned",
        24,
        (f"reward.parts.one.checker={OWN}:begins_with_one", "reward.parts.one.weight=20", "learner.lr=2e-4"),
    ),
    Setting(
        "length instead of the task",
        "length_grows",
        30,
        (f"reward.parts.long.checker={OWN}:long", "reward.parts.long.weight=20", "rollout.max_response_tokens=32", "learner.lr=2e-4"),
    ),
    Setting("entropy bonus of 5", "entropy_explodes", 12, ("entropy.coefficient=5.0",)),
    Setting("a few huge rewards", "gradient_spikes", 45, (f"reward.checker={OWN}:huge", "objective.advantage=centred", *FEW)),
    Setting(
        "prompts without signal",
        "rejects_most",
        11,
        (f"reward.checker={OWN}:rare", "objective.preset=dapo", "rollout.groups_per_step=2", "rollout.max_refill=100"),
    ),
    Setting(
        "prompts learned by heart",
        "prompts_repeat",
        40,
        ("data.train=benchmarks/health/few.jsonl", "learner.lr=2e-4", "data.eval_limit=256", "run.eval_every=20"),
    ),
    Setting("one verdict in eighty is late", "checker_slow", 6, (f"reward.checker={OWN}:late", "reward.workers=2")),
    Setting("engine of one response at a time", "learner_waits", 11, (*AHEAD, *FEW, "rollout.vllm.max_num_seqs=1"), timed=True),
    Setting("learner of one response at a time", "engines_wait", 12, (*AHEAD, *FEW, "learner.micro_batch_tokens=24"), timed=True),
    Setting(
        "far ahead of a slow learner",
        "staleness_at_bound",
        14,
        ("run.max_staleness=2", *FEW, "learner.micro_batch_tokens=24"),
        timed=True,
    ),
    Setting("tool is broken", "calls_fail", 4, (f'tools.use=["{OWN}:multiply"]',), config=TOOL),
    Setting(
        "tools that the model does not know",
        "no_calls",
        11,
        (*FEW, 'tools.use=["examples/calculator.py:multiply"]', "tools.format=pythonic"),
    ),
    Setting("game without an end", "out_of_turns", 4, (f"reward.checker={OWN}:never_ends",), config=GAME),
)
HEALTHY = tuple(
    Setting(
        f"{config.removeprefix('configs/').removesuffix('.toml')}, seed {seed}", NONE, 25, (f"run.seed={seed}",), config=config, small=False
    )
    for config in (CPU, TOOL, GAME)
    for seed in (0, 1)
)
