"""The agent: read the host every period, number the reading, make it durable, and let the shipper hand it over.

An agent's start has an id of its own (`boot`) and numbers its records from 1, so that a copied spool or a rolled-back
machine never re-uses an identity. Nothing is read while the spool is full and blocks: such a pass counts as skipped.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from ingestion.collectors import Collector, Sources, collect_all, open_collectors
from ingestion.collectors.procfs import Increments
from ingestion.frames import Frame
from ingestion.sample import Reading, Record, encode_record, number_text, time_text
from ingestion.ship import Pusher, Shipper, Tally
from ingestion.signals import stopped_by_signals
from ingestion.spool import Spool
from ingestion.tokens import load_tokens
from lake.errors import ConfigError, TransportError
from lake.faults import faultpoint
from lake.settings import Settings

_FACT = "samples"
_ROWS_PER_RECORD_MAX = 2000
_SEGMENT_BYTES = 1024 * 1024
_DRAIN_S = 3.0


@dataclass
class Agent:
    """One start of an agent: `take_reading` is one pass, from the collectors to the disk."""

    name: str
    host: str
    settings: Settings
    spool: Spool
    collectors: Mapping[str, Collector]
    report: Callable[[str], None]
    tally: Tally = field(default_factory=Tally)
    boot: str = field(default_factory=lambda: os.urandom(8).hex())
    skipped: int = 0
    _seq: int = 0
    _pending: list[Frame] = field(default_factory=list)
    _own: Increments = field(default_factory=Increments)

    def take_reading(self, now: datetime) -> int:
        """Collect, number and store; the rows stored. 0 if the spool can't take more: then nothing is collected."""
        if not self._store():
            self.skipped += 1
            return 0
        readings = [*collect_all(self.collectors, now, self.report), *self._of_itself()]
        rows = [self._row(reading, time_text(now)) for reading in readings]
        for start in range(0, len(rows), _ROWS_PER_RECORD_MAX):
            self._pending.append(self._frame(rows[start : start + _ROWS_PER_RECORD_MAX], now))
        return len(rows) if self._store() else 0

    def _store(self) -> bool:
        """Make what is pending durable; False leaves it pending under its numbers, so nothing is lost or renumbered."""
        if not self._pending:
            return True
        faultpoint("agent.spool.before_write")
        try:
            self.spool.append(self._pending)
        except TransportError as error:
            self.report(str(error))
            return False
        faultpoint("agent.spool.after_write")
        self._pending = []
        return True

    def _frame(self, rows: Sequence[Mapping[str, str]], now: datetime) -> Frame:
        self._seq += 1
        record = Record(self.name, self.boot, self._seq, _FACT, time_text(now), tuple(rows))
        at_us = int(now.timestamp() * 1_000_000)
        return Frame(self.name, self.boot, self._seq, _FACT, at_us, encode_record(record))

    def _row(self, reading: Reading, ts: str) -> dict[str, str]:
        """The texts of one row; what is not known is absent."""
        row = {
            "ts": ts,
            "metric": reading.metric,
            "value": number_text(reading.value),
            "unit": reading.unit,
            "interval_s": str(self.settings.period_s),
            "site": self.settings.site,
            "cluster": self.settings.cluster,
            "environment": self.settings.environment,
            "host": self.host,
            "device": reading.device,
            "hardware": reading.hardware,
            "labels": _labels_text(reading.labels),
        }
        return {column: text for column, text in row.items() if text}

    def _of_itself(self) -> Iterator[Reading]:
        usage_bytes, oldest_age_s = self.spool.usage()
        yield Reading("agent.spool.usage", usage_bytes, "By")
        yield Reading("agent.spool.oldest_age", round(oldest_age_s, 3), "s")
        counters = (
            ("agent.spool.lost", self.spool.lost, "{record}"),
            ("agent.passes.skipped", self.skipped, "{pass}"),
            ("agent.push.records", self.tally.pushed, "{record}"),
            ("agent.push.failures", self.tally.failures, "{error}"),
            ("agent.push.refused", self.tally.refused, "{record}"),
        )
        for metric, total, unit in counters:
            step = self._own.step((metric,), total)
            if step is not None:
                yield Reading(metric, step, unit)


def run_agent(
    settings: Settings,
    *,
    sources: Sources | None = None,
    stop: threading.Event | None = None,
    passes: int | None = None,
    report: Callable[[str], None] | None = None,
) -> int:
    """Run until `stop`, SIGTERM or SIGINT (or for `passes` readings), then drain briefly; the number of rows stored.

    What the receiver did not acknowledge stays in the spool for the next start. Errors: ConfigError for a missing
    token or a bad receiver, TransportError if another agent uses the spool.
    """
    say = report or _say
    host = os.uname().nodename
    name = settings.agent or host
    pusher = Pusher(settings.receiver, _token(settings, name))
    stop = stop or threading.Event()
    spool = Spool(
        settings.spool,
        max_bytes=settings.spool_mib * 1024 * 1024,
        policy="drop_oldest" if settings.spool_policy == "drop_oldest" else "block",
        roll_bytes=_SEGMENT_BYTES,
        deflate=True,
    )
    try:
        shipper = Shipper(spool, pusher.push, report=say)
        agent = Agent(name, host, settings, spool, open_collectors(sources or Sources()), say, shipper.tally)
        thread = threading.Thread(target=shipper.run, args=(stop,), name="shipper", daemon=True)
        with stopped_by_signals(stop):
            thread.start()
            rows = _loop(agent, stop, passes)
            stop.set()
            thread.join(_DRAIN_S)
            if not thread.is_alive():
                _drain(shipper, say)
        return rows
    finally:
        stop.set()
        spool.close()
        pusher.close()


def _loop(agent: Agent, stop: threading.Event, passes: int | None) -> int:
    """A reading at each multiple of the period since the start; one that is overrun is skipped and counted."""
    period_s, started_s = float(agent.settings.period_s), time.monotonic()
    rows, turn, taken = 0, 0, 0
    while not stop.is_set():
        rows += agent.take_reading(datetime.now(UTC))
        taken += 1
        if taken == passes:
            break
        due = int((time.monotonic() - started_s) / period_s) + 1
        agent.skipped += due - turn - 1
        turn = due
        stop.wait(started_s + turn * period_s - time.monotonic())
    return rows


def _drain(shipper: Shipper, say: Callable[[str], None]) -> None:
    """One last try, so that a stop leaves nothing behind where the receiver is well."""
    try:
        shipper.drain()
    except TransportError as error:
        say(str(error))


def _token(settings: Settings, name: str) -> str:
    tokens = load_tokens(settings.token_file)
    if name not in tokens:
        todo = f"Add it there, or set `agent` to one of: {', '.join(sorted(tokens)[:12])}."
        raise ConfigError(f"There is no token for agent '{name}'.", where=str(settings.token_file), todo=todo)
    return tokens[name]


def _labels_text(labels: Mapping[str, str]) -> str:
    return json.dumps(labels, ensure_ascii=False, sort_keys=True, separators=(",", ":")) if labels else ""


def _say(text: str) -> None:
    sys.stderr.write(f"{time_text(datetime.now(UTC))} agent: {text}\n")
