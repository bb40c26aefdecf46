"""The catalog: a DuckDB file of views, macros and tables about the warehouse itself.

It is derived and never changed in place: each publish builds a new file beside it and renames it
over the old. Shells that have the old one open keep it; who opens it next sees the new. It holds
nothing that cannot be read back from the files beside it.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from warehouse.core import process
from warehouse.core.config import PartitionLayout
from warehouse.core.datatypes import DATA_TYPES
from warehouse.core.duckdb_connection import AttachedDatabase, macro_texts, watched, within
from warehouse.core.file_state import FileState
from warehouse.core.metrics import RunMetrics
from warehouse.core.paths import (
    ALL_SYMBOLS,
    Layout,
    PartitionKey,
    RawFile,
    decode_symbol,
    partition_name,
    partition_paths,
)
from warehouse.errors import (
    DamagedCatalogError,
    EngineError,
    OutdatedCatalogError,
    SqlFileError,
    StorageError,
    one_line,
)
from warehouse.sqlfolder.determinism import STABLE_TABLE_FUNCTIONS
from warehouse.sqlfolder.files import SqlFile, answer_of
from warehouse.sqlfolder.select_check import check_file
from warehouse.store import data_folder_id, journal, manifests
from warehouse.store.catalog_tables import (
    ALONE,
    CATALOG_FORMAT,
    CONDITIONS,
    MADE_OF,
    WAREHOUSE_ID,
    asked,
    check_tables,
    dated_conditions,
    state_of,
)
from warehouse.store.manifests import Key, Manifest
from warehouse.store.partitions import (
    ENTRIES,
    SLICES,
    Partition,
    SessionSource,
)
from warehouse.store.reference import reference_files

CUT = "cut:"
"""What `…_market_names()` begins with where sessions stand in several files."""
_CUT = re.compile(rf"{CUT}(\d{{8}}T\d{{12}})(?:,.*)?", re.ASCII | re.DOTALL)
_PATIENCE_SECONDS = 60
"""So long a machine may see what a network's file system remembers of a folder."""
_PAUSE_SECONDS = 0.2
_SHARED = """
    select
        data_type,
        month,
        part,
        any_value(fingerprint) as fingerprint,
        any_value(file_rows) as rows,
        any_value(bytes) as bytes,
        min(epoch_ns(first_timestamp)) as first_ns,
        max(epoch_ns(last_timestamp)) as last_ns,
        any_value(sha256) as sha256
    from partitions
    where
        first_row is not null
        and ($day is null or part = '' or left(part, 2) = $day)
    group by data_type, month, part
    having $symbols is null or bool_or(list_contains($symbols, symbol))
    order by month, part
"""
"""Partitions of all symbols."""
_SHARED_SESSIONS = """
    select
        month,
        part,
        entry.session as session,
        sum(entry.rows)::bigint as rows,
        sum(entry.rejects)::bigint as rejects,
        entry.source as source,
        entry.etag as etag,
        entry.sha256 as sha256,
        entry.fingerprint as fingerprint
    from (
        select month, part, unnest(sessions) as entry
        from partitions
        where
            first_row is not null
            and ($day is null or part = '' or left(part, 2) = $day)
    )
    group by all
    order by month, part, session, source, sha256
"""
"""What these are made of, as `partitions.sessions_of` puts it."""


@dataclass(frozen=True)
class SourceFile:
    """What became of one of the vendor's files; the columns of the table `source_files`."""

    data_type: str
    day: date
    symbol: str | None
    source: str
    state: FileState
    problem: str | None = None
    etag: str | None = None
    bytes: int | None = None
    sha256: str | None = None
    lines: int | None = None
    rows_published: int | None = None
    rows_rejected: int | None = None
    rows_unselected: int | None = None
    rows_taken_over: int | None = None
    rejects_by_reason: dict[str, int] | None = None
    symbols: tuple[str, ...] | None = None
    raw_modified_ns: int | None = None
    raw_inode: int | None = None
    vouched_by: str | None = None
    fingerprint: str | None = None
    run_id: str | None = None
    recorded_at: datetime = field(default_factory=lambda: datetime.now(UTC).replace(tzinfo=None))

    @property
    def is_taken_over(self) -> bool:
        """Whether a file of the other layout brings some of the rows that it has."""
        if self.rows_taken_over is None:
            # Of an earlier version: of a file that was read for all symbols nothing else is left.
            return self.symbols is None and bool(self.rows_unselected)
        return self.rows_taken_over > 0


