"""Verb `hold`: legal holds are placed, listed and lifted."""

from __future__ import annotations

from datetime import date

import click

from fleetcube.options import with_settings
from lake.settings import Settings

_DAY = click.DateTime(["%Y-%m-%d"])


@click.group()
def hold() -> None:
    """Legal holds: what they cover is never deleted or erased."""


@hold.command("add")
@click.argument("fact")
@click.option("--since", type=_DAY, help="First day, UTC (YYYY-MM-DD).")
@click.option("--until", type=_DAY, help="Last day, UTC (YYYY-MM-DD), itself held too.")
@click.option("--site", help="Site that the matter is about.")
@click.option("--reason", required=True, help="On whose order, for what.")
@with_settings(needs_lake=True)
def add(
    settings: Settings, *, fact: str, since: date | None, until: date | None, site: str | None, reason: str
) -> None:
    """Place a hold on a fact, or on a range of its days."""
    from lake.duck import connect
    from lake.holds import add_hold

    first, last = (None if day is None else date(day.year, day.month, day.day) for day in (since, until))
    placed = add_hold(settings.lake, connect(settings), fact, first=first, last=last, site=site, reason=reason)
    click.echo(f"{placed} is in force over {fact}, {first or 'the beginning'} to {last or 'the end'}.")


@hold.command("list")
@with_settings(needs_lake=True)
def list_holds(settings: Settings) -> None:
    """The holds in force."""
    from lake.duck import connect
    from lake.holds import active_holds

    holds = active_holds(settings.lake, connect(settings))
    for one in holds:
        click.echo(
            f"{one.hold:>4}  {one.fact:<12} {one.first or '-'!s:<10} to {one.last or '-'!s:<10} "
            f"{one.site or 'every site':<12} since {one.at:%Y-%m-%d}: {one.reason}"
        )
    click.echo(f"{len(holds)} holds in force.")


@hold.command("remove")
@click.argument("number", type=click.IntRange(1))
@click.option("--reason", required=True, help="Why it may be lifted.")
@with_settings(needs_lake=True)
def remove(settings: Settings, number: int, reason: str) -> None:
    """Lift a hold; it and its lifting stay on record."""
    from lake.duck import connect
    from lake.holds import remove_hold

    remove_hold(settings.lake, connect(settings), number, reason=reason)
    click.echo(f"Hold {number} is lifted.")
