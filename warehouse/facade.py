"""The facade: what a backtest imports.

from warehouse import Warehouse

with Warehouse("path/to/warehouse") as wh:
    trades = wh.trades("AAPL", "2024-01-02", "2024-01-31")
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Any
from weakref import finalize

import pandas as pd

from warehouse import config as configuration
from warehouse import coverage, features, lookahead, queries, reading
from warehouse.cache import FrameCache
from warehouse.errors import NotAWarehouseError, QueryError, RequestError
from warehouse.featurefiles import FeatureFolder
from warehouse.frames import as_form, check_form, check_zone, in_zone
from warehouse.schema import DATA_TYPES, DataType, data_type
from warehouse.sessions import Moment, Span, parse_session, parse_span, span_between
from warehouse.snapshot import Snapshot, Snapshots, Stored

if TYPE_CHECKING:
    from warehouse.pipeline import Pipeline
    from warehouse.run import Request, RunReport

_TABLES = ("partitions", "source_files", "runs", "features")
_FREQUENCIES = {"minute": "minute_aggs", "day": "day_aggs"}
_MISSING = ("raise", "ignore")


class Warehouse:
    """One warehouse. Close it, or use `with`; safe to use from many threads.

    Every answer is of one generation: a publish that goes on at the same time is in it whole or
    not at all, and the next question sees it. Answers are kept in memory (`cache`) within
    `storage.max_cache_memory_gb`; what a caller does to its frame never shows in another answer.

    Args:
        path: a folder that holds config/data_config.yaml (or lies in one that does), or such a
            file itself. Of a file that is not in a folder `config`, its own folder is the root.

    Raises:
        NotAWarehouseError: there is none.
        ConfigError: its configuration cannot be used.
    """

    def __init__(self, path: str | os.PathLike[str] = ".") -> None:
        root, file = _find(Path(path).expanduser().absolute())
        self._config = configuration.load(file)
        self._layout = self._config.layout(root)
        self._cache = FrameCache(int(self._config.storage.max_cache_memory_gb * 1024**3))
        self._snapshots = Snapshots(self._layout, self._config)
        self._features = FeatureFolder(self._config.sql_dir(root))
        self._pool: ThreadPoolExecutor | None = None
        self._lock = Lock()
        # Whoever forgets to close it gets no noise from DuckDB at the end of the process.
        self._finalizer = finalize(self, self._snapshots.close)

    def __repr__(self) -> str:
        return f"Warehouse({str(self._layout.root)!r})"

    def __enter__(self) -> Warehouse:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the catalog and let go of the cache. Frames handed out live on."""
        self._finalizer()
        with self._lock:
            if self._pool is not None:
                self._pool.shutdown()
                self._pool = None
        self._cache.clear()

    @property
    def cache(self) -> FrameCache:
        """The memory cache: `cache.stats`, `cache.clear()`."""
        return self._cache

    @property
    def exchanges(self) -> dict[int, str]:
        """The exchanges' names by the vendor's id: MIC, or where there is none the plain name."""
        return dict(
            self._snapshots.read(
                lambda snapshot: snapshot.once(
                    "exchanges",
                    lambda: snapshot.fetch("select id, coalesce(mic, name) from exchanges"),
                )
            )
        )

    def trades(
        self, symbols: str | Sequence[str], start: Moment, end: Moment, **options: Any
    ) -> Any:
        """Trades; see `load` for the arguments and the answer."""
        return self.load("trades", symbols, start, end, **options)

    def quotes(
        self, symbols: str | Sequence[str], start: Moment, end: Moment, **options: Any
    ) -> Any:
        """Changes of the national best bid and offer; see `load`."""
        return self.load("quotes", symbols, start, end, **options)

    def aggs(
        self,
        symbols: str | Sequence[str],
        start: Moment,
        end: Moment,
        freq: str = "minute",
        **options: Any,
    ) -> Any:
        """The vendor's bars, of a "minute" or a "day"; see `load`.

        A bar's stamp is its first instant, that of a day midnight in New York; `vwap` is NaN, for
        the vendor's files have none.
        """
        if freq not in _FREQUENCIES:
            raise RequestError("freq", freq, f"it may be {', '.join(_FREQUENCIES)}")
        return self.load(_FREQUENCIES[freq], symbols, start, end, **options)

    def load(
        self,
        data_type: str,
        symbols: str | Sequence[str],
        start: Moment,
        end: Moment,
        columns: Sequence[str] | None = None,
        to: str = "pandas",
        tz: str = "UTC",
        missing: str = "raise",
    ) -> Any:
        """Rows of one data type, as a new frame.

        Args:
            data_type: trades, quotes, minute_aggs or day_aggs.
            symbols: one or several, case-sensitive; one named twice counts once.
            start: a session (a date or "YYYY-MM-DD") or an instant (a datetime, or "YYYY-MM-DD
                HH:MM[:SS]": naive it is New York time, aware what it says); inclusive.
            end: likewise; a session is included whole, an instant is not.
            columns: which of the data type's, in this order; None: all in theirs.
            to: "pandas" (DataFrame), "polars" (DataFrame) or "arrow" (Table).
            tz: the time zone that stamps are shown in.
            missing: "raise" where the warehouse does not have all of it, or "ignore" to get what
                is there: a frame without rows has the same columns and types.

        Returns:
            The rows symbol by symbol in the order asked, of each in the order of the tape
            (timestamp, sequence number), numbered from 0. Stamps are `datetime64[ns, tz]`, exact;
            `session` is the trading day's label, a midnight without a zone (`datetime64[s]`);
            text is `str`; prices are dollars and sizes shares, as float64.

        Raises:
            RequestError: an argument is not one of the things it may be.
            NoDataError: a symbol is unknown, or trading days of the span were never ingested; the
                error says what there is and which command gets the rest.
            CorruptPartitionError: a file's bytes are not those that were written.
        """
        kind = _kind(data_type)
        names = _symbols(symbols)
        span = parse_span(start, end)
        wanted = _columns(kind, columns)
        form, zone = check_form(to), check_zone(tz)
        if missing not in _MISSING:
            raise RequestError("missing", missing, f"it may be {', '.join(_MISSING)}")

        def answer(snapshot: Snapshot) -> Any:
            if missing == "raise":
                coverage.check(snapshot, kind, names, span)
            stored = reading.touched(snapshot, kind, names, span)
            hashes = tuple((one.symbol, one.sha256) for one in stored)
            asked = (kind.name, span.start_ns, span.end_ns, wanted, form, zone)
            return self._cache.get_or_make(
                (asked, hashes),
                lambda: self._snapshots.whole(
                    snapshot, lambda: self._load(snapshot, kind, stored, wanted, span, form, zone)
                ),
            )

        return self._snapshots.read(answer)

    def _load(
        self,
        snapshot: Snapshot,
        kind: DataType,
        stored: Sequence[Stored],
        columns: Sequence[str],
        span: Span,
        form: str,
        zone: str,
    ) -> Any:
        table = reading.read(snapshot, kind, stored, columns, span, self._workers())
        return as_form(in_zone(table, zone), form)

    def features(
        self,
        name: str,
        symbols: str | Sequence[str],
        start: Moment,
        end: Moment,
        *,
        freq: str | None = None,
        to: str = "pandas",
        tz: str = "UTC",
        missing: str = "raise",
        **parameters: Any,
    ) -> Any:
        """Rows of a feature: of `<name>.sql` in the folder features of `storage.sql_dir`.

            wh.features("volume_ma", "AAPL", "2024-01-02", "2024-01-31", periods=60)

        Args:
            name: the file's, without `.sql`.
            symbols, start, end, to, tz, missing: as for `load`. A row does not depend on `start`:
                what it rests on before that is read too, as far as the warehouse has it.
            freq: "minute" or "day", of a feature that can read either kind of aggs; None: the one
                that its file names.
            parameters: values for the parameters that its file declares.

        Returns:
            The columns that the file says, symbol by symbol in the order asked, each in its order.
            A row at a stamp rests on nothing after it; a bar's stamp is its first instant.

        Raises:
            RequestError: there is no such feature or parameter, or a value cannot be its.
            SqlFileError: the file does not keep the conventions, or fails on these rows.
            NoDataError, CorruptPartitionError: as for `load`, for each data type that it reads.
        """
        feature = self._features[name]
        values, frequency = feature.values(parameters), feature.frequency(freq)
        names = _symbols(symbols)
        span = parse_span(start, end)
        form, zone = check_form(to), check_zone(tz)
        if missing not in _MISSING:
            raise RequestError("missing", missing, f"it may be {', '.join(_MISSING)}")

        def answer(snapshot: Snapshot) -> Any:
            if missing == "raise":
                for data_type in feature.tables(frequency).values():
                    coverage.check(snapshot, DATA_TYPES[data_type], names, span)
            plan = features.plan(snapshot, feature, names, span, values, frequency)

            def make() -> Any:
                table = features.answer(snapshot, plan, self._workers())
                return as_form(in_zone(table, zone), form)

            key = (plan.key, names, form, zone)
            return self._cache.get_or_make(key, lambda: self._snapshots.whole(snapshot, make))

        return self._snapshots.read(answer)

    def check_feature(
        self,
        name: str,
        symbols: str | Sequence[str],
        start: Moment,
        end: Moment,
        *,
        freq: str | None = None,
        **parameters: Any,
    ) -> None:
        """Try on real rows whether a feature of one's own keeps its word.

        The question is cut in two at a few instants of each symbol: no row may change where what
        comes after it is taken away, nor where the question begins later.

        Raises:
            LookAheadError: a row changes; the error says which and how.
            RequestError, SqlFileError, NoDataError, CorruptPartitionError: as for `features`.
        """
        feature = self._features[name]
        values, frequency = feature.values(parameters), feature.frequency(freq)
        span = parse_span(start, end)
        for symbol in _symbols(symbols):

            def ask(first: int, last: int, symbol: str = symbol) -> Any:
                return self._snapshots.read(
                    lambda snapshot: self._snapshots.whole(
                        snapshot,
                        lambda: features.answer(
                            snapshot,
                            features.plan(
                                snapshot,
                                feature,
                                [symbol],
                                span_between(first, last),
                                values,
                                frequency,
                            ),
                            self._workers(),
                        ),
                    )
                )

            lookahead.check(feature, ask, span)

    def query(self, sql: str, to: str = "pandas", /, **parameters: Any) -> Any:
        """The answer to one SELECT over the catalog's views, macros and tables.

            wh.query("select count(*) as n from trades where session = $day", day="2024-01-02")

        Args:
            sql: exactly one SELECT. Values stand in it as `$name`.
            to: as for `load`. It goes by its place, so that a parameter may have any name.
            parameters: the values, each used as a value and never as SQL. A datetime becomes
                TIMESTAMP_NS in UTC, as the columns are: naive it is New York time, aware it is
                what it says. A text is a text: `timestamp > $t` takes it as UTC.

        Returns:
            A new frame. TIMESTAMP_NS are the warehouse's stamps and come out as `datetime64[ns,
            UTC]`; other types as `load` has them, or as SQL has them. Without ORDER BY the order
            of the rows is open. Answers are kept until the next publish, but for those that may
            change by themselves (`random()`, `now()`, a file read by name).

        Raises:
            QueryError: it is no single SELECT, a value is missing or one too many, or DuckDB
                cannot run it; DuckDB's hint is in the message.
            NoDataError: nothing was ever ingested.
        """
        form = check_form(to)

        def answer(snapshot: Snapshot) -> Any:
            query = queries.check(snapshot, sql)
            values = queries.values(query, parameters)

            def run() -> Any:
                table = in_zone(queries.run(snapshot, query, values), "UTC")
                try:
                    return as_form(table, form)
                except Exception as error:  # each package has its own
                    raise QueryError(
                        sql,
                        f"the answer cannot be had as {form} ({queries.one_line(error)});"
                        " cast the column, or ask for 'arrow'",
                    ) from error

            if not query.stable:
                return self._snapshots.whole(snapshot, run)
            key = (sql, queries.key_of(parameters), form, snapshot.generation, snapshot.identity)
            return self._cache.get_or_make(key, lambda: self._snapshots.whole(snapshot, run))

        return self._snapshots.read(answer)

    def catalog(self, table: str = "partitions") -> pd.DataFrame:
        """What the warehouse knows about itself: `partitions`, `source_files` or `runs`.

        Raises:
            RequestError: there is no such table.
            NoDataError: nothing was ever ingested.
        """
        if table not in _TABLES:
            raise RequestError("table", table, f"it may be {', '.join(_TABLES)}")
        frame: pd.DataFrame = self.query(f"select * from {table} order by all")
        return frame

    def symbols(self, data_type: str | None = None) -> list[str]:
        """Symbols that have rows, in byte order; of one data type, or of any."""
        name = None if data_type is None else _kind(data_type).name
        return list(self._snapshots.read(lambda snapshot: coverage.symbols_of(snapshot, name)))

    def sessions(self, data_type: str) -> list[date]:
        """Sessions of which there are rows, ascending."""
        kind = _kind(data_type)
        return list(self._snapshots.read(lambda snapshot: coverage.sessions(snapshot, kind)))

    async def download(
        self,
        data_types: str | Sequence[str],
        start: str | date | None = None,
        end: str | date | None = None,
        symbols: str | Sequence[str] | None = None,
    ) -> RunReport:
        """Bring new and changed files into the raw tier, as `warehouse download` does.

        Runs in a thread: the event loop goes on meanwhile. Who cancels it no longer waits, but
        what was begun goes on to its end.

        Args:
            data_types: one or several; none of them means all.
            start, end: sessions, both inclusive; None is open.
            symbols: only their files, where the source has one file a symbol.

        Returns:
            What came, and in `download` what did not come and why.

        Raises:
            RequestError: an argument is not one of the things it may be.
            ConfigError, SourceError: there is no source, or it cannot be asked.
            LockedError: another process is writing to the warehouse.
            StorageError: the disk has no room for what would come, or refuses.
        """
        names = () if symbols is None else _symbols(symbols)
        request = self._request(data_types, start, end, names)
        return await asyncio.to_thread(self._pipeline().download, request)

    def update(
        self,
        data_types: str | Sequence[str] = (),
        start: str | date | None = None,
        end: str | date | None = None,
    ) -> RunReport:
        """Download, then ingest, what is new, as `warehouse update` does; see `download`."""
        return self._pipeline().update(self._request(data_types, start, end))

    def _pipeline(self) -> Pipeline:
        from warehouse.pipeline import Pipeline  # a reader need not wait for it

        return Pipeline(self._layout, self._config)

    @staticmethod
    def _request(
        data_types: str | Sequence[str],
        start: str | date | None,
        end: str | date | None,
        symbols: Sequence[str] = (),
    ) -> Request:
        from warehouse.run import Request

        return Request.of(
            [_kind(name).name for name in dict.fromkeys(_named(data_types))],
            None if start is None else parse_session("start", start),
            None if end is None else parse_session("end", end),
            symbols,
        )

    def _workers(self) -> ThreadPoolExecutor | None:
        """Threads that read partitions side by side; None where one is allowed."""
        count = min(self._config.processing.parallel_workers, os.cpu_count() or 1)
        if count == 1:
            return None
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(count, thread_name_prefix="warehouse")
            return self._pool


