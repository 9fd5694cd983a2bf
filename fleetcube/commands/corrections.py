"""Verbs that take rows back: batch undo, erase."""

from __future__ import annotations

import click

from fleetcube.options import with_settings
from lake.settings import Settings


@click.group()
def batch() -> None:
    """Batches that the gate published."""


@batch.command("undo")
@click.argument("fact")
@click.argument("number", type=click.IntRange(1))
@click.option("--reason", required=True, help="What was wrong with it.")
@with_settings(needs_lake=True)
def undo(settings: Settings, fact: str, number: int, reason: str) -> None:
    """Take a bad batch's rows out of trusted; they lie in quarantine under the check `undone`."""
    from lake.duck import connect
    from quality.undo import undo_batch

    done = undo_batch(settings, connect(settings), fact, number, reason=reason)
    if done.rows["stayed"]:
        click.echo(f"{fact}: {done.rows['stayed']:,} late rows of expired days stay; their cells can't be made anew.")
    if not done.batch:
        click.echo(f"{fact}: nothing is left of batch {number}.")
        return
    click.echo(f"{fact}: {done.rows['trusted']:,} rows of batch {number} went to quarantine, as batch {done.batch}.")
    click.echo(f"Next: `fleetcube build` makes {len(done.days)} days anew in every cube over {fact}.")


@click.command()
@click.option("--where", "where", required=True, help="column = 'text', several joined by AND.")
@click.option("--fact", help="Of this fact only; else of every fact that has these columns.")
@click.option("--reason", required=True, help="On whose request.")
@with_settings(needs_lake=True)
def erase(settings: Settings, where: str, fact: str | None, reason: str) -> None:
    """Erase one person's rows from landing, trusted and quarantine; their counts stay."""
    from lake.duck import connect
    from quality.erase import erase as erase_rows
    from quality.erase import facts_with, parse_person

    person = parse_person(where)
    duck = connect(settings)
    for name in [fact] if fact else facts_with(person):
        done = erase_rows(settings, duck, name, person, reason=reason)
        counts = ", ".join(f"{count:,} of {table}" for table, count in done.rows.items())
        click.echo(f"{name}: {counts} erased" + (f", as batch {done.batch}." if done.batch else "."))
    click.echo(
        "Next: `fleetcube build`, and after the grace period `fleetcube vacuum --apply`: old versions hold them."
    )
