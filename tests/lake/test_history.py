from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

from lake.delta import commit, create_table, open_snapshot
from lake.duck import Duck
from lake.history import History, absent
from lake.settings import Settings
from lake.tables import SEEN


def add(duck: Duck, settings: Settings, number: int) -> None:
    select = f"SELECT 'a' AS agent, 'b' AS boot, {number} AS seq_from, {number} AS seq_to, 'x' AS fact, 1 AS batch"
    files = duck.write(select, settings.lake, SEEN, f"seen-{number}")
    commit(settings.lake, SEEN, open_snapshot(settings.lake, SEEN), adds=files, txns={"gate": number})


def test_entries_are_read_once_and_carry_numbers(duck: Duck, settings: Settings) -> None:
    create_table(settings.lake, SEEN)
    history = History(settings.lake, SEEN)
    assert [one.version for one in history.read(0)] == [0]
    for number in (1, 2):
        add(duck, settings, number)
    assert [(one.version, one.numbers.get("gate")) for one in history.read(2)] == [(0, None), (1, 1), (2, 2)]
    third = history.entries[2]
    assert all(one.at <= third.at for one in history.entries)
    assert (history.at(third.at, 2), history.version(9, 2)) == (third, None)
    assert history.at(history.entries[0].at - timedelta(seconds=1), 2) is None
    assert len(third.adds) == 1


def test_a_commit_that_says_no_time_is_as_old_as_its_file(duck: Duck, settings: Settings) -> None:
    create_table(settings.lake, SEEN)
    add(duck, settings, 1)
    then = datetime(2026, 1, 1, tzinfo=UTC)
    for number, path in enumerate(sorted((SEEN.path(settings.lake) / "_delta_log").glob("*.json"))):
        lines = [line for line in path.read_text().splitlines() if "commitInfo" not in line]
        path.write_text("\n".join(lines) + "\n")
        at = (then + timedelta(days=number)).timestamp()
        os.utime(path, (at, at))
    history = History(settings.lake, SEEN)
    assert [one.at for one in history.read(1)] == [then, then + timedelta(days=1)]
    assert history.at(then + timedelta(hours=1), 1) == history.entries[0]


def test_absent_files(duck: Duck, settings: Settings) -> None:
    for number in (1, 2):
        add(duck, settings, number)
    old, newest = (open_snapshot(settings.lake, SEEN, version) for version in (1, 2))
    commit(settings.lake, SEEN, newest, removes=old.files, txns={"gate": 3})
    newest = open_snapshot(settings.lake, SEEN)
    assert absent(old, newest) == frozenset()
    for path in old.paths():
        os.unlink(path)
    assert absent(old, newest) == {file.path for file in old.files}
