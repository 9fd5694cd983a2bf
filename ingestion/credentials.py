"""Who a caller is: the agent whose token it shows."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from pathlib import Path

from ingestion.tokens import load_tokens


class Credentials:
    """Which agent a token belongs to. Digests are compared, all of them, so that time tells nothing."""

    def __init__(self, tokens: Path | Mapping[str, str]) -> None:
        """`tokens` is a file, read again whenever it changes, or a mapping of agent to token."""
        self._path = tokens if isinstance(tokens, Path) else None
        self._stamp = self._stamp_now()
        self._digests = _digests(load_tokens(tokens) if isinstance(tokens, Path) else tokens)

    def agent_of(self, authorization: str) -> str | None:
        """The agent, or None; ConfigError while the token file is broken: then nobody is let in."""
        stamp = self._stamp_now()
        if self._path is not None and stamp != self._stamp:
            self._digests, self._stamp = {}, (-2,)  # so that a broken file is tried again, and lets nobody in
            self._digests = _digests(load_tokens(self._path))
            self._stamp = stamp
        scheme, _, token = authorization.partition(" ")
        digest = hashlib.sha256(token.strip().encode()).digest()
        matches = [agent for agent, known in self._digests.items() if hmac.compare_digest(known, digest)]
        return matches[0] if matches and scheme.lower() == "bearer" else None

    def _stamp_now(self) -> tuple[int, ...]:
        try:
            found = self._path.stat() if self._path is not None else None
        except OSError:
            return (-1,)
        return () if found is None else (found.st_mtime_ns, found.st_ino, found.st_size, found.st_mode)


def _digests(tokens: Mapping[str, str]) -> dict[str, bytes]:
    return {agent: hashlib.sha256(token.encode()).digest() for agent, token in tokens.items()}
