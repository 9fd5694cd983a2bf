"""A build's cells by Spark: one task a chunk of days, one task a segment's file; the driver commits as ever.

A day is the unit of work, as no bucket up to a day spans two of them: a task reads its days' files with DuckDB, makes
all cells of them as the embedded engine does, and hands them on. Cells then meet by segment, where those of weeks and
months are merged, and each segment is written as one sorted file. Nothing is visible before the driver's one commit.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cubes.cells import work_cells
from cubes.compact import merged_sql
from cubes.expired import Expired
from cubes.model import Cube
from cubes.segments import table_of
from cubes.source import Source
from cubes.spark.session import spark_session
from lake.delta import DataFile
from lake.duck import Duck, connect, duck_type
from lake.settings import Settings
from lake.times import GRAINS

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH_ROWS: Final = 65_536
_FILES: Final = "file string"
_WORK: Final = "days string, relation string"


@dataclass(frozen=True)
class SparkCells:
    """Written files, not yet committed; `counts` are cells and slot rows by grain and cuboid (as text)."""

    files: list[DataFile]
    rows: int
    counts: dict[str, dict[str, int]]


@dataclass(frozen=True)
class _Job:
    """What a task must know; it travels to the workers."""

    settings: Settings
    cube: Cube
    number: int
    stats: tuple[str, ...]
    order: str
    gone: Expired


def spark_cells(
    settings: Settings,
    duck: Duck,
    source: Source,
    number: int,
    *,
    stats: Sequence[str],
    order: str,
    gone: Expired,
) -> SparkCells:
    """Make and write the cells of the source's rows, but for segments of which they are `gone`.

    The workers see the lake's folder at the same path. Errors: ConfigError when Spark can't start.
    """
    session = spark_session(settings)
    # Workers have working folders of their own.
    source = replace(source, snapshot=replace(source.snapshot, root=source.snapshot.root.resolve()))
    job = _Job(replace(settings, lake=settings.lake.resolve()), source.cube, number, tuple(stats), order, gone)
    days = list(source.days())
    if not days:
        return SparkCells([], 0, {})
    work = [
        (str(chunk[0]), source.relation(duck, chunk))
        for chunk in _spread(days, session.sparkContext.defaultParallelism)
    ]
    chunks = session.createDataFrame(work, _WORK).repartition(len(work), "days")
    cells = chunks.mapInArrow(_maker(job), _spark_schema(job.cube))
    told = cells.repartition("grain", "segment").mapInArrow(_writer(job), _FILES).collect()
    return _collected(job.cube, [json.loads(row["file"]) for row in told])


def _spread(days: Sequence[date], tasks: int) -> list[list[date]]:
    """Runs of days, about three for each slot of the cluster, so that an uneven day holds up little."""
    length = max(1, len(days) // (3 * tasks))
    return [list(days[start : start + length]) for start in range(0, len(days), length)]


def _maker(job: _Job) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def make(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        with task_engine(job.settings) as duck:
            for batch in batches:
                for relation in batch.column("relation").to_pylist():
                    with work_cells(duck, job.cube, relation) as work:
                        for grain, segment in [part for part in work.segments() if part not in job.gone.segments]:
                            yield from _batches(duck, job.cube, work.select(grain, segment, job.number))

    return make


def _writer(job: _Job) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def write(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        with task_engine(job.settings) as duck:
            _gather(duck, job.cube, batches)
            for grain, segment in duck.sql("SELECT DISTINCT grain, segment FROM fc_gathered ORDER BY ALL"):
                for told in _write(job, duck, grain, segment):
                    yield pa.RecordBatch.from_pydict({"file": [json.dumps(told)]})

    return write


def _write(job: _Job, duck: Duck, grain: str, segment: str) -> Iterator[dict[str, Any]]:
    ref = table_of(job.cube)
    of_segment = f"FROM fc_gathered WHERE grain = '{grain}' AND segment = '{segment}'"
    # A week or month has come in parts, from the tasks of its days.
    whole = f"SELECT * {of_segment}"
    cells = whole if GRAINS[grain].within_day else merged_sql(job.cube, f"({whole})")
    cells = job.gone.new_sql(job.cube, cells, grain, segment)
    files = duck.write(
        cells,
        job.settings.lake,
        ref,
        f"build-{job.number:08d}-spark",
        stats=job.stats,
        order=job.order,
        partition={"grain": grain, "segment": segment},
    )
    counts = dict(duck.sql(f"SELECT CAST(cuboid AS VARCHAR), count(*) FROM ({cells}) GROUP BY cuboid"))
    base = f"{of_segment} AND cuboid = {job.cube.base} AND sketch IS NULL"
    [(rows,)] = duck.sql(f"SELECT CAST(coalesce(sum(rows), 0) AS BIGINT) {base}")
    for file in files:
        yield {**asdict(file), "grain": grain, "counts": counts, "base_rows": rows}


def _collected(cube: Cube, told: Sequence[dict[str, Any]]) -> SparkCells:
    counts: dict[str, dict[str, int]] = {grain: {} for grain in cube.grains}
    for one in told:
        held = counts[one.pop("grain")]
        for cuboid, count in one.pop("counts").items():
            held[cuboid] = held.get(cuboid, 0) + count
    finest = [one.pop("base_rows") for one in told if one["partition"]["grain"] == cube.grains[0]]
    files = [DataFile(**{name: value for name, value in one.items() if name != "base_rows"}) for one in told]
    return SparkCells(sorted(files, key=lambda file: file.path), sum(finest), counts)


def _gather(duck: Duck, cube: Cube, batches: Iterable[pa.RecordBatch]) -> None:
    """The cells that came to this task in a work table, which spills to disk when memory is short."""
    import pyarrow as pa

    schema = table_of(cube).schema
    columns = ", ".join(f'"{column.name}" {duck_type(column.type)}' for column in schema)
    duck.execute(f"CREATE TEMP TABLE fc_gathered ({columns})")
    for batch in batches:
        if batch.num_rows:
            duck.register("fc_batch", pa.Table.from_batches([batch]))
            duck.execute("INSERT INTO fc_gathered BY NAME SELECT * FROM fc_batch")
            duck.unregister("fc_batch")


def _batches(duck: Duck, cube: Cube, select: str) -> Iterator[pa.RecordBatch]:
    schema = table_of(cube).schema
    columns = ", ".join(f'CAST("{column.name}" AS {duck_type(column.type)}) AS "{column.name}"' for column in schema)
    yield from duck.batches(f"SELECT {columns} FROM ({select})", _BATCH_ROWS)


@contextmanager
def task_engine(settings: Settings) -> Iterator[Duck]:
    """An engine of the task's own, with one thread, as a task is one core; what it spills goes with it."""
    spill = Path(tempfile.mkdtemp(prefix="fleetcube-task-"))
    duck = connect(replace(settings, threads=1), spill=spill)
    try:
        yield duck
    finally:
        duck.connection.close()
        shutil.rmtree(spill, ignore_errors=True)


def _spark_schema(cube: Cube) -> Any:
    """The cube's columns as Spark's types."""
    from pyspark.sql.pandas.types import from_arrow_schema

    return from_arrow_schema(table_of(cube).schema)
