"""The catalog: a DuckDB file of views, macros and tables about the warehouse itself.

It is derived and never changed in place: each publish builds a new file beside it and renames it
over the old. Shells that have the old one open keep it; who opens it next sees the new. It holds
nothing that cannot be read back from the partitions, the rejects and the raw files, but for the
history of runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, date, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from warehouse.errors import SqlFileError, StorageError
from warehouse.layout import Layout, RawFile, partition_name
from warehouse.partitions import Partition, SessionSource
from warehouse.schema import DATA_TYPES
from warehouse.sqlfiles import SqlFolder

CATALOG_FORMAT = 1
# The shell on the package index is still 1.5: it must be able to open the file.
_COMPATIBLE_WITH = "v1.5.0"


@dataclass(frozen=True)
class SourceFile:
    """What became of one of the vendor's files; the columns of the table `source_files`."""

    data_type: str
    day: date
    symbol: str | None
    source: str
    state: str
    problem: str | None = None
    etag: str | None = None
    bytes: int | None = None
    sha256: str | None = None
    lines: int | None = None
    rows_published: int | None = None
    rows_rejected: int | None = None
    rows_unselected: int | None = None
    rejects_by_reason: dict[str, int] | None = None
    symbols: tuple[str, ...] | None = None
    raw_modified_ns: int | None = None
    run_id: str | None = None
    recorded_at: datetime = field(default_factory=lambda: datetime.now(UTC).replace(tzinfo=None))


@dataclass(frozen=True)
class Run:
    """One run of a command that writes; the columns of the table `runs`."""

    run_id: str
    command: str
    started_at: datetime
    seconds: float
    state: str
    problem: str | None
    files: int
    files_set_aside: int
    lines: int
    rows_published: int
    rows_rejected: int
    partitions: int
    bytes_read: int
    bytes_written: int
    peak_memory_bytes: int
    version: str


@dataclass
class CatalogChange:
    """What a publish changes in the catalog."""

    partitions: list[Partition] = field(default_factory=list)
    removed: list[tuple[str, str, date]] = field(default_factory=list)
    files: list[SourceFile] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)


_SESSION = pa.struct(
    [
        ("session", pa.date32()),
        ("rows", pa.int64()),
        ("rejects", pa.int64()),
        ("source", pa.string()),
        ("etag", pa.string()),
        ("sha256", pa.string()),
    ]
)
_PARTITIONS = pa.schema(
    [
        ("data_type", pa.string()),
        ("symbol", pa.string()),
        ("month", pa.date32()),
        ("path", pa.string()),
        ("rows", pa.int64()),
        ("bytes", pa.int64()),
        ("first_timestamp", pa.timestamp("ns")),
        ("last_timestamp", pa.timestamp("ns")),
        ("sha256", pa.string()),
        ("fingerprint", pa.string()),
        ("sessions", pa.list_(_SESSION)),
    ]
)
_REMOVED = pa.schema([("data_type", pa.string()), ("symbol", pa.string()), ("month", pa.date32())])
_ARROW = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    date: pa.date32(),
    datetime: pa.timestamp("us"),
    dict: pa.map_(pa.string(), pa.int64()),
    tuple: pa.list_(pa.string()),
}


def _schema_of(record: type) -> pa.Schema:
    kinds = {kind.__name__: arrow for kind, arrow in _ARROW.items()}
    return pa.schema(
        [
            (item.name, kinds[re.match(r"\w+", str(item.type))[0]])  # type: ignore[index]
            for item in fields(record)
        ]
    )


