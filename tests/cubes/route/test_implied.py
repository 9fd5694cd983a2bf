"""Cubes with a filter of their own: its parts are asked of rows only, and a query that lacks one gets no such cube."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlcorpus import Query, check
from sqllake import make_lake

from cubes.load import load_cubes
from cubes.session import Session
from lake.duck import connect
from lake.lookup_store import ensure_lookups
from lake.settings import Settings

CUBE = """
cube: slow
fact: requests
where: e2e_ms > 1000 AND status = 'ok' AND tenant IN ('a', 'b')
grains: [5m, 1h, 1d]
dimensions: [site, model, tenant]
cuboids: [[model], [site]]
measures:
  calls: count
  tokens: {sum: output_tokens}
  latency: {quantiles: e2e_ms, grains: [1h, 1d]}
  users: {distinct: user_hash, exact_to: 64, grains: [1h, 1d]}
"""
WHERE = "status = 'ok' AND e2e_ms > 1000 AND tenant IN ('a', 'b')"


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    folder = tmp_path_factory.mktemp("implied")
    (folder / "slow.yaml").write_text(CUBE)
    settings = Settings(lake=folder / "lake", memory_mib=512)
    settings.lake.mkdir()
    cubes = [load_cubes(folder)["slow"]]
    make_lake(settings, rows=500, cubes=cubes)
    ensure_lookups(settings.lake, connect(settings))
    with Session(settings, cubes=cubes) as session:
        yield session


@pytest.mark.parametrize(
    ("text", "path", "cuboid"),
    [
        (f"SELECT model, count(*), sum(output_tokens) FROM requests WHERE {WHERE} GROUP BY 1", "cube", "model"),
        (f"SELECT model, count(*) FROM requests r WHERE ({WHERE}) AND r.model <> 'x' GROUP BY 1", "cube", "model"),
        (
            f"SELECT site, percentile_cont(0.5) WITHIN GROUP (ORDER BY e2e_ms) FROM requests WHERE {WHERE} "
            "AND ts >= '2026-10-06 01:20:00' AND ts < '2026-10-07 10:10:10' GROUP BY 1",
            "cube+raw",
            "site",
        ),
        (f"SELECT count(DISTINCT user_hash) FROM requests WHERE {WHERE}", "cube", "site"),
        # Where a filter's column is asked for besides, the cuboid must have it.
        (f"SELECT tenant, count(*) FROM requests WHERE {WHERE} GROUP BY 1", "cube", "site × model × tenant"),
        (f"SELECT count(*) FROM requests WHERE {WHERE} AND tenant = 'a'", "cube", "site × model × tenant"),
        (
            f"SELECT count(*) FILTER (WHERE tenant = 'b') FROM requests WHERE {WHERE}",
            "cube",
            "site × model × tenant",
        ),
        # A part is missing, is another one, or is another table's.
        ("SELECT count(*) FROM requests WHERE status = 'ok' AND e2e_ms > 1000", "raw", ""),
        (f"SELECT count(*) FROM requests WHERE {WHERE.replace('1000', '999')}", "raw", ""),
        (f"SELECT count(*) FROM requests WHERE {WHERE.replace(' AND tenant', ' OR tenant')}", "raw", ""),
        (f"SELECT e2e_ms > 2000 AS x, count(*) FROM requests WHERE {WHERE} GROUP BY 1", "raw", ""),
        (
            "SELECT count(*) FROM requests r, (SELECT 'ok' AS status) s "
            "WHERE s.status = 'ok' AND r.e2e_ms > 1000 AND r.tenant IN ('a', 'b')",
            "raw",
            "",
        ),
    ],
)
def test_the_filter_of_a_cube_is_certain_of_its_cells(session: Session, text: str, path: str, cuboid: str) -> None:
    answer = check(session, Query("x", text, path, text))
    if cuboid:
        assert {piece["cuboid"] for block in answer.receipt["blocks"] for piece in block["pieces"]} <= {
            cuboid,
            # Of cuboids with as few cells either will do.
            *({"model"} if cuboid == "site" else ()),
        }
    assert answer.table.num_rows > 0
