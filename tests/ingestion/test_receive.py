"""The receiver: who is let in, what is refused, and that an answer means durable. Real sockets on loopback."""

from __future__ import annotations

import asyncio
import gzip
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from ingestion import body, receive
from ingestion.frames import Frame
from ingestion.receive import INBOX, Receiver, serve_receiver
from ingestion.sample import Record, decode_record, encode_record
from ingestion.spool import list_segments, read_segment
from ingestion.tokens import ensure_token
from lake.errors import ConfigError, TransportError
from lake.settings import Settings

ROOT = Path(__file__).parents[2]
ROW = {"metric": "cpu.utilization", "value": "0.5"}


def _line(seq: int, agent: str = "a1", fact: str = "samples", lost: int = 0) -> bytes:
    rows = () if lost else (ROW,)
    return encode_record(Record(agent, "boot", seq, fact, "t", rows, lost=lost, reason="dropped" if lost else ""))


@contextmanager
def _serving(settings: Settings) -> Iterator[int]:
    """A receiver in a thread; its port."""
    stop, ports, up = threading.Event(), list[int](), threading.Event()

    def ready(port: int) -> None:
        ports.append(port)
        up.set()

    thread = threading.Thread(target=serve_receiver, args=(settings,), kwargs={"stop": stop, "ready": ready})
    thread.start()
    assert up.wait(20)
    try:
        yield ports[0]
    finally:
        stop.set()
        thread.join(20)
        assert not thread.is_alive()


@pytest.fixture
def port(settings: Settings) -> Iterator[int]:
    settings = replace(settings, receiver_port=0)
    for agent in ("a1", "a2"):
        ensure_token(settings.token_file, agent)
    with _serving(settings) as port:
        yield port


@pytest.fixture
def token(settings: Settings, port: int) -> str:
    return ensure_token(settings.token_file, "a1")


def _call(
    port: int, method: str, path: str, data: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, object]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path, data, headers or {})
        answer = connection.getresponse()
        text = answer.read()
        return answer.status, json.loads(text) if text.startswith(b"{") else {"text": text.decode()}
    finally:
        connection.close()


def _push(port: int, token: str, data: bytes, **headers: str) -> tuple[int, dict[str, object]]:
    given = {"Authorization": f"Bearer {token}", "Content-Type": "application/x-ndjson"}
    return _call(port, "POST", "/v1/push", data, given | {k.replace("_", "-"): v for k, v in headers.items()})


def _journalled(settings: Settings, wait_s: float = 5.0) -> list[Frame]:
    """What a lander finds once the open segment has been sealed."""
    until = time.monotonic() + wait_s
    while time.monotonic() < until and list((settings.lake / INBOX).glob("*.open")):
        time.sleep(0.05)
    found = [item for path in list_segments(settings.lake / INBOX) for item in read_segment(path)]
    assert all(isinstance(item, Frame) for item in found)
    return [item for item in found if isinstance(item, Frame)]


def test_what_is_pushed_is_sealed_for_the_lander_within_a_second_or_two(
    port: int, token: str, settings: Settings
) -> None:
    lines = [_line(1), _line(2), b"", _line(3, lost=4)]
    assert _push(port, token, b"\n".join(lines)) == (200, {"accepted": 3, "malformed": 0})
    zipped = gzip.compress(_line(7, fact="events"))
    assert _push(port, token, zipped, Content_Encoding="gzip") == (200, {"accepted": 1, "malformed": 0})
    before_us = time.time() * 1e6
    frames = _journalled(settings)
    assert [(f.agent, f.boot, f.seq, f.fact, f.kind) for f in frames] == [
        ("a1", "boot", 1, "samples", "record"),
        ("a1", "boot", 2, "samples", "record"),
        ("a1", "boot", 3, "samples", "gap"),
        ("a1", "boot", 7, "events", "record"),
    ]
    assert decode_record(frames[0].payload).rows == (ROW,)
    assert decode_record(frames[2].payload).lost == 4
    assert all(0 <= before_us - frame.at_us < 60e6 for frame in frames)


