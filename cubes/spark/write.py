"""Files of a cube that are made of stored cells, by Spark: each is a SELECT over files, and a task of its own."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Final

from cubes import measures
from cubes.model import Cube
from cubes.segments import table_of
from cubes.spark.build import task_engine
from cubes.spark.session import spark_session
from lake.delta import DataFile
from lake.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa

_WORK: Final = "place long, grain string, segment string, cells string"


def spark_writes(
    settings: Settings, cube: Cube, work: Sequence[tuple[str, str, str]], stem: str, *, stats: Sequence[str], order: str
) -> list[DataFile]:
    """Write one file for each (grain, segment, SELECT of its cells); they are in order, and not yet committed.

    The workers see the lake's folder at the same path. Errors: ConfigError when Spark can't start.
    """
    if not work:
        return []
    session = spark_session(settings)
    settings = replace(settings, lake=settings.lake.resolve())

    def write(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        with task_engine(settings) as duck:
            measures.install(duck)
            for batch in batches:
                for row in batch.to_pylist():
                    place = {"grain": row["grain"], "segment": row["segment"]}
                    files = duck.write(
                        row["cells"], settings.lake, table_of(cube), stem, stats=stats, order=order, partition=place
                    )
                    told = [json.dumps(asdict(file)) for file in files]
                    yield pa.RecordBatch.from_pydict({"file": told})

    tasks = session.createDataFrame([(at, *one) for at, one in enumerate(work)], _WORK)
    spread = tasks.repartition(min(len(work), 4 * session.sparkContext.defaultParallelism), "place")
    found = [DataFile(**json.loads(row["file"])) for row in spread.mapInArrow(write, "file string").collect()]
    return sorted(found, key=lambda file: file.path)
