"""What the engine refuses is told in our words, with the code that clients know."""

from __future__ import annotations

import pytest

from lake.duck import Duck, connect
from lake.errors import QueryError
from lake.settings import Settings

SAID = [
    ("SELECT 'a'::VARCHAR + 1", "42883", r"no operator text \+ integer.*CAST"),
    ("SELECT -'a'::VARCHAR", "42883", "no operator - text"),
    ("SELECT sum('a'::VARCHAR)", "42883", r"sum\(\) does not take text"),
    ("SELECT lower(1.5::DECIMAL(18, 6))", "42883", r"lower\(\) does not take numeric"),
    ("SELECT CAST('x' AS INTEGER)", "22P02", "'x' is no integer"),
    ("SELECT CAST(v AS INTEGER) FROM (VALUES ('it''s')) AS t(v)", "22P02", r"'it's' is no integer \(column v\)"),
    ("SELECT CAST('x' AS DECIMAL(38, 9))", "22P02", "'x' is no numeric"),
    ("SELECT CAST('x' AS DATE)", "22007", "'x' is no date.*Write '2026"),
    ("SELECT TIMESTAMPTZ '2026-13-01'", "22007", "'2026-13-01' is no timestamp"),
    ("SELECT date_trunc('fortnight', now())", "22023", "no unit of time 'fortnight'"),
    ("SELECT CAST(5 AS TIMESTAMPTZ)", "42846", "integer can't be made timestamptz"),
    ("SELECT (SELECT unnest([1, 2]))", "21000", "more than one row"),
    ("SELECT 9223372036854775807 + 1", "22003", "out of the range of bigint"),
    ("SELECT CAST(300 AS TINYINT)", "22003", "300 is out of the range of tinyint"),
    ("SELECT 1 % 0 + CAST(error('division by zero') AS INTEGER)", "22012", "NULLIF"),
    ("SELECT sum(sum(1))", "42803", "an aggregate stands inside another"),
    ("SELECT 1 FROM range(3) WHERE sum(1) > 1", "42803", "or in WHERE"),
    ("SELECT strptime('x', '%Y')", "22007", "does not read as the format says"),
]


@pytest.fixture
def duck(settings: Settings) -> Duck:
    return connect(settings)


@pytest.mark.parametrize(("text", "code", "said"), SAID, ids=lambda one: str(one)[:40])
def test_the_engines_words_are_ours(duck: Duck, text: str, code: str, said: str) -> None:
    with pytest.raises(QueryError, match=said) as caught:
        duck.sql(text)
    assert caught.value.code == code
    shown = str(caught.value)
    assert "Error:" not in shown
    assert not any(word in shown for word in ("VARCHAR", "INT32", "INT64", "LITERAL", "Binder", "Catalog"))


def test_what_no_pattern_knows_keeps_its_words_without_the_kind(duck: Duck) -> None:
    with pytest.raises(QueryError, match=r"can't be run: .*nothing") as caught:
        duck.sql("SELECT nothing")
    assert caught.value.code == "XX000"
    assert "Binder" not in str(caught.value)
