"""Dashboards in a browser, timed inside the page, with what the endpoint says of its share and who used processors."""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from playwright.sync_api import Browser, Page, Response
from supersetpage import Watched

_WIDTH = 1280
_LOADED_S = 180.0
# In the page, from its first moment: when something was last seen loading, looked at every 20 ms. The browser's own
# list of requests holds 250 of them by default.
_WATCH = """
performance.setResourceTimingBufferSize(5000);
window.lastLoading = 0;
setInterval(() => {
  if (document.querySelector('.loading, [data-test="loading-indicator"]')) window.lastLoading = performance.now();
}, 20);
"""
# Moments in milliseconds since the navigation began.
_TIMES = """() => {
  const all = performance.getEntriesByType('resource').filter(one => one.name.includes('/api/v1/chart/data'));
  const answers = all.filter(one => one.responseEnd > 0);
  return {
    answers: answers.length,
    first: Math.min(...answers.map(one => one.startTime)),
    last: Math.max(0, ...answers.map(one => one.responseEnd)),
    loading: window.lastLoading,
    now: performance.now(),
  };
}"""
_HEIGHT = "() => document.querySelector('[data-test=\"grid-content\"]').scrollHeight + 200"


@dataclass(frozen=True)
class Load:
    """One load of a dashboard: milliseconds until its first question, its last answer and until nothing is loading.

    `answers` are those that charts and filters fetched of Superset. `statements` are what it asked of facts: the
    endpoint keeps times of these alone, not of its own tables (schema `fleet`).
    """

    dashboard: str
    first_ms: float
    last_ms: float
    settled_ms: float
    answers: int
    statements: int
    endpoint_ms: float
    from_rows: int
    processor_s: dict[str, float]


@dataclass(frozen=True)
class Known:
    """Of a dashboard: how high a window shows all of it, and how many answers its charts and filters fetch."""

    height: int
    answers: int


class Unread(Watched):
    """A watched page that does not read the answers, which would take time from the load."""

    def _answered(self, response: Response) -> None:
        if response.status >= 400:
            self.wrong.append(f"HTTP {response.status}: {response.url}")


class Dashboards:
    """The dashboards of one running Superset, as its administrator sees them."""

    def __init__(self, browser: Browser, address: str, password: str, auditor: psycopg.Connection[Any], home: Path):
        """Log in, once."""
        self.browser, self.address, self.auditor, self.home = browser, address, auditor, home
        self.known: dict[str, Known] = {}
        context = browser.new_context()
        page = Unread(context.new_page(), address)
        page.log_in("admin", password)
        self.session = context.storage_state()
        context.close()

    def warm(self, slugs: Sequence[str]) -> None:
        """See each dashboard once: it must be right, and what a load of it consists of is learned."""
        for slug in slugs:
            page = self._page(1000)
            shown = page.open(slug)
            broken = [one["title"] for one in shown if one["broken"]]
            if page.wrong or broken:
                raise SystemExit(f"{slug}: {page.wrong} {broken}")
            times = page.page.evaluate(_TIMES)
            self.known[slug] = Known(int(page.page.evaluate(_HEIGHT)), times["answers"])
            page.page.context.close()

    def load(self, slug: str) -> Load:
        """Load a dashboard in a fresh context, whose caches hold nothing, in a window that shows all of it."""
        known = self.known[slug]
        page = self._page(known.height)
        begun, before = datetime.now(UTC), self._processors()
        page.page.goto(f"{self.address}/superset/dashboard/{slug}/", timeout=_LOADED_S * 1000)
        times = self._settled(page, slug, known.answers)
        used = {name: spent - before[name] for name, spent in self._processors().items()}
        page.page.context.close()
        if page.wrong:
            raise SystemExit(f"{slug}: {page.wrong}")
        asked = self._asked(begun)
        return Load(
            slug,
            times["first"],
            times["last"],
            max(times["last"], times["loading"]),
            int(times["answers"]),
            len(asked),
            sum(latency for latency, _ in asked),
            sum(path in ("raw", "mixed") for _, path in asked),
            used,
        )

    def _page(self, height: int) -> Unread:
        context = self.browser.new_context(
            viewport={"width": _WIDTH, "height": height},
            timezone_id="UTC",
            locale="en-GB",
            storage_state=self.session,
        )
        page: Page = context.new_page()
        page.add_init_script(_WATCH)
        return Unread(page, self.address)

    def _settled(self, page: Unread, slug: str, answers: int) -> dict[str, float]:
        """Wait until every answer is there and nothing has been loading for a second."""
        deadline = datetime.now(UTC) + timedelta(seconds=_LOADED_S)
        while True:
            times: dict[str, float] = page.page.evaluate(_TIMES)
            quiet = times["now"] - max(times["last"], times["loading"]) > 1000
            if quiet and times["answers"] >= answers:
                return times
            if datetime.now(UTC) > deadline:
                raise SystemExit(f"{slug}: {times['answers']} of {answers} answers after {_LOADED_S:.0f} s")
            page.page.wait_for_timeout(250)

    def _asked(self, begun: datetime) -> list[tuple[float, str]]:
        """Milliseconds and path of each statement that Superset has sent for the administrator since."""
        sql = "SELECT latency_ms, path, error FROM fleet.queries WHERE who = 'admin' AND since >= %s"
        found = self.auditor.execute(sql, (begun,)).fetchall()
        if any(error for _, _, error in found):
            raise SystemExit(f"{sum(bool(error) for _, _, error in found)} statements failed at the endpoint")
        return [(float(latency), path) for latency, path, _ in found]

    def _processors(self) -> dict[str, float]:
        """Processor seconds that each part has used so far."""
        roots = {name: int((self.home / f"{name}.pid").read_text().split()[0]) for name in ("web", "endpoint")}
        spent = _processor_s()
        parts = {"browser": os.getpid(), "Superset": roots["web"], "endpoint": roots["endpoint"]}
        return {name: sum(spent[pid][1] for pid in _below(spent, root)) for name, root in parts.items()}


def _processor_s() -> dict[int, tuple[int, float]]:
    """Of each process its parent and its processor seconds."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            told = path.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        found[int(path.parent.name)] = int(told[1]), (int(told[11]) + int(told[12])) / os.sysconf("SC_CLK_TCK")
    return found


def _below(spent: dict[int, tuple[int, float]], root: int) -> Iterator[int]:
    """A process and all that it has started."""
    yield root
    for pid, (parent, _) in spent.items():
        if parent == root:
            yield from _below(spent, pid)


def p50(found: Sequence[float]) -> float:
    """The median."""
    return statistics.median(found)


def p95(found: Sequence[float]) -> float:
    """The 95th percentile: of fewer than twenty values the greatest."""
    return sorted(found)[min(len(found) - 1, int(len(found) * 0.95))]
