"""Histograms in cells that Spark made: the same slots and ranges as DuckDB's, and the same answers."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlcorpus import same
from sqllake import add_rows

from cubes.build import build
from cubes.load import load_cubes
from cubes.session import Session
from cubes.spark.session import spark_session
from cubes.verify import verify
from lake.duck import connect
from lake.lookup_store import publish_lookup
from lake.settings import Settings

# pyspark leaves its sockets to the garbage collector.
pytestmark = [pytest.mark.spark, pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]
CUBE = """
cube: delays
fact: samples
grains: [1h, 1d, 1w]
dimensions: [site, metric]
cuboids: [[metric]]
measures:
  delay: {quantiles: counts, grains: [1d, 1w]}
"""
ASKED = """SELECT site, approx_percentile(counts, 0.5), percentile_low(counts, 0.9), percentile_high(counts, 0.9)
FROM samples WHERE metric = 'm' GROUP BY site"""


def test_both_engines_make_the_same_slots_of_histograms(tmp_path: Path) -> None:
    (tmp_path / "delays.yaml").write_text(CUBE)
    cube = load_cubes(tmp_path)["delays"]
    mine = Settings(lake=tmp_path / "duckdb", memory_mib=1024, spark_master="local[2]")
    mine.lake.mkdir()
    duck = connect(mine)
    publish_lookup(mine.lake, duck, "bounds", [("wide", json.dumps(["-0.1", "0", "0.25", "7"]))])
    start = datetime(2026, 10, 5, tzinfo=UTC)
    kinds = (("wide", None), ("base2:3:-4", None), ("base2:8:-9:2:1", None), ("lost", None), (None, 3))
    made = [
        {
            "ts": start + timedelta(hours=5 * place),
            "metric": "m",
            "site": f"s{place % 3}",
            "bounds_id": name,
            "counts": None if name is None else [place % 3, 2, 0, 5, place],
            "value": value,
        }
        for place, (name, value) in enumerate(kinds * 12)
    ]
    add_rows(duck, mine, "samples", made, 1)
    theirs = replace(mine, lake=tmp_path / "spark", engine="spark")
    shutil.copytree(mine.lake, theirs.lake)
    reports, answers = [], []
    for settings in (mine, theirs):
        build(settings, connect(settings), cube)
        reports.append(verify(settings, connect(settings), cube))
        with Session(settings, cubes=[cube]) as session:
            answers.append(session.query(ASKED))
            same(answers[-1], session.query(ASKED, raw=True), "rows")
    spark_session(theirs).stop()
    assert all(report.holds for report in reports), reports
    assert reports[0].slots > 50
    assert reports[0].digests == reports[1].digests
    same(answers[0], answers[1], "engines")
    assert {answer.path for answer in answers} == {"cube"}