@dataclass(frozen=True)
class Run:
    """One run of a command that writes; the columns of the table `runs`.

    The figures are those of `metrics.RunMetrics`.
    """

    run_id: str
    command: str
    started_at: datetime
    state: str
    problem: str | None
    version: str
    download_time: float
    processing_time: float
    records_processed: int
    errors_count: int
    cache_hit_rate: float
    memory_usage: int
    seconds: float
    cpu_seconds: float
    files_here: int
    files_fetched: int
    bytes_fetched: int
    retries: int
    files: int
    files_set_aside: int
    lines: int
    rows_published: int
    rows_rejected: int
    rows_unselected: int
    partitions: int
    bytes_read: int
    bytes_written: int
    peak_memory_bytes: int


@dataclass(frozen=True)
class Finding:
    """Rows of one symbol and session that offend against a rule; the columns of `findings`.

    Attributes:
        rule: a file of sql/validate.
        severity: "error" or "warning".
        data_type: what the rule was asked about.
        symbol: None where it is of the session as a whole.
        count: offending rows.
        examples: the first few of them, a JSON array of objects.
        allowed: why it counts for nothing; None: it counts.
    """

    run_id: str
    checked_at: datetime
    rule: str
    severity: str
    data_type: str
    symbol: str | None
    session: date | None
    count: int
    examples: str
    allowed: str | None = None


@dataclass(frozen=True)
class Reconciliation:
    """Differences of one class between our bars and the vendor's; columns of `reconciliations`.

    Attributes:
        symbols: those asked about, by commas; None: all that have trades.
        first_session, last_session: that were compared.
        hours: of the windows: regular, extended, or all.
        compared, equal: bars whose field was compared, and is equal, of all classes.
        difference_class: what the differences are due to; None: there are none.
        cause: the change of the rules that makes them vanish, in words; None: none does.
        count: differences of this class and cause.
        examples: the first of them, a JSON array of objects.
    """

    run_id: str
    checked_at: datetime
    data_type: str
    symbols: str | None
    first_session: date | None
    last_session: date | None
    hours: str
    field: str
    compared: int
    equal: int
    difference_class: str | None
    cause: str | None
    count: int
    examples: str


@dataclass(frozen=True)
class Checked:
    """Which earlier findings no longer stand.

    Attributes:
        rule: of this rule; None: of any.
        symbols: of these; None: of all, and of sessions as a whole.
        first, last: sessions, both inclusive.
    """

    rule: str | None
    data_type: str
    symbols: tuple[str, ...] | None
    first: date
    last: date


@dataclass
class CatalogChange:
    """What a publish changes in the catalog.

    Attributes:
        rejects: files of rejects, by their path below the folder of all: whether there is one.
        reference: the file of a reference table that takes the place of the one before.
        follows: of manifests of kept bars, the id of the trades that they are up to date with.
        history: what the files of the history say, by table, where there is no catalog.
        is_history_anew: all files of the history are written, not those alone that this is on.
    """

    partitions: list[Partition] = field(default_factory=list)
    removed: list[PartitionKey] = field(default_factory=list)
    files: list[SourceFile] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    checked: list[Checked] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    reconciliations: list[Reconciliation] = field(default_factory=list)
    rejects: dict[str, bool] = field(default_factory=dict)
    reference: dict[str, str] = field(default_factory=dict)
    follows: dict[Key, str] = field(default_factory=dict)
    history: dict[str, pa.Table] = field(default_factory=dict)
    is_history_anew: bool = False


