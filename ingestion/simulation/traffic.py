"""A day of requests to the models: arrivals by the hour, latencies by model, machine and version, faults strewn in.

Two gateways write them down, fifty to a record.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import date, timedelta
from itertools import accumulate
from typing import Final

from ingestion.land import landing_select
from ingestion.simulation.chance import key, make_table
from ingestion.simulation.fleet import DEGRADING, MODELS, Device, Fleet
from ingestion.simulation.gpus import HOURS
from ingestion.simulation.schedule import release_day, version
from lake.duck import Duck

_SLOTS: Final = 1000
_PER_RECORD: Final = 50
_CANARY_FROM_MINUTE: Final = 600
_RESENT_PER_1000: Final = 3
# Slower than the fastest kind, in thousandths of its time.
_SLOWNESS: Final = {"H100 SXM5 80GB": 1000, "A100 SXM4 80GB": 1550, "L40S": 1900, "T4": 2600}
# Rows in 100,000 for each fault, and what it puts into which column.
_FAULTS: Final = {
    "future": (8, "ts", "'2199-01-01T00:00:00Z'"),
    "nan": (10, "e2e_ms", "'NaN'"),
    "bad_number": (8, "output_tokens", "'n/a'"),
    "bad_status": (6, "status", "'finished?'"),
}
_SLOT_COLUMNS: Final = {
    "slot": "BIGINT",
    **dict.fromkeys(("host_name", "site", "cluster", "hardware", "pod", "model", "service", "endpoint"), "VARCHAR"),
    **dict.fromkeys(("release", "canary"), "VARCHAR"),
    **dict.fromkeys(("ttft_us", "tpot_us", "prompt_mid", "output_mid", "age_days"), "BIGINT"),
}


def _prepare_day(duck: Duck, fleet: Fleet, day: date) -> None:
    """Make the tables fs_slot (who serves which thousandth of the traffic that day) and fs_minute (arrivals)."""
    slots = [(number, *_serves(device, day)) for number, device in enumerate(_slots(fleet))]
    make_table(duck, "fs_slot", _SLOT_COLUMNS, slots)
    shares = [_arrivals(minute) for minute in range(1440)]
    edges = [fleet.requests_per_day * before // sum(shares) for before in accumulate(shares, initial=0)]
    minutes = list(zip(range(1440), edges[:-1], edges[1:], shares, strict=True))
    make_table(duck, "fs_minute", dict.fromkeys(("minute", "i_from", "i_to", "busy"), "BIGINT"), minutes)


def requests(duck: Duck, fleet: Fleet, day: date, injected: Counter[str]) -> Iterator[str]:
    """The SELECT of the day's landing rows; `injected` gets rows by fault, and `duplicate` (the second copies)."""
    _prepare_day(duck, fleet, day)
    duck.execute(f"CREATE OR REPLACE TEMP TABLE fs_call AS {_calls(fleet, day)}")
    for fault, resent, rows in duck.sql("SELECT fault, resent, count(*) FROM fs_call GROUP BY ALL ORDER BY ALL"):
        if fault is not None:
            injected[fault] += rows
        if resent:
            injected["duplicate"] += rows
    yield _rows(fleet, day)
    duck.execute("DROP TABLE fs_call")


def _arrivals(minute: int) -> int:
    """Relative arrivals in a minute of the UTC day: both sites' local days together, the nearer one larger."""
    near, far = ((minute + 60 * offset) % 1440 for offset in (1, -5))
    return 6 * _busy(near) + 4 * _busy(far)


def _busy(local: int) -> int:
    hour, rest = divmod(local, 60)
    return (HOURS[hour] * (60 - rest) + HOURS[(hour + 1) % 24] * rest) // 60


def _slots(fleet: Fleet) -> list[Device]:
    """A thousand slots shared out by model, and within a model over its devices in turn."""
    devices = [device for device in fleet.devices() if device.model is not None]
    served = [model for model in MODELS if any(device.model == model for device in devices)]
    total, found, before = sum(model.share for model in served), list[Device](), 0
    for model in served:
        before += model.share
        own = [device for device in devices if device.model == model]
        count = _SLOTS * before // total - len(found)
        found += [own[place % len(own)] for place in range(count)]
    return found


