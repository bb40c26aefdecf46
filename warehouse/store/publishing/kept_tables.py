"""Tables of the catalog that are kept as files too, for it may be lost: ledger and history.

The ledger says what became of the vendor's files, a page for each data type and month. Partitions
know where their rows came from; how many lines a file had, what was left out and what could not be
had, nothing but these would know. The history is runs, restatements, reconciliations and findings:
a page for each month in which runs began, files were restated or bars reconciled, and of findings
for each data type and month of the sessions. A publish writes the pages that its change is on, and
puts them in place together with the catalog: what a page costs is bounded by its month, and so is
how many there are.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from datetime import date
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from warehouse.core import small_files
from warehouse.core.datatypes import DATA_TYPES, completed
from warehouse.core.paths import HISTORY_TABLES, STAGED_CATALOG, Layout, month_of
from warehouse.errors import (
    CorruptPartitionError,
    StorageError,
    UnreadablePartitionError,
    one_line,
)
from warehouse.sqlfolder.determinism import parser
from warehouse.store.catalog import Catalog, CatalogChange, SourceFile
from warehouse.store.catalog_tables import REQUIRED, odd_column
from warehouse.store.publishing.next_catalog import schema_of

_RECORDS = f"""
    select {", ".join(item.name for item in fields(SourceFile))}
    from source_files
    where data_type = $data_type and date_trunc('month', day) = $month
    order by data_type, day, source
