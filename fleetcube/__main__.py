"""Entry point: errors become a message and an exit code here, and nowhere else."""

from __future__ import annotations

import sys

import click

from lake.errors import FleetcubeError


def main() -> None:
    """Run the command line. Exit codes: 0 done, 1 refused or failed, 2 usage, 3 blocked by the gate, 4 busy."""
    from fleetcube.cli import cli

    try:
        cli.main(standalone_mode=False)
    except click.exceptions.Exit as end:
        sys.exit(end.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except click.Abort:
        click.echo("Stopped.", err=True)
        sys.exit(130)
    except FleetcubeError as error:
        click.echo(f"fleetcube: {error}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        click.echo("Stopped.", err=True)
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output went away (`| head`): that is no failure of ours.
        sys.stderr.close()
        sys.exit(0)
    except Exception as error:
        # The one edge where everything else ends: a bug of ours must still read as a sentence, not as a traceback.
        _internal(error)
        sys.exit(1)


def _internal(error: Exception) -> None:
    import os
    import traceback

    if os.environ.get("FLEETCUBE_TEST_TRACEBACK"):
        traceback.print_exc()
    click.echo(
        f"fleetcube: internal error: {type(error).__name__}: {error}. This is a fault of fleetcube, not of your data; "
        "set FLEETCUBE_TEST_TRACEBACK=1, run the same command again, and report what it prints.",
        err=True,
    )


if __name__ == "__main__":
    main()
