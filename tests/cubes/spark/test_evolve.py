"""A changed definition is built by the engine of the settings too, and cells that have aged stay so under either."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from ageing import AGES, RAW, TEXT, ageing, send
from cubeoracle import small_cube
from lifelake import Life

from cubes.build import build, refresh
from cubes.plan.evolve import evolve
from cubes.plan.versions import old_versions
from cubes.spark import build as spark_build
from cubes.spark import write as spark_write
from cubes.spark.session import spark_session
from cubes.verify import verify
from lake.settings import Settings

pytestmark = [pytest.mark.spark, pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]


@pytest.fixture(scope="module")
def aged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    """A lake whose old segments tell no device, and whose rows are all there."""
    life = ageing(tmp_path_factory.mktemp("aged"), rules=RAW)
    assert len(life.retire()) == 5
    yield life
    spark_session(life.settings).stop()


def engines(life: Life, folder: Path) -> list[Settings]:
    """Two copies of the lake, one for each engine."""
    found = []
    for engine in ("duckdb", "spark"):
        shutil.copytree(life.settings.lake, folder / engine)
        settings = replace(life.settings, memory_mib=1024, spark_master="local[2]", engine=engine)
        found.append(replace(settings, lake=folder / engine))
    return found


@pytest.mark.parametrize("more", ["", "  deviations: {variance: interval_s}\n"], ids=["cells", "cells and rows"])
def test_a_changed_definition_is_built_by_the_engine_of_the_settings(
    aged: Life, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: str
) -> None:
    text = TEXT.replace("grains: [1h, 1d, 1w]", "grains: [1h, 1d]").replace(", 1w]", "]") + more
    changed = text.replace("[[site, device, metric], [metric]]", "[[site, device, metric], [host, metric], [metric]]")
    cube = small_cube(tmp_path, changed + AGES)
    ran: list[str] = []
    for module, name in ((spark_write, "spark_writes"), (spark_build, "spark_cells")):
        real = getattr(module, name)
        monkeypatch.setattr(
            module, name, lambda *given, real=real, name=name, **kw: (ran.append(name), real(*given, **kw))[1]
        )
    reports = []
    for settings in engines(aged, tmp_path):
        [old] = old_versions(settings.lake, cube)
        result = evolve(settings, aged.duck, cube, old)
        assert result is not None
        assert (result.rows > 0) == bool(more)
        assert result.cells == sum(count for _, cuboids in result.cuboid_rows for _, count in cuboids)
        reports.append(verify(settings, aged.duck, cube))
    assert ran == (["spark_cells"] if more else []) + ["spark_writes"], "Spark where it is set, and only there"
    assert all(report.holds for report in reports), reports
    assert reports[0].cells > 50
    assert reports[0].digests == reports[1].digests


def test_late_rows_of_an_aged_range_by_either_engine(aged: Life, tmp_path: Path) -> None:
    reports = []
    for settings in engines(aged, tmp_path):
        late = replace_settings(aged, settings)
        send(late, (1, 50, 400), 6, seed=11)
        late.gate()
        assert build(settings, aged.duck, aged.cube).kind == "build"
        assert refresh(settings, aged.duck, aged.cube, [aged.day(50)]).kind == "refresh"
        reports.append(verify(settings, aged.duck, aged.cube))
    assert all(report.holds for report in reports), reports
    assert reports[0].digests == reports[1].digests


def replace_settings(life: Life, settings: Settings) -> Life:
    """The same life in another lake."""
    other = Life.__new__(Life)
    vars(other).update(vars(life))
    other.settings, other.sent = settings, list(life.sent)
    return other
