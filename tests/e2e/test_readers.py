"""Two endpoints beside a writer: clients of both only ever see whole versions, and never an old one.

Every published version holds as many rows of each site, and a multiple of what the first one held, so a count by site
tells which version an answer is of; a half version, or one of two files lists, would show at once.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqllake import add_rows

from cubes.build import build
from cubes.compact import compact_cube
from cubes.load import load_cubes
from fleetcube.children import Children, free_port
from fleetcube.retained import _tables
from fleetcube.upkeep import compact_tables
from lake.duck import Duck, connect
from lake.lookup_store import ensure_lookups
from lake.settings import Settings
from lake.times import utc_now
from lake.vacuum import vacuum

SITES = ("eu", "us", "ap")
ROWS = 30  # of each site in each batch
BATCHES = 10
FIRST = datetime(2026, 10, 5, tzinfo=UTC)
# Each gives n rows a site, or says what each version is made of in another way; by cubes, by rows, and by both.
ASKED = {
    "by site": "SELECT site, count(*) AS n, sum(output_tokens) AS s FROM requests GROUP BY site ORDER BY site",
    "from rows": "SELECT site, count(*) AS n, sum(seven) AS s FROM (SELECT site, length(request_id) * 0 + 7 AS seven"
    " FROM requests) AS t GROUP BY site ORDER BY site",
    "by day": "SELECT site, sum(n) AS n, sum(s) AS s FROM (SELECT site, date_trunc('day', ts) AS d, count(*) AS n,"
    " sum(output_tokens) AS s FROM requests GROUP BY site, d) AS days GROUP BY site ORDER BY site",
}


@dataclass
class Seen:
    """What the clients saw: (which, version before asking, versions of the answer, version after)."""

    published: int = 0
    stop: threading.Event = field(default_factory=threading.Event)
    answers: list[tuple[str, int, int, int]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def judge(self, which: str, before: int, rows: list[tuple[Any, ...]]) -> None:
        """Take an answer of three sites that are equal and a multiple of a batch, or note that it is none."""
        counts = {(int(n), int(s)) for _, n, s in rows}
        n, s = min(counts)
        whole = [site for site, _, _ in rows] == sorted(SITES) and len(counts) == 1 and n % ROWS == 0 and s == 7 * n
        version = n // ROWS
        if not whole:
            self.wrong.append(f"{which}: {rows}")
        elif not before <= version <= self.published + 1:
            self.wrong.append(f"{which}: version {version}, but {before} was published before it was asked")
        self.answers.append((which, before, version, self.published))


def _rows(batch: int) -> list[dict[str, Any]]:
    """Rows of one batch: of the batch's own day, and late ones of every day before it."""
    rng = random.Random(batch)
    found = []
    for site in SITES:
        for number in range(ROWS):
            day = batch if number % 3 else rng.randrange(batch)
            ts = FIRST + timedelta(days=day, seconds=rng.randrange(86_400))
            row = {
                "ts": ts,
                "request_id": f"r{batch}-{site}-{number}",
                "site": site,
                "status": "ok",
                "output_tokens": 7,
            }
            found.append({**row, "model": rng.choice("ab"), "tenant": rng.choice("xy"), "e2e_ms": Decimal(number)})
    return found


def _publish(settings: Settings, duck: Duck, batch: int) -> None:
    add_rows(duck, settings, "requests", _rows(batch), batch)
    for cube in load_cubes().values():
        if cube.fact == "requests":
            build(settings, duck, cube)


def _upkeep(settings: Settings, duck: Duck) -> None:
    """Files merged, and those that nobody needs any more taken away."""
    for cube in load_cubes().values():
        if cube.fact == "requests":
            compact_cube(settings, duck, cube)
    compact_tables(settings, duck)
    # Of the age of minutes, where the setting counts hours: no statement here takes as long.
    vacuum(settings.lake, list(_tables(settings)), grace=timedelta(seconds=45), now=utc_now(), apply=True)


def _client(port: int, seen: Seen, seed: int) -> None:
    rng = random.Random(seed)
    with psycopg.connect(f"host=127.0.0.1 port={port} user=c{seed} dbname=fleet", autocommit=True) as connection:
        while not seen.stop.is_set():
            which = rng.choice(list(ASKED))
            before = seen.published
            try:
                seen.judge(which, before, connection.execute(ASKED[which].encode()).fetchall())
            except psycopg.Error as error:
                seen.wrong.append(f"{which}: {error}")


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[tuple[Settings, Duck]]:
    folder = tmp_path / "lake"
    folder.mkdir()
    settings = Settings(lake=folder, memory_mib=256, table_files=3, segment_files=2, threads=1)
    duck = connect(settings)
    ensure_lookups(folder, duck)
    _publish(settings, duck, 1)
    yield settings, duck
    duck.connection.close()


def test_two_endpoints_answer_from_whole_versions_beside_a_writer(lake: tuple[Settings, Duck], tmp_path: Path) -> None:
    settings, duck = lake
    seen = Seen(published=1)
    with Children(tmp_path / "logs") as children:
        ports = []
        for name in ("one", "two"):
            ports.append(free_port("127.0.0.1", 0))
            children.start(name, "serve", "--lake", str(settings.lake), "--port", str(ports[-1]))
            children.wait_for_port(name, "127.0.0.1", ports[-1], timeout_s=120)
        threads = [threading.Thread(target=_client, args=(ports[at % 2], seen, at)) for at in range(4)]
        for thread in threads:
            thread.start()
        try:
            for batch in range(2, BATCHES + 1):
                _publish(settings, duck, batch)
                seen.published = batch
                if batch % 3 == 0:
                    _upkeep(settings, duck)
                _wait_for(seen, len(seen.answers) + 8)
            _upkeep(settings, duck)
            _wait_for(seen, len(seen.answers) + 16)
        finally:
            seen.stop.set()
            for thread in threads:
                thread.join(120)
        children.check()
    assert seen.wrong == []
    assert {version for _, _, version, _ in seen.answers} >= {2, BATCHES}
    assert {which for which, _, _, _ in seen.answers} == set(ASKED)


def _wait_for(seen: Seen, answers: int) -> None:
    end = time.monotonic() + 120
    while len(seen.answers) < answers and not seen.wrong:
        assert time.monotonic() < end, "the clients are not answered"
        time.sleep(0.02)
