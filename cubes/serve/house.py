"""What all connections of a server share: sessions and who may have one, the catalogue, and what runs."""

from __future__ import annotations

from dataclasses import dataclass

from cubes.serve.admission import Admission
from cubes.serve.ending import Ender
from cubes.serve.journal import Journal
from cubes.serve.pg_catalog import Catalogue
from cubes.serve.pool import SessionPool
from cubes.serve.running import Running
from cubes.serve.stream import Slots


@dataclass(frozen=True)
class House:
    """The parts, each safe to use from any thread."""

    sessions: SessionPool
    admission: Admission
    slots: Slots
    catalogue: Catalogue
    running: Running
    journal: Journal
    ender: Ender
