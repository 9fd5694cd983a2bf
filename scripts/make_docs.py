"""Write the generated pages of docs/: metrics, facts, settings and the command line. `--check` only compares."""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path

import click

from cubes.route.reference import sql_markdown
from cubes.schema import cube_schema_text
from cubes.serve.system_tables import system_markdown
from fleetcube.cli import VERBS, cli
from lake.reference import facts_markdown, metrics_markdown
from lake.settings import Settings

EXIT_CODES = (
    "Exit codes: 0 done, 1 refused or failed, 2 usage, 3 blocked by the gate, 4 busy (another process is at it)."
)
DOCS = Path(__file__).parent.parent / "docs"


def settings_markdown() -> str:
    """docs/settings.md: every setting with its variable, default and meaning."""
    lines = [
        "# Settings",
        "",
        "Flags go over `FLEETCUBE_*` variables, those over `fleetcube.toml` in the working folder (or the file that",
        "`FLEETCUBE_CONFIG` names), those over the defaults. An unknown name or a wrong value is an error.",
        "",
        "| in fleetcube.toml | variable | default | meaning |",
        "|---|---|---|---|",
    ]
    for item in fields(Settings):
        default = str(item.default) if str(item.default) not in ("", ".") else "(none)"
        lines.append(f"| `{item.name}` | `FLEETCUBE_{item.name.upper()}` | `{default}` | {item.metadata['help']} |")
    return "\n".join(lines) + "\n"


def cli_markdown() -> str:
    """docs/cli.md: every verb's own help."""
    parts = [
        "# Command line",
        "",
        "Exit codes: 0 done, 1 refused or failed, 2 usage, 3 blocked by the gate, 4 busy:",
        "another process is at the same work.",
        "",
    ]
    context = click.Context(cli, info_name="fleetcube")
    for name in VERBS:
        command = cli.get_command(context, name)
        assert command is not None
        parts += _help(command, click.Context(command, info_name=name, parent=context))
    return "\n".join(parts).rstrip() + "\n"


def _help(command: click.Command, context: click.Context) -> list[str]:
    text = "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
    found = [f"## {context.command_path}", "", "```", text, "```", ""]
    if isinstance(command, click.Group):
        for name, inner in sorted(command.commands.items()):
            found += _help(inner, click.Context(inner, info_name=name, parent=context))
    return found


PAGES = {
    "metrics.md": metrics_markdown,
    "facts.md": facts_markdown,
    "settings.md": settings_markdown,
    "system-tables.md": system_markdown,
    "cli.md": cli_markdown,
    "sql.md": sql_markdown,
    "cube.schema.json": cube_schema_text,
}


def main() -> None:
    """Write every page, or with --check name those that are stale and end with 1."""
    stale = []
    for name, make in PAGES.items():
        path, text = DOCS / name, make()
        if not path.exists() or path.read_text() != text:
            stale.append(name)
            if "--check" not in sys.argv:
                path.write_text(text)
    print(f"{'stale' if '--check' in sys.argv else 'written'}: {', '.join(stale) or 'none'}")
    sys.exit(1 if stale and "--check" in sys.argv else 0)


if __name__ == "__main__":
    main()
