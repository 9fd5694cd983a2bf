"""Verbs that keep a lake small: retain, vacuum, upkeep."""

from __future__ import annotations

import json

import click

from fleetcube.options import with_settings
from lake.settings import Settings


@click.command()
@click.option("--apply", is_flag=True, help="Delete what is due and proven; without it, only the plan is shown.")
@click.option("--proofs", is_flag=True, help="Show what was deleted, with what proved it safe.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@with_settings(needs_lake=True)
def retain(settings: Settings, apply: bool, proofs: bool, form: str) -> None:
    """The retention plan: what would go, why, and what must reconcile first; with --apply it goes."""
    from fleetcube.results import retain_text
    from fleetcube.retained import apply_retention, proof_lines, retention_plan

    if proofs:
        for line in proof_lines(settings):
            click.echo(line)
        return
    fates = [(one.row, one.kept) for one in apply_retention(settings)] if apply else None
    if apply:
        from lake.audit_keep import keep

        for line in keep(settings):
            click.echo(f"audit log: {line}", err=True)
    rows = [row for row, _ in fates] if fates is not None else retention_plan(settings)
    kept = [why for _, why in fates] if fates is not None else [row.held and f"held by {row.held}" for row in rows]
    if form == "json":
        click.echo(json.dumps([{**vars(row), "kept": why} for row, why in zip(rows, kept, strict=True)], indent=2))
        return
    click.echo(retain_text(rows, kept, applied=apply))


@click.command()
@click.option("--apply", is_flag=True, help="Remove the files; without it, they are only counted.")
@click.option("--grace-h", "set_vacuum_grace_h", type=click.IntRange(1), help="Hours for which readers keep theirs.")
@with_settings(needs_lake=True)
def vacuum(settings: Settings, apply: bool) -> None:
    """Remove files that no version needs any more; never one that a reader or a writer may need."""
    from fleetcube.retained import vacuum_lake

    found = vacuum_lake(settings, apply=apply)
    for one in found:
        click.echo(f"{one.table:<40} {one.left or f'{len(one.files):>7,} files  {one.size_bytes / 2**20:>9.1f} MiB'}")
    files, size = sum(len(one.files) for one in found), sum(one.size_bytes for one in found)
    click.echo(f"{files:,} files, {size / 2**20:,.1f} MiB {'removed' if apply else 'to spare; --apply removes them'}.")


@click.command()
@with_settings(needs_lake=True)
def upkeep(settings: Settings) -> None:
    """Merge the small files of tables and cubes; no answer changes."""
    from fleetcube.upkeep import compact_cubes, compact_tables
    from lake.duck import connect

    duck = connect(settings)
    done, left = compact_tables(settings, duck)
    for one in [*done, *(made for _, made in compact_cubes(settings, duck) if made.rewritten)]:
        click.echo(f"{one.table}: {one.before:,} files became {one.after:,}.")
    for text in left:
        click.echo(f"left: {text}")
    click.echo("Done.")
