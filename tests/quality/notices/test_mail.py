"""Mail against a real SMTP server: TLS, log-in, one message with clean headers, and every refusal told."""

from __future__ import annotations

from email import message_from_bytes, policy
from pathlib import Path

import pytest
from certificates import make_certificate
from noticeservers import Mailbox, dripping, mail_server, secret_file

from fleetcube.children import free_port
from lake.errors import TransportError
from quality.notices.channels import MailChannel
from quality.notices.mail import PartlyTaken, send
from quality.notices.notice import Item, notice

NOTICE = notice("0123abcd", "2026-11-30T01:00:00Z", ("gate", "critical", "raised"), [Item("fact/x", "blöcked", 3)])


def channel(port: int, **more: object) -> MailChannel:
    told = {"kind": "mail", "host": "127.0.0.1", "port": port, "sender": "fleet@example.org", "to": ["a@example.org"]}
    return MailChannel.model_validate({**told, "tls": "none", "timeout_s": 20, **more})


def only(box: Mailbox) -> tuple[str, str, str]:
    [envelope] = box.envelopes
    assert isinstance(envelope.content, bytes)
    mail = message_from_bytes(envelope.content, policy=policy.default)
    return str(mail["Subject"]), str(mail["Message-ID"]), mail.get_content()


def test_a_notice_is_one_mail() -> None:
    with mail_server() as box:
        send("team", channel(box.port, to=["a@example.org", "b@example.org"]), NOTICE)
        subject, identity, text = only(box)
        assert sorted(box.envelopes[0].rcpt_tos) == ["a@example.org", "b@example.org"]
    assert (subject, identity) == ("fleetcube [critical] gate: fact/x", "<0123abcd@example.org>")
    assert text.splitlines() == ["[critical] gate: fact/x", "", "", "fact/x: blöcked", "  rows: 3"]


def test_starttls_and_log_in(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    account = {"user": "fleet", "password": {"file": str(secret_file(tmp_path, "pass word"))}, "tls": "starttls"}
    with mail_server("starttls", certificate) as box:
        trusted = {**account, "ca": certificate["serve_certificate"]}
        send("team", channel(box.port, **trusted), NOTICE)
        assert box.logins == ["fleet"]
        assert only(box)[0] == "fleetcube [critical] gate: fact/x"
        wrong = {**trusted, "password": {"file": str(secret_file(tmp_path, "wrong", "other"))}}
        with pytest.raises(TransportError, match="refused user or password") as error:
            send("team", channel(box.port, **wrong), NOTICE)
        assert "wrong" not in str(error.value)
        with pytest.raises(TransportError, match="CERTIFICATE_VERIFY_FAILED"):
            send("team", channel(box.port, **account), NOTICE)
        assert len(box.envelopes) == 1


def test_tls_from_the_first_byte(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    with mail_server("tls", certificate) as box:
        send("team", channel(box.port, tls="tls", ca=certificate["serve_certificate"]), NOTICE)
        assert only(box)[1] == "<0123abcd@example.org>"


def test_a_server_without_starttls_gets_nothing() -> None:
    with mail_server() as box:
        with pytest.raises(TransportError, match="STARTTLS"):
            send("team", channel(box.port, tls="starttls"), NOTICE)
        assert box.envelopes == []


def test_refusals_are_failures() -> None:
    with mail_server() as box:
        box.refuses = {"b@example.org"}
        with pytest.raises(PartlyTaken, match=r"refused b@example\.org"):
            send("team", channel(box.port, to=["a@example.org", "b@example.org"]), NOTICE)
        box.refuses = {"a@example.org"}
        with pytest.raises(TransportError, match="can't be sent"):
            send("team", channel(box.port), NOTICE)
    with pytest.raises(TransportError, match="can't be sent"):
        send("team", channel(free_port("127.0.0.1", 0)), NOTICE)


@pytest.mark.parametrize("tls", ["none", "starttls", "tls"])
def test_a_server_that_drips_is_left_in_time(tls: str) -> None:
    """Each line (or byte of a TLS record) comes well within the time-out of one read."""
    first, piece = (b"\x16\x03\x03\x3f\xff", b"\x02") if tls == "tls" else (b"", b"220-still here\r\n")
    with dripping(first, piece) as (port, released):
        with pytest.raises(TransportError, match="can't be sent: no answer within 1 s"):
            send("team", channel(port, tls=tls, timeout_s=1), NOTICE)
        assert not released.is_set(), "it was left, it did not end by itself"


def test_a_file_of_certificates_that_is_missing_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(TransportError, match="can't be sent: FileNotFoundError"):
        send("team", channel(9, ca=tmp_path / "none.pem"), NOTICE)


def test_hostile_names_forge_no_header() -> None:
    hostile = Item("host/x\r\nBcc: evil@example.org\r\n\r\nbody", "a\r\n.\r\nMAIL FROM:<x@example.org>")
    with mail_server() as box:
        send("team", channel(box.port), notice("id", "now", ("host", "critical", "raised"), [hostile]))
        [envelope] = box.envelopes
        assert envelope.rcpt_tos == ["a@example.org"]
        assert isinstance(envelope.content, bytes)
        mail = message_from_bytes(envelope.content, policy=policy.default)
    assert mail["Bcc"] is None
    assert "Bcc: evil@example.org" in str(mail["Subject"])
