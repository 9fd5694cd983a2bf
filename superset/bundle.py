"""Makes Superset's import bundle of the YAML in `assets/`: a database, datasets, charts and dashboards, linked by UUID.

A file of `datasets/` or `dashboards/` is one dataset or dashboard in a short form (docs/superset.md has every word);
what all charts share, such as colours and number formats, is in `look.yaml` and `forms.py`, so that a new chart is a
few lines. UUIDs follow from names: loading again replaces, and links keep working. Needs PyYAML only.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import yaml
from forms import Chart, Form, chart_form
from layout import position

HERE: Final = Path(__file__).parent
FACTS: Final = HERE.parent / "lake" / "declarations" / "facts"
DATABASE: Final = "fleetcube"
VERSION: Final = "1.0.0"
# Any UUID of our own: names below it are ours, and may be replaced or removed when they leave the source.
NAMESPACE: Final = uuid.UUID("5b7f3a52-9d3c-4f0a-8a57-6f1a2e0c9d11")
# What is ours bears it, so that only ours is removed when it leaves the source.
MARK: Final = f"urn:uuid:{NAMESPACE}"
_TYPES: Final = {
    "timestamp": "TIMESTAMP WITH TIME ZONE",
    "string": "TEXT",
    "boolean": "BOOLEAN",
    "integer": "BIGINT",
    "decimal": "NUMERIC",
    "duration": "NUMERIC",
    "interval": "NUMERIC",
    "number": "DOUBLE PRECISION",
    "labels": "TEXT",
    "counts": "TEXT",
}


# The same safe language, read by C where PyYAML was built with it.
_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class AssetError(ValueError):
    """A file of `assets/` that can't be what it says; the message names file and field."""


def name_uuid(kind: str, name: str) -> str:
    """The UUID of a database, dataset, chart or dashboard of ours."""
    return str(uuid.uuid5(NAMESPACE, f"{kind}/{name}"))


def read(path: Path) -> Any:
    """A YAML file. Errors: AssetError naming it."""
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER)
    except yaml.YAMLError as error:
        raise AssetError(f"{path}: {error}") from error


