"""Writes the catalog: a new DuckDB file of tables, views and macros, beside the present one."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields, replace
from datetime import UTC, date, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from warehouse import featuremacros
from warehouse.catalog import (
    CatalogChange,
    Checked,
    Finding,
    Run,
    SourceFile,
)
from warehouse.catalogsql import PROBE, check_macros, check_statements, macros_of
from warehouse.catalogtables import CATALOG_FORMAT, check_tables
from warehouse.duckdb_connection import connect
from warehouse.errors import ConfigError, SqlFileError, StorageError, one_line
from warehouse.featurefiles import FeatureFolder
from warehouse.layout import Layout, glob_literal, partition_name
from warehouse.partitions import Partition
from warehouse.schema import DATA_TYPES
from warehouse.smallfiles import check_small
from warehouse.sqlfiles import SqlFile, SqlFolder, shipped

# The shell on the package index is still 1.5: it must be able to open the file.
_COMPATIBLE_WITH = "v1.5.0"

_PROBE_SESSION = date(2000, 1, 3)
_SESSION = pa.struct(
    [
        ("session", pa.date32()),
        ("rows", pa.int64()),
        ("rejects", pa.int64()),
        ("source", pa.string()),
        ("etag", pa.string()),
        ("sha256", pa.string()),
        ("fingerprint", pa.string()),
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


def schema_of(record: type) -> pa.Schema:
    """The columns of the table that holds records of a dataclass."""
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
    _bind(layout, sql, config_dir)
    previous = layout.catalog if layout.catalog.exists() else None
    connection = _connect(staged, layout, config_dir, previous)
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
            "checked": _table(Checked, change.checked),
            "new_findings": _table(Finding, change.findings),
        }
        for name, table in tables.items():
            connection.register(name, table)
        for name, added in (
            ("source_files", "changed_files"),
            ("runs", "changed_runs"),
            ("findings", "new_findings"),
        ):
            _add_columns(connection, name, added)
        _write_schemas(layout)
        generation = 0
        if previous is not None:
            _show_previous(connection, previous)
            row = connection.execute(
                "select generation, data_folder from previous.warehouse"
            ).fetchone()
            generation, folder = row or (0, str(layout.data))
            _run(connection, sql, "carry_over", layout, config_dir)
            if folder != str(layout.data):
                # The warehouse was moved.
                connection.execute(
                    "update partitions set path = ? || substr(path, ?)",
                    [str(layout.data), len(folder) + 1],
                )
            connection.execute("detach previous")
            connection.execute("detach replaced")
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
        make_reference(connection, sql, config_dir)
        _run(connection, sql, "path_name", layout, config_dir)
        _run(connection, sql, "outliers", layout, config_dir)
        if _has_features(sql):
            _run(connection, sql, "features", layout, config_dir)
            featuremacros.create(connection, FeatureFolder(sql.folder), layout.cache)
        _views(connection, layout, sql, config_dir)
        # What fails while a connection is closed is not told, and would stay in the log beside.
        connection.execute("force checkpoint")
    except duckdb.Error as error:
        raise _refused(staged, error) from error
    finally:
        connection.close()


def _add_columns(connection: duckdb.DuckDBPyConnection, table: str, like: str) -> None:
    """Give a table the columns of another that it lacks: its SQL may be of an earlier version."""
    columns = connection.execute(f"select column_name, column_type from (describe {like})")
    for name, kind in columns.fetchall():
        connection.execute(f'alter table {table} add column if not exists "{name}" {kind}')


def makers(sql: SqlFolder) -> list[SqlFile]:
    """The files of sql/catalog that make tables, views and macros, in the order of making."""
    names = ["tables", "reference", "path_name", "outliers"]
    if _has_features(sql):
        names.append("features")
    return [sql[f"catalog/{name}"] for name in (*names, *DATA_TYPES, "rejects")]


_bound: set[tuple[str, ...]] = set()


def _bind(layout: Layout, sql: SqlFolder, config_dir: Path) -> None:
    """Look whether all that the files of sql/catalog make can be asked.

    What is there yet does not tell: a view of what is not is made after the renames, when it is
    too late to fail, and a macro is looked into when it is asked. The same texts are bound once,
    and those that come with the project by its tests.

    Raises:
        SqlFileError: names the file.
    """
    files = makers(sql)
    texts = tuple(file.body for file in files)
    come_with_us = SqlFolder(shipped("sql"))
    if texts in _bound or all(file.body == come_with_us[file.name].body for file in files):
        return
    bind(layout, sql, config_dir, files)
    _bound.add(texts)


def bind(layout: Layout, sql: SqlFolder, config_dir: Path, files: Sequence[SqlFile]) -> None:
    """Make what the files make, in their order, over partitions without rows, and bind it.

    Raises:
        SqlFileError: names the file.
    """
    folder = layout.staging / "bind"
    probe = replace(layout, cache=folder / "cache")
    layout.modes.make_folders(probe.schema)
    for kind in DATA_TYPES.values():
        month = f"{_PROBE_SESSION:%Y_%m}"
        for path, columns in (
            (probe.schema / f"{kind.name}.parquet", kind.columns),
            (probe.cache / f"{kind.name}/{PROBE}/{month}.parquet", kind.columns),
            (probe.rejects / f"{kind.name}/{month}/{PROBE}.parquet", kind.rejects_columns),
        ):
            layout.modes.make_folders(path.parent)
            pq.write_table(columns.empty_table(), path, store_schema=False)
    with connect(folders=[*probe.served, config_dir], threads=1) as connection:
        for file in files:
            _run(connection, sql, file.name.removeprefix("catalog/"), probe, config_dir)
        check_macros(connection, files, _macros(sql))
    shutil.rmtree(folder)


def _macros(sql: SqlFolder) -> frozenset[str]:
    """Names of the macros that the files of sql/catalog make."""
    paths = sorted((sql.folder / "catalog").glob("*.sql"))
    return macros_of(sql[f"catalog/{path.stem}"] for path in paths)


def _show_previous(connection: duckdb.DuckDBPyConnection, catalog: Path) -> None:
    """Show the catalog attached as `replaced` as `previous`, with each table that there is now.

    One that it has not, being of an earlier format, is empty in `previous`.
    """
    check_tables(connection, "replaced", catalog)
    connection.execute("attach ':memory:' as previous")
    tables = connection.execute(
        """
        select database_name, schema_name, table_name
        from duckdb_tables()
        where database_name in (current_database(), 'replaced')
        """
    ).fetchall()
    there = {name for database, _, name in tables if database == "replaced"}
    for database, schema, name in tables:
        if database != "replaced":
            empty = f'(from "{database}".{schema}.{name} limit 0)'
            source = f"replaced.main.{name}" if name in there else empty
            connection.execute(f"create view previous.main.{name} as from {source}")


def complete(staged: Path, layout: Layout, sql: SqlFolder, config_dir: Path) -> None:
    """Add the views that `build` could not make; the partitions are in place now."""
    connection = _connect(staged, layout, config_dir)
    try:
        _views(connection, layout, sql, config_dir)
        # What fails while a connection is closed is not told, and would stay in the log beside.
        connection.execute("force checkpoint")
    except duckdb.Error as error:
        raise _refused(staged, error) from error
    finally:
        connection.close()


def make_reference(connection: duckdb.DuckDBPyConnection, sql: SqlFolder, config_dir: Path) -> None:
    """Make the tables trade_conditions, quote_conditions and exchanges in any database.

    Raises:
        SqlFileError: sql/catalog/reference.sql or a file of config/ fails.
        ConfigError: a list in config/ is too large, or no file.
    """
    for path in sorted(config_dir.glob("*.csv")):
        try:
            check_small(path)
        except (OSError, ValueError) as error:
            raise ConfigError(path, "(file)", None, f"cannot be read: {one_line(error)}") from error
    _run(connection, sql, "reference", None, config_dir)


def _refused(staged: Path, error: duckdb.Error) -> StorageError:
    """What DuckDB raises where a disk is full depends on what it was about to do."""
    return StorageError(staged, f"cannot write the catalog: {one_line(error)}")


def features(sql: SqlFolder) -> dict[str, str]:
    """The text of each feature's file, by name, as the catalog would have it now."""
    return FeatureFolder(sql.folder).texts() if _has_features(sql) else {}


