"""The loop's steps on a real lake: verify goes round the days and takes wrong cells out, others keep the lake small."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from journals import append, fleetcube
from sqllake import make_lake

from cubes.load import load_cubes
from cubes.segments import table_of
from cubes.suspicion import active_marks
from fleetcube.alerting import check
from fleetcube.pipeline import Pipeline
from fleetcube.run_steps import Done, pieces
from ingestion.sample import Record
from lake import delta
from lake.alert_states import fold, open_alerts
from lake.alerts import read_alerts
from lake.audit_check import read_checkpoints
from lake.errors import LakeError
from lake.settings import Settings
from lake.tables import LEDGER, trusted

CUBE = load_cubes()["serving"]


@pytest.fixture
def pipeline(settings: Settings) -> Iterator[Pipeline]:
    """A pipeline over a lake of some days and one cube."""
    quiet = replace(settings, silent_host_s=0, stale_facts="")
    make_lake(quiet, rows=200, cubes=[CUBE])
    made = Pipeline(quiet)
    yield made
    made.duck.connection.close()


def do(pipeline: Pipeline, step: str, slot: int = 0) -> list[Done]:
    return [piece.work() for piece in pieces(step, pipeline, slot)]


def spoil(pipeline: Pipeline) -> None:
    """One token more in every cell of the days."""
    lake, duck = pipeline.settings.lake, pipeline.duck
    cells = delta.open_snapshot(lake, table_of(CUBE))
    files = [file for file in cells.files if file.partition["grain"] == "1d"]
    held = duck.scan(cells, cells.paths(lambda file: file in files))
    more = "CAST(sum_output_tokens + 1 AS DECIMAL(38,0)) AS sum_output_tokens"
    adds = duck.write(f"SELECT * REPLACE ({more}) FROM {held}", lake, cells.ref, "bad", stats=("cuboid", "bucket"))
    delta.commit(lake, cells.ref, cells, adds=adds, removes=files, txns={"build": 90})


def kinds(pipeline: Pipeline) -> list[str]:
    assert check(pipeline.settings, pipeline.duck) == []
    held = fold(read_alerts(pipeline.duck, pipeline.settings.lake))
    return sorted(one.last.kind for one in open_alerts(held))


def test_verify_goes_round_the_days(pipeline: Pipeline) -> None:
    days = {one.text[:10] for slot in range(12) for one in do(pipeline, "verify", slot) if one.text}
    rows = delta.open_snapshot(pipeline.settings.lake, trusted("requests"))
    assert days == {file.partition["day"] for file in rows.files}
    assert all(done.text == "" or "all equal" in done.text for done in do(pipeline, "verify"))


def test_wrong_cells_are_taken_out_told_and_over_once_they_hold(pipeline: Pipeline) -> None:
    spoil(pipeline)
    with pytest.raises(
        LakeError, match=r"cells of 2026-\d\d-\d\d differ from their rows\. Run `fleetcube cube refresh"
    ):
        do(pipeline, "verify", -1)
    [mark] = active_marks(pipeline.settings, pipeline.duck, CUBE)
    assert mark.grain == "1d"
    assert kinds(pipeline) == ["cells", "verify"]
    lake = pipeline.settings.lake
    fixed = fleetcube(lake, "cube", "refresh", "serving", "--since", str(mark.first), "--until", "2026-12-31")
    assert fixed.returncode == 0, fixed.stderr
    assert "hold again" in fixed.stdout
    before = fleetcube(lake, "cube", "verify", "serving")
    assert before.returncode == 1, "the days before are wrong still"
    assert "serving: nothing is answered from 1d cells of 2026-" in before.stdout
    assert active_marks(pipeline.settings, pipeline.duck, CUBE) != []
    assert kinds(pipeline) == ["cells", "verify"]
    assert (
        fleetcube(lake, "cube", "refresh", "serving", "--since", "0001-01-01", "--until", "9999-12-31").returncode == 0
    )
    assert fleetcube(lake, "cube", "verify", "serving").returncode == 0
    assert kinds(pipeline) == []


def test_the_steps_that_keep_a_lake_small(pipeline: Pipeline, tmp_path: Path) -> None:
    for _ in range(40):
        with pipeline.timed("land", "x") as done:
            done(1)
    lake = pipeline.settings.lake
    [merged] = do(pipeline, "upkeep")
    assert "ledger: " in merged.text
    assert len(delta.open_snapshot(lake, LEDGER).files) <= 33
    assert [done.text for done in do(pipeline, "vacuum")] == [""], "readers may need the old files for a day"
    [plan] = do(pipeline, "retain")
    assert "parts are due" in plan.text or plan.text == ""
    assert list(pieces("audit", pipeline, 0)) == []
    pipeline.settings = replace(pipeline.settings, audit_checkpoints=tmp_path / "points", audit_copy=tmp_path / "copy")
    [noted] = do(pipeline, "audit")
    assert "is noted in" in noted.text
    assert len(read_checkpoints(tmp_path / "points")) == 1


def test_retention_is_carried_out_only_where_the_setting_says_so(pipeline: Pipeline) -> None:
    lake = pipeline.settings.lake
    before = delta.open_snapshot(lake, table_of(CUBE)).version
    do(pipeline, "retain")
    assert delta.open_snapshot(lake, table_of(CUBE)).version == before
    pipeline.settings = replace(pipeline.settings, run_retain="apply")
    do(pipeline, "retain")
    events = (lake / "_audit").rglob("*.jsonl")
    told = [json.loads(line) for path in events for line in path.read_text().splitlines()]
    assert [(one["resource"], one["result"]) for one in told if one["resource"] in ("retain", "vacuum")] == [
        ("retain", "begun"),
        ("retain", "ok"),
    ]


def bad_rows(lake: Path) -> None:
    row = {"metric": "cpu.utilization", "value": "bad", "host": "h", "site": "s", "interval_s": "60"}
    rows = tuple({**row, "ts": f"2026-01-01T{at // 60:02d}:{at % 60:02d}:00.000000Z"} for at in range(1200))
    append(lake, [Record("a", "boot", 1, "samples", "2026-01-04T00:00:00.000000Z", rows)])


def test_a_blocked_gate_is_3_with_its_page_and_a_notice(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    lake.mkdir()
    bad_rows(lake)
    assert fleetcube(lake, "land", "--notify").returncode == 0
    done = fleetcube(lake, "gate", "--notify")
    page = lake / "_work" / "verdicts" / "samples-00000001.html"
    assert done.returncode == 3
    assert f"  verdict: {page}" in done.stdout
    assert "share_quarantined" in page.read_text()
    assert "share_quarantined_warning, mostly bad_number)" in done.stdout
    assert "[critical] gate: fact/samples" in done.stderr
    assert "rows: 1,200" in done.stderr
    again = fleetcube(lake, "gate", "--retry-blocked", "--notify", FLEETCUBE_VERDICT_LINK="https://x.example.org/v/")
    assert again.returncode == 3
    assert "verdict: https://x.example.org/v/samples-00000002.html" in again.stdout
    assert "[critical] gate" not in again.stderr, "what is unchanged is not told again"
    assert "alerts are open" in fleetcube(lake, "status").stdout
    loop = fleetcube(lake, "run", "--once", "--steps", "gate,alerts")
    assert loop.returncode == 0, "nothing new is blocked"


def test_the_blocked_batch_of_the_docs_blocks_and_gets_through_as_told(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "running.md").read_text()
    section = text.split("To see one, send 1,000 rows")[1]
    block, told, retry = (
        part.split("```")[0] for part in re.split(r"```(?:sh)?\n(?=cat >|made-up|FLEETCUBE)", section)[1:]
    )
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}

    def run(script: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", script], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
        )

    done = run(block)
    assert done.returncode == 3
    # The lake of the docs has had seven batches.
    assert (done.stdout + done.stderr).replace("batch 1", "batch 8").replace("-00000001", "-00000008") == told
    page = (tmp_path / "fleet-lake" / "_work" / "verdicts" / "samples-00000001.html").read_text()
    assert "100 % of the rows (1,000 of 1,000)" in page
    assert "made.up" in page
    assert run(retry).stdout.startswith("samples batch 2 passed: 0 received; 1,000 trusted")


def test_once_ends_with_3_where_a_batch_is_blocked(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    lake.mkdir()
    bad_rows(lake)
    done = fleetcube(lake, "run", "--once", "--steps", "land,gate,build,alerts", "--log", "json")
    assert done.returncode == 3, done.stderr
    lines = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    assert any(line.get("title") == "[critical] gate: fact/samples" for line in lines)
    assert any(line.get("step") == "gate" for line in lines)
    assert fleetcube(lake, "run", "--steps", "land,gaet").returncode == 2
    wrong = fleetcube(lake, "run", "--every", "5x")
    assert (wrong.returncode, "'5x' is no length of time" in wrong.stderr) == (1, True)
