"""The resident loop: by the clock, piece by piece, told when late; a step that fails or is busy holds up no other."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from gating import sample
from landed import land

from fleetcube import run as module
from fleetcube.pipeline import Pipeline
from fleetcube.progress import Progress
from fleetcube.run import Loop, ended_by_signals
from fleetcube.run_steps import Done, Piece
from lake.alert_states import fold, open_alerts
from lake.alerts import read_alerts
from lake.duck import Duck
from lake.errors import LakeError
from lake.intents import work_folder
from lake.lease import Busy, lease
from lake.settings import Settings

Work = dict[str, list[tuple[str, Callable[[], Done]]]]


class Clock:
    """Time that passes only where somebody waits, or a test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: float) -> None:
        self.now, self.waited, self._is_set, self.asleep = at, list[float](), False, 0.0
        steady = lambda: self.now - self.asleep  # noqa: E731 - what a sleeping host doesn't count
        monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda: self.now, monotonic=steady))

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True

    def wait(self, seconds: float) -> bool:
        self.now += seconds
        self.waited.append(seconds)
        return self._is_set


class Told(Progress):
    """Progress whose lines are kept."""

    def __init__(self) -> None:
        super().__init__("text", io.StringIO())
        self.lines: list[str] = []

    def say(self, text: str, **fields: Any) -> None:
        self.lines.append(text)


def loop_of(settings: Settings, monkeypatch: pytest.MonkeyPatch, steps: str, work: Work | None = None) -> Loop:
    """A loop of a minute; `work` stands for the pieces of its steps."""
    if work is not None:
        monkeypatch.setattr(module, "pieces", lambda step, *_: [Piece(name, do) for name, do in work[step]])
    return Loop(lambda: Pipeline(settings), steps.split(","), every_s=60, progress=Told())


def lines(loop: Loop) -> list[str]:
    progress = loop._progress
    assert isinstance(progress, Told)
    return progress.lines


def fails(error: Exception) -> Callable[[], Done]:
    def work() -> Done:
        raise error

    return work


