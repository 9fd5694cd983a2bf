"""The real traces through replay, gate and build: every row has a fate, and every answer is that of the files."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any

import pytest
from sqlcorpus import Query, check, queries
from traceoracle import GRID_S, TIMED, Samples, lines, read_calls, read_requests, read_samples

from cubes.load import load_cubes
from cubes.segments import table_of
from cubes.session import Answer, Session
from cubes.verify import verify
from fleetcube.pipeline import Pipeline
from fleetcube.status import PARTS, lake_status
from lake import tables
from lake.delta import open_snapshot
from lake.settings import Settings
from quality.quarantine import list_quarantine

pytestmark = pytest.mark.traces

DATA = Path(__file__).parents[3] / "shared" / "data"
ALIBABA, AZURE = DATA / "alibaba-genai-2026", DATA / "azure-llm-2023"
CORPUS = queries("alibaba_*.slt") + queries("azure_*.slt")
FACTS = ("samples", "requests", "evaluations", "events")


@dataclass(frozen=True)
class Warehouse:
    """A lake of both traces with its cubes, and a session on it."""

    settings: Settings
    pipeline: Pipeline
    session: Session

    def load(self) -> None:
        """Replay, gate and build, whether for the first time or not."""
        for folder in (ALIBABA, AZURE):
            self.pipeline.replay([folder], folder.name)
        self.pipeline.gate()
        self.pipeline.build()

    def rows(self, sql: str, *, path: str = "") -> list[tuple[Any, ...]]:
        """The answer's rows; `path` is how it must be answered."""
        answer = self.session.query(sql)
        assert path in ("", answer.path), answer.notices
        return _rows(answer)

    def one(self, sql: str) -> Any:
        """The only value of the answer."""
        [[value]] = self.rows(sql)
        return value

    def versions(self) -> dict[str, int]:
        """The version of every table that a load may write."""
        every = [make(fact) for make in (tables.landing, tables.trusted) for fact in FACTS]
        every += [tables.QUARANTINE, tables.GAPS, tables.SEEN, tables.BATCHES]
        every += [table_of(cube) for cube in load_cubes().values()]
        return {ref.key: open_snapshot(self.settings.lake, ref).version for ref in every}


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    """Both traces, whole."""
    settings = Settings(lake=tmp_path_factory.mktemp("traces") / "lake")
    pipeline = Pipeline(settings)
    with Session(settings) as session:
        made = Warehouse(settings, pipeline, session)
        made.load()
        yield made


@pytest.fixture(scope="module")
def samples() -> Samples:
    """What the files of metrics hold."""
    return read_samples(ALIBABA)


@pytest.mark.parametrize("query", CORPUS, ids=lambda query: query.name)
def test_both_doors_agree(warehouse: Warehouse, query: Query) -> None:
    answer = check(warehouse.session, query)
    assert answer.receipt["path"] == answer.path
    assert bool(answer.receipt["reason"]) == (answer.path == "raw")


def test_the_corpus_is_large_and_says_every_path() -> None:
    assert len({query.name for query in CORPUS}) == len(CORPUS) >= 65
    paths = Counter(query.path for query in CORPUS)
    assert paths.keys() == {"cube", "cube+raw", "raw"}
    assert paths["cube"] + paths["cube+raw"] >= 0.8 * len(CORPUS)


def test_every_cell_equals_its_rows(warehouse: Warehouse) -> None:
    for name in ("infrastructure", "serving"):
        report = verify(warehouse.settings, warehouse.pipeline.duck, load_cubes()[name])
        assert report.holds, report.shown


# Every row, and every fault that the READMEs of the traces name, is in trusted or in quarantine, and counted.


def test_the_accounts_add_up(warehouse: Warehouse, samples: Samples) -> None:
    status = lake_status(warehouse.settings)
    assert status["problems"] == []
    requests, calls = read_requests(ALIBABA), read_calls(AZURE)
    good = sum(len(values) for values in samples.values.values())
    expected = {
        "samples": (good, samples.bad.total()),
        "requests": (len(requests.whole) + len(calls), len(requests.hollow)),
        "evaluations": (0, 0),
        "events": (0, 0),
    }
    for fact, (trusted, quarantine) in expected.items():
        account = status["rows"][fact]
        assert account["received"] == sum(account[part] for part in PARTS) == trusted + quarantine
        assert (account["trusted"], account["quarantine"]) == (trusted, quarantine)


