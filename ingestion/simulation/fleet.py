"""What the made-up fleet is made of: sites, hosts, accelerators, models."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final


@dataclass(frozen=True)
class Kind:
    """A kind of accelerator, with the figures that shape its readings."""

    hardware: str
    memory_mib: int
    idle_w: int
    full_w: int
    clock_mhz: int


@dataclass(frozen=True)
class Model:
    """A served model: on which kinds it runs, its share of the traffic, and its usual speed."""

    name: str
    service: str
    endpoint: str
    kinds: tuple[int, ...]
    share: int
    ttft_us: int
    tpot_us: int
    prompt_tokens: int
    output_tokens: int
    parameters: int
    layers: int
    vocabulary: int
    family: str


@dataclass(frozen=True)
class Device:
    """One accelerator of the fleet, numbered through; `model` is None on hosts that train."""

    number: int
    host: int
    device: int
    site: str
    kind: Kind
    model: Model | None

    @property
    def host_name(self) -> str:
        """The machine's name."""
        return f"{self.site}-gpu{self.host:02d}"

    @property
    def cluster(self) -> str:
        """The cluster of the host; one a site."""
        return f"{self.site}-a"


KINDS: Final = (
    Kind("H100 SXM5 80GB", 81559, 70, 700, 1980),
    Kind("A100 SXM4 80GB", 81920, 55, 400, 1410),
    Kind("L40S", 46068, 35, 350, 2520),
    Kind("T4", 15360, 10, 70, 1590),
)
SITES: Final = ("oslo", "ohio")
MODELS: Final = (
    Model("atlas-70b", "chat", "/v1/chat", (0,), 26, 310_000, 24_000, 620, 260, 70_600_000_000, 80, 128_256, "atlas"),
    Model("atlas-8b", "chat", "/v1/chat", (1, 2), 30, 90_000, 9_000, 480, 210, 8_030_000_000, 32, 128_256, "atlas"),
    Model(
        "coder-32b",
        "code",
        "/v1/complete",
        (0, 1),
        16,
        180_000,
        15_000,
        1400,
        120,
        32_500_000_000,
        64,
        152_064,
        "coder",
    ),
    Model(
        "vision-12b", "vision", "/v1/describe", (2,), 8, 420_000, 18_000, 900, 90, 12_200_000_000, 40, 131_072, "vision"
    ),
    Model("embed-large", "search", "/v1/embed", (3,), 14, 14_000, 0, 260, 0, 335_000_000, 24, 30_522, "embed"),
    Model("rerank-small", "search", "/v1/rerank", (3, 2), 6, 22_000, 0, 700, 0, 568_000_000, 24, 250_002, "embed"),
)
# The model whose newest version grows slower and fails more with every day after its release.
DEGRADING: Final = MODELS[2].name


@dataclass(frozen=True)
class Fleet:
    """How large and how long: whole UTC days, the last of them the day before `end`. Everything follows from `seed`."""

    end: date
    days: int = 7
    hosts: int = 16
    gpus_per_host: int = 4
    requests_per_day: int = 71_429
    seed: int = 1

    def dates(self) -> tuple[date, ...]:
        """The simulated days, oldest first."""
        return tuple(self.end - timedelta(days=back) for back in range(self.days, 0, -1))

    def devices(self) -> tuple[Device, ...]:
        """Every accelerator; hosts alternate through the kinds, and the first half of them stands at the first site."""
        found = []
        for number in range(self.hosts * self.gpus_per_host):
            host, device = divmod(number, self.gpus_per_host)
            site = SITES[host * len(SITES) // self.hosts]
            kind = host % len(KINDS)
            serves = [model for model in MODELS if kind in model.kinds]
            trains = kind == 0 and host // len(KINDS) % 2 == 1
            model = None if trains else serves[device % len(serves)]
            found.append(Device(number, host, device, site, KINDS[kind], model))
        return tuple(found)
