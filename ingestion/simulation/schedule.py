"""What happens in the made-up fleet on which day: incidents and releases, from seed and day alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from random import Random

from ingestion.simulation.fleet import MODELS, Fleet, Model


@dataclass(frozen=True)
class Incidents:
    """What goes wrong on one day. A window is (host, first minute, minutes); windows never overlap in time."""

    silent: tuple[int, int, int]
    late: tuple[int, int, int]
    lost: tuple[int, int, int]
    restart: tuple[int, int]
    hot_device: int


def incidents(fleet: Fleet, day: date) -> Incidents:
    """The day's incidents, from seed and day alone. A host falls silent every third day; some rows are late daily."""
    chance = Random(f"{fleet.seed}/{day}")
    hosts = fleet.hosts
    silent_minutes = 180 + chance.randrange(120) if day.toordinal() % 3 == 0 else 0
    return Incidents(
        silent=(chance.randrange(hosts), 120 + chance.randrange(60), silent_minutes),
        late=(chance.randrange(hosts), 540 + chance.randrange(60), 90),
        lost=(chance.randrange(hosts), 780 + chance.randrange(60), 15),
        restart=(chance.randrange(hosts), 900 + chance.randrange(300)),
        hot_device=min(6, fleet.hosts * fleet.gpus_per_host - 1),
    )


def release_day(model: Model, day: date) -> date:
    """The day, at or before `day`, on which the model's newest version came; each model gets one a week."""
    return day - timedelta(days=(day.toordinal() - MODELS.index(model)) % 7)


def version(model: Model, released: date) -> str:
    """The version that was released on that day: year and week."""
    year, week, _ = released.isocalendar()
    return f"{year}.{week:02d}"
