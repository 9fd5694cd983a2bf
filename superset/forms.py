"""The kinds of chart that a dashboard's source may name, each a function from its few words to Superset's form data.

What makes charts look alike (legend, grid, tooltips, formats) is decided here once. `params` of a chart is merged over
what a kind gives, for the rare thing that has no word of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

Wrong = Callable[[str], Exception]
VERSION: Final = "1.0.0"
_ANY_TIME: Final = "No filter"
_WORDS: Final = frozenset(
    "kind title description dataset metric metrics by x y grain unit where sql format order limit height stacked "
    "annotations columns sort show scale trend high_is params pushdown may_be_empty palette percent rows second".split()
)


@dataclass
class Form:
    """A chart's own words beside what they may refer to. `time` is the dataset's time column."""

    where: str
    told: Mapping[str, Any]
    metrics: set[str]
    columns: Mapping[str, Mapping[str, Any]]
    time: str | None
    look: Mapping[str, Any]
    usual_order: str | None = None

    @property
    def order(self) -> str | None:
        """The metric whose largest groups come first: the chart's, or the dataset's (percentiles make rows answer)."""
        return self.told.get("order") or self.usual_order

    def get(self, word: str, default: Any = None) -> Any:
        """A word of the chart, or what it is by default."""
        return self.told.get(word, default)


@dataclass
class Chart:
    """One chart: `told` as it is written, `form` what Superset keeps."""

    name: str
    uuid: str
    dataset: str
    dataset_uuid: str
    told_source: Mapping[str, Any] = field(repr=False, default_factory=dict)
    form: dict[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """Its kind, a word of `KINDS`."""
        return str(self.told_source["kind"])

    @property
    def title(self) -> str:
        """What stands above it."""
        return str(self.told_source["title"])

    @property
    def events(self) -> list[str]:
        """The annotations that it bears, by their names in look.yaml."""
        return list(self.told_source.get("annotations", []))

    @property
    def query_context(self) -> dict[str, Any] | None:
        """The query of a chart whose rows annotate others: Superset runs it without a browser that would make it."""
        if not self.name.startswith("annotations/"):
            return None
        query = {
            "filters": [_as_filter(one) for one in self.form["adhoc_filters"]],
            "extras": {"where": "", "having": ""},
            "columns": self.form["all_columns"],
            "metrics": None,
            "orderby": [[self.form["all_columns"][0], False]],
            "annotation_layers": [],
            "row_limit": self.form["row_limit"],
            "series_limit": 0,
            "order_desc": True,
            "post_processing": [],
        }
        return {"force": False, "queries": [query], "form_data": {}, "result_format": "json", "result_type": "full"}

    def exported(self) -> dict[str, Any]:
        """The chart in the form of Superset's exports."""
        return {
            "slice_name": self.title,
            "description": " ".join(self.told_source["description"].split()),
            "certified_by": None,
            "certification_details": None,
            "viz_type": self.form["viz_type"],
            "params": self.form,
            "query_context": None,
            "cache_timeout": None,
            "uuid": self.uuid,
            "version": VERSION,
            "dataset_uuid": self.dataset_uuid,
        }


def chart_form(form: Form, wrong: Wrong) -> dict[str, Any]:
    """Form data of a chart. Errors: `wrong` naming the field that can't be."""
    told = form.told
    for word in ("kind", "title", "description"):
        if not told.get(word):
            raise wrong(f"{form.where}: '{word}' is missing")
    if told["kind"] not in KINDS:
        raise wrong(f"{form.where}: kind '{told['kind']}' is none of {', '.join(KINDS)}")
    if unknown := set(told) - _WORDS:
        raise wrong(f"{form.where}: unknown {', '.join(sorted(unknown))}")
    for metric in _metrics(form):
        if metric not in form.metrics:
            raise wrong(f"{form.where}: the dataset has no metric '{metric}'; it has {', '.join(sorted(form.metrics))}")
    for column in (*_by(form), *([form.get("x")] if form.get("x") else []), *form.get("where", {})):
        if column not in form.columns:
            raise wrong(f"{form.where}: the dataset has no column '{column}'")
    common = {
        "adhoc_filters": _filters(form),
        "color_scheme": form.get("palette", form.look["palette"]),
        "annotation_layers": [],
        "extra_form_data": {},
        "dashboards": [],
    }
    return {**common, **KINDS[told["kind"]](form), **form.get("params", {})}


