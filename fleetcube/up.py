"""The quick start: a real agent on this host and a simulated fleet, from landing to a guided tour of answers."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from signal import SIGINT, SIGTERM, default_int_handler, signal

import click

from fleetcube.children import Children, free_port
from fleetcube.pipeline import Pipeline
from fleetcube.progress import Progress
from fleetcube.results import batch_text
from fleetcube.run import Loop
from fleetcube.tour import tour
from ingestion.tokens import ensure_token
from lake.places import address
from lake.settings import Settings
from lake.shared import has_files

_HOST = "127.0.0.1"
_ROUND_S = 10
_STEPS = ("land", "gate", "build", "upkeep")
# Rounds of 10 s make many small files.
_INTERVALS = "upkeep=5m"
_HOSTS, _REQUESTS = 16, 500_000


def run_up(settings: Settings, *, once: bool, days: int, seed: int) -> None:
    """Bring everything up, show the tour, then keep landing, gating and building until Ctrl-C (not with `once`)."""
    progress = Progress(settings.log)
    known = has_files(settings.lake / "landing")
    progress.say(f"fleetcube: {'going on with' if known else 'making'} the lake in {address(settings.lake)}")
    started = time.monotonic()
    with _ended_by_signals(), Children(settings.lake / "_work" / "logs") as children:
        pipeline = Pipeline(settings, progress.note)
        _start_way_in(settings, children, progress)
        with progress.step(f"simulate {_HOSTS * 4} GPUs for {days} days, land them"):
            pipeline.simulate(hosts=_HOSTS, days=days, requests=_REQUESTS * days // 7, seed=seed)
        _load(pipeline, progress, children)
        progress.say(f"  ready after {time.monotonic() - started:.0f} s")
        for line in tour(settings):
            click.echo(line)
        # The rounds have an engine of their own, with all of the memory.
        pipeline.duck.connection.close()
        if not once:
            _keep_running(settings, progress, children)


def _start_way_in(settings: Settings, children: Children, progress: Progress) -> None:
    """Receiver and agent as processes of their own, on a free port of loopback."""
    name = settings.agent or socket.gethostname()
    ensure_token(settings.token_file, name)
    port = free_port(_HOST, settings.receiver_port)
    lake = str(settings.lake)
    children.start("receiver", "receive", "--lake", lake, "--host", _HOST, "--port", str(port))
    children.wait_for_port("receiver", _HOST, port)
    children.start(
        "agent",
        *("agent", "--lake", lake, "--agent", name, "--receiver", f"http://{_HOST}:{port}"),
        environ={"FLEETCUBE_SPOOL": str(_spool(settings))},
    )
    progress.say(f"  agent '{name}' reads this host every {settings.period_s} s and pushes to {_HOST}:{port}")


def _spool(settings: Settings) -> Path:
    """The quick start keeps its agent's spool beside the lake's other work; an agent of its own has its own folder."""
    return settings.lake / "_work" / "spool"


def _load(pipeline: Pipeline, progress: Progress, children: Children) -> None:
    children.check()
    with progress.step("land what the agent has pushed"):
        pipeline.land()
    with progress.step("gate: check, quarantine, publish"):
        judged = pipeline.gate()
    for result in judged:
        if result.verdict == "blocked":
            progress.say("  " + batch_text(result))
    with progress.step("build the cubes"):
        pipeline.build()


def _keep_running(settings: Settings, progress: Progress, children: Children) -> None:
    """Serve SQL, and every few seconds land, gate and build what has come in since."""
    port = free_port(settings.serve_host, settings.serve_port)
    children.start("endpoint", "serve", "--lake", str(settings.lake), "--port", str(port))
    children.wait_for_port("endpoint", settings.serve_host, port)
    progress.say(f"\nSQL for psql and other clients:  psql -h {settings.serve_host} -p {port} fleet")
    progress.say("The agent's rows are landed, gated and built every 10 s. Ctrl-C ends it; `fleetcube up` goes on.")
    often = replace(settings, run_intervals=settings.run_intervals or _INTERVALS)
    Loop(lambda: Pipeline(often, progress.note), _STEPS, every_s=_ROUND_S, progress=progress, quiet=True).run(
        children.check
    )


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """SIGTERM ends as Ctrl-C does, so that the children are ended either way."""
    old = signal(SIGTERM, default_int_handler)
    signal(SIGINT, default_int_handler)
    try:
        yield
    finally:
        signal(SIGTERM, old)