def test_malformed_lines_are_kept_and_counted(port: int, token: str, settings: Settings) -> None:
    own = b'{"agent":"a1","boot":"b","seq":9,"fact":"requests","sent_at":"t","rows":[{"value":1}]}'
    lines = [_line(1), b"not json", b"\xff\xfe\xf8 text", own, _line(2, fact="unheard_of"), b"[" * 100_000]
    for _ in range(2):
        assert _push(port, token, b"\n".join(lines)) == (200, {"accepted": 1, "malformed": 5})
    frames = [frame for frame in _journalled(settings) if frame.kind == "malformed"]
    assert frames[1].payload == rb"\xff\xfe\xf8 text"
    assert (frames[2].boot, frames[2].seq, frames[2].fact, frames[2].payload) == ("b", 9, "requests", own)
    assert (frames[3].boot, frames[3].seq, frames[3].fact) == ("boot", 2, "samples")
    # The same line twice has the same identity, so that a repeated push counts once.
    assert [(f.boot, f.seq, f.payload) for f in frames[:5]] == [(f.boot, f.seq, f.payload) for f in frames[5:]]
    assert len({(frame.boot, frame.seq) for frame in frames}) == 5
    status, counts = _call(port, "GET", "/v1/status", headers={"Authorization": f"Bearer {token}"})
    assert (status, counts["accepted"], counts["malformed"], counts["refused"]) == (200, 2, 10, 0)


def test_nothing_but_health_is_open(port: int, token: str) -> None:
    assert _call(port, "GET", "/healthz") == (200, {"status": "ok"})
    for method, path in [("GET", "/"), ("GET", "/v1/status"), ("POST", "/v1/push"), ("GET", "/docs"), ("PUT", "/x")]:
        for given in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {token}"}):
            assert _call(port, method, path, headers=given)[0] == 401
    known = {"Authorization": f"Bearer {token}"}
    assert _call(port, "GET", "/nothing", headers=known)[0] == 404
    assert _call(port, "GET", "/v1/push", headers=known)[0] == 405


def test_an_agent_speaks_for_itself_only(port: int, token: str, settings: Settings) -> None:
    status, answer = _push(port, token, _line(1) + b"\n" + _line(2, agent="a2"))
    assert status == 403
    assert answer["error"] == "The token is that of agent 'a1', the record names 'a2'."
    assert _journalled(settings) == []


@pytest.mark.parametrize(
    ("data", "headers", "status"),
    [
        (b"x", {"Content_Type": "text/plain"}, 415),
        (b"x", {"Content_Encoding": "br"}, 415),
        (b"no gzip", {"Content_Encoding": "gzip"}, 400),
        (gzip.compress(b"x\n" * 50, mtime=0)[:-9], {"Content_Encoding": "gzip"}, 400),
        (gzip.compress(b"x", mtime=0) + b"more", {"Content_Encoding": "gzip"}, 400),
        (gzip.compress(bytes(21 * 2**20), mtime=0), {"Content_Encoding": "gzip"}, 413),
        (b"\n" * 100_001, {}, 413),
        (bytes(21 * 2**20), {}, 413),
    ],
)
def test_a_body_that_is_refused(port: int, token: str, data: bytes, headers: dict[str, str], status: int) -> None:
    try:
        assert _push(port, token, data, **headers)[0] == status
    except (BrokenPipeError, ConnectionResetError):
        assert status == 413  # refused while it was still being sent
    assert _call(port, "GET", "/healthz")[0] == 200


