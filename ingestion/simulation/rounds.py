"""Evaluation rounds (nightly, each model on each task) and the day's events (releases, failures, restarts)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from random import Random
from typing import Final

from ingestion.land import landing_select
from ingestion.simulation.fleet import DEGRADING, MODELS, Device, Fleet, Model
from ingestion.simulation.gpus import METRICS
from ingestion.simulation.schedule import incidents, release_day, version
from lake.duck import text_literal

_TASKS: Final = (
    ("knowledge", "eval.accuracy", 1400, 0.71),
    ("mathematics", "eval.exact_match", 800, 0.58),
    ("retrieval", "eval.accuracy", 600, 0.82),
    ("harmful-prompts", "eval.safety", 500, 0.96),
    ("typos", "eval.robustness", 500, 0.93),
)
_Row = Mapping[str, str]


def evaluations(fleet: Fleet, day: date, injected: Counter[str]) -> Iterator[str]:
    """The SELECT of the day's evaluation rows; one score of the night is not a number."""
    rows = [
        row
        for model in _served(fleet)
        for released in _evaluated(model, day)
        for row in _round(fleet, day, model, released)
    ]
    broken = Random(f"{fleet.seed}/{day}/broken").randrange(len(rows))
    rows[broken] = {**rows[broken], "value": "NaN"}
    injected["nan"] += 1
    yield _select(fleet, day, "evaluations", "sim-evaluator", rows)


def events(fleet: Fleet, day: date) -> Iterator[str]:
    """The SELECT of the day's events."""
    devices = fleet.devices()
    told = incidents(fleet, day)
    hot, restarted = devices[told.hot_device], devices[told.restart[0] * fleet.gpus_per_host]
    text = f"gpu{hot.device} of {hot.host_name} slows down: it is too hot."
    rows = [
        _event(day, 800, ("hardware_error", "warning"), text, hot, metric="gpu.temperature", device=f"gpu{hot.device}")
    ]
    text = f"The agent of {restarted.host_name} was restarted."
    rows.append(_event(day, told.restart[1], ("state", "info"), text, restarted))
    host, first, minutes = told.silent
    if minutes:
        silent = devices[host * fleet.gpus_per_host]
        text = f"Xid 79 on {silent.host_name}: a GPU has fallen off the bus."
        rows.append(_event(day, first, ("hardware_error", "critical"), text, silent, device="gpu0"))
    for model in _served(fleet):
        canary = release_day(model, day) == day
        if canary or release_day(model, day) == day - timedelta(days=1):
            named = version(model, release_day(model, day))
            stage = ("canary of", "canary", 600) if canary else ("release of", "release", 0)
            rows.append(
                {
                    "ts": _moment(day, stage[2]),
                    "kind": "deploy",
                    "severity": "info",
                    "text": f"{stage[0].capitalize()} {model.name} {named}.",
                    "service": model.service,
                    "model": model.name,
                    "model_version": named,
                    "deployment": stage[1],
                    "environment": "prod",
                }
            )
    yield _select(fleet, day, "events", "sim-orchestrator", rows)


def lookup_rows(fleet: Fleet) -> dict[str, list[dict[str, str]]]:
    """What the lookups must know of this fleet: rows by lookup, each a text by column; absent columns are empty."""
    return {"sites": _sites(fleet), "models": _models(fleet), "roster": _roster(fleet), "rounds": _rounds(fleet)}


def _served(fleet: Fleet) -> list[Model]:
    running = {device.model for device in fleet.devices()}
    return [model for model in MODELS if model in running]


def _evaluated(model: Model, day: date) -> list[date]:
    """Release days of the versions that are evaluated that night: the one in service, and a fresh canary."""
    stable, newest = release_day(model, day - timedelta(days=1)), release_day(model, day)
    return [stable] if stable == newest else [stable, newest]


