"""Verbs that bring rows in and judge them: replay, simulate, land, gate, build."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fleetcube.options import with_settings
from lake.settings import Settings

if TYPE_CHECKING:
    from fleetcube.pipeline import Pipeline

_NOTIFY = click.option("--notify", is_flag=True, help="Then find and tell what is wrong, as `alerts check` does.")
_FORM = click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="json: a line each.",
)


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--as", "mapping", required=True, metavar="MAPPING", help="Name of a mapping, or a file of your own.")
@with_settings()
def replay(settings: Settings, paths: tuple[Path, ...], mapping: str) -> None:
    """Land foreign logs by a mapping; a file that was replayed before changes nothing."""
    from fleetcube.pipeline import Pipeline

    pipeline = Pipeline(settings)
    for file in pipeline.replay(paths, mapping):
        if file.landed:
            what = ", ".join(f"{batch.received:,} rows of {fact}" for fact, batch in file.landed.items())
            click.echo(f"{file.path.name}: {what} landed.")
        else:
            why = "known already; nothing changed" if file.known else "it holds no rows"
            click.echo(f"{file.path.name}: {why}.")
    click.echo("Next: `fleetcube gate`, then `fleetcube build`.")


@click.command()
@click.option("--hosts", default=16, show_default=True, type=click.IntRange(1, 10_000), help="Hosts, of 4 GPUs each.")
@click.option("--days", default=7, show_default=True, type=click.IntRange(1, 3660), help="Whole days back from now.")
@click.option("--requests", default=500_000, show_default=True, type=click.IntRange(0), help="Requests in all.")
@click.option("--seed", default=1, show_default=True, type=int, help="The same seed gives the same fleet.")
@with_settings()
def simulate(settings: Settings, hosts: int, days: int, requests: int, seed: int) -> None:
    """Land a simulated fleet with faults in it: duplicates, late rows, resets, sentinels, a silent host, NaN."""
    from fleetcube.pipeline import Pipeline

    counts = Pipeline(settings).simulate(hosts=hosts, days=days, requests=requests, seed=seed)
    for fact, rows in counts.items():
        click.echo(f"{fact}: {rows:,} rows landed.")
    click.echo("Next: `fleetcube gate`, then `fleetcube build`.")


@click.command()
@_NOTIFY
@_FORM
@with_settings()
def land(settings: Settings, notify: bool, form: str) -> None:
    """Land what the receiver's journal holds; rows that landed before are not landed again."""
    from fleetcube.pipeline import Pipeline

    pipeline = Pipeline(settings)
    with _told(pipeline, notify):
        landed = pipeline.land()
    if form == "json":
        from fleetcube.due import due

        found = [{"fact": one.fact, "batch": one.batch, "received": one.received} for one in landed]
        click.echo(json.dumps({"landed": found, "due": vars(due(settings))}))
        return
    for batch in landed:
        click.echo(f"{batch.fact}: batch {batch.batch}, {batch.received:,} rows landed.")
    if not landed:
        click.echo("Nothing to land.")


@click.command()
@click.argument("facts", nargs=-1)
@click.option("--retry-blocked", is_flag=True, help="Judge batches that were blocked once more.")
@_NOTIFY
@_FORM
@with_settings(needs_lake=True)
def gate(settings: Settings, facts: tuple[str, ...], *, retry_blocked: bool, notify: bool, form: str) -> None:
    """Judge what has landed: publish to trusted, keep the rest in quarantine; ends with 3 where a batch is blocked."""
    from fleetcube.pipeline import Pipeline
    from fleetcube.results import batch_text, verdict_place
    from fleetcube.values import batch_values
    from lake.errors import GateBlocked

    pipeline = Pipeline(settings)
    with _told(pipeline, notify):
        results = pipeline.gate(facts, retry_blocked=retry_blocked)
    for result in results:
        if form == "json":
            click.echo(json.dumps(batch_values(settings, result)))
            continue
        click.echo(batch_text(result))
        if result.verdict in ("warned", "blocked"):
            click.echo(f"  verdict: {verdict_place(settings, result)}")
    if not results and form == "text":
        click.echo("Nothing to judge.")
    blocked = [result for result in results if result.verdict == "blocked"]
    if blocked:
        raise GateBlocked(
            "Blocked: " + "; ".join(f"{result.fact} batch {result.batch}" for result in blocked) + ".",
            todo="The page of the verdict tells why and what to do; when it is done, `fleetcube gate --retry-blocked`.",
        )


@click.command()
@click.argument("cubes", nargs=-1)
@click.option("--engine", type=click.Choice(["duckdb"]), default="duckdb", show_default=True, help="What builds.")
@click.option("--over-budget", is_flag=True, help="Build a cube that would take more bytes than its budget.")
@click.option("--from-rows", is_flag=True, help="Build a changed cube from rows alone, not from its older version.")
@_NOTIFY
@_FORM
@with_settings(needs_lake=True)
def build(
    settings: Settings,
    cubes: tuple[str, ...],
    *,
    engine: str,
    over_budget: bool,
    from_rows: bool,
    notify: bool,
    form: str,
) -> None:
    """Build cubes from the rows that were trusted since their last build (all cubes, or those named)."""
    from fleetcube.pipeline import Pipeline
    from fleetcube.results import build_text
    from fleetcube.values import build_values

    pipeline = Pipeline(settings)
    with _told(pipeline, notify):
        results = pipeline.build(cubes, over_budget=over_budget, from_rows=from_rows)
    for result in results:
        click.echo(build_text(result) if form == "text" else json.dumps(build_values(result)))


@contextmanager
def _told(pipeline: Pipeline, notify: bool) -> Iterator[None]:
    """With `notify` people are told of what is wrong after the step, whether it went well or not."""
    from fleetcube.alerting import check

    try:
        yield
    finally:
        if notify:
            for text in check(pipeline.settings, pipeline.duck):
                click.echo(f"not told yet: {text}", err=True)
