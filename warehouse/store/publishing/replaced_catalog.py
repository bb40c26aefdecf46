"""What the catalog says that the next one takes the place of."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import duckdb
import pyarrow as pa

from warehouse.core.datatypes import SESSIONS, completed
from warehouse.core.paths import Layout, month_of, partition_name
from warehouse.store import manifests
from warehouse.store.catalog import CatalogChange
from warehouse.store.manifests import Manifest

_MADE_ANEW = {"trade_conditions", "quote_conditions", "exchanges", "features", "sessions"}
"""Tables of which nothing is carried over."""


def sessions(connection: duckdb.DuckDBPyConnection) -> pa.Table:
    """The calendar of the replaced catalog, of the columns SESSIONS; one before it has none."""
    names = ", ".join(SESSIONS.names)
    try:
        rows = connection.execute(f"select {names} from replaced.main.sessions").fetchall()
        columns = list(zip(*rows, strict=True)) or [()] * len(SESSIONS)
        return pa.table(
            [pa.array(each, field.type) for each, field in zip(columns, SESSIONS, strict=True)],
            schema=SESSIONS,
        )
    except (duckdb.CatalogException, duckdb.BinderException, pa.ArrowException, TypeError):
        # There is none, or it is somebody's own.
        return SESSIONS.empty_table()


def objects(connection: duckdb.DuckDBPyConnection, database: str | None = None) -> set[str]:
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


def types(connection: duckdb.DuckDBPyConnection, database: str | None) -> set[str]:
    """Names of the sequences and types that were made in a database, as `objects` has them.

    To list macros as well DuckDB would go through all functions of its own, at each publish.
    """
    rows = connection.execute(
        """
        select sequence_name as name
        from duckdb_sequences()
        where database_name = coalesce($database, current_database())
        union all
        select type_name as name
        from duckdb_types()
        where database_name = coalesce($database, current_database()) and not internal
        """,
        {"database": database},
    ).fetchall()
    return {name for (name,) in rows}


def published(
    connection: duckdb.DuckDBPyConnection, layout: Layout, change: CatalogChange
) -> tuple[list[Manifest], pa.Table]:
    """What the catalog attached as `replaced` says is published.

    Manifests that are read for the change are looked at; the others are there, and are not read.

    Returns:
        Its manifests; or, of one of an earlier format, which has none, the rows of all of them.
    """
    if "manifests" in objects(connection, "replaced"):
        named = manifests.listed(connection, "replaced")
        manifests.check_there(layout, named)
        read = {(one.data_type, one.month) for one in change.partitions}
        read |= {(gone.data_type, gone.month) for gone in change.removed}
        read |= {(file.data_type, month_of(file.day)) for file in change.files}
        manifests.check(layout, (one for one in named if one.key in read))
        return named, manifests.SCHEMA.empty_table()
    rows = connection.sql("select * exclude (path) from replaced.main.partitions")
    found = rows.to_arrow_table()
    keys = zip(*(found[name].to_pylist() for name in ("data_type", "symbol", "month")), strict=True)
    files = pa.array([partition_name(*key) for key in keys], pa.string())
    found = found.append_column("file", files)
    return [], completed(found, manifests.SCHEMA)


def show(
    connection: duckdb.DuckDBPyConnection,
    layout: Layout,
    named: Sequence[Manifest],
    change: CatalogChange,
) -> list[str]:
    """Show the catalog attached as `replaced` as `previous`, with each table that there is now.

    One that it has not, being of an earlier format, is empty in `previous`; so is a column NULL.
    Its partitions are those of the months of the vendor's files that the change speaks of.

    Returns:
        Columns of these tables that they no longer have, as `table.column`: somebody else's.
    """
    connection.execute("attach ':memory:' as previous")
    rows = "from replaced.main.partitions"
    if "manifests" in objects(connection, "replaced"):
        months = {(file.data_type, month_of(file.day)) for file in change.files}
        rows = manifests.as_query(layout, [one for one in named if one.key in months])
    connection.execute(f"create view previous.main.partitions as {rows}")
    tables = connection.execute(
        """
        select database_name, schema_name, table_name
        from duckdb_tables()
        where database_name in (current_database(), 'replaced')
        """
    ).fetchall()
    there = {name for database, _, name in tables if database == "replaced"}
    others: list[str] = []
    for database, schema, name in tables:
        if database == "replaced" or name in _MADE_ANEW:
            continue
        new = columns_of(connection, f'"{database}".{schema}.{name}')
        before: dict[str, str] = {}
        source = f'(from "{database}".{schema}.{name} limit 0)'
        if name in there:
            source = f"replaced.main.{name}"
            before = columns_of(connection, source)
            known = {column.lower() for column in new}
            others += [f"{name}.{column}" for column in before if column.lower() not in known]
        kept = {column.lower() for column in before}
        shown = ", ".join(
            f'"{column}"'
            if name not in there or column.lower() in kept
            else f'null::{kind} as "{column}"'
            for column, kind in new.items()
        )
        connection.execute(f"create view previous.main.{name} as select {shown} from {source}")
    return others


def running(connection: duckdb.DuckDBPyConnection) -> set[date]:
    """Months of runs that `previous` says are under way: see sql/catalog/carry_over.sql."""
    rows = connection.execute(
        """
        select distinct date_trunc('month', started_at)::date as month
        from previous.runs
        where state = 'running'
        """
    ).fetchall()
    return {month for (month,) in rows}


def show_history(
    connection: duckdb.DuckDBPyConnection, layout: Layout, change: CatalogChange
) -> None:
    """Show what the files of the history say as `previous`, in which all else is empty."""
    tables = connection.execute(
        """
        select database_name, schema_name, table_name
        from duckdb_tables()
        where database_name = current_database()
        """
    ).fetchall()
    connection.execute("attach ':memory:' as previous")
    connection.execute(f"create view previous.main.partitions as {manifests.as_query(layout, [])}")
    for database, schema, name in tables:
        like = f'(from "{database}".{schema}.{name} limit 0)'
        connection.execute(f"create table previous.main.{name} as {like}")
        if name in change.history:
            there = columns_of(connection, like)
            told = change.history[name]
            told = told.select([column for column in told.column_names if column in there])
            connection.register("told", told)
            connection.execute(f"insert into previous.main.{name} by name select * from told")
            connection.unregister("told")


def columns_of(connection: duckdb.DuckDBPyConnection, table: str) -> dict[str, str]:
    """The columns of a table or a query in parentheses, each with its type."""
    relation = connection.sql(f"from {table}")
    return dict(zip(relation.columns, map(str, relation.types), strict=True))
