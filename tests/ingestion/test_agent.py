"""The agent as a whole: what it stores, its start, and that kill -9 anywhere loses and doubles nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ingestion.agent import Agent, run_agent
from ingestion.collectors import Collector
from ingestion.frames import Frame
from ingestion.receive import INBOX, serve_receiver
from ingestion.sample import Reading, Record, decode_record
from ingestion.spool import Spool, list_segments, read_segment
from ingestion.tokens import ensure_token
from lake.errors import ConfigError, TransportError
from lake.settings import Settings

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)


class _Two:
    def collect(self, now: datetime) -> Iterable[Reading]:
        return [
            Reading("cpu.utilization", 57 / 100, "1"),
            Reading("gpu.power", float("nan"), "W", "gpu0", "NVIDIA L4", {"uuid": "GPU-1", "b": "ä"}),
        ]


def _agent(spool: Spool, settings: Settings, said: list[str], collector: Collector | None = None) -> Agent:
    return Agent("a1", "host1", settings, spool, {"two": collector or _Two()}, said.append)


def _records(folder: Path) -> list[Record]:
    items = [item for path in list_segments(folder) for item in read_segment(path)]
    assert all(isinstance(item, Frame) for item in items)
    return [decode_record(item.payload) for item in items if isinstance(item, Frame)]


def test_a_pass_is_one_record_of_texts(settings: Settings) -> None:
    spool = Spool(settings.spool)
    agent = _agent(spool, replace(settings, site="lab", period_s=15), [])
    assert agent.take_reading(NOW) == 7
    assert agent.take_reading(NOW) == 7 + 5  # and the increments of its own counters
    spool.close()
    first, second = _records(settings.spool)
    assert (first.agent, first.seq, first.fact, second.seq) == ("a1", 1, "samples", 2)
    assert first.boot == second.boot
    assert len(first.boot) == 16
    known = {
        "ts": "2026-01-02T03:04:05.000006Z",
        "interval_s": "15",
        "site": "lab",
        "environment": "dev",
        "host": "host1",
    }
    assert first.rows[0] == known | {"metric": "cpu.utilization", "value": "0.57", "unit": "1"}
    assert first.rows[1] == known | {
        "metric": "gpu.power",
        "value": "NaN",
        "unit": "W",
        "device": "gpu0",
        "hardware": "NVIDIA L4",
        "labels": '{"b":"ä","uuid":"GPU-1"}',
    }
    assert {row["metric"] for row in second.rows[7:]} == {
        "agent.spool.lost",
        "agent.passes.skipped",
        "agent.push.records",
        "agent.push.failures",
        "agent.push.refused",
    }


def test_a_large_pass_is_cut_into_records(settings: Settings) -> None:
    class Many:
        def collect(self, now: datetime) -> Iterator[Reading]:
            return (Reading("cpu.core.utilization", 0, "1", device=f"cpu{core}") for core in range(4500))

    spool = Spool(settings.spool)
    _agent(spool, settings, [], Many()).take_reading(NOW)
    spool.close()
    assert [(record.seq, len(record.rows)) for record in _records(settings.spool)] == [(1, 2000), (2, 2000), (3, 505)]


def test_a_full_spool_blocks_and_no_number_is_lost(settings: Settings) -> None:
    said: list[str] = []
    spool = Spool(settings.spool, max_bytes=6000)
    agent = _agent(spool, settings, said)
    stored = [agent.take_reading(NOW) for _ in range(8)]
    assert stored[0] == 7
    assert stored[-1] == 0
    assert "The spool is full" in said[-1]
    assert agent.skipped == stored.count(0) - 1  # the pass that found it full is kept
    sealed = spool.seal()
    assert sealed is not None
    seen = [item.seq for item in spool.read(sealed) if isinstance(item, Frame)]
    spool.drop(sealed)
    assert agent.take_reading(NOW) > 0
    spool.close()
    assert seen + [record.seq for record in _records(settings.spool)] == list(range(1, len(seen) + 3))


def test_an_agent_starts_without_anything_heavy() -> None:
    script = (
        "import json, sys, ingestion.agent; print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    heavy = {"duckdb", "deltalake", "pyarrow", "pyspark", "pydantic", "yaml", "starlette", "uvicorn", "numpy", "pandas"}
    assert not heavy & set(json.loads(done.stdout))


def test_a_missing_token_is_said(settings: Settings) -> None:
    ensure_token(settings.token_file, "other")
    with pytest.raises(ConfigError, match="no token for agent 'a1'") as caught:
        run_agent(replace(settings, agent="a1"))
    assert "set `agent` to one of: other." in str(caught.value)


def test_a_second_agent_on_the_spool_is_refused(settings: Settings) -> None:
    ensure_token(settings.token_file, "a1")
    spool = Spool(settings.spool)
    with pytest.raises(TransportError, match=f"in use by process {os.getpid()}"):
        run_agent(replace(settings, agent="a1"), passes=1)
    spool.close()


@contextmanager
def _receiver(settings: Settings) -> Iterator[int]:
    stop, up, ports = threading.Event(), threading.Event(), list[int]()
    given = {"stop": stop, "ready": lambda port: (ports.append(port), up.set())}
    thread = threading.Thread(target=serve_receiver, args=(replace(settings, receiver_port=0),), kwargs=given)
    thread.start()
    assert up.wait(20)
    yield ports[0]
    stop.set()
    thread.join(20)
    assert not thread.is_alive()


def _child(settings: Settings, port: int, passes: int, fault: str = "") -> subprocess.Popen[str]:
    script = (
        "from pathlib import Path; from lake.settings import Settings; from ingestion.agent import run_agent\n"
        f"settings = Settings(lake=Path({str(settings.lake)!r}), spool=Path({str(settings.spool)!r}), agent='a1',"
        f" period_s=1, receiver='http://127.0.0.1:{port}')\n"
        f"print('up', flush=True); run_agent(settings, passes={passes or None})"
    )
    environ = {**os.environ, "FLEETCUBE_FAULT": fault}
    return subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True)


def _end(child: subprocess.Popen[str]) -> int:
    code = child.wait(30)
    assert child.stdout is not None
    child.stdout.close()
    return code


FAULTS = ["agent.spool.before_write", "agent.spool.after_write", "agent.ship.after_push", "spool.roll.before"]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_killed_agent_loses_nothing_that_it_stored(settings: Settings, fault: str) -> None:
    ensure_token(settings.token_file, "a1")
    with _receiver(settings) as port:
        assert _end(_child(settings, port, 3, fault)) == -signal.SIGKILL
        left = {item.seq for path in list_segments(settings.spool) for item in read_segment(path)}  # type: ignore[union-attr]
        assert _end(_child(settings, port, 1)) == 0
        assert list_segments(settings.spool) == ()
        assert not list(settings.spool.glob("*.open"))
    records = _records(settings.lake / INBOX)
    by_boot: dict[str, list[int]] = {}
    for record in records:
        by_boot.setdefault(record.boot, []).append(record.seq)
    assert all(set(seqs) == set(range(1, max(seqs) + 1)) for seqs in by_boot.values())
    assert left <= {record.seq for record in records}
    # Sent twice means the same record twice: the same identity, the same content.
    assert len({(record.boot, record.seq) for record in records}) == len({str(record) for record in records})
    assert len(by_boot) == (1 if fault == "agent.spool.before_write" else 2)


def test_a_signal_ends_the_agent_and_hands_over_what_it_has(settings: Settings) -> None:
    ensure_token(settings.token_file, "a1")
    with _receiver(settings) as port:
        child = _child(settings, port, 0)
        assert child.stdout is not None
        assert child.stdout.readline() == "up\n"
        time.sleep(1.0)
        child.send_signal(signal.SIGTERM)
        assert _end(child) == 0
        assert list_segments(settings.spool) == ()
    assert {record.seq for record in _records(settings.lake / INBOX)} >= {1}


def test_readings_wait_in_the_spool_while_there_is_no_receiver(settings: Settings) -> None:
    ensure_token(settings.token_file, "a1")
    said: list[str] = []
    away = replace(settings, agent="a1", receiver="http://127.0.0.1:9")
    assert run_agent(away, passes=1, report=said.append) > 20
    assert len(_records(settings.spool)) == 1
    assert any("Push failed (no answer" in text for text in said)
    with _receiver(settings) as port:
        run_agent(replace(away, receiver=f"http://127.0.0.1:{port}"), passes=1, report=said.append)
    assert list_segments(settings.spool) == ()
    records = _records(settings.lake / INBOX)
    assert [record.seq for record in records] == [1, 1]
    assert records[0].boot != records[1].boot
