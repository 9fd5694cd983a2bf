from __future__ import annotations

from pathlib import Path

import pytest
from cubeoracle import TEXT

from cubes.load import load_cubes
from cubes.model import Cube
from lake.errors import DefinitionError


def load(tmp_path: Path, text: str) -> Cube:
    (tmp_path / "small.yaml").write_text(text)
    return load_cubes(tmp_path)["small"]


def test_the_shipped_cubes() -> None:
    cubes = load_cubes()
    assert {name: cube.fact for name, cube in cubes.items()} == {
        "infrastructure": "samples", "serving": "requests", "evaluations": "evaluations", "events": "events",
        "training": "samples", "cost": "samples", "energy": "samples",
    }  # fmt: skip
    for cube in cubes.values():
        assert 3 <= len(cube.cuboids) <= 9
        assert cube.cuboids[-1] == cube.base
        assert cube.grains[-1] == "1d"
        assert dict(cube.keep).keys() == set(cube.grains)
        assert cube.fact != "samples" or all("metric" in cube.kept(cuboid) for cuboid in cube.cuboids)


def test_a_definition_becomes_a_cube(tmp_path: Path) -> None:
    cube = load(tmp_path, TEXT + "keep: {5m: 4w, 1d: 2y}\nbudget: {cuboids: 5}\ndescription: Small\n")
    assert cube.dimensions == ("site", "host", "metric")
    assert cube.cuboids == (0b100, 0b101, 0b110, 0b111)
    assert cube.mask(["metric", "site"]) == 0b101
    assert cube.kept(0b110) == ("host", "metric")
    assert cube.keep == (("5m", 28), ("1d", 732))
    assert [state.name for state in cube.states] == [
        "count_value", "max_value", "min_value", "sum_interval_s", "sum_value", "weight_value", "weighted_value",
        "where_high",
    ]  # fmt: skip
    assert cube.sketch("value", "1h", 0b101) == cube.sketches[0]
    assert cube.sketch("value", "5m", 0b101) is None
    assert cube.sketch("value", "1h", 0b110) is None


def test_dimensions_age_out_in_order_and_no_later_than_what_they_are_looked_up_by(tmp_path: Path) -> None:
    cube = load(tmp_path, TEXT + "age_out: {site: 1y, host: 90d}\n")
    assert cube.age_out == (("host", 90), ("site", 366))
    counted = "cube: small\nfact: requests\ngrains: [1d]\ndimensions: [site, hardware]\nmeasures: {n: count}\n"
    with pytest.raises(DefinitionError, match="'vendor' is looked up by 'hardware', so it can't be told for longer"):
        load(tmp_path, counted + "joins: {hardware: [vendor]}\nage_out: {hardware: 90d, vendor: 91d}\n")
    assert load(tmp_path, counted + "joins: {hardware: [vendor]}\nage_out: {vendor: 90d}\n").age_out
    with pytest.raises(DefinitionError, match="no dimension would be left"):
        load(tmp_path, counted + "age_out: {hardware: 90d, site: 91d}\n")


def test_groups_expand(tmp_path: Path) -> None:
    groups = "groups:\n  - {mandatory: [metric], hierarchies: [[site, host]]}\n"
    text = TEXT.replace("cuboids: [[site, metric], [host, metric], [metric]]\n", groups)
    assert load(tmp_path, text).cuboids == (0b100, 0b101, 0b111)


def test_the_digest_names_what_changes_a_cell_and_nothing_else(tmp_path: Path) -> None:
    digest = load(tmp_path, TEXT).digest
    assert len(digest) == 12
    assert digest == load(tmp_path, TEXT + "keep: {5m: 1d}\ndescription: Other\n").digest
    assert digest == load(tmp_path, TEXT + "age_out: {host: 90d}\nbudget: {bytes_per_raw_byte: 2}\n").digest
    assert digest == load(tmp_path, TEXT.replace("total:", "sum_of_all:").replace("0.01", "0.02")).digest
    for old, new in (
        ("[5m, 1h, 1d]", "[1h, 1d]"),
        ("[site, host, metric]", "[host, site, metric]"),
        (", [metric]]", "]"),
        ("value > 1", "value > 2"),
        ("  total: {sum: value}\n", ""),
        ("without: [host]", "without: []"),
        ("cube: small", "where: site = 'eu'\ncube: small"),
    ):
        assert old in TEXT
        assert load(tmp_path, TEXT.replace(old, new)).digest != digest


def test_predicates_are_canonical(tmp_path: Path) -> None:
    one = load(tmp_path, TEXT.replace("value > 1", "value>1 and  site in ('eu')"))
    two = load(tmp_path, TEXT.replace("value > 1", "value > 1 AND site IN ('eu')"))
    assert one.digest == two.digest
    assert one.states[-1].predicate == "value > 1 AND site IN ('eu')"


