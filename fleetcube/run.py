"""The resident loop: lands, gates, builds, keeps up and tells, by intervals of the clock, in one process.

It is made of the same work, leases and ledger as the single verbs, so it may run beside them, beside Airflow and beside
another loop; and it holds nothing that a kill could lose. Slow imports happen once, which is what it is for.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from signal import SIGINT, SIGTERM, default_int_handler, getsignal, signal
from threading import Event
from typing import TYPE_CHECKING, Any, Final

from fleetcube.alerting import check
from fleetcube.run_steps import Done, Piece, pieces
from lake.durations import named_seconds, told
from lake.errors import FleetcubeError
from lake.faults import faultpoint
from lake.findings import Finding
from lake.intents import read_intents, write_intent
from lake.lease import Busy, lease
from lake.times import EPOCH, iso, utc_now

if TYPE_CHECKING:
    from fleetcube.pipeline import Pipeline
    from fleetcube.progress import Progress

_LOG: Final = logging.getLogger(__name__)
ALERTS: Final = "alerts"
# In the order in which they run; those with seconds are not for every round.
STEPS: Final[dict[str, int]] = {
    "land": 0, "gate": 0, "build": 0, "verify": 21_600, "upkeep": 3600, "retain": 86_400, "vacuum": 86_400,
    "audit": 3600, ALERTS: 0,
}  # fmt: skip
# Retention deletes, so it is asked for by name.
USUAL: Final = tuple(step for step in STEPS if step != "retain")
_PATIENCE_S: Final = 30.0
_COMPONENT: Final = "run"


@dataclass
class Round:
    """What a round came to, for the exit code of `--once`."""

    blocked: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


class Loop:
    """Rounds of the chosen steps. `make` gives the pipeline, and a new one after an error that nobody expected."""

    def __init__(
        self,
        make: Callable[[], Pipeline],
        steps: Sequence[str],
        *,
        every_s: int,
        progress: Progress,
        quiet: bool = False,
    ) -> None:
        """`every_s` seconds lie between rounds, which begin at multiples of it since 1970, UTC.

        `quiet` leaves out what went well, but for a terminal's passing line.
        """
        self._make, self._pipeline = make, make()
        self._steps = [step for step in STEPS if step in steps]
        self._every_s, self._progress, self._quiet = every_s, progress, quiet
        own = named_seconds(self._pipeline.settings.run_intervals, STEPS, "setting run_intervals")
        self._intervals = {step: own.get(step, STEPS[step]) for step in self._steps}
        self._late: Finding | None = None
        self._broken = False
        self.stop = Event()

    def run(self, before: Callable[[], None] | None = None) -> None:
        """Rounds until `stop` is set; one that takes too long is told, and the times that it missed are left out.

        `before` runs before each round; what it raises ends the loop.
        """
        start_s = self._next(time.time())
        while not self._wait_until(start_s):
            at_s, began_s = time.time(), time.monotonic()
            turn = int(at_s // self._every_s)
            self._passed_by(turn - int(start_s // self._every_s))
            if before is not None:
                before()
            self.round()
            # By a clock that nobody sets: what a sleep or a set clock skips is no fault of the round.
            took_s = time.monotonic() - began_s
            missed = int((at_s + took_s) // self._every_s) - turn
            self._late = self._lateness(turn * self._every_s, took_s, missed) if missed > 0 else None
            now_s = time.time()
            self._passed_by(int(now_s // self._every_s) - turn - missed)
            start_s = self._next(now_s)

    def round(self) -> Round:
        """Every step that is due, piece by piece; what is busy or fails is told and left to the next round."""
        done = Round()
        if self._broken:
            self._attempt("engine", Piece("lake", self._mend), done)
        for step in self._steps:
            if self.stop.is_set():
                break
            if step == ALERTS:
                self._attempt(ALERTS, Piece("lake", self._check), done)
            elif not self._intervals[step]:
                self._step(step, 0, done)
            else:
                self._attempt(step, Piece("interval", partial(self._slow, step, done)), done)
        return done

    def _step(self, step: str, slot: int, done: Round, only: Collection[str] = ()) -> list[str] | None:
        """Run the pieces (`only` these, where some are named); gives what failed or was left, None where all was."""
        listed = list[Piece]()

        def look() -> Done:
            listed.extend(pieces(step, self._pipeline, slot))
            return Done()

        if not self._attempt(step, Piece("list", look), done):
            return None
        due, undone = [one for one in listed if not only or one.subject in only], list[str]()
        for piece in due:
            if self.stop.is_set():
                undone.append(piece.subject)
                continue
            faultpoint("run.piece.before")
            undone += [] if self._attempt(step, piece, done) else [piece.subject]
            faultpoint("run.piece.after")
        return undone

    def _slow(self, step: str, done: Round) -> Done:
        """A step that is due once in its interval, by whichever loop comes first; a piece that failed is due again."""
        lake = self._pipeline.settings.lake
        slot = int(time.time()) // self._intervals[step]
        try:
            with lease(lake, f"run/{step}"):
                last = read_intents(lake, _COMPONENT).get(step, {})
                only = last.get("undone", []) if last.get("slot") == slot else []
                if last.get("slot") != slot or only:
                    undone = self._step(step, slot, done, only)
                    if undone is not None:
                        write_intent(lake, _COMPONENT, step, {"slot": slot, "undone": undone})
                        faultpoint("run.slot.after")
        except Busy:
            self._progress.say(f"{step}: another loop is at it", step=step)
        return Done()

    def _attempt(self, step: str, piece: Piece, done: Round) -> bool:
        """Do a piece of work; gives whether it is done. What fails is told."""
        name, started = f"{step} {piece.subject}", time.monotonic()
        while True:
            try:
                made = piece.work()
                self._tell(step, piece.subject, made, started)
                done.blocked += [piece.subject] if made.blocked else []
                return True
            except Busy as error:
                patience_s = min(self._every_s / 2, _PATIENCE_S)
                if time.monotonic() - started < patience_s and not self.stop.wait(0.2):
                    continue
                done.left.append(name)
                self._progress.say(f"{name}: left to the next round: {error}", step=step, subject=piece.subject)
            except FleetcubeError as error:
                done.failed.append(name)
                self._progress.say(f"{name}: FAILED: {error}", step=step, subject=piece.subject, failed=str(error))
            except Exception as error:
                # A fault of ours or of the machine (a full disk) must not end the loop; the engine may be broken by it.
                _LOG.exception("%s failed", name)
                done.failed.append(name)
                told = f"{type(error).__name__}: {error}"
                self._progress.say(f"{name}: FAILED: {told}", step=step, subject=piece.subject, failed=told)
                self._broken = True
            return False

    def _mend(self) -> Done:
        self._pipeline, self._broken = self._make(), False
        return Done("started anew")

    def _tell(self, step: str, subject: str, made: Done, started: float) -> None:
        if made.text and self._quiet:
            self._progress.note(f"{step} {subject}: {made.text}")
        elif made.text:
            seconds = time.monotonic() - started
            more: dict[str, Any] = {"step": step, "subject": subject, "seconds": round(seconds, 3)}
            self._progress.say(f"{iso(utc_now())[11:19]} {step} {subject}: {made.text} [{seconds:.1f} s]", **more)

    def _check(self) -> Done:
        late = [] if self._late is None else [self._late]
        wrong = check(self._pipeline.settings, self._pipeline.duck, more=late, more_keys=[("late", self._entity)])
        return Done("; ".join(wrong))

    @property
    def _entity(self) -> str:
        return f"run/{','.join(self._steps)}"

    def _passed_by(self, rounds: int) -> None:
        """Tell of rounds that nothing of ours held up; no alert, as there is nothing to mend."""
        if rounds > 0:
            why = "the host slept, or its clock was set"
            text = f"{rounds} rounds of every {told(self._every_s)} passed by and are left out: {why}."
            self._progress.say(text, passed=rounds)

    def _lateness(self, start_s: float, took_s: float, missed: int) -> Finding:
        at = iso(EPOCH.fromtimestamp(start_s, EPOCH.tzinfo))
        took, each = told(took_s), told(self._every_s)
        text = f"The round of {at} took {took}, so {missed} rounds of every {each} were left out."
        self._progress.say(text, missed=missed)
        look = ("fleet.jobs on the SQL endpoint: seconds by step", "a longer --every, or fewer steps")
        return Finding("late", "warning", self._entity, text, since=utc_now(), look=look)

    def _next(self, now_s: float) -> float:
        return (now_s // self._every_s + 1) * self._every_s

    def _wait_until(self, at_s: float) -> bool:
        """Wait; gives whether the loop is to stop. Short waits, so that a clock that is set is followed."""
        while (left := at_s - time.time()) > 0:
            if left > self._every_s:
                return self.stop.is_set()
            if self.stop.wait(min(left, 1.0)):
                return True
        return self.stop.is_set()


@contextmanager
def ended_by_signals(stop: Event, say: Callable[[str], None]) -> Iterator[None]:
    """The first SIGTERM or SIGINT ends the loop after the piece in work, a second one at once, within it."""

    def handle(number: int, frame: Any) -> None:
        if stop.is_set():
            default_int_handler(number, frame)
        stop.set()
        say("ending after the work in hand; once more ends it at once")

    old = {number: getsignal(number) for number in (SIGTERM, SIGINT)}
    for number in old:
        signal(number, handle)
    try:
        yield
    finally:
        for number, handler in old.items():
            signal(number, handler)
