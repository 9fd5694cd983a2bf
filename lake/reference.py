"""Reference pages made from the declarations: every metric, every fact, every lookup. Same declarations, same text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal

from lake.catalogue import Catalogue, Metric, load_catalogue
from lake.facts import Column, load_facts
from lake.lookups import load_lookups

_NOTICE = "<!-- Made from lake/declarations by `make docs`; change the declarations, not this page. -->"
# The fields whose texts many metrics of a family share: shown once below the family's table, for each distinct text.
_SHARED = ("method", "processing", "purpose", "protocol")


def metrics_markdown(catalogue: Catalogue | None = None) -> str:
    """The page of the metric catalogue, a table for each family; it ends with one line break."""
    known = catalogue or load_catalogue()
    families: dict[str, list[Metric]] = {}
    for metric in sorted(known.metrics.values(), key=lambda metric: (metric.family, metric.name)):
        families.setdefault(metric.family, []).append(metric)
    parts = [
        "# Metrics",
        _NOTICE,
        f"{len(known.metrics)} metrics in {len(families)} families, under {len(known.aliases)} names of other "
        "systems. Units are UCUM; ranges are inclusive and in the metric's unit. Counters land as increments, "
        "states are counted and never averaged, histograms merge only with equal bounds.",
    ]
    for family, metrics in families.items():
        parts += [f"## {family}", _metric_table(metrics), _shared_texts(metrics)]
    parts += ["## Labels", _table(("label", "what it says"), sorted(known.labels.items()))]
    parts += ["## Names of other systems", _alias_table(known)]
    return "\n\n".join(parts) + "\n"


def facts_markdown() -> str:
    """The page of facts and lookups, a table of columns for each; it ends with one line break."""
    parts = [
        "# Facts and lookups",
        _NOTICE,
        "A fact is a table of events with a time column; a lookup is a small table that facts join by key. "
        "Every trusted row of a fact also carries its identity (`agent`, `boot`, `seq`, `idx`, `row_key`), "
        "the `batch` that published it, and its UTC `day`.",
    ]
    for name, fact in sorted(load_facts().items()):
        parts += [f"## Fact `{name}`", _escape(fact.description), _fact_table(fact.columns)]
    for name, lookup in sorted(load_lookups().items()):
        rows = [(f"`{it.name}`", it.type, it.unit, "yes" if it.name in lookup.key else "", it.description)
                for it in lookup.columns]  # fmt: skip
        shipped = "filled from the catalogue" if name == "metrics" else f"{len(lookup.rows)} rows shipped"
        table = _table(("column", "type", "unit", "key", "what it holds"), rows)
        parts += [f"## Lookup `{name}`", f"{_escape(lookup.description)} ({shipped})", table]
    return "\n\n".join(parts) + "\n"


def _metric_table(metrics: Sequence[Metric]) -> str:
    header = (
        "metric",
        "kind",
        "unit",
        "what it says",
        "range",
        "shown as",
        "source",
        "period",
        "labels",
        "sensitivity",
    )
    return _table(header, (_metric_row(metric) for metric in metrics))


def _metric_row(metric: Metric) -> tuple[str, ...]:
    period = "none" if metric.period_s is None else f"{metric.period_s:f} s"
    return (
        f"`{metric.name}`",
        metric.kind,
        f"`{metric.unit}`",
        metric.description,
        _range(metric.valid_min, metric.valid_max),
        metric.default_aggregation,
        f"{metric.source}: `{metric.source_name}`",
        period,
        ", ".join(metric.labels) or "none",
        metric.sensitivity,
    )


def _range(low: Decimal | None, high: Decimal | None) -> str:
    """Bounds as a reader says them."""
    if low is None and high is None:
        return "any"
    if high is None:
        return f"≥ {low:f}"
    return f"≤ {high:f}" if low is None else f"{low:f} … {high:f}"


def _shared_texts(metrics: Sequence[Metric]) -> str:
    """What the metrics of a family have in common: for each field, each text with the metrics that it is about."""
    lines: list[str] = []
    for field in _SHARED:
        texts: dict[str, list[str]] = {}
        for metric in metrics:
            texts.setdefault(getattr(metric, field), []).append(f"`{metric.name}`")
        for text, names in texts.items():
            about = "" if len(texts) == 1 else f" ({', '.join(names)})"
            lines.append(f"- {field}: {text}{about}")
    sentinels = {metric.sentinels: None for metric in metrics if metric.sentinels}
    lines += [f"- no value: {', '.join(f'`{text}`' for text in texts)}" for texts in sentinels]
    return "\n".join(lines)


def _alias_table(catalogue: Catalogue) -> str:
    rows = (
        (f"`{it.source_name}`", it.exporter, f"`{it.metric}`", f"`{it.unit}`", str(it.scale), it.note)
        for it in catalogue.aliases
    )
    return _table(("name", "sent by", "metric", "unit", "times", "note"), rows)


def _fact_table(columns: Sequence[Column]) -> str:
    rows = []
    for it in columns:
        allowed = f"; one of {', '.join(it.allowed)}" if it.allowed else ""
        required = "yes" if it.required else ""
        rows.append((f"`{it.name}`", it.type, it.role, it.unit, required, it.sensitivity, it.description + allowed))
    return _table(("column", "type", "role", "unit", "required", "sensitivity", "what it holds"), rows)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(header)} |", f"|{'|'.join('---' for _ in header)}|"]
    lines += [f"| {' | '.join(_escape(cell) for cell in row)} |" for row in rows]
    return "\n".join(lines)


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
