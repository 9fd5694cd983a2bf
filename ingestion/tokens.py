"""The token file: which agent may push, a JSON object {agent: token} that only its owner may read."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from ingestion.durable import write_file
from lake.errors import ConfigError

_TOKEN_CHARACTERS_MIN = 16
# No path, no control character, and never the name of a replayed file (file:<digest>).
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")


def load_tokens(path: Path) -> dict[str, str]:
    """Token by agent; ConfigError if others may read the file, or if a token is short, doubled or no text."""
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        todo = 'Make it with {"<agent>": "<token>"} and mode 0600, or correct the setting `tokens`.'
        raise ConfigError(f"The token file can't be read: {error}.", where=str(path), todo=todo) from error
    if mode & 0o077:
        what = f"Others may read the token file (mode {mode & 0o777:04o})."
        raise ConfigError(what, where=str(path), todo=f"Run: chmod 600 {path}")
    try:
        tokens = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"Not valid JSON: {error}.", where=str(path), todo='Write {"<agent>": "<token>"}.') from error
    if not isinstance(tokens, dict) or not tokens:
        raise ConfigError("No object with agents.", where=str(path), todo='Write {"<agent>": "<token>"}.')
    for agent, token in tokens.items():
        if not isinstance(token, str) or len(token) < _TOKEN_CHARACTERS_MIN or not token.isascii() or not agent:
            what = f"The token of '{agent}' is no text of at least {_TOKEN_CHARACTERS_MIN} ASCII characters."
            raise ConfigError(what, where=str(path), todo="Take a random one.")
    if len(set(tokens.values())) < len(tokens):
        raise ConfigError("Two agents have the same token.", where=str(path), todo="Give each its own.")
    return tokens


def ensure_token(path: Path, agent: str) -> str:
    """The token of `agent`; where there is none yet, a random one is made and kept in the file (made if missing)."""
    if not _NAME.fullmatch(agent):
        raise ConfigError(
            f"{agent!r} can't be an agent's name.", todo="Use letters, digits, dots, dashes, underscores."
        )
    tokens = load_tokens(path) if path.exists() else {}
    if agent not in tokens:
        tokens[agent] = os.urandom(32).hex()
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = path.with_name(f"{path.name}.{os.getpid()}")
        write_file(fresh, (json.dumps(tokens, indent=1) + "\n").encode())
        fresh.replace(path)
    return tokens[agent]
