"""What is read less often than every minute: serving engines, memory errors, held clocks, hosts.

A scraper on each host reads them; its record's number is that of five minutes of the day, a reading is stamped with the
last minute that it covers, and a host that is silent is not read. No fault is strewn in: these rows all are trusted.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Final

from ingestion.land import landing_select
from ingestion.simulation.chance import key
from ingestion.simulation.fleet import KINDS, Fleet
from ingestion.simulation.schedule import Incidents, incidents
from lake.duck import Duck, text_literal

_DAY_MINUTES: Final = 1440
_RECORD_MINUTES: Final = 5


@dataclass(frozen=True)
class _Reading:
    """A metric of a device: minutes between readings, its value as SQL text, and the devices that have it."""

    name: str
    minutes: int
    text: str
    where: str = "true"


_HBM: Final = f"hardware IN ('{KINDS[0].hardware}', '{KINDS[1].hardware}')"
_THOUSANDTH: Final = "0.001::DECIMAL(4, 3)"
_DEVICE: Final = (
    _Reading("llm.kv_cache.utilization", 5, f"(kv * {_THOUSANDTH})::VARCHAR", "generates"),
    _Reading("llm.requests.running", 5, "(util * 8 // 1000 + r % 2)::VARCHAR", "generates"),
    _Reading("llm.requests.waiting", 5, "waiting::VARCHAR", "generates"),
    _Reading("gpu.throttle.thermal.time", 15, "hot_s::VARCHAR"),
    _Reading("gpu.throttle.power.time", 15, "capped_s::VARCHAR"),
    _Reading("gpu.memory.temperature", 15, "(temperature + 7 + r % 3)::VARCHAR", _HBM),
    _Reading("gpu.ecc.corrected.volatile", 60, "CASE WHEN weak THEN r % 14 ELSE (r % 1000 < 6)::INT END::VARCHAR"),
    _Reading("gpu.ecc.uncorrected.volatile", 60, "(weak AND decays AND minute = 1079)::INT::VARCHAR"),
    _Reading("gpu.rows.remapped.corrected", 60, "(weak AND decays AND minute = 1139)::INT::VARCHAR", _HBM),
    _Reading("gpu.pcie.replays", 60, "CASE WHEN r % 100 < 2 THEN 1 + r // 100 % 3 ELSE 0 END::VARCHAR"),
    _Reading("gpu.xid.event", 60, "'0'"),
)
_HOST: Final = (
    _Reading("cpu.utilization", 5, f"((60 + util * 45 // 100 + r % 40) * {_THOUSANDTH})::VARCHAR"),
    _Reading("host.run_state", 5, "'1'"),
    _Reading("memory.utilization", 5, f"((380 + host * 37 % 200 + util // 12 + r % 12) * {_THOUSANDTH})::VARCHAR"),
)


def expected(fleet: Fleet) -> list[tuple[str, str, str, str, str, int]]:
    """The series for a roster: site, cluster, host, device (`-`: the host), metric and period in seconds."""
    found = []
    for device in fleet.devices():
        place = (device.site, device.cluster, device.host_name)
        has = {"true": True, "generates": device.model is not None and device.model.tpot_us > 0}
        has[_HBM] = device.kind in KINDS[:2]
        found += [(*place, f"gpu{device.device}", one.name, 60 * one.minutes) for one in _DEVICE if has[one.where]]
        if device.device == 0:
            found += [(*place, "-", one.name, 60 * one.minutes) for one in _HOST]
    return found


def slow_samples(duck: Duck, fleet: Fleet, day: date) -> list[str]:
    """SELECTs of landing rows, made of the table fs_day that holds every minute in which a host was not silent."""
    told = incidents(fleet, day)
    _make_windows(duck, fleet, day)
    selects = [_rows(day, fleet, "device"), _rows(day, fleet, "host")]
    return selects + ([_xid(fleet, day, told)] if told.silent[2] else [])


def weak_device(fleet: Fleet) -> int:
    """The device whose memory decays, of those with stacked memory; -1 if there is none."""
    able = [device.number for device in fleet.devices() if device.kind in KINDS[:2]]
    return able[key(fleet.seed, "weak") % len(able)] if able else -1


def full_host(fleet: Fleet) -> int:
    """The host whose cache is nearly full by day: the last with the small boards; -1 if there is none."""
    return max((device.host for device in fleet.devices() if device.kind is KINDS[2]), default=-1)


def _make_windows(duck: Duck, fleet: Fleet, day: date) -> None:
    """Make fs_device and fs_host: a row for each device (host), window and metric, with its text."""
    duck.execute("""
        CREATE OR REPLACE TEMP TABLE fs_window AS
        SELECT minutes, gpu, host, device, max(minute) AS minute, sum(util) // count(*) AS util,
            max(temperature) AS temperature, 60 * count(*) FILTER (throttle = 64) AS hot_s,
            60 * count(*) FILTER (throttle = 4) AS capped_s
        FROM fs_day, (SELECT unnest([5, 15, 60])::BIGINT AS minutes)
        GROUP BY minutes, gpu, host, device, minute // minutes HAVING max(minute) % minutes = minutes - 1""")
    duck.execute(f"CREATE OR REPLACE TEMP TABLE fs_device AS {_device_sql(fleet, day)}")
    duck.execute(f"CREATE OR REPLACE TEMP TABLE fs_host AS {_host_sql(fleet, day)}")
    duck.execute("DROP TABLE fs_window")


