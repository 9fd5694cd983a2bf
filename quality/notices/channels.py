"""Channels and routes, as notices.yaml declares them: checked values."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from lake.documents import read_document
from lake.errors import did_you_mean
from quality.notices.notice import SEVERITIES
from quality.notices.secret import Secret

_Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,39}$")]
_Line = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{1,500}$")]
# As http sends it: no blanks, nothing beyond ASCII (%20, punycode).
_Url = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,500}$")]
_Address = Annotated[str, StringConstraints(pattern=r"^[^\s@<>,;:\"\x00-\x1f]{1,64}@[^\s@<>,;:\"\x00-\x1f]{1,255}$")]


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LogChannel(_Closed):
    """Lines on standard error, as text or JSON; without `form` as the setting `log` says."""

    kind: Literal["log"]
    form: Literal["text", "json"] | None = None


class WebhookChannel(_Closed):
    """A signed POST. `plain` lets it go without TLS to another host; `ca` is a file of certificates to trust."""

    kind: Literal["webhook"]
    url: _Url
    secret: Secret
    timeout_s: Annotated[int, Field(ge=1, le=120)] = 10
    plain: bool = False
    ca: Path | None = None

    @field_validator("url")
    @classmethod
    def _web(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
            raise ValueError("write https://host/path, without a user")
        _ = parts.port
        return url

    @model_validator(mode="after")
    def _private(self) -> WebhookChannel:
        parts = urlsplit(self.url)
        if parts.scheme == "http" and not self.plain and not _is_loopback(parts.hostname or ""):
            raise ValueError("http is not private: use https, or say plain: true")
        return self


class MailChannel(_Closed):
    """Plain-text mail by SMTP. `tls` is starttls, tls (from the first byte) or none."""

    kind: Literal["mail"]
    host: _Line
    port: Annotated[int, Field(ge=1, le=65_535)] = 587
    tls: Literal["starttls", "tls", "none"] = "starttls"
    sender: _Address
    to: Annotated[tuple[_Address, ...], Field(min_length=1, max_length=50)]
    user: _Line | None = None
    password: Secret | None = None
    timeout_s: Annotated[int, Field(ge=1, le=120)] = 20
    plain: bool = False
    ca: Path | None = None

    @model_validator(mode="after")
    def _private(self) -> MailChannel:
        if (self.user is None) != (self.password is None):
            raise ValueError("user and password go together")
        if self.tls == "none" and not _is_loopback(self.host) and (self.user is not None or not self.plain):
            raise ValueError("without TLS nothing is private: use starttls or tls (or plain: true without a user)")
        return self


Channel = LogChannel | WebhookChannel | MailChannel


class Route(_Closed):
    """Notices of these kinds (all, without any) and at least this severity go to these channels."""

    to: Annotated[tuple[_Name, ...], Field(min_length=1)]
    kinds: tuple[_Line, ...] = ()
    severity: Literal["info", "warning", "critical"] = "info"

    def takes(self, kind: str, severity: str) -> bool:
        """Whether a notice goes this way."""
        return (not self.kinds or kind in self.kinds) and SEVERITIES.index(severity) >= SEVERITIES.index(self.severity)


class Channels(_Closed):
    """The whole file. `pause_s` is the least time between two notices of one thing that only wavers."""

    channels: dict[_Name, Annotated[Channel, Field(discriminator="kind")]] = {}
    routes: tuple[Route, ...] = ()
    pause_s: Annotated[int, Field(ge=0, le=86_400)] = 900

    def ways(self, kind: str, severity: str) -> list[str]:
        """Names of the channels that a notice goes to; empty where no route takes it."""
        return sorted({name for route in self.routes if route.takes(kind, severity) for name in route.to})


def load_channels(path: Path) -> Channels:
    """The file's channels; without a file, notices go to the log alone. Errors: DefinitionError with file and line."""
    if not path.exists():
        return Channels()
    document = read_document(path)
    found = document.validate(Channels)
    for number, route in enumerate(found.routes):
        for place, name in enumerate(route.to):
            if name not in found.channels:
                at = ("routes", number, "to", place)
                raise document.error(f"there is no channel '{name}'.", at, did_you_mean(name, found.channels))
    if found.channels and not found.routes:
        raise document.error("channels without routes are never used.", todo="Add `routes: [{to: [NAME]}]`.")
    return found


def _is_loopback(host: str) -> bool:
    """Whether a host's name or address is this host's own loopback."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