def _serves(device: Device, day: date) -> tuple[object, ...]:
    """What requests to this device have in common that day, in the order of `_SLOT_COLUMNS`."""
    model, slow = device.model, _SLOWNESS[device.kind.hardware]
    assert model is not None, "training hosts serve no requests"
    newest = release_day(model, day)
    stable = release_day(model, day - timedelta(days=1))
    return (
        device.host_name,
        device.site,
        device.cluster,
        device.kind.hardware,
        f"{model.name}-{device.number}",
        model.name,
        model.service,
        model.endpoint,
        version(model, stable),
        version(model, newest) if newest == day else None,
        model.ttft_us * slow // 1000,
        model.tpot_us * slow // 1000,
        model.prompt_tokens,
        model.output_tokens,
        (day - stable).days if model.name == DEGRADING else 0,
    )


def _calls(fleet: Fleet, day: date) -> str:
    """Requests with every quantity as an integer: microseconds, tokens, draws."""
    a, b, c, d, e = (key(fleet.seed, day, "requests", stream) for stream in range(5))
    drawn = f"""
        SELECT i, minute, busy, fs_mix({a} + i) AS r, fs_mix({b} + i) AS q, fs_mix({c} + i) AS p, fs_mix({d} + i) AS u,
            fs_mix({key(fleet.seed, day, "resend requests")} + i % 2 + i // {2 * _PER_RECORD} * 2) % 1000
                < {_RESENT_PER_1000} AS resent, fs_mix({e} + i) % 100000 AS f
        FROM (SELECT *, unnest(range(i_from, i_to)) AS i FROM fs_minute)"""
    canary = f"(s.canary IS NOT NULL AND minute >= {_CANARY_FROM_MINUTE} AND q % 10 = 0)"
    age = f"CASE WHEN {canary} THEN 0 ELSE s.age_days END"
    sized = f"""
        SELECT c.*, s.* EXCLUDE (slot), {_fault()} AS fault, {canary} AS on_canary,
            greatest(1, s.prompt_mid * fs_log_80(p // 4) // 1000) AS prompt_tokens,
            CASE WHEN s.tpot_us > 0 THEN least(2048, greatest(1, s.output_mid * fs_log_80(u // 4) // 1000))
                 ELSE 0 END AS wished,
            1000 + 110 * {age} AS slower, (u // 5000) % 1000 - 8 * {age} AS luck
        FROM ({drawn}) AS c JOIN fs_slot AS s ON s.slot = c.r % {_SLOTS}"""
    timed = f"""
        SELECT *, CASE WHEN luck >= 26 THEN 'ok' WHEN luck >= 18 THEN 'timeout' WHEN luck >= 12 THEN 'retry'
                       WHEN luck >= 8 THEN 'rejected' ELSE 'error' END AS status,
            busy * fs_log_80(q // 8) // 1000 AS queue_us,
            ttft_us * (500 + prompt_tokens) // (500 + prompt_mid) * fs_log_35(p // 4096) // 1000
                * slower // 1000 AS first_us,
            tpot_us * fs_log_20(u // 65536) // 1000 * slower // 1000 AS each_us
        FROM ({sized})"""
    return f"""
        SELECT *, CASE WHEN status IN ('ok', 'retry') THEN wished
                       WHEN status = 'rejected' THEN 0 ELSE wished // 3 END AS output_tokens,
            CASE status WHEN 'rejected' THEN queue_us WHEN 'timeout' THEN 60000000 + queue_us
                ELSE queue_us + first_us + each_us * greatest(0, wished - 1) END AS whole_us
        FROM ({timed})"""


def _fault() -> str:
    """Which fault befalls the request; none in a record that is sent twice."""
    cases, edge = [], 0
    for name, (rate, _, _) in _FAULTS.items():
        edge += rate
        cases.append(f"WHEN f < {edge} THEN '{name}'")
    return f"CASE WHEN resent THEN NULL {' '.join(cases)} END"


