"""Verbs that look: status, and quarantine with the one way out of it."""

from __future__ import annotations

import json

import click

from fleetcube.options import with_settings
from lake.settings import Settings

_BATCH = click.option("--batch", type=click.IntRange(1), help="That this batch kept aside only.")


@click.command()
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@with_settings(needs_lake=True)
def status(settings: Settings, form: str) -> None:
    """What the lake holds and whether every received row is accounted for; ends with 1 where it is not."""
    from fleetcube.status import lake_status, status_text
    from lake.errors import LakeError

    found = lake_status(settings)
    click.echo(json.dumps(found, indent=2) if form == "json" else status_text(found))
    if found["problems"]:
        raise LakeError("The lake does not add up: " + "; ".join(found["problems"]) + ".", where=str(settings.lake))


@click.group()
def quarantine() -> None:
    """Rows that failed the gate, with the reason and their original content."""


@quarantine.command("list")
@click.option("--fact", help="Of this fact only.")
@_BATCH
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@with_settings(needs_lake=True)
def list_quarantine(settings: Settings, fact: str | None, batch: int | None, form: str) -> None:
    """Counts by fact, check, site and day."""
    from lake.duck import connect
    from quality.quarantine import list_quarantine as listed

    rows = listed(settings.lake, connect(settings), _filters(fact=fact, batch=batch))
    if form == "json":
        click.echo(json.dumps([vars(row) for row in rows], indent=2, default=str))
        return
    if not rows:
        click.echo("No such rows. Those of a blocked batch are held back, not in quarantine.", err=True)
        return
    click.echo(f"{'fact':<12} {'check':<18} {'site':<12} {'day':<10} {'rows':>9}")
    for row in rows:
        click.echo(f"{row.fact:<12} {row.check:<18} {row.site or '-':<12} {row.day or '-'!s:<10} {row.rows:>9,}")
    click.echo(f"{sum(row.rows for row in rows):,} rows. `fleetcube quarantine show --check NAME` shows some.")


@quarantine.command("show")
@click.option("--fact", help="Of this fact only.")
@click.option("--check", help="That failed this check only.")
@_BATCH
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 10_000), help="Rows to show.")
@with_settings(needs_lake=True)
def show_quarantine(settings: Settings, fact: str | None, check: str | None, batch: int | None, limit: int) -> None:
    """Single rows with reason and original content, as JSON lines, newest batch first."""
    from lake.duck import connect
    from quality.quarantine import show_quarantine as shown

    rows = shown(settings.lake, connect(settings), _filters(fact=fact, check=check, batch=batch), limit=limit)
    for row in rows:
        click.echo(json.dumps(vars(row), ensure_ascii=False, default=str))
    if not rows:
        click.echo("No such rows. `fleetcube quarantine list` shows the facts and checks that have some.", err=True)


@quarantine.command("release")
@click.option("--fact", required=True, help="Of this fact.")
@click.option("--check", help="That failed this check only.")
@_BATCH
@with_settings(needs_lake=True)
def release_quarantine(settings: Settings, fact: str, check: str | None, batch: int | None) -> None:
    """Judge kept rows again by the checks now in force, as a new batch; those that pass go to trusted."""
    from ingestion.clean import clean
    from lake.catalogue import load_catalogue
    from lake.duck import connect
    from quality.release import release

    filters = _filters(check=check, batch=batch)
    done = release(settings, connect(settings), fact, filters, clean=clean, catalogue=load_catalogue())
    for one in done:
        rows = one.rows
        click.echo(
            f"{fact} batch {one.batch}: of {rows['released']:,} rows {rows['trusted']:,} are trusted now, "
            f"{rows['quarantine']:,} in quarantine, {rows['duplicates']:,} repeats."
        )
    click.echo("Next: `fleetcube build`." if done else "There are no such rows.")


def _filters(**chosen: object) -> dict[str, str]:
    return {name: str(value) for name, value in chosen.items() if value}
