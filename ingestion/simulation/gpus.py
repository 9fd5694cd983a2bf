"""A day of readings: eight metrics a minute and device, with faults strewn in, as SQL over small tables; then the rest.

A host sends one record a minute; its sequence number is the minute within the agent's run, and a row's place in it is
device × 8 + metric. Agents start anew at midnight, and one of them also in the afternoon.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from ingestion.land import landing_select
from ingestion.simulation.chance import key, make_table
from ingestion.simulation.fleet import KINDS, SITES, Device, Fleet
from ingestion.simulation.schedule import Incidents, incidents
from ingestion.simulation.slow import slow_samples
from ingestion.simulation.training import training_samples
from lake.duck import Duck, text_literal

# Busy share by local hour, in thousandths: quiet nights, a morning rise, a dip at noon, a long evening.
HOURS: Final = (
    310, 260, 230, 220, 240, 300, 420, 580, 740, 840, 880, 860,
    790, 830, 880, 870, 840, 800, 770, 760, 720, 640, 520, 400,
)  # fmt: skip
# The small models on these leave them idle at night.
_LIGHT: Final = KINDS[3].hardware
_UTC_OFFSETS_H: Final = {SITES[0]: 1, SITES[1]: -5}


@dataclass(frozen=True)
class _Metric:
    """A metric: its value as SQL text from the day's columns, and the fault that befalls it in `per_100k` readings."""

    name: str
    text: str
    fault: str = ""
    per_100k: int = 0


_THOUSANDTH: Final = "0.001::DECIMAL(4, 3)"
_METRICS: Final = (
    _Metric("gpu.utilization", f"(util * {_THOUSANDTH})::VARCHAR", "out_of_range", 10),
    _Metric("gpu.memory.usage", "(memory_mib::BIGINT * 1048576)::VARCHAR", "future", 4),
    _Metric("gpu.power", f"(power_mw * {_THOUSANDTH})::VARCHAR", "nan", 8),
    _Metric("gpu.temperature", "temperature::VARCHAR", "sentinel", 12),
    _Metric("gpu.clock.sm", "(clock_mhz::BIGINT * 1000000)::VARCHAR", "unknown_metric", 5),
    _Metric("gpu.energy", f"(energy_mj * {_THOUSANDTH})::VARCHAR"),
    _Metric("gpu.throttle.reasons", "throttle::VARCHAR"),
    _Metric("gpu.tensor.active", f"(tensor * {_THOUSANDTH})::VARCHAR"),
)
METRICS: Final = tuple(metric.name for metric in _METRICS)
_FAULT_VALUES: Final = {"out_of_range": "'1.37'", "nan": "'NaN'", "sentinel": "'9223372036854775794'"}
# No clock is off by this much, so it is in the future whenever the simulation runs.
_FUTURE: Final = "'2199-01-01T00:00:00Z'"
_UNKNOWN: Final = "gpu.clock.shader"
_DEVICE_COLUMNS: Final = {
    **dict.fromkeys(("gpu", "host", "device"), "BIGINT"),
    **dict.fromkeys(("host_name", "site", "cluster", "hardware"), "VARCHAR"),
    **dict.fromkeys(("memory_full", "idle_w", "full_w", "clock_full", "offset_h"), "BIGINT"),
    "trains": "BOOLEAN",
    **dict.fromkeys(("model", "service", "run"), "VARCHAR"),
}


def prepare(duck: Duck, fleet: Fleet) -> None:
    """Make the table fs_gpu of the fleet's devices."""
    make_table(duck, "fs_gpu", _DEVICE_COLUMNS, [_device(device) for device in fleet.devices()])


def samples(duck: Duck, fleet: Fleet, day: date, injected: Counter[str]) -> Iterator[str]:
    """SELECTs of landing rows that arrive on `day`: its own, and those of the day before that came late.

    Each is good until the next is asked for. `injected` gets the rows by fault: those of `_METRICS`, `duplicate` (the
    second copies), `late`, and `lost` (sequence numbers).
    """
    before = day - timedelta(days=1)
    if before in fleet.dates():
        late = incidents(fleet, before).late
        _make_day(duck, fleet, before, f"host = {late[0]} AND {_within(late)}")
        injected["late"] += _count(duck, fleet, before, injected)
        yield _rows(fleet, before, late=True)
    told = incidents(fleet, day)
    absent = [f"NOT (host = {window[0]} AND {_within(window)})" for window in (told.silent, told.late, told.lost)]
    _make_day(duck, fleet, day, " AND ".join(absent))
    _count(duck, fleet, day, injected)
    yield _rows(fleet, day, late=False)
    injected["lost"] += told.lost[2]
    yield _gap(fleet, day, told)
    # What other programs read has its own way: only a silent host keeps it away.
    _make_day(duck, fleet, day, f"NOT (host = {told.silent[0]} AND {_within(told.silent)})")
    yield from slow_samples(duck, fleet, day)
    duck.execute("DROP TABLE fs_day")
    yield from training_samples(duck, fleet, day)