def _round(fleet: Fleet, day: date, model: Model, released: date) -> Iterator[_Row]:
    skill = 0.06 * math.log10(model.parameters / 1e9) - (0.02 if model.name == DEGRADING else 0.0)
    for task, metric, examples, base in _TASKS:
        # A version's quality is its own; from night to night only the sample of answers changes.
        lasting = Random(f"{fleet.seed}/{model.name}/{released}/{task}").uniform(-0.02, 0.02)
        nightly = Random(f"{fleet.seed}/{model.name}/{released}/{task}/{day}").uniform(-0.008, 0.008)
        value = min(0.995, max(0.05, base + skill + lasting + nightly))
        yield {
            "ts": _moment(day, 150),
            "model": model.name,
            "model_version": version(model, released),
            "model_size": f"{model.parameters / 1e9:.1f}b",
            "metric": metric,
            "task": task,
            "value": f"{value:.3f}",
            "stderr": f"{math.sqrt(value * (1 - value) / examples):.3f}",
            "n": str(examples),
            "run": "nightly",
            "round": f"{day}",
            "environment": "prod",
        }


def _moment(day: date, minute: int) -> str:
    return f"{day}T{minute // 60:02d}:{minute % 60:02d}:00Z"


def _event(day: date, minute: int, what: tuple[str, str], text: str, at: Device, **more: str) -> _Row:
    """An event of a host; `what` is its kind and severity."""
    where = {"site": at.site, "cluster": at.cluster, "host": at.host_name, "hardware": at.kind.hardware}
    told = {"ts": _moment(day, minute), "kind": what[0], "severity": what[1], "text": text, "environment": "prod"}
    return told | where | more


def _select(fleet: Fleet, day: date, fact: str, agent: str, rows: Sequence[_Row]) -> str:
    """Landing rows of Python texts: a record each, numbered from 1."""
    names = sorted({name for row in rows for name in row})
    listed = ", ".join(
        f"({number}, {', '.join(text_literal(row[name]) if name in row else 'NULL::VARCHAR' for name in names)})"
        for number, row in enumerate(rows, 1)
    )
    columns = {name: f'"{name}"' for name in names} | {
        "agent": text_literal(agent),
        "boot": f"'{fleet.seed}-{day:%Y%m%d}'",
        "seq": "number",
        "received_at": "ts::TIMESTAMPTZ + INTERVAL 1 MINUTE",
        "source": "'simulation'",
    }
    quoted = ", ".join(f'"{name}"' for name in names)
    return landing_select(fact, columns, f"(VALUES {listed}) AS t(number, {quoted})")


def _sites(fleet: Fleet) -> list[dict[str, str]]:
    known = {"oslo": ("eu-north", "NOR", "1.12"), "ohio": ("us-east", "USA", "1.25")}
    places = dict.fromkeys((device.site, device.cluster) for device in fleet.devices())
    rows = []
    for site, cluster in places:
        region, country, pue = known[site]
        rows.append({"site": site, "cluster": cluster, "region": region, "country": country, "pue": pue})
    return rows


def _models(fleet: Fleet) -> list[dict[str, str]]:
    rows = []
    for model in _served(fleet):
        days = {released for day in fleet.dates() for released in _evaluated(model, day)}
        for released in sorted(days):
            rows.append(
                {
                    "model": model.name,
                    "model_version": version(model, released),
                    "family": model.family,
                    "architecture": "encoder" if model.tpot_us == 0 else "decoder",
                    "parameters": str(model.parameters),
                    "vocabulary": str(model.vocabulary),
                    "layers": str(model.layers),
                    "weight_bytes": str(model.parameters * 2),
                    "precision": "bf16",
                    "quantisation": "none",
                    "engine": "simulated",
                    "parallelism": "tensor=1",
                    "training_data": "none",
                    "parent_version": version(model, released - timedelta(days=7)),
                }
            )
    return rows


def _roster(fleet: Fleet) -> list[dict[str, str]]:
    first = f"{fleet.dates()[0]}T00:00:00Z"
    return [
        {
            "site": device.site,
            "cluster": device.cluster,
            "host": device.host_name,
            "device": f"gpu{device.device}",
            "metric": metric,
            "period_s": "60",
            "valid_from": first,
        }
        for device in fleet.devices()
        for metric in METRICS
    ]


def _rounds(fleet: Fleet) -> list[dict[str, str]]:
    return [
        {
            "run": "nightly",
            "round": f"{day}",
            "window_start": f"{day}T00:00:00Z",
            "window_end": f"{day + timedelta(days=1)}T00:00:00Z",
            "interval_s": "86400",
            "expected_rows": str(len(_TASKS) * sum(len(_evaluated(model, day)) for model in _served(fleet))),
        }
        for day in fleet.dates()
    ]
