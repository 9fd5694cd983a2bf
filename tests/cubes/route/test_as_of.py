from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import lifelake
import pytest
from sqlcorpus import queries, same
from sqllake import START, add_requests

from cubes.build import build, refresh
from cubes.compact import compact_cube
from cubes.load import load_cubes
from cubes.route.asof import AsOf, read_setting, respelled
from cubes.segments import table_of
from cubes.session import Answer, Session
from fleetcube.upkeep import compact_tables
from lake import delta, tables
from lake.duck import Duck, connect
from lake.errors import QueryError
from lake.settings import Settings
from lake.times import iso, utc_now
from lake.vacuum import vacuum

SQL = "SELECT model, count(*) AS n, sum(output_tokens) FROM requests{} GROUP BY model ORDER BY model"


class Life:
    """A lake whose requests and cube are published step by step; what each version answered is kept."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.cube = settings, load_cubes()["serving"]
        self.duck: Duck = connect(settings)
        self.session = Session(settings, cubes=[self.cube])
        self.batch = 0
        self.told: dict[int, list[dict[str, Any]]] = {}
        self.times: dict[int, datetime] = {}

    def publish(self, *, built: bool = True, rows: int = 40) -> int:
        """A batch of requests, and a build; gives the version of trusted that holds it."""
        self.batch += 1
        add_requests(self.duck, self.settings, rows, self.batch)
        if built:
            build(self.settings, self.duck, self.cube)
        version = delta.open_snapshot(self.settings.lake, tables.trusted("requests")).version
        self.told[version] = self.ask(fresh=True, raw=True).table.to_pylist()
        self.times[version] = utc_now()
        return version

    def ask(self, clause: str = "", **more: Any) -> Answer:
        return self.session.query(SQL.format(clause), **more)

    def check(self, version: int) -> Answer:
        """Both doors say what was said then, by version and by time."""
        answer = self.ask(f" AS OF VERSION {version}")
        for other in (
            answer,
            self.ask(f" AS OF VERSION {version}", raw=True),
            self.ask(f" AS OF TIMESTAMP '{iso(self.times[version])}'"),
            self.ask(as_of=f"requests@{version}"),
            self.ask(as_of=iso(self.times[version]), raw=True),
        ):
            assert other.table.to_pylist() == self.told[version]
            assert other.receipt["versions"]["requests"]["trusted"] == version
        return answer


@pytest.fixture
def life(settings: Settings) -> Iterator[Life]:
    made = Life(settings)
    yield made
    made.session.close()
    made.duck.connection.close()


def test_each_version_answers_as_it_did(life: Life) -> None:
    """Late rows, builds, refreshes and compactions come and go; what was said of a version is said again."""
    versions = [life.publish(), life.publish(), life.publish(built=False), life.publish()]
    days = [(START + timedelta(days=at)).date() for at in range(4)]
    refresh(life.settings, life.duck, life.cube, days)
    compact_cube(life.settings, life.duck, life.cube, whole=True)
    paths = {version: life.check(version).path for version in versions}
    assert len({str(life.told[version]) for version in versions}) == 4
    # The cube of the second version, with a tail of the rows that it didn't hold yet.
    assert paths == {versions[0]: "cube", versions[1]: "cube", versions[2]: "cube+raw", versions[3]: "cube"}
    assert life.ask().table.to_pylist() == life.told[versions[3]]


def test_the_receipt_tells_the_versions(life: Life) -> None:
    first = life.publish()
    life.publish()
    receipt = life.ask(f" AS OF VERSION {first}").receipt
    assert receipt["as_of"] == f"requests@{first}"
    assert receipt["versions"]["requests"]["cubes"]["serving"]["source"] == first
    assert sum(row["n"] for row in life.told[first]) == receipt["rows"]
    assert life.ask().receipt["as_of"] is None


def test_before_a_cube_was_built_rows_answer(life: Life) -> None:
    first = life.publish(built=False)
    life.publish()
    answer = life.check(first)
    assert answer.path == "raw"
    assert "cube serving has no cells as of then" in answer.notices[0]


def test_what_vacuum_took_is_refused_with_the_nearest(life: Life) -> None:
    """Compaction rewrites the rows, vacuum takes the old files: cells still tell of them, rows don't."""
    first, second = life.publish(), life.publish()
    compact_tables(replace(life.settings, table_files=1), life.duck)
    third = delta.open_snapshot(life.settings.lake, _ref()).version
    assert third > second
    life.publish()
    source = delta.open_snapshot(life.settings.lake, table_of(life.cube)).txn("source") or 0
    removed = vacuum(life.settings.lake, [(_ref(), [source], [])], grace=timedelta(0), now=utc_now(), apply=True)
    assert removed
    with pytest.raises(QueryError, match=rf"of 2026-10-0. .*version {first} are gone.*nearest .* is {third} "):
        life.ask(f" AS OF VERSION {first}", raw=True)
    assert life.ask(f" AS OF VERSION {third}", raw=True).table.to_pylist() == life.told[second]


