"""Writes the next catalog: a DuckDB file of tables, views and macros, beside the present one."""

from __future__ import annotations

import logging
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from warehouse.core import process
from warehouse.core.calendar import sessions_table
from warehouse.core.datatypes import DATA_TYPES, SESSIONS, is_kept_bars, with_bars
from warehouse.core.duckdb_connection import connect, within
from warehouse.core.file_state import FileState
from warehouse.core.paths import REFERENCE_TABLES, Layout, PartitionKey
from warehouse.errors import StorageError, one_line
from warehouse.sqlfolder.files import SqlFolder
from warehouse.store import data_folder_id, manifests
from warehouse.store.catalog import (
    CatalogChange,
    Checked,
    Finding,
    Reconciliation,
    Run,
    SourceFile,
    cuts_told,
)
from warehouse.store.catalog_tables import (
    CATALOG_FORMAT,
    MADE_OF,
    WAREHOUSE_ID,
    check_tables,
    state_of,
)
from warehouse.store.manifests import Manifest
from warehouse.store.partitions import Partition
from warehouse.store.publishing import (
    catalog_binding,
    catalog_sql,
    empty_catalog,
    file_names,
    replaced_catalog,
    schema_files,
)
from warehouse.store.reference import reference_files

logger = logging.getLogger("warehouse")

# The shell on the package index is still 1.5: it must be able to open the file.
_COMPATIBLE_WITH = "v1.5.0"
_MANIFESTS = pa.schema(
    [
        ("data_type", pa.string()),
        ("month", pa.date32()),
        ("name", pa.string()),
        ("bytes", pa.int64()),
        ("sha256", pa.string()),
        ("partitions", pa.int64()),
        ("rows", pa.int64()),
        ("cache_bytes", pa.int64()),
        ("sessions", pa.list_(pa.date32())),
        ("follows", pa.string()),
    ]
)
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


@dataclass
class Built:
    """What was built beside the catalog itself.

    Attributes:
        moves: manifests, as (staged, final).
        superseded: manifests and reference files of the present generation that the next has not.
        removals: those that were superseded a day ago.
        others: names of what somebody else made in the present catalog: tables, views, sequences
            and types, and columns of the catalog's own tables (`runs.note`).
        broken_off: months in which runs began that were killed, as is known from now on.
    """

    moves: list[tuple[Path, Path]] = field(default_factory=list)
    superseded: list[Path] = field(default_factory=list)
    removals: list[Path] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    broken_off: set[date] = field(default_factory=set)


