"""Tells the endpoint for whom Superset asks: a signed name at each connection; the endpoint decides what they see.

The token's form is told in docs/access.md. Standard library only: Superset's environment has nothing of ours.
"""

from __future__ import annotations

import base64
import hmac
import os
import secrets
import sys
import time
from pathlib import Path
from typing import Any, Final

# A connection is opened for each question, so a token need not live longer than it takes to connect.
HOLDS_S: Final = 60


def signed_name(name: str, key: str, now: float | None = None) -> str:
    """A token that names a person, good for `HOLDS_S` seconds, under the key of the service that hands it over."""
    who = base64.urlsafe_b64encode(name.encode()).decode().rstrip("=")
    expires = int(time.time() if now is None else now) + HOLDS_S
    signed = f"fc1.{who}.{expires}.{secrets.token_hex(16)}"
    return f"{signed}.{hmac.digest(key.encode(), signed.encode(), 'sha256').hex()}"


def _is_guest() -> bool:
    # Within Superset it is always there; this file is read elsewhere too.
    flask: Any = sys.modules.get("flask")
    if flask is None or not flask.has_request_context():
        return False
    return bool(getattr(getattr(flask.g, "user", None), "is_guest_user", False))


def act_for(
    uri: Any, params: dict[str, Any], username: str | None, _security_manager: Any, _source: Any
) -> tuple[Any, dict[str, Any]]:
    """Superset's DB_CONNECTION_MUTATOR. Where nobody asks (a job of Superset's own) the service itself connects.

    The service reads no rows, so such a job sees none; it never sees everybody's.
    """
    home = Path(os.environ["SUPERSET_HOME"])
    ours = ("127.0.0.1", (home / "endpoint_port").read_text(encoding="ascii"), "superset", "fleet")
    # A name is handed to our endpoint alone, and a guest of an embedded page may call itself anything.
    if username is None or (uri.host, str(uri.port), uri.username, uri.database) != ours or _is_guest():
        return uri, params
    key = (home / "endpoint_key").read_text(encoding="ascii").strip()
    arguments = dict(params.get("connect_args", {}))
    options = f"-c fleetcube.act_for={signed_name(username, key)}"
    # For `make bench-superset` alone, which compares: the same questions, answered from trusted rows.
    if os.environ.get("SUPERSET_RAW") == "1":
        options += " -c fleetcube.raw=on"
    arguments["options"] = f"{arguments['options']} {options}" if arguments.get("options") else options
    return uri, {**params, "connect_args": arguments}
