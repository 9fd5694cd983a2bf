"""Replay: every line is accounted for under its number, once for ever."""

from __future__ import annotations

import csv
import gzip
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ingestion.mapping import load_mapping
from ingestion.replay import ReplayedFile, replay
from lake.delta import open_snapshot
from lake.duck import Duck
from lake.errors import DefinitionError, FleetcubeError
from lake.settings import Settings
from lake.tables import landing

LOGS = Path(__file__).parents[1] / "data" / "logs"
DOCS = Path(__file__).parents[2] / "docs" / "mappings.md"
AT = datetime(2026, 11, 21, tzinfo=UTC)
MALFORMED = {
    "online.log": {21: "missing", 41: "extra", 121: "bytes", 221: "comma", 241: "thousands", 381: "quote"},
    "offline.log": {16: "missing", 31: "extra", 91: "bytes", 151: "comma", 166: "thousands"},
}
BLANK = {"online.log": {101, 321}, "offline.log": {76}}


def run(settings: Settings, duck: Duck, path: Path, mapping: str) -> ReplayedFile:
    (found,) = replay(duck, settings.lake, [path], load_mapping(mapping), received_at=AT)
    return found


def landed(settings: Settings, duck: Duck, columns: str, fact: str = "samples") -> list[tuple[Any, ...]]:
    return duck.sql(f"SELECT {columns} FROM {duck.scan(open_snapshot(settings.lake, landing(fact)))} ORDER BY ALL")


@pytest.mark.parametrize("name", ["online.log", "offline.log"])
def test_every_line_of_a_log_is_accounted_for(settings: Settings, duck: Duck, name: str) -> None:
    found = run(settings, duck, LOGS / name, name.replace(".", "-"))
    lines = (LOGS / name).read_bytes().split(b"\n")[:-1]
    assert found.lines == len(lines)
    rows = landed(settings, duck, "seq, idx, problem, raw, ts, value, metric")
    malformed = {row[0]: row for row in rows if row[2] is not None}
    assert set(malformed) == set(MALFORMED[name])
    for seq, row in malformed.items():
        assert row[1:3] == (0, "malformed")
        assert row[3] == lines[seq - 1].decode("utf-8", "backslashreplace").removesuffix("\r")
        assert row[4:] == (None, None, None)
    whole = set(range(2, len(lines) + 1)) - set(malformed) - BLANK[name]
    assert [(row[0], row[1]) for row in rows if row[2] is None] == sorted((seq, idx) for seq in whole for idx in (0, 1))
    for seq, idx, _, _, ts, value, _ in (row for row in rows if row[2] is None):
        cells = next(csv.reader([lines[seq - 1].decode().removesuffix("\r")]))
        assert (ts, value or "") == (cells[0], cells[1 + idx])
    assert found.landed["samples"].received == len(rows) == 2 * len(whole) + len(malformed)


def test_the_same_content_changes_nothing(settings: Settings, duck: Duck, tmp_path: Path) -> None:
    first = run(settings, duck, LOGS / "online.log", "online-log")
    snapshot = open_snapshot(settings.lake, landing("samples"))
    assert first.changed
    renamed = tmp_path / "yesterday-online.log.gz"
    renamed.write_bytes(gzip.compress((LOGS / "online.log").read_bytes()))
    again = run(settings, duck, renamed, "online-log")
    assert (again.changed, again.rows, again.known) == (False, 0, ("samples",))
    assert again.agent == first.agent
    assert open_snapshot(settings.lake, landing("samples")).version == snapshot.version


