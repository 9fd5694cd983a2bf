"""Training in the made-up fleet: a long run at each site that trains, and every night a short one that tunes a model.

The loop logs its state every five minutes. A long run lasts eight weeks and begins anew; its loss spikes on one day a
week at one site. Numbers are worked out by day alone, so a day is the same in every fleet that holds it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from random import Random
from typing import Final

from ingestion.land import landing_select
from ingestion.simulation.chance import make_table
from ingestion.simulation.fleet import MODELS, Device, Fleet
from ingestion.simulation.schedule import Incidents, incidents
from lake.duck import Duck

STATE: Final = "training.run.state"
QUEUED, RUNNING, FINISHED, FAILED = range(4)
_STEP_MINUTES: Final = 5
_RUN_DAYS: Final = 56
_EPOCHS: Final = 2
_FIRST: Final = date(2026, 11, 2).toordinal()
# A model of 8 billion parameters on devices of 989e12 operations a second: six operations a parameter and token.
_OPERATIONS_PER_TOKEN: Final = 6 * 8_000_000_000
_PEAK: Final = 989_000_000_000_000
_LONG_METRICS: Final = (
    STATE,
    "training.loss",
    "training.grad_norm",
    "training.validation.loss",
    "training.epoch",
    "training.tokens_per_second",
    "training.mfu",
    "training.tokens_seen",
)
_COLUMNS: Final = {"minute": "BIGINT", "idx": "BIGINT"} | dict.fromkeys(
    ("agent", "site", "cluster", "host", "hardware", "run", "metric", "value"), "VARCHAR"
)


@dataclass(frozen=True)
class Tune:
    """The night's short run: minutes at which it is queued, runs, and has ended; whether it failed."""

    run: str
    site: str
    queued: int
    started: int
    ended: int
    failed: bool


def expected(fleet: Fleet) -> list[tuple[str, str, str, str, str, int]]:
    """The series for a roster, as `slow.expected` gives them; short runs come and go, and are not in it."""
    return [
        (at.site, at.cluster, at.host_name, "-", metric, 60 * _STEP_MINUTES)
        for at, _ in _long_runs(fleet)
        for metric in _LONG_METRICS
    ]


def training_samples(duck: Duck, fleet: Fleet, day: date) -> list[str]:
    """The SELECT of the day's landing rows; none where no host trains."""
    rows = [*_long_rows(fleet, day), *_tune_rows(fleet, day)]
    if not rows:
        return []
    make_table(duck, "fs_run", _COLUMNS, rows)
    moment = f"TIMESTAMP '{day}' + minute * INTERVAL 1 MINUTE"
    columns = {
        "boot": f"'{fleet.seed}-{day:%Y%m%d}'",
        "seq": f"minute // {_STEP_MINUTES} + 1",
        "received_at": f"({moment} + INTERVAL 6 SECOND)::TIMESTAMPTZ",
        "source": "'simulation'",
        "ts": f"strftime({moment}, '%Y-%m-%dT%H:%M:%SZ')",
        "interval_s": f"'{60 * _STEP_MINUTES}'",
        "environment": "'prod'",
        "service": "'training'",
    } | {name: name for name in ("idx", "agent", "site", "cluster", "host", "hardware", "run", "metric", "value")}
    return [landing_select("samples", columns, "fs_run")]


def tune_of(fleet: Fleet, day: date) -> Tune | None:
    """The short run of that night; it fails when a host falls silent while it runs. None where no host trains."""
    runs = _long_runs(fleet)
    if not runs:
        return None
    told = incidents(fleet, day)
    chance = Random(f"{fleet.seed}/{day}/tune")
    model = MODELS[day.toordinal() % len(MODELS)]
    queued = 55 + chance.randrange(20)
    started = queued + 15 + chance.randrange(15)
    failed = bool(told.silent[2])
    ended = told.silent[1] if failed else started + 150 + chance.randrange(90)
    return Tune(f"tune-{model.name}-{day:%m%d}", runs[0][0].site, queued, started, ended, failed)


