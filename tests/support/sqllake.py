"""A small random lake for query tests: trusted rows written directly in two batches, cubes built after each."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import pyarrow as pa

from cubes.build import build
from cubes.load import load_cubes
from cubes.model import Cube
from lake import delta, tables
from lake.duck import Duck, connect
from lake.lookup_store import ensure_lookups
from lake.settings import Settings

START = datetime(2026, 10, 5, 22, 10, tzinfo=UTC)
HOURS = 52
_METRICS = ("gpu.utilization", "gpu.power", "cpu.utilization")


def make_lake(settings: Settings, *, seed: int = 1, rows: int = 900, cubes: Iterable[Cube] | None = None) -> None:
    """Fill the settings' lake: `rows` requests, twice as many samples, a tenth of evaluations, and their cubes."""
    rng = random.Random(seed)
    duck = connect(settings)
    makers = {"requests": (_request, rows), "samples": (_sample, 2 * rows), "evaluations": (_evaluation, rows // 10)}
    known = list(load_cubes().values() if cubes is None else cubes)
    ensure_lookups(settings.lake, duck, sorted({one.lookup for cube in known for one in cube.derived if one.lookup}))
    for batch in (1, 2):
        for fact, (make, count) in makers.items():
            made = [make(rng) for _ in range(count // 2)]
            add_rows(duck, settings, fact, made, batch)
        for cube in known:
            build(settings, duck, cube)
    duck.connection.close()


def add_rows(duck: Duck, settings: Settings, fact: str, made: Iterable[dict[str, Any]], batch: int) -> None:
    """Publish rows as one gate batch."""
    ref = tables.trusted(fact)
    identity = {"agent": "test", "boot": f"b{batch}", "idx": 0, "row_key": None, "batch": batch}
    full = [
        {**dict.fromkeys(ref.schema.names), **row, **identity, "seq": seq, "day": row["ts"].date()}
        for seq, row in enumerate(made, 1)
    ]
    duck.register("made", pa.Table.from_pylist(full, schema=ref.schema))
    files = duck.write("SELECT * FROM made", settings.lake, ref, f"gate-{batch}", stats=("batch", "ts"))
    duck.unregister("made")
    delta.commit(settings.lake, ref, delta.open_snapshot(settings.lake, ref), adds=files, txns={"gate": batch})


def add_requests(duck: Duck, settings: Settings, count: int, batch: int) -> None:
    """Publish more requests of the same time range, made of the batch's number as seed."""
    rng = random.Random(batch)
    add_rows(duck, settings, "requests", [_request(rng) for _ in range(count)], batch)


def _when(rng: random.Random) -> datetime:
    """A time of the lake's range; now and then exactly on the bound of a bucket."""
    ts = START + timedelta(microseconds=rng.randrange(HOURS * 3600 * 10**6))
    if rng.random() < 0.1:
        return ts.replace(minute=rng.choice((0, 5, 30)), second=0, microsecond=0)
    return ts


def _maybe(rng: random.Random, value: Any, share: float = 0.1) -> Any:
    return None if rng.random() < share else value


def _decimal(rng: random.Random, high: int, places: int) -> Decimal:
    return Decimal(rng.randrange(high * 10**places)).scaleb(-places)


def _request(rng: random.Random) -> dict[str, Any]:
    site = rng.choice(("eu", "us"))
    status = rng.choice(("ok", "ok", "ok", "ok", "error", "timeout"))
    return {
        "ts": _when(rng),
        "request_id": f"r{rng.randrange(10**9)}",
        "status": status,
        "error_code": None if status == "ok" else rng.choice(("500", "503")),
        "site": _maybe(rng, site),
        "cluster": _maybe(rng, f"{site}-{rng.randrange(2)}"),
        "environment": rng.choice(("prod", "test")),
        "deployment": _maybe(rng, rng.choice(("release", "canary"))),
        "service": rng.choice(("chat", "image")),
        "endpoint": rng.choice(("/v1/chat", "/v1/embed", "a_b%c")),
        "model": _maybe(rng, rng.choice(("llama-3", "qwen_2", "qwen-2", "it's"))),
        "model_version": _maybe(rng, rng.choice(("1", "2"))),
        "hardware": rng.choice(("h100", "l40s")),
        "tenant": rng.choice(("a", "b", "c")),
        "user_hash": f"u{rng.randrange(20)}",
        "client_type": _maybe(rng, "sdk", 0.5),
        "priority": rng.choice(("low", "high")),
        "prompt_tokens": _maybe(rng, rng.randrange(4000)),
        "output_tokens": _maybe(rng, rng.randrange(1000)),
        "cached_tokens": _maybe(rng, rng.randrange(10), 0.5),
        "queue_ms": _maybe(rng, _decimal(rng, 50, 6)),
        "ttft_ms": _maybe(rng, _decimal(rng, 900, 3)),
        "e2e_ms": _maybe(rng, _decimal(rng, 30_000, 6) if rng.random() < 0.95 else Decimal(0)),
        "gpu_ms": _maybe(rng, _decimal(rng, 9000, 2), 0.3),
        "batch_size": rng.randrange(1, 9),
        "flag_pii": _maybe(rng, rng.random() < 0.2),
    }


def _sample(rng: random.Random) -> dict[str, Any]:
    metric = rng.choice(_METRICS)
    host = rng.randrange(4)
    high = {"gpu.utilization": 1, "gpu.power": 700, "cpu.utilization": 1}[metric]
    return {
        "ts": _when(rng),
        "metric": metric,
        "value": _maybe(rng, _decimal(rng, high, 9) * rng.choice((1, 1, 1, 1, 0, -1)), 0.05),
        "interval_s": _maybe(rng, Decimal(rng.choice((15, 60))), 0.05),
        "environment": "prod",
        "site": ("eu", "us")[host % 2],
        "cluster": f"c{host % 2}",
        "host": f"host-{host}",
        "device": _maybe(rng, f"gpu{rng.randrange(2)}", 0.3),
        "hardware": ("h100", "l40s")[host // 2],
        "model": _maybe(rng, "llama-3", 0.5),
    }


def _evaluation(rng: random.Random) -> dict[str, Any]:
    return {
        "ts": _when(rng),
        "model": rng.choice(("llama-3", "qwen-2")),
        "model_version": rng.choice(("1", "2")),
        "metric": rng.choice(("accuracy", "loss")),
        "value": _decimal(rng, 3, 9),
        "stderr": _maybe(rng, _decimal(rng, 1, 9), 0.5),
        "n": _maybe(rng, rng.randrange(1, 5000)),
        "task": _maybe(rng, rng.choice(("math", "code"))),
        "model_size": rng.choice(("7b", "70b")),
        "hardware": "h100",
        "run": f"run-{rng.randrange(3)}",
        "round": str(rng.randrange(9)),
        "site": "eu",
    }


# Rows of a fact at random, without their identity.
MAKERS: Final[dict[str, Callable[[random.Random], dict[str, Any]]]] = {
    "requests": _request,
    "samples": _sample,
    "evaluations": _evaluation,
}
