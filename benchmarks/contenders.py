"""The bare conversion of the vendor's files to Parquet, by what a user would take otherwise.

    python benchmarks/contenders.py NAME DATA_TYPE SOURCE OUT

Each takes all files of the data type below SOURCE together, and puts their rows into the folder
OUT, sorted by ticker, stamp and sequence number: in files of one symbol, or in one file. None of
them verifies, rejects, or says where its rows came from.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

WORKERS = os.cpu_count() or 1
TEXT = ("ticker", "conditions", "id", "indicators")
FRACTIONS = ("price", "size", "bid_price", "bid_size", "ask_price", "ask_size", "volume", "open",
             "close", "high", "low")  # fmt: skip
SMALL = {"correction": 8, "tape": 8, "exchange": 16, "bid_exchange": 16, "ask_exchange": 16,
         "trf_id": 16}  # fmt: skip
"""Column -> bits; what is not named anywhere has 64."""
STAMP = {"trades": "sip_timestamp", "quotes": "sip_timestamp",
         "minute_aggs": "window_start", "day_aggs": "window_start"}  # fmt: skip
SIZE = {"trades": "size", "quotes": "bid_size", "minute_aggs": "volume", "day_aggs": "volume"}
FOLDER = "us_stocks_sip/{}_v1"


def files_of(kind: str, source: Path) -> list[Path]:
    """The csv.gz of a data type, by name."""
    return sorted((source / FOLDER.format(kind)).rglob("*.csv.gz"))


def sql_types(columns: list[str]) -> dict[str, str]:
    """Each column's type in SQL."""
    by_bits = {8: "TINYINT", 16: "SMALLINT", 64: "BIGINT"}
    return {
        name: "VARCHAR"
        if name in TEXT
        else "DOUBLE"
        if name in FRACTIONS
        else by_bits[SMALL.get(name, 64)]
        for name in columns
    }


def _order(kind: str, columns: list[str]) -> list[str]:
    return [name for name in ("ticker", STAMP[kind], "sequence_number") if name in columns]


def _sorted_by_polars(kind: str, source: Path) -> Any:
    import polars as pl

    files = files_of(kind, source)
    columns = pl.scan_csv(files[0]).collect_schema().names()
    by_sql = {"VARCHAR": pl.String, "DOUBLE": pl.Float64, "TINYINT": pl.Int8,
              "SMALLINT": pl.Int16, "BIGINT": pl.Int64}  # fmt: skip
    schema = {name: by_sql[sql] for name, sql in sql_types(columns).items()}
    return pl.scan_csv(files, schema_overrides=schema).sort(_order(kind, columns))


def polars(kind: str, source: Path, out: Path) -> None:
    """scan_csv → sort → sink_parquet(PartitionBy)."""
    import polars as pl

    rows = _sorted_by_polars(kind, source)
    rows.sink_parquet(pl.PartitionBy(out, key=["ticker"], include_key=True), mkdir=True)


def polars_file(kind: str, source: Path, out: Path) -> None:
    """scan_csv → sort → sink_parquet."""
    _sorted_by_polars(kind, source).sink_parquet(out / "rows.parquet", mkdir=True)


def duckdb(kind: str, source: Path, out: Path) -> None:
    """read_csv → ORDER BY → COPY … PARTITION_BY."""
    import duckdb

    files = [str(path) for path in files_of(kind, source)]
    with duckdb.connect(config={"threads": WORKERS}) as connection:
        columns = connection.read_csv(files[0], all_varchar=True).columns
        connection.execute(
            f"""
            copy (
                select * from read_csv($files, types = $types)
                order by {", ".join(_order(kind, columns))}
            ) to '{str(out).replace("'", "''")}'
            (format parquet, partition_by (ticker), write_partition_columns)
            """,
            {"files": files, "types": sql_types(columns)},
        )


def pandas(kind: str, source: Path, out: Path) -> None:
    """read_csv → sort_values → to_parquet, a file for each symbol and month.

    Of what a user would clean, nothing: repeated stamps are genuine trades, and so is the high.
    """
    import pandas as pd

    files = files_of(kind, source)
    columns = list(pd.read_csv(files[0], nrows=0).columns)
    types = {"VARCHAR": "string", "DOUBLE": "float64", "TINYINT": "Int8", "SMALLINT": "Int16",
             "BIGINT": "Int64"}  # fmt: skip
    dtypes = {name: types[sql] for name, sql in sql_types(columns).items()}
    # Not only empty fields would be absent, but a symbol NA, too.
    read: dict[str, Any] = {"dtype": dtypes, "keep_default_na": False, "na_values": [""]}
    frame = pd.concat(
        [pd.read_csv(path, compression="gzip", **read) for path in files], ignore_index=True
    )
    frame["timestamp"] = pd.to_datetime(frame[STAMP[kind]], unit="ns")
    frame = frame.sort_values(_order(kind, columns))
    month = frame["timestamp"].dt.strftime("%Y_%m")
    for (symbol, name), rows in frame.groupby([frame["ticker"], month], sort=False):
        folder = out / str(symbol)
        folder.mkdir(parents=True, exist_ok=True)
        rows.to_parquet(folder / f"{name}.parquet", engine="pyarrow", compression="snappy")


CONTENDERS = {"polars": polars, "polars-file": polars_file, "duckdb": duckdb, "pandas": pandas}


if __name__ == "__main__":
    CONTENDERS[sys.argv[1]](sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
