"""A whole config: every key, and the rules between keys, all checked when a `Config` is made.

Read with `configs.loader.load`. Nothing here imports torch, ray or vllm, so a config is checked in milliseconds on any machine.
"""

from typing import Self

from pydantic import model_validator

from configs.keys import Keys
from configs.rules.common import RULES, RuleError
from configs.rules.correction import CORRECTION_RULES
from configs.rules.data import DATA_RULES
from configs.rules.effect import EFFECT_RULES
from configs.rules.engine import ENGINE_RULES
from configs.rules.experts import EXPERT_RULES
from configs.rules.kl import KL_RULES
from configs.rules.moe import MOE_RULES
from configs.rules.objective import OBJECTIVE_RULES
from configs.rules.placement import PLACEMENT_RULES
from configs.rules.reward import REWARD_RULES
from configs.rules.saves import SAVE_RULES
from configs.rules.tools import TOOLS_RULES
from configs.rules.trackers import TRACKER_RULES

ALL_RULES = (
    *RULES,
    *DATA_RULES,
    *OBJECTIVE_RULES,
    *CORRECTION_RULES,
    *KL_RULES,
    *ENGINE_RULES,
    *EXPERT_RULES,
    *MOE_RULES,
    *REWARD_RULES,
    *TOOLS_RULES,
    *PLACEMENT_RULES,
    *SAVE_RULES,
    *TRACKER_RULES,
    *EFFECT_RULES,
)


class Config(Keys):
    """The config of one run: keys that obey the rules between them."""

    @model_validator(mode="after")
    def obeys_the_rules_between_keys(self) -> Self:
        if problems := [problem for rule in ALL_RULES for problem in rule(self)]:
            raise RuleError(problems)
        return self
