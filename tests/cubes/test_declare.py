"""CREATE CUBE: the same definition as its YAML, whatever is in it, and errors that name line and correction."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from cubes.declare import read_statements
from cubes.load import SHIPPED, load_cubes, read_cube
from cubes.model import Cube
from cubes.spec import CubeSpec
from cubes.spell import to_sql, to_yaml
from lake.documents import read_document
from lake.errors import DefinitionError
from lake.facts import load_facts

FACTS = load_facts()
SQL = """
-- Calls, as SQL.
CREATE CUBE calls COMMENT 'It''s calls' AS
SELECT site, service, hardware, model, model_version,
    hardware.vendor, hardware.memory_gib AS memory,
    band(prompt_tokens, 0, 128, 1024.50) AS prompt_size, band(models.parameters, 7000000000) AS scale,
    count(*) AS requests, /* all of
    them */ count(*) FILTER (WHERE status <> 'ok' AND (site IS NOT NULL)) AS errors,
    count(user_hash) AS named,
    sum(output_tokens) AS tokens_out WITH (description = 'Tokens, written'),
    quantiles(e2e_ms) AS latency WITH (relative_error = 0.02, grains = (1d, 1w), without = (hardware))
FROM requests LEFT JOIN hardware JOIN models
WHERE environment = 'prod' OR environment = ')'
GROUP BY ALL, GROUPING SETS ((service), (site, vendor), ()), LATTICE (MANDATORY (service) JOINT (site, vendor) MOST 4)
PARTITION BY 5m, 1d, 1w STARTING sunday
KEEP 5m FOR 30d, 1w FOR 10y
BUDGET (cuboids = 300);
"""
YAML = """
cube: calls
description: It's calls
fact: requests
grains: [5m, 1d, 1w]
week_starts: sunday
dimensions: [site, service, hardware, model, model_version]
joins: {hardware: {vendor: vendor, memory: memory_gib}}
bands:
  prompt_size: {column: prompt_tokens, edges: [0, 128, 1024.5]}
  scale: {column: models.parameters, edges: [7000000000]}
where: environment = 'prod' OR environment = ')'
cuboids: [[service], [site, vendor], []]
groups: [{mandatory: [service], joints: [[site, vendor]], max_dimensions: 4}]
measures:
  requests: count
  errors: {count: {where: "status <> 'ok' AND (site IS NOT NULL)"}}
  named: {count: user_hash}
  tokens_out: {sum: output_tokens, description: "Tokens, written"}
  latency: {quantiles: e2e_ms, relative_error: 0.02, grains: [1d, 1w], without: [hardware]}
keep: {5m: 30d, 1w: 10y}
budget: {cuboids: 300}
"""


def spec_of(folder: Path, text: str, suffix: str) -> CubeSpec:
    path = folder / f"one.{suffix}"
    path.write_text(text)
    [document] = [read_document(path)] if suffix == "yaml" else read_statements(path)
    return document.validate(CubeSpec)


def cube_of(folder: Path, text: str, suffix: str) -> Cube:
    path = folder / f"one.{suffix}"
    path.write_text(text)
    [document] = [read_document(path)] if suffix == "yaml" else read_statements(path)
    return read_cube(document, FACTS)


def test_sql_and_yaml_are_the_same_definition(tmp_path: Path) -> None:
    assert spec_of(tmp_path, SQL, "sql") == spec_of(tmp_path, YAML, "yaml")
    assert cube_of(tmp_path, SQL, "sql") == cube_of(tmp_path, YAML, "yaml")


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_shipped_cubes_are_the_same_in_sql(path: Path, tmp_path: Path) -> None:
    text = to_sql(read_document(path).validate(CubeSpec))
    assert cube_of(tmp_path, text, "sql") == load_cubes()[path.stem]


TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=30)
DIMENSIONS = ("site", "cluster", "service", "hardware", "model", "model_version", "status", "tenant")


def some(values: tuple[str, ...], **limits: int) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(values), unique=True, **limits)


def measures(draw: st.DrawFn, grains: list[str]) -> dict[str, Any]:
    """A count, and some of the other measures."""
    predicates = ["status <> 'ok'", "site IN ('(', ')')", "NOT (a = 'GROUP')"]
    found = {
        "bad": {"count": {"where": draw(st.sampled_from(predicates))}},
        "total": {"sum": "output_tokens", "description": draw(TEXTS)},
        "spread": {
            "quantiles": "e2e_ms",
            "relative_error": draw(st.decimals("0.006", "0.9", places=4)),
            "grains": draw(some(tuple(grains))),
            "without": draw(some(DIMENSIONS)),
        },
        "share": {"ratio": {"of": "bad", "over": "n"}},
        "people": {"distinct": "user_hash", "exact_to": draw(st.integers(100, 1000))},
    }
    count = draw(st.sampled_from(["count", {"count": "*"}, {"count": "tenant", "description": "x"}]))
    return {"n": count, **{name: one for name, one in found.items() if draw(st.booleans())}}


def groups(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Up to two aggregation groups."""
    group = {
        "include": draw(some(DIMENSIONS)),
        "mandatory": draw(some(DIMENSIONS)),
        "hierarchies": draw(st.lists(some(DIMENSIONS, min_size=1), max_size=2)),
        "joints": draw(st.lists(some(DIMENSIONS, min_size=1), max_size=2)),
        "max_dimensions": draw(st.integers(0, 9)),
    }
    found: list[list[dict[str, Any]]] = [[], [group], [{}, group]]
    return draw(st.sampled_from(found))


