"""The `[code]` table as the workers take it."""

from configs.schema import Config
from reward.programs.limits import CodeLimits


def code_limits(config: Config) -> CodeLimits:
    """The `[code]` table as the workers take it."""
    code = config.code
    return CodeLimits(
        unsafe=code.sandbox == "unsafe",
        timeout_s=float(code.timeout_s),
        memory_mb=code.memory_mb,
        disk_mb=code.disk_mb,
        output_kb=code.output_kb,
        partial=code.partial,
        prelude=code.prelude,
    )