"""
_WHOLE_SESSION = date(1, 1, 1)
"""Findings of no session are on the page of this month, which no exchange has known."""
_MONTH_OF = {
    "runs": "date_trunc('month', started_at)::date",
    "restatements": "date_trunc('month', restated_at)::date",
    "reconciliations": "date_trunc('month', checked_at)::date",
    "findings": f"coalesce(date_trunc('month', session)::date, date '{_WHOLE_SESSION}')",
}
_MONTH_NAME = re.compile(r"\d{4}_(?:0[1-9]|1[0-2])", re.ASCII)
_ARROW = {
    "VARCHAR": pa.string(),
    "BIGINT": pa.int64(),
    "DOUBLE": pa.float64(),
    "DATE": pa.date32(),
    "TIMESTAMP": pa.timestamp("us"),
}
_MOST_BYTES, _MOST_ROWS = 64 << 20, 1 << 20
"""Of a page."""

Key = tuple[str, date]
"""A data type and the first day of a month."""


@dataclass(frozen=True)
class Page:
    """One file of the history.

    Attributes:
        table: of which its rows are.
        data_type: of findings; None: of the other tables.
        month: its first day.
    """

    table: str
    data_type: str | None
    month: date

    def path(self, layout: Layout) -> Path:
        return layout.history_of(self.table, self.data_type, self.month)

    @property
    def query(self) -> str:
        """Its rows, in an order that follows from them, for the parameters of `values`."""
        columns = ", ".join(f'"{name}"' for name in schema_of_history(self.table).names)
        of_type = "" if self.data_type is None else "and data_type = $data_type"
        return f"""
            select {columns}
            from {self.table}
            where {_MONTH_OF[self.table]} = $month {of_type}
            order by all
        """

    @property
    def values(self) -> dict[str, object]:
        of_type = {} if self.data_type is None else {"data_type": self.data_type}
        return {"month": self.month, **of_type}


def schema_of_history(table: str) -> pa.Schema:
    """The columns of a table of the history, as its pages have them."""
    kinds = REQUIRED[table].items()
    return pa.schema([(name, _ARROW[kind]) for kind, names in kinds for name in names.split()])


def stage(
    connection: duckdb.DuckDBPyConnection,
    layout: Layout,
    change: CatalogChange,
    broken_off: Iterable[date] = (),
) -> tuple[list[tuple[Path, Path]], list[Path]]:
    """Write the pages that a change is on to the staging folder, as the staged catalog has them.

    All of the history where there is none yet: a warehouse of an earlier version has none.

    Args:
        connection: to the staged catalog.
        broken_off: months of earlier runs that the catalog now says were killed.

    Returns:
        (staged, final) of each, and the pages that have no row any more.

    Raises:
        StorageError: DuckDB cannot read it, as where the disk is full.
    """
    moves: list[tuple[Path, Path]] = []
    removals = []
    try:
        for key in sorted({(file.data_type, month_of(file.day)) for file in change.files}):
            values = dict(zip(("data_type", "month"), key, strict=True))
            table = connection.sql(_RECORDS, params=values).to_arrow_table()
            path = layout.staging / f"ledger-{len(moves)}.parquet"
            _write(completed(table, schema_of(SourceFile)), path)
            moves.append((path, layout.ledger_of(*key)))
        is_whole = change.is_history_anew or not has_history(layout)
        pages = _all(connection, layout) if is_whole else _touched(connection, layout, change)
        pages |= {Page("runs", None, month) for month in broken_off}
        for page in sorted(pages, key=lambda one: one.path(layout)):
            table = connection.sql(page.query, params=page.values).to_arrow_table()
            path = layout.staging / f"history-{len(moves)}.parquet"
            if table.num_rows:
                _write(completed(table, schema_of_history(page.table)), path)
                moves.append((path, page.path(layout)))
            elif os.path.lexists(page.path(layout)):
                removals.append(page.path(layout))
    except duckdb.Error as error:
        raise StorageError(
            layout.data / STAGED_CATALOG, f"cannot be read back: {one_line(error)}"
        ) from error
    return moves, removals


def _write(table: pa.Table, path: Path) -> None:
    pq.write_table(table, path, compression="zstd", write_page_checksum=True)


def _touched(
    connection: duckdb.DuckDBPyConnection, layout: Layout, change: CatalogChange
) -> set[Page]:
    """The pages of the history that a change is on."""
    found = {Page("runs", None, month_of(run.started_at.date())) for run in change.runs}
    if change.files:
        stamps = [file.recorded_at for file in change.files]
        months = connection.execute(
            f"""
            select distinct {_MONTH_OF["restatements"]}
            from restatements
            where restated_at in (select unnest($stamps))
            """,
            {"stamps": stamps},
        ).fetchall()
        found |= {Page("restatements", None, month) for (month,) in months}
    found |= {
        Page("reconciliations", None, month_of(kept.checked_at.date()))
        for kept in change.reconciliations
    }
    for one in change.findings:
        month = month_of(one.session or _WHOLE_SESSION)
        found.add(Page("findings", one.data_type, month))
    if change.checked:
        for page in pages_there(layout, ["findings"]):
            # Of no session, whatever was checked takes the place of them.
            is_checked = any(
                one.data_type == page.data_type
                and (page.month == _WHOLE_SESSION or month_of(one.first) <= page.month <= one.last)
                for one in change.checked
            )
            found |= {page} if is_checked else set()
    return found


def _all(connection: duckdb.DuckDBPyConnection, layout: Layout) -> set[Page]:
    """All pages that there are, or are to be."""
    found = set(pages_there(layout))
    for table in HISTORY_TABLES:
        of_type = "data_type" if table == "findings" else "null"
        rows = connection.execute(f"select distinct {of_type}, {_MONTH_OF[table]} from {table}")
        for data_type, month in rows.fetchall():
            # A stranger's catalog may speak of another, which would be a path.
            if data_type is None or data_type in DATA_TYPES:
                found.add(Page(table, data_type, month))
    return found


# The ledger


def page_of(catalog: Catalog, key: Key) -> pa.Table:
    """What the file of the ledger is to hold, as `catalog` has it."""
    data_type, month = key
    page = catalog.table(_RECORDS, data_type=data_type, month=month)
    empty = schema_of(SourceFile).empty_table()
    return empty if page is None else completed(page, empty.schema)


def ledger_paths(layout: Layout) -> Iterator[Path]:
    """The ledger's files."""
    for name in DATA_TYPES:
        yield from sorted((layout.ledger / name).glob("*.parquet"))


def read_ledger(path: Path) -> pa.Table:
    """One file of the ledger: what it says could stand in the catalog's table.

    Raises:
        CorruptPartitionError: it cannot be read, is none, or says what no publish writes.
        UnreadablePartitionError: the system refuses to read it, which says nothing of it.
    """
    return _read(path, "source_files", schema_of(SourceFile))


