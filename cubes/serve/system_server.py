"""System tables of this server itself: queries, receipts, metrics, and PostgreSQL's pg_stat_activity."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from cubes.serve.admission import Admission
from cubes.serve.journal import Journal
from cubes.serve.running import Activity, Running, Viewer
from cubes.serve.system_tables import SYSTEM

if TYPE_CHECKING:
    import pyarrow as pa

    from cubes.serve.pg_catalog import Relation
    from cubes.serve.system_lake import LakeTables

_DATABASE: Final = (16001, "fleet")
_STATES: Final = {"I": "idle", "T": "idle in transaction", "E": "idle in transaction (aborted)"}
_WAITS: Final = {"waiting": ("IPC", "Admission"), "sending": ("Client", "ClientWrite")}
_SHARES: Final = (0.5, 0.95, 0.99)


@dataclass(frozen=True)
class ServerTables:
    """What a server tells of itself."""

    running: Running
    journal: Journal
    admission: Admission
    lake: LakeTables

    def relations(self) -> tuple[Relation, ...]:
        """Its tables for the catalogue, those of the lake among them."""
        own = {
            "receipts": self.receipts,
            "queries": self.queries,
            "metrics": self.metrics,
            "pg_stat_activity": self.activity,
        }
        readers = {**own, **self.lake.readers()}
        return tuple(SYSTEM[name].relation(readers[name]) for name in sorted(SYSTEM))

    def queries(self, viewer: Viewer) -> pa.Table:
        """`fleet.queries`."""
        return SYSTEM["queries"].of_rows(one.row() for one in self.running.queries(viewer))

    def receipts(self, viewer: Viewer) -> pa.Table:
        """`fleet.receipts`."""
        return SYSTEM["receipts"].of_rows(self.journal.rows(viewer))

    def activity(self, viewer: Viewer) -> pa.Table:
        """`pg_stat_activity`."""
        return SYSTEM["pg_stat_activity"].of_rows(_activity(one) for one in self.running.connections(viewer))

    def metrics(self, viewer: Viewer) -> pa.Table:
        """`fleet.metrics`."""
        return SYSTEM["metrics"].of_rows([*self._server(), *self.lake.freshness(viewer)])

    def _server(self) -> Iterator[tuple[Any, ...]]:
        everyone = Viewer()
        clients = len(self.running.connections(everyone))
        yield "endpoint_clients", "", float(clients), "1", "Clients that are connected"
        yield "endpoint_statements_running", "", float(self.admission.running), "1", "Statements that have a place"
        yield "endpoint_statements_waiting", "", float(self.admission.waiting), "1", "Statements in line"
        for state, count in sorted(self.running.counts.items()):
            told = "Statements on facts that ended so since the server began"
            yield "endpoint_statements_total", state, float(count), "1", told
        found = self.running.latencies_ms()
        for share in _SHARES if found else ():
            value = found[min(len(found) - 1, int(len(found) * share))]
            told = "From arrival to the last row, of the last statements that were answered"
            yield "endpoint_latency_ms", f"p{share * 100:g}", round(value, 3), "ms", told
        yield "endpoint_memory_bytes", "", float(_resident_bytes()), "By", "Memory that the server's process holds"


def _activity(one: Activity) -> tuple[Any, ...]:
    query = one.query
    kind, event = _WAITS.get(query.state, (None, None)) if query is not None else (None, None)
    state = "active" if query is not None else _STATES[one.status()]
    client = (one.user, one.application(), one.address, None, one.port)
    times = (one.since, query.at if query is not None else None, one.began, one.changed)
    return (*_DATABASE, one.process, None, None, *client, *times, kind, event, state, None, None, None, one.last, _TYPE)


_TYPE: Final = "client backend"


def _resident_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
