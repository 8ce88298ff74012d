"""The tools that reward workers run, by the names that their pool imports them under."""

from configs.schema import Config
from configs.tool_names import PYTHON
from reward.pool_tool import TOOL
from reward.tools.name import is_own_function


def warm_tools(config: Config) -> list[str]:
    """For `warm` of a RewardPool: every function of `tools.use`, and `python`."""
    return [f"{TOOL}{entry}" for entry in config.tools.use if entry == PYTHON or is_own_function(entry)]
