"""Verb `user`: who may log in to the SQL endpoint, and with which roles."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from fleetcube.options import with_settings
from lake.settings import Settings

_STDIN = click.option("--password-stdin", is_flag=True, help="Read the password from standard input; else one is made.")


@click.group()
def user() -> None:
    """Users of the SQL endpoint and their roles; see docs/access.md."""


@user.command("add")
@click.argument("name")
@click.option("--role", "roles", multiple=True, help="A role of the access file, or a shipped one; may be repeated.")
@click.option("--tenant", help="What :tenant means in the predicates of the user's roles.")
@_STDIN
@with_settings()
def add(settings: Settings, *, name: str, roles: tuple[str, ...], tenant: str | None, password_stdin: bool) -> None:
    """Let a user log in; a password that is made here is printed once. Without a role a user reads nothing."""
    from cubes.access_edit import known_roles, put_user
    from lake.errors import DefinitionError, did_you_mean
    from lake.users import Users

    known = known_roles(settings.access_file)
    for role in roles:
        if role not in known:
            raise DefinitionError(f"There is no role '{role}'.", todo=did_you_mean(role, known))
    given = _from_stdin() if password_stdin else None
    made = Users(settings.users_file).add(name, given)
    try:
        if roles:
            put_user(settings.access_file, name, list(roles), tenant)
    except BaseException:
        # A user whose roles can't be written must not be left half made.
        Users(settings.users_file).remove(name)
        raise
    _say_password(name, made, shown=not password_stdin)
    said = f"Roles: {', '.join(roles)}." if roles else f"No role yet: `fleetcube user grant {name} ROLE`."
    click.echo(said, err=True)


@user.command("list")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@with_settings()
def list_users(settings: Settings, *, form: str) -> None:
    """Every user with roles and tenant, and every role that there is."""
    from cubes.access import load_access
    from cubes.access_edit import known_roles
    from lake.users import Users

    able, access = Users(settings.users_file).names(), load_access(settings.access_file)
    rows: list[dict[str, Any]] = [
        {
            "user": name,
            "roles": access.users[name].roles if name in access.users else [],
            "tenant": access.users[name].tenant if name in access.users else None,
            "logs_in": name in able,
        }
        for name in sorted({*able, *access.users})
    ]
    if form == "json":
        click.echo(json.dumps({"users": rows, "roles": known_roles(settings.access_file)}, indent=2))
        return
    click.echo(f"{'user':<20} {'logs in':<8} {'tenant':<14} roles")
    for row in rows:
        listed = ", ".join(row["roles"]) or "none: reads nothing"
        click.echo(f"{row['user']:<20} {'yes' if row['logs_in'] else 'no':<8} {row['tenant'] or '-':<14} {listed}")
    click.echo("\n".join(f"role {name:<15} {text}" for name, text in known_roles(settings.access_file).items()))


@user.command("show")
@click.argument("name")
@with_settings()
def _show(settings: Settings, *, name: str) -> None:
    """What a user may read, as JSON: tables, rows, hidden columns, powers, quotas, and the policy's digest."""
    from cubes.access import load_access

    click.echo(json.dumps(load_access(settings.access_file).policy(name).told(), indent=2, ensure_ascii=False))


@user.command("remove")
@click.argument("name")
@with_settings()
def _remove(settings: Settings, *, name: str) -> None:
    """Take a user's log-in and roles away; at the next statement they are out."""
    from cubes.access_edit import take_user
    from lake.users import Users

    Users(settings.users_file).remove(name)
    take_user(settings.access_file, name)
    click.echo(f"{name} can't log in any more.")


@user.command("password")
@click.argument("name")
@_STDIN
@with_settings()
def _password(settings: Settings, *, name: str, password_stdin: bool) -> None:
    """Give a user another password; one that is made here is printed once."""
    from lake.users import Users

    made = Users(settings.users_file).set_password(name, _from_stdin() if password_stdin else None)
    _say_password(name, made, shown=not password_stdin)


@user.command("grant")
@click.argument("name")
@click.argument("role")
@with_settings()
def _grant(settings: Settings, *, name: str, role: str) -> None:
    """Give a user a role."""
    _change(settings, name, add=role)


@user.command("revoke")
@click.argument("name")
@click.argument("role")
@with_settings()
def _revoke(settings: Settings, *, name: str, role: str) -> None:
    """Take a role from a user."""
    _change(settings, name, drop=role)


def _change(settings: Settings, name: str, *, add: str = "", drop: str = "") -> None:
    from cubes.access import load_access
    from cubes.access_edit import change_roles
    from lake.errors import DefinitionError, did_you_mean
    from lake.users import Users

    known = {*Users(settings.users_file).names(), *load_access(settings.access_file).users}
    if name not in known:
        raise DefinitionError(f"There is no user '{name}'.", todo=did_you_mean(name, known))
    left = change_roles(settings.access_file, name, add=add, drop=drop)
    click.echo(f"{name}: {', '.join(left.roles) if left else 'no role is left, so nothing may be read'}.")


def _from_stdin() -> str:
    """The password: the first line, without its end."""
    return sys.stdin.readline().rstrip("\r\n")


def _say_password(name: str, made: str, *, shown: bool) -> None:
    if shown:
        click.echo(made)
        click.echo(f"This is the password of {name}; it is kept nowhere and not shown again.", err=True)
    else:
        click.echo(f"{name} has the given password.", err=True)
