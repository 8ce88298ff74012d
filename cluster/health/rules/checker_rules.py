"""Rules about verdicts: two checkers that disagree, verdicts or answers that the step waits for, thoughts that do not end."""

from cluster.health.history import History
from cluster.health.rule import Finding, Rule

STEPS = 5
DISAGREE = 0.2  # share of the responses
WAITS = 0.3  # share of the step that waits for groups, below which nobody waits for verdicts
# Of the wait, and in seconds at least. The verdicts of a step queue, so groups wait half of that time on average, and never more.
SLOW, SLOW_S = 0.35, 0.5
ANSWER_STEPS, ANSWERING = 10, 0.85  # share of the unfinished groups that wait for answers; on a busy machine quick ones have 0.76
MOST = 0.5


def checkers_disagree(history: History) -> Finding | None:
    """`reward.second` and the row's checker give different verdicts on many responses."""
    share = history.mean("reward/disagreement", STEPS)
    if share is None or share < DISAGREE:
        return None
    second = history.config.reward.second
    return Finding(
        f"reward.second ({second}) and the row's checker disagree on {share:.0%} of the responses of the last {STEPS} steps",
        f'read disagreements/ and decide who is right: set reward.checker = "{second}", or correct the checker that is wrong',
    )


def checker_slow(history: History) -> Finding | None:
    """The step waits for verdicts rather than for responses."""
    score, generate, waits = (history.mean(key, STEPS) for key in ("seconds/score", "seconds/generate", "share/generate"))
    if score is None or generate is None or waits is None or waits < WAITS or score < max(SLOW * generate, SLOW_S):
        return None
    workers = history.config.reward.workers
    return Finding(
        f"groups wait {score:.2g} s for their last verdict, of {generate:.2g} s that a step waits for groups (seconds/score)",
        f'raise reward.workers from {workers} to {2 * workers}, set reward.nodes = "engines", or make reward.checker faster',
    )


def environment_slow(history: History) -> Finding | None:
    """Engines have nothing to do because episodes wait for environments or tools."""
    answering, generating = history.mean("window/answering", ANSWER_STEPS), history.mean("window/generating", ANSWER_STEPS)
    scoring, waits = history.mean("window/scoring", ANSWER_STEPS), history.mean("share/generate", ANSWER_STEPS)
    if answering is None or generating is None or scoring is None or waits is None or waits < WAITS:
        return None
    unfinished = answering + generating + scoring
    if unfinished <= 0 or answering / unfinished < ANSWERING:
        return None
    return Finding(
        f"{answering / unfinished:.0%} of the unfinished groups wait for an environment or a tool (window/answering)",
        f"raise reward.workers from {history.config.reward.workers} to {2 * history.config.reward.workers} or tools.concurrency, set "
        f"rollout.ahead = {history.config.ahead + 1} with as large a run.max_staleness, or answer faster",
    )


def thoughts_unfinished(history: History) -> Finding | None:
    """Most responses end within a thought, so they have no answer."""
    unfinished = history.mean("reward/unfinished_thoughts", STEPS)
    if unfinished is None or unfinished < MOST * history.responses:
        return None
    limit = history.config.rollout.max_response_tokens
    return Finding(
        f"{unfinished / history.responses:.0%} of the responses of the last {STEPS} steps end within a thought, so they have no answer",
        f"raise rollout.max_response_tokens from {limit} to {2 * limit}, give reward.thinking_marks of this model, or set "
        "data.template_arguments = { enable_thinking = false }",
    )


CHECKER_RULES = (
    Rule("thoughts_unfinished", thoughts_unfinished),
    Rule("checkers_disagree", checkers_disagree),
)
SLOW_CHECKERS = (
    Rule("checker_slow", checker_slow),
    Rule("environment_slow", environment_slow),
)
