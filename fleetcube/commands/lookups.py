"""Verb `lookup`: what facts are joined to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fleetcube.options import with_settings
from lake.settings import Settings

if TYPE_CHECKING:
    from lake.lookups import Lookup


@click.group()
def lookup() -> None:
    """Lookups that facts are joined to: hardware, models, prices, rates, carbon, sites, roster, rounds, and others."""


@lookup.command("list")
@with_settings(needs_lake=True)
def list_lookups(settings: Settings) -> None:
    """Each lookup with its rows and key."""
    from lake.delta import open_snapshot
    from lake.lookups import load_lookups
    from lake.tables import lookup as table

    for name, declared in load_lookups().items():
        rows = open_snapshot(settings.lake, table(name)).rows
        click.echo(f"{name:<10} {rows:>6} rows  key ({', '.join(declared.key)})  {declared.description}")


@lookup.command("columns")
@click.argument("name")
@with_settings()
def columns(settings: Settings, name: str) -> None:
    """The columns that a file for `lookup load` must have, with units."""
    for column in _declared(name).columns:
        click.echo(f"{column.name:<20} {column.type:<10} {column.unit:<8} {column.description}")


@lookup.command("load")
@click.argument("name")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@with_settings(needs_lake=True)
def load(settings: Settings, name: str, file: Path) -> None:
    """Replace a lookup by the rows of a CSV or Parquet file; loading the same rows again changes nothing."""
    from lake.duck import connect
    from lake.lookup_store import lookup_rows, publish_lookup

    duck = connect(settings)
    rows = lookup_rows(duck, _declared(name), file)
    changed = publish_lookup(settings.lake, duck, name, rows)
    click.echo(f"{name}: {len(rows)} rows {'loaded' if changed else 'were there already; nothing changed'}.")


def _declared(name: str) -> Lookup:
    from lake.errors import DefinitionError, did_you_mean
    from lake.lookups import load_lookups

    known = load_lookups()
    if name not in known:
        raise DefinitionError(f"There is no lookup '{name}'.", todo=did_you_mean(name, known))
    return known[name]
