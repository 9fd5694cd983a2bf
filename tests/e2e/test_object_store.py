"""A lake in an object store through its whole life: two hosts, two engines, a store that goes away, its upkeep.

`test_kills.py` and `test_life.py` run there too: killed verbs end like a clean run on a local disk, digest by digest.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from gating import gate
from lifelake import Life, child
from s3server import S3Server

from cubes.build import build
from cubes.segments import table_of
from cubes.verify import verify
from ingestion.clean import clean
from ingestion.frames import Frame
from ingestion.inbox import land_inbox
from ingestion.sample import Record, encode_record
from ingestion.spool import Spool
from lake.delta import open_snapshot
from lake.duck import Duck
from lake.errors import LakeError
from lake.objects import delete_objects, place_of
from lake.places import lake_path
from lake.shared import files_below
from lake.tables import landing, trusted

pytestmark = [pytest.mark.s3, pytest.mark.slow, pytest.mark.timeout(600)]

POINTS = [
    ("gate", "gate.quarantine.after"),
    ("build", "builder.cells.after"),
    ("compact", "compact.commit.after"),
    ("erase", "gate.landing.after"),
    ("retain", "retain.record.after"),
]
STEPS = {"gate": Life.gate, "build": Life.build, "compact": Life.compact, "erase": Life.erase, "retain": Life.retire}


def lived(life: Life, *, upto: str = "") -> Life:
    """Rows of four ages and a bad one, judged and built twice, except the step `upto` and what comes after it."""
    life.land(1, 33, 50, host="bob")
    life.gate()
    life.build()
    life.land(1, 34, host="ann")
    life.land(1, value="bad")
    if upto != "gate":
        life.gate()
    if upto not in ("gate", "build"):
        life.build()
    return life


def drop_claims(lake: Path) -> None:
    """What an operator does who knows that the other host is gone."""
    claims = [one.path for one in files_below(lake / "_claims", ".json")]
    assert claims
    delete_objects(claims)


@pytest.mark.parametrize("verb,point", POINTS)
def test_what_a_lost_host_began_another_one_ends(s3: S3Server, tmp_path: Path, verb: str, point: str) -> None:
    lost = lived(Life(tmp_path, place=s3.url, home="lost"), upto=verb)
    other = Life(tmp_path, place=s3.url, home="other", seq=100)
    assert child(lost, f"life.{STEPS[verb].__name__}()", fault=point) == -signal.SIGKILL
    with pytest.raises(LakeError, match=r"is writing .* if that host is gone for good, delete s3://"):
        STEPS[verb](other)
    drop_claims(other.settings.lake)
    other.finish()
    other.holds()
    assert other.counted() == other.told()
    other.land(1, host="bob")
    other.finish()
    # The lost one comes back.
    lost.land(2, host="bob")
    lost.finish()
    lost.holds()
    assert lost.counted() == lost.told()
    assert lost.told()[0] == (5 if verb == "erase" else 7), "ann had two rows"


def test_a_killed_build_leaves_nothing_visible_and_goes_on(s3: S3Server, tmp_path: Path) -> None:
    life = lived(Life(tmp_path, place=s3.url), upto="build")
    before = life.ask("SELECT host, count(*) AS n FROM samples GROUP BY 1 ORDER BY 1")
    version = open_snapshot(life.settings.lake, table_of(life.cube)).version
    for point in ("builder.scan.after", "builder.cells.after", "builder.commit.before"):
        assert child(life, "life.build()", fault=point) == -signal.SIGKILL
        assert open_snapshot(life.settings.lake, table_of(life.cube)).version == version
        assert life.ask("SELECT host, count(*) AS n FROM samples GROUP BY 1 ORDER BY 1") == before
    life.build()
    life.holds()
    assert life.counted() == life.told() == (5, 300)


def test_a_store_that_goes_away_loses_nothing(s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    life = lived(Life(tmp_path, place=s3.url), upto="gate")

    def cleaned(*arguments: Any, **more: Any) -> str:
        s3.stop()
        return clean(*arguments, **more)

    silent = r"s3://.*doesn't answer\. See that AWS_ENDPOINT_URL"
    try:
        with pytest.raises(LakeError, match=silent):
            gate(life.settings, life.duck, clean=cleaned)
        with pytest.raises(LakeError, match=silent):
            life.land(1)
        s3.start()
        life.gate()
        with pytest.raises(LakeError, match=silent):
            build(life.settings, life.duck, life.cube, progress=lambda *_: s3.stop())
    finally:
        s3.stop()
        s3.start()
    life.finish()
    life.holds()
    assert life.counted() == life.told() == (5, 300)


def test_vacuum_takes_what_a_kill_and_an_erasure_left(s3: S3Server, tmp_path: Path) -> None:
    life = lived(Life(tmp_path, place=s3.url), upto="build")
    for _ in range(2):
        assert child(life, "life.build()", fault="builder.commit.before") == -signal.SIGKILL
    life.build()
    life.erase()
    life.build()
    life.age(100, s3.files)
    life.land(2, host="bob")  # a commit of now
    life.gate()
    life.build()
    lake = life.settings.lake
    assert holders(life.duck, lake, "ann")
    there = set(named(lake, ".parquet"))
    life.vacuum(apply=False)
    assert set(named(lake, ".parquet")) == there
    life.vacuum(apply=True)
    gone = there - set(named(lake, ".parquet"))
    assert len([name for name in gone if "/build-" in name]) >= 4, "two killed builds, of some segments each"
    assert holders(life.duck, lake, "ann") == []
    life.holds()
    assert life.counted() == life.told()
    assert life.ask("SELECT host, count(*) AS n FROM samples GROUP BY 1 ORDER BY 1") == [{"host": "bob", "n": 4}]


def named(lake: Path, suffix: str) -> list[str]:
    return [str(one.path.relative_to(lake)) for one in files_below(lake, suffix)]


def holders(duck: Duck, lake: Path, host: str) -> list[str]:
    """Data files of landing and trusted that hold a row of the host, read one by one."""
    found = []
    for ref in (landing("samples"), trusted("samples")):
        snapshot = open_snapshot(lake, ref)
        for one in files_below(ref.path(lake), ".parquet"):
            [(rows,)] = duck.sql(f"SELECT count(*) FROM {duck.scan(snapshot, [str(one.path)])} WHERE host = '{host}'")
            found += [str(one.path)] * bool(rows)
    return found


@pytest.mark.spark
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_both_engines_build_the_cells_of_a_local_lake(s3: S3Server, tmp_path: Path) -> None:
    from cubes.spark.session import spark_session

    local = lived(Life(tmp_path / "local"))
    mine = lived(Life(tmp_path / "mine", place=s3.url))
    theirs = Life(tmp_path / "theirs", place=s3.new_bucket())
    theirs.settings = replace(theirs.settings, engine="spark", spark_master="local[2]")
    try:
        lived(theirs)
        want = verify(local.settings, local.duck, local.cube)
        assert want.holds
        for life in (mine, theirs):
            found = verify(life.settings, life.duck, life.cube)
            assert found.holds, found.shown
            assert found.digests == want.digests
        spark = [path for path in named(theirs.settings.lake, ".parquet") if "spark" in path]
        assert spark, "Spark wrote them"
        theirs.settings = replace(theirs.settings, engine="duckdb")
        theirs.land(1, 2)
        theirs.finish()
        theirs.holds()
    finally:
        spark_session(replace(theirs.settings, engine="spark", spark_master="local[2]")).stop()


def test_inboxes_of_two_hosts_count_for_themselves(s3: S3Server, tmp_path: Path) -> None:
    """A round that one host didn't end is not taken for ended because the other went on counting."""
    lives = [Life(tmp_path, place=s3.url, home=home) for home in ("one", "two")]
    for place, life in enumerate(lives):
        frames = []
        for seq, fact in enumerate(("samples", "events"), 1):
            row = {"ts": "2026-11-09T00:00:00Z", "host": "h", "site": "s", "metric": "gpu.power", "value": "1"}
            row = row if fact == "samples" else {"ts": row["ts"], "host": "h", "site": "s", "kind": "x"}
            record = Record(f"agent-{place}", "boot", seq, fact, "2026-11-10T00:00:00.000000Z", (row,))
            frames.append(
                Frame(record.agent, "boot", seq, fact, 1_794_268_800_000_000, encode_record(record), "record")
            )
        with closing(Spool(life.settings.lake / "_inbox")) as spool:
            for frame in frames:
                spool.append([frame])
            spool.seal()
    one, two = lives
    code = "from ingestion.inbox import land_inbox\nland_inbox(life.duck, at := life.settings.lake, at / '_inbox')"
    assert child(one, code, fault="lander.commit.after") == -signal.SIGKILL
    drop_claims(two.settings.lake)
    for life in (two, one):
        land_inbox(life.duck, life.settings.lake, life.settings.lake / "_inbox")
    for fact in ("samples", "events"):
        rows = one.duck.scan(open_snapshot(one.settings.lake, landing(fact)))
        assert one.duck.sql(f"SELECT agent FROM {rows} ORDER BY 1") == [("agent-0",), ("agent-1",)], fact