@dataclass
class Assets:
    """What the folder says, checked against itself."""

    folder: Path = HERE / "assets"
    facts: Path = FACTS
    uri: str = "postgresql+psycopg2://superset:XXXXXXXXXX@127.0.0.1:5433/fleet"

    @cached_property
    def look(self) -> dict[str, Any]:
        """Colours, formats and filters that all dashboards share."""
        found = read(self.folder / "look.yaml")
        assert isinstance(found, dict)
        return found

    @cached_property
    def tables(self) -> dict[str, Any]:
        """By name, datasets as they are written."""
        return {path.stem: read(path) for path in sorted((self.folder / "datasets").glob("*.yaml"))}

    @cached_property
    def datasets(self) -> dict[str, dict[str, Any]]:
        """By name, datasets in Superset's form."""
        return {name: self._dataset(name, told) for name, told in self.tables.items()}

    @cached_property
    def sources(self) -> dict[str, dict[str, Any]]:
        """By slug, dashboards as they are written."""
        found = {path.stem: read(path) for path in sorted((self.folder / "dashboards").glob("*.yaml"))}
        return dict(sorted(found.items(), key=lambda item: item[1].get("order", 0)))

    @cached_property
    def charts(self) -> dict[str, Chart]:
        """By `<dashboard>/<chart>`, every chart; those whose rows are annotations of others by `annotations/<name>`."""
        events = {name: _events(told) for name, told in self.look["annotations"].items()}
        told = {"annotations": events} | {slug: source["charts"] for slug, source in self.sources.items()}
        return {
            f"{slug}/{name}": self._chart(slug, name, one)
            for slug, charts in told.items()
            for name, one in charts.items()
        }

    @property
    def known(self) -> set[str]:
        """UUIDs of all that is ours."""
        ours = {name_uuid("dashboard", slug) for slug in self.sources}
        return ours | {one["uuid"] for one in self.datasets.values()} | {one.uuid for one in self.charts.values()}

    def contents(self) -> dict[str, str]:
        """The bundle: text by path. Errors: AssetError."""
        files: dict[str, Any] = {
            "metadata.yaml": {"version": VERSION, "type": "assets", "timestamp": "2026-01-01T00:00:00+00:00"},
            f"databases/{DATABASE}.yaml": self._database(),
        }
        files |= {f"datasets/{DATABASE}/{name}.yaml": told for name, told in self.datasets.items()}
        files |= {
            f"charts/{name.replace('/', '_')}.yaml": chart.exported() | {"external_url": MARK}
            for name, chart in self.charts.items()
        }
        files |= {f"dashboards/{slug}.yaml": self._dashboard(slug) for slug in self.sources}
        return {path: yaml.safe_dump(told, sort_keys=False, allow_unicode=True) for path, told in files.items()}

    def number(self, chart: str) -> int:
        """A number for a chart within the bundle; the import gives it another."""
        return 1 + list(self.charts).index(chart)

    def _database(self) -> dict[str, Any]:
        return {
            "database_name": DATABASE,
            "sqlalchemy_uri": self.uri,
            "cache_timeout": None,
            "expose_in_sqllab": True,
            "allow_run_async": False,
            "allow_ctas": False,
            "allow_cvas": False,
            "allow_dml": False,
            "allow_file_upload": False,
            "extra": {
                "metadata_params": {},
                "engine_params": {},
                "metadata_cache_timeout": {},
                "schemas_allowed_for_file_upload": [],
                "allows_virtual_table_explore": True,
                "cancel_query_on_windows_unload": True,
            },
            "impersonate_user": False,
            "uuid": name_uuid("database", DATABASE),
            "version": VERSION,
        }

    def _dataset(self, name: str, told: dict[str, Any]) -> dict[str, Any]:
        path = self.folder / "datasets" / f"{name}.yaml"
        if told.get("dataset") != name:
            raise AssetError(f"{path}: field 'dataset' is {told.get('dataset')!r}, not the file's name '{name}'")
        schema, _, table = str(told.get("table", "")).rpartition(".")
        columns = [*self._fact_columns(path, told.get("fact")), *map(_column, told.get("columns", {}).items())]
        return {
            "table_name": name if told.get("sql") else table,
            "main_dttm_col": told.get("time"),
            "currency_code_column": None,
            "description": told["description"],
            "default_endpoint": None,
            "offset": 0,
            "cache_timeout": None,
            "catalog": None,
            "schema": schema or "public",
            "sql": told.get("sql"),
            "params": None,
            "template_params": None,
            "filter_select_enabled": True,
            "fetch_values_predicate": None,
            "extra": None,
            "normalize_columns": False,
            "always_filter_main_dttm": False,
            "folders": None,
            "uuid": name_uuid("dataset", name),
            "metrics": [_metric(path, name, one) for name, one in told.get("metrics", {}).items()],
            "columns": columns,
            "version": VERSION,
            "external_url": MARK,
            "database_uuid": name_uuid("database", DATABASE),
        }

    def _fact_columns(self, path: Path, fact: str | None) -> list[dict[str, Any]]:
        """The columns that the fact declares, with their descriptions and units."""
        if fact is None:
            return []
        declared = self.facts / f"{fact}.yaml"
        if not declared.exists():
            raise AssetError(f"{path}: field 'fact': there is no fact '{fact}' ({declared})")
        columns = []
        for told in read(declared)["columns"]:
            unit = "" if told.get("unit", "1") == "1" else f" [{told['unit']}]"
            plain = told["role"] == "dimension" and told.get("sensitivity") != "personal"
            columns.append(
                _column(
                    (
                        told["name"],
                        {"type": told["type"], "description": told["description"] + unit, "group": plain},
                    )
                )
            )
        return columns

    def _chart(self, slug: str, name: str, told: dict[str, Any]) -> Chart:
        where = "look.yaml" if slug == "annotations" else f"dashboards/{slug}.yaml"
        where = f"{where}: {name}"
        dataset = self.datasets.get(told.get("dataset", ""))
        if dataset is None:
            raise AssetError(f"{where}: there is no dataset {told.get('dataset')!r} in datasets/")
        chart = Chart(
            name=f"{slug}/{name}",
            uuid=name_uuid("chart", f"{slug}/{name}"),
            dataset=told["dataset"],
            dataset_uuid=dataset["uuid"],
            told_source=told,
        )
        known = {metric["metric_name"] for metric in dataset["metrics"]}
        columns = {column["column_name"]: column for column in dataset["columns"]}
        chart.form = chart_form(
            Form(where, told, known, columns, dataset["main_dttm_col"], self.look, self._order(told)), AssetError
        )
        for event in chart.events:
            if event not in self.look["annotations"]:
                raise AssetError(f"{where}: annotations: look.yaml has no '{event}'")
        return chart

    def _order(self, told: Mapping[str, Any]) -> str | None:
        """The metric by which charts of the dataset are ordered, unless they say another."""
        found = self.tables[told["dataset"]].get("order")
        return None if found is None else str(found)

    def _dashboard(self, slug: str) -> dict[str, Any]:
        source = self.sources[slug]
        if source.get("dashboard") != slug:
            raise AssetError(f"dashboards/{slug}.yaml: field 'dashboard' is not the file's name")
        charts = {name: self.charts[f"{slug}/{name}"] for name in source["charts"]}
        numbers = {name: self.number(f"{slug}/{name}") for name in charts}
        look = self.look
        return {
            "dashboard_title": source["title"],
            "description": source["description"],
            "css": look["css"],
            "slug": slug,
            "certified_by": "",
            "certification_details": "",
            "published": True,
            "uuid": name_uuid("dashboard", slug),
            "position": position(slug, source, charts, numbers, AssetError),
            "metadata": {
                "color_scheme": look["palette"],
                "label_colors": look["label_colors"],
                "cross_filters_enabled": True,
                "refresh_frequency": source.get("refresh_s", 0),
                "timed_refresh_immune_slices": [],
                "expanded_slices": {},
                "filter_bar_orientation": "HORIZONTAL",
                "native_filter_configuration": [self._filter(slug, name, source) for name in source.get("filters", [])],
            },
            "version": VERSION,
            "external_url": MARK,
            "theme_uuid": None,
        }

    def _filter(self, slug: str, name: str, source: dict[str, Any]) -> dict[str, Any]:
        """A native filter: how it is asked is in look.yaml, what it starts with may be the dashboard's."""
        told = self.look["filters"].get(name)
        if told is None:
            raise AssetError(f"dashboards/{slug}.yaml: filters: look.yaml has no filter '{name}'")
        value = source["time_range"] if told["type"] == "filter_time" else None
        target: dict[str, Any] = {}
        if "column" in told:
            dataset = source.get("filter_dataset", told["dataset"])
            target = {"column": {"name": told["column"]}, "datasetUuid": self.datasets[dataset]["uuid"]}
        extra = {"time_range": value} if value else {}
        return {
            "id": f"NATIVE_FILTER-{slug}-{name}",
            "name": told["title"],
            "filterType": told["type"],
            "description": told["description"],
            "targets": [target],
            "controlValues": dict(told.get("control", {})),
            "defaultDataMask": {
                "extraFormData": extra,
                "filterState": {"value": value} if value else {},
                "ownState": {},
            },
            "cascadeParentIds": [],
            "scope": {"rootPath": ["ROOT_ID"], "excluded": []},
            "type": "NATIVE_FILTER",
        }