def _metrics(form: Form) -> list[str]:
    found = form.get("metrics") or ([form.get("metric")] if form.get("metric") else [])
    return [str(one) for one in found] + [str(one) for one in form.get("second", [])]


def _by(form: Form) -> list[str]:
    return list(form.get("by", []))


def _filters(form: Form) -> list[dict[str, Any]]:
    """The time range, which dashboards set, and the chart's own conditions."""
    found = []
    if form.time:
        found.append(_simple(form.time, "TEMPORAL_RANGE", _ANY_TIME))
    for column, value in form.get("where", {}).items():
        found.append(_simple(column, "IN", value) if isinstance(value, list) else _simple(column, "==", value))
    if form.get("sql"):
        found.append({"clause": "WHERE", "expressionType": "SQL", "sqlExpression": form.get("sql")})
    return found


def _simple(column: str, operator: str, value: Any) -> dict[str, Any]:
    names = {"TEMPORAL_RANGE": "TEMPORAL_RANGE", "IN": "IN", "==": "EQUALS"}
    return {
        "clause": "WHERE",
        "expressionType": "SIMPLE",
        "subject": column,
        "operator": operator,
        "operatorId": names[operator],
        "comparator": value,
    }


def _as_filter(told: Mapping[str, Any]) -> dict[str, Any]:
    """A simple condition of a chart as one of a query."""
    return {"col": told["subject"], "op": told["operator"], "val": told["comparator"]}


def _axes(form: Form) -> dict[str, Any]:
    """What charts over time and bars share: unit beside the axis, legend above, every series told in the tooltip."""
    unit = form.get("unit")
    many = len(_metrics(form)) > 1 or bool(_by(form))
    return {
        "y_axis_title": unit or "",
        "y_axis_title_margin": 50 if unit else 15,
        "y_axis_title_position": "Left",
        "x_axis_title_margin": 15,
        "y_axis_format": form.get("format", "SMART_NUMBER"),
        "x_axis_time_format": "smart_date",
        "tooltipTimeFormat": "%Y-%m-%d %H:%M",
        "rich_tooltip": True,
        "showTooltipTotal": False,
        "show_legend": many,
        "legendType": "scroll",
        "legendOrientation": "top",
        "truncateYAxis": False,
        "truncateXAxis": True,
        "y_axis_bounds": form.get("scale", [None, None]),
        "minorTicks": False,
        "zoomable": False,
        "sort_series_type": "name",
        "sort_series_ascending": True,
    }


def _series(form: Form) -> dict[str, Any]:
    """What is asked: metrics over an axis, a series for each value of `by`."""
    return {
        "x_axis": form.get("x") or form.time,
        "time_grain_sqla": form.get("grain", "PT1H"),
        "x_axis_sort_asc": True,
        "metrics": [one for one in _metrics(form) if one not in form.get("second", [])],
        "groupby": _by(form),
        "order_desc": True,
        "limit": form.get("limit", 0),
        "row_limit": 10000,
        "truncate_metric": True,
        "show_empty_columns": True,
        "comparison_type": "values",
        **({"timeseries_limit_metric": form.order} if form.order else {}),
    }


def _number(form: Form) -> dict[str, Any]:
    """One figure; with `trend` also its course."""
    shared = {
        "metric": _metrics(form)[0],
        "y_axis_format": form.get("format", "SMART_NUMBER"),
        "time_format": "%Y-%m-%d %H:%M",
        "force_timestamp_formatting": form.get("format") == "time",
        "header_font_size": 0.5,
        "subtitle": form.get("unit", ""),
        "subtitle_font_size": 0.2,
    }
    if not form.get("trend"):
        return {"viz_type": "big_number_total", **shared}
    return {
        "viz_type": "big_number",
        **shared,
        "x_axis": form.time,
        "time_grain_sqla": form.get("grain", "PT1H"),
        "aggregation": "raw",
        "show_trend_line": True,
        "start_y_axis_at_zero": True,
        "rolling_type": "None",
        "color_picker": form.look["trend_colour"],
    }


