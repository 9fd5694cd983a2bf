"""Verbs `alerts` and `notify`: what needs a person, and how people come to know."""

from __future__ import annotations

import json

import click

from fleetcube.options import with_settings
from lake.settings import Settings

_SEVERITY = click.Choice(["info", "warning", "critical"])


@click.group()
def alerts() -> None:
    """What needs a person, and the channels by which people are told."""


@alerts.command("list")
@click.option("--kind", "kinds", multiple=True, help="Of this kind only; may be given again.")
@click.option("--all", "whole", is_flag=True, help="Every event, those that are over too.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@with_settings(needs_lake=True)
def list_alerts(settings: Settings, kinds: tuple[str, ...], whole: bool, form: str) -> None:
    """What is open, the worst first, and what waits in the outbox for a channel that fails."""
    from fleetcube.alert_lists import alert_rows, alerts_text
    from fleetcube.alerting import untold

    rows, troubles = alert_rows(settings, kinds, whole=whole), untold(settings)
    if form == "json":
        click.echo(json.dumps({"alerts": rows, "outbox": troubles}, indent=2))
        return
    click.echo(alerts_text(rows, troubles))


@alerts.command("check")
@with_settings(needs_lake=True)
def check_alerts(settings: Settings) -> None:
    """Look for what is wrong with the lake now, record what has changed, and tell it; ends with 1 where that fails."""
    from fleetcube.alerting import check
    from lake.duck import connect
    from lake.errors import LakeError

    wrong = check(settings, connect(settings))
    if wrong:
        raise LakeError("; ".join(wrong), todo="See `fleetcube alerts list`; what was not taken is kept.")


@alerts.command("test")
@click.option("--channel", "names", multiple=True, help="This channel only; may be given again.")
@click.option("--severity", type=_SEVERITY, default="info", show_default=True, help="Severity of the test.")
@with_settings()
def test_channels(settings: Settings, names: tuple[str, ...], severity: str) -> None:
    """Send a test over every channel now, past the routes; ends with 1 where one fails."""
    from fleetcube.alert_lists import test_notice
    from fleetcube.alerting import notifier_of
    from lake.errors import ConfigError, TransportError, did_you_mean

    notifier = notifier_of(settings)
    known = list(notifier.channels.channels) or ["log"]
    for name in names:
        if name not in known:
            raise ConfigError(f"There is no channel '{name}'.", todo=did_you_mean(name, known))
    failed = []
    for name in names or known:
        why, _ = notifier.attempt(name, test_notice(settings, name, severity))
        click.echo(f"{name}: {why or 'taken'}")
        failed += [name] if why else []
    if failed:
        raise TransportError(f"Not taken: {', '.join(failed)}.", todo=f"Correct {settings.notices_file}, or the host.")


@click.command()
@click.option("--kind", required=True, help="What is wrong, in a word: late, task, …")
@click.option("--severity", type=_SEVERITY, default="critical", show_default=True, help="How bad it is.")
@click.option("--entity", required=True, help="What it is about, such as dag/fleetcube_load.")
@click.option("--text", default="", help="What happened, in a sentence.")
@click.option("--rows", default=0, type=click.IntRange(0), help="How many rows it is about.")
@click.option("--look", multiple=True, help="Where to look: a command, path or address; may be given again.")
@click.option("--over", is_flag=True, help="It is over: tells so where it was told before.")
@with_settings(needs_lake=True)
def notify(
    settings: Settings,
    *,
    kind: str,
    severity: str,
    entity: str,
    text: str,
    rows: int,
    look: tuple[str, ...],
    over: bool,
) -> None:
    """Record that something is wrong (or --over), and tell people by the same rules as the lake's own alerts."""
    from fleetcube.alert_lists import check_names
    from fleetcube.alerting import report
    from lake.duck import connect
    from lake.errors import TransportError
    from lake.findings import Finding, Scope

    check_names(kind, entity)
    if not over and not text:
        raise click.UsageError("Say what happened with --text, or that it is over with --over.")
    found = [] if over else [Finding(kind, severity, entity, text, rows, look=look)]
    failed = report(settings, connect(settings), found, Scope(keys=frozenset({(kind, entity)})))
    if failed:
        raise TransportError("; ".join(failed), todo="It is kept, and told by the next `run` or `alerts check`.")
