"""What was refused lately, from the end of the audit log: log-ins, statements, the ending of queries, pushes of agents.

Both servers of a lake and its receiver write there, so it tells of all of them. Only the newest 4 MiB are read: the
log may be long, and a system table must answer in milliseconds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from cubes.serve.running import Viewer
from lake.audit_chain import FOLDER, event_of, months

_BYTES: Final = 4 * 2**20
_FINE: Final = frozenset({"ok", "begun", "stopped"})
_KINDS: Final = ("login", "query", "receiver.")


def refusals(lake: Path, viewer: Viewer) -> Iterator[tuple[Any, ...]]:
    """Rows of `fleet.alerts`, oldest first: a user's own; all for who may see queries and has no tenant."""
    everyone = viewer.may("queries.see") and (viewer.policy is None or viewer.policy.tenant is None)
    for line in _tail(lake):
        event = event_of(line)
        if event is None or event["result"] in _FINE or not event["operation"].startswith(_KINDS):
            continue
        if everyone or event["who"] == viewer.user:
            message = f"{event['operation']} refused: {event['result']}"
            detail = json.dumps({"origin": event["origin"], "resource": event["resource"], **event["detail"]})
            at = datetime.fromisoformat(event["at"])
            yield at, "refusal", "warning", event["operation"], event["who"], message, detail


def _tail(lake: Path) -> Iterator[bytes]:
    """The newest lines of the log, as many as 4 MiB hold."""
    held = months(lake / FOLDER)
    left, pieces = _BYTES, []
    for path in reversed(held):
        with path.open("rb") as file:
            start = max(0, file.seek(0, 2) - left)
            file.seek(start)
            data = file.read(left)
        pieces.append(data.partition(b"\n")[2] if start else data)
        left -= len(data)
        if left <= 0:
            break
    for piece in reversed(pieces):
        yield from piece.split(b"\n")