def _device_sql(fleet: Fleet, day: date) -> str:
    draws = key(fleet.seed, day, "slow")
    full, weak = f"(host = {full_host(fleet)})", f"(gpu = {weak_device(fleet)})"
    parts = []
    for number, one in enumerate(_DEVICE):
        drawn = f"""
            SELECT w.*, g.hardware, NOT g.trains AND m.generates AS generates, {weak} AS weak,
                {day.toordinal() % 3 == 1} AS decays, fs_mix({draws} + (minute * 8192 + gpu) * 16 + {number}) AS r
            FROM fs_window AS w JOIN fs_gpu AS g USING (gpu, host, device) JOIN ({_generating(fleet)}) AS m USING (gpu)
            WHERE minutes = {one.minutes}"""
        cached = f"""
            SELECT *, CASE WHEN {full} THEN least(998, 905 + util * 85 // 1000 + r % 12)
                ELSE 40 + util * 68 // 100 + gpu * 41 % 120 + r % 50 END AS kv FROM ({drawn})"""
        queued = f"""
            SELECT *, CASE WHEN {full} THEN greatest(0, (kv - 945) // 6) + r // 64 % 2
                WHEN util > 930 THEN 1 + r % 2 ELSE 0 END AS waiting FROM ({cached})"""
        parts.append(
            f"SELECT gpu, minute, minutes, device * {len(_DEVICE)} + {number} AS idx, '{one.name}' AS metric, "
            f"{one.text} AS text FROM ({queued}) WHERE {one.where}"
        )
    return " UNION ALL ".join(parts)


def _generating(fleet: Fleet) -> str:
    """Which devices serve a model that writes text, and so has a cache of keys and values."""
    served = [(device.number, device.model is not None and device.model.tpot_us > 0) for device in fleet.devices()]
    return f"SELECT * FROM (VALUES {', '.join(map(str, served))}) AS v(gpu, generates)"


def _host_sql(fleet: Fleet, day: date) -> str:
    draws = key(fleet.seed, day, "slow hosts")
    parts = []
    for number, one in enumerate(_HOST):
        drawn = f"""
            SELECT host, minutes, minute, min(gpu) AS gpu, sum(util) // count(*) AS util,
                fs_mix({draws} + (minute * 8192 + host) * 16 + {number}) AS r
            FROM fs_window WHERE minutes = {one.minutes} GROUP BY host, minutes, minute"""
        idx = 8192 + number
        parts.append(
            f"SELECT gpu, minute, minutes, {idx} AS idx, '{one.name}' AS metric, {one.text} AS text FROM ({drawn})"
        )
    return " UNION ALL ".join(parts)


def _rows(day: date, fleet: Fleet, of: str) -> str:
    """Landing rows of fs_device or fs_host."""
    moment = f"TIMESTAMP '{day}' + l.minute * INTERVAL 1 MINUTE"
    columns = {
        "agent": "'sim-scraper-' || g.host_name",
        "boot": f"'{fleet.seed}-{day:%Y%m%d}'",
        "seq": f"l.minute // {_RECORD_MINUTES} + 1",
        "idx": "l.idx",
        "received_at": f"({moment} + INTERVAL 4 SECOND)::TIMESTAMPTZ",
        "source": "'simulation'",
        "ts": f"strftime({moment}, '%Y-%m-%dT%H:%M:%SZ')",
        "metric": "l.metric",
        "value": "l.text",
        "interval_s": "(l.minutes * 60)::VARCHAR",
        "environment": "'prod'",
        "host": "g.host_name",
    } | {name: f"g.{name}" for name in ("site", "cluster")}
    if of == "device":
        columns |= {name: f"g.{name}" for name in ("hardware", "service", "model", "run")}
        columns["device"] = "'gpu' || g.device"
    return landing_select("samples", columns, f"fs_{of} AS l JOIN fs_gpu AS g USING (gpu)")


def _xid(fleet: Fleet, day: date, told: Incidents) -> str:
    """The error after which a host fell silent, from its kernel's log, which a log server keeps."""
    host, minute, _ = told.silent
    device = next(device for device in fleet.devices() if device.host == host)
    at = f"{day}T{minute // 60:02d}:{minute % 60:02d}:00Z"
    texts = {
        "agent": f"sim-kernel-log-{device.site}",
        "boot": f"{fleet.seed}-{day:%Y%m%d}",
        "ts": at,
        "metric": "gpu.xid.event",
        "value": "1",
        "interval_s": "60",
        "environment": "prod",
        "site": device.site,
        "cluster": device.cluster,
        "host": device.host_name,
        "device": "gpu0",
        "hardware": device.kind.hardware,
        "service": device.model.service if device.model else "training",
        "source": "simulation",
    } | ({"model": device.model.name} if device.model else {"run": f"pretrain-{device.site}"})
    columns = {name: text_literal(text) for name, text in texts.items()}
    columns |= {"seq": "1", "received_at": f"TIMESTAMPTZ '{at}' + INTERVAL 20 SECOND"}
    return landing_select("samples", columns, "(SELECT 1)")
