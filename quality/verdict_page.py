"""A verdict as a page of its own: why a batch is blocked or warned, which rows, what to do; for whoever is sent there.

Pages lie in `<lake>/_work/verdicts`, for batches that were blocked or warned, the newest 1,000 of them. The record of a
verdict is its row in `batches`; a page is made of it and of examples of the bad rows, and may be deleted.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lake.intents import work_folder
from lake.places import address, is_remote
from quality.advice import advice, suite_place
from quality.reasons import Counted, mostly

if TYPE_CHECKING:
    from quality.gate import BatchResult

_MOST: Final = 1000
_PARTS: Final = ("received", "trusted", "quarantine", "duplicates", "gaps", "blocked", "withdrawn")
_VERBS: Final = ("list", "show", "release")
_STYLE: Final = """
body{font:16px/1.5 system-ui,sans-serif;color:#1c2430;background:#f5f6f8;margin:0}
main{max-width:60rem;margin:1.5rem auto;padding:1rem 2rem 2rem;background:#fff}
h1{font-size:1.5rem;margin:.5rem 0}h2{font-size:1.1rem;margin:1.8rem 0 .5rem}
.lead{padding:.7rem 1rem;border-left:5px solid #c62828;background:#fdecea}
.warned .lead{border-color:#e08a00;background:#fff4e0}
.lead p{margin:.2rem 0}table{border-collapse:collapse;width:100%}
td,th{text-align:left;vertical-align:top;padding:.35rem 1rem .35rem 0;border-bottom:1px solid #e6e9ee}
th{font-weight:600;color:#5a6472;font-size:.9rem}ul{margin:0;padding-left:1.1rem}
td,li,dd{overflow-wrap:anywhere}.fix{white-space:nowrap}code,pre{font:14px/1.5 ui-monospace,monospace}
pre{background:#f0f2f5;padding:.7rem 1rem;border-radius:6px;white-space:pre-wrap;overflow-wrap:anywhere}
dt{font-weight:600;margin-top:.6rem}dd{margin:0}.dim{color:#5a6472}summary{cursor:pointer}
"""


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
    beside.write_text(page(lake, result), encoding="utf-8")
    beside.rename(path)
    pages = sorted(folder.glob("*.html"), key=lambda one: one.stat().st_mtime_ns)
    for old in pages[:-_MOST]:
        old.unlink(missing_ok=True)
    return path


def remove_pages(lake: Path, fact: str) -> None:
    """Delete the pages of a fact, which quote rows of it."""
    for path in (lake / "_work" / "verdicts").glob(f"{fact}-{'[0-9]' * 8}.html"):
        path.unlink(missing_ok=True)


def page(lake: Path, result: BatchResult) -> str:
    """The page as HTML: every text that came from rows is escaped, and nothing is fetched or run."""
    title = f"{result.fact} batch {result.batch}: {result.verdict}"
    rest = {name: value for name, value in result.checks.items() if name != "expectations"}
    more = escape(json.dumps(rest, indent=2, ensure_ascii=False, default=str))
    body = (
        f"<h1>{escape(title)}</h1>{_lead(result)}<h2>Reasons</h2>{_reasons(result)}"
        f"<h2>What to do</h2>{_todo(result)}{_commands(lake, result)}<h2>Checks</h2>{_checks(result)}"
        f"<h2>Rows</h2>{_table(_PARTS, [tuple(f'{getattr(result, name):,}' for name in _PARTS)])}"
        f'<p class="dim">Landing batches {result.landed_from} to {result.landed_to}, suite {escape(result.suite)}.</p>'
        f"<details><summary>Details</summary><pre>{more}</pre></details>"
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>"
        f'<body class="{result.verdict}"><main>{body}</main></body></html>\n'
    )


def _lead(result: BatchResult) -> str:
    """Why, in sentences: what became of the batch, and each check that made the verdict, with its limit."""
    blocked = result.verdict == "blocked"
    worst = "critical" if blocked else "warning"
    became = "is blocked: none of its rows is published" if blocked else "is published, with a warning"
    failed = [one for one in result.checks.get("expectations", []) if not one["success"] and one["severity"] == worst]
    told = "".join(f"<p>{escape(_says(one))} (check <code>{escape(one['name'])}</code>).</p>" for one in failed)
    most = mostly(result.checks)
    told += f"<p>{escape(most[:1].upper() + most[1:])}.</p>" if most else ""
    return f'<div class="lead"><p>The batch {became}.</p>{told}</div>'


def _says(failed: dict[str, Any]) -> str:
    """What a failed check found, as the beginning of a sentence."""
    text = failed.get("says") or f"found {failed['unexpected']}"
    return f"{text[:1].upper()}{text[1:]}"


def _reasons(result: BatchResult) -> str:
    if not result.reasons:
        return "<p>No single row is to blame; see the checks below.</p>"
    rows = "".join(
        f"<tr><td class=fix><code>{escape(one.check)}</code></td><td class=fix>{one.rows:,}</td>"
        f"<td>{_list(one.examples, one.kinds)}</td><td>{_list(one.senders, one.agents)}</td></tr>"
        for one in result.reasons
    )
    return f"<table><tr><th>reason</th><th>rows</th><th>what was found</th><th>sent by</th></tr>{rows}</table>"


def _list(counted: Counted, every: int) -> str:
    """The most frequent texts with their rows, and how many more there are."""
    items = [f"<li>{escape(text)} <span class=dim>{rows:,} row{'s' * (rows > 1)}</span></li>" for text, rows in counted]
    if every > len(counted):
        items.append(f"<li class=dim>and {every - len(counted):,} more</li>")
    return f"<ul>{''.join(items)}</ul>"


def _todo(result: BatchResult) -> str:
    by_check = [(one.check, advice(one.check, result.fact)) for one in result.reasons]
    told = "".join(f"<dt>{escape(check)}</dt><dd>{escape(text)}</dd>" for check, text in by_check)
    limits = f"The limits of a batch are its suite's rules: {suite_place(result.fact)}."
    if result.verdict == "blocked":
        limits += " Bad rows of a batch that is let through go to quarantine, the others are published."
    return f"<dl>{told}</dl><p>{escape(limits)}</p>"


def _commands(lake: Path, result: BatchResult) -> str:
    """The commands to go on with; quarantine is named only where rows of this very batch lie there."""
    place = f"--lake {shlex.quote(address(lake) if is_remote(lake) else str(lake.absolute()))}"
    of_batch = f"--fact {result.fact} --batch {result.batch} {place}"
    if result.verdict == "blocked":
        told = (
            "The rows that were sent stay held back, and are not in quarantine. Once the setting, the catalogue or the "
            "suite is changed, judge them again; what a corrected sender sends anew is a batch of its own."
        )
        airflow = "Under Airflow: trigger the DAG <code>fleetcube_load</code> with <em>retry_blocked</em>."
        again = (f"fleetcube gate {result.fact} --retry-blocked {place}", f"fleetcube build {place}")
        return f"<p>{told}</p>{_pre(again)}<p>{airflow}</p>"
    if not result.quarantine:
        return "<p>No row of this batch is in quarantine.</p>"
    told = "Its bad rows are in quarantine. The last command judges them again, once what made them bad is mended."
    return f"<p>{told}</p>{_pre(f'fleetcube quarantine {verb} {of_batch}' for verb in _VERBS)}"


def _pre(lines: Iterable[str]) -> str:
    return f"<pre>{escape(chr(10).join(lines))}</pre>"


def _checks(result: BatchResult) -> str:
    found = result.checks.get("expectations", [])
    listed = [
        (one["name"], one["severity"], "holds" if one["success"] else "FAILED", _number(one["unexpected"]))
        for one in sorted(found, key=lambda one: (one["success"], one["name"]))
    ]
    return _table(("check", "severity", "", "unexpected"), listed)


def _number(found: int | str) -> str:
    return f"{found:,}" if isinstance(found, int) else found


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    def line(cells: tuple[str, ...], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    return "<table>" + line(head, "th") + "".join(line(row, "td") for row in rows) + "</table>"
