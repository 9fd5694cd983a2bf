"""Claims: which home folder may write a table of a lake in an object store, as objects put only where none is.

A claim has no time limit: clocks differ, and a host that was only slow would go on beside the next one. Whoever knows
that a home is gone for good deletes its claims (docs/object-stores.md); its intents are in the store and are completed
by the next home.
"""

from __future__ import annotations

import json
import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from lake.errors import LakeError
from lake.intents import sync_folder
from lake.lease import Busy
from lake.objects import Place, delete_objects, place_of
from lake.places import address
from lake.times import iso, utc_now

_FOLDER: Final = "_claims"
_HOME: Final = "_home"


def home_id(lake: Path) -> str:
    """The name of this home of the lake, made up at first use and kept in it; a copied home would be a second one."""
    path = lake / _HOME
    lake.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        # Linked when whole, so that of two first users one name stays.
        beside = lake / f".{_HOME}-{uuid.uuid4().hex}"
        if not path.exists():
            beside.write_text(uuid.uuid4().hex, encoding="ascii")
            try:
                os.link(beside, path)
            finally:
                beside.unlink()
            sync_folder(lake)
    return path.read_text(encoding="ascii")


@contextmanager
def claim(lake: Path, name: str) -> Iterator[None]:
    """Hold `name` for this home; the caller holds its lock on this host.

    Errors: Busy that names the other home's host, and what to do when it is gone.
    """
    place = place_of(lake / _FOLDER / (name.replace("/", "__") + ".json"))
    mine = {"home": home_id(lake), "host": socket.gethostname(), "pid": os.getpid(), "since": iso(utc_now())}
    # No two claims are the same text, so an answer that got lost can be told from another's claim.
    content = json.dumps({**mine, "claim": uuid.uuid4().hex}).encode()
    while not place.put_new(content):
        held = _held(place)
        if held is None:
            continue
        if held.get("home") != mine["home"]:
            raise Busy(
                f"Host {held.get('host', '?')} is writing '{name}' since {held.get('since', '?')}.",
                where=address(lake),
                todo=f"Wait for it to end; if that host is gone for good, delete {address(place.path)} and try again.",
            )
        # Of a process that was killed: the lock says that it is gone.
        place.put(content)
        break
    try:
        yield
    except BaseException:
        # The step's own error is what matters; a claim that can't be given back is still this home's.
        with suppress(LakeError):
            delete_objects([place.path])
        raise
    delete_objects([place.path])


def _held(place: Place) -> dict[str, str] | None:
    content = place.get()
    if content is None:
        return None
    try:
        found: dict[str, str] = json.loads(content)
    except ValueError:
        return {}
    return found
