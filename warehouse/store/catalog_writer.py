"""Writes the catalog: a new DuckDB file of tables, views and macros, beside the present one."""

from __future__ import annotations

import csv
import logging
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

from warehouse.core.datatypes import DATA_TYPES
from warehouse.core.duckdb_connection import connect, quoted
from warehouse.core.file_state import FileState
from warehouse.core.paths import Layout, RawFile, glob_literal, partition_name, shipped
from warehouse.core.small_files import check_small, plain
from warehouse.errors import ConfigError, SqlFileError, StorageError, one_line
from warehouse.sqlfolder import feature_macro
from warehouse.sqlfolder.catalog_statements import PROBE, check_macros, check_statements, macros_of
from warehouse.sqlfolder.feature_file import FeatureFolder
from warehouse.sqlfolder.files import SqlFile, SqlFolder
from warehouse.store import data_folder_id
from warehouse.store.catalog import (
    CatalogChange,
    Checked,
    Finding,
    Run,
    SourceFile,
)
from warehouse.store.catalog_tables import CATALOG_FORMAT, WAREHOUSE_ID, check_tables
from warehouse.store.partitions import Partition

logger = logging.getLogger("warehouse")

# The shell on the package index is still 1.5: it must be able to open the file.
_COMPATIBLE_WITH = "v1.5.0"

