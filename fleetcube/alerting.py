"""Alerts of a lake: what the watch finds becomes events in the lake, and what is new of them notices to people.

One process at a time (lease `alerts`): read the states, decide, keep the notices as drafts, record the events, deliver.
A kill between any two of these repeats nothing and loses nothing: drafts whose events were not recorded go away, and
recorded ones are delivered by whoever comes next.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import click

from cubes.suspicion import KIND, active_marks
from fleetcube.cube_state import chosen_cubes
from lake.alert_states import fold, numbered, step
from lake.alerts import Alert, last_number, read_alerts, record_numbered
from lake.durations import named_seconds, seconds_of
from lake.errors import FleetcubeError
from lake.facts import load_facts
from lake.faults import faultpoint
from lake.findings import SEVERITIES, Finding, Scope
from lake.lease import Busy, lease
from lake.places import address
from lake.times import iso, utc_now
from quality import watch
from quality.notices.channels import Channels, load_channels
from quality.notices.notice import Item, Notice, clean, notice
from quality.notices.notifier import Notifier

if TYPE_CHECKING:
    from lake.duck import Duck
    from lake.settings import Settings

_LOG: Final = logging.getLogger(__name__)
_ANSWERS_LAST: Final = timedelta(days=1)
_WAIT_S: Final = 20.0
# Kinds whose states are found here, and by nobody else.
WATCHED: Final = ("gate", "gap", "host", "fact", "step", "verify", "cells", "answers", "watch", "test")
Watcher = Callable[[], list[Finding]]


def check(
    settings: Settings,
    duck: Duck,
    *,
    more: Sequence[Finding] = (),
    more_keys: Collection[tuple[str, str]] = (),
    now: datetime | None = None,
) -> list[str]:
    """Watch the whole lake once, record what has changed and tell it; gives what went wrong on the way, in words.

    `more` are findings of the caller's own, `more_keys` all that it looked at.
    """
    at = now or utc_now()
    findings, troubles, kinds = [*more], list[str](), set[str]()
    for names, watcher in _watchers(settings, duck, at).items():
        try:
            findings += watcher()
            kinds.update(names)
        except FleetcubeError as error:
            # What can't be measured stays as it is: it is neither over nor worse.
            troubles.append(f"{', '.join(names)}: not watched: {error}")
    failed = [Finding("watch", "warning", "lake", "; ".join(troubles))] if troubles else []
    scope = Scope(frozenset({*kinds, "watch"}), frozenset(more_keys))
    return troubles + report(settings, duck, [*findings, *failed], scope, now=at)


def report(
    settings: Settings, duck: Duck, findings: Sequence[Finding], scope: Scope, *, now: datetime | None = None
) -> list[str]:
    """Record what these findings change within the scope, and deliver what waits; gives what failed, in words.

    What is wrong with the channels keeps nothing from being recorded: then the log is told.
    Errors: Busy where another process has been at it for 20 s; it tells, or the next time does.
    """
    at, notifier = now or utc_now(), _notifier_or_log(settings)
    deadline = time.monotonic() + _WAIT_S
    while True:
        try:
            with lease(settings.lake, "alerts"):
                last = last_number(settings.lake)
                aside = notifier.forget_drafts(last)
                pause = timedelta(seconds=notifier.channels.pause_s)
                held = fold(read_alerts(duck, settings.lake))
                changed = numbered(step(held, findings, scope, at, pause), last + 1)
                if changed:
                    _record(settings, duck, notifier, changed)
                return [*aside, *notifier.deliver()]
        except Busy:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def notifier_of(settings: Settings) -> Notifier:
    """The notifier of the settings' lake, with the channels of its notices.yaml."""
    return Notifier(
        settings.lake, load_channels(settings.notices_file), lambda form, told: say(form or settings.log, told)
    )


def _notifier_or_log(settings: Settings) -> Notifier:
    """The same; where the channels can't be read, one that tells the log alone, and says why."""
    try:
        return notifier_of(settings)
    except (FleetcubeError, OSError) as error:
        return Notifier(settings.lake, Channels(), lambda _, told: say(settings.log, told), broken=str(error))


def untold(settings: Settings) -> list[str]:
    """What no channel has taken yet, and which channels fail, in words; or why that can't be said."""
    return [clean(one) for one in _notifier_or_log(settings).troubles()]


def say(form: str, told: Notice) -> None:
    """The log channel: one line of JSON, or the lines of the text, on standard error."""
    click.echo(told.body().decode() if form == "json" else "\n".join(filter(None, told.lines())), err=True)


