"""Alerts as the command line shows and makes them: lists, the test notice, and the names that others may give."""

from __future__ import annotations

import re
import uuid
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, Final

from fleetcube.alerting import WATCHED
from lake.alert_states import fold, open_alerts
from lake.alerts import Alert, read_alerts
from lake.duck import connect
from lake.errors import ConfigError
from lake.places import address
from lake.times import iso, utc_now
from quality.notices.notice import Item, Notice, clean, notice

if TYPE_CHECKING:
    from lake.settings import Settings

_KIND: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")
_ENTITY: Final = re.compile(r"[^\x00-\x1f\x7f-\x9f\s]{1,200}")


def alert_rows(settings: Settings, kinds: Collection[str], *, whole: bool) -> list[dict[str, Any]]:
    """Open alerts as plain values, the worst first; with `whole` every event, oldest first."""
    every = read_alerts(connect(settings), settings.lake)
    if whole:
        return sorted((_row(one) for one in every if not kinds or one.kind in kinds), key=lambda row: str(row["at"]))
    return [_row(one.last) for one in open_alerts(fold(every), kinds)]


def alerts_text(rows: Sequence[dict[str, Any]], troubles: Sequence[str]) -> str:
    """The same as lines."""
    lines = []
    for row in rows:
        since = row["since"] or row["at"]
        # Names come from hosts and rows: none of them may write a line or a colour of its own.
        severity, kind, state, entity = (clean(row[name]) for name in ("severity", "kind", "state", "entity"))
        lines.append(f"{severity:<8} {kind:<8} {state:<8} {entity:<24} since {clean(since[:19])}")
        lines.append(f"  {clean(row['text'])}" + (f" [{row['rows']:,} rows]" if row["rows"] else ""))
        lines += [f"  look: {clean(place)}" for place in row["look"]]
    lines += [] if rows else ["Nothing is open."]
    return "\n".join([*lines, *(["", "NOT TOLD YET:"] if troubles else []), *(f"  {one}" for one in troubles)])


def test_notice(settings: Settings, channel: str, severity: str) -> Notice:
    """What `alerts test` sends."""
    item = Item(f"channel/{channel}", "This is a test: the channel works.", look=("fleetcube alerts test",))
    head = ("test", severity, "raised")
    return notice(uuid.uuid4().hex, iso(utc_now()), head, [item], lake=address(settings.lake))


def check_names(kind: str, entity: str) -> None:
    """ConfigError for names that would clash with those of the watch, or can't be shown on a line."""
    if kind in WATCHED:
        todo = "Its states come from the lake: run `fleetcube alerts check`. Choose another word for your own."
        raise ConfigError(f"The kind '{kind}' is found by the watch.", todo=todo)
    if not _KIND.fullmatch(kind):
        raise ConfigError(f"'{kind}' is no name of a kind.", todo="Use small letters, digits and _, at most 40.")
    if not _ENTITY.fullmatch(entity):
        raise ConfigError(f"'{clean(entity)}' is no entity.", todo="Write what/name without blanks, at most 200.")


def _row(one: Alert) -> dict[str, Any]:
    data = one.data
    return {
        "number": one.number,
        "at": iso(one.at or utc_now()),
        "kind": one.kind,
        "severity": one.severity,
        "state": one.state,
        "entity": one.entity,
        "text": one.text,
        "rows": int(data.get("rows") or 0),
        "since": data.get("began"),
        "look": list(data.get("look") or ()),
        "told": bool(data.get("told")),
    }
