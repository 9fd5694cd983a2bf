"""What the rewriting to cells refuses is refused in the words of the statement, as from rows."""

from __future__ import annotations

import pytest
from sqlcorpus import same

from cubes.session import Session
from lake.errors import QueryError


@pytest.mark.parametrize("raw", [False, True])
def test_a_window_in_having_is_refused_by_its_clause(asked: Session, raw: bool) -> None:
    text = "SELECT model, count(*) AS n FROM requests GROUP BY model HAVING sum(count(*)) OVER () > 0"
    with pytest.raises(QueryError, match=r"HAVING.* window functions") as error:
        asked.query(text, raw=raw)
    assert "WHERE clause" not in str(error.value)


def test_a_query_of_its_own_in_having_may_have_windows(asked: Session) -> None:
    inner = "SELECT max(n) FROM (SELECT sum(count(*)) OVER () AS n FROM requests GROUP BY model) t"
    text = f"SELECT model, count(*) AS n FROM requests GROUP BY model HAVING count(*) < ({inner}) ORDER BY 1"
    same(asked.query(text), asked.query(text, raw=True), text)
