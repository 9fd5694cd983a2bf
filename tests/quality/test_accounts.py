"""The books: they balance, and a row that goes missing or appears twice shows."""

from __future__ import annotations

from gating import gate, sample
from landed import land

from lake.delta import commit, open_snapshot
from lake.duck import Duck
from lake.settings import Settings
from lake.tables import BATCHES, trusted
from quality.accounts import FIELDS, accounts, unbalanced


def test_an_empty_lake_balances(settings: Settings, duck: Duck) -> None:
    assert unbalanced(settings.lake, duck) == []
    assert accounts(settings.lake, duck)["samples"] == dict.fromkeys(FIELDS, 0)


def test_rows_wait_as_pending_and_then_are_settled(settings: Settings, duck: Duck) -> None:
    land(settings, duck, "samples", [sample("1"), sample("bad"), {"problem": "gap", "lost": 3}])
    assert accounts(settings.lake, duck)["samples"] == dict.fromkeys(FIELDS, 0) | {"received": 5, "pending": 5}
    assert unbalanced(settings.lake, duck) == []
    gate(settings, duck)
    settled = dict(zip(FIELDS, (5, 0, 1, 1, 3, 0, 0), strict=True))
    assert accounts(settings.lake, duck)["samples"] == settled
    assert unbalanced(settings.lake, duck) == []


def test_books_that_do_not_balance_are_found(settings: Settings, duck: Duck) -> None:
    land(settings, duck, "samples", [sample("1"), sample("2")])
    gate(settings, duck)
    ref = trusted("samples")
    snapshot = open_snapshot(settings.lake, ref)
    commit(settings.lake, ref, snapshot, removes=snapshot.files, txns={"gate": 2})
    assert "samples: trusted is 2 by the records, 0 by counting" in unbalanced(settings.lake, duck)
    books = open_snapshot(settings.lake, BATCHES)
    changed = f"SELECT * REPLACE (trusted + 1 AS trusted) FROM {duck.scan(books)}"
    files = duck.write(changed, settings.lake, BATCHES, "changed")
    commit(settings.lake, BATCHES, books, adds=files, removes=books.files, txns={"gate/samples": 2})
    assert "samples: 2 rows received, but 3 are accounted for" in unbalanced(settings.lake, duck)
