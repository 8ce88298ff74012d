"""What every table of a config file has in common, and the kinds of numbers that keys take."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictFloat, StrictInt, StrictStr

LARGEST = 2**63 - 1


def fits_64_bits(value: int) -> int:
    """The number itself; ValueError above 64 bits: such a number overflows where it meets a float or a library written in C."""
    if abs(value) > LARGEST:
        raise ValueError("needed a number of at most 64 bits")
    return value


def names_something(value: str) -> str:
    """The text itself; ValueError where it can name no file or folder: empty, blank or with the byte 0."""
    if not value.strip() or "\0" in value:
        raise ValueError("needed a path")
    return value


Int = Annotated[StrictInt, AfterValidator(fits_64_bits)]
PathText = Annotated[StrictStr, Field(min_length=1), AfterValidator(names_something)]
Number = StrictFloat | Int
Count = Annotated[Int, Field(ge=1)]
Whole = Annotated[Int, Field(ge=0)]
Positive = Annotated[Number, Field(gt=0)]
NonNegative = Annotated[Number, Field(ge=0)]
Share = Annotated[Number, Field(ge=0, le=1)]
PositiveShare = Annotated[Number, Field(gt=0, le=1)]
Temperature = Annotated[Number, Field(gt=0, le=2)]  # vLLM refuses what is above
Fraction = Annotated[Number, Field(gt=0, lt=1)]
AboveOne = Annotated[Number, Field(gt=1)]
Auto = Literal["auto"]  # in place of a number or a choice that follows from model and machine
DecayRate = Annotated[StrictFloat, Field(ge=0, lt=1)]


class Section(BaseModel):
    """A frozen table of the config file; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, serialize_by_alias=True)
