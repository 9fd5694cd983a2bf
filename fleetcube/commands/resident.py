"""Verb `run`: the resident loop."""

from __future__ import annotations

import click

from fleetcube.options import with_settings
from lake.settings import Settings


@click.command()
@click.option("--every", default="5m", show_default=True, help="Time between two rounds, such as 30s, 1m or 5m.")
@click.option("--steps", help="Steps of a round, with commas; all but retain without it.")
@click.option(
    "--once", is_flag=True, help="One round now; ends with 3 where a batch is blocked, 1 where a step failed."
)
@with_settings()
def run(settings: Settings, every: str, steps: str | None, once: bool) -> None:
    """Land, gate, build, keep up and tell in one process, at multiples of --every (UTC), until it is ended.

    Steps: land, gate, build, verify, upkeep, retain, vacuum, audit, alerts. The slower ones have intervals of their own
    (setting run_intervals). It may be killed at any time, and run beside single verbs and other loops.
    """
    from fleetcube.pipeline import Pipeline
    from fleetcube.progress import Progress
    from fleetcube.run import STEPS, USUAL, Loop, ended_by_signals
    from lake.durations import seconds_of
    from lake.errors import GateBlocked, LakeError, did_you_mean

    chosen = [one.strip() for one in steps.split(",")] if steps else list(USUAL)
    for one in chosen:
        if one not in STEPS:
            raise click.UsageError(f"There is no step '{one}'. {did_you_mean(one, STEPS)}".strip())
    progress = Progress(settings.log)
    loop = Loop(
        lambda: Pipeline(settings, progress.note), chosen, every_s=seconds_of(every, "--every"), progress=progress
    )
    with ended_by_signals(loop.stop, progress.interject):
        if not once:
            progress.say(f"fleetcube run: {', '.join(chosen)} every {every}; Ctrl-C ends it")
            loop.run()
            return
        done = loop.round()
    if done.failed:
        raise LakeError(f"These failed: {', '.join(done.failed)}.", todo="See what is told above; run it again.")
    if done.blocked:
        raise GateBlocked(f"Blocked: {', '.join(done.blocked)}.", todo="See `fleetcube alerts list`.")
