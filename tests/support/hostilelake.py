"""The attacks of `tests/sql/hostile`, and a small lake to run them against, with what they must not touch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from policylake import permitted_lake
from sqllake import make_lake

from lake.duck import connect
from lake.lookup_store import ensure_lookups
from lake.settings import Settings

FILES = sorted((Path(__file__).parents[1] / "sql" / "hostile").glob("*.sql"))
_ACCESS = """
roles:
  of_tenant:
    facts: [requests, samples]
    lookups: [hardware]
    rows: {requests: tenant = :tenant, samples: site = 'eu'}
    columns:
      requests: {hide: [user_hash, cluster]}
      hardware: {hide: [vendor]}
users:
  ada: {roles: [of_tenant], tenant: a}
  bob: {roles: [of_tenant], tenant: b}
"""


@dataclass(frozen=True)
class Attack:
    """A statement, and what must come of it: an SQLSTATE, "equal" or "either"."""

    sql: str
    outcome: str


def attacks(path: Path) -> list[Attack]:
    """The attacks of a file."""
    found, outcome = [], ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("# "):
            outcome = line.split()[-1]
        elif line and not (line.startswith("--") and not outcome):
            found.append(Attack(line, outcome))
    return found


@dataclass
class Place:
    """Where attacks are run: the lake, ada's rows alone, and what must stay untouched."""

    settings: Settings
    alone: Settings
    access: Path
    canary: Path
    target: Path

    def written(self, attack: Attack, port: int = 9) -> str:
        return attack.sql.format(canary=self.canary, target=self.target, lake=self.settings.lake, port=port)


def make_place(folder: Path) -> Place:
    """The lake, ada's rows in one of their own, and the canaries, in a new folder."""
    (folder / "lake").mkdir()
    settings = Settings(lake=folder / "lake", memory_mib=512)
    make_lake(settings, rows=300)
    judges: dict[str, Callable[[Any], bool]] = {
        "requests": lambda row: row["tenant"] == "a",
        "samples": lambda row: row["site"] == "eu",
    }
    alone = permitted_lake(settings, judges, folder / "alone")
    for one in (settings, alone):
        duck = connect(one)
        ensure_lookups(one.lake, duck)
        duck.connection.close()
    (folder / "access.yaml").write_text(_ACCESS)
    (folder / "canary.csv").write_text("column0,content\nkanarie,1\n")
    (settings.lake / "_secrets").mkdir()
    (settings.lake / "_secrets" / "users.json").write_text("{}")
    return Place(settings, alone, folder / "access.yaml", folder / "canary.csv", folder / "target")
