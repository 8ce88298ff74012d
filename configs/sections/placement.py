"""Keys of `[placement]`."""

from pydantic import Field, StrictBool

from configs.section import Section


class PlacementConfig(Section):
    """Which GPUs or cores engines and ranks take."""

    share: StrictBool = Field(
        default=False,
        description="engines and ranks take turns on the same GPUs. While one side works the other gives its GPU memory away. "
        "It needs `run.max_staleness = 0`",
    )