def test_bad_rows_are_in_quarantine_under_what_is_wrong(warehouse: Warehouse, samples: Samples) -> None:
    """Values without their pod, two values of one pod at one time, requests without all that was asked for."""
    found: dict[tuple[str, str], int] = Counter()
    for group in list_quarantine(warehouse.settings.lake, warehouse.pipeline.duck):
        found[group.fact, group.check] += group.rows
    hollow = read_requests(ALIBABA).hollow
    assert found == {
        ("samples", "missing_required"): samples.bad["missing_required"],
        ("samples", "conflict"): samples.bad["conflict"],
        ("requests", "missing_required"): len(hollow),
    }
    assert (samples.bad["missing_required"], samples.bad["conflict"], len(hollow)) == (34, 2, 17)
    assert {line["predict_status"] for line in hollow} == {"PENDING"}


def test_values_of_no_pod_are_trusted_where_there_can_be_none(warehouse: Warehouse) -> None:
    """The queue is the cluster's, and requests to the API run in no pod."""
    sql = "SELECT metric, count(*) FROM samples WHERE pod IS NULL AND ts < '2023-01-01' GROUP BY metric"
    api = sum(line["request_type"] == "API Requests" for line in lines(ALIBABA / "qps.csv.gz"))
    queue = sum(1 for _ in lines(ALIBABA / "queue_size_raw_anon.csv.gz"))
    assert dict(warehouse.rows(sql)) == {"service.queue.length": queue, "service.request.rate": api}
    assert (queue, api) == (1073, 1019)


def test_zeros_are_values(warehouse: Warehouse, samples: Samples) -> None:
    sql = "SELECT metric, count(*) FROM samples WHERE value = 0 AND ts < '2023-01-01' GROUP BY metric"
    zeros = {metric: sum(nano == 0 for *_, nano in values) for metric, values in samples.values.items()}
    assert dict(warehouse.rows(sql)) == {metric: count for metric, count in zeros.items() if count}
    assert (zeros["model.load_time.pipeline"], zeros["container.gpu.utilization"]) == (1793, 76_913)


def test_fractions_that_are_documented_as_percentages_stay_fractions(warehouse: Warehouse, samples: Samples) -> None:
    metric = "container.memory.utilization"
    highest = max(nano for *_, nano in samples.values[metric])
    assert warehouse.one(f"SELECT max(value) FROM samples WHERE metric = '{metric}'") == Decimal(highest).scaleb(-9)
    assert 10**9 // 2 < highest < 10**9


def test_silence_is_neither_filled_nor_counted_as_lost(warehouse: Warehouse, samples: Samples) -> None:
    """Hours in which a pod says nothing bring no rows and no seconds, and no sequence number is missing."""
    sql = "SELECT metric, pod, count(*), sum(interval_s) FROM samples WHERE ts < '2023-01-01' GROUP BY metric, pod"
    counts = Counter((metric, pod or None) for metric, values in samples.values.items() for _, pod, _ in values)
    assert {row[:2]: row[2:] for row in warehouse.rows(sql)} == {
        (metric, pod): (count, GRID_S * count if metric in TIMED else None) for (metric, pod), count in counts.items()
    }
    assert open_snapshot(warehouse.settings.lake, tables.GAPS).rows == 0


def test_failed_requests_are_errors(warehouse: Warehouse) -> None:
    words = {"SUCCEED": "ok", "FAILED": "error"}
    expected = Counter(words[line["predict_status"]] for line in read_requests(ALIBABA).whole)
    sql = "SELECT status, count(*) FROM requests WHERE service = 'text-to-image' GROUP BY status"
    assert dict(warehouse.rows(sql, path="cube")) == expected == {"ok": 17_467, "error": 280}


def test_requests_without_a_negative_prompt_are_trusted(warehouse: Warehouse) -> None:
    without = sum(not line["negative_prompt_length"] for line in read_requests(ALIBABA).whole)
    where = "service = 'text-to-image' AND NOT labels LIKE '%negative_prompt_chars%'"
    assert warehouse.one(f"SELECT count(*) FROM requests WHERE {where}") == without == 3630


def test_requests_of_one_second_are_different_requests(warehouse: Warehouse) -> None:
    seconds = Counter(line["gmt_create"] for line in read_requests(ALIBABA).whole)
    shared = {datetime.fromisoformat(when).replace(tzinfo=UTC): n for when, n in seconds.items() if n > 1}
    sql = "SELECT ts, count(*) AS n FROM requests WHERE service = 'text-to-image' GROUP BY ts HAVING count(*) > 1"
    assert dict(warehouse.rows(sql)) == shared
    assert sum(shared.values()) > 800


def test_times_of_seven_digits_are_kept_to_the_microsecond(warehouse: Warehouse) -> None:
    """On the sixteenth of November, whatever the publisher's page says; no two calls at one time."""
    sql = "SELECT ts, prompt_tokens, output_tokens FROM requests WHERE service = 'azure-conv' ORDER BY ts"
    calls = read_calls(AZURE)
    assert warehouse.rows(sql, path="raw") == calls
    assert {when.date().isoformat() for when, *_ in calls} == {"2023-11-16"}
    assert len({when for when, *_ in calls}) == 19_366


