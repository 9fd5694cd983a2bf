"""Sessions: both doors agree on the corpus, receipts say what was read, versions move together."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from sqlcorpus import Query, check, queries, same
from sqllake import START, add_rows, make_lake

from cubes.build import build
from cubes.load import load_cubes
from cubes.session import Session
from lake import delta, tables
from lake.duck import connect
from lake.errors import FleetcubeError, LakeError, QueryError
from lake.settings import Settings

CORPUS = queries("[!a]*.slt")


@pytest.mark.parametrize("query", CORPUS, ids=lambda query: query.name)
def test_both_doors_agree(asked: Session, query: Query) -> None:
    """The router's answer is the raw rows' answer, by the expected path."""
    check(asked, query)


def test_corpus_is_large_enough() -> None:
    assert len(CORPUS) >= 60
    assert len({query.name for query in CORPUS}) == len(CORPUS)


def test_receipt_of_an_unaligned_range(asked: Session) -> None:
    """Pieces and edges cover the range; rows are those that the predicate let through."""
    where = "ts >= '2026-10-06 01:07:03' AND ts < '2026-10-07 19:33:12.5' AND hardware = 'h100'"
    answer = asked.query(
        f"SELECT count(*) AS n, percentile_cont(0.9) WITHIN GROUP (ORDER BY e2e_ms) FROM requests WHERE {where}"
    )
    receipt = answer.receipt
    block = receipt["blocks"][0]
    runs = sorted([piece["range"] for piece in block["pieces"]] + block["raw_edges"])
    assert [start for start, _ in runs[1:]] == [end for _, end in runs[:-1]]
    assert [runs[0][0], runs[-1][1]] == block["range"] == ["2026-10-06T01:07:03Z", "2026-10-07T19:33:12.500000Z"]
    assert receipt["path"] == answer.path == "cube+raw"
    assert receipt["rows"] == block["rows"] == answer.table["n"][0].as_py()
    assert [column["relative_error"] for column in receipt["columns"]] == [0.0, 0.005416]
    assert receipt["versions"]["requests"]["cubes"]["serving"]["watermark"] == 2
    assert set(receipt["latency_ms"]) == {"plan", "execute"}
    assert json.loads(json.dumps(receipt)) == receipt


def test_receipt_of_rows(asked: Session) -> None:
    """A pushed-down block says why, in a notice and in the receipt."""
    answer = asked.query("SELECT count(*) FROM requests WHERE user_hash = 'u1'")
    assert answer.path == "raw"
    assert answer.notices == ("requests: answered from trusted rows: cube serving at 5m: lacks user_hash.",)
    assert answer.receipt["reason"] == "cube serving at 5m: lacks user_hash"
    assert answer.receipt["rows"] == answer.table.column(0)[0].as_py()
    assert asked.query("SELECT count(*) FROM requests", raw=True).notices == ()


def test_coverage_without_a_roster(asked: Session) -> None:
    sql = "SELECT avg(value) FROM samples WHERE metric = 'gpu.power' AND ts >= '2026-10-06' AND ts < '2026-10-07'"
    block = asked.query(sql).receipt["blocks"][0]
    assert block["coverage"] == {"share": None, "reason": "no roster says which series are expected"}
    assert block["newest"].startswith("2026-10-06T23:")


def test_explain_shows_candidates(asked: Session) -> None:
    answer = asked.query("SELECT model, count(*) FROM requests WHERE ts >= '2026-10-06' GROUP BY 1", explain=True)
    lines = answer.table["plan"].to_pylist()
    assert lines[0] == "path: cube"
    assert any("lacks model" in line for line in lines)
    candidate = "  candidate serving 1h [model × tenant × status]"
    assert any(line.startswith(candidate) and line.endswith("fits") for line in lines)
    assert lines[-1].startswith("sql: SELECT")


def test_names_may_repeat(asked: Session) -> None:
    answer = asked.query("SELECT count(*), count(*), 1 AS count FROM requests")
    assert [column.name for column in answer.columns] == ["count", "count", "count"]


def test_division_by_zero_is_an_error(asked: Session) -> None:
    for sql in ("SELECT 1 / (count(*) - count(*)) FROM requests", "SELECT 1.0 / 0"):
        for raw in (False, True):
            with pytest.raises(QueryError, match="ivision by zero"):
                asked.query(sql, raw=raw)


def test_long_chains_are_refused(asked: Session) -> None:
    for sql in ("SELECT " + "1 + " * 20_000 + "1", "SELECT 1 FROM requests WHERE " + "model = 'a' OR " * 5000 + "true"):
        with pytest.raises(QueryError, match="too deeply nested"):
            asked.query(sql)


def test_engine_is_locked_in(asked: Session, tmp_path: Path) -> None:
    """Even text that got past the grammar could read the lake only, and could not change that."""
    outside = tmp_path / "secret.csv"
    outside.write_text("a\n1\n")
    engine = asked.view().duck
    for text in (f"SELECT * FROM read_csv('{outside}')", f"COPY (SELECT 1) TO '{outside}'", "SET threads = 1"):
        with pytest.raises(FleetcubeError):
            engine.sql(text)
    assert outside.read_text() == "a\n1\n"


def test_ungrouped_column(asked: Session) -> None:
    for raw in (False, True):
        with pytest.raises(QueryError, match="GROUP BY"):
            asked.query("SELECT model, count(*) FROM requests", raw=raw)


def test_versions_move_together(settings: Settings) -> None:
    """Rows newer than the cubes are unseen by both doors, and seen by both when asked; a build shows them to all."""
    make_lake(settings, seed=3, rows=60, cubes=[load_cubes()["serving"]])
    sql = "SELECT count(*), sum(output_tokens), percentile_disc(0.5) WITHIN GROUP (ORDER BY e2e_ms) FROM requests"
    late = {"ts": START, "status": "ok", "service": "chat", "hardware": "h100", "output_tokens": 5, "e2e_ms": 7}
    with Session(settings) as session:
        assert _count(session, sql) == 60
        engine = connect(settings)
        add_rows(engine, settings, "requests", [late], 3)
        assert _count(session, sql) == 60
        assert _count(session, sql, fresh=True) == 61
        tail = session.query(sql, fresh=True).receipt
        assert tail["path"] == "cube+raw"
        assert tail["blocks"][0]["tail"]["after_batch"] == 2
        build(settings, engine, load_cubes()["serving"])
        assert _count(session, sql) == 61
        assert session.query(sql).path == "cube"
        engine.connection.close()


def _count(session: Session, sql: str, *, fresh: bool = False) -> int:
    routed, raw = session.query(sql, fresh=fresh), session.query(sql, raw=True, fresh=fresh)
    same(routed, raw, sql)
    return int(routed.table.column(0)[0].as_py())


def test_withdrawn_rows_keep_a_cube_out(settings: Settings) -> None:
    """Cells may hold rows that trusted no longer has; until they are built anew, fresh answers come from rows."""
    make_lake(settings, seed=4, rows=60, cubes=[load_cubes()["serving"]])
    ref = tables.trusted("requests")
    held = delta.open_snapshot(settings.lake, ref)
    gone = [file for file in held.files if "gate-2" in file.path][:1]
    delta.commit(settings.lake, ref, held, removes=gone, txns={"gate": 3})
    with Session(settings) as session:
        answer = session.query("SELECT count(*) FROM requests", fresh=True)
        assert answer.path == "raw"
        assert "withdrawn" in answer.notices[0]
        assert answer.table.column(0)[0].as_py() == 60 - gone[0].rows
        assert session.query("SELECT count(*) FROM requests").table.column(0)[0].as_py() == 60


def test_fact_without_rows_or_cubes(settings: Settings) -> None:
    """An empty lake answers: counts are 0, sums NULL, and the reason is told."""
    with Session(settings) as session:
        answer = session.query("SELECT count(*), sum(output_tokens) FROM requests")
        assert [column[0].as_py() for column in answer.table.columns] == [0, None]
        assert "serving is not built yet" in answer.notices[0]
        assert session.query("SELECT count(*) FROM events").notices[0].endswith("cube events is not built yet.")
        with pytest.raises(LakeError, match="lookup models"):
            session.query("SELECT * FROM models")


def test_no_lake(tmp_path: Path) -> None:
    with pytest.raises(LakeError, match=r"no lake here.*fleetcube up"):
        Session(Settings(lake=tmp_path / "none"))


def test_a_lost_table_is_an_error_and_not_an_empty_answer(tmp_path: Path) -> None:
    settings = Settings(lake=tmp_path / "lake", memory_mib=1024)
    settings.lake.mkdir()
    make_lake(settings, rows=60)
    shutil.rmtree(settings.lake / "trusted" / "requests")
    with Session(settings) as session, pytest.raises(LakeError, match=r"trusted/requests is gone\. Restore"):
        session.query("SELECT count(*) FROM requests", raw=True)


def test_the_receipt_of_a_joined_query(asked: Session) -> None:
    """Rows behind the block are counted with the same rows of the query beside it."""
    top = "SELECT tenant, count(*) AS n FROM requests GROUP BY tenant ORDER BY n DESC, tenant LIMIT 1"
    for sql in (
        f"SELECT count(*) FROM requests r JOIN ({top}) AS t ON t.tenant = r.tenant",
        f"WITH t AS ({top}) SELECT count(*) FROM requests r JOIN t ON t.tenant = r.tenant",
    ):
        answer = asked.query(sql)
        assert answer.path == "cube"
        counted = sorted(block["rows"] for block in answer.receipt["blocks"])
        assert counted == [answer.table.column(0)[0].as_py(), 500]
