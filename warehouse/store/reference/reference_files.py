"""The files of data/reference: splits, dividends, securities, each named by its content.

A file is never changed. A load writes another, and the catalog of the next generation names it in
the place of the one before, which is kept for a day: readers of an older generation still read it.
The name is the SHA-256 of the bytes, so that the name alone tells a damaged file. Each file has a
number, one more than the one it took the place of: where the catalog is lost, or was written by a
version that knew of no such files, the highest of a table is the one that holds.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Collection, Mapping
from functools import lru_cache
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from warehouse.core.duckdb_connection import macro_texts
from warehouse.core.paths import REFERENCE_TABLES, Layout, reference_table
from warehouse.core.small_files import REFUSED, parsed_json, parsed_parquet, read_sidecar
from warehouse.errors import CorruptPartitionError, UnreadablePartitionError, one_line

SCHEMAS: Mapping[str, pa.Schema] = {
    "splits": pa.schema(
        [
            ("id", pa.string()),
            ("symbol", pa.string()),
            ("execution_date", pa.date32()),
            ("split_from", pa.float64()),
            ("split_to", pa.float64()),
            ("adjustment_type", pa.string()),
            ("price_factor", pa.float64()),
            ("size_factor", pa.float64()),
            ("counts", pa.bool_()),
            ("problem", pa.string()),
        ]
    ),
    "dividends": pa.schema(
        [
            ("id", pa.string()),
            ("symbol", pa.string()),
            ("ex_date", pa.date32()),
            ("declaration_date", pa.date32()),
            ("record_date", pa.date32()),
            ("pay_date", pa.date32()),
            ("cash_amount", pa.float64()),
            ("currency", pa.string()),
            ("frequency", pa.int32()),
            ("distribution_type", pa.string()),
            ("close_before", pa.float64()),
            ("price_factor", pa.float64()),
            ("counts", pa.bool_()),
            ("problem", pa.string()),
        ]
    ),
    "securities": pa.schema(
        [
            ("security", pa.string()),
            ("symbol", pa.string()),
            ("first_session", pa.date32()),
            ("last_session", pa.date32()),
            ("name", pa.string()),
        ]
    ),
}
"""Table → its columns. `REFERENCE_TABLES` are these."""

ACTIONS = pa.schema(
    [
        ("symbol", pa.string()),
        ("session", pa.date32()),
        ("kind", pa.string()),
        *(SCHEMAS["splits"].field(name) for name in ("id", "split_from", "split_to")),
        *(SCHEMAS["splits"].field(name) for name in ("price_factor", "size_factor")),
        *(SCHEMAS["splits"].field(name) for name in ("counts", "problem")),
    ]
)
"""The columns of the catalog's view `actions`."""

LOAD = "warehouse reference load FILE, with the vendor's export"
"""What makes a damaged file anew: nothing else holds what it said."""

_METADATA_KEY = "warehouse_reference"
_MOST_BYTES = 1 << 30
_MOST_ROWS = 1 << 22
_KEPT_SECONDS = 24 * 3600
"""So long a file is kept after another has taken its place."""


def write(folder: Path, table: str, rows: pa.Table, number: int) -> tuple[Path, str]:
    """Write a table's file below an existing folder of the staging tier.

    Args:
        rows: as `SCHEMAS` has them, in the order that they are to have.
        number: one more than that of the file whose place it takes.

    Returns:
        Where it is staged, and its name. The same rows and number give the same name.

    Raises:
        OSError: the disk refuses.
    """
    told = json.dumps({"table": table, "number": number})
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(
        sink, SCHEMAS[table], compression="zstd", write_page_checksum=True, store_schema=False
    ) as writer:
        writer.write_table(rows.cast(SCHEMAS[table]))
        writer.add_key_value_metadata({_METADATA_KEY: told})
    content = sink.getvalue()
    name = f"{table}-{hashlib.sha256(content).hexdigest()}.parquet"
    path = folder / name
    with open(path, "wb") as file:
        file.write(content)
    return path, name


def read(layout: Layout, name: str) -> pa.Table:
    """The rows of a file, as `SCHEMAS` has them; a file that was read stays in memory.

    Raises:
        CorruptPartitionError: it is not there, or not as it was written.
        UnreadablePartitionError: the system refuses to read it, which says nothing of it.
    """
    return _read(layout, name)[0]


def number_of(layout: Layout, name: str) -> int:
    """The number of a file; see `write`.

    Raises:
        CorruptPartitionError: it is not there, or not as it was written.
    """
    return _read(layout, name)[1]