def _count(duck: Duck, fleet: Fleet, day: date, injected: Counter[str]) -> int:
    """Count what fs_day holds; the number of its rows, second copies left out."""
    found = duck.sql(f"SELECT fault, resent, count(*) FROM {_long(fleet, day)} GROUP BY ALL ORDER BY ALL")
    for fault, resent, rows in found:
        if fault is not None:
            injected[fault] += rows
        if resent:
            injected["duplicate"] += rows
    return int(sum(rows for _, _, rows in found))


def _within(window: tuple[int, int, int]) -> str:
    return f"minute >= {window[1]} AND minute < {window[1] + window[2]}"


def _device(device: Device) -> tuple[object, ...]:
    """A device in the order of `_DEVICE_COLUMNS`."""
    kind, model = device.kind, device.model
    return (
        *(device.number, device.host, device.device),
        *(device.host_name, device.site, device.cluster, kind.hardware),
        *(kind.memory_mib, kind.idle_w, kind.full_w, kind.clock_mhz, _UTC_OFFSETS_H[device.site]),
        model is None,
        model.name if model else None,
        model.service if model else "training",
        None if model else f"pretrain-{device.site}",
    )


def _make_day(duck: Duck, fleet: Fleet, day: date, where: str) -> None:
    """Make the table fs_day: a row a minute and device, each physical quantity an integer."""
    told = incidents(fleet, day)
    hours = f"({list(HOURS)}::INTEGER[])"
    workday = 1000 if day.weekday() < 5 else 720
    draws, slow = key(fleet.seed, day, "gpus"), key(fleet.seed, day, "slow")
    local = "(minute + 60 * offset_h + 1440) % 1440"
    busy = f"""
        SELECT *, {local} AS local, fs_mix({draws} + minute * 8192 + gpu) AS r,
            fs_mix({slow} + (minute // 12) * 8192 + gpu) AS s, fs_mix({slow} + gpu) % 250 + 800 AS own
        FROM fs_gpu, (SELECT unnest(range(1440))::BIGINT AS minute) WHERE {where}"""
    level = f"""
        SELECT *, ({hours}[local // 60 + 1] * (60 - local % 60)
                + {hours}[(local // 60 + 1) % 24 + 1] * (local % 60)) // 60 * {workday} // 1000 AS load FROM ({busy})"""
    used = f"""
        SELECT *, CASE WHEN trains THEN CASE WHEN minute % 120 < 3 THEN 180 + r % 60 ELSE 930 + r % 60 END
            ELSE least(1000, greatest(0, load * own // 1000 + s % 160 - 80 + r % 60 - 30
                - CASE WHEN hardware = '{_LIGHT}' THEN 180 ELSE 0 END)) END AS util FROM ({level})"""
    hot = f"(gpu = {told.hot_device})"
    heat = f"""
        SELECT *, 29 + util * 43 // 1000 + (r // 1000) % 3 + CASE WHEN {hot} THEN 15 ELSE 0 END AS temperature,
            1000 * idle_w + (full_w - idle_w) * util * (850 + (r // 1000) % 140) // 1000 AS power_mw FROM ({used})"""
    duck.execute(f"""
        CREATE OR REPLACE TEMP TABLE fs_day AS
        SELECT gpu, host, device, minute, util::INTEGER AS util, temperature, power_mw::INTEGER AS power_mw,
            {_resend(fleet, day)} AS resent,
            strftime(TIMESTAMP '{day}' + minute * INTERVAL 1 MINUTE, '%Y-%m-%dT%H:%M:%SZ') AS ts,
            CASE WHEN trains THEN memory_full * 93 // 100
                 ELSE memory_full * 62 // 100 + memory_full * util // 5000 END // 2 * 2 AS memory_mib,
            CASE WHEN {hot} AND temperature > 80 THEN clock_full * 3 // 4
                 WHEN util < 20 THEN 345 ELSE clock_full - (s // 1000) % 6 * 15 END AS clock_mhz,
            CASE WHEN {_first_after_restart(told)} THEN power_mw * 21 ELSE power_mw * 60 END::INTEGER AS energy_mj,
            CASE WHEN {hot} AND temperature > 80 THEN 64 WHEN util < 20 THEN 1
                 WHEN power_mw > full_w * 950 THEN 4 ELSE 0 END AS throttle,
            least(1000, util * (560 + (r // 1000000) % 120) // 1000)::INTEGER AS tensor
        FROM ({heat})""")


