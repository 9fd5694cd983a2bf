"""Verbs that change state are put on record: the one place through which every verb of the command line runs.

What takes rows away, or lets rows, people or powers in, is told before it begins too, so that a killed one is known.
Verbs are on record unless they are listed as mere looks: a new one can't be forgotten.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from typing import Any, Final

import click

from lake.errors import FleetcubeError
from lake.settings import Settings

LOOKS: Final = frozenset(
    {
        *("agent", "sql", "status", "cube list", "cube show", "cube verify", "cube forecast", "cube advise"),
        *("cube diff", "lookup list", "lookup columns", "quarantine list", "quarantine show", "hold list"),
        *("user list", "user show", "alerts list", "audit verify", "audit export"),
    }
)
# With --apply they change something; without, they look.
_PLANS: Final = frozenset({"retain", "vacuum", "cube drop"})
_TOLD_FIRST: Final = frozenset(
    {
        *("quarantine release", "batch undo", "erase", "retain", "vacuum", "hold add", "hold remove", "cube drop"),
        *("user add", "user remove", "user password", "user grant", "user revoke", "audit trim"),
        *("serve", "receive", "run"),
    }
)
# What runs on and on: a change of its settings is told when it starts.
_SERVERS: Final = frozenset({"serve", "receive", "up", "run"})
# Words by which a person is known: the log outlives the rows that are erased for them.
_PERSONAL: Final = frozenset({"where"})


@contextmanager
def on_record(settings: Settings, arguments: Mapping[str, Any]) -> Iterator[None]:
    """Run a verb's body with its events: begun (for some), then ok or why it failed."""
    context = click.get_current_context(silent=True)
    verb = _verb(context)
    if not verb or verb in LOOKS or (verb in _PLANS and not arguments.get("apply")):
        yield
        return
    from lake.audit import Audit, note_settings

    audit, detail = Audit(settings.lake), _told(arguments)
    if verb in _SERVERS:
        note_settings(audit, _configuration(settings), of=verb)
    if verb in _TOLD_FIRST:
        audit.append("verb", verb, result="begun", detail=detail)
    result = "stopped"
    try:
        yield
        result = "ok"
    except FleetcubeError as error:
        result = f"failed: {error}"
        raise
    except Exception as error:
        result = f"failed: {type(error).__name__}"
        raise
    finally:
        # Where no lake came to be, there is none to keep a log of.
        if settings.lake.is_dir():
            audit.append("verb", verb, result=result, detail=detail)


def _configuration(settings: Settings) -> dict[str, str]:
    """Every setting in force, and the digest of the access file: what it says is in that file's own history."""
    values = {item.name: str(getattr(settings, item.name)) for item in fields(settings)}
    path = settings.access_file
    found = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "none"
    return {**values, "access file": f"sha256 {found}" if path.is_file() else found}


def _verb(context: click.Context | None) -> str:
    """The words after `fleetcube`; empty where a command was called as a function."""
    words: list[str] = []
    while context is not None and context.parent is not None:
        words.insert(0, context.info_name or "")
        context = context.parent
    return " ".join(words)


def _told(arguments: Mapping[str, Any]) -> dict[str, str]:
    said = {name: value for name, value in arguments.items() if value not in (None, False, (), "")}
    return {
        name: f"sha256 {hashlib.sha256(str(value).encode()).hexdigest()}" if name in _PERSONAL else _text(value)
        for name, value in said.items()
    }


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
