"""Lookups as Delta tables: shipped rows at first, replaced as a whole when somebody loads their own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from lake.delta import commit, open_snapshot
from lake.duck import Duck, arrow_texts, duck_type
from lake.lookups import Row, load_lookups
from lake.tables import lookup


def publish_lookup(lake: Path, duck: Duck, name: str, rows: Sequence[Row]) -> bool:
    """Make `rows` (texts in column order) the lookup's whole content in one commit; False if it held just that."""
    ref = lookup(name)
    snapshot = open_snapshot(lake, ref)
    source = f"lookup_{name}"
    duck.register(source, arrow_texts(ref.schema.names, rows))
    try:
        cast = ", ".join(f'CAST("{item.name}" AS {duck_type(item.type)}) AS "{item.name}"' for item in ref.schema)
        select = f"SELECT {cast} FROM {source}"
        if snapshot.exists and not _differs(duck, select, duck.scan(snapshot)):
            return False
        number = (snapshot.txn("lookup") or 0) + 1
        files = duck.write(select, lake, ref, f"v{number}")
        commit(lake, ref, snapshot, adds=files, removes=snapshot.files, txns={"lookup": number})
        return True
    finally:
        duck.unregister(source)


def ensure_lookups(lake: Path, duck: Duck, names: Iterable[str] | None = None) -> list[str]:
    """Make the missing lookups with their shipped rows, and bring the generated one (`metrics`) up to date."""
    made = []
    for name, declared in load_lookups().items():
        wanted = names is None or name in names
        if wanted and (name == "metrics" or not open_snapshot(lake, lookup(name)).exists):
            made += [name] if publish_lookup(lake, duck, name, declared.rows) else []
    return made


def _differs(duck: Duck, select: str, stored: str) -> bool:
    [(count,)] = duck.sql(
        f"SELECT count(*) FROM ((({select}) EXCEPT ALL (SELECT * FROM {stored})) "
        f"UNION ALL ((SELECT * FROM {stored}) EXCEPT ALL ({select})))"
    )
    return int(count) > 0
