"""The shipper: what counts as acknowledged, what is tried again, what is kept aside."""

from __future__ import annotations

import gzip
import http.server
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ingestion.frames import Frame
from ingestion.sample import Record, decode_record, encode_record
from ingestion.ship import Answer, Pusher, Shipper
from ingestion.spool import Spool
from lake.errors import ConfigError


def _frame(seq: int, size: int = 10) -> Frame:
    record = Record("a", "boot", seq, "samples", "t", ({"value": "x" * size},))
    return Frame("a", "boot", seq, "samples", seq, encode_record(record))


class _Receiver:
    """Answers from a list, then with 200; remembers the sequence numbers of each push."""

    def __init__(self, *answers: int | Answer) -> None:
        self.answers = list(answers)
        self.pushes: list[list[int]] = []

    def __call__(self, lines: list[bytes]) -> Answer:
        self.pushes.append([decode_record(line).seq for line in lines])
        answer = self.answers.pop(0) if self.answers else 200
        if isinstance(answer, Answer):
            return answer
        return Answer(answer, json.dumps({"accepted": len(lines), "malformed": 0}).encode() if answer == 200 else b"no")


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    spool = Spool(tmp_path / "spool", deflate=True)
    yield spool
    spool.close()


def _shipper(spool: Spool, push: Callable[[list[bytes]], Answer], said: list[str], **more: int) -> Shipper:
    return Shipper(spool, push, report=said.append, seed=7, **more)


def test_an_acknowledged_segment_is_deleted(spool: Spool) -> None:
    receiver, said = _Receiver(), list[str]()
    shipper = _shipper(spool, receiver, said)
    assert shipper.ship_one() is None
    spool.append([_frame(1), _frame(2)])
    assert shipper.ship_one() == 0.0
    assert (receiver.pushes, spool.segments(), shipper.tally.pushed, said) == ([[1, 2]], (), 2, [])


@pytest.mark.parametrize("answer", [0, 301, 401, 403, 404, 408, 429, 500, 502, 503])
def test_what_may_pass_is_tried_again(spool: Spool, answer: int) -> None:
    receiver, said = _Receiver(answer, answer), list[str]()
    shipper = _shipper(spool, receiver, said)
    spool.append([_frame(1)])
    first_s, second_s = shipper.ship_one(), shipper.ship_one()
    assert first_s is not None
    assert second_s is not None
    assert 0.25 <= first_s <= 0.5 <= second_s <= 1.0
    assert shipper.drain()
    assert receiver.pushes == [[1], [1], [1]]
    assert (shipper.tally.failures, shipper.tally.trouble, len(said)) == (2, "", 1)


@pytest.mark.parametrize("body", [b"<html>", b"{}", b'{"accepted":0,"malformed":0}', b"[1]", b'{"accepted":"1"}'])
def test_a_200_that_no_receiver_of_ours_sent_is_no_acknowledgement(spool: Spool, body: bytes) -> None:
    receiver = _Receiver(Answer(200, body))
    shipper = _shipper(spool, receiver, [])
    spool.append([_frame(1)])
    assert not shipper.drain()
    assert len(spool.segments()) == 1
    assert shipper.drain()


def test_the_wait_grows_to_a_bound_and_heeds_retry_after(spool: Spool) -> None:
    shipper = Shipper(spool, _Receiver(*[503] * 9, Answer(429, b"", 7.0)), report=print, backoff_s=(1, 8), seed=1)
    again = Shipper(spool, _Receiver(*[503] * 9), report=print, backoff_s=(1, 8), seed=1)
    spool.append([_frame(1)])
    waits_s = [shipper.ship_one() or 0.0 for _ in range(9)]
    assert all(min(2.0**i, 8) / 2 <= wait_s <= min(2.0**i, 8) for i, wait_s in enumerate(waits_s))
    assert waits_s == [again.ship_one() for _ in range(9)]
    assert 7.0 <= (shipper.ship_one() or 0.0) <= 8.0


def test_a_refused_batch_is_kept_aside(spool: Spool) -> None:
    said: list[str] = []
    shipper = _shipper(spool, _Receiver(400), said)
    spool.append([_frame(1), _frame(2)])
    assert shipper.drain()
    (kept,) = (spool.folder / "refused").glob("*.ndjson")
    assert [decode_record(line).seq for line in kept.read_bytes().splitlines()] == [1, 2]
    assert kept.with_suffix(".reason").read_text() == "400: no"
    assert shipper.tally.refused == 2
    assert str(kept) in said[0]


