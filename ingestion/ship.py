"""From the spool to a receiver: batches over HTTP, tried until they are acknowledged, then deleted here.

A batch counts as taken only when the receiver says so in its own words (how many lines it made durable): a proxy's 200
or a lost answer does not delete anything, and sending twice is harmless, since every record carries its identity.
"""

from __future__ import annotations

import gzip
import json
import random
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ingestion.frames import Frame, Gap
from ingestion.sample import Record, encode_record
from ingestion.spool import Spool
from lake.errors import ConfigError, TransportError
from lake.faults import faultpoint

if TYPE_CHECKING:
    from http.client import HTTPConnection

# Answers of the 4xx family that a later try may turn into a success; every other one stays what it is.
_TRY_AGAIN = frozenset({401, 403, 404, 408, 413, 421, 425, 429})
_ANSWER_BYTES_MAX = 64 * 1024
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True)
class Answer:
    """What came back for a push; `status` 0 means that no answer came, with the reason in `body`."""

    status: int
    body: bytes = b""
    retry_after_s: float = 0.0


@dataclass
class Tally:
    """What a shipper has done since its start, in records, and why its last push failed."""

    pushed: int = 0
    refused: int = 0
    failures: int = 0
    trouble: str = ""


class Pusher:
    """One receiver's address with the credential for it; keeps its connection between pushes."""

    def __init__(self, receiver: str, token: str, *, timeout_s: float = 30.0) -> None:
        """`receiver` is http(s)://host[:port][/prefix]; ConfigError if the token would cross a network in clear."""
        parts = urlsplit(receiver)
        todo = "Set `receiver` to something like https://receiver.example:8321."
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError("No http or https address.", where=f"receiver {receiver!r}", todo=todo)
        if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            what = "The token would cross the network in clear text."
            raise ConfigError(what, where=f"receiver {receiver!r}", todo="Use https, or a receiver on this host.")
        self._secure, self._host, self._port = parts.scheme == "https", parts.hostname, parts.port
        self._path = parts.path.rstrip("/") + "/v1/push"
        self._headers = {
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/x-ndjson",
            "Content-Encoding": "gzip",
        }
        self._timeout_s = timeout_s
        self._connection: HTTPConnection | None = None

    def push(self, lines: list[bytes]) -> Answer:
        """Send one batch and wait for the answer; a kept connection that has died meanwhile is made anew once."""
        body = gzip.compress(b"\n".join(lines) + b"\n", 6, mtime=0)
        kept = self._connection is not None
        answer = self._try(body)
        return self._try(body) if kept and answer.status == 0 else answer

    def _try(self, body: bytes) -> Answer:
        from http.client import HTTPException  # here: it doubles the time in which an agent starts

        try:
            self._connection = connection = self._connection or self._connect()
            connection.request("POST", self._path, body, self._headers)
            response = connection.getresponse()
            text = response.read(_ANSWER_BYTES_MAX)
            wait = response.headers.get("Retry-After", "")
            if not response.isclosed():  # more than we care to read
                self.close()
            return Answer(response.status, text, float(wait) if wait.isdecimal() else 0.0)
        except (OSError, HTTPException) as error:
            self.close()
            return Answer(0, str(error or type(error).__name__).encode())

    def close(self) -> None:
        """End the connection; the next push makes a new one."""
        if self._connection is not None:
            with suppress(OSError):
                self._connection.close()
            self._connection = None

    def _connect(self) -> HTTPConnection:
        from http.client import HTTPConnection, HTTPSConnection

        if not self._secure:
            return HTTPConnection(self._host, self._port, timeout=self._timeout_s)
        import ssl

        return HTTPSConnection(self._host, self._port, timeout=self._timeout_s, context=ssl.create_default_context())


