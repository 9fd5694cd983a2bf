"""The embedded engine: exact quotients against Python's decimals, typed scans, and errors as ours."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import settings as tries
from hypothesis import strategies as st

from lake.delta import commit, open_snapshot
from lake.duck import Duck, connect
from lake.errors import FleetcubeError, QueryError
from lake.settings import Settings
from lake.tables import QUARANTINE, trusted

ENGINE = connect(Settings(memory_mib=256, threads=1))


def ratio(a: Decimal, b: Decimal) -> Decimal:
    """The exact quotient, rounded once, half to even, at the ninth place."""
    with localcontext() as context:
        context.prec = 120
        return (a / b).quantize(Decimal("1e-9"), ROUND_HALF_EVEN)


WHOLE = st.integers(-(10**25), 10**25)


@tries(max_examples=200)
@given(WHOLE, st.sampled_from([0, 6, 9]), st.integers(1, 10**12))
def test_an_average_is_the_exact_quotient_rounded_once(total: int, places: int, count: int) -> None:
    a = Decimal(total).scaleb(-places)
    assert ENGINE.sql(f"SELECT fc_avg('{a:f}'::DECIMAL(38,{places}), {count})") == [(ratio(a, Decimal(count)),)]


@tries(max_examples=200)
@given(WHOLE, st.integers(1, 10**15))
def test_a_mean_over_time_is_the_exact_quotient_rounded_once(weighted: int, millis: int) -> None:
    a, b = Decimal(weighted).scaleb(-12), Decimal(millis).scaleb(-3)
    [(got,)] = ENGINE.sql(f"SELECT fc_time_avg('{a:f}'::DECIMAL(38,12), '{b:f}'::DECIMAL(38,3))")
    assert got == ratio(a, b)


@tries(max_examples=200)
@given(st.integers(-(10**18), 10**18), st.integers(-(10**18), 10**18).filter(bool))
def test_a_division_is_the_exact_quotient_rounded_once(num: int, den: int) -> None:
    a, b = Decimal(num).scaleb(-9), Decimal(den).scaleb(-9)
    [(got,)] = ENGINE.sql(f"SELECT fc_divide('{a:f}'::DECIMAL(38,9), '{b:f}'::DECIMAL(38,9))")
    assert got == ratio(a, b)


def test_ties_go_to_even() -> None:
    for text in ("0.0000000015", "0.0000000025", "-0.0000000015", "-0.0000000025", "0.0000000005"):
        want = ratio(Decimal(text), Decimal(1))
        assert ENGINE.sql(f"SELECT fc_time_avg({text}::DECIMAL(38,12), 1::DECIMAL(38,3))") == [(want,)]


def test_an_average_of_nothing_is_null_and_a_division_by_zero_an_error() -> None:
    assert ENGINE.sql("SELECT fc_avg(1.5::DECIMAL(38,9), 0), fc_avg(NULL::DECIMAL(38,9), 2)") == [(None, None)]
    with pytest.raises(QueryError) as caught:
        ENGINE.sql("SELECT fc_divide(1::DECIMAL(38,9), 0::DECIMAL(38,9))")
    assert caught.value.code == "22012"


def test_a_quotient_too_large_is_an_error_and_no_wrap() -> None:
    with pytest.raises(FleetcubeError):
        ENGINE.sql("SELECT fc_avg(CAST(repeat('9', 38) AS DECIMAL(38,0)), 1)")


def test_partitions_come_back_typed(settings: Settings, duck: Duck) -> None:
    ref = trusted("events")
    values = {"ts": "TIMESTAMPTZ '2026-01-02 03:04:05.000006Z'", "day": "DATE '2026-01-02'", "batch": "1"}
    columns = ", ".join(f'{values.get(name, "NULL")} AS "{name}"' for name in ref.schema.names)
    files = duck.write(f"SELECT {columns}", settings.lake, ref, "one", stats=("ts", "batch"))
    assert files[0].path == "day=2026-01-02/one-0.parquet"
    assert (files[0].minimum["ts"], files[0].maximum["ts"]) == ("2026-01-02T03:04:05.000Z", "2026-01-02T03:04:05.001Z")
    snapshot = commit(settings.lake, ref, open_snapshot(settings.lake, ref), adds=files, txns={"gate": 1})
    [(day, kind, ts)] = duck.sql(f"SELECT day, typeof(day), ts FROM {duck.scan(snapshot)}")
    assert (str(day), kind) == ("2026-01-02", "DATE")
    assert ts.isoformat() == "2026-01-02T03:04:05.000006+00:00"


def test_an_empty_select_writes_no_file(settings: Settings, duck: Duck) -> None:
    select = f"SELECT * FROM {duck.scan(open_snapshot(settings.lake, QUARANTINE))}"
    assert duck.write(select, settings.lake, QUARANTINE, "none") == []


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("SELECT 1 % 0", "22012"),
        ("SELECT CAST('x' AS INTEGER)", "22P02"),
        ("SELECT 127::TINYINT + 1::TINYINT", "22003"),
        ("SELECT nothing", "XX000"),
    ],
)
def test_errors_of_the_engine_have_codes(sql: str, code: str) -> None:
    with pytest.raises(QueryError) as caught:
        ENGINE.sql(sql)
    assert caught.value.code == code