def _ms(micros: str) -> str:
    return f"(({micros})::INTEGER * 0.001::DECIMAL(4, 3))::VARCHAR"


def _rows(fleet: Fleet, day: date) -> str:
    served = "status <> 'rejected'"
    moment = f"TIMESTAMP '{day}' + minute * INTERVAL 1 MINUTE + ((r // 64) % 60000) * INTERVAL 1 MILLISECOND"
    user = f"lower(to_hex(fs_mix({key(fleet.seed, 'users')} + q % 2400 * (q // 4096 % 3 + 1) // 3)))"
    columns = {
        "agent": "'sim-gateway-' || (i % 2 + 1)",
        "boot": f"'{fleet.seed}-{day:%Y%m%d}'",
        "seq": f"i // {2 * _PER_RECORD} + 1",
        "idx": f"i // 2 % {_PER_RECORD}",
        "received_at": f"({moment} + INTERVAL 5 SECOND)::TIMESTAMPTZ",
        "source": "'simulation'",
        "ts": f"strftime({moment}, '%Y-%m-%dT%H:%M:%S.%gZ')",
        "request_id": f"'{day:%y%m%d}-{fleet.seed}-' || i",
        "status": "status",
        "error_code": "CASE status WHEN 'error' THEN 'internal' WHEN 'timeout' THEN 'deadline' "
        "WHEN 'rejected' THEN 'overload' END",
        "environment": "'prod'",
        "host": "host_name",
        "deployment": "CASE WHEN on_canary THEN 'canary' ELSE 'release' END",
        "model_version": "CASE WHEN on_canary THEN canary ELSE release END",
        "tenant": "'tenant-' || (['a','a','a','a','b','b','b','c','c','d','d','e','e','f','g','h'])[1 + q // 16 % 16]",
        "user_hash": user,
        "session_hash": f"{user} || '-' || minute // 30",
        "client_type": "(['application','application','script','browser','service'])[1 + q // 256 % 5]",
        "priority": "CASE WHEN q // 1024 % 5 = 0 THEN 'batch' ELSE 'interactive' END",
        "feature": "service || (['-assist','-assist','-bulk','-widget'])[1 + q // 2048 % 4]",
        "namespace": "service",
        "container": "'server'",
        "prompt_tokens": "prompt_tokens::VARCHAR",
        "output_tokens": f"CASE WHEN {served} THEN output_tokens::VARCHAR END",
        "cached_tokens": f"CASE WHEN {served} THEN (prompt_tokens * (p // 2048 % 4) * 3 // 10)::VARCHAR END",
        "queue_ms": _ms("queue_us"),
        "ttft_ms": f"CASE WHEN {served} AND tpot_us > 0 THEN {_ms('queue_us + first_us')} END",
        "tpot_ms": f"CASE WHEN {served} AND tpot_us > 0 THEN {_ms('each_us')} END",
        "e2e_ms": _ms("whole_us"),
        "gpu_ms": f"CASE WHEN {served} THEN {_ms('(whole_us - queue_us) * 3 // 10')} END",
        "batch_size": f"CASE WHEN {served} THEN (1 + busy * (r // 4096 % 32) // 8000)::VARCHAR END",
        "flag_truncated": "(output_tokens >= 2048)::VARCHAR",
        "flag_refused": f"CASE WHEN {served} THEN (p // 128 % 200 = 0)::VARCHAR END",
    } | {name: name for name in ("site", "cluster", "service", "endpoint", "model", "hardware", "pod")}
    for fault, (_, column, value) in _FAULTS.items():
        columns[column] = f"CASE WHEN fault = '{fault}' THEN {value} ELSE {columns[column]} END"
    twice = "(SELECT unnest([false, true]) AS again)"
    return landing_select("requests", columns, f"fs_call JOIN {twice} AS a ON resent OR NOT a.again")
