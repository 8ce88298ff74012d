"""What every table of a config file has in common."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StrictFloat, StrictInt

Count = Annotated[StrictInt, Field(ge=1)]
Whole = Annotated[StrictInt, Field(ge=0)]
Positive = Annotated[StrictFloat | StrictInt, Field(gt=0)]
Share = Annotated[StrictFloat | StrictInt, Field(ge=0)]


class Section(BaseModel):
    """A frozen table of the config file; a key it does not know is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