@st.composite
def definitions(draw: st.DrawFn) -> dict[str, Any]:
    """A definition with anything that its form allows; its meaning may be wrong."""
    grains = draw(some(("5s", "1m", "15m", "1h", "1d", "1w", "1mo"), min_size=1))
    edges = draw(st.lists(st.integers(-(10**12), 10**12) | st.decimals(-1000, 1000, places=3), min_size=1, max_size=5))
    joins: list[Any] = [{}, {"hardware": {"vendor": "vendor", "m": "tdp_w"}, "sites": {"r": "pue"}}]
    bands = [
        {},
        *({"from": {"column": column, "edges": edges}} for column in ("models.parameters", "labels.max-tokens")),
    ]
    wanted = {
        "description": draw(TEXTS),
        "week_starts": draw(st.sampled_from(["monday", "friday"])),
        "joins": draw(st.sampled_from(joins)),
        "bands": draw(st.sampled_from(bands)),
        "where": draw(st.sampled_from(["", "site = 'GROUP BY'", "tenant IS NULL OR (a = 1)"])),
        "cuboids": draw(st.lists(some(DIMENSIONS), max_size=3)),
        "groups": groups(draw),
        "keep": {grain: draw(st.sampled_from(["3d", "10y"])) for grain in draw(some(tuple(grains)))},
        "age_out": {name: draw(st.sampled_from(["90d", "1y"])) for name in draw(some(DIMENSIONS, max_size=2))},
        "budget": draw(st.sampled_from([{}, {"cuboids": 9, "bytes_per_raw_byte": Decimal("0.25"), "from_mib": 8}])),
    }
    fields = {name: value for name, value in wanted.items() if draw(st.booleans())}
    dimensions = draw(some(DIMENSIONS, min_size=1))
    own = {"cube": "random", "fact": "requests", "grains": grains, "dimensions": dimensions}
    return {**own, "measures": measures(draw, grains), **fields}


@given(value=definitions())
@examples(max_examples=300)
def test_yaml_to_sql_to_yaml_is_the_identity(tmp_path_factory: pytest.TempPathFactory, value: dict[str, Any]) -> None:
    folder = tmp_path_factory.getbasetemp()
    spec = CubeSpec.model_validate(value)
    by_yaml = spec_of(folder, to_yaml(spec), "yaml")
    assert by_yaml.model_dump() == spec.model_dump()
    by_sql = spec_of(folder, to_sql(by_yaml), "sql")
    assert by_sql.model_dump() == spec.model_dump()
    assert [*by_sql.measures] == [*spec.measures]
    assert to_yaml(by_sql) == to_yaml(spec)
    assert to_sql(by_sql) == to_sql(spec)


@pytest.mark.parametrize(
    "old, new, line, message",
    [
        ("CREATE CUBE calls", "CREATE TABLE calls", 3, "CUBE is expected, not 'TABLE'"),
        ("FROM requests", "FROM request", 12, "no fact 'request'. Did you mean 'requests'"),
        ("SELECT site,", "SELECT sites,", 4, "'sites' is unknown. Did you mean 'site'"),
        ("hardware.vendor,", "hardware.vendors,", 5, "no such column 'vendors'. Did you mean 'vendor'"),
        ("LEFT JOIN hardware", "", 5, "lookup hardware is not joined"),
        ("JOIN models", "JOIN models JOIN carbon", 12, "lookup carbon is joined and not used"),
        ("sum(output_tokens)", "summ(output_tokens)", 10, "no measure summ.*Did you mean 'sum'"),
        ("sum(output_tokens)", "sum(output_token)", 10, "no column 'output_token'. Did you mean"),
        ("count(user_hash)", "count(user_hash) FILTER (WHERE true)", 9, "only count.* takes a FILTER"),
        ("AS named", "AS requests", 9, "measure 'requests' is there twice"),
        ("'Tokens, written'", "'Tokens, written", 13, "a quote is not closed"),
        ("1d, 1w STARTING", "2d, 1w STARTING", 15, "'2d' is not a known value"),
        ("STARTING sunday", "STARTING sundae", 15, "Did you mean 'sunday'"),
        ("0, 128, 1024.50", "0, 128, 12.50", 6, "edges do not ascend"),
        ("GROUP BY ALL,", "GROUP BY site, service,", 14, "does not list the dimensions of SELECT"),
        ("cuboids = 300", "cuboid = 300", 17, "unknown field. Did you mean 'cuboids'"),
        (" = 300);", " = 300) x", 17, "';' is expected, not 'x'"),
        ("GROUP BY ALL, GROUPING SETS (", "GROUP BY ALL, GROUPING SETS ((sevice), ", 14, "Did you mean 'service'"),
    ],
)
def test_errors_name_the_line(tmp_path: Path, old: str, new: str, line: int, message: str) -> None:
    assert old in SQL
    with pytest.raises(DefinitionError, match=message) as caught:
        cube_of(tmp_path, SQL.replace(old, new, 1), "sql")
    assert str(caught.value).startswith(f"{tmp_path / 'one.sql'}:{line}: "), str(caught.value)


def test_a_folder_holds_both_forms(tmp_path: Path) -> None:
    (tmp_path / "a.sql").write_text(SQL + SQL.replace("CUBE calls", "CUBE again"))
    (tmp_path / "b.yaml").write_text(YAML.replace("cube: calls", "cube: third"))
    cubes = load_cubes(tmp_path)
    assert {"calls", "again", "third"} <= cubes.keys()
    assert cubes["calls"].digest == cubes["third"].digest
    (tmp_path / "c.yaml").write_text(YAML.replace("cube: calls", "cube: fourth").replace("128", "129"))
    with pytest.raises(DefinitionError, match=r"'prompt_size' is something else in cube (calls|again|third)"):
        load_cubes(tmp_path)