class Shipper:
    """Empties a spool, oldest segment first; `report` is told, in a sentence, what a person should know."""

    def __init__(
        self,
        spool: Spool,
        push: Callable[[list[bytes]], Answer],
        *,
        report: Callable[[str], None],
        batch_bytes: int = 1024 * 1024,
        backoff_s: tuple[float, float] = (0.5, 60.0),
        seed: int | None = None,
    ) -> None:
        """`backoff_s` is the first and the longest wait between two tries; `seed` fixes the jitter."""
        self.tally = Tally()
        self._spool, self._push, self._report = spool, push, report
        self._batch_bytes, self._backoff_s = batch_bytes, backoff_s
        self._chance = random.Random(seed)
        self._failed_in_a_row = 0

    def run(self, stop: threading.Event, *, idle_s: float = 0.5) -> None:
        """Ship until `stop` is set; the wait between two tries ends with it."""
        while not stop.is_set():
            try:
                wait_s = self.ship_one()
            except TransportError as error:  # the disk, not the network: say so and try again
                wait_s = self._failed(str(error), 0.0)
            stop.wait(idle_s if wait_s is None else wait_s)

    def drain(self) -> bool:
        """Ship until nothing is left or a try fails; whether nothing is left."""
        while (wait_s := self.ship_one()) is not None:
            if wait_s > 0:
                return False
        return True

    def ship_one(self) -> float | None:
        """Ship the oldest segment whole; seconds to wait before the next (0.0 after success), None if there is none.

        The open segment is sealed for it only when nothing older waits, so that a long outage makes few, large files.
        """
        segment = self._spool.take()
        if segment is None:
            self._spool.seal()
            segment = self._spool.take()
        if segment is None:
            return None
        damage: list[Gap] = []
        for batch in self._batches(segment, damage):
            wait_s = self._deliver(segment, batch)
            if wait_s > 0:
                return wait_s
        faultpoint("agent.ship.after_push")
        self._tell(segment, damage)
        self._spool.drop(segment)
        return 0.0

    def _batches(self, segment: Path, damage: list[Gap]) -> Iterator[list[bytes]]:
        """The segment's lines in batches; what it has lost is added to `damage` and, where it has a name, declared."""
        batch: list[bytes] = []
        size = 0
        for line in self._lines(segment, damage):
            if batch and size + len(line) > self._batch_bytes:
                yield batch
                batch, size = [], 0
            batch.append(line)
            size += len(line) + 1
        if batch:
            yield batch

    def _lines(self, segment: Path, damage: list[Gap]) -> Iterator[bytes]:
        for item in self._spool.read(segment):
            if isinstance(item, Frame):
                yield item.payload
                continue
            damage.append(item)
            if item.agent:
                yield _declared(item)

    def _tell(self, segment: Path, damage: list[Gap]) -> None:
        """Count and report damage once, when its segment is about to go; bytes that can't be named are kept."""
        for gap in damage:
            self._spool.lost += gap.seq_to - gap.seq_from + 1
            self._report(f"The spool lost {gap.seq_to - gap.seq_from + 1} records: {gap.reason}.")
        if any(not gap.agent for gap in damage):
            kept = self._spool.put_aside(segment.stem, [segment.read_bytes()], damage[-1].reason)
            self._report(f"The damaged segment is kept in {kept}.")

    def _deliver(self, segment: Path, batch: list[bytes]) -> float:
        """Hand over one batch, in halves where it is too large; seconds to wait before another try, 0.0 if done."""
        answer = self._push(batch)
        if answer.status == 413 and len(batch) > 1:
            half = len(batch) // 2
            return self._deliver(segment, batch[:half]) or self._deliver(segment, batch[half:])
        if 200 <= answer.status < 300 and (counts := _counts(answer.body)) and sum(counts) == len(batch):
            self._failed_in_a_row, self.tally.trouble = 0, ""
            self.tally.pushed += len(batch)
            if counts[1]:
                self._report(f"The receiver keeps {counts[1]} of {len(batch)} records as malformed.")
            return 0.0
        said = f"{answer.status or 'no answer'}: {answer.body[:300].decode('utf-8', 'replace')}"
        if answer.status == 413 or (400 <= answer.status < 500 and answer.status not in _TRY_AGAIN):
            path = self._spool.put_aside(segment.stem, batch, said)
            self.tally.refused += len(batch)
            self._report(f"The receiver refused {len(batch)} records ({said}); they are kept in {path}.")
            return 0.0
        return self._failed(f"Push failed ({said})", answer.retry_after_s)

    def _failed(self, trouble: str, least_s: float) -> float:
        """Count a failure; the wait before the next try doubles, up to a bound, with the upper half left to chance."""
        if trouble != self.tally.trouble:
            self._report(f"{trouble}; trying again.")
        self.tally.failures += 1
        self.tally.trouble = trouble
        first_s, longest_s = self._backoff_s
        bound_s = min(first_s * 2.0 ** min(self._failed_in_a_row, 30), longest_s)
        self._failed_in_a_row += 1
        return max(min(least_s, longest_s), bound_s * (0.5 + self._chance.random() / 2))


def _declared(gap: Gap) -> bytes:
    lost = gap.seq_to - gap.seq_from + 1
    # Not the time of now: the same loss, told twice, has to be the same line.
    record = Record(gap.agent, gap.boot, gap.seq_from, gap.fact, "unknown", lost=lost, reason=gap.reason)
    return encode_record(record)


def _counts(body: bytes) -> tuple[int, int] | None:
    """(accepted, malformed) of a receiver's answer; None if a receiver of ours did not say it."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(answer, Mapping):
        return None
    accepted, malformed = answer.get("accepted"), answer.get("malformed")
    return (accepted, malformed) if isinstance(accepted, int) and isinstance(malformed, int) else None