def _events(told: Mapping[str, Any]) -> dict[str, Any]:
    """The chart whose rows become annotations: a table that stands on no dashboard."""
    return {
        "kind": "table",
        "title": told["title"],
        "description": told["description"],
        "dataset": told["dataset"],
        "columns": [told["time"], told["text"]],
        "sort": {told["time"]: False},
        "where": told["where"],
        "limit": 500,
    }


def _column(item: tuple[str, dict[str, Any] | str]) -> dict[str, Any]:
    """A column; `name: type` is short for one that is only shown."""
    name, told = item
    if isinstance(told, str):
        told = {"type": told}
    kind = told.get("type", "string")
    return {
        "column_name": name,
        "verbose_name": told.get("title", "Time" if name == "ts" else name.replace("_", " ").capitalize()),
        "is_dttm": kind == "timestamp",
        "is_active": True,
        "type": _TYPES[kind],
        "advanced_data_type": None,
        "groupby": told.get("group", kind in ("string", "boolean")),
        "filterable": True,
        "expression": told.get("sql"),
        "description": told.get("description"),
        "python_date_format": None,
        "datetime_format": None,
        "extra": {},
    }


def _metric(path: Path, name: str, told: dict[str, Any]) -> dict[str, Any]:
    if not told.get("description") or not told.get("sql"):
        raise AssetError(f"{path}: metrics.{name}: a metric needs 'sql' and a 'description' of what the number means")
    return {
        "metric_name": name,
        "verbose_name": told.get("title", name),
        "metric_type": None,
        "expression": told["sql"],
        "description": " ".join(told["description"].split()),
        "d3format": told.get("format"),
        "currency": None,
        "extra": {},
        "warning_text": None,
    }