def test_the_command_line_says_what_is_wrong(s3: S3Server, tmp_path: Path) -> None:
    environ = {**os.environ, "FLEETCUBE_HOME": str(tmp_path)}
    cases: list[tuple[str, dict[str, str], str]] = [
        (s3.url, {}, f"fleetcube: {s3.url}: This folder holds no lake."),
        ("s3://no-such-bucket/x", {}, "fleetcube: s3://no-such-bucket/x/landing: There is no bucket 'no-such-bucket'."),
        (
            s3.url,
            {"AWS_SECRET_ACCESS_KEY": ""},
            "fleetcube: environment: There are no credentials for the object store.",
        ),
        (s3.url, {"AWS_ALLOW_HTTP": ""}, "fleetcube: AWS_ENDPOINT_URL: The endpoint http://127.0.0.1:"),
        ("gs://bucket/x", {}, "fleetcube: flag --lake: 'gs:/bucket/x' is no place for a lake. Name a folder"),
    ]
    for place, change, said in cases:
        command = [sys.executable, "-m", "fleetcube", "status", "--lake", place]
        done = subprocess.run(command, env={**environ, **change}, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout) == (1, ""), place
        assert done.stderr.startswith(said), done.stderr
    assert place_of(lake_path(s3.url, tmp_path) / "x").get() is None
