"""Verbs `user` and `audit`, and that every verb which changes state is on record."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fleetcube.audited import LOOKS
from fleetcube.cli import VERBS, cli
from lake.audit_check import verify
from lake.audit_keep import events
from lake.errors import FleetcubeError
from lake.users import Users


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    return tmp_path / "lake"


def _run(lake: Path, *words: str, given: str = "") -> Result:
    return CliRunner().invoke(cli, [*words, "--lake", str(lake)], input=given)


def _ok(lake: Path, *words: str, given: str = "") -> str:
    done = _run(lake, *words, given=given)
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stdout


def test_a_user_from_first_to_last(lake: Path) -> None:
    password = _ok(lake, "user", "add", "ada", "--role", "site", "--tenant", "eu").strip()
    assert len(password) == 32
    assert password not in (lake / "_secrets" / "users.json").read_text()
    _ok(lake, "user", "grant", "ada", "analyst")
    shown = json.loads(_ok(lake, "user", "list", "--format", "json"))["users"]
    assert shown == [{"user": "ada", "roles": ["site", "analyst"], "tenant": "eu", "logs_in": True}]
    policy = json.loads(_ok(lake, "user", "show", "ada"))
    assert policy["tables"]["requests"] == {"rows": "all", "hidden": ["session_hash", "user_hash"]}
    _ok(lake, "user", "revoke", "ada", "analyst")
    assert "site = 'eu'" in json.loads(_ok(lake, "user", "show", "ada"))["tables"]["requests"]["rows"].replace('"', "")
    assert _ok(lake, "user", "password", "ada", "--password-stdin", given="a longer password\n") == ""
    _ok(lake, "user", "remove", "ada")
    assert json.loads(_ok(lake, "user", "list", "--format", "json"))["users"] == []
    assert (lake / "_secrets" / "users.json").stat().st_mode & 0o777 == 0o600


def test_a_service_and_the_persons_that_it_acts_for(lake: Path, tmp_path: Path) -> None:
    _ok(lake, "user", "add", "superset", "--role", "service")
    file = tmp_path / "superset.key"
    assert _ok(lake, "user", "key", "superset", "--to", str(file)) == ""
    first = file.read_text().strip()
    assert len(first) == 43
    assert file.stat().st_mode & 0o777 == 0o600
    second = _ok(lake, "user", "key", "superset", "--print").strip()
    held = json.loads((lake / "_secrets" / "acting.json").read_text())["superset"]
    assert [one["text"] for one in held] == [second, first]
    assert held[1]["until"] > held[0]["until"] == 0
    assert (lake / "_secrets" / "acting.json").stat().st_mode & 0o777 == 0o600
    assert _ok(lake, "user", "add", "eve", "--no-password", "--role", "site", "--tenant", "us") == ""
    listed = json.loads(_ok(lake, "user", "list", "--format", "json"))["users"]
    assert [one["logs_in"] for one in listed] == [False, True]
    assert json.loads(_ok(lake, "user", "show", "superset"))["act_for"] == "*"
    _ok(lake, "user", "remove", "eve")
    assert "no key any more" in _ok(lake, "user", "key", "superset", "--drop")
    told = [event for event in events(lake) if event["resource"].startswith("user key")]
    assert told
    assert not any(key in str(told) for key in (first, second))
    _ok(lake, "user", "key", "superset", "--to", str(file))
    _ok(lake, "user", "remove", "superset")
    assert json.loads((lake / "_secrets" / "acting.json").read_text()) == {}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("user", "key", "ada", "--print"), "There is no user 'ada'"),
        (("user", "key", "ada"), "Say one of --to FILE"),
        (("user", "key", "ada", "--print", "--drop"), "Say one of --to FILE"),
        (("user", "add", "ada", "--no-password"), "No role was given"),
        (("user", "add", "a b", "--no-password", "--role", "site"), "can't be a user's name"),
        (("user", "add", "ada", "--role", "analist"), "Did you mean 'analyst'"),
        (("user", "add", "a b"), "can't be a user's name"),
        (("user", "add", "ada", "--role", "site"), "asks for the user's tenant"),
        (("user", "remove", "ada"), "There is no user 'ada'"),
        (("user", "grant", "ada", "admin"), "There is no user 'ada'"),
        (("audit", "checkpoint"), "is empty"),
        (("audit", "trim"), "how many months"),
    ],
)
def test_mistakes_change_nothing(lake: Path, words: tuple[str, ...], message: str) -> None:
    done = _run(lake, *words)
    assert isinstance(done.exception, FleetcubeError)
    assert message in str(done.exception)
    assert Users(lake / "_secrets" / "users.json").names() == []


def test_changes_of_users_are_on_record_without_passwords(lake: Path) -> None:
    password = _ok(lake, "user", "add", "ada", "--role", "admin").strip()
    _ok(lake, "user", "password", "ada", "--password-stdin", given="a longer password\n")
    _run(lake, "user", "grant", "ada", "nothing")
    found = [(event["resource"], event["result"], event["detail"]) for event in events(lake)]
    assert [one[:2] for one in found[:4]] == [
        ("user add", "begun"),
        ("user add", "ok"),
        ("user password", "begun"),
        ("user password", "ok"),
    ]
    assert found[0][2] == {"name": "ada", "roles": "admin"}
    assert found[-1][1].startswith("failed: ")
    text = "".join(path.read_text() for path in (lake / "_audit").glob("*.jsonl"))
    assert password not in text
    assert "a longer password" not in text
    assert verify(lake).holds


def test_the_log_is_proven_noted_and_exported(lake: Path, tmp_path: Path) -> None:
    _ok(lake, "user", "add", "ada")
    kept = tmp_path / "kept.jsonl"
    _ok(lake, "audit", "checkpoint", "--to", str(kept))
    assert "holds: 3 lines, 1 checkpoints" in _ok(lake, "audit", "verify", "--checkpoints", str(kept))
    lines = [json.loads(line) for line in _ok(lake, "audit", "export").splitlines()]
    assert [line["resource"] for line in lines][:2] == ["user add", "user add"]
    assert _ok(lake, "audit", "export", "--until", "2020-01-01") == ""
    _ok(lake, "audit", "export", "--copy-to", str(tmp_path / "copy"))
    [path] = (lake / "_audit").glob("*.jsonl")
    assert (tmp_path / "copy" / path.name).read_bytes() == path.read_bytes()
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    assert "holds" in _ok(lake, "audit", "verify")
    done = _run(lake, "audit", "verify", "--checkpoints", str(kept))
    assert "does not hold" in str(done.exception)


def test_a_verb_that_looks_leaves_no_line_and_one_that_changes_does(lake: Path) -> None:
    lake.mkdir()
    for words in (("user", "list"), ("audit", "verify"), ("audit", "export")):
        _ok(lake, *words)
    assert not (lake / "_audit").exists()
    _ok(lake, "land")
    assert [(event["resource"], event["result"]) for event in events(lake)] == [("land", "ok")]


def test_what_a_person_is_known_by_is_not_kept(lake: Path) -> None:
    _ok(lake, "land")
    _run(lake, "erase", "--where", "user_hash = 'somebody'", "--reason", "their wish")
    [first, last] = [event for event in events(lake) if event["resource"] == "erase"]
    assert first["detail"]["where"].startswith("sha256 ")
    assert first["detail"]["reason"] == "their wish"
    assert last["result"] != "begun"
    assert "somebody" not in "".join(path.read_text() for path in (lake / "_audit").glob("*.jsonl"))


def test_changed_settings_are_told_when_a_server_starts(lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ingestion.receive

    monkeypatch.setattr(ingestion.receive, "serve_receiver", lambda settings: None)
    for port in ("1001", "1001", "1002"):
        _ok(lake, "receive", "--port", port)
    told = [event for event in events(lake) if event["operation"] == "config"]
    assert [event["resource"] for event in told] == ["receive", "receive"]
    assert told[0]["detail"]["receiver_port"] == "1001"
    assert told[1]["detail"] == {"receiver_port": "1001 -> 1002"}
    (lake / "access.yaml").write_text("users:\n  ada: {roles: [admin]}\n")
    _ok(lake, "receive", "--port", "1002")
    last = [event for event in events(lake) if event["operation"] == "config"][-1]
    assert list(last["detail"]) == ["access file"]


def test_retention_keeps_the_log_as_the_settings_say(
    lake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _ok(lake, "land")
    monkeypatch.setenv("FLEETCUBE_AUDIT_COPY", str(tmp_path / "copy"))
    monkeypatch.setenv("FLEETCUBE_AUDIT_CHECKPOINTS", str(tmp_path / "kept.jsonl"))
    assert "audit log: checkpoint" in CliRunner().invoke(cli, ["retain", "--apply", "--lake", str(lake)]).stderr
    assert list((tmp_path / "copy").glob("*.jsonl"))
    assert "1 checkpoints" in _ok(lake, "audit", "verify")


def test_looks_are_verbs_that_there_are() -> None:
    import click

    for words in LOOKS:
        verb, *rest = words.split()
        command = cli.get_command(click.Context(cli), verb)
        assert verb in VERBS
        if rest:
            assert isinstance(command, click.Group)
            assert rest[0] in command.commands, words
