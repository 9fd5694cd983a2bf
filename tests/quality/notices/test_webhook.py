"""The webhook against a real web server: signed, once by its key, in time, never followed elsewhere."""

from __future__ import annotations

import json
import random
import socket
import threading
from pathlib import Path

import pytest
from certificates import make_certificate
from noticeservers import SECRET, Hook, dripping, hook, secret_file, verified

from fleetcube.children import free_port
from lake.errors import ConfigError, TransportError
from quality.notices.channels import WebhookChannel
from quality.notices.notice import Item, notice
from quality.notices.secret import Secret
from quality.notices.webhook import post

NOTICE = notice("0123abcd", "2026-11-30T01:00:00Z", ("gate", "critical", "raised"), [Item("fact/x", "blöcked", 3)])


def channel(folder: Path, port: int, scheme: str = "http", **more: object) -> WebhookChannel:
    secret = Secret(file=secret_file(folder))
    url = f"{scheme}://127.0.0.1:{port}/in?site=oslo"
    return WebhookChannel.model_validate({"kind": "webhook", "url": url, "secret": secret, "timeout_s": 2, **more})


def test_a_notice_arrives_signed(tmp_path: Path) -> None:
    with hook() as server:
        post("pager", channel(tmp_path, server.port), NOTICE)
        [(path, headers, body)] = server.taken
    assert path == "/in?site=oslo"
    assert verified(headers, body)
    assert headers["Idempotency-Key"] == NOTICE.id
    assert json.loads(body)["items"][0]["text"] == "blöcked"
    assert SECRET not in str(headers)
    assert not verified(headers, body, now=int(headers["Fleetcube-Timestamp"]) + 301), "a replay is refused"
    dice = random.Random(7)
    for _ in range(300):
        at = dice.randrange(len(body))
        forged = body[:at] + bytes([body[at] ^ (1 << dice.randrange(8))]) + body[at + 1 :]
        assert not verified(headers, forged), f"seed 7: a change of byte {at} is not seen"
    later = {**headers, "Fleetcube-Timestamp": str(int(headers["Fleetcube-Timestamp"]) + 1)}
    assert not verified(later, body), "the time is signed too"


@pytest.mark.parametrize(
    ("answer", "told"),
    [(500, "answered 500"), (404, "answered 404"), (301, "a redirect, which is never followed"), (307, "a redirect")],
)
def test_other_answers_are_failures(tmp_path: Path, answer: int, told: str) -> None:
    with hook() as server:
        server.answers = [answer]
        with pytest.raises(TransportError, match=told):
            post("pager", channel(tmp_path, server.port), NOTICE)
        assert len(server.taken) == 1, "nothing went to /elsewhere"


@pytest.mark.parametrize("answer", ["slow", "drip"])
def test_a_slow_server_is_left_in_time(tmp_path: Path, answer: str) -> None:
    with hook() as server:
        server.answers = [answer]
        with pytest.raises(TransportError, match="can't be reached"):
            post("pager", channel(tmp_path, server.port), NOTICE)
        assert not server.released.is_set(), "it was left, it did not end by itself"


def test_a_server_that_drips_its_handshake_is_left_in_time(tmp_path: Path) -> None:
    with dripping(b"\x16\x03\x03\x3f\xff", b"\x02") as (port, released):
        with pytest.raises(TransportError, match="can't be reached: no answer within 1 s"):
            post("pager", channel(tmp_path, port, "https", timeout_s=1), NOTICE)
        assert not released.is_set()


def test_a_name_that_is_not_found_in_time_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    released, asked = threading.Event(), list[object]()

    def slow(*names: object, **_: object) -> list[object]:
        asked.extend(names)
        released.wait(60)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    try:
        with pytest.raises(TransportError, match="can't be reached: no answer within 1 s"):
            post("pager", channel(tmp_path, 9, timeout_s=1), NOTICE)
        assert (asked[0], released.is_set()) == ("127.0.0.1", False)
    finally:
        released.set()


def test_a_file_of_certificates_that_is_missing_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(TransportError, match="can't be reached: FileNotFoundError"):
        post("pager", channel(tmp_path, 9, "https", ca=tmp_path / "none.pem"), NOTICE)


def test_no_error_shows_the_path_of_an_address(tmp_path: Path) -> None:
    plain = channel(tmp_path, 9)
    odd = plain.model_copy(update={"url": "http://127.0.0.1:9/in put?token=hidden"})
    with pytest.raises(TransportError) as error:
        post("pager", odd, NOTICE)
    assert "hidden" not in str(error.value)


def test_a_server_that_is_down(tmp_path: Path) -> None:
    with pytest.raises(TransportError, match="pager: The webhook can't be reached"):
        post("pager", channel(tmp_path, free_port("127.0.0.1", 0)), NOTICE)


def test_tls_is_checked(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    with hook(certificate) as server:
        post("pager", channel(tmp_path, server.port, "https", ca=certificate["serve_certificate"]), NOTICE)
        with pytest.raises(TransportError, match="CERTIFICATE_VERIFY_FAILED"):
            post("pager", channel(tmp_path, server.port, "https"), NOTICE)
        assert len(server.taken) == 1


def test_a_short_secret_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    with hook() as server:
        one: Hook = server
        weak = channel(tmp_path, one.port, secret=Secret(file=secret_file(tmp_path, "short", "weak")))
        with pytest.raises(ConfigError, match="shorter than 16"):
            post("pager", weak, NOTICE)
        assert one.taken == []
