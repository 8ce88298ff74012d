"""Every health rule, ranked from cause to consequence: where several symptoms begin in one step, the first one is what to mend.

A verdict that is wrong or missing spoils every number after it. Then come numbers that are no numbers, an entropy bonus, a learning rate,
and what these do to rewards, lengths and experts. What costs only time comes last.
"""

from collections.abc import Sequence

from cluster.health.rule import Rule
from cluster.health.rules.checker_rules import CHECKER_RULES, SLOW_CHECKERS
from cluster.health.rules.episode_rules import EPISODE_RULES
from cluster.health.rules.expert_rules import EXPERT_RULES
from cluster.health.rules.length_rules import LENGTH_RULES
from cluster.health.rules.mismatch_rules import MISMATCH_RULES
from cluster.health.rules.policy_rules import HOT_POLICY, POLICY_RULES
from cluster.health.rules.prompt_rules import PROMPT_RULES
from cluster.health.rules.reward_rules import COLLAPSED, SIGNAL_RULES
from cluster.health.rules.time_rules import DEATH_RULES, TIME_RULES
from cluster.health.rules.update_rules import BROKEN_UPDATES, MOVES

RULES: Sequence[Rule] = (
    *BROKEN_UPDATES,
    *MISMATCH_RULES,
    *CHECKER_RULES,
    *EPISODE_RULES,
    HOT_POLICY,
    *MOVES,
    *LENGTH_RULES,
    *SIGNAL_RULES,
    *EXPERT_RULES,
    COLLAPSED,
    *POLICY_RULES,
    *PROMPT_RULES,
    *DEATH_RULES,
    *SLOW_CHECKERS,
    *TIME_RULES,
)
