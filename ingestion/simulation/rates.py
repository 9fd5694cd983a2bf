"""What an hour of each accelerator costs at the made-up fleet's sites, from list prices where the lookup has one.

Prices change on Mondays and Thursdays, so that every week has a change in its middle, whatever its first day is.
"""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from typing import Final

from ingestion.simulation.fleet import SITES, Fleet
from lake.lookups import load_lookups

# Whose list price a site goes by, and what is assumed where the list has none.
_PROVIDERS: Final = {SITES[0]: "Lambda", SITES[1]: "AWS"}
_ASSUMED: Final = {"L40S": Decimal("1.60"), "T4": Decimal("0.45")}
_CHANGES: Final = ((0, "as listed", Decimal(1)), (3, "8 % off", Decimal("0.92")))
# Rows are kept for longer than their prices are needed, so that history keeps its own.
_BACK: Final = timedelta(days=56)


def rates(fleet: Fleet) -> list[dict[str, str]]:
    """Rows of the lookup `rates`: a price of each kind at each site for each half week."""
    first, last = fleet.dates()[0] - _BACK, fleet.dates()[-1]
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    changes = {weekday: (told, factor) for weekday, told, factor in _CHANGES}
    found = []
    starts = [day for day in days if day.weekday() in changes]
    for site, hardware in sorted({(device.site, device.kind.hardware) for device in fleet.devices()}):
        price, reference = _listed(hardware, _PROVIDERS[site])
        for day, until in zip(starts, [*starts[1:], None], strict=True):
            told, factor = changes[day.weekday()]
            found.append(_row(site, hardware, price * factor, f"simulation: {reference}, {told}", (day, until)))
    return found


def _row(site: str, hardware: str, price: Decimal, reference: str, days: tuple[date, date | None]) -> dict[str, str]:
    """A price from the first day until before the other, so that a join by time finds one row."""
    first, until = days
    return {
        "site": site,
        "hardware": hardware,
        "usd_per_gpu_hour": f"{price:.4f}",
        "reference": reference,
        "valid_from": f"{first}T00:00:00Z",
        **({} if until is None else {"valid_to": f"{until}T00:00:00Z"}),
    }


def _listed(hardware: str, provider: str) -> tuple[Decimal, str]:
    """The price and where it comes from: the provider's list price for use on demand, or an assumption."""
    prices = load_lookups()["prices"]
    names = [column.name for column in prices.columns]
    for row in prices.rows:
        one = dict(zip(names, row, strict=True))
        if (one["hardware"], one["provider"], one["provisioning"]) == (hardware, provider, "on-demand"):
            assert one["usd_per_gpu_hour"] is not None, "a price has a number"
            return Decimal(one["usd_per_gpu_hour"]), f"list price of {provider}"
    return _ASSUMED.get(hardware, Decimal(2)), "an assumption"
