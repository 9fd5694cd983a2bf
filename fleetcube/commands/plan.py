"""Verbs of `cube` that plan: forecast, advise, diff and drop."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fleetcube.options import with_settings
from lake.settings import Settings

if TYPE_CHECKING:
    from cubes.model import Cube


@click.command("forecast")
@click.argument("cubes", nargs=-1)
@with_settings(needs_lake=True)
def forecast(settings: Settings, cubes: tuple[str, ...]) -> None:
    """What cubes will hold before they are built: rows, bytes, and estimated seconds (names, or files of YAML)."""
    from cubes.plan.forecast import forecast as forecast_cube
    from fleetcube.planning import forecast_text
    from lake.duck import connect

    duck = connect(settings)
    for found in _cubes(settings, cubes):
        click.echo(forecast_text(forecast_cube(settings, duck, found)))


@click.command("advise")
@click.argument("name")
@click.option("--bytes", "budget_bytes", type=click.IntRange(1), help="What all cuboids may take.")
@with_settings(needs_lake=True)
def advise(settings: Settings, name: str, budget_bytes: int | None) -> None:
    """Which cuboids to add and drop, by the queries that were asked, with what it gains in rows read and bytes."""
    from cubes.plan.advise import advise as advise_cube
    from fleetcube.planning import advice_text
    from lake.duck import connect
    from lake.times import utc_now

    [found] = _cubes(settings, (name,))
    advice = advise_cube(settings, connect(settings), found, now=utc_now(), budget_bytes=budget_bytes)
    click.echo(advice_text(found, advice))


@click.command("diff")
@click.argument("name")
@with_settings(needs_lake=True)
def diff(settings: Settings, name: str) -> None:
    """What changed in a definition against what is built, how the new cells will be made, and their forecast."""
    from cubes.plan.forecast import forecast as forecast_cube
    from cubes.plan.versions import old_versions
    from cubes.segments import table_of
    from fleetcube.planning import diff_text, forecast_text
    from lake.delta import open_snapshot
    from lake.duck import connect

    [found] = _cubes(settings, (name,))
    built = open_snapshot(settings.lake, table_of(found)).txn("build") is not None
    older = old_versions(settings.lake, found)
    click.echo(diff_text(found, built, older))
    if not built:
        click.echo(forecast_text(forecast_cube(settings, connect(settings), found)))


@click.command("drop")
@click.argument("name")
@click.option("--old", is_flag=True, required=True, help="The versions of older definitions.")
@click.option("--apply", is_flag=True, help="Delete them; without it they are only listed.")
@with_settings(needs_lake=True)
def drop(settings: Settings, name: str, old: bool, apply: bool) -> None:
    """Delete the versions of a cube that its definition has left behind; the declared one must stand."""
    from cubes.plan.versions import drop_version, old_versions

    [found] = _cubes(settings, (name,))
    older = old_versions(settings.lake, found)
    for version in older:
        line = f"{name} {version.cube.digest}: {version.size_bytes / 2**20:.1f} MiB, up to batch {version.watermark}"
        if apply:
            drop_version(settings.lake, found, version)
        click.echo(f"{line}: {'dropped' if apply else 'would go'}")
    if not older:
        click.echo(f"Cube {name} has no old versions.")
    elif not apply:
        click.echo("This is a plan; --apply carries it out.")


def _cubes(settings: Settings, names: tuple[str, ...]) -> list[Cube]:
    """Cubes by name or by file of a definition; all declared ones without a name."""
    from cubes.load import read_cube
    from fleetcube.cube_state import chosen_cubes
    from lake.documents import read_document
    from lake.facts import load_facts

    if not names:
        return chosen_cubes(settings)
    found = []
    for name in names:
        path = Path(name)
        if path.suffix in (".yaml", ".yml"):
            found.append(read_cube(read_document(path), load_facts()))
        else:
            found += chosen_cubes(settings, (name,))
    return found
