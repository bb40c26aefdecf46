"""What the tables of a catalog must be, for one that is found may be damaged, or a stranger's.

Where a table is expected a view would be asked in its place, and could say anything, of any file
that may be read. A column of another kind, or none, would end in the middle of an answer.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import duckdb

from warehouse.core.duckdb_connection import in_time, quoted
from warehouse.core.paths import Layout, glob_literal
from warehouse.errors import DamagedCatalogError
from warehouse.store import data_folder_id

CATALOG_FORMAT = 5

WAREHOUSE_ID = "warehouse_id"
MADE_OF = "made_of"
"""Columns of the table `warehouse`, which a catalog of an earlier version has not."""

SINCE = {("source_files", "rows_taken_over")}
"""Columns that came since the format did: a catalog may lack them, until a command writes."""

REQUIRED = {
    "warehouse": {
        "VARCHAR": "data_folder written_by",
        "BIGINT": "generation",
        "INTEGER": "catalog_format",
        "TIMESTAMP": "written_at",
    },
    "manifests": {
        "VARCHAR": "data_type name sha256",
        "BIGINT": "bytes partitions rows cache_bytes",
        "DATE": "month",
        "DATE[]": "sessions",
    },
    "source_files": {
        "VARCHAR": "data_type symbol source state problem etag sha256 vouched_by"
        " fingerprint run_id",
        "BIGINT": "bytes lines rows_published rows_rejected rows_unselected rows_taken_over"
        " raw_modified_ns raw_inode",
        "DATE": "day",
        "TIMESTAMP": "recorded_at",
        "MAP(VARCHAR, BIGINT)": "rejects_by_reason",
        "VARCHAR[]": "symbols",
    },
    "runs": {
        "VARCHAR": "run_id command state problem version",
        "DOUBLE": "download_time processing_time cache_hit_rate seconds cpu_seconds",
        "BIGINT": "records_processed errors_count memory_usage files_here files_fetched"
        " bytes_fetched retries files files_set_aside lines rows_published rows_rejected"
        " rows_unselected partitions bytes_read bytes_written peak_memory_bytes",
        "TIMESTAMP": "started_at",
    },
    "restatements": {
        "VARCHAR": "data_type symbol source earlier_etag earlier_sha256 etag sha256 run_id",
        "BIGINT": "earlier_rows rows_published",
        "DATE": "day",
        "TIMESTAMP": "restated_at",
    },
    "findings": {
        "VARCHAR": "run_id rule severity data_type symbol examples allowed",
        "BIGINT": "count",
        "DATE": "session",
        "TIMESTAMP": "checked_at",
    },
    "reconciliations": {
        "VARCHAR": "run_id data_type symbols hours field difference_class cause examples",
        "BIGINT": "compared equal count",
        "DATE": "first_session last_session",
        "TIMESTAMP": "checked_at",
    },
    "features": {
        "VARCHAR": "name description parameters lookback grain columns source problem sql",
    },
}
"""Table → type → columns. A later column may be lacking: it is NULL once the catalog is carried
over. What is here was there in every catalog of this format."""

_OPTIONAL = {"features", "reconciliations"}
_TABLES = {*REQUIRED, "trade_conditions", "quote_conditions", "exchanges", "sessions"}
"""Whatever has one of these names is asked as a table, by a writer who hears no Ctrl-C meanwhile.
DuckDB finds names in any case."""

_FEW_VALUES, _VALUE_BYTES = 200_000, 2
"""So many values of a column there may be however small the file is; beyond, one for so many bytes
of it: each row that a publish writes takes several times that, were it only for a hash or a key."""
_MOST_TEXT = 1 << 30
_UNPACKED = 64
"""The texts of a column may take so many bytes, or so many times those of the file."""
_VECTOR, _MOST_AT_ONCE = 2048, 4 << 30
"""DuckDB unpacks so many values at once; they may take so many bytes together."""

FILLED = {
    "warehouse": "generation data_folder catalog_format written_by written_at",
    "manifests": "data_type month name bytes sha256 partitions rows cache_bytes sessions",
    "source_files": "data_type day source state recorded_at",
    "runs": "run_id command started_at state version seconds files files_set_aside lines"
    " rows_published rows_rejected partitions bytes_read bytes_written peak_memory_bytes",
    "restatements": "data_type day source earlier_sha256 earlier_rows sha256 restated_at",
    "findings": "run_id checked_at rule severity data_type count examples",
    "reconciliations": "run_id checked_at data_type hours field compared equal count examples",
}
"""Table → columns that have a value in each row."""

_MOST_ASKED = 2_000_000
"""No market has as many splits, dividends and names; each row becomes Python objects."""

FIRST_DAY, LAST_DAY = "0001-01-01", "9999-11-30"
"""Days that Python has; and a month, whose last day is asked for."""
_MOST_SECONDS = 1e10
_MOST_GENERATIONS = 1 << 62
_ODD = {
    "manifests": [
        (
            "sessions",
            "list_count(sessions) < len(sessions) or coalesce(list_min(sessions)"
            f" < '{FIRST_DAY}' or list_max(sessions) > '{LAST_DAY}', false)",
        )
    ],
    "warehouse": [("generation", f"generation not between 0 and {_MOST_GENERATIONS}")],
    "source_files": [
        ("symbols", "list_count(symbols) < len(symbols)"),
        (
            "rejects_by_reason",
            "list_count(map_values(rejects_by_reason)) < cardinality(rejects_by_reason)",
        ),
    ],
}


State = tuple[tuple[int, int, int] | None, ...]
"""What tells a catalog from one before or after: of the file and of its log inode, time, bytes."""

_sound: set[tuple[str, str | None, State]] = set()
"""Catalogs that this process has looked at."""


def state_of(path: Path) -> State:
    """What stands at a catalog's place now; taken before it is attached."""
    found: list[tuple[int, int, int] | None] = []
    for name in (str(path), f"{path}.wal"):
        try:
            facts = os.stat(name)
            found.append((facts.st_ino, facts.st_mtime_ns, facts.st_size))
        except OSError:
            found.append(None)
    return tuple(found)


