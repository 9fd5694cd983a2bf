"""Lookups: what is shipped, and what a row must be."""

from __future__ import annotations

from pathlib import Path

import pytest

from lake.catalogue import load_catalogue
from lake.errors import DefinitionError, QueryError
from lake.lookups import load_lookups, read_rows
from lake.reference import facts_markdown

ROWS = {
    "hardware": 26, "prices": 25, "carbon": 213, "models": 0, "sites": 0, "rounds": 0, "roster": 0, "bounds": 0,
    "aliases": 0, "rates": 0,
    "metrics": len(load_catalogue().metrics),
}  # fmt: skip
MODELS = {
    "model", "model_version", "family", "architecture", "parameters", "vocabulary", "layers", "weight_bytes",
    "precision", "quantisation", "engine", "engine_version", "parallelism", "training_data", "parent_version",
    "weights_digest", "valid_from", "valid_to",
}  # fmt: skip

HEADER = "site,cluster,region,country,pue,valid_from,valid_to\n"
REFUSED = [
    ("a,b,,DEU,1.2\n", 2, "5 cells for 7 columns"),
    ("a,,,DEU,1.2,,\n", 2, "field cluster: a key can't be empty"),
    ("a,b,,DEU,much,,\n", 2, "field pue: 'much' is not a decimal"),
    ("a,b,,DEU,NaN,,\n", 2, "field pue: 'NaN' is not a decimal"),
    ("a,b,,DEU,1,2026-11-09,\n", 2, "field valid_from: '2026-11-09' is not a timestamp"),
    ("a,b,,DEU,1,,\na,b,,FRA,1,,\n", 3, "is there already, on line 2"),
    ('a,"b,,DEU,1,,\n', 2, "is not CSV"),
]


def test_shipped_rows() -> None:
    lookups = load_lookups()
    assert {name: len(lookup.rows) for name, lookup in lookups.items()} == ROWS
    for lookup in lookups.values():
        assert lookup.description
        assert all(column.description for column in lookup.columns)
        assert all(len(row) == len(lookup.columns) for row in lookup.rows)


def test_models_and_rounds_have_their_columns() -> None:
    lookups = load_lookups()
    assert {column.name for column in lookups["models"].columns} == MODELS
    assert lookups["models"].temporal
    rounds = [column.name for column in lookups["rounds"].columns]
    assert rounds == ["run", "round", "window_start", "window_end", "interval_s", "expected_rows", "received_rows"]
    assert not lookups["rounds"].temporal


def test_prices_name_hardware_and_hold_from_the_day_they_were_read() -> None:
    lookups = load_lookups()
    known = {row[0] for row in lookups["hardware"].rows}
    names = [column.name for column in lookups["prices"].columns]
    for row in lookups["prices"].rows:
        assert row[0] in known
        assert str(row[names.index("valid_from")]).startswith("2026-")
    assert lookups["prices"].column("usd_per_gpu_hour").unit == "{USD}/h"


def test_the_catalogue_is_a_lookup() -> None:
    lookup = load_lookups()["metrics"]
    names = [column.name for column in lookup.columns]
    power = dict(zip(names, next(row for row in lookup.rows if row[0] == "gpu.power"), strict=True))
    assert (power["unit"], power["valid_min"], power["valid_max"], power["labels"]) == ("W", "0", "2500", "uuid")
    frequency = next(row for row in lookup.rows if row[0] == "cpu.frequency")
    assert dict(zip(names, frequency, strict=True))["valid_max"] == "10000000000"


def test_an_unknown_column_proposes_the_nearest() -> None:
    with pytest.raises(QueryError, match=r"lookup sites has no column 'regoin'\. Did you mean 'region'\?"):
        load_lookups()["sites"].column("regoin")


def test_a_users_rows_are_read(tmp_path: Path) -> None:
    path = tmp_path / "sites.csv"
    path.write_text(HEADER + "a,b,,DEU,1.2,,2026-01-01T00:00:00Z\na,b,,DEU,1.1,2026-01-01T00:00:00Z,\n")
    first, second = read_rows(load_lookups()["sites"], path)
    assert first == ("a", "b", None, "DEU", "1.2", None, "2026-01-01T00:00:00Z")
    assert second[5] == first[6]


@pytest.mark.parametrize("text, line, said", REFUSED)
def test_refused_rows_name_file_and_line(tmp_path: Path, text: str, line: int, said: str) -> None:
    path = tmp_path / "sites.csv"
    path.write_text(HEADER + text)
    with pytest.raises(DefinitionError) as caught:
        read_rows(load_lookups()["sites"], path)
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert said in str(caught.value)


def test_a_wrong_header_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sites.csv"
    path.write_text("site,region\n")
    with pytest.raises(DefinitionError, match=r"sites\.csv:1: wrong header\. It must be: site,cluster,region"):
        read_rows(load_lookups()["sites"], path)


def test_unreadable_rows_are_refused(tmp_path: Path) -> None:
    sites = load_lookups()["sites"]
    with pytest.raises(DefinitionError, match=r"sites\.csv: can't be read"):
        read_rows(sites, tmp_path / "sites.csv")
    (tmp_path / "sites.csv").write_bytes(HEADER.encode() + b"\xff,b,,DEU,1,,\n")
    with pytest.raises(DefinitionError, match=r"sites\.csv: is not UTF-8"):
        read_rows(sites, tmp_path / "sites.csv")


def test_the_page_names_every_column() -> None:
    page = facts_markdown()
    assert page == facts_markdown()
    for name, lookup in load_lookups().items():
        assert f"## Lookup `{name}`" in page
        assert all(f"| `{column.name}` |" in page for column in lookup.columns)