def notices_of(alerts: Sequence[Alert], lake: str) -> list[Notice]:
    """Of the alerts that are for people: one notice for each (kind, severity, state), the worst first."""
    groups: dict[tuple[str, str, str], list[Alert]] = {}
    for one in alerts:
        if one.data.get("told"):
            groups.setdefault((one.kind, str(one.data.get("was", one.severity)), one.state), []).append(one)
    made = []
    for head, members in sorted(groups.items(), key=lambda group: (-SEVERITIES.index(group[0][1]), group[0])):
        identity = hashlib.sha256(json.dumps([lake, head, [(one.number, one.entity) for one in members]]).encode())
        items = [
            Item(one.entity, _told(one), one.data["rows"], str(one.data["began"] or ""), tuple(one.data["look"]))
            for one in members
        ]
        at = iso(members[0].at or utc_now())
        made.append(notice(identity.hexdigest()[:32], at, head, items, lake=lake))
    return made


def _told(alert: Alert) -> str:
    return f"over: {alert.text}" if alert.state == "cleared" else alert.text


def _record(settings: Settings, duck: Duck, notifier: Notifier, changed: Sequence[Alert]) -> None:
    """Drafts first, then the events: a kill between leaves drafts that are dropped, and the same is found again."""
    last = changed[-1].number
    for place, told in enumerate(notices_of(changed, address(settings.lake))):
        # Numbered by the whole commit: none of its events stands before all do.
        notifier.keep(told, last, place)
    faultpoint("alerts.drafts.after")
    record_numbered(duck, settings.lake, changed, last=last)
    faultpoint("alerts.commit.after")
    for one in changed:
        _LOG.info("alert %s %s %s: %s", *map(clean, (one.state, one.kind, one.entity, one.text)))


def _watchers(settings: Settings, duck: Duck, now: datetime) -> dict[tuple[str, ...], Watcher]:
    lake = settings.lake
    found: dict[tuple[str, ...], Watcher] = {
        ("gate",): lambda: watch.gate_findings(duck, lake, settings.verdict_link),
        ("gap",): lambda: watch.gap_findings(duck, lake, now),
        ("fact",): lambda: watch.fact_findings(
            lake, now, named_seconds(settings.stale_facts, load_facts(), "setting stale_facts")
        ),
        ("step", "verify"): lambda: _steps(settings, duck),
        ("cells",): lambda: _cells(settings, duck),
        ("answers",): lambda: _answers(settings, duck, now),
        ("host",): lambda: [],
    }
    if settings.silent_host_s:
        memory_s = seconds_of(settings.host_memory, "setting host_memory")
        found[("host",)] = lambda: watch.host_findings(
            duck, lake, now, silent_s=settings.silent_host_s, memory_s=memory_s
        )
    return found


def _steps(settings: Settings, duck: Duck) -> list[Finding]:
    """Failed steps, but for those of cubes that are declared no more: nothing will ever build them again."""
    cubes = {cube.name for cube in chosen_cubes(settings)}
    found = watch.step_findings(duck, settings.lake)
    of_cubes = ("step/build/", "cube/")
    return [one for one in found if not one.entity.startswith(of_cubes) or one.entity.rpartition("/")[2] in cubes]


def _cells(settings: Settings, duck: Duck) -> list[Finding]:
    """Cubes with cells that were taken out of routing, by the self-audit or a verification."""
    found = []
    for cube in chosen_cubes(settings):
        marks = active_marks(settings, duck, cube)
        if not marks:
            continue
        days = ", ".join(f"{one.grain} {one.days}" for one in marks[:5])
        text = f"Cells of cube {cube.name} differ from their rows, and answer nothing until they hold: {days}."
        look = tuple(
            f"fleetcube cube refresh {one.cube} --since {one.first} --until {one.last + timedelta(days=1)}"
            for one in marks[:5]
        )
        found.append(Finding("cells", "critical", f"cube/{cube.name}", text, len(marks), look=look))
    return found


def _answers(settings: Settings, duck: Duck, now: datetime) -> list[Finding]:
    """Answers of the last day that differed from their rows although every cell holds: a fault of the router."""
    found: dict[str, list[Alert]] = {}
    for one in read_alerts(duck, settings.lake):
        is_fault = one.kind == KIND and one.state == "raised" and not one.number and "grain" not in one.data
        if is_fault and one.at is not None and one.at >= now - _ANSWERS_LAST:
            found.setdefault(one.entity, []).append(one)
    look = ("fleet.alerts on the SQL endpoint, kind selfaudit",)
    return [
        Finding("answers", "critical", entity, held[-1].text, len(held), held[0].at, look)
        for entity, held in sorted(found.items())
    ]