def broken_features(sql: SqlFolder) -> list[SqlFileError]:
    """What keeps a feature out of the catalog, for each that does not keep the conventions."""
    if not _has_features(sql):
        return []
    return [found for found in FeatureFolder(sql.folder) if isinstance(found, SqlFileError)]


def _has_features(sql: SqlFolder) -> bool:
    """Whether it says how features come into the catalog, as one of an earlier version does not."""
    return (sql.folder / "catalog/features.sql").exists()


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


def _write_schemas(layout: Layout) -> None:
    """A file without rows for each data type, which its view takes its columns from."""
    layout.modes.make_folder(layout.schema)
    for kind in DATA_TYPES.values():
        path = layout.schema / f"{kind.name}.parquet"
        if not _has_columns(path, kind.columns):
            draft = layout.staging / f"schema-{kind.name}.parquet"
            pq.write_table(kind.columns.empty_table(), draft, store_schema=False)
            layout.modes.settle(draft)
            os.replace(draft, path)


def _has_columns(path: Path, columns: pa.Schema) -> bool:
    try:
        return bool(pq.read_schema(path).remove_metadata().equals(columns))
    except (OSError, pa.ArrowException):
        return False


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


def _connect(
    path: Path, layout: Layout, config_dir: Path, previous: Path | None = None
) -> duckdb.DuckDBPyConnection:
    try:
        return connect(
            path,
            compatible_with=_COMPATIBLE_WITH,
            folders=[*layout.served, config_dir],
            attached={} if previous is None else {"replaced": previous},
            spill=layout.staging / "catalog",
        )
    except duckdb.Error as error:
        raise StorageError(path, f"cannot write the catalog: {one_line(error)}") from error


def _run(
    connection: duckdb.DuckDBPyConnection,
    sql: SqlFolder,
    name: str,
    layout: Layout | None,
    config_dir: Path,
) -> None:
    """Run sql/catalog/<name>.sql, its paths made absolute.

    In the file they start at the warehouse's folder, where the shell can run it as it stands; in
    the catalog they must not depend on the reader's working directory.
    """
    file = sql[f"catalog/{name}"]
    check_statements(connection, file, _macros(sql))
    text = file.body.replace("'config/", f"'{glob_literal(config_dir)}/")
    if layout is not None:
        text = (
            text.replace("'data/cache/", f"'{glob_literal(layout.cache)}/")
            .replace("'data/schema/", f"'{_quoted(layout.schema)}/")
            .replace("'data/rejects/", f"'{glob_literal(layout.rejects)}/")
        )
    try:
        connection.execute(text)
    except duckdb.Error as error:
        if "No space left" in str(error):
            raise StorageError(
                layout.data if layout else config_dir, f"cannot hold the catalog: {one_line(error)}"
            ) from error
        raise SqlFileError(file.path, one_line(error)) from error


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")


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
    schema = schema_of(record)
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