def test_a_slow_body_is_refused_at_the_deadline(
    port: int, token: str, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    monkeypatch.setattr(body, "_BODY_S", 0.2)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as peer:
        head = f"POST /v1/push HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: 100\r\n"
        peer.sendall(f"{head}Content-Type: application/x-ndjson\r\n\r\n".encode() + b"{")
        assert peer.recv(100).startswith(b"HTTP/1.1 408 ")
    assert _journalled(settings) == []


def test_a_dripping_head_is_cut_off(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receive, "_IDLE_S", 0.2)
    ensure_token(settings.token_file, "a1")
    with (
        _serving(replace(settings, receiver_port=0)) as port,
        socket.create_connection(("127.0.0.1", port), timeout=10) as peer,
    ):
        peer.sendall(b"POST /v1/push HTTP/1.1\r\nHost:")
        assert peer.recv(100) == b""


def test_a_body_that_breaks_off_leaves_nothing(port: int, token: str, settings: Settings) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as peer:
        head = f"POST /v1/push HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: 9999\r\n"
        peer.sendall(f"{head}Content-Type: application/x-ndjson\r\n\r\n".encode() + _line(1) + b"\n")
    assert _push(port, token, _line(2))[0] == 200
    assert [frame.seq for frame in _journalled(settings)] == [2]


def test_a_changed_token_file_counts_at_once(port: int, token: str, settings: Settings) -> None:
    path = settings.token_file
    path.write_text(json.dumps({"a1": "another-token-of-a1"}))
    assert _push(port, token, _line(1))[0] == 401
    assert _push(port, "another-token-of-a1", _line(1))[0] == 200
    path.chmod(0o644)
    assert _push(port, "another-token-of-a1", _line(1))[0] == 503
    path.chmod(0o600)
    assert _push(port, "another-token-of-a1", _line(1))[0] == 200


def test_a_full_or_broken_journal_is_answered_with_503(settings: Settings) -> None:
    receiver = Receiver(settings.lake / INBOX, {"a1": "x" * 16}, facts=["samples"], journal_bytes=100)

    async def push() -> httpx.Response:
        given = {"Authorization": f"Bearer {'x' * 16}", "Content-Type": "application/x-ndjson"}
        async with httpx.AsyncClient(transport=httpx.ASGITransport(receiver.app), base_url="http://x") as client:
            return await client.post("/v1/push", content=_line(1), headers=given)

    answer = asyncio.run(push())
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert "full" in answer.json()["error"]
    receiver.close()
    assert list_segments(settings.lake / INBOX) == ()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"receiver_host": "0.0.0.0"}, "cross the network in clear"),
        ({"certificate": "c.pem"}, "both `certificate` and `private_key`"),
        ({"certificate": "c.pem", "private_key": "k.pem"}, "TLS can't start"),
        ({"tokens": Path("missing.json")}, "token file can't be read"),
    ],
)
def test_what_is_set_wrong_is_said(settings: Settings, changes: dict[str, object], words: str) -> None:
    ensure_token(settings.token_file, "a1")
    with pytest.raises(ConfigError, match=words):
        serve_receiver(replace(settings, receiver_port=0, **changes))  # type: ignore[arg-type]


def test_a_taken_address_is_said(settings: Settings) -> None:
    ensure_token(settings.token_file, "a1")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        busy = replace(settings, receiver_port=taken.getsockname()[1])
        with pytest.raises(TransportError, match=r"Can't listen: Address already in use"):
            serve_receiver(busy)


def _child(settings: Settings, fault: str) -> tuple[subprocess.Popen[str], int]:
    script = (
        "import sys; from pathlib import Path; from lake.settings import Settings\n"
        "from ingestion.receive import serve_receiver\n"
        f"serve_receiver(Settings(lake=Path({str(settings.lake)!r}), receiver_port=0),"
        " ready=lambda port: print(port, flush=True))"
    )
    environ = {**os.environ, "FLEETCUBE_FAULT": fault}
    child = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    return child, int(child.stdout.readline())


@pytest.mark.parametrize("fault", ["receiver.journal.before", "receiver.journal.after:2", "spool.roll.before"])
def test_a_killed_receiver_keeps_what_it_acknowledged(settings: Settings, fault: str) -> None:
    token = ensure_token(settings.token_file, "a1")
    child, port = _child(settings, fault)
    acknowledged = []
    for seq in range(1, 4):
        try:
            assert _push(port, token, _line(seq))[0] == 200
            acknowledged.append(seq)
        except (OSError, http.client.HTTPException):
            break
    assert child.wait(20) == -signal.SIGKILL
    assert child.stdout is not None
    child.stdout.close()
    with _serving(replace(settings, receiver_port=0)) as port:
        for seq in range(1, 4):
            assert _push(port, token, _line(seq))[0] == 200
    seqs = [frame.seq for frame in _journalled(settings)]
    assert set(acknowledged) <= set(seqs) == {1, 2, 3}


def test_a_signal_ends_the_receiver_cleanly(settings: Settings) -> None:
    token = ensure_token(settings.token_file, "a1")
    child, port = _child(settings, "")
    assert _push(port, token, _line(1))[0] == 200
    child.send_signal(signal.SIGTERM)
    assert child.wait(20) == 0
    assert [frame.seq for frame in _journalled(settings)] == [1]
    assert child.stdout is not None
    child.stdout.close()
