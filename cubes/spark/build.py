"""A build's cells by Spark: one task a chunk of days, one task a segment's file; the driver commits as ever.

A day is the unit of work, as no bucket up to a day spans two of them: a task reads its days' files with DuckDB and
makes all cells of them as the embedded engine does. Those of grains whose segment is a day it writes at once, as no
other task has any of them; the others it hands on, to meet by segment, where those of weeks and months are merged and
each segment is written as one sorted file. Nothing is visible before the driver's one commit.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from datetime import date
from typing import TYPE_CHECKING, Any, Final

from cubes.cells import LEVEL, work_cells
from cubes.compact import merged_sql
from cubes.expired import Expired
from cubes.model import Cube
from cubes.segments import table_of
from cubes.source import Source
from cubes.spark.session import spark_session
from lake.delta import DataFile
from lake.duck import Duck, duck_type
from lake.engines import own_engine
from lake.settings import Settings
from lake.times import GRAINS

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH_ROWS: Final = 65_536
_FILE: Final = "fc_file"
_FILES: Final = f"{_FILE} string"
_DAY: Final = "%Y-%m-%d"
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
    return _collected(job.cube, [json.loads(row[_FILE]) for row in told])


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
                            cells = work.select(grain, segment, job.number)
                            if GRAINS[grain].segment == _DAY:
                                yield from _told(job, _write(job, duck, cells, grain, segment, levelled=True))
                            else:
                                yield from _batches(duck, job.cube, cells)

    return make


def _writer(job: _Job) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def write(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa
        import pyarrow.compute as pc

        def cells() -> Iterator[pa.RecordBatch]:
            for batch in batches:
                written.extend(pc.drop_null(batch.column(_FILE)).to_pylist())
                yield batch.filter(pc.is_null(batch.column(_FILE))).drop_columns([_FILE])

        written: list[str] = []
        with task_engine(job.settings) as duck:
            _gather(duck, job.cube, cells())
            for grain, segment in duck.sql("SELECT DISTINCT grain, segment FROM fc_gathered ORDER BY ALL"):
                gathered = f"SELECT * FROM fc_gathered WHERE grain = '{grain}' AND segment = '{segment}'"
                # A week or month has come in parts, from the tasks of its days.
                whole = gathered if GRAINS[grain].within_day else merged_sql(job.cube, f"({gathered})")
                written += [json.dumps(told) for told in _write(job, duck, whole, grain, segment)]
        yield pa.RecordBatch.from_pydict({_FILE: pa.array(written, pa.string())})

    return write


def _write(
    job: _Job, duck: Duck, cells: str, grain: str, segment: str, *, levelled: bool = False
) -> Iterator[dict[str, Any]]:
    """Write a segment's cells; tells of each file with what the driver counts.

    `levelled` cells come from work tables: in their order, with enumerations (see `cubes.cells`).
    """
    ordered = not levelled or job.gone.dropped(grain, segment)
    base = f"FROM ({cells}) WHERE cuboid = {job.cube.base} AND sketch IS NULL"
    [(rows,)] = duck.sql(f"SELECT CAST(coalesce(sum(rows), 0) AS BIGINT) {base}")
    cells = job.gone.new_sql(job.cube, cells, grain, segment)
    files = duck.write(
        cells,
        job.settings.lake,
        table_of(job.cube),
        f"build-{job.number:08d}-spark",
        stats=job.stats,
        order=job.order if ordered else "",
        partition={"grain": grain, "segment": segment},
        enumerated=job.cube.dimensions if levelled else (),
        level=LEVEL,
    )
    counts = dict(duck.sql(f"SELECT CAST(cuboid AS VARCHAR), count(*) FROM ({cells}) GROUP BY cuboid"))
    for file in files:
        yield {**asdict(file), "grain": grain, "counts": counts, "base_rows": rows}


def _told(job: _Job, files: Iterable[dict[str, Any]]) -> Iterator[pa.RecordBatch]:
    """Written files as rows that have no cell, to go with the cells to the driver."""
    import pyarrow as pa

    schema = table_of(job.cube).schema
    for told in files:
        columns = [pa.nulls(1, column.type) for column in schema]
        yield pa.RecordBatch.from_arrays([*columns, pa.array([json.dumps(told)])], [*schema.names, _FILE])


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
    text = f"SELECT {columns}, CAST(NULL AS VARCHAR) AS {_FILE} FROM ({select})"
    yield from duck.batches(text, _BATCH_ROWS)


def task_engine(settings: Settings) -> AbstractContextManager[Duck]:
    """An engine of the task's own, with one thread, as a task is one core."""
    return own_engine(settings, threads=1, memory_mib=settings.memory_mib)


def _spark_schema(cube: Cube) -> Any:
    """The cube's columns as Spark's types, and one for what was written already."""
    import pyarrow as pa
    from pyspark.sql.pandas.types import from_arrow_schema

    return from_arrow_schema(table_of(cube).schema.append(pa.field(_FILE, pa.string())))
