"""Runs inside Superset's environment: makes its metadata fit this checkout, in one process, since starting costs most.

`load.py setup` upgrades the metadata database, synchronises permissions, makes roles and the administrator and imports
the dashboards; `load.py check` compares what Superset exports with the source; `load.py user` makes a person. Each may
be run again at any time. Passwords come by standard input as JSON, and never stand in a command line.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from bundle import DATABASE, MARK, Assets, name_uuid
from compare import differences, with_events

READER, ANALYST = "Fleet reader", "Fleet analyst"
# The word of a dashboard's `audience` for a role of Superset's; without one everybody sees it.
AUDIENCES = {"admin": "Admin", "analyst": ANALYST, "site": READER}


def main() -> None:
    """What the first argument says, with JSON from standard input."""
    verb, told = sys.argv[1], json.load(sys.stdin)
    from superset.app import create_app

    app = create_app()
    with app.app_context():
        if verb == "setup":
            _upgrade()
            _people(told)
            assets = Assets(uri=told["uri"])
            _import(assets, told["password"])
            _roles(assets)
        elif verb == "user":
            _person(told["name"], told["password"], told["role"])
        elif verb == "check":
            found = list(differences(Assets(uri=told["uri"]), _exported()))
            print("\n".join(found))
            sys.exit(1 if found else 0)


def _upgrade() -> None:
    from flask_migrate import upgrade
    from superset import appbuilder, security_manager

    upgrade()
    appbuilder.add_permissions(update_perms=True)
    security_manager.sync_role_definitions()


def _people(told: dict[str, Any]) -> None:
    """The administrator, where there is none."""
    from superset import security_manager

    if security_manager.find_user(told["admin"]) is None:
        _person(told["admin"], told["admin_password"], "Admin")
        # Told at once: a later step that fails must not lose the only password.
        print("made the administrator", flush=True)


def _person(name: str, password: str, role: str) -> None:
    """Make a person, or give one a new password and role."""
    from superset import db, security_manager
    from werkzeug.security import generate_password_hash

    found, wanted = security_manager.find_user(name), security_manager.find_role(role)
    if wanted is None:
        raise SystemExit(f"Superset has no role '{role}'; run `make superset` first.")
    if found is None:
        made = security_manager.add_user(name, name, "fleetcube", f"{name}@localhost.invalid", wanted, password)
        if not made:
            raise SystemExit(f"Superset did not make the user '{name}'; its log says why.")
        return
    found.password = generate_password_hash(password)
    found.roles = [wanted]
    db.session.commit()


def _roles(assets: Assets) -> None:
    """Roles of our own, since Superset rewrites its own ones: who reads, and who also writes SQL and charts.

    Which rows they see is not decided here but by the endpoint, of each person.
    """
    from superset import db, security_manager
    from superset.models.dashboard import Dashboard

    database = _database()
    access = security_manager.add_permission_view_menu("database_access", database.perm)
    for name, bases in ((READER, ("Gamma",)), (ANALYST, ("Gamma", "sql_lab"))):
        role = security_manager.add_role(name)
        granted = {one for base in bases for one in security_manager.find_role(base).permissions}
        role.permissions = [*granted, access]
    for slug, source in assets.sources.items():
        dashboard = db.session.query(Dashboard).filter_by(uuid=name_uuid("dashboard", slug)).one()
        dashboard.roles = [security_manager.find_role(AUDIENCES[one]) for one in source.get("audience", [])]
    db.session.commit()


def _database() -> Any:
    from superset import db
    from superset.models.core import Database

    return db.session.query(Database).filter_by(uuid=name_uuid("database", DATABASE)).one()


def _import(assets: Assets, password: str) -> None:
    """Import the bundle; then what an import leaves out: annotations, and the end of what left the source."""
    from superset import db, security_manager
    from superset.commands.importers.v1.assets import ImportAssetsCommand
    from superset.utils.core import override_user

    path = f"databases/{DATABASE}.yaml"
    with override_user(security_manager.find_user(_admin())):
        ImportAssetsCommand(assets.contents(), passwords={path: password}).run()
        _annotate(assets)
        _prune(assets)
        db.session.commit()


def _admin() -> str:
    from superset import security_manager

    [first, *_] = security_manager.find_role("Admin").user
    return str(first.username)


def _annotate(assets: Assets) -> None:
    """Events as annotations: Superset's import drops those that come from another chart, so they are set after it."""
    from superset import db
    from superset.models.slice import Slice

    ids = {str(one.uuid): one.id for one in db.session.query(Slice)}
    for chart in assets.charts.values():
        kept = db.session.query(Slice).filter_by(uuid=chart.uuid).one()
        if chart.query_context is not None:
            context = chart.query_context | {"datasource": {"id": kept.datasource_id, "type": "table"}}
            kept.query_context = json.dumps(context)
        if chart.events:
            kept.params = json.dumps(with_events(json.loads(kept.params), assets, chart, ids))


def _prune(assets: Assets) -> None:
    """Remove charts and dashboards of ours that the source no longer has; what people made themselves stays."""
    from superset import db
    from superset.connectors.sqla.models import SqlaTable
    from superset.models.dashboard import Dashboard
    from superset.models.slice import Slice

    known = assets.known
    for model in (Dashboard, Slice, SqlaTable):
        for one in db.session.query(model):
            if one.external_url != MARK or str(one.uuid) in known:
                continue
            # A dataset on which somebody's own chart stands stays, as theirs.
            own = isinstance(one, SqlaTable) and db.session.query(Slice).filter_by(datasource_id=one.id).count()
            if not own:
                db.session.delete(one)


def _exported() -> Iterator[tuple[str, str]]:
    from superset import security_manager
    from superset.commands.export.assets import ExportAssetsCommand
    from superset.utils.core import override_user

    with override_user(security_manager.find_user(_admin())):
        for name, text in ExportAssetsCommand().run():
            yield name, text()


if __name__ == "__main__":
    main()