def spike_of(fleet: Fleet, day: date) -> tuple[Device, str, int] | None:
    """(host, run, minute) at which the loss of a long run spikes on that day: once a week, at the first site."""
    runs = _long_runs(fleet)
    if not runs or (day.toordinal() + fleet.seed) % 7 != 4:
        return None
    return runs[0][0], f"pretrain-{runs[0][0].site}", 600 + Random(f"{fleet.seed}/{day}/spike").randrange(300)


def _long_runs(fleet: Fleet) -> list[tuple[Device, int]]:
    """The first device of each site that trains, and how many train there."""
    found: dict[str, list[Device]] = {}
    for device in fleet.devices():
        if device.model is None:
            found.setdefault(device.site, []).append(device)
    return [(devices[0], len(devices)) for devices in found.values()]


def _long_rows(fleet: Fleet, day: date) -> Iterator[tuple[object, ...]]:
    told, spike = incidents(fleet, day), spike_of(fleet, day)
    for at, devices in _long_runs(fleet):
        chance = Random(f"{fleet.seed}/{day}/{at.site}/loss")
        spiked = spike[2] if spike is not None and spike[0] == at else None
        for minute in range(_STEP_MINUTES - 1, 24 * 60, _STEP_MINUTES):
            values = _long_values(day, minute, devices, spiked, chance)
            if _silent(told, at.host, minute):
                continue
            for idx, metric in enumerate(_LONG_METRICS):
                yield (
                    *(minute, idx, f"sim-trainer-{at.site}", at.site, at.cluster, at.host_name, at.kind.hardware),
                    *(f"pretrain-{at.site}", metric, values[metric]),
                )


def _long_values(day: date, minute: int, devices: int, spiked: int | None, chance: Random) -> dict[str, str]:
    """What the loop logs; every two hours it writes a checkpoint, and does less meanwhile."""
    days = (day.toordinal() - _FIRST) % _RUN_DAYS + minute / 1440
    loss = 1.85 + 1.9 * math.exp(-days / 18)
    since = minute - spiked if spiked is not None and minute >= spiked else None
    jump = 2.4 * math.exp(-since / 25) if since is not None else 0.0
    writes = minute % 120 < _STEP_MINUTES
    speed = round((3650 if writes else 8240) * chance.uniform(0.985, 1.01))
    return {
        STATE: str(RUNNING),
        "training.loss": f"{loss + jump + chance.uniform(-0.02, 0.02):.3f}",
        "training.grad_norm": f"{0.35 + 3 * jump + chance.uniform(-0.05, 0.08):.3f}",
        # The held-out data are tried a little after each checkpoint; between, the last figure stands.
        "training.validation.loss": f"{1.89 + 1.9 * math.exp(-(days - minute % 120 / 1440) / 18):.3f}",
        "training.epoch": f"{_EPOCHS * days / _RUN_DAYS:.3f}",
        "training.tokens_per_second": str(speed),
        "training.mfu": f"{speed * _OPERATIONS_PER_TOKEN / _PEAK:.3f}",
        "training.tokens_seen": str(speed * devices * 60 * _STEP_MINUTES),
    }


def _tune_rows(fleet: Fleet, day: date) -> Iterator[tuple[object, ...]]:
    """The scheduler tells the short run's state from when it is queued until two hours after its end."""
    tune = tune_of(fleet, day)
    if tune is None:
        return
    at = next(device for device, _ in _long_runs(fleet) if device.site == tune.site)
    chance = Random(f"{fleet.seed}/{day}/{tune.run}")
    place = (f"sim-scheduler-{at.site}", at.site, at.cluster, None, at.kind.hardware, tune.run)
    for minute in range(_STEP_MINUTES - 1, 24 * 60, _STEP_MINUTES):
        if not tune.queued <= minute < tune.ended + 120:
            continue
        running = tune.started <= minute < tune.ended
        ended = FAILED if tune.failed else FINISHED
        state = QUEUED if minute < tune.started else RUNNING if running else ended
        yield (minute, 0, *place, STATE, str(state))
        if running:
            loss = 1.1 + 0.9 * math.exp(-(minute - tune.started) / 60) + chance.uniform(-0.03, 0.03)
            yield (minute, 1, *place, "training.loss", f"{loss:.3f}")


def _silent(told: Incidents, host: int, minute: int) -> bool:
    first, minutes = told.silent[1:]
    return told.silent[0] == host and first <= minute < first + minutes