def _line(form: Form) -> dict[str, Any]:
    return {
        "viz_type": "echarts_timeseries_line",
        **_series(form),
        **_axes(form),
        "seriesType": "line",
        "markerEnabled": bool(form.get("show") == "points"),
        "markerSize": 6,
        "opacity": 0.2,
        "only_total": True,
    }


def _area(form: Form) -> dict[str, Any]:
    return {
        "viz_type": "echarts_area",
        **_series(form),
        **_axes(form),
        "seriesType": "line",
        "stack": "Stack",
        "opacity": 0.5,
        "only_total": True,
    }


_NO_TITLES: Final = {"y_axis_title": "", "y_axis_title_margin": 0, "x_axis_title": "", "x_axis_title_margin": 0}


def _bar(form: Form) -> dict[str, Any]:
    """Bars over time, or over a column `x`, the largest first; lying if it is a column."""
    lying = bool(form.get("x"))
    order = {"x_axis_sort": form.get("order") or _metrics(form)[0], "x_axis_sort_asc": lying} if lying else {}
    return {
        "viz_type": "echarts_timeseries_bar",
        **_series(form),
        **_axes(form),
        **order,
        "orientation": "horizontal" if lying else "vertical",
        "stack": "Stack" if form.get("stacked") else None,
        "show_value": lying and not form.get("stacked"),
        "only_total": True,
        # The axis of values lies below, where Superset has no room for its title: the chart's title tells the unit.
        **({"row_limit": form.get("limit", 20), "limit": 0, **_NO_TITLES} if lying else {}),
    }


def _mixed(form: Form) -> dict[str, Any]:
    """Two metrics of other units over time: bars by the left axis, a line by the right one."""
    series = _series(form)
    second = form.get("second", [])
    left, right = (form.get("unit") or ["", ""]) if isinstance(form.get("unit"), list) else (form.get("unit"), "")
    filters = _filters(form)
    return {
        "viz_type": "mixed_timeseries",
        "x_axis": series["x_axis"],
        "time_grain_sqla": series["time_grain_sqla"],
        "metrics": series["metrics"],
        "groupby": _by(form),
        "metrics_b": second,
        "groupby_b": [],
        "adhoc_filters_b": filters,
        "row_limit": 10000,
        "row_limit_b": 10000,
        "truncate_metric": True,
        "truncate_metric_b": True,
        "comparison_type": "values",
        "seriesType": "bar",
        "seriesTypeB": "line",
        "yAxisIndex": 0,
        "yAxisIndexB": 1,
        "y_axis_title": left or "",
        "y_axis_title_margin": 45,
        "y_axis_title_position": "Left",
        "yAxisTitleSecondary": right or "",
        "y_axis_format": form.get("format", "SMART_NUMBER"),
        "y_axis_format_secondary": "SMART_NUMBER",
        "x_axis_title_margin": 15,
        "x_axis_time_format": "smart_date",
        "tooltipTimeFormat": "%Y-%m-%d %H:%M",
        "rich_tooltip": True,
        "show_legend": True,
        "legendType": "scroll",
        "legendOrientation": "top",
        "opacity": 0.5,
    }


def _heatmap(form: Form) -> dict[str, Any]:
    """A metric by two columns; a time column is cut by `grain`."""
    across = form.get("x") or form.time
    unit = form.get("unit")
    return {
        "viz_type": "heatmap_v2",
        "x_axis": across,
        "time_grain_sqla": form.get("grain", "PT1H"),
        "groupby": form.get("y"),
        "metric": _metrics(form)[0],
        "row_limit": form.get("limit", 10000),
        "sort_x_axis": "alpha_asc",
        "sort_y_axis": "alpha_desc",
        "xAxisLabelRotation": 0 if across == form.time else 30,
        "normalize_across": "heatmap",
        "legend_type": "continuous",
        "linear_color_scheme": form.get("palette", form.look["sequential"]),
        "border_color": {"r": 255, "g": 255, "b": 255, "a": 1},
        # Over time there are too many cells for a border around each.
        "border_width": 0 if across == form.time else 1,
        # Every name of a column is written; of times as many as fit.
        "xscale_interval": -1 if across == form.time else 1,
        "yscale_interval": 1,
        "left_margin": "auto",
        "bottom_margin": "auto" if across == form.time else 50,
        "value_bounds": form.get("scale", [None, None]),
        "y_axis_format": form.get("format", "SMART_NUMBER"),
        "x_axis_time_format": "smart_date",
        "show_legend": True,
        "show_percentage": False,
        "show_values": form.get("show") == "values",
        "x_axis_title": "",
        "y_axis_title": unit or "",
    }


