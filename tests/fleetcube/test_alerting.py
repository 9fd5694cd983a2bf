"""Alerts of a lake, from what is wrong to a signed message: grouped, once, over, through kills and side by side."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from gating import gate, sample
from journals import fleetcube
from landed import land
from noticeservers import Hook, hook, secret_file, verified

from fleetcube.alert_lists import alert_rows, alerts_text
from fleetcube.alerting import check, report, untold
from lake.alerts import Alert, read_alerts, record_alert
from lake.duck import Duck, connect
from lake.errors import LakeError
from lake.findings import Finding, Scope
from lake.ledger import ERROR, record
from lake.settings import Settings
from quality import watch

NOW = datetime(2026, 11, 10, 12, tzinfo=UTC)


@pytest.fixture
def pager(settings: Settings, duck: Duck) -> Iterator[Hook]:
    """A web server to which the notices of a small lake go."""
    land(settings, duck, "samples", [sample(boot="before")])
    secret = secret_file(settings.lake.parent)
    with hook() as server:
        settings.notices_file.write_text(
            "channels:\n"
            f"  pager: {{kind: webhook, url: 'http://127.0.0.1:{server.port}/', secret: {{file: {secret}}}}}\n"
            "routes: [{to: [pager]}]\n"
        )
        yield server


def titles(pager: Hook) -> list[str]:
    assert all(verified(headers, body) for _, headers, body in pager.taken)
    return [json.loads(body)["title"] for _, _, body in pager.taken]


def test_what_is_wrong_is_told_once_by_kind_and_again_when_it_is_over(
    settings: Settings, duck: Duck, pager: Hook
) -> None:
    rows = [sample(str(at), host=f"h{at}", ts=f"2026-11-10T11:{at:02d}:00Z", seq=at) for at in range(30)]
    land(settings, duck, "samples", rows)
    gate(settings, duck)
    record(settings, duck, "build", "serving", outcome="failed", detail={ERROR: "disk full"})
    record(settings, duck, "build", "a_cube_of_the_past", outcome="failed")
    assert check(settings, duck, now=NOW) == []
    assert titles(pager) == [
        "[critical] step: step/build/serving",
        "[warning] fact: fact/samples",
        "[warning] host: 30 of kind host",
    ]
    for minute in range(1, 4):
        assert check(settings, duck, now=NOW + timedelta(minutes=minute)) == []
    assert len(pager.taken) == 3, "what is unchanged is not told again"
    fresh = [sample(str(at), host=f"h{at}", ts="2026-11-10T12:09:00Z", boot="c", seq=at) for at in range(29)]
    land(settings, duck, "samples", fresh)
    gate(settings, duck)
    record(settings, duck, "build", "serving", rows=1)
    assert check(settings, duck, now=NOW + timedelta(minutes=10)) == []
    assert titles(pager)[3:] == [
        "[critical] step: step/build/serving (over)",
        "[warning] fact: fact/samples (over)",
        "[warning] host: 29 of kind host (over)",
    ]


def test_a_channel_that_is_down_loses_nothing(settings: Settings, duck: Duck, pager: Hook) -> None:
    pager.answers = [500, 200]
    scope = Scope(keys=frozenset({("task", "dag/x")}))
    [failed] = report(settings, duck, [Finding("task", "critical", "dag/x", "broken")], scope, now=NOW)
    assert "answered 500" in failed
    done = fleetcube(settings.lake, "alerts", "list", "--format", "json")
    told = json.loads(done.stdout)
    assert [one["entity"] for one in told["alerts"]] == ["dag/x"]
    assert "channel pager: 1 notices wait; failed 1 times in a row" in told["outbox"][0]
    for path in settings.lake.glob("_work/notices/*/_failing.json"):
        path.unlink()  # the pause of five seconds
    assert report(settings, duck, [Finding("task", "critical", "dag/x", "broken")], scope, now=NOW) == []
    assert len({headers["Idempotency-Key"] for _, headers, _ in pager.taken}) == 1
    assert len(pager.taken) == 2


def test_what_can_t_be_watched_stays_as_it_is(
    settings: Settings, duck: Duck, pager: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(settings, duck, "build", "serving", outcome="failed")
    assert check(settings, duck, now=NOW) == []

    def broken(*_: object) -> list[Finding]:
        raise LakeError("the ledger can't be read")

    with monkeypatch.context() as patch:
        patch.setattr(watch, "step_findings", broken)
        [trouble] = check(settings, duck, now=NOW + timedelta(hours=1))
    assert trouble == "step, verify: not watched: the ledger can't be read"
    assert titles(pager) == ["[critical] step: step/build/serving", "[warning] watch: lake"]
    assert check(settings, duck, now=NOW + timedelta(hours=2)) == []
    assert titles(pager)[2:] == ["[warning] watch: lake (over)"]


def test_answers_that_differed_are_told_for_a_day(settings: Settings, duck: Duck, pager: Hook) -> None:
    record_alert(duck, settings.lake, Alert("selfaudit", "critical", "cube/serving", "a fault of the router"))
    record_alert(duck, settings.lake, Alert("selfaudit", "critical", "cube/serving", "cells", data={"grain": "1h"}))
    now = datetime.now(UTC)
    check(settings, duck, now=now)
    assert titles(pager) == ["[critical] answers: cube/serving"]
    check(settings, duck, now=now + timedelta(hours=25))
    assert titles(pager)[1:] == ["[critical] answers: cube/serving (over)"]


ARGUMENTS = ("notify", "--kind", "task", "--entity", "dag/load", "--text", "it $(broke); `now`", "--look", "log")


@pytest.mark.parametrize("fault", ["alerts.drafts.after", "alerts.commit.after", "notices.sent.after"])
def test_a_killed_teller_loses_and_doubles_nothing(settings: Settings, pager: Hook, fault: str) -> None:
    assert fleetcube(settings.lake, *ARGUMENTS, fault=fault).returncode == -signal.SIGKILL
    assert fleetcube(settings.lake, *ARGUMENTS).returncode == 0
    assert fleetcube(settings.lake, *ARGUMENTS).returncode == 0
    recorded = [one.state for one in read_alerts(connect(settings), settings.lake)]
    assert recorded == ["raised"]
    keys = Counter(headers["Idempotency-Key"] for _, headers, _ in pager.taken)
    assert len(keys) == 1, "whoever drops repeats by the key has it once"
    assert keys.total() == (2 if fault == "notices.sent.after" else 1)
    assert json.loads(pager.taken[0][2])["items"][0]["text"] == "it $(broke); `now`"
    assert not list(settings.lake.glob("_work/notices/*/*.json"))


def test_many_tellers_at_once_tell_once(settings: Settings, pager: Hook) -> None:
    command = [sys.executable, "-m", "fleetcube", *ARGUMENTS, "--lake", str(settings.lake)]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(4)]
    ends = [(process.communicate(timeout=120)[1], process.returncode) for process in running]
    assert [code for _, code in ends] == [0] * 4, ends
    assert titles(pager) == ["[critical] task: dag/load"]
    assert fleetcube(settings.lake, *ARGUMENTS[:5], "--over").returncode == 0
    assert titles(pager)[1:] == ["[critical] task: dag/load (over)"]


def test_a_wrong_lake_is_no_place_for_an_alert(tmp_path: Path) -> None:
    done = fleetcube(tmp_path / "typo", *ARGUMENTS)
    assert (done.returncode, "There is no lake here." in done.stderr) == (1, True)
    assert not (tmp_path / "typo").exists()


MISTAKES = [
    (("notify", "--kind", "gate", "--entity", "x", "--text", "y"), 1, "The kind 'gate' is found by the watch."),
    (("notify", "--kind", "A B", "--entity", "x", "--text", "y"), 1, "'A B' is no name of a kind."),
    (("notify", "--kind", "a", "--entity", "x\ny", "--text", "y"), 1, "is no entity"),
    (("notify", "--kind", "a", "--entity", "x"), 2, "Say what happened with --text"),
    (("alerts", "test", "--channel", "pagr"), 1, "There is no channel 'pagr'. Did you mean 'pager'?"),
]


@pytest.mark.parametrize(("arguments", "code", "told"), MISTAKES, ids=[told for _, _, told in MISTAKES])
def test_mistakes(settings: Settings, pager: Hook, arguments: tuple[str, ...], code: int, told: str) -> None:
    done = fleetcube(settings.lake, *arguments)
    assert (done.returncode, told in done.stderr) == (code, True), done.stderr
    assert pager.taken == []


def test_broken_channels_hide_nothing_else(settings: Settings, pager: Hook) -> None:
    settings.notices_file.write_text("channels: {ops: {kind: log, fomr: json}}\nroutes: [{to: [ops]}]\n")
    told = "notices.yaml:1: field channels.ops.log.fomr: unknown field"
    for verb in (("status",), ("alerts", "list")):
        done = fleetcube(settings.lake, *verb)
        assert (done.returncode, told in done.stdout) == (0, True), done.stderr
    assert told in fleetcube(settings.lake, "alerts", "check").stderr


def test_what_is_wrong_with_channels_keeps_nothing_from_being_recorded(settings: Settings, pager: Hook) -> None:
    assert fleetcube(settings.lake, *ARGUMENTS[:3], "--entity", "dag/before", "--text", "first").returncode == 0
    pager.answers = [500]
    assert fleetcube(settings.lake, *ARGUMENTS[:3], "--entity", "dag/kept", "--text", "waits").returncode == 1
    right = settings.notices_file.read_text()
    settings.notices_file.write_text(right.replace("url", "ulr"))
    done = fleetcube(settings.lake, *ARGUMENTS)
    assert (done.returncode, "ulr: unknown field" in done.stderr) == (1, True)
    assert "[critical] task: dag/load" in done.stderr, "the log is told"
    told = json.loads(fleetcube(settings.lake, "alerts", "list", "--format", "json").stdout)
    assert {one["entity"] for one in told["alerts"]} == {"dag/before", "dag/kept", "dag/load"}
    assert any("1 notices wait; failed 1 times" in text for text in told["outbox"]), "what waits is left as it is"
    settings.notices_file.write_text(right)
    pager.answers = [200]
    for path in settings.lake.glob("_work/notices/*/_failing.json"):
        path.unlink()  # the pause of five seconds
    (settings.lake / "_work" / "notices" / "pager" / "000000000001-0000-x.json").write_text("{}")
    done = fleetcube(settings.lake, "notify", "--kind", "task", "--entity", "dag/new", "--text", "new")
    assert (done.returncode, "000000000001-0000-x.json.damaged" in done.stderr) == (1, True)
    assert titles(pager)[-2:] == ["[critical] task: dag/kept", "[critical] task: dag/new"]


def test_a_name_writes_no_line_of_its_own(
    settings: Settings, duck: Duck, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    forged = "host/oslo/h1\n\x1b[2J2026-11-30T01:00:00Z fleetcube: alert cleared gate fact/samples: over"
    with caplog.at_level(logging.INFO, "fleetcube.alerting"):
        report(settings, duck, [Finding("host", "warning", forged, "silent")], Scope(kinds=frozenset({"host"})))
    listed = alerts_text(alert_rows(settings, (), whole=False), untold(settings))
    whole = alerts_text(alert_rows(settings, (), whole=True), ())
    for text in (*caplog.messages, listed, whole, capsys.readouterr().err):
        assert "\x1b" not in text
        assert not any(line.startswith("2026-11-30T01:00:00Z") for line in text.splitlines())
    assert any("alert raised host host/oslo/h1" in text for text in caplog.messages)


def test_channels_are_tested(settings: Settings, pager: Hook) -> None:
    assert fleetcube(settings.lake, "alerts", "test").stdout == "pager: taken\n"
    assert titles(pager) == ["[info] test: channel/pager"]
    pager.answers = [302]
    done = fleetcube(settings.lake, "alerts", "test", "--channel", "pager")
    assert (done.returncode, "a redirect" in done.stdout) == (1, True)
    bare = Path(settings.lake.parent / "bare")
    assert "log: taken" in fleetcube(bare, "alerts", "test").stdout
