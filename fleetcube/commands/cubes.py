"""Verb `cube`: definitions, what is built of them, and the proof that it equals the trusted rows."""

from __future__ import annotations

import json
from datetime import date

import click

from fleetcube.commands.plan import advise, diff, drop, forecast
from fleetcube.options import with_settings
from lake.settings import Settings


@click.group()
def cube() -> None:
    """Cubes: definitions, what is built, and whether it equals the trusted rows."""


@cube.command("list")
@click.option("--format", "form", type=click.Choice(["table", "json", "jsonl"]), default="table", show_default=True)
@with_settings(needs_lake=True)
def list_cubes(settings: Settings, form: str) -> None:
    """Each cube: fact, grains, cuboids, cells, bytes against trusted rows and budget, and how far it stands."""
    from fleetcube.cube_state import cube_states

    rows = [vars(state) for state in cube_states(settings)]
    if form == "json":
        click.echo(json.dumps(rows, indent=2))
        return
    if form == "jsonl":
        for row in rows:
            click.echo(json.dumps(row))
        return
    click.echo(
        f"{'cube':<16} {'fact':<12} {'grains':<10} {'cuboids':>7} {'cells':>10} {'MiB':>8} {'× raw':>6} "
        f"{'budget':>6} {'builds':>6} {'batch':>6}  definition"
    )
    for row in rows:
        grains = ",".join(row["grains"])
        line = f"{row['name']:<16} {row['fact']:<12} {grains:<10} {row['cuboids']:>7} {row['cells']:>10,} "
        share = f"{row['size_bytes'] / row['raw_bytes']:.2f}" if row["raw_bytes"] else "-"
        budget = "-" if row["budget_bytes_per_raw_byte"] is None else f"{row['budget_bytes_per_raw_byte']:g}"
        line += f"{row['size_bytes'] / 2**20:>8.1f} {share:>6} {budget:>6} "
        click.echo(line + f"{row['build']:>6} {row['watermark']:>6}  {row['digest']}")


@cube.command("show")
@click.argument("name")
@click.option("--as", "form", type=click.Choice(["picture", "yaml", "sql"]), default="picture", show_default=True)
@with_settings()
def show(settings: Settings, name: str, form: str) -> None:
    """One cube: the picture of its lattice with cells at each grain, and its measures; or its definition as text."""
    from fleetcube.cube_state import describe_cube, spell_cube

    click.echo(describe_cube(settings, name) if form == "picture" else spell_cube(settings, name, form).rstrip())


@cube.command("verify")
@click.argument("names", nargs=-1)
@click.option("--since", help="First day, UTC (YYYY-MM-DD).")
@click.option("--until", help="Day after the last, UTC (YYYY-MM-DD).")
@with_settings(needs_lake=True)
def verify(settings: Settings, names: tuple[str, ...], since: str | None, until: str | None) -> None:
    """Recompute cubes from trusted rows and compare every cell; one that differs answers nothing, and is an error."""
    from cubes.segments import table_of
    from cubes.suspicion import clear_held, mark_wrong
    from cubes.verify import verify as verify_cube
    from fleetcube.cube_state import chosen_cubes
    from fleetcube.progress import Progress
    from fleetcube.results import verify_text
    from lake.delta import open_snapshot
    from lake.duck import connect
    from lake.errors import LakeError
    from lake.ledger import ERROR, record

    progress = Progress(settings.log)
    duck = connect(settings)
    failed = []
    for found in chosen_cubes(settings, names):
        if not names and open_snapshot(settings.lake, table_of(found)).txn("build") is None:
            click.echo(f"{found.name}: not built yet, so nothing to verify.")
            continue

        def note(step: str, done: int, of: int, name: str = found.name) -> None:
            progress.note(f"verify {name}: {step} ({done} of {of})")

        with progress.step(f"verify {found.name}"):
            result = verify_cube(settings, duck, found, since=_day(since), until=_day(until), progress=note)
        outcome, rows = ("done", result.cells) if result.holds else ("failed", result.differences)
        detail = {} if result.holds else {ERROR: f"{rows:,} differ: {'; '.join(result.shown[:3])}"}
        record(settings, duck, "verify", found.name, outcome=outcome, rows=rows, seconds=result.seconds, detail=detail)
        click.echo(verify_text(result))
        days = (_day(since), _day(until))
        for mark in [] if result.holds else mark_wrong(settings, duck, found, result, {"found": "verify"}, days=days):
            click.echo(f"{found.name}: nothing is answered from {mark.grain} cells of {mark.days} any more.")
        for mark in clear_held(settings, duck, found, result, since=_day(since), until=_day(until)):
            click.echo(f"{found.name}: {mark.grain} cells of {mark.days} hold again and answer again.")
        failed += [] if result.holds else [found.name]
    if failed:
        raise LakeError(
            f"These cubes differ from the trusted rows: {', '.join(failed)}.",
            todo="Run `fleetcube cube refresh` over the days shown, and report how it came about.",
        )


@cube.command("refresh")
@click.argument("name")
@click.option("--since", required=True, help="First day, UTC (YYYY-MM-DD).")
@click.option("--until", required=True, help="Day after the last, UTC (YYYY-MM-DD).")
@with_settings(needs_lake=True)
def refresh(settings: Settings, name: str, since: str, until: str) -> None:
    """Recompute the days of a cube as of its own watermark, in one commit."""
    from cubes.build import refresh as refresh_cube
    from cubes.source import held_days
    from cubes.suspicion import recheck
    from fleetcube.cube_state import chosen_cubes
    from lake.duck import connect

    first, end = _day(since), _day(until)
    assert first is not None
    assert end is not None
    if end <= first:
        raise click.UsageError("--until must lie after --since.")
    [found] = chosen_cubes(settings, (name,))
    duck = connect(settings)
    days = held_days(duck, settings.lake, found, first, end)
    if not days:
        click.echo(f"{name}: no rows and no cells lie from {first} to before {end}, so nothing is refreshed.")
        return
    result = refresh_cube(settings, duck, found, days)
    click.echo(f"{name}: {days[0]} to {days[-1]} refreshed, {result.cells:,} cells written as build {result.build}.")
    for mark in recheck(settings, duck, found, days):
        click.echo(f"{name}: {mark.grain} cells of {mark.days} hold again and answer again.")


@cube.command("compact")
@click.argument("names", nargs=-1)
@with_settings(needs_lake=True)
def compact(settings: Settings, names: tuple[str, ...]) -> None:
    """Merge the partial cells of every segment into one file; no answer changes."""
    from fleetcube.upkeep import compact_cubes
    from lake.duck import connect

    for name, done in compact_cubes(settings, connect(settings), names, whole=True):
        click.echo(f"{name}: {done.before:,} files became {done.after:,}.")


for command in (forecast, advise, diff, drop):
    cube.add_command(command)


def _day(text: str | None) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise click.UsageError(f"'{text}' is no day: write YYYY-MM-DD.") from error