@contextmanager
def build(
    staged: Path, layout: Layout, sql: SqlFolder, config_dir: Path, change: CatalogChange
) -> Iterator[tuple[duckdb.DuckDBPyConnection, Built]]:
    """Write the catalog that will hold after `change` to `staged`, and the manifests it names.

    It names files that are not in place yet: its views are made before it names any. All of it is
    on disk when the block begins, and it is closed when the block ends.

    Returns:
        The connection to it, whose tables can be asked, and what was built beside it.

    Raises:
        SqlFileError: a file of sql/catalog or config/ fails.
        StorageError: the disk refuses.
    """
    catalog_binding.check(layout, sql, config_dir)
    previous = layout.catalog if layout.catalog.exists() else None
    state = state_of(layout.catalog)
    schema_files.write(layout)
    contents = empty_catalog.contents(sql, config_dir, layout.trade_conditions)
    frame = empty_catalog.kept(contents)
    if frame is not None:
        try:
            staged.write_bytes(frame)
        except OSError as error:
            raise StorageError(
                staged, f"cannot write the catalog: {error.strerror or error}"
            ) from error
    connection = _connect(staged, layout, config_dir, previous)
    try:
        if frame is None:
            is_whole = empty_catalog.make(connection, sql, layout, config_dir)
            # Else what was made may be of the lists before, or of those after.
            is_same = contents == empty_catalog.contents(sql, config_dir, layout.trade_conditions)
            if contents is not None and is_whole and is_same:
                empty_catalog.keep(connection, staged, contents)
        tables = {
            "changed_files": _table(SourceFile, change.files),
            "changed_runs": _table(Run, change.runs),
            "checked": _table(Checked, change.checked),
            "new_findings": _table(Finding, change.findings),
            "new_reconciliations": _table(Reconciliation, change.reconciliations),
            "no_manifests": _MANIFESTS.empty_table(),
        }
        for name, table in tables.items():
            connection.register(name, table)
        # Where its SQL is of an earlier version.
        connection.execute(
            "create table if not exists reconciliations as from new_reconciliations limit 0"
        )
        for name, added in (
            ("source_files", "changed_files"),
            ("runs", "changed_runs"),
            ("findings", "new_findings"),
            ("reconciliations", "new_reconciliations"),
            ("manifests", "no_manifests"),
        ):
            _add_columns(connection, name, added)
        built = Built()
        generation, rejects = 0, None
        before: set[str] = set()
        types: set[str] = set()
        columns: list[str] = []
        named: list[Manifest] = []
        earlier = manifests.SCHEMA.empty_table()
        names: dict[str, str] = {}
        sessions = SESSIONS.empty_table()
        reference: dict[str, str] | None = None
        if previous is not None:
            check_tables(connection, "replaced", previous, data_folder_id.id_of(layout), state)
            named, earlier = replaced_catalog.published(connection, layout, change)
            columns = replaced_catalog.show(connection, layout, named, change)
            built.broken_off = replaced_catalog.running(connection)
            row = connection.execute("select generation from previous.warehouse").fetchone()
            generation = row[0] if row else 0
            catalog_sql.run(connection, sql, "carry_over", layout, config_dir)
            sessions = replaced_catalog.sessions(connection)
            # Where it has no such macro DuckDB would take the new catalog's, which has.
            connection.execute(within("replaced"))
            rejects = file_names.rejects_names(connection)
            names = file_names.names_before(connection, named)
            reference = reference_files.named(connection, "replaced")
            connection.execute("reset search_path")
            before = replaced_catalog.objects(connection, "replaced")
            types = replaced_catalog.types(connection, "replaced")
            connection.execute("detach previous")
            connection.execute("detach replaced")
        elif change.history:
            replaced_catalog.show_history(connection, layout, change)
            built.broken_off = replaced_catalog.running(connection)
            catalog_sql.run(connection, sql, "carry_over", layout, config_dir)
            connection.execute("detach previous")
        present, fresh = _write_manifests(layout, named, earlier, change, built)
        # By itself each statement would be a transaction, and an fsync.
        connection.begin()
        kinds = with_bars(one.data_type for one in present)
        schema_files.write(layout, kinds[len(DATA_TYPES) :], shared=False)
        connection.register("present_manifests", pa.table(manifests.table(present), _MANIFESTS))
        catalog_sql.run(connection, sql, "add", layout, config_dir)
        connection.execute(
            f"""
            insert into warehouse (
                generation, data_folder, catalog_format, written_by, written_at,
                {WAREHOUSE_ID}, {MADE_OF}
            )
            values (?, ?, ?, ?, ?, ?, ?)
            """,
            [
                generation + 1,
                str(layout.data),
                CATALOG_FORMAT,
                f"flatfile-warehouse {process.version()}",
                datetime.now(UTC).replace(tzinfo=None),
                data_folder_id.id_of(layout),
                catalog_sql.made_of(sql),
            ],
        )
        file_names.set_folder(connection, os.path.realpath(layout.data), layout.cache.name)
        for name in kinds[len(DATA_TYPES) :]:
            catalog_sql.run(connection, sql, catalog_sql.KEPT_BARS, layout, config_dir, length=name)
        _note_sessions(connection, present, sessions)
        _name_reference(connection, layout, reference, change, built)
        file_names.name_rejects(connection, layout, rejects, change)
        cuts = file_names.name_partitions(connection, sql, layout, present, fresh, named, names)
        built.removals += schema_files.write_cuts(layout, cuts)
        # Views of bars that are no longer kept are gone.
        gone = before - replaced_catalog.objects(connection)
        gone |= types and types - replaced_catalog.types(connection, None)
        built.others = sorted([*(name for name in gone if not is_kept_bars(name)), *columns])
        connection.commit()
        # What fails while a connection is closed is not told, and would stay in the log beside.
        connection.execute("force checkpoint")
        yield connection, built
    except duckdb.Error as error:
        raise _refused(staged, error) from error
    finally:
        connection.close()


def _note_sessions(
    connection: duckdb.DuckDBPyConnection, present: Sequence[Manifest], before: pa.Table
) -> None:
    """Fill the table `sessions` with those of which there are rows; the calendar is asked of new
    ones alone, for that of days to come has to be computed first."""
    held = {session for manifest in present for session in manifest.sessions}
    known = before.filter(pc.is_in(before["session"], value_set=pa.array(held, pa.date32())))
    new = sessions_table(sorted(held - set(known["session"].to_pylist())))
    connection.register("held_sessions", pa.concat_tables([known, new]))
    connection.execute("insert into sessions select * from held_sessions order by session")
    connection.unregister("held_sessions")


