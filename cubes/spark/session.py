"""A Spark session that reads the lake's Delta tables: two jars, UTC, loopback, and as little as a small job needs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lake.errors import ConfigError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from lake.settings import Settings

# Enough to read and write Delta; the suffix follows pyspark's minor version.
JARS: Final = ("delta-spark_4.1_2.13-4.4.0.jar", "delta-storage-4.4.0.jar")

# What the variables of an object store begin with.
_CREDENTIALS: Final = "AWS_"


def spark_session(settings: Settings) -> SparkSession:
    """The process's Spark session, made at first use with the master of the settings.

    Errors: ConfigError when pyspark, Java or the jars are missing, with what to install.
    """
    try:
        from pyspark.errors import PySparkRuntimeError
        from pyspark.sql import SparkSession
    except ImportError as error:
        todo = "Install the extra: `pip install fleetcube[spark]`."
        raise ConfigError("The Spark engine needs pyspark.", where="engine", todo=todo) from error
    # Tasks run this very Python, not whatever `python3` is on a worker's path.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.master(settings.spark_master).appName("fleetcube")
    for name, value in _options(settings).items():
        builder = builder.config(name, value)
    try:
        session = builder.getOrCreate()
    except PySparkRuntimeError as error:
        raise ConfigError(
            f"Spark does not start: {str(error).splitlines()[0]}",
            where="engine",
            todo="Install Java 17 or newer, and see that `java -version` works.",
        ) from error
    session.sparkContext.setLogLevel("ERROR")
    if settings.spark_master.startswith("local"):
        # Tasks have the environment in which Java was started, perhaps for another lake; this lake's credentials may
        # have come since.
        named = {name: value for name, value in os.environ.items() if name.startswith(_CREDENTIALS)}
        session.sparkContext.environment.update(named)
    return session


def jars(settings: Settings) -> list[Path]:
    """The jars of Delta; ConfigError names those that are not there."""
    folder = settings.spark_jars if settings.spark_jars != Path("") else Path(sys.prefix) / "jars"
    found = [folder / name for name in JARS]
    missing = [path.name for path in found if not path.is_file()]
    if missing:
        todo = "Run `make jars`, or name their folder by the setting spark_jars."
        raise ConfigError(f"Delta's jars for Spark are missing: {', '.join(missing)}.", where=str(folder), todo=todo)
    return found


def _options(settings: Settings) -> dict[str, str]:
    local = settings.spark_master.startswith("local")
    cores = os.cpu_count() or 1
    return {
        "spark.jars": ",".join(str(path.resolve()) for path in jars(settings)),
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.sql.session.timeZone": "UTC",
        # A sum that overflows is an error, never a null.
        "spark.sql.ansi.enabled": "true",
        "spark.sql.execution.arrow.maxRecordsPerBatch": "65536",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.driver.memory": f"{settings.spark_memory_mib}m",
        **(
            {
                "spark.driver.bindAddress": "127.0.0.1",
                "spark.driver.host": "127.0.0.1",
                "spark.sql.shuffle.partitions": str(2 * cores),
                # The default of 50 makes each first read of a small table take seconds.
                "spark.databricks.delta.snapshotPartitions": "2",
            }
            if local
            else {}
        ),
    }