def id_in(layout: Layout) -> str | None:
    """The id of the warehouse that the catalog is of; None where it says none, or is none."""
    try:
        with Catalog(layout) as catalog:
            rows = catalog.rows(f"select max({WAREHOUSE_ID}) as id from warehouse")
    except (StorageError, duckdb.CatalogException, duckdb.BinderException):
        return None
    return rows[0]["id"] if rows else None


def names_any(layout: Layout, files: Iterable[str]) -> bool:
    """Whether the catalog in place has rows in one of these files; so too where it cannot be asked.

    Args:
        files: partitions, rejects and others, below the data folder.
    """
    if not layout.catalog.exists():
        return True
    try:
        with Catalog(layout) as catalog:
            named = {row["path"] for row in catalog.rows("select distinct path from partitions")}
            known = catalog.source_files()
    except StorageError:
        return True
    named |= {f"{layout.rejects_of(file)}" for file, of in known.items() if of.rows_rejected}
    return any(f"{layout.data}/{name}" in named for name in files)


def check_not_lost(layout: Layout) -> None:
    """Look whether there is no catalog though there are partitions, which it would have to name.

    Of a publish that is under way the partitions come first, and its journal goes last.

    Raises:
        DamagedCatalogError: so it is.
        StorageError: the warehouse itself is gone.
    """
    if layout.catalog.exists():
        return
    data_folder_id.check_stands(layout)
    is_published = any(partition_paths(layout.cache))
    if is_published and not journal.stands(layout) and not layout.catalog.exists():
        raise DamagedCatalogError(layout.catalog, "it is missing, and there are partitions")


def await_generation(layout: Layout, generation: int, seen: Callable[[], int]) -> None:
    """Wait, on another machine perhaps, until what it sees is not of an earlier generation.

    Args:
        generation: where the work is handed out.
        seen: the one that is seen.

    Raises:
        EngineError: it still is an earlier one after a minute.
    """
    until = time.monotonic() + _PATIENCE_SECONDS
    while (found := seen()) < generation:
        if time.monotonic() > until:
            raise EngineError(
                f"worker {socket.gethostname()}",
                f"sees generation {found} of {layout.root}, and not {generation}, which is"
                " published; look at what its mount of that folder caches",
            )
        time.sleep(_PAUSE_SECONDS)


def cut_in(names: str) -> str | None:
    """When a session was last cut into other files, by the text of `…_market_names()`.

    None: no session stands in several files, or the catalog is of an earlier version.
    """
    match = _CUT.fullmatch(names)
    return None if match is None else match[1]


def cuts_told(connection: duckdb.DuckDBPyConnection, data_types: Iterable[str]) -> dict[str, str]:
    """The same of data types, by the macros that the connection knows; of one without, nothing."""
    found: dict[str, str] = {}
    for name in data_types:
        with suppress(duckdb.CatalogException):
            (names,) = macro_texts(connection, f"{name}_market_names")
            if (cut := cut_in(names)) is not None:
                found[name] = cut
    return found


_CONDITIONS = replace(CONDITIONS, name="published.main.trade_conditions")


