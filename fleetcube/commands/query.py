"""Verbs that answer: sql and serve."""

from __future__ import annotations

import json
import sys

import click

from fleetcube.options import with_settings
from lake.settings import Settings


@click.command()
@click.argument("query")
@click.option("--raw", is_flag=True, help="Answer from trusted rows at the same versions.")
@click.option("--fresh", is_flag=True, help="With rows that are newer than the cubes.")
@click.option("--receipt", is_flag=True, help="Print what the answer rests on, as JSON, on standard error.")
@click.option("--explain", is_flag=True, help="Show which cuboids could answer, and why not the others; run nothing.")
@click.option(
    "--format", "form", type=click.Choice(["table", "json", "csv", "arrow"]), default="table", show_default=True
)
@with_settings(needs_lake=True)
def sql(settings: Settings, *, query: str, raw: bool, fresh: bool, receipt: bool, explain: bool, form: str) -> None:
    """Answer one SQL query on facts and lookups; cuboids are found by themselves. `-` reads it from standard input."""
    from cubes.formats import render
    from cubes.session import Session

    text = sys.stdin.read() if query == "-" else query
    with Session(settings) as session:
        answer = session.query(text, raw=raw, fresh=fresh, explain=explain)
        # A plan is lines of text, not values: nothing of it is padded or quoted.
        plain = explain and form == "table"
        lines = "".join(f"{line}\n" for line in answer.table["plan"].to_pylist()) if plain else ""
        sys.stdout.buffer.write(lines.encode() if plain else render(answer.table, form))
        sys.stdout.buffer.flush()
        for notice in answer.notices:
            click.echo(f"notice: {notice}", err=True)
        if receipt:
            click.echo(json.dumps(answer.receipt, indent=2, ensure_ascii=False), err=True)


@click.command()
@click.option("--host", "set_serve_host", help="Address to listen on; off loopback with TLS and users only.")
@click.option("--port", "set_serve_port", type=int, help="Port to listen on; 0 takes a free one.")
@with_settings(needs_lake=True)
def serve(settings: Settings) -> None:
    """Serve SQL over the PostgreSQL protocol: `psql -h 127.0.0.1 -p 5433 fleet`."""
    from cubes.serve.server import serve as serve_sql
    from cubes.serve.shares import share_of_session
    from cubes.session import Session
    from lake.users import Users

    def ready(port: int) -> None:
        if not Users(settings.users_file).names():
            click.echo("fleetcube: no user is declared, so everybody on this machine may read everything", err=True)
        click.echo(
            f"fleetcube: SQL on {settings.serve_host}:{port}; psql -h {settings.serve_host} -p {port} fleet", err=True
        )

    share = share_of_session(settings)
    serve_sql(settings, lambda: Session(share), settings.serve_host, settings.serve_port, ready)
