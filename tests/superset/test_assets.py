"""Dashboards as code: what their files say is checked against itself, the facts and the endpoint's tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
import yaml
from bundle import AssetError, Assets
from compare import differences, with_events

from cubes.serve.system_tables import SYSTEM

ASSETS = Assets()


def parsed(assets: Assets) -> dict[str, Any]:
    return {path: yaml.safe_load(text) for path, text in assets.contents().items()}


def test_every_uuid_is_one_of_its_own_and_links_hold() -> None:
    files = parsed(ASSETS)
    uuids = [told["uuid"] for told in files.values() if "uuid" in told]
    assert len(uuids) == len(set(uuids)) > 100
    assert all(told["dataset_uuid"] in uuids for path, told in files.items() if path.startswith("charts/"))
    assert all(told["database_uuid"] in uuids for path, told in files.items() if path.startswith("datasets/"))


def test_the_bundle_is_the_same_each_time() -> None:
    assert ASSETS.contents() == Assets().contents()


def test_every_number_says_what_it_means() -> None:
    for name, dataset in ASSETS.datasets.items():
        for metric in dataset["metrics"]:
            assert len(metric["description"]) > 10, (name, metric["metric_name"])
    for name, chart in ASSETS.charts.items():
        assert len(chart.exported()["description"]) > 10, name


def test_axes_bear_units() -> None:
    """Charts over time tell their unit beside the axis, in their title's brackets, or by a format with a sign."""
    for name, chart in ASSETS.charts.items():
        if chart.kind in ("line", "area", "bar") and not chart.told_source.get("x"):
            signed = str(chart.told_source.get("format", "")).startswith("$")
            assert chart.told_source.get("unit") or "[" in chart.title or signed, name


def test_tables_of_the_endpoint_have_the_columns_that_datasets_name() -> None:
    known = {table.name: {column.name for column in table.columns} for table in SYSTEM.values()}
    seen = 0
    for name, dataset in ASSETS.datasets.items():
        if dataset["schema"] == "fleet" and dataset["sql"] is None and dataset["table_name"] in known:
            columns = {column["column_name"] for column in dataset["columns"]}
            assert columns <= known[dataset["table_name"]], name
            seen += 1
    assert seen > 5


def test_personal_columns_are_no_group() -> None:
    for dataset in ASSETS.datasets.values():
        for column in dataset["columns"]:
            assert not (column["groupby"] and column["column_name"].endswith("_hash")), column


def test_an_export_that_is_the_source_has_no_differences() -> None:
    assert list(differences(ASSETS, list(ASSETS.contents().items()))) == []


def test_a_change_by_hand_is_told() -> None:
    files = parsed(ASSETS)
    files["charts/serving_requests.yaml"]["params"]["metric"] = "failed"
    del files["charts/serving_tpot.yaml"]
    found = list(differences(ASSETS, [(name, yaml.safe_dump(told)) for name, told in files.items()]))
    assert found == [
        'charts/serving_requests.yaml: params.metric is "failed", the source says "requests"',
        "charts/serving_tpot.yaml: Superset has no such chart",
    ]


def test_annotations_name_the_chart_by_its_number() -> None:
    chart = ASSETS.charts["serving/traffic"]
    ids = {one.uuid: number for number, one in enumerate(ASSETS.charts.values(), 100)}
    [layer] = with_events({}, ASSETS, chart, ids)["annotation_layers"]
    assert layer["value"] == ids[ASSETS.charts["annotations/deploys"].uuid]
    context = ASSETS.charts["annotations/deploys"].query_context
    assert context is not None
    assert context["queries"][0]["columns"] == ["ts", "text"]


def _change(folder: Path, path: str, change: Callable[[dict[str, Any]], None]) -> Assets:
    copytree(ASSETS.folder, folder / "assets")
    file = folder / "assets" / path
    told = yaml.safe_load(file.read_text())
    change(told)
    file.write_text(yaml.safe_dump(told))
    return Assets(folder=folder / "assets")


SERVING = "dashboards/serving.yaml"


@pytest.mark.parametrize(
    "path, change, message",
    [
        (SERVING, lambda told: told["charts"]["ttft"].update(kind="gauge"), "ttft: kind 'gauge' is none of number"),
        (SERVING, lambda told: told["charts"]["ttft"].update(color="red"), "ttft: unknown color"),
        (SERVING, lambda told: told["charts"]["ttft"].update(metric="nope"), "no metric 'nope'"),
        (SERVING, lambda told: told["charts"]["ttft"].update(by=["nope"]), "no column 'nope'"),
        (SERVING, lambda told: told["charts"]["ttft"].update(dataset="nope"), "no dataset 'nope'"),
        (SERVING, lambda told: told["charts"]["ttft"].pop("description"), "'description' is missing"),
        (SERVING, lambda told: told["charts"]["ttft"].update(annotations=["nope"]), "look.yaml has no 'nope'"),
        (SERVING, lambda told: told.update(filters=["nope"]), "look.yaml has no filter 'nope'"),
        (SERVING, lambda told: told["rows"].pop(), "must stand in exactly one row"),
        (SERVING, lambda told: told["rows"].append(["ttft"]), "must stand in exactly one row"),
        (SERVING, lambda told: told["rows"].append(["nope"]), "no chart 'nope'"),
        (SERVING, lambda told: told["rows"].append([{"ttft": 13}]), "don't fill 12 columns"),
        (SERVING, lambda told: told.update(dashboard="other"), "is not the file's name"),
        ("datasets/requests.yaml", lambda told: told.update(fact="nope"), "there is no fact 'nope'"),
        ("datasets/requests.yaml", lambda told: told.update(dataset="other"), "not the file's name 'requests'"),
        ("datasets/requests.yaml", lambda told: told["metrics"]["ok"].pop("description"), "metrics.ok: a metric needs"),
    ],
)
def test_a_mistake_is_told_with_file_and_field(
    path: str, change: Callable[[dict[str, Any]], None], message: str, tmp_path: Path
) -> None:
    with pytest.raises(AssetError, match=r"(?s).+") as error:
        _change(tmp_path, path, change).contents()
    assert message in str(error.value)
    assert path.split("/")[1] in str(error.value) or "look.yaml" in str(error.value)


def test_broken_yaml_is_told_with_its_file(tmp_path: Path) -> None:
    copytree(ASSETS.folder, tmp_path / "assets")
    (tmp_path / "assets" / SERVING).write_text("charts: [")
    with pytest.raises(AssetError, match=r"serving\.yaml"):
        Assets(folder=tmp_path / "assets").contents()