def build(
    staged: Path, layout: Layout, sql: SqlFolder, config_dir: Path, change: CatalogChange
) -> None:
    """Write the catalog that will hold after `change` to `staged`.

    Views of data types that are about to get their first partition wait for `complete`: DuckDB
    makes no view over files that are not there yet.

    Raises:
        SqlFileError: a file of sql/catalog or config/ fails.
        StorageError: the disk refuses.
    """
    connection = _connect(staged)
    try:
        _run(connection, sql, "tables", layout, config_dir)
        tables = {
            "changed_partitions": _partition_table(layout, change.partitions),
            "removed_partitions": pa.Table.from_pylist(
                [dict(zip(_REMOVED.names, removed, strict=True)) for removed in change.removed],
                _REMOVED,
            ),
            "changed_files": _table(SourceFile, change.files),
            "changed_runs": _table(Run, change.runs),
        }
        for name, table in tables.items():
            connection.register(name, table)
        generation = 0
        if layout.catalog.exists():
            connection.execute(f"attach '{_quoted(layout.catalog)}' as previous (read_only)")
            row = connection.execute("select max(generation) from previous.warehouse").fetchone()
            generation = row[0] if row else 0
            _run(connection, sql, "carry_over", layout, config_dir)
            connection.execute("detach previous")
        _run(connection, sql, "add", layout, config_dir)
        connection.execute(
            "insert into warehouse values (?, ?, ?, ?, ?)",
            [
                generation + 1,
                str(layout.data),
                CATALOG_FORMAT,
                f"flatfile-warehouse {version('flatfile-warehouse')}",
                datetime.now(UTC).replace(tzinfo=None),
            ],
        )
        _run(connection, sql, "reference", layout, config_dir)
        _run(connection, sql, "path_name", layout, config_dir)
        _views(connection, layout, sql, config_dir)
    except duckdb.IOException as error:
        raise StorageError(staged, f"cannot write the catalog: {_line(error)}") from error
    finally:
        connection.close()


def complete(staged: Path, layout: Layout, sql: SqlFolder, config_dir: Path) -> None:
    """Add the views that `build` could not make; the partitions are in place now."""
    connection = _connect(staged)
    try:
        _views(connection, layout, sql, config_dir)
    finally:
        connection.close()


def _views(
    connection: duckdb.DuckDBPyConnection, layout: Layout, sql: SqlFolder, config_dir: Path
) -> None:
    """Each data type's view, and that of the rejects: over its files, or empty where it has none.

    One that is there already is left alone: to make it DuckDB looks at the name of every file.
    """
    found = connection.execute(
        "select view_name, contains(sql, 'read_parquet') from duckdb_views() where not internal"
    ).fetchall()
    over_files = dict(found)
    wanted = {kind.name: (layout.cache / kind.name, kind.columns) for kind in DATA_TYPES.values()}
    wanted["rejects"] = (layout.rejects, DATA_TYPES["trades"].rejects_columns)
    for name, (folder, columns) in wanted.items():
        depth = "*/*/*.parquet" if name == "rejects" else "*/*.parquet"
        has_files = any(folder.glob(depth))
        if has_files and not over_files.get(name):
            _run(connection, sql, name, layout, config_dir)
        elif not has_files and over_files.get(name, True):
            _empty_view(connection, name, columns)


def _empty_view(connection: duckdb.DuckDBPyConnection, name: str, columns: pa.Schema) -> None:
    names = {
        pa.string(): "varchar",
        pa.timestamp("ns"): "timestamp_ns",
        pa.float64(): "double",
        pa.int8(): "tinyint",
        pa.int16(): "smallint",
        pa.int32(): "integer",
        pa.int64(): "bigint",
        pa.date32(): "date",
    }
    listed = ", ".join(f'null::{names[column.type]} as "{column.name}"' for column in columns)
    connection.execute(f"create or replace view {name} as select {listed} where false")


def _connect(path: Path) -> duckdb.DuckDBPyConnection:
    try:
        return duckdb.connect(
            str(path),
            config={
                "storage_compatibility_version": _COMPATIBLE_WITH,
                "python_enable_replacements": False,
            },
        )
    except duckdb.Error as error:
        raise StorageError(path, f"cannot write the catalog: {_line(error)}") from error


def _run(
    connection: duckdb.DuckDBPyConnection,
    sql: SqlFolder,
    name: str,
    layout: Layout,
    config_dir: Path,
) -> None:
    """Run sql/catalog/<name>.sql, its paths made absolute.

    In the file they start at the warehouse's folder, where the shell can run it as it stands; in
    the catalog they must not depend on the reader's working directory.
    """
    file = sql[f"catalog/{name}"]
    text = (
        file.body.replace("'data/cache/", f"'{_pattern(layout.cache)}/")
        .replace("'data/rejects/", f"'{_pattern(layout.rejects)}/")
        .replace("'config/", f"'{_pattern(config_dir)}/")
    )
    try:
        connection.execute(text)
    except duckdb.Error as error:
        raise SqlFileError(file.path, _line(error)) from error


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")


def _pattern(path: Path) -> str:
    """A path inside a glob inside a string literal."""
    return re.sub(r"([*?\[])", r"[\1]", _quoted(path))


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:500]


