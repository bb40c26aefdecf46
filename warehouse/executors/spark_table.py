"""Partitions as a DataFrame of Spark, which reads the Parquet files itself."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from warehouse.errors import EngineError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

NANOS_AS_LONG = "spark.sql.legacy.parquet.nanosAsLong"
"""Spark 4.3 refuses nanoseconds otherwise."""
_GLOB = re.compile(r"([\[\]{}*?\\])")


def spark_table(spark: SparkSession, columns: pa.Schema, files: Sequence[Path]) -> DataFrame:
    """A table of all rows of the files; nothing is read yet.

    Schema and files are given, for Spark would open each file to find the one, and list each
    folder to find the others: 16,000 small files took it 150 s.

    Args:
        columns: of the files; a file of an earlier version may lack some, which are NULL then.

    Returns:
        It, with stamps as BIGINT, nanoseconds UTC since 1970.

    Raises:
        EngineError: PySpark is not installed.
    """
    try:
        from pyspark.sql.types import StructField, StructType
    except ImportError as error:
        raise EngineError(
            "spark", "is not installed; pip install 'flatfile-warehouse[spark]'"
        ) from error
    spark.conf.set(NANOS_AS_LONG, "true")
    schema = StructType([StructField(field.name, _type(field.type)) for field in columns])
    # A path is a pattern to Spark.
    paths = [_GLOB.sub(r"\\\1", str(path)) for path in files]
    return spark.read.schema(schema).parquet(*paths)


def _type(of_arrow: pa.DataType) -> Any:
    from pyspark.sql import types

    if pa.types.is_timestamp(of_arrow):
        return types.LongType()
    found = {
        pa.string(): types.StringType,
        pa.float64(): types.DoubleType,
        pa.date32(): types.DateType,
        pa.bool_(): types.BooleanType,
        pa.int8(): types.ByteType,
        pa.int16(): types.ShortType,
        pa.int32(): types.IntegerType,
        pa.int64(): types.LongType,
    }
    return found[of_arrow]()
