"""Verb `up`: from an empty folder to answers."""

from __future__ import annotations

import click

from fleetcube.options import with_settings
from lake.settings import Settings


@click.command()
@click.option("--once", is_flag=True, help="End after the tour.")
@click.option("--days", default=7, show_default=True, type=click.IntRange(1, 400), help="Days of the simulated fleet.")
@click.option("--seed", default=1, show_default=True, type=int, help="The same seed gives the same fleet.")
@with_settings()
def up(settings: Settings, once: bool, days: int, seed: int) -> None:
    """Start an agent and a receiver on this host, land a simulated fleet, gate, build, and show what it answers."""
    from fleetcube.up import run_up

    run_up(settings, once=once, days=days, seed=seed)