def number_at(path: Path) -> int:
    """The number of a file that is at `path`, wherever that is.

    Raises:
        CorruptPartitionError: it is not as it was written.
    """
    return _content(path)[1]


def problem(path: Path) -> str | None:
    """What is wrong with the file that is at `path`, or should be; None: nothing."""
    try:
        _content(path)
    except CorruptPartitionError as error:
        return error.problem
    return None


def newest(layout: Layout) -> dict[str, str]:
    """The name of each table's latest sound file, as the files themselves say.

    Raises:
        UnreadablePartitionError: the system refuses to read one, which may be the latest.
    """
    found: dict[str, tuple[int, str]] = {}
    for name in _names(layout):
        table = reference_table(name)
        if table is None:
            continue
        try:
            number = number_of(layout, name)
        except UnreadablePartitionError:
            raise
        except CorruptPartitionError:
            continue
        # Two of one number there are only where somebody put one: any rule will do.
        found[table] = max(found.get(table, (0, "")), (number, name))
    return {table: name for table, (_, name) in found.items()}


def named(connection: duckdb.DuckDBPyConnection, database: str) -> dict[str, str] | None:
    """The file of each reference table that an attached catalog names, where it names one.

    What is called as no such file is left out. None: it is of a version that knew of none.

    Raises:
        duckdb.Error: it is a stranger's, which does not say it, or not in time.
    """
    try:
        names = macro_texts(
            connection, *(f"{database}.main.{table}_names" for table in REFERENCE_TABLES)
        )
    except duckdb.CatalogException:
        return None
    return {
        table: name
        for table, name in zip(REFERENCE_TABLES, names, strict=True)
        if reference_table(name) == table
    }


def expired(layout: Layout, in_use: Collection[str]) -> list[Path]:
    """Files that were superseded so long ago that nobody reads them any more."""
    since = time.time() - _KEPT_SECONDS
    paths = [layout.reference / name for name in _names(layout) if name not in in_use]
    return [path for path in paths if reference_table(path.name) and path.lstat().st_mtime < since]


def is_superseded(path: Path) -> bool:
    """Whether a file that no catalog names is one that readers may still be reading."""
    if reference_table(path.name) is None:
        return False
    return path.lstat().st_mtime > time.time() - 2 * _KEPT_SECONDS


def _names(layout: Layout) -> list[str]:
    try:
        return sorted(os.listdir(layout.reference))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _read(layout: Layout, name: str) -> tuple[pa.Table, int]:
    path = layout.reference / name
    try:
        facts = os.lstat(path)
    except OSError as error:
        raise _refused(path, error) from error
    return _remembered(path, facts.st_ino, facts.st_mtime_ns, facts.st_size)


@lru_cache(maxsize=len(REFERENCE_TABLES))
def _remembered(path: Path, _inode: int, _modified_ns: int, _size: int) -> tuple[pa.Table, int]:
    return _content(path)


def _content(path: Path) -> tuple[pa.Table, int]:
    """The rows and the number of a file whose bytes are those of its name."""
    table = reference_table(path.name)
    if table is None:
        raise _corrupt(path, "no file of a reference table is called so")
    try:
        content, _ = read_sidecar(path, _MOST_BYTES)
        if path.name != f"{table}-{hashlib.sha256(content).hexdigest()}.parquet":
            raise _corrupt(path, "its bytes are not those that were written (SHA-256)")
        with pq.ParquetFile(pa.BufferReader(content)) as file:
            told = parsed_json((file.metadata.metadata or {})[_METADATA_KEY.encode()])
            schema = file.schema_arrow.remove_metadata()
        if schema != SCHEMAS[table]:
            raise _corrupt(path, f"it is no file of {table}")
        rows = parsed_parquet(content, _MOST_ROWS).replace_schema_metadata(None).cast(schema)
    except KeyError:
        raise _corrupt(path, "it does not say which it is") from None
    except OSError as error:
        raise _refused(path, error) from error
    except MemoryError:
        raise
    except (ValueError, pa.ArrowException) as error:
        raise _corrupt(path, one_line(error, 200)) from error
    is_ours = isinstance(told, dict) and told.get("table") == table
    if not is_ours or type(told.get("number")) is not int:
        raise _corrupt(path, f"it is no file of {table}")
    return rows, told["number"]


def _refused(path: Path, error: OSError) -> CorruptPartitionError:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return _corrupt(path, "missing")
    if error.errno in REFUSED:
        return UnreadablePartitionError(path, os.strerror(error.errno))
    return _corrupt(path, f"cannot be read: {error.strerror or error}")


def _corrupt(path: Path, said: str) -> CorruptPartitionError:
    return CorruptPartitionError(path, said, LOAD)
