"""Taking rows out of trusted: which ones, the files that lose them, and where a repeat of them will be looked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lake.delta import DataFile, Snapshot, open_snapshot
from lake.facts import Fact
from lake.tables import SEEN, trusted
from quality.candidate import IDENTITY
from quality.plan import SORT

if TYPE_CHECKING:
    from lake.duck import Duck

# The table of rows to take out of trusted that a correction fills: their identity and day.
CHOSEN: Final = "fc_chosen"


def choose(duck: Duck, source: Snapshot, where: str, files: Sequence[DataFile] | None = None) -> list[DataFile]:
    """Fill CHOSEN with the trusted rows of the files for which `where` holds; the files that hold some of them."""
    duck.execute(
        f"CREATE OR REPLACE TEMP TABLE {CHOSEN} (agent VARCHAR, boot VARCHAR, seq BIGINT, idx BIGINT, day DATE)"
    )
    touched = []
    for file in source.files if files is None else files:
        scan = duck.scan(source, [str(source.root / file.path)])
        before = duck.sql(f"SELECT count(*) FROM {CHOSEN}")
        duck.execute(f"INSERT INTO {CHOSEN} SELECT {IDENTITY}, day FROM {scan} WHERE {where}")
        if duck.sql(f"SELECT count(*) FROM {CHOSEN}") != before:
            touched.append(file)
    return touched


def chosen_days(duck: Duck) -> list[dict[str, Any]]:
    """Rows of CHOSEN by day, as the record's `withdrawn`."""
    rows = duck.sql(f"SELECT CAST(day AS VARCHAR), count(*) FROM {CHOSEN} GROUP BY ALL ORDER BY ALL")
    return [{"day": day, "rows": count} for day, count in rows]


def rewrite_trusted(
    duck: Duck, lake: Path, fact: Fact, batch: int, touched: Sequence[DataFile]
) -> tuple[list[DataFile], list[DataFile]]:
    """Files of the touched ones' other rows, and the removal of the touched ones."""
    source = open_snapshot(lake, trusted(fact.name))
    kept = f"SELECT * FROM {scan_of(duck, source, touched)} ANTI JOIN {CHOSEN} USING ({IDENTITY})"
    order = f"day, {SORT.get(fact.name, 'ts')}"
    adds = duck.write(kept, lake, source.ref, f"gate-{batch:08d}-kept", stats=("batch", "ts"), order=order)
    return adds, removal(touched)


def write_seen(duck: Duck, lake: Path, fact: str, batch: int) -> list[DataFile]:
    """The records of CHOSEN as seen by this batch, since that is where a repeat of them will be looked for."""
    ranges = (
        "SELECT agent, boot, min(seq) AS seq_from, max(seq) AS seq_to FROM (SELECT *, seq - row_number() "
        "OVER (PARTITION BY agent, boot ORDER BY seq) AS run FROM "
        f"(SELECT DISTINCT agent, boot, seq FROM {CHOSEN})) GROUP BY agent, boot, run"
    )
    select = f"SELECT *, '{fact}' AS fact, {batch} AS batch FROM ({ranges})"
    return duck.write(select, lake, SEEN, f"{fact}-{batch:08d}", stats=("batch",))


def scan_of(duck: Duck, source: Snapshot, files: Sequence[DataFile]) -> str:
    """Relation of these files' rows."""
    return duck.scan(source, [str(source.root / file.path) for file in files])


def removal(files: Sequence[DataFile]) -> list[DataFile]:
    """Files as a plan removes them: without their bounds, which a removal doesn't need and JSON can't hold."""
    return [replace(file, minimum={}, maximum={}) for file in files]
