from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from sqllake import add_requests, make_lake

from cubes.access import Policy, load_access
from cubes.build import build
from cubes.load import load_cubes
from cubes.results import Kept, ResultCache
from cubes.route.statement import Statement
from cubes.session import Session
from lake.duck import connect
from lake.settings import Settings

SQL = "SELECT model, count(*) FROM requests WHERE ts < '2026-10-07 04:30' GROUP BY model ORDER BY model"


@pytest.fixture
def session(settings: Settings) -> Iterator[Session]:
    make_lake(settings, rows=80, cubes=[load_cubes()["serving"]])
    with Session(settings) as made:
        yield made


def test_an_answer_is_given_again_until_a_publish(session: Session, settings: Settings) -> None:
    first, again = session.query(SQL), session.query(f"-- once more\n{SQL.lower()}  ")
    assert (first.cached, again.cached) == (False, True)
    assert again.table.equals(first.table)
    assert (again.path, again.columns, again.notices) == (first.path, first.columns, first.notices)
    told = [{**one.receipt, "latency_ms": None} for one in (first, again)]
    assert told[1] == {**told[0], "cached": True}
    assert again.receipt["latency_ms"]["execute"] == 0
    duck = connect(settings)
    add_requests(duck, settings, 30, 3)
    assert session.query(SQL).cached
    build(settings, duck, load_cubes()["serving"])
    newer = session.query(SQL)
    assert not newer.cached
    assert newer.table.equals(session.query(SQL, raw=True).table)
    assert not newer.table.equals(first.table)
    duck.connection.close()


def test_what_matters_is_kept_apart(session: Session, settings: Settings) -> None:
    duck = connect(settings)
    add_requests(duck, settings, 30, 3)
    count = "SELECT count(*) FROM requests"
    answers = [session.query(count, fresh=fresh, raw=raw) for fresh in (False, True) for raw in (False, True)]
    assert [one.table.column(0)[0].as_py() for one in answers] == [80, 80, 110, 110]
    assert not any(one.cached for one in answers)
    assert session.query(count, fresh=True).table.column(0)[0].as_py() == 110
    then = session.query(count, as_of="requests@2", raw=True)
    assert (then.cached, session.query(count, as_of="requests@2", raw=True).cached) == (False, True)
    duck.connection.close()


def test_the_present_is_never_kept(session: Session) -> None:
    for sql in ("SELECT now()", "SELECT count(*) FROM requests WHERE ts < now()", "SELECT current_date"):
        session.query(sql)
        assert not session.query(sql).cached
    assert session.results.counts.entries == 0


def test_sessions_share_and_policies_do_not(session: Session, settings: Settings, tmp_path: Path) -> None:
    shared = ResultCache(2**20)
    count = "SELECT count(*) FROM requests"
    with Session(settings, results=shared) as one, Session(settings, results=shared) as two:
        assert not one.query(count).cached
        other = two.query(count)
        assert other.cached
        assert other.receipt["rows"] == 80
        policies = [_policy(site, tmp_path) for site in ("eu", "us")]
        counts = [one.query(count, policy=policy).table.column(0)[0].as_py() for policy in policies]
        assert sum(counts) < 80
        assert [two.query(count, policy=policy).cached for policy in policies] == [True, True]
        assert [two.query(count, policy=policy).table.column(0)[0].as_py() for policy in policies] == counts
    assert (shared.counts.hits, shared.counts.entries) == (5, 3)


def test_bytes_are_bounded() -> None:
    cache = ResultCache(100_000)
    for number in range(50):
        cache.keep((str(number),), _kept(64))
    assert 0 < cache.counts.size_bytes <= 100_000
    assert cache.find(("0",)) is None
    assert cache.find(("49",)) is not None
    cache.keep(("large",), _kept(20_000))
    assert cache.find(("large",)) is None
    nothing = ResultCache(0)
    nothing.keep(("1",), _kept(1))
    assert nothing.counts.entries == 0


def _kept(rows: int) -> Kept:
    return Kept(Statement(""), {}, (), (), False, None, pa.table({"a": list(range(rows))}), ())


def _policy(site: str, folder: Path) -> Policy:
    path = folder / f"{site}.yaml"
    rows = f"{{requests: \"site = '{site}'\"}}"
    path.write_text(f"roles:\n  some: {{facts: [requests], rows: {rows}}}\nusers:\n  u: {{roles: [some]}}\n")
    return load_access(path).policy("u")