def test_a_torn_file_lands_its_lines_and_a_gap(settings: Settings, duck: Duck, tmp_path: Path) -> None:
    packed = gzip.compress((LOGS / "online.log").read_bytes())
    torn = tmp_path / "online.log.gz"
    torn.write_bytes(packed[: len(packed) // 2])
    found = run(settings, duck, torn, "online-log")
    rows = landed(settings, duck, "seq, problem, raw, lost, value")
    (gap,) = [row for row in rows if row[1] == "gap"]
    assert gap[0] == found.lines == max(row[0] for row in rows)
    assert gap[2].startswith("the compressed stream ends in the middle, in: 2026-")
    assert (gap[3], gap[4]) == (1, None)
    assert found.landed["samples"].problems["gap"] == 1


MINE = """\
mapping: mine
description: A JSON log of my own, read without a line of Python.
files:
  - match: "*.jsonl"
    format: jsonl
    path: "(?P<region>[a-z]+)/[^/]*$"
    null: ["", "-"]
    emit:
      - fact: requests
        columns:
          ts: at
          status: outcome
          e2e_ms: timing.took
          tenant: who
          site: {template: "{path.region}"}
          service: {const: chat}
        labels: {request_type: kind, prompt_chars: chars}
        reading:
          ts: {format: epoch_ms}
          e2e_ms: {unit: s}
        key: [ts, tenant]
"""
JSON_LINES = [
    '{"at": 1700000000123, "outcome": "ok", "timing": {"took": 0.10}, "who": "a", "kind": "x", "chars": 12}',
    '{"at": 17e11, "outcome": "ok", "timing": {"took": 12345678901234567890.123}, "who": "-"}',
    '{"at": 1700000000125, "outcome": null, "timing": 3, "who": "tab\\tand\\nline", "kind": true}',
    '{"at": 1, "at": 2}',
    '{"at": 1',
    '["at", 1]',
    '{"who": "\\u001f"}',
    '{"at": NaN, "who": "æ\\"q\\""}',
]


def test_a_users_mapping_reads_a_json_log(settings: Settings, duck: Duck, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(MINE, encoding="utf-8")
    (tmp_path / "north").mkdir()
    path = tmp_path / "north" / "today.jsonl"
    path.write_text("\n".join(JSON_LINES), encoding="utf-8")
    run(settings, duck, path, str(tmp_path / "mine.yaml"))
    columns = "seq, problem, ts, status, e2e_ms, tenant, site, service, labels, row_key"
    rows = landed(settings, duck, columns, "requests")
    key = "mine/*.jsonl|"
    labels = '{"prompt_chars":"12","request_type":"x"}'
    assert rows[0][1:] == (None, "1700000000123", "ok", "0.10", "a", "north", "chat", labels, f"{key}1700000000123|a")
    assert rows[1][2:6] == ("1.7E+12", "ok", "12345678901234567890.123", None)
    assert rows[1][9] is None
    assert rows[2][2:6] == ("1700000000125", None, None, "tab\tand\nline")
    assert rows[2][8] == '{"request_type":"true"}'
    assert [row[:3] for row in rows[3:7]] == [(seq, "malformed", None) for seq in (4, 5, 6, 7)]
    assert rows[7][2:6] == ("NaN", None, None, 'æ"q"')
    assert landed(settings, duck, "source, reading, received_at", "requests")[0] == (
        "mine",
        '{"e2e_ms":{"unit":"s"},"ts":{"format":"epoch_ms"}}',
        AT,
    )


LINES = """\
mapping: words
description: Lines with words, read by an expression.
files:
  - match: "*.txt"
    format: lines
    pattern: '(?P<at>[^ ]+) (?P<level>[A-Z]+)(?: \\[(?P<host>[a-z0-9]+)\\])? (?P<words>.*)'
    emit:
      - fact: events
        columns: {ts: at, severity: level, host: host, text: words, kind: {const: state}}
        reading:
          severity: {values: {INFO: info, WARN: warning}}
"""


def test_lines_are_read_by_an_expression(settings: Settings, duck: Duck, tmp_path: Path) -> None:
    (tmp_path / "words.yaml").write_text(LINES, encoding="utf-8")
    path = tmp_path / "log.txt"
    path.write_text('t1 INFO [h1] it is up\n\nt2 WARN slow, "very"\nnonsense\n', encoding="utf-8")
    run(settings, duck, path, str(tmp_path / "words.yaml"))
    assert landed(settings, duck, "seq, problem, ts, severity, host, text", "events") == [
        (1, None, "t1", "INFO", "h1", "it is up"),
        (3, None, "t2", "WARN", None, 'slow, "very"'),
        (4, "malformed", None, None, None, None),
    ]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("online.log", "time,requestnum,accuracy\n", "Did you mean 'requestnum'?"),
        ("online.log", "time,request_num,time,accuracy\n", "Column 'time' is there twice"),
        ("other.csv", "", "has no entry for this file"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_whole(
    settings: Settings, duck: Duck, tmp_path: Path, name: str, content: str, told: str
) -> None:
    shutil.copy(LOGS / "online.log", tmp_path / "first-online.log")
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(DefinitionError) as failure:
        replay(duck, settings.lake, [tmp_path / "first-online.log", tmp_path / name], load_mapping("online-log"))
    assert told in str(failure.value)
    assert not open_snapshot(settings.lake, landing("samples")).exists


def test_a_folder_without_fitting_files_and_a_missing_file_are_told(
    settings: Settings, duck: Duck, tmp_path: Path
) -> None:
    for path in (tmp_path, tmp_path / "online.log"):
        with pytest.raises(FleetcubeError, match=r"It reads|can't be read"):
            replay(duck, settings.lake, [path], load_mapping("online-log"))


def test_the_documented_example_does_what_it_says(settings: Settings, duck: Duck, tmp_path: Path) -> None:
    text = DOCS.read_text(encoding="utf-8")
    log, mapping = (text.split(f"```{kind}\n")[1].split("```")[0] for kind in ("csv", "yaml"))
    (tmp_path / "north").mkdir()
    (tmp_path / "north" / "calls.csv").write_text(log, encoding="utf-8")
    (tmp_path / "my-service.yaml").write_text(mapping, encoding="utf-8")
    run(settings, duck, tmp_path / "north" / "calls.csv", str(tmp_path / "my-service.yaml"))
    assert landed(settings, duck, "seq, problem, raw, e2e_ms, status, site", "requests") == [
        (2, None, None, "0.731", "done", "north"),
        (3, None, None, None, "failed", "north"),
        (4, None, None, "0.902", "done", "north"),
        (5, "malformed", "2026-03-01 09:00:11,atlas-8b,0.4", None, None, None),
    ]


@pytest.mark.traces
def test_the_real_traces_land_whole(settings: Settings, duck: Duck, traces: Path) -> None:
    for name in ("alibaba-genai-2026", "azure-llm-2023"):
        files = sorted((traces / name).glob("*.csv.gz"))
        found = replay(duck, settings.lake, [traces / name], load_mapping(name))
        assert [file.path for file in found] == files
        for file in found:
            with gzip.open(file.path, "rt", newline="") as text:
                lines = list(csv.reader(text))
            assert (file.lines, file.rows) == (len(lines), len(lines) - 1)
            assert all(not batch.problems for batch in file.landed.values())
        assert not any(file.changed for file in replay(duck, settings.lake, [traces / name], load_mapping(name)))
    samples = duck.scan(open_snapshot(settings.lake, landing("samples")))
    bad = f"count(*) FILTER (pod IS NULL AND json_exists(reading, '$._required')), count(*) FROM {samples}"
    with gzip.open(traces / "alibaba-genai-2026" / "pod_memory_util_anon.csv.gz", "rt") as text:
        homeless = sum(line["container_ip"] in ("", "NULL", "None") for line in csv.DictReader(text))
    ((rejected, total),) = duck.sql(f"SELECT {bad}")
    assert (rejected, total) == (homeless, 530_575)
    twice = duck.sql(f"SELECT row_key FROM {samples} WHERE row_key IS NOT NULL GROUP BY 1 HAVING count(*) > 1")
    assert len(twice) == 1
    requests = duck.scan(open_snapshot(settings.lake, landing("requests")))
    by_status = duck.sql(f"SELECT source, status, count(*) FROM {requests} GROUP BY ALL ORDER BY ALL")
    assert by_status == [
        ("alibaba-genai-2026", "FAILED", 280),
        ("alibaba-genai-2026", "PENDING", 17),
        ("alibaba-genai-2026", "SUCCEED", 17_467),
        ("azure-llm-2023", "ok", 19_366),
    ]


def _parquet(tmp_path: Path, **columns: Any) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "calls.parquet"
    pq.write_table(pa.table(columns), path)
    text = (
        "mapping: packed\ndescription: d\nfiles:\n  - match: '*.parquet'\n    format: parquet\n    emit:\n"
        "      - fact: requests\n        columns: {ts: at, status: {const: ok}, model: model, e2e_ms: took}\n"
        "        reading: {e2e_ms: {unit: s}}\n"
        "      - fact: samples\n        columns: {ts: at, metric: {const: gpu.power}, value: took}\n"
    )
    (tmp_path / "packed.yaml").write_text(text)
    return path


def test_parquet_lands_its_rows_as_texts(settings: Settings, duck: Duck, tmp_path: Path) -> None:
    at = [datetime(2026, 11, 1, 2, 3, second, tzinfo=UTC) for second in range(4)]
    path = _parquet(tmp_path, at=at, model=["a", "b\0c", None, ""], took=[0.1, 0.2, 1e-7, None], unused=[b"x"] * 4)
    mapping = load_mapping(str(tmp_path / "packed.yaml"))
    (found,) = replay(duck, settings.lake, [path], mapping, received_at=AT)
    assert (found.lines, found.rows) == (4, 7)
    rows = landed(settings, duck, "seq, idx, problem, model, e2e_ms, ts, raw", "requests")
    assert [row[:5] for row in rows] == [
        (1, 0, None, "a", "0.1"),
        (2, 0, "malformed", None, None),
        (3, 0, None, None, "1e-07"),
        (4, 0, None, None, None),
    ]
    assert rows[0][5] == "2026-11-01T02:03:00Z"
    assert rows[1][6] == '["2026-11-01T02:03:01Z","b\\u0000c","0.2"]'
    assert [row[0] for row in landed(settings, duck, "seq, value")] == [1, 3, 4]
    (again,) = replay(duck, settings.lake, [path], mapping, received_at=AT)
    assert (again.changed, again.known) == (False, ("requests", "samples"))


def test_parquet_that_does_not_fit_is_refused_before_anything_lands(
    settings: Settings, duck: Duck, tmp_path: Path
) -> None:
    good = _parquet(tmp_path, at=["2026-11-01T00:00:00Z"], model=["a"], took=[1])
    mapping = load_mapping(str(tmp_path / "packed.yaml"))
    bad = tmp_path / "later.parquet"
    bad.write_bytes(good.read_bytes()[:-20])
    with pytest.raises(FleetcubeError, match="no Parquet file"):
        replay(duck, settings.lake, [good, bad], mapping)
    _parquet(tmp_path, at=["2026-11-01T00:00:00Z"], model=["a"], token=[1])
    with pytest.raises(DefinitionError, match="Column 'took' is missing"):
        replay(duck, settings.lake, [good], mapping)
    assert not open_snapshot(settings.lake, landing("requests")).exists
