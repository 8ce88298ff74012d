"""Rules about time: engines or learner that wait, groups that come late, a staleness that buys nothing, stages that cost too much."""

from cluster.health.history import History, mean
from cluster.health.rule import Finding, Rule
from cluster.health.rules.remedies import OVERHEADS, more_engines, more_ranks

STEPS, LEAST_S = 10, 1.0  # steps that a rule looks at, and how long they are at least: a shorter one has nothing worth moving
WAITS = 0.4  # share of the step in which the learner waits for groups though they are made ahead
LITTLE, BUSY, MOST = 0.05, 0.2, 0.5  # share of the step, of the window at the engines, of the step that learns
LATE, LATE_WAITS = 0.6, 0.3  # of the groups that are not taken yet are finished, while the learner waits
BOUND, SEVERAL = 0.9, 2  # of the largest staleness; steps of staleness that there is something to lower
OVERHEAD = 0.3  # share of the step
DEATH_STEPS, DEATHS = 20, 3


def engines_die(history: History) -> Finding | None:
    """Engines end again and again. A rank that is lost ends the attempt, which says so itself."""
    died = sum(history.values("engines/died")[-DEATH_STEPS:])
    if died < DEATHS:
        return None
    return Finding(
        f"engines died {died:.0f} times in the last {DEATH_STEPS} steps",
        "read the last lines in logs/; lower gpu_memory_utilization in [rollout.vllm] if memory is short, and raise "
        "rollout.stall_s if they were only slow",
    )


def stragglers(history: History) -> Finding | None:
    """Most groups are finished and the step waits for a few late ones."""
    finished, busy, waits = history.mean("window/finished", STEPS), _at_work(history), _waiting(history)
    if finished is None or busy is None or waits is None or waits < LATE_WAITS or finished < LATE * (finished + busy):
        return None
    config = history.config
    slack = (
        f"set run.max_staleness = {config.ahead + 1} with rollout.ahead = {config.ahead}, so that others go first"
        if config.run.max_staleness <= config.ahead
        else f"raise run.max_staleness from {config.run.max_staleness} to {config.run.max_staleness + 1}"
    )
    hedge = "" if config.rollout.hedge else ", or rollout.hedge = true with several engines"
    return Finding(
        f"the learner waits {waits:.0%} of the step for a few late groups while {finished / (finished + busy):.0%} of the others are "
        "finished (window/finished)",
        f"{slack}{hedge}; a lower rollout.max_response_tokens or rollout.max_turns shortens the tail",
    )


def learner_waits(history: History) -> Finding | None:
    """Generation is too slow to hide behind learning."""
    config, waits = history.config, _waiting(history)
    if not config.ahead or waits is None or waits < WAITS:
        return None
    return Finding(f"the learner waits {waits:.0%} of the step for groups although engines run {config.ahead} ahead", more_engines(config))


def engines_wait(history: History) -> Finding | None:
    """Engines have nothing to do most of the time, since the window is full of finished groups."""
    config, waits, busy = history.config, _waiting(history), _at_work(history)
    learns = history.mean("share/learn", STEPS)
    if not config.ahead or waits is None or busy is None or learns is None or waits > LITTLE or learns < MOST:
        return None
    if busy > BUSY * config.groups_in_flight:
        return None
    return Finding(
        f"engines have {busy:.1f} of {config.groups_in_flight} groups to work on (window/generating), and learning takes {learns:.0%} of "
        "the step",
        more_ranks(config),
    )


def staleness_at_bound(history: History) -> Finding | None:
    """Every token is as old as `run.max_staleness` allows, for nothing or because of late groups."""
    run, ahead = history.config.run, history.config.ahead
    stale, waits = history.last("staleness/mean", STEPS), _waiting(history)
    largest = history.last("staleness/max", STEPS)
    if stale is None or waits is None or largest is None or run.max_staleness < SEVERAL:
        return None
    if ahead >= SEVERAL and min(stale) >= BOUND * ahead and waits <= LITTLE:
        return Finding(
            f"tokens are {mean(stale):.1f} steps old on average when they are learned, and the learner never waits",
            f"lower rollout.ahead from {ahead} to {ahead - 1}, which costs no time and learns from newer responses",
        )
    if ahead < run.max_staleness <= min(largest) and waits >= LATE_WAITS:
        return Finding(
            f"in each of the last {STEPS} steps some group is as old as run.max_staleness allows ({run.max_staleness}), and the learner "
            f"waits {waits:.0%} of the step",
            f"raise run.max_staleness to {run.max_staleness + 1}, or set rollout.hedge = true with several engines",
        )
    return None


def overhead(history: History) -> Finding | None:
    """Publishing, saving or evaluating takes a large share of the time."""
    total = history.last("seconds/step", 2 * STEPS)
    if total is None or mean(total) < LEAST_S:
        return None
    run = history.config.run
    every = {"publish": 1, "save": run.save_every, "evaluate": run.eval_every}
    for stage, advice in OVERHEADS.items():
        if not 0 < every[stage] <= 2 * STEPS:
            continue  # too rare to matter; what a slow disk costs the record counts as saving too
        seconds = history.last(f"seconds/{stage}", 2 * STEPS)
        if seconds is not None and sum(seconds) - max(seconds) >= OVERHEAD * (sum(total) - max(total)):
            return Finding(f"{stage} takes {sum(seconds) / sum(total):.0%} of the last {2 * STEPS} steps (seconds/{stage})", advice)
    return None


def _waiting(history: History) -> float | None:
    """Share of the step that waits for groups; None where steps are too short to care."""
    seconds = history.mean("seconds/step", STEPS)
    return None if seconds is None or seconds < LEAST_S else history.mean("share/generate", STEPS)


def _at_work(history: History) -> float | None:
    """Groups at engines, reward workers, environments or tools."""
    generating, scoring = history.mean("window/generating", STEPS), history.mean("window/scoring", STEPS)
    return None if generating is None or scoring is None else generating + scoring + (history.mean("window/answering", STEPS) or 0.0)


DEATH_RULES = (Rule("engines_die", engines_die),)
TIME_RULES = (
    Rule("stragglers", stragglers),
    Rule("staleness_at_bound", staleness_at_bound),
    Rule("learner_waits", learner_waits),
    Rule("engines_wait", engines_wait),
    Rule("overhead", overhead),
)
