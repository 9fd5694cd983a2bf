"""Verbs of the way in: agent and receive. The agent imports nothing of the lake's engines."""

from __future__ import annotations

import click

from fleetcube.options import with_settings
from lake.settings import Settings


@click.command()
@click.option("--receiver", "set_receiver", help="Address of the receiver, such as http://127.0.0.1:8321.")
@click.option("--period-s", "set_period_s", type=int, help="Seconds between two readings.")
@click.option("--agent", "set_agent", help="Name of this agent; its token must be in the token file.")
@with_settings()
def agent(settings: Settings) -> None:
    """Collect this host's metrics (GPU too, where there is one) and push them to a receiver."""
    from ingestion.agent import run_agent

    run_agent(settings)


@click.command()
@click.option("--host", "set_receiver_host", help="Address to listen on.")
@click.option("--port", "set_receiver_port", type=int, help="Port to listen on.")
@click.option("--add-agent", metavar="NAME", help="Give this agent a token, print it, and end.")
@with_settings()
def receive(settings: Settings, add_agent: str | None) -> None:
    """Take pushes from agents, keep them durably, and acknowledge them; `fleetcube land` lands them."""
    if add_agent is not None:
        from ingestion.tokens import ensure_token

        click.echo(ensure_token(settings.token_file, add_agent))
        return
    from ingestion.receive import serve_receiver

    serve_receiver(settings)
