"""Random queries: the router's answer is the raw rows' answer. A failure names the seed; `random_query(seed)` is it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from randomsql import random_query
from sqlcorpus import same

from cubes.session import Session

SHARE_FROM_CUBES = 0.4


def test_many_queries(asked: Session) -> None:
    """The first seeds, of which a good share must come from cubes, or else the test shows nothing."""
    paths = [_both_doors(asked, seed) for seed in range(40)]
    assert sum(path.startswith("cube") for path in paths) >= SHARE_FROM_CUBES * len(paths)


@pytest.mark.slow
@settings(max_examples=400)
@given(seed=st.integers(min_value=0, max_value=10**9))
def test_any_query(asked: Session, seed: int) -> None:
    _both_doors(asked, seed)


def _both_doors(session: Session, seed: int) -> str:
    sql = random_query(seed)
    routed = session.query(sql)
    same(routed, session.query(sql, raw=True), f"seed {seed}: {sql}")
    return routed.path
