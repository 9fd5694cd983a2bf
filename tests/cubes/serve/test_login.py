"""TLS and log-in as real clients see them, and by raw messages what a client should never send."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from certificates import make_certificate
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from cubes.serve.scram import PLAIN, PLUS, Scram
from cubes.serve.tls import Tls, end_point
from lake.errors import ConfigError, QueryError
from lake.settings import Settings
from lake.users import Users, derived

PASSWORD = "correct horse battery"
ACCESS = """
roles:
  reader:
    facts: [requests]
    rows: {requests: all}
users:
  ann: {roles: [reader]}
"""


@pytest.fixture(scope="module")
def guarded(serving: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Path]]:
    """An endpoint with TLS and the user ann; and its lake."""
    lake = tmp_path_factory.mktemp("guarded")
    Users(Settings(lake=lake).users_file).add("ann", PASSWORD)
    Settings(lake=lake).access_file.write_text(ACCESS)
    with serving(settings={"lake": lake, **make_certificate(lake)}) as endpoint:
        yield endpoint, lake


def connect(endpoint: Any, **more: Any) -> psycopg.Connection[Any]:
    given = {"host": "127.0.0.1", "port": endpoint.port, "user": "ann", "password": PASSWORD, "dbname": "fleet", **more}
    return psycopg.connect(autocommit=True, connect_timeout=20, **given)


@pytest.mark.parametrize(
    "mode",
    [
        {"sslmode": "disable"},
        {"sslmode": "require"},
        {"sslmode": "require", "channel_binding": "require"},
        {"sslmode": "require", "channel_binding": "disable"},
        {"sslmode": "verify-full", "channel_binding": "require"},
        {"sslmode": "verify-full", "host": "localhost", "hostaddr": "127.0.0.1"},
        {"sslmode": "require", "sslnegotiation": "direct"},
        {"sslmode": "prefer", "gssencmode": "prefer"},
    ],
    ids=str,
)
def test_ways_in(guarded: tuple[Any, Path], mode: dict[str, str]) -> None:
    endpoint, lake = guarded
    root = {"sslrootcert": str(lake / "server.crt")} if mode["sslmode"] == "verify-full" else {}
    with connect(endpoint, **mode, **root) as connection:
        assert connection.execute("SELECT count(*) FROM requests").fetchone() == (1000,)
        assert connection.pgconn.ssl_in_use == (mode["sslmode"] != "disable")


def test_another_name_is_not_verified(guarded: tuple[Any, Path]) -> None:
    endpoint, lake = guarded
    with pytest.raises(psycopg.OperationalError, match="does not match host name"):
        connect(
            endpoint,
            sslmode="verify-full",
            host="other.test",
            hostaddr="127.0.0.1",
            sslrootcert=str(lake / "server.crt"),
        )


@pytest.mark.parametrize("wrong", [{"password": "wrong horse battery"}, {"user": "bob"}, {"password": ""}])
def test_who_does_not_know_the_password_stays_out(guarded: tuple[Any, Path], wrong: dict[str, str]) -> None:
    endpoint, _ = guarded
    with pytest.raises(psycopg.OperationalError) as caught:
        connect(endpoint, **wrong)
    said = str(caught.value)
    assert "password authentication failed" in said or "no password supplied" in said


def test_failures_are_slowed_and_told_and_forgotten(guarded: tuple[Any, Path]) -> None:
    endpoint, lake = guarded
    connect(endpoint).close()
    spent = []
    for _ in range(4):
        begun = time.monotonic()
        with pytest.raises(psycopg.OperationalError):
            # Not `prefer`, which tries each password twice.
            connect(endpoint, password="wrong horse battery", sslmode="require")
        spent.append(time.monotonic() - begun)
    assert spent[3] > 0.8
    begun = time.monotonic()
    with connect(endpoint) as connection:
        connection.execute("SELECT count(*) FROM requests")
    assert time.monotonic() - begun < 5
    time.sleep(1.5)  # queries are written within a second
    events = [
        json.loads(line)
        for path in sorted((lake / "_audit").rglob("*.jsonl"))
        for line in path.read_text().splitlines()
    ]
    failed = [event for event in events if event.get("operation") == "login.failed"]
    assert len(failed) >= 4
    assert {event["who"] for event in failed} <= {"ann", "bob"}
    assert failed[-1]["origin"] == "127.0.0.1"
    assert any(event.get("operation") == "login" and event["who"] == "ann" for event in events)
    asked = [event for event in events if event["operation"] == "query"]
    assert {"SELECT count(*) FROM requests"} <= {event["resource"] for event in asked}
    assert all(event["policy"] and event["who"] == "ann" and event["origin"] == "127.0.0.1" for event in asked)
    assert PASSWORD not in json.dumps(events)


def test_a_removed_user_is_out_at_once(serving: Callable[..., Any], tmp_path: Path) -> None:
    users = Users(Settings(lake=tmp_path).users_file)
    users.add("ann", PASSWORD)
    users.add("eve", PASSWORD)
    with serving(settings={"lake": tmp_path}) as endpoint:
        with connect(endpoint, user="eve") as connection:
            connection.execute("SELECT 1 FROM requests LIMIT 1")
            users.remove("eve")
            with pytest.raises(psycopg.Error, match="no longer declared"):
                connection.execute("SELECT 1 FROM requests LIMIT 1")
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            connect(endpoint, user="eve")


def test_the_policy_goes_to_the_session_and_bounds_the_catalogue(guarded: tuple[Any, Path]) -> None:
    endpoint, _ = guarded
    with connect(endpoint) as connection:
        connection.execute("SELECT 1 FROM requests LIMIT 1")
        assert {policy.user for session in endpoint.sessions for policy in session.policies} == {"ann"}
        listed = connection.execute("SELECT relname FROM pg_class WHERE relkind IN ('r', 'v')").fetchall()
        shown = {name for (name,) in listed}
        assert "requests" in shown
        assert not shown & {"samples", "receipts", "sites"}


def test_raw_messages_at_the_door(guarded: tuple[Any, Path]) -> None:
    endpoint, _ = guarded
    start = struct.pack("!i", 196608) + b"user\0ann\0\0"
    for messages, code in [
        ([b"Q" + struct.pack("!i", 13) + b"SELECT 1\0"], "08P01"),
        ([b"p" + struct.pack("!i", 9) + b"wrong"], "28000"),
        ([b"p" + struct.pack("!i", 2**30)], "08P01"),
        ([_initial("SCRAM-SHA-256", b"n,,n=,r=short")], "08P01"),
        ([_initial("SCRAM-SHA-256", b"y,,n=,r=0123456789abcdef")], None),
        ([_initial("SCRAM-SHA-256-PLUS", b"p=tls-server-end-point,,n=,r=0123456789abcdef")], "28000"),
        ([_initial("SCRAM-SHA-256", b"n,,n=,r=0123456789abcdef"), b"p" + struct.pack("!i", 7) + b"c=!"], "08P01"),
    ]:
        with endpoint.bare() as wire:
            wire.raw.sendall(struct.pack("!i", len(start) + 4) + start)
            for message in messages:
                wire.raw.sendall(message)
            if code is None:
                wire.raw.shutdown(socket.SHUT_WR)
            result = wire.result()
            assert [error["C"] for error in result.errors] == ([code] if code else [])
            assert "Z" not in result.kinds


def _initial(mechanism: str, data: bytes) -> bytes:
    body = mechanism.encode() + b"\0" + struct.pack("!i", len(data)) + data
    return b"p" + struct.pack("!i", len(body) + 4) + body


def test_plain_bytes_behind_the_request_for_tls_are_refused(guarded: tuple[Any, Path]) -> None:
    endpoint, _ = guarded
    with endpoint.bare() as wire:
        wire.raw.sendall(struct.pack("!ii", 8, 80877103) + b"Q\0\0\0\x0dSELECT 1\0")
        assert [error["C"] for error in wire.result().errors] == ["08P01"]


def test_direct_tls_wants_the_protocols_name(guarded: tuple[Any, Path]) -> None:
    endpoint, _ = guarded
    context = ssl._create_unverified_context()
    with socket.create_connection(("127.0.0.1", endpoint.port), timeout=10) as raw, context.wrap_socket(raw) as wrapped:
        wrapped.settimeout(10)
        try:
            assert wrapped.recv(1) == b""
        except (ssl.SSLError, ConnectionError):
            return


def test_tls_off_loopback_wants_users_and_the_other_way_round(settings: Settings, tmp_path: Path) -> None:
    from cubes.serve.server import _check_safe

    _check_safe("0.0.0.0", is_open=False, has_tls=True)
    for is_open, has_tls, lacks in [
        (True, True, "users"),
        (False, False, "serve_certificate"),
        (True, False, "and users"),
    ]:
        with pytest.raises(ConfigError) as caught:
            _check_safe("0.0.0.0", is_open=is_open, has_tls=has_tls)
        assert lacks in caught.value.todo


def test_certificates_are_read_and_renewed(tmp_path: Path) -> None:
    given = {name: Path(path) for name, path in make_certificate(tmp_path).items()}
    tls = Tls(given["serve_certificate"], given["serve_key"])
    first, bound = tls.context(), tls.binding
    assert tls.context() is first
    given["serve_key"].write_text("broken")
    assert tls.context() is first
    make_certificate(tmp_path, name="renewed")
    assert tls.context() is not first
    assert tls.binding != bound
    with pytest.raises(ConfigError, match="TLS can't start"):
        Tls(tmp_path / "none.crt", given["serve_key"])


@pytest.mark.parametrize("sign", [hashes.SHA256(), hashes.SHA384(), hashes.SHA512()], ids=lambda one: one.name)
def test_the_binding_is_the_hash_of_the_certificate(tmp_path: Path, sign: hashes.HashAlgorithm) -> None:
    path = make_certificate(tmp_path, sign=sign)["serve_certificate"]
    read = x509.load_pem_x509_certificate(Path(path).read_bytes())
    assert read.signature_hash_algorithm is not None
    assert end_point(Path(path).read_text()) == read.fingerprint(read.signature_hash_algorithm)


def proof(password: str, scram: Scram, mechanism: str, binding: bytes) -> bytes | None:
    """A client's side, by the words of RFC 5802."""
    header = b"p=tls-server-end-point,," if mechanism == PLUS else b"n,,"
    bare = b"n=,r=0123456789abcdef"
    sent = header + bare
    first = scram.first(mechanism.encode() + b"\0" + struct.pack("!i", len(sent)) + sent)
    fields = dict(part.split("=", 1) for part in first.decode().split(","))
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(fields["s"]), int(fields["i"]))
    client = hmac.digest(salted, b"Client Key", "sha256")
    without = b"c=" + base64.b64encode(header + binding) + b",r=" + fields["r"].encode()
    signature = hmac.digest(hashlib.sha256(client).digest(), bare + b"," + first + b"," + without, "sha256")
    made = bytes(a ^ b for a, b in zip(client, signature, strict=True))
    return scram.final(without + b",p=" + base64.b64encode(made))


def test_only_the_right_proof_over_the_right_certificate_passes() -> None:
    verifier = derived(PASSWORD, b"salt" * 4, 4096)
    assert proof(PASSWORD, Scram(verifier, b""), PLAIN, b"")
    assert proof(PASSWORD, Scram(verifier, b"hash"), PLUS, b"hash")
    assert proof("another password", Scram(verifier, b""), PLAIN, b"") is None
    assert proof(PASSWORD, Scram(verifier, b"hash"), PLUS, b"other") is None
    with pytest.raises(QueryError, match="was not offered"):
        proof(PASSWORD, Scram(verifier, b""), PLUS, b"hash")