_PROBE_SESSION = date(2000, 1, 3)
_LATER = ("files",)
_REFERENCE = {
    "trade_conditions": "id,name,updates_high_low,updates_open_close,updates_volume",
    "quote_conditions": "id,type,name",
    "exchanges": "id,mic,participant_id,type,name",
}
"""List of config/ → its header, which sql/catalog/reference.sql passes over."""
_PARTITION_NAMES = """
    with
        named as (
            select parse_path(path)[-2] as folder, strftime(month, '%Y_%m') as month
            from partitions
            where data_type = $data_type
        ),

        lines as (
            select folder || ' ' || string_agg(month, ',' order by month) as line
            from named
            group by folder
        )

    select coalesce(string_agg(line, chr(10) order by line), '')
    from lines
"""
# What the files of sql/catalog said before there was files.sql: a user may have edited one.
_PATTERNS = [
    (
        re.compile(rf"'data/cache/{kind}/' \|\| path_name\(symbol\) \|\| '/\*\.parquet'"),
        f"{kind}_files_of(symbol)",
    )
    for kind in DATA_TYPES
]
_PATTERNS += [
    (
        re.compile(
            rf"\[\s*'data/schema/{kind}\.parquet',\s*'data/cache/{kind}/\*/\*\.parquet'\s*\]"
        ),
        f"{kind}_files()",
    )
    for kind in DATA_TYPES
]
_PATTERNS += [(re.compile(r"'data/rejects/\*/\*/\*\.parquet'"), "rejects_files()")]

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
    FileState: pa.string(),
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
) -> list[str]:
    """Write the catalog that will hold after `change` to `staged`.

    It names files that are not in place yet: its views are made before it names any.

    Returns:
        Names of tables and views in the present catalog that somebody else made there.

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
        generation, rejects = 0, None
        before: set[str] = set()
        if previous is not None:
            _show_previous(connection, previous, layout)
            row = connection.execute(
                "select generation, data_folder from previous.warehouse"
            ).fetchone()
            generation, folder = row or (0, str(layout.data))
            _run(connection, sql, "carry_over", layout, config_dir)
            rejects = _rejects_names(connection)
            if folder != str(layout.data):
                # The warehouse was moved.
                connection.execute(
                    "update partitions set path = ? || substr(path, ?)",
                    [str(layout.data), len(folder) + 1],
                )
            before = _objects(connection, "replaced")
            connection.execute("detach previous")
            connection.execute("detach replaced")
        _run(connection, sql, "add", layout, config_dir)
        # Where its SQL is of an earlier version.
        connection.execute(f"alter table warehouse add column if not exists {WAREHOUSE_ID} varchar")
        connection.execute(
            f"""
            insert into warehouse (
                generation, data_folder, catalog_format, written_by, written_at, {WAREHOUSE_ID}
            )
            values (?, ?, ?, ?, ?, ?)
            """,
            [
                generation + 1,
                str(layout.data),
                CATALOG_FORMAT,
                f"flatfile-warehouse {version('flatfile-warehouse')}",
                datetime.now(UTC).replace(tzinfo=None),
                data_folder_id.id_of(layout),
            ],
        )
        make_reference(connection, sql, config_dir)
        _run(connection, sql, "path_name", layout, config_dir)
        _run(connection, sql, "files", layout, config_dir)
        _set_folder(connection, layout)
        for name in (*DATA_TYPES, "rejects"):
            _run(connection, sql, name, layout, config_dir)
        _run(connection, sql, "outliers", layout, config_dir)
        if _has_features(sql):
            _run(connection, sql, "features", layout, config_dir)
            feature_macro.create(connection, FeatureFolder(sql.folder))
        _name_files(connection, layout, rejects, change)
        others = before - _objects(connection)
        # What fails while a connection is closed is not told, and would stay in the log beside.
        connection.execute("force checkpoint")
        return sorted(others)
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
    names = ["tables", "reference", "path_name", "files", *DATA_TYPES, "rejects", "outliers"]
    if _has_features(sql):
        names.append("features")
    return [_catalog_file(sql, name) for name in names]


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
    schema = probe.schema / "rejects.parquet"
    pq.write_table(_all_rejects().empty_table(), schema, store_schema=False)
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
            name = file.name.removeprefix("catalog/")
            _run(connection, sql, name, probe, config_dir)
            if name == "path_name":
                # Who calls it would be named in its place.
                check_macros(connection, [file], _macros(sql))
            if name == "files":
                _set_folder(connection, probe)
        for data_type in DATA_TYPES:
            _set_names(connection, data_type, f"{PROBE} {_PROBE_SESSION:%Y_%m}")
        rejects = f"trades/{_PROBE_SESSION:%Y_%m}/{PROBE}.parquet"
        _set_names(connection, "rejects", rejects)
        check_macros(connection, files, _macros(sql))
    shutil.rmtree(folder)


def _macros(sql: SqlFolder) -> frozenset[str]:
    """Names of the macros that the files of sql/catalog make."""
    names = {path.stem for path in (sql.folder / "catalog").glob("[!.]*.sql")} | {*_LATER}
    return macros_of(_catalog_file(sql, name) for name in sorted(names))


def _objects(connection: duckdb.DuckDBPyConnection, database: str | None = None) -> set[str]:
    """Names of the tables and views of a database, of the present one where none is named."""
    rows = connection.execute(
        """
        select table_name as name
        from duckdb_tables()
        where database_name = coalesce($database, current_database()) and not internal
        union all
        select view_name as name
        from duckdb_views()
        where database_name = coalesce($database, current_database()) and not internal
        """,
        {"database": database},
    ).fetchall()
    return {name for (name,) in rows}


def _show_previous(connection: duckdb.DuckDBPyConnection, catalog: Path, layout: Layout) -> None:
    """Show the catalog attached as `replaced` as `previous`, with each table that there is now.

    One that it has not, being of an earlier format, is empty in `previous`.
    """
    check_tables(connection, "replaced", catalog, data_folder_id.id_of(layout))
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
            raise ConfigError(
                path, ConfigError.WHOLE, None, f"cannot be read: {one_line(error)}"
            ) from error
    if sql["catalog/reference"].body == SqlFolder(shipped("sql"))["catalog/reference"].body:
        # Who has other columns reads them otherwise, too.
        for name, header in _REFERENCE.items():
            _check_header(config_dir / f"{name}.csv", header)
    _run(connection, sql, "reference", None, config_dir)


def _check_header(path: Path, header: str) -> None:
    """Refuse a list whose first line is not its header: its columns are read by their places."""
    try:
        with open(plain(path), encoding="utf-8-sig", newline="") as file:
            found = next(csv.reader(file), [])
    except FileNotFoundError:
        raise ConfigError(
            path,
            ConfigError.WHOLE,
            None,
            "is missing; `warehouse init DIR` adds the one that is shipped",
        ) from None
    except (OSError, ValueError, csv.Error) as error:
        raise ConfigError(
            path, ConfigError.WHOLE, None, f"cannot be read: {one_line(error)}"
        ) from error
    if found != header.split(","):
        raise ConfigError(path, "line 1", ",".join(found), f"it must be {header}")


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


def _rejects_names(connection: duckdb.DuckDBPyConnection) -> set[str] | None:
    """The files of rejects that the replaced catalog names; None: it names none, being older."""
    try:
        row = connection.execute("select replaced.main.rejects_names()").fetchone()
    except duckdb.CatalogException:
        return None
    return set((row or ("",))[0].split())


def _name_files(
    connection: duckdb.DuckDBPyConnection,
    layout: Layout,
    rejects: set[str] | None,
    change: CatalogChange,
) -> None:
    """Tell the views and macros which files there are; see sql/catalog/files.sql.

    Args:
        rejects: the files of rejects before the change; None: those of the vendor's files that the
            catalog knows, as far as they are there.
    """
    names = {}
    for kind in DATA_TYPES:
        row = connection.execute(_PARTITION_NAMES, {"data_type": kind}).fetchone()
        names[kind] = (row or ("",))[0]
    if rejects is None:
        rejects = _rejects_there(connection, layout)
    gone = {name for name, is_there in change.rejects.items() if not is_there}
    there = {name for name, is_there in change.rejects.items() if is_there}
    names["rejects"] = "\n".join(sorted((rejects - gone) | there))
    for name, text in names.items():
        _set_names(connection, name, text)


def _set_folder(connection: duckdb.DuckDBPyConnection, layout: Layout) -> None:
    """Tell where the warehouse stands, and of no file yet."""
    folder = os.path.realpath(layout.data)
    connection.execute(f"create or replace macro data_folder() as {quoted(folder)}")
    connection.execute(f"create or replace macro cache_name() as {quoted(layout.cache.name)}")
    for name in (*DATA_TYPES, "rejects"):
        _set_names(connection, name, "")


def _set_names(connection: duckdb.DuckDBPyConnection, of: str, names: str) -> None:
    connection.execute(f"create or replace macro {of}_names() as {quoted(names)}")


def _rejects_there(connection: duckdb.DuckDBPyConnection, layout: Layout) -> set[str]:
    rows = connection.execute("select data_type, day, symbol from source_files").fetchall()
    found = set()
    for data_type, day, symbol in rows:
        monthly = DATA_TYPES[data_type].monthly_by_symbol and symbol is not None
        path = layout.rejects_of(RawFile(data_type, day, symbol, monthly))
        if path.is_file():
            found.add(path.relative_to(layout.rejects).as_posix())
    return found


def _write_schemas(layout: Layout) -> None:
    """A file without rows for each view, which takes its columns from it."""
    if layout.schema.is_symlink():
        # Where it leads files of these names may be somebody's data.
        raise StorageError(layout.schema, "is a link; it must lie beside the cache folder")
    layout.modes.make_folder(layout.schema)
    for name, columns in _schemas().items():
        path = layout.schema / f"{name}.parquet"
        if schema_problem(path) is not None or not _has_columns(path, columns):
            # Beside it: the folder may stand on another disk.
            draft = path.with_name(f".{path.name}.new")
            pq.write_table(columns.empty_table(), draft, store_schema=False)
            layout.modes.settle(draft)
            os.replace(draft, path)


def schema_files(layout: Layout) -> list[Path]:
    """The files without rows that the views take their columns from."""
    return [layout.schema / f"{name}.parquet" for name in _schemas()]


def schema_problem(path: Path) -> str | None:
    """What is wrong with such a file; that of an earlier version has fewer columns."""
    if path.is_symlink():
        return "it is a link"
    try:
        with pq.ParquetFile(plain(path)) as file:
            rows = file.metadata.num_rows
    except FileNotFoundError:
        return "missing"
    except (OSError, pa.ArrowException) as error:
        return f"cannot be read: {one_line(error, 200)}"
    return "it has rows, and gives views their columns alone" if rows else None


def _has_columns(path: Path, columns: pa.Schema) -> bool:
    return bool(pq.read_schema(path).remove_metadata().equals(columns))


def _schemas() -> dict[str, pa.Schema]:
    columns = {kind.name: kind.columns for kind in DATA_TYPES.values()}
    return {**columns, "rejects": _all_rejects()}


def _all_rejects() -> pa.Schema:
    """The columns of the rejects of all data types."""
    return pa.unify_schemas([kind.rejects_columns for kind in DATA_TYPES.values()])


def _connect(
    path: Path, layout: Layout, config_dir: Path, previous: Path | None = None
) -> duckdb.DuckDBPyConnection:
    try:
        return connect(
            path,
            compatible_with=_COMPATIBLE_WITH,
            folders=[*layout.served, config_dir],
            attached={} if previous is None else {"replaced": previous},
            on_copy=_warn,
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
    file = _catalog_file(sql, name)
    check_statements(connection, file, _macros(sql))
    text = file.body.replace("'config/", f"'{glob_literal(config_dir)}/")
    for pattern, files in _PATTERNS:
        text = pattern.sub(files, text)
    if layout is not None:
        text = (
            text.replace("'data/cache/", f"'{glob_literal(layout.cache)}/")
            .replace("'data/schema/", f"{quoted(layout.schema)[:-1]}/")
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


def _warn(holder: str) -> None:
    logger.warning(
        "the catalog is open for writing in %s: what it writes there is lost with this publish,"
        " which takes no notice of it; open it with: duckdb -readonly",
        holder,
    )


def _catalog_file(sql: SqlFolder, name: str) -> SqlFile:
    """A file of sql/catalog. A folder made by an earlier version has not all that there are now."""
    return sql.or_shipped(f"catalog/{name}") if name in _LATER else sql[f"catalog/{name}"]


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
