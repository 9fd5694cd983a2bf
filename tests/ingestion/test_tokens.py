"""The token file: who may read it, what it may hold, and who a caller is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ingestion.credentials import Credentials
from ingestion.tokens import ensure_token, load_tokens
from lake.errors import ConfigError


def test_a_token_is_made_once_and_kept_private(tmp_path: Path) -> None:
    path = tmp_path / "secrets" / "tokens.json"
    first, second = ensure_token(path, "a"), ensure_token(path, "b")
    assert ensure_token(path, "a") == first != second
    assert load_tokens(path) == {"a": first, "b": second}
    assert len(first) == 64
    assert path.stat().st_mode & 0o777 == 0o600
    assert [child.name for child in path.parent.iterdir()] == ["tokens.json"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "Not valid JSON"),
        ("[]", "No object with agents"),
        ("{}", "No object with agents"),
        ('{"a": "short"}', "The token of 'a' is no text of at least 16"),
        ('{"a": 12345678901234567890}', "The token of 'a'"),
        ('{"": "0123456789abcdef"}', "The token of ''"),
        ('{"a": "0123456789abcdef", "b": "0123456789abcdef"}', "Two agents have the same token"),
    ],
)
def test_a_broken_token_file_is_said(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "tokens.json"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(ConfigError) as caught:
        load_tokens(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o602])
def test_a_file_that_others_may_touch_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "tokens.json"
    path.write_text(json.dumps({"a": "0123456789abcdef"}))
    path.chmod(mode)
    with pytest.raises(ConfigError, match=f"mode {mode:04o}.*chmod 600"):
        load_tokens(path)


def test_a_caller_is_known_by_the_token_alone() -> None:
    credentials = Credentials({"a": "token-of-agent-a", "b": "token-of-agent-b"})
    assert credentials.agent_of("Bearer token-of-agent-b") == "b"
    assert credentials.agent_of("bearer token-of-agent-a") == "a"
    for text in ("", "Bearer", "Bearer ", "Basic token-of-agent-a", "token-of-agent-a", "Bearer token-of-agent-"):
        assert credentials.agent_of(text) is None
