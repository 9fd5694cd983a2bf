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
@click.option("--as-of", default="", help="As of a moment, or of a version of a fact's rows: requests@17.")
@click.option(
    "--require",
    "mode",
    type=click.Choice(["any", "cube", "exact", "passed"]),
    default="any",
    show_default=True,
    help="Refuse an answer that is not from cubes, not exact, or not of rows that all passed the gate.",
)
@click.option("--receipt", is_flag=True, help="Print what the answer rests on, as JSON, on standard error.")
@click.option("--explain", is_flag=True, help="Show which cuboids could answer, and why not the others; run nothing.")
@click.option(
    "--format", "form", type=click.Choice(["table", "json", "csv", "arrow"]), default="table", show_default=True
)
@with_settings(needs_lake=True)
def sql(
    settings: Settings,
    *,
    query: str,
    raw: bool,
    fresh: bool,
    as_of: str,
    mode: str,
    receipt: bool,
    explain: bool,
    form: str,
) -> None:
    """Answer one SQL query on facts and lookups; cuboids are found by themselves. `-` reads it from standard input."""
    from cubes.formats import render
    from cubes.require import require
    from cubes.session import Session

    text = sys.stdin.read() if query == "-" else query
    with Session(settings) as session:
        answer = session.query(text, raw=raw, fresh=fresh, explain=explain, as_of=as_of)
        if not explain:
            require(mode, answer)
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
    from cubes.results import ResultCache
    from cubes.selfaudit import SelfAudit
    from cubes.serve.own_tables import audit_table, cache_table
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

    results = ResultCache(settings.result_cache_mib * 2**20)

    audit = SelfAudit(settings, Session)

    share = share_of_session(settings)

    def session() -> Session:
        return Session(share, results=results, audit=audit)

    more = (cache_table(results), audit_table(audit))
    try:
        serve_sql(settings, session, settings.serve_host, settings.serve_port, ready, more=more)
    finally:
        audit.close()