def check_tables(
    connection: duckdb.DuckDBPyConnection,
    database: str,
    path: Path,
    warehouse_id: str | None,
    state: State,
) -> None:
    """Refuse an attached catalog whose tables are none, or not those that this version writes.

    Of a catalog of another format only this is said: that what has a table's name is one. The same
    file is looked at once a process.

    Args:
        warehouse_id: that of the data folder it stands in; None: it has none.
        state: what stood there before it was attached.

    Raises:
        DamagedCatalogError: names what is wrong.
        duckdb.Error: it cannot be read.
    """
    known = str(path), warehouse_id, state
    if known in _sound:
        return
    _check_tables(connection, database, path, warehouse_id)
    if state_of(path) == state:
        # Else another may have been attached than stood there.
        _sound.clear()
        _sound.add(known)


def note_sound(staged: Path, path: Path, warehouse_id: str | None) -> None:
    """Look no more at a catalog that this process has just written, once it is renamed to `path`.

    Args:
        warehouse_id: that of the data folder.
    """
    _sound.clear()
    _sound.add((str(path), warehouse_id, state_of(staged)))


def _check_tables(
    connection: duckdb.DuckDBPyConnection, database: str, path: Path, warehouse_id: str | None
) -> None:
    found = connection.execute(
        """
        select table_name, sql
        from duckdb_tables()
        where database_name = ? and schema_name = 'main'
        """,
        [database],
    ).fetchall()
    tables = {name.lower() for name, _ in found}
    if own := tables & _TABLES:
        _check_sizes(connection, database, path, own)
    if lacking := _TABLES - tables:
        _check_no_views(connection, database, path, lacking)
    for name, sql in found:
        if name.lower() in _TABLES and "GENERATED ALWAYS" in sql:
            # It could be any SQL, asked anew for each row.
            raise DamagedCatalogError(path, f"its table {name} has a column that is computed")
    if "warehouse" in tables:
        columns = _columns(connection, database, "warehouse")
        if columns.get(WAREHOUSE_ID) == "VARCHAR" and warehouse_id is not None:
            asked = f"select max({WAREHOUSE_ID}) from {database}.main.warehouse"
            ((found_id,),) = connection.execute(asked).fetchall()
            if found_id not in (None, warehouse_id):
                raise DamagedCatalogError(path, "it is another warehouse's")
        if columns.get("catalog_format") == "INTEGER":
            asked = f"select max(catalog_format) from {database}.main.warehouse"
            ((form,),) = connection.execute(asked).fetchall()
            if form is None:
                raise DamagedCatalogError(path, "its table warehouse is empty")
            if form != CATALOG_FORMAT:
                # Of these formats it is a table.
                _check_no_views(connection, database, path, {"partitions"} - tables)
                return
    for name, types in REQUIRED.items():
        if name not in tables:
            if name in _OPTIONAL:
                continue
            raise DamagedCatalogError(path, f"it has no table {name}")
        columns = _columns(connection, database, name)
        for kind, names in types.items():
            for column in names.split():
                if (name, column) in SINCE and column not in columns:
                    continue
                if columns.get(column) != kind:
                    is_what = columns.get(column, "missing")
                    raise DamagedCatalogError(
                        path, f"{column} of its table {name} is {is_what}, not {kind}"
                    )
        _check_values(connection, database, path, name)


