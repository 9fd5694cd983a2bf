"""A verdict as a page of its own: what was judged, which checks failed, what to do; for whoever is sent there.

Pages lie in `<lake>/_work/verdicts`, for batches that were blocked or warned, the newest 1,000 of them. The record of a
verdict is its row in `batches`; a page is made of it and may be deleted.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lake.intents import work_folder

if TYPE_CHECKING:
    from quality.gate import BatchResult

_MOST: Final = 1000
_PARTS: Final = ("received", "trusted", "quarantine", "duplicates", "gaps", "blocked", "withdrawn")
_STYLE: Final = "body{font:15px sans-serif;margin:2em;max-width:60em}td,th{text-align:left;padding:.2em 1em .2em 0}"


def page_path(lake: Path, fact: str, batch: int) -> Path:
    """Where the page of a batch lies."""
    return lake / "_work" / "verdicts" / f"{fact}-{batch:08d}.html"


def page_place(lake: Path, fact: str, batch: int, link: str) -> str:
    """Where a person finds the page: below the address at which pages are served, or its path."""
    path = page_path(lake, fact, batch)
    return f"{link.rstrip('/')}/{path.name}" if link else str(path)


def write_page(lake: Path, result: BatchResult) -> Path:
    """Write the page of a batch, beside and renamed; old pages beyond the newest 1,000 go."""
    folder = work_folder(lake, "verdicts")
    path = page_path(lake, result.fact, result.batch)
    beside = path.with_name(f".{path.name}.tmp")
    beside.write_text(page(result), encoding="utf-8")
    beside.rename(path)
    pages = sorted(folder.glob("*.html"), key=lambda one: one.stat().st_mtime_ns)
    for old in pages[:-_MOST]:
        old.unlink(missing_ok=True)
    return path


def page(result: BatchResult) -> str:
    """The page as HTML: every text that came from rows is escaped, and nothing is fetched or run."""
    title = f"{result.fact} batch {result.batch}: {result.verdict}"
    counts = _table(("rows", ""), [(name, f"{getattr(result, name):,}") for name in _PARTS])
    found = result.checks.get("expectations", [])
    listed = [
        (one["name"], one["severity"], "holds" if one["success"] else "FAILED", str(one["unexpected"]))
        for one in sorted(found, key=lambda one: (one["success"], one["name"]))
    ]
    checks = _table(("check", "severity", "", "unexpected"), listed)
    rest = {name: value for name, value in result.checks.items() if name != "expectations"}
    more = escape(json.dumps(rest, indent=2, ensure_ascii=False, default=str))
    todo = f"fleetcube quarantine list --fact {result.fact}"
    if result.verdict == "blocked":
        todo += f"<br>mend the source or the suite, then: fleetcube gate {escape(result.fact)} --retry-blocked"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>"
        f"<p>Landing batches {result.landed_from} to {result.landed_to}, suite {escape(result.suite)}.</p>{counts}"
        f"<h2>Checks</h2>{checks}<h2>What to do</h2><p>{todo}</p><h2>Details</h2><pre>{more}</pre></body></html>\n"
    )


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    def line(cells: tuple[str, ...], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    return "<table>" + line(head, "th") + "".join(line(row, "td") for row in rows) + "</table>"
