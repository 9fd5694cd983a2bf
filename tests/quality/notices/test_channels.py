"""notices.yaml: what is wrong is told with its line; secrets are never in it and never everybody's."""

from __future__ import annotations

from pathlib import Path

import pytest
from noticeservers import secret_file

from lake.errors import ConfigError, DefinitionError
from quality.notices.channels import Channels, MailChannel, WebhookChannel, load_channels

GOOD = """
channels:
  ops: {kind: log, form: json}
  pager: {kind: webhook, url: "https://pager.example.org/x?y=1", secret: {env: PAGER_SECRET}}
  team: {kind: mail, host: mail.example.org, sender: fleet@example.org, to: [team@example.org],
         user: fleet, password: {file: /run/secrets/mail}}
routes:
  - {severity: critical, to: [pager, team]}
  - {kinds: [host, gap], severity: warning, to: [team]}
  - {to: [ops]}
pause_s: 60
"""


def load(folder: Path, text: str) -> Channels:
    path = folder / "notices.yaml"
    path.write_text(text)
    return load_channels(path)


def test_routes_by_kind_and_severity(tmp_path: Path) -> None:
    found = load(tmp_path, GOOD)
    assert isinstance(found.channels["pager"], WebhookChannel)
    assert isinstance(found.channels["team"], MailChannel)
    assert found.ways("gate", "critical") == ["ops", "pager", "team"]
    assert found.ways("host", "warning") == ["ops", "team"]
    assert found.ways("gate", "warning") == ["ops"]
    assert load_channels(tmp_path / "gone.yaml") == Channels()


BAD = {
    'url: "https://user@pager.example.org/x"': "without a user",
    'url: "ftp://pager.example.org/x"': "write https",
    'url: "http://pager.example.org/x"': "http is not private",
    'url: "https://pager.example.org:99999/x"': "ort",
    'url: "https://pager.example.org/in put?token=hidden"': "url",
    'url: "https://pager.example.org/blöcked"': "url",
}


@pytest.mark.parametrize("line", BAD)
def test_addresses_that_are_refused(tmp_path: Path, line: str) -> None:
    with pytest.raises(DefinitionError, match=BAD[line]) as error:
        load(tmp_path, GOOD.replace('url: "https://pager.example.org/x?y=1"', line))
    assert "notices.yaml:4" in str(error.value)


CHANGES = [
    ("to: [ops]", "to: [opps]", "there is no channel 'opps'. Did you mean 'ops'"),
    ("secret: {env: PAGER_SECRET}", "secret: a-secret-in-the-yaml", "secret"),
    ("secret: {env: PAGER_SECRET}", "secret: {env: A, file: b}", "give either file or env"),
    ("user: fleet, ", "", "user and password go together"),
    ("host: mail.example.org", "host: mail.example.org, tls: none", "nothing is private"),
    ("form: json", "fomr: json", "fomr"),
    ("kind: log, form", "kind: pigeon, form", "pigeon"),
    ("sender: fleet@example.org", "sender: 'x@example.org, y@example.org'", "sender"),
    ("pause_s: 60", "pause_s: -1", "pause_s"),
]


@pytest.mark.parametrize(("old", "new", "told"), CHANGES, ids=[new or "no user" for _, new, _ in CHANGES])
def test_mistakes_are_named(tmp_path: Path, old: str, new: str, told: str) -> None:
    assert old in GOOD
    with pytest.raises(DefinitionError, match=r"notices.yaml:\d+") as error:
        load(tmp_path, GOOD.replace(old, new))
    assert told in str(error.value)


def test_channels_without_routes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="channels without routes"):
        load(tmp_path, GOOD[: GOOD.index("routes")])


def test_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pager = load(tmp_path, GOOD).channels["pager"]
    assert isinstance(pager, WebhookChannel)
    monkeypatch.delenv("PAGER_SECRET", raising=False)
    with pytest.raises(ConfigError, match=r"environment variable PAGER_SECRET.*missing or shorter than 16"):
        pager.secret.read("pager", least=16)
    monkeypatch.setenv("PAGER_SECRET", "x" * 16)
    assert pager.secret.read("pager", least=16) == "x" * 16
    for mode, told in ((0o644, "can be read by others"), (0o640, "can be read by others")):
        path = secret_file(tmp_path, mode=mode)
        one = load(tmp_path, GOOD.replace("env: PAGER_SECRET", f"file: {path}")).channels["pager"]
        assert isinstance(one, WebhookChannel)
        with pytest.raises(ConfigError, match=told) as error:
            one.secret.read("pager")
        assert "a-secret-of" not in str(error.value)
