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
from lake.tails import tail_lines

_BYTES: Final = 4 * 2**20
_FINE: Final = frozenset({"ok", "begun", "stopped"})
_KINDS: Final = ("login", "query", "receiver.")


def refusals(lake: Path, viewer: Viewer) -> Iterator[tuple[Any, ...]]:
    """Rows of `fleet.alerts`, oldest first: a user's own; all for who may see queries and has no tenant."""
    everyone = viewer.everyone()
    for line in tail_lines(months(lake / FOLDER), _BYTES):
        event = event_of(line)
        if event is None or event["result"] in _FINE or not event["operation"].startswith(_KINDS):
            continue
        if everyone or event["who"] == viewer.user:
            message = f"{event['operation']} refused: {event['result']}"
            detail = json.dumps({"origin": event["origin"], "resource": event["resource"], **event["detail"]})
            at = datetime.fromisoformat(event["at"])
            yield at, "refusal", "warning", event["operation"], event["who"], message, detail
