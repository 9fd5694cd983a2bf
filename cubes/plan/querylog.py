"""The log of queries that `cube advise` learns from: which dimensions were asked for, and what answering read.

A line of JSON for each part of a statement that aggregates a fact; no text and no value of a statement is kept. A
session buffers lines and appends them to a file of the day below the lake's work folder, in one write. The log is
bounded (`_DAYS` files of at most `_DAY_BYTES`), and never a reason for a query to fail: a notice says what went wrong.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cubes.route.implied import needed_dims
from lake.intents import work_folder
from lake.tails import tail_lines
from lake.times import EPOCH, GRAINS, iso

if TYPE_CHECKING:
    from cubes.route.span import Window
    from cubes.route.statement import Block, Statement
    from cubes.route.view import FactState, View

_FOLDER: Final = "queries"
_BUFFERED: Final = 100
_PAUSE: Final = timedelta(seconds=10)
_DAYS: Final = 60
_DAY_BYTES: Final = 16 * 2**20


@dataclass(frozen=True)
class Asked:
    """One part of a statement: `seconds` is the length of its range (0: open), `grains` those that fit its times.

    `cube` and `grain` answered it (empty: rows did, for the `reason`), `rows` is about what that read, `raw_rows` what
    rows alone would have had to read: those of the days in its range (None in lines of before it was logged).
    """

    at: str
    fact: str
    dims: tuple[str, ...]
    sketches: tuple[str, ...]
    states: tuple[str, ...]
    grains: tuple[str, ...]
    seconds: int
    cube: str
    grain: str
    rows: int
    reason: str
    ms: float
    raw_rows: int | None = None


class QueryLog:
    """Appends what a session was asked; one thread at a time."""

    def __init__(self, lake: Path, clock: Callable[[], datetime]) -> None:
        """Nothing is opened or made before there is something to write."""
        self._lake, self._clock = lake, clock
        self._lines: list[str] = []
        self._written: datetime | None = None
        self._stopped = False

    def add(self, statement: Statement, view: View, ms: float) -> tuple[str, ...]:
        """Note the parts of an answered statement; writes now and then. Gives what the user should be told, once."""
        if self._stopped or statement.raw:
            return ()
        now = self._clock()
        for place, block in enumerate(statement.blocks):
            asked = _asked(statement, place, block, view, iso(now), ms=round(ms, 3))
            self._lines.append(json.dumps(asdict(asked), separators=(",", ":")) + "\n")
        if self._written is None:
            self._written = now
        if len(self._lines) >= _BUFFERED or now - self._written >= _PAUSE:
            return self.flush()
        return ()

    def flush(self) -> tuple[str, ...]:
        """Write what is buffered; lines beyond the day's limit are dropped. Gives a notice where that fails."""
        lines, self._lines, self._written = self._lines, [], self._clock()
        if not lines or self._stopped:
            return ()
        try:
            path = work_folder(self._lake, _FOLDER) / f"{self._written.date().isoformat()}.jsonl"
            if not path.exists():
                _forget(path.parent, keep=_DAYS - 1)
            # One write at the end of the file, so that lines of several sessions never mix.
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                if os.fstat(descriptor).st_size < _DAY_BYTES:
                    os.write(descriptor, "".join(lines).encode())
            finally:
                os.close(descriptor)
        except OSError as error:
            self._stopped = True
            return (f"queries are not logged: {error.strerror} ({work_path(self._lake)}).",)
        return ()


def work_path(lake: Path) -> Path:
    """The log's folder."""
    return lake / "_work" / _FOLDER


def read_log(lake: Path, fact: str) -> list[Asked]:
    """What was asked of a fact, oldest first; a line that a crash cut short, or of another form, is passed over."""
    texts = (path.read_text(encoding="utf-8", errors="replace") for path in sorted(work_path(lake).glob("*.jsonl")))
    found = (_read(line) for text in texts for line in text.splitlines())
    return [asked for asked in found if asked is not None and asked.fact == fact]


def read_newest(lake: Path, most_bytes: int) -> list[Asked]:
    """What was asked of all facts, oldest first, as far as the newest bytes of the log tell."""
    lines = tail_lines(sorted(work_path(lake).glob("*.jsonl")), most_bytes)
    found = (_read(line.decode("utf-8", "replace")) for line in lines)
    return [asked for asked in found if asked is not None]


def _read(line: str) -> Asked | None:
    try:
        entry: dict[str, Any] = json.loads(line)
        values: dict[str, Any] = {name: tuple(held) if isinstance(held, list) else held for name, held in entry.items()}
        return Asked(**values)
    except (ValueError, TypeError, AttributeError):
        return None


def _asked(statement: Statement, place: int, block: Block, view: View, at: str, *, ms: float) -> Asked:
    plan = statement.plans[place] if place < len(statement.plans) else None
    kept = plan.kept if plan is not None else {}
    window = block.window
    whole = window.start is not None and window.end is not None
    parts = [part for part in block.parts if part.name not in kept]
    dims = block.dims.union(*(part.dims for part in parts))
    if plan is not None:
        dims = needed_dims(block, plan.cube.cube, kept)
    return Asked(
        at=at,
        fact=block.fact,
        dims=tuple(sorted(dims)),
        sketches=tuple(sorted(block.sketches)),
        states=tuple(sorted({name for part in parts for name in part.states})),
        grains=tuple(grain for grain in GRAINS if grain not in block.misfits),
        seconds=((window.end or 0) - (window.start or 0)) // 10**6 if whole else 0,
        cube=plan.cube.cube.name if plan is not None else "",
        grain=plan.pieces[-1].grain if plan is not None else "",
        rows=round(plan.rows) if plan is not None else view.fact(block.fact).trusted.rows,
        reason=block.reason,
        ms=ms,
        raw_rows=_raw_rows(view.fact(block.fact), window),
    )


def _raw_rows(state: FactState, window: Window) -> int:
    """Rows of the files that a range's days have, which is what rows alone would be read of."""
    if window.empty:
        return 0
    bounds = ((window.start, 0), (window.end, 1))
    first, last = (None if at is None else _day(at - less) for at, less in bounds)
    days = ((file.partition["day"] or "", file.rows) for file in state.trusted.files)
    return sum(rows for day, rows in days if (first is None or day >= first) and (last is None or day <= last))


def _day(at_us: int) -> str:
    return (EPOCH + timedelta(microseconds=at_us)).date().isoformat()


def _forget(folder: Path, *, keep: int) -> None:
    for path in sorted(folder.glob("*.jsonl"))[: -keep or None]:
        path.unlink(missing_ok=True)
