"""The notifier: a channel that fails keeps its notices and holds up nobody; drafts go; nothing is told to nobody."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from noticeservers import hook, mail_server, secret_file

from quality.notices import outbox as boxes
from quality.notices.channels import Channels
from quality.notices.notice import Item, Notice, notice
from quality.notices.notifier import Notifier


def made(number: int, severity: str = "critical") -> Notice:
    return notice(f"id-{number}", "now", ("gate", severity, "raised"), [Item(f"fact/{number}", "blocked")])


class Site:
    """A notifier of two channels: a webhook and the log, whose lines are kept."""

    def __init__(self, folder: Path, port: int) -> None:
        secret = {"file": str(secret_file(folder))}
        pager = {"kind": "webhook", "url": f"http://127.0.0.1:{port}/", "secret": secret, "timeout_s": 2}
        routes = [{"severity": "critical", "to": ["pager"]}, {"kinds": ["gate"], "to": ["ops"], "severity": "critical"}]
        channels = {"channels": {"pager": pager, "ops": {"kind": "log"}}, "routes": routes}
        self.said: list[str] = []
        self.notifier = Notifier(folder, Channels.model_validate(channels), lambda _, one: self.said.append(one.id))


def test_a_channel_that_fails_keeps_its_notices_in_order(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with hook() as server:
        site = Site(tmp_path, server.port)
        server.answers = [500, 500, 200]
        for number in (1, 2):
            site.notifier.keep(made(number), number)
        with caplog.at_level(logging.ERROR):
            [failed] = site.notifier.deliver(now_s=1000.0)
        assert "channel pager: " in failed
        assert "answered 500" in caplog.text
        assert site.said == ["id-1", "id-2"], "the other channel is not held up"
        assert len(server.taken) == 1, "after a failure the rest of the channel waits"
        [trouble] = site.notifier.troubles()
        assert "channel pager: 2 notices wait; failed 1 times in a row" in trouble
        assert site.notifier.deliver(now_s=1004.0) == []
        assert len(server.taken) == 1, "the pause is not over"
        assert len(site.notifier.deliver(now_s=1005.5)) == 1
        assert site.notifier.deliver(now_s=1010.0) == []
        assert "failed 2 times" in site.notifier.troubles()[0]
        assert site.notifier.deliver(now_s=1016.0) == []
        assert [headers["Idempotency-Key"] for _, headers, _ in server.taken] == ["id-1", "id-1", "id-1", "id-2"]
        assert site.notifier.troubles() == []
        assert site.said == ["id-1", "id-2"]


def test_the_pause_doubles_up_to_an_hour_and_a_clock_set_back_ends_it(tmp_path: Path) -> None:
    with hook() as server:
        site = Site(tmp_path, server.port)
        server.answers = [503]
        site.notifier.keep(made(1), 1)
        now, pauses = 10_000.0, []
        for _ in range(13):
            assert site.notifier.deliver(now_s=now)
            pauses.append(boxes.Outbox(tmp_path).failing()["pager"].next_s - now)
            now += pauses[-1]
        assert pauses[:4] == [5, 10, 20, 40]
        assert pauses[-1] == 3600
        assert site.notifier.deliver(now_s=100.0), "a clock that is set back must not stop it"


def test_drafts_of_events_that_never_were_go(tmp_path: Path) -> None:
    with hook() as server:
        site = Site(tmp_path, server.port)
        site.notifier.keep(made(1), 4)
        site.notifier.keep(made(2), 5)
        site.notifier.forget_drafts(4)
        assert site.notifier.deliver() == []
        assert [headers["Idempotency-Key"] for _, headers, _ in server.taken] == ["id-1"]


def test_what_no_route_takes_and_what_lost_its_channel_is_told(tmp_path: Path) -> None:
    with hook() as server:
        site = Site(tmp_path, server.port)
        site.notifier.keep(made(1, "warning"), 1)
        assert site.notifier.deliver() == []
        assert (site.said, server.taken) == (["id-1"], [])
        site.notifier.keep(made(2), 2)
        bare = Notifier(tmp_path, Channels(), site.notifier.say)
        assert bare.deliver() == [
            f"channel {name}: notices.yaml has no such channel any more." for name in ("ops", "pager")
        ]
        assert len(bare.troubles()) == 2


@pytest.mark.parametrize("content", ["{", "{}", "[]", '{"number": 1, "notice": {}}', "\udcff"])
def test_a_damaged_file_is_put_aside_and_named_and_holds_up_nothing(tmp_path: Path, content: str) -> None:
    with hook() as server:
        site = Site(tmp_path, server.port)
        for number in (1, 2):
            site.notifier.keep(made(number), number)
        box = tmp_path / "_work" / "notices" / "pager"
        path = min(box.glob("[0-9]*.json"))
        for bad in (path, box / "_failing.json"):
            bad.write_bytes(content.encode(errors="surrogateescape"))
        assert any(str(path) in text for text in site.notifier.troubles()), "who only looks changes nothing"
        assert path.exists()
        aside = site.notifier.forget_drafts(2)
        assert [f"{bad}.damaged" in text for bad, text in zip((path, box / "_failing.json"), aside, strict=True)]
        assert site.notifier.deliver() == []
        assert [headers["Idempotency-Key"] for _, headers, _ in server.taken] == ["id-2"]
        assert site.said == ["id-1", "id-2"]
        assert f"damaged: {path}.damaged" in site.notifier.troubles()[0]
        assert site.notifier.forget_drafts(2) == [], "it is told as new once"


def test_a_full_outbox_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(boxes, "MOST", 2)
    with hook() as server:
        site = Site(tmp_path, server.port)
        with caplog.at_level(logging.ERROR):
            for number in (1, 2, 2, 3):
                site.notifier.keep(made(number), number)
        full = [record.message for record in caplog.records]
    assert [text for text in full if "pager" in text] == [
        "The outbox of channel 'pager' is full; it does not get: [critical] gate: fact/3"
    ]


def test_a_mail_that_some_have_is_not_sent_again_and_the_refusal_is_shown(tmp_path: Path) -> None:
    with mail_server() as box:
        box.refuses = {"b@example.org"}
        team = {"kind": "mail", "host": "127.0.0.1", "port": box.port, "tls": "none", "sender": "f@example.org"}
        channels = {
            "channels": {"team": {**team, "to": ["a@example.org", "b@example.org"]}},
            "routes": [{"to": ["team"]}],
        }
        notifier = Notifier(tmp_path, Channels.model_validate(channels), lambda *_: None)
        notifier.keep(made(1), 1)
        [failed] = notifier.deliver(now_s=1000.0)
        assert "refused b@example.org" in failed
        assert notifier.deliver(now_s=9000.0) == []
        assert len(box.envelopes) == 1
        assert "0 notices wait; failed 1 times" in notifier.troubles()[0]
        box.refuses = set()
        notifier.keep(made(2), 2)
        assert notifier.deliver(now_s=9000.0) == []
        assert (len(box.envelopes), notifier.troubles()) == (2, [])
