"""The form of a cube definition: which fields there are, and of which shape; `cubes.load` gives them their meaning."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from cubes.load_derived import BandSpec, JoinSpec
from cubes.load_measures import ShortMeasure

_STRICT: Final = ConfigDict(frozen=True, extra="forbid")
GrainName = Literal["5s", "15s", "30s", "1m", "5m", "15m", "30m", "1h", "1d", "1w", "1mo"]
WeekDay = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
_Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")]


class GroupSpec(BaseModel):
    """An aggregation group: which combinations of its dimensions are worth a cuboid."""

    model_config = _STRICT
    include: list[str] | None = None
    mandatory: list[str] = []
    hierarchies: list[list[str]] = []
    joints: list[list[str]] = []
    max_dimensions: int = Field(default=0, ge=0)


class BudgetSpec(BaseModel):
    """What a cube may cost."""

    model_config = _STRICT
    cuboids: int = Field(default=64, ge=1, le=4096)
    bytes_per_raw_byte: Decimal | None = Field(default=None, gt=0)
    # Below so many MiB of trusted rows bytes aren't limited: of small files most is what every file costs.
    from_mib: int = Field(default=0, ge=0)


class CubeSpec(BaseModel):
    """A whole definition as it is written."""

    model_config = _STRICT
    cube: _Name
    fact: str
    description: str = ""
    grains: list[GrainName] = Field(min_length=1)
    week_starts: WeekDay = "monday"
    dimensions: list[str] = Field(min_length=1, max_length=62)
    joins: dict[str, JoinSpec] = {}
    bands: dict[_Name, BandSpec] = {}
    where: str = ""
    cuboids: list[list[str]] = []
    groups: list[GroupSpec] = []
    measures: dict[_Name, ShortMeasure] = Field(min_length=1)
    keep: dict[str, str] = {}
    age_out: dict[str, str] = {}
    budget: BudgetSpec = BudgetSpec()
