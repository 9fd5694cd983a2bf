"""Retention's rules: how long each layer and each fact is kept, as declared."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from lake.documents import load_document

_SHIPPED = Path(__file__).parent / "declarations" / "retention.yaml"
_UNITS = {"d": 1, "w": 7, "y": 365}
_STRICT = ConfigDict(frozen=True, extra="forbid")


def parse_age(text: str) -> timedelta:
    """`30d`, `8w` or `10y` as a length of time; ValueError says what is wanted otherwise."""
    match = re.fullmatch(r"([1-9]\d*)([dwy])", text)
    if not match:
        raise ValueError(f"'{text}' is no age: write a number of days, weeks or years, such as 30d, 8w, 10y.")
    return timedelta(days=int(match[1]) * _UNITS[match[2]])


def _age(text: str) -> str:
    parse_age(text)
    return text


_Age = Annotated[str, AfterValidator(_age)]


class FactRule(BaseModel):
    """How long trusted rows of a fact stay: an age, or the newest rounds `per` some dimensions."""

    model_config = _STRICT

    keep: _Age | None = None
    newest_rounds: int | None = Field(default=None, ge=1)
    per: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _one_way(self) -> FactRule:
        if (self.keep is None) == (self.newest_rounds is None):
            raise ValueError("give either `keep` or `newest_rounds`.")
        if (self.newest_rounds is not None) != bool(self.per):
            raise ValueError("`newest_rounds` goes with `per`, the dimensions within which rounds are counted.")
        return self


class RetentionRules(BaseModel):
    """The rules in force; a fact without a rule is kept for ever."""

    model_config = _STRICT

    landing: _Age
    quarantine: _Age
    facts: dict[str, FactRule]


def load_rules(folder: Path | None = None) -> RetentionRules:
    """The rules of `folder`/retention.yaml where there is one, else the shipped ones."""
    own = None if folder is None else folder / "retention.yaml"
    return load_document(own if own is not None and own.is_file() else _SHIPPED, RetentionRules)