def _find(path: Path) -> tuple[Path, Path]:
    """The root of the warehouse that `path` names, and its configuration file."""
    if path.is_file():
        return (path.parent.parent if path.parent.name == "config" else path.parent), path
    if not path.is_dir():
        raise NotAWarehouseError(path)
    root = configuration.find_root(path)
    return root, root / configuration.CONFIG_FILE


def _kind(name: str) -> DataType:
    if not isinstance(name, str):
        raise RequestError("data type", name, f"it may be {', '.join(DATA_TYPES)}")
    return data_type(name)


def _symbols(symbols: str | Sequence[str]) -> tuple[str, ...]:
    named = _named(symbols)
    if not named or not all(isinstance(symbol, str) and symbol for symbol in named):
        raise RequestError("symbols", symbols, "it must be a symbol, or several of them")
    return tuple(dict.fromkeys(named))


def _named(names: Any) -> tuple[Any, ...]:
    """One name or several as a tuple; empty where it is neither."""
    if isinstance(names, str):
        return (names,)
    return tuple(names) if isinstance(names, Iterable) else ()


def _columns(kind: DataType, columns: Sequence[str] | None) -> tuple[str, ...]:
    valid = kind.columns.names
    if columns is None:
        return tuple(valid)
    named = _named(columns)
    for place, name in enumerate(named):
        if name not in valid:
            raise RequestError("columns", name, f"{kind.name} have {', '.join(valid)}")
        if name in named[:place]:
            raise RequestError("columns", name, "it stands twice")
    if not named:
        raise RequestError("columns", columns, f"name at least one of {', '.join(valid)}")
    return named
