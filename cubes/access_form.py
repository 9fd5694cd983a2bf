"""The form of an access file: which fields there are, and of which shape; `cubes.access` gives them their meaning."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

_STRICT: Final = ConfigDict(frozen=True, extra="forbid")
_Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.@-]{0,62}$")]


class HideSpec(BaseModel):
    """Columns of a table that do not exist for the role's users."""

    model_config = _STRICT
    hide: list[str] = Field(min_length=1)


class Quotas(BaseModel):
    """Bounds on what a user or tenant may ask of the endpoint; none where nothing is said."""

    model_config = _STRICT
    running: int | None = Field(default=None, ge=1)
    statement_s: int | None = Field(default=None, ge=1)
    rows: int | None = Field(default=None, ge=1)

    def tightest(self, other: Quotas) -> Quotas:
        """The smaller of each bound."""
        both = [(name, getattr(self, name), getattr(other, name)) for name in type(self).model_fields]
        return Quotas(**{name: min((one for one in (a, b) if one is not None), default=None) for name, a, b in both})


UNBOUND: Final = Quotas()
# Tables of schema `fleet`, which roles list by name.
SYSTEM_TABLES: Final = tuple(
    "alerts asked audit checks cubes cuboids freshness gaps jobs metrics quality quarantine queries receipts "
    "result_cache segments selfaudit".split()
)


class RoleSpec(BaseModel):
    """A role as it is written."""

    model_config = _STRICT
    description: str = ""
    facts: list[str] = []
    lookups: list[str] = []
    rows: dict[str, str] = {}
    columns: dict[str, HideSpec] = {}
    system: list[str] = []
    may: list[Literal["queries.see", "queries.end", "act_for"]] = []
    act_for: list[str] = []
    quotas: Quotas = Quotas()


class UserSpec(BaseModel):
    """A user as it is written."""

    model_config = _STRICT
    roles: list[str] = Field(min_length=1)
    tenant: str | None = Field(default=None, min_length=1)
    quotas: Quotas = Quotas()


class AccessSpec(BaseModel):
    """A whole access file as it is written; `tenants` bounds what all users of a tenant ask together."""

    model_config = _STRICT
    roles: dict[_Name, RoleSpec] = {}
    users: dict[_Name, UserSpec] = {}
    tenants: dict[str, Quotas] = {}

    @field_validator("roles", "users", "tenants", mode="before")
    @classmethod
    def _nothing_below_is_none(cls, value: Any) -> Any:
        """`users:` stays behind when the last user goes."""
        return {} if value is None else value
