"""One piece of a raw file through sql/ingest and sql/clean: each row typed, kept or refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import Any, TypeVar

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from warehouse.core.calendar import day_bounds_ns, last_day_of_month
from warehouse.core.datatypes import DataType
from warehouse.core.duckdb_connection import connect, end_of_thread, is_interrupt, watched
from warehouse.core.paths import RawFile
from warehouse.errors import RawFileError, SqlFileError, StorageError, one_line
from warehouse.ingest.inflate import LINES, MEMORY_FILES, MEMORY_FOLDERS, Piece
from warehouse.ingest.typed.typed_read import (
    column_types,
    proved,
    shipped_file,
    statement_of,
    typed_statement,
)
from warehouse.sqlfolder.determinism import nodes, parse
from warehouse.sqlfolder.files import SqlFile, SqlFolder
from warehouse.sqlfolder.select_check import INGESTING, check_file

# Of the memory limit, for a DuckDB that has it while the gathered rows are on disk.
_ALONE_SHARE = 1.5
_MEMORY_OF_THREAD = 256 << 20

T = TypeVar("T")


@dataclass(frozen=True)
class CleanedPiece:
    """The rows of a piece.

    Attributes:
        rows: the data type's columns, `reason` (NULL: kept) and `line_number`, in the file's order.
        malformed: `line_number` and `line`, the text, of the lines that are no rows at all.
        texts: the same of the rows a field of which has no value of its type.
    """

    rows: pa.Table
    malformed: pa.Table
    texts: pa.Table


class Cleaner:
    """A DuckDB that reads pieces, for any thread; close it, or use `with`.

    Args:
        sql: the folder of SQL files.
        scratch: where DuckDB puts what does not fit into memory.
        threads: how many it may use.
        memory_bytes: its memory limit.
        settings: values of the statements' parameters that come from the configuration.
        folders, paths: what it may read beside the pieces and `scratch`.
    """

    def __init__(
        self,
        sql: SqlFolder,
        scratch: Path,
        threads: int,
        memory_bytes: int,
        settings: dict[str, Any],
        folders: Sequence[Path] = (),
        paths: Sequence[str] = (),
    ) -> None:
        self._sql, self._scratch, self._settings = sql, scratch, settings
        self._threads, self._memory_bytes = threads, memory_bytes
        self._ended, self._with_thread = Event(), end_of_thread()
        self._connection = connect(
            folders=[*folders, scratch, *MEMORY_FOLDERS],
            paths=[*paths, *MEMORY_FILES],
            spill=scratch / "duckdb",
            threads=threads,
            memory_bytes=memory_bytes,
        )

    def __enter__(self) -> Cleaner:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    @contextmanager
    def ending(self) -> Iterator[None]:
        """Nothing is asked any more where the block is left by an error.

        To be entered after the pools of threads that ask: these wait for their threads, which hear
        of no Ctrl-C.
        """
        try:
            yield
        except BaseException:
            self._ended.set()
            raise

    def _is_ended(self) -> bool:
        with_thread = self._with_thread
        return self._ended.is_set() or (with_thread is not None and with_thread.is_set())

    def _watched(self, connection: duckdb.DuckDBPyConnection, work: Callable[[], T]) -> T:
        """What `work` gives; a user's own SQL may never end, and Ctrl-C ends it."""
        return watched(connection, None, work, self._is_ended)

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A further connection to the same DuckDB, for another thread; close it."""
        return self._connection.cursor()

    def clean(self, file: RawFile, kind: DataType, path: Path, piece: Piece) -> CleanedPiece:
        """All rows of `piece`, which came from `file` at `path`.

        Raises:
            RawFileError: DuckDB cannot read the piece.
            SqlFileError: a statement fails, or does not return the data type's columns.
        """
        try:
            with self.cursor() as connection:
                rows = self._read(connection, file, kind, piece)
        except duckdb.InvalidInputException as error:
            raise RawFileError(path, f"DuckDB cannot read it: {one_line(error)}") from error
        if rows.num_rows != piece.rows:
            raise self._unequal("clean", kind, rows.num_rows, piece.rows)
        rows = rows.append_column("line_number", pa.array(piece.line_numbers, pa.int64()))
        return CleanedPiece(rows, piece.malformed, _untyped(rows, piece))

    def _read(
        self, connection: duckdb.DuckDBPyConnection, file: RawFile, kind: DataType, piece: Piece
    ) -> pa.Table:
        ingest, clean = self._sql[f"ingest/{kind.name}"], self._sql[f"clean/{kind.name}"]
        check_file(connection, ingest, INGESTING)
        check_file(connection, clean)
        last = last_day_of_month(file.day) if file.monthly else file.day
        start, end = day_bounds_ns(file.day, last)
        values = {
            "file": piece.path,
            "columns": dict.fromkeys(piece.header, "VARCHAR"),
            "day": None if file.monthly else file.day,
            "start": start,
            "end": end,
            "symbol": file.symbol,
            **self._settings,
        }
        typed = typed_statement(self._sql, kind, piece.header)
        if typed is not None:
            rows = self._read_typed(connection, typed, clean, kind, piece, values)
            if rows is not None:
                return rows
        wanted = ingest.parameters | clean.parameters
        statement = f"with ingested as (\n{ingest.body}\n) select * from (\n{clean.body}\n)"
        values = {name: values[name] for name in wanted if name in values}
        try:
            rows = self._run(connection, clean, statement, values)
        except SqlFileError:
            # Whose fault it is shows where the first of the two is run alone.
            own = {name: values[name] for name in ingest.parameters if name in values}
            self._run(connection, ingest, f"select * from (\n{ingest.body}\n) limit 0", own)
            raise
        expected = pa.schema([*kind.columns, ("reason", pa.string())])
        if rows.schema != expected:
            raise SqlFileError(
                clean.path,
                f"returns {_columns(rows.schema)}; it must return {_columns(expected)}",
            )
        return rows

    def _read_typed(
        self,
        connection: duckdb.DuckDBPyConnection,
        typed: SqlFile,
        clean: SqlFile,
        kind: DataType,
        piece: Piece,
        values: dict[str, Any],
    ) -> pa.Table | None:
        """The rows as sql/ingest would read them, read sooner; None: it must."""
        wanted = typed.parameters | clean.parameters
        given = {name: values[name] for name in wanted} | {"columns": column_types(piece.header)}
        try:
            statement = statement_of(typed, clean)
            found = self._watched(
                connection, lambda: connection.sql(statement, params=given).to_arrow_table()
            )
        except duckdb.Error as error:
            if is_interrupt(error):
                raise self._explained(clean, error) from error
            # A field that is no number, above all: sql/ingest names it.
            return None
        if found.num_rows != piece.rows:
            return None
        return proved(found, kind, len(piece.header), piece.row_bytes, piece.signs)

    def sort(
        self, kind: DataType, kept: pa.RecordBatchReader, due: int, *, is_alone: bool = False
    ) -> Iterator[pa.RecordBatch]:
        """The rows by symbol and session, in the order of the tape.

        Args:
            kept: cleaned rows with `line_number` and without `reason`, in any order.
            due: how many they are.
            is_alone: nothing else is in memory, or asked meanwhile.

        Raises:
            SqlFileError: the statement fails, or loses rows or makes some.
        """
        if not is_alone:
            yield from self._stream("sort", kind, kept, due)
            return
        with self._alone(self._threads) as connection:
            yield from self._stream("sort", kind, kept, due, connection)

    def check_order(self, kind: DataType) -> None:
        """See that sql/sort has the order in which rows are stored.

        Most rows come in that order, or are put in it without going there.

        Raises:
            SqlFileError: it has another.
        """
        file = self._sql[f"sort/{kind.name}"]
        check_file(self._connection, file)
        due = shipped_file(f"sort/{kind.name}")
        if _order(parse(self._connection, file.body)) != _order(parse(self._connection, due.body)):
            raise SqlFileError(
                file.path,
                "orders rows otherwise than they are stored, which nothing can change: let it end"
                f" with {' '.join(due.body.split())[len('select * from kept ') :]}",
            )

    def dedupe(
        self, kind: DataType, kept: pa.RecordBatchReader, due: int
    ) -> Iterator[pa.RecordBatch]:
        """The rows, sorted, with a `reason` for those that repeat an earlier line.

        Args:
            kept, due: as `sort` takes them; a few, all in memory at once.

        Raises:
            SqlFileError: as `sort` does.
        """
        return self._stream("dedupe", kind, kept, due)

    def by_event(self, kind: DataType) -> DataType:
        """The data type with the part of its order in which the rows of one event are equal.

        These are the columns by which sql/dedupe partitions its windows. A row that shares them
        with no other is no repeat, and need not go there. A statement without windows gets the
        rows that are equal in the whole order.

        Raises:
            SqlFileError: it takes rows of several symbols, or of several stamps, for one event.
        """
        file = self._sql[f"dedupe/{kind.name}"]
        check_file(self._connection, file)
        windows = [
            {str(part["column_names"][-1]).lower() for part in parts if "column_names" in part}
            for node in nodes(parse(self._connection, file.body))
            if node.get("class") == "WINDOW" and (parts := node.get("partitions"))
        ]
        if not windows:
            return kind
        event = set.intersection(*windows)
        # Cleaning has seen to it that a session has one such stamp.
        if kind.monthly_by_symbol and "session" in event:
            event.add("timestamp")
        if not {"symbol", "timestamp"} <= event:
            raise SqlFileError(
                file.path,
                f"partitions its windows by {', '.join(sorted(event)) or 'no column'}; symbol and"
                " timestamp must be among those, since no rows of several of them come there"
                " together",
            )
        return replace(kind, order=tuple(name for name in kind.order if name in event))

    def dedupe_crowd(
        self, kind: DataType, kept: pa.RecordBatchReader, due: int
    ) -> Iterator[pa.RecordBatch]:
        """The same of more rows than fit into memory."""
        with self._alone(1) as connection:
            yield from self._stream("dedupe", kind, kept, due, connection)

    def _alone(self, threads: int) -> duckdb.DuckDBPyConnection:
        """A DuckDB of its own, for what does not fit into memory, while nothing else is asked.

        Each thread holds memory that it cannot put on disk; so there are few, where it is little.
        """
        memory = int(self._memory_bytes * _ALONE_SHARE)
        return connect(
            folders=[self._scratch],
            spill=self._scratch / "duckdb-alone",
            threads=max(min(threads, memory // _MEMORY_OF_THREAD), 1),
            memory_bytes=memory,
        )

    def _unequal(self, step: str, kind: DataType, rows: int, due: int) -> SqlFileError:
        """That a statement loses rows or makes some."""
        how = {
            "clean": "with sql/ingest it must return each row once, those it refuses with a"
            " `reason`",
            "dedupe": "it must return each row once, those it drops with a `reason`",
            "sort": "it must return each row once",
        }[step]
        file = self._sql[f"{step}/{kind.name}"]
        return SqlFileError(file.path, f"returns {rows:,} rows of {due:,}; {how}")

    def _stream(
        self,
        step: str,
        kind: DataType,
        kept: pa.RecordBatchReader,
        due: int,
        base: duckdb.DuckDBPyConnection | None = None,
    ) -> Iterator[pa.RecordBatch]:
        file, rows = self._sql[f"{step}/{kind.name}"], 0
        # A connection of its own: `clean` may be at work on another thread.
        with (base or self._connection).cursor() as connection:
            check_file(connection, file)
            connection.register("kept", kept)
            try:
                reader = self._watched(
                    connection, lambda: connection.sql(file.body).to_arrow_reader(65_536)
                )
                while True:
                    batch = self._watched(connection, lambda: next(reader, None))
                    if batch is None:
                        break
                    rows += batch.num_rows
                    yield batch
            except duckdb.Error as error:
                raise self._explained(file, error) from error
        # That none is lost or made is a matter of the user's SQL, not of a file.
        if rows != due:
            raise self._unequal(step, kind, rows, due)

    def _run(
        self,
        connection: duckdb.DuckDBPyConnection,
        file: SqlFile,
        statement: str,
        values: dict[str, Any],
    ) -> pa.Table:
        try:
            return self._watched(
                connection, lambda: connection.sql(statement, params=values).to_arrow_table()
            )
        except duckdb.Error as error:
            text = str(error)
            is_csv = isinstance(error, duckdb.InvalidInputException) and "CSV" in text
            if is_csv or "read_csv" in text:
                raise
            raise self._explained(file, error) from error

    def _explained(self, file: SqlFile, error: duckdb.Error) -> SqlFileError | StorageError:
        if isinstance(error, duckdb.IOException | duckdb.OutOfMemoryException):
            return StorageError(self._scratch, f"DuckDB cannot go on: {one_line(error)}")
        return SqlFileError(file.path, one_line(error))


def _untyped(rows: pa.Table, piece: Piece) -> pa.Table:
    """The text of the rejects a field of which is malformed, or the stamp beyond all instants."""
    reasons = rows["reason"]
    numbers: list[int] = []
    if reasons.null_count < len(reasons):
        untyped = pc.starts_with(reasons, "malformed_")
        if rows["timestamp"].null_count:
            # The vendor's number is in no column then.
            is_beyond = pc.and_(
                pc.is_null(rows["timestamp"]), pc.not_equal(reasons, "no_timestamp")
            )
            untyped = pc.or_(untyped, is_beyond)
        numbers = rows["line_number"].filter(untyped.fill_null(False))
    if not len(numbers):
        return LINES.empty_table()
    is_wanted = np.isin(piece.line_numbers, np.asarray(numbers))
    lines = [line for line, wanted in zip(piece.texts(), is_wanted, strict=True) if wanted]
    found = [pa.array(piece.line_numbers[is_wanted]), pa.array(lines, pa.string())]
    return pa.table(found, schema=LINES)


def _order(tree: Any) -> list[tuple[Any, ...]]:
    """By what a statement orders its rows: columns, each with its direction and where NULL goes."""
    node = tree["statements"][0]["node"]
    parts = [part for each in node["modifiers"] for part in each.get("orders", [])]
    return [
        (part["type"], part["null_order"], *part["expression"].get("column_names", ["?"])[-1:])
        for part in parts
    ]


def _columns(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name} {field.type}" for field in schema)
