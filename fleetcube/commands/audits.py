"""Verb `audit`: the log of who did what, proven, noted elsewhere, exported and cut."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fleetcube.options import with_settings
from lake.settings import Settings

if TYPE_CHECKING:
    from lake.audit_check import Checkpoint

_WHEN = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"])
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.group()
def audit() -> None:
    """The audit log: every log-in, query on the endpoint and change of state, in a chain that shows edits."""


@audit.command("verify")
@click.option("--checkpoints", "file", type=_FILE, help="File of checkpoints; else the setting audit_checkpoints.")
@with_settings()
def verify(settings: Settings, *, file: Path | None) -> None:
    """Walk the whole chain; ends with 1 where a line was changed, moved, put in or taken out."""
    from lake.audit_check import verify as check
    from lake.errors import LakeError

    known = _known(settings, file)
    report = check(settings.lake, known)
    for problem in report.problems:
        click.echo(problem, err=True)
    if not report.holds:
        what = f"The audit log does not hold: {len(report.problems)} problems in {report.lines} lines."
        raise LakeError(what, todo="Compare it with a copy; what is told above can't be relied on.")
    torn = f" {report.torn} lines were cut by crashes, as later ones tell." if report.torn else ""
    behind = f"{len(known)} checkpoints" if known else "no checkpoint, so a cut tail would not show"
    click.echo(f"The audit log holds: {report.lines} lines, {behind}.{torn}")


@audit.command("checkpoint")
@click.option(
    "--to", "file", type=_FILE, help="Append it to this file; else the setting audit_checkpoints, else print."
)
@with_settings()
def checkpoint(settings: Settings, *, file: Path | None) -> None:
    """The end of a log that holds, to be kept where nobody who edits the log can reach."""
    from dataclasses import asdict

    from lake.audit_check import add_checkpoint, make_checkpoint, read_checkpoints

    target = file or (settings.audit_checkpoints if settings.audit_checkpoints != Path("") else None)
    made = make_checkpoint(settings.lake, known=read_checkpoints(target) if target and target.exists() else [])
    if target is None:
        click.echo(json.dumps(asdict(made)))
        return
    add_checkpoint(target, made)
    click.echo(f"Line {made.number} is noted in {target}.")


@audit.command("export")
@click.option("--since", type=_WHEN, help="Events from this time on, UTC.")
@click.option("--until", type=_WHEN, help="Events before this time, UTC.")
@click.option("--copy-to", type=click.Path(path_type=Path, file_okay=False), help="Copy the log's files here instead.")
@with_settings()
def export(settings: Settings, *, since: datetime | None, until: datetime | None, copy_to: Path | None) -> None:
    """Print events as JSON lines, or bring a copy of the log up to date."""
    from lake.audit_keep import copy_log, events

    if copy_to is not None:
        click.echo(f"{copy_log(settings.lake, copy_to)} files copied to {copy_to}.")
        return
    first, end = (None if at is None else at.replace(tzinfo=UTC) for at in (since, until))
    for event in events(settings.lake, since=first, until=end):
        click.echo(json.dumps(event, ensure_ascii=True))


@audit.command("trim")
@click.option("--keep-months", type=click.IntRange(1), help="Months that stay; else the setting audit_keep_months.")
@click.option("--checkpoints", "file", type=_FILE, help="File of checkpoints; else the setting audit_checkpoints.")
@with_settings()
def trim(settings: Settings, *, keep_months: int | None, file: Path | None) -> None:
    """Take old months away that lie behind a checkpoint; the chain goes on from there."""
    from lake.audit_keep import trim as cut
    from lake.errors import ConfigError

    months = keep_months or settings.audit_keep_months
    if not months:
        raise ConfigError("Nothing says how many months stay.", todo="Give --keep-months or set audit_keep_months.")
    gone = cut(settings.lake, months, _known(settings, file))
    click.echo(f"{', '.join(gone)} taken away." if gone else "No month is old enough.")


def _known(settings: Settings, file: Path | None) -> list[Checkpoint]:
    from lake.audit_check import read_checkpoints

    path = file or settings.audit_checkpoints
    return read_checkpoints(path) if path != Path("") and (file is not None or path.exists()) else []