def test_rounds_begin_at_multiples_and_late_ones_are_told_and_not_doubled(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, began = Clock(monkeypatch, at=1_000_000_030.0), list[float]()
    takes = iter([5.0, 130.0, 1.0, 0.0])

    def work() -> Done:
        began.append(clock.now)
        clock.now += next(takes)
        if len(began) == 4:
            clock.set()
        return Done()

    loop = loop_of(settings, monkeypatch, "land", {"land": [("inbox", work)]})
    loop.stop = clock  # type: ignore[assignment]
    loop.run()
    assert [at % 60 for at in began] == [0.0] * 4
    assert [later - first for first, later in pairwise(began)] == [60.0, 180.0, 60.0]
    [late] = [line for line in lines(loop) if "left out" in line]
    assert "took 2 min, so 2 rounds of every 60 s were left out" in late


@pytest.mark.parametrize(("where", "passed"), [("waiting", 4319), ("in a round", 4320)])
def test_a_host_that_slept_is_told_apart_and_is_no_late_round(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, where: str, passed: int
) -> None:
    clock, began, days_s = Clock(monkeypatch, at=1_000_000_030.0), list[float](), 3 * 86_400.0

    def sleep() -> None:
        clock.now, clock.asleep = clock.now + days_s, days_s

    def work() -> Done:
        began.append(clock.now)
        clock.now += 5
        if where == "in a round" and not clock.asleep:
            sleep()
        if len(began) == 3:
            clock.set()
        return Done()

    loop = loop_of(settings, monkeypatch, "land", {"land": [("inbox", work)]})
    loop.stop = clock  # type: ignore[assignment]
    wait = clock.wait
    if where == "waiting":
        monkeypatch.setattr(clock, "wait", lambda seconds: (clock.asleep or sleep(), wait(seconds))[1])
    loop.run()
    [told] = [line for line in lines(loop) if "passed by" in line]
    assert told.startswith(f"{passed} rounds of every 60 s passed by and are left out: the host slept")
    assert not any("took" in line for line in lines(loop))
    assert loop._late is None


def test_a_late_round_is_an_alert_until_one_is_in_time(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = loop_of(settings, monkeypatch, "land,alerts", {"land": []})
    loop._late = loop._lateness(module.time.time() - 100, 100.0, 1)
    loop.round()
    open_now = open_alerts(fold(read_alerts(Pipeline(settings).duck, settings.lake)))
    assert [one.last.key for one in open_now] == [("late", "run/land,alerts")]
    loop._late = None
    loop.round()
    assert open_alerts(fold(read_alerts(Pipeline(settings).duck, settings.lake))) == []


def test_what_fails_is_told_and_the_rest_goes_on(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    work: Work = {
        "land": [("inbox", fails(LakeError("no space", todo="Free some.")))],
        "gate": [("a", fails(KeyError("a bug"))), ("b", lambda: done.append("b") or Done("judged", blocked=True))],
    }
    loop = loop_of(settings, monkeypatch, "gate,land", work)
    before = loop._pipeline
    found = loop.round()
    assert (done, found.failed, found.blocked) == (["b"], ["land inbox", "gate a"], ["b"])
    assert "land inbox: FAILED: no space Free some." in lines(loop)
    assert "gate a: FAILED: KeyError: 'a bug'" in lines(loop)
    assert loop.round().failed == ["land inbox", "gate a"]
    assert loop._pipeline is not before, "the engine may be broken by an error that nobody expected"


def test_a_busy_table_is_waited_for_then_left_with_a_word(
    settings: Settings, duck: Duck, monkeypatch: pytest.MonkeyPatch
) -> None:
    land(settings, duck, "samples", [sample()])
    loop = loop_of(settings, monkeypatch, "gate")
    clock = Clock(monkeypatch, at=1000.0)
    loop.stop = clock  # type: ignore[assignment]
    with lease(settings.lake, "gate/samples"):
        found = loop.round()
    assert found.left == ["gate samples"]
    assert 29 < sum(clock.waited) < 31
    [said] = [line for line in lines(loop) if "left to the next round" in line]
    assert "Another process is writing 'gate/samples'" in said
    assert loop.round().left == []
    assert any("samples batch 1 passed" in line for line in lines(loop))


def test_slow_steps_are_done_once_in_their_interval_by_whoever_comes_first(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[float] = []
    clock = Clock(monkeypatch, at=7200.0)
    work: Work = {"upkeep": [("lake", lambda: done.append(clock.now) or Done("merged"))]}
    loops = [loop_of(settings, monkeypatch, "upkeep", work) for _ in range(2)]
    for _ in range(3):
        for loop in loops:
            loop.round()
        clock.now += 1800
    assert done == [7200.0, 10_800.0]
    work["upkeep"] = [("lake", fails(LakeError("no")))]
    clock.now = 14_400.0
    assert loops[0].round().failed == loops[1].round().failed == ["upkeep lake"], "what failed is due again"
    with lease(settings.lake, "run/upkeep"):
        assert loops[0].round().failed == []
    assert lines(loops[0])[-1] == "upkeep: another loop is at it"


def test_of_a_slow_step_only_what_failed_is_due_again(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, done, wrong = Clock(monkeypatch, at=7200.0), list[str](), {"b"}

    def work(name: str) -> Done:
        done.append(name)
        if name in wrong:
            raise LakeError("cells differ")
        return Done()

    work_of: Work = {"verify": [(name, lambda name=name: work(name)) for name in "abc"]}  # type: ignore[misc]
    loops = [loop_of(settings, monkeypatch, "verify", work_of) for _ in range(2)]
    assert [loop.round().failed for loop in loops] == [["verify b"], ["verify b"]]
    wrong.clear()
    assert [loop.round().failed for loop in loops] == [[], []]
    assert "".join(done) == "abc" + "b" + "b"
    clock.now += 21_600
    loops[0].round()
    assert "".join(done[5:]) == "abc"


def test_a_damaged_note_of_the_last_time_is_told_and_ends_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    work: Work = {
        name: [("lake", lambda name=name: done.append(name) or Done())] for name in ("land", "upkeep", "vacuum")
    }
    loop = loop_of(settings, monkeypatch, "land,upkeep,vacuum", work)
    work_folder(settings.lake, "run").joinpath("upkeep.json").write_text("torn")
    assert loop.round().failed == ["upkeep interval", "vacuum interval"]
    assert any("The intent file is damaged" in line and "Move it away" in line for line in lines(loop))
    assert loop.round().failed == ["upkeep interval", "vacuum interval"]
    assert done == ["land", "land"]


def test_a_signal_ends_it_between_pieces_and_a_second_one_at_once(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    import signal

    done: list[str] = []
    said: list[str] = []

    def ended() -> Done:
        signal.raise_signal(signal.SIGTERM)
        done.append("whole")
        return Done()

    work: Work = {"land": [("a", ended), ("b", lambda: done.append("never") or Done())], "gate": []}
    loop = loop_of(settings, monkeypatch, "land,gate", work)
    # A process that a shell has put into the background ignores the signal from the start.
    before = signal.getsignal(signal.SIGINT)
    with ended_by_signals(loop.stop, said.append):
        loop.round()
        assert done == ["whole"]
        assert len(said) == 1
        loop.run()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_what_a_signal_says_does_not_go_through_a_stream_in_use() -> None:
    """A buffered stream refuses a write from within another one of the same thread: the handler must not try."""

    class InUse(io.StringIO):
        def write(self, text: str) -> int:
            raise RuntimeError("reentrant call inside a buffered writer")

        def fileno(self) -> int:
            return into

    out, into = os.pipe()
    try:
        with pytest.raises(RuntimeError):
            Progress("json", InUse()).say("as ever")
        Progress("json", InUse()).interject("ending")
        assert json.loads(os.read(out, 1000))["message"] == "ending"
        Progress("text", InUse()).interject("ending")
        assert os.read(out, 1000) == b"ending\n"
    finally:
        os.close(out)
        os.close(into)


def test_the_ledger_tells_of_failures_and_of_what_works_again(
    settings: Settings, duck: Duck, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = Pipeline(settings)

    def outcomes() -> list[tuple[str, str]]:
        from lake.delta import open_snapshot
        from lake.tables import LEDGER

        scan = duck.scan(open_snapshot(settings.lake, LEDGER))
        return duck.sql(f'SELECT outcome, detail FROM {scan} ORDER BY "at"')

    with pytest.raises(LakeError), pipeline.timed("build", "serving"):
        raise LakeError("no space")
    with pipeline.timed("build", "serving"):
        pass
    with pipeline.timed("build", "serving"):
        pass
    with lease(settings.lake, "x"), pytest.raises(Busy), pipeline.timed("build", "serving"), lease(settings.lake, "x"):
        pass
    assert outcomes() == [("failed", '{"error":"no space"}'), ("done", "{}")]
