"""The command line: a skin over functions. Each verb lives in `fleetcube/commands/`, loaded when it is asked for.

Loading on demand keeps the agent small: `fleetcube agent` imports nothing of the lake's engines.
"""

from __future__ import annotations

import importlib
from typing import Final

import click

# Verb -> (module of fleetcube.commands, one line of help). The order is the order of `fleetcube --help`.
VERBS: Final[dict[str, tuple[str, str]]] = {
    "up": ("quickstart", "Quick start: this host and a simulated fleet, from agent to answers."),
    "agent": ("agents", "Collect this host's metrics and push them to a receiver."),
    "receive": ("agents", "Take pushes from agents and keep them until they are landed."),
    "replay": ("load", "Import foreign logs by a mapping."),
    "run": ("resident", "Land, gate, build and keep up in one process, by the clock."),
    "simulate": ("load", "Land a simulated fleet."),
    "land": ("load", "Land what the receiver holds."),
    "gate": ("load", "Judge what has landed; publish or quarantine it."),
    "build": ("load", "Build cubes from newly trusted rows."),
    "sql": ("query", "Answer a SQL query."),
    "serve": ("query", "Serve SQL over the PostgreSQL protocol."),
    "cube": ("cubes", "List, show, verify, refresh and compact cubes."),
    "lookup": ("lookups", "List lookups, show one, load your own rows."),
    "quarantine": ("inspect", "List, show and release rows that failed the gate."),
    "status": ("inspect", "What the lake holds, and whether it adds up."),
    "batch": ("corrections", "Undo a bad batch."),
    "erase": ("corrections", "Erase one person's rows."),
    "alerts": ("alerts", "What needs a person; look for it, and test the channels."),
    "notify": ("alerts", "Tell people that something is wrong, or over."),
    "user": ("users", "Users of the SQL endpoint, their passwords and roles."),
    "audit": ("audits", "Prove, export and cut the log of who did what."),
    "hold": ("holds", "Place, list and lift legal holds."),
    "retain": ("upkeep", "Show what retention would remove, and what must stand first; remove it."),
    "vacuum": ("upkeep", "Remove files that no version needs any more."),
    "upkeep": ("upkeep", "Merge small files."),
}


class _Verbs(click.Group):
    """A group whose commands are imported when they run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f"fleetcube.commands.{VERBS[cmd_name][0]}")
        command = getattr(module, cmd_name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl([(name, text) for name, (_, text) in VERBS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        from lake.errors import did_you_mean

        if args and args[0] not in VERBS and not args[0].startswith("-"):
            raise click.UsageError(f"There is no verb '{args[0]}'. {did_you_mean(args[0], VERBS)}".strip(), ctx)
        return super().resolve_command(ctx, args)


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="fleetcube")
def cli() -> None:
    """An OLAP cube warehouse for monitoring model fleets: answers equal to raw, in milliseconds, with a receipt."""