def test_too_large_a_batch_is_halved(spool: Spool) -> None:
    class Narrow(_Receiver):
        def __call__(self, lines: list[bytes]) -> Answer:
            if sum(map(len, lines)) > 400:
                self.answers.insert(0, 413)
            return super().__call__(lines)

    receiver = Narrow()
    shipper = _shipper(spool, receiver, [])
    spool.append([*map(_frame, range(1, 8)), _frame(8, size=600)])
    assert shipper.drain()
    (kept,) = (spool.folder / "refused").glob("*.ndjson")
    assert decode_record(kept.read_bytes()).seq == 8
    assert shipper.tally.pushed == 7


def test_batches_are_bounded_in_bytes(spool: Spool) -> None:
    receiver = _Receiver()
    shipper = _shipper(spool, receiver, [], batch_bytes=1000)
    spool.append([_frame(seq, size=250) for seq in range(1, 8)])
    assert shipper.drain()
    assert receiver.pushes == [[1, 2], [3, 4], [5, 6], [7]]


def test_damage_is_declared_and_reported_once(spool: Spool) -> None:
    said: list[str] = []
    spool.append([_frame(seq) for seq in range(1, 4)])
    segment = spool.seal()
    assert segment is not None
    data = bytearray(segment.read_bytes())
    data[len(data) * 3 // 8] ^= 0xFF
    segment.write_bytes(bytes(data))
    lines: list[bytes] = []
    receiver = _Receiver(503)
    shipper = _shipper(spool, lambda batch: (lines.extend(batch), receiver(batch))[1], said)
    assert not shipper.drain()
    assert shipper.drain()
    records = [decode_record(line) for line in lines]
    assert records[:3] == records[3:]
    assert [(record.seq, record.lost) for record in records[:3]] == [(1, 0), (3, 0), (2, 1)]
    assert spool.lost == 1
    assert sum("lost 1 records" in text for text in said) == 1


def test_damage_beyond_naming_is_kept(spool: Spool) -> None:
    said: list[str] = []
    spool.append([_frame(1)])
    segment = spool.seal()
    assert segment is not None
    segment.write_bytes(bytes(100))
    assert _shipper(spool, _Receiver(), said).drain()
    (kept,) = (spool.folder / "refused").glob("*.ndjson")
    assert kept.read_bytes() == bytes(100) + b"\n"
    assert spool.lost == 1
    assert str(kept) in said[-1]


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    seen: list[tuple[str, str, bytes]] = []  # noqa: RUF012 - emptied by the fixture

    def do_POST(self) -> None:
        body = gzip.decompress(self.rfile.read(int(self.headers["Content-Length"])))
        self.seen.append((self.path, self.headers["Authorization"], body))
        answer = b'{"accepted":1,"malformed":0}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.send_header("Retry-After", "3")
        self.end_headers()
        self.wfile.write(answer)
        self.close_connection = len(self.seen) % 2 == 0  # without a word, as an idle timeout does

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_a_push_over_a_socket_survives_a_connection_that_was_closed_meanwhile() -> None:
    _Handler.seen.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        pusher = Pusher(f"http://127.0.0.1:{server.server_port}/base/", "secret")
        answers = [pusher.push([b"line"]) for _ in range(5)]
        server.shutdown()
        thread.join()
        pusher.close()
    assert answers == [Answer(200, b'{"accepted":1,"malformed":0}', 3.0)] * 5
    assert _Handler.seen == [("/base/v1/push", "Bearer secret", b"line\n")] * 5
    gone = Pusher(f"http://127.0.0.1:{server.server_port}", "secret", timeout_s=2).push([b"line"])
    assert gone.status == 0
    assert b"refused" in gone.body


@pytest.mark.parametrize("receiver", ["http://fleet.example:8321", "fleet.example", "ftp://127.0.0.1", "http://"])
def test_an_address_that_would_show_the_token_is_refused(receiver: str) -> None:
    with pytest.raises(ConfigError, match=r"clear text|No http"):
        Pusher(receiver, "secret")