def _write_manifests(
    layout: Layout,
    named: Sequence[Manifest],
    earlier: pa.Table,
    change: CatalogChange,
    built: Built,
) -> tuple[list[Manifest], dict[manifests.Key, pa.Table]]:
    """Write the manifests of the months that a change touches to the staging folder.

    Args:
        named: those of the present generation.
        earlier: rows of a catalog that has none: all of its months are touched.

    Returns:
        All manifests of the next generation, and the rows of those that are touched.
    """
    added: defaultdict[manifests.Key, list[Partition]] = defaultdict(list)
    removed: defaultdict[manifests.Key, list[PartitionKey]] = defaultdict(list)
    for one in change.partitions:
        added[one.data_type, one.month].append(one)
    for gone in change.removed:
        removed[gone.data_type, gone.month].append(gone)
    by_key = {one.key: one for one in named}
    places = earlier.group_by(["data_type", "month"]).aggregate([]).to_pylist()
    touched = {*added, *removed, *((row["data_type"], row["month"]) for row in places)}
    present = [one for one in named if one.key not in touched]
    fresh: dict[manifests.Key, pa.Table] = {}
    for key in sorted(touched):
        before = manifests.SCHEMA.empty_table()
        if key in by_key:
            before = manifests.read(layout, by_key[key])
        elif earlier.num_rows:
            data_type, month = key
            is_of = pc.equal(earlier["data_type"], data_type)
            before = earlier.filter(pc.and_(is_of, pc.equal(earlier["month"], pa.scalar(month))))
        rows = manifests.changed(before, manifests.rows_of(added[key]), removed[key])
        fresh[key] = rows
        if rows.num_rows:
            manifest, staged = manifests.write(layout.staging, key, rows)
            present.append(manifest)
            built.moves.append((staged, manifest.path(layout)))
    present = [
        replace(one, follows=change.follows[one.key]) if one.key in change.follows else one
        for one in present
    ]
    kept = {one.name for one in present}
    built.superseded = [one.path(layout) for one in named if one.name not in kept]
    in_use = kept | {one.name for one in named}
    for data_type in sorted({data_type for data_type, _ in touched}):
        built.removals += manifests.expired(layout, data_type, in_use)
    return present, fresh


def _name_reference(
    connection: duckdb.DuckDBPyConnection,
    layout: Layout,
    before: dict[str, str] | None,
    change: CatalogChange,
    built: Built,
) -> None:
    """Tell the views of corporate actions and names which files they read.

    They, and the macros that read them, are made before: these files are not in place yet.

    Args:
        before: what the replaced catalog names; None: there is none, or it knew of none. Then the
            files themselves say which they are.
    """
    present = {} if before is None else before
    names = (reference_files.newest(layout) if before is None else before) | change.reference
    built.superseded += [
        layout.reference / each for each in {*present.values()} - {*names.values()}
    ]
    in_use = {*present.values(), *names.values()}
    built.removals += reference_files.expired(layout, in_use)
    for table in REFERENCE_TABLES:
        file_names.set_names(connection, table, names.get(table, ""))


def _add_columns(connection: duckdb.DuckDBPyConnection, table: str, like: str) -> None:
    """Give a table the columns of another that it lacks: its SQL may be of an earlier version."""
    there = {name.lower() for name in replaced_catalog.columns_of(connection, table)}
    for name, kind in replaced_catalog.columns_of(connection, like).items():
        if name.lower() not in there:
            connection.execute(f'alter table {table} add column "{name}" {kind}')


def _refused(staged: Path, error: duckdb.Error) -> StorageError:
    """What DuckDB raises where a disk is full depends on what it was about to do."""
    return StorageError(staged, f"cannot write the catalog: {one_line(error)}")


def adapt(staged: Path, layout: Layout, config_dir: Path) -> list[Path]:
    """Make a catalog that was written on another machine one of this warehouse's folder.

    Returns:
        Files without rows that go with the catalog which is here.

    Raises:
        StorageError: the disk refuses.
    """
    kinds: set[str] = set()
    cuts: dict[str, str] = {}
    connection = _connect(staged, layout, config_dir)
    try:
        connection.begin()
        file_names.set_place(connection, os.path.realpath(layout.data), layout.cache.name)
        connection.execute("update warehouse set data_folder = ?", [str(layout.data)])
        kinds = {
            name
            for (name,) in connection.execute("select distinct data_type from manifests").fetchall()
        }
        cuts = cuts_told(connection, with_bars(kinds))
        connection.commit()
        connection.execute("force checkpoint")
    except duckdb.Error as error:
        raise _refused(staged, error) from error
    finally:
        connection.close()
    schema_files.write(layout, with_bars(kinds))
    return schema_files.write_cuts(layout, cuts)


def _connect(
    path: Path, layout: Layout, config_dir: Path, previous: Path | None = None
) -> duckdb.DuckDBPyConnection:
    try:
        return connect(
            path,
            compatible_with=_COMPATIBLE_WITH,
            folders=[*layout.served, config_dir],
            paths=layout.readable,
            attached={} if previous is None else {"replaced": previous},
            on_copy=_warn,
            spill=layout.staging / "catalog",
        )
    except duckdb.Error as error:
        raise StorageError(path, f"cannot write the catalog: {one_line(error)}") from error


def _warn(holder: str) -> None:
    logger.warning(
        "the catalog is open for writing in %s: what it writes there is lost with this publish,"
        " which takes no notice of it; open it with: duckdb -readonly",
        holder,
    )


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