# Answers equal what plain Python makes of the files.


def test_metrics_by_the_hour_equal_the_files(warehouse: Warehouse, samples: Samples) -> None:
    measures = "count(*), sum(value), min(value), max(value), avg(value), time_avg(value), integral(value)"
    sql = f"SELECT metric, date_trunc('hour', ts) AS t, {measures} FROM samples WHERE ts < '2023-01-01' GROUP BY 1, 2"
    hours: dict[tuple[str, datetime], list[int]] = defaultdict(list)
    for metric, values in samples.values.items():
        for second, _, nano in values:
            hours[metric, datetime.fromtimestamp(second - second % 3600, UTC)].append(nano)
    found = {row[:2]: tuple(map(_nano, row[2:])) for row in warehouse.rows(sql, path="cube")}
    assert found == {key: _cell(values, timed=key[0] in TIMED) for key, values in hours.items()}


def test_percentiles_lie_within_one_percent_of_the_files(warehouse: Warehouse, samples: Samples) -> None:
    shares = (Fraction(1, 100), Fraction(1, 2), Fraction(9, 10), Fraction(999, 1000))
    ranks = ", ".join(f"percentile_disc({float(share)}) WITHIN GROUP (ORDER BY value)" for share in shares)
    sql = f"SELECT metric, {ranks} FROM samples WHERE ts < '2023-01-01' GROUP BY metric"
    for metric, *found in warehouse.rows(sql, path="cube"):
        ordered = sorted(nano for *_, nano in samples.values[metric])
        for value, share in zip(found, shares, strict=True):
            exact = ordered[ceil(share * len(ordered)) - 1]
            assert abs(_nano(value) - exact) <= Fraction(exact, 100), (metric, share)


def test_requests_by_endpoint_and_model_equal_the_file(warehouse: Warehouse) -> None:
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for line in read_requests(ALIBABA).whole:
        micros = int(Decimal(line["exec_time_seconds"]).scaleb(12))
        groups[line["predict_type"], line["checkpoint_model_version_id"]].append(micros)
    measures = "count(*), sum(e2e_ms), min(e2e_ms), max(e2e_ms), avg(e2e_ms)"
    where = "service = 'text-to-image'"
    sql = f"SELECT endpoint, model_version, {measures} FROM requests WHERE {where} GROUP BY 1, 2"
    found = {row[:2]: tuple(map(_nano, row[2:])) for row in warehouse.rows(sql, path="cube")}
    assert found == {key: _cell(values, timed=False)[:5] for key, values in groups.items()}


def test_tokens_by_five_minutes_equal_the_file(warehouse: Warehouse) -> None:
    buckets: dict[datetime, Counter[str]] = defaultdict(Counter)
    for when, prompt, output in read_calls(AZURE):
        bucket = when.replace(minute=when.minute - when.minute % 5, second=0, microsecond=0)
        buckets[bucket].update(n=1, prompt=prompt, output=output)
    measures = "count(*), sum(prompt_tokens), sum(output_tokens)"
    sql = f"SELECT time_bucket('5 minutes', ts) AS t, {measures} FROM requests WHERE service = 'azure-conv' GROUP BY 1"
    expected = {(t, sums["n"], sums["prompt"], sums["output"]) for t, sums in buckets.items()}
    assert set(warehouse.rows(sql, path="cube")) == expected


def test_a_second_replay_changes_nothing(warehouse: Warehouse) -> None:
    """No table gets a version; accounts and answers are the same."""
    before = warehouse.versions(), lake_status(warehouse.settings), _answers(warehouse.settings)
    warehouse.load()
    assert (warehouse.versions(), lake_status(warehouse.settings), _answers(warehouse.settings)) == before


def _answers(settings: Settings) -> list[list[str]]:
    """Answers of a part of the corpus, to a new reader; the order of rows is not always asked for."""
    with Session(settings) as session:
        return [sorted(map(repr, _rows(session.query(query.sql)))) for query in CORPUS[::5]]


def _rows(answer: Answer) -> list[tuple[Any, ...]]:
    return list(zip(*(column.to_pylist() for column in answer.table.columns), strict=True))


def _cell(values: list[int], *, timed: bool) -> tuple[Any, ...]:
    """Count, sum, least, most, mean, mean over time and integral of values in nano, likewise in nano."""
    total = sum(values)
    mean = round(Fraction(total, len(values)))
    return (len(values), total, min(values), max(values), mean, *((mean, total * GRID_S) if timed else (None, None)))


def _nano(value: Any) -> Any:
    """A number of an answer in nano, exactly; a count stays one."""
    return Fraction(value) * 10**9 if isinstance(value, (Decimal, float)) else value
