"""The pipeline: the verbs as functions over one lake, where the parts meet; each writes its row into the ledger."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fleetcube.cube_state import chosen_cubes
from lake.catalogue import load_catalogue
from lake.duck import connect
from lake.errors import DefinitionError, did_you_mean
from lake.facts import load_facts
from lake.lease import Busy
from lake.ledger import ERROR, Failed, failed_steps, record
from lake.lookup_store import ensure_lookups, publish_lookup
from lake.settings import Settings
from lake.times import utc_now

if TYPE_CHECKING:
    from cubes.build import BuildResult
    from ingestion.land import Landed
    from ingestion.replay import ReplayedFile
    from ingestion.simulation.fleet import Fleet
    from quality.gate import BatchResult

Note = Callable[[str], None]


class Pipeline:
    """Land, gate and build over the lake of the settings, with one engine. `note` hears where a long step stands."""

    def __init__(self, settings: Settings, note: Note | None = None) -> None:
        """Make the lake's folder and its lookups if they are missing."""
        settings.lake.mkdir(parents=True, exist_ok=True)
        self.settings = settings
        self.duck = connect(settings)
        self.note: Note = note or (lambda _: None)
        self._failed: Failed | None = None
        ensure_lookups(settings.lake, self.duck)

    def replay(self, paths: Sequence[Path], mapping: str) -> list[ReplayedFile]:
        """Land foreign logs; files that were replayed before come back without landed rows."""
        from ingestion.mapping import load_mapping
        from ingestion.replay import replay

        found = load_mapping(mapping, self.settings.mappings)
        with self.timed("replay", mapping) as done:
            files = replay(self.duck, self.settings.lake, paths, found, progress=self._counted)
            done(sum(batch.received for file in files for batch in file.landed.values()))
        return files

    def simulate(self, *, hosts: int, days: int, requests: int, seed: int) -> dict[str, int]:
        """Land a simulated fleet of whole days before today, and its lookups; gives rows landed by fact."""
        from ingestion.simulate import fleet_lookups, simulate
        from ingestion.simulation.fleet import Fleet

        fleet = Fleet(utc_now().date(), days, hosts, requests_per_day=-(-requests // days), seed=seed)
        self._fleet_lookups(fleet, fleet_lookups(fleet))
        with self.timed("simulate", f"seed {seed}") as done:
            landed = simulate(self.duck, self.settings.lake, fleet, progress=self._counted)
            counts = {fact: landed.received(fact) for fact in load_facts()}
            done(sum(counts.values()))
        return counts

    def land(self) -> list[Landed]:
        """Land what the receiver's journal holds."""
        from ingestion.inbox import land_inbox

        journal = self.settings.lake / "_inbox"
        if not journal.is_dir():
            return []
        with self.timed("land", "inbox") as done:
            landed = land_inbox(self.duck, self.settings.lake, journal)
            done(sum(batch.received for batch in landed))
        return landed

    def gate(self, facts: Sequence[str] = (), *, retry_blocked: bool = False) -> list[BatchResult]:
        """Judge what has landed of the named facts, or of all; a blocked batch is a result, not an error."""
        from ingestion.clean import clean
        from quality.gate import retry_blocked as retry
        from quality.gate import run_gate
        from quality.verdict_page import write_page

        known = load_facts()
        for fact in facts:
            if fact not in known:
                raise DefinitionError(f"There is no fact '{fact}'.", todo=did_you_mean(fact, known))
        results: list[BatchResult] = []
        for fact in facts or known:
            with self.timed("gate", fact) as done:
                judged = run_gate(
                    self.settings,
                    self.duck,
                    fact,
                    clean=clean,
                    catalogue=load_catalogue(),
                    progress=partial(self._judged, fact),
                )
                if retry_blocked:
                    judged += retry(self.settings, self.duck, fact, clean=clean, catalogue=load_catalogue())
                for result in judged:
                    if result.verdict in ("warned", "blocked"):
                        write_page(self.settings.lake, result)
                done(sum(result.received for result in judged))
            results += judged
        return results

    def build(
        self, names: Sequence[str] = (), *, over_budget: bool = False, from_rows: bool = False
    ) -> list[BuildResult]:
        """Build the named cubes, or all, from rows trusted since their last build; the flags as in `make_ready`."""
        from cubes.build import build
        from cubes.compact import compact_cube
        from cubes.plan.ready import make_ready

        results = []
        for cube in chosen_cubes(self.settings, names):
            with self.timed("build", cube.name) as done:
                first = make_ready(
                    self.settings,
                    self.duck,
                    cube,
                    over_budget=over_budget,
                    from_rows=from_rows,
                    progress=self._built,
                )
                result = build(self.settings, self.duck, cube, progress=self._built)
                done(result.rows)
                compact_cube(self.settings, self.duck, cube)
            results += [one for one in (first, result) if one is not None and (one.kind != "none" or first is None)]
        return results

    def _fleet_lookups(self, fleet: Fleet, rows: dict[str, list[dict[str, str]]]) -> None:
        from lake.lookups import load_lookups

        for name, found in rows.items():
            columns = [column.name for column in load_lookups()[name].columns]
            texts = [tuple(row.get(column) or None for column in columns) for row in found]
            publish_lookup(self.settings.lake, self.duck, name, texts)

    def _judged(self, fact: str, done: int, total: int) -> None:
        self.note(f"{fact}: {done:,} of {total:,} rows judged")

    def _built(self, step: str, done: int, total: int) -> None:
        self.note(f"{step} ({done} of {total})")

    def _counted(self, done: int, total: int, what: str) -> None:
        if what:
            self.note(f"{what} ({done + 1} of {total})")

    @contextmanager
    def timed(self, step: str, subject: str) -> Iterator[Callable[[int], None]]:
        """Record the step in the ledger when it did something, or works again; one that fails goes on failing.

        A step that found another process at its work is none that failed.
        """
        started = time.monotonic()
        rows = 0

        def done(count: int) -> None:
            nonlocal rows
            rows = count

        outcome, detail = "failed", dict[str, str]()
        try:
            yield done
            outcome = "done"
        except (Busy, KeyboardInterrupt):
            outcome = "left"
            raise
        except BaseException as error:
            detail = {ERROR: str(error)[:1000]}
            raise
        finally:
            if rows or outcome == "failed" or (outcome == "done" and self._had_failed(step, subject)):
                seconds = time.monotonic() - started
                record(
                    self.settings, self.duck, step, subject, outcome=outcome, rows=rows, seconds=seconds, detail=detail
                )

    def _had_failed(self, step: str, subject: str) -> bool:
        """Whether the step's newest row in the ledger says that it failed."""
        self._failed = failed_steps(self.settings, self.duck, self._failed)
        return (step, subject) in self._failed[1]