def _partition_table(layout: Layout, partitions: Sequence[Partition]) -> pa.Table:
    columns: dict[str, list[Any]] = {name: [] for name in _PARTITIONS.names}
    for item in partitions:
        columns["data_type"].append(item.data_type)
        columns["symbol"].append(item.symbol)
        columns["month"].append(item.month)
        name = partition_name(item.data_type, item.symbol, item.month)
        columns["path"].append(f"{layout.cache}/{name}")
        columns["rows"].append(item.rows)
        columns["bytes"].append(item.bytes)
        columns["first_timestamp"].append(item.first_ns)
        columns["last_timestamp"].append(item.last_ns)
        columns["sha256"].append(item.sha256)
        columns["fingerprint"].append(item.fingerprint)
        columns["sessions"].append([vars(session) for session in item.sessions])
    return pa.Table.from_pydict(columns, _PARTITIONS)


def _table(record: type, items: Iterable[Any]) -> pa.Table:
    schema = _schema_of(record)
    rows = []
    for item in items:
        row = asdict(item)
        for name, value in row.items():
            if isinstance(value, dict):
                row[name] = list(value.items())
            elif isinstance(value, tuple):
                row[name] = list(value)
        rows.append(row)
    return pa.Table.from_pylist(rows, schema)


class Catalog:
    """The catalog as it is now, opened for reading; close it, or use `with`.

    Raises:
        StorageError: it cannot be opened.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._connection: duckdb.DuckDBPyConnection | None = None
        if layout.catalog.exists():
            try:
                self._connection = duckdb.connect(
                    str(layout.catalog),
                    read_only=True,
                    config={"python_enable_replacements": False},
                )
            except duckdb.Error as error:
                raise StorageError(layout.catalog, f"cannot be opened: {_line(error)}") from error

    def __enter__(self) -> Catalog:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def table(self, sql: str, **parameters: Any) -> pa.Table | None:
        """The answer to a SELECT over the catalog's tables; None where there is no catalog yet."""
        if self._connection is None:
            return None
        return self._connection.sql(sql, params=parameters).to_arrow_table()

    def rows(self, sql: str, **parameters: Any) -> list[dict[str, Any]]:
        """The same as dictionaries; none where there is no catalog yet."""
        table = self.table(sql, **parameters)
        return [] if table is None else table.to_pylist()

    def generation(self) -> int:
        """How many times something was published; 0 where nothing was."""
        rows = self.rows("select max(generation) as generation from warehouse")
        return rows[0]["generation"] if rows else 0

    def partitions(
        self,
        data_type: str,
        symbols: Sequence[str] | None = None,
        first: date | None = None,
        last: date | None = None,
    ) -> list[Partition]:
        """Partitions of a data type by symbol and month.

        Args:
            symbols: only these; None: all.
            first, last: first days of months, both inclusive; None is open.
        """
        table = self.table(
            """
            select * exclude (path)
            from partitions
            where
                data_type = $data_type
                and ($symbols is null or list_contains($symbols, symbol))
                and ($first is null or month >= $first::date)
                and ($last is null or month <= $last::date)
            order by symbol, month
            """,
            data_type=data_type,
            symbols=list(symbols) if symbols is not None else None,
            first=first,
            last=last,
        )
        if table is None:
            return []
        first_ns = table["first_timestamp"].cast(pa.int64()).to_pylist()
        last_ns = table["last_timestamp"].cast(pa.int64()).to_pylist()
        rows = table.drop_columns(["first_timestamp", "last_timestamp"]).to_pylist()
        return [
            Partition(
                **{
                    **row,
                    "sessions": tuple(SessionSource(**session) for session in row["sessions"]),
                    "first_ns": start,
                    "last_ns": stop,
                }
            )
            for row, start, stop in zip(rows, first_ns, last_ns, strict=True)
        ]

    def source_files(self) -> dict[RawFile, SourceFile]:
        """What is known of each of the vendor's files."""
        found = {}
        for row in self.rows("select * from source_files"):
            reasons = row["rejects_by_reason"]
            row["rejects_by_reason"] = None if reasons is None else dict(reasons)
            row["symbols"] = None if row["symbols"] is None else tuple(row["symbols"])
            record = SourceFile(**row)
            kind = DATA_TYPES[record.data_type]
            monthly = kind.monthly_by_symbol and record.symbol is not None
            found[RawFile(record.data_type, record.day, record.symbol, monthly)] = record
        return found
