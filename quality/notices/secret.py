"""Secrets of channels: read from a file or the environment when they are needed.

A secret never stands in the YAML, is never shown, and its file must be its owner's alone.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints, model_validator

from lake.errors import ConfigError


class Secret(BaseModel):
    """Where a secret is: `file` (mode 0600) or `env`, the name of a variable."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: Path | None = None
    env: Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9_]{0,99}$")] | None = None

    @model_validator(mode="after")
    def _one(self) -> Secret:
        if (self.file is None) == (self.env is None):
            raise ValueError("give either file or env")
        return self

    def read(self, channel: str, *, least: int = 1) -> str:
        """The secret itself. Errors: ConfigError where it is missing, too short, or readable by others."""
        if self.env is not None:
            value, where = os.environ.get(self.env, ""), f"environment variable {self.env}"
        else:
            assert self.file is not None
            value, where = _text(self.file, channel), str(self.file)
        if len(value) < least:
            what = f"The secret of channel '{channel}' is missing or shorter than {least} characters."
            raise ConfigError(what, where=where, todo="Put a long random text there.")
        return value


def _text(path: Path, channel: str) -> str:
    try:
        mode = path.stat().st_mode
        value = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        what = f"The secret of channel '{channel}' can't be read: {type(error).__name__}."
        raise ConfigError(what, where=str(path), todo="Make the file, with mode 0600.") from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        what = f"The secret of channel '{channel}' can be read by others."
        raise ConfigError(what, where=str(path), todo=f"Run `chmod 600 {path}`.")
    return value