class Catalog:
    """The catalog as it is now, opened for reading; close it, or use `with`.

    Args:
        months: `partitions` has those of these data types and months alone, and of no other a
            manifest is read; None: all.

    Raises:
        StorageError: it cannot be opened.
        OutdatedCatalogError: another version wrote it.
        DamagedCatalogError: it is not as it was written; whatever is asked may come upon that.
    """

    def __init__(self, layout: Layout, months: Collection[Key] | None = None) -> None:
        self._layout, self._months = layout, months
        self._attached: AttachedDatabase | None = None
        self._connection: duckdb.DuckDBPyConnection | None = None
        self.manifests: list[Manifest] = []
        self._shown: list[Manifest] = []
        data_folder_id.check(layout)
        if layout.catalog.exists():
            before = state_of(layout.catalog)
            try:
                # Attached rather than opened: to a file that this process has open already DuckDB
                # would connect again, though another has taken its place.
                self._attached = AttachedDatabase("published", layout.catalog, layout.served)
                self._connection = self._attached.connection
                warehouse_id = data_folder_id.id_of(layout)
                check_tables(self._connection, "published", layout.catalog, warehouse_id, before)
                self._connection.execute(within("published"))
            except DamagedCatalogError:
                self.close()
                raise
            except duckdb.Error as error:
                self.close()
                raise self._unreadable(error) from error

        self._check_format()

    def _check_format(self) -> None:
        if self._connection is None:
            return
        try:
            rows = self.rows("select max(catalog_format) as form from warehouse")
            form = rows[0]["form"]
        except (duckdb.CatalogException, duckdb.BinderException) as error:
            form = one_line(error)
        except StorageError:
            self.close()
            raise
        if form != CATALOG_FORMAT:
            self.close()
            raise OutdatedCatalogError(self._layout.catalog, form, CATALOG_FORMAT)
        try:
            self.manifests = manifests.listed(self._connection, "published")
            manifests.check_there(self._layout, self.manifests)
            shown = [
                one for one in self.manifests if self._months is None or one.key in self._months
            ]
            manifests.check(self._layout, shown, deeply=True)
            self._connection.execute(manifests.as_view(self._layout, shown))
            self._shown = shown
            for statement in [ALONE, *dated_conditions(self._connection, "published")]:
                self._connection.execute(statement)
        except StorageError:
            self.close()
            raise
        except duckdb.Error as error:
            self.close()
            raise self._unreadable(error) from error

    def __enter__(self) -> Catalog:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        if self._attached is not None:
            self._attached.close()
            self._attached = self._connection = None

    def table(self, sql: str, **parameters: Any) -> pa.Table | None:
        """The answer to a SELECT over the catalog's tables; None where there is no catalog yet."""
        if self._connection is None:
            return None
        try:
            return self._connection.sql(sql, params=parameters).to_arrow_table()
        except (duckdb.CatalogException, duckdb.BinderException):
            raise
        except duckdb.Error as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: duckdb.Error) -> StorageError:
        text = one_line(error)
        is_refused = isinstance(error, duckdb.OutOfMemoryException) or any(
            sign in text for sign in ("lock on file", "Cannot open file", "Permission denied")
        )
        if is_refused:
            refused = data_folder_id.unreadable(self._layout)
            if refused is not None:
                return refused
            return StorageError(self._layout.catalog, f"cannot be opened: {text}")
        return DamagedCatalogError(self._layout.catalog, text)

    def _of_months(
        self, sql: str, data_type: str, first: date | None, last: date | None, **parameters: Any
    ) -> pa.Table | None:
        """The answer to a SELECT over `partitions` of a data type and of months.

        Of other months no manifest is opened: who goes through all months would, at each, open all.

        Args:
            first, last: first days of months, both inclusive; None is open.
        """
        named = [
            one
            for one in self._shown
            if one.data_type == data_type
            and (first is None or one.month >= first)
            and (last is None or one.month <= last)
        ]
        partitions = manifests.as_query(self._layout, named)
        return self.table(f"with partitions as ({partitions}) {sql}", **parameters)

    def rows(self, sql: str, **parameters: Any) -> list[dict[str, Any]]:
        """The same as dictionaries; none where there is no catalog yet."""
        return self._listed(self.table(sql, **parameters))

    def _listed(self, table: pa.Table | None) -> list[dict[str, Any]]:
        try:
            return [] if table is None else table.to_pylist()
        except (OverflowError, ValueError) as error:
            # DuckDB has days, and an infinity of them, that Python has not.
            problem = f"it has an impossible value ({one_line(error, 100)})"
            raise DamagedCatalogError(self._layout.catalog, problem) from error

    def rows_of(
        self, file: SqlFile, may_call: Collection[str] = (), **values: Any
    ) -> list[dict[str, Any]]:
        """What a file of sql/, which may be a stranger's, makes of the catalog's tables.

        Args:
            may_call: macros of the catalog that it may select from.
            values: of its parameters, and perhaps others.

        Raises:
            SqlFileError: it is more than one SELECT, DuckDB refuses it, or it gives other columns
                than the shipped file.
            TooLargeError: its answer takes up the memory.
        """
        connection = self._connection
        if connection is None:
            return []
        check_file(connection, file, STABLE_TABLE_FUNCTIONS | {*may_call})

        def ask(sql: str, given: dict[str, Any]) -> pa.Table | None:
            return watched(connection, str(file.path), lambda: self.table(sql, **given))

        try:
            table = answer_of(file, values, ask)
        except (duckdb.CatalogException, duckdb.BinderException) as error:
            raise SqlFileError(file.path, one_line(error)) from error
        return self._listed(table)

    def has(self, table: str) -> bool:
        """Whether it has a table, which one of an earlier version may lack."""
        try:
            return self.table(f"from {table} limit 0") is not None
        except duckdb.CatalogException:
            return False

    def generation(self) -> int:
        """How many times something was published; 0 where nothing was."""
        rows = self.rows("select max(generation) as generation from warehouse")
        return rows[0]["generation"] if rows else 0

    def folder(self) -> str | None:
        """The folder that the views' paths start with; None where there is no catalog yet."""
        rows = self.rows("select max(data_folder) as folder from warehouse")
        return rows[0]["folder"] if rows else None

    def made_of(self) -> str | None:
        """SHA-256 of the SQL files that made it, as of `publishing.catalog_sql.made_of`.

        None: an earlier version made it, or there is none yet.
        """
        try:
            rows = self.rows(f"select max({MADE_OF})::varchar as made_of from warehouse")
        except (duckdb.CatalogException, duckdb.BinderException):
            return None
        return rows[0]["made_of"] if rows else None

    def names_files(self) -> bool:
        """Whether it says which files its views read: one of an earlier version has patterns.

        Raises:
            DamagedCatalogError: it has what should say so, and that does not.
        """
        try:
            return bool(self._told("rejects_names"))
        except duckdb.CatalogException:
            return False

    def folders(self, data_type: str) -> set[str]:
        """The symbols that have rows of a data type, as their folders are, or would be, called."""
        told = self._told(f"{data_type}_names", f"{data_type}_market_symbols")
        return {line.partition(" ")[0] for line in "\n".join(told).split("\n")} - {""}

    def cuts(self, data_types: Iterable[str]) -> dict[str, str]:
        """Of data types with sessions in several files, how they are cut: see `cut_in`."""
        if self._connection is None:
            return {}
        try:
            return cuts_told(self._connection, data_types)
        except duckdb.Error as error:
            raise self._unreadable(error) from error

    def _told(self, *macros: str) -> tuple[str, ...]:
        """The texts of its macros; none where there is no catalog yet."""
        if self._connection is None:
            return ()
        try:
            return macro_texts(self._connection, *macros)
        except duckdb.CatalogException:
            raise
        except duckdb.Error as error:
            raise self._unreadable(error) from error

    def symbols(self, data_type: str) -> set[str]:
        """The symbols that have rows of a data type."""
        try:
            return {decode_symbol(name) for name in self.folders(data_type)}
        except UnicodeError as error:
            problem = f"{data_type}_names() is of no symbols"
            raise DamagedCatalogError(self._layout.catalog, problem) from error

    def reference(self) -> dict[str, str] | None:
        """The file of each reference table that has one; None: it is of an earlier version."""
        if self._connection is None:
            return None
        try:
            return reference_files.named(self._connection, "published")
        except duckdb.Error as error:
            raise self._unreadable(error) from error

    def features(self) -> dict[str, str]:
        """The text of each feature's file, by name, as it was when the catalog was made.

        None where the catalog, or the folder of SQL that made it, is of an earlier version.
        """
        try:
            rows = self.rows("select name, sql from features")
        except duckdb.CatalogException:
            return {}
        return {row["name"]: row["sql"] for row in rows}

    def trade_conditions(self) -> list[dict[str, Any]]:
        """The rules of the trade conditions; none where the catalog is of an earlier version."""
        if self._connection is None:
            return []
        try:
            return asked(self._connection, _CONDITIONS, self._layout.catalog)
        except (duckdb.CatalogException, duckdb.BinderException):
            return []
        except duckdb.Error as error:
            raise self._unreadable(error) from error

    def left_out(self) -> dict[str, str]:
        """Why each feature that could not be taken in is not there, by its name."""
        try:
            rows = self.rows("select name, problem from features where problem is not null")
        except duckdb.CatalogException:
            return {}
        return {row["name"]: row["problem"] for row in rows}

    def partitions(
        self,
        data_type: str,
        symbols: Sequence[str] | None = None,
        first: date | None = None,
        last: date | None = None,
        session: date | None = None,
    ) -> list[Partition]:
        """Partitions of a data type by symbol and month; of all symbols without their slices.

        Args:
            symbols: only these, and those of all symbols that have one of them; None: all.
            first, last: first days of months, both inclusive; None is open.
            session: of files of a session only this one's; None: of all.
        """
        names = list(symbols) if symbols is not None else None
        months, day = (data_type, first, last), _day_of(session)
        table = self._of_months(
            """
            select * exclude (path, part, first_row, file_rows)
            from partitions
            where
                first_row is null
                and ($symbols is null or list_contains($symbols, symbol))
            order by symbol, month
            """,
            *months,
            symbols=names,
        )
        shared = self._of_months(_SHARED, *months, symbols=names, day=day)
        sources = self._of_months(_SHARED_SESSIONS, *months, day=day)
        if table is None or shared is None or sources is None:
            return []
        of_file: dict[tuple[date, str], list[SessionSource]] = {}
        for row in sources.to_pylist():
            key = row.pop("month"), row.pop("part")
            of_file.setdefault(key, []).append(SessionSource(**row))
        first_ns = table["first_timestamp"].cast(pa.int64()).to_pylist()
        last_ns = table["last_timestamp"].cast(pa.int64()).to_pylist()
        rows = table.drop_columns(["first_timestamp", "last_timestamp"]).to_pylist()
        of_all = [
            Partition(
                **{
                    **row,
                    "symbol": ALL_SYMBOLS,
                    "sessions": tuple(of_file[row["month"], row["part"]]),
                }
            )
            for row in shared.to_pylist()
        ]
        return of_all + [
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

    def layout_of(self, data_type: str, month: date) -> PartitionLayout | None:
        """How a month's partitions are laid out; None: there are none."""
        table = self._of_months(
            "select bool_or(first_row is not null) as is_shared from partitions",
            data_type,
            month,
            month,
        )
        rows = [] if table is None else table.to_pylist()
        is_shared = rows[0]["is_shared"] if rows else None
        return None if is_shared is None else "market" if is_shared else "symbol"

    def entries(self, data_type: str, month: date, session: date | None = None) -> pa.Table:
        """Of the partitions of all symbols of a month, where each one's sessions came from.

        Args:
            session: of files of a session only this one's; None: of all.

        Returns:
            As `partitions.ENTRIES`, by symbol and session; no rows where there is no such one.
        """
        table = self._of_months(
            """
            select symbol, unnest(sessions, recursive := true)
            from partitions
            where
                first_row is not null
                and ($day is null or part = '' or left(part, 2) = $day)
            """,
            data_type,
            month,
            month,
            day=_day_of(session),
        )
        if table is None:
            return ENTRIES.empty_table()
        found = table.cast(ENTRIES)
        order = pc.sort_indices(found, [("symbol", "ascending"), ("session", "ascending")])
        return found.take(order).combine_chunks()

    def slices(
        self, data_type: str, month: date, session: date | None = None
    ) -> dict[str, pa.Table]:
        """Of partitions of all symbols of a month, where each one's rows stand, by their places.

        Args:
            session: of files of a session only this one's; None: of all.

        Returns:
            Part → as `partitions.SLICES`.
        """
        table = self._of_months(
            """
            select part, symbol, first_row, rows, first_timestamp, last_timestamp, sessions
            from partitions
            where
                first_row is not null
                and ($day is null or part = '' or left(part, 2) = $day)
            order by part, first_row
            """,
            data_type,
            month,
            month,
            day=_day_of(session),
        )
        if table is None or not table.num_rows:
            return {}
        runs = pc.run_end_encode(table["part"].combine_chunks())
        ends = runs.run_ends.to_pylist()
        rows = table.drop_columns(["part"]).cast(SLICES)
        return {
            part: rows.slice(start, end - start).combine_chunks()
            for part, start, end in zip(runs.values.to_pylist(), [0, *ends[:-1]], ends, strict=True)
        }

    def partition_names(self, data_type: str, first: date, last: date) -> set[str]:
        """Where the partitions of a data type stand below the cache folder.

        Args:
            first, last: first days of months, both inclusive.
        """
        found = self.rows(
            """
            select distinct if(first_row is null, symbol, '') as symbol, month, part
            from partitions
            where data_type = $data_type and month between $first and $last
            """,
            data_type=data_type,
            first=first,
            last=last,
        )
        return {
            partition_name(data_type, row["symbol"], row["month"], row["part"]) for row in found
        }

    def files_of(self, data_type: str, months: Collection[str]) -> set[RawFile]:
        """Which of the vendor's files of a data type are known, of months as `2025_11`."""
        found = self.rows(
            """
            select day, symbol
            from source_files
            where
                data_type = $data_type
                and strftime(day, '%Y_%m') in (select unnest(string_split($months, ' ')))
            """,
            data_type=data_type,
            months=" ".join(sorted(months)),
        )
        monthly = DATA_TYPES[data_type].monthly_by_symbol
        return {
            RawFile(data_type, row["day"], row["symbol"], monthly and row["symbol"] is not None)
            for row in found
        }

    def source_files(self) -> dict[RawFile, SourceFile]:
        """What is known of each of the vendor's files."""
        found = {}
        for row in self.rows("select * from source_files"):
            try:
                record = file_record(row)
            except ValueError as error:
                raise DamagedCatalogError(self._layout.catalog, str(error)) from error
            if record.data_type not in DATA_TYPES:
                problem = f"it speaks of files of {record.data_type!r}, which is no data type"
                raise DamagedCatalogError(self._layout.catalog, problem)
            found[raw_file_of(record)] = record
        return found


def _day_of(session: date | None) -> str | None:
    return None if session is None else f"{session.day:02}"


def file_record(row: dict[str, Any]) -> SourceFile:
    """The record of a row of `source_files`.

    Raises:
        ValueError: it has a state that there is not.
    """
    reasons, symbols = row["rejects_by_reason"], row["symbols"]
    # A later version may know more of a file.
    told = {name: value for name, value in row.items() if name in SourceFile.__dataclass_fields__}
    return SourceFile(
        **{
            **told,
            "state": FileState(row["state"]),
            "rejects_by_reason": None if reasons is None else dict(reasons),
            "symbols": None if symbols is None else tuple(symbols),
        }
    )


def raw_file_of(record: SourceFile) -> RawFile:
    """Which of the vendor's files a record is of."""
    monthly = DATA_TYPES[record.data_type].monthly_by_symbol and record.symbol is not None
    return RawFile(record.data_type, record.day, record.symbol, monthly)


def of_run(metrics: RunMetrics, state: str, problem: str | None = None) -> Run:
    """The record of a run as far as it has come.

    Args:
        state: running, done, failed or interrupted.
    """
    return Run(
        run_id=metrics.run_id,
        command=metrics.command,
        started_at=metrics.started_at,
        state=state,
        problem=problem,
        version=process.version(),
        **metrics.figures(),  # type: ignore[arg-type]
    )
