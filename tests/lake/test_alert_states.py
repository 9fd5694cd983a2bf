"""The states of alerts: told once, told when worse, held back while they waver, and never hidden for good."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lake.alert_states import fold, numbered, open_alerts, step
from lake.alerts import Alert
from lake.findings import Finding, Scope

START = datetime(2026, 11, 30, tzinfo=UTC)
PAUSE = timedelta(minutes=15)
WATCHED = Scope(kinds=frozenset({"gate", "host"}))
RANKS = ("info", "warning", "critical")


class Table:
    """The rows of the table, as rounds make them."""

    def __init__(self) -> None:
        self.rows: list[Alert] = []

    def round(self, minute: float, *findings: Finding, scope: Scope = WATCHED) -> list[tuple[str, str, str, int, bool]]:
        now = START + timedelta(minutes=minute)
        new = numbered(step(fold(self.rows), findings, scope, now, PAUSE), len(self.rows) + 1)
        self.rows += new
        return [(one.state, one.severity, one.entity, one.data["rows"], one.data["told"]) for one in new]


def gate(severity: str = "critical", rows: int = 10, entity: str = "fact/samples") -> Finding:
    return Finding("gate", severity, entity, f"{rows} rows blocked", rows)


def test_raised_unchanged_worse_over() -> None:
    table = Table()
    assert table.round(0, gate()) == [("raised", "critical", "fact/samples", 10, True)]
    assert table.round(1, gate()) == table.round(2, gate(rows=7)) == []
    assert table.round(3, gate(rows=30)) == [("changed", "critical", "fact/samples", 30, False)], "held back"
    assert table.round(10, gate(rows=30)) == []
    assert table.round(15, gate(rows=30)) == [("changed", "critical", "fact/samples", 30, True)]
    assert table.round(40, gate(rows=30)) == []
    assert table.round(41) == [("cleared", "info", "fact/samples", 30, True)]
    assert table.round(90) == []
    assert table.round(91, gate()) == [("raised", "critical", "fact/samples", 10, True)]


def test_a_higher_severity_is_told_at_once_and_a_lower_one_in_time() -> None:
    table = Table()
    table.round(0, gate("warning"))
    assert table.round(1, gate("critical")) == [("changed", "critical", "fact/samples", 10, True)]
    assert table.round(2, gate("warning")) == [("changed", "warning", "fact/samples", 10, False)]
    assert table.round(3, gate("critical")) == [("changed", "critical", "fact/samples", 10, False)]
    assert table.round(30, gate("critical")) == [], "people know it as critical"
    assert table.round(31, gate("warning")) == [("changed", "warning", "fact/samples", 10, True)]


def test_what_comes_and_goes_is_told_once_in_the_pause() -> None:
    table, told = Table(), 0
    for minute in range(0, 30):
        told += sum(row[-1] for row in table.round(minute, *([gate()] if minute % 2 == 0 else [])))
    assert told <= 4
    assert table.round(100, gate())[0][0] in ("raised", "changed")
    assert table.rows[-1].data["told"] is True


def test_a_held_back_end_is_told_only_where_the_beginning_was() -> None:
    table = Table()
    assert [row[-1] for row in (*table.round(0, gate()), *table.round(1))] == [True, True]
    assert table.round(2, gate()) == [("raised", "critical", "fact/samples", 10, False)]
    assert table.round(3) == [("cleared", "info", "fact/samples", 10, False)]
    assert table.round(60) == []


def test_a_clock_that_was_ahead_silences_nothing() -> None:
    table, year = Table(), 365 * 24 * 60.0
    assert [row[-1] for row in (*table.round(year, gate()), *table.round(year + 1))] == [True, True]
    assert table.round(0, gate()) == [("raised", "critical", "fact/samples", 10, True)]
    assert table.round(1, gate()) == []
    assert table.round(2) == [("cleared", "info", "fact/samples", 10, True)]
    assert table.round(3, gate()) == [("raised", "critical", "fact/samples", 10, False)], "the pause is as ever"


def test_a_new_episode_that_is_worse_is_told_at_once() -> None:
    table = Table()
    assert [row[-1] for row in (*table.round(0, gate("warning")), *table.round(1))] == [True, True]
    assert table.round(2, gate("critical")) == [("raised", "critical", "fact/samples", 10, True)]
    assert [row[-1] for row in (*table.round(3), *table.round(4, gate("critical")))] == [True, False]


def test_what_nobody_looked_at_stays_open() -> None:
    table = Table()
    table.round(0, gate())
    assert table.round(1, scope=Scope(kinds=frozenset({"host"}))) == []
    assert table.round(2, scope=Scope(keys=frozenset({("gate", "fact/events")}))) == []
    assert [one.last.entity for one in open_alerts(fold(table.rows))] == ["fact/samples"]
    assert len(table.round(3, scope=Scope(keys=frozenset({("gate", "fact/samples")})))) == 1


def test_plain_events_are_no_states() -> None:
    assert fold([Alert("selfaudit", "critical", "cube/serving", "wrong cells", at=START)]) == {}


FINDINGS = st.dictionaries(
    st.tuples(st.sampled_from(["gate", "host"]), st.sampled_from(["a", "b", "c"])),
    st.tuples(st.sampled_from(RANKS), st.integers(0, 5)),
    max_size=4,
)
ROUNDS = st.lists(st.tuples(st.sampled_from([0.5, 1, 4, 16, 60]), FINDINGS), min_size=1, max_size=40)


def play(rounds: list[tuple[float, Any]]) -> tuple[Table, float, dict[Any, Any]]:
    table, minute, now = Table(), 0.0, {}
    for passed, now in rounds:
        minute += passed
        found = [Finding(kind, how, name, "text", rows) for (kind, name), (how, rows) in now.items()]
        table.round(minute, *found)
        assert table.round(minute, *found) == [], "the same again changes nothing"
    return table, minute, now


def of_key(rows: list[Alert], key: tuple[str, str]) -> list[Alert]:
    return [one for one in rows if (one.kind, one.entity) == key]


@given(ROUNDS)
def test_random_lives_are_told_without_repeats_and_without_storms(rounds: list[tuple[float, Any]]) -> None:
    table, _, _ = play(rounds)
    for key in {(one.kind, one.entity) for one in table.rows}:
        told = [one for one in of_key(table.rows, key) if one.data["told"]]
        shown = [one.state == "cleared" or (one.severity, one.data["rows"]) for one in told]
        assert all(one != other for one, other in pairwise(shown)), f"{key} is told twice"
        assert told == [] or told[0].state == "raised"
        for before, after in pairwise(told):
            assert after.state != "raised" or before.state == "cleared", f"{key} begins twice"
            known = before.data.get("was", before.severity)
            is_worse = RANKS.index(after.severity) > RANKS.index(known)
            assert after.state == "cleared" or is_worse or after.at - before.at >= PAUSE, f"{key} storms"  # type: ignore[operator]


@given(ROUNDS)
def test_random_lives_end_with_what_is_true(rounds: list[tuple[float, Any]]) -> None:
    """The table is as the last findings are; once the pause is over people know it too."""
    table, minute, now = play(rounds)
    open_now = {one.last.key: one.now.severity for one in open_alerts(fold(table.rows))}
    assert open_now == {key: how for key, (how, _) in now.items()}
    table.round(minute + 16, *(Finding(kind, how, name, "text", rows) for (kind, name), (how, rows) in now.items()))
    for key in {(one.kind, one.entity) for one in table.rows}:
        told = [one for one in of_key(table.rows, key) if one.data["told"]]
        assert (told[-1].state != "cleared") == (key in now) if told else key not in now
        if key in now:
            assert (told[-1].severity, told[-1].data["rows"] >= now[key][1]) == (now[key][0], True)
    assert [one.number for one in table.rows] == list(range(1, len(table.rows) + 1))
