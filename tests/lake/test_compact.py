"""Which files a compaction merges, and that a commit can't bring back what another one replaced."""

from __future__ import annotations

import random

import pytest

from lake import delta, tables
from lake.compact import Layout, compact, excess
from lake.delta import DataFile
from lake.duck import Duck
from lake.errors import LakeError
from lake.settings import Settings


def made(sizes: list[int]) -> list[DataFile]:
    return [DataFile(f"{place:05d}", rows, rows, {}, {}, {}) for place, rows in enumerate(sizes)]


def append(duck: Duck, settings: Settings, number: int) -> None:
    row = f"SELECT 'a' AS agent, 'b' AS boot, {number} AS seq_from, {number} AS seq_to, 'samples' AS fact, 1 AS batch"
    files = duck.write(row, settings.lake, tables.SEEN, f"seen-{number}", stats=("batch",))
    delta.commit(settings.lake, tables.SEEN, delta.open_snapshot(settings.lake, tables.SEEN), adds=files, txns={})


def test_the_smallest_merge_and_larger_ones_when_it_pays() -> None:
    assert excess(made([5, 5, 5]), 3) == []
    assert [file.rows for file in excess(made([1000, 1, 2]), 2)] == [1, 2]
    assert [file.rows for file in excess(made([3, 1, 2, 1000]), 3)] == [1, 2, 3], "3 is no more than 1 + 2"


def test_a_row_is_rewritten_seldom() -> None:
    rng, files, written = random.Random(1), [], 0
    for _ in range(3000):
        files.append(rng.randint(1, 20))
        merged = excess(made(files), 8)
        written += sum(file.rows for file in merged)
        for file in merged:
            files.remove(file.rows)
        files += [sum(file.rows for file in merged)] if merged else []
        assert len(files) <= 8
    assert written < 12 * sum(files), f"each row was written {written / sum(files):.1f} times"


def test_a_table_of_many_files_becomes_few_with_the_same_rows(duck: Duck, settings: Settings) -> None:
    for number in range(12):
        append(duck, settings, number)
    layout = Layout(stats=("batch",))
    done = compact(duck, settings.lake, tables.SEEN, layout, most=4)
    assert (done.before, done.after) == (12, 1), "equal files all go into one"
    snapshot = delta.open_snapshot(settings.lake, tables.SEEN)
    assert duck.sql(f"SELECT seq_from FROM {duck.scan(snapshot)} ORDER BY 1") == [(number,) for number in range(12)]
    [file] = snapshot.files
    assert (file.rows, file.minimum["batch"], file.maximum["batch"]) == (12, 1, 1)


def test_what_another_commit_replaced_is_not_replaced_again(duck: Duck, settings: Settings) -> None:
    append(duck, settings, 1)
    append(duck, settings, 2)
    planned = delta.open_snapshot(settings.lake, tables.SEEN)
    compact(duck, settings.lake, tables.SEEN, Layout(), most=1)
    row = "SELECT 'a' AS agent, 'b' AS boot, 1 AS seq_from, 1 AS seq_to, 'samples' AS fact, 2 AS batch"
    files = duck.write(row, settings.lake, tables.SEEN, "late")
    for snapshot in (planned, delta.open_snapshot(settings.lake, tables.SEEN)):
        with pytest.raises(LakeError, match="Another writer changed the files"):
            delta.commit(settings.lake, tables.SEEN, snapshot, adds=files, removes=planned.files, txns={"x": 1})
    assert delta.open_snapshot(settings.lake, tables.SEEN).rows == 2