def test_cells_that_are_gone_leave_it_to_the_rows(life: Life) -> None:
    first, second = life.publish(), life.publish()
    compact_cube(life.settings, life.duck, life.cube, whole=True)
    life.publish()
    assert vacuum(life.settings.lake, [(table_of(life.cube), [], [])], grace=timedelta(0), now=utc_now(), apply=True)
    answer = life.check(first)
    assert answer.path == "raw"
    assert "whose cells are still there" in answer.notices[0]
    assert life.check(second).path == "cube"


def test_refusals(life: Life) -> None:
    for clause, message in (
        (" AS OF VERSION 1", "there is no version 1 of requests. There is none yet"),
        (" AS OF TIMESTAMP '2999-01-01'", "lies in the future"),
    ):
        with pytest.raises(QueryError, match=message):
            life.ask(clause)
    version = life.publish()
    for clause, message in (
        (f" AS OF VERSION {version + 1}", rf"no version {version + 1} .* Versions 0 to {version} are told of"),
        (" AS OF TIMESTAMP '2020-01-01'", r"nothing is told of requests .* oldest version that is told of is 0"),
        (" AS OF TIMESTAMP 'then'", "'then' is no moment"),
        (" AS OF TIMESTAMP now()", "takes a written moment"),
        (" AS OF VERSION 1 JOIN samples AS OF VERSION 2 ON true", "different things of two tables"),
        (" JOIN models AS OF VERSION 1 ON true", "versions are those of facts"),
    ):
        with pytest.raises(QueryError, match=message):
            life.ask(clause)


def test_spelling() -> None:
    for text in ("SELECT a AS of, version FROM x", "SELECT 'as of version 1'", "SELECT 1 FROM x FOR VERSION AS OF 3"):
        assert respelled(text) == text
    assert respelled("FROM x as  of '2026-01-01' b") == "FROM x FOR TIMESTAMP AS OF '2026-01-01' b"
    assert read_setting(" ") is None
    assert read_setting("2026-01-01 02:00:00+02") == AsOf(datetime(2026, 1, 1, tzinfo=UTC))
    assert str(read_setting("requests@17")) == "requests@17"
    for text in ("soon", "nothing@1"):
        with pytest.raises(QueryError):
            read_setting(text)


def _ref() -> tables.TableRef:
    return tables.trusted("requests")


def test_erased_and_expired_rows_are_never_shown_again(tmp_path: Path) -> None:
    """An earlier version still has files that hold them; neither rows nor cells of those days answer."""
    kept = lifelake.Life(tmp_path)
    kept.land(1, 3, 45)
    kept.land(2, host="ann")
    kept.gate()
    kept.build()
    version = delta.open_snapshot(kept.settings.lake, tables.trusted("samples")).version
    sql = f"SELECT host, count(*) FROM samples AS OF VERSION {version} WHERE metric = 'gpu.power' AND ts >= '{{}}'"
    early = sql.format(kept.day(3)) + " GROUP BY host"
    with Session(kept.settings, cubes=[kept.cube]) as session:
        for raw in (False, True):
            assert {"host": "ann", "count": 1} in session.query(early, raw=raw).table.to_pylist()
        kept.erase()
        kept.build()
        for raw in (False, True):
            # Neither the answer that was kept nor the plan shows them any more.
            with pytest.raises(QueryError, match="erased since"):
                session.query(early, raw=raw)
    kept.retire()
    with Session(kept.settings, cubes=[kept.cube]) as session:
        for raw in (False, True):
            after = session.query(sql.format(kept.day(1)) + " GROUP BY host", raw=raw)
            assert after.table.to_pylist() == [{"host": "a", "count": 1}]
            with pytest.raises(QueryError, match=rf"of {kept.day(2)} as of version {version} are gone: .*erased since"):
                session.query(sql.format(kept.day(3)) + " GROUP BY host", raw=raw)
        old = (
            f"SELECT count(*) FROM samples AS OF VERSION {version} WHERE ts < '{kept.day(30)}' AND metric = 'gpu.power'"
        )
        with pytest.raises(QueryError, match=rf"of {kept.day(45)} .*(expired|gone)"):
            session.query(old, raw=True)
        assert session.query(old).table.column(0)[0].as_py() == 1


def test_as_of_now_is_now(asked: Session) -> None:
    """Every question of the corpus, asked as of this moment, is answered as it is without; so is EXPLAIN's path."""
    moment = iso(utc_now())
    for query in [one for pattern in ("requests.slt", "samples.slt") for one in queries(pattern)][::4]:
        then, now = asked.query(query.sql, as_of=moment), asked.query(query.sql)
        same(then, now, query.place)
        assert then.path == now.path
