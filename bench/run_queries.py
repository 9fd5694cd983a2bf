"""Ask many random queries of random cubes over random lakes by both doors; writes queries.json and queries.md.

Each fleet (a lake, its life and its cubes) is made by a seed, and so is each query. Queries are told apart without
their constants. What is done is kept in a file, fleet by fleet, so that a run goes on where another one ended; a run of
another commit begins anew. What differs from raw rows is printed with the seeds that make it again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "support"))

from figures import Figure, count, figure, machine, write_report
from metamorphic import children, partitioned
from randomcheck import compare
from randomfleet import Fleet, fleet
from randomparts import PRODUCTIONS
from randomqueries import normalised, queries

from lake.errors import QueryError

SEEDS = 100_000  # queries of a fleet have seeds from its own, times this, on
CHECKS = 5  # of each kind of metamorphic check, in every fleet
STATE = Path(tempfile.gettempdir()) / "fleetcube-queries.jsonl"
FROM_CUBES = ("cube", "cube+raw")


def ask(seed: int, most: int, seen: set[str]) -> dict[str, Any]:
    """What was found in one fleet: a line of the file."""
    folder = Path(tempfile.mkdtemp(prefix="fleetcube-queries-"))
    started = time.perf_counter()
    try:
        with fleet(seed, folder / "fleet") as made:
            found = _asked(made, most, seen)
            found |= _checked(made)
            shape = {"cubes": len(made.cubes), "expired": made.expired}
    finally:
        shutil.rmtree(folder)
    return {"fleet": seed, **shape, **found, "seconds": round(time.perf_counter() - started, 1)}


def _asked(made: Fleet, most: int, seen: set[str]) -> dict[str, Any]:
    forms, paths, used, differences = [], Counter[str](), Counter[str](), []
    tried = refused = 0
    for query in queries(made, made.seed * SEEDS):
        tried += 1
        form = hashlib.sha256(normalised(query.sql).encode()).hexdigest()[:16]
        if form in seen:
            continue
        outcome = compare(made, query)
        if outcome.difference:
            print(outcome.difference, flush=True)
            differences.append(outcome.difference)
        if outcome.refused:
            refused += 1
            continue
        seen.add(form)
        forms.append(form)
        paths[outcome.path] += 1
        used.update(query.productions)
        if len(forms) == most:
            break
    return {"forms": forms, "paths": paths, "productions": used, "differences": differences, "tried": tried,
            "refused": refused}  # fmt: skip


def _checked(made: Fleet) -> dict[str, Any]:
    """Questions and their parts, and groups and their children."""
    found: dict[str, Any] = {"checks": 0, "broken": [], "check_paths": Counter[str]()}
    for check in (partitioned, children):
        for seed in range(CHECKS):
            try:
                wrong, paths = check(made, seed)
            except QueryError:
                if made.expired:
                    continue  # refused: the rows that it needs are gone
                raise
            found["checks"] += 1
            found["broken"] += [wrong] if wrong else []
            found["check_paths"].update(paths)
            if wrong:
                print(wrong, flush=True)
    return found


def report(lines: Iterable[dict[str, Any]], wanted: int) -> list[Figure]:
    """The figures of all fleets."""
    lines = list(lines)
    total = {name: sum(map(Counter, (one[name] for one in lines)), Counter()) for name in
             ("paths", "productions", "check_paths")}  # fmt: skip
    answered = total["paths"].total()
    share = sum(total["paths"][path] for path in FROM_CUBES) / answered * 100
    checked = sum(total["check_paths"][path] for path in FROM_CUBES) / max(1, total["check_paths"].total()) * 100
    return [
        count(
            "distinct queries, told apart without their constants",
            len({form for one in lines for form in one["forms"]}),
            at_least=wanted,
        ),
        count("of them different from raw rows", sum(len(one["differences"]) for one in lines), at_most=0),
        Figure(
            "of them answered from cubes alone (edges of ranges from rows)",
            float(f"{share:.4g}"),
            "%",
            60,
            share >= 60,
            least=True,
        ),
        *(count(f"answered by {path}", number) for path, number in sorted(total["paths"].items())),
        count(
            "refused by both doors, or for rows that have expired (not counted above)",
            sum(one["refused"] for one in lines),
        ),
        count("fleets, by the seeds from 0 on", len(lines)),
        count("of them with rows that have expired", sum(one["expired"] for one in lines)),
        count("cubes", sum(one["cubes"] for one in lines)),
        count(
            f"queries of fleet n, by the seeds from {SEEDS:,} × n on: tried at most", max(one["tried"] for one in lines)
        ),
        count("metamorphic checks: parts by a condition, children of a group", sum(one["checks"] for one in lines)),
        count("of them broken", sum(len(one["broken"]) for one in lines), at_most=0),
        figure("queries of these checks answered from cubes", checked, "%"),
        figure("time", sum(one["seconds"] for one in lines) / 60, "min"),
        count(
            "productions of the grammar",
            sum(name in total["productions"] for name in PRODUCTIONS),
            at_least=len(PRODUCTIONS),
        ),
        *(count(f"queries with {name}", total["productions"][name]) for name in sorted(PRODUCTIONS)),
    ]


def main() -> None:
    """Ask until there are enough distinct queries, and write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=20_000, help="distinct queries")
    parser.add_argument("--fleet", type=int, default=800, help="queries of one fleet")
    parser.add_argument("--state", type=Path, default=STATE, help="the file to go on with")
    parser.add_argument("--report", action="store_true", help="ask nothing more: report what the file holds")
    parser.add_argument("--dry", action="store_true", help="write no report")
    asked = parser.parse_args()
    facts = machine()
    lines = [json.loads(text) for text in asked.state.read_text().splitlines()] if asked.state.exists() else []
    if asked.report and lines:
        facts["commit"] = lines[-1]["commit"]
    lines = [one for one in lines if one["commit"] == facts["commit"]]
    if not asked.report:
        go_on(lines, asked, facts["commit"])
    found = report(lines, asked.queries)
    for one in found[:14]:
        print(f"{one.name}: {one.value:,} {one.unit}", flush=True)
    if not asked.dry:
        write_report(found, facts, name="queries", command="make bench-queries")
    if any(one["differences"] or one["broken"] for one in lines):
        raise SystemExit("some answers differ from raw rows")


def go_on(lines: list[dict[str, Any]], asked: argparse.Namespace, commit: str) -> None:
    """Fleets behind those of the lines, until there are enough queries."""
    seen = {form for one in lines for form in one["forms"]}
    with asked.state.open("a") as file:
        while len(seen) < asked.queries:
            line = ask(len(lines), min(asked.fleet, asked.queries - len(seen)), seen)
            lines.append({"commit": commit, **line})
            print(json.dumps(lines[-1]), file=file, flush=True)
            told = f"{len(seen):,} queries; {len(line['differences'])} differ; {line['seconds']} s"
            print(f"fleet {line['fleet']}: {told}", flush=True)


if __name__ == "__main__":
    main()