def _check_sizes(
    connection: duckdb.DuckDBPyConnection, database: str, path: Path, tables: Collection[str]
) -> None:
    """Refuse tables that take far more memory than their file takes disk; none of them is read.

    A value that repeats takes next to nothing in the file, and is read out as often as it stands.
    """
    size = path.stat().st_size
    segments = " union all ".join(
        f"""
        select '{table}' as table_name, column_path, column_name, count, stats
        from pragma_storage_info('{database}.main.{table}')
        where segment_type <> 'VALIDITY'
        """
        for table in sorted(tables)
    )
    columns = connection.execute(
        f"""
        with
            segments as ({segments}),

            measured as (
                select
                    *,
                    coalesce(
                        try_cast(
                            regexp_extract(
                                stats::varchar, 'max_string_length[^0-9]{{1,4}}([0-9]+)', 1
                            ) as bigint
                        ),
                        0
                    ) as longest
                from segments
            )

        select
            table_name,
            any_value(column_name),
            sum(count)::bigint as held,
            max(least(count, {_VECTOR})::hugeint * longest) > {_MOST_AT_ONCE} as is_too_much,
            sum(count::hugeint * longest) > {_MOST_TEXT} as may_be_too_much
        from measured
        group by table_name, column_path
        having held > {_FEW_VALUES} or is_too_much or may_be_too_much
        """
    ).fetchall()
    for table, column, held, is_too_much, may_be_too_much in columns:
        if held > max(size // _VALUE_BYTES, _FEW_VALUES):
            problem = f"its table {table} has {held:,} values of {column} in {size:,} bytes"
            raise DamagedCatalogError(path, problem)
        if may_be_too_much and not is_too_much:
            asked = f"select sum(strlen({column}::varchar)) from {database}.main.{table}"
            ((total,),) = connection.execute(asked).fetchall()
            is_too_much = (total or 0) > max(_MOST_TEXT, _UNPACKED * size)
        if is_too_much:
            problem = f"{column} of its table {table} holds texts too long to be read"
            raise DamagedCatalogError(path, problem)


def _check_values(
    connection: duckdb.DuckDBPyConnection, database: str, path: Path, table: str
) -> None:
    odd = odd_column(connection, f"{database}.main.{table}", table)
    if odd is not None:
        raise DamagedCatalogError(path, odd)


def odd_column(connection: duckdb.DuckDBPyConnection, relation: str, table: str) -> str | None:
    """A value that no publish writes, in words: a NULL, a day that no calendar has, or a time
    or a share that is no number from 0 to what a run may take.

    The columns of a table of ours may be declared so; those of a stranger's need not be.

    Args:
        relation: what is asked, which has the columns of `table`.
    """
    asked = [(name, f"{name} is null") for name in FILLED.get(table, "").split()]
    asked += [
        (name, f"{name} not between '{FIRST_DAY}' and '{LAST_DAY}'")
        for kind in ("DATE", "TIMESTAMP")
        for name in REQUIRED[table].get(kind, "").split()
    ]
    # A double of ours is a share, or a time in seconds: no run lasts for centuries.
    asked += [
        (name, f"{name} not between 0 and {_MOST_SECONDS}")
        for name in REQUIRED[table].get("DOUBLE", "").split()
    ]
    asked += _ODD.get(table, [])
    if not asked:
        return None
    conditions = ", ".join(f"coalesce(bool_or({condition}), false)" for _, condition in asked)
    rows = connection.execute(f"select {conditions} from {relation}").fetchall()
    for (name, _), is_odd in zip(asked, rows[0], strict=True):
        if is_odd:
            return f"{name} of its table {table} has an impossible value"
    return None


def _columns(connection: duckdb.DuckDBPyConnection, database: str, table: str) -> dict[str, str]:
    relation = connection.sql(f"from {database}.main.{table}")
    return dict(zip(relation.columns, map(str, relation.types), strict=True))


@dataclass(frozen=True)
class Relation:
    """What the library asks of a table or a view that files of sql/ make, and a stranger's may.

    Attributes:
        name: of it.
        columns: type by name, in order.
        sound: the condition that each row of ours fulfils.
    """

    name: str
    columns: Mapping[str, str]
    sound: str


def _day(name: str) -> str:
    # People write the last day that there is for what has no end.
    return f"{name} between '{FIRST_DAY}' and '{date.max}'"


def _factor(text: str) -> str:
    return f"isfinite({text}) and {text} >= 0"


ACTIONS = Relation(
    "actions",
    {
        **dict.fromkeys(("symbol", "kind", "id"), "varchar"),
        "session": "date",
        **dict.fromkeys(("split_from", "split_to", "price_factor"), "double"),
    },
    f"symbol is not null and id is not null and {_day('session')} and case kind when 'split'"
    f" then split_from > 0 and {_factor('split_to / split_from')}"
    f" and {_factor('split_from / split_to')}"
    f" when 'dividend' then {_factor('price_factor')} else false end",
)
SECURITIES = Relation(
    "securities",
    {"security": "varchar", "symbol": "varchar", "first_session": "date", "last_session": "date"},
    f"security is not null and symbol is not null and {_day('first_session')}"
    f" and coalesce({_day('last_session')}, true)",
)
CONDITIONS = Relation(
    "trade_conditions",
    {
        "id": "smallint",
        "name": "varchar",
        **dict.fromkeys(("updates_high_low", "updates_open_close", "updates_volume"), "boolean"),
        **dict.fromkeys(("valid_from", "valid_to"), "date"),
    },
    f"id is not null and coalesce({_day('valid_from')}, true)"
    f" and coalesce({_day('valid_to')}, true)",
)


def asked(
    connection: duckdb.DuckDBPyConnection,
    relation: Relation,
    path: Path,
    where: str = "true",
    order: str = "all",
    **parameters: Any,
) -> list[dict[str, Any]]:
    """Rows of such a relation: of its types, in time, sound, and no more than memory holds.

    Args:
        path: of the catalog.
        where, order: of ours; they may use `parameters`.

    Raises:
        DamagedCatalogError: it says what none of ours would.
        duckdb.Error: it cannot be asked, or not in time.
    """
    columns = ", ".join(f"{name}::{kind} as {name}" for name, kind in relation.columns.items())
    sql = (
        f"select {', '.join(relation.columns)}, coalesce({relation.sound}, false) as is_sound"
        f" from (select {columns} from {relation.name} where {where} limit {_MOST_ASKED + 1})"
        f" order by {order}"
    )
    rows = in_time(
        connection, relation.name, lambda: connection.execute(sql, parameters).fetchall()
    )
    if len(rows) > _MOST_ASKED:
        raise DamagedCatalogError(path, f"its {relation.name} has more than {_MOST_ASKED:,} rows")
    if not all(row[-1] for row in rows):
        raise DamagedCatalogError(path, f"its {relation.name} has an impossible value")
    return [dict(zip(relation.columns, row, strict=False)) for row in rows]


def place(layout: Layout) -> list[str]:
    """Statements after which the catalog's views read what stands beside it (see catalog/files).

    A temporary macro goes before one of the catalog.
    """
    return [
        f"create or replace temp macro data_folder() as {quoted(os.path.realpath(layout.data))}",
        f"create or replace temp macro cache_name() as {quoted(layout.cache.name)}",
        "create or replace temp macro is_in_place() as true",
    ]


def id_told(connection: duckdb.DuckDBPyConnection, database: str) -> str | None:
    """The id of the warehouse that an attached catalog is of; None where it says none."""
    try:
        asked = f"select max({WAREHOUSE_ID})::varchar from {database}.main.warehouse"
        ((found,),) = connection.execute(asked).fetchall()
    except (duckdb.CatalogException, duckdb.BinderException):
        return None
    return None if found is None else str(found)


def made_elsewhere(
    connection: duckdb.DuckDBPyConnection, database: str, layout: Layout
) -> str | None:
    """The data folder that views or macros of an attached catalog name, where that is another.

    `place` does not lead those of an earlier version to where the catalog stands. It may be of any
    format; None: there are no such ones.

    Raises:
        duckdb.Error: it cannot be read.
    """
    try:
        asked = f"select max(data_folder)::varchar from {database}.main.warehouse"
        ((folder,),) = connection.execute(asked).fetchall()
    except (duckdb.CatalogException, duckdb.BinderException):
        return None
    if not folder or os.path.realpath(folder) == os.path.realpath(layout.data):
        return None
    named = connection.execute(
        """
        select 1
        from (
            select sql as body from duckdb_views() where database_name = $database
            union all
            select macro_definition from duckdb_functions() where database_name = $database
        )
        where contains(body, $text) or contains(body, $pattern)
        limit 1
        """,
        {
            "database": database,
            "text": f"{quoted(folder)[:-1]}/",
            "pattern": f"'{glob_literal(folder)}/",
        },
    ).fetchall()
    return str(folder) if named else None


def alone_as_opened(layout: Layout) -> str:
    """The statement, after those of `place`, by which a shell notices what would take its place.

    One that stays open would answer with the rows of a warehouse that was put there since; and one
    to which a second is attached, with its own rows where it is asked for those of the second.
    """
    same = "true"
    if (opened := data_folder_id.id_of(layout)) is not None:
        marker = f"{os.path.realpath(layout.data)}/{layout.marker.name}"
        same = (
            f"coalesce((select bool_or(contains(content, {quoted(opened)}))"
            f" from read_text('{glob_literal(marker)}')), false)"
        )
    return (
        "create or replace temp macro is_in_place() as (select case"
        " when count(*) filter (path glob '*/warehouse.duckdb' or made_in is not null) > 1"
        f" then error({quoted(_TWO_ATTACHED)})"
        f" when not {same} then error({quoted(_ANOTHER)}) else true end"
        " from duckdb_databases() left join (select database_name, comment as made_in"
        " from duckdb_tables() where table_name = 'warehouse') using (database_name))"
    )


_TWO_ATTACHED = (
    "another warehouse is attached, and this shell would take its own files for the other's: ask"
    " each in a shell of its own, or attach both to a plain duckdb"
)
_ANOTHER = "another warehouse stands here now than the one this shell was opened on: open it anew"

ALONE = "create or replace temp macro is_the_only_one() as true"
"""The statement after which macros ask for no other warehouse, nor for tables of a user's own.

A connection of the library has none; the temporary views that it does have are what macros are to
take. And DuckDB keeps no order of rows beside a subquery, as the one in that macro.
"""


def dated_conditions(connection: duckdb.DuckDBPyConnection, database: str) -> list[str]:
    """Statements after which the attached catalog's rules have the dates of this version.

    Those of a catalog of an earlier version have none, and are valid always. A temporary view goes
    before a table of the catalog.
    """
    try:
        columns = _columns(connection, database, "trade_conditions")
    except duckdb.CatalogException:
        return []
    lacking = [
        f"null::date as {name}" for name in ("valid_from", "valid_to") if name not in columns
    ]
    if not lacking:
        return []
    return [
        "create or replace temp view trade_conditions as"
        f" select *, {', '.join(lacking)} from {database}.main.trade_conditions"
    ]


def _check_no_views(
    connection: duckdb.DuckDBPyConnection, database: str, path: Path, lacking: AbstractSet[str]
) -> None:
    """Refuse a view in the place of a table that is not there."""
    views = connection.execute(
        "select view_name from duckdb_views() where database_name = ? and schema_name = 'main'",
        [database],
    ).fetchall()
    for (name,) in views:
        if name.lower() in lacking:
            raise DamagedCatalogError(path, f"its {name} is a view and no table")
