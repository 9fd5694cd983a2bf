"""Where the charts of a dashboard stand: rows of a grid of twelve columns, in the form that Superset keeps.

A row of the source is a list of charts, each taking its share of the width, or `{name: columns}`; a text is a heading.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from forms import Chart

COLUMNS: Final = 12
# Of 8 pixels each.
_HEIGHTS: Final = {"number": 19, "table": 48, "heatmap": 48}
_HEIGHT: Final = 40
# What a table needs beside its rows (title, head, pages), and for each row.
_TABLE, _TABLE_ROW = 24, 4.2


def position(
    slug: str,
    source: Mapping[str, Any],
    charts: Mapping[str, Chart],
    numbers: Mapping[str, int],
    wrong: Callable[[str], Exception],
) -> dict[str, Any]:
    """The grid of a dashboard. Errors: `wrong` for a row that does not fit or a chart that is left out."""
    found: dict[str, Any] = {
        "DASHBOARD_VERSION_KEY": "v2",
        "ROOT_ID": {"type": "ROOT", "id": "ROOT_ID", "children": ["GRID_ID"]},
        "GRID_ID": {"type": "GRID", "id": "GRID_ID", "children": [], "parents": ["ROOT_ID"]},
        "HEADER_ID": {"type": "HEADER", "id": "HEADER_ID", "meta": {"text": source["title"]}},
    }
    placed: list[str] = []
    for number, row in enumerate(source["rows"], 1):
        if isinstance(row, str):
            name = f"HEADER-{number}"
            meta = {"text": row, "headerSize": "MEDIUM_HEADER", "background": "BACKGROUND_TRANSPARENT"}
            found[name] = {
                "type": "HEADER",
                "id": name,
                "children": [],
                "parents": ["ROOT_ID", "GRID_ID"],
                "meta": meta,
            }
        else:
            name = f"ROW-{number}"
            cells = _cells(slug, number, row, charts, wrong)
            placed += [chart for chart, _ in cells]
            found |= _row(name, cells, charts, numbers)
        found["GRID_ID"]["children"].append(name)
    if sorted(placed) != sorted(charts):
        differ = set(placed) ^ set(charts) or {name for name in placed if placed.count(name) > 1}
        raise wrong(f"dashboards/{slug}.yaml: rows: {', '.join(sorted(differ))} must stand in exactly one row")
    return found


def _cells(
    slug: str, number: int, row: Sequence[Any], charts: Mapping[str, Chart], wrong: Callable[[str], Exception]
) -> list[tuple[str, int]]:
    """The charts of a row and how many columns each takes."""
    told = [(cell, 0) if isinstance(cell, str) else next(iter(cell.items())) for cell in row]
    for name, _ in told:
        if name not in charts:
            raise wrong(f"dashboards/{slug}.yaml: rows[{number}]: there is no chart '{name}' under charts")
    rest, free = COLUMNS - sum(width for _, width in told), sum(not width for _, width in told)
    if rest < free or (free and rest % free) or (not free and rest):
        raise wrong(f"dashboards/{slug}.yaml: rows[{number}]: the widths don't fill {COLUMNS} columns")
    return [(name, width or rest // free) for name, width in told]


def _row(
    name: str, cells: Sequence[tuple[str, int]], charts: Mapping[str, Chart], numbers: Mapping[str, int]
) -> dict[str, Any]:
    parents = ["ROOT_ID", "GRID_ID"]
    height = max(_height(charts[chart]) for chart, _ in cells)
    found: dict[str, Any] = {
        name: {
            "type": "ROW",
            "id": name,
            "children": [f"CHART-{chart}" for chart, _ in cells],
            "parents": parents,
            "meta": {"background": "BACKGROUND_TRANSPARENT"},
        }
    }
    for chart, width in cells:
        meta = {
            "chartId": numbers[chart],
            "height": height,
            "sliceName": charts[chart].title,
            "uuid": charts[chart].uuid,
            "width": width,
        }
        found[f"CHART-{chart}"] = {
            "type": "CHART",
            "id": f"CHART-{chart}",
            "children": [],
            "parents": [*parents, name],
            "meta": meta,
        }
    return found


def _height(chart: Chart) -> int:
    told = chart.told_source
    if "height" in told:
        return int(told["height"])
    if chart.kind == "table" and "rows" in told:
        return round(_TABLE + _TABLE_ROW * told["rows"])
    return _HEIGHTS.get(chart.kind, _HEIGHT)
