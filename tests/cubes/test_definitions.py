"""What a definition may say: groups, filters, grains, derived dimensions, the schema for editors, the picture."""

from __future__ import annotations

import itertools
import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cubeoracle import TEXT
from jsonschema import Draft202012Validator

from cubes.lattice import draw
from cubes.load import SHIPPED, load_cubes
from cubes.model import Cube
from cubes.schema import cube_schema
from fleetcube.cli import cli
from lake.documents import read_document
from lake.errors import DefinitionError

ROOT = Path(__file__).parents[2]
CUBOIDS = "cuboids: [[site, metric], [host, metric], [metric]]\n"
WIDE = """
cube: wide
fact: requests
grains: [1h, 1d]
dimensions: [site, cluster, host, service, model, model_version, status]
groups:
  - mandatory: [service]
    hierarchies: [[site, cluster, host]]
    joints: [[model, model_version]]
    max_dimensions: 4
measures: {requests: count}
"""


def load(folder: Path, text: str, name: str = "small") -> Cube:
    (folder / f"{name}.yaml").write_text(text)
    return load_cubes(folder)[name]


def test_a_group_means_every_combination_that_its_rules_allow(tmp_path: Path) -> None:
    cube = load(tmp_path, WIDE, "wide")
    names = cube.dimensions
    allowed = set()
    for chosen in itertools.chain.from_iterable(itertools.combinations(names, n) for n in range(1, 5)):
        held = set(chosen)
        chain = ("cluster" not in held or "site" in held) and ("host" not in held or "cluster" in held)
        if "service" in held and chain and ("model" in held) == ("model_version" in held):
            allowed.add(chosen)
    assert {cube.kept(cuboid) for cuboid in cube.cuboids} == allowed | {names}


@pytest.mark.parametrize(
    "old, new, line, message",
    [
        ("mandatory: [service]", "mandatory: [servise]", 7, "field groups.0..mandatory: 'servise' is no dimension"),
        ("[[site, cluster, host]]", "[[site, clustre]]", 8, "Did you mean 'cluster'"),
        ("[[model, model_version]]", "[[model, site]]", 7, "'site' is bound twice"),
        ("max_dimensions: 4", "max_dimensions: -1", 10, "greater than or equal to 0"),
        ("max_dimensions", "max_dimension", 10, "unknown field. Did you mean 'max_dimensions'"),
        ("measures:", "budget: {cuboids: 5}\nmeasures:", 7, "more than 5 cuboids. Add mandatory"),
        ("measures:", "where: statu = 'ok'\nmeasures:", 11, "no column 'statu'. Did you mean 'status'"),
        ("measures:", "where: lower(status) = 'ok'\nmeasures:", 11, "can't hold 'LOWER"),
        ("[1h, 1d]", "[1h, 1w]", 4, "1w is made of days. Add 1d"),
        ("[1h, 1d]", "[1d, 1mo, 1w]", 4, r"not in order. Write \[1d, 1w, 1mo\]"),
        ("[1h, 1d]", "[1h, 1y]", 4, "'1y' is not a known value"),
        ("measures:", "week_starts: sunday\nmeasures:", 11, "there is no grain 1w"),
        ("measures:", "joins: {hardwares: [vendor]}\nmeasures:", 11, "no lookup 'hardwares'. Did you mean 'hardware'"),
        ("measures:", "joins: {hardware: [vendor]}\nmeasures:", 11, "hardware, a key of lookup hardware, is no dim"),
        ("measures:", "joins: {models: [famly]}\nmeasures:", 11, "no such column 'famly'. Did you mean 'family'"),
        ("measures:", "joins: {models: {status: family}}\nmeasures:", 11, "has a column 'status' already"),
        ("measures:", "joins: {models: [family], sites: {family: region}}\nmeasures:", 11, "'family' is there twice"),
        ("measures:", "bands: {b: {column: prompt_token, edges: [1]}}\nmeasures:", 11, "Did you mean 'prompt_tokens'"),
        ("measures:", "bands: {b: {column: prompt_tokens, edges: [2, 1]}}\nmeasures:", 11, "edges do not ascend"),
        ("measures:", "bands: {b: {column: prompt_tokens, edges: []}}\nmeasures:", 11, "at least 1 item"),
        ("measures:", "bands: {b: {column: models.family, edges: [1]}}\nmeasures:", 11, "no such column 'family'"),
        ("measures:", "bands: {b: {column: e2e_ms, edges: [0.0000000001]}}\nmeasures:", 11, "more than nine places"),
    ],
)
def test_errors_name_file_line_field_and_correction(
    tmp_path: Path, old: str, new: str, line: int, message: str
) -> None:
    assert old in WIDE
    with pytest.raises(DefinitionError, match=message) as caught:
        load(tmp_path, WIDE.replace(old, new, 1), "wide")
    assert str(caught.value).startswith(f"{tmp_path / 'wide.yaml'}:{line}: "), str(caught.value)


