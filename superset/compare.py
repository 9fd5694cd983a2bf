"""What Superset keeps beside what the source says: annotations that an import leaves out, and where both differ."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import yaml

if TYPE_CHECKING:
    from bundle import Assets
    from forms import Chart

# What a dashboard's page keeps when somebody who may edit it opens it: the colours that it gave to names.
_OF_THE_PAGE: Final = frozenset(
    "chart_configuration global_chart_configuration filter_scopes color_scheme_domain shared_label_colors "
    "map_label_colors".split()
)
# What Superset writes of its own accord, and no source says.
_OWN: Final = {
    "charts": {"params": {"datasource", "slice_id", "viz_type", "annotation_layers"}},
    "dashboards": {"metadata": _OF_THE_PAGE},
}


def with_events(params: Mapping[str, Any], assets: Assets, chart: Chart, ids: Mapping[str, int]) -> dict[str, Any]:
    """Form data of a chart with its annotation layers; `ids` are the charts' numbers in this Superset, by UUID."""
    layers = []
    for name in chart.events:
        told, source = assets.look["annotations"][name], assets.charts[f"annotations/{name}"]
        layers.append(
            {
                "annotationType": "EVENT",
                "sourceType": "table",
                "name": told["title"],
                "value": ids[source.uuid],
                "timeColumn": told["time"],
                "titleColumn": told["text"],
                "descriptionColumns": [],
                "intervalEndColumn": "",
                "overrides": {"time_range": None},
                "show": True,
                "showLabel": False,
                "showMarkers": False,
                "hideLine": False,
                "style": "dashed",
                "width": 1,
                "opacity": "",
                "color": told["colour"],
            }
        )
    return {**params, "annotation_layers": layers}


def differences(assets: Assets, exported: Iterable[tuple[str, str]]) -> Iterator[str]:
    """A line for each place where an export is not what the source says, and for what either lacks."""
    kept: dict[str, tuple[str, dict[str, Any]]] = {}
    ids: dict[int, str] = {}
    for path, text in exported:
        kind = path.split("/")[0]
        told = yaml.safe_load(text)
        if kind in ("datasets", "charts", "dashboards"):
            kept[told["uuid"]] = kind, told
            ids |= _chart_ids(kind, told)
    wanted = {}
    for path, text in assets.contents().items():
        kind = path.split("/")[0]
        if kind in ("datasets", "charts", "dashboards"):
            told = yaml.safe_load(text)
            wanted[told["uuid"]] = path, kind, told
    for uuid, (path, kind, told) in wanted.items():
        if uuid not in kept:
            yield f"{path}: Superset has no such {kind[:-1]}"
            continue
        ours, theirs = _plain(kind, told, {}), _plain(kind, kept[uuid][1], ids)
        yield from (f"{path}: {line}" for line in _walk("", ours, theirs))


def _chart_ids(kind: str, told: Mapping[str, Any]) -> dict[int, str]:
    if kind != "dashboards":
        return {}
    cells = [one for one in told["position"].values() if isinstance(one, dict) and one.get("type") == "CHART"]
    return {cell["meta"]["chartId"]: cell["meta"]["uuid"] for cell in cells}


def _plain(kind: str, told: Mapping[str, Any], ids: Mapping[int, str]) -> dict[str, Any]:
    """Without numbers and without what Superset adds; lists of columns and metrics by name."""
    found = json.loads(json.dumps(told, default=str))
    for part, names in _OWN.get(kind, {}).items():
        for name in names:
            found[part].pop(name, None)
    if kind == "dashboards":
        for cell in found["position"].values():
            if isinstance(cell, dict) and cell.get("type") == "CHART":
                cell["meta"].pop("chartId", None)
    if kind == "datasets":
        found["columns"] = {one["column_name"]: one for one in found["columns"]}
        found["metrics"] = {one["metric_name"]: one for one in found["metrics"]}
    if kind == "charts":
        found.pop("query_context", None)
    found.pop("external_url", None)
    return dict(found)


def _walk(where: str, ours: Any, theirs: Any) -> Iterator[str]:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for name in sorted(ours.keys() | theirs.keys()):
            yield from _walk(f"{where}.{name}" if where else name, ours.get(name), theirs.get(name))
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for number, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            yield from _walk(f"{where}[{number}]", one, other)
    elif (ours or None) != (theirs or None) and not (ours == theirs == 0):
        yield f"{where} is {json.dumps(theirs)[:120]}, the source says {json.dumps(ours)[:120]}"
