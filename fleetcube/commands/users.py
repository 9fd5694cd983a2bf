"""Verb `user`: who may log in to the SQL endpoint, and with which roles."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from fleetcube.options import with_settings
from lake.settings import Settings

_STDIN = click.option("--password-stdin", is_flag=True, help="Read the password from standard input; else one is made.")

_GRACE = "Seconds for which the key before it is still taken; 0 where it may be known to others."


@click.group()
def user() -> None:
    """Users of the SQL endpoint and their roles; see docs/access.md."""


@user.command("add")
@click.argument("name")
@click.option("--role", "roles", multiple=True, help="A role of the access file, or a shipped one; may be repeated.")
@click.option("--tenant", help="What :tenant means in the predicates of the user's roles.")
@click.option("--no-password", is_flag=True, help="No log-in: a service such as Superset acts for the user.")
@_STDIN
@with_settings()
def add(
    settings: Settings,
    *,
    name: str,
    roles: tuple[str, ...],
    tenant: str | None,
    no_password: bool,
    password_stdin: bool,
) -> None:
    """Let a user log in; a password that is made here is printed once. Without a role a user reads nothing."""
    from cubes.access_edit import known_roles, put_user
    from lake.errors import DefinitionError, did_you_mean
    from lake.users import Users

    known = known_roles(settings.access_file)
    for role in roles:
        if role not in known:
            raise DefinitionError(f"There is no role '{role}'.", todo=did_you_mean(role, known))
    if no_password:
        _add_without(settings, name, list(roles), tenant, password_stdin=password_stdin)
        return
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
    from cubes.access import load_access
    from cubes.access_edit import take_user
    from lake.acting import Keys
    from lake.users import Users

    users = Users(settings.users_file)
    # One whom services act for has no log-in; whom neither file knows is told so by the users.
    if name in users.names() or name not in load_access(settings.access_file).users:
        users.remove(name)
    Keys(settings.keys_file).drop(name)
    take_user(settings.access_file, name)
    click.echo(f"{name} can't log in any more.")


@user.command("key")
@click.argument("name")
@click.option("--to", type=click.Path(dir_okay=False, path_type=Path), help="File for the key, made with mode 0600.")
@click.option("--print", "shown", is_flag=True, help="Print the key instead.")
@click.option("--drop", is_flag=True, help="Take the keys away: at its next statement nobody is acted for any more.")
@click.option("--grace-s", type=click.IntRange(0, 7 * 86_400), default=3600, show_default=True, help=_GRACE)
@with_settings()
def _key(settings: Settings, *, name: str, to: Path | None, shown: bool, drop: bool, grace_s: int) -> None:
    """Give a service a new key, by which it signs for whom it asks; see docs/access.md."""
    from lake.acting import Keys, write_key
    from lake.errors import DefinitionError, did_you_mean
    from lake.users import Users

    if (to is not None) + shown + drop != 1:
        raise DefinitionError("Where does the key go?", todo="Say one of --to FILE, --print and --drop.")
    names = Users(settings.users_file).names()
    if name not in names:
        raise DefinitionError(f"There is no user '{name}'.", todo=did_you_mean(name, names))
    keys = Keys(settings.keys_file)
    if drop:
        click.echo(f"{name} has no key any more." if keys.drop(name) else f"{name} had no key.")
        return
    if to is not None:
        # Before the new key is made: a rotation whose key goes nowhere would lock the service out.
        write_key(to, "")
    made = keys.make(name, grace_s=grace_s)
    if to is not None:
        write_key(to, made)
    else:
        click.echo(made)
    click.echo(f"This is the key of {name}; one before it is taken for {grace_s} s more.", err=True)


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


def _add_without(settings: Settings, name: str, roles: list[str], tenant: str | None, *, password_stdin: bool) -> None:
    """A user of the access file alone."""
    from cubes.access import load_access
    from cubes.access_edit import put_user
    from lake.errors import DefinitionError
    from lake.users import check_name

    check_name(name)
    if password_stdin or not roles:
        what = "One without a password has roles, and no password." if password_stdin else "No role was given."
        raise DefinitionError(what, todo="Say --no-password and --role ROLE, without --password-stdin.")
    if name in load_access(settings.access_file).users:
        todo = f"Give roles by `fleetcube user grant {name} ROLE`."
        raise DefinitionError(f"There is a user '{name}' already.", todo=todo)
    put_user(settings.access_file, name, roles, tenant)
    click.echo(f"{name} can't log in; who may act_for asks for them. Roles: {', '.join(roles)}.", err=True)


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