def _read(
    path: Path,
    table: str,
    schema: pa.Schema,
    others: str = "false",
    values: dict[str, object] | None = None,
) -> pa.Table:
    """A file whose rows could stand in a table of the catalog, page checksums verified.

    Args:
        others: the condition of rows that are another file's.
        values: its parameters.
    """
    try:
        content, _ = small_files.read_sidecar(path, _MOST_BYTES)
        found = completed(small_files.parsed_parquet(content, _MOST_ROWS), schema)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise _not_read(path, error) from error
    with parser() as shared, shared.cursor() as connection:
        connection.register("page", found)
        try:
            odd = odd_column(connection, "page", table)
            if odd is None:
                ask = f"select count(*) from page where {others}"
                ((count,),) = connection.execute(ask, values).fetchall()
                odd = f"{count:,} of its rows are another page's" if count else None
        except duckdb.Error as error:
            odd = one_line(error, 200)
    if odd is not None:
        raise _corrupt(path, odd)
    return found


def _not_read(path: Path, error: Exception) -> CorruptPartitionError:
    """The error for a file that could not be read.

    Raises:
        MemoryError: for want of memory alone; Arrow's own is one too.
    """
    if isinstance(error, MemoryError):
        raise error
    if isinstance(error, FileNotFoundError):
        return _corrupt(path, "missing")
    if isinstance(error, OSError) and error.errno in small_files.REFUSED:
        return UnreadablePartitionError(path, os.strerror(error.errno))
    return _corrupt(path, one_line(error, 200))


def _corrupt(path: Path, problem: str) -> CorruptPartitionError:
    return CorruptPartitionError(path, problem, "warehouse verify --repair")


# The history


def pages_there(layout: Layout, tables: Iterable[str] = HISTORY_TABLES) -> Iterator[Page]:
    """The pages of the history that there are, by their names."""
    for table in tables:
        for data_type in DATA_TYPES if table == "findings" else (None,):
            for path in sorted(layout.history_of(table, data_type, date.min).parent.glob("*")):
                if path.suffix == ".parquet" and _MONTH_NAME.fullmatch(path.stem):
                    year, month = map(int, path.stem.split("_"))
                    if year:
                        yield Page(table, data_type, date(year, month, 1))


def has_history(layout: Layout) -> bool:
    """Whether there is any of it: in a warehouse of an earlier version there is none yet."""
    return next(pages_there(layout), None) is not None


def history_of(catalog: Catalog, layout: Layout) -> dict[Page, pa.Table]:
    """What each page of the history is to hold, as `catalog` has it: those that there are too."""
    found = {page: schema_of_history(page.table).empty_table() for page in pages_there(layout)}
    for table in HISTORY_TABLES:
        of_type = "data_type" if table == "findings" else "null"
        rows = catalog.rows(f"select distinct {of_type} as t, {_MONTH_OF[table]} as m from {table}")
        for row in rows:
            if row["t"] is None or row["t"] in DATA_TYPES:
                page = Page(table, row["t"], row["m"])
                due = catalog.table(page.query, **page.values)
                if due is not None:
                    found[page] = completed(due, schema_of_history(table))
    return found


def read_page(layout: Layout, page: Page) -> pa.Table:
    """One page of the history: what it says could stand in a catalog's table, and is its month's.

    Raises:
        CorruptPartitionError: it is none, or says what no publish writes.
        UnreadablePartitionError: the system refuses to read it, which says nothing of it.
    """
    others = f"{_MONTH_OF[page.table]} <> $month"
    if page.data_type is not None:
        others += " or data_type is distinct from $data_type"
    schema = schema_of_history(page.table)
    return _read(page.path(layout), page.table, schema, others, page.values)


def read_history(layout: Layout) -> tuple[dict[str, pa.Table], list[CorruptPartitionError]]:
    """What the history says, by table, and its pages that cannot be read.

    Raises:
        UnreadablePartitionError: the system refuses to read one, which says nothing of it.
    """
    found: dict[str, list[pa.Table]] = {}
    damaged = []
    for page in pages_there(layout):
        try:
            found.setdefault(page.table, []).append(read_page(layout, page))
        except UnreadablePartitionError:
            raise
        except CorruptPartitionError as error:
            damaged.append(error)
    return {table: pa.concat_tables(some) for table, some in found.items() if some}, damaged
