"""The catalog as a reader sees it: one generation, held open, and how to notice a later one.

Readers take no lock, and finish nothing. A publish writes a journal, renames partitions, replaces
the catalog and drops the journal, in this order; so what was read is whole if afterwards there is
no journal *and then* the catalog is still the file it was. Else it is read again. Beside the
journal of a writer who died it is whole if nothing of the publish was done, or all of it.

A snapshot attaches the catalog to a DuckDB of its own. `duckdb.connect(path)` would not do: while
one connection to that path is open, the next in the process gets the same, replaced file.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from threading import Event, Lock
from typing import Any, TypeVar

import duckdb
import pyarrow as pa

from warehouse.bars.adjustment import Action
from warehouse.bars.securities import Securities
from warehouse.core import process
from warehouse.core.config import Config
from warehouse.core.datatypes import TRADE_CONDITIONS, with_bars
from warehouse.core.duckdb_connection import (
    connect,
    ended_with,
    is_interrupt,
    make_spill_folder,
    remove_spill_folder,
    within,
)
from warehouse.core.paths import ALL_SYMBOLS, Layout, PartitionKey
from warehouse.errors import (
    CorruptPartitionError,
    DamagedCatalogError,
    MovedCatalogError,
    NoDataError,
    ObjectMissingError,
    RequestError,
    StorageError,
    WarehouseError,
    one_line,
)
from warehouse.objects import disk_cache
from warehouse.objects.disk_cache import Brought, Wanted
from warehouse.objects.range_reader import RangeReader
from warehouse.store import data_folder_id, journal, manifests
from warehouse.store.catalog import check_not_lost
from warehouse.store.catalog_tables import (
    ACTIONS,
    ALONE,
    CATALOG_FORMAT,
    CONDITIONS,
    SECURITIES,
    Relation,
    asked,
    check_tables,
    dated_conditions,
    id_told,
    made_elsewhere,
    place,
    state_of,
)
from warehouse.store.journal import Identity, catalog_identity
from warehouse.store.reference import reference_files

T = TypeVar("T")

ATTACHED_AS = "warehouse"
_PARTITIONS = re.compile(r"\b(?:from|join)\s+partitions\b")
_PAUSE_SECONDS = 0.02
_ATTEMPTS = 50
_REMEMBERED = 4096
_NOT_YET: Any = object()
_WITH_MANIFESTS = 5
"""From this catalog format on manifests say what is published."""


class Moved(Exception):  # noqa: N818 (no error: it says what to do next)
    """Something was published while it was read: read again. Never leaves this library."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A symbol's rows of a month, or of a session, as the catalog knows them.

    Attributes:
        data_type, symbol, month: which; `month` is its first day.
        rows: how many.
        bytes, sha256: of the file they stand in.
        first_ns, last_ns: stamps of the first and the last, both inclusive, nanoseconds UTC.
        first_row: in a file of all symbols the row at which they begin; None: it is their own.
        file_rows: how many rows the file has.
        part: which file of a session's rows of all symbols; empty: it is of the month.
    """

    data_type: str
    symbol: str
    month: date
    rows: int
    bytes: int
    first_ns: int
    last_ns: int
    sha256: str
    first_row: int | None
    file_rows: int
    part: str = ""

    @property
    def whose(self) -> str:
        """The symbol whose file they stand in."""
        return self.symbol if self.first_row is None else ALL_SYMBOLS

    @property
    def file(self) -> PartitionKey:
        """The partition that they stand in."""
        return PartitionKey(self.data_type, self.whose, self.month, self.part)

    def path(self, layout: Layout) -> Path:
        """Where that is."""
        return layout.partition(*self.file)

    def overlaps(self, start_ns: int, end_ns: int) -> bool:
        """Whether it may hold rows in [start_ns, end_ns)."""
        return self.first_ns < end_ns and self.last_ns >= start_ns


class Snapshot:
    """The catalog of one generation, open for reading from many threads.

    The connections are locked down: they read what is published and no other file,
    see no variable of the caller, and their settings cannot be changed.

    Attributes:
        manifests: of its generation, by data type and month; None: the catalog is of an earlier
            version, or there is none.
        reference: the file of each reference table that has one; None: as of `manifests`.
        warehouse_id: of the warehouse it is of; None where neither its data folder nor its catalog
            bears one, as that of an earlier version.
        objects: reads partitions that are not here; None: all are.
    """

    def __init__(
        self,
        layout: Layout,
        config: Config,
        identity: Identity | None,
        spill: Path | None,
        objects: RangeReader | None = None,
    ) -> None:
        self.layout, self.config, self.identity = layout, config, identity
        self.objects = objects
        self._lock = Lock()
        self._idle: list[duckdb.DuckDBPyConnection] = []
        self._users = 0
        self._retired = False
        self._partitions: dict[tuple[str, str], tuple[Stored, ...]] = {}
        self._sessions: dict[Stored, tuple[list[date], list[int]]] = {}
        self._actions: dict[str, tuple[Action, ...]] = {}
        self._memo: dict[Any, Any] = {}
        self._base: duckdb.DuckDBPyConnection | None = None
        # In a catalog of an earlier version each symbol has files of its own.
        self._place = "null", "rows", "'' as part"
        self._view: list[str] = []
        self._looked_at: set[str] = set()
        self.manifests: list[manifests.Manifest] | None = None
        self.reference: dict[str, str] | None = None
        self.warehouse_id: str | None = None
        self.generation = 0
        data_folder_id.check(layout)
        if identity is None:
            check_not_lost(layout)
            return
        state = state_of(layout.catalog)
        self._base = _locked_down(layout, config, spill)
        try:
            if catalog_identity(layout) != identity:
                raise Moved
            marked = data_folder_id.id_of(layout)
            check_tables(self._base, ATTACHED_AS, layout.catalog, marked, state)
            self.warehouse_id = marked or id_told(self._base, ATTACHED_AS)
            facts = "max(generation), max(catalog_format), max(written_by)"
            asked = f"select {facts} from {ATTACHED_AS}.main.warehouse"
            self.generation, form, writer = self._base.execute(asked).fetchall()[0]
            if form > CATALOG_FORMAT:
                raise StorageError(
                    layout.catalog,
                    f"was written by a later version ({writer}); upgrade with:"
                    " pip install --upgrade flatfile-warehouse",
                )
            if form >= _WITH_MANIFESTS:
                self._place = "first_row", "coalesce(file_rows, rows)", "part"
                named = self.manifests = manifests.listed(self._base, ATTACHED_AS)
                self._unless_moved(lambda: manifests.check_there(layout, named))
                self._view = [manifests.as_view(layout, named)]
            self._view += dated_conditions(self._base, ATTACHED_AS)
            self.reference = reference_files.named(self._base, ATTACHED_AS)
        except duckdb.Error as error:
            self._base.close()
            raise _unusable(layout, error) from error
        except BaseException:
            self._base.close()
            raise

    def _unless_moved(self, check: Callable[[], None]) -> None:
        """What is wrong with manifests is none where others have taken their place by now."""
        try:
            check()
        except DamagedCatalogError:
            if catalog_identity(self.layout) != self.identity or journal.stands(self.layout):
                raise Moved from None
            raise

    def look_at(self, data_types: Collection[str] | None = None) -> None:
        """Look whether the manifests of these data types are those that the catalog names.

        Args:
            data_types: None: all.

        Raises:
            DamagedCatalogError: one is another.
        """
        of_all = with_bars(one.data_type for one in self.manifests or ())
        new = {*(of_all if data_types is None else data_types)} - self._looked_at
        named = [one for one in self.manifests or () if one.data_type in new]
        self._unless_moved(lambda: manifests.check(self.layout, named))
        self._looked_at |= new

    @contextmanager
    def connection(
        self, about: Collection[str] | None = None
    ) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection of one's own, for as long as the block lasts.

        Args:
            about: `partitions` is asked about these data types alone, whose manifests are looked
                at first; None: about any.

        Raises:
            NoDataError: nothing was ever published here.
        """
        self.look_at(about)
        if self._base is None:
            raise NoDataError(
                str(self.layout.root),
                "nothing has been ingested yet",
                "get the vendor's files with: warehouse update --start FIRST --end LAST",
            )
        with self._lock:
            if self._retired:
                raise Moved
            connection = self._idle.pop() if self._idle else self._opened()
            self._users += 1
        is_clean = False
        try:
            connection.execute(within(ATTACHED_AS))
            yield connection
            is_clean = True
        finally:
            # A result that was not read to its end would block the next one.
            self._give_back(connection if is_clean else None)
            if not is_clean:
                connection.close()
            self._close_if_unused()

    def _give_back(self, connection: duckdb.DuckDBPyConnection | None) -> None:
        with self._lock:
            if connection is not None:
                self._idle.append(connection)
            self._users -= 1

    def _opened(self) -> duckdb.DuckDBPyConnection:
        """A new connection, to which the catalog stands where it is, not where it was made."""
        assert self._base is not None
        connection = self._base.cursor()
        try:
            for statement in [*place(self.layout), ALONE, *self._view]:
                connection.execute(statement)
        except duckdb.Error as error:
            connection.close()
            # The view names the manifests of all data types, and not all were looked at.
            self.look_at()
            raise _unusable(self.layout, error) from error
        return connection

    def retire(self) -> None:
        """Close it now, or else when the last connection that is in use no longer is.

        While one is in use DuckDB closes neither that nor what it was made from.
        """
        with self._lock:
            self._retired = True
        self._close_if_unused()

    def _close_if_unused(self) -> None:
        with self._lock:
            if not self._retired or self._users:
                return
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
        if self._base is not None:
            self._base.close()

    def fetch(self, sql: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """Rows of the catalog's tables; none where there is no catalog yet."""
        if self._base is None:
            return []
        with self.connection(_about(sql, parameters)) as connection:
            try:
                return connection.execute(sql, parameters).fetchall()
            except duckdb.Error as error:
                raise self.refused(error) from error

    def _asked(
        self, relation: Relation, where: str = "true", order: str = "all", **parameters: Any
    ) -> list[dict[str, Any]]:
        """Rows of what a stranger's SQL may say; see `catalog_tables.asked`."""
        if self._base is None:
            return []
        with self.connection(()) as connection:
            try:
                return asked(connection, relation, self.layout.catalog, where, order, **parameters)
            except duckdb.Error as error:
                raise self.refused(error) from error

    def records(self, sql: str, **parameters: Any) -> list[dict[str, Any]]:
        """The same as dictionaries by column."""
        if self._base is None:
            return []
        with self.connection(_about(sql, parameters)) as connection:
            try:
                found = connection.sql(sql, params=parameters).to_arrow_table().to_pylist()
            except duckdb.Error as error:
                raise self.refused(error) from error
            except (OverflowError, ValueError) as error:
                raise DamagedCatalogError(
                    self.layout.catalog, f"it has an impossible value ({one_line(error, 100)})"
                ) from error
        return list(found)

    def refused(self, error: duckdb.Error) -> Exception:
        """What it means that DuckDB cannot read the catalog, or a manifest that it names."""
        if isinstance(error, duckdb.PermissionException) and (made_in := self.made_elsewhere()):
            return MovedCatalogError(self.layout.catalog, made_in)
        return self.or_moved(_unusable(self.layout, error))

    def or_moved(self, error: Exception) -> Exception:
        """What is wrong with a file, or `Moved`: one that another took the place of may be gone."""
        if journal.stands(self.layout) or catalog_identity(self.layout) != self.identity:
            return Moved()
        return error

    def once(self, key: Any, find: Callable[[], T]) -> T:
        """What `find` returned when it was first called for the key; it holds for the snapshot."""
        found: T = self._memo.get(key, _NOT_YET)
        if found is not _NOT_YET:
            return found
        found = find()
        if len(self._memo) >= _REMEMBERED:
            self._memo.clear()
        self._memo[key] = found
        return found

    def partitions(self, data_type: str, symbols: Sequence[str]) -> dict[str, tuple[Stored, ...]]:
        """Each symbol's partitions of a data type, by month; () where a symbol has none."""
        wanted = [symbol for symbol in symbols if (data_type, symbol) not in self._partitions]
        if wanted:
            found: dict[str, list[Stored]] = {symbol: [] for symbol in wanted}
            rows = self.fetch(
                f"""
                select
                    symbol, month, rows, bytes, epoch_ns(first_timestamp), epoch_ns(last_timestamp),
                    sha256, {", ".join(self._place)}
                from partitions
                where data_type = $data_type and symbol in (select unnest($symbols))
                order by month, part
                """,
                data_type=data_type,
                symbols=wanted,
            )
            for symbol, month, *rest in rows:
                if not isinstance(month, date):  # DuckDB gives a text for what Python has not
                    problem = f"it has an impossible value (a month that is {month!r:.40})"
                    raise DamagedCatalogError(self.layout.catalog, problem)
                found[symbol].append(Stored(data_type, symbol, month, *rest))
            for symbol, stored in found.items():
                self._partitions[data_type, symbol] = tuple(stored)
        return {symbol: self._partitions[data_type, symbol] for symbol in symbols}

    def shared(self, data_type: str, first: date, last: date) -> list[Stored]:
        """The files of a data type that all symbols share, in the order of time.

        Of each, all its rows; the symbol is `ALL_SYMBOLS`.

        Args:
            first, last: first days of months, both inclusive.
        """
        if self._place[0] == "null":
            return []
        rows = self.fetch(
            """
            select
                month,
                any_value(file_rows),
                any_value(bytes),
                epoch_ns(min(first_timestamp)),
                epoch_ns(max(last_timestamp)),
                any_value(sha256),
                part
            from partitions
            where
                data_type = $data_type
                and first_row is not null
                and month between $first and $last
            group by month, part
            order by month, part
            """,
            data_type=data_type,
            first=first,
            last=last,
        )
        return [
            Stored(data_type, ALL_SYMBOLS, month, count, size, start, end, sha256, 0, count, part)
            for month, count, size, start, end, sha256, part in rows
        ]

    def own_symbols(self, data_type: str, first: date, last: date) -> list[str]:
        """Symbols with files of their own, of the months from `first` to `last`, in byte order."""
        rows = self.fetch(
            f"""
            select distinct symbol
            from partitions
            where
                data_type = $data_type
                and {self._place[0]} is null
                and month between $first and $last
            order by symbol
            """,
            data_type=data_type,
            first=first,
            last=last,
        )
        return [symbol for (symbol,) in rows]

    def actions(self, symbols: Collection[str]) -> dict[str, tuple[Action, ...]]:
        """Each symbol's splits and dividends that count; () where it has none.

        A catalog of an earlier version knows none at all.
        """
        wanted = [symbol for symbol in symbols if symbol not in self._actions]
        if wanted:
            listed = "counts and symbol in (select unnest($symbols))"
            found = self._actions_where(listed, symbols=wanted)
            self._actions |= {symbol: tuple(found.get(symbol, ())) for symbol in wanted}
        return {symbol: self._actions[symbol] for symbol in symbols}

    def actions_between(self, after: date, until: date) -> dict[str, list[Action]]:
        """By symbol those of all symbols that count and are of the sessions (after, until]."""
        within = "counts and session > $after and session <= $until"
        return self._actions_where(within, after=after, until=until)

    def _actions_where(self, condition: str, **parameters: Any) -> dict[str, list[Action]]:
        found: dict[str, list[Action]] = {}
        if self._knows("actions"):
            self._check_reference("splits", "dividends")
            for row in self._asked(ACTIONS, condition, **parameters):
                found.setdefault(row["symbol"], []).append(Action(**row))
        return found

    def securities(self) -> Securities:
        """Which security bore which symbol when, as far as the catalog knows."""

        def read() -> Securities:
            if not self._knows("securities"):
                return Securities()
            self._check_reference("securities")
            return Securities(tuple(row.values()) for row in self._asked(SECURITIES))

        return self.once("securities", read)

    def _check_reference(self, *tables: str) -> None:
        """Whether the files of these tables are what was written: other rows make other prices.

        Raises:
            CorruptPartitionError: one is another.
        """
        for table in tables:
            if (name := (self.reference or {}).get(table)) is not None:
                try:
                    reference_files.read(self.layout, name)
                except CorruptPartitionError as error:
                    raise self.or_moved(error) from error

    def _knows(self, name: str) -> bool:
        """Whether the catalog has a table or a view of that name."""
        asked = """
            select count(*)
            from (
                select table_name as name, database_name from duckdb_tables()
                union all
                select view_name, database_name from duckdb_views()
            )
            where name = $name and database_name = $database
        """
        return self.once(
            ("knows", name),
            lambda: self.fetch(asked, name=name, database=ATTACHED_AS) not in ([], [(0,)]),
        )

    def bring(self, stored: Iterable[Stored]) -> None:
        """See to it that partitions are on this disk, where their folder is that of a bucket.

        Raises:
            ObjectStorageError: one cannot be had.
        """
        if self.layout.tier is not None:
            self._bring(Wanted(one.path(self.layout), one.bytes, one.sha256) for one in stored)

    def bring_all(
        self,
        data_type: str,
        symbols: Collection[str] = (),
        first: date = date.min,
        last: date = date.max,
    ) -> Brought:
        """The same, of all partitions of a data type; its arguments are those of `files`.

        Raises:
            RequestError: they are more than the disk may hold.
        """
        if self.layout.tier is None:
            return Brought()
        wanted = [Wanted(*one) for one in self.files(data_type, symbols, first, last)]
        total, most = sum(one.bytes for one in wanted), self.layout.tier.max_bytes
        if total > most:
            raise RequestError(
                "storage.max_cache_disk_gb",
                round(most / 1024**3, 3),
                f"all partitions of {data_type} that are asked for must be on the disk, and take"
                f" {total / 1024**3:,.1f} GiB; raise it, or ask by symbols and sessions"
                " (wh.trades, wh.bars, wh.stream)",
            )
        return self._bring(wanted)

    def _bring(self, wanted: Iterable[Wanted]) -> Brought:
        try:
            return disk_cache.bring(self.layout, wanted, self._is_current)
        except disk_cache.OutdatedError:
            raise Moved from None

    def _is_current(self) -> bool:
        is_same = catalog_identity(self.layout) == self.identity
        return is_same and not journal.stands(self.layout)

    def files(
        self,
        data_type: str,
        symbols: Collection[str] = (),
        first: date = date.min,
        last: date = date.max,
    ) -> list[tuple[Path, int, str]]:
        """The files of a data type's partitions, how large each is, and its SHA-256.

        Args:
            symbols: only those that have rows of these; none: of any.
            first, last: sessions, both inclusive; only the months that hold these.
        """
        rows = self.fetch(
            f"""
            select distinct
                if({self._place[0]} is null, symbol, '{ALL_SYMBOLS}'),
                month,
                {self._place[2]},
                bytes,
                sha256
            from partitions
            where
                data_type = $data_type
                and (len($symbols) = 0 or list_contains($symbols, symbol))
                and month between $first and $last
            """,
            data_type=data_type,
            symbols=sorted(symbols),
            first=first.replace(day=1),
            last=last,
        )
        layout = self.layout
        return [
            (layout.partition(data_type, symbol, month, part), size, digest)
            for symbol, month, part, size, digest in rows
        ]

    def made_elsewhere(self) -> str | None:
        """The folder that the catalog's views name, where it does not stand there any more."""
        with self.connection(about=()) as connection:
            return made_elsewhere(connection, ATTACHED_AS, self.layout)

    def trade_conditions(self) -> pa.Table:
        """The rules of the trade conditions, of the columns `TRADE_CONDITIONS`.

        By id and first session. Those of a catalog of an earlier version have no dates.
        """
        return self.once("trade_conditions", self._find_conditions)

    def _find_conditions(self) -> pa.Table:
        rows = self._asked(CONDITIONS, order="id, valid_from nulls first, valid_to")
        return pa.Table.from_pylist(rows, TRADE_CONDITIONS)

    def rows_by_session(
        self, partitions: Sequence[Stored]
    ) -> dict[Stored, tuple[list[date], list[int]]]:
        """Each partition's sessions, ascending, and how many of its rows each has."""
        wanted = {
            (one.data_type, one.symbol, one.month, one.part): one
            for one in partitions
            if one not in self._sessions
        }
        for data_type in {one.data_type for one in wanted.values()}:
            rows = self.fetch(
                f"""
                select
                    symbol,
                    month,
                    {self._place[2]},
                    list_transform(sessions, lambda entry: entry.session),
                    list_transform(sessions, lambda entry: entry.rows)
                from partitions
                where
                    data_type = $data_type
                    and symbol in (select unnest($symbols))
                    and month in (select unnest($months))
                """,
                data_type=data_type,
                symbols=list({symbol for _, symbol, _, _ in wanted}),
                months=list({month for _, _, month, _ in wanted}),
            )
            for symbol, month, part, sessions, counts in rows:
                if None in sessions or None in counts:
                    problem = "sessions of its table partitions has an impossible value"
                    raise DamagedCatalogError(self.layout.catalog, problem)
                key = data_type, symbol, month, part
                if key in wanted:
                    self._sessions[wanted[key]] = (sessions, counts)
        return {one: self._sessions[one] for one in partitions}


def _about(sql: str, parameters: Mapping[str, Any]) -> Collection[str] | None:
    """The data types whose manifests SQL of ours reads."""
    if not _PARTITIONS.search(sql):
        return ()
    named = parameters.get("data_type")
    return None if named is None else (named,)


def _locked_down(layout: Layout, config: Config, spill: Path | None) -> duckdb.DuckDBPyConnection:
    """A DuckDB with the catalog attached that can read what is published and do little else."""
    try:
        return connect(
            folders=layout.served,
            attached={ATTACHED_AS: layout.catalog},
            spill=spill,
            threads=config.processing.parallel_workers,
            memory_bytes=config.processing.memory_limit_bytes,
        )
    except duckdb.Error as error:
        raise _unusable(layout, error) from error


def _unusable(layout: Layout, error: Exception) -> StorageError:
    refused = data_folder_id.unreadable(layout)
    if refused is not None:
        return refused
    problem = " ".join(str(error).split())[:300]
    return StorageError(layout.catalog, f"cannot be read: {problem}")


class Snapshots:
    """The present snapshot of a warehouse, made anew whenever something was published."""

    def __init__(self, layout: Layout, config: Config) -> None:
        self._layout, self._config = layout, config
        self._objects = None if layout.tier is None else RangeReader(layout)
        self._lock = Lock()
        self._present: Snapshot | None = None
        self._closed = Event()
        # A folder to which nothing was published yet may still become that of a bucket.
        self._warehouse_id = (
            data_folder_id.id_of(layout) if os.path.exists(layout.catalog) else None
        )
        # For queries that outgrow the memory limit. DuckDB would make it for everybody to read.
        self._spill: Path | None = None
        process.prepare_for_fork(self)

    def in_child(self) -> None:
        """Leave the parent's snapshot and folder alone; the child's own come with its questions."""
        self._lock = Lock()
        is_closed, self._closed = self._closed.is_set(), Event()
        if is_closed:
            self._closed.set()
        process.abandon(self._present)
        self._present = self._spill = None

    def close(self) -> None:
        with process.answers, self._lock:
            self._closed.set()
            if self._present is not None:
                self._present.retire()
                self._present = None
            folder, self._spill = self._spill, None
        remove_spill_folder(folder)

    def read(self, answer: Callable[[Snapshot], T]) -> T:
        """What `answer` makes of the present snapshot; it is asked again while it raises `Moved`.

        Raises:
            RequestError: it is closed, or was closed meanwhile.
            KeyboardInterrupt: Ctrl-C was pressed, whatever DuckDB made of it.
            StorageError: the catalog changes faster than it can be read.
        """
        if self._layout.tier is None:
            return self._read(answer)
        from warehouse.store.tier.pull import refresh_at_times

        refresh_at_times(self._layout)
        with disk_cache.question(self._layout):
            return self._read(answer)

    def _read(self, answer: Callable[[Snapshot], T]) -> T:
        for attempt in range(_ATTEMPTS):
            try:
                with process.answers, ended_with(self._closed):
                    return answer(self._current())
            except Moved:
                time.sleep(_PAUSE_SECONDS * min(attempt, 5))
            except RuntimeError as error:
                # A loop that goes on after any Exception must not swallow Ctrl-C.
                if is_interrupt(error):
                    raise KeyboardInterrupt from error
                if self._closed.is_set() and "after shutdown" in str(error):
                    raise self._refusal() from error  # meanwhile, and its threads have ended
                raise
            except (duckdb.InterruptException, WarehouseError) as error:
                ended = error.__cause__ if isinstance(error, WarehouseError) else error
                if self._closed.is_set() and ended is not None and is_interrupt(ended):
                    raise self._refusal() from error  # meanwhile, and so it was ended
                raise
        raise StorageError(
            self._layout.catalog, "changes faster than it can be read; try again a little later"
        )

    def whole(self, snapshot: Snapshot, read: Callable[[], T]) -> T:
        """What `read` reads of the warehouse's files, if they were the snapshot's throughout.

        Raises:
            Moved: they were not, or may not have been; whatever `read` returned or raised is void.
        """
        standing = self.settle()
        try:
            result = read()
        except Exception as error:
            if isinstance(error, ObjectMissingError):
                # So much was published meanwhile that it is garbage: there is a newer generation.
                from warehouse.store.tier.pull import refresh

                refresh(self._layout)
            if self._has_moved(snapshot, standing):
                raise Moved from error
            raise
        if self._has_moved(snapshot, standing):
            raise Moved
        return result

    def _has_moved(self, snapshot: Snapshot, standing: journal.Standing | None) -> bool:
        # The journal first: it goes only after the catalog was replaced.
        still = journal.is_as_it_was(self._layout, standing)
        return not still or catalog_identity(self._layout) != snapshot.identity

    def _refusal(self) -> RequestError:
        return RequestError("warehouse", str(self._layout.root), "it is closed; open it anew")

    def _current(self) -> Snapshot:
        identity = catalog_identity(self._layout)
        with self._lock:
            if self._closed.is_set():
                raise self._refusal()
            if self._present is None or self._present.identity != identity:
                if self._spill is None and identity is not None:
                    self._spill = make_spill_folder()
                later = Snapshot(self._layout, self._config, identity, self._spill, self._objects)
                self._check_that(later)
                if self._present is not None:
                    self._present.retire()
                self._present = later
            return self._present

    def check_same(self) -> None:
        """Look, before anything is done but reading, whether it still is the same warehouse.

        Raises:
            StorageError: another stands in its place.
        """
        found = data_folder_id.id_of(self._layout)
        if found is not None:
            data_folder_id.check_same(self._layout, self._warehouse_id, found)
        elif os.path.exists(self._layout.data) and not os.path.exists(self._layout.catalog):
            # Nothing tells it any more, and the next writer makes another. A mark alone comes back.
            self._warehouse_id = None

    def _check_that(self, later: Snapshot) -> None:
        """The same of a snapshot, which may be of a catalog that says whose it is."""
        try:
            if later.identity is None:
                self.check_same()
                return
            data_folder_id.check_same(self._layout, self._warehouse_id, later.warehouse_id)
        except StorageError:
            later.retire()
            raise
        self._warehouse_id = later.warehouse_id

    def settle(self) -> journal.Standing | None:
        """Wait for a publish that is under way; see `journal.settle`."""
        return journal.settle(self._layout)
