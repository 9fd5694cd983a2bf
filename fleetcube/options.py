"""Options that every verb shares, and the settings that come out of them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from fleetcube.audited import on_record
from lake.errors import LakeError
from lake.own import use_own
from lake.places import address, is_remote
from lake.settings import Settings, load_settings
from lake.shared import has_files


def with_settings(*, needs_lake: bool = False) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a verb `--lake` and `--log`, and the settings in force as its first argument.

    `needs_lake`: refuse with a clear message where there is no lake yet.
    """

    def decorate(verb: Callable[..., Any]) -> Callable[..., Any]:
        @click.option("--lake", type=click.Path(path_type=Path), help="Folder of the lake, or s3://bucket/prefix.")
        @click.option("--log", type=click.Choice(["text", "json"]), help="Form of progress lines.")
        @functools.wraps(verb)
        def run(lake: Path | None, log: str | None, **arguments: Any) -> Any:
            settings = load_settings({"lake": lake, "log": log, **_own_flags(arguments)})
            use_own(settings.declarations)
            if needs_lake:
                require_lake(settings)
            with on_record(settings, arguments):
                return verb(settings, **arguments)

        return run

    return decorate


def require_lake(settings: Settings) -> None:
    """LakeError unless the settings' lake exists and holds at least one table."""
    if not is_remote(settings.lake) and not settings.lake.is_dir():
        raise LakeError(
            "There is no lake here.",
            where=str(settings.lake),
            todo="Run `fleetcube up`, or name the folder with --lake or FLEETCUBE_LAKE.",
        )
    if not any(has_files(settings.lake / layer) for layer in ("landing", "trusted", "lookups")):
        raise LakeError(
            "This folder holds no lake.",
            where=address(settings.lake),
            todo="Name the right folder with --lake, or land rows first: `fleetcube replay` or `fleetcube receive`.",
        )


def _own_flags(arguments: dict[str, Any]) -> dict[str, Any]:
    """Flags of a verb that are settings too (`--port` and the like are declared as `set_<name>`)."""
    return {name.removeprefix("set_"): arguments.pop(name) for name in list(arguments) if name.startswith("set_")}
