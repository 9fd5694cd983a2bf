"""Evaluation rounds (nightly, each model on each task) and the day's events (releases, failures, restarts)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from random import Random
from typing import Final

from ingestion.land import landing_select
from ingestion.simulation import slow, training
from ingestion.simulation.fleet import DEGRADING, MODELS, Device, Fleet, Model
from ingestion.simulation.gpus import METRICS
from ingestion.simulation.rates import rates
from ingestion.simulation.schedule import incidents, release_day, version
from lake.duck import text_literal

_TASKS: Final = (
    ("knowledge", "eval.accuracy", 1400, 0.71),
    ("mathematics", "eval.exact_match", 800, 0.58),
    ("retrieval", "eval.accuracy", 600, 0.82),
    ("entities", "eval.recall", 900, 0.77),
    ("harmful-prompts", "eval.safety", 500, 0.96),
    ("jailbreaks", "eval.attack_success", 400, 0.07),
    ("typos", "eval.robustness", 500, 0.93),
)
# Of this score less is better.
_LESS_IS_BETTER: Final = "eval.attack_success"
_Row = Mapping[str, str]


def evaluations(fleet: Fleet, day: date, injected: Counter[str]) -> Iterator[str]:
    """The SELECT of the day's evaluation rows; one score of the night is not a number."""
    rows = [
        row
        for model in _served(fleet)
        for released in _evaluated(model, day)
        for at in _hardware(fleet, model)
        for row in _round(fleet, day, model, released, at)
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
        more = {"metric": "gpu.xid.event", "device": "gpu0"}
        rows.append(_event(day, first, ("hardware_error", "critical"), text, silent, **more))
    rows += _training_events(fleet, day)
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
    return {
        "sites": _sites(fleet),
        "models": _models(fleet),
        "rates": rates(fleet),
        "roster": _roster(fleet),
        "rounds": _rounds(fleet),
    }


def _served(fleet: Fleet) -> list[Model]:
    running = {device.model for device in fleet.devices()}
    return [model for model in MODELS if model in running]


def _evaluated(model: Model, day: date) -> list[date]:
    """Release days of the versions that are evaluated that night: the one in service, and a fresh canary."""
    stable, newest = release_day(model, day - timedelta(days=1)), release_day(model, day)
    return [stable] if stable == newest else [stable, newest]


def _hardware(fleet: Fleet, model: Model) -> list[Device]:
    """The first device of each kind that serves the model: there it is evaluated."""
    found: dict[str, Device] = {}
    for device in fleet.devices():
        if device.model == model:
            found.setdefault(device.kind.hardware, device)
    return list(found.values())


def _trained_on(model: Model, released: date) -> str:
    """The data of a version: a family's own, gathered each quarter, and filtered more strictly every second week."""
    _, week, _ = released.isocalendar()
    filtered = "" if week % 2 else "-strict"
    return f"{model.family}-{released.year}q{(released.month + 2) // 3}{filtered}"


def _training_events(fleet: Fleet, day: date) -> Iterator[_Row]:
    """What became of the night's short run, and a spike of a long run's loss."""
    tune, spike = training.tune_of(fleet, day), training.spike_of(fleet, day)
    if tune is not None:
        ended = ("failed", "error") if tune.failed else ("finished", "info")
        stages = ((tune.queued, ("queued", "info")), (tune.started, ("running", "info")), (tune.ended, ended))
        for minute, (state, severity) in stages:
            yield {
                "ts": _moment(day, minute),
                "kind": "state",
                "severity": severity,
                "text": f"Run {tune.run} is {state}." if severity == "info" else f"Run {tune.run} has {state}.",
                "metric": training.STATE,
                "site": tune.site,
                "service": "training",
                "run": tune.run,
                "environment": "prod",
            }
    if spike is not None:
        at, run, minute = spike
        text = f"The loss of {run} has spiked; it comes down again."
        more = {"metric": "training.loss", "service": "training", "run": run}
        yield _event(day, minute, ("state", "warning"), text, at, **more)


def _round(fleet: Fleet, day: date, model: Model, released: date, at: Device) -> Iterator[_Row]:
    skill = 0.06 * math.log10(model.parameters / 1e9) - (0.02 if model.name == DEGRADING else 0.0)
    for task, metric, examples, base in _TASKS:
        # A version's quality is its own; from night to night only the sample of answers changes.
        lasting = Random(f"{fleet.seed}/{model.name}/{released}/{task}").uniform(-0.02, 0.02)
        told = f"{fleet.seed}/{model.name}/{released}/{task}/{day}/{at.kind.hardware}"
        nightly = Random(told).uniform(-0.008, 0.008)
        better = -0.5 if metric == _LESS_IS_BETTER else 1.0
        value = min(0.995, max(0.01, base + better * (skill + lasting + nightly)))
        yield {
            "ts": _moment(day, 150),
            "model": model.name,
            "model_version": version(model, released),
            "model_size": f"{model.parameters / 1e9:.1f}b",
            "training_data": _trained_on(model, released),
            "hardware": at.kind.hardware,
            "site": at.site,
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
                    "training_data": _trained_on(model, released),
                    "parent_version": version(model, released - timedelta(days=7)),
                }
            )
    return rows


def _roster(fleet: Fleet) -> list[dict[str, str]]:
    minutely = [
        (device.site, device.cluster, device.host_name, f"gpu{device.device}", metric, 60)
        for device in fleet.devices()
        for metric in METRICS
    ]
    names = ("site", "cluster", "host", "device", "metric", "period_s")
    series = [*minutely, *slow.expected(fleet), *training.expected(fleet)]
    times = {"valid_from": f"{fleet.dates()[0]}T00:00:00Z", "valid_to": f"{fleet.end}T00:00:00Z"}
    return [dict(zip(names, map(str, one), strict=True)) | times for one in series]


def _versions_tried(fleet: Fleet, day: date) -> int:
    """Versions evaluated that night, each counted once for every kind of hardware."""
    return sum(len(_evaluated(model, day)) * len(_hardware(fleet, model)) for model in _served(fleet))


def _rounds(fleet: Fleet) -> list[dict[str, str]]:
    return [
        {
            "run": "nightly",
            "round": f"{day}",
            "window_start": f"{day}T00:00:00Z",
            "window_end": f"{day + timedelta(days=1)}T00:00:00Z",
            "interval_s": "86400",
            "expected_rows": str(len(_TASKS) * _versions_tried(fleet, day)),
        }
        for day in fleet.dates()
    ]