def _first_after_restart(told: Incidents) -> str:
    """The counter fell back to zero in this minute: its increment is what was counted since, not less than nothing."""
    return f"host = {told.restart[0]} AND minute = {told.restart[1]}"


def _resend(fleet: Fleet, day: date) -> str:
    """Whether the host's record of this minute was sent twice, since its acknowledgement got lost."""
    return f"fs_mix({key(fleet.seed, day, 'resend')} + minute * 8192 + host) % 1000 < 2"


def _long(fleet: Fleet, day: date) -> str:
    """fs_day with a row for each metric: its name, text and fault (none in a record that is sent twice)."""
    draws = key(fleet.seed, day, "faults")
    parts = []
    for number, metric in enumerate(_METRICS):
        fault = "NULL::VARCHAR"
        if metric.fault:
            draw = f"fs_mix({draws} + (minute * 8192 + gpu) * 8 + {number}) % 100000"
            fault = f"CASE WHEN NOT resent AND {draw} < {metric.per_100k} THEN '{metric.fault}' END"
        parts.append(
            f"SELECT gpu, host, device, minute, ts, resent, {number} AS number, '{metric.name}' AS metric, "
            f"{metric.text} AS text, {fault} AS fault FROM fs_day"
        )
    return f"({' UNION ALL '.join(parts)})"


def _rows(fleet: Fleet, day: date, *, late: bool) -> str:
    """Landing rows of fs_day; records sent twice are there twice."""
    told = incidents(fleet, day)
    restarted = f"(l.host = {told.restart[0]} AND l.minute >= {told.restart[1]})"
    boot = f"{fleet.seed}-{day:%Y%m%d}"
    values = " ".join(f"WHEN '{fault}' THEN {value}" for fault, value in _FAULT_VALUES.items())
    arrival = f"TIMESTAMPTZ '{day} 00:00:02+00' + l.minute * INTERVAL 1 MINUTE"
    columns = {
        "agent": "'sim-' || g.host_name",
        "boot": f"CASE WHEN {restarted} THEN '{boot}-r' ELSE '{boot}' END",
        "seq": f"CASE WHEN {restarted} THEN l.minute - {told.restart[1]} ELSE l.minute END + 1",
        "idx": f"l.device * {len(_METRICS)} + l.number",
        "received_at": f"TIMESTAMPTZ '{day + timedelta(days=1)} 00:10:00+00'" if late else arrival,
        "source": "'simulation'",
        "ts": f"CASE WHEN l.fault = 'future' THEN {_FUTURE} ELSE l.ts END",
        "metric": f"CASE WHEN l.fault = 'unknown_metric' THEN '{_UNKNOWN}' ELSE l.metric END",
        "value": f"CASE l.fault {values} ELSE l.text END",
        "interval_s": "'60'",
        "environment": "'prod'",
        "device": "'gpu' || l.device",
    } | {name: f"g.{name}" for name in ("site", "cluster", "hardware", "service", "model", "run")}
    columns["host"] = "g.host_name"
    twice = "(SELECT unnest([false, true]) AS again)"
    source = f"{_long(fleet, day)} AS l JOIN fs_gpu AS g USING (gpu) JOIN {twice} AS a ON l.resent OR NOT a.again"
    return landing_select("samples", columns, source)


def _gap(fleet: Fleet, day: date, told: Incidents) -> str:
    """The damaged stretch of a spool: sequence numbers that were given and are lost for good."""
    host, first, minutes = told.lost
    name = next(device.host_name for device in fleet.devices() if device.host == host)
    columns = {
        "agent": text_literal(f"sim-{name}"),
        "boot": f"'{fleet.seed}-{day:%Y%m%d}'",
        "seq": str(first + 1),
        "received_at": f"TIMESTAMPTZ '{day} 00:00:02+00' + {first + minutes} * INTERVAL 1 MINUTE",
        "source": "'simulation'",
        "problem": "'gap'",
        "raw": "'a page of the spool was damaged'",
        "lost": str(minutes),
    }
    return landing_select("samples", columns, "(SELECT 1)")
