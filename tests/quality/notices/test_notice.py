"""A notice's texts are clean on every line, its body is one line of JSON, and it comes back from it."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from quality.notices.notice import Item, clean, notice, read_notice


def test_a_notice_in_words() -> None:
    items = [Item("fact/samples", "2 batches are blocked", 1200, "2026-11-30T00:00:00Z", ("fleetcube gate",))]
    made = notice("id", "2026-11-30T01:00:00Z", ("gate", "critical", "raised"), items, lake="/lake")
    assert made.lines() == [
        "[critical] gate: fact/samples",
        "lake /lake",
        "",
        "fact/samples: 2 batches are blocked",
        "  rows: 1,200",
        "  since: 2026-11-30T00:00:00Z",
        "  look: fleetcube gate",
    ]


def test_many_entities_are_one_notice() -> None:
    items = [Item(f"host/oslo/gpu{number:03d}", "silent") for number in range(200)]
    made = notice("id", "now", ("host", "warning", "cleared"), items)
    assert made.title == "[warning] host: 200 of kind host (over)"
    assert (len(made.items), made.more) == (20, 180)
    assert made.lines()[-1] == "and 180 more: fleetcube alerts list --kind host"


@given(st.text(max_size=50), st.text(max_size=50))
def test_hostile_texts_make_no_lines_of_their_own(entity: str, text: str) -> None:
    made = notice("id", "now", ("gate", "critical", "raised"), [Item(entity, text, look=(text,))])
    assert all(len(line.splitlines()) <= 1 and "\x1b" not in line for line in made.lines())
    body = made.body()
    assert body.isascii()
    assert b"\n" not in body
    assert read_notice(json.loads(body)) == made


def test_a_text_without_end_is_cut_and_says_so() -> None:
    assert clean("x" * 5000) == "x" * 1000 + "… (5000 characters)"
    assert clean("a\r\nBcc: b\x1b[31m\u202e\ud800c") == "a Bcc: b [31m c"
