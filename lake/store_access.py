"""How this process reaches an S3-compatible object store: settings out of the usual AWS_* variables, which are kept
nowhere else, patience, and the errors of the store's clients as ours.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final

from lake.errors import ConfigError, FleetcubeError, LakeError
from lake.places import SCHEME, address

PATIENCE: Final = timedelta(seconds=60)
_HTTP: Final = "AWS_ALLOW_HTTP"
_ATTEMPTS: Final = "AWS_MAX_ATTEMPTS"
_RETRIES: Final = 6
_OPTIONS: Final = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL",
    "AWS_VIRTUAL_HOSTED_STYLE_REQUEST",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_METADATA_ENDPOINT",
)
# Each of these is a way to credentials; without one the client would ask a metadata service that may not be there.
_WAYS: Final = (
    ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
    ("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN"),
    ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",),
    ("AWS_CONTAINER_CREDENTIALS_FULL_URI",),
    ("AWS_METADATA_ENDPOINT",),
)
# Switches of delta-rs by which commits would no longer be put-if-absent, or agree with nobody who doesn't set them.
_UNSAFE: Final = ("AWS_S3_ALLOW_UNSAFE_RENAME", "AWS_S3_LOCKING_PROVIDER", "AWS_COPY_IF_NOT_EXISTS")
_REFUSED: Final = ("InvalidAccessKeyId", "SignatureDoesNotMatch", "UserNotFound", "401 Unauthorized", "ExpiredToken")
_SILENT: Final = ("error sending request", "onnection", "timed out", "timeout", "503 Service", "502 Bad", "504 Gate")


def options(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The store's settings out of the environment, by the names that its clients know them by.

    Errors: ConfigError when no credentials are named, or a switch is set that makes commits unsafe.
    """
    environ = os.environ if environ is None else environ
    unsafe = [name for name in _UNSAFE if environ.get(name)]
    if unsafe:
        raise ConfigError(
            f"{unsafe[0]} makes commits to an object store unsafe, or not those of other hosts.",
            where="environment",
            todo="Unset it: the store must support conditional PUT, and then nothing else is needed.",
        )
    if not any(all(environ.get(name) for name in way) for way in _WAYS):
        raise ConfigError(
            "There are no credentials for the object store.",
            where="environment",
            todo="Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (docs/object-stores.md names the other ways).",
        )
    found = {name.lower(): environ[name] for name in _OPTIONS if environ.get(name)}
    if environ.get(_HTTP, "").lower() in ("1", "true"):
        found["allow_http"] = "true"
    elif found.get("aws_endpoint_url", "").startswith("http:"):
        raise ConfigError(
            f"The endpoint {found['aws_endpoint_url']} is not encrypted.",
            where="AWS_ENDPOINT_URL",
            todo=f"Use https, or set {_HTTP}=true where nobody can listen, as on loopback.",
        )
    return found


def delta_options() -> dict[str, str]:
    """The same for delta-rs: commits by conditional PUT, with as much patience as everything else has."""
    return {
        **options(),
        "aws_conditional_put": "etag",
        "max_retries": str(retries()),
        "retry_timeout": f"{int(PATIENCE.total_seconds())}s",
        "connect_timeout": "5s",
    }


def retries(environ: Mapping[str, str] | None = None) -> int:
    """How often a request is tried again; ConfigError for a setting that is no number."""
    text = (os.environ if environ is None else environ).get(_ATTEMPTS) or str(_RETRIES + 1)
    if not text.isdecimal() or int(text) < 1:
        todo = "Give a number of at least 1, or unset it."
        raise ConfigError(f"'{text}' is no number of attempts.", where=_ATTEMPTS, todo=todo)
    return int(text) - 1


@contextmanager
def translated(path: Path | str) -> Iterator[None]:
    """Errors of the store's clients within, as ours, which name the place."""
    from obstore.exceptions import BaseError

    try:
        yield
    except FleetcubeError:
        raise
    except (BaseError, OSError, ValueError) as error:
        raise store_error(error, path) from error


def store_error(error: Exception, path: Path | str) -> FleetcubeError:
    """What a store's client said, in words that name the place and the next step."""
    said, where = str(error), address(path)
    bucket = where.removeprefix(SCHEME).partition("/")[0]
    if "NoSuchBucket" in said:
        todo = "Make the bucket, or correct the name; the program makes none."
        return LakeError(f"There is no bucket '{bucket}'.", where=where, todo=todo)
    if any(mark in said for mark in _REFUSED):
        todo = "Check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN and AWS_REGION."
        return ConfigError("The object store doesn't accept the credentials.", where=where, todo=todo)
    if "AccessDenied" in said or "403 Forbidden" in said:
        todo = "Give this key list, get, put and delete on the prefix (docs/object-stores.md)."
        return LakeError("The object store denies access.", where=where, todo=todo)
    if any(mark in said for mark in _SILENT):
        todo = "See that AWS_ENDPOINT_URL is right and the store is up, then run the step again; nothing is lost."
        return LakeError("The object store doesn't answer.", where=where, todo=todo)
    first = said.strip().splitlines()[0][:300] if said.strip() else type(error).__name__
    return LakeError(f"The object store failed: {first}.", where=where, todo="Run the step again; nothing is lost.")
