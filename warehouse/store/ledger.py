"""The ledger: what the catalog says of the vendor's files, kept beside it in files of its own.

A Parquet file for each data type and month, published together with the catalog. Partitions know
where their rows came from; how many lines a file had, what was left out and what could not be had,
nothing but these would know if the catalog were lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import fields
from datetime import date
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from warehouse.core.datatypes import DATA_TYPES, completed
from warehouse.core.duckdb_connection import connect
from warehouse.core.paths import Layout, month_of
from warehouse.core.small_files import plain
from warehouse.errors import CorruptPartitionError, StorageError, one_line
from warehouse.store.catalog import Catalog, SourceFile
from warehouse.store.catalog_writer import schema_of

_RECORDS = f"""
    select {", ".join(item.name for item in fields(SourceFile))}
    from source_files
    where data_type = $data_type and date_trunc('month', day) = $month
    order by data_type, day, source
"""

Key = tuple[str, date]
"""A data type and the first day of a month."""


def stage(
    staged_catalog: Path, layout: Layout, files: Iterable[SourceFile]
) -> list[tuple[Path, Path]]:
    """Write the ledger's files that speak of the given ones, as `staged_catalog` has them.

    Returns:
        (staged, final) of each.

    Raises:
        StorageError: DuckDB cannot read it, as where the disk is full.
    """
    keys = sorted({(file.data_type, month_of(file.day)) for file in files})
    moves = []
    if not keys:
        return []
    try:
        with connect(staged_catalog, read_only=True) as connection:
            for number, key in enumerate(keys):
                values = dict(zip(("data_type", "month"), key, strict=True))
                page = connection.sql(_RECORDS, params=values).to_arrow_table()
                path = layout.staging / f"ledger-{number}.parquet"
                pq.write_table(
                    completed(page, schema_of(SourceFile)),
                    path,
                    compression="zstd",
                    write_page_checksum=True,
                )
                moves.append((path, layout.ledger_of(*key)))
    except duckdb.Error as error:
        raise StorageError(staged_catalog, f"cannot be read back: {one_line(error)}") from error
    return moves


def page_of(catalog: Catalog, key: Key) -> pa.Table:
    """What the file of the ledger is to hold, as `catalog` has it."""
    data_type, month = key
    page = catalog.table(_RECORDS, data_type=data_type, month=month)
    empty = schema_of(SourceFile).empty_table()
    return empty if page is None else completed(page, empty.schema)


def paths(layout: Layout) -> Iterator[Path]:
    """The ledger's files."""
    for name in DATA_TYPES:
        yield from sorted((layout.ledger / name).glob("*.parquet"))


def read(path: Path) -> pa.Table:
    """One file of the ledger, page checksums verified.

    Raises:
        CorruptPartitionError: it cannot be read, or is none.
    """
    try:
        with pq.ParquetFile(plain(path), page_checksum_verification=True) as file:
            return completed(file.read(use_threads=False), schema_of(SourceFile))
    except (OSError, ValueError, pa.ArrowException) as error:
        raise CorruptPartitionError(
            path, one_line(error, 200), "warehouse verify --repair"
        ) from error