def test_slots_of_weeks_are_made_of_those_of_days(tmp_path: Path) -> None:
    text = TEXT.replace("grains: [5m, 1h, 1d]", "grains: [5m, 1h, 1d, 1w]").replace("grains: [1h, 1d]", "grains: [1w]")
    with pytest.raises(DefinitionError, match="slots at 1w are made of those of days"):
        load(tmp_path, text)


def test_derived_dimensions_change_the_digest_and_their_absence_does_not(tmp_path: Path) -> None:
    plain = load(tmp_path, TEXT).digest
    banded = [
        load(tmp_path, TEXT + f"bands: {{b: {{column: value, edges: [{edges}]}}}}\n") for edges in ("1", "2", "1.0")
    ]
    assert len({plain, banded[0].digest, banded[1].digest}) == 3
    assert banded[0].digest == banded[2].digest


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return float(value) if isinstance(value, Decimal) else value


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_shipped_cubes_fit_the_schema(path: Path) -> None:
    Draft202012Validator(cube_schema()).validate(_plain(read_document(path).value))


@pytest.mark.parametrize(
    "change",
    [{"grains": ["7m"]}, {"cubes": []}, {"measures": {"n": "sum"}}, {"joins": {"hardware": [1]}}, {"week_starts": "x"}],
)
def test_the_schema_refuses_what_the_loader_refuses(change: dict[str, Any]) -> None:
    value = _plain(read_document(SHIPPED / "serving.yaml").value)
    assert not Draft202012Validator(cube_schema()).is_valid({**value, **change})


def test_the_examples_of_the_page_load_and_mean_what_it_says(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "cubes.md").read_text()
    for kind, suffix in (("yaml", "yaml"), ("sql", "sql")):
        [text] = re.findall(rf"```{kind}\n(.*?)```", page, flags=re.S)
        (tmp_path / f"example.{suffix}").write_text(text)
    cubes = load_cubes(tmp_path)
    assert cubes["chat"].grains[-2:] == ("1w", "1mo")
    assert cubes["chat_sql"].dimensions[-4:] == ("vendor", "memory_gib", "family", "prompt_size")
    assert {one.name for one in cubes["chat"].derived} >= {"vendor", "architecture", "prompt_size", "answer_limit"}
    schema = json.loads((ROOT / "docs" / "cube.schema.json").read_text())
    Draft202012Validator(schema).validate(_plain(read_document(tmp_path / "example.yaml").value))


def test_the_picture_of_the_lattice(tmp_path: Path) -> None:
    cube = load(tmp_path, TEXT)
    cells = {"5m": {"7": 1200, "5": 30, "6": 20, "4": 4}, "1h": {"7": 100, "5": 9}}
    assert draw(cube, cells) == [
        "lattice: 4 of 8 cuboids; cells at 5m | 1h | 1d",
        "3 dimensions",
        "  1  site, host, metric (base): 1,200 | 100 | -",
        "2 dimensions",
        "  2  site, metric <- 1: 30 | 9 | -",
        "  3  host, metric <- 1: 20 | - | -",
        "1 dimension",
        "  4  metric <- 3: 4 | - | -",
    ]


def test_show_draws_or_spells_a_cube(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(TEXT)
    settings = ["--lake", str(tmp_path / "none")]
    own = {"FLEETCUBE_DEFINITIONS": str(tmp_path)}
    said = {}
    for form in ("picture", "yaml", "sql"):
        done = CliRunner().invoke(cli, ["cube", "show", "small", "--as", form, *settings], env=own)
        assert done.exit_code == 0, done.output
        said[form] = done.output
    assert "  1  site, host, metric (base): - | - | -" in said["picture"]
    for form in ("yaml", "sql"):
        other = tmp_path / form
        other.mkdir()
        (other / f"small.{form}").write_text(said[form])
        assert load_cubes(other)["small"] == load_cubes(tmp_path)["small"]