def _table(form: Form) -> dict[str, Any]:
    """Groups with their metrics, or (`columns`) rows as they are."""
    formats = form.get("format", {})
    shared = {
        "viz_type": "table",
        "row_limit": form.get("limit", 50),
        "server_page_length": 10,
        "order_desc": True,
        "table_timestamp_format": "%Y-%m-%d %H:%M",
        "show_cell_bars": True,
        "color_pn": False,
        "allow_render_html": False,
        "include_search": False,
        "page_length": form.get("rows", 0),
        "column_config": {name: {"d3NumberFormat": told} for name, told in formats.items()},
        "conditional_formatting": [
            {"column": metric, "operator": ">", "targetValue": value, "colorScheme": form.look["alarm_colour"]}
            for metric, value in form.get("high_is", {}).items()
        ],
    }
    if form.get("columns"):
        order = [f'["{name}", {"true" if up else "false"}]' for name, up in form.get("sort", {}).items()]
        return {
            **shared,
            "query_mode": "raw",
            "all_columns": list(form.get("columns")),
            "order_by_cols": order,
            "metrics": [],
            "groupby": [],
        }
    return {
        **shared,
        "query_mode": "aggregate",
        "groupby": _by(form),
        "metrics": _metrics(form),
        "all_columns": [],
        "order_by_cols": [],
        "time_grain_sqla": form.get("grain", "P1D"),
        "temporal_columns_lookup": {form.time: True} if form.time else {},
        "timeseries_limit_metric": form.order or _metrics(form)[0],
        "percent_metrics": list(form.get("percent", [])),
    }


def _pie(form: Form) -> dict[str, Any]:
    """Shares of a whole: few of them, as a ring, with their share written."""
    return {
        "viz_type": "pie",
        "groupby": _by(form),
        "metric": _metrics(form)[0],
        "row_limit": form.get("limit", 12),
        "sort_by_metric": True,
        "number_format": form.get("format", "SMART_NUMBER"),
        "date_format": "smart_date",
        "label_type": "key_percent",
        "show_labels": True,
        "labels_outside": True,
        "label_line": True,
        "show_labels_threshold": 2,
        "donut": True,
        "innerRadius": 45,
        "outerRadius": 70,
        "show_legend": False,
        "legendType": "scroll",
        "legendOrientation": "top",
    }


def _treemap(form: Form) -> dict[str, Any]:
    return {
        "viz_type": "treemap_v2",
        "groupby": _by(form),
        "metric": _metrics(form)[0],
        "row_limit": form.get("limit", 100),
        "number_format": form.get("format", "SMART_NUMBER"),
        "date_format": "smart_date",
        "label_type": "key_value",
        "show_labels": True,
        "show_upper_labels": True,
    }


def _pivot(form: Form) -> dict[str, Any]:
    """Groups down, the column `x` across, a metric in each cell."""
    return {
        "viz_type": "pivot_table_v2",
        "groupbyRows": _by(form),
        "groupbyColumns": [form.get("x")] if form.get("x") else [],
        "time_grain_sqla": form.get("grain", "P1D"),
        "temporal_columns_lookup": {form.time: True} if form.time else {},
        "metrics": _metrics(form),
        "metricsLayout": "COLUMNS",
        "row_limit": form.get("limit", 1000),
        "order_desc": True,
        "aggregateFunction": "Sum",
        "valueFormat": form.get("format", "SMART_NUMBER"),
        "date_format": "%Y-%m-%d",
        "rowOrder": "key_a_to_z",
        "colOrder": "key_a_to_z",
        "rowSubTotals": False,
        "colSubTotals": False,
    }


KINDS: Final[Mapping[str, Callable[[Form], dict[str, Any]]]] = {
    "number": _number,
    "line": _line,
    "area": _area,
    "bar": _bar,
    "mixed": _mixed,
    "heatmap": _heatmap,
    "table": _table,
    "pie": _pie,
    "treemap": _treemap,
    "pivot": _pivot,
}