@pytest.mark.parametrize(
    "old, new, line, message",
    [
        ("fact: samples", "fact: sample", 3, "no fact 'sample'. Did you mean 'samples'"),
        ("[5m, 1h, 1d]\ndim", "[5m, 2h]\ndim", 4, "'2h' is not a known value"),
        ("[5m, 1h, 1d]\ndim", "[1d, 1h]\ndim", 4, r"not in order. Write \[1h, 1d\]"),
        ("[site, host, metric]", "[site, hots, metric]", 5, "'hots' is unknown. Did you mean 'host'"),
        ("[site, host, metric]", "[site, host, metric, value]", 5, "'value' is no text dimension"),
        ("[site, host, metric]", "[site, host, site, metric]", 5, "'site' is there twice"),
        ("[[site, metric]", "[[sit, metric]", 6, "'sit' is no dimension of this cube. Did you mean 'site'"),
        ("[[site, metric]", "[[site]", 6, "mix values of different metrics"),
        ("{sum: value}", "{sum: valeu}", 9, "no column 'valeu'. Did you mean 'value'"),
        ("{sum: value}", "{sum: site}", 9, "type 'string' has no sum"),
        ("{sum: value}", "{summ: value}", 9, "Did you mean 'sum'"),
        ("{sum: value}", "{sum: value, min: value}", 9, "exactly one function"),
        ("{sum: value}", "{sum: value, grains: [1h]}", 9, "grains belongs to quantiles and distinct"),
        ("{sum: value}", "sums", 9, "alone is no measure"),
        ("total: {sum", "Total: {sum", 9, "Total"),
        ("value > 1", "valu > 1", 14, "no column 'valu'"),
        ("value > 1", "random() > 1", 14, "can't hold 'RANDOM"),
        ("value > 1", "value in (select 1)", 14, "can't hold"),
        ("value > 1", "value > (", 14, "not a predicate"),
        ("0.01", "0.001", 15, "least is 0.005416"),
        ("grains: [1h, 1d], w", "grains: [1m], w", 15, "'1m' is no grain of this cube"),
        ("grains: [1h, 1d], w", "grains: [1h], w", 15, "kept at the coarsest grains"),
        ("without: [host]", "without: [metric]", 15, "no cuboid keeps them"),
        ("cube: small", "budget: {cuboids: 3}\ncube: small", 7, "4 cuboids are over the budget of 3"),
        ("cube: small", "keep: {1h: 30d, 5m: 1y}\ncube: small", 2, "coarser grain is kept at least as long"),
        ("cube: small", "keep: {5m: long}\ncube: small", 2, "'long' is no length of time"),
        ("cube: small", "age_out: {hots: 90d}\ncube: small", 2, "'hots' is no dimension of this cube. Did you"),
        ("cube: small", "age_out: {host: long}\ncube: small", 2, "'long' is no length of time"),
        ("cube: small", "age_out: {metric: 90d}\ncube: small", 2, "would mix values of different metrics"),
        ("cube: small", "cube: serving", 2, "there is a cube 'serving' already"),
        ("cube: small", "cube: small\ncubiods: []", 3, "Did you mean 'cuboids'"),
    ],
)
def test_errors_name_file_line_and_correction(tmp_path: Path, old: str, new: str, line: int, message: str) -> None:
    assert old in TEXT
    with pytest.raises(DefinitionError, match=message) as caught:
        load(tmp_path, TEXT.replace(old, new, 1))
    assert str(caught.value).startswith(f"{tmp_path / 'small.yaml'}:{line}: ")


def test_a_group_that_explodes_or_binds_twice_is_refused(tmp_path: Path) -> None:
    for groups, message in (
        ("groups: [{max_dimensions: 3}]\nbudget: {cuboids: 4}\n", "more than 4 cuboids"),
        ("groups: [{mandatory: [metric], joints: [[metric, site]]}]\n", "'metric' is bound twice"),
        ("groups: [{mandatory: [metrics]}]\n", "Did you mean 'metric'"),
    ):
        with pytest.raises(DefinitionError, match=message):
            load(tmp_path, TEXT + groups)


def test_time_averages_need_an_interval(tmp_path: Path) -> None:
    text = "cube: small\nfact: requests\ngrains: [1d]\ndimensions: [model]\nmeasures:\n  x: {time_avg: e2e_ms}\n"
    with pytest.raises(DefinitionError, match="has no interval_s to weigh by"):
        load(tmp_path, text)


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="no such folder of cubes"):
        load_cubes(tmp_path / "absent")
