from __future__ import annotations

import threading
from typing import Any

import pytest

from cubes.serve.pool import SessionPool
from lake.errors import LakeError, QueryError


class Counted:
    """A session that only remembers whether it was closed."""

    def __init__(self) -> None:
        self.closed = False

    def query(self, sql: str, *, raw: bool = False, fresh: bool = False, explain: bool = False, **more: Any) -> Any:
        return None

    def interrupt(self) -> None:
        return None

    def close(self) -> None:
        self.closed = True


def test_sessions_are_few_and_lent_again() -> None:
    made: list[Counted] = []
    pool = SessionPool(lambda: made.append(Counted()) or made[-1], most=2)  # type: ignore[func-returns-value]
    with pool.lend(lambda: False) as first, pool.lend(lambda: False) as second:
        assert first is not second
        with pytest.raises(QueryError) as caught, pool.lend(lambda: True):
            pytest.fail("a third was lent")
        assert caught.value.code == "57014"
    with pool.lend(lambda: False):
        assert len(made) == 2
    pool.close()
    assert [session.closed for session in made] == [True, True]
    with pytest.raises(QueryError, match="stopping"), pool.lend(lambda: False):
        pytest.fail("lent after close")


def test_only_a_session_that_broke_is_dropped() -> None:
    pool = SessionPool(Counted, most=1)
    with pytest.raises(QueryError), pool.lend(lambda: False) as first:
        raise QueryError("refused")
    with pytest.raises(ZeroDivisionError), pool.lend(lambda: False) as again:
        raise ZeroDivisionError
    assert again is first
    assert isinstance(first, Counted)
    assert first.closed
    with pool.lend(lambda: False) as other:
        assert other is not first


def test_a_factory_that_fails_takes_no_place() -> None:
    def none() -> Counted:
        raise LakeError("there is no lake here.")

    pool = SessionPool(none, most=1)
    for _ in range(3):
        with pytest.raises(LakeError), pool.lend(lambda: False):
            pytest.fail("lent nothing")


def test_a_waiting_statement_gets_the_next_session() -> None:
    pool = SessionPool(Counted, most=1)
    got = threading.Event()

    def wait() -> None:
        with pool.lend(lambda: False):
            got.set()

    with pool.lend(lambda: False):
        thread = threading.Thread(target=wait)
        thread.start()
        assert not got.wait(0.1)
    thread.join(5)
    assert got.is_set()
